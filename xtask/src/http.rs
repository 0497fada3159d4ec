//! A client for servers on this machine: one connection that stays open, and just enough of HTTP/1.1 for what they send.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

pub(crate) struct Connection {
    stream: BufReader<TcpStream>,
    /// The last answer, head and body.
    pub(crate) answer: Vec<u8>,
    body_begins: usize,
}

impl Connection {
    pub(crate) fn open(port: u16) -> Result<Connection> {
        let stream = TcpStream::connect(("127.0.0.1", port)).context("cannot connect")?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        Ok(Connection { stream: BufReader::with_capacity(1 << 16, stream), answer: Vec::new(), body_begins: 0 })
    }

    /// Sends a request and reads the answer to its end, which Content-Length tells; without one there is no body, or,
    /// where the server closes the connection, all that comes.
    pub(crate) fn ask(&mut self, request: &str) -> Result<()> {
        self.stream.get_mut().write_all(request.as_bytes())?;
        self.answer.clear();
        let (mut length, mut closes) = (None, false);
        loop {
            let begin = self.answer.len();
            ensure!(self.stream.read_until(b'\n', &mut self.answer)? > 0, "the connection was closed");
            let line = &self.answer[begin..];
            if line == b"\r\n" {
                break;
            }
            let Some((name, value)) = std::str::from_utf8(line).ok().and_then(|line| line.split_once(':')) else {
                continue;
            };
            ensure!(!name.eq_ignore_ascii_case("transfer-encoding"), "cannot read {}", value.trim());
            if name.eq_ignore_ascii_case("content-length") {
                length = Some(value.trim().parse::<usize>().context("a bad Content-Length")?);
            } else if name.eq_ignore_ascii_case("connection") {
                closes = value.trim().eq_ignore_ascii_case("close");
            }
        }
        self.body_begins = self.answer.len();
        match length {
            Some(length) => {
                self.answer.resize(self.body_begins + length, 0);
                self.stream.read_exact(&mut self.answer[self.body_begins..])?;
            }
            None if closes => {
                self.stream.read_to_end(&mut self.answer)?;
            }
            None => {}
        }
        Ok(())
    }

    /// Of the last answer; 0 if it was none of HTTP.
    pub(crate) fn status(&self) -> u16 {
        let word = self.answer.split(|&byte| byte == b' ').nth(1).unwrap_or_default();
        std::str::from_utf8(word).ok().and_then(|word| word.parse().ok()).unwrap_or(0)
    }

    /// The values of a header of the last answer, as one.
    pub(crate) fn header(&self, wanted: &str) -> Option<String> {
        let head = String::from_utf8_lossy(&self.answer[..self.body_begins]);
        let fields = head.lines().filter_map(|line| line.split_once(':'));
        let values = fields.filter(|(name, _)| name.eq_ignore_ascii_case(wanted)).map(|(_, value)| value.trim());
        values.map(str::to_owned).reduce(|values, value| format!("{values}, {value}"))
    }

    pub(crate) fn body(&self) -> &[u8] {
        &self.answer[self.body_begins..]
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    /// A server that sends these bytes to its first client and closes.
    fn server(answer: &'static str) -> u16 {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            let mut stream = listener.accept().unwrap().0;
            stream.read_exact(&mut [0; 4]).unwrap();
            stream.write_all(answer.as_bytes()).unwrap();
        });
        port
    }

    #[test]
    fn bodies_with_a_length_and_bodies_until_the_end_are_read() {
        for answer in [
            "HTTP/1.1 404 No\r\nContent-Length: 3\r\nX-Y: z\r\n\r\nabc",
            "HTTP/1.0 404 No\r\nconnection: close\r\nx-y: z\r\n\r\nabc",
        ] {
            let mut connection = Connection::open(server(answer)).unwrap();
            connection.ask("GET ").unwrap();
            assert_eq!((connection.status(), connection.body()), (404, &b"abc"[..]));
            assert_eq!(connection.header("X-y").as_deref(), Some("z"));
        }
    }

    #[test]
    fn an_answer_cut_off_is_an_error() {
        for answer in ["", "HTTP/1.1 200 OK\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc"] {
            assert!(Connection::open(server(answer)).unwrap().ask("GET ").is_err(), "{answer:?}");
        }
    }
}

//! `SysLogHandler`: lines to the system's log, over a datagram or a connection.

use std::fmt;
use std::io::{self, Write};
use std::net::{TcpStream, UdpSocket};
use std::path::PathBuf;
use std::time::Duration;

use log::Level;

use crate::sink::{Batch, Output};

/// Where the log listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Address {
    /// A socket in the file system: for datagrams, or else for connections.
    Socket(PathBuf),
    Udp(String, u16),
    Tcp(String, u16),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Socket(path) => write!(f, "{}", path.display()),
            Address::Udp(host, port) => write!(f, "udp {host}:{port}"),
            Address::Tcp(host, port) => write!(f, "tcp {host}:{port}"),
        }
    }
}

/// The names of facilities, by number.
const FACILITIES: &[(&str, u8)] = &[
    ("kern", 0),
    ("user", 1),
    ("mail", 2),
    ("daemon", 3),
    ("auth", 4),
    ("security", 4),
    ("syslog", 5),
    ("lpr", 6),
    ("news", 7),
    ("uucp", 8),
    ("cron", 9),
    ("authpriv", 10),
    ("ftp", 11),
    ("ntp", 12),
    ("console", 14),
    ("solaris-cron", 15),
    ("local0", 16),
    ("local1", 17),
    ("local2", 18),
    ("local3", 19),
    ("local4", 20),
    ("local5", 21),
    ("local6", 22),
    ("local7", 23),
];

/// How long a log may keep its thread waiting.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The facility of that name, as in `'local0'`.
pub(crate) fn facility(name: &str) -> Result<u8, String> {
    FACILITIES.iter().find(|(known, _)| *known == name).map(|(_, number)| *number).ok_or_else(|| {
        let known: Vec<&str> = FACILITIES.iter().map(|(known, _)| *known).collect();
        format!("there is no facility {name:?}; there are {}", known.join(", "))
    })
}

/// The facility of a constant such as `LOG_LOCAL0`.
pub(crate) fn facility_of_name(constant: &str) -> Result<u8, String> {
    facility(&constant.strip_prefix("LOG_").unwrap_or(constant).to_ascii_lowercase())
}

pub(super) struct Syslog {
    address: Address,
    facility: u8,
    connection: Option<Connection>,
}

enum Connection {
    #[cfg(unix)]
    Datagram(std::os::unix::net::UnixDatagram),
    #[cfg(unix)]
    Stream(std::os::unix::net::UnixStream),
    Udp(UdpSocket),
    Tcp(TcpStream),
}

impl Syslog {
    /// Connects with the first line: the log may start after us.
    pub(super) fn new(address: Address, facility: u8) -> Syslog {
        Syslog { address, facility, connection: None }
    }

    fn connect(&self) -> io::Result<Connection> {
        match &self.address {
            #[cfg(unix)]
            Address::Socket(path) => {
                use std::os::unix::net::{UnixDatagram, UnixStream};
                let socket = UnixDatagram::unbound()?;
                socket.set_write_timeout(Some(TIMEOUT))?;
                if socket.connect(path).is_ok() {
                    return Ok(Connection::Datagram(socket));
                }
                let stream = UnixStream::connect(path)?;
                stream.set_write_timeout(Some(TIMEOUT))?;
                Ok(Connection::Stream(stream))
            }
            #[cfg(not(unix))]
            Address::Socket(path) => Err(io::Error::new(
                io::ErrorKind::Unsupported,
                format!("{} cannot be connected to on this system", path.display()),
            )),
            Address::Udp(host, port) => {
                let mut failure = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
                for address in std::net::ToSocketAddrs::to_socket_addrs(&(host.as_str(), *port))? {
                    let any = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
                    match UdpSocket::bind(any).and_then(|socket| socket.connect(address).map(|()| socket)) {
                        Ok(socket) => return Ok(Connection::Udp(socket)),
                        Err(error) => failure = error,
                    }
                }
                Err(failure)
            }
            Address::Tcp(host, port) => {
                let mut failure = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
                for address in std::net::ToSocketAddrs::to_socket_addrs(&(host.as_str(), *port))? {
                    match TcpStream::connect_timeout(&address, TIMEOUT) {
                        Ok(stream) => {
                            stream.set_write_timeout(Some(TIMEOUT))?;
                            return Ok(Connection::Tcp(stream));
                        }
                        Err(error) => failure = error,
                    }
                }
                Err(failure)
            }
        }
    }

    fn send(&mut self, message: &[u8]) -> io::Result<()> {
        if let Some(mut connection) = self.connection.take()
            && connection.send(message).is_ok()
        {
            self.connection = Some(connection);
            return Ok(());
        }
        // A log that was started anew is connected to anew.
        let mut connection = self.connect()?;
        connection.send(message)?;
        self.connection = Some(connection);
        Ok(())
    }
}

impl Connection {
    fn send(&mut self, message: &[u8]) -> io::Result<()> {
        match self {
            #[cfg(unix)]
            Connection::Datagram(socket) => socket.send(message).map(|_| ()),
            #[cfg(unix)]
            Connection::Stream(stream) => stream.write_all(message),
            Connection::Udp(socket) => socket.send(message).map(|_| ()),
            Connection::Tcp(stream) => stream.write_all(message),
        }
    }
}

fn severity(level: Level) -> u8 {
    match level {
        Level::Error => 3,
        Level::Warn => 4,
        Level::Info => 6,
        Level::Debug | Level::Trace => 7,
    }
}

impl Output for Syslog {
    fn write(&mut self, lines: &Batch) -> io::Result<()> {
        let mut failure = Ok(());
        for (line, level, _) in lines.lines() {
            let mut message = format!("<{}>", u16::from(self.facility) * 8 + u16::from(severity(level))).into_bytes();
            message.extend_from_slice(line.strip_suffix(b"\n").unwrap_or(line));
            message.push(0);
            if let Err(error) = self.send(&message) {
                failure = Err(error);
            }
        }
        failure
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sink::testing::batch;

    #[test]
    fn datagrams_are_those_of_pythons_handler() {
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        server.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let address = Address::Udp("127.0.0.1".to_owned(), server.local_addr().unwrap().port());
        let mut log = Syslog::new(address, facility("local0").unwrap());
        log.write(&batch(&["hällo\nx"])).unwrap();
        let mut buffer = [0; 100];
        let length = server.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], b"<134>h\xc3\xa4llo\nx\x00");
    }

    #[cfg(unix)]
    #[test]
    fn a_log_behind_a_socket_may_come_late_and_be_started_anew() {
        use std::os::unix::net::UnixDatagram;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let mut log = Syslog::new(Address::Socket(path.clone()), facility_of_name("LOG_USER").unwrap());
        assert!(log.write(&batch(&["nobody hears"])).is_err());
        for line in ["one", "two"] {
            let server = UnixDatagram::bind(&path).unwrap();
            log.write(&batch(&[line])).unwrap();
            let mut buffer = [0; 100];
            let length = server.recv(&mut buffer).unwrap();
            assert_eq!(buffer[..length], *format!("<14>{line}\0").as_bytes());
            std::fs::remove_file(&path).unwrap();
        }
    }
}

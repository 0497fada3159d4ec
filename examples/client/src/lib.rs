//! Asks the servers of the examples for a map, as a browser or a web server would. For their tests: what goes wrong is a
//! panic.
#![allow(clippy::unwrap_used)]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// A client of one server.
#[derive(Clone, Copy, Debug)]
pub struct Client {
    address: SocketAddr,
    protocol: Protocol,
}

#[derive(Clone, Copy, Debug)]
enum Protocol {
    Http,
    FastCgi,
}

/// What a server has answered.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// Status line and headers.
    pub head: String,
    /// The body.
    pub body: Vec<u8>,
}

/// A client of an HTTP server, which may be about to start.
pub fn at(address: SocketAddr) -> Client {
    Client { address, protocol: Protocol::Http }
}

/// A client of a FastCGI server, which may be about to start.
pub fn fastcgi_at(address: SocketAddr) -> Client {
    Client { address, protocol: Protocol::FastCgi }
}

impl Client {
    /// Asks for a path.
    pub fn get(&self, path: &str) -> Answer {
        let bytes = match self.protocol {
            Protocol::Http => {
                let request = format!("GET {path} HTTP/1.1\r\nHost: maps.example\r\nConnection: close\r\n\r\n");
                self.exchange(request.as_bytes())
            }
            Protocol::FastCgi => output(&self.exchange(&fastcgi_request(path))),
        };
        let end = bytes.windows(4).position(|window| window == b"\r\n\r\n").expect("a head has an end");
        let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a head has a status");
        Answer { status, head, body: bytes[end + 4..].to_vec() }
    }

    /// Asks for a map, and for the document that says where maps are: below `prefix` (`/maps`, or nothing).
    pub fn assert_map(&self, prefix: &str) {
        let map = self.get(&format!(
            "{prefix}/service?SERVICE=WMS&VERSION=1.1.1&REQUEST=GetMap&LAYERS=picture&STYLES=&SRS=EPSG:4326\
             &BBOX=-180,-90,180,90&WIDTH=200&HEIGHT=100&FORMAT=image/png"
        ));
        assert!(map.body.starts_with(b"\x89PNG\r\n\x1a\n"), "{}\n{}", map.head, String::from_utf8_lossy(&map.body));
        let capabilities = self.get(&format!("{prefix}/service?SERVICE=WMS&VERSION=1.1.1&REQUEST=GetCapabilities"));
        let text = String::from_utf8(capabilities.body).unwrap();
        let address = format!("\"http://maps.example{prefix}/service?\"");
        assert!(text.contains(&address), "{address} is not in the capabilities:\n{text}");
    }

    fn exchange(&self, request: &[u8]) -> Vec<u8> {
        let begun = Instant::now();
        let mut stream = loop {
            match TcpStream::connect(self.address) {
                Ok(stream) => break stream,
                Err(error) => assert!(begun.elapsed() < Duration::from_secs(10), "{}: {error}", self.address),
            }
            std::thread::sleep(Duration::from_millis(10));
        };
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        stream.write_all(request).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        answer
    }
}

const BEGIN_REQUEST: u8 = 1;
const PARAMS: u8 = 4;
const STDIN: u8 = 5;
const STDOUT: u8 = 6;

fn record(kind: u8, content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(content.len()).unwrap().to_be_bytes();
    let mut bytes = vec![1, kind, 0, 1, length[0], length[1], 0, 0];
    bytes.extend_from_slice(content);
    bytes
}

fn fastcgi_request(uri: &str) -> Vec<u8> {
    let path = uri.split('?').next().unwrap_or_default();
    let mut params = Vec::new();
    for (name, value) in
        [("REQUEST_METHOD", "GET"), ("REQUEST_URI", uri), ("SCRIPT_NAME", path), ("HTTP_HOST", "maps.example")]
    {
        for text in [name, value] {
            params.extend((u32::try_from(text.len()).unwrap() | 1 << 31).to_be_bytes());
        }
        params.extend(name.bytes().chain(value.bytes()));
    }
    let responder = [0, 1, 0, 0, 0, 0, 0, 0];
    [record(BEGIN_REQUEST, &responder), record(PARAMS, &params), record(PARAMS, &[]), record(STDIN, &[])].concat()
}

/// What the records of an answer bring to standard output.
fn output(mut records: &[u8]) -> Vec<u8> {
    let mut output = Vec::new();
    while let [_, kind, _, _, length1, length0, padding, _, rest @ ..] = records {
        let length = usize::from(u16::from_be_bytes([*length1, *length0]));
        if *kind == STDOUT {
            output.extend_from_slice(&rest[..length]);
        }
        records = &rest[length + usize::from(*padding)..];
    }
    output
}

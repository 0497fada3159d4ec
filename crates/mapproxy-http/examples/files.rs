//! Serves the files below a directory: a small application in MapProxy's server.
//!
//!     cargo run --release -p mapproxy-http --example files -- DIRECTORY [ADDRESS [fastcgi]]
//!
//! Next to nginx on the same directory it shows what the server itself costs.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use http::header::CONTENT_TYPE;
use http::{HeaderValue, StatusCode};
use mapproxy_core::{Application, Body, Request, Response};
use mapproxy_http::{Protocol, Server};

struct Files {
    directory: PathBuf,
}

impl Files {
    fn answer(&self, path: &str) -> Response {
        let path = Path::new(path.trim_start_matches('/'));
        let plain = path.components().all(|part| matches!(part, std::path::Component::Normal(_)));
        match plain.then(|| std::fs::read(self.directory.join(path))) {
            Some(Ok(bytes)) => {
                let mut response = Response::new(Body::from(bytes));
                response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("image/png"));
                response
            }
            _ => {
                let mut response = Response::new(Body::from("not found"));
                *response.status_mut() = StatusCode::NOT_FOUND;
                response
            }
        }
    }
}

impl Application for Files {
    fn call(&self, request: Request) -> Response {
        if let Some(time) = parameter(&request, "wait") {
            std::thread::sleep(time);
        }
        if let Some(time) = parameter(&request, "work") {
            let begun = Instant::now();
            while begun.elapsed() < time {
                std::hint::spin_loop();
            }
        }
        self.answer(request.uri().path())
    }

    fn call_now(&self, request: &Request) -> Option<Response> {
        request.uri().query().is_none().then(|| self.answer(request.uri().path()))
    }
}

/// `?wait=2000&work=10` makes an answer wait for 2 s, as if for an upstream server, and keep a processor for 10 ms.
fn parameter(request: &Request, name: &str) -> Option<Duration> {
    let pairs = request.uri().query()?.split('&').filter_map(|pair| pair.split_once('='));
    let millis = pairs.filter(|(key, _)| *key == name).find_map(|(_, value)| value.parse().ok());
    millis.map(Duration::from_millis)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let directory = arguments.next().unwrap_or_else(|| ".".to_owned()).into();
    let address = arguments.next().unwrap_or_else(|| "127.0.0.1:8080".to_owned()).parse()?;
    let mut builder = Server::builder(Files { directory }).listen(address).stop_on_signals(true);
    if arguments.next().as_deref() == Some("fastcgi") {
        builder = builder.protocol(Protocol::FastCgi);
    }
    let server = builder.build()?;
    for address in server.addresses() {
        println!("listening on {address}");
    }
    Ok(server.run()?)
}

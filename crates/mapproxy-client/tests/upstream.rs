//! The client against servers that behave and such that do not.
//!
//! Each test runs a server of its own on a free port; what it answers is written byte for byte.
#![allow(clippy::unwrap_used, missing_docs)]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use mapproxy_client::{
    ClientError, ClientOptions, Clients, Credentials, ErrorKind, HttpClient, Method, UpstreamRequest, UpstreamResponse,
};

/// A server; a script answers each request.
struct Server {
    address: String,
    requests: Arc<Mutex<Vec<String>>>,
    connections: Arc<AtomicUsize>,
}

/// What comes after an answer.
#[derive(PartialEq)]
enum Then {
    Keep,
    Close,
}

impl Server {
    /// `script` gets the stream, the request, and how many requests came before.
    fn start(script: impl Fn(&mut TcpStream, &str, usize) -> Then + Send + Sync + 'static) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = Server {
            address: listener.local_addr().unwrap().to_string(),
            requests: Arc::default(),
            connections: Arc::default(),
        };
        let (requests, connections) = (Arc::clone(&server.requests), Arc::clone(&server.connections));
        let script = Arc::new(script);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (mut stream, script, requests) = (stream.unwrap(), Arc::clone(&script), Arc::clone(&requests));
                connections.fetch_add(1, Ordering::SeqCst);
                thread::spawn(move || {
                    while let Some(request) = read_request(&mut stream) {
                        let number = {
                            let mut requests = requests.lock().unwrap();
                            requests.push(request.clone());
                            requests.len() - 1
                        };
                        if script(&mut stream, &request, number) == Then::Close {
                            return;
                        }
                    }
                });
            }
        });
        server
    }

    /// Always the same answer.
    fn answering(answer: impl Into<Vec<u8>>) -> Server {
        let answer = answer.into();
        Server::start(move |stream, _, _| {
            stream.write_all(&answer).unwrap();
            Then::Keep
        })
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

/// Head and body; `None` at the end of the connection.
fn read_request(stream: &mut impl Read) -> Option<String> {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        if stream.read(&mut byte).ok()? == 0 {
            return None;
        }
        request.push(byte[0]);
    }
    let head = String::from_utf8(request.clone()).unwrap();
    if let Some(length) = header(&head, "content-length") {
        let mut body = vec![0; length.parse().unwrap()];
        stream.read_exact(&mut body).ok()?;
        request.extend(body);
    }
    Some(String::from_utf8(request).unwrap())
}

fn header(request: &str, name: &str) -> Option<String> {
    let mut pairs = request.lines().skip(1).filter_map(|line| line.split_once(':'));
    pairs.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim().to_owned())
}

fn ok(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Type: image/png\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

fn client(options: ClientOptions) -> Arc<dyn HttpClient> {
    Clients::default().client(options).unwrap()
}

fn impatient() -> ClientOptions {
    ClientOptions { timeout: Duration::from_millis(400), ..ClientOptions::default() }
}

fn get(url: String) -> Result<UpstreamResponse, ClientError> {
    client(impatient()).send(&UpstreamRequest::get(url))
}

#[test]
fn requests_share_a_connection() {
    let server = Server::answering(ok("tile"));
    let client = client(ClientOptions::default());
    for _ in 0..3 {
        let answer = client.send(&UpstreamRequest::get(server.url("/a?b=c"))).unwrap();
        assert_eq!((answer.status, &answer.body[..]), (200, b"tile".as_slice()));
        assert_eq!(answer.content_type.as_deref(), Some("image/png"));
    }
    assert_eq!((server.connections(), server.requests().len()), (1, 3));
}

#[test]
fn a_request_says_what_the_reference_says() {
    let server = Server::answering(ok(""));
    let headers = vec![("X-Own".to_owned(), "1".to_owned())];
    let client = client(ClientOptions { headers, ..ClientOptions::default() });
    client.send(&UpstreamRequest::get(server.url("/a?b=%2Fc,d"))).unwrap();
    client.send(&UpstreamRequest::post_form(server.url("/p"), "x=1&y=2")).unwrap();
    let requests = server.requests();
    assert!(requests[0].starts_with("GET /a?b=%2Fc,d HTTP/1.1\r\n"), "{}", requests[0]);
    let said = |name| header(&requests[0], name);
    assert_eq!(said("user-agent").as_deref(), Some("MapProxy-7.0.0"));
    assert_eq!(said("accept-encoding").as_deref(), Some("identity"));
    assert_eq!(said("host").as_deref(), Some(server.address.as_str()));
    assert_eq!(said("x-own").as_deref(), Some("1"));
    assert_eq!((said("accept"), said("authorization"), said("cookie")), (None, None, None));
    assert!(requests[1].starts_with("POST /p HTTP/1.1\r\n") && requests[1].ends_with("\r\n\r\nx=1&y=2"));
    assert_eq!(header(&requests[1], "content-type").as_deref(), Some("application/x-www-form-urlencoded"));
}

#[test]
fn a_configured_user_agent_replaces_ours() {
    let server = Server::answering(ok(""));
    let headers = vec![("user-agent".to_owned(), "other".to_owned())];
    client(ClientOptions { headers, ..ClientOptions::default() }).send(&UpstreamRequest::get(server.url("/"))).unwrap();
    assert_eq!(server.requests()[0].to_lowercase().matches("user-agent").count(), 1);
    assert_eq!(header(&server.requests()[0], "user-agent").as_deref(), Some("other"));
}

#[test]
fn a_connection_closed_while_idle_costs_nothing() {
    // The second request of each connection is read and then dropped.
    let server = Server::start(|stream, _, number| {
        if number == 1 {
            return Then::Close;
        }
        stream.write_all(ok("tile").as_bytes()).unwrap();
        Then::Keep
    });
    let client = client(impatient());
    for _ in 0..2 {
        assert_eq!(&client.send(&UpstreamRequest::get(server.url("/"))).unwrap().body[..], b"tile");
    }
    assert_eq!((server.connections(), server.requests().len()), (2, 3));
}

#[test]
fn a_new_connection_that_breaks_is_an_error_at_once() {
    let server = Server::start(|_, _, _| Then::Close);
    let error = get(server.url("/")).unwrap_err();
    assert_eq!((error.kind, error.message), (ErrorKind::Connection, "No response from URL"));
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn nobody_listening_is_an_error() {
    let unused = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let error = get(format!("http://{unused}/x?token=geheim")).unwrap_err();
    assert_eq!((error.kind.clone(), error.reason.as_str()), (ErrorKind::Connection, "Connection refused"));
    assert!(!error.to_string().contains("geheim"), "{error}");
}

#[test]
fn a_body_that_ends_early_is_an_error() {
    let short = "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nonly this";
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\ntile\r\nff\r\nrest";
    for answer in [short, chunked] {
        let server = Server::start(move |stream, _, _| {
            stream.write_all(answer.as_bytes()).unwrap();
            Then::Close
        });
        let error = get(server.url("/")).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Connection, "{error}");
        assert!(error.reason.contains("bytes of the answer"), "{error}");
        assert_eq!(server.requests().len(), 1);
    }
}

#[test]
fn what_is_no_http_is_an_error() {
    for answer in ["220 mail.example.org\r\n\r\n", "HTTP/1.1 two hundred\r\n\r\n", "\r\n\r\n\r\n"] {
        let server = Server::start(move |stream, _, _| {
            stream.write_all(answer.as_bytes()).unwrap();
            Then::Close
        });
        assert_eq!(get(server.url("/")).unwrap_err().kind, ErrorKind::Connection, "{answer:?}");
    }
}

#[test]
fn a_silent_server_times_out() {
    let silent = Server::start(|_, _, _| {
        thread::sleep(Duration::from_secs(20));
        Then::Close
    });
    let stalled = Server::start(|stream, _, _| {
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nbegin").unwrap();
        thread::sleep(Duration::from_secs(20));
        Then::Close
    });
    for server in [silent, stalled] {
        let started = Instant::now();
        let error = get(server.url("/")).unwrap_err();
        assert_eq!((error.kind, error.message), (ErrorKind::Timeout, "No response from URL"));
        let waited = started.elapsed();
        assert!((Duration::from_millis(350)..Duration::from_secs(3)).contains(&waited), "{waited:?}");
    }
}

#[test]
fn a_slow_server_is_waited_for_as_long_as_something_comes() {
    let server = Server::start(|stream, _, _| {
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n").unwrap();
        for _ in 0..8 {
            thread::sleep(Duration::from_millis(100));
            stream.write_all(b"x").unwrap();
        }
        Then::Keep
    });
    assert_eq!(&get(server.url("/")).unwrap().body[..], b"xxxxxxxx");
}

#[test]
fn statuses_that_bring_no_map_are_errors() {
    for status in [204, 300, 304, 400, 401, 404, 429, 500, 503] {
        let server = Server::answering(format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n"));
        let error = get(server.url("/")).unwrap_err();
        assert_eq!((error.kind.clone(), error.message), (ErrorKind::Status(status), "HTTP Error"));
        let reason = if status == 204 { "204 No Content".to_owned() } else { status.to_string() };
        assert_eq!((error.reason, server.requests().len()), (reason, 1));
    }
}

#[test]
fn servers_may_say_for_how_long_they_want_to_be_left_alone() {
    let in_an_hour = httpdate::fmt_http_date(std::time::SystemTime::now() + Duration::from_secs(3600));
    let asked = |header: &str| {
        let head = format!("HTTP/1.1 503 Busy\r\nRetry-After: {header}\r\nContent-Length: 0\r\n\r\n");
        get(Server::answering(head).url("/")).unwrap_err().retry_after
    };
    assert_eq!((asked("120"), asked("99999999999")), (Some(120), Some(u32::MAX)));
    assert!(asked(&in_an_hour).is_some_and(|seconds| (3590..=3600).contains(&seconds)));
    assert_eq!(asked("Thu, 01 Jan 1970 00:00:00 GMT"), Some(0));
    assert_eq!((asked("soon"), asked("-5")), (None, None));
}

#[test]
fn redirects_are_followed_to_an_end() {
    let server = Server::start(|stream, request, _| {
        let answer = match request.split(' ').nth(1).unwrap() {
            "/a/start" => "HTTP/1.1 302 Found\r\nLocation: next?x=1\r\nContent-Length: 4\r\n\r\ngone".to_owned(),
            "/a/next?x=1" => "HTTP/1.1 301 Moved\r\nLocation: /end\r\nContent-Length: 0\r\n\r\n".to_owned(),
            "/loop" => "HTTP/1.1 302 Found\r\nLocation: /loop\r\nContent-Length: 0\r\n\r\n".to_owned(),
            "/file" => "HTTP/1.1 302 Found\r\nLocation: file:///etc/passwd\r\nContent-Length: 0\r\n\r\n".to_owned(),
            _ => ok("tile"),
        };
        stream.write_all(answer.as_bytes()).unwrap();
        Then::Keep
    });
    assert_eq!(&get(server.url("/a/start")).unwrap().body[..], b"tile");
    assert_eq!((server.connections(), server.requests().len()), (1, 3));
    assert_eq!(get(server.url("/loop")).unwrap_err().kind, ErrorKind::Redirect);
    assert_eq!(server.requests().len(), 3 + 11);
    assert_eq!(get(server.url("/file")).unwrap_err().kind, ErrorKind::Redirect);
}

fn as_user(url: String, password: &str) -> UpstreamRequest {
    UpstreamRequest::get(url).with_credentials(Some(Arc::new(Credentials::new("user", password))))
}

#[test]
fn basic_credentials_are_sent_when_asked_for_and_then_at_once() {
    let server = Server::start(|stream, request, _| {
        let good = header(request, "authorization").as_deref() == Some("Basic dXNlcjpwYXNz");
        let refused = "HTTP/1.1 401 Who\r\nWWW-Authenticate: Basic realm=\"maps\"\r\nContent-Length: 3\r\n\r\nwho";
        stream.write_all(if good { ok("tile") } else { refused.to_owned() }.as_bytes()).unwrap();
        Then::Keep
    });
    let clients = Clients::default();
    let client = clients.client(impatient()).unwrap();
    client.send(&as_user(server.url("/1"), "pass")).unwrap();
    assert_eq!((server.requests().len(), server.connections()), (2, 1));
    let other = clients.client(ClientOptions { timeout: Duration::from_secs(1), ..impatient() }).unwrap();
    other.send(&as_user(server.url("/2"), "pass")).unwrap();
    assert_eq!(server.requests().len(), 3);
    assert_eq!(client.send(&as_user(server.url("/3"), "wrong")).unwrap_err().kind, ErrorKind::Status(401));
    assert_eq!(client.send(&UpstreamRequest::get(server.url("/4"))).unwrap_err().kind, ErrorKind::Status(401));
    assert_eq!(server.requests().len(), 6);
}

#[test]
fn digest_credentials_count_their_answers_and_take_new_nonces() {
    let server = Server::start(|stream, request, number| {
        let nonce = if number < 3 { "first" } else { "second" };
        let answer = header(request, "authorization").unwrap_or_default();
        let good = answer.starts_with("Digest username=\"user\", realm=\"maps\"")
            && answer.contains(&format!("nonce=\"{nonce}\""))
            && answer.contains("uri=\"/wms?x=1\"");
        let refused = format!(
            "HTTP/1.1 401 Who\r\nWWW-Authenticate: Digest realm=\"maps\", nonce=\"{nonce}\", qop=\"auth\"\r\nContent-Length: 0\r\n\r\n"
        );
        stream.write_all(if good { ok("tile") } else { refused }.as_bytes()).unwrap();
        Then::Keep
    });
    let client = client(impatient());
    for _ in 0..3 {
        client.send(&as_user(server.url("/wms?x=1"), "pass")).unwrap();
    }
    let counts: Vec<_> = server
        .requests()
        .iter()
        .map(|request| header(request, "authorization").and_then(|a| Some(a.split_once("nc=")?.1[..8].to_owned())))
        .collect();
    let some = |count: &str| Some(count.to_owned());
    // Asked, answered; answered at once; the nonce is old, answered anew.
    assert_eq!(counts, [None, some("00000001"), some("00000002"), some("00000003"), some("00000001")]);
}

#[test]
fn credentials_do_not_follow_a_redirect_to_another_server() {
    let other = Server::answering(ok("tile"));
    let to = format!("HTTP/1.1 302 Found\r\nLocation: {}\r\nContent-Length: 0\r\n\r\n", other.url("/there"));
    let server = Server::answering(to);
    let headers = vec![("Authorization".to_owned(), "Bearer geheim".to_owned()), ("X-Own".to_owned(), "1".to_owned())];
    let client = client(ClientOptions { headers, ..impatient() });
    client.send(&as_user(server.url("/here"), "pass")).unwrap();
    assert_eq!(header(&server.requests()[0], "authorization").as_deref(), Some("Bearer geheim"));
    assert_eq!(header(&other.requests()[0], "authorization"), None);
    assert_eq!(header(&other.requests()[0], "x-own").as_deref(), Some("1"));
}

#[test]
fn cookies_go_back_only_where_they_are_managed() {
    let answer = "HTTP/1.1 200 OK\r\nSet-Cookie: session=7; Path=/\r\nContent-Length: 0\r\n\r\n";
    for manage_cookies in [true, false] {
        let server = Server::answering(answer);
        let client = client(ClientOptions { manage_cookies, ..impatient() });
        for _ in 0..2 {
            client.send(&UpstreamRequest::get(server.url("/x"))).unwrap();
        }
        let cookies: Vec<_> = server.requests().iter().map(|request| header(request, "cookie")).collect();
        assert_eq!(cookies, [None, manage_cookies.then(|| "session=7".to_owned())]);
    }
}

#[test]
fn a_body_may_not_grow_without_end() {
    let endless = Server::start(|stream, _, _| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n");
        while stream.write_all(&[0; 4096]).is_ok() {}
        Then::Close
    });
    let announced = Server::answering("HTTP/1.1 200 OK\r\nContent-Length: 99999999999999\r\n\r\nx");
    for server in [endless, announced] {
        let client = client(ClientOptions { max_body: 100_000, ..impatient() });
        let error = client.send(&UpstreamRequest::get(server.url("/"))).unwrap_err();
        assert_eq!((error.kind, error.reason.as_str()), (ErrorKind::TooLarge, "more than 100000 bytes"));
    }
}

#[test]
fn what_is_beyond_ascii_is_escaped_on_the_wire() {
    let server = Server::answering("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    get(server.url("/länder/a%20b?k=ü")).unwrap();
    assert!(
        server.requests()[0].starts_with("GET /l%C3%A4nder/a%20b?k=%C3%BC HTTP/1.1\r\n"),
        "{:?}",
        server.requests()
    );
}

#[test]
fn what_is_no_url_is_named() {
    for url in ["", "nonsense", "http:///x", "ftp://h/x", "http://h:port/x", "http://h/a b"] {
        let error = get(url.to_owned()).unwrap_err();
        assert_eq!((error.kind, error.message), (ErrorKind::InvalidUrl, "URL not correct"), "{url:?}");
    }
}

#[test]
fn options_that_make_no_client_are_named() {
    let error = |options: ClientOptions| Clients::default().client(options).unwrap_err().to_string();
    let missing = ClientOptions { ca_certs: Some(PathBuf::from("no/such.pem")), ..impatient() };
    assert!(error(missing).starts_with("ssl_ca_certs: no/such.pem: "));
    let empty = ClientOptions { ca_certs: Some(fixture("server.key")), ..impatient() };
    assert!(error(empty).contains("no certificate"));
    let header = ClientOptions { headers: vec![("bad name".to_owned(), "x".to_owned())], ..impatient() };
    assert!(error(header).starts_with("http.headers: \"bad name\": "));
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

/// An HTTPS server on localhost, its certificate signed by `ca.pem`.
fn tls_server() -> String {
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    let certificate = CertificateDer::from_pem_file(fixture("server.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_file(fixture("server.key")).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let connection = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
            let mut stream = rustls::StreamOwned::new(connection, stream.unwrap());
            thread::spawn(move || {
                while read_request(&mut stream).is_some() && stream.write_all(ok("tile").as_bytes()).is_ok() {}
            });
        }
    });
    format!("https://localhost:{port}/")
}

#[test]
fn certificates_are_checked_as_configured() {
    let request = UpstreamRequest::get(tls_server());
    let error = client(ClientOptions::default()).send(&request).unwrap_err();
    assert_eq!((error.kind, error.message), (ErrorKind::Certificate, "Could not verify connection to URL"));
    for options in [
        ClientOptions { ca_certs: Some(fixture("ca.pem")), ..ClientOptions::default() },
        ClientOptions { insecure: true, ..ClientOptions::default() },
        ClientOptions { insecure: true, ca_certs: Some(PathBuf::from("not/looked/at")), ..ClientOptions::default() },
    ] {
        assert_eq!(&client(options).send(&request).unwrap().body[..], b"tile");
    }
}

#[test]
fn proxies_of_the_environment_are_used() {
    if let Ok(direct) = std::env::var("DIRECT_URL") {
        return ask_by_the_proxies_of_the_environment(&direct);
    }
    let proxy = Server::start(|stream, request, _| {
        let refused = "HTTP/1.1 403 No tunnel\r\nContent-Length: 0\r\n\r\n";
        let answer = if request.starts_with("CONNECT") { refused.to_owned() } else { ok("by proxy") };
        stream.write_all(answer.as_bytes()).unwrap();
        Then::Keep
    });
    let direct = Server::answering(ok("direct"));
    // The environment is the process's: the requests are made by another one.
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "proxies_of_the_environment_are_used"])
        .env("http_proxy", format!("http://me:p%40ss@{}", proxy.address))
        .env("https_proxy", &proxy.address)
        .env("no_proxy", "127.0.0.1")
        .env("DIRECT_URL", direct.url("/direct"))
        .output()
        .unwrap();
    assert!(child.status.success(), "{}", String::from_utf8_lossy(&child.stdout));
    let requests = proxy.requests();
    assert!(requests[0].starts_with("GET http://maps.invalid:8080/wms?x=1 HTTP/1.1\r\n"), "{}", requests[0]);
    assert_eq!(header(&requests[0], "host").as_deref(), Some("maps.invalid:8080"));
    assert_eq!(header(&requests[0], "proxy-authorization").as_deref(), Some("Basic bWU6cEBzcw=="));
    assert!(requests[1].starts_with("POST http://maps.invalid:8080/p HTTP/1.1\r\n"), "{}", requests[1]);
    assert!(requests[1].ends_with("\r\n\r\nGET /x=1"), "{}", requests[1]);
    assert!(requests[2].starts_with("CONNECT maps.invalid:443 HTTP/1.1\r\n"), "{}", requests[2]);
    assert_eq!(direct.requests().len(), 1);
}

/// What the other process does, with proxies in its environment.
fn ask_by_the_proxies_of_the_environment(direct: &str) {
    let client = client(impatient());
    let send = |request: UpstreamRequest| client.send(&request);
    assert_eq!(&send(UpstreamRequest::get("http://maps.invalid:8080/wms?x=1")).unwrap().body[..], b"by proxy");
    let post = UpstreamRequest::post_form("http://maps.invalid:8080/p", "GET /x=1");
    assert_eq!(&send(post).unwrap().body[..], b"by proxy");
    assert_eq!(send(UpstreamRequest::get("https://maps.invalid/")).unwrap_err().kind, ErrorKind::Connection);
    assert_eq!(&send(UpstreamRequest::get(direct)).unwrap().body[..], b"direct");
}

/// Keeps the lines of the request log.
struct Lines(Mutex<Vec<String>>);

static LINES: Lines = Lines(Mutex::new(Vec::new()));

impl log::Log for Lines {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        metadata.target() == "mapproxy.source.request"
    }
    fn log(&self, record: &log::Record<'_>) {
        if self.enabled(record.metadata()) {
            self.0.lock().unwrap().push(record.args().to_string());
        }
    }
    fn flush(&self) {}
}

#[test]
fn each_request_is_a_line_in_the_log() {
    log::set_logger(&LINES).unwrap();
    log::set_max_level(log::LevelFilter::Info);
    let server = Server::answering(ok(&"x".repeat(12_595)));
    get(server.url("/logged?key=geheim")).unwrap();
    get(format!("http://127.0.0.1:1/logged/{}", server.address)).unwrap_err();
    let lines = LINES.0.lock().unwrap();
    let mine: Vec<_> = lines.iter().filter(|l| l.contains(&server.address) && l.contains("logged")).collect();
    let (good, bad) = (mine[0], mine[1]);
    let milliseconds = good.strip_prefix(&format!("GET http://{}/logged?key=… 200 12.3 ", server.address));
    milliseconds.unwrap_or_else(|| panic!("{good}")).parse::<u32>().unwrap();
    assert!(bad.starts_with("GET http://127.0.0.1:1/logged/") && bad.contains(" - - "), "{bad}");
}

#[test]
fn a_put_carries_its_body_and_nothing_to_read_is_its_success() {
    let server = Server::answering("HTTP/1.1 204 No Content\r\n\r\n");
    let client = client(ClientOptions::default());
    let put = UpstreamRequest::put(server.url("/key"), "image/png", "tile");
    assert_eq!(client.send(&put).unwrap().status, 204);
    assert_eq!(client.send(&UpstreamRequest::new(Method::Delete, server.url("/key"))).unwrap().status, 204);
    let nothing = client.send(&UpstreamRequest::get(server.url("/key"))).unwrap_err();
    assert_eq!(nothing.kind, ErrorKind::Status(204));
    let requests = server.requests();
    assert!(requests[0].starts_with("PUT /key HTTP/1.1\r\n"), "{}", requests[0]);
    assert!(requests[0].to_lowercase().contains("content-type: image/png"), "{}", requests[0]);
    assert!(requests[0].ends_with("\r\n\r\ntile"), "{}", requests[0]);
    assert!(requests[1].starts_with("DELETE /key HTTP/1.1\r\n"), "{}", requests[1]);
    assert_eq!(server.connections.load(Ordering::SeqCst), 1, "the connection is used again");
}

#[test]
fn a_head_is_not_waited_for_by_its_announced_length() {
    let server = Server::answering("HTTP/1.1 200 OK\r\nContent-Length: 999999999999\r\n\r\n");
    let client = client(ClientOptions::default());
    let head = UpstreamRequest::new(Method::Head, server.url("/key"));
    for _ in 0..2 {
        let answer = client.send(&head).unwrap();
        assert_eq!((answer.status, answer.body.len()), (200, 0));
    }
    assert_eq!(server.connections.load(Ordering::SeqCst), 1, "the connection is used again");
}

#[test]
fn a_failure_tells_what_the_server_said() {
    let server = Server::answering("HTTP/1.1 404 Not Found\r\nContent-Length: 12\r\n\r\nNoSuchBucket");
    let client = client(ClientOptions::default());
    let error = client.send(&UpstreamRequest::get(server.url("/key"))).unwrap_err();
    assert_eq!((error.status(), &error.answer[..]), (Some(404), &b"NoSuchBucket"[..]));
}

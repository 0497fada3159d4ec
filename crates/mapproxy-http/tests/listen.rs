//! Servers on sockets that are no ports: in the file system, inherited, handed over by systemd.

#![cfg(all(unix, feature = "server"))]
#![allow(clippy::unwrap_used)]

mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use mapproxy_http::{AccessLog, AccessLogFormat, Listen, ListenAddr, Server, UnixSocket};
use support::{TestApp, serve_with};

const GET: &[u8] = b"GET /now HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n";

fn ask(mut stream: impl Read + Write) -> String {
    stream.write_all(GET).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn a_server_listens_on_several_sockets_and_names_them() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("socket");
    let log = dir.path().join("access.log");
    let access_log = AccessLog::open(&log, AccessLogFormat::Combined).unwrap();
    let socket = Listen::Unix(UnixSocket::new(&path).mode(0o600));
    let server = serve_with(|builder| builder.listen(socket).access_log(access_log));
    for _ in 0..10 {
        assert!(ask(UnixStream::connect(&path).unwrap()).ends_with("now /now"));
        assert!(ask(TcpStream::connect(server.address).unwrap()).ends_with("now /now"));
    }
    server.handle.stop();
    server.await_end(Duration::from_secs(5));
    assert!(!path.exists(), "the socket is left behind");
    let lines = std::fs::read_to_string(&log).unwrap();
    assert_eq!(lines.lines().filter(|line| line.starts_with("unix: - - [")).count(), 10);
    assert_eq!(lines.lines().filter(|line| line.starts_with("127.0.0.1 - - [")).count(), 10);
}

#[test]
fn connections_made_before_a_stop_are_answered_after_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("socket");
    let builder = Server::builder(TestApp::default()).bind("127.0.0.1:0");
    let server = builder.listen(Listen::Unix(UnixSocket::new(&path))).event_loops(2).build().unwrap();
    let address = server.local_addr().unwrap();
    let mut tcp: Vec<TcpStream> = (0..30).map(|_| TcpStream::connect(address).unwrap()).collect();
    let mut unix: Vec<UnixStream> = (0..30).map(|_| UnixStream::connect(&path).unwrap()).collect();
    server.handle().stop();
    let running = std::thread::spawn(|| server.run());
    for stream in &mut tcp {
        assert!(ask(stream).ends_with("now /now"));
    }
    for stream in &mut unix {
        assert!(ask(stream).ends_with("now /now"));
    }
    running.join().unwrap().unwrap();
}

#[test]
fn applications_are_told_who_is_at_the_other_end() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("socket");
    let socket = Listen::Unix(UnixSocket::new(&path));
    let server = serve_with(|builder| builder.listen(socket));
    let mut stream = UnixStream::connect(&path).unwrap();
    stream.write_all(b"GET /now/peer HTTP/1.0\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.ends_with("Some(Unix)"), "{answer}");
    assert_eq!(server.connect().get("/now/peer").body, b"Some(Ip(127.0.0.1))");
}

#[test]
fn a_socket_in_use_fails_the_build_and_its_server_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("socket");
    let socket = || Listen::Unix(UnixSocket::new(&path));
    let _server = serve_with(|builder| builder.listen(socket()));
    let error = Server::builder(TestApp::default()).listen(socket()).build().unwrap_err().to_string();
    assert!(error.contains("in use"), "{error}");
    assert!(ask(UnixStream::connect(&path).unwrap()).ends_with("now /now"));
}

/// This test program again, as a server on its standard input; see [`serve_what_is_inherited`].
fn child(stdin: impl Into<OwnedFd>) -> (Child, String) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "--nocapture", "an_inherited_port_is_served"]);
    command.env("TEST_LISTEN", "fd:0").stdin(stdin.into()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let address = loop {
        let mut line = String::new();
        assert!(output.read_line(&mut line).unwrap() > 0, "the server does not start");
        if let Some((_, address)) = line.trim_end().split_once("SERVING ") {
            break address.to_owned();
        }
    };
    // What else it writes must find a reader.
    child.stdout = Some(output.into_inner());
    (child, address)
}

/// What the other process does.
fn serve_what_is_inherited(listen: &str) {
    let listen: Listen = listen.parse().unwrap();
    let server =
        Server::builder(TestApp::default()).listen(listen).stop_on_signals(true).on_hangup(|| {}).build().unwrap();
    let addresses: Vec<String> = server.addresses().map(ListenAddr::to_string).collect();
    println!("SERVING {}", addresses.join(" "));
    server.run().unwrap();
}

fn terminate(mut child: Child) {
    Command::new("kill").arg(child.id().to_string()).status().unwrap();
    assert!(child.wait().unwrap().success());
}

#[test]
fn an_inherited_port_is_served() {
    if let Ok(listen) = std::env::var("TEST_LISTEN") {
        return serve_what_is_inherited(&listen);
    }
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (child, shown) = child(listener);
    assert_eq!(shown, address.to_string());
    assert!(ask(TcpStream::connect(address).unwrap()).ends_with("now /now"));
    terminate(child);
}

#[test]
fn an_inherited_socket_file_is_served_and_stays_its_owners() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("socket");
    let listener = UnixListener::bind(&path).unwrap();
    let (child, shown) = child(listener);
    assert_eq!(shown, format!("unix:{}", path.display()));
    assert!(ask(UnixStream::connect(&path).unwrap()).ends_with("now /now"));
    terminate(child);
    assert!(path.exists());
}

#[test]
fn sockets_of_systemd_are_served_and_systemd_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let notified = UnixDatagram::bind(dir.path().join("notify")).unwrap();
    notified.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    // The shell moves the socket to where systemd would put it. It keeps its process id, which systemd would name.
    let program = std::env::current_exe().unwrap();
    let script = "export LISTEN_PID=$$; exec \"$0\" \"$@\" 3<&0 0</dev/null";
    let mut command = Command::new("sh");
    command.args(["-c", script]).arg(program);
    command.args(["--exact", "--nocapture", "an_inherited_port_is_served"]);
    command.env("TEST_LISTEN", "systemd:maps").env("LISTEN_FDS", "1").env("LISTEN_FDNAMES", "maps");
    command.env("NOTIFY_SOCKET", dir.path().join("notify")).stdin(OwnedFd::from(listener)).stdout(Stdio::piped());
    let child = command.spawn().unwrap();
    let told = || {
        let mut buffer = [0; 100];
        let count = notified.recv(&mut buffer).unwrap();
        String::from_utf8_lossy(&buffer[..count]).trim().to_owned()
    };
    assert_eq!(told(), "READY=1");
    assert!(ask(TcpStream::connect(address).unwrap()).ends_with("now /now"));
    Command::new("kill").args(["-HUP", &child.id().to_string()]).status().unwrap();
    let reloading = told();
    assert!(reloading.starts_with("RELOADING=1\nMONOTONIC_USEC="), "{reloading}");
    assert_eq!(told(), "READY=1");
    terminate(child);
    assert_eq!(told(), "STOPPING=1");
}

#[test]
fn without_systemd_its_sockets_are_refused() {
    let listen: Listen = "systemd".parse().unwrap();
    let error = Server::builder(TestApp::default()).listen(listen).build().unwrap_err().to_string();
    assert!(error.contains("LISTEN_FDS"), "{error}");
}

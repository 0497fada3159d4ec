//! The server as clients see it: real sockets on ephemeral ports, an application made for the purpose.

#![cfg(feature = "server")]
#![allow(clippy::unwrap_used)]

mod support;

use std::io::Read;
use std::net::TcpStream;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use support::{Client, Running, serve, serve_with};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn one_connection_serves_many_requests() {
    let server = serve();
    let mut client = server.connect();
    for number in 0..50 {
        let answer = client.get(&format!("/now/{number}"));
        assert_eq!((answer.status, answer.body.as_slice()), (200, format!("now /now/{number}").as_bytes()));
        let answer = client.get(&format!("/slow/{number}"));
        assert_eq!((answer.status, answer.body.as_slice()), (200, format!("called /slow/{number}").as_bytes()));
    }
}

#[test]
fn requests_sent_ahead_are_answered_in_order() {
    let server = serve();
    let mut client = server.connect();
    let mut requests = String::new();
    for number in 0..20 {
        let kind = if number % 3 == 0 { "slow" } else { "now" };
        requests.push_str(&format!("GET /{kind}/{number} HTTP/1.1\r\nHost: test\r\n\r\n"));
    }
    client.send(requests.as_bytes());
    for number in 0..20 {
        let body = String::from_utf8(client.answer().body).unwrap();
        assert!(body.ends_with(&format!("/{number}")), "{body} is not answer {number}");
    }
}

#[test]
fn answers_carry_length_date_and_server() {
    let server = serve();
    let answer = server.connect().get("/now");
    assert_eq!(answer.header("content-length"), Some("8"));
    assert_eq!(answer.header("server"), Some("MapProxy"));
    assert!(answer.header("date").is_some_and(|date| date.ends_with(" GMT")), "{:?}", answer.headers);
}

#[test]
fn head_has_the_headers_of_get_and_no_body() {
    let server = serve();
    for path in ["/now", "/slow"] {
        let get = server.connect().get(path);
        let mut client = server.connect();
        client.send(format!("HEAD {path} HTTP/1.1\r\nHost: test\r\n\r\nGET /now/next HTTP/1.1\r\n\r\n").as_bytes());
        let head = client.head();
        assert_eq!(head.header("content-length"), get.header("content-length"));
        assert_eq!(head.header("content-type"), get.header("content-type"));
        // If a body had been sent it would be taken for the next answer.
        assert_eq!(client.answer().body, b"now /now/next");
    }
}

#[test]
fn a_304_has_neither_length_nor_body() {
    let server = serve();
    let mut client = server.connect();
    let answer = client.get("/now/unchanged");
    assert_eq!((answer.status, answer.header("content-length")), (304, None));
    assert_eq!(client.get("/now").body, b"now /now");
}

#[test]
fn any_method_is_answered_like_get_and_bodies_are_read() {
    let server = serve();
    let mut client = server.connect();
    for method in ["OPTIONS", "DELETE", "PROPFIND"] {
        client.send(format!("{method} /now HTTP/1.1\r\nHost: test\r\n\r\n").as_bytes());
        assert_eq!(client.answer().body, b"now /now");
    }
    client.send(b"POST /length HTTP/1.1\r\nHost: test\r\nContent-Length: 5\r\n\r\nhello");
    assert_eq!(client.answer().body, b"5 bytes");
    client.send(
        b"POST /length HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n",
    );
    assert_eq!(client.answer().body, b"7 bytes");
    client.send(b"POST /length HTTP/1.1\r\nHost: test\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n");
    assert_eq!(client.head().status, 100);
    client.send(b"ab");
    assert_eq!(client.answer().body, b"2 bytes");
}

#[test]
fn tunnels_are_refused() {
    let server = serve();
    let mut client = server.connect();
    client.send(b"CONNECT other:443 HTTP/1.1\r\nHost: other\r\n\r\n");
    assert_eq!(client.answer().status, 501);
    assert!(client.is_closed_within(SECOND));
}

#[test]
fn clients_of_http_1_0_are_served_and_their_connection_closed_unless_they_ask() {
    let server = serve();
    let mut client = server.connect();
    client.send(b"GET /slow HTTP/1.0\r\n\r\n");
    assert_eq!(client.answer().body, b"called /slow");
    assert!(client.is_closed_within(SECOND));
    let mut client = server.connect();
    for _ in 0..2 {
        client.send(b"GET /now HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
        let answer = client.answer();
        assert_eq!(answer.header("connection"), Some("keep-alive"));
    }
}

#[test]
fn large_answers_arrive_whole() {
    let server = serve();
    let mut client = server.connect();
    for path in ["/now/large", "/slow/large"] {
        let body = client.get(path).body;
        assert_eq!(body.len(), 20 << 20);
        assert!(body.iter().enumerate().all(|(at, byte)| *byte == (at % 251) as u8), "{path} is garbled");
    }
}

#[test]
fn a_head_that_is_too_large_is_refused() {
    let server = serve_with(|builder| builder.max_head(16 << 10));
    let mut client = server.connect();
    let answer = client.get(&format!("/now?{}", "a".repeat(15 << 10)));
    assert_eq!(answer.status, 200);
    client.send_ignoring_errors(format!("GET /now HTTP/1.1\r\nA: {}\r\n\r\n", "a".repeat(17 << 10)).as_bytes());
    assert_eq!(client.answer().status, 431);
    let mut client = server.connect();
    let headers: String = (0..200).map(|number| format!("A{number}: b\r\n")).collect();
    client.send_ignoring_errors(format!("GET /now HTTP/1.1\r\n{headers}\r\n").as_bytes());
    assert_eq!(client.answer().status, 431);
}

#[test]
fn nonsense_is_answered_with_400() {
    let server = serve();
    for nonsense in
        ["\x16\x03\x01\x02", "GET\r\n\r\n", "GET /a b HTTP/1.1\r\n\r\n", "GET / HTTP/1.1\r\nno colon\r\n\r\n"]
    {
        let mut client = server.connect();
        client.send(nonsense.as_bytes());
        assert_eq!(client.answer().status, 400, "{nonsense:?}");
    }
    assert_eq!(server.connect().get("/now").status, 200);
}

#[test]
fn a_body_that_is_too_large_is_refused_announced_or_not() {
    let server = serve_with(|builder| builder.max_body(1000));
    let mut client = server.connect();
    client.send(b"POST /length HTTP/1.1\r\nContent-Length: 1001\r\n\r\n");
    assert_eq!(client.answer().status, 413);
    assert!(client.is_closed_within(SECOND));
    let mut client = server.connect();
    client.send(b"POST /length HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n");
    for _ in 0..11 {
        client.send_ignoring_errors(format!("64\r\n{}\r\n", "b".repeat(100)).as_bytes());
    }
    assert_eq!(client.answer().status, 413);
    let mut client = server.connect();
    client.send(format!("POST /length HTTP/1.1\r\nContent-Length: 1000\r\n\r\n{}", "b".repeat(1000)).as_bytes());
    assert_eq!(client.answer().body, b"1000 bytes");
}

#[test]
fn a_body_that_takes_too_long_is_refused() {
    let server = serve_with(|builder| builder.body_timeout(Duration::from_millis(200)));
    let mut client = server.connect();
    client.send(b"POST /length HTTP/1.1\r\nContent-Length: 10\r\n\r\nabc");
    assert_eq!(client.answer().status, 408);
    assert!(client.is_closed_within(SECOND));
}

#[test]
fn a_head_that_trickles_in_is_cut_off_and_others_are_served_meanwhile() {
    let server = serve_with(|builder| builder.head_timeout(Duration::from_millis(300)));
    let mut slow: Vec<Client> = (0..100).map(|_| server.connect()).collect();
    let begun = Instant::now();
    let mut open = true;
    while open && begun.elapsed() < 5 * SECOND {
        for client in &mut slow {
            client.send_ignoring_errors(b"G");
        }
        assert_eq!(server.connect().get("/now").status, 200);
        thread::sleep(Duration::from_millis(20));
        open = slow.iter_mut().any(|client| !client.is_closed_within(Duration::from_millis(1)));
    }
    assert!(!open, "a client may send its head for ever");
    assert!(begun.elapsed() >= Duration::from_millis(300), "cut off after {:?} already", begun.elapsed());
}

#[test]
fn idle_connections_are_closed_silent_ones_sooner_and_waiting_ones_never() {
    let limits = (Duration::from_millis(100), Duration::from_millis(700));
    let server = serve_with(|builder| builder.head_timeout(limits.0).idle_timeout(limits.1));
    let mut silent = server.connect();
    let mut idle = server.connect();
    assert_eq!(idle.get("/now").status, 200);
    let mut waiting = server.connect();
    waiting.send(b"GET /wait HTTP/1.1\r\n\r\n");
    assert!(silent.is_closed_within(Duration::from_millis(500)));
    assert!(!idle.is_closed_within(Duration::from_millis(1)));
    assert_eq!(idle.get("/now").status, 200);
    assert!(idle.is_closed_within(3 * SECOND));
    thread::sleep(Duration::from_millis(300));
    server.app.open_gate();
    assert_eq!(waiting.answer().body, b"called /wait");
}

#[test]
fn a_client_that_does_not_take_its_answer_is_cut_off_one_that_takes_it_slowly_is_not() {
    let server = serve_with(|builder| builder.idle_timeout(Duration::from_millis(400)));
    let mut stalled = server.connect();
    stalled.send(b"GET /now/large HTTP/1.1\r\n\r\n");
    let mut slow = server.connect();
    slow.send(b"GET /now/large HTTP/1.1\r\n\r\n");
    let (begun, mut taken) = (Instant::now(), 0);
    let mut buffer = vec![0; 2 << 20];
    while taken < 20 << 20 {
        let count = slow.stream().read(&mut buffer).unwrap();
        assert!(count > 0, "cut off after {taken} bytes");
        taken += count;
        thread::sleep(Duration::from_millis(50));
    }
    assert!(begun.elapsed() > Duration::from_millis(450), "the test was too fast to mean anything");
    let mut rest = Vec::new();
    stalled.stream().set_read_timeout(Some(5 * SECOND)).unwrap();
    let end = stalled.stream().read_to_end(&mut rest);
    assert!(end.is_err() || rest.len() < 20 << 20, "the whole answer was kept for a client that did not take it");
}

#[test]
fn blocked_requests_do_not_hold_up_those_that_can_be_answered_now() {
    let server = serve();
    let mut blocked: Vec<Client> = (0..200).map(|_| server.connect()).collect();
    for client in &mut blocked {
        client.send(b"GET /wait HTTP/1.1\r\nHost: test\r\n\r\n");
    }
    server.app.await_waiting(200);
    let mut client = server.connect();
    let begun = Instant::now();
    for _ in 0..1000 {
        assert_eq!(client.get("/now").body, b"now /now");
    }
    assert!(begun.elapsed() < 5 * SECOND, "1000 immediate answers took {:?}", begun.elapsed());
    server.app.open_gate();
    for client in &mut blocked {
        assert_eq!(client.answer().body, b"called /wait");
    }
}

#[test]
fn too_many_requests_at_once_are_told_to_come_back() {
    let server = serve_with(|builder| builder.workers(2).queue(3));
    let mut blocked: Vec<Client> = (0..6).map(|_| server.connect()).collect();
    for (number, client) in blocked.iter_mut().enumerate() {
        client.send(b"GET /wait HTTP/1.1\r\n\r\n");
        server.app.await_waiting(number.min(1) + 1);
    }
    // Two are at work and three in the queue; whichever was read last is refused.
    let begun = Instant::now();
    let place = loop {
        match blocked.iter_mut().position(Client::has_answer) {
            Some(place) => break place,
            None => assert!(begun.elapsed() < 10 * SECOND, "nobody is refused"),
        }
    };
    let mut refused = blocked.remove(place);
    let answer = refused.answer();
    assert_eq!((answer.status, answer.header("retry-after")), (503, Some("5")));
    assert_eq!(refused.get("/now").status, 200);
    server.app.open_gate();
    for client in &mut blocked {
        assert_eq!(client.answer().status, 200);
    }
    assert_eq!(refused.get("/slow").status, 200);
}

#[test]
fn a_request_whose_client_left_while_it_was_queued_is_not_made() {
    let server = serve_with(|builder| builder.workers(1).queue(10));
    let mut blocking = server.connect();
    blocking.send(b"GET /wait HTTP/1.1\r\n\r\n");
    server.app.await_waiting(1);
    let mut leaving = server.connect();
    leaving.send(b"GET /counted HTTP/1.1\r\n\r\n");
    thread::sleep(Duration::from_millis(100));
    drop(leaving);
    thread::sleep(Duration::from_millis(100));
    server.app.open_gate();
    assert_eq!(blocking.answer().status, 200);
    assert_eq!(server.connect().get("/slow").status, 200);
    assert_eq!(server.app.counted.load(Ordering::Relaxed), 0);
}

#[test]
fn a_panic_is_answered_with_500_and_harms_nobody_else() {
    let server = serve();
    let mut client = server.connect();
    let answer = client.get("/panic");
    assert_eq!((answer.status, answer.body.as_slice()), (500, &b"internal error"[..]));
    assert_eq!(client.get("/slow").status, 200);
}

#[test]
fn beyond_the_limit_connections_wait_until_others_end() {
    let server = serve_with(|builder| builder.max_connections(3));
    let mut first: Vec<Client> = (0..3).map(|_| server.connect()).collect();
    for client in &mut first {
        assert_eq!(client.get("/now").status, 200);
    }
    let mut late = server.connect();
    late.send(b"GET /now HTTP/1.1\r\n\r\n");
    assert!(late.is_silent_for(Duration::from_millis(200)));
    first.pop();
    assert_eq!(late.answer().status, 200);
}

#[test]
fn a_stop_answers_what_has_begun_and_closes_what_is_idle() {
    let server = serve();
    let mut idle = server.connect();
    assert_eq!(idle.get("/now").status, 200);
    let mut at_work = server.connect();
    at_work.send(b"GET /wait HTTP/1.1\r\n\r\n");
    server.app.await_waiting(1);
    let address = server.address;
    server.handle.stop();
    assert!(idle.is_closed_within(SECOND));
    assert!(!server.has_ended());
    assert!(TcpStream::connect(address).is_err(), "new connections are accepted after the stop");
    server.app.open_gate();
    let answer = at_work.answer();
    assert_eq!((answer.body.as_slice(), answer.header("connection")), (&b"called /wait"[..], Some("close")));
    server.await_end(SECOND);
}

#[test]
fn a_request_on_a_kept_connection_just_after_a_stop_is_answered_for_the_last_time() {
    let server = serve();
    let (mut kept, mut fresh) = (server.connect(), server.connect());
    assert_eq!(kept.get("/now").header("connection"), None);
    server.handle.stop();
    std::thread::sleep(Duration::from_millis(50));
    for client in [&mut kept, &mut fresh] {
        for path in ["/now", "/later"] {
            client.send_ignoring_errors(format!("GET {path} HTTP/1.1\r\n\r\n").as_bytes());
        }
        let answer = client.answer();
        assert_eq!((answer.status, answer.header("connection")), (200, Some("close")));
        assert!(client.is_closed_within(Duration::from_millis(200)));
    }
    server.await_end(SECOND);
}

#[test]
fn a_stop_does_not_wait_for_ever() {
    let server = serve_with(|builder| builder.stop_timeout(Duration::from_millis(200)));
    let mut at_work = server.connect();
    at_work.send(b"GET /wait HTTP/1.1\r\n\r\n");
    server.app.await_waiting(1);
    server.handle.stop();
    server.await_end(2 * SECOND);
}

#[test]
fn an_address_in_use_is_said_to_be() {
    let server = serve();
    let error = mapproxy_http::Server::builder(support::TestApp::default())
        .bind(server.address.to_string())
        .build()
        .unwrap_err()
        .to_string();
    assert!(error.contains(&server.address.to_string()) && error.contains("in use"), "{error}");
    let error =
        mapproxy_http::Server::builder(support::TestApp::default()).bind("127.0.0.1").build().unwrap_err().to_string();
    assert!(error.contains("127.0.0.1"), "{error}");
}

#[test]
fn requests_are_logged() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("access.log");
    let log = mapproxy_http::AccessLog::open(&path, mapproxy_http::AccessLogFormat::Combined).unwrap();
    let server = serve_with(|builder| builder.access_log(log));
    let mut client = server.connect();
    client.send(b"GET /now?a=b HTTP/1.1\r\nUser-Agent: tester\r\nReferer: http://here/\r\n\r\n");
    client.answer();
    client.get("/slow");
    client.send(b"HEAD /now HTTP/1.1\r\n\r\n");
    client.head();
    drop(client);
    server.handle.stop();
    server.await_end(5 * SECOND);
    let lines = std::fs::read_to_string(&path).unwrap();
    let lines: Vec<&str> = lines.lines().collect();
    assert_eq!(lines.len(), 3, "{lines:?}");
    assert!(lines[0].starts_with("127.0.0.1 - - ["), "{}", lines[0]);
    assert!(lines[0].ends_with("] \"GET /now?a=b HTTP/1.1\" 200 8 \"http://here/\" \"tester\" -"), "{}", lines[0]);
    assert!(lines[1].ends_with("] \"GET /slow HTTP/1.1\" 200 12 \"-\" \"-\" -"), "{}", lines[1]);
    assert!(lines[2].ends_with("] \"HEAD /now HTTP/1.1\" 200 0 \"-\" \"-\" -"), "{}", lines[2]);
}

#[test]
fn several_event_loops_share_the_connections() {
    let server: Running = serve_with(|builder| builder.event_loops(3));
    let mut clients: Vec<Client> = (0..9).map(|_| server.connect()).collect();
    let mut threads: Vec<String> =
        clients.iter_mut().map(|client| String::from_utf8(client.get("/now/thread").body).unwrap()).collect();
    threads.sort();
    assert_eq!(threads.chunk_by(|a, b| a == b).map(<[String]>::len).collect::<Vec<_>>(), [3, 3, 3]);
}

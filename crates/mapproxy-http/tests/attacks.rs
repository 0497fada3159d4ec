//! Clients that mean harm, or cannot help it: they send slowly, take slowly, come in crowds. The server is a process of
//! its own, so that its memory and its open files can be counted.

#![cfg(all(target_os = "linux", feature = "fastcgi"))]
#![allow(clippy::unwrap_used)]

mod support;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use mapproxy_http::{Protocol, Server};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use support::{Client, TestApp};

const SECOND: Duration = Duration::from_secs(1);
const MIB: u64 = 1 << 20;

/// What the other process does: it serves until it is ended.
fn be_the_victim(protocol: &str) {
    let number = |name: &str| std::env::var(name).unwrap().parse::<u64>().unwrap();
    let mut builder = Server::builder(TestApp::default()).bind("127.0.0.1:0").event_loops(2).stop_on_signals(true);
    if protocol == "fastcgi" {
        builder = builder.protocol(Protocol::FastCgi);
    }
    let server = builder
        .head_timeout(Duration::from_millis(number("TEST_HEAD_TIMEOUT")))
        .idle_timeout(2 * SECOND)
        .max_connections(number("TEST_CONNECTIONS") as usize)
        .build()
        .unwrap();
    println!("SERVING {}", server.local_addr().unwrap());
    server.run().unwrap();
}

/// The server under attack.
struct Victim {
    process: Child,
    address: SocketAddr,
}

impl Victim {
    fn start(protocol: &str, head_timeout: Duration, connections: usize) -> Victim {
        // Both ends of the connections need files.
        let limit = getrlimit(Resource::Nofile);
        let current = limit.maximum.map_or(8192, |maximum| maximum.min(8192));
        setrlimit(Resource::Nofile, Rlimit { current: Some(current), ..limit }).unwrap();

        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args([
            "--exact",
            "--nocapture",
            "a_crowd_beyond_the_limit_waits_outside_and_others_get_in_when_it_is_cut_off",
        ]);
        command.stdout(Stdio::piped());
        command.env("TEST_PROTOCOL", protocol).env("TEST_HEAD_TIMEOUT", head_timeout.as_millis().to_string());
        command.env("TEST_CONNECTIONS", connections.to_string());
        let mut process = command.spawn().unwrap();
        let mut output = BufReader::new(process.stdout.take().unwrap());
        let address = loop {
            let mut line = String::new();
            assert!(output.read_line(&mut line).unwrap() > 0, "the server does not start");
            if let Some((_, address)) = line.trim_end().split_once("SERVING ") {
                break address.parse().unwrap();
            }
        };
        process.stdout = Some(output.into_inner());
        let victim = Victim { process, address };
        // With the first answer everything is open that the server itself needs.
        let mut stream = victim.attacker();
        let request: &[u8] = match protocol {
            "http" => b"GET /now HTTP/1.0\r\n\r\n",
            _ => b"\x01\x09\0\0\0\0\0\0",
        };
        stream.write_all(request).unwrap();
        stream.read_exact(&mut [0; 8]).unwrap();
        drop(stream);
        thread::sleep(Duration::from_millis(100));
        victim
    }

    fn attacker(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream
    }

    /// Bytes of memory in use.
    fn memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap() * 1024
    }

    fn open_files(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.process.id())).unwrap().count()
    }

    fn await_open_files(&self, count: usize) {
        let begun = Instant::now();
        while self.open_files() > count {
            assert!(begun.elapsed() < 15 * SECOND, "{} files are open, {count} were before", self.open_files());
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// An honest client, with all the patience it needs.
    fn assert_serves(&self, patience: Duration) {
        let begun = Instant::now();
        let answer = Client::connect(self.address).get("/now");
        assert_eq!((answer.status, answer.body.as_slice()), (200, &b"now /now"[..]));
        assert!(begun.elapsed() < patience, "an honest client waited for {:?}", begun.elapsed());
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        // The test is over, one way or the other.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Whether the server has hung up.
fn is_cut_off(stream: &mut TcpStream) -> bool {
    stream.set_nonblocking(true).unwrap();
    let mut buffer = [0; 512];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) => return error.kind() != std::io::ErrorKind::WouldBlock,
        }
    }
}

#[test]
fn two_thousand_clients_that_send_a_byte_at_a_time_are_cut_off_and_others_served() {
    for protocol in ["http", "fastcgi"] {
        let victim = Victim::start(protocol, 2 * SECOND, 10_000);
        let (memory, files) = (victim.memory(), victim.open_files());
        let mut attackers: Vec<TcpStream> = (0..2000).map(|_| victim.attacker()).collect();
        // A head that never ends, in either protocol.
        let drip = if protocol == "http" { b'a' } else { 1 };
        let begun = Instant::now();
        let mut most = 0;
        while !attackers.is_empty() {
            attackers.retain_mut(|stream| stream.write_all(&[drip]).is_ok() && !is_cut_off(stream));
            if protocol == "http" {
                victim.assert_serves(SECOND);
            }
            most = most.max(victim.memory());
            assert!(begun.elapsed() < 20 * SECOND, "{} attackers are still connected", attackers.len());
            thread::sleep(Duration::from_millis(50));
        }
        println!("{protocol}: {} KiB per attacker, {:?}", (most.saturating_sub(memory)) / 2000 / 1024, begun.elapsed());
        assert!(most < memory + 64 * MIB, "{} MiB more", (most - memory) / MIB);
        victim.await_open_files(files);
    }
}

#[test]
fn a_crowd_beyond_the_limit_waits_outside_and_others_get_in_when_it_is_cut_off() {
    if let Ok(protocol) = std::env::var("TEST_PROTOCOL") {
        return be_the_victim(&protocol);
    }
    let victim = Victim::start("http", SECOND, 100);
    let (memory, files) = (victim.memory(), victim.open_files());
    let crowd: Vec<TcpStream> = (0..500).map(|_| victim.attacker()).collect();
    thread::sleep(Duration::from_millis(300));
    assert!(victim.open_files() <= files + 100 + 10, "{} files for 100 connections", victim.open_files());
    // Five times the limit is before it; each hundred goes after a second.
    victim.assert_serves(30 * SECOND);
    assert!(victim.memory() < memory + 16 * MIB);
    drop(crowd);
    victim.await_open_files(files);
    victim.assert_serves(SECOND);
}

#[test]
fn clients_that_hardly_take_their_answers_cost_little_and_are_cut_off() {
    let victim = Victim::start("http", SECOND, 10_000);
    let mut client = Client::connect(victim.address);
    assert_eq!(client.get("/now/shared").body.len(), 10 << 20);
    drop(client);
    let (memory, files) = (victim.memory(), victim.open_files());
    let mut attackers: Vec<TcpStream> = (0..300).map(|_| victim.attacker()).collect();
    for stream in &mut attackers {
        stream.write_all(b"GET /now/shared HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
    }
    let begun = Instant::now();
    let mut most = 0;
    for _ in 0..3 {
        for stream in &mut attackers {
            // A byte a second.
            stream.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
            let _ = stream.read(&mut [0]);
        }
        victim.assert_serves(SECOND);
        most = most.max(victim.memory());
        thread::sleep(SECOND.saturating_sub(begun.elapsed() / 3));
    }
    println!("{} KiB per attacker", most.saturating_sub(memory) / 300 / 1024);
    assert!(most < memory + 64 * MIB, "{} MiB more", (most - memory) / MIB);
    // What lies in the buffers of the system counts as taken; after that nothing is.
    victim.await_open_files(files);
}

#[test]
fn half_closed_pipelined_and_vanishing_clients_leave_nothing_behind() {
    for protocol in ["http", "fastcgi"] {
        let victim = Victim::start(protocol, SECOND, 10_000);
        let files = victim.open_files();
        for number in 0..500 {
            let mut stream = victim.attacker();
            let request = match number % 4 {
                0 => "GET /slow HTTP/1.1\r\nHost: test\r\n\r\n".repeat(20),
                1 => "GET /now HTTP/1.1\r\nHost: te".to_owned(),
                2 => "POST /length HTTP/1.1\r\nContent-Length: 100\r\n\r\nabc".to_owned(),
                _ => String::new(),
            };
            let _ = stream.write_all(request.as_bytes());
            if number % 3 == 0 {
                let _ = stream.shutdown(Shutdown::Write);
                let _ = stream.set_read_timeout(Some(Duration::from_millis(10)));
                let _ = stream.read(&mut [0; 100]);
            }
        }
        victim.await_open_files(files);
        if protocol == "http" {
            victim.assert_serves(SECOND);
        }
    }
}

//! `cargo xtask bench`: the served path under load, beside what the machine can do at all.
//!
//! Starts `mapproxy-util serve` on a copy of the example map and asks it over connections that stay open. The same load
//! goes to a bare server in this process that sends equal bytes from memory: its rate is the ceiling of this machine
//! with this load generator, and the ratio to it is the figure to compare between runs. Ceiling and program take turns,
//! so that a busy moment hits both.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::http::Connection;
use crate::server::Server;
use crate::workspace;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Command of the mapproxy-util to measure, instead of the one built here
    #[arg(long, value_name = "CMD")]
    server: Option<String>,
    /// Only scenarios whose name has this word
    #[arg(long, value_name = "NAME")]
    only: Option<String>,
    /// Seconds per round
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// Rounds, of which the median counts
    #[arg(long, default_value_t = 3)]
    rounds: usize,
}

struct Scenario {
    name: &'static str,
    connections: usize,
    path: &'static str,
    headers: &'static str,
}

const MAP: &str = "/service?SERVICE=WMS&VERSION=1.1.1&REQUEST=GetMap&LAYERS=world&STYLES=&WIDTH=1024&HEIGHT=768";

const SCENARIOS: &[Scenario] = &[
    Scenario { name: "tile", connections: 16, path: "/wmts/world/GLOBAL_WEBMERCATOR/3/4/2.png", headers: "" },
    Scenario {
        name: "tile-1-connection",
        connections: 1,
        path: "/wmts/world/GLOBAL_WEBMERCATOR/3/4/2.png",
        headers: "",
    },
    Scenario {
        name: "tile-not-modified",
        connections: 16,
        path: "/wmts/world/GLOBAL_WEBMERCATOR/3/4/2.png",
        headers: "If-None-Match: *\r\n",
    },
    Scenario {
        name: "capabilities",
        connections: 4,
        path: "/service?SERVICE=WMS&REQUEST=GetCapabilities",
        headers: "",
    },
    Scenario {
        name: "map-png",
        connections: 4,
        path: "&SRS=EPSG:3857&BBOX=-3000000,2000000,7000000,9500000&FORMAT=image/png",
        headers: "",
    },
    Scenario {
        name: "map-jpeg",
        connections: 4,
        path: "&SRS=EPSG:3857&BBOX=-3000000,2000000,7000000,9500000&FORMAT=image/jpeg",
        headers: "",
    },
    Scenario {
        name: "map-reprojected",
        connections: 4,
        path: "&SRS=EPSG:25832&BBOX=-1500000,3900000,2500000,6900000&FORMAT=image/png",
        headers: "",
    },
];

/// Rate and latencies of one round.
#[derive(Clone, Copy)]
struct Figures {
    per_second: f64,
    median: Duration,
    p99: Duration,
    bytes: usize,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let command = match &arguments.server {
        Some(command) => command.clone(),
        None => workspace::build_program()?.display().to_string(),
    };
    let folder = workspace::target_directory()?.join("bench");
    if folder.exists() {
        fs::remove_dir_all(&folder).context("cannot empty the folder of the bench")?;
    }
    fs::create_dir_all(&folder).context("cannot create the folder of the bench")?;
    for entry in fs::read_dir(workspace::root().join("examples/world"))? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            fs::copy(entry.path(), folder.join(entry.file_name()))?;
        }
    }
    let server = Server::start(&command, "serve", &folder.join("mapproxy.yaml"), Stdio::inherit())?;
    let duration = Duration::from_secs_f64(arguments.seconds);

    println!(
        "{:<20} {:>10} {:>10} {:>10} {:>10} {:>10}",
        "scenario", "req/s", "of ceiling", "p50 ms", "p99 ms", "bytes"
    );
    let wanted =
        |scenario: &&Scenario| arguments.only.as_ref().is_none_or(|word| scenario.name.contains(word.as_str()));
    for scenario in SCENARIOS.iter().filter(wanted) {
        let path =
            if scenario.path.starts_with('/') { scenario.path.to_owned() } else { format!("{MAP}{}", scenario.path) };
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{}\r\n", scenario.headers);
        let answer = first_answer(server.port, &request).with_context(|| format!("{}: {path}", scenario.name))?;
        let ceiling = Ceiling::start(answer)?;
        let mut ours = Vec::new();
        let mut most = Vec::new();
        for _ in 0..arguments.rounds.max(1) {
            ours.push(load(server.port, &request, scenario.connections, duration)?);
            most.push(load(ceiling.port, &request, scenario.connections, duration)?);
        }
        let (ours, most) = (median(ours), median(most));
        println!(
            "{:<20} {:>10.0} {:>10.2} {:>10.3} {:>10.3} {:>10}",
            scenario.name,
            ours.per_second,
            ours.per_second / most.per_second,
            ours.median.as_secs_f64() * 1e3,
            ours.p99.as_secs_f64() * 1e3,
            ours.bytes
        );
    }
    Ok(())
}

/// Of the rounds, the one with the median rate.
fn median(mut rounds: Vec<Figures>) -> Figures {
    rounds.sort_by(|one, other| one.per_second.total_cmp(&other.per_second));
    rounds[rounds.len() / 2]
}

/// Warms what is cached and returns the second answer, head and body.
fn first_answer(port: u16, request: &str) -> Result<Vec<u8>> {
    let mut connection = Connection::open(port)?;
    connection.ask(request)?;
    connection.ask(request)?;
    ensure!(
        matches!(connection.status(), 200 | 304),
        "the answer is no success: {}",
        String::from_utf8_lossy(&connection.answer[..connection.answer.len().min(400)])
    );
    Ok(connection.answer)
}

fn load(port: u16, request: &str, connections: usize, duration: Duration) -> Result<Figures> {
    let begin = Instant::now();
    let worker = || -> Result<(Vec<Duration>, usize)> {
        let (mut connection, mut times) = (Connection::open(port)?, Vec::new());
        while begin.elapsed() < duration {
            let asked = Instant::now();
            connection.ask(request)?;
            times.push(asked.elapsed());
        }
        Ok((times, connection.answer.len()))
    };
    let results: Result<Vec<_>> = thread::scope(|scope| {
        let workers: Vec<_> = (0..connections).map(|_| scope.spawn(worker)).collect();
        workers.into_iter().map(|worker| worker.join().expect("workers return their errors")).collect()
    });
    let results = results?;
    let elapsed = begin.elapsed();
    let bytes = results.first().map_or(0, |result| result.1);
    let mut times: Vec<Duration> = results.into_iter().flat_map(|result| result.0).collect();
    ensure!(!times.is_empty(), "no request was answered");
    times.sort();
    let at = |part: f64| times[((times.len() - 1) as f64 * part) as usize];
    Ok(Figures { per_second: times.len() as f64 / elapsed.as_secs_f64(), median: at(0.5), p99: at(0.99), bytes })
}

/// Sends the same bytes to whatever is asked, a thread per connection.
struct Ceiling {
    port: u16,
    stop: Arc<AtomicBool>,
}

impl Ceiling {
    fn start(answer: Vec<u8>) -> Result<Ceiling> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let port = listener.local_addr()?.port();
        let stop = Arc::new(AtomicBool::new(false));
        let (answer, stopped) = (Arc::new(answer), stop.clone());
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if stopped.load(Ordering::Relaxed) {
                    break;
                }
                let answer = answer.clone();
                thread::spawn(move || serve_always(stream, &answer));
            }
        });
        Ok(Ceiling { port, stop })
    }
}

impl Drop for Ceiling {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // Wakes the thread that accepts; if that fails it waits for nobody, which harms nobody.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

/// Until the client goes away.
fn serve_always(stream: TcpStream, answer: &[u8]) {
    let _ = stream.set_nodelay(true);
    let mut reader = BufReader::new(stream);
    let mut line = Vec::new();
    loop {
        line.clear();
        match reader.read_until(b'\n', &mut line) {
            Ok(count) if count > 0 => {}
            _ => return,
        }
        if line == b"\r\n" && reader.get_mut().write_all(answer).is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_load_generator_reads_whole_answers_over_one_connection() {
        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello".to_vec();
        let ceiling = Ceiling::start(answer.clone()).unwrap();
        assert_eq!(first_answer(ceiling.port, "GET / HTTP/1.1\r\nHost: x\r\n\r\n").unwrap(), answer);
        let figures = load(ceiling.port, "GET / HTTP/1.1\r\n\r\n", 2, Duration::from_millis(50)).unwrap();
        assert!(figures.per_second > 100.0 && figures.median <= figures.p99);
        assert_eq!(figures.bytes, answer.len());
    }

    #[test]
    fn an_answer_that_is_no_success_is_not_measured() {
        let ceiling = Ceiling::start(b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n".to_vec()).unwrap();
        assert!(first_answer(ceiling.port, "GET / HTTP/1.1\r\n\r\n").is_err());
    }
}

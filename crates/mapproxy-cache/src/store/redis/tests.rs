//! What needs no server, and a small one that speaks just enough of the protocol; the real one is asked in tests/e2e.

use std::collections::HashMap;
use std::io::{BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use mapproxy_grid::TileCoord;

use super::*;
use crate::store::conformance::store_suite;

fn options(port: u16) -> RedisOptions {
    RedisOptions {
        host: "127.0.0.1".to_owned(),
        port,
        db: 0,
        username: None,
        password: None,
        prefix: "osm_GLOBAL_WEBMERCATOR".to_owned(),
        ttl: Some(Duration::from_secs(3600)),
        tls: None,
    }
}

fn key() -> TileKey {
    TileKey::new(TileCoord::new(1, 2, 3))
}

fn tile() -> TileData {
    TileData::new(Bytes::from_static(b"tile"))
}

type Values = HashMap<String, (Vec<u8>, Option<u64>)>;

/// A server of one database whose values never expire; an old one does not know `PEXPIRETIME`.
struct Server {
    port: u16,
    commands: Arc<Mutex<Vec<String>>>,
    connections: Arc<AtomicUsize>,
    streams: Arc<Mutex<Vec<TcpStream>>>,
}

impl Server {
    fn start(is_old: bool) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = Server {
            port: listener.local_addr().unwrap().port(),
            commands: Arc::default(),
            connections: Arc::default(),
            streams: Arc::default(),
        };
        let (commands, connections) = (Arc::clone(&server.commands), Arc::clone(&server.connections));
        let (streams, values) = (Arc::clone(&server.streams), Arc::new(Mutex::new(Values::new())));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(stream) = stream else { break };
                connections.fetch_add(1, Ordering::SeqCst);
                streams.lock().unwrap().push(stream.try_clone().unwrap());
                let (commands, values) = (Arc::clone(&commands), Arc::clone(&values));
                std::thread::spawn(move || serve(stream, &commands, &values, is_old));
            }
        });
        server
    }

    /// As a restart does.
    fn close_all(&self) {
        for stream in self.streams.lock().unwrap().drain(..) {
            let _ = stream.shutdown(std::net::Shutdown::Both);
        }
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64
}

fn serve(stream: TcpStream, commands: &Mutex<Vec<String>>, values: &Mutex<Values>, is_old: bool) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut writer = stream;
    while let Some(words) = read_command(&mut reader) {
        let texts: Vec<String> = words.iter().map(|word| String::from_utf8_lossy(word).into_owned()).collect();
        commands.lock().unwrap().push(texts.join(" "));
        let mut values = values.lock().unwrap();
        let end = |key: &str, values: &Values| match values.get(key) {
            None => -2,
            Some((_, None)) => -1,
            Some((_, Some(end))) => *end as i64,
        };
        let bulk = |value: Option<&[u8]>| match value {
            None => b"$-1\r\n".to_vec(),
            Some(value) => [format!("${}\r\n", value.len()).as_bytes(), value, b"\r\n"].concat(),
        };
        let get = |key: &str, values: &Values| bulk(values.get(key).map(|(value, _)| value.as_slice()));
        let answer = match texts[0].as_str() {
            "GET" => get(&texts[1], &values),
            "MGET" => {
                let all: Vec<u8> = texts[1..].iter().flat_map(|key| get(key, &values)).collect();
                [format!("*{}\r\n", texts.len() - 1).into_bytes(), all].concat()
            }
            "SET" => {
                let ttl: Option<u64> =
                    (texts.get(3).map(String::as_str) == Some("PX")).then(|| texts[4].parse().unwrap());
                values.insert(texts[1].clone(), (words[2].clone(), ttl.map(|ttl| now() + ttl)));
                b"+OK\r\n".to_vec()
            }
            "STRLEN" => format!(":{}\r\n", values.get(&texts[1]).map_or(0, |(value, _)| value.len())).into_bytes(),
            "UNLINK" => {
                let removed = texts[1..].iter().filter(|key| values.remove(*key).is_some()).count();
                format!(":{removed}\r\n").into_bytes()
            }
            "PEXPIRETIME" if !is_old => format!(":{}\r\n", end(&texts[1], &values)).into_bytes(),
            "PTTL" => {
                let end = end(&texts[1], &values);
                format!(":{}\r\n", if end < 0 { end } else { end - now() as i64 }).into_bytes()
            }
            "SCAN" => {
                // Like the real one, which promises neither order nor that a page has something.
                let start = texts[3].trim_end_matches('*').replace('\\', "");
                let found: Vec<_> = values.keys().filter(|key| key.starts_with(&start)).collect();
                let (next, page) = if texts[1] == "0" { ("7", &found[..found.len() / 2]) } else { ("0", &found[..]) };
                let page: Vec<u8> = page.iter().flat_map(|key| bulk(Some(key.as_bytes()))).collect();
                let count = page.iter().filter(|byte| **byte == b'$').count();
                [b"*2\r\n".to_vec(), bulk(Some(next.as_bytes())), format!("*{count}\r\n").into_bytes(), page].concat()
            }
            "CLIENT" => b"+OK\r\n".to_vec(),
            other => format!("-ERR unknown command '{other}'\r\n").into_bytes(),
        };
        if writer.write_all(&answer).is_err() {
            break;
        }
    }
}

fn read_command(reader: &mut impl std::io::BufRead) -> Option<Vec<Vec<u8>>> {
    let mut number = |mark: char| {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let number: usize = line.trim_end().strip_prefix(mark)?.parse().ok()?;
        if mark == '*' {
            return Some((number, Vec::new()));
        }
        let mut word = vec![0; number + 2];
        reader.read_exact(&mut word).ok()?;
        word.truncate(number);
        Some((number, word))
    };
    let (count, _) = number('*')?;
    (0..count).map(|_| number('$').map(|(_, word)| word)).collect()
}

#[test]
fn it_is_a_store_with_and_without_times() {
    for ttl in [Some(3600), None] {
        store_suite(|| {
            let server = Server::start(false);
            let options = RedisOptions { ttl: ttl.map(Duration::from_secs), ..options(server.port) };
            (RedisStore::new(options).unwrap(), server)
        });
    }
}

#[test]
fn a_server_that_knows_no_end_but_the_time_left_tells_when_a_tile_was_stored() {
    let server = Server::start(true);
    let store = RedisStore::new(options(server.port)).unwrap();
    store.store(&key(), &tile()).unwrap();
    for _ in 0..2 {
        let modified = store.load(&key()).unwrap().unwrap().meta.modified.unwrap();
        assert!(modified.elapsed().unwrap() < Duration::from_secs(3));
    }
    let asked = server.commands.lock().unwrap().iter().filter(|command| command.starts_with("PEXPIRETIME")).count();
    assert_eq!(asked, 1, "asked once, and never again");
    store.remove_level(3, Some(SystemTime::now() + Duration::from_secs(60))).unwrap();
    assert!(store.load(&key()).unwrap().is_none());
}

#[test]
fn keys_and_names_of_locks_are_mapproxys() {
    let store = RedisStore::new(options(6379)).unwrap();
    assert_eq!(store.key(&key()).unwrap(), "osm_GLOBAL_WEBMERCATOR-3-1-2");
    assert_eq!(store.lock_id(), "redis-5d0efb15d3365e337a30ea1b3caafa98");
    let dated = TileKey { dimensions: [("time".to_owned(), "2020".to_owned())].into(), ..key() };
    assert_eq!(store.key(&dated).unwrap(), "osm_GLOBAL_WEBMERCATOR-3-1-2/time-2020");
}

#[test]
fn a_meta_tile_is_one_exchange_each_way() {
    let server = Server::start(false);
    let store = RedisStore::new(options(server.port)).unwrap();
    let tiles: Vec<_> = (0..3).map(|x| (TileKey::new(TileCoord::new(x, 0, 3)), tile())).collect();
    store.store_many(&tiles).unwrap();
    let keys: Vec<_> = tiles.iter().map(|(key, _)| key.clone()).collect();
    assert!(store.load_many(&keys).unwrap().iter().all(Option::is_some));
    let commands = server.commands.lock().unwrap();
    let ours: Vec<_> = commands.iter().filter(|command| !command.starts_with("CLIENT")).collect();
    assert_eq!(ours[0], "SET osm_GLOBAL_WEBMERCATOR-3-0-0 tile PX 3600000");
    assert_eq!(
        ours.last().unwrap().as_str(),
        "MGET osm_GLOBAL_WEBMERCATOR-3-0-0 osm_GLOBAL_WEBMERCATOR-3-1-0 osm_GLOBAL_WEBMERCATOR-3-2-0"
    );
    assert_eq!(server.connections.load(Ordering::SeqCst), 1);
}

#[test]
fn a_level_of_another_cache_whose_name_begins_the_same_is_left_alone() {
    let server = Server::start(false);
    let store =
        |prefix: &str| RedisStore::new(RedisOptions { prefix: prefix.to_owned(), ..options(server.port) }).unwrap();
    let (short, long) = (store("a"), store("a-3"));
    long.store(&key(), &tile()).unwrap();
    short.store(&key(), &tile()).unwrap();
    short.remove_level(3, None).unwrap();
    assert!(short.load(&key()).unwrap().is_none());
    assert!(long.load(&key()).unwrap().is_some());
}

#[test]
fn letters_with_a_meaning_for_searches_mean_themselves_in_a_prefix() {
    let store = RedisStore::new(RedisOptions { prefix: "a*[b]?\\".to_owned(), ..options(1) }).unwrap();
    assert_eq!(store.pattern(Some(7)), "a\\*\\[b\\]\\?\\\\-7-*");
    assert_eq!(store.parse("a*[b]?\\-7-1-2/time-2020"), Some((TileCoord::new(1, 2, 7), "time-2020")));
    for other in ["aX[b]?\\-7-1-2", "a*[b]?\\-7-1-2-3", "a*[b]?\\-7-1", "a*[b]?\\-7-01-2", "a*[b]?\\-300-1-2"] {
        assert_eq!(store.parse(other), None, "{other}");
    }
}

#[test]
fn a_server_that_was_restarted_costs_no_tile() {
    let server = Server::start(false);
    let store = RedisStore::new(options(server.port)).unwrap();
    store.store(&key(), &tile()).unwrap();
    server.close_all();
    assert!(store.load(&key()).unwrap().is_some());
    assert_eq!(server.connections.load(Ordering::SeqCst), 2);
}

#[test]
fn a_server_that_is_not_there_is_told_at_once_and_makes_nobody_wait() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let store = RedisStore::new(RedisOptions { password: Some("geheim".to_owned()), ..options(port) }).unwrap();
    let begun = Instant::now();
    for _ in 0..1000 {
        let error = store.load(&key()).unwrap_err().to_string();
        assert!(
            error.starts_with(&format!("read osm_GLOBAL_WEBMERCATOR-3-1-2 in redis 127.0.0.1:{port} (db 0): ")),
            "{error}"
        );
        assert!(error.contains("refused") && !error.contains("geheim"), "{error}");
    }
    assert!(begun.elapsed() < Duration::from_secs(5));
    assert!(!format!("{store:?}").contains("geheim"));
}

/// Accepts connections and never says anything.
#[test]
fn a_server_that_hangs_costs_one_request_one_timeout() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let store = RedisStore::new(options(listener.local_addr().unwrap().port())).unwrap();
    let keys: Vec<_> = (0..100).map(|x| TileKey::new(TileCoord::new(x, 0, 9))).collect();
    let begun = Instant::now();
    assert!(store.load_many(&keys).unwrap_err().to_string().contains("no answer in time"));
    assert!(begun.elapsed() < Duration::from_secs(7), "{:?}", begun.elapsed());
    let begun = Instant::now();
    assert!(keys.iter().all(|key| store.load(key).is_err()));
    assert!(begun.elapsed() < Duration::from_secs(1));
}

#[test]
fn files_of_tls_that_cannot_be_read_are_named() {
    let tls = RedisTls { ca_certs: Some("/nowhere/ca.pem".into()), certificate: None };
    let error = RedisStore::new(RedisOptions { tls: Some(tls), ..options(6379) }).unwrap_err();
    assert!(error.contains("/nowhere/ca.pem"), "{error}");
}

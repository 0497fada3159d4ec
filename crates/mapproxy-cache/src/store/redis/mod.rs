//! Tiles as values of a Redis server.
//!
//! The key of a tile is MapProxy's, `<prefix>-<z>-<x>-<y>`, and so is the way its age is limited: values expire. With a
//! limit, the moment a tile was stored is that of its expiry less the limit; without one, Redis keeps no time. Tiles of
//! other dimensions have those behind the key: `…-<y>/elevation-3000/time-2012-11-12`.
//!
//! Nothing is connected before the first tile is asked for, and a server that is away makes nobody wait (`presence.rs`).

mod pool;

use std::collections::HashSet;
use std::collections::hash_map::RandomState;
use std::fmt;
use std::hash::BuildHasher as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use mapproxy_grid::TileCoord;
use redis::{
    Client, ClientTlsConfig, ConnectionAddr, ConnectionInfo, IntoConnectionInfo as _, Pipeline, RedisConnectionInfo,
    TlsCertificates, Value,
};

use self::pool::Pool;
use super::compact::{Defragment, Defragmented};
use super::layout::{dimension_directories, dimensions_of};
use super::presence::Presence;
use super::visit::{Detail, Halt, SeenTile, Visit, Visited, Visitor, ended, show};
use super::{AtOnce, Capabilities, Look, StoreError, Stored, StoredTile, TileData, TileMeta, TileStore};
use crate::TileKey;
use crate::fs::explain;
use crate::lock::lock_id;

/// Where tiles are kept, and how.
#[derive(Clone)]
pub struct RedisOptions {
    /// Name or address of the server.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Number of the database.
    pub db: i64,
    /// For a server that asks who we are.
    pub username: Option<String>,
    /// For a server that asks who we are.
    pub password: Option<String>,
    /// Begins all keys.
    pub prefix: String,
    /// How long a tile is kept; `None`: until somebody removes it.
    pub ttl: Option<Duration>,
    /// Speak TLS.
    pub tls: Option<RedisTls>,
}

/// How to speak TLS.
#[derive(Clone, Debug, Default)]
pub struct RedisTls {
    /// Our certificate and its key (PEM).
    pub certificate: Option<(PathBuf, PathBuf)>,
    /// Whom to trust (PEM); `None`: the system's authorities.
    pub ca_certs: Option<PathBuf>,
}

impl fmt::Debug for RedisOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let RedisOptions { host, port, db, prefix, ttl, .. } = self;
        write!(f, "RedisOptions({host}:{port}, db {db}, prefix {prefix}, ttl {ttl:?})")
    }
}

/// Tiles in a Redis server.
pub struct RedisStore {
    options: RedisOptions,
    pool: Pool,
    presence: Presence,
    /// The server is older than 7.0 and cannot tell when a value expires, only how long that will take.
    is_old: AtomicBool,
}

impl fmt::Debug for RedisStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisStore").field("options", &self.options).finish_non_exhaustive()
    }
}

/// Keys asked for in one go.
const KEYS_AT_ONCE: usize = 128;

/// Bytes sent in one go; a larger tile goes alone.
const BYTES_AT_ONCE: usize = 4 << 20;

impl RedisStore {
    /// Connects to nothing yet; the error is a file of `tls` that cannot be used.
    pub fn new(options: RedisOptions) -> Result<Self, String> {
        let RedisOptions { host, port, db, .. } = &options;
        let presence = Presence::new(format!("redis {host}:{port} (db {db})"), "mapproxy.cache.redis");
        let pool = Pool::new(client(&options)?);
        Ok(RedisStore { options, pool, presence, is_old: AtomicBool::new(false) })
    }

    fn key(&self, TileKey { coord, dimensions }: &TileKey) -> Result<String, StoreError> {
        let mut key = format!("{}-{}-{}-{}", self.options.prefix, coord.z, coord.x, coord.y);
        if !dimensions.is_empty() {
            let directories = dimension_directories(dimensions).map_err(|error| StoreError {
                action: "name",
                what: format!("tile {key}"),
                reason: error.to_string(),
            })?;
            key.push('/');
            key.push_str(directories.to_string_lossy().trim_end_matches('/'));
        }
        Ok(key)
    }

    /// Asks the server, if it is there.
    fn ask(&self, action: &'static str, key: &str, commands: &Pipeline) -> Result<Vec<Value>, StoreError> {
        self.presence.ask(|| self.pool.ask(commands)).map_err(|reason| StoreError {
            action,
            what: format!("{key} in {}", self.presence.server()),
            reason,
        })
    }

    /// As [`RedisStore::ask`] with commands that get the times of keys, which depend on the server.
    fn ask_with_times(
        &self,
        action: &'static str,
        key: &str,
        commands: impl Fn(&str) -> Pipeline,
    ) -> Result<Vec<Value>, StoreError> {
        if !self.is_old.load(Ordering::Relaxed) {
            match self.ask(action, key, &commands("PEXPIRETIME")) {
                Err(error) if error.reason.to_ascii_lowercase().contains("unknown command") => {
                    self.is_old.store(true, Ordering::Relaxed);
                }
                answer => return answer,
            }
        }
        self.ask(action, key, &commands("PTTL"))
    }

    /// When a tile was stored, by what the server says of its end.
    fn stored_at(&self, end: &Value) -> Option<SystemTime> {
        let (ttl, &Value::Int(end)) = (self.options.ttl?, end) else { return None };
        // Below zero: there is no such key, or it has no end.
        let end = Duration::from_millis(u64::try_from(end).ok()?);
        if !self.is_old.load(Ordering::Relaxed) {
            return UNIX_EPOCH.checked_add(end)?.checked_sub(ttl);
        }
        // Whole seconds: what is told again a moment later should be the same.
        let stored = SystemTime::now().checked_add(end)?.checked_sub(ttl)?;
        let seconds = stored.duration_since(UNIX_EPOCH).ok()?.as_secs();
        UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
    }

    fn tile(&self, value: Value, end: &Value) -> Option<StoredTile> {
        let Value::BulkString(bytes) = value else { return None };
        if bytes.is_empty() {
            return None;
        }
        let meta = TileMeta { modified: self.stored_at(end), size: bytes.len() as u64 };
        Some(StoredTile { bytes: Bytes::from(bytes), meta })
    }

    fn has_times(&self) -> bool {
        self.options.ttl.is_some()
    }

    /// A search pattern for the keys of a level, or of all: those of others may match it, too.
    fn pattern(&self, level: Option<u8>) -> String {
        let mut pattern = String::with_capacity(self.options.prefix.len() + 8);
        for letter in self.options.prefix.chars() {
            if matches!(letter, '*' | '?' | '[' | ']' | '^' | '\\') {
                pattern.push('\\');
            }
            pattern.push(letter);
        }
        match level {
            Some(level) => pattern + &format!("-{level}-*"),
            None => pattern + "-*",
        }
    }

    /// The tile that a key is of, and the directories of its dimensions.
    fn parse<'a>(&self, key: &'a str) -> Option<(TileCoord, &'a str)> {
        let rest = key.strip_prefix(&self.options.prefix)?.strip_prefix('-')?;
        let (place, dimensions) = rest.split_once('/').unwrap_or((rest, ""));
        let mut numbers = place.split('-').map(|text| {
            let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            // What has zeros before it is not what this cache writes.
            text.parse::<u32>().ok().filter(|number| is_number && number.to_string().len() == text.len())
        });
        let (z, x, y) = (numbers.next()??, numbers.next()??, numbers.next()??);
        let coord = TileCoord::new(x, y, u8::try_from(z).ok()?);
        numbers.next().is_none().then_some((coord, dimensions))
    }

    /// Goes through the keys that may be of tiles of a level, or of any.
    fn scan(&self, level: Option<u8>, mut look: impl FnMut(Vec<String>) -> Result<(), Halt>) -> Result<(), Halt> {
        let what = level.map_or("keys".to_owned(), |level| format!("keys of level {level}"));
        let pattern = self.pattern(level);
        let mut cursor = Vec::from(*b"0");
        loop {
            let mut commands = redis::pipe();
            commands.cmd("SCAN").arg(&cursor).arg("MATCH").arg(&pattern).arg("COUNT").arg(1000);
            let answer = self.ask("list", &what, &commands)?.pop();
            let Some(Value::Array(mut answer)) = answer else { break };
            let (Some(Value::Array(found)), Some(Value::BulkString(next))) = (answer.pop(), answer.pop()) else {
                break;
            };
            let text = |value| match value {
                Value::BulkString(bytes) => String::from_utf8(bytes).ok(),
                _ => None,
            };
            look(found.into_iter().filter_map(text).collect())?;
            cursor = next;
            if cursor == b"0" {
                break;
            }
        }
        Ok(())
    }

    /// Shows the tiles of some keys. A key twice in a scan comes soon after the first time, when the server has made its
    /// table smaller: `recent` has those seen lately.
    fn visit_keys(
        &self,
        names: Vec<String>,
        recent: &mut Recent,
        wanted: &Visit,
        visitor: Visitor<'_>,
    ) -> Result<(), Halt> {
        let mut tiles: Vec<(String, TileKey)> = Vec::with_capacity(names.len());
        for name in names {
            match self.parse(&name) {
                Some((coord, dimensions)) if wanted.wants(coord) => {
                    let key = TileKey { coord, dimensions: dimensions_of(dimensions) };
                    if recent.is_new(&name) {
                        tiles.push((name, key));
                    }
                }
                Some(_) => {}
                None if wanted.level.is_none() && recent.is_new(&name) => {
                    let name = format!("{name} in {}", self.presence.server());
                    show(visitor, Visited::Foreign { name })?;
                }
                None => {}
            }
        }
        for some in tiles.chunks(KEYS_AT_ONCE) {
            let seen: Vec<Option<SeenTile>> = match wanted.detail {
                Detail::Keys => {
                    some.iter().map(|(_, key)| Some(SeenTile { key: key.clone(), meta: None, bytes: None })).collect()
                }
                Detail::Meta => {
                    let answer = self.ask_with_times("read", &some[0].0, |end| {
                        let mut commands = redis::pipe();
                        for (name, _) in some {
                            commands.cmd(end).arg(name).cmd("STRLEN").arg(name);
                        }
                        commands
                    })?;
                    let meta = |pair: &[Value]| match pair {
                        [end, Value::Int(size @ 1..)] => {
                            Some(TileMeta { modified: self.stored_at(end), size: size.unsigned_abs() })
                        }
                        _ => None,
                    };
                    let metas = answer.chunks(2).map(meta).chain(std::iter::repeat(None));
                    some.iter()
                        .zip(metas)
                        .map(|((_, key), meta)| Some(SeenTile { key: key.clone(), meta: Some(meta?), bytes: None }))
                        .collect()
                }
                Detail::Bytes => {
                    let keys: Vec<TileKey> = some.iter().map(|(_, key)| key.clone()).collect();
                    let tiles = self.load_many(&keys)?;
                    let seen = |(key, tile): (TileKey, Option<StoredTile>)| {
                        let StoredTile { bytes, meta } = tile?;
                        Some(SeenTile { key, meta: Some(meta), bytes: Some(bytes) })
                    };
                    keys.into_iter().zip(tiles).map(seen).collect()
                }
            };
            // Those that went in the meantime are not shown.
            for seen in seen.into_iter().flatten() {
                show(visitor, Visited::Tile(seen))?;
            }
        }
        Ok(())
    }

    fn remove_keys(&self, level: u8, keys: &[String], before: Option<SystemTime>) -> Result<(), StoreError> {
        let Some(first) = keys.first() else { return Ok(()) };
        let old: Vec<&String> = match before {
            None => keys.iter().collect(),
            Some(before) => {
                let times = self.ask_with_times("read", first, |end| {
                    let mut commands = redis::pipe();
                    keys.iter().for_each(|key| {
                        commands.cmd(end).arg(key);
                    });
                    commands
                })?;
                let is_old = |end: &Value| self.stored_at(end).is_some_and(|stored| stored <= before);
                keys.iter().zip(&times).filter(|(_, end)| is_old(end)).map(|(key, _)| key).collect()
            }
        };
        if old.is_empty() {
            return Ok(());
        }
        let mut commands = redis::pipe();
        commands.cmd("UNLINK").arg(&old);
        self.ask("remove", &format!("level {level}"), &commands).map(drop)
    }
}

/// Names seen lately, by their hashes.
#[derive(Debug, Default)]
struct Recent {
    now: HashSet<u64>,
    before: HashSet<u64>,
    hasher: RandomState,
}

/// So many names are remembered, at least.
const RECENT: usize = 200_000;

impl Recent {
    fn is_new(&mut self, name: &str) -> bool {
        let hash = self.hasher.hash_one(name);
        if self.now.len() >= RECENT {
            self.before = std::mem::take(&mut self.now);
        }
        !self.before.contains(&hash) && self.now.insert(hash)
    }
}

/// The library's view of the options.
fn client(options: &RedisOptions) -> Result<Client, String> {
    let address = match &options.tls {
        None => ConnectionAddr::Tcp(options.host.clone(), options.port),
        Some(_) => {
            ConnectionAddr::TcpTls { host: options.host.clone(), port: options.port, insecure: false, tls_params: None }
        }
    };
    // A server that hangs should not be found out by what nobody needs.
    let mut settings = RedisConnectionInfo::default().set_db(options.db).set_skip_set_lib_name();
    if let Some(username) = &options.username {
        settings = settings.set_username(username);
    }
    if let Some(password) = &options.password {
        settings = settings.set_password(password);
    }
    let info: ConnectionInfo = address.into_connection_info().map_err(|error| error.to_string())?;
    let info = info.set_redis_settings(settings);
    let client = match &options.tls {
        None => Client::open(info),
        Some(tls) => {
            let client_tls = match &tls.certificate {
                None => None,
                Some((certificate, key)) => {
                    Some(ClientTlsConfig { client_cert: read(certificate)?, client_key: read(key)? })
                }
            };
            let root_cert = tls.ca_certs.as_deref().map(read).transpose()?;
            Client::build_with_tls(info, TlsCertificates { client_tls, root_cert })
        }
    };
    client.map_err(|error| error.to_string())
}

fn read(file: &Path) -> Result<Vec<u8>, String> {
    std::fs::read(file).map_err(|error| format!("{}: {}", file.display(), explain(&error)))
}

#[deny(clippy::missing_trait_methods)]
impl TileStore for RedisStore {
    fn capabilities(&self) -> Capabilities {
        Capabilities { timestamps: self.has_times(), dimensions: true, single_color: false }
    }

    fn lock_id(&self) -> String {
        let RedisOptions { host, port, prefix, db, .. } = &self.options;
        lock_id("redis-", format!("{host}{port}{prefix}{db}"))
    }

    fn load(&self, key: &TileKey) -> Result<Option<StoredTile>, StoreError> {
        let key = self.key(key)?;
        let mut answer = if self.has_times() {
            // The time first: a tile that is stored in between looks older than it is, and is asked for again.
            self.ask_with_times("read", &key, |end| {
                let mut commands = redis::pipe();
                commands.cmd(end).arg(&key).cmd("GET").arg(&key);
                commands
            })?
        } else {
            self.ask("read", &key, redis::pipe().cmd("GET").arg(&key))?
        };
        let value = answer.pop().unwrap_or_default();
        Ok(self.tile(value, &answer.pop().unwrap_or_default()))
    }

    fn load_at_once(&self, _key: &TileKey) -> Result<AtOnce, StoreError> {
        Ok(AtOnce::Unknown)
    }

    fn store(&self, key: &TileKey, tile: &TileData) -> Result<(), StoreError> {
        self.store_many(&[(key.clone(), tile.clone())])
    }

    fn remove(&self, key: &TileKey) -> Result<(), StoreError> {
        let key = self.key(key)?;
        self.ask("remove", &key, redis::pipe().cmd("UNLINK").arg(&key)).map(drop)
    }

    fn remove_level(&self, level: u8, before: Option<SystemTime>) -> Result<(), StoreError> {
        if before.is_some() && !self.has_times() {
            return Err(StoreError {
                action: "clean",
                what: format!("level {level} in {}", self.presence.server()),
                reason: "without default_ttl no tile has a time; remove all of them instead".to_owned(),
            });
        }
        ended(self.scan(Some(level), |names| {
            let is_of_level = |name: &String| self.parse(name).is_some_and(|(coord, _)| coord.z == level);
            let keys: Vec<String> = names.into_iter().filter(is_of_level).collect();
            self.remove_keys(level, &keys, before).map_err(Halt::from)
        }))
    }

    fn visit(&self, wanted: &Visit, visitor: Visitor<'_>) -> Result<(), StoreError> {
        let mut recent = Recent::default();
        ended(self.scan(wanted.level, |names| self.visit_keys(names, &mut recent, wanted, visitor)))
    }

    fn place(&self, key: &TileKey) -> String {
        let name = self.key(key).unwrap_or_else(|_| self.options.prefix.clone());
        format!("{name} in {}", self.presence.server())
    }

    fn defragment(&self, _: Defragment, _: &mut dyn FnMut(&Defragmented)) -> Result<bool, StoreError> {
        Ok(false)
    }

    fn level_folder(&self, _level: u8) -> Option<PathBuf> {
        None
    }

    fn remove_many(&self, keys: &[TileKey]) -> Result<(), StoreError> {
        let names = keys.iter().map(|key| self.key(key)).collect::<Result<Vec<_>, _>>()?;
        for names in names.chunks(1000) {
            self.ask("remove", &names[0], redis::pipe().cmd("UNLINK").arg(names))?;
        }
        Ok(())
    }

    fn sweep(&self, _keys: &[TileKey]) {}

    fn metadata(&self, key: &TileKey) -> Result<Option<TileMeta>, StoreError> {
        let key = self.key(key)?;
        let answer = self.ask_with_times("read", &key, |end| {
            let mut commands = redis::pipe();
            commands.cmd(end).arg(&key).cmd("STRLEN").arg(&key);
            commands
        })?;
        let [end, Value::Int(size @ 1..)] = answer.as_slice() else { return Ok(None) };
        Ok(Some(TileMeta { modified: self.stored_at(end), size: size.unsigned_abs() }))
    }

    fn times(&self, keys: &[TileKey], look: Look) -> Result<Vec<Option<Stored>>, StoreError> {
        let names = keys.iter().map(|key| self.key(key)).collect::<Result<Vec<_>, _>>()?;
        let with_times = look == Look::Times && self.has_times();
        let mut found = Vec::with_capacity(keys.len());
        for names in names.chunks(KEYS_AT_ONCE) {
            let sizes = |mut commands: Pipeline| {
                names.iter().for_each(|name| {
                    commands.cmd("STRLEN").arg(name);
                });
                commands
            };
            let what = format!("{} and others", names[0]);
            let mut answer = if with_times {
                self.ask_with_times("read", &what, |end| {
                    let mut commands = redis::pipe();
                    names.iter().for_each(|name| {
                        commands.cmd(end).arg(name);
                    });
                    sizes(commands)
                })?
            } else {
                self.ask("read", &what, &sizes(redis::pipe()))?
            };
            let sizes = answer.split_off(answer.len().saturating_sub(names.len()));
            answer.resize(names.len(), Value::Nil);
            found.extend(sizes.iter().zip(&answer).map(|(size, end)| match size {
                Value::Int(1..) => Some(Stored { modified: self.stored_at(end).filter(|_| with_times) }),
                _ => None,
            }));
        }
        Ok(found)
    }

    fn load_many(&self, keys: &[TileKey]) -> Result<Vec<Option<StoredTile>>, StoreError> {
        let names = keys.iter().map(|key| self.key(key)).collect::<Result<Vec<_>, _>>()?;
        let mut tiles = Vec::with_capacity(keys.len());
        for names in names.chunks(KEYS_AT_ONCE) {
            let what = format!("{} and others", names[0]);
            let mut answer = self.ask_with_times("read", &what, |end| {
                let mut commands = redis::pipe();
                if self.has_times() {
                    names.iter().for_each(|name| {
                        commands.cmd(end).arg(name);
                    });
                }
                commands.cmd("MGET").arg(names);
                commands
            })?;
            let values = match answer.pop() {
                Some(Value::Array(values)) if values.len() == names.len() => values,
                _ => vec![Value::Nil; names.len()],
            };
            answer.resize(names.len(), Value::Nil);
            tiles.extend(values.into_iter().zip(&answer).map(|(value, end)| self.tile(value, end)));
        }
        Ok(tiles)
    }

    fn reload(&self, keys: &[TileKey]) -> Result<Vec<Option<StoredTile>>, StoreError> {
        self.load_many(keys)
    }

    fn store_many(&self, tiles: &[(TileKey, TileData)]) -> Result<(), StoreError> {
        let (mut commands, mut waiting, mut bytes) = (redis::pipe(), 0, 0);
        for (index, (key, tile)) in tiles.iter().enumerate() {
            let name = self.key(key)?;
            commands.cmd("SET").arg(&name).arg(&tile.bytes[..]);
            if let Some(ttl) = self.options.ttl {
                commands.arg("PX").arg(u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX));
            }
            waiting += 1;
            bytes += tile.bytes.len();
            let next = tiles.get(index + 1).map(|(_, tile)| tile.bytes.len());
            if next.is_none_or(|next| waiting == KEYS_AT_ONCE || bytes + next > BYTES_AT_ONCE) {
                self.ask("write", &name, &commands)?;
                (commands, waiting, bytes) = (redis::pipe(), 0, 0);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;

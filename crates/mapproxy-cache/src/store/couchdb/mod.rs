//! Tiles as documents of a CouchDB database, each with the tile as attachment: MapProxy's documents.
//!
//! Tiles are stored in bulk; where a document is there already, its revision is looked up and it is stored again.
//! Tiles of other dimensions have those behind the document's name: `…/elevation-3000/time-2012-11-12`. Nothing is asked
//! before the first tile is, and a server that is away makes nobody wait (`presence.rs`).

mod template;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use mapproxy_client::{
    ClientError, Credentials, ErrorKind, HttpClient, Method, Peer, RedactedUrl, UpstreamRequest, UpstreamResponse,
};
use mapproxy_grid::TileGrid;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Map, Value, json};

use self::template::{Metadata, TileId};
use super::compact::{Defragment, Defragmented};
use super::layout::{dimension_directories, dimensions_of};
use super::presence::{Failure, Presence};
use super::visit::{Detail, Halt, SeenTile, Visit, Visited, Visitor, ended, show};
use super::{AtOnce, Capabilities, Look, StoreError, Stored, StoredTile, TileData, TileMeta, TileStore};
use crate::TileKey;
use crate::lock::lock_id;
use crate::parallel::try_map;

/// Where tiles are kept, and how.
#[derive(Clone)]
pub struct CouchdbOptions {
    /// Address of the server, with user and password where it asks for them.
    pub url: String,
    /// Name of the database; CouchDB has only small letters.
    pub database: String,
    /// Template of the names of documents; `None`: `%(grid_name)s-%(z)s-%(x)s-%(y)s`.
    pub tile_id: Option<String>,
    /// What else documents say: constants, and words such as `{{x}}`.
    pub metadata: Vec<(String, Value)>,
    /// The grid.
    pub grid: Arc<TileGrid>,
    /// Of the tiles: `png` for `image/png`.
    pub extension: String,
}

/// Tiles in a CouchDB database.
pub struct CouchdbStore {
    client: Arc<dyn HttpClient>,
    credentials: Option<Arc<Credentials>>,
    /// Of the database, without credentials.
    url: String,
    lock_id: String,
    tile_id: TileId,
    metadata: Metadata,
    grid: Arc<TileGrid>,
    content_type: String,
    presence: Presence,
    /// The database was there, or was made.
    is_made: AtomicBool,
}

impl fmt::Debug for CouchdbStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CouchdbStore({})", RedactedUrl::new(&self.url))
    }
}

/// What may stand in a path as it is.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// Documents loaded at once, each in a request of its own.
const LOADS_AT_ONCE: usize = 4;
/// Bytes of tiles stored in one request; a larger tile goes alone.
const BYTES_AT_ONCE: usize = 4 << 20;
/// Documents looked at in one request while a level is removed.
const PAGE: usize = 1000;
/// Tiles in memory at once while all are read.
const READ_AT_ONCE: usize = 64;
/// How often somebody else may be faster.
const ATTEMPTS: usize = 4;

impl CouchdbStore {
    /// Asks nothing yet; the error is a template that is none.
    pub fn new(options: &CouchdbOptions, client: Arc<dyn HttpClient>) -> Result<Self, String> {
        let (url, credentials) = Credentials::split(&options.url);
        // As in any address, but unlike in those of sources, where MapProxy takes them as written.
        let credentials = credentials.map(|credentials| credentials.percent_decoded());
        let database = options.database.to_lowercase();
        let database = utf8_percent_encode(&database, PLAIN);
        let url = format!("{}/{database}", url.trim_end_matches('/'));
        let template = options.tile_id.as_deref().unwrap_or(TileId::DEFAULT);
        Ok(CouchdbStore {
            client,
            credentials,
            presence: Presence::new(format!("couchdb {}", RedactedUrl::new(&url)), "mapproxy.cache.couchdb"),
            url,
            lock_id: lock_id("couchdb-", format!("{}{}", options.url, options.database)),
            tile_id: TileId::parse(template, options.grid.name()).map_err(|error| format!("tile_id: {error}"))?,
            metadata: Metadata::parse(&options.metadata).map_err(|error| format!("tile_metadata: {error}"))?,
            grid: Arc::clone(&options.grid),
            content_type: format!("image/{}", options.extension),
            is_made: AtomicBool::new(false),
        })
    }

    fn name(&self, TileKey { coord, dimensions }: &TileKey) -> Result<String, StoreError> {
        let mut name = self.tile_id.name(*coord);
        if !dimensions.is_empty() {
            let directories = dimension_directories(dimensions).map_err(|error| StoreError {
                action: "name",
                what: format!("tile {name}"),
                reason: error.to_string(),
            })?;
            name.push('/');
            name.push_str(directories.to_string_lossy().trim_end_matches('/'));
        }
        Ok(name)
    }

    fn request(&self, method: Method, path: &str) -> UpstreamRequest {
        UpstreamRequest::new(method, format!("{}{path}", self.url))
            .to(Peer::Store)
            .with_credentials(self.credentials.clone())
    }

    fn document(&self, method: Method, name: &str, query: &str) -> UpstreamRequest {
        self.request(method, &format!("/{}{query}", utf8_percent_encode(name, PLAIN)))
    }

    fn post(&self, path: &str, body: &Value) -> UpstreamRequest {
        UpstreamRequest {
            body: Some(body.to_string().into()),
            headers: vec![("Content-type".to_owned(), "application/json".to_owned())],
            ..self.request(Method::Post, path)
        }
    }

    /// Sends a request if the server is there. `None`: there is no such document, or no such database.
    fn send(
        &self,
        action: &'static str,
        what: &str,
        request: &UpstreamRequest,
    ) -> Result<Option<UpstreamResponse>, StoreError> {
        let answer = self.presence.ask(|| match self.client.send(request) {
            Ok(answer) => Ok(Some(answer)),
            Err(error) if error.status() == Some(404) => Ok(None),
            Err(error) => Err(failure(&error)),
        });
        answer.map_err(|reason| self.error(action, what, reason))
    }

    fn error(&self, action: &'static str, what: &str, reason: impl Into<String>) -> StoreError {
        StoreError { action, what: format!("{what} in {}", self.presence.server()), reason: reason.into() }
    }

    /// Makes the database unless that was done.
    fn make_database(&self) -> Result<(), StoreError> {
        if self.is_made.load(Ordering::Relaxed) {
            return Ok(());
        }
        let request = self.request(Method::Put, "");
        let answer = self.presence.ask(|| match self.client.send(&request) {
            Ok(_) => Ok(()),
            // It is there; or we may not make it, but perhaps use it.
            Err(error) if matches!(error.status(), Some(412 | 401 | 403)) => Ok(()),
            Err(error) => Err(failure(&error)),
        });
        answer.map_err(|reason| self.error("make", "the database", reason))?;
        self.is_made.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Posts to the database, which is made anew if somebody has removed it.
    fn post_made(&self, action: &'static str, what: &str, path: &str, body: &Value) -> Result<Value, StoreError> {
        let request = self.post(path, body);
        for _ in 0..2 {
            self.make_database()?;
            if let Some(answer) = self.send(action, what, &request)? {
                return parse(&answer).map_err(|reason| self.error(action, what, reason));
            }
            self.is_made.store(false, Ordering::Relaxed);
        }
        Err(self.error(action, what, "there is no such database"))
    }

    /// Stores documents; those that are there already get the revision they replace.
    fn store_documents(&self, mut documents: Vec<Value>) -> Result<(), StoreError> {
        for _ in 0..ATTEMPTS {
            let Some(what) = documents.first().and_then(name_of).map(str::to_owned) else { return Ok(()) };
            let answer = self.post_made("write", &what, "/_bulk_docs", &json!({ "docs": documents }))?;
            let mut conflicts = Vec::new();
            for result in answer.as_array().into_iter().flatten() {
                match (result["error"].as_str(), result["id"].as_str()) {
                    (None, _) => {}
                    (Some("conflict"), Some(name)) => conflicts.push(name.to_owned()),
                    (Some(error), name) => {
                        let reason = format!("{error}: {}", result["reason"].as_str().unwrap_or_default());
                        return Err(self.error("write", name.unwrap_or("a tile"), reason));
                    }
                }
            }
            if conflicts.is_empty() {
                return Ok(());
            }
            let answer = self.post_made("read", &what, "/_all_docs", &json!({ "keys": conflicts }))?;
            documents.retain(|document| name_of(document).is_some_and(|name| conflicts.iter().any(|own| own == name)));
            for row in answer["rows"].as_array().into_iter().flatten() {
                let own = documents.iter_mut().find(|document| name_of(document) == row["key"].as_str());
                if let (Some(document), Some(revision)) = (own, row["value"]["rev"].as_str()) {
                    document["_rev"] = revision.into();
                }
            }
        }
        // Others were faster each time: what they stored is as new as this.
        Ok(())
    }

    fn stored_at(&self, document: &Value) -> Option<SystemTime> {
        let seconds = document[self.metadata.time()].as_f64()?;
        UNIX_EPOCH.checked_add(Duration::try_from_secs_f64(seconds).ok()?)
    }

    /// Documents with names from `start` to `end`, the first [`PAGE`] of them.
    fn page(&self, start: &str, end: &str, with_times: bool) -> Result<Vec<Row>, StoreError> {
        let quoted = |text: &str| utf8_percent_encode(&Value::from(text).to_string(), PLAIN).to_string();
        let (start, end) = (quoted(start), quoted(end));
        let path = format!("/_all_docs?include_docs={with_times}&limit={PAGE}&startkey={start}&endkey={end}");
        let Some(answer) = self.send("list", "tiles", &self.request(Method::Get, &path))? else {
            return Ok(Vec::new());
        };
        let answer = parse(&answer).map_err(|reason| self.error("list", "tiles", reason))?;
        let row = |row: &Value| {
            let text = |value: &Value| value.as_str().map(str::to_owned);
            Some(Row {
                name: text(&row["id"])?,
                revision: text(&row["value"]["rev"])?,
                stored: self.stored_at(&row["doc"]),
                size: row["doc"]["_attachments"]["tile"]["length"].as_u64(),
            })
        };
        Ok(answer["rows"].as_array().into_iter().flatten().filter_map(row).collect())
    }

    /// Goes through the documents whose names begin with `prefix`, a page after the other. A page begins with the last
    /// document of the one before; should that have gone by then, what follows it does.
    fn pages(
        &self,
        prefix: String,
        with_times: bool,
        mut look: impl FnMut(Vec<Row>) -> Result<(), Halt>,
    ) -> Result<(), Halt> {
        let end = format!("{prefix}\u{fff0}");
        let mut start = prefix;
        loop {
            let rows = self.page(&start, &end, with_times)?;
            let complete = rows.len() < PAGE;
            let Some(last) = rows.last() else { return Ok(()) };
            let next = last.name.clone();
            look(rows)?;
            if complete || next == start {
                return Ok(());
            }
            start = next;
        }
    }

    fn visit_rows(&self, rows: Vec<Row>, wanted: &Visit, visitor: Visitor<'_>) -> Result<(), Halt> {
        let mut tiles: Vec<(TileKey, Row)> = Vec::with_capacity(rows.len());
        for row in rows {
            match self.tile_id.tile_of(&row.name) {
                Some((coord, dimensions)) if wanted.wants(coord) => {
                    let key = TileKey { coord, dimensions: dimensions_of(dimensions) };
                    tiles.push((key, row));
                }
                // Names that begin so are of CouchDB's own documents.
                None if wanted.level.is_none() && !row.name.starts_with('_') => {
                    let name = format!("{} in {}", row.name, self.presence.server());
                    show(visitor, Visited::Foreign { name })?;
                }
                Some(_) | None => {}
            }
        }
        for some in tiles.chunks(READ_AT_ONCE) {
            let loaded = match wanted.detail {
                Detail::Bytes => try_map(some, LOADS_AT_ONCE, |(key, _)| self.load(key))?,
                Detail::Keys | Detail::Meta => vec![None; some.len()],
            };
            for ((key, row), loaded) in some.iter().zip(loaded) {
                let key = key.clone();
                let seen = match (wanted.detail, loaded, row.size) {
                    (_, Some(StoredTile { bytes, meta }), _) => SeenTile { key, meta: Some(meta), bytes: Some(bytes) },
                    (Detail::Meta, None, Some(size)) => {
                        SeenTile { key, meta: Some(TileMeta { modified: row.stored, size }), bytes: None }
                    }
                    (Detail::Keys, ..) => SeenTile { key, meta: None, bytes: None },
                    _ => {
                        let reason = "its document has no tile".to_owned();
                        show(visitor, Visited::Broken { key, reason })?;
                        continue;
                    }
                };
                show(visitor, Visited::Tile(seen))?;
            }
        }
        Ok(())
    }

    /// The revision of a document.
    fn revision(&self, name: &str) -> Result<Option<String>, StoreError> {
        let Some(answer) = self.send("read", name, &self.document(Method::Head, name, ""))? else { return Ok(None) };
        let etag = answer.headers.iter().find(|(name, _)| name == "etag");
        match etag {
            Some((_, etag)) => Ok(Some(etag.trim_matches('"').to_owned())),
            None => Err(self.error("read", name, "the server does not tell the document's revision")),
        }
    }
}

/// A document in a list.
struct Row {
    name: String,
    revision: String,
    /// When its tile was stored, if that was asked for.
    stored: Option<SystemTime>,
    /// Bytes of its tile, if its document was asked for.
    size: Option<u64>,
}

/// What became of a request that was no success.
fn failure(error: &ClientError) -> Failure {
    let said = serde_json::from_slice::<Value>(&error.answer).ok();
    let reason = match said.as_ref().and_then(|said| said["reason"].as_str()) {
        Some(said) => format!("{} ({})", error.reason, said.chars().take(200).collect::<String>()),
        None => error.reason.clone(),
    };
    match error.kind {
        ErrorKind::Status(_) | ErrorKind::TooLarge | ErrorKind::InvalidUrl => Failure::Refused(reason),
        _ => Failure::Away(reason),
    }
}

fn parse(answer: &UpstreamResponse) -> Result<Value, String> {
    serde_json::from_slice(&answer.body).map_err(|error| format!("the answer is no JSON: {error}"))
}

fn name_of(document: &Value) -> Option<&str> {
    document["_id"].as_str()
}

#[deny(clippy::missing_trait_methods)]
impl TileStore for CouchdbStore {
    fn capabilities(&self) -> Capabilities {
        Capabilities { timestamps: true, dimensions: true, single_color: false }
    }

    fn lock_id(&self) -> String {
        self.lock_id.clone()
    }

    fn load(&self, key: &TileKey) -> Result<Option<StoredTile>, StoreError> {
        let name = self.name(key)?;
        let request = UpstreamRequest {
            headers: vec![("Accept".to_owned(), "application/json".to_owned())],
            ..self.document(Method::Get, &name, "?attachments=true")
        };
        let Some(answer) = self.send("read", &name, &request)? else { return Ok(None) };
        let document = parse(&answer).map_err(|reason| self.error("read", &name, reason))?;
        let Some(data) = document["_attachments"]["tile"]["data"].as_str() else { return Ok(None) };
        let bytes = STANDARD.decode(data).map_err(|error| self.error("read", &name, format!("its tile: {error}")))?;
        if bytes.is_empty() {
            return Ok(None);
        }
        let meta = TileMeta { modified: self.stored_at(&document), size: bytes.len() as u64 };
        Ok(Some(StoredTile { bytes: Bytes::from(bytes), meta }))
    }

    fn load_at_once(&self, _key: &TileKey) -> Result<AtOnce, StoreError> {
        Ok(AtOnce::Unknown)
    }

    fn store(&self, key: &TileKey, tile: &TileData) -> Result<(), StoreError> {
        self.store_many(&[(key.clone(), tile.clone())])
    }

    fn remove(&self, key: &TileKey) -> Result<(), StoreError> {
        let name = self.name(key)?;
        let mut last = None;
        for _ in 0..ATTEMPTS {
            let Some(revision) = self.revision(&name)? else { return Ok(()) };
            let query = format!("?rev={}", utf8_percent_encode(&revision, PLAIN));
            match self.send("remove", &name, &self.document(Method::Delete, &name, &query)) {
                Ok(_) => return Ok(()),
                // Replaced in the meantime, perhaps; anything else comes again.
                Err(error) => last = Some(error),
            }
        }
        last.map_or(Ok(()), Err)
    }

    fn remove_level(&self, level: u8, before: Option<SystemTime>) -> Result<(), StoreError> {
        ended(self.pages(self.tile_id.prefix(level), before.is_some(), |rows| {
            let goes = |row: &Row| {
                self.tile_id.is_of_level(&row.name, level)
                    && before.is_none_or(|before| row.stored.is_some_and(|stored| stored <= before))
            };
            let removed: Vec<Value> = rows
                .into_iter()
                .filter(goes)
                .map(|row| json!({ "_id": row.name, "_rev": row.revision, "_deleted": true }))
                .collect();
            if !removed.is_empty() {
                // A conflict is a tile that somebody has stored in the meantime: it stays.
                self.post_made("remove", &format!("level {level}"), "/_bulk_docs", &json!({ "docs": removed }))?;
            }
            Ok(())
        }))
    }

    fn visit(&self, wanted: &Visit, visitor: Visitor<'_>) -> Result<(), StoreError> {
        let prefix = wanted.level.map_or(self.tile_id.beginning().to_owned(), |level| self.tile_id.prefix(level));
        let mut last: Option<String> = None;
        ended(self.pages(prefix, wanted.detail == Detail::Meta, |rows| {
            // A page begins with the end of the one before.
            let new: Vec<Row> = rows.into_iter().filter(|row| last.as_ref() != Some(&row.name)).collect();
            if let Some(row) = new.last() {
                last = Some(row.name.clone());
            }
            self.visit_rows(new, wanted, visitor)
        }))
    }

    fn place(&self, key: &TileKey) -> String {
        let name = self.name(key).unwrap_or_else(|_| self.tile_id.name(key.coord));
        format!("{name} in {}", self.presence.server())
    }

    fn defragment(&self, _: Defragment, _: &mut dyn FnMut(&Defragmented)) -> Result<bool, StoreError> {
        Ok(false)
    }

    fn level_folder(&self, _level: u8) -> Option<PathBuf> {
        None
    }

    fn remove_many(&self, keys: &[TileKey]) -> Result<(), StoreError> {
        for keys in keys.chunks(PAGE) {
            let names = keys.iter().map(|key| self.name(key)).collect::<Result<Vec<_>, _>>()?;
            let Some(what) = names.first() else { continue };
            let answer = self.post_made("read", what, "/_all_docs", &json!({ "keys": names }))?;
            let removed: Vec<Value> = answer["rows"]
                .as_array()
                .into_iter()
                .flatten()
                .filter(|row| row["value"]["deleted"].as_bool() != Some(true))
                .filter_map(|row| {
                    let revision = row["value"]["rev"].as_str()?;
                    Some(json!({ "_id": row["key"], "_rev": revision, "_deleted": true }))
                })
                .collect();
            if !removed.is_empty() {
                // A conflict is a tile that somebody has stored in the meantime: it stays.
                self.post_made("remove", what, "/_bulk_docs", &json!({ "docs": removed }))?;
            }
        }
        Ok(())
    }

    fn sweep(&self, _keys: &[TileKey]) {}

    fn metadata(&self, key: &TileKey) -> Result<Option<TileMeta>, StoreError> {
        let name = self.name(key)?;
        let request = self.document(Method::Get, &name, "");
        let Some(answer) = self.send("read", &name, &request)? else { return Ok(None) };
        let document = parse(&answer).map_err(|reason| self.error("read", &name, reason))?;
        match document["_attachments"]["tile"]["length"].as_u64() {
            Some(0) => Ok(None),
            Some(size) => Ok(Some(TileMeta { modified: self.stored_at(&document), size })),
            None => Ok(self.load(key)?.map(|tile| tile.meta)),
        }
    }

    fn times(&self, keys: &[TileKey], look: Look) -> Result<Vec<Option<Stored>>, StoreError> {
        let names = keys.iter().map(|key| self.name(key)).collect::<Result<Vec<_>, _>>()?;
        let Some(what) = names.first() else { return Ok(Vec::new()) };
        let with_times = look == Look::Times;
        let request = self.post(&format!("/_all_docs?include_docs={with_times}"), &json!({ "keys": names }));
        let Some(answer) = self.send("read", what, &request)? else { return Ok(vec![None; names.len()]) };
        let answer = parse(&answer).map_err(|reason| self.error("read", what, reason))?;
        // A row for each key, in their order; without a revision, or with a deleted one, for what is not there.
        let stored = |row: &Value| {
            let is_there = row["value"]["rev"].is_string() && row["value"]["deleted"] != json!(true);
            is_there.then(|| Stored { modified: self.stored_at(&row["doc"]) })
        };
        let rows = answer["rows"].as_array().filter(|rows| rows.len() == names.len());
        let rows = rows.ok_or_else(|| self.error("read", what, "the server does not answer for each document"))?;
        Ok(rows.iter().map(stored).collect())
    }

    fn load_many(&self, keys: &[TileKey]) -> Result<Vec<Option<StoredTile>>, StoreError> {
        try_map(keys, LOADS_AT_ONCE, |key| self.load(key))
    }

    fn reload(&self, keys: &[TileKey]) -> Result<Vec<Option<StoredTile>>, StoreError> {
        self.load_many(keys)
    }

    fn store_many(&self, tiles: &[(TileKey, TileData)]) -> Result<(), StoreError> {
        let (mut documents, mut bytes) = (Vec::new(), 0);
        for (index, (key, tile)) in tiles.iter().enumerate() {
            let mut document: Map<String, Value> = {
                let modified = tile.modified.unwrap_or_else(SystemTime::now);
                self.metadata.document(key.coord, &self.grid, modified)
            };
            document.insert("_id".to_owned(), self.name(key)?.into());
            let attachment = json!({ "content_type": self.content_type, "data": STANDARD.encode(&tile.bytes) });
            document.insert("_attachments".to_owned(), json!({ "tile": attachment }));
            documents.push(Value::Object(document));
            bytes += tile.bytes.len();
            let next = tiles.get(index + 1).map(|(_, tile)| tile.bytes.len());
            if next.is_none_or(|next| bytes + next > BYTES_AT_ONCE) {
                self.store_documents(std::mem::take(&mut documents))?;
                bytes = 0;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;

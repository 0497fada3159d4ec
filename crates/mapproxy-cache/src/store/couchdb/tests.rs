//! On a double that keeps documents in memory and is as strict about revisions as CouchDB.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::AtomicUsize;

use mapproxy_client::testkit::failure as failed;
use mapproxy_grid::TileCoord;
use percent_encoding::percent_decode_str;

use super::*;
use crate::store::conformance::{assert_that_tiles_stay_as_old_as_they_are, store_suite};
use crate::testkit::grid;

/// The server. Its documents are gone when it is.
#[derive(Debug, Default)]
struct Couch {
    database: Mutex<Option<BTreeMap<String, Document>>>,
    requests: Mutex<Vec<UpstreamRequest>>,
    revisions: AtomicUsize,
    is_away: AtomicBool,
    /// Somebody else stores a new revision just before each of so many bulk requests.
    rivals: AtomicUsize,
}

#[derive(Clone, Debug)]
struct Document {
    content: Map<String, Value>,
    revision: String,
    is_deleted: bool,
}

type Answer = Result<UpstreamResponse, ClientError>;

impl Couch {
    fn ok(status: u16, headers: Vec<(String, String)>, body: &Value) -> Answer {
        Ok(UpstreamResponse { status, content_type: None, headers, body: body.to_string().into() })
    }

    fn error(status: u16, request: &UpstreamRequest, reason: &str) -> Answer {
        let answer = json!({ "error": "error", "reason": reason }).to_string().into_bytes().into();
        Err(ClientError { answer, ..failed(ErrorKind::Status(status), request) })
    }

    fn revision(&self, before: Option<&str>) -> String {
        let generation: usize = before.map_or(0, |revision| revision.split('-').next().unwrap().parse().unwrap());
        format!("{}-{:032x}", generation + 1, self.revisions.fetch_add(1, Ordering::SeqCst))
    }

    /// As it is shown: attachments in full, or only their length.
    fn shown(document: &Document, name: &str, in_full: bool) -> Value {
        let mut content = document.content.clone();
        content.insert("_id".to_owned(), name.into());
        content.insert("_rev".to_owned(), document.revision.clone().into());
        if let Some(tile) = content.get_mut("_attachments").and_then(|all| all.get_mut("tile"))
            && !in_full
        {
            let length = STANDARD.decode(tile["data"].as_str().unwrap()).unwrap().len();
            *tile = json!({ "content_type": tile["content_type"], "length": length, "stub": true });
        }
        Value::Object(content)
    }

    fn bulk(&self, documents: &mut BTreeMap<String, Document>, body: &Value) -> Value {
        if self.rivals.load(Ordering::SeqCst) > 0 {
            self.rivals.fetch_sub(1, Ordering::SeqCst);
            for document in documents.values_mut() {
                document.revision = self.revision(Some(&document.revision));
            }
        }
        let store = |new: &Value| {
            let name = new["_id"].as_str().unwrap().to_owned();
            let old = documents.get(&name);
            let is_current = match old {
                Some(old) if !old.is_deleted => new["_rev"].as_str() == Some(&old.revision),
                _ => true,
            };
            if !is_current {
                return json!({ "id": name, "error": "conflict", "reason": "Document update conflict." });
            }
            let revision = self.revision(old.map(|old| old.revision.as_str()));
            let mut content = new.as_object().unwrap().clone();
            let is_deleted = content.remove("_deleted").is_some();
            content.remove("_id");
            content.remove("_rev");
            documents.insert(name.clone(), Document { content, revision: revision.clone(), is_deleted });
            json!({ "ok": true, "id": name, "rev": revision })
        };
        body["docs"].as_array().unwrap().iter().map(store).collect()
    }

    fn all(documents: &BTreeMap<String, Document>, query: &BTreeMap<String, String>) -> Value {
        let bound = |name: &str| serde_json::from_str::<String>(&query[name]).unwrap();
        let (start, end, limit) = (bound("startkey"), bound("endkey"), query["limit"].parse().unwrap());
        let rows = documents.range(start..=end).filter(|(_, document)| !document.is_deleted).take(limit);
        let rows: Vec<Value> = rows
            .map(|(name, document)| {
                let mut row = json!({ "id": name, "key": name, "value": { "rev": document.revision } });
                if query["include_docs"] == "true" {
                    row["doc"] = Self::shown(document, name, false);
                }
                row
            })
            .collect();
        json!({ "total_rows": documents.len(), "offset": 0, "rows": rows })
    }

    fn keys(documents: &BTreeMap<String, Document>, body: &Value, query: &BTreeMap<String, String>) -> Value {
        let with_documents = query.get("include_docs").is_some_and(|value| value == "true");
        let row = |key: &Value| match documents.get(key.as_str().unwrap()) {
            None => json!({ "key": key, "error": "not_found" }),
            Some(found) if found.is_deleted => {
                json!({ "id": key, "key": key, "value": { "rev": found.revision, "deleted": true }, "doc": null })
            }
            Some(found) => {
                let mut row = json!({ "id": key, "key": key, "value": { "rev": found.revision } });
                if with_documents {
                    row["doc"] = Self::shown(found, key.as_str().unwrap(), false);
                }
                row
            }
        };
        let rows: Vec<Value> = body["keys"].as_array().unwrap().iter().map(row).collect();
        json!({ "rows": rows })
    }
}

impl HttpClient for Couch {
    fn send(&self, request: &UpstreamRequest) -> Answer {
        if self.is_away.load(Ordering::SeqCst) {
            return Err(failed(ErrorKind::Connection, request));
        }
        self.requests.lock().unwrap().push(request.clone());
        let path = request.url.strip_prefix("http://couch:5984/osm_epsg3857").expect("the database's own address");
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let decoded = |text: &str| percent_decode_str(text).decode_utf8().unwrap().into_owned();
        let query: BTreeMap<String, String> = query
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .map(|(name, value)| (name.to_owned(), decoded(value)))
            .collect();
        let body = || serde_json::from_slice::<Value>(request.body.as_ref().unwrap()).unwrap();
        let mut database = self.database.lock().unwrap();
        if (request.method, path) == (Method::Put, "") {
            if database.is_some() {
                return Self::error(412, request, "The database could not be created, the file already exists.");
            }
            *database = Some(BTreeMap::new());
            return Self::ok(201, Vec::new(), &json!({ "ok": true }));
        }
        let Some(documents) = database.as_mut() else { return Self::error(404, request, "no_db_file") };
        match (request.method, path) {
            (Method::Post, "/_bulk_docs") => Self::ok(201, Vec::new(), &self.bulk(documents, &body())),
            (Method::Post, "/_all_docs") => Self::ok(200, Vec::new(), &Self::keys(documents, &body(), &query)),
            (Method::Get, "/_all_docs") => Self::ok(200, Vec::new(), &Self::all(documents, &query)),
            (method, path) => {
                let name = decoded(path.strip_prefix('/').unwrap());
                let Some(document) = documents.get_mut(&name).filter(|document| !document.is_deleted) else {
                    return Self::error(404, request, "missing");
                };
                let etag = vec![("etag".to_owned(), format!("\"{}\"", document.revision))];
                match method {
                    Method::Get => {
                        Self::ok(200, etag, &Self::shown(document, &name, query.contains_key("attachments")))
                    }
                    Method::Head => Self::ok(200, etag, &Value::Null),
                    Method::Delete if query.get("rev") == Some(&document.revision) => {
                        document.is_deleted = true;
                        document.revision = self.revision(Some(&document.revision));
                        Self::ok(200, Vec::new(), &json!({ "ok": true }))
                    }
                    Method::Delete => Self::error(409, request, "Document update conflict."),
                    _ => Self::error(405, request, "method not allowed"),
                }
            }
        }
    }
}

fn options() -> CouchdbOptions {
    CouchdbOptions {
        url: "http://u:ge%40heim@couch:5984/".to_owned(),
        database: "Osm_EPSG3857".to_owned(),
        tile_id: None,
        metadata: Vec::new(),
        grid: grid(),
        extension: "png".to_owned(),
    }
}

fn store() -> (CouchdbStore, Arc<Couch>) {
    let couch = Arc::new(Couch::default());
    (CouchdbStore::new(&options(), Arc::clone(&couch) as Arc<dyn HttpClient>).unwrap(), couch)
}

fn key() -> TileKey {
    TileKey::new(TileCoord::new(5, 12, 4))
}

fn tile(bytes: &'static [u8]) -> TileData {
    TileData::new(Bytes::from_static(bytes))
}

fn asked(couch: &Couch) -> Vec<String> {
    let requests = couch.requests.lock().unwrap();
    let path = |url: &str| url.strip_prefix("http://couch:5984").unwrap().to_owned();
    requests.iter().map(|request| format!("{} {}", request.method.as_str(), path(&request.url))).collect()
}

#[test]
fn it_is_a_store_whatever_its_documents_are_called() {
    store_suite(store);
    store_suite(|| {
        let couch = Arc::new(Couch::default());
        let options = CouchdbOptions { tile_id: Some("%(x)s/ö %(y)s.%(z)02d".to_owned()), ..options() };
        (CouchdbStore::new(&options, Arc::clone(&couch) as Arc<dyn HttpClient>).unwrap(), couch)
    });
}

#[test]
fn tiles_stay_as_old_as_they_are() {
    assert_that_tiles_stay_as_old_as_they_are(&store().0);
}

/// What MapProxy 7.0.0 sends for the same, word for word but for the order of keys.
#[test]
fn requests_and_documents_are_mapproxys() {
    let (store, couch) = store();
    store.store(&key(), &tile(b"tile")).unwrap();
    store.store(&key(), &tile(b"again")).unwrap();
    assert_eq!(store.load(&key()).unwrap().unwrap().bytes, "again");
    store.remove(&key()).unwrap();
    assert_eq!(
        asked(&couch),
        [
            "PUT /osm_epsg3857",
            "POST /osm_epsg3857/_bulk_docs",
            "POST /osm_epsg3857/_bulk_docs",
            "POST /osm_epsg3857/_all_docs",
            "POST /osm_epsg3857/_bulk_docs",
            "GET /osm_epsg3857/test-4-5-12?attachments=true",
            "HEAD /osm_epsg3857/test-4-5-12",
            "DELETE /osm_epsg3857/test-4-5-12?rev=2-00000000000000000000000000000001",
        ]
    );
    let requests = couch.requests.lock().unwrap();
    let body = |place: usize| serde_json::from_slice::<Value>(requests[place].body.as_ref().unwrap()).unwrap();
    let first = body(1);
    let document = &first["docs"][0];
    assert_eq!(document["_attachments"], json!({ "tile": { "content_type": "image/png", "data": "dGlsZQ==" } }));
    assert!(document["timestamp"].as_f64().unwrap() > 1.6e9);
    assert_eq!(document.as_object().unwrap().len(), 3);
    assert_eq!(body(3), json!({ "keys": ["test-4-5-12"] }));
    assert_eq!(body(4)["docs"][0]["_rev"], "1-00000000000000000000000000000000");
    assert!(requests.iter().all(|request| request.peer == Peer::Store));
    assert_eq!(requests[0].credentials.as_deref(), Some(&Credentials::new("u", "ge@heim")));
}

#[test]
fn the_name_of_the_lock_is_mapproxys() {
    let options =
        CouchdbOptions { url: "http://127.0.0.1:21203".to_owned(), database: "Probe Db".to_owned(), ..options() };
    let store = CouchdbStore::new(&options, Arc::new(Couch::default())).unwrap();
    assert_eq!(store.lock_id(), "couchdb-2f411daa24e147892f7ddcd099e4ec16");
    assert_eq!(store.url, "http://127.0.0.1:21203/probe%20db");
}

#[test]
fn a_meta_tile_is_stored_at_once() {
    let (store, couch) = store();
    let tiles: Vec<_> = (0..16).map(|x| (TileKey::new(TileCoord::new(x, 0, 5)), tile(b"tile"))).collect();
    store.store_many(&tiles).unwrap();
    assert_eq!(asked(&couch).len(), 2);
}

#[test]
fn whoever_is_slower_tries_again_and_is_content_in_the_end() {
    let (store, couch) = store();
    store.store(&key(), &tile(b"tile")).unwrap();
    couch.rivals.store(2, Ordering::SeqCst);
    store.store(&key(), &tile(b"new")).unwrap();
    assert_eq!(store.load(&key()).unwrap().unwrap().bytes, "new");
    couch.rivals.store(100, Ordering::SeqCst);
    store.store(&key(), &tile(b"never")).unwrap();
}

#[test]
fn a_database_that_was_removed_is_made_again() {
    let (store, couch) = store();
    store.store(&key(), &tile(b"tile")).unwrap();
    *couch.database.lock().unwrap() = None;
    assert!(store.load(&key()).unwrap().is_none());
    store.store(&key(), &tile(b"tile")).unwrap();
    assert!(store.load(&key()).unwrap().is_some());
}

#[test]
fn levels_of_many_pages_are_removed_and_others_stay() {
    let (store, _couch) = store();
    let level = |z: u8| (0..1100).map(move |x| (TileKey::new(TileCoord::new(x, 0, z)), tile(b"tile")));
    let tiles: Vec<_> = level(12).chain(level(13)).collect();
    store.store_many(&tiles).unwrap();
    store.remove_level(12, Some(SystemTime::now() - Duration::from_secs(60))).unwrap();
    assert!(store.load(&tiles[1099].0).unwrap().is_some());
    store.remove_level(12, None).unwrap();
    for (key, _) in &tiles {
        assert_eq!(store.metadata(key).unwrap().is_some(), key.coord.z == 13, "{key:?}");
    }
}

#[test]
fn a_server_that_is_away_is_an_error_at_once_that_tells_no_secrets() {
    let (store, couch) = store();
    couch.is_away.store(true, Ordering::SeqCst);
    for _ in 0..100 {
        let error = store.load(&key()).unwrap_err().to_string();
        assert!(error.starts_with("read test-4-5-12 in couchdb http://couch:5984/osm_epsg3857: "), "{error}");
        assert!(!error.contains("heim"), "{error}");
    }
    assert!(store.store(&key(), &tile(b"tile")).is_err());
    assert!(couch.requests.lock().unwrap().is_empty());
    assert!(!format!("{store:?}").contains("heim"));
}

#[test]
fn answers_that_make_no_sense_are_errors_and_no_panic() {
    for body in
        ["", "[]", "null", "{\"_attachments\": 3}", "{\"_attachments\": {\"tile\": {\"data\": \"=\"}}}", "<html>"]
    {
        let client = mapproxy_client::testkit::ScriptedClient::answering("application/json", body);
        let store = CouchdbStore::new(&options(), Arc::new(client)).unwrap();
        assert!(!matches!(store.load(&key()), Ok(Some(_))), "{body}");
        let _ = store.metadata(&key());
        let _ = store.store(&key(), &tile(b"tile"));
        let _ = store.remove_level(4, None);
        let _ = store.remove(&key());
    }
}

#[test]
fn templates_that_cannot_be_are_told() {
    let new = |options: &CouchdbOptions| CouchdbStore::new(options, Arc::new(Couch::default())).unwrap_err();
    assert!(new(&CouchdbOptions { tile_id: Some("%(x)s".to_owned()), ..options() }).starts_with("tile_id: "));
    let metadata = vec![("a".to_owned(), json!("{{b}}"))];
    assert!(new(&CouchdbOptions { metadata, ..options() }).starts_with("tile_metadata: a: "));
}

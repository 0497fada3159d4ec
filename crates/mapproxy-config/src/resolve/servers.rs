//! Stores that are servers of databases: Redis and CouchDB.

use std::sync::Arc;
use std::time::Duration;

use super::Resolver;
use super::stores::Place;
use crate::checked::{CouchdbStore, RedisStore, RedisTls, Secret};
use crate::diagnostic::Severity;
use crate::position::Spanned;
use crate::raw::{CouchdbBackend, RedisBackend, Text};
use crate::yaml::{Node, Value};

impl Resolver<'_> {
    pub(super) fn redis_store(&mut self, redis: &RedisBackend, place: &Place<'_>) -> Option<RedisStore> {
        let path = |option: &str| format!("{}.cache.{option}", place.path);
        let port = match &redis.port {
            None => 6379,
            Some(port) => match u16::try_from(port.value) {
                Ok(port @ 1..) => port,
                _ => return self.refuse(port.span, path("port"), "a port is a number from 1 to 65535"),
            },
        };
        let db = redis.db.as_ref().map_or(0, |db| db.value);
        if let Some(db) = redis.db.as_ref().filter(|db| db.value < 0) {
            return self.refuse(db.span, path("db"), "the number of a database cannot be negative");
        }
        let ttl =
            match redis.default_ttl.as_ref().map_or(Ok(3600), |ttl| u64::try_from(ttl.value).map_err(|_| ttl.span)) {
                Ok(0) => None,
                Ok(seconds) => Some(Duration::from_secs(seconds)),
                Err(span) => {
                    let message = "tiles cannot expire before they are stored: a number of seconds, or 0 for never";
                    return self.refuse(span, path("default_ttl"), message);
                }
            };
        if let Some(prefix) = redis.prefix.as_ref().filter(|_| place.grids > 1) {
            let message = format!("the tiles of {} grids would have the same keys", place.grids);
            let help = "leave the prefix out: it is made of the names of cache and grid then".to_owned();
            self.findings.add(Severity::Error, prefix.span, path("prefix"), message, Some(help));
            return None;
        }
        let prefix = match &redis.prefix {
            Some(prefix) => prefix.value.to_string(),
            None => format!("{}_{}", place.cache, place.grid.name),
        };
        let certificate = match (&redis.ssl_certfile, &redis.ssl_keyfile) {
            (None, None) => None,
            (Some(certificate), Some(key)) => Some((self.path(&certificate.value), self.path(&key.value))),
            (Some(lonely), None) | (None, Some(lonely)) => {
                let message = "a certificate and its key go together: ssl_certfile and ssl_keyfile";
                return self.refuse(lonely.span, path("ssl_certfile"), message);
            }
        };
        let ca_certs = redis.ssl_ca_certs.as_ref().map(|file| self.path(&file.value));
        let tls = (certificate.is_some() || ca_certs.is_some()).then_some(RedisTls { certificate, ca_certs });
        let given = |text: &Option<Spanned<Text>>| {
            text.as_ref().map(|text| Arc::clone(&text.value)).filter(|text| !text.is_empty())
        };
        let (username, password) =
            (given(&redis.username), given(&redis.password).map(|password| Secret(password.to_string())));
        if let (Some(username), None) = (&redis.username, &password) {
            return self.refuse(username.span, path("username"), "a user needs a password");
        }
        let host = given(&redis.host).unwrap_or_else(|| Arc::from("127.0.0.1"));
        Some(RedisStore { host, port, db, username, password, prefix, ttl, tls })
    }

    pub(super) fn couchdb_store(&mut self, couchdb: &CouchdbBackend, place: &Place<'_>) -> Option<CouchdbStore> {
        let path = |option: &str| format!("{}.cache.{option}", place.path);
        let url: Arc<str> = match &couchdb.url {
            None => Arc::from("http://127.0.0.1:5984"),
            Some(url) if url.value.starts_with("http://") || url.value.starts_with("https://") => {
                Arc::clone(&url.value)
            }
            Some(url) => return self.refuse(url.span, path("url"), "an address begins with http:// or https://"),
        };
        let database = match &couchdb.db_name {
            Some(name) if !name.value.is_empty() => name.value.to_string(),
            Some(name) => return self.refuse(name.span, path("db_name"), "a database needs a name"),
            None => format!("{}_{}", place.cache, place.grid.srs.replace(':', "")),
        };
        if let Some(tile_id) = couchdb.tile_id.as_ref().filter(|id| !id.value.contains("%(grid_name)s"))
            && place.grids > 1
        {
            let message = format!("the tiles of {} grids would be the same documents", place.grids);
            let help = "put %(grid_name)s into tile_id, or leave tile_id out".to_owned();
            self.findings.add(Severity::Error, tile_id.span, path("tile_id"), message, Some(help));
            return None;
        }
        let metadata = couchdb.tile_metadata.iter().flat_map(|table| table.value.iter());
        Some(CouchdbStore {
            url: Secret(url.to_string()),
            database,
            tile_id: couchdb.tile_id.as_ref().map(|id| Arc::clone(&id.value)),
            metadata: metadata.map(|(key, entry)| (Arc::clone(key), json(&entry.value.value))).collect(),
        })
    }
}

/// As it would be written in JSON.
fn json(node: &Node) -> serde_json::Value {
    match &node.value {
        Value::Null => serde_json::Value::Null,
        Value::Bool(value) => (*value).into(),
        Value::Int(value) => (*value).into(),
        Value::Float(value) => (*value).into(),
        Value::String(text) => (**text).into(),
        Value::Timestamp(_) => node.shown().into(),
        Value::Sequence(items) => items.iter().map(json).collect(),
        Value::Mapping(mapping) => mapping.iter().map(|(key, value)| (key.text.to_string(), json(value))).collect(),
    }
}

//! Missing tiles made by another process: asked for by its name in `globals.renderd`, then taken from the store that both
//! share.
//!
//! Each meta tile is one POST of a document that names its main tile; the answer comes when its tiles are stored. The
//! other process takes the locks.

use std::sync::Arc;

use mapproxy_client::{ClientError, HttpClient, Method, RedactedUrl, UpstreamRequest};
use mapproxy_grid::TileCoord;
use mapproxy_map::{MapError, Purpose};
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use serde_json::Value;

/// A process that makes tiles.
#[derive(Clone, Debug)]
pub struct Renderd {
    address: String,
    client: Arc<dyn HttpClient>,
}

/// What errors call it.
const NAME: &str = "renderd";

impl Renderd {
    /// The process that listens at `address`.
    pub fn new(address: String, client: Arc<dyn HttpClient>) -> Self {
        Renderd { address, client }
    }

    /// Has the tiles around `tile` made. `cache` is `<cache>_<grid>`.
    pub(crate) fn make(&self, cache: &str, tile: TileCoord, purpose: Purpose) -> Result<(), MapError> {
        let request = UpstreamRequest {
            body: Some(document(cache, tile, purpose).into()),
            ..UpstreamRequest::new(Method::Post, self.address.as_str())
        };
        let (status, body) = match self.client.send(&request) {
            Ok(answer) => (Some(answer.status), answer.body),
            // Failures come with the same document.
            Err(error) if !error.answer.is_empty() => (error.status(), error.answer.into()),
            Err(error) => return Err(self.unreachable(&error)),
        };
        let Ok(answer) = serde_json::from_slice::<Value>(&body) else {
            return Err(self.failed(status, "Error while communicating with renderd: invalid JSON".to_owned()));
        };
        let said = |otherwise: &str| answer["error_message"].as_str().unwrap_or(otherwise).to_owned();
        match answer["status"].as_str() {
            Some("error") => Err(self.failed(status, format!("Error from renderd: {}", said("unknown error")))),
            Some("lock") => {
                let lock = format!("tile {}/{}/{} of {cache} (renderd: {})", tile.z, tile.x, tile.y, said("no reason"));
                Err(MapError::LockTimeout { lock, seconds: 0 })
            }
            // Whatever else it says, what is there by now is served.
            _ => Ok(()),
        }
    }

    fn unreachable(&self, error: &ClientError) -> MapError {
        self.failed(error.status(), format!("Error while communicating with renderd: {}", error.message))
    }

    fn failed(&self, status: Option<u16>, message: String) -> MapError {
        let url = RedactedUrl::new(&self.address).as_str().to_owned();
        MapError::Upstream { source_name: NAME.into(), message, url, reason: "no tile was made".to_owned(), status }
    }
}

/// The request, to the letter.
fn document(cache: &str, TileCoord { x, y, z }: TileCoord, purpose: Purpose) -> String {
    let priority = match purpose {
        Purpose::Serve => 100,
        Purpose::Seed => 10,
    };
    // Requests for the same tile have the same name: that of a tuple in Python.
    let quote = if cache.contains('\'') && !cache.contains('"') { '"' } else { '\'' };
    let tuple = format!("({quote}{cache}{quote}, [({x}, {y}, {z})])");
    let id: String =
        digest(&SHA1_FOR_LEGACY_USE_ONLY, tuple.as_bytes()).as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    let cache = Value::from(cache);
    format!(
        r#"{{"command": "tile", "id": "{id}", "tiles": [[{x}, {y}, {z}]], "cache_identifier": {cache}, "priority": {priority}}}"#
    )
}

#[cfg(test)]
mod tests {
    use mapproxy_client::ErrorKind;
    use mapproxy_client::testkit::{ScriptedClient, failure};

    use super::*;

    const TILE: TileCoord = TileCoord::new(2, 0, 6);

    fn answered(client: ScriptedClient) -> Result<(), MapError> {
        Renderd::new("http://u:geheim@renderd:8081/".to_owned(), Arc::new(client)).make("a_g", TILE, Purpose::Serve)
    }

    fn answering(body: &'static str) -> Result<(), MapError> {
        answered(ScriptedClient::answering("application/json", body))
    }

    #[test]
    fn the_request_is_mapproxys() {
        assert_eq!(
            document("a_GLOBAL_WEBMERCATOR", TILE, Purpose::Serve),
            r#"{"command": "tile", "id": "2e93a41f634682f686d47c17e4f2978c4fe4b49b", "tiles": [[2, 0, 6]], "cache_identifier": "a_GLOBAL_WEBMERCATOR", "priority": 100}"#
        );
        assert!(document("a_g", TILE, Purpose::Seed).ends_with(r#""priority": 10}"#));
    }

    #[test]
    fn only_errors_and_locks_are_failures() {
        assert!(answering(r#"{"status": "ok"}"#).is_ok());
        assert!(answering(r#"{"status": "what"}"#).is_ok());
        let error = answering(r#"{"status": "error", "error_message": "the words"}"#).unwrap_err();
        assert!(error.to_string().contains("Error from renderd: the words"), "{error}");
        assert!(matches!(answering(r#"{"status": "lock"}"#), Err(MapError::LockTimeout { .. })));
        let error = answering("<html>").unwrap_err().to_string();
        assert!(
            error.contains("Error while communicating with renderd: invalid JSON") && !error.contains("geheim"),
            "{error}"
        );
    }

    #[test]
    fn what_is_said_with_an_error_status_counts_the_same() {
        let client = ScriptedClient::new(|request| {
            let answer = br#"{"status": "error", "error_message": "w"}"#[..].into();
            Err(ClientError { answer, ..failure(ErrorKind::Status(500), request) })
        });
        assert!(answered(client).unwrap_err().to_string().contains("Error from renderd: w"));
    }

    #[test]
    fn a_process_that_is_not_there_is_told() {
        let client = ScriptedClient::new(|request| Err(failure(ErrorKind::Connection, request)));
        let error = answered(client).unwrap_err().to_string();
        assert!(error.contains("Error while communicating with renderd: No response from URL"), "{error}");
    }
}

//! Documents of an API and the links in them.

use std::sync::Arc;

use mapproxy_client::{Credentials, HttpClient, UpstreamRequest};
use mapproxy_map::MapError;
use serde_json::Value;

use super::MAX_DOCUMENT_BYTES;
use crate::answer;

/// A server, as its landing page or one of its collections.
#[derive(Debug)]
pub(super) struct Api {
    name: Arc<str>,
    /// Of the landing page or the collection.
    pub(super) url: String,
    credentials: Option<Arc<Credentials>>,
    client: Arc<dyn HttpClient>,
}

/// A JSON document, and where it came from.
#[derive(Debug)]
pub(super) struct Document {
    pub(super) url: String,
    pub(super) value: Value,
}

/// A link of a document.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Link {
    pub(super) media_type: Option<String>,
    /// Absolute.
    pub(super) href: String,
}

impl Api {
    /// `client` is for documents.
    pub(super) fn new(
        name: Arc<str>,
        landing_page: &str,
        collection: Option<&str>,
        client: Arc<dyn HttpClient>,
    ) -> Api {
        let (landing_page, credentials) = Credentials::split(landing_page);
        let url = match collection {
            None => landing_page,
            Some(collection) => {
                let (path, query) =
                    landing_page.split_once('?').map_or((&*landing_page, None), |(path, query)| (path, Some(query)));
                let query = query.map_or(String::new(), |query| format!("?{query}"));
                let path = path.trim_end_matches('/');
                format!("{path}/collections/{}{query}", crate::pyfmt::quote(collection))
            }
        };
        Api { name, url, credentials, client }
    }

    /// The document at `url`.
    pub(super) fn document(&self, url: &str) -> Result<Document, MapError> {
        let mut request = self.request(url);
        request.headers.push(("Accept".to_owned(), "application/json".to_owned()));
        let response = self.client.send(&request).map_err(|error| answer::client_error(&self.name, error))?;
        if response.body.len() as u64 > MAX_DOCUMENT_BYTES {
            let reason = format!("{} bytes, and {MAX_DOCUMENT_BYTES} are allowed", response.body.len());
            return Err(self.unusable(url, reason));
        }
        let value = serde_json::from_slice(&response.body).map_err(|error| {
            self.unusable(url, format!("{error}; it begins with '{}'", answer::excerpt(&response).trim()))
        })?;
        Ok(Document { url: url.to_owned(), value })
    }

    /// A GET, with the password if it goes to the server that this is meant for.
    pub(super) fn request(&self, url: &str) -> UpstreamRequest {
        let at_home = origin(url) == origin(&self.url);
        UpstreamRequest::get(url).with_credentials(self.credentials.clone().filter(|_| at_home))
    }

    /// A document without what is needed of it.
    pub(super) fn unusable(&self, url: &str, reason: String) -> MapError {
        answer::no_image(&self.name, "unusable document of the OGC API", url, reason)
    }
}

impl Document {
    /// Links of a relation of OGC, which is written in two ways.
    pub(super) fn links(&self, relation: &str) -> Vec<Link> {
        let long = format!("http://www.opengis.net/def/rel/ogc/1.0/{relation}");
        let short = format!("[ogc-rel:{relation}]");
        links(&self.value, &self.url, |rel| rel == long || rel == short)
    }

    /// The first link of a relation to a JSON document.
    pub(super) fn json_link(&self, relation: &str) -> Option<String> {
        to_json(self.links(relation))
    }
}

/// The address of a JSON document: of one that says to be one, else of one that says nothing.
pub(super) fn to_json(links: Vec<Link>) -> Option<String> {
    let is_json = |link: &&Link| link.media_type.as_deref().is_some_and(|media_type| media_type.contains("json"));
    let says_nothing = |link: &&Link| link.media_type.is_none();
    links.iter().find(is_json).or_else(|| links.iter().find(says_nothing)).map(|link| link.href.clone())
}

/// The links in an object at `base` whose relation is wanted.
pub(super) fn links(object: &Value, base: &str, wanted: impl Fn(&str) -> bool) -> Vec<Link> {
    let list = object.get("links").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let text = |link: &Value, name: &str| link.get(name).and_then(Value::as_str).map(str::to_owned);
    list.iter()
        .filter(|link| link.get("rel").and_then(Value::as_str).is_some_and(&wanted))
        .filter_map(|link| {
            let href = join(base, &text(link, "href")?)?;
            let media_type = text(link, "type").filter(|media_type| !media_type.is_empty());
            Some(Link { media_type, href })
        })
        .collect()
}

/// Scheme and authority.
fn origin(url: &str) -> Option<&str> {
    let authority = url.find("://")? + 3;
    let end = url[authority..].find(['/', '?', '#']).map_or(url.len(), |end| authority + end);
    Some(&url[..end])
}

/// `href` as seen from `base` (RFC 3986, 5.2), for HTTP only. It may be a template.
fn join(base: &str, href: &str) -> Option<String> {
    let href = href.split('#').next().unwrap_or_default();
    let scheme = href.split(['/', '?', '{']).next().and_then(|start| start.split_once(':')).map(|(scheme, _)| scheme);
    match scheme {
        Some(scheme) => {
            let is_http = ["http", "https"].iter().any(|http| scheme.eq_ignore_ascii_case(http));
            return (is_http && href[scheme.len()..].starts_with("://")).then(|| href.to_owned());
        }
        None if href.starts_with("//") => return Some(format!("{}:{href}", base.split_once(':')?.0)),
        None => {}
    }
    let origin = origin(base)?;
    let path = base[origin.len()..].split(['?', '#']).next().unwrap_or_default();
    if href.is_empty() || href.starts_with('?') {
        return Some(format!("{origin}{path}{href}"));
    }
    let (relative, query) = href.split_at(href.find('?').unwrap_or(href.len()));
    let whole = match relative.strip_prefix('/') {
        Some(_) => relative.to_owned(),
        None => format!("{}/{relative}", path.rsplit_once('/').map_or("", |(directory, _)| directory)),
    };
    let mut segments: Vec<&str> = Vec::new();
    for segment in whole.split('/').skip(1) {
        match segment {
            "." => {}
            ".." => {
                segments.pop();
            }
            _ => segments.push(segment),
        }
    }
    if whole.ends_with("/.") || whole.ends_with("/..") {
        segments.push("");
    }
    Some(format!("{origin}/{}{query}", segments.join("/")))
}

#[cfg(test)]
mod tests {
    use mapproxy_client::testkit::ScriptedClient;

    use super::*;

    fn api(landing_page: &str, collection: Option<&str>) -> Api {
        Api::new("api".into(), landing_page, collection, Arc::new(ScriptedClient::answering("application/json", "{}")))
    }

    #[test]
    fn collections_are_below_the_landing_page() {
        for (landing_page, collection, url) in [
            ("http://h/api", None, "http://h/api"),
            ("http://h/api/", None, "http://h/api/"),
            ("http://h/api/", Some("c"), "http://h/api/collections/c"),
            ("http://u:p@h/api?f=json", Some("a b"), "http://h/api/collections/a%20b?f=json"),
        ] {
            assert_eq!(api(landing_page, collection).url, url);
        }
    }

    #[test]
    fn links_are_seen_from_their_document() {
        let base = "http://h:80/a/b?f=json";
        for (href, expected) in [
            ("https://x/y?z", Some("https://x/y?z")),
            ("//x/y", Some("http://x/y")),
            ("/map.png?x=y", Some("http://h:80/map.png?x=y")),
            ("map/{tileMatrix}/{tileRow}", Some("http://h:80/a/map/{tileMatrix}/{tileRow}")),
            ("../c/./d", Some("http://h:80/c/d")),
            ("../../../d", Some("http://h:80/d")),
            ("?f=png", Some("http://h:80/a/b?f=png")),
            ("/t/{z}?a=b:c", Some("http://h:80/t/{z}?a=b:c")),
            ("map?u=http://y", Some("http://h:80/a/map?u=http://y")),
            ("..", Some("http://h:80/")),
            ("file:///etc/passwd", None),
            ("data:image/png;base64,xx", None),
            ("http:/x", None),
        ] {
            assert_eq!(join(base, href).as_deref(), expected, "{href}");
        }
        assert_eq!(join("http://h", "x").as_deref(), Some("http://h/x"));
    }

    #[test]
    fn both_ways_to_write_a_relation_are_understood_and_json_goes_first() {
        let value = serde_json::json!({"links": [
            {"rel": "[ogc-rel:tilesets-map]", "href": "/untyped"},
            {"rel": "http://www.opengis.net/def/rel/ogc/1.0/tilesets-map", "type": "text/html", "href": "/html"},
            {"rel": "[ogc-rel:tilesets-map]", "type": "application/json", "href": "/json"},
            {"rel": "self", "type": "application/json", "href": "/self"},
            {"rel": "[ogc-rel:tilesets-map]"}, 7,
        ]});
        let mut document = Document { url: "http://h/x".to_owned(), value };
        assert_eq!(document.links("tilesets-map").len(), 3);
        assert_eq!(document.json_link("tilesets-map").as_deref(), Some("http://h/json"));
        document.value["links"][2]["type"] = "text/plain".into();
        assert_eq!(document.json_link("tilesets-map").as_deref(), Some("http://h/untyped"));
        assert_eq!(document.json_link("map"), None);
    }

    #[test]
    fn passwords_stay_with_the_server_they_are_for() {
        let api = api("http://u:p@h/api", None);
        assert!(api.request("http://h/tiles/1").credentials.is_some());
        for elsewhere in ["http://h:81/tiles", "https://h/tiles", "http://h.evil/tiles"] {
            assert!(api.request(elsewhere).credentials.is_none(), "{elsewhere}");
        }
    }

    #[test]
    fn documents_are_json_of_bounded_size() {
        let said = |body: Vec<u8>| {
            let client = ScriptedClient::answering("application/json", body);
            let api = Api::new("api".into(), "http://h/api", None, Arc::new(client));
            api.document("http://h/api").unwrap_err().to_string()
        };
        assert!(said(b"<html>".to_vec()).contains("it begins with '<html>'"));
        assert!(said(vec![b' '; MAX_DOCUMENT_BYTES as usize + 1]).contains("are allowed"));
        assert!(said("[".repeat(100_000).into_bytes()).contains("recursion"));
    }
}

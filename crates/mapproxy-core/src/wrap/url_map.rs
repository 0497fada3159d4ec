//! Several applications, each under a path of its own.

use std::fmt;
use std::sync::Arc;

use http::StatusCode;

use crate::response::plain;
use crate::{Application, Incoming, ProxyRules, Request, Response};

/// Hands requests to the application under whose path they are; the longest path goes first. What lies under none is
/// not found.
#[derive(Clone, Default)]
pub struct UrlMap {
    /// Longest paths first.
    mounts: Vec<Mount>,
    rules: ProxyRules,
}

#[derive(Clone)]
struct Mount {
    /// Only for requests to this host, in lower case and without port.
    host: Option<String>,
    /// `/maps`, or empty for all that no other takes.
    path: String,
    app: Arc<dyn Application>,
}

/// Two applications in one place.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is an application at {0} already")]
pub struct MountError(pub String);

impl UrlMap {
    /// Without applications.
    pub fn new() -> UrlMap {
        UrlMap::default()
    }

    /// Whose headers are believed; everybody's without this.
    #[must_use]
    pub fn proxies(mut self, rules: ProxyRules) -> UrlMap {
        self.rules = rules;
        self
    }

    /// Puts `app` under `path`: `/maps`, or `/` for all that lies under no other.
    pub fn mount(self, path: &str, app: Arc<dyn Application>) -> Result<UrlMap, MountError> {
        self.add(None, path, app)
    }

    /// Puts `app` under `path` for requests to one host.
    pub fn mount_for_host(self, host: &str, path: &str, app: Arc<dyn Application>) -> Result<UrlMap, MountError> {
        self.add(Some(without_port(host).to_ascii_lowercase()), path, app)
    }

    fn add(mut self, host: Option<String>, path: &str, app: Arc<dyn Application>) -> Result<UrlMap, MountError> {
        let path = match path.trim_matches('/') {
            "" => String::new(),
            path => format!("/{path}"),
        };
        if self.mounts.iter().any(|mount| mount.path == path && mount.host == host) {
            return Err(MountError(format!("{}{path}/", host.unwrap_or_default())));
        }
        self.mounts.push(Mount { host, path, app });
        // Those for one host before those for all.
        self.mounts.sort_by_key(|mount| (std::cmp::Reverse(mount.path.len()), mount.host.is_none()));
        Ok(self)
    }

    /// The application for a request, and the request as it sees it.
    fn find(&self, request: &Request) -> Option<(&dyn Application, Request)> {
        let incoming = Incoming::with_rules(request, &self.rules);
        let has_hosts = self.mounts.iter().any(|mount| mount.host.is_some());
        let host = has_hosts.then(|| {
            let origin = incoming.urls().origin;
            let host = origin.split_once("://").map_or("", |(_, host)| host);
            without_port(host).to_ascii_lowercase()
        });
        let mut candidates = self.mounts.iter().filter(|mount| mount.host.is_none() || mount.host == host);
        candidates.find_map(|mount| Some((&*mount.app, incoming.mounted(&mount.path)?)))
    }
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}

#[deny(clippy::missing_trait_methods)]
impl Application for UrlMap {
    fn call(&self, request: Request) -> Response {
        match self.find(&request) {
            Some((app, request)) => app.call(request),
            None => plain(StatusCode::NOT_FOUND, "not found"),
        }
    }

    fn call_now(&self, request: &Request) -> Option<Response> {
        let (app, request) = self.find(request)?;
        app.call_now(&request)
    }
}

impl fmt::Debug for UrlMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let places = self.mounts.iter().map(|mount| format!("{}{}/", mount.host.as_deref().unwrap_or(""), mount.path));
        f.debug_list().entries(places).finish()
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::Body;

    struct Named(&'static str);

    impl Application for Named {
        fn call(&self, request: Request) -> Response {
            let incoming = Incoming::new(&request);
            Response::new(Body::from(format!("{} {} {}", self.0, incoming.path, incoming.urls().script)))
        }
    }

    fn named(name: &'static str) -> Arc<dyn Application> {
        Arc::new(Named(name))
    }

    fn answer(app: &UrlMap, host: &str, uri: &str) -> (u16, String) {
        let response = app.call(http::Request::get(uri).header("host", host).body(Bytes::new()).unwrap());
        (response.status().as_u16(), String::from_utf8(response.body().as_bytes().to_vec()).unwrap())
    }

    #[test]
    fn the_longest_path_wins_and_ends_at_a_segment() {
        let map = UrlMap::new().mount("/a", named("a")).unwrap().mount("/a/b/", named("b")).unwrap();
        assert_eq!(answer(&map, "h", "/a/service"), (200, "a /service http://h/a".to_owned()));
        assert_eq!(answer(&map, "h", "/a/b"), (200, "b / http://h/a/b".to_owned()));
        assert_eq!(answer(&map, "h", "/a/bc"), (200, "a /bc http://h/a".to_owned()));
        assert_eq!(answer(&map, "h", "/"), (404, "not found".to_owned()));
        let map = map.mount("/", named("root")).unwrap();
        assert_eq!(answer(&map, "h", "/x").1, "root /x http://h");
        assert_eq!(map.mount("a/", named("a")).unwrap_err().to_string(), "there is an application at /a/ already");
    }

    #[test]
    fn applications_may_be_those_of_a_host() {
        let map = UrlMap::new().mount("/", named("all")).unwrap();
        let map = map.mount_for_host("Maps.example", "/", named("maps")).unwrap();
        assert_eq!(answer(&map, "maps.example:8080", "/x").1, "maps /x http://maps.example:8080");
        assert_eq!(answer(&map, "other", "/x").1, "all /x http://other");
    }
}

//! An application that stands under a path without the server in front saying so.

use crate::{Application, Incoming, ProxyRules, Request, Response};

/// Names its application's addresses with a path before them, and takes it off the path of requests that have it: for a
/// proxy that cannot send `X-Script-Name`. A script name that a trusted proxy does send goes before.
#[derive(Clone, Debug)]
pub struct Prefix<A> {
    app: A,
    prefix: String,
    scheme: Option<&'static str>,
    rules: ProxyRules,
}

impl<A> Prefix<A> {
    /// Puts `app` under `prefix`, such as `/maps`.
    pub fn new(app: A, prefix: &str) -> Prefix<A> {
        let prefix = match prefix.trim_matches('/') {
            "" => String::new(),
            prefix => format!("/{prefix}"),
        };
        Prefix { app, prefix, scheme: None, rules: ProxyRules::default() }
    }

    /// Names addresses with https (or http), whatever the proxy says.
    #[must_use]
    pub fn https(mut self, https: bool) -> Prefix<A> {
        self.scheme = Some(if https { "https" } else { "http" });
        self
    }

    /// Whose headers are believed; everybody's without this.
    #[must_use]
    pub fn proxies(mut self, rules: ProxyRules) -> Prefix<A> {
        self.rules = rules;
        self
    }

    fn prefixed(&self, request: &Request) -> Request {
        Incoming::with_rules(request, &self.rules).standing_at(&self.prefix, self.scheme)
    }
}

#[deny(clippy::missing_trait_methods)]
impl<A: Application> Application for Prefix<A> {
    fn call(&self, request: Request) -> Response {
        self.app.call(self.prefixed(&request))
    }

    fn call_now(&self, request: &Request) -> Option<Response> {
        self.app.call_now(&self.prefixed(request))
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::Body;

    #[derive(Clone)]
    struct Echo;

    impl Application for Echo {
        fn call(&self, request: Request) -> Response {
            Response::new(Body::from(Incoming::new(&request).urls().base))
        }
    }

    fn answer(app: &impl Application, uri: &str, headers: &[(&str, &str)]) -> String {
        let mut request = http::Request::get(uri).header("host", "a.b");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = app.call(request.body(Bytes::new()).unwrap());
        String::from_utf8(response.body().as_bytes().to_vec()).unwrap()
    }

    #[test]
    fn addresses_have_the_prefix_whether_the_proxy_took_it_off_or_not() {
        let app = Prefix::new(Echo, "maps/");
        for uri in ["/service", "/maps/service"] {
            assert_eq!(answer(&app, uri, &[]), "http://a.b/maps/service");
        }
        assert_eq!(answer(&app, "/mapset", &[]), "http://a.b/maps/mapset");
        assert_eq!(answer(&app.clone().https(true), "/service", &[]), "https://a.b/maps/service");
    }

    #[test]
    fn a_proxy_that_says_where_we_stand_knows_better() {
        let app = Prefix::new(Echo, "/maps");
        assert_eq!(answer(&app, "/service", &[("x-script-name", "/gis")]), "http://a.b/gis/service");
    }
}

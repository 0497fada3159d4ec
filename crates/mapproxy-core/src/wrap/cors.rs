//! Cross-origin requests (CORS; Fetch standard, 3.2): which web pages may read an application's answers.

use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS,
    ACCESS_CONTROL_REQUEST_METHOD, HeaderName, ORIGIN, VARY,
};
use http::{HeaderMap, HeaderValue, Method, StatusCode};

use crate::{Application, Body, Request, Response};

/// Lets pages of some origins, or of all, read what an application answers, and answers their preflight requests. It
/// replaces what the application itself says (`globals.http.access_control_allow_origin`).
#[derive(Clone, Debug)]
pub struct Cors<A> {
    app: A,
    /// `None`: pages of any origin.
    origins: Option<Vec<HeaderValue>>,
    exposed: Option<HeaderValue>,
    max_age: Option<HeaderValue>,
    credentials: bool,
}

/// Options that make no sense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CorsError {
    /// Not `https://host[:port]`.
    #[error("{0:?} is no origin: expected such as https://maps.example.org, or * for all")]
    Origin(String),
    /// Not the name of a header.
    #[error("{0:?} is no name of a header")]
    Header(String),
    /// Any page could act in a user's name.
    #[error("credentials for pages of any origin are not allowed: name the origins")]
    CredentialsForAll,
}

impl<A> Cors<A> {
    /// Lets pages of these origins (`https://maps.example.org`) read; `*` stands for all.
    pub fn new<S: AsRef<str>>(app: A, origins: &[S]) -> Result<Cors<A>, CorsError> {
        let mut listed = Vec::with_capacity(origins.len());
        for origin in origins {
            let origin = origin.as_ref().trim();
            if origin == "*" {
                return Ok(Cors { app, origins: None, exposed: None, max_age: None, credentials: false });
            }
            let host = origin.split_once("://").map_or("", |(_, host)| host);
            let value = HeaderValue::try_from(origin).ok().filter(|_| crate::proxies::is_host(host));
            listed.push(value.ok_or_else(|| CorsError::Origin(origin.to_owned()))?);
        }
        Ok(Cors { app, origins: Some(listed), exposed: None, max_age: None, credentials: false })
    }

    /// Headers of answers that scripts may see beside the usual ones.
    pub fn expose<S: AsRef<str>>(mut self, headers: &[S]) -> Result<Cors<A>, CorsError> {
        let mut names = Vec::with_capacity(headers.len());
        for name in headers.iter().map(|name| name.as_ref().trim()) {
            names.push(HeaderName::try_from(name).map_err(|_| CorsError::Header(name.to_owned()))?);
        }
        let names: Vec<&str> = names.iter().map(HeaderName::as_str).collect();
        self.exposed = Some(HeaderValue::try_from(names.join(", ")).expect("names of headers make a header value"));
        Ok(self)
    }

    /// For how many seconds browsers may remember the answer to a preflight request.
    #[must_use]
    pub fn max_age(mut self, seconds: u32) -> Cors<A> {
        self.max_age = Some(HeaderValue::from(seconds));
        self
    }

    /// Lets scripts send cookies and passwords along.
    pub fn credentials(mut self, allowed: bool) -> Result<Cors<A>, CorsError> {
        if allowed && self.origins.is_none() {
            return Err(CorsError::CredentialsForAll);
        }
        self.credentials = allowed;
        Ok(self)
    }

    /// The origin to name to this client; `None` for one that may not read.
    fn allowed(&self, request: &HeaderMap) -> Option<HeaderValue> {
        match &self.origins {
            None => Some(HeaderValue::from_static("*")),
            Some(origins) => request.get(ORIGIN).filter(|origin| origins.contains(origin)).cloned(),
        }
    }

    fn finish(&self, allowed: Option<HeaderValue>, mut response: Response) -> Response {
        let headers = response.headers_mut();
        if self.origins.is_some() {
            headers.append(VARY, HeaderValue::from_static("Origin"));
        }
        let Some(origin) = allowed else {
            headers.remove(ACCESS_CONTROL_ALLOW_ORIGIN);
            return response;
        };
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        if let Some(exposed) = &self.exposed {
            headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, exposed.clone());
        }
        if self.credentials {
            headers.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        }
        response
    }

    fn preflight(&self, request: &HeaderMap) -> Response {
        let mut response = Response::new(Body::EMPTY);
        *response.status_mut() = StatusCode::NO_CONTENT;
        let allowed = self.allowed(request);
        let headers = response.headers_mut();
        if allowed.is_some() {
            headers.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, HEAD, POST, OPTIONS"));
            if let Some(asked) = request.get(ACCESS_CONTROL_REQUEST_HEADERS) {
                headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, asked.clone());
                headers.append(VARY, HeaderValue::from_static("Access-Control-Request-Headers"));
            }
            if let Some(age) = &self.max_age {
                headers.insert(ACCESS_CONTROL_MAX_AGE, age.clone());
            }
        }
        self.finish(allowed, response)
    }
}

#[deny(clippy::missing_trait_methods)]
impl<A: Application> Application for Cors<A> {
    fn call(&self, request: Request) -> Response {
        let headers = request.headers();
        let is_preflight = headers.contains_key(ORIGIN) && headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD);
        if *request.method() == Method::OPTIONS && is_preflight {
            return self.preflight(headers);
        }
        let allowed = self.allowed(headers);
        self.finish(allowed, self.app.call(request))
    }

    fn call_now(&self, request: &Request) -> Option<Response> {
        if *request.method() == Method::OPTIONS {
            return None;
        }
        let response = self.app.call_now(request)?;
        Some(self.finish(self.allowed(request.headers()), response))
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[derive(Debug)]
    struct Open;

    impl Application for Open {
        fn call(&self, _request: Request) -> Response {
            let mut response = Response::new(Body::from("map"));
            response.headers_mut().insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
            response
        }
    }

    fn ask(app: &impl Application, method: Method, headers: &[(&str, &str)]) -> Response {
        let mut request = http::Request::builder().method(method).uri("/service");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        app.call(request.body(Bytes::new()).unwrap())
    }

    #[test]
    fn only_pages_of_the_origins_named_may_read() {
        let app = Cors::new(Open, &["https://a.example"]).unwrap().credentials(true).unwrap();
        let app = app.expose(&["ETag"]).unwrap();
        let answer = ask(&app, Method::GET, &[("origin", "https://a.example")]);
        assert_eq!(answer.headers()[ACCESS_CONTROL_ALLOW_ORIGIN], "https://a.example");
        assert_eq!(answer.headers()[ACCESS_CONTROL_ALLOW_CREDENTIALS], "true");
        assert_eq!(answer.headers()[ACCESS_CONTROL_EXPOSE_HEADERS], "etag");
        assert_eq!(answer.headers()[VARY], "Origin");
        for headers in [&[][..], &[("origin", "https://b.example")]] {
            let answer = ask(&app, Method::GET, headers);
            assert_eq!(answer.body().as_bytes(), b"map");
            assert!(!answer.headers().contains_key(ACCESS_CONTROL_ALLOW_ORIGIN));
        }
    }

    #[test]
    fn preflight_requests_are_answered_here_and_other_options_by_the_application() {
        let app = Cors::new(Open, &["*"]).unwrap().max_age(600);
        let asked = [
            ("origin", "https://a.example"),
            ("access-control-request-method", "GET"),
            ("access-control-request-headers", "x-key"),
        ];
        let answer = ask(&app, Method::OPTIONS, &asked);
        assert_eq!(answer.status(), StatusCode::NO_CONTENT);
        assert_eq!(answer.headers()[ACCESS_CONTROL_ALLOW_ORIGIN], "*");
        assert_eq!(answer.headers()[ACCESS_CONTROL_ALLOW_HEADERS], "x-key");
        assert_eq!(answer.headers()[ACCESS_CONTROL_MAX_AGE], "600");
        assert_eq!(ask(&app, Method::OPTIONS, &[]).body().as_bytes(), b"map");
    }

    #[test]
    fn senseless_options_are_refused() {
        let error = |origins: &[&str]| Cors::new(Open, origins).unwrap_err();
        assert_eq!(error(&["maps.example"]), CorsError::Origin("maps.example".to_owned()));
        assert_eq!(error(&["https://maps.example/"]), CorsError::Origin("https://maps.example/".to_owned()));
        assert_eq!(Cors::new(Open, &["*"]).unwrap().credentials(true).unwrap_err(), CorsError::CredentialsForAll);
    }
}

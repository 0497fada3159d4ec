//! Requests to a WMS other than GetMap: parameters in the order in which MapProxy writes them.

use std::fmt::Write as _;
use std::sync::Arc;

use mapproxy_client::{Credentials, UpstreamRequest};

use crate::HttpMethod;
use crate::pyfmt::quote;

/// Where requests go, and how.
#[derive(Clone, Debug)]
pub(crate) struct Endpoint {
    url: String,
    post: bool,
    credentials: Option<Arc<Credentials>>,
}

impl Endpoint {
    /// `has_sld_body`: a style sheet comes along, which may be too long for a URL.
    pub(crate) fn new(url: &str, method: HttpMethod, has_sld_body: bool) -> Endpoint {
        let (url, credentials) = Credentials::split(url);
        let post = match method {
            HttpMethod::Post => true,
            HttpMethod::Get => false,
            HttpMethod::Auto => has_sld_body,
        };
        Endpoint { url, post, credentials }
    }

    pub(crate) fn request(&self, params: &Params) -> UpstreamRequest {
        let query = params.to_string();
        let request = if self.post {
            UpstreamRequest::post_form(self.url.trim_end_matches('?'), query)
        } else {
            UpstreamRequest::get(with_query(&self.url, &query))
        };
        request.with_credentials(self.credentials.clone())
    }
}

/// A URL, which may have a query, with more of it.
fn with_query(url: &str, query: &str) -> String {
    let delimiter = match url {
        _ if url.ends_with('?') => "",
        _ if url.contains('?') => "&",
        _ => "?",
    };
    format!("{url}{delimiter}{query}")
}

/// Parameters in order; names differ in more than case.
#[derive(Clone, Debug, Default)]
pub(crate) struct Params(Vec<(String, String)>);

impl Params {
    /// Configured parameters; values of one name are a list.
    pub(crate) fn of(configured: &[(String, String)]) -> Params {
        let mut params = Params::default();
        for (name, value) in configured {
            match params.get_mut(name) {
                Some(values) => {
                    values.push(',');
                    values.push_str(value);
                }
                None => params.0.push((name.clone(), value.clone())),
            }
        }
        params
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    fn get_mut(&mut self, name: &str) -> Option<&mut String> {
        self.0.iter_mut().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// Sets a parameter where it stands, or at the end.
    pub(crate) fn set(&mut self, name: &str, value: impl Into<String>) {
        match self.get_mut(name) {
            Some(known) => *known = value.into(),
            None => self.0.push((name.to_owned(), value.into())),
        }
    }

    /// Sets a parameter that is not there yet.
    pub(crate) fn set_default(&mut self, name: &str, value: impl Into<String>) {
        if self.get(name).is_none() {
            self.0.push((name.to_owned(), value.into()));
        }
    }

    pub(crate) fn remove(&mut self, name: &str) {
        self.0.retain(|(known, _)| !known.eq_ignore_ascii_case(name));
    }
}

impl std::fmt::Display for Params {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (index, (name, value)) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_char('&')?;
            }
            write!(f, "{name}={}", quote(value))?;
        }
        Ok(())
    }
}

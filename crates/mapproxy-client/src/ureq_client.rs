//! The client that speaks to the network.

use std::borrow::Cow;
use std::collections::HashMap;
use std::io::Read as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use http::header::{
    ACCEPT, AUTHORIZATION, CONTENT_TYPE, COOKIE, HeaderName, LOCATION, PROXY_AUTHORIZATION, RETRY_AFTER, SET_COOKIE,
};
use http::header::{HeaderMap, HeaderValue, WWW_AUTHENTICATE};
use http::{Response, Uri};
use percent_encoding::AsciiSet;
use ureq::Body;

use crate::auth::{self, Challenge};
use crate::cookies::CookieJar;
use crate::note::note;
use crate::proxy::Proxies;
use crate::redirect::{self, Redirect};
use crate::transport::{self, Connections, noting_connections};
use crate::{
    ClientError, Credentials, ErrorKind, HttpClient, Limited, Method, RedactedUrl, UpstreamRequest, UpstreamResponse,
};

/// How to speak to upstream servers.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ClientOptions {
    /// `client_timeout`: to connect, and between any two pieces of an answer.
    pub timeout: Duration,
    /// `headers`, sent with each request.
    pub headers: Vec<(String, String)>,
    /// `ssl_no_cert_checks`: accept any certificate; `ca_certs` is not looked at then.
    pub insecure: bool,
    /// `ssl_ca_certs`: PEM file of the authorities to trust; `None`: the system's.
    pub ca_certs: Option<PathBuf>,
    /// `manage_cookies`: send cookies back that a server set.
    pub manage_cookies: bool,
    /// Largest body accepted, in bytes.
    pub max_body: u64,
    /// `concurrent_requests`; `None`: any number.
    pub limit: Option<RequestLimit>,
}

/// How many requests a server may get at once, from all processes with one lock directory; see [`Limited`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RequestLimit {
    /// `concurrent_requests`.
    pub requests: u32,
    /// Where the lock files are.
    pub lock_dir: PathBuf,
}

impl Default for ClientOptions {
    fn default() -> Self {
        ClientOptions {
            timeout: Duration::from_secs(60),
            headers: Vec::new(),
            insecure: false,
            ca_certs: None,
            manage_cookies: false,
            max_body: 256 * 1024 * 1024,
            limit: None,
        }
    }
}

/// Options that no client can be made with.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientSetupError {
    /// `ssl_ca_certs` cannot be read.
    #[error("ssl_ca_certs: {}: {reason}", file.display())]
    CaCerts {
        /// The file.
        file: PathBuf,
        /// Why not.
        reason: String,
    },
    /// A header is none.
    #[error("http.headers: {name:?}: {reason}")]
    Header {
        /// Its name.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// `http_proxy` or `https_proxy` of the environment is no proxy.
    #[error("{variable}: {reason}")]
    Proxy {
        /// The environment's variable.
        variable: String,
        /// What is wrong with it.
        reason: String,
    },
}

/// Makes clients that share connections, cookies and credentials where their options allow.
#[derive(Debug, Default)]
pub struct Clients {
    clients: Mutex<HashMap<ClientOptions, Arc<dyn HttpClient>>>,
    connections: Mutex<HashMap<ConnectionKey, Arc<Connections>>>,
    jars: Mutex<HashMap<TlsKey, Arc<CookieJar>>>,
    challenges: Arc<Challenges>,
}

type TlsKey = (bool, Option<PathBuf>);
type ConnectionKey = (Duration, TlsKey);

/// What servers asked, by origin and who was to answer.
type Challenges = Mutex<HashMap<(String, Arc<Credentials>), Arc<Challenge>>>;

impl Clients {
    /// The client for `options`: the same one for equal options. Proxies are those of the environment at the time.
    pub fn client(&self, options: ClientOptions) -> Result<Arc<dyn HttpClient>, ClientSetupError> {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(&options) {
            return Ok(Arc::clone(client));
        }
        let client: Arc<dyn HttpClient> = match &options.limit {
            None => Arc::new(self.unlimited(options.clone())?),
            Some(limit) => {
                let inner = Arc::new(self.unlimited(ClientOptions { limit: None, ..options.clone() })?);
                Arc::new(Limited::new(inner, limit.requests, &limit.lock_dir, options.timeout))
            }
        };
        clients.insert(options, Arc::clone(&client));
        Ok(client)
    }

    fn unlimited(&self, options: ClientOptions) -> Result<UreqClient, ClientSetupError> {
        let tls_key: TlsKey = (options.insecure, options.ca_certs.clone().filter(|_| !options.insecure));
        let mut headers = HeaderMap::with_capacity(options.headers.len());
        for (name, value) in &options.headers {
            let error = |reason: String| ClientSetupError::Header { name: name.clone(), reason };
            let header = HeaderName::try_from(name.as_str()).map_err(|e| error(e.to_string()))?;
            let value = HeaderValue::try_from(value.as_str()).map_err(|e| error(e.to_string()))?;
            headers.append(header, value);
        }
        let mut all = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (options.timeout, tls_key.clone());
        let connections = match all.get(&key) {
            Some(connections) => Arc::clone(connections),
            None => {
                let proxies = Proxies::from_env(|name| std::env::var(name).ok())?;
                let tls = transport::tls(options.insecure, options.ca_certs.as_deref())?;
                let connections = Arc::new(Connections::new(options.timeout, tls, proxies)?);
                all.insert(key, Arc::clone(&connections));
                connections
            }
        };
        let mut jars = self.jars.lock().unwrap_or_else(PoisonError::into_inner);
        let cookies = options.manage_cookies.then(|| Arc::clone(jars.entry(tls_key).or_default()));
        let challenges = Arc::clone(&self.challenges);
        Ok(UreqClient { connections, cookies, challenges, headers, options })
    }
}

/// The client that speaks to the network: HTTP/1.1 with connections kept open.
///
/// Redirects are followed (up to `redirect::LIMIT`), Basic and Digest challenges answered with the request's
/// credentials; a whole exchange may last ten time-outs, at least five minutes. Each request writes a line to the log
/// target of its [`Peer`](crate::Peer): method, URL, status, KiB, milliseconds.
#[derive(Debug)]
pub struct UreqClient {
    connections: Arc<Connections>,
    cookies: Option<Arc<CookieJar>>,
    challenges: Arc<Challenges>,
    headers: HeaderMap,
    options: ClientOptions,
}

impl HttpClient for UreqClient {
    fn send(&self, request: &UpstreamRequest) -> Result<UpstreamResponse, ClientError> {
        let started = Instant::now();
        let answer = self.exchange(request);
        note(request, request.method.as_str(), started, &answer);
        answer
    }
}

/// One request on its way through redirects.
struct Hop<'a> {
    method: Method,
    uri: Uri,
    body: Option<&'a [u8]>,
    /// Still the server that was meant: credentials and headers may be sent.
    at_origin: bool,
}

impl UreqClient {
    fn exchange(&self, request: &UpstreamRequest) -> Result<UpstreamResponse, ClientError> {
        let fail = |kind, reason: String| ClientError::new(kind, RedactedUrl::new(&request.url), reason);
        if names_impossible_port(&request.url) {
            // The URL is well formed, but no server can be there.
            return Err(fail(ErrorKind::Connection, "the port is above 65535".to_owned()));
        }
        // What is beyond ASCII has no place in a request line (RFC 3986, 2.1) as it stands.
        let url: Cow<'_, str> = percent_encoding::utf8_percent_encode(&request.url, &AsciiSet::EMPTY).into();
        let uri: Uri = url.parse().map_err(|e| fail(ErrorKind::InvalidUrl, format!("{e}")))?;
        if !is_askable(&uri) {
            return Err(fail(ErrorKind::InvalidUrl, "http://host/… or https://host/… is needed".to_owned()));
        }
        let origin = origin(&uri);
        let mut hop = Hop { method: request.method, uri, body: request.body.as_deref(), at_origin: true };
        for _ in 0..=redirect::LIMIT {
            let response = self.authenticated(&hop, request, &origin).map_err(|error| {
                let (kind, reason) = classify(&error);
                fail(kind, reason)
            })?;
            let status = response.status().as_u16();
            match redirect::next(hop.method, &hop.uri, status, response.headers().get(LOCATION)) {
                Redirect::No if is_success(hop.method, status) => {
                    return self.read(hop.method, response).map_err(|(kind, reason)| fail(kind, reason));
                }
                Redirect::No => {
                    let challenge = response.headers().get(WWW_AUTHENTICATE).filter(|_| status == 401);
                    let challenge = challenge.and_then(|value| value.to_str().ok()).map(str::to_owned);
                    let wait = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
                    let retry_after = wait.and_then(|wait| retry_after(wait, SystemTime::now()));
                    let answer = short_answer(response);
                    let reason = if status == 204 { "204 No Content".to_owned() } else { status.to_string() };
                    return Err(ClientError {
                        challenge,
                        retry_after,
                        answer: answer.as_ref().into(),
                        ..fail(ErrorKind::Status(status), reason)
                    });
                }
                Redirect::To(method, uri) => {
                    drain(response);
                    hop.at_origin = self::origin(&uri) == origin;
                    hop.body = hop.body.filter(|_| method.has_body());
                    hop.method = method;
                    hop.uri = uri;
                }
                Redirect::Nowhere(reason) => return Err(fail(ErrorKind::Redirect, format!("{status}: {reason}"))),
            }
        }
        Err(fail(
            ErrorKind::Redirect,
            format!("more than {} redirects, last to {}", redirect::LIMIT, RedactedUrl::new(&hop.uri.to_string())),
        ))
    }

    /// Sends the request, and once more with the answer to a challenge.
    fn authenticated(
        &self,
        hop: &Hop<'_>,
        request: &UpstreamRequest,
        origin: &str,
    ) -> Result<Response<Body>, ureq::Error> {
        let Some(credentials) = request.credentials.as_ref().filter(|_| hop.at_origin) else {
            return self.on_open_connection(hop, request, None);
        };
        let key = (origin.to_owned(), Arc::clone(credentials));
        let target = hop.uri.path_and_query().map_or("/", |target| target.as_str());
        let known = self.challenges.lock().unwrap_or_else(PoisonError::into_inner).get(&key).cloned();
        let answer = known.as_ref().map(|challenge| challenge.answer(credentials, hop.method, target));
        let response = self.on_open_connection(hop, request, answer.as_deref())?;
        if response.status() != 401 {
            return Ok(response);
        }
        let asked = response.headers().get_all(WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok());
        let Some(challenge) = Challenge::parse(asked) else { return Ok(response) };
        if known.is_some_and(|known| known.is_same_as(&challenge)) {
            return Ok(response);
        }
        drain(response);
        let challenge = Arc::new(challenge);
        let answer = challenge.answer(credentials, hop.method, target);
        let response = self.on_open_connection(hop, request, Some(&answer))?;
        if response.status() != 401 {
            self.challenges.lock().unwrap_or_else(PoisonError::into_inner).insert(key, challenge);
        }
        Ok(response)
    }

    /// Sends the request; again on another connection if one kept open turns out to be closed.
    fn on_open_connection(
        &self,
        hop: &Hop<'_>,
        request: &UpstreamRequest,
        authorization: Option<&str>,
    ) -> Result<Response<Body>, ureq::Error> {
        const TRIES: usize = 4;
        for _ in 1..TRIES {
            match noting_connections(|| self.once(hop, request, authorization)) {
                (Err(ureq::Error::Io(_)), false) => {}
                (answer, _) => return answer,
            }
        }
        self.once(hop, request, authorization)
    }

    fn once(
        &self,
        hop: &Hop<'_>,
        request: &UpstreamRequest,
        authorization: Option<&str>,
    ) -> Result<Response<Body>, ureq::Error> {
        let (agent, proxy_credentials) = self.connections.agent(&hop.uri);
        let mut builder = http::Request::builder().method(hop.method.as_str()).uri(hop.uri.clone());
        if let Some(headers) = builder.headers_mut() {
            headers.clone_from(&self.headers);
            for (name, value) in &request.headers {
                let name = HeaderName::try_from(name).map_err(http::Error::from)?;
                // Elsewhere, what was meant for the server may be a secret.
                if hop.at_origin || [ACCEPT, CONTENT_TYPE].contains(&name) {
                    headers.insert(name, HeaderValue::try_from(value).map_err(http::Error::from)?);
                }
            }
            if !hop.at_origin {
                headers.remove(AUTHORIZATION);
                headers.remove(COOKIE);
            }
            if !hop.method.has_body() {
                headers.remove(CONTENT_TYPE);
            }
            let cookie = self.cookies.as_ref().and_then(|jar| jar.header(&hop.uri));
            let secrets = [
                (COOKIE, cookie),
                (AUTHORIZATION, authorization.map(str::to_owned)),
                (PROXY_AUTHORIZATION, proxy_credentials.map(auth::basic)),
            ];
            for (name, value) in secrets {
                if let Some(value) = value {
                    let mut value = HeaderValue::try_from(value).map_err(http::Error::from)?;
                    value.set_sensitive(true);
                    headers.insert(name, value);
                }
            }
        }
        let response = match hop.body {
            Some(body) if hop.method.has_body() => agent.run(builder.body(body)?),
            _ if hop.method.has_body() => agent.run(builder.body(&[][..])?),
            _ => agent.run(builder.body(())?),
        }?;
        if let Some(jar) = &self.cookies {
            jar.store(&hop.uri, response.headers().get_all(SET_COOKIE).iter().filter_map(|value| value.to_str().ok()));
        }
        Ok(response)
    }

    fn read(&self, method: Method, response: Response<Body>) -> Result<UpstreamResponse, (ErrorKind, String)> {
        let limit = self.options.max_body;
        let (parts, body) = response.into_parts();
        // What a HEAD announces is what a GET would give.
        let announced = if method == Method::Head { Some(0) } else { body.content_length() };
        let too_large = || (ErrorKind::TooLarge, format!("more than {limit} bytes"));
        if announced.is_some_and(|length| length > limit) {
            return Err(too_large());
        }
        // What a server announces is believed only so far.
        let capacity = announced.unwrap_or(64 * 1024).min(16 * 1024 * 1024);
        let mut bytes = Vec::with_capacity(usize::try_from(capacity).unwrap_or(0));
        body.into_reader().take(limit.saturating_add(1)).read_to_end(&mut bytes).map_err(|error| {
            let (kind, reason) = classify(&ureq::Error::from(error));
            let of = announced.map_or(String::new(), |length| format!(" of {length}"));
            (kind, format!("{reason} after {}{of} bytes of the answer", bytes.len()))
        })?;
        if bytes.len() as u64 > limit {
            return Err(too_large());
        }
        let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        Ok(UpstreamResponse {
            status: parts.status.as_u16(),
            content_type: parts.headers.get(CONTENT_TYPE).map(text),
            headers: parts.headers.iter().map(|(name, value)| (name.as_str().to_owned(), text(value))).collect(),
            body: bytes.into(),
        })
    }
}

/// Nothing to read is no answer to who asked for something; who wanted something done is content.
fn is_success(method: Method, status: u16) -> bool {
    (200..300).contains(&status) && (status != 204 || !matches!(method, Method::Get | Method::Post))
}

/// The seconds of a `Retry-After`, which may be a date.
fn retry_after(value: &str, now: SystemTime) -> Option<u32> {
    let value = value.trim();
    let seconds: u64 = match value.parse() {
        Ok(seconds) => seconds,
        Err(_) => {
            let date = httpdate::parse_http_date(value).ok()?;
            date.duration_since(now).unwrap_or_default().as_secs_f64().ceil() as u64
        }
    };
    Some(u32::try_from(seconds).unwrap_or(u32::MAX))
}

/// What a server says of a failure, if it is short. Reading it to its end also frees the connection.
fn short_answer(response: Response<Body>) -> bytes::Bytes {
    const SHORT: u64 = 16 * 1024;
    let mut bytes = Vec::new();
    let mut reader = response.into_body().into_reader();
    let complete = reader.by_ref().take(SHORT).read_to_end(&mut bytes).is_ok();
    let _ = std::io::copy(&mut reader.take(64 * 1024), &mut std::io::sink());
    if complete { bytes.into() } else { bytes::Bytes::new() }
}

/// Reads what little is left, so that the connection can be used again; a longer rest closes it.
fn drain(response: Response<Body>) {
    let _ = std::io::copy(&mut response.into_body().into_reader().take(64 * 1024), &mut std::io::sink());
}

/// The URL says how to reach somebody: a port that is none is not noticed when a URL is taken apart.
fn is_askable(uri: &Uri) -> bool {
    let Some(authority) = uri.authority() else { return false };
    let has_good_port = authority.port_u16().is_some() || authority.as_str().trim_end_matches(':') == authority.host();
    matches!(uri.scheme_str(), Some("http" | "https")) && !authority.host().is_empty() && has_good_port
}

fn origin(uri: &Uri) -> String {
    let scheme = uri.scheme_str().unwrap_or_default();
    let port = uri.port_u16().unwrap_or(if scheme == "https" { 443 } else { 80 });
    format!("{scheme}://{}:{port}", uri.host().unwrap_or_default()).to_ascii_lowercase()
}

fn classify(error: &ureq::Error) -> (ErrorKind, String) {
    use ureq::Error;
    match error {
        Error::Timeout(phase) => (ErrorKind::Timeout, format!("timed out ({phase})")),
        Error::Io(error) if is_certificate(error.get_ref().and_then(|inner| inner.downcast_ref())) => {
            (ErrorKind::Certificate, error.to_string())
        }
        Error::Io(error) => {
            let text = error.to_string();
            let text = text.strip_prefix("failed to lookup address information: ").unwrap_or(&text);
            let text = text.split_once(" (os error ").map_or(text, |(text, _)| text);
            (ErrorKind::Connection, text.to_owned())
        }
        Error::Rustls(error) if is_certificate(Some(error)) => (ErrorKind::Certificate, error.to_string()),
        Error::HostNotFound => (ErrorKind::Connection, "host not found".to_owned()),
        Error::BadUri(_) => (ErrorKind::InvalidUrl, error.to_string()),
        Error::Http(_) => (ErrorKind::Local, error.to_string()),
        _ => (ErrorKind::Connection, error.to_string()),
    }
}

fn is_certificate(error: Option<&rustls::Error>) -> bool {
    matches!(error, Some(rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented))
}
/// The authority ends in a number that is no port.
fn names_impossible_port(url: &str) -> bool {
    let authority = url.split_once("://").map_or("", |(_, rest)| rest).split(['/', '?', '#']).next().unwrap_or("");
    let port = authority.rsplit_once(':').map_or("", |(_, port)| port);
    !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_err()
}

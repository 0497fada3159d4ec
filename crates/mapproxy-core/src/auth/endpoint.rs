//! A server that is asked who may see what, as nginx asks with `auth_request`.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::header::{AUTHORIZATION, COOKIE};
use http::{HeaderName, HeaderValue};
use mapproxy_client::{ClientError, ErrorKind, HttpClient, UpstreamRequest, UpstreamResponse};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::json;
use sha2::{Digest, Sha256};

use super::remembered::{Key, Remembered};
use super::{AddressKey, Authorizer, AuthorizerError, Decision, Question, Unavailable};
use crate::Request;
use crate::request::Peer;

/// A refusal holds no longer: people log in and try again.
const REFUSAL_HOLDS: Duration = Duration::from_secs(5);
/// A server in trouble is left alone for as long.
const FAILURE_HOLDS: Duration = Duration::from_secs(1);
/// Answers remembered at most.
const REMEMBERED: usize = 10_000;
/// Bytes of an answer at most.
pub(crate) const MAX_ANSWER: u64 = 256 << 10;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// How an [`Endpoint`] is asked.
#[derive(Clone, Debug)]
pub struct EndpointOptions {
    /// Where it is.
    pub url: String,
    /// The question as JSON by POST; else as parameters by GET.
    pub post: bool,
    /// Headers of the request that say who asks; they go along. `X-Forwarded-For` gets the address of the client added.
    pub headers: Vec<HeaderName>,
    /// How long an answer holds, unless its `Cache-Control` says less; refusals hold for 5 s at most.
    pub remember: Duration,
    /// Asks with the box of each map and tile. Without, one answer holds for all boxes of the same layers, and says by
    /// `limited_to` where they may be seen.
    pub extent: bool,
}

impl EndpointOptions {
    /// By POST, with the headers that usually say who asks; answers hold for a minute, for all boxes.
    pub fn new(url: impl Into<String>) -> EndpointOptions {
        EndpointOptions {
            url: url.into(),
            post: true,
            headers: vec![AUTHORIZATION, COOKIE, X_API_KEY],
            remember: Duration::from_secs(60),
            extent: false,
        }
    }
}

/// Decides what a server says.
///
/// It is told the operation, the layers, perhaps the box, and the headers chosen, and answers with a decision as
/// [`Decision::from_json`] reads it. Status 401 stands for [`Decision::Unauthenticated`] and its `WWW-Authenticate` is
/// passed on, 403 for [`Decision::None`]. All else shows nothing: it is an [`Unavailable`].
///
/// What was asked in the same way is asked once, and not again while the answer holds.
pub struct Endpoint {
    options: EndpointOptions,
    client: Arc<dyn HttpClient>,
    remembered: Remembered<Answer>,
}

type Answer = Result<Decision, Arc<str>>;

impl Endpoint {
    /// Asks through `client`, whose time-outs count.
    pub fn new(options: EndpointOptions, client: Arc<dyn HttpClient>) -> Endpoint {
        Endpoint { options, client, remembered: Remembered::new(REMEMBERED) }
    }

    /// The request has something that the endpoint could know somebody by.
    pub(super) fn sees_credentials(&self, request: &Request) -> bool {
        let mut names = self.options.headers.iter().filter(|name| **name != X_FORWARDED_FOR);
        names.any(|name| self.header(request, name).is_some())
    }

    /// The value of a header, several in one.
    fn header(&self, request: &Request, name: &HeaderName) -> Option<String> {
        let values = request.headers().get_all(name).iter();
        let values: Vec<_> = values.map(|value| String::from_utf8_lossy(value.as_bytes())).collect();
        let own = match name {
            name if *name == X_FORWARDED_FOR => match request.extensions().get::<Peer>() {
                Some(Peer::Ip(address)) => Some(address.to_canonical().to_string()),
                _ => None,
            },
            name if *name == X_API_KEY && values.is_empty() => {
                request.extensions().get::<AddressKey>().map(|key| key.0.clone())
            }
            _ => None,
        };
        let separator = if *name == COOKIE { "; " } else { ", " };
        let all: Vec<&str> = values.iter().map(AsRef::as_ref).chain(own.as_deref()).collect();
        (!all.is_empty()).then(|| all.join(separator))
    }

    fn request(&self, question: &Question<'_>) -> UpstreamRequest {
        let operation = question.operation.as_str();
        let extent = question.extent.filter(|_| self.options.extent);
        let mut request = match self.options.post {
            true => {
                let mut body = json!({ "operation": operation, "layers": question.layers });
                if let Some(extent) = extent {
                    body["extent"] = json!({ "srs": extent.srs.code(), "bbox": extent.bbox.to_array() });
                }
                let mut request = UpstreamRequest::post_form(&self.options.url, body.to_string());
                request.headers = vec![("Content-Type".to_owned(), "application/json".to_owned())];
                request
            }
            false => {
                let separator = if self.options.url.contains('?') { '&' } else { '?' };
                let mut url = format!("{}{separator}operation={operation}", self.options.url);
                let mut add = |name: &str, value: &str| {
                    url.push_str(&format!("&{name}={}", utf8_percent_encode(value, IN_QUERY)));
                };
                question.layers.iter().for_each(|layer| add("layers", layer));
                if let Some(extent) = extent {
                    add("srs", extent.srs.code());
                    add("bbox", &extent.bbox.to_array().map(|edge| edge.to_string()).join(","));
                }
                UpstreamRequest::get(url)
            }
        };
        request.headers.push(("Accept".to_owned(), "application/json".to_owned()));
        for name in &self.options.headers {
            let value = self.header(question.request, name);
            request.headers.extend(value.map(|value| (name.as_str().to_owned(), value)));
        }
        request
    }

    fn ask(&self, request: &UpstreamRequest) -> (Answer, Duration) {
        match self.client.send(request).map_err(Failure::from).and_then(|response| read(&response)) {
            Ok((decision, holds)) => {
                let most = if is_refusal(&decision) { REFUSAL_HOLDS } else { Duration::MAX };
                (Ok(decision), self.options.remember.min(holds).min(most))
            }
            Err(Failure::Refused(decision)) => (Ok(decision), self.options.remember.min(REFUSAL_HOLDS)),
            Err(Failure::Unusable(reason)) => (Err(reason.into()), FAILURE_HOLDS),
        }
    }
}

const IN_QUERY: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b',');

enum Failure {
    Refused(Decision),
    Unusable(String),
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Failure {
        match error.kind {
            ErrorKind::Status(401) => {
                let challenge = error.challenge.as_ref().and_then(|text| HeaderValue::try_from(text.as_str()).ok());
                Failure::Refused(challenge.map_or(Decision::Unauthenticated, Decision::Challenged))
            }
            ErrorKind::Status(403) => Failure::Refused(Decision::None),
            _ => Failure::Unusable(format!("the authorization endpoint gives no answer: {error}")),
        }
    }
}

/// The decision, and how long it holds at most.
fn read(response: &UpstreamResponse) -> Result<(Decision, Duration), Failure> {
    let decision = Decision::from_json(&response.body);
    let decision = decision.map_err(|error| {
        Failure::Unusable(format!("the answer of the authorization endpoint is no decision: {error}"))
    })?;
    let mut holds = Duration::MAX;
    for (_, value) in response.headers.iter().filter(|(name, _)| name == "cache-control") {
        for directive in value.split(',').map(|directive| directive.trim().to_ascii_lowercase()) {
            if matches!(directive.as_str(), "no-store" | "no-cache") {
                holds = Duration::ZERO;
            } else if let Some(seconds) = directive.strip_prefix("max-age=").and_then(|age| age.parse().ok()) {
                holds = holds.min(Duration::from_secs(seconds));
            }
        }
    }
    Ok((decision, holds))
}

fn is_refusal(decision: &Decision) -> bool {
    !matches!(decision, Decision::Full | Decision::Partial(_))
}

/// All that is sent, so far as it is not always the same.
fn key_of(request: &UpstreamRequest) -> Key {
    let mut hash = Sha256::new();
    let mut add = |part: &[u8]| {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    };
    add(request.url.as_bytes());
    // A question by GET has no body.
    add(request.body.as_deref().unwrap_or_default());
    for (name, value) in &request.headers {
        add(name.as_bytes());
        add(value.as_bytes());
    }
    hash.finalize().into()
}

impl Authorizer for Endpoint {
    fn authorize(&self, question: &Question<'_>) -> Result<Decision, AuthorizerError> {
        let request = self.request(question);
        let answer = self.remembered.get_or(key_of(&request), || self.ask(&request));
        answer.map_err(|reason| Unavailable(reason).into())
    }

    fn authorize_now(&self, question: &Question<'_>) -> Option<Decision> {
        self.remembered.get(&key_of(&self.request(question)))?.ok()
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint").field("remembered", &self.remembered).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use mapproxy_client::testkit::{ScriptedClient, failure, response};
    use mapproxy_grid::{Bbox, MapExtent, Srs};

    use super::*;
    use crate::auth::Operation;

    fn request(headers: &[(&str, &str)]) -> Request {
        let mut request = http::Request::get("/service");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(Bytes::new()).unwrap()
    }

    fn endpoint(client: &ScriptedClient, change: impl FnOnce(&mut EndpointOptions)) -> Endpoint {
        let mut options = EndpointOptions::new("http://auth.example/ask");
        change(&mut options);
        Endpoint::new(options, Arc::new(client.clone()))
    }

    fn ask(endpoint: &Endpoint, layers: &[&str], request: &Request) -> Result<Decision, AuthorizerError> {
        let extent = MapExtent::new(Bbox::new(0.0, 1.0, 2.0, 3.0), Srs::wgs84());
        endpoint.authorize(&Question::new(Operation::Wmts, layers, Some(&extent), request))
    }

    fn full() -> ScriptedClient {
        ScriptedClient::answering("application/json", r#"{"authorized": "full"}"#)
    }

    #[test]
    fn the_question_says_what_is_wanted_and_who_asks() {
        let client = full();
        let mut from =
            request(&[("authorization", "Bearer x"), ("cookie", "a=1"), ("cookie", "b=2"), ("x-other", "no")]);
        from.headers_mut().insert("x-forwarded-for", HeaderValue::from_static("10.0.0.1"));
        from.extensions_mut().insert(Peer::Ip([127, 0, 0, 1].into()));
        let endpoint = endpoint(&client, |options| options.headers.push(X_FORWARDED_FOR));
        ask(&endpoint, &["a", "b"], &from).unwrap();
        let sent = client.requests().remove(0);
        let body: serde_json::Value = serde_json::from_slice(&sent.body.unwrap()).unwrap();
        assert_eq!(body, json!({"operation": "wmts", "layers": ["a", "b"]}));
        let headers: Vec<_> = sent.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(
            headers,
            [
                ("Content-Type", "application/json"),
                ("Accept", "application/json"),
                ("authorization", "Bearer x"),
                ("cookie", "a=1; b=2"),
                ("x-forwarded-for", "10.0.0.1, 127.0.0.1"),
            ]
        );
    }

    #[test]
    fn by_get_the_question_is_in_the_address() {
        let client = full();
        let endpoint = endpoint(&client, |options| {
            (options.post, options.extent) = (false, true);
            options.url.push_str("?x=1");
        });
        ask(&endpoint, &["a&b", "c"], &request(&[])).unwrap();
        let expected = "http://auth.example/ask?x=1&operation=wmts&layers=a%26b&layers=c&srs=EPSG%3A4326&bbox=0,1,2,3";
        assert_eq!(client.urls(), [expected]);
    }

    #[test]
    fn the_same_is_asked_once_and_other_people_layers_and_boxes_are_others() {
        let client = full();
        let one = endpoint(&client, |_| {});
        let (joe, ann) = (request(&[("cookie", "joe")]), request(&[("cookie", "ann")]));
        for _ in 0..3 {
            ask(&one, &["a"], &joe).unwrap();
        }
        assert_eq!(client.requests().len(), 1);
        ask(&one, &["a"], &ann).unwrap();
        ask(&one, &["b"], &joe).unwrap();
        assert_eq!(client.requests().len(), 3);
        let never = endpoint(&client, |options| options.remember = Duration::ZERO);
        ask(&never, &["a"], &joe).unwrap();
        ask(&never, &["a"], &joe).unwrap();
        assert_eq!(client.requests().len(), 5);
    }

    #[test]
    fn an_answer_may_say_that_it_does_not_hold() {
        let client = ScriptedClient::new(|_| {
            let mut answer = response("application/json", r#"{"authorized": "full"}"#);
            answer.headers.push(("cache-control".to_owned(), "private, max-age=0".to_owned()));
            Ok(answer)
        });
        let endpoint = endpoint(&client, |_| {});
        for _ in 0..2 {
            ask(&endpoint, &["a"], &request(&[])).unwrap();
        }
        assert_eq!(client.requests().len(), 2);
    }

    #[test]
    fn status_401_and_403_are_decisions_and_all_else_shows_nothing() {
        let decide = |client: &ScriptedClient| ask(&endpoint(client, |_| {}), &["a"], &request(&[]));
        let challenging = ScriptedClient::new(|request| {
            let mut error = failure(ErrorKind::Status(401), request);
            error.challenge = Some("Basic realm=\"town\"".to_owned());
            Err(error)
        });
        assert!(matches!(decide(&challenging), Ok(Decision::Challenged(value)) if value == "Basic realm=\"town\""));
        assert!(matches!(decide(&ScriptedClient::failing(401)), Ok(Decision::Unauthenticated)));
        assert!(matches!(decide(&ScriptedClient::failing(403)), Ok(Decision::None)));
        let unreachable = ScriptedClient::new(|request| Err(failure(ErrorKind::Timeout, request)));
        let nonsense = ScriptedClient::answering("text/html", "<h1>Log in</h1>");
        for client in [ScriptedClient::failing(500), ScriptedClient::failing(404), unreachable, nonsense] {
            let error = decide(&client).unwrap_err();
            assert!(error.is::<Unavailable>(), "{error}");
        }
    }
}

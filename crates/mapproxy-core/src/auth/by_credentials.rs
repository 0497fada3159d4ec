//! Several ways to say who one is: which of them decides.

use http::HeaderValue;

use super::jwt::SCHEME;
use super::{ApiKeys, Authorizer, AuthorizerError, Decision, Endpoint, Jwt, Question};

/// What `globals.auth` describes. The first of these that applies decides, and what it refuses stays refused:
///
/// 1. an API key that is shown,
/// 2. a bearer token that is shown,
/// 3. the endpoint, but for requests with nothing that it could know somebody by where there is a decision for the
///    anonymous,
/// 4. the decision for the anonymous, which by default is [`Decision::Unauthenticated`].
#[derive(Debug, Default)]
pub struct ByCredentials {
    /// Keys.
    pub api_keys: Option<ApiKeys>,
    /// Tokens.
    pub jwt: Option<Jwt>,
    /// A server that is asked.
    pub endpoint: Option<Endpoint>,
    /// For those who show nothing.
    pub anonymous: Option<Decision>,
}

/// Who is to decide.
enum Judge<'a> {
    Key(&'a ApiKeys, &'a [u8]),
    Token(&'a Jwt, &'a str),
    Endpoint(&'a Endpoint),
    Anonymous,
}

impl ByCredentials {
    fn judge<'a>(&'a self, question: &Question<'a>) -> Judge<'a> {
        let request = question.request;
        if let Some(keys) = &self.api_keys
            && let Some(key) = keys.shown(request)
        {
            return Judge::Key(keys, key);
        }
        if let Some(jwt) = &self.jwt
            && let Some(token) = Jwt::shown(request)
        {
            return Judge::Token(jwt, token);
        }
        match &self.endpoint {
            Some(endpoint) if self.anonymous.is_none() || endpoint.sees_credentials(request) => {
                Judge::Endpoint(endpoint)
            }
            _ => Judge::Anonymous,
        }
    }

    fn anonymous(&self) -> Decision {
        self.anonymous.clone().unwrap_or(Decision::Unauthenticated)
    }
}

impl Authorizer for ByCredentials {
    fn authorize(&self, question: &Question<'_>) -> Result<Decision, AuthorizerError> {
        match self.judge(question) {
            Judge::Key(keys, key) => Ok(keys.decide(key)),
            Judge::Token(jwt, token) => jwt.decide(token),
            Judge::Endpoint(endpoint) => endpoint.authorize(question),
            Judge::Anonymous => Ok(self.anonymous()),
        }
    }

    fn authorize_now(&self, question: &Question<'_>) -> Option<Decision> {
        match self.judge(question) {
            Judge::Key(keys, key) => Some(keys.decide(key)),
            Judge::Token(jwt, token) => jwt.decide_now(token),
            Judge::Endpoint(endpoint) => endpoint.authorize_now(question),
            Judge::Anonymous => Some(self.anonymous()),
        }
    }

    fn challenge(&self) -> Option<HeaderValue> {
        let schemes = [self.jwt.as_ref().map(|_| SCHEME.to_owned()), self.api_keys.as_ref().map(ApiKeys::scheme)];
        let schemes: Vec<String> = schemes.into_iter().flatten().collect();
        HeaderValue::try_from(schemes.join(", ")).ok().filter(|challenge| !challenge.is_empty())
    }

    fn takes_keys_in_addresses(&self) -> bool {
        self.api_keys.as_ref().is_some_and(ApiKeys::takes_keys_in_addresses)
    }
}

//! Who may see what.

use std::path::PathBuf;
use std::time::Duration;

use super::Name;
use super::coverage::Coverage;
use super::globals::HttpOptions;
use crate::position::Origin;

/// `globals.auth`.
#[derive(Debug, Clone)]
pub struct Auth {
    /// Where it was written.
    pub at: Origin,
    /// `api_keys`.
    pub api_keys: Option<ApiKeys>,
    /// `jwt`.
    pub jwt: Option<Jwt>,
    /// `endpoint`.
    pub endpoint: Option<AuthEndpoint>,
    /// `anonymous`: for those who show no credentials.
    pub anonymous: Option<Grant>,
}

/// A server that decides.
#[derive(Debug, Clone)]
pub struct AuthEndpoint {
    /// Where it was written.
    pub at: Origin,
    /// `url`.
    pub url: String,
    /// `method`: the question goes as JSON by POST, not as parameters by GET. Default true.
    pub post: bool,
    /// `headers` of requests that go with the question. Default `Authorization`, `Cookie`, `X-API-Key`.
    pub headers: Vec<String>,
    /// `globals.http` with the time-out of the endpoint; default 10 s.
    pub http: HttpOptions,
    /// `cache`: how long an answer holds. Default 60 s.
    pub remember: Duration,
    /// `extent`: asks with the box of each map and tile. Default false.
    pub extent: bool,
}

/// Keys and what they open.
#[derive(Debug, Clone)]
pub struct ApiKeys {
    /// Where it was written.
    pub at: Origin,
    /// `header`. Default `X-API-Key`.
    pub header: String,
    /// `in_addresses`: keys are taken from `?api_key=` and `/api_key/…/`, too. Default false.
    pub in_addresses: bool,
    /// `keys`.
    pub keys: Vec<ApiKey>,
}

/// A key.
#[derive(Debug, Clone)]
pub struct ApiKey {
    /// `name`, for people.
    pub name: Option<String>,
    /// `sha256` of the key.
    pub sha256: [u8; 32],
    /// What it opens.
    pub grant: Grant,
}

/// Tokens and what they open.
#[derive(Debug, Clone)]
pub struct Jwt {
    /// Where it was written.
    pub at: Origin,
    /// `jwks` or `secret_file`.
    pub keys: JwtKeys,
    /// `algorithms`, of which there is at least one, and which fit the keys.
    pub algorithms: Vec<JwtAlgorithm>,
    /// `issuer`: one of these, if there are any.
    pub issuers: Vec<String>,
    /// `audience`: one of these.
    pub audiences: Vec<String>,
    /// `leeway`: how far clocks may differ. Default 60 s.
    pub leeway: Duration,
    /// `refresh`: how long fetched keys are used. Default 1 h.
    pub refresh: Duration,
    /// `globals.http`, for fetching keys.
    pub http: HttpOptions,
    /// `claim` that holds a decision. Default `mapproxy`.
    pub claim: String,
    /// `layers_claim` that names layers. Default `layers`.
    pub layers_claim: String,
    /// `grant`: for tokens with neither of the claims. Default: nothing.
    pub grant: Grant,
}

/// What signatures are checked with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JwtKeys {
    /// A JSON Web Key Set (RFC 7517) in a file.
    File(PathBuf),
    /// A JSON Web Key Set to be fetched.
    Url(String),
    /// A file with the secret of HS256, without the line's end.
    Secret(PathBuf),
}

/// How tokens may be signed (RFC 7518, 3.1; RFC 8037).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names are the standard's")]
pub enum JwtAlgorithm {
    HS256,
    RS256,
    RS384,
    RS512,
    PS256,
    PS384,
    PS512,
    ES256,
    ES384,
    EdDSA,
}

impl JwtAlgorithm {
    /// All of them, by their names in tokens.
    pub const ALL: [(&'static str, JwtAlgorithm); 10] = [
        ("HS256", Self::HS256),
        ("RS256", Self::RS256),
        ("RS384", Self::RS384),
        ("RS512", Self::RS512),
        ("PS256", Self::PS256),
        ("PS384", Self::PS384),
        ("PS512", Self::PS512),
        ("ES256", Self::ES256),
        ("ES384", Self::ES384),
        ("EdDSA", Self::EdDSA),
    ];

    /// The name in tokens.
    pub fn as_str(self) -> &'static str {
        // Listed in the order of the variants.
        Self::ALL[self as usize].0
    }
}

/// What somebody may see.
#[derive(Debug, Clone, PartialEq)]
pub enum Grant {
    /// Everything.
    Full,
    /// Nothing.
    None,
    /// Nothing before saying who it is.
    Unauthenticated,
    /// Some of it.
    Partial(Box<PartialGrant>),
}

/// Some layers, in some area.
#[derive(Debug, Clone, PartialEq)]
pub struct PartialGrant {
    /// What may be seen of layers.
    pub layers: Vec<(Name, LayerGrant)>,
    /// What may be seen of all others.
    pub others: Option<LayerGrant>,
    /// In this area only.
    pub limited_to: Option<Coverage>,
}

/// What may be done with a layer.
#[derive(Debug, Clone, PartialEq)]
#[allow(clippy::struct_excessive_bools, reason = "each is an option of its own in the configuration")]
pub struct LayerGrant {
    /// `map`.
    pub map: bool,
    /// `tile`.
    pub tile: bool,
    /// `featureinfo`.
    pub featureinfo: bool,
    /// `legendgraphic`.
    pub legendgraphic: bool,
    /// In this area only.
    pub limited_to: Option<Coverage>,
}

impl LayerGrant {
    /// All that can be done, everywhere.
    pub const ALL: LayerGrant =
        LayerGrant { map: true, tile: true, featureinfo: true, legendgraphic: true, limited_to: None };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn algorithms_have_their_own_names() {
        for (name, algorithm) in JwtAlgorithm::ALL {
            assert_eq!(algorithm.as_str(), name);
        }
    }
}

//! `globals.auth`: keys, tokens and the endpoint, put together to one [`Authorizer`](crate::auth::Authorizer).

use std::path::Path;
use std::sync::Arc;

use http::HeaderName;
use mapproxy_client::{Credentials, HttpClient};
use mapproxy_config::Origin;
use mapproxy_config::checked::{self, HttpOptions, JwtKeys};

use super::Parts;
use crate::auth::{
    ApiKeys, ByCredentials, Decision, Endpoint, EndpointOptions, Feature, FetchedKeys, Gate, Grant, Jwt, JwtOptions,
    KeySet, Keys, MAX_ANSWER, Partial,
};

/// Headers that are not about who asks.
const OF_THE_CONNECTION: [&str; 8] =
    ["host", "content-length", "content-type", "connection", "transfer-encoding", "expect", "upgrade", "accept"];

impl Parts<'_> {
    /// The gate: as the program around us says, or else the configuration. `None` where it could not be built.
    pub(super) fn gate(&self) -> Option<Gate> {
        let Some(config) = &self.config.globals.auth else { return Some(self.extras.gate.clone()) };
        if !self.extras.gate.is_open() {
            let message = "not used: the program around MapProxy decides who may see what";
            self.diagnostics.borrow_mut().push(self.config.warning(&config.at, message));
            return Some(self.extras.gate.clone());
        }
        // All mistakes are told, so nothing is left early.
        let api_keys = config.api_keys.as_ref().map(|keys| self.api_keys(keys));
        let jwt = config.jwt.as_ref().map(|jwt| self.jwt(jwt));
        let endpoint = config.endpoint.as_ref().map(|endpoint| self.endpoint(endpoint));
        let anonymous = config.anonymous.as_ref().map(|grant| self.decision(grant));
        Some(Gate::guarded_by(Arc::new(ByCredentials {
            api_keys: all_or_nothing(api_keys)?,
            jwt: all_or_nothing(jwt)?,
            endpoint: all_or_nothing(endpoint)?,
            anonymous: all_or_nothing(anonymous)?,
        })))
    }

    fn api_keys(&self, config: &checked::ApiKeys) -> Option<ApiKeys> {
        let header = self.told(&config.at, HeaderName::try_from(config.header.as_str()))?;
        let keys = ApiKeys::new(header).in_addresses(config.in_addresses);
        config.keys.iter().try_fold(keys, |keys, key| Some(keys.hashed(key.sha256, self.decision(&key.grant)?)))
    }

    fn endpoint(&self, config: &checked::AuthEndpoint) -> Option<Endpoint> {
        if Credentials::split(&config.url).1.is_some() {
            return self.error(&config.at, "a user and a password in the url are not possible here");
        }
        let mut headers = Vec::with_capacity(config.headers.len());
        for name in &config.headers {
            let header = self.told(&config.at, HeaderName::try_from(name.as_str()))?;
            if OF_THE_CONNECTION.contains(&header.as_str()) {
                return self.error(&config.at, format!("headers: '{name}' says nothing of who asks"));
            }
            headers.push(header);
        }
        let options = EndpointOptions {
            url: config.url.clone(),
            post: config.post,
            headers,
            remember: config.remember,
            extent: config.extent,
        };
        Some(Endpoint::new(options, self.small_client(&config.http, &config.at)?))
    }

    fn jwt(&self, config: &checked::Jwt) -> Option<Jwt> {
        let at = &config.at;
        let keys: Keys = match &config.keys {
            JwtKeys::File(path) => self.key_set(path, at, KeySet::from_json)?.into(),
            JwtKeys::Secret(path) => {
                let without_end = |secret: &[u8]| KeySet::from_secret(secret.trim_ascii_end());
                self.key_set(path, at, without_end)?.into()
            }
            JwtKeys::Url(url) => FetchedKeys::new(url, config.refresh, self.small_client(&config.http, at)?).into(),
        };
        let options = JwtOptions {
            algorithms: config.algorithms.clone(),
            issuers: config.issuers.clone(),
            audiences: config.audiences.clone(),
            leeway: config.leeway,
            claim: config.claim.clone(),
            layers_claim: config.layers_claim.clone(),
            otherwise: self.decision(&config.grant)?,
        };
        Some(Jwt::new(options, keys))
    }

    fn key_set<E: std::fmt::Display>(
        &self,
        path: &Path,
        at: &Origin,
        read: impl Fn(&[u8]) -> Result<KeySet, E>,
    ) -> Option<KeySet> {
        let told = |error: &dyn std::fmt::Display| self.error(at, format!("{}: {error}", path.display()));
        match std::fs::read(path) {
            Ok(bytes) => read(&bytes).map_or_else(|error| told(&error), Some),
            Err(error) => told(&error),
        }
    }

    /// For answers that are short.
    fn small_client(&self, http: &HttpOptions, at: &Origin) -> Option<Arc<dyn HttpClient>> {
        self.client_for(http, None, Some(MAX_ANSWER), at)
    }

    fn decision(&self, grant: &checked::Grant) -> Option<Decision> {
        let partial = match grant {
            checked::Grant::Full => return Some(Decision::Full),
            checked::Grant::None => return Some(Decision::None),
            checked::Grant::Unauthenticated => return Some(Decision::Unauthenticated),
            checked::Grant::Partial(partial) => partial,
        };
        let mut decision = Partial::new();
        for (name, grant) in &partial.layers {
            decision = decision.layer(&**name, self.layer_grant(grant)?);
        }
        if let Some(grant) = &partial.others {
            decision = decision.others(self.layer_grant(grant)?);
        }
        if let Some(area) = self.coverage(partial.limited_to.as_ref()).ok()? {
            decision = decision.limited_to(area);
        }
        Some(decision.into())
    }

    fn layer_grant(&self, config: &checked::LayerGrant) -> Option<Grant> {
        let features = [
            (config.map, Feature::Map),
            (config.tile, Feature::Tile),
            (config.featureinfo, Feature::FeatureInfo),
            (config.legendgraphic, Feature::LegendGraphic),
        ];
        let grant = Grant::of(features.into_iter().filter(|(granted, _)| *granted).map(|(_, feature)| feature));
        let area = self.coverage(config.limited_to.as_ref()).ok()?;
        Some(area.into_iter().fold(grant, Grant::limited_to))
    }
}

/// Nothing where something failed.
#[allow(clippy::option_option, reason = "what is not wanted and what failed are not the same")]
fn all_or_nothing<T>(part: Option<Option<T>>) -> Option<Option<T>> {
    match part {
        None => Some(None),
        Some(built) => built.map(Some),
    }
}

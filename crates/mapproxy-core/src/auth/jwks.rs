//! Keys that tokens are signed with: sets of them (JWK Sets, RFC 7517), from a file, a secret, or a server.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use mapproxy_client::{HttpClient, UpstreamRequest};
pub use mapproxy_config::checked::JwtAlgorithm as Algorithm;
use ring::{hmac, signature};
use serde_json::{Map, Value};

/// A set of keys.
#[derive(Debug, Default)]
pub struct KeySet(Vec<SetKey>);

/// JSON that is no set of keys, or one without any that can be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct KeySetError(String);

/// More are not looked at.
const MAX_KEYS: usize = 100;
/// Bytes of a secret at least (RFC 7518, 3.2).
const MIN_SECRET: usize = 32;

#[derive(Debug)]
struct SetKey {
    id: Option<String>,
    /// The only one that the key is for.
    algorithm: Option<String>,
    material: Material,
}

enum Material {
    Secret(hmac::Key),
    Rsa(signature::RsaPublicKeyComponents<Vec<u8>>),
    /// A point that is not compressed.
    P256(Vec<u8>),
    P384(Vec<u8>),
    Ed25519(Vec<u8>),
}

impl fmt::Debug for Material {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Material::Secret(_) => "Secret",
            Material::Rsa(_) => "Rsa",
            Material::P256(_) => "P256",
            Material::P384(_) => "P384",
            Material::Ed25519(_) => "Ed25519",
        })
    }
}

impl KeySet {
    /// Reads a JSON Web Key Set. Keys of other kinds or for other uses are passed over.
    pub fn from_json(json: &[u8]) -> Result<KeySet, KeySetError> {
        let value: Value = serde_json::from_slice(json).map_err(|error| KeySetError(format!("not JSON: {error}")))?;
        let keys = value.get("keys").and_then(Value::as_array);
        let keys = keys.ok_or_else(|| KeySetError("it has no list `keys`".to_owned()))?;
        let keys: Vec<SetKey> = keys.iter().take(MAX_KEYS).filter_map(|key| SetKey::read(key.as_object()?)).collect();
        if keys.is_empty() {
            return Err(KeySetError("it has no public RSA, P-256, P-384 or Ed25519 key for signatures".to_owned()));
        }
        Ok(KeySet(keys))
    }

    /// The secret of HS256, of 32 bytes at least.
    pub fn from_secret(secret: &[u8]) -> Result<KeySet, KeySetError> {
        if secret.len() < MIN_SECRET {
            return Err(KeySetError(format!(
                "a secret has {MIN_SECRET} bytes at least, this one has {}",
                secret.len()
            )));
        }
        let material = Material::Secret(hmac::Key::new(hmac::HMAC_SHA256, secret));
        Ok(KeySet(vec![SetKey { id: None, algorithm: None, material }]))
    }

    /// Some key fits the signature: the one with the name, where there is a name.
    pub(super) fn verify(&self, algorithm: Algorithm, id: Option<&str>, message: &[u8], signature: &[u8]) -> bool {
        let is_meant = |key: &&SetKey| {
            let has_name = id.is_none() || key.id.as_deref() == id || matches!(key.material, Material::Secret(_));
            has_name && key.algorithm.as_deref().is_none_or(|only| only == algorithm.as_str())
        };
        self.0.iter().filter(is_meant).any(|key| key.material.verify(algorithm, message, signature))
    }

    fn has(&self, id: Option<&str>) -> bool {
        id.is_none_or(|id| self.0.iter().any(|key| key.id.as_deref() == Some(id)))
    }
}

impl SetKey {
    fn read(object: &Map<String, Value>) -> Option<SetKey> {
        let text = |name: &str| object.get(name).and_then(Value::as_str);
        let is_for_signatures = text("use").is_none_or(|usage| usage == "sig");
        let operations = object.get("key_ops").and_then(Value::as_array);
        let may_verify = operations.is_none_or(|operations| operations.iter().any(|operation| operation == "verify"));
        if !is_for_signatures || !may_verify {
            return None;
        }
        let bytes = |name: &str| BASE64_URL_SAFE_NO_PAD.decode(text(name)?).ok();
        let coordinates = |size: usize| {
            let (x, y) = (bytes("x")?, bytes("y")?);
            (x.len() == size && y.len() == size).then(|| [&[4], &x[..], &y[..]].concat())
        };
        let material = match (text("kty")?, text("crv")) {
            ("RSA", _) => Material::Rsa(signature::RsaPublicKeyComponents { n: bytes("n")?, e: bytes("e")? }),
            ("EC", Some("P-256")) => Material::P256(coordinates(32)?),
            ("EC", Some("P-384")) => Material::P384(coordinates(48)?),
            ("OKP", Some("Ed25519")) => Material::Ed25519(bytes("x").filter(|x| x.len() == 32)?),
            _ => return None,
        };
        Some(SetKey { id: text("kid").map(str::to_owned), algorithm: text("alg").map(str::to_owned), material })
    }
}

impl Material {
    /// A key is good for algorithms of its own kind only.
    fn verify(&self, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> bool {
        use signature::{
            ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256,
            RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512, RSA_PSS_2048_8192_SHA256, RSA_PSS_2048_8192_SHA384,
            RSA_PSS_2048_8192_SHA512, RsaParameters, UnparsedPublicKey,
        };
        let by_rsa = |key: &signature::RsaPublicKeyComponents<Vec<u8>>, parameters: &RsaParameters| {
            key.verify(parameters, message, signature).is_ok()
        };
        let by_point = |point: &[u8], algorithm: &'static dyn signature::VerificationAlgorithm| {
            UnparsedPublicKey::new(algorithm, point).verify(message, signature).is_ok()
        };
        match (self, algorithm) {
            (Material::Secret(key), Algorithm::HS256) => hmac::verify(key, message, signature).is_ok(),
            (Material::Rsa(key), Algorithm::RS256) => by_rsa(key, &RSA_PKCS1_2048_8192_SHA256),
            (Material::Rsa(key), Algorithm::RS384) => by_rsa(key, &RSA_PKCS1_2048_8192_SHA384),
            (Material::Rsa(key), Algorithm::RS512) => by_rsa(key, &RSA_PKCS1_2048_8192_SHA512),
            (Material::Rsa(key), Algorithm::PS256) => by_rsa(key, &RSA_PSS_2048_8192_SHA256),
            (Material::Rsa(key), Algorithm::PS384) => by_rsa(key, &RSA_PSS_2048_8192_SHA384),
            (Material::Rsa(key), Algorithm::PS512) => by_rsa(key, &RSA_PSS_2048_8192_SHA512),
            (Material::P256(point), Algorithm::ES256) => by_point(point, &ECDSA_P256_SHA256_FIXED),
            (Material::P384(point), Algorithm::ES384) => by_point(point, &ECDSA_P384_SHA384_FIXED),
            (Material::Ed25519(point), Algorithm::EdDSA) => by_point(point, &ED25519),
            _ => false,
        }
    }
}

/// Where keys come from.
#[derive(Debug)]
pub enum Keys {
    /// They are there.
    Fixed(Arc<KeySet>),
    /// From a server.
    Fetched(FetchedKeys),
}

impl From<KeySet> for Keys {
    fn from(keys: KeySet) -> Keys {
        Keys::Fixed(Arc::new(keys))
    }
}

impl From<FetchedKeys> for Keys {
    fn from(keys: FetchedKeys) -> Keys {
        Keys::Fetched(keys)
    }
}

impl Keys {
    /// The keys, with that of this name where it can be had.
    pub(super) fn get(&self, id: Option<&str>) -> Result<Arc<KeySet>, String> {
        match self {
            Keys::Fixed(keys) => Ok(Arc::clone(keys)),
            Keys::Fetched(keys) => keys.get(id),
        }
    }
}

/// A set of keys on a server: fetched when first needed, again after a while, and for a name that is not among them.
pub struct FetchedKeys {
    url: String,
    refresh: Duration,
    client: Arc<dyn HttpClient>,
    current: ArcSwapOption<Fetched>,
    /// When it was last tried, and what came of it; held while fetching.
    tried: Mutex<Option<(Instant, String)>>,
}

#[derive(Debug)]
struct Fetched {
    keys: Arc<KeySet>,
    at: Instant,
}

/// No more often is the server asked.
const PAUSE: Duration = Duration::from_secs(30);
/// For how long keys hold that cannot be fetched anew.
const HOLDS: Duration = Duration::from_secs(24 * 3600);

impl FetchedKeys {
    /// Fetches from `url`, and anew when the keys are older than `refresh`.
    pub fn new(url: impl Into<String>, refresh: Duration, client: Arc<dyn HttpClient>) -> FetchedKeys {
        let (current, tried) = (ArcSwapOption::empty(), Mutex::default());
        FetchedKeys { url: url.into(), refresh, client, current, tried }
    }

    fn get(&self, id: Option<&str>) -> Result<Arc<KeySet>, String> {
        let is_fresh = |fetched: &Fetched| fetched.at.elapsed() < self.refresh && fetched.keys.has(id);
        let usable = |fetched: &Arc<Fetched>| fetched.at.elapsed() < HOLDS.max(self.refresh);
        let known = self.current.load_full().filter(usable);
        if let Some(fetched) = known.as_ref().filter(|fetched| is_fresh(fetched)) {
            return Ok(Arc::clone(&fetched.keys));
        }
        let mut tried = match (self.tried.try_lock(), known) {
            (Ok(tried), _) => tried,
            (Err(TryLockError::Poisoned(poisoned)), _) => poisoned.into_inner(),
            // Somebody is at it, and what we have will do.
            (Err(TryLockError::WouldBlock), Some(fetched)) if fetched.keys.has(id) => {
                return Ok(Arc::clone(&fetched.keys));
            }
            (Err(TryLockError::WouldBlock), _) => self.tried.lock().unwrap_or_else(PoisonError::into_inner),
        };
        let known = self.current.load_full().filter(usable);
        if let Some(fetched) = known.as_ref().filter(|fetched| is_fresh(fetched)) {
            return Ok(Arc::clone(&fetched.keys));
        }
        let mut reason = match &*tried {
            Some((at, reason)) if at.elapsed() < PAUSE => reason.clone(),
            _ => match self.fetch() {
                Ok(keys) => {
                    let fetched = Fetched { keys: Arc::new(keys), at: Instant::now() };
                    let keys = Arc::clone(&fetched.keys);
                    self.current.store(Some(Arc::new(fetched)));
                    *tried = Some((Instant::now(), String::new()));
                    return Ok(keys);
                }
                Err(reason) => {
                    log::warn!(target: "mapproxy.auth", "cannot fetch the keys of tokens: {reason}");
                    *tried = Some((Instant::now(), reason.clone()));
                    reason
                }
            },
        };
        match known {
            // Perhaps without the key: then the token is from somebody else.
            Some(fetched) => Ok(Arc::clone(&fetched.keys)),
            None => {
                reason.insert_str(0, "no keys for tokens: ");
                Err(reason)
            }
        }
    }

    fn fetch(&self) -> Result<KeySet, String> {
        let mut request = UpstreamRequest::get(&self.url);
        request.headers.push(("Accept".to_owned(), "application/jwk-set+json, application/json".to_owned()));
        let response = self.client.send(&request).map_err(|error| error.to_string())?;
        KeySet::from_json(&response.body).map_err(|error| error.to_string())
    }
}

impl fmt::Debug for FetchedKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FetchedKeys").field("current", &self.current.load()).finish_non_exhaustive()
    }
}

//! `globals.auth`.

use std::time::Duration;

use super::layers::LayerTree;
use super::{Resolver, origin};
use crate::checked::{
    self, ApiKey, ApiKeys, Auth, AuthEndpoint, Grant, HttpMethod, HttpOptions, Jwt, JwtAlgorithm, JwtKeys, LayerGrant,
    Name, PartialGrant,
};
use crate::diagnostic::Severity;
use crate::position::{Span, Spanned};
use crate::raw::{self, AuthGrant, AuthGrantOptions, AuthLayers, Text, TextOrList};

const PATH: &str = "globals.auth";

impl Resolver<'_> {
    pub(super) fn auth(&mut self, layers: &LayerTree) -> Option<Auth> {
        let raw = self.raw_globals.auth.as_ref()?;
        let names = names_of(layers);
        let auth = Auth {
            at: origin(PATH, raw.span),
            api_keys: raw.api_keys.as_ref().and_then(|keys| self.api_keys(keys, &names)),
            jwt: raw.jwt.as_ref().and_then(|jwt| self.jwt(jwt, &names)),
            endpoint: raw.endpoint.as_ref().and_then(|endpoint| self.endpoint(endpoint)),
            anonymous: raw.anonymous.as_ref().and_then(|grant| self.grant(grant, &names, "globals.auth.anonymous")),
        };
        if raw.api_keys.is_none() && raw.jwt.is_none() && raw.endpoint.is_none() {
            let help = "add api_keys, jwt or endpoint, or remove the section".to_owned();
            let message = "nobody can say who he is";
            self.findings.add(Severity::Error, raw.span, PATH, message, Some(help));
        }
        Some(auth)
    }

    fn endpoint(&mut self, raw: &Spanned<raw::AuthEndpoint>) -> Option<AuthEndpoint> {
        let path = "globals.auth.endpoint";
        let url = self.http_url(raw.url.as_ref()?, &format!("{path}.url"))?;
        let post = match raw.method.as_ref().map(|method| (method, method.value.to_ascii_uppercase())) {
            None => true,
            Some((_, method)) if method == "POST" => true,
            Some((_, method)) if method == "GET" => false,
            Some((method, _)) => {
                let message = format!("unknown method '{}': one of GET, POST is needed", method.value);
                self.findings.error(method.span, format!("{path}.method"), message);
                true
            }
        };
        let headers = match &raw.headers {
            None => ["Authorization", "Cookie", "X-API-Key"].map(str::to_owned).into(),
            Some(list) => {
                let mut names = Vec::new();
                for (index, name) in list.value.iter().enumerate() {
                    names.extend(self.header_name(name, &format!("{path}.headers[{index}]")));
                }
                names
            }
        };
        let timeout = self.seconds(raw.timeout.as_ref(), 10.0, &format!("{path}.timeout"));
        if timeout.is_zero() {
            let span = raw.timeout.as_ref().map_or(raw.span, |timeout| timeout.span);
            self.findings.error(span, format!("{path}.timeout"), "the endpoint needs some time to answer");
        }
        Some(AuthEndpoint {
            at: origin(path, raw.span),
            url,
            post,
            headers,
            http: HttpOptions { timeout, ..self.own_http() },
            remember: self.seconds(raw.cache.as_ref(), 60.0, &format!("{path}.cache")),
            extent: raw.extent.as_ref().is_some_and(|extent| extent.value),
        })
    }

    fn api_keys(&mut self, raw: &Spanned<raw::AuthKeys>, names: &[Name]) -> Option<ApiKeys> {
        let path = "globals.auth.api_keys";
        let header = match &raw.header {
            None => "X-API-Key".to_owned(),
            Some(name) => self.header_name(name, &format!("{path}.header"))?,
        };
        let mut keys: Vec<ApiKey> = Vec::new();
        for (index, key) in raw.keys.as_ref()?.value.iter().enumerate() {
            let path = format!("{path}.keys[{index}]");
            let grant = self.grant_options(&key.grant, key.span, names, &path);
            let Some(hash) = &key.sha256 else { continue };
            let Some(sha256) = hex(&hash.value) else {
                let message = "not a SHA-256: 64 hexadecimal digits are needed";
                let help =
                    "print one with `printf %s THE_KEY | sha256sum`, and give the key itself to nobody else".to_owned();
                self.findings.add(Severity::Error, hash.span, format!("{path}.sha256"), message, Some(help));
                continue;
            };
            if keys.iter().any(|other| other.sha256 == sha256) {
                self.findings.error(hash.span, format!("{path}.sha256"), "there is another entry for this key");
            }
            let name = key.name.as_ref().map(|name| name.value.to_string());
            keys.extend(grant.map(|grant| ApiKey { name, sha256, grant }));
        }
        Some(ApiKeys {
            at: origin(path, raw.span),
            header,
            in_addresses: raw.in_addresses.as_ref().is_some_and(|allowed| allowed.value),
            keys,
        })
    }

    fn jwt(&mut self, raw: &Spanned<raw::AuthJwt>, names: &[Name]) -> Option<Jwt> {
        let path = "globals.auth.jwt";
        let keys = match (&raw.jwks, &raw.secret_file) {
            (Some(jwks), None) if jwks.value.contains("://") => {
                JwtKeys::Url(self.http_url(jwks, &format!("{path}.jwks"))?)
            }
            (Some(file), None) => JwtKeys::File(self.watched(file, &format!("{path}.jwks"))?),
            (None, Some(file)) => JwtKeys::Secret(self.watched(file, &format!("{path}.secret_file"))?),
            (None, None) => {
                self.findings.error(raw.span, path, "one of jwks and secret_file is needed");
                return None;
            }
            (Some(_), Some(secret)) => {
                self.findings.error(secret.span, path, "only one of jwks and secret_file can be used");
                return None;
            }
        };
        let is_secret = matches!(keys, JwtKeys::Secret(_));
        let mut algorithms = Vec::new();
        for (index, name) in raw.algorithms.as_ref()?.value.iter().enumerate() {
            let path = format!("{path}.algorithms[{index}]");
            let known = JwtAlgorithm::ALL.into_iter().find(|(known, _)| *known == &*name.value);
            match known {
                Some((_, algorithm)) if is_secret == (algorithm == JwtAlgorithm::HS256) => algorithms.push(algorithm),
                Some(_) if is_secret => self.findings.error(name.span, path, "with a secret, only HS256 is possible"),
                Some(_) => self.findings.error(name.span, path, "HS256 needs secret_file in place of jwks"),
                None => {
                    let names = JwtAlgorithm::ALL.map(|(name, _)| name).join(", ");
                    let message = format!("unknown algorithm '{}': known are {names}", name.value);
                    self.findings.error(name.span, path, message);
                }
            }
        }
        if algorithms.is_empty() {
            let span = raw.algorithms.as_ref().map_or(raw.span, |algorithms| algorithms.span);
            self.findings.error(span, format!("{path}.algorithms"), "at least one algorithm is needed");
        }
        if raw.audience.is_none() {
            let message = "without an audience, only tokens that name none are accepted";
            self.findings.warning(raw.span, path, message);
        }
        let text =
            |text: &Option<Spanned<Text>>, default: &str| text.as_ref().map_or(default, |text| &text.value).to_owned();
        let grant = match &raw.grant {
            None => Grant::None,
            Some(grant) => self.grant(grant, names, &format!("{path}.grant"))?,
        };
        Some(Jwt {
            at: origin(path, raw.span),
            keys,
            algorithms,
            issuers: texts(raw.issuer.as_ref()),
            audiences: texts(raw.audience.as_ref()),
            leeway: self.seconds(raw.leeway.as_ref(), 60.0, &format!("{path}.leeway")),
            refresh: self.seconds(raw.refresh.as_ref(), 3600.0, &format!("{path}.refresh")),
            http: self.own_http(),
            claim: text(&raw.claim, "mapproxy"),
            layers_claim: text(&raw.layers_claim, "layers"),
            grant,
        })
    }

    fn grant(&mut self, raw: &Spanned<AuthGrant>, names: &[Name], path: &str) -> Option<Grant> {
        match &raw.value {
            AuthGrant::Word(word) => self.word(word, raw.span, path),
            AuthGrant::Options(options) => self.grant_options(options, raw.span, names, path),
        }
    }

    fn word(&mut self, word: &str, span: Span, path: &str) -> Option<Grant> {
        match word {
            "full" => Some(Grant::Full),
            "none" => Some(Grant::None),
            "unauthenticated" => Some(Grant::Unauthenticated),
            _ => {
                let message = format!("'{word}' grants nothing: one of full, none, unauthenticated is needed");
                let help = "to grant some layers, write `layers: [...]`".to_owned();
                self.findings.add(Severity::Error, span, path, message, Some(help));
                None
            }
        }
    }

    fn grant_options(&mut self, raw: &AuthGrantOptions, span: Span, names: &[Name], path: &str) -> Option<Grant> {
        let limited_to = self.area(raw.limited_to.as_ref(), path)?;
        let authorized = raw.authorized.as_ref().filter(|word| &*word.value != "partial");
        match (authorized, &raw.layers) {
            (Some(word), None) if limited_to.is_none() => {
                self.word(&word.value, word.span, &format!("{path}.authorized"))
            }
            (Some(word), None) if &*word.value == "full" => {
                Some(partial(Vec::new(), Some(LayerGrant::ALL), limited_to))
            }
            (Some(word), _) => {
                let message = format!("'{}' and what follows contradict each other", word.value);
                self.findings.error(word.span, format!("{path}.authorized"), message);
                None
            }
            (None, Some(layers)) => {
                let layers = self.layer_grants(layers, names, &format!("{path}.layers"));
                Some(partial(layers, None, limited_to))
            }
            (None, None) if limited_to.is_some() => Some(partial(Vec::new(), Some(LayerGrant::ALL), limited_to)),
            (None, None) => {
                let help = "add `authorized: full`, `layers: [...]` or `limited_to: {...}`".to_owned();
                self.findings.add(Severity::Error, span, path, "nothing is granted here", Some(help));
                None
            }
        }
    }

    fn layer_grants(&mut self, raw: &Spanned<AuthLayers>, names: &[Name], path: &str) -> Vec<(Name, LayerGrant)> {
        match &raw.value {
            AuthLayers::List(list) => {
                for (index, name) in list.iter().enumerate() {
                    self.known_layer(&name.value, name.span, names, &format!("{path}[{index}]"));
                }
                list.iter().map(|name| (Name::clone(&name.value), LayerGrant::ALL)).collect()
            }
            AuthLayers::Table(table) => {
                let mut grants = Vec::with_capacity(table.len());
                for (name, entry) in table {
                    let path = format!("{path}.{name}");
                    self.known_layer(name, entry.key_span, names, &path);
                    let layer = &entry.value;
                    let is = |feature: &Option<Spanned<bool>>| feature.as_ref().is_some_and(|feature| feature.value);
                    let Some(limited_to) = self.area(layer.limited_to.as_ref(), &path) else { continue };
                    let grant = LayerGrant {
                        map: is(&layer.map),
                        tile: is(&layer.tile),
                        featureinfo: is(&layer.featureinfo),
                        legendgraphic: is(&layer.legendgraphic),
                        limited_to,
                    };
                    if !(grant.map || grant.tile || grant.featureinfo || grant.legendgraphic) {
                        let help = "add one or more of `map: true`, `tile: true`, `featureinfo: true`, \
                                    `legendgraphic: true`"
                            .to_owned();
                        let message = format!("nothing is granted of layer '{name}'");
                        self.findings.add(Severity::Warning, entry.value.span, path, message, Some(help));
                    }
                    grants.push((Name::clone(name), grant));
                }
                grants
            }
        }
    }

    fn known_layer(&mut self, name: &str, span: Span, names: &[Name], path: &str) {
        if !names.iter().any(|known| **known == *name) {
            let help = raw::nearest(name, names.iter().map(|name| &**name));
            let help = help.map(|near| format!("did you mean '{near}'?"));
            self.findings.add(Severity::Warning, span, path, format!("there is no layer '{name}'"), help);
        }
    }

    /// `None` where it is wrong, which has been told.
    #[allow(clippy::option_option, reason = "an area that is wrong is not the same as none")]
    fn area(&mut self, raw: Option<&Spanned<raw::Coverage>>, path: &str) -> Option<Option<checked::Coverage>> {
        let Some(raw) = raw else { return Some(None) };
        let path = format!("{path}.limited_to");
        match self.coverage(raw, &path) {
            Ok(Some(area)) => Some(Some(area)),
            Ok(None) => {
                let help = "write `bbox` and `srs`, or `datasource` and `srs`".to_owned();
                self.findings.add(Severity::Error, raw.span, path, "this area is empty", Some(help));
                None
            }
            Err(()) => None,
        }
    }

    fn watched(&mut self, file: &Spanned<Text>, path: &str) -> Option<std::path::PathBuf> {
        let full = self.path(&file.value);
        self.readable(&full, file.span, path).ok()?;
        Some(full)
    }

    fn http_url(&mut self, url: &Spanned<Text>, path: &str) -> Option<String> {
        let host = ["http://", "https://"].iter().find_map(|scheme| url.value.strip_prefix(scheme));
        if host.is_some_and(|host| !host.is_empty() && !host.starts_with('/')) {
            return Some(url.value.to_string());
        }
        self.findings.error(url.span, path, "http://host/… or https://host/… is needed");
        None
    }

    fn header_name(&mut self, name: &Spanned<Text>, path: &str) -> Option<String> {
        let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        if !name.value.is_empty() && name.value.bytes().all(is_token) {
            return Some(name.value.to_string());
        }
        self.findings.error(name.span, path, format!("'{}' is no name of a header", name.value));
        None
    }

    fn seconds(&mut self, seconds: Option<&Spanned<f64>>, default: f64, path: &str) -> Duration {
        let Some(seconds) = seconds else { return Duration::from_secs_f64(default) };
        Duration::try_from_secs_f64(seconds.value).unwrap_or_else(|_| {
            self.findings.error(seconds.span, path, format!("{} is not a number of seconds", seconds.value));
            Duration::ZERO
        })
    }

    /// `globals.http` for questions of our own.
    fn own_http(&self) -> HttpOptions {
        HttpOptions {
            method: HttpMethod::Auto,
            headers: Vec::new(),
            manage_cookies: false,
            ..self.globals.http.clone()
        }
    }
}

fn partial(
    layers: Vec<(Name, LayerGrant)>,
    others: Option<LayerGrant>,
    limited_to: Option<checked::Coverage>,
) -> Grant {
    Grant::Partial(Box::new(PartialGrant { layers, others, limited_to }))
}

fn texts(raw: Option<&Spanned<TextOrList>>) -> Vec<String> {
    match raw.map(|raw| &raw.value) {
        None => Vec::new(),
        Some(TextOrList::Text(text)) => vec![text.to_string()],
        Some(TextOrList::List(list)) => list.iter().map(|text| text.value.to_string()).collect(),
    }
}

fn hex(text: &str) -> Option<[u8; 32]> {
    let digits = text.as_bytes();
    let mut bytes = [0; 32];
    if digits.len() != 2 * bytes.len() {
        return None;
    }
    let digit = |digit: u8| char::from(digit).to_digit(16).map(|value| value as u8);
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}

/// The names of all layers.
fn names_of(tree: &LayerTree) -> Vec<Name> {
    fn collect(layer: &checked::Layer, names: &mut Vec<Name>) {
        names.extend(layer.name.clone());
        for child in &layer.layers {
            collect(child, names);
        }
    }
    let mut names: Vec<Name> = tree.tiled.keys().cloned().collect();
    if let Some(root) = &tree.root {
        collect(root, &mut names);
    }
    names
}

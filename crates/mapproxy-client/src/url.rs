//! What is in a URL besides the address: credentials to use, secrets to hide.

use std::fmt;
use std::sync::Arc;

/// User and password of an upstream server, never printed.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Credentials {
    user: String,
    password: String,
}

impl Credentials {
    /// As they are to be sent.
    pub fn new(user: impl Into<String>, password: impl Into<String>) -> Self {
        Credentials { user: user.into(), password: password.into() }
    }

    /// Takes `user:password@` out of a URL. The last `@` before the path ends the password, the first `:` begins it;
    /// both are taken as written.
    pub fn split(url: &str) -> (String, Option<Arc<Credentials>>) {
        let Some((scheme, authority, rest)) = parts(url) else { return (url.to_owned(), None) };
        let Some((userinfo, host)) = authority.rsplit_once('@') else { return (url.to_owned(), None) };
        let (user, password) = userinfo.split_once(':').unwrap_or((userinfo, ""));
        (format!("{scheme}://{host}{rest}"), Some(Arc::new(Credentials::new(user, password))))
    }

    /// As the environment's proxies write them, and addresses of databases.
    pub fn percent_decoded(&self) -> Arc<Self> {
        let decoded = |text: &str| percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned();
        Arc::new(Credentials::new(decoded(&self.user), decoded(&self.password)))
    }

    pub(crate) fn user(&self) -> &str {
        &self.user
    }

    pub(crate) fn password(&self) -> &str {
        &self.password
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials(…)")
    }
}

/// A URL without user, password and token-like parameters, for logs and errors.
#[derive(Clone, PartialEq, Eq)]
pub struct RedactedUrl(String);

impl RedactedUrl {
    /// Strips `user:password@` and the values of parameters whose names say secret (`token`, `key`, `password`, …).
    pub fn new(url: &str) -> Self {
        let mut text = match parts(url) {
            Some((scheme, authority, rest)) => {
                let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
                format!("{scheme}://{host}{rest}")
            }
            None => url.to_owned(),
        };
        if let Some(query) = text.find('?') {
            let parameters = text[query + 1..].split('&').filter(|parameter| !is_amazon_signature(parameter));
            let redacted: Vec<_> = parameters.map(redact_parameter).collect();
            let mark = if redacted.is_empty() { "" } else { "?" };
            text = format!("{}{mark}{}", &text[..query], redacted.join("&"));
        }
        RedactedUrl(text)
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for RedactedUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for RedactedUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Scheme, authority, and what follows from the first `/`, `?` or `#` on.
fn parts(url: &str) -> Option<(&str, &str, &str)> {
    let (scheme, rest) = url.split_once("://")?;
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    // A password with a bare `?` or `#` in it: what follows the first colon is no port, and an `@` comes before the path.
    let no_port = rest[..end].split_once(':').is_some_and(|(_, port)| port.bytes().any(|b| !b.is_ascii_digit()));
    let path = rest.find('/').unwrap_or(rest.len());
    let end = match rest[..path].rfind('@') {
        Some(at) if at > end && no_port => rest[at..].find(['/', '?', '#']).map_or(rest.len(), |end| at + end),
        _ => end,
    };
    Some((scheme, &rest[..end], &rest[end..]))
}

/// The parameters of a signed S3 URL are no part of the address; some of them open the door for a while.
fn is_amazon_signature(parameter: &str) -> bool {
    parameter.get(..6).is_some_and(|start| start.eq_ignore_ascii_case("x-amz-"))
}

fn redact_parameter(parameter: &str) -> String {
    const SECRET: [&str; 13] = [
        "token",
        "access_token",
        "key",
        "apikey",
        "api_key",
        "api-key",
        "access_key",
        "password",
        "passwd",
        "pwd",
        "secret",
        "signature",
        "sig",
    ];
    match parameter.split_once('=') {
        Some((name, _)) if SECRET.iter().any(|secret| name.eq_ignore_ascii_case(secret)) => format!("{name}=…"),
        _ => parameter.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_split_at_the_last_at_sign_and_the_first_colon() {
        let split = |url| {
            let (url, credentials) = Credentials::split(url);
            (url, credentials.map(|c| (c.user.clone(), c.password.clone())))
        };
        let owned = |a: &str, b: &str| Some((a.to_owned(), b.to_owned()));
        assert_eq!(split("http://h/p?x=1"), ("http://h/p?x=1".to_owned(), None));
        assert_eq!(split("http://u:p@h:80/p"), ("http://h:80/p".to_owned(), owned("u", "p")));
        assert_eq!(split("http://u:p:@w@h/p@q"), ("http://h/p@q".to_owned(), owned("u", "p:@w")));
        assert_eq!(split("http://u:p?q@h?x"), ("http://h?x".to_owned(), owned("u", "p?q")));
        assert_eq!(split("http://u@h"), ("http://h".to_owned(), owned("u", "")));
        assert_eq!(split("http://h?mail=a@b"), ("http://h?mail=a@b".to_owned(), None));
        assert_eq!(split("http://h:80?mail=a@b"), ("http://h:80?mail=a@b".to_owned(), None));
        assert_eq!(split("nonsense"), ("nonsense".to_owned(), None));
    }

    #[test]
    fn redacted_urls_hide_user_password_and_keys() {
        let redacted = |url| RedactedUrl::new(url).to_string();
        assert_eq!(redacted("http://u:p@h/p?layers=a&Token=xyz&KEY=1&x"), "http://h/p?layers=a&Token=…&KEY=…&x");
        assert_eq!(redacted("https://h/keys?monkey=1"), "https://h/keys?monkey=1");
        assert_eq!(redacted("not a url"), "not a url");
        assert_eq!(redacted("http://h/b/k?X-Amz-Credential=a&X-Amz-Signature=b"), "http://h/b/k");
        assert_eq!(redacted("http://h/b?list-type=2&x-amz-security-token=b"), "http://h/b?list-type=2");
        assert!(!format!("{:?}", Credentials::new("u", "geheim")).contains("geheim"));
    }
}

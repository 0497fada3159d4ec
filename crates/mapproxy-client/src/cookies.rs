//! `manage_cookies`: cookies that servers set are sent back to them (RFC 6265), and forgotten with the process.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

/// Cookies of all servers asked by some clients.
#[derive(Debug, Default)]
pub(crate) struct CookieJar {
    cookies: Mutex<Vec<Cookie>>,
}

/// More cookies than this are a mistake or an attack; the oldest go first (RFC 6265, 6.1 asks for 50 a domain).
const MAX_COOKIES: usize = 1000;

#[derive(Debug)]
struct Cookie {
    name: String,
    value: String,
    domain: String,
    /// Only for `domain` itself, not for hosts below.
    host_only: bool,
    path: String,
    secure: bool,
    expires: Option<SystemTime>,
}

impl CookieJar {
    /// Keeps what a server at `uri` said with `Set-Cookie`.
    pub(crate) fn store<'a>(&self, uri: &http::Uri, headers: impl Iterator<Item = &'a str>) {
        let parsed: Vec<Cookie> = headers.filter_map(|header| Cookie::parse(uri, header)).collect();
        if parsed.is_empty() {
            return;
        }
        let mut cookies = self.cookies.lock().unwrap_or_else(PoisonError::into_inner);
        for cookie in parsed {
            cookies.retain(|old| (&old.name, &old.domain, &old.path) != (&cookie.name, &cookie.domain, &cookie.path));
            if !cookie.is_expired(SystemTime::now()) {
                cookies.push(cookie);
            }
        }
        let surplus = cookies.len().saturating_sub(MAX_COOKIES);
        cookies.drain(..surplus);
    }

    /// The `Cookie` header for a request of `uri`; longer paths first (RFC 6265, 5.4).
    pub(crate) fn header(&self, uri: &http::Uri) -> Option<String> {
        let now = SystemTime::now();
        let mut cookies = self.cookies.lock().unwrap_or_else(PoisonError::into_inner);
        cookies.retain(|cookie| !cookie.is_expired(now));
        let mut fitting: Vec<&Cookie> = cookies.iter().filter(|cookie| cookie.fits(uri)).collect();
        fitting.sort_by_key(|cookie| std::cmp::Reverse(cookie.path.len()));
        let pairs: Vec<String> = fitting.iter().map(|cookie| format!("{}={}", cookie.name, cookie.value)).collect();
        (!pairs.is_empty()).then(|| pairs.join("; "))
    }
}

impl Cookie {
    fn parse(uri: &http::Uri, header: &str) -> Option<Cookie> {
        let host = uri.host()?.to_ascii_lowercase();
        let mut parts = header.split(';');
        let (name, value) = parts.next()?.split_once('=')?;
        let directory = uri.path().rsplit_once('/').map_or("", |(directory, _)| directory);
        let mut cookie = Cookie {
            name: name.trim().to_owned(),
            value: value.trim().to_owned(),
            domain: host.clone(),
            host_only: true,
            path: if directory.is_empty() { "/".to_owned() } else { directory.to_owned() },
            secure: false,
            expires: None,
        };
        let mut max_age = None;
        for part in parts {
            let (attribute, value) = part.split_once('=').map_or((part, ""), |(a, v)| (a, v));
            let value = value.trim();
            match attribute.trim().to_ascii_lowercase().as_str() {
                "domain" => {
                    let domain = value.trim_start_matches('.').to_ascii_lowercase();
                    if !domain.is_empty() && domain != host {
                        // A host may speak for the domain above it, but not for a whole top-level domain.
                        if !domain.contains('.') || !is_below(&host, &domain) {
                            return None;
                        }
                        cookie.domain = domain;
                        cookie.host_only = false;
                    } else if domain == host {
                        cookie.host_only = false;
                    }
                }
                "path" if value.starts_with('/') => cookie.path = value.to_owned(),
                "secure" => cookie.secure = true,
                "max-age" => max_age = value.parse::<i64>().ok(),
                "expires" => cookie.expires = httpdate::parse_http_date(&value.replace('-', " ")).ok(),
                _ => {}
            }
        }
        if let Some(seconds) = max_age {
            let seconds = u64::try_from(seconds).unwrap_or(0);
            let life = Duration::from_secs(seconds.min(400 * 24 * 3600));
            cookie.expires = Some(if seconds == 0 { SystemTime::UNIX_EPOCH } else { SystemTime::now() + life });
        }
        (!cookie.name.is_empty()).then_some(cookie)
    }

    fn is_expired(&self, now: SystemTime) -> bool {
        self.expires.is_some_and(|expires| expires <= now)
    }

    fn fits(&self, uri: &http::Uri) -> bool {
        let host = uri.host().unwrap_or_default().to_ascii_lowercase();
        let domain = host == self.domain || (!self.host_only && is_below(&host, &self.domain));
        let path = uri.path().strip_prefix(self.path.as_str());
        let path = path.is_some_and(|rest| rest.is_empty() || rest.starts_with('/') || self.path.ends_with('/'));
        domain && path && (!self.secure || uri.scheme_str() == Some("https"))
    }
}

fn is_below(host: &str, domain: &str) -> bool {
    let is_address = host.starts_with('[') || host.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    !is_address && host.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(set: &str, from: &str, to: &str) -> Option<String> {
        let jar = CookieJar::default();
        jar.store(&from.parse().unwrap(), [set].into_iter());
        jar.header(&to.parse().unwrap())
    }

    #[test]
    fn a_cookie_goes_back_to_its_host_and_path() {
        let set = "id=1; Path=/wms";
        assert_eq!(after(set, "http://a.org/x", "http://a.org/wms/x").as_deref(), Some("id=1"));
        assert_eq!(after(set, "http://a.org/x", "http://a.org/wmsx"), None);
        assert_eq!(after(set, "http://a.org/x", "http://b.a.org/wms"), None);
        assert_eq!(after("id=1", "http://a.org/x/y", "http://a.org/z"), None);
    }

    #[test]
    fn a_host_speaks_for_its_domain_only() {
        let to = "http://other.example.org/";
        assert_eq!(after("id=1; domain=.example.org", "http://maps.example.org/", to).as_deref(), Some("id=1"));
        assert_eq!(after("id=1; domain=elsewhere.org", "http://maps.example.org/", "http://elsewhere.org/"), None);
        assert_eq!(after("id=1; domain=org", "http://maps.example.org/", to), None);
    }

    #[test]
    fn secure_and_expired_cookies_stay_here() {
        assert_eq!(after("id=1; Secure", "https://a/", "http://a/"), None);
        assert_eq!(after("id=1; Secure", "https://a/", "https://a/").as_deref(), Some("id=1"));
        assert_eq!(after("id=1; Max-Age=0", "http://a/", "http://a/"), None);
        assert_eq!(after("id=1; Expires=Thu, 01-Jan-1970 00:00:00 GMT", "http://a/", "http://a/"), None);
        assert_eq!(after("id=1; Max-Age=60", "http://a/", "http://a/").as_deref(), Some("id=1"));
    }
}

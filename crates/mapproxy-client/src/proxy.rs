//! Proxies from the environment: `http_proxy`, `https_proxy` and `no_proxy`, as Python's urllib reads them.

use crate::ClientSetupError;

/// Which proxy leads where.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Proxies {
    /// For `http` URLs.
    pub(crate) http: Option<Proxy>,
    /// For `https` URLs.
    pub(crate) https: Option<Proxy>,
    /// Hosts that are asked directly.
    except: Vec<String>,
}

/// An HTTP proxy; `https` servers are reached through it with CONNECT.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Proxy {
    /// `http://host:port`, without credentials.
    pub(crate) url: String,
    /// User and password.
    pub(crate) credentials: Option<std::sync::Arc<crate::Credentials>>,
}

impl std::fmt::Debug for Proxy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.url)
    }
}

impl Proxies {
    /// Reads the environment's variables; lower-case names go before upper-case ones. In a CGI process (one with
    /// `REQUEST_METHOD`) `HTTP_PROXY` is a header of the request and not looked at.
    pub(crate) fn from_env(variable: impl Fn(&str) -> Option<String>) -> Result<Self, ClientSetupError> {
        let is_cgi = variable("REQUEST_METHOD").is_some();
        let lookup = |name: &str| {
            let upper = || if is_cgi && name == "http_proxy" { None } else { variable(&name.to_ascii_uppercase()) };
            variable(name).or_else(upper).filter(|value| !value.is_empty())
        };
        let proxy = |name: &str| lookup(name).map(|value| Proxy::parse(name, &value)).transpose();
        let except = lookup("no_proxy").unwrap_or_default();
        let except = except.split(',').map(|host| host.trim().trim_start_matches('.').to_ascii_lowercase());
        Ok(Proxies {
            http: proxy("http_proxy")?,
            https: proxy("https_proxy")?,
            except: except.filter(|host| !host.is_empty()).collect(),
        })
    }

    /// The proxy for a URL of `scheme` on `host` (and `port`, where the URL says one).
    pub(crate) fn find(&self, scheme: &str, host: &str, port: Option<u16>) -> Option<&Proxy> {
        let proxy = if scheme == "https" { self.https.as_ref()? } else { self.http.as_ref()? };
        let host = host.to_ascii_lowercase();
        let with_port = port.map(|port| format!("{host}:{port}"));
        let excepted = |name: &String| {
            let ends = |host: &str| {
                host.strip_suffix(name.as_str()).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
            };
            name == "*" || ends(&host) || with_port.as_deref().is_some_and(ends)
        };
        (!self.except.iter().any(excepted)).then_some(proxy)
    }
}

impl Proxy {
    fn parse(variable: &str, value: &str) -> Result<Self, ClientSetupError> {
        let error = |reason: &str| ClientSetupError::Proxy { variable: variable.to_owned(), reason: reason.to_owned() };
        let value = if value.contains("://") { value.to_owned() } else { format!("http://{value}") };
        let (url, credentials) = crate::Credentials::split(&value);
        let uri: http::Uri = url.parse().map_err(|e: http::uri::InvalidUri| error(&e.to_string()))?;
        if uri.scheme_str() != Some("http") {
            return Err(error("only http:// proxies can be used"));
        }
        let authority = uri.authority().ok_or_else(|| error("no host"))?;
        Ok(Proxy { url: format!("http://{authority}"), credentials: credentials.map(|c| c.percent_decoded()) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxies(variables: &[(&str, &str)]) -> Result<Proxies, ClientSetupError> {
        let variables: Vec<_> = variables.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        Proxies::from_env(|name| variables.iter().find(|(k, _)| k == name).map(|(_, v)| v.clone()))
    }

    #[test]
    fn proxies_are_chosen_by_scheme() {
        let proxies = proxies(&[("http_proxy", "http://u:p@proxy:3128/"), ("HTTPS_PROXY", "other:8080")]).unwrap();
        assert_eq!(proxies.find("http", "a", None).unwrap().url, "http://proxy:3128");
        assert_eq!(proxies.find("https", "a", None).unwrap().url, "http://other:8080");
        assert!(proxies.http.unwrap().credentials.is_some());
    }

    #[test]
    fn no_proxy_names_hosts_domains_and_ports() {
        let proxies = proxies(&[("http_proxy", "proxy:1"), ("no_proxy", "localhost, .example.org,host:8080")]).unwrap();
        let direct = |host, port| proxies.find("http", host, port).is_none();
        assert!(direct("localhost", Some(80)));
        assert!(direct("maps.Example.org", None));
        assert!(direct("example.org", None));
        assert!(!direct("myexample.org", None));
        assert!(direct("host", Some(8080)));
        assert!(!direct("host", Some(80)));
    }

    #[test]
    fn a_cgi_process_does_not_trust_the_upper_case_name() {
        let both = [("REQUEST_METHOD", "GET"), ("HTTP_PROXY", "evil:1")];
        assert_eq!(proxies(&both).unwrap(), Proxies::default());
    }

    #[test]
    fn a_socks_proxy_is_refused_by_name() {
        let error = proxies(&[("https_proxy", "socks5://proxy")]).unwrap_err().to_string();
        assert_eq!(error, "https_proxy: only http:// proxies can be used");
    }
}

//! Connections: kept open between requests, through proxies, with certificates checked as configured.
//!
//! This is the one place that uses ureq's transport interface, which ureq may change in any minor version.

use std::cell::Cell;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use ureq::Agent;
use ureq::config::{AutoHeaderValue, Config};
use ureq::tls::{PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{Buffers, ConnectionDetails, Connector, DefaultConnector, NextTimeout, Transport};

use crate::proxy::{Proxies, Proxy};
use crate::{ClientSetupError, Credentials};

/// Idle connections kept per host and in all; more may be open at once.
const IDLE_PER_HOST: usize = 32;
const IDLE: usize = 256;

/// How long the addresses of a host are remembered.
const ADDRESS_LIFE: Duration = Duration::from_secs(10);

/// Ways to servers, for all clients of one time-out and one set of TLS options.
#[derive(Debug)]
pub(crate) struct Connections {
    direct: Agent,
    forward: Option<Agent>,
    tunnel: Option<Agent>,
    proxies: Proxies,
}

impl Connections {
    pub(crate) fn new(timeout: Duration, tls: TlsConfig, proxies: Proxies) -> Result<Self, ClientSetupError> {
        let config = |proxy| {
            Config::builder()
                .http_status_as_error(false)
                .max_redirects(0)
                .max_redirects_will_error(false)
                .user_agent(AutoHeaderValue::Provided(Arc::new("MapProxy-7.0.0".to_owned())))
                .accept(AutoHeaderValue::None)
                .accept_encoding(AutoHeaderValue::Provided(Arc::new("identity".to_owned())))
                .proxy(proxy)
                .tls_config(tls.clone())
                .timeout_resolve(Some(timeout))
                .timeout_connect(Some(timeout))
                .timeout_per_read(Some(timeout))
                .timeout_per_write(Some(timeout))
                .timeout_global(Some(whole_time(timeout)))
                .max_idle_connections(IDLE)
                .max_idle_connections_per_host(IDLE_PER_HOST)
                .build()
        };
        let resolver = || Remembering { inner: DefaultResolver::default(), known: Mutex::default() };
        let direct = Agent::with_parts(config(None), Noting.chain(DefaultConnector::new()), resolver());
        let forward = proxies.http.as_ref().map(|proxy| {
            let resolver = Always { uri: proxy.uri(), inner: resolver() };
            let connector = Noting.chain(DefaultConnector::new()).chain(AbsoluteForm);
            Agent::with_parts(config(None), connector, resolver)
        });
        let tunnel = match &proxies.https {
            None => None,
            Some(proxy) => {
                let config = config(Some(proxy.for_ureq()?));
                Some(Agent::with_parts(config, Noting.chain(DefaultConnector::new()), resolver()))
            }
        };
        Ok(Connections { direct, forward, tunnel, proxies })
    }

    /// The agent for a URL, and the credentials of the proxy where they go with each request.
    pub(crate) fn agent(&self, uri: &http::Uri) -> (&Agent, Option<&Credentials>) {
        let scheme = uri.scheme_str().unwrap_or("http");
        let proxy = uri.host().and_then(|host| self.proxies.find(scheme, host, uri.port_u16()));
        match (proxy, scheme, &self.forward, &self.tunnel) {
            (Some(_), "https", _, Some(tunnel)) => (tunnel, None),
            (Some(proxy), "http", Some(forward), _) => (forward, proxy.credentials.as_deref()),
            _ => (&self.direct, None),
        }
    }
}

/// A server that sends a byte now and then must not hold a thread for ever.
pub(crate) fn whole_time(timeout: Duration) -> Duration {
    (timeout * 10).max(Duration::from_secs(300))
}

/// TLS as the options say.
pub(crate) fn tls(insecure: bool, ca_certs: Option<&Path>) -> Result<TlsConfig, ClientSetupError> {
    let builder = TlsConfig::builder();
    if insecure {
        return Ok(builder.disable_verification(true).root_certs(RootCerts::Specific(Arc::default())).build());
    }
    let Some(file) = ca_certs else { return Ok(builder.root_certs(RootCerts::PlatformVerifier).build()) };
    let error = |reason: String| ClientSetupError::CaCerts { file: file.to_owned(), reason };
    let pem = std::fs::read(file).map_err(|e| error(e.to_string()))?;
    let mut certificates = Vec::new();
    for item in parse_pem(&pem) {
        if let PemItem::Certificate(certificate) = item.map_err(|e| error(e.to_string()))? {
            certificates.push(certificate);
        }
    }
    if certificates.is_empty() {
        return Err(error("no certificate in it (PEM is needed)".to_owned()));
    }
    Ok(builder.root_certs(RootCerts::new_with_certs(&certificates)).build())
}

impl Proxy {
    fn uri(&self) -> http::Uri {
        self.url.parse().expect("a proxy's URL was parsed when it was made")
    }

    fn for_ureq(&self) -> Result<ureq::Proxy, ClientSetupError> {
        let uri = self.uri();
        let mut builder = ureq::Proxy::builder(ureq::ProxyProtocol::Http)
            .host(uri.host().unwrap_or_default())
            .port(uri.port_u16().unwrap_or(80));
        if let Some(credentials) = &self.credentials {
            builder = builder.username(credentials.user()).password(credentials.password());
        }
        builder
            .build()
            .map_err(|e| ClientSetupError::Proxy { variable: "https_proxy".to_owned(), reason: e.to_string() })
    }
}

thread_local! {
    static CONNECTED: Cell<bool> = const { Cell::new(false) };
}

/// Runs `request` and says whether it needed a new connection. A request that fails on a connection kept open may just
/// have come after the server closed it.
pub(crate) fn noting_connections<T>(request: impl FnOnce() -> T) -> (T, bool) {
    CONNECTED.set(false);
    let answer = request();
    (answer, CONNECTED.get())
}

/// Notes that no open connection could be used: ureq asks connectors only then.
#[derive(Debug)]
struct Noting;

impl Connector<()> for Noting {
    type Out = ();

    fn connect(&self, _: &ConnectionDetails<'_>, _: Option<()>) -> Result<Option<()>, ureq::Error> {
        CONNECTED.set(true);
        Ok(None)
    }
}

/// Remembers addresses for a while: ureq asks before it looks for an open connection.
#[derive(Debug)]
struct Remembering {
    inner: DefaultResolver,
    known: Mutex<HashMap<String, (Instant, Vec<SocketAddr>)>>,
}

impl Resolver for Remembering {
    fn resolve(
        &self,
        uri: &http::Uri,
        config: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let key = match (uri.scheme(), uri.authority()) {
            (Some(scheme), Some(authority)) => DefaultResolver::host_and_port(scheme, authority),
            _ => None,
        };
        let Some(key) = key else { return self.inner.resolve(uri, config, timeout) };
        if let Ok(address) = key.parse::<SocketAddr>() {
            return Ok(self.collected(&[address]));
        }
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((since, addresses)) = known.get(&key)
            && since.elapsed() < ADDRESS_LIFE
        {
            return Ok(self.collected(addresses));
        }
        drop(known);
        let found = self.inner.resolve(uri, config, timeout)?;
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, (since, _)| since.elapsed() < ADDRESS_LIFE);
        known.insert(key, (Instant::now(), found.to_vec()));
        Ok(found)
    }
}

impl Remembering {
    fn collected(&self, addresses: &[SocketAddr]) -> ResolvedSocketAddrs {
        let mut collected = self.inner.empty();
        for address in addresses {
            collected.push(*address);
        }
        collected
    }
}

/// Whatever is asked for, the address of the proxy.
#[derive(Debug)]
struct Always {
    uri: http::Uri,
    inner: Remembering,
}

impl Resolver for Always {
    fn resolve(
        &self,
        _: &http::Uri,
        config: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        self.inner.resolve(&self.uri, config, timeout)
    }
}

/// Writes requests as proxies want them: `GET http://host/path` (RFC 9112, 3.2.2). ureq would ask for a tunnel, which
/// most proxies allow to port 443 only.
#[derive(Debug)]
struct AbsoluteForm;

impl<In: Transport> Connector<In> for AbsoluteForm {
    type Out = AbsoluteFormTransport<In>;

    fn connect(&self, details: &ConnectionDetails<'_>, inner: Option<In>) -> Result<Option<Self::Out>, ureq::Error> {
        let authority = details.uri.authority().map_or("", |authority| authority.as_str());
        let prefix = format!("http://{authority}");
        Ok(inner.map(|inner| AbsoluteFormTransport { inner, prefix, at_head: true }))
    }
}

#[derive(Debug)]
struct AbsoluteFormTransport<T> {
    inner: T,
    prefix: String,
    /// What is sent next begins a request.
    at_head: bool,
}

impl<T: Transport> Transport for AbsoluteFormTransport<T> {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self.inner.buffers()
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), ureq::Error> {
        if !std::mem::take(&mut self.at_head) || amount == 0 {
            return self.inner.transmit_output(amount, timeout);
        }
        let head = self.inner.buffers().output()[..amount].to_vec();
        let target = head.iter().position(|b| *b == b' ').map_or(0, |space| space + 1);
        let whole = [&head[..target], self.prefix.as_bytes(), &head[target..]].concat();
        let mut sent = 0;
        while sent < whole.len() {
            let output = self.inner.buffers().output();
            let piece = output.len().min(whole.len() - sent);
            output[..piece].copy_from_slice(&whole[sent..sent + piece]);
            self.inner.transmit_output(piece, timeout)?;
            sent += piece;
        }
        Ok(())
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, ureq::Error> {
        self.at_head = true;
        self.inner.await_input(timeout)
    }

    fn is_open(&mut self) -> bool {
        self.inner.is_open()
    }

    fn is_tls(&self) -> bool {
        self.inner.is_tls()
    }
}

//! The client that speaks to the network.

use std::path::PathBuf;
use std::time::Duration;

use crate::{ClientError, HttpClient, UpstreamRequest, UpstreamResponse};

/// How to speak to upstream servers.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ClientOptions {
    /// `client_timeout`: to connect, and between any two pieces of an answer.
    pub timeout: Duration,
    /// `headers`, sent with each request.
    pub headers: Vec<(String, String)>,
    /// `ssl_no_cert_checks`: accept any certificate; `ca_certs` is not looked at then.
    pub insecure: bool,
    /// `ssl_ca_certs`: PEM file of the authorities to trust; `None`: the system's.
    pub ca_certs: Option<PathBuf>,
    /// `manage_cookies`: send cookies back that a server set.
    pub manage_cookies: bool,
    /// Largest body accepted, in bytes.
    pub max_body: u64,
}

impl Default for ClientOptions {
    fn default() -> Self {
        ClientOptions {
            timeout: Duration::from_secs(60),
            headers: Vec::new(),
            insecure: false,
            ca_certs: None,
            manage_cookies: false,
            max_body: 256 * 1024 * 1024,
        }
    }
}

/// Options that no client can be made with.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientSetupError {
    /// `ssl_ca_certs` cannot be read.
    #[error("ssl_ca_certs: {}: {reason}", file.display())]
    CaCerts {
        /// The file.
        file: PathBuf,
        /// Why not.
        reason: String,
    },
    /// A header is none.
    #[error("http.headers: {name:?}: {reason}")]
    Header {
        /// Its name.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// `http_proxy` or `https_proxy` of the environment is no proxy.
    #[error("{variable}: {reason}")]
    Proxy {
        /// The environment's variable.
        variable: String,
        /// What is wrong with it.
        reason: String,
    },
}

/// Makes clients that share connections, cookies and credentials where their options allow.
#[derive(Debug, Default)]
pub struct Clients {}

impl Clients {
    /// A client for `options`.
    pub fn client(&self, options: ClientOptions) -> Result<UreqClient, ClientSetupError> {
        let _ = options;
        todo!()
    }
}

/// The client that speaks to the network: HTTP/1.1 with connections kept open.
#[derive(Debug)]
pub struct UreqClient {}

impl HttpClient for UreqClient {
    fn send(&self, request: &UpstreamRequest) -> Result<UpstreamResponse, ClientError> {
        let _ = request;
        todo!()
    }
}

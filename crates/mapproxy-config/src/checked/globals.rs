//! Settings of the whole process, and the HTTP options sources take from them.

use std::path::PathBuf;
use std::time::Duration;

use indexmap::IndexMap;

use super::caches::Permissions;
use super::image::ImageDefaults;
use crate::Origin;

/// What is left of `globals` when its defaults have been folded into sources, caches and grids.
#[derive(Debug, Clone)]
pub struct Globals {
    /// `image`: defaults and named formats, to resolve the options of output formats with.
    pub image: ImageDefaults,
    /// `http.access_control_allow_origin`: value of the CORS header, `None` to send none. Default `*`.
    pub access_control_allow_origin: Option<String>,
    /// `http.compression`: compresses text answers for clients that ask for it. Default true.
    pub compression: bool,
    /// `http` with its defaults, for requests that belong to no source.
    pub http: HttpOptions,
    /// `tiles.expires_hours` as the lifetime clients may keep tiles for. Default 72 h.
    pub tile_max_age: Duration,
    /// `cache.base_dir`: where caches without own directory live. Default `cache_data` below the configuration.
    pub cache_base_dir: PathBuf,
    /// `cache.lock_dir`: where locks of upstream requests live. Default `cache_data/tile_locks`.
    pub lock_dir: PathBuf,
    /// `cache.directory_permissions` and `cache.file_permissions`.
    pub permissions: Permissions,
    /// `srs.preferred_src_proj`: target SRS → source SRS to prefer, best first.
    pub preferred_src_proj: IndexMap<String, Vec<String>>,
    /// `srs.proj_data_dir`: directory of the PROJ database and grids.
    pub proj_data_dir: Option<PathBuf>,
    /// `renderd.address`: of a process that makes missing tiles in place of this one.
    pub renderd: Option<(String, Origin)>,
    /// `public_url`: the address that answers name, whatever proxies say.
    pub public_url: Option<(String, Origin)>,
    /// `trusted_proxies`: addresses and networks whose headers are believed; `None`: everybody's.
    pub trusted_proxies: Option<(Vec<String>, Origin)>,
    /// `auth`: who may see what; `None`: everybody everything.
    pub auth: Option<super::Auth>,
}

/// How to speak to an upstream server; `http` of a source over `globals.http` over defaults.
#[derive(Debug, Clone, PartialEq)]
pub struct HttpOptions {
    /// `method`.
    pub method: HttpMethod,
    /// `client_timeout`: how long to wait for a connection or for data. Default 60 s.
    pub timeout: Duration,
    /// `headers`, in the order written.
    pub headers: Vec<(String, String)>,
    /// `ssl_no_cert_checks`: accept any certificate; `ca_certs` is not looked at then.
    pub insecure: bool,
    /// `ssl_ca_certs`: PEM file of the authorities to trust; the system's if unset.
    pub ca_certs: Option<PathBuf>,
    /// `hide_error_details`: keep URLs and reasons out of messages to clients. Default true.
    pub hide_error_details: bool,
    /// `manage_cookies`: keep cookies between requests.
    pub manage_cookies: bool,
}

/// How parameters travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum HttpMethod {
    /// POST for requests with an `sld_body`, GET for all others.
    #[default]
    Auto,
    /// Always in the URL.
    Get,
    /// Always in the body, as a form.
    Post,
}

//! `[server:…]`: our own servers, and what the settings of Python's servers mean for ours.

use mapproxy_http::{Listen, UnixSocket};
use mapproxy_logging::IniError;

use super::settings::{Setting, Settings};
use crate::address::{Address, Bind};
use crate::server_options::{self as options, ServerOptions};

/// What a section says of the server.
pub(super) struct Server {
    pub(super) options: ServerOptions,
    /// A path and a scheme that the server puts before all addresses.
    pub(super) prefix: Option<(String, Option<bool>)>,
}

const KNOWN: &[&str] = &[
    "mapproxy#http",
    "mapproxy#fastcgi",
    "egg:Paste#http",
    "egg:waitress#main",
    "egg:gunicorn#main",
    "egg:Flup#fcgi_fork",
    "egg:Flup#fcgi_thread",
    "egg:PasteScript#flup_fcgi_fork",
    "egg:PasteScript#flup_fcgi_thread",
];

pub(super) fn server(factory: Setting, mut settings: Settings, warnings: &mut Vec<String>) -> Result<Server, IniError> {
    let mut server = Server { options: ServerOptions::default(), prefix: None };
    let into = &mut server.options;
    let name = factory.text.clone();
    let known: &[&str] = match name.to_ascii_lowercase().as_str() {
        "mapproxy#http" => {
            ours(into, &mut settings, "unix_socket")?;
            OURS
        }
        "mapproxy#fastcgi" => {
            into.fastcgi = true;
            ours(into, &mut settings, "socket")?;
            OURS_FASTCGI
        }
        "egg:paste#http" => {
            network(into, &mut settings)?;
            into.workers = settings.parsed("threadpool_workers", options::at_least_one)?;
            if let Some(pem) = settings.take("ssl_pem") {
                return Err(pem.place.error("ssl_pem: TLS ends in the web server in front"));
            }
            idle(&mut settings, &name, PASTE_TUNING, warnings);
            &["host", "port", "threadpool_workers"]
        }
        "egg:waitress#main" | "egg:waitress" => {
            server.prefix = waitress(into, &mut settings)?;
            idle(&mut settings, &name, WAITRESS_TUNING, warnings);
            WAITRESS
        }
        "egg:gunicorn#main" | "egg:gunicorn" => {
            network(into, &mut settings)?;
            if let Some(binds) = settings.parsed("bind", |text| text.split(',').map(gunicorn_bind).collect())? {
                into.bind = binds;
            }
            idle(&mut settings, &name, GUNICORN_TUNING, warnings);
            &["host", "port", "bind"]
        }
        "egg:flup#fcgi"
        | "egg:flup#fcgi_fork"
        | "egg:flup#fcgi_thread"
        | "egg:pastescript#flup_fcgi_fork"
        | "egg:pastescript#flup_fcgi_thread" => {
            into.fastcgi = true;
            socket(into, &mut settings, "socket")?;
            umask(into, &mut settings)?;
            idle(&mut settings, &name, FLUP_TUNING, warnings);
            &["host", "port", "socket", "umask"]
        }
        _ => return Err(factory.unknown("server", KNOWN)),
    };
    settings.finish(&name, known)?;
    Ok(server)
}

const OURS: &[&str] = &[
    "host",
    "port",
    "unix_socket",
    "bind",
    "socket_mode",
    "socket_owner",
    "threads",
    "workers",
    "queue",
    "niceness",
    "max_connections",
    "stop_timeout",
    "max_head",
    "max_body",
    "head_timeout",
    "body_timeout",
    "idle_timeout",
    "access_log",
    "access_log_format",
    "public_url",
    "trusted_proxies",
];

const OURS_FASTCGI: &[&str] = &[
    "host",
    "port",
    "socket",
    "umask",
    "bind",
    "socket_mode",
    "socket_owner",
    "threads",
    "workers",
    "queue",
    "niceness",
    "max_connections",
    "stop_timeout",
    "max_head",
    "max_body",
    "body_timeout",
    "head_timeout",
    "idle_timeout",
    "access_log",
    "access_log_format",
    "public_url",
    "trusted_proxies",
];

const WAITRESS: &[&str] = &[
    "host",
    "port",
    "listen",
    "unix_socket",
    "unix_socket_perms",
    "threads",
    "trusted_proxy",
    "url_scheme",
    "url_prefix",
    "connection_limit",
    "channel_timeout",
    "max_request_header_size",
    "max_request_body_size",
];

const PASTE_TUNING: &[&str] = &[
    "use_threadpool",
    "threadpool_options",
    "request_queue_size",
    "protocol_version",
    "server_version",
    "socket_timeout",
    "daemon_threads",
    "start_loop",
];

const WAITRESS_TUNING: &[&str] = &[
    "trusted_proxy_count",
    "trusted_proxy_headers",
    "log_untrusted_proxy_headers",
    "clear_untrusted_proxy_headers",
    "backlog",
    "recv_bytes",
    "send_bytes",
    "outbuf_overflow",
    "outbuf_high_watermark",
    "inbuf_overflow",
    "cleanup_interval",
    "log_socket_errors",
    "ident",
    "asyncore_loop_timeout",
    "asyncore_use_poll",
    "channel_request_lookahead",
    "server_name",
];

const GUNICORN_TUNING: &[&str] = &[
    "workers",
    "threads",
    "worker_class",
    "worker_connections",
    "max_requests",
    "max_requests_jitter",
    "timeout",
    "graceful_timeout",
    "keepalive",
    "preload_app",
    "proc_name",
    "backlog",
    "worker_tmp_dir",
    "loglevel",
    "forwarded_allow_ips",
];

const FLUP_TUNING: &[&str] =
    &["multiplexed", "debug", "minSpare", "maxSpare", "maxThreads", "maxChildren", "maxRequests", "timeout"];

/// Settings that tune a server that is not here: they cannot change an answer, but have no effect either.
fn idle(settings: &mut Settings, of: &str, keys: &[&str], warnings: &mut Vec<String>) {
    for setting in keys.iter().filter_map(|key| settings.take(key)) {
        let warning = setting.place.error(format_args!("{} tunes {of} and has no effect here", setting.key));
        warnings.push(warning.to_string());
    }
}

/// Our own servers take what the command line takes.
fn ours(into: &mut ServerOptions, settings: &mut Settings, socket_key: &str) -> Result<(), IniError> {
    socket(into, settings, socket_key)?;
    if into.fastcgi {
        umask(into, settings)?;
    }
    if let Some(binds) =
        settings.parsed("bind", |text| text.split_whitespace().map(str::parse).collect::<Result<Vec<Bind>, _>>())?
    {
        into.bind = binds;
    }
    if let Some(mode) = settings.parsed("socket_mode", options::octal_mode)? {
        into.socket_mode = Some(mode);
    }
    into.socket_owner = settings.text("socket_owner");
    into.threads = settings.parsed("threads", options::at_least_one)?;
    into.workers = settings.parsed("workers", options::at_least_one)?;
    into.queue = settings.number("queue")?;
    into.niceness = settings.parsed("niceness", options::niceness)?;
    into.max_connections = settings.parsed("max_connections", options::at_least_one)?;
    into.stop_timeout = settings.number("stop_timeout")?;
    into.max_head = settings.parsed("max_head", options::at_least_head)?;
    into.max_body = settings.number("max_body")?;
    into.head_timeout = settings.parsed("head_timeout", options::at_least_one_second)?;
    into.body_timeout = settings.parsed("body_timeout", options::at_least_one_second)?;
    into.idle_timeout = settings.parsed("idle_timeout", options::at_least_one_second)?;
    into.access_log = settings.path("access_log")?;
    into.access_log_format = settings.parsed("access_log_format", |text| {
        <options::LogFormat as clap::ValueEnum>::from_str(text, false).map_err(|_| "expected combined or json")
    })?;
    into.public_url = settings.parsed("public_url", str::parse)?;
    into.trusted_proxies = settings.words("trusted_proxies").unwrap_or_default();
    Ok(())
}

/// `host` and `port`; neither means that nothing is said.
fn network(into: &mut ServerOptions, settings: &mut Settings) -> Result<(), IniError> {
    let host = settings.text("host").filter(|host| !host.is_empty());
    let port = settings.number::<u16>("port")?;
    if host.is_some() || port.is_some() {
        let default = Address::default();
        let host = host.unwrap_or(default.host);
        // Brackets are of addresses with a port.
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        into.bind.push(Bind::Network(Address { host, port: port.unwrap_or(default.port) }));
    }
    Ok(())
}

/// A socket in the file system, or else `host` and `port`.
fn socket(into: &mut ServerOptions, settings: &mut Settings, key: &str) -> Result<(), IniError> {
    let place = settings.clone().take(key).map(|setting| setting.place);
    let path = settings.path(key)?;
    network(into, settings)?;
    if let (Some(path), Some(place)) = (path, place) {
        if !into.bind.is_empty() {
            return Err(place.error(format_args!("{key} and host or port exclude each other")));
        }
        into.bind.push(Bind::Other(Listen::Unix(UnixSocket::new(path))));
    }
    Ok(())
}

fn umask(into: &mut ServerOptions, settings: &mut Settings) -> Result<(), IniError> {
    let place = settings.clone().take("umask").map(|setting| setting.place);
    if let (Some(mask), Some(place)) = (settings.parsed("umask", options::octal_mode)?, place) {
        if !into.bind.iter().any(|bind| matches!(bind, Bind::Other(Listen::Unix(_)))) {
            return Err(place.error("umask is for a socket"));
        }
        into.socket_mode = Some(0o777 & !mask);
    }
    Ok(())
}

fn waitress(into: &mut ServerOptions, settings: &mut Settings) -> Result<Option<(String, Option<bool>)>, IniError> {
    socket(into, settings, "unix_socket")?;
    if let Some(listen) = settings.parsed("listen", |text| text.split_whitespace().map(waitress_bind).collect())? {
        into.bind = listen;
    }
    let mode = settings.parsed("unix_socket_perms", options::octal_mode)?;
    if into.bind.iter().any(|bind| matches!(bind, Bind::Other(_))) {
        into.socket_mode = mode.or(Some(0o600)); // waitress's own
    }
    into.workers = settings.parsed("threads", options::at_least_one)?;
    into.max_connections = settings.parsed("connection_limit", options::at_least_one)?;
    into.idle_timeout = settings.parsed("channel_timeout", options::at_least_one_second)?;
    into.max_head = settings.parsed("max_request_header_size", options::at_least_head)?;
    into.max_body = settings.number("max_request_body_size")?;
    into.trusted_proxies = match settings.words("trusted_proxy") {
        Some(proxies) if proxies.iter().all(|proxy| proxy != "*") => proxies,
        _ => Vec::new(),
    };
    let https = settings.parsed("url_scheme", |scheme| match scheme {
        "https" => Ok(true),
        "http" => Ok(false),
        _ => Err("expected http or https"),
    })?;
    let prefix = settings.text("url_prefix").unwrap_or_default();
    // http is what it is without being said, and proxies may still say otherwise.
    let https = https.filter(|https| *https);
    Ok((!prefix.trim_matches('/').is_empty() || https.is_some()).then_some((prefix, https)))
}

/// `*:8080`, `localhost:8080`, `[::]:8080`
fn waitress_bind(text: &str) -> Result<Bind, String> {
    text.replacen("*:", "0.0.0.0:", 1).parse()
}

/// `0.0.0.0:8000`, `unix:/run/x.sock`
fn gunicorn_bind(text: &str) -> Result<Bind, String> {
    text.trim().parse()
}

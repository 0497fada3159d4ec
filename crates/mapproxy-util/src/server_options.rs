//! The settings of the server, as far as they are given: on the command line, or in a deployment file.

use std::path::PathBuf;
use std::time::Duration;

use clap::ValueEnum;
use mapproxy_core::{ProxyRules, PublicUrl};
use mapproxy_http::{AccessLog, AccessLogFormat, Builder, Listen, Protocol};

use crate::address::{Address, Bind};
use crate::{FAILED, Failure, MISTAKEN};

#[derive(Clone, Debug, Default, PartialEq, clap::Args)]
pub(crate) struct ServerOptions {
    /// Where to listen: PORT, HOST, HOST:PORT, [IPV6]:PORT, unix:PATH, fd:NUMBER, systemd or systemd:NAME; may be given
    /// several times [default: 127.0.0.1:8080; fd:0 for FastCGI]
    #[arg(short, long, value_name = "ADDRESS")]
    pub(crate) bind: Vec<Bind>,
    /// Speak FastCGI in place of HTTP
    #[arg(long)]
    pub(crate) fastcgi: bool,
    /// Who may connect to a unix: socket, as for chmod
    #[arg(long, value_name = "OCTAL", value_parser = octal_mode)]
    pub(crate) socket_mode: Option<u32>,
    /// Whose a unix: socket is
    #[arg(long, value_name = "USER[:GROUP]")]
    pub(crate) socket_owner: Option<String>,
    /// Threads that read requests and answer them with cached tiles [default: the number of processors]
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    pub(crate) threads: Option<usize>,
    /// Threads for requests that take time, at most [default: 512]
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    pub(crate) workers: Option<usize>,
    /// Requests that may wait for a worker; further ones are refused with status 503 [default: 1024]
    #[arg(long, value_name = "N")]
    pub(crate) queue: Option<usize>,
    /// How far workers step back behind cached tiles when processors are scarce, 0 (not at all) to 19 [default: 19]
    #[arg(long, value_name = "N", value_parser = niceness)]
    pub(crate) niceness: Option<i32>,
    /// Connections at once; further ones wait [default: 10000]
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    pub(crate) max_connections: Option<usize>,
    /// Seconds that requests at hand are given when the server is stopped [default: 30]
    #[arg(long, value_name = "SECONDS")]
    pub(crate) stop_timeout: Option<u32>,
    /// Bytes of a request's first line and headers [default: 65536]
    #[arg(long, value_name = "BYTES", value_parser = at_least_head)]
    pub(crate) max_head: Option<usize>,
    /// Bytes of a request's body [default: 10485760]
    #[arg(long, value_name = "BYTES")]
    pub(crate) max_body: Option<usize>,
    /// Seconds that first line and headers may be on their way [default: 10]
    #[arg(long, value_name = "SECONDS", value_parser = at_least_one_second)]
    pub(crate) head_timeout: Option<u32>,
    /// Seconds that a body may be on its way [default: 30]
    #[arg(long, value_name = "SECONDS", value_parser = at_least_one_second)]
    pub(crate) body_timeout: Option<u32>,
    /// Seconds that a connection stays open with nothing happening on it [default: 75]
    #[arg(long, value_name = "SECONDS", value_parser = at_least_one_second)]
    pub(crate) idle_timeout: Option<u32>,
    /// Note each request in this file, `-` for standard output; SIGHUP opens it anew
    #[arg(long, value_name = "FILE")]
    pub(crate) access_log: Option<PathBuf>,
    /// How to note it [default: combined]
    #[arg(long, value_name = "FORMAT", value_enum)]
    pub(crate) access_log_format: Option<LogFormat>,
    /// The address that clients know, such as `https://example.org/maps`; without it, proxies in front say it in headers
    #[arg(long, value_name = "URL")]
    pub(crate) public_url: Option<PublicUrl>,
    /// Proxies whose headers are believed: addresses, networks as in 10.0.0.0/8, or `unix` for all on unix: sockets;
    /// all are believed if none is named
    #[arg(long, value_name = "PROXY", value_delimiter = ',')]
    pub(crate) trusted_proxies: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// As Apache and nginx do
    Combined,
    /// A JSON object a line
    Json,
}

impl From<LogFormat> for AccessLogFormat {
    fn from(format: LogFormat) -> AccessLogFormat {
        match format {
            LogFormat::Combined => AccessLogFormat::Combined,
            LogFormat::Json => AccessLogFormat::Json,
        }
    }
}

impl ServerOptions {
    /// These, with what they leave open taken from `others`.
    pub(crate) fn or(self, others: ServerOptions) -> ServerOptions {
        // Rights of a socket go with the socket.
        let (bind, mode, owner) = match self.bind.is_empty() {
            true => (others.bind, others.socket_mode, others.socket_owner),
            false => (self.bind, None, None),
        };
        ServerOptions {
            bind,
            fastcgi: self.fastcgi || others.fastcgi,
            socket_mode: self.socket_mode.or(mode),
            socket_owner: self.socket_owner.or(owner),
            threads: self.threads.or(others.threads),
            workers: self.workers.or(others.workers),
            queue: self.queue.or(others.queue),
            niceness: self.niceness.or(others.niceness),
            max_connections: self.max_connections.or(others.max_connections),
            stop_timeout: self.stop_timeout.or(others.stop_timeout),
            max_head: self.max_head.or(others.max_head),
            max_body: self.max_body.or(others.max_body),
            head_timeout: self.head_timeout.or(others.head_timeout),
            body_timeout: self.body_timeout.or(others.body_timeout),
            idle_timeout: self.idle_timeout.or(others.idle_timeout),
            access_log: self.access_log.or(others.access_log),
            access_log_format: self.access_log_format.or(others.access_log_format),
            public_url: self.public_url.or(others.public_url),
            trusted_proxies: match self.trusted_proxies.is_empty() {
                true => others.trusted_proxies,
                false => self.trusted_proxies,
            },
        }
    }

    /// Whose word about our address counts.
    pub(crate) fn proxy_rules(&self) -> Result<ProxyRules, Failure> {
        let mut rules = ProxyRules::default();
        if !self.trusted_proxies.is_empty() {
            let trusted = rules.trust_only(&self.trusted_proxies);
            rules = trusted.map_err(|error| Failure::new(MISTAKEN, format_args!("ERROR: {error}")))?;
        }
        Ok(self.public_url.iter().cloned().fold(rules, ProxyRules::public_url))
    }

    /// Where to listen.
    pub(crate) fn listen(&self) -> Result<Vec<Listen>, Failure> {
        let default = match self.fastcgi {
            true => Bind::Other(Listen::Fd(0)),
            false => Bind::Network(Address::default()),
        };
        let binds = if self.bind.is_empty() { std::slice::from_ref(&default) } else { &self.bind };
        let listen: Vec<Listen> = binds.iter().map(|bind| self.with_rights(bind.listen())).collect();
        let has_rights = self.socket_mode.is_some() || self.socket_owner.is_some();
        if has_rights && !listen.iter().any(|listen| matches!(listen, Listen::Unix(_))) {
            return Err(Failure::new(MISTAKEN, "ERROR: --socket-mode and --socket-owner are for --bind unix:PATH"));
        }
        Ok(listen)
    }

    fn with_rights(&self, listen: Listen) -> Listen {
        match listen {
            Listen::Unix(socket) => {
                let socket = self.socket_mode.into_iter().fold(socket, |socket, mode| socket.mode(mode));
                Listen::Unix(self.socket_owner.iter().fold(socket, |socket, owner| socket.owner(owner)))
            }
            other => other,
        }
    }

    /// Mistakes that show in the options alone.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        self.listen()?;
        self.proxy_rules()?;
        match (self.access_log_format, &self.access_log) {
            (Some(_), None) => Err(Failure::new(MISTAKEN, "ERROR: --access-log-format is for --access-log FILE")),
            _ => Ok(()),
        }
    }

    /// Sets up a server by them.
    pub(crate) fn apply<A: mapproxy_core::Application + 'static>(
        &self,
        mut builder: Builder<A>,
    ) -> Result<Builder<A>, Failure> {
        for listen in self.listen()? {
            builder = builder.listen(listen);
        }
        if self.fastcgi {
            builder = builder.protocol(Protocol::FastCgi);
        }
        let seconds = |seconds: u32| Duration::from_secs(seconds.into());
        /// Calls the setter where there is a value; what is not given stays as the server has it.
        macro_rules! set {
            ($($option:ident => $setter:ident $(, $convert:expr)?);* $(;)?) => {$(
                if let Some(value) = self.$option {
                    $(let value = $convert(value);)?
                    builder = builder.$setter(value);
                }
            )*};
        }
        set! {
            threads => event_loops;
            workers => workers;
            queue => queue;
            niceness => worker_niceness;
            max_connections => max_connections;
            max_head => max_head;
            max_body => max_body;
            stop_timeout => stop_timeout, seconds;
            head_timeout => head_timeout, seconds;
            body_timeout => body_timeout, seconds;
            idle_timeout => idle_timeout, seconds;
        }
        if let Some(path) = &self.access_log {
            let format = self.access_log_format.unwrap_or(LogFormat::Combined);
            let log = AccessLog::open(path, format.into()).map_err(|error| {
                Failure::new(FAILED, format_args!("ERROR: cannot open the access log {}: {error}", path.display()))
            })?;
            builder = builder.access_log(log);
        }
        Ok(builder)
    }
}

pub(crate) fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) | Err(_) => Err("expected a number from 1".to_owned()),
        Ok(count) => Ok(count),
    }
}

pub(crate) fn at_least_one_second(text: &str) -> Result<u32, String> {
    match text.parse() {
        Ok(0) | Err(_) => Err("expected a number of seconds from 1".to_owned()),
        Ok(seconds) => Ok(seconds),
    }
}

pub(crate) fn at_least_head(text: &str) -> Result<usize, String> {
    const LEAST: usize = 8 << 10;
    match text.parse() {
        Ok(bytes) if bytes >= LEAST => Ok(bytes),
        _ => Err(format!("expected a number from {LEAST}")),
    }
}

pub(crate) fn niceness(text: &str) -> Result<i32, String> {
    match text.parse() {
        Ok(niceness @ 0..=19) => Ok(niceness),
        _ => Err("expected a number from 0 to 19".to_owned()),
    }
}

/// `660`, `0660` or `0o660`.
pub(crate) fn octal_mode(text: &str) -> Result<u32, String> {
    match u32::from_str_radix(text.strip_prefix("0o").unwrap_or(text), 8) {
        Ok(mode @ 0..=0o777) => Ok(mode),
        _ => Err("expected an octal number such as 660".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bind(text: &str) -> Vec<Bind> {
        vec![text.parse().unwrap()]
    }

    #[test]
    fn what_is_given_twice_is_as_on_the_command_line() {
        let file = ServerOptions {
            bind: bind("unix:a.sock"),
            socket_mode: Some(0o600),
            fastcgi: true,
            workers: Some(5),
            queue: Some(6),
            ..ServerOptions::default()
        };
        let line = ServerOptions { workers: Some(7), ..ServerOptions::default() };
        let both = line.or(file.clone());
        assert_eq!(both, ServerOptions { workers: Some(7), ..file.clone() });
        let line = ServerOptions { bind: bind("8080"), ..ServerOptions::default() };
        let both = line.or(file);
        assert_eq!((both.bind, both.socket_mode, both.workers), (bind("8080"), None, Some(5)));
    }

    #[test]
    fn without_an_address_http_is_at_port_8080_and_fastcgi_on_the_inherited_socket() {
        let listen = |fastcgi| {
            let options = ServerOptions { fastcgi, ..ServerOptions::default() };
            options.listen().unwrap().iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(listen(false), ["127.0.0.1:8080"]);
        assert_eq!(listen(true), ["fd:0"]);
    }

    #[test]
    fn rights_are_for_sockets_in_the_file_system() {
        let options = ServerOptions { socket_mode: Some(0o660), ..ServerOptions::default() };
        assert!(options.check().is_err());
        assert!(ServerOptions { bind: bind("unix:a.sock"), ..options }.check().is_ok());
        assert_eq!(octal_mode("0660"), Ok(0o660));
        assert!(octal_mode("9").is_err() && octal_mode("7777").is_err());
    }

    #[test]
    fn proxies_that_are_none_are_refused() {
        let options = ServerOptions { trusted_proxies: vec!["10.0.0.0/8".to_owned()], ..ServerOptions::default() };
        assert!(options.check().is_ok());
        let options = ServerOptions { trusted_proxies: vec!["everybody".to_owned()], ..ServerOptions::default() };
        assert!(options.check().is_err());
    }
}

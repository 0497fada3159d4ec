//! Where a queue is: `redis://[user[:password]@]host[:port][/db][?options]`, or `rediss://` for TLS.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use percent_encoding::percent_decode_str;
use redis::{Client, ClientTlsConfig, ConnectionAddr, ConnectionInfo, IntoConnectionInfo as _, TlsCertificates};

/// Where a queue is and how it is kept. Never printed with its password.
#[derive(Clone)]
pub struct QueueAddress {
    info: ConnectionInfo,
    certificates: Option<Certificates>,
    server: String,
    pub(super) run: Option<String>,
    pub(super) lease: Duration,
}

#[derive(Clone, Default)]
struct Certificates {
    ca: Option<Vec<u8>>,
    own: Option<(Vec<u8>, Vec<u8>)>,
}

/// No address of a queue. Says nothing of what was written for user and password.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct AddressError(String);

/// How long a machine may be silent before its work is given to others.
const LEASE: Duration = Duration::from_secs(30);

/// Nobody can be told dead in less, and nobody should be believed alive for longer.
const LEASES: std::ops::RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(3600);

const FORM: &str = "expected redis://[user:password@]host[:port][/db] or rediss://…, and after a '?' any of run=NAME, \
                    lease=SECONDS, password-file=FILE, ca=FILE, cert=FILE and key=FILE, separated by '&'";

impl QueueAddress {
    /// The server, for people: without user and password.
    pub fn server(&self) -> &str {
        &self.server
    }

    pub(super) fn client(&self) -> Result<Client, String> {
        let info = self.info.clone();
        let client = match &self.certificates {
            None => Client::open(info),
            Some(Certificates { ca, own }) => {
                let client_tls = own.clone();
                let client_tls =
                    client_tls.map(|(client_cert, client_key)| ClientTlsConfig { client_cert, client_key });
                Client::build_with_tls(info, TlsCertificates { client_tls, root_cert: ca.clone() })
            }
        };
        client.map_err(|error| error.to_string())
    }
}

impl FromStr for QueueAddress {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let wrong = |what: &str| AddressError(format!("{what}: {FORM}"));
        let (address, options) = text.split_once('?').unwrap_or((text, ""));
        let is_tls = address.starts_with("rediss://");
        if !(is_tls || address.starts_with("redis://")) || address.contains('#') {
            return Err(wrong("not the address of a Redis server"));
        }
        // The library's own error may repeat what it was given.
        let info = address.into_connection_info().map_err(|_| wrong("not the address of a Redis server"))?;
        let mut settings = info.redis_settings().clone().set_skip_set_lib_name();
        let (mut run, mut lease, mut tls) = (None, LEASE, Certificates::default());
        let (mut certificate, mut key) = (None, None);
        for option in options.split('&').filter(|option| !option.is_empty()) {
            let (name, value) = option.split_once('=').ok_or_else(|| wrong("an option has no value"))?;
            let value = percent_decode_str(value).decode_utf8().map_err(|_| wrong("an option is no UTF-8"))?;
            if value.is_empty() {
                return Err(wrong(&format!("option {name} is empty")));
            }
            let file = PathBuf::from(&*value);
            match name {
                "run" => run = Some(value.into_owned()),
                "lease" => {
                    let seconds = value.trim_end_matches('s').parse().ok();
                    let duration = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
                    lease = duration
                        .filter(|duration| LEASES.contains(duration))
                        .ok_or_else(|| wrong(&format!("lease={value} is not between 1 and 3600 seconds")))?;
                }
                "password-file" => {
                    let password = String::from_utf8(read(&file)?).map_err(|_| wrong("the password is no UTF-8"))?;
                    settings = settings.set_password(password.trim_end_matches(['\r', '\n']));
                }
                "ca" | "cert" | "key" if !is_tls => {
                    return Err(wrong(&format!("option {name} is for TLS, and this address begins with redis://")));
                }
                "ca" => tls.ca = Some(read(&file)?),
                "cert" => certificate = Some(read(&file)?),
                "key" => key = Some(read(&file)?),
                _ => return Err(wrong(&format!("unknown option {name}"))),
            }
        }
        tls.own = match (certificate, key) {
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (None, None) => None,
            _ => return Err(wrong("options cert and key belong together")),
        };
        let certificates = is_tls.then_some(tls);
        let place = match info.addr() {
            ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. } => format!("{host}:{port}"),
            _ => return Err(wrong("not the address of a Redis server")),
        };
        let server = format!("redis {place} (db {})", settings.db());
        Ok(QueueAddress { info: info.set_redis_settings(settings), certificates, server, run, lease })
    }
}

fn read(file: &Path) -> Result<Vec<u8>, AddressError> {
    std::fs::read(file).map_err(|error| AddressError(format!("cannot read {}: {error}", file.display())))
}

impl fmt::Debug for QueueAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let QueueAddress { server, run, lease, .. } = self;
        write!(f, "QueueAddress({server}, run {run:?}, lease {lease:?})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_a_server_a_database_and_options() {
        let address: QueueAddress = "redis://me:ge%40heim@queue.example:6380/3?run=night&lease=5".parse().unwrap();
        assert_eq!(address.server(), "redis queue.example:6380 (db 3)");
        assert_eq!((address.run.as_deref(), address.lease), (Some("night"), Duration::from_secs(5)));
        let settings = address.info.redis_settings();
        assert_eq!((settings.username(), settings.password()), (Some("me"), Some("ge@heim")));
        let plain: QueueAddress = "redis://[::1]".parse().unwrap();
        assert_eq!((plain.server(), plain.lease), ("redis ::1:6379 (db 0)", LEASE));
    }

    #[test]
    fn a_password_is_never_printed() {
        let address: QueueAddress = "redis://:geheim@host/".parse().unwrap();
        assert!(!format!("{address:?}").contains("geheim"));
        for text in [
            "http://:geheim@host",
            "redis://:geheim@host:port",
            "redis://:geheim@host/x",
            "redis://:geheim@host?a",
            "redis://:geheim@host?a=b",
            "rediss://:geheim@host#insecure",
            "redis://:geheim@host?lease=0",
            "redis://:geheim@host?lease=x",
            "redis://:geheim@host?ca=/ca.pem",
            "rediss://:geheim@host?cert=Cargo.toml",
            "rediss://:geheim@host?ca=/nowhere/ca.pem",
            "redis://:geheim@host?password-file=/nowhere/p",
            "redis://host?run=",
        ] {
            let error = text.parse::<QueueAddress>().unwrap_err().to_string();
            assert!(!error.contains("geheim"), "{text}: {error}");
        }
    }

    #[test]
    fn a_password_may_be_kept_in_a_file() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "geheim\n").unwrap();
        let address = format!("redis://host?password-file={}", file.path().display());
        let address: QueueAddress = address.parse().unwrap();
        assert_eq!(address.info.redis_settings().password(), Some("geheim"));
    }
}

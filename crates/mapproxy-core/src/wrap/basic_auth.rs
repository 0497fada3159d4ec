//! Passwords before an application: HTTP Basic authentication (RFC 7617) by a file of names and bcrypt hashes, as
//! `htpasswd -B` writes them.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use arc_swap::ArcSwap;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use http::header::{AUTHORIZATION, CACHE_CONTROL, VARY, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, StatusCode};
use sha2::{Digest, Sha256};

use crate::response::plain;
use crate::{Application, Request, Response};

/// Lets only those in who know a password. Who it is, applications inside find in the request's extensions as
/// [`User`]. Answers are marked as private, so that no cache in front hands them to others.
#[derive(Debug)]
pub struct BasicAuth<A> {
    app: A,
    challenge: HeaderValue,
    passwords: Arc<Passwords>,
}

/// Who has been let in, as a request extension.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User(pub Arc<str>);

/// A file of names and hashes, read again when it changes.
pub struct Passwords {
    path: PathBuf,
    opened: Instant,
    /// When the file was last looked at, in milliseconds after `opened`.
    looked: AtomicU64,
    users: ArcSwap<Users>,
}

/// What the file says at one time.
struct Users {
    stamp: Option<(SystemTime, u64)>,
    hashes: HashMap<Arc<str>, String>,
    /// Passwords found right, since bcrypt is slow on purpose: SHA-256 over bcrypt's hash, its salt within, and password.
    known: Mutex<HashMap<Arc<str>, [u8; 32]>>,
}

/// Why there are no passwords.
#[derive(Debug, thiserror::Error)]
pub enum PasswordsError {
    /// The file cannot be read.
    #[error("cannot read the passwords in {}: {cause}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        cause: io::Error,
    },
    /// A line is no name and hash.
    #[error("{}:{line}: {reason}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// What is wrong with it.
        reason: &'static str,
    },
}

const INTERVAL: Duration = Duration::from_secs(1);

impl<A> BasicAuth<A> {
    /// Asks for a password before `app` is reached; `realm` is what browsers show.
    pub fn new(app: A, realm: &str, passwords: Passwords) -> BasicAuth<A> {
        let realm: String = realm.chars().filter(|letter| !letter.is_control()).collect();
        let realm = realm.replace('\\', r"\\").replace('"', "\\\"");
        let challenge = HeaderValue::try_from(format!("Basic realm=\"{realm}\", charset=\"UTF-8\""));
        let challenge = challenge.unwrap_or(HeaderValue::from_static("Basic realm=\"MapProxy\", charset=\"UTF-8\""));
        BasicAuth { app, challenge, passwords: Arc::new(passwords) }
    }

    fn refuse(&self) -> Response {
        let mut response = plain(StatusCode::UNAUTHORIZED, "a user name and a password are needed");
        response.headers_mut().insert(WWW_AUTHENTICATE, self.challenge.clone());
        mark_private(response)
    }
}

/// Keeps answers for one user out of the hands of others.
fn mark_private(mut response: Response) -> Response {
    let headers = response.headers_mut();
    let public = headers.get(CACHE_CONTROL).and_then(|value| value.to_str().ok()).unwrap_or("");
    let kept = public.split(',').map(str::trim);
    let kept = kept.filter(|directive| *directive != "public" && !directive.starts_with("s-maxage"));
    let private = std::iter::once("private").chain(kept.filter(|directive| !directive.is_empty()));
    let private = private.collect::<Vec<_>>().join(", ");
    headers.insert(CACHE_CONTROL, HeaderValue::try_from(private).unwrap_or(HeaderValue::from_static("private")));
    headers.append(VARY, HeaderValue::from_static("Authorization"));
    response
}

fn credentials(headers: &HeaderMap) -> Option<(String, String)> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let text = String::from_utf8(BASE64_STANDARD.decode(token.trim()).ok()?).ok()?;
    let (name, password) = text.split_once(':')?;
    Some((name.to_owned(), password.to_owned()))
}

#[deny(clippy::missing_trait_methods)]
impl<A: Application> Application for BasicAuth<A> {
    fn call(&self, mut request: Request) -> Response {
        self.passwords.refresh();
        let user = credentials(request.headers())
            .and_then(|(name, password)| self.passwords.users.load().check(&name, &password));
        let Some(user) = user else { return self.refuse() };
        request.extensions_mut().insert(User(user));
        mark_private(self.app.call(request))
    }

    fn call_now(&self, request: &Request) -> Option<Response> {
        if self.passwords.is_due() {
            return None;
        }
        let (name, password) = credentials(request.headers())?;
        let user = self.passwords.users.load().known(&name, &password)?;
        let mut request = request.clone();
        request.extensions_mut().insert(User(user));
        self.app.call_now(&request).map(mark_private)
    }
}

impl Passwords {
    /// Reads a file with a line `name:hash` for each user; empty lines and those beginning with `#` are passed over.
    pub fn open(path: impl AsRef<Path>) -> Result<Passwords, PasswordsError> {
        let users = ArcSwap::from_pointee(Users::read(path.as_ref())?);
        Ok(Passwords { path: path.as_ref().to_owned(), opened: Instant::now(), looked: AtomicU64::new(0), users })
    }

    fn now(&self) -> u64 {
        u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn is_due(&self) -> bool {
        self.now().saturating_sub(self.looked.load(Ordering::Relaxed)) > INTERVAL.as_millis() as u64
    }

    /// Reads the file again if it has changed, and if it is time to look. One that cannot be read changes nothing but the log.
    fn refresh(&self) {
        if !self.is_due() {
            return;
        }
        self.looked.store(self.now(), Ordering::Relaxed);
        self.refresh_now();
    }

    fn refresh_now(&self) {
        if stamp(&self.path) == self.users.load().stamp {
            return;
        }
        match Users::read(&self.path) {
            Ok(users) => {
                self.users.store(Arc::new(users));
                log::info!(target: "mapproxy.auth", "passwords read anew: {}", self.path.display());
            }
            Err(error) => log::error!(target: "mapproxy.auth", "{error}; the passwords known so far stay valid"),
        }
    }
}

fn stamp(path: &Path) -> Option<(SystemTime, u64)> {
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.modified().ok()?, metadata.len()))
}

impl Users {
    fn read(path: &Path) -> Result<Users, PasswordsError> {
        // Before reading, so that a change while we read is seen as one.
        let stamp = stamp(path);
        let text =
            std::fs::read_to_string(path).map_err(|cause| PasswordsError::Read { path: path.to_owned(), cause })?;
        let mut hashes = HashMap::new();
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let error = |reason| PasswordsError::Line { path: path.to_owned(), line: index + 1, reason };
            let (name, hash) = line.split_once(':').ok_or_else(|| error("expected a name, a colon and a hash"))?;
            if !["$2a$", "$2b$", "$2x$", "$2y$"].iter().any(|kind| hash.starts_with(kind)) {
                return Err(error("not a bcrypt hash; write it with `htpasswd -B`"));
            }
            if hash.parse::<bcrypt::HashParts>().is_err() {
                return Err(error("the bcrypt hash is broken"));
            }
            hashes.insert(Arc::from(name), hash.to_owned());
        }
        Ok(Users { stamp, hashes, known: Mutex::default() })
    }

    /// The user, if this password has been found right before.
    fn known(&self, name: &str, password: &str) -> Option<Arc<str>> {
        let (name, hash) = self.hashes.get_key_value(name)?;
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        (*known.get(name)? == digest(hash, password)).then(|| Arc::clone(name))
    }

    fn check(&self, name: &str, password: &str) -> Option<Arc<str>> {
        if let Some(user) = self.known(name, password) {
            return Some(user);
        }
        let Some((name, hash)) = self.hashes.get_key_value(name) else {
            // As long as for a user that exists: the time is not to tell who does.
            if let Some(hash) = self.hashes.values().next() {
                let _is_never_right = bcrypt::verify(password, hash);
            }
            return None;
        };
        if !bcrypt::verify(password, hash).unwrap_or(false) {
            return None;
        }
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(Arc::clone(name), digest(hash, password));
        Some(Arc::clone(name))
    }
}

fn digest(hash: &str, password: &str) -> [u8; 32] {
    Sha256::new().chain_update(hash).chain_update([0]).chain_update(password).finalize().into()
}

impl fmt::Debug for Passwords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Passwords").field("path", &self.path).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::Body;

    struct WhoAmI;

    impl Application for WhoAmI {
        fn call(&self, request: Request) -> Response {
            let name = request.extensions().get::<User>().map_or("nobody", |user| &user.0).to_owned();
            let mut response = Response::new(Body::from(name));
            let public = HeaderValue::from_static("public, max-age=60, s-maxage=60");
            response.headers_mut().insert(CACHE_CONTROL, public);
            response
        }

        fn call_now(&self, request: &Request) -> Option<Response> {
            Some(self.call(request.clone()))
        }
    }

    fn line(name: &str, password: &str) -> String {
        format!("{name}:{}\n", bcrypt::hash(password, 4).unwrap())
    }

    fn request(credentials: Option<&str>) -> Request {
        let mut request = http::Request::get("/");
        if let Some(credentials) = credentials {
            request = request.header("authorization", format!("basic {}", BASE64_STANDARD.encode(credentials)));
        }
        request.body(Bytes::new()).unwrap()
    }

    fn app(file: &Path) -> BasicAuth<WhoAmI> {
        BasicAuth::new(WhoAmI, "the \"maps\"", Passwords::open(file).unwrap())
    }

    #[test]
    fn who_knows_the_password_is_let_in_and_known_inside() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("users");
        std::fs::write(&file, format!("# ours\n\n{}{}", line("ann", "a:b"), line("bob", "ü"))).unwrap();
        let app = app(&file);
        assert!(app.call_now(&request(Some("ann:a:b"))).is_none(), "not checked yet");
        let answer = app.call(request(Some("ann:a:b")));
        assert_eq!((answer.status(), answer.body().as_bytes()), (StatusCode::OK, &b"ann"[..]));
        assert_eq!(answer.headers()[CACHE_CONTROL], "private, max-age=60");
        assert_eq!(app.call_now(&request(Some("ann:a:b"))).unwrap().body().as_bytes(), b"ann");
        assert_eq!(app.call(request(Some("bob:ü"))).body().as_bytes(), "bob".as_bytes());
    }

    #[test]
    fn all_others_are_told_that_a_password_is_needed() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("users");
        std::fs::write(&file, line("ann", "right")).unwrap();
        let app = app(&file);
        app.call(request(Some("ann:right")));
        for credentials in [None, Some("ann:wrong"), Some("eve:right"), Some("ann"), Some("ann:")] {
            let answer = app.call(request(credentials));
            assert_eq!(answer.status(), StatusCode::UNAUTHORIZED, "{credentials:?}");
            assert_eq!(answer.headers()[WWW_AUTHENTICATE], r#"Basic realm="the \"maps\"", charset="UTF-8""#);
            assert!(app.call_now(&request(credentials)).is_none(), "{credentials:?}");
        }
    }

    #[test]
    fn a_changed_file_is_read_again_and_a_broken_one_is_not_taken() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("users");
        std::fs::write(&file, line("ann", "one")).unwrap();
        let app = app(&file);
        let status = |credentials: &str| {
            app.passwords.refresh_now();
            app.call(request(Some(credentials))).status()
        };
        assert_eq!(status("ann:one"), StatusCode::OK);
        std::fs::write(&file, line("bob", "longer")).unwrap();
        assert_eq!((status("ann:one"), status("bob:longer")), (StatusCode::UNAUTHORIZED, StatusCode::OK));
        std::fs::write(&file, "bob:plain").unwrap();
        assert_eq!(status("bob:longer"), StatusCode::OK);
    }

    #[test]
    fn weak_or_broken_hashes_are_refused_by_line() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("users");
        for (text, message) in [
            ("a:$apr1$x$y", "users:1: not a bcrypt hash; write it with `htpasswd -B`"),
            ("\nno colon", "users:2: expected a name, a colon and a hash"),
            ("a:$2y$05$short", "users:1: the bcrypt hash is broken"),
        ] {
            std::fs::write(&file, text).unwrap();
            let error = Passwords::open(&file).unwrap_err().to_string();
            assert!(error.ends_with(message), "{error}");
        }
    }
}

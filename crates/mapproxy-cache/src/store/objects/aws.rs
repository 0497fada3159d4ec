//! Who we are to Amazon: credentials and region from where its own programs look for them.
//!
//! In this order: the environment (unless the configuration names a profile), a web identity, the profile in the shared
//! files, the container's service, the machine's (IMDSv2). Those that expire are asked for again before they do.

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use mapproxy_client::{HttpClient, Method, Peer, UpstreamRequest};
use rusty_s3::Credentials;

use super::xml;

/// Variables of the environment.
pub type Lookup = Arc<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// Credentials are renewed this long before they expire.
const EARLY: Duration = Duration::from_secs(5 * 60);

/// Who could not be asked for credentials is not asked again before.
const REST: Duration = Duration::from_secs(10);

/// What is found before anybody is asked.
pub(super) struct Profile {
    name: String,
    explicit: bool,
    variables: Lookup,
    /// Keys of the profile, from both files.
    settings: HashMap<String, String>,
    exists: bool,
    files: (PathBuf, PathBuf),
}

impl Profile {
    /// The profile of that name, or the one that the environment names.
    pub(super) fn read(name: Option<&str>, variables: Lookup) -> Profile {
        let var = |name: &str| variables(name).filter(|value| !value.is_empty());
        let home = || PathBuf::from(var("HOME").unwrap_or_default()).join(".aws");
        let file = |variable: &str, file: &str| var(variable).map_or_else(|| home().join(file), PathBuf::from);
        let files = (file("AWS_SHARED_CREDENTIALS_FILE", "credentials"), file("AWS_CONFIG_FILE", "config"));
        let chosen = name.map(str::to_owned).or_else(|| var("AWS_PROFILE")).or_else(|| var("AWS_DEFAULT_PROFILE"));
        let own_name = chosen.unwrap_or_else(|| "default".to_owned());
        let mut settings = HashMap::new();
        let mut exists = false;
        let sections =
            [(&files.1, format!("profile {own_name}")), (&files.1, own_name.clone()), (&files.0, own_name.clone())];
        for (path, section) in sections {
            // In the file of settings, only the default profile may do without the word.
            if *path == files.1 && section == own_name && own_name != "default" {
                continue;
            }
            let Ok(text) = std::fs::read_to_string(path) else { continue };
            if let Some(found) = self::section(&text, &section) {
                exists = true;
                settings.extend(found);
            }
        }
        Profile { name: own_name, explicit: name.is_some(), variables, settings, exists, files }
    }

    fn var(&self, name: &str) -> Option<String> {
        (self.variables)(name).filter(|value| !value.is_empty())
    }

    /// The region that the environment or the profile names.
    pub(super) fn region(&self) -> Option<String> {
        let by_environment = self.var("AWS_DEFAULT_REGION").or_else(|| self.var("AWS_REGION"));
        by_environment.or_else(|| self.settings.get("region").cloned())
    }

    /// An address other than Amazon's.
    pub(super) fn endpoint(&self, service: &str) -> Option<String> {
        let own = self.var(&format!("AWS_ENDPOINT_URL_{service}"));
        own.or_else(|| self.var("AWS_ENDPOINT_URL")).or_else(|| self.settings.get("endpoint_url").cloned())
    }

    /// Where credentials come from.
    pub(super) fn provider(&self, client: &Arc<dyn HttpClient>) -> Result<Provider, String> {
        let provider = |source| Ok(Provider { source, client: Arc::clone(client), held: Mutex::default() });
        let fixed = |key: String, secret: String, token: Option<String>| {
            provider(Source::Fixed(Arc::new(credentials(key, secret, token))))
        };
        if self.explicit && !self.exists {
            let (shared, config) = (self.files.0.display(), self.files.1.display());
            return Err(format!("profile_name: no profile {:?} in {shared} or {config}", self.name));
        }
        if !self.explicit
            && let (Some(key), Some(secret)) = (self.var("AWS_ACCESS_KEY_ID"), self.var("AWS_SECRET_ACCESS_KEY"))
        {
            return fixed(key, secret, self.var("AWS_SESSION_TOKEN"));
        }
        if let (false, Some(file), Some(role)) =
            (self.explicit, self.var("AWS_WEB_IDENTITY_TOKEN_FILE"), self.var("AWS_ROLE_ARN"))
        {
            let region = self.region().unwrap_or_else(|| "us-east-1".to_owned());
            let url = self.endpoint("STS").unwrap_or_else(|| format!("https://sts.{region}.amazonaws.com"));
            let session = self.var("AWS_ROLE_SESSION_NAME").unwrap_or_else(|| "mapproxy".to_owned());
            return provider(Source::WebIdentity { url, role, session, file: file.into() });
        }
        let setting = |name: &str| self.settings.get(name).cloned();
        if let (Some(key), Some(secret)) = (setting("aws_access_key_id"), setting("aws_secret_access_key")) {
            return fixed(key, secret, setting("aws_session_token"));
        }
        for other in ["role_arn", "credential_process", "sso_session", "sso_start_url", "web_identity_token_file"] {
            if self.settings.contains_key(other) {
                return Err(format!(
                    "the AWS profile {:?} gets its credentials by {other}, which is not supported; give it \
                     aws_access_key_id and aws_secret_access_key, or use the environment",
                    self.name
                ));
            }
        }
        if let Some(path) = self.var("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI") {
            return provider(Source::Container { url: format!("http://169.254.170.2{path}"), token: None, file: None });
        }
        if let Some(url) = self.var("AWS_CONTAINER_CREDENTIALS_FULL_URI") {
            let file = self.var("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE").map(PathBuf::from);
            return provider(Source::Container { url, token: self.var("AWS_CONTAINER_AUTHORIZATION_TOKEN"), file });
        }
        if self.var("AWS_EC2_METADATA_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
            return Err(NOBODY.to_owned());
        }
        let url = self.var("AWS_EC2_METADATA_SERVICE_ENDPOINT");
        let url = url.unwrap_or_else(|| "http://169.254.169.254".to_owned());
        provider(Source::Instance { url: url.trim_end_matches('/').to_owned() })
    }
}

const NOBODY: &str = "no AWS credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or write them into \
                      ~/.aws/credentials";

/// Gives credentials, the same until they expire.
pub(super) struct Provider {
    source: Source,
    client: Arc<dyn HttpClient>,
    held: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    credentials: Option<(Arc<Credentials>, SystemTime)>,
    failed: Option<(Instant, String)>,
}

enum Source {
    Fixed(Arc<Credentials>),
    WebIdentity { url: String, role: String, session: String, file: PathBuf },
    Container { url: String, token: Option<String>, file: Option<PathBuf> },
    Instance { url: String },
}

impl fmt::Debug for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.source {
            Source::Fixed(_) => "Provider(fixed)",
            Source::WebIdentity { .. } => "Provider(web identity)",
            Source::Container { .. } => "Provider(container)",
            Source::Instance { .. } => "Provider(instance)",
        })
    }
}

impl Provider {
    /// Credentials that are good for some minutes, or why there are none.
    pub(super) fn credentials(&self) -> Result<Arc<Credentials>, String> {
        if let Source::Fixed(credentials) = &self.source {
            return Ok(Arc::clone(credentials));
        }
        // Who comes while others are asked waits here and takes theirs.
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let now = SystemTime::now();
        if let Some((credentials, expire)) = &held.credentials
            && now + EARLY < *expire
        {
            return Ok(Arc::clone(credentials));
        }
        let rests = held.failed.as_ref().filter(|(since, _)| since.elapsed() < REST).map(|(_, reason)| reason.clone());
        let asked = match rests {
            Some(reason) => Err(reason),
            None => self.ask(),
        };
        match asked {
            Ok((credentials, expire)) => {
                let credentials = Arc::new(credentials);
                *held = Held { credentials: Some((Arc::clone(&credentials), expire)), failed: None };
                Ok(credentials)
            }
            Err(reason) => {
                if held.failed.as_ref().is_none_or(|(since, _)| since.elapsed() >= REST) {
                    held.failed = Some((Instant::now(), reason.clone()));
                }
                match &held.credentials {
                    Some((credentials, expire)) if now < *expire => Ok(Arc::clone(credentials)),
                    _ => Err(reason),
                }
            }
        }
    }

    fn ask(&self) -> Result<(Credentials, SystemTime), String> {
        let send = |request: UpstreamRequest| {
            let answer = self.client.send(&request.to(Peer::Store)).map_err(|error| error.to_string())?;
            Ok::<_, String>(String::from_utf8_lossy(&answer.body).into_owned())
        };
        match &self.source {
            Source::Fixed(_) => Err(NOBODY.to_owned()),
            Source::WebIdentity { url, role, session, file } => {
                let token = read(file)?;
                let encode = |text: &str| {
                    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
                };
                let form = format!(
                    "Action=AssumeRoleWithWebIdentity&Version=2011-06-15&RoleArn={}&RoleSessionName={}&WebIdentityToken={}",
                    encode(role),
                    encode(session),
                    encode(&token)
                );
                let answer = send(UpstreamRequest::post_form(url.as_str(), form))
                    .map_err(|reason| format!("AWS_WEB_IDENTITY_TOKEN_FILE: {reason}"))?;
                let part = |name| xml::find(&answer, name).map(str::to_owned);
                temporary(part("AccessKeyId"), part("SecretAccessKey"), part("SessionToken"), part("Expiration"))
            }
            Source::Container { url, token, file } => {
                let token = file.as_deref().map(read).transpose()?.or_else(|| token.clone());
                let mut request = UpstreamRequest::get(url.as_str());
                request.headers.extend(token.map(|token| ("Authorization".to_owned(), token)));
                document(&send(request).map_err(|reason| format!("the container's credentials: {reason}"))?)
            }
            Source::Instance { url } => {
                let failed =
                    |reason: String| format!("{NOBODY} (this is no machine of Amazon's with a role, either: {reason})");
                let mut ask = UpstreamRequest::new(Method::Put, format!("{url}/latest/api/token"));
                ask.headers = vec![("X-aws-ec2-metadata-token-ttl-seconds".to_owned(), "300".to_owned())];
                let token = send(ask).map_err(failed)?;
                let get = |path: &str| {
                    let mut request =
                        UpstreamRequest::get(format!("{url}/latest/meta-data/iam/security-credentials/{path}"));
                    request.headers = vec![("X-aws-ec2-metadata-token".to_owned(), token.trim().to_owned())];
                    send(request).map_err(failed)
                };
                let roles = get("")?;
                document(&get(roles.lines().next().unwrap_or_default().trim())?)
            }
        }
    }
}

fn read(file: &std::path::Path) -> Result<String, String> {
    let text = std::fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
    Ok(text.trim().to_owned())
}

fn credentials(key: String, secret: String, token: Option<String>) -> Credentials {
    match token {
        Some(token) => Credentials::new_with_token(key, secret, token),
        None => Credentials::new(key, secret),
    }
}

/// Credentials as containers and machines tell them.
fn document(text: &str) -> Result<(Credentials, SystemTime), String> {
    let json: serde_json::Value =
        serde_json::from_str(text).map_err(|_| "credentials were asked for, and the answer is no JSON".to_owned())?;
    let part = |name: &str| json.get(name)?.as_str().map(str::to_owned);
    temporary(part("AccessKeyId"), part("SecretAccessKey"), part("Token"), part("Expiration"))
}

fn temporary(
    key: Option<String>,
    secret: Option<String>,
    token: Option<String>,
    expire: Option<String>,
) -> Result<(Credentials, SystemTime), String> {
    let (Some(key), Some(secret)) = (key, secret) else {
        return Err("credentials were asked for, and there are none in the answer".to_owned());
    };
    let expire = expire.and_then(|time| time.parse::<jiff::Timestamp>().ok()).map(SystemTime::from);
    let expire = expire.unwrap_or_else(|| SystemTime::now() + Duration::from_secs(15 * 60));
    Ok((credentials(key, secret, token), expire))
}

/// The settings of a section of a file such as `~/.aws/config`. Lines that are indented belong to the one before.
fn section(text: &str, name: &str) -> Option<HashMap<String, String>> {
    let mut found: Option<HashMap<String, String>> = None;
    let mut inside = false;
    for line in text.lines() {
        let trimmed = line.trim();
        if let Some(header) = trimmed.strip_prefix('[') {
            let header = header.split(']').next().unwrap_or_default();
            inside = header.split_whitespace().eq(name.split_whitespace());
            if inside {
                found.get_or_insert_default();
            }
        } else if inside
            && !line.starts_with([' ', '\t', '#', ';'])
            && let Some((key, value)) = trimmed.split_once('=')
        {
            let value = value.split(" #").next().unwrap_or_default().trim();
            found.get_or_insert_default().insert(key.trim().to_ascii_lowercase(), value.to_owned());
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use mapproxy_client::ErrorKind;
    use mapproxy_client::testkit::{ScriptedClient, failure, response};

    use super::*;

    fn variables(pairs: &[(&str, &str)]) -> Lookup {
        let pairs: HashMap<String, String> =
            pairs.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        Arc::new(move |name| pairs.get(name).cloned())
    }

    fn client(
        script: impl Fn(&UpstreamRequest) -> Option<&'static str> + Send + Sync + 'static,
    ) -> Arc<dyn HttpClient> {
        Arc::new(ScriptedClient::new(move |request| match script(request) {
            Some(body) => Ok(response("text/plain", body)),
            None => Err(failure(ErrorKind::Connection, request)),
        }))
    }

    fn key(provider: &Provider) -> String {
        provider.credentials().unwrap().key().to_owned()
    }

    const FILES: (&str, &str) = (
        "# comment\n[default]\naws_access_key_id = D\naws_secret_access_key=d\n\n[maps]\naws_access_key_id=M # ours\naws_secret_access_key=m\naws_session_token=t\n",
        "[default]\nregion = eu-west-1\n[profile maps]\nregion=eu-central-1\ns3 =\n  region = nowhere\n[profile role]\nrole_arn = arn:x\n",
    );

    fn with_files(extra: &[(&str, &str)]) -> (Lookup, tempfile::TempDir) {
        let home = tempfile::tempdir().unwrap();
        std::fs::create_dir(home.path().join(".aws")).unwrap();
        std::fs::write(home.path().join(".aws/credentials"), FILES.0).unwrap();
        std::fs::write(home.path().join(".aws/config"), FILES.1).unwrap();
        let path = home.path().to_str().unwrap().to_owned();
        let all: Vec<_> = extra.iter().copied().chain([("HOME", path.as_str())]).collect();
        (variables(&all), home)
    }

    #[test]
    fn the_environment_goes_before_files_and_a_named_profile_before_both() {
        let nobody = client(|_| None);
        let own = [("AWS_ACCESS_KEY_ID", "E"), ("AWS_SECRET_ACCESS_KEY", "e")];
        let (lookup, _home) = with_files(&own);
        let profile = |name, lookup: &Lookup| Profile::read(name, Arc::clone(lookup));
        assert_eq!(key(&profile(None, &lookup).provider(&nobody).unwrap()), "E");
        assert_eq!(key(&profile(Some("maps"), &lookup).provider(&nobody).unwrap()), "M");
        let (lookup, _home) = with_files(&[]);
        assert_eq!(key(&profile(None, &lookup).provider(&nobody).unwrap()), "D");
        let (lookup, _home) = with_files(&[("AWS_PROFILE", "maps")]);
        let maps = profile(None, &lookup);
        assert_eq!(
            (key(&maps.provider(&nobody).unwrap()), maps.region().as_deref()),
            ("M".to_owned(), Some("eu-central-1"))
        );
        assert_eq!(maps.provider(&nobody).unwrap().credentials().unwrap().token(), Some("t"));
    }

    #[test]
    fn a_profile_that_is_not_there_or_needs_more_is_named() {
        let nobody = client(|_| None);
        let (lookup, _home) = with_files(&[]);
        let error = Profile::read(Some("nope"), Arc::clone(&lookup)).provider(&nobody).unwrap_err();
        assert!(error.contains("no profile \"nope\"") && error.contains(".aws/credentials"), "{error}");
        let error = Profile::read(Some("role"), lookup).provider(&nobody).unwrap_err();
        assert!(error.contains("role_arn") && error.contains("not supported"), "{error}");
    }

    #[test]
    fn a_machine_tells_its_role_once_until_it_expires() {
        let script = |request: &UpstreamRequest| {
            let header = |name: &str| request.headers.iter().any(|(header, value)| header == name && value == "tok");
            match request.url.strip_prefix("http://169.254.169.254/latest/")? {
                "api/token" if request.method == Method::Put => Some("tok"),
                "meta-data/iam/security-credentials/" if header("X-aws-ec2-metadata-token") => Some("role\n"),
                "meta-data/iam/security-credentials/role" => {
                    Some(r#"{"AccessKeyId":"I","SecretAccessKey":"i","Token":"t","Expiration":"2999-01-01T00:00:00Z"}"#)
                }
                _ => None,
            }
        };
        let client = ScriptedClient::new(move |request| match script(request) {
            Some(body) => Ok(response("text/plain", body)),
            None => Err(failure(ErrorKind::Status(404), request)),
        });
        let shared: Arc<dyn HttpClient> = Arc::new(client.clone());
        let provider = Profile::read(None, variables(&[])).provider(&shared).unwrap();
        assert_eq!((key(&provider), key(&provider)), ("I".to_owned(), "I".to_owned()));
        assert_eq!(client.requests().len(), 3);
    }

    #[test]
    fn nobody_with_credentials_is_asked_once_in_a_while_and_told_what_to_do() {
        let client = ScriptedClient::new(|request| Err(failure(ErrorKind::Connection, request)));
        let shared: Arc<dyn HttpClient> = Arc::new(client.clone());
        let provider = Profile::read(None, variables(&[])).provider(&shared).unwrap();
        for _ in 0..3 {
            let error = provider.credentials().unwrap_err();
            assert!(error.contains("set AWS_ACCESS_KEY_ID"), "{error}");
        }
        assert_eq!(client.requests().len(), 1);
        let disabled = Profile::read(None, variables(&[("AWS_EC2_METADATA_DISABLED", "true")]));
        assert!(disabled.provider(&shared).is_err());
    }

    #[test]
    fn a_web_identity_and_a_container_are_asked() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "to ken\n").unwrap();
        let path = file.path().to_str().unwrap();
        let script = |request: &UpstreamRequest| {
            let body = String::from_utf8_lossy(request.body.as_deref().unwrap_or_default()).into_owned();
            let asks = body.contains("WebIdentityToken=to%20ken") && body.contains("RoleArn=arn%3Aaws");
            match request.url.as_str() {
                "https://sts.eu-west-1.amazonaws.com" if asks => Some(
                    "<R><Credentials><AccessKeyId>W</AccessKeyId><SecretAccessKey>w</SecretAccessKey>\
                     <SessionToken>t</SessionToken><Expiration>2999-01-01T00:00:00Z</Expiration></Credentials></R>",
                ),
                "http://h/creds" if request.headers[0].1 == "to ken" => {
                    Some(r#"{"AccessKeyId":"C","SecretAccessKey":"c","Token":"t","Expiration":"2999-01-01T00:00:00Z"}"#)
                }
                _ => None,
            }
        };
        let web = [("AWS_WEB_IDENTITY_TOKEN_FILE", path), ("AWS_ROLE_ARN", "arn:aws"), ("AWS_REGION", "eu-west-1")];
        let provider = Profile::read(None, variables(&web)).provider(&client(script)).unwrap();
        assert_eq!(key(&provider), "W");
        let container = [
            ("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://h/creds"),
            ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", path),
        ];
        let provider = Profile::read(None, variables(&container)).provider(&client(script)).unwrap();
        assert_eq!(key(&provider), "C");
    }
}

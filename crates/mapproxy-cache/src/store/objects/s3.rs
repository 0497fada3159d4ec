//! Amazon's S3, and services that speak as it does: MinIO, Ceph, Google's interoperability, …
//!
//! Requests are signed in their URLs (Signature Version 4); the signature is left out of logs. With an `endpoint_url` the
//! bucket is part of the path, at Amazon part of the host.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use bytes::Bytes;
use mapproxy_client::{ErrorKind, Method, Peer, UpstreamRequest, UpstreamResponse};
use md5::{Digest as _, Md5};
use rusty_s3::{Bucket, Credentials, S3Action, UrlStyle};

use super::aws::{Lookup, Profile, Provider};
use super::calls::{Calls, Refused};
use super::{Connection, ObjectService, Page, head, object, time, xml};
use crate::parallel::try_map;
use crate::store::{StoredTile, TileMeta};

/// How an [`S3`] is reached.
#[derive(Clone)]
pub struct S3Options {
    /// `bucket_name`.
    pub bucket: String,
    /// `profile_name`.
    pub profile: Option<String>,
    /// `region_name`; else that of the environment or of the profile, else `us-east-1`.
    pub region: Option<String>,
    /// `endpoint_url`; else that of the environment, else Amazon's.
    pub endpoint_url: Option<String>,
    /// `access_control_list`: `public-read`, …
    pub access_control_list: Option<String>,
    /// `use_http_get`: reads are not signed, and what is forbidden is not there.
    pub public: bool,
    /// To the service.
    pub connection: Connection,
    /// Variables of the environment.
    pub variables: Lookup,
}

impl fmt::Debug for S3Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3Options").field("bucket", &self.bucket).finish_non_exhaustive()
    }
}

/// A bucket.
#[derive(Debug)]
pub struct S3 {
    bucket: Bucket,
    name: String,
    access_control_list: Option<String>,
    public: bool,
    provider: Result<Provider, String>,
    calls: Calls,
    connection: Connection,
}

/// What a bucket said at start.
#[derive(Debug, PartialEq, Eq)]
pub enum BucketState {
    /// It is there.
    Ready,
    /// Nobody knows: why.
    Unknown(String),
}

/// How long a signature is good; clocks may differ by some minutes.
const SIGNED_FOR: Duration = Duration::from_secs(15 * 60);

/// Keys that one request may delete.
const DELETED_AT_ONCE: usize = 1000;

impl S3 {
    /// Checks what can be checked without asking the service.
    pub fn new(options: S3Options) -> Result<S3, String> {
        let profile = Profile::read(options.profile.as_deref(), options.variables);
        let region = options.region.or_else(|| profile.region()).unwrap_or_else(|| "us-east-1".to_owned());
        let endpoint = options.endpoint_url.or_else(|| profile.endpoint("S3"));
        let (url, style) = match endpoint {
            Some(url) => (url, UrlStyle::Path),
            // A certificate for *.s3.… is good for one label.
            None if options.bucket.contains('.') => (amazon(&region), UrlStyle::Path),
            None => (amazon(&region), UrlStyle::VirtualHost),
        };
        let shown = mapproxy_client::RedactedUrl::new(&url);
        let url = url.parse().map_err(|error| format!("endpoint_url: {shown}: {error}"))?;
        let bucket = Bucket::new(url, style, options.bucket.clone(), region)
            .map_err(|error| format!("endpoint_url: {shown}: {error}"))?;
        let provider = profile.provider(&options.connection.quick);
        if let (Err(reason), false) = (&provider, options.public) {
            return Err(reason.clone());
        }
        Ok(S3 {
            bucket,
            name: options.bucket,
            access_control_list: options.access_control_list,
            public: options.public,
            provider,
            calls: Calls::new(options.connection.clone()),
            connection: options.connection,
        })
    }

    /// Asks whether the bucket is there, and is ours. `Err`: it is not.
    pub fn check(&self) -> Result<BucketState, String> {
        let credentials = match self.credentials() {
            Ok(credentials) => credentials,
            // Public tiles are read by anybody.
            Err(_) if self.public => return Ok(BucketState::Ready),
            Err(refused) => return Err(refused.reason),
        };
        let url = self.bucket.head_bucket(Some(&credentials)).sign(SIGNED_FOR);
        let request = UpstreamRequest::new(Method::Head, String::from(url)).to(Peer::Store);
        match self.connection.quick.send(&request) {
            Ok(_) => Ok(BucketState::Ready),
            Err(error) => match error.kind {
                ErrorKind::Status(404) => Err(format!("No such bucket: {}", self.name)),
                ErrorKind::Status(401 | 403) if self.public => Ok(BucketState::Ready),
                ErrorKind::Status(401 | 403) => Err("Access denied. Check your credentials".to_owned()),
                ErrorKind::Status(400) | ErrorKind::Redirect => {
                    Err(format!("the bucket {} is in another region: check region_name", self.name))
                }
                _ => Ok(BucketState::Unknown(error.to_string())),
            },
        }
    }

    fn credentials(&self) -> Result<Arc<Credentials>, Refused> {
        match &self.provider {
            Ok(provider) => provider.credentials().map_err(Refused::here),
            Err(reason) => Err(Refused::here(reason.clone())),
        }
    }

    /// Those to read with; `None`: nobody's.
    fn reader(&self) -> Result<Option<Arc<Credentials>>, Refused> {
        if self.public { Ok(None) } else { self.credentials().map(Some) }
    }

    fn is_missing(&self, refused: &Refused) -> bool {
        match refused.status {
            // An answer to HEAD has no word for what is missing.
            Some(404) => matches!(refused.code.as_str(), "NoSuchKey" | ""),
            Some(403) => self.public,
            _ => false,
        }
    }

    fn delete_at_once(&self, keys: &[String]) -> Result<(), Refused> {
        let objects: String =
            keys.iter().map(|key| format!("<Object><Key>{}</Key></Object>", xml::escaped(key))).collect();
        let body = Bytes::from(format!("<Delete><Quiet>true</Quiet>{objects}</Delete>"));
        let md5 = base64::engine::general_purpose::STANDARD.encode(Md5::digest(&body));
        let none: [rusty_s3::actions::ObjectIdentifier; 0] = [];
        let answer = self.calls.send(|| {
            let credentials = self.credentials()?;
            let url = self.bucket.delete_objects(Some(&credentials), none.iter()).sign(SIGNED_FOR);
            let mut request = UpstreamRequest::new(Method::Post, String::from(url));
            request.body = Some(body.clone());
            let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
            request.headers = vec![header("Content-MD5", &md5), header("Content-Type", "application/xml")];
            Ok(request)
        })?;
        match xml::s3_not_deleted(&text(&answer)).map_err(Refused::here)? {
            None => Ok(()),
            Some(reason) => Err(Refused::here(reason)),
        }
    }
}

fn amazon(region: &str) -> String {
    let china = if region.starts_with("cn-") { ".cn" } else { "" };
    format!("https://s3.{region}.amazonaws.com{china}")
}

fn text(response: &UpstreamResponse) -> String {
    String::from_utf8_lossy(&response.body).into_owned()
}

#[deny(clippy::missing_trait_methods)]
impl ObjectService for S3 {
    fn name(&self, key: &str) -> String {
        format!("s3://{}/{key}", self.name)
    }

    fn lock_place(&self, base_path: &str) -> (&'static str, String) {
        ("", format!("{base_path}{}", self.name))
    }

    fn get(&self, key: &str) -> Result<Option<StoredTile>, String> {
        let answer = self.calls.send(|| {
            let credentials = self.reader()?;
            let url = self.bucket.get_object(credentials.as_deref(), key).sign(SIGNED_FOR);
            Ok(UpstreamRequest::get(String::from(url)))
        });
        match answer {
            Ok(answer) => Ok(Some(object(answer))),
            Err(refused) if self.is_missing(&refused) => Ok(None),
            Err(refused) if refused.status == Some(403) => Err(format!(
                "{} (without the permission s3:ListBucket, S3 says so of tiles that are missing, too)",
                refused.reason
            )),
            Err(refused) => Err(refused.into()),
        }
    }

    fn head(&self, key: &str) -> Result<Option<TileMeta>, String> {
        let answer = self.calls.send(|| {
            let credentials = self.reader()?;
            let url = self.bucket.head_object(credentials.as_deref(), key).sign(SIGNED_FOR);
            Ok(UpstreamRequest::new(Method::Head, String::from(url)))
        });
        match answer {
            Ok(answer) => Ok(Some(head(&answer))),
            Err(refused) if self.is_missing(&refused) => Ok(None),
            Err(refused) => Err(refused.into()),
        }
    }

    fn put(&self, key: &str, content_type: &str, bytes: &Bytes) -> Result<Option<SystemTime>, String> {
        let answer = self.calls.send(|| {
            let credentials = self.credentials()?;
            let mut action = self.bucket.put_object(Some(&credentials), key);
            if let Some(list) = &self.access_control_list {
                action.headers_mut().insert("x-amz-acl", list.as_str());
            }
            let mut request = UpstreamRequest::put(String::from(action.sign(SIGNED_FOR)), content_type, bytes.clone());
            request.headers.extend(self.access_control_list.iter().map(|list| ("x-amz-acl".to_owned(), list.clone())));
            Ok(request)
        });
        Ok(time(&answer?, "date"))
    }

    fn delete(&self, key: &str) -> Result<(), String> {
        let answer = self.calls.send(|| {
            let credentials = self.credentials()?;
            let url = self.bucket.delete_object(Some(&credentials), key).sign(SIGNED_FOR);
            Ok(UpstreamRequest::new(Method::Delete, String::from(url)))
        });
        match answer {
            Ok(_) => Ok(()),
            Err(refused) if refused.status == Some(404) && self.is_missing(&refused) => Ok(()),
            Err(refused) => Err(refused.into()),
        }
    }

    fn delete_many(&self, keys: &[String]) -> Result<(), String> {
        for keys in keys.chunks(DELETED_AT_ONCE) {
            match self.delete_at_once(keys) {
                Ok(()) => {}
                // Not everybody who speaks as S3 does knows how to delete many.
                Err(refused) if matches!(refused.status, Some(400 | 404 | 405 | 411 | 501)) => {
                    try_map(keys, super::AT_ONCE, |key| self.delete(key))?;
                }
                Err(refused) => return Err(refused.into()),
            }
        }
        Ok(())
    }

    fn list(&self, prefix: &str, flat: bool, page: Option<&str>) -> Result<Page, String> {
        let answer = self.calls.send(|| {
            let credentials = self.credentials()?;
            let mut action = self.bucket.list_objects_v2(Some(&credentials));
            if !prefix.is_empty() {
                action.with_prefix(prefix);
            }
            if !flat {
                action.with_delimiter("/");
            }
            if let Some(page) = page {
                action.with_continuation_token(page);
            }
            Ok(UpstreamRequest::get(String::from(action.sign(SIGNED_FOR))))
        })?;
        xml::s3_list(&text(&answer))
    }
}

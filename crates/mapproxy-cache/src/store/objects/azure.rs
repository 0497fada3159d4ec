//! Azure Blob Storage, by Shared Key or a shared access signature.
//!
//! <https://learn.microsoft.com/rest/api/storageservices/authorize-with-shared-key>

use std::fmt;
use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use mapproxy_client::{Method, RedactedUrl, UpstreamRequest};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use ring::hmac;

use super::calls::{Calls, Refused};
use super::{Connection, ObjectService, Page, head, object, time, xml};
use crate::parallel::try_map;
use crate::store::{StoredTile, TileMeta};

/// How an [`AzureBlob`] is reached.
#[derive(Clone)]
pub struct AzureBlobOptions {
    /// `container_name`.
    pub container: String,
    /// `connection_string`, a secret.
    pub connection_string: String,
    /// To the service.
    pub connection: Connection,
}

impl fmt::Debug for AzureBlobOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AzureBlobOptions").field("container", &self.container).finish_non_exhaustive()
    }
}

/// A container.
#[derive(Debug)]
pub struct AzureBlob {
    account: Account,
    container: String,
    calls: Calls,
}

/// What a connection string says.
struct Account {
    name: String,
    /// Without slash at its end.
    endpoint: String,
    access: Access,
}

enum Access {
    Key(hmac::Key),
    /// Parameters that every request carries.
    Signature(String),
    /// The container is public.
    Nobody,
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Account({})", RedactedUrl::new(&self.endpoint))
    }
}

/// Of the interface that requests are written for.
const VERSION: &str = "2021-12-02";

/// What names keep in URLs.
const PATH: &AsciiSet = &NON_ALPHANUMERIC.remove(b'/').remove(b'-').remove(b'_').remove(b'.').remove(b'~');
const QUERY: &AsciiSet = &PATH.add(b'/');

impl AzureBlob {
    /// Checks what can be checked without asking the service.
    pub fn new(options: AzureBlobOptions) -> Result<AzureBlob, String> {
        let account = Account::parse(&options.connection_string)?;
        Ok(AzureBlob { account, container: options.container, calls: Calls::new(options.connection) })
    }

    /// A request for a blob, or for the container where `key` is `None`.
    fn request(
        &self,
        method: Method,
        key: Option<&str>,
        query: &[(&str, &str)],
        body: Option<(&str, &Bytes)>,
    ) -> UpstreamRequest {
        let Account { name, endpoint, access } = &self.account;
        let mut url = format!("{endpoint}/{}", utf8_percent_encode(&self.container, PATH));
        if let Some(key) = key {
            url.push('/');
            url.extend(utf8_percent_encode(key, PATH));
        }
        let path_at = url.split_once("://").and_then(|(scheme, rest)| Some(scheme.len() + 3 + rest.find('/')?));
        let path = url[path_at.unwrap_or(url.len())..].to_owned();
        let parameters = query.iter().map(|(name, value)| format!("{name}={}", utf8_percent_encode(value, QUERY)));
        let mut parameters: Vec<String> = parameters.collect();
        if let Access::Signature(signature) = access {
            parameters.push(signature.clone());
        }
        if !parameters.is_empty() {
            url = format!("{url}?{}", parameters.join("&"));
        }
        let mut request = UpstreamRequest::new(method, url);
        let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        if body.is_some() {
            request.headers.push(header("x-ms-blob-type", "BlockBlob"));
        }
        request.headers.push(header("x-ms-date", &httpdate::fmt_http_date(SystemTime::now())));
        request.headers.push(header("x-ms-version", VERSION));
        if let Access::Key(key) = access {
            let (content_type, length) = body.map_or(("", 0), |(content_type, bytes)| (content_type, bytes.len()));
            let text = string_to_sign(method, content_type, length, &request.headers, &format!("/{name}{path}"), query);
            let signature = STANDARD.encode(hmac::sign(key, text.as_bytes()));
            request.headers.push(header("Authorization", &format!("SharedKey {name}:{signature}")));
        }
        if let Some((content_type, bytes)) = body {
            request.headers.push(header("Content-Type", content_type));
            request.body = Some(bytes.clone());
        }
        request
    }
}

/// What Shared Key signs: headers in the order of their names, parameters as well.
fn string_to_sign(
    method: Method,
    content_type: &str,
    length: usize,
    headers: &[(String, String)],
    resource: &str,
    query: &[(&str, &str)],
) -> String {
    let length = if length == 0 { String::new() } else { length.to_string() };
    let mut text = format!("{}\n\n\n{length}\n\n{content_type}\n\n\n\n\n\n\n", method.as_str());
    for (name, value) in headers {
        text.push_str(&format!("{name}:{value}\n"));
    }
    text.push_str(resource);
    let mut query = query.to_vec();
    query.sort_unstable();
    for (name, value) in query {
        text.push_str(&format!("\n{name}:{value}"));
    }
    text
}

impl Account {
    /// Of messages no part of the text is: it is a secret as a whole.
    fn parse(text: &str) -> Result<Account, String> {
        let mut settings = std::collections::HashMap::new();
        for part in text.split(';').map(str::trim).filter(|part| !part.is_empty()) {
            let (name, value) = part.split_once('=').ok_or(
                "connection_string: \"Name=value;Name=value\" is needed, as the portal shows it under \"Access keys\"",
            )?;
            settings.insert(name.trim().to_ascii_lowercase(), value.trim());
        }
        let get = |name: &str| settings.get(name).copied().filter(|value| !value.is_empty());
        if get("usedevelopmentstorage").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
            return Account::parse(DEVELOPMENT);
        }
        let scheme = get("defaultendpointsprotocol").unwrap_or("https");
        let suffix = get("endpointsuffix").unwrap_or("core.windows.net");
        let (endpoint, name) = match (get("blobendpoint"), get("accountname")) {
            (Some(endpoint), Some(name)) => (endpoint.to_owned(), name.to_owned()),
            (Some(endpoint), None) => (endpoint.to_owned(), account_of(endpoint).unwrap_or_default()),
            (None, Some(name)) => (format!("{scheme}://{name}.blob.{suffix}"), name.to_owned()),
            (None, None) => return Err("connection_string: AccountName or BlobEndpoint is missing".to_owned()),
        };
        if !endpoint.starts_with("http://") && !endpoint.starts_with("https://") {
            return Err("connection_string: the endpoint is no http:// or https:// address".to_owned());
        }
        let (endpoint, own_signature) = match endpoint.split_once('?') {
            Some((endpoint, signature)) => (endpoint.to_owned(), Some(signature.to_owned())),
            None => (endpoint, None),
        };
        let signature = get("sharedaccesssignature").map(str::to_owned).or(own_signature);
        let access = match (get("accountkey"), signature) {
            (Some(key), _) => {
                let key = STANDARD.decode(key).map_err(|_| "connection_string: AccountKey is no base64")?;
                Access::Key(hmac::Key::new(hmac::HMAC_SHA256, &key))
            }
            (None, Some(signature)) => Access::Signature(signature.trim_start_matches('?').to_owned()),
            (None, None) => Access::Nobody,
        };
        Ok(Account { name, endpoint: endpoint.trim_end_matches('/').to_owned(), access })
    }
}

/// The account that an endpoint such as `https://NAME.blob.core.windows.net` names.
fn account_of(endpoint: &str) -> Option<String> {
    let host = endpoint.split_once("://")?.1.split(['/', ':']).next()?;
    host.split_once('.').map(|(name, _)| name.to_owned())
}

/// Microsoft's published account of its emulator.
const DEVELOPMENT: &str = "DefaultEndpointsProtocol=http;AccountName=devstoreaccount1;\
    AccountKey=Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==;\
    BlobEndpoint=http://127.0.0.1:10000/devstoreaccount1";

fn is_missing(refused: &Refused) -> bool {
    refused.status == Some(404) && matches!(refused.code.as_str(), "BlobNotFound" | "ResourceNotFound" | "")
}

#[deny(clippy::missing_trait_methods)]
impl ObjectService for AzureBlob {
    fn name(&self, key: &str) -> String {
        format!("{}/{}/{key}", RedactedUrl::new(&self.account.endpoint), self.container)
    }

    fn lock_place(&self, base_path: &str) -> (&'static str, String) {
        ("azureblob-", format!("{base_path}{}", self.container))
    }

    fn get(&self, key: &str) -> Result<Option<StoredTile>, String> {
        match self.calls.send(|| Ok(self.request(Method::Get, Some(key), &[], None))) {
            Ok(answer) => Ok(Some(object(answer))),
            Err(refused) if is_missing(&refused) => Ok(None),
            Err(refused) => Err(refused.into()),
        }
    }

    fn head(&self, key: &str) -> Result<Option<TileMeta>, String> {
        match self.calls.send(|| Ok(self.request(Method::Head, Some(key), &[], None))) {
            Ok(answer) => Ok(Some(head(&answer))),
            Err(refused) if is_missing(&refused) => Ok(None),
            Err(refused) => Err(refused.into()),
        }
    }

    fn put(&self, key: &str, content_type: &str, bytes: &Bytes) -> Result<Option<SystemTime>, String> {
        let answer = self.calls.send(|| Ok(self.request(Method::Put, Some(key), &[], Some((content_type, bytes)))))?;
        Ok(time(&answer, "last-modified"))
    }

    fn delete(&self, key: &str) -> Result<(), String> {
        match self.calls.send(|| Ok(self.request(Method::Delete, Some(key), &[], None))) {
            Ok(_) => Ok(()),
            Err(refused) if is_missing(&refused) => Ok(()),
            Err(refused) => Err(refused.into()),
        }
    }

    fn delete_many(&self, keys: &[String]) -> Result<(), String> {
        try_map(keys, super::AT_ONCE, |key| self.delete(key)).map(|_| ())
    }

    fn list(&self, prefix: &str, flat: bool, page: Option<&str>) -> Result<Page, String> {
        let mut query = vec![("restype", "container"), ("comp", "list")];
        if !prefix.is_empty() {
            query.push(("prefix", prefix));
        }
        if !flat {
            query.push(("delimiter", "/"));
        }
        if let Some(page) = page {
            query.push(("marker", page));
        }
        let answer = self.calls.send(|| Ok(self.request(Method::Get, None, &query, None)))?;
        let text = String::from_utf8_lossy(&answer.body);
        xml::azure_list(text.trim_start_matches('\u{feff}'))
    }
}

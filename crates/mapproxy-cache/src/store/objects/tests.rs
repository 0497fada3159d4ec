//! Stores of objects on doubles of the services, which know as much of them as is needed here.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use mapproxy_client::testkit::{ScriptedClient, failure};
use mapproxy_client::{ClientError, ErrorKind, Method, UpstreamRequest};
use mapproxy_grid::TileCoord;

use super::*;
use crate::store::conformance::store_suite;

/// A bucket or container called `tiles`.
#[derive(Debug, Default)]
struct Bucket {
    objects: Mutex<BTreeMap<String, (Bytes, SystemTime)>>,
    /// Lists have pages of so many entries.
    page: usize,
    broken: AtomicBool,
    /// Knows no `DeleteObjects`.
    plain: bool,
}

type Answer = Result<UpstreamResponse, ClientError>;

fn answer(status: u16, headers: &[(&str, String)], body: impl Into<Bytes>) -> Answer {
    let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    Ok(UpstreamResponse { status, content_type: None, headers, body: body.into() })
}

fn refuse(request: &UpstreamRequest, status: u16, code: &str) -> Answer {
    let answer = format!("<?xml version='1.0'?><Error><Code>{code}</Code></Error>");
    let answer = if request.method == Method::Head { String::new() } else { answer };
    Err(ClientError { answer: answer.into_bytes().into(), ..failure(ErrorKind::Status(status), request) })
}

fn parameter(request: &UpstreamRequest, name: &str) -> Option<String> {
    let query = request.url.split_once('?')?.1;
    let value = query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))?;
    Some(percent_encoding::percent_decode_str(value).decode_utf8().unwrap().into_owned())
}

impl Bucket {
    fn answer(&self, request: &UpstreamRequest, root: &str) -> Answer {
        if self.broken.load(Ordering::SeqCst) {
            return refuse(request, 503, "SlowDown");
        }
        let path = request.url.split('?').next().unwrap();
        let path = percent_encoding::percent_decode_str(path).decode_utf8().unwrap().into_owned();
        let Some(path) = path.strip_prefix(root) else { return refuse(request, 404, "NoSuchBucket") };
        let mut objects = self.objects.lock().unwrap();
        let key = path.trim_start_matches('/');
        let date = |time: &SystemTime| httpdate::fmt_http_date(*time);
        match (request.method, key) {
            (Method::Head, "") => answer(200, &[], ""),
            (Method::Get, "") => self.list(request, &objects),
            (Method::Post, "") if self.plain => refuse(request, 501, "NotImplemented"),
            (Method::Post, "") => {
                let body = String::from_utf8(request.body.clone().unwrap().to_vec()).unwrap();
                for key in body.split("<Key>").skip(1) {
                    objects.remove(key.split("</Key>").next().unwrap());
                }
                answer(200, &[], "<DeleteResult/>")
            }
            (Method::Post, _) => refuse(request, 405, "MethodNotAllowed"),
            (Method::Get | Method::Head, key) => match objects.get(key) {
                None => refuse(request, 404, if root.contains("account") { "BlobNotFound" } else { "NoSuchKey" }),
                Some((bytes, time)) => {
                    let headers = [("last-modified", date(time)), ("content-length", bytes.len().to_string())];
                    answer(200, &headers, if request.method == Method::Head { Bytes::new() } else { bytes.clone() })
                }
            },
            (Method::Put, key) => {
                let now = SystemTime::now();
                objects.insert(key.to_owned(), (request.body.clone().unwrap(), now));
                answer(201, &[("date", date(&now)), ("last-modified", date(&now))], "")
            }
            (Method::Delete, key) => match objects.remove(key) {
                None if root.contains("account") => refuse(request, 404, "BlobNotFound"),
                _ => answer(204, &[], ""),
            },
        }
    }

    fn list(&self, request: &UpstreamRequest, objects: &BTreeMap<String, (Bytes, SystemTime)>) -> Answer {
        let prefix = parameter(request, "prefix").unwrap_or_default();
        let flat = parameter(request, "delimiter").is_none();
        let azure = parameter(request, "comp").is_some();
        let from =
            parameter(request, "continuation-token").or_else(|| parameter(request, "marker")).unwrap_or_default();
        let mut entries: Vec<(String, Option<(SystemTime, usize)>)> = Vec::new();
        for (key, (bytes, time)) in objects.iter().filter(|(key, _)| key.starts_with(&prefix)) {
            match key[prefix.len()..].split_once('/').filter(|_| !flat) {
                Some((folder, _)) => entries.push((format!("{prefix}{folder}/"), None)),
                None => entries.push((key.clone(), Some((*time, bytes.len())))),
            }
        }
        entries.dedup();
        entries.retain(|(key, _)| *key >= from);
        let next = entries.get(self.page).map(|(key, _)| key.clone());
        entries.truncate(self.page);
        let xml = entries.iter().map(|(key, time)| match (time, azure) {
            (Some((time, size)), false) => {
                let time = jiff::Timestamp::try_from(*time).unwrap();
                format!("<Contents><Key>{key}</Key><LastModified>{time}</LastModified><Size>{size}</Size></Contents>")
            }
            (None, false) => format!("<CommonPrefixes><Prefix>{key}</Prefix></CommonPrefixes>"),
            // A service that does not tell sizes.
            (Some((time, _)), true) => {
                let time = httpdate::fmt_http_date(*time);
                format!("<Blob><Name>{key}</Name><Properties><Last-Modified>{time}</Last-Modified></Properties></Blob>")
            }
            (None, true) => format!("<BlobPrefix><Name>{key}</Name></BlobPrefix>"),
        });
        let xml: String = xml.collect();
        let next = next.unwrap_or_default();
        answer(
            200,
            &[],
            if azure {
                format!("<EnumerationResults><Blobs>{xml}</Blobs><NextMarker>{next}</NextMarker></EnumerationResults>")
            } else {
                let truncated = !next.is_empty();
                format!(
                    "<ListBucketResult><IsTruncated>{truncated}</IsTruncated>\
                 <NextContinuationToken>{next}</NextContinuationToken>{xml}</ListBucketResult>"
                )
            },
        )
    }
}

fn client(bucket: &Arc<Bucket>, root: &'static str) -> ScriptedClient {
    let bucket = Arc::clone(bucket);
    ScriptedClient::new(move |request| bucket.answer(request, root))
}

fn connection(client: &ScriptedClient) -> Connection {
    let client: Arc<dyn HttpClient> = Arc::new(client.clone());
    Connection { quick: Arc::clone(&client), client, timeout: Duration::from_secs(2) }
}

fn options(layout: Layout) -> ObjectOptions {
    ObjectOptions { base_path: "/cache/grid".to_owned(), layout, extension: "png".to_owned() }
}

fn s3_options(client: &ScriptedClient) -> S3Options {
    S3Options {
        bucket: "tiles".to_owned(),
        profile: None,
        region: None,
        endpoint_url: Some("http://s3.test:9000".to_owned()),
        access_control_list: None,
        public: false,
        connection: connection(client),
        variables: Arc::new(|name| match name {
            "AWS_ACCESS_KEY_ID" => Some("who".to_owned()),
            "AWS_SECRET_ACCESS_KEY" => Some("geheim".to_owned()),
            _ => None,
        }),
    }
}

fn bucket() -> Arc<Bucket> {
    Arc::new(Bucket { page: 3, ..Bucket::default() })
}

fn s3(bucket: &Arc<Bucket>, layout: Layout) -> (ObjectStore, ScriptedClient) {
    let client = client(bucket, "http://s3.test:9000/tiles");
    let service = S3::new(s3_options(&client)).unwrap();
    (ObjectStore::new(Arc::new(service), options(layout)), client)
}

const AZURE: &str =
    "DefaultEndpointsProtocol=https;AccountName=account;AccountKey=Z2VoZWlt;EndpointSuffix=core.windows.net";

fn azure(bucket: &Arc<Bucket>, layout: Layout) -> (ObjectStore, ScriptedClient) {
    let client = client(bucket, "https://account.blob.core.windows.net/tiles");
    let options_of = AzureBlobOptions {
        container: "tiles".to_owned(),
        connection_string: AZURE.to_owned(),
        connection: connection(&client),
    };
    (ObjectStore::new(Arc::new(AzureBlob::new(options_of).unwrap()), options(layout)), client)
}

fn key(x: u32, y: u32, z: u8) -> TileKey {
    TileKey::new(TileCoord::new(x, y, z))
}

fn tile(bytes: &'static [u8]) -> TileData {
    TileData::new(Bytes::from_static(bytes))
}

const LAYOUTS: [Layout; 6] = [Layout::Tc, Layout::Mp, Layout::Tms, Layout::ReverseTms, Layout::Quadkey, Layout::Arcgis];

#[test]
fn s3_is_a_store_in_every_layout() {
    for layout in LAYOUTS {
        store_suite(|| s3(&bucket(), layout));
    }
}

#[test]
fn azure_is_a_store_in_every_layout() {
    for layout in LAYOUTS {
        store_suite(|| azure(&bucket(), layout));
    }
}

#[test]
fn a_bucket_that_deletes_one_by_one_is_a_store() {
    store_suite(|| s3(&Arc::new(Bucket { page: 3, plain: true, ..Bucket::default() }), Layout::Tms));
}

#[test]
fn keys_are_mapproxys() {
    for make in [s3, azure] {
        let bucket = bucket();
        let (store, _) = make(&bucket, Layout::Tms);
        store.store(&key(5, 6, 4), &tile(b"tile")).unwrap();
        let dated = TileKey { dimensions: [("time".to_owned(), "2020".to_owned())].into(), ..key(5, 6, 4) };
        store.store(&dated, &tile(b"tile")).unwrap();
        let keys: Vec<_> = bucket.objects.lock().unwrap().keys().cloned().collect();
        assert_eq!(keys, ["cache/grid/4/5/6.png", "cache/grid/time-2020/4/5/6.png"]);
    }
}

#[test]
fn lock_files_are_named_as_mapproxys() {
    // Hashes of "/cache/gridtiles", as MapProxy makes them of directory and bucket.
    let expected = crate::lock::lock_id("", "/cache/gridtiles");
    assert_eq!(s3(&bucket(), Layout::Tms).0.lock_id(), expected);
    assert_eq!(azure(&bucket(), Layout::Tms).0.lock_id(), format!("azureblob-{expected}"));
}

#[test]
fn a_tile_is_read_with_one_request_and_stored_with_one() {
    for make in [s3, azure] {
        let (store, client) = make(&bucket(), Layout::Tms);
        store.store(&key(5, 6, 4), &tile(b"tile")).unwrap();
        // What is asked right after storing is known.
        assert!(store.metadata(&key(5, 6, 4)).unwrap().is_some());
        store.load(&key(5, 6, 4)).unwrap().unwrap();
        let methods: Vec<_> = client.requests().iter().map(|request| request.method).collect();
        assert_eq!(methods, [Method::Put, Method::Get]);
    }
}

#[test]
fn a_stored_object_has_the_type_of_its_tile_and_the_rights_configured() {
    let bucket = bucket();
    let client = client(&bucket, "http://s3.test:9000/tiles");
    let service = S3::new(S3Options { access_control_list: Some("public-read".to_owned()), ..s3_options(&client) });
    let store = ObjectStore::new(Arc::new(service.unwrap()), options(Layout::Tms));
    store.store(&key(5, 6, 4), &tile(b"tile")).unwrap();
    let put = client.requests().pop().unwrap();
    let header = |name: &str| put.headers.iter().find(|(header, _)| header == name).map(|(_, value)| value.as_str());
    assert_eq!((header("Content-Type"), header("x-amz-acl")), (Some("image/png"), Some("public-read")));
    assert!(put.url.contains("X-Amz-SignedHeaders=host%3Bx-amz-acl"), "{}", put.url);
    assert_eq!(content_type("jpeg", b"x"), "image/jpeg");
    assert_eq!(content_type("mixed", b"\x89PNG\r\n"), "image/png");
    assert_eq!(content_type("mixed", b"\xff\xd8"), "image/jpeg");
}

#[test]
fn at_amazon_the_bucket_is_part_of_the_host() {
    let client = ScriptedClient::failing(404);
    let url = |options: S3Options| {
        let _ = S3::new(options).unwrap().get("a/b c.png");
        client.urls().pop().unwrap().split('?').next().unwrap().to_owned()
    };
    let amazon = || S3Options { endpoint_url: None, ..s3_options(&client) };
    assert_eq!(url(amazon()), "https://tiles.s3.us-east-1.amazonaws.com/a/b%20c.png");
    let there = S3Options { region: Some("eu-central-1".to_owned()), ..amazon() };
    assert_eq!(url(there.clone()), "https://tiles.s3.eu-central-1.amazonaws.com/a/b%20c.png");
    let dotted = S3Options { bucket: "my.tiles".to_owned(), ..there };
    assert_eq!(url(dotted), "https://s3.eu-central-1.amazonaws.com/my.tiles/a/b%20c.png");
}

#[test]
fn public_tiles_are_read_without_signature_and_forbidden_ones_are_missing() {
    let client = ScriptedClient::new(|request| refuse(request, 403, "AccessDenied"));
    let nobody = S3Options { public: true, variables: Arc::new(|_| None), ..s3_options(&client) };
    let service = Arc::new(S3::new(nobody).unwrap());
    let store = ObjectStore::new(service, options(Layout::Tms));
    assert!(store.load(&key(5, 6, 4)).unwrap().is_none());
    assert_eq!(client.urls(), ["http://s3.test:9000/tiles/cache/grid/4/5/6.png"]);
    let (store, _) = (ObjectStore::new(Arc::new(S3::new(s3_options(&client)).unwrap()), options(Layout::Tms)), ());
    let error = store.load(&key(5, 6, 4)).unwrap_err().to_string();
    assert!(error.contains("403 AccessDenied") && error.contains("s3:ListBucket"), "{error}");
}

#[test]
fn a_missing_bucket_and_a_failing_service_are_no_missing_tiles() {
    for make in [s3, azure] {
        let bucket = bucket();
        let (store, client) = make(&bucket, Layout::Tms);
        store.store(&key(5, 6, 4), &tile(b"tile")).unwrap();
        bucket.broken.store(true, Ordering::SeqCst);
        let error = store.load(&key(5, 6, 4)).unwrap_err().to_string();
        assert!(error.contains("503 SlowDown") && error.contains("4/5/6.png"), "{error}");
        assert!(client.requests().len() > 2, "it was tried again");
        bucket.broken.store(false, Ordering::SeqCst);
        assert!(store.load(&key(5, 6, 4)).unwrap().is_some());
    }
    let lost = client(&bucket(), "http://elsewhere");
    let store = ObjectStore::new(Arc::new(S3::new(s3_options(&lost)).unwrap()), options(Layout::Tms));
    let error = store.load(&key(5, 6, 4)).unwrap_err().to_string();
    assert!(error.contains("NoSuchBucket"), "{error}");
}

#[test]
fn a_bucket_is_looked_for_at_start() {
    let check = |status: Option<u16>, public: bool| {
        let client = ScriptedClient::new(move |request| match status {
            Some(200) => answer(200, &[], ""),
            Some(status) => refuse(request, status, ""),
            None => Err(failure(ErrorKind::Connection, request)),
        });
        S3::new(S3Options { public, ..s3_options(&client) }).unwrap().check()
    };
    assert_eq!(check(Some(200), false), Ok(BucketState::Ready));
    assert_eq!(check(Some(404), false), Err("No such bucket: tiles".to_owned()));
    assert_eq!(check(Some(403), false), Err("Access denied. Check your credentials".to_owned()));
    assert_eq!(check(Some(403), true), Ok(BucketState::Ready));
    assert!(check(Some(400), false).unwrap_err().contains("region_name"));
    assert!(matches!(check(None, false), Ok(BucketState::Unknown(_))));
    assert!(matches!(check(Some(503), false), Ok(BucketState::Unknown(_))));
}

#[test]
fn without_credentials_a_bucket_is_refused_at_once() {
    let client = ScriptedClient::failing(404);
    let nobody = S3Options {
        variables: Arc::new(|name| (name == "AWS_EC2_METADATA_DISABLED").then(|| "true".to_owned())),
        ..s3_options(&client)
    };
    assert!(S3::new(nobody).unwrap_err().contains("no AWS credentials"));
    let odd = S3Options { endpoint_url: Some("ftp://x".to_owned()), ..s3_options(&client) };
    assert!(S3::new(odd).unwrap_err().contains("endpoint_url"));
}

/// Microsoft's example of Put Blob and its signature's text, shortened to the headers that are sent here.
#[test]
fn azure_signs_what_its_documentation_says() {
    let (store, client) = azure(&bucket(), Layout::Tms);
    store.store(&key(5, 6, 4), &tile(b"tile")).unwrap();
    let put = client.requests().pop().unwrap();
    let header =
        |name: &str| put.headers.iter().find(|(header, _)| header == name).map(|(_, value)| value.as_str()).unwrap();
    let text = format!(
        "PUT\n\n\n4\n\nimage/png\n\n\n\n\n\n\nx-ms-blob-type:BlockBlob\nx-ms-date:{}\nx-ms-version:2021-12-02\n\
         /account/tiles/cache/grid/4/5/6.png",
        header("x-ms-date")
    );
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, b"geheim");
    use base64::Engine as _;
    let signature = base64::engine::general_purpose::STANDARD.encode(ring::hmac::sign(&key, text.as_bytes()));
    assert_eq!(header("Authorization"), format!("SharedKey account:{signature}"));
    store.remove_level(4, None).unwrap();
    assert!(
        client
            .urls()
            .iter()
            .any(|url| url.contains("?restype=container&comp=list&prefix=cache%2Fgrid%2F&delimiter=%2F"))
    );
}

#[test]
fn connection_strings_are_read_and_never_repeated() {
    let make = |text: &str| {
        let client = ScriptedClient::failing(404);
        let options = AzureBlobOptions {
            container: "tiles".to_owned(),
            connection_string: text.to_owned(),
            connection: connection(&client),
        };
        assert!(!format!("{options:?}").contains("geheim"));
        AzureBlob::new(options).map(|service| {
            let _ = service.get("a.png");
            (format!("{service:?}"), client.requests().pop().unwrap())
        })
    };
    let (_, request) =
        make("BlobEndpoint=https://h.blob.core.windows.net/;SharedAccessSignature=sv=2021&sig=geheim%3D").unwrap();
    assert_eq!(request.url, "https://h.blob.core.windows.net/tiles/a.png?sv=2021&sig=geheim%3D");
    assert!(request.headers.iter().all(|(name, _)| name != "Authorization"));
    let (_, request) = make("UseDevelopmentStorage=true").unwrap();
    assert_eq!(request.url, "http://127.0.0.1:10000/devstoreaccount1/tiles/a.png");
    let (shown, _) = make("AccountName=a;AccountKey=Z2VoZWlt").unwrap();
    assert!(!shown.contains("geheim") && !shown.contains("Z2VoZWlt"), "{shown}");
    for bad in ["geheim", "AccountKey=geheim", "AccountName=a;AccountKey=ge heim!", "BlobEndpoint=geheim;AccountName=a"]
    {
        let error = make(bad).unwrap_err();
        assert!(error.contains("connection_string") && !error.contains("heim"), "{error}");
    }
}

#[test]
fn a_signed_address_does_not_show_its_secrets() {
    let client = ScriptedClient::new(|request| Err(failure(ErrorKind::Connection, request)));
    let service = S3::new(s3_options(&client)).unwrap();
    assert!(!format!("{service:?}").contains("geheim"));
    let error = service.get("a.png").unwrap_err();
    let shown = mapproxy_client::RedactedUrl::new(&client.urls()[0]).to_string();
    assert_eq!(shown, "http://s3.test:9000/tiles/a.png");
    assert!(!error.contains("X-Amz") && !error.contains("geheim"), "{error}");
}

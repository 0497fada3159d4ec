//! Documents of strangers: fetched or read, of a bounded size, and decoded.

use std::io::Read;
use std::path::Path;

use mapproxy_client::{ClientOptions, Clients, Credentials, ErrorKind, UpstreamRequest};

/// Capabilities of the largest services have less.
pub(crate) const MAX_DOCUMENT: u64 = 64 << 20;

/// The document at an address; the password may stand in it. The error says why not, without the password.
pub(crate) fn url(url: &str) -> Result<Vec<u8>, String> {
    get(url, Vec::new())
}

/// The same of a server that has it in other forms, too.
pub(crate) fn json(url: &str) -> Result<Vec<u8>, String> {
    get(url, vec![("Accept".to_owned(), "application/json".to_owned())])
}

fn get(url: &str, headers: Vec<(String, String)>) -> Result<Vec<u8>, String> {
    let options = ClientOptions { max_body: MAX_DOCUMENT, headers, ..ClientOptions::default() };
    let client = Clients::default().client(options).map_err(|error| error.to_string())?;
    let (address, credentials) = Credentials::split(url);
    let credentials = credentials.map(|credentials| credentials.percent_decoded());
    let request = UpstreamRequest::get(address).with_credentials(credentials);
    match client.send(&request) {
        Ok(response) => Ok(response.body.to_vec()),
        Err(error) => Err(match &error.kind {
            ErrorKind::Status(status) => format!("{} \"{}\": {status}", error.message, error.url),
            _ => format!("{} \"{}\": {}", error.message, error.url, error.reason),
        }),
    }
}

/// The content of a file.
pub(crate) fn file(path: &Path) -> Result<Vec<u8>, String> {
    let cannot = |reason: &dyn std::fmt::Display| format!("cannot read {}: {reason}", path.display());
    let file = std::fs::File::open(path).map_err(|error| cannot(&error))?;
    let mut content = Vec::new();
    file.take(MAX_DOCUMENT + 1).read_to_end(&mut content).map_err(|error| cannot(&error))?;
    if content.len() as u64 > MAX_DOCUMENT {
        return Err(cannot(&format_args!("it is larger than {} MiB", MAX_DOCUMENT >> 20)));
    }
    Ok(content)
}

/// The address with these parameters in place of those of the same name, whatever their case.
pub(crate) fn with_parameters(url: &str, parameters: &[(&str, &str)]) -> String {
    let (url, fragment) = url.split_once('#').map_or((url, None), |(url, fragment)| (url, Some(fragment)));
    let (path, query) = url.split_once('?').unwrap_or((url, ""));
    let mut parts = Vec::new();
    let mut missing: Vec<_> = parameters.to_vec();
    for part in query.split('&').filter(|part| !part.is_empty()) {
        let key = part.split('=').next().unwrap_or_default();
        match parameters.iter().find(|(name, _)| name.eq_ignore_ascii_case(key)) {
            None => parts.push(part.to_owned()),
            Some((name, value)) if missing.iter().any(|(missing, _)| missing == name) => {
                missing.retain(|(other, _)| other != name);
                parts.push(format!("{key}={value}"));
            }
            Some(_) => {}
        }
    }
    parts.extend(missing.iter().map(|(name, value)| format!("{name}={value}")));
    let fragment = fragment.map(|fragment| format!("#{fragment}")).unwrap_or_default();
    format!("{path}?{}{fragment}", parts.join("&"))
}

/// The text of an XML document in the encoding that it declares; UTF-8 if none.
pub(crate) fn xml_text(document: &[u8]) -> String {
    let start = &document[..document.len().min(200)];
    let declaration = String::from_utf8_lossy(start);
    let declared = declaration
        .trim_start_matches('\u{feff}')
        .strip_prefix("<?xml")
        .and_then(|rest| rest.split("?>").next())
        .and_then(|declaration| declaration.split("encoding").nth(1))
        .and_then(|rest| rest.split(['"', '\'']).nth(1))
        .and_then(|name| encoding_rs::Encoding::for_label(name.as_bytes()));
    let text = declared.unwrap_or(encoding_rs::UTF_8).decode(document).0.into_owned();
    // It is UTF-8 now, whatever it says of itself.
    match text.strip_prefix("<?xml").and_then(|rest| rest.split_once("?>")) {
        Some((_, rest)) => rest.to_owned(),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_replace_those_of_the_same_name() {
        let wms = [("service", "WMS"), ("version", "1.3.0")];
        for (url, wanted) in [
            ("http://h/wms", "http://h/wms?service=WMS&version=1.3.0"),
            ("http://h/wms?map=a", "http://h/wms?map=a&service=WMS&version=1.3.0"),
            ("http://h/wms?VERSION=1.1.1&x=%20", "http://h/wms?VERSION=1.3.0&x=%20&service=WMS"),
            ("http://h/wms?version=1&Version=2", "http://h/wms?version=1.3.0&service=WMS"),
            ("http://h/wms?#top", "http://h/wms?service=WMS&version=1.3.0#top"),
        ] {
            assert_eq!(with_parameters(url, &wms), wanted);
        }
    }

    #[test]
    fn documents_are_decoded_as_they_declare() {
        let latin = b"<?xml version='1.0' encoding=\"ISO-8859-1\"?><a>\xfc</a>";
        assert_eq!(xml_text(latin), "<a>ü</a>");
        assert_eq!(xml_text("<?xml version=\"1.0\"?>\n<a>ü</a>".as_bytes()), "\n<a>ü</a>");
        assert_eq!(xml_text("<a>ü</a>".as_bytes()), "<a>ü</a>");
        assert_eq!(xml_text(b"<?xml"), "<?xml");
        assert_eq!(xml_text(b""), "");
    }
}

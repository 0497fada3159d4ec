//! What upstream servers may say of a point: merging their documents may leave some out, but neither panics nor makes
//! something much longer of them, and what is made of XML and JSON is XML and JSON.
//!
//! An input is one byte that says which kind they are of, and documents with lines of `--` between them.

#![no_main]

use libfuzzer_sys::fuzz_target;
use mapproxy_map::info::{InfoDocument, InfoKind, merge, without_doctype};

const KINDS: [InfoKind; 4] = [InfoKind::Xml, InfoKind::Html, InfoKind::Json, InfoKind::Text];

fuzz_target!(|data: &[u8]| {
    let Some((&kind, rest)) = data.split_first() else { return };
    let Ok(text) = std::str::from_utf8(rest) else { return };
    let kind = KINDS[usize::from(kind) % KINDS.len()];
    let documents: Vec<InfoDocument> = text.split("\n--\n").map(|text| InfoDocument::new(kind, text)).collect();
    if let Ok(safe) = without_doctype(text) {
        assert!(without_doctype(&safe).is_ok_and(|again| again.len() <= safe.len()));
    }
    let with_content = documents.iter().filter(|document| !document.is_empty()).count();
    let whole = documents.len() * 64 + 2 * text.len() + (1 << 20);
    let merged = merge(documents).expect("something was said");
    assert!(merged.text.len() <= whole, "{} bytes", merged.text.len());
    match merged.kind {
        InfoKind::Xml if with_content > 1 => {
            roxmltree::Document::parse(&merged.text).expect("XML of XML");
        }
        InfoKind::Json if with_content > 1 => {
            serde_json::from_str::<serde_json::Value>(&merged.text).expect("JSON of JSON");
        }
        _ => {}
    }
});

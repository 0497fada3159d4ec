//! What INSPIRE adds to capabilities of 1.3.0: `inspire_vs:ExtendedCapabilities` (Technical Guidance for View Services 3.1,
//! 4.2; schemas `common` and `inspire_vs` 1.0).
//!
//! A service has one language. A `LANGUAGE` parameter that asks for another is answered in this one, as the guidance has
//! it, and the document and `Content-Language` say which that is.

use http::HeaderValue;

use crate::metadata::{Inspire, InspireCitation, InspireDates, InspireMetadata, InspireUrl};
use crate::services::xml::Writer;

pub(super) const NAMESPACES: [(&str, &str); 2] = [
    ("xmlns:inspire_common", "http://inspire.ec.europa.eu/schemas/common/1.0"),
    ("xmlns:inspire_vs", "http://inspire.ec.europa.eu/schemas/inspire_vs/1.0"),
];

pub(super) const SCHEMA_LOCATION: &str = "http://inspire.ec.europa.eu/schemas/inspire_vs/1.0 \
                                          http://inspire.ec.europa.eu/schemas/inspire_vs/1.0/inspire_vs.xsd";

const ROOT: &str = "inspire_vs:ExtendedCapabilities";

/// The languages of the Union: ISO 639-2/B, and the tags of BCP 47, which are shorter.
const LANGUAGES: [(&str, &str); 24] = [
    ("bul", "bg"),
    ("cze", "cs"),
    ("dan", "da"),
    ("dut", "nl"),
    ("eng", "en"),
    ("est", "et"),
    ("fin", "fi"),
    ("fre", "fr"),
    ("ger", "de"),
    ("gle", "ga"),
    ("gre", "el"),
    ("hrv", "hr"),
    ("hun", "hu"),
    ("ita", "it"),
    ("lav", "lv"),
    ("lit", "lt"),
    ("mlt", "mt"),
    ("pol", "pl"),
    ("por", "pt"),
    ("rum", "ro"),
    ("slo", "sk"),
    ("slv", "sl"),
    ("spa", "es"),
    ("swe", "sv"),
];

/// `Content-Language` (RFC 9110, 8.5) for a language of three letters.
pub(super) fn content_language(language: &str) -> Option<HeaderValue> {
    let tag = LANGUAGES.iter().find(|(code, _)| *code == language).map_or(language, |(_, tag)| tag);
    HeaderValue::try_from(tag).ok()
}

/// The order of elements is that of the schema.
pub(super) fn write(xml: &mut Writer, inspire: &Inspire) {
    xml.open(ROOT, &[]);
    match &inspire.embedded {
        None => {
            locators(xml, "MetadataUrl", inspire.metadata_url.as_slice());
            languages(xml, &inspire.language);
        }
        Some(metadata) => {
            embedded(xml, metadata);
            languages(xml, &inspire.language);
            locators(xml, "MetadataUrl", inspire.metadata_url.as_slice());
        }
    }
    xml.close(ROOT);
}

fn embedded(xml: &mut Writer, metadata: &InspireMetadata) {
    locators(xml, "ResourceLocator", &metadata.resource_locators);
    element(xml, "ResourceType", "service");
    open(xml, "TemporalReference");
    let InspireDates { publication, creation, last_revision } = &metadata.temporal_reference;
    let dates =
        [("DateOfCreation", creation), ("DateOfLastRevision", last_revision), ("DateOfPublication", publication)];
    for (name, date) in dates {
        if let Some(date) = date {
            element(xml, name, date);
        }
    }
    close(xml, "TemporalReference");
    for conformity in &metadata.conformities {
        open(xml, "Conformity");
        citation(xml, "Specification", &conformity.specification);
        element(xml, "Degree", &conformity.degree);
        close(xml, "Conformity");
    }
    for contact in &metadata.contacts {
        open(xml, "MetadataPointOfContact");
        element(xml, "OrganisationName", &contact.organisation);
        element(xml, "EmailAddress", &contact.email);
        close(xml, "MetadataPointOfContact");
    }
    element(xml, "MetadataDate", &metadata.date);
    element(xml, "SpatialDataServiceType", "view");
    for keyword in &metadata.mandatory_keywords {
        open(xml, "MandatoryKeyword");
        element(xml, "KeywordValue", keyword);
        close(xml, "MandatoryKeyword");
    }
    for keyword in &metadata.keywords {
        open(xml, "Keyword");
        citation(xml, "OriginatingControlledVocabulary", &keyword.vocabulary);
        element(xml, "KeywordValue", &keyword.value);
        close(xml, "Keyword");
    }
}

/// A document that is referred to has one date, of whatever kind.
fn citation(xml: &mut Writer, name: &str, citation: &InspireCitation) {
    open(xml, name);
    element(xml, "Title", &citation.title);
    let InspireDates { publication, creation, last_revision } = &citation.dates;
    let dates =
        [("DateOfPublication", publication), ("DateOfCreation", creation), ("DateOfLastRevision", last_revision)];
    if let Some((name, date)) = dates.iter().find_map(|(name, date)| Some((name, date.as_deref()?))) {
        element(xml, name, date);
    }
    citation.uris.iter().for_each(|uri| element(xml, "URI", uri));
    locators(xml, "ResourceLocator", &citation.resource_locators);
    close(xml, name);
}

fn locators(xml: &mut Writer, name: &str, locators: &[InspireUrl]) {
    for InspireUrl { url, media_type } in locators {
        open(xml, name);
        element(xml, "URL", url);
        element(xml, "MediaType", media_type);
        close(xml, name);
    }
}

fn languages(xml: &mut Writer, language: &str) {
    open(xml, "SupportedLanguages");
    open(xml, "DefaultLanguage");
    element(xml, "Language", language);
    close(xml, "DefaultLanguage");
    close(xml, "SupportedLanguages");
    open(xml, "ResponseLanguage");
    element(xml, "Language", language);
    close(xml, "ResponseLanguage");
}

fn open(xml: &mut Writer, name: &str) {
    xml.open(&format!("inspire_common:{name}"), &[]);
}

fn close(xml: &mut Writer, name: &str) {
    xml.close(&format!("inspire_common:{name}"));
}

fn element(xml: &mut Writer, name: &str, text: &str) {
    xml.element(&format!("inspire_common:{name}"), text);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn languages_have_the_tags_of_http() {
        assert_eq!(content_language("ger").unwrap(), "de");
        assert_eq!(content_language("nor").unwrap(), "nor");
        assert!(content_language("\n").is_none());
    }
}

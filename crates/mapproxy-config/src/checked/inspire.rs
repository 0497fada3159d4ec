//! INSPIRE metadata of a view service (Commission Regulation (EC) No 976/2009; schemas `common` and `inspire_vs` 1.0).

/// `services.wms.inspire_md`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inspire {
    /// `languages.default`, as ISO 639-2/B has it: `eng`.
    pub language: String,
    /// `metadata_url`; with `type: linked` always.
    pub metadata_url: Option<InspireUrl>,
    /// With `type: embedded`: what would be at the URL.
    pub embedded: Option<InspireMetadata>,
}

/// Metadata in the capabilities document itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InspireMetadata {
    /// `resource_locators`.
    pub resource_locators: Vec<InspireUrl>,
    /// `temporal_reference`.
    pub temporal_reference: InspireDates,
    /// `conformities`.
    pub conformities: Vec<InspireConformity>,
    /// `metadata_points_of_contact`.
    pub contacts: Vec<InspireContact>,
    /// `mandatory_keywords`: classes of service.
    pub mandatory_keywords: Vec<String>,
    /// `keywords`.
    pub keywords: Vec<InspireKeyword>,
    /// `metadata_date`.
    pub date: String,
}

/// An address and what is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InspireUrl {
    /// `url`.
    pub url: String,
    /// `media_type`.
    pub media_type: String,
}

/// Dates of a document, as ISO 8601 writes them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct InspireDates {
    /// `date_of_publication`.
    pub publication: Option<String>,
    /// `date_of_creation`.
    pub creation: Option<String>,
    /// `date_of_last_revision`.
    pub last_revision: Option<String>,
}

/// A document that is referred to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InspireCitation {
    /// `title`.
    pub title: String,
    /// The dates, of which a document has one.
    pub dates: InspireDates,
    /// `uris`.
    pub uris: Vec<String>,
    /// `resource_locators`.
    pub resource_locators: Vec<InspireUrl>,
}

/// What the service conforms to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InspireConformity {
    /// The rules.
    pub specification: InspireCitation,
    /// `degree`: `conformant`, `notConformant`, `notEvaluated`.
    pub degree: String,
}

/// Whom to ask about the metadata.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InspireContact {
    /// `organisation_name`.
    pub organisation: String,
    /// `email`.
    pub email: String,
}

/// A word of a vocabulary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InspireKeyword {
    /// The vocabulary.
    pub vocabulary: InspireCitation,
    /// `keyword_value`.
    pub value: String,
}

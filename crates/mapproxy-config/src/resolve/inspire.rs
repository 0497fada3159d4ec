//! `services.wms.inspire_md`.

use super::Resolver;
use crate::checked::inspire::{
    Inspire, InspireCitation, InspireConformity, InspireContact, InspireDates, InspireKeyword, InspireMetadata,
    InspireUrl,
};
use crate::position::{Span, Spanned};
use crate::raw::{self, Date, Text};

const DEGREES: [&str; 3] = ["conformant", "notConformant", "notEvaluated"];

impl Resolver<'_> {
    /// `None`: something is missing, which has been reported.
    pub(super) fn inspire(&mut self, raw: &Spanned<raw::InspireMetadata>, path: &str) -> Option<Inspire> {
        match &raw.value {
            raw::InspireMetadata::Linked(linked) => Some(Inspire {
                language: self.language(linked.languages.as_ref()?, path)?,
                metadata_url: Some(url(linked.metadata_url.as_ref()?)?),
                embedded: None,
            }),
            raw::InspireMetadata::Embedded(embedded) => {
                let language = self.language(embedded.languages.as_ref()?, path)?;
                let metadata_url = embedded.metadata_url.as_ref().and_then(url);
                Some(Inspire { language, metadata_url, embedded: Some(self.embedded(embedded, raw.span, path)?) })
            }
        }
    }

    fn embedded(&mut self, raw: &raw::InspireEmbedded, span: Span, path: &str) -> Option<InspireMetadata> {
        let lists = [
            ("resource_locators", raw.resource_locators.as_ref().is_some_and(|list| list.value.is_empty())),
            ("conformities", raw.conformities.as_ref().is_some_and(|list| list.value.is_empty())),
            ("metadata_points_of_contact", raw.metadata_points_of_contact.as_ref().is_some_and(|l| l.value.is_empty())),
            ("mandatory_keywords", raw.mandatory_keywords.as_ref().is_some_and(|list| list.value.is_empty())),
        ];
        for (name, _) in lists.iter().filter(|(_, is_empty)| *is_empty) {
            self.findings.error(span, format!("{path}.{name}"), "INSPIRE wants at least one");
        }
        let mut conformities = Vec::new();
        for (index, item) in raw.conformities.as_ref()?.value.iter().enumerate() {
            let path = format!("{path}.conformities[{index}]");
            let degree = item.degree.as_ref()?;
            if !DEGREES.contains(&&*degree.value) {
                let message = format!("'{}' is no degree: {} are known", degree.value, DEGREES.join(", "));
                self.findings.warning(degree.span, format!("{path}.degree"), message);
            }
            let citation = (&item.title, &item.uris, &item.resource_locators);
            let specification = self.citation(citation, &item.dates, item.span, &path)?;
            conformities.push(InspireConformity { specification, degree: degree.value.to_string() });
        }
        let mut keywords = Vec::new();
        for (index, item) in raw.keywords.iter().flat_map(|list| &list.value).enumerate() {
            let path = format!("{path}.keywords[{index}]");
            let citation = (&item.title, &item.uris, &item.resource_locators);
            let vocabulary = self.citation(citation, &item.dates, item.span, &path)?;
            keywords.push(InspireKeyword { vocabulary, value: item.keyword_value.as_ref()?.value.to_string() });
        }
        let contacts = raw.metadata_points_of_contact.as_ref()?.value.iter();
        let text = |text: &Option<Spanned<Text>>| text.as_ref().map(|text| text.value.to_string()).unwrap_or_default();
        Some(InspireMetadata {
            resource_locators: urls(raw.resource_locators.as_ref()),
            temporal_reference: dates(&raw.temporal_reference.as_ref()?.value),
            conformities,
            contacts: contacts
                .map(|item| InspireContact { organisation: text(&item.organisation_name), email: text(&item.email) })
                .collect(),
            mandatory_keywords: raw
                .mandatory_keywords
                .as_ref()?
                .value
                .iter()
                .map(|word| word.value.to_string())
                .collect(),
            keywords,
            date: date(raw.metadata_date.as_ref())?,
        })
    }

    fn language(&mut self, raw: &Spanned<raw::InspireLanguages>, path: &str) -> Option<String> {
        let language = raw.default.as_ref()?;
        let is_code = language.value.len() == 3 && language.value.bytes().all(|b| b.is_ascii_lowercase());
        if !is_code {
            let message = format!("'{}' is no language of three letters, such as eng", language.value);
            self.findings.warning(language.span, format!("{path}.languages.default"), message);
        }
        Some(language.value.to_string())
    }

    #[allow(clippy::type_complexity, reason = "three fields that two records have")]
    fn citation(
        &mut self,
        (title, uris, locators): (
            &Option<Spanned<Text>>,
            &Option<Spanned<Vec<Spanned<Text>>>>,
            &Option<Spanned<Vec<Spanned<raw::InspireUrl>>>>,
        ),
        raw_dates: &raw::InspireDates,
        span: Span,
        path: &str,
    ) -> Option<InspireCitation> {
        let dates = dates(raw_dates);
        if dates == InspireDates::default() {
            self.findings.warning(span, path, "INSPIRE wants a date here, such as date_of_publication");
        }
        Some(InspireCitation {
            title: title.as_ref().map(|title| title.value.to_string()).unwrap_or_default(),
            dates,
            uris: uris.iter().flat_map(|list| &list.value).map(|uri| uri.value.to_string()).collect(),
            resource_locators: urls(locators.as_ref()),
        })
    }
}

fn url(raw: &Spanned<raw::InspireUrl>) -> Option<InspireUrl> {
    let (url, media_type) = (raw.url.as_ref()?, raw.media_type.as_ref()?);
    Some(InspireUrl { url: url.value.to_string(), media_type: media_type.value.to_string() })
}

fn urls(raw: Option<&Spanned<Vec<Spanned<raw::InspireUrl>>>>) -> Vec<InspireUrl> {
    raw.into_iter().flat_map(|list| &list.value).filter_map(url).collect()
}

fn dates(raw: &raw::InspireDates) -> InspireDates {
    InspireDates {
        publication: date(raw.date_of_publication.as_ref()),
        creation: date(raw.date_of_creation.as_ref()),
        last_revision: date(raw.date_of_last_revision.as_ref()),
    }
}

fn date(raw: Option<&Spanned<Date>>) -> Option<String> {
    raw?.value.0.python_text().map(|text| text.replacen(' ', "T", 1))
}

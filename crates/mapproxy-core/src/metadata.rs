//! What a configuration tells about its services, for the documents that they publish: plain texts, taken as they are.

pub(crate) use mapproxy_config::checked::inspire::{InspireCitation, InspireDates, InspireMetadata, InspireUrl};
pub use mapproxy_config::checked::{Contact, Inspire, ServiceMetadata};

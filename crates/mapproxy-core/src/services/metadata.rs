//! What the configuration tells about the services themselves, for all capabilities documents.

use crate::layers::KeywordList;

/// `md` of a service. Where a text is missing, the document of the service says what its standard suggests.
#[derive(Clone, Debug, Default)]
pub struct ServiceMetadata {
    /// Title for people.
    pub title: Option<String>,
    /// Description.
    pub abstract_: Option<String>,
    /// Home page; the address of the service where there is none.
    pub online_resource: Option<String>,
    /// Whom to ask.
    pub contact: Option<Contact>,
    /// What it costs.
    pub fees: Option<String>,
    /// What is not allowed.
    pub access_constraints: Option<String>,
    /// Keywords by vocabulary.
    pub keywords: Vec<KeywordList>,
}

/// Whom to ask about a service.
#[derive(Clone, Debug, Default)]
pub struct Contact {
    /// Name.
    pub person: Option<String>,
    /// Office held.
    pub position: Option<String>,
    /// Employer.
    pub organization: Option<String>,
    /// Street and number.
    pub address: Option<String>,
    /// Kind of address.
    pub address_type: Option<String>,
    /// City.
    pub city: Option<String>,
    /// Postal code.
    pub postcode: Option<String>,
    /// State or province.
    pub state: Option<String>,
    /// Country.
    pub country: Option<String>,
    /// Telephone.
    pub phone: Option<String>,
    /// Fax.
    pub fax: Option<String>,
    /// Electronic mail.
    pub email: Option<String>,
}

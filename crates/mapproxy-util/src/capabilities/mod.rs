//! What other servers say of themselves, read from their documents.

pub(crate) mod wms;
pub(crate) mod wmts;

//! What the format knows and this program does not do yet: one table, from which rows go when features land.

use crate::diagnostic::Severity;
use crate::findings::Findings;
use crate::position::Span;

/// What becomes of a configuration that asks for a feature that is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Policy {
    /// Something additional is merely absent: a warning.
    Ignore,
    /// Maps would be different: an error.
    Refuse,
}

use Policy::{Ignore, Refuse};

/// (feature, how a message calls it, what becomes of it)
const NOT_YET: &[(&str, &str, Policy)] = &[
    ("source arcgis", "a source of type 'arcgis'", Refuse),
    ("source mapserver", "a source of type 'mapserver'", Refuse),
    ("source mapnik", "a source of type 'mapnik'", Refuse),
    ("source ogcapimaps", "a source of type 'ogcapimaps'", Refuse),
    ("source ogcapitiles", "a source of type 'ogcapitiles'", Refuse),
    ("cache sqlite", "a cache of type 'sqlite'", Refuse),
    ("cache mbtiles", "a cache of type 'mbtiles'", Refuse),
    ("cache geopackage", "a cache of type 'geopackage'", Refuse),
    ("cache s3", "a cache of type 's3'", Refuse),
    ("cache azureblob", "a cache of type 'azureblob'", Refuse),
    ("band merge", "a cache made of bands", Refuse),
    ("authorize_stale", "authorize_stale", Ignore),
    ("template_dir", "templates in place of the built-in ones", Ignore),
    ("debug_mode", "debug_mode (`serve-develop --debug` shows errors)", Ignore),
];

/// Whether `feature` is there; if not, the use of it at `span` is reported.
pub(crate) fn is_supported(
    findings: &mut Findings,
    feature: &str,
    span: Span,
    path: impl Into<std::sync::Arc<str>>,
) -> bool {
    let Some((_, name, policy)) = NOT_YET.iter().find(|(key, _, _)| *key == feature) else {
        return true;
    };
    match policy {
        Ignore => {
            findings.add(Severity::Warning, span, path, format!("not supported yet: {name}; it is ignored"), None);
        }
        Refuse => findings.add(Severity::Error, span, path, format!("not supported yet: {name}"), None),
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_feature_is_listed_once() {
        for (index, (key, _, _)) in NOT_YET.iter().enumerate() {
            assert!(NOT_YET[..index].iter().all(|(other, _, _)| other != key), "{key}");
        }
    }

    #[test]
    fn what_would_change_maps_is_an_error_and_what_is_merely_absent_a_warning() {
        let mut findings = Findings::default();
        assert!(!is_supported(&mut findings, "debug_mode", Span::default(), "a"));
        assert!(!findings.has_errors());
        assert!(is_supported(&mut findings, "source wms", Span::default(), "a"));
        assert!(!is_supported(&mut findings, "source mapnik", Span::default(), "a"));
        assert!(findings.has_errors());
    }
}

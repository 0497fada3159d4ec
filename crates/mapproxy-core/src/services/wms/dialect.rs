//! How the versions of WMS differ, as data.

use super::WmsVersion;
use crate::Params;

/// The words and forms of one version.
#[derive(Debug)]
pub(super) struct Dialect {
    pub(super) version: WmsVersion,
    /// Parameter with the version.
    pub(super) version_param: &'static str,
    /// Parameter with the SRS.
    pub(super) srs_param: &'static str,
    /// Parameters with the position in the picture of feature info requests.
    pub(super) position_params: [&'static str; 2],
    /// Code of exceptions about the SRS; 1.0.0 has no codes.
    pub(super) invalid_srs: &'static str,
    /// Boxes come in the axis order of the SRS.
    pub(super) crs_axis_order: bool,
    /// There is a GetLegendGraphic request (of OGC 02-070 and 05-078r4).
    pub(super) legends: bool,
    /// Formats are called `PNG`, `JPEG`, … besides their media types.
    pub(super) has_short_formats: bool,
    /// Requests may have dimensions.
    pub(super) dimensions: bool,
    /// Content type of exceptions.
    pub(super) exception_type: &'static str,
    /// Content type of capabilities documents.
    pub(super) capabilities_type: &'static str,
}

static DIALECTS: [Dialect; 4] = [
    Dialect {
        version: WmsVersion::V1_0_0,
        version_param: "wmtver",
        srs_param: "srs",
        position_params: ["x", "y"],
        invalid_srs: "InvalidSRS",
        crs_axis_order: false,
        legends: false,
        has_short_formats: true,
        dimensions: false,
        exception_type: "text/xml",
        capabilities_type: "text/xml; charset=utf-8",
    },
    Dialect {
        version: WmsVersion::V1_1_0,
        version_param: "version",
        srs_param: "srs",
        position_params: ["x", "y"],
        invalid_srs: "InvalidSRS",
        crs_axis_order: false,
        legends: false,
        has_short_formats: false,
        dimensions: true,
        exception_type: "application/vnd.ogc.se_xml",
        capabilities_type: "application/vnd.ogc.wms_xml",
    },
    Dialect {
        version: WmsVersion::V1_1_1,
        version_param: "version",
        srs_param: "srs",
        position_params: ["x", "y"],
        invalid_srs: "InvalidSRS",
        crs_axis_order: false,
        legends: true,
        has_short_formats: false,
        dimensions: true,
        exception_type: "application/vnd.ogc.se_xml",
        capabilities_type: "application/vnd.ogc.wms_xml",
    },
    Dialect {
        version: WmsVersion::V1_3_0,
        version_param: "version",
        srs_param: "crs",
        position_params: ["i", "j"],
        invalid_srs: "InvalidCRS",
        crs_axis_order: true,
        legends: true,
        has_short_formats: false,
        dimensions: true,
        exception_type: "text/xml; charset=utf-8",
        capabilities_type: "text/xml; charset=utf-8",
    },
];

impl Dialect {
    pub(super) fn of(version: WmsVersion) -> &'static Dialect {
        &DIALECTS[version as usize]
    }

    /// The version to answer in, for any request. Version negotiation as in OGC 06-042, 6.2.4: what is spoken of the
    /// wanted version and those below, else the lowest; the highest for those who say nothing, or no version.
    ///
    /// `spoken` is ascending and not empty.
    pub(super) fn sniff(params: &Params, spoken: &[WmsVersion]) -> &'static Dialect {
        let wanted = params.get("version").or_else(|| params.get("wmtver")).and_then(parse_version);
        let version = match wanted {
            Some(wanted) => {
                let not_above = |version: &&WmsVersion| version.numbers().as_slice() <= wanted.as_slice();
                spoken.iter().rev().find(not_above).or(spoken.first())
            }
            None => spoken.last(),
        };
        Dialect::of(version.copied().unwrap_or(WmsVersion::V1_3_0))
    }
}

fn parse_version(text: &str) -> Option<Vec<u32>> {
    text.trim().split('.').map(|number| number.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sniffed(query: &str, spoken: &[WmsVersion]) -> &'static str {
        Dialect::sniff(&Params::parse(query), spoken).version.as_str()
    }

    #[test]
    fn each_version_has_its_own_dialect() {
        for version in WmsVersion::ALL {
            assert_eq!(Dialect::of(version).version, version);
        }
    }

    #[test]
    fn versions_between_those_spoken_are_answered_in_the_next_lower() {
        for (query, version) in [
            ("", "1.3.0"),
            ("version=1.1.1", "1.1.1"),
            ("VERSION=1.1.0", "1.1.0"),
            ("wmtver=1.0.0", "1.0.0"),
            ("version=1.0.7", "1.0.0"),
            ("version=1.1.3", "1.1.1"),
            ("version=1.1.11", "1.1.1"),
            ("version=1.2.0", "1.1.1"),
            ("version=1.3", "1.1.1"),
            ("version=0.9", "1.0.0"),
            ("version=2.0.0", "1.3.0"),
            ("version=abc", "1.3.0"),
            ("version=", "1.3.0"),
            ("version=1.-1.0", "1.3.0"),
            ("version=1.1.1&wmtver=1.0.0", "1.1.1"),
        ] {
            assert_eq!(sniffed(query, &WmsVersion::ALL), version, "{query}");
        }
    }

    #[test]
    fn versions_switched_off_are_not_spoken_however_often_asked() {
        let spoken = [WmsVersion::V1_1_0, WmsVersion::V1_1_1];
        for _ in 0..3 {
            assert_eq!(sniffed("version=1.0.0", &spoken), "1.1.0");
            assert_eq!(sniffed("version=1.1.0", &spoken), "1.1.0");
            assert_eq!(sniffed("version=1.2.0", &spoken), "1.1.1");
            assert_eq!(sniffed("version=1.3.0", &spoken), "1.1.1");
            assert_eq!(sniffed("", &spoken), "1.1.1");
        }
    }
}

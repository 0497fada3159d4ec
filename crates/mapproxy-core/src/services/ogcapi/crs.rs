//! Names of coordinate reference systems: URLs (OGC 18-058), CURIEs, plain or in brackets, and URNs.
//!
//! MapProxy speaks of longitude and latitude in this order wherever it says `EPSG:4326`, so that is `CRS84` here, in
//! answers; in requests, `EPSG:4326` has latitude first.

use mapproxy_grid::Srs;

/// `CRS84`, longitude before latitude.
pub(super) const CRS84: &str = "http://www.opengis.net/def/crs/OGC/1.3/CRS84";
/// Of a name in a request, before anything is looked up.
const MAX_NAME: usize = 120;

/// Longitude and latitude: what numbers are in unless a request says otherwise.
pub(super) fn lon_lat() -> Srs {
    Srs::new("CRS:84").expect("known by heart")
}

/// The SRS of a name, with the axis order that the name means.
pub(super) fn parse(name: &str) -> Option<Srs> {
    let name = name.trim();
    if name.len() > MAX_NAME {
        return None;
    }
    let curie = name.strip_prefix('[').map_or(Some(name), |name| name.strip_suffix(']'))?;
    let code = match of_url(curie).or_else(|| of_urn(curie)) {
        Some(code) => code,
        None => {
            let (authority, code) = curie.split_once(':')?;
            short_code(authority, "", code)?
        }
    };
    Srs::new(&code).ok()
}

fn of_url(name: &str) -> Option<String> {
    let name = name.strip_prefix("http://").or_else(|| name.strip_prefix("https://"))?;
    let parts: Vec<&str> = name.strip_prefix("www.opengis.net/def/crs/")?.split('/').collect();
    let [authority, edition, code] = parts[..] else { return None };
    short_code(authority, edition, code)
}

fn of_urn(name: &str) -> Option<String> {
    let parts: Vec<&str> = name.strip_prefix("urn:ogc:def:crs:")?.split(':').collect();
    let [authority, edition, code] = parts[..] else { return None };
    short_code(authority, edition, code)
}

fn short_code(authority: &str, edition: &str, code: &str) -> Option<String> {
    match (authority.to_ascii_uppercase().as_str(), code.to_ascii_uppercase().as_str()) {
        ("OGC", "CRS84" | "CRS84H" | "84") | ("CRS", "84") => Some("CRS:84".to_owned()),
        // One spelling for each, so that nobody fills the memory with others.
        ("EPSG", code) => code.parse::<u32>().ok().map(|code| format!("EPSG:{code}")),
        // PROJ takes the edition for part of the authority.
        ("IAU", code) if !edition.is_empty() => Some(format!("IAU_{edition}:{code}")),
        ("" | "HTTP" | "HTTPS" | "URN", _) => None,
        (authority, code) => Some(format!("{authority}:{code}")),
    }
}

/// The name of the SRS of boxes in answers, whose first coordinate is always the x of MapProxy.
pub(super) fn uri(srs: &Srs) -> String {
    if *srs == Srs::wgs84() {
        CRS84.to_owned()
    } else if *srs == Srs::web_mercator() {
        Srs::web_mercator().ogc_url()
    } else {
        srs.ogc_url()
    }
}

/// The names by which maps may be asked for in any of `list`, each once.
pub(super) fn uris(list: &[Srs]) -> Vec<String> {
    let mut uris = Vec::new();
    for srs in list {
        let is_wgs84 = *srs == Srs::wgs84();
        if is_wgs84 {
            uris.push(CRS84.to_owned());
            uris.push(Srs::wgs84().ogc_url());
        } else {
            uris.push(srs.ogc_url());
        }
    }
    // The default of boxes goes first, where it is offered.
    uris.sort_by_key(|uri| uri != CRS84);
    let mut seen = std::collections::HashSet::new();
    uris.retain(|uri| seen.insert(uri.clone()));
    uris
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_crs_may_be_named_in_all_forms_of_the_standards() {
        for name in [
            "EPSG:25832",
            "[EPSG:25832]",
            "epsg:025832",
            "http://www.opengis.net/def/crs/EPSG/0/25832",
            "https://www.opengis.net/def/crs/EPSG/9.9.1/25832",
            "urn:ogc:def:crs:EPSG::25832",
        ] {
            assert_eq!(parse(name).unwrap().code(), "EPSG:25832", "{name}");
        }
        for name in ["OGC:CRS84", "[ogc:CRS84]", CRS84, "CRS:84", "http://www.opengis.net/def/crs/OGC/0/CRS84h"] {
            let srs = parse(name).unwrap();
            assert!(srs == Srs::wgs84() && !srs.is_north_first(), "{name}");
        }
        assert!(parse("EPSG:4326").unwrap().is_north_first());
        let mars = parse("http://www.opengis.net/def/crs/IAU/2015/30100").unwrap();
        assert_eq!(mars.code(), "IAU_2015:30100");
    }

    #[test]
    fn other_names_are_none() {
        for name in
            ["", "4326", "[EPSG:4326", "EPSG:", "EPSG:x", "http://example.org/1", "urn:ogc:def:crs:EPSG:4326", "::"]
        {
            assert!(parse(name).is_none(), "{name}");
        }
    }

    #[test]
    fn answers_name_each_crs_once_and_longitude_latitude_first() {
        let srs = |code| Srs::new(code).unwrap();
        let list = [srs("EPSG:3857"), srs("EPSG:4326"), srs("CRS:84")];
        assert_eq!(
            uris(&list),
            [CRS84, "http://www.opengis.net/def/crs/EPSG/0/3857", "http://www.opengis.net/def/crs/EPSG/0/4326",]
        );
        assert_eq!(uri(&srs("EPSG:900913")), "http://www.opengis.net/def/crs/EPSG/0/3857");
        assert_eq!(uri(&srs("EPSG:4326")), CRS84);
    }

    proptest! {
        #[test]
        fn any_name_is_read(name in ".{0,140}") {
            let _ = parse(&name);
        }
    }
}

//! Names of reference systems as URIs.

use mapproxy_grid::Srs;

/// The system that a URI, URN or CURIE names; `None` if there is none of that name.
pub(super) fn parse(uri: &str) -> Option<Srs> {
    let curie = uri.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let code = match curie {
        Some(code) => code.to_owned(),
        None => {
            let parts: Vec<&str> = match uri.strip_prefix("urn:ogc:def:crs:") {
                Some(parts) => parts.split(':').collect(),
                None => {
                    let rest = uri.strip_prefix("http://").or_else(|| uri.strip_prefix("https://"))?;
                    rest.strip_prefix("www.opengis.net/def/crs/")?.split('/').collect()
                }
            };
            let [authority, version, code] = parts.as_slice() else { return None };
            match *authority {
                "OGC" if *code == "CRS84" => "CRS:84".to_owned(),
                "IAU" => format!("IAU_{version}:{code}"),
                _ => format!("{authority}:{code}"),
            }
        }
    };
    let code = if matches!(&*code, "OGC:CRS84" | "CRS84") { "CRS:84" } else { &code };
    Srs::new(code).ok()
}

/// The URI of a system.
pub(super) fn uri(srs: &Srs) -> String {
    const BASE: &str = "http://www.opengis.net/def/crs";
    match srs.code().split_once(':') {
        Some(("CRS", "84") | ("OGC", "CRS84")) => format!("{BASE}/OGC/1.3/CRS84"),
        Some((authority, code)) => match authority.split_once('_') {
            Some((authority, version)) => format!("{BASE}/{authority}/{version}/{code}"),
            None => format!("{BASE}/{authority}/0/{code}"),
        },
        None => format!("{BASE}/EPSG/0/{}", srs.code()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uris_name_systems_there_and_back() {
        for (name, code, back) in [
            ("http://www.opengis.net/def/crs/EPSG/0/3857", "EPSG:3857", "EPSG/0/3857"),
            ("http://www.opengis.net/def/crs/EPSG/9.9.1/25832", "EPSG:25832", "EPSG/0/25832"),
            ("https://www.opengis.net/def/crs/OGC/1.3/CRS84", "CRS:84", "OGC/1.3/CRS84"),
            ("http://www.opengis.net/def/crs/IAU/2015/30100", "IAU_2015:30100", "IAU/2015/30100"),
            ("urn:ogc:def:crs:EPSG::4326", "EPSG:4326", "EPSG/0/4326"),
            ("urn:ogc:def:crs:OGC:1.3:CRS84", "CRS:84", "OGC/1.3/CRS84"),
            ("[EPSG:900913]", "EPSG:900913", "EPSG/0/900913"),
            ("[OGC:CRS84]", "CRS:84", "OGC/1.3/CRS84"),
        ] {
            let srs = parse(name).unwrap_or_else(|| panic!("{name}"));
            assert_eq!(srs.code(), code);
            assert_eq!(uri(&srs), format!("http://www.opengis.net/def/crs/{back}"));
        }
        for name in ["#/crs", "", "http://www.opengis.net/def/crs/EPSG/0/99999999", "http://h/EPSG/0/4326", "EPSG:4326"]
        {
            assert!(parse(name).is_none(), "{name}");
        }
    }
}

//! Map requests with the parameters of a WMS, which MapProxy takes for maps of its OGC API, too: `service=WMS` says so.
//!
//! What is drawn is what the path names, whatever `layers` says.

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::error::ApiError;
use crate::Params;

/// The same request in the words of OGC API – Maps; `None` where it is one already.
pub(super) fn translated(params: &Params) -> Result<Option<Params>, ApiError> {
    if !params.get("service").is_some_and(|service| service.eq_ignore_ascii_case("WMS")) {
        return Ok(None);
    }
    if !params.get("request").is_some_and(|request| request.eq_ignore_ascii_case("GetMap")) {
        return Err(ApiError::invalid("request must be GetMap with service=WMS"));
    }
    let is_1_3 = params.get("version").is_none_or(|version| version.starts_with("1.3"));
    let required =
        |name: &str| params.get(name).ok_or_else(|| ApiError::invalid(format!("{name} is missing with service=WMS")));
    let crs =
        params.get("crs").or(params.get("srs")).ok_or_else(|| ApiError::invalid("crs is missing with service=WMS"))?;
    let mut translated = String::new();
    let mut add = |name: &str, value: &str| {
        let value = utf8_percent_encode(value, NON_ALPHANUMERIC);
        translated.push_str(&format!("&{name}={value}"));
    };
    add("crs", crs);
    add("bbox-crs", crs);
    let bbox = required("bbox")?;
    // Before 1.3.0 x goes first, whatever the definition of the CRS says.
    let north_first = super::crs::parse(crs).is_some_and(|srs| srs.is_north_first());
    let bbox = match bbox.split(',').collect::<Vec<_>>()[..] {
        [a, b, c, d] if !is_1_3 && north_first => [b, a, d, c].join(","),
        _ => bbox.to_owned(),
    };
    add("bbox", &bbox);
    for name in ["width", "height"] {
        add(name, required(name)?);
    }
    if let Some(format) = params.get("format") {
        let format = format.strip_prefix("image/").unwrap_or(format);
        add("f", if format == "jpg" { "jpeg" } else { format });
    }
    let transparent = params.get("transparent").is_some_and(|value| value.eq_ignore_ascii_case("true"));
    add("transparent", if transparent { "true" } else { "false" });
    if let Some(color) = params.get("bgcolor") {
        add("bgcolor", color);
    }
    Ok(Some(Params::parse(&translated)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(query: &str) -> String {
        let params = translated(&Params::parse(query)).unwrap().unwrap();
        params.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a_get_map_request_is_understood() {
        let query = "service=WMS&request=GetMap&layers=x&styles=&bbox=1,2,3,4&width=5&height=6&format=image/jpeg";
        assert_eq!(
            text(&format!("{query}&version=1.1.1&srs=EPSG:4326&transparent=TRUE")),
            "crs=EPSG:4326 bbox-crs=EPSG:4326 bbox=2,1,4,3 width=5 height=6 f=jpeg transparent=true"
        );
        assert!(text(&format!("{query}&version=1.3.0&crs=EPSG:4326")).contains("bbox=1,2,3,4"));
        assert!(text(&format!("{query}&version=1.1.1&srs=EPSG:3857")).contains("bbox=1,2,3,4"));
    }

    #[test]
    fn other_requests_are_left_alone_or_refused() {
        assert_eq!(translated(&Params::parse("bbox=1,2,3,4")).unwrap(), None);
        for query in ["service=WMS", "service=wms&request=GetCapabilities", "service=WMS&request=GetMap&srs=EPSG:4326"]
        {
            assert!(translated(&Params::parse(query)).is_err(), "{query}");
        }
    }
}

//! Decisions as JSON: what an endpoint answers and a token claims, in the form that MapProxy's callback returns.

use mapproxy_grid::{Bbox, Coverage, Srs};
use serde_json::{Map, Value};

use super::{Decision, Feature, Grant, Partial};

/// JSON that is no decision.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct DecisionError(String);

impl Decision {
    /// Reads `{"authorized": "full" | "partial" | "none" | "unauthenticated", "layers": {…}, "limited_to": {…}}`.
    ///
    /// `layers` says of each layer what is granted (`map`, `tile`, `featureinfo`, `legendgraphic`: true) and perhaps
    /// where (`limited_to`), or is a list of layers of which everything is. `limited_to` has a `geometry`: a list of
    /// four numbers, WKT or GeoJSON, and its `srs`, which only GeoJSON can do without. What is not understood is an
    /// error, so that nothing is shown by mistake.
    pub fn from_json(json: &[u8]) -> Result<Decision, DecisionError> {
        let value = serde_json::from_slice(json).map_err(|error| wrong(format!("not JSON: {error}")))?;
        from_value(&value)
    }
}

pub(super) fn from_value(value: &Value) -> Result<Decision, DecisionError> {
    let object = value.as_object().ok_or_else(|| wrong("a decision is an object"))?;
    let area = area(object.get("limited_to"), "limited_to")?;
    match object.get("authorized") {
        Some(Value::String(word)) => match word.as_str() {
            "full" => Ok(match area {
                None => Decision::Full,
                Some(area) => Partial::new().others(Grant::all()).limited_to(area).into(),
            }),
            "partial" => {
                let partial = layers(object.get("layers"))?;
                Ok(area.into_iter().fold(partial, Partial::limited_to).into())
            }
            "none" => Ok(Decision::None),
            "unauthenticated" => Ok(Decision::Unauthenticated),
            other => Err(wrong(format!("authorized: {other:?} is none of full, partial, none, unauthenticated"))),
        },
        _ => Err(wrong("authorized: one of full, partial, none, unauthenticated is missing")),
    }
}

/// What is granted of layers: an object by name, a list of names, or names with blanks between them.
pub(super) fn layers(value: Option<&Value>) -> Result<Partial, DecisionError> {
    let all = |partial: Partial, name: &str| partial.layer(name, Grant::all());
    match value {
        None | Some(Value::Null) => Ok(Partial::new()),
        Some(Value::String(names)) => Ok(names.split_whitespace().fold(Partial::new(), all)),
        Some(Value::Array(names)) => names.iter().try_fold(Partial::new(), |partial, name| {
            let name = name.as_str().ok_or_else(|| wrong("layers: expected names"))?;
            Ok(all(partial, name))
        }),
        Some(Value::Object(layers)) => layers.iter().try_fold(Partial::new(), |partial, (name, value)| {
            let path = format!("layers.{name}");
            let features = value.as_object().ok_or_else(|| wrong(format!("{path}: expected an object")))?;
            Ok(partial.layer(name, grant(features, &path)?))
        }),
        Some(_) => Err(wrong("layers: expected an object or a list of names")),
    }
}

fn grant(object: &Map<String, Value>, path: &str) -> Result<Grant, DecisionError> {
    let mut features = Vec::new();
    for (name, feature) in [
        ("map", Feature::Map),
        ("tile", Feature::Tile),
        ("featureinfo", Feature::FeatureInfo),
        ("legendgraphic", Feature::LegendGraphic),
    ] {
        match object.get(name) {
            None | Some(Value::Null | Value::Bool(false)) => {}
            Some(Value::Bool(true)) => features.push(feature),
            Some(_) => return Err(wrong(format!("{path}.{name}: expected true or false"))),
        }
    }
    let area = area(object.get("limited_to"), &format!("{path}.limited_to"))?;
    Ok(area.into_iter().fold(Grant::of(features), Grant::limited_to))
}

fn area(value: Option<&Value>, path: &str) -> Result<Option<Coverage>, DecisionError> {
    let object = match value {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::Object(object)) => object,
        Some(_) => return Err(wrong(format!("{path}: expected an object with geometry and srs"))),
    };
    let at = |error: &dyn std::fmt::Display| wrong(format!("{path}: {error}"));
    let geometry = object.get("geometry").ok_or_else(|| at(&"geometry is missing"))?;
    let code = match (object.get("srs"), geometry) {
        (Some(Value::String(code)), _) => code.as_str(),
        // RFC 7946, 4.
        (None | Some(Value::Null), Value::Object(_)) => "EPSG:4326",
        _ => return Err(at(&"srs is missing")),
    };
    let srs = Srs::new(code).map_err(|error| at(&error))?;
    let coverage = match geometry {
        Value::Array(numbers) => {
            let numbers: Option<Vec<f64>> = numbers.iter().map(Value::as_f64).collect();
            let Some([min_x, min_y, max_x, max_y]) = numbers.as_deref() else {
                return Err(at(&"a bbox has four numbers"));
            };
            let bbox = Bbox::new(*min_x, *min_y, *max_x, *max_y);
            if !bbox.is_valid() {
                return Err(at(&"the bbox is empty: smaller numbers come first"));
            }
            Coverage::from_bbox(bbox, srs)
        }
        Value::String(wkt) => Coverage::from_wkt(wkt, srs).map_err(|error| at(&error))?,
        Value::Object(_) => Coverage::from_geojson(&geometry.to_string(), srs).map_err(|error| at(&error))?,
        _ => return Err(at(&"geometry: expected a list of four numbers, WKT or GeoJSON")),
    };
    Ok(Some(coverage))
}

fn wrong(message: impl Into<String>) -> DecisionError {
    DecisionError(message.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(json: &str) -> String {
        Decision::from_json(json.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn a_decision_is_read_with_its_features_and_areas() {
        let json = r#"{"authorized": "partial", "user": "joe", "layers": {
            "a": {"map": true, "tile": false, "limited_to": {"geometry": [5, 45, 10, 55], "srs": "EPSG:4326"}},
            "b": {"tile": true, "future": 7}},
            "limited_to": {"geometry": {"type": "Polygon", "coordinates": [[[0, 0], [9, 0], [9, 9], [0, 0]]]}}}"#;
        let Decision::Partial(partial) = Decision::from_json(json.as_bytes()).unwrap() else { panic!() };
        let features = |layer: &str| partial.grant(layer).unwrap().features.clone();
        assert_eq!((features("a"), features("b")), (vec![Feature::Map], vec![Feature::Tile]));
        assert!(partial.grant("c").is_none());
        assert_eq!((partial.grant("a").unwrap().limits.len(), partial.limits.len()), (1, 1));
    }

    #[test]
    fn layers_can_be_a_list_of_names() {
        for json in [r#"["a", "b c"]"#, r#""a b""#, r#"{"a": {"map": true}}"#] {
            let partial = layers(Some(&serde_json::from_str(json).unwrap())).unwrap();
            assert!(partial.grant("a").is_some() && partial.grant("c").is_none(), "{json}");
        }
        let nothing = Decision::from_json(br#"{"authorized": "partial"}"#).unwrap();
        assert!(matches!(nothing, Decision::Partial(partial) if partial.grant("a").is_none()));
    }

    #[test]
    fn everything_within_an_area_is_possible() {
        let json =
            br#"{"authorized": "full", "limited_to": {"geometry": "POLYGON((0 0,9 0,9 9,0 0))", "srs": "EPSG:4326"}}"#;
        let Decision::Partial(partial) = Decision::from_json(json).unwrap() else { panic!() };
        assert!(partial.grant("any").is_some());
        assert_eq!(partial.limits.len(), 1);
    }

    #[test]
    fn what_is_not_understood_is_an_error() {
        for (json, message) in [
            ("", "not JSON"),
            ("[]", "a decision is an object"),
            ("{}", "authorized: one of"),
            (r#"{"authorized": true}"#, "authorized: one of"),
            (r#"{"authorized": "Full"}"#, "authorized: \"Full\" is none of"),
            (r#"{"authorized": "partial", "layers": 1}"#, "layers: expected"),
            (r#"{"authorized": "partial", "layers": [1]}"#, "layers: expected names"),
            (r#"{"authorized": "partial", "layers": {"a": true}}"#, "layers.a: expected an object"),
            (r#"{"authorized": "partial", "layers": {"a": {"map": "yes"}}}"#, "layers.a.map: expected true or false"),
            (
                r#"{"authorized": "full", "limited_to": {"bbox": [0, 0, 1, 1], "srs": "EPSG:4326"}}"#,
                "geometry is missing",
            ),
            (r#"{"authorized": "full", "limited_to": {"geometry": [0, 0, 1, 1]}}"#, "srs is missing"),
            (r#"{"authorized": "full", "limited_to": {"geometry": [0, 0, 1], "srs": "EPSG:4326"}}"#, "four numbers"),
            (r#"{"authorized": "full", "limited_to": {"geometry": [9, 0, 1, 1], "srs": "EPSG:4326"}}"#, "is empty"),
            (r#"{"authorized": "full", "limited_to": {"geometry": "CIRCLE(1)", "srs": "EPSG:4326"}}"#, "limited_to: "),
            (r#"{"authorized": "full", "limited_to": {"geometry": [0, 0, 1, 1], "srs": "EPSG:0"}}"#, "limited_to: "),
        ] {
            assert!(error(json).contains(message), "{json}: {}", error(json));
        }
    }
}

//! GeoJSON with a condition: the features that meet it, as GeoJSON again. Geometries are not looked at.

use std::collections::HashMap;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use serde_json::value::RawValue;

use crate::condition::{Column, Condition, Kind, Unfit, Value};
use crate::{Error, Found, Trouble, broken, is_query};

pub(crate) fn read(path: &Path, condition: Option<&str>) -> Result<Found, Trouble> {
    let text = String::from_utf8(crate::bytes_of(path)?);
    let text = text.map_err(|error| broken(path, format!("no UTF-8 at byte {}", error.utf8_error().valid_up_to())))?;
    parse(path, &text, condition)
}

pub(crate) fn parse(path: &Path, text: &str, condition: Option<&str>) -> Result<Found, Trouble> {
    let text = text.trim_start_matches('\u{feff}');
    let Some(condition) = condition else { return Ok(Found::GeoJson(text.to_owned())) };
    if is_query(condition) {
        return Err(Trouble::Beyond("a query".to_owned()));
    }
    let object: Object<'_> = serde_json::from_str(text).map_err(|error| broken(path, format!("GeoJSON: {error}")))?;
    let features = match (object.kind, object.features) {
        ("FeatureCollection", Some(features)) => features,
        ("Feature", _) => vec![Feature { properties: object.properties, geometry: object.geometry }],
        // A geometry has no attributes.
        _ => return Err(Trouble::Beyond("a condition on geometries without attributes".to_owned())),
    };
    let columns = columns(&features);
    let condition = Condition::new(condition, &columns).map_err(|unfit| match unfit {
        Unfit::Beyond => Trouble::Beyond(format!("the condition `{condition}`")),
        Unfit::Wrong(what) => Error::Condition { condition: condition.to_owned(), what }.into(),
    })?;
    let holds = |feature: &Feature<'_>| {
        condition.holds(|column| {
            let properties = feature.properties.as_ref();
            match properties.and_then(|properties| properties.get(&*columns[column].name)) {
                None | Some(Json::Null) => Value::Null,
                Some(Json::Bool(flag)) => Value::Integer((*flag).into()),
                Some(Json::String(text)) => Value::Text(text.clone().into()),
                Some(Json::Number(number)) => match number.as_i64() {
                    Some(integer) => Value::Integer(integer),
                    None => Value::Real(number.as_f64().unwrap_or(f64::NAN)),
                },
                Some(other) => Value::Text(other.to_string().into()),
            }
        })
    };
    let geometries = features.iter().filter(|feature| holds(feature)).filter_map(|feature| feature.geometry);
    let kept = Kept {
        kind: "FeatureCollection",
        features: geometries.map(|geometry| KeptFeature { kind: "Feature", geometry }).collect(),
    };
    let text = serde_json::to_string(&kept).map_err(|error| broken(path, error.to_string()))?;
    Ok(Found::GeoJson(text))
}

type Properties = serde_json::Map<String, Json>;

#[derive(Deserialize)]
struct Object<'a> {
    #[serde(rename = "type", default)]
    kind: &'a str,
    #[serde(borrow)]
    features: Option<Vec<Feature<'a>>>,
    properties: Option<Properties>,
    #[serde(borrow)]
    geometry: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Feature<'a> {
    properties: Option<Properties>,
    #[serde(borrow)]
    geometry: Option<&'a RawValue>,
}

#[derive(Serialize)]
struct Kept<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    features: Vec<KeptFeature<'a>>,
}

#[derive(Serialize)]
struct KeptFeature<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    geometry: &'a RawValue,
}

/// A column holds what all its values are.
fn columns(features: &[Feature<'_>]) -> Vec<Column> {
    let mut columns: Vec<Column> = Vec::new();
    let mut known: HashMap<&str, usize> = HashMap::new();
    // A column without any value is one of texts.
    let mut is_empty: Vec<bool> = Vec::new();
    for (name, value) in features.iter().flat_map(|feature| feature.properties.iter().flatten()) {
        let number = *known.entry(name).or_insert_with(|| {
            columns.push(Column { name: name.clone(), kind: Kind::Text });
            is_empty.push(true);
            columns.len() - 1
        });
        let kind = match value {
            Json::Null => continue,
            Json::Bool(_) | Json::Number(_) => Kind::Number,
            // GDAL takes texts that look like one for dates.
            Json::String(text) if looks_like_a_date(text) => Kind::Other,
            Json::String(_) => Kind::Text,
            Json::Array(_) | Json::Object(_) => Kind::Other,
        };
        columns[number].kind = if is_empty[number] || columns[number].kind == kind { kind } else { Kind::Other };
        is_empty[number] = false;
    }
    columns
}

fn looks_like_a_date(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.len() >= 8
        && bytes.iter().take(4).filter(|b| b.is_ascii_digit()).count() >= 2
        && bytes.iter().filter(|b| b"-/:".contains(b)).count() >= 2
        && bytes.iter().all(|b| b.is_ascii_digit() || b"-/:.TZ+ ".contains(b))
}

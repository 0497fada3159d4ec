//! JSON documents merged: objects member by member, lists one after the other.

use serde_json::Value;

/// What several documents say; `None` if none of them is JSON. Documents that are none, and `null`, are left out.
pub(crate) fn merge(texts: &[&str]) -> Option<String> {
    let mut merged: Option<Value> = None;
    for text in texts {
        // The parser limits the depth.
        match serde_json::from_str(text) {
            Ok(Value::Null) => {
                merged.get_or_insert(Value::Null);
            }
            Ok(value) => match &mut merged {
                None | Some(Value::Null) => merged = Some(value),
                Some(merged) => add(merged, value),
            },
            Err(error) => log::warn!(target: "mapproxy.source", "feature info is no JSON and left out: {error}"),
        }
    }
    merged.map(|value| value.to_string())
}

/// A list of documents grows by what is no list; otherwise the later value counts where two cannot be joined.
fn add(below: &mut Value, above: Value) {
    match (below, above) {
        (Value::Object(below), Value::Object(above)) => {
            for (name, value) in above {
                match below.get_mut(&name) {
                    Some(known) => add_member(known, value),
                    None => {
                        below.insert(name, value);
                    }
                }
            }
        }
        (Value::Array(below), Value::Array(above)) => below.extend(above),
        (Value::Array(below), above) => below.push(above),
        (below, Value::Array(mut above)) => {
            above.insert(0, below.take());
            *below = Value::Array(above);
        }
        (below, above) => *below = above,
    }
}

fn add_member(below: &mut Value, above: Value) {
    match (&*below, &above) {
        (Value::Object(_), Value::Object(_)) | (Value::Array(_), Value::Array(_)) => add(below, above),
        (_, Value::Null) => {}
        _ => *below = above,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_are_merged_deeply_and_keep_their_order() {
        let merged = merge(&[
            r#"{"type": "FeatureCollection", "features": [{"id": 1}], "n": 1, "d": {"x": [1]}}"#,
            "null",
            "no json",
            r#"{"features": [{"id": 2}], "n": 2, "d": {"y": 1, "x": [2]}, "ä": "ü", "type": null}"#,
        ]);
        let expected =
            r#"{"type":"FeatureCollection","features":[{"id":1},{"id":2}],"n":2,"d":{"x":[1,2],"y":1},"ä":"ü"}"#;
        assert_eq!(merged.as_deref(), Some(expected));
    }

    #[test]
    fn lists_grow_by_whatever_comes() {
        assert_eq!(merge(&["[1]", "[2, 3]", "{}"]).as_deref(), Some("[1,2,3,{}]"));
        assert_eq!(merge(&[r#"{"a":1}"#, "[2]"]).as_deref(), Some(r#"[{"a":1},2]"#));
        assert_eq!(merge(&["null", "null"]).as_deref(), Some("null"));
        assert_eq!(merge(&["{", "}"]), None);
    }

    #[test]
    fn deep_nesting_is_no_document() {
        let deep = "[".repeat(100_000) + &"]".repeat(100_000);
        assert_eq!(merge(&[&deep, "[1]"]).as_deref(), Some("[1]"));
    }
}

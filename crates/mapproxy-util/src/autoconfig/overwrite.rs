//! Merging what people want otherwise into what was found out.

use serde_json::{Map, Value};

/// All entries of a dictionary.
const ALL: &str = "__all__";
/// Behind the key of a list: its items are added.
const EXTEND: &str = "__extend__";
/// Before or behind a part of a key: all that end or begin with the rest.
const WILDCARD: &str = "___";

/// Dictionaries are merged, all else is replaced.
pub(super) fn merge(into: &mut Map<String, Value>, changes: Map<String, Value>) {
    for (key, change) in changes {
        if let Some(list) = key.strip_suffix(EXTEND)
            && let Value::Array(more) = change
        {
            match into.get_mut(list) {
                Some(Value::Array(items)) => items.extend(more),
                _ => {
                    into.insert(list.to_owned(), more.into());
                }
            }
            continue;
        }
        let Some((prefix, suffix)) = several(&key) else {
            put(into.entry(key).or_insert(Value::Null), change);
            continue;
        };
        for (_, value) in into.iter_mut().filter(|(name, _)| name.starts_with(prefix) && name.ends_with(suffix)) {
            put(value, change.clone());
        }
    }
}

/// What the keys begin and end with that are meant; `None`: only this one is.
fn several(key: &str) -> Option<(&str, &str)> {
    if key == ALL {
        return Some(("", ""));
    }
    key.strip_prefix(WILDCARD).map(|suffix| ("", suffix)).or_else(|| Some((key.strip_suffix(WILDCARD)?, "")))
}

fn put(value: &mut Value, change: Value) {
    match (value, change) {
        (Value::Object(into), Value::Object(changes)) => merge(into, changes),
        // Nothing is there to be matched by wildcards, but lists may be begun.
        (value @ Value::Null, Value::Object(changes)) => {
            let mut into = Map::new();
            merge(&mut into, changes);
            *value = into.into();
        }
        (value, change) => *value = change,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn merged(mut into: Value, changes: Value) -> Value {
        put(&mut into, changes);
        into
    }

    #[test]
    fn dictionaries_are_merged_and_all_else_is_replaced() {
        let merged = merged(
            json!({ "a": { "b": 1, "c": [1] }, "d": 1 }),
            json!({ "a": { "c": [2], "e": {} }, "d": { "f": 2 } }),
        );
        assert_eq!(merged, json!({ "a": { "b": 1, "c": [2], "e": {} }, "d": { "f": 2 } }));
    }

    #[test]
    fn keys_may_mean_several_entries() {
        let found = || json!({ "one_wms": { "x": [1] }, "two_wms": {}, "two_tile": {} });
        assert_eq!(
            merged(found(), json!({ "__all__": { "y": 1 } })),
            json!({ "one_wms": { "x": [1], "y": 1 }, "two_wms": { "y": 1 }, "two_tile": { "y": 1 } })
        );
        assert_eq!(
            merged(found(), json!({ "___wms": { "y": 1 }, "two___": { "z": 2 } })),
            json!({ "one_wms": { "x": [1], "y": 1 }, "two_wms": { "y": 1, "z": 2 }, "two_tile": { "z": 2 } })
        );
        assert_eq!(merged(found(), json!({ "___": { "y": 1 } })), merged(found(), json!({ "__all__": { "y": 1 } })));
        assert_eq!(
            merged(json!({ "x": [1] }), json!({ "x__extend__": [2], "n__extend__": [3] })),
            json!({ "x": [1, 2], "n": [3] })
        );
    }
}

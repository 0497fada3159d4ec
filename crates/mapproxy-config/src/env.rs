//! `$VAR` and `${VAR}` in texts.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use crate::position::Span;
use crate::yaml::{Mapping, Node, Value};

/// The environment variables a configuration may use: a function from name to value.
pub type Environment<'e> = dyn Fn(&str) -> Option<String> + 'e;

/// Replaces variables in all texts of `node`, keys excepted. A variable that is not set stays as it is written; it
/// goes to `unset` with the first place it was used.
pub(crate) fn expand(node: &Node, env: &Environment<'_>, unset: &mut BTreeMap<String, Span>) -> Option<Node> {
    let value = match &node.value {
        Value::String(text) => match expand_text(text, env, |name| {
            unset.entry(name.to_owned()).or_insert(node.span);
        }) {
            Cow::Borrowed(_) => return None,
            Cow::Owned(text) => Value::String(Arc::from(text)),
        },
        Value::Sequence(items) => {
            let expanded = expand_all(items.iter(), env, unset)?;
            let items = items.iter().zip(expanded).map(|(item, new)| new.unwrap_or_else(|| item.clone()));
            Value::Sequence(Arc::new(items.collect()))
        }
        Value::Mapping(mapping) => {
            let expanded = expand_all(mapping.iter().map(|(_, value)| value), env, unset)?;
            let entries = mapping.iter().zip(expanded);
            let entries = entries.map(|((key, old), new)| (key.clone(), new.unwrap_or_else(|| old.clone())));
            Value::Mapping(Arc::new(entries.collect::<Mapping>()))
        }
        _ => return None,
    };
    Some(Node { value, span: node.span })
}

/// `None` if nothing changes.
fn expand_all<'n>(
    nodes: impl Iterator<Item = &'n Node>,
    env: &Environment<'_>,
    unset: &mut BTreeMap<String, Span>,
) -> Option<Vec<Option<Node>>> {
    let mut expanded: Option<Vec<Option<Node>>> = None;
    for (index, node) in nodes.enumerate() {
        let new = expand(node, env, unset);
        match &mut expanded {
            Some(expanded) => expanded.push(new),
            None if new.is_some() => {
                let mut list: Vec<Option<Node>> = Vec::new();
                list.resize_with(index, || None);
                list.push(new);
                expanded = Some(list);
            }
            None => {}
        }
    }
    expanded
}

fn expand_text<'t>(text: &'t str, env: &Environment<'_>, mut unset: impl FnMut(&str)) -> Cow<'t, str> {
    let mut out: Option<String> = None;
    let mut copied = 0;
    let mut at = 0;
    while let Some(found) = text[at..].find('$') {
        let start = at + found;
        let Some((name, end)) = variable(text, start + 1) else {
            at = start + 1;
            continue;
        };
        match env(name) {
            Some(value) => {
                let out = out.get_or_insert_default();
                out.push_str(&text[copied..start]);
                out.push_str(&value);
                copied = end;
            }
            None => unset(name),
        }
        at = end;
    }
    match out {
        None => Cow::Borrowed(text),
        Some(mut out) => {
            out.push_str(&text[copied..]);
            Cow::Owned(out)
        }
    }
}

/// The variable after the `$` before `at`, and where it ends.
fn variable(text: &str, at: usize) -> Option<(&str, usize)> {
    let rest = &text[at..];
    if let Some(braced) = rest.strip_prefix('{') {
        let length = braced.find('}').filter(|length| *length > 0)?;
        return Some((&braced[..length], at + length + 2));
    }
    let length = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
    (length > 0).then(|| (&rest[..length], at + length))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expanded(text: &str) -> (String, Vec<String>) {
        let env = |name: &str| match name {
            "HOST" => Some("example.org".to_owned()),
            "EMPTY" => Some(String::new()),
            "A:-b" => Some("odd".to_owned()),
            _ => None,
        };
        let mut unset = Vec::new();
        let text = expand_text(text, &env, |name| unset.push(name.to_owned())).into_owned();
        (text, unset)
    }

    #[test]
    fn both_spellings_are_replaced_wherever_they_stand() {
        assert_eq!(expanded("http://$HOST/${HOST}x").0, "http://example.org/example.orgx");
        assert_eq!(expanded("$EMPTY").0, "");
        assert_eq!(expanded("plain").0, "plain");
    }

    #[test]
    fn a_variable_that_is_not_set_stays_and_is_named() {
        assert_eq!(expanded("a $NOPE ${NOR} b"), ("a $NOPE ${NOR} b".to_owned(), vec!["NOPE".into(), "NOR".into()]));
    }

    #[test]
    fn dollars_are_not_escaped_and_defaults_are_not_known() {
        assert_eq!(expanded("$$HOST").0, "$example.org");
        assert_eq!(expanded("${A:-b}").0, "odd");
        assert_eq!(expanded("100$ ${} $").0, "100$ ${} $");
    }
}

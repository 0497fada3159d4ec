//! Texts with `{{names}}` in them.

/// `template` with each `{{name}}` replaced by its value. A line that is left empty by a value goes.
///
/// # Panics
///
/// If the template has a name without a value: the templates are part of the program, and tests render each.
pub(super) fn render(template: &str, values: &[(&str, &str)]) -> String {
    let mut text = String::with_capacity(template.len() + 256);
    for line in template.lines() {
        let mut rendered = String::new();
        let mut rest = line;
        while let Some((before, after)) = rest.split_once("{{") {
            let (name, after) = after.split_once("}}").expect("names in templates are closed");
            let value = values.iter().find(|(known, _)| *known == name).map(|(_, value)| *value);
            rendered.push_str(before);
            rendered.push_str(value.unwrap_or_else(|| panic!("the template has no value for {name}")));
            rest = after;
        }
        rendered.push_str(rest);
        if rendered.is_empty() && !line.is_empty() {
            continue;
        }
        text.push_str(rendered.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::render;

    #[test]
    fn names_are_replaced_and_lines_without_content_go() {
        let text = render("a {{x}} b {{y}}\n\n{{none}}\nc {}\n", &[("x", "1"), ("y", "{{x}}"), ("none", "")]);
        assert_eq!(text, "a 1 b {{x}}\n\nc {}\n");
    }
}

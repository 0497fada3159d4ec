//! Paths of RESTful tiles, as `restful_template` says them: `/{Layer}/{TileMatrixSet}/{TileMatrix}/{TileCol}/…`.

use regex::Regex;

use super::TileRequest;

/// The variables of a tile's path that must be there.
const REQUIRED: [&str; 5] = ["Layer", "TileMatrixSet", "TileMatrix", "TileCol", "TileRow"];

/// A template that cannot name tiles.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0}")]
pub struct TemplateError(String);

/// A checked `restful_template`.
#[derive(Clone, Debug)]
pub struct TileTemplate {
    text: String,
    pattern: Regex,
    /// In the order of the path.
    variables: Vec<String>,
}

impl TileTemplate {
    /// MapProxy's default.
    pub const DEFAULT: &'static str = "/{Layer}/{TileMatrixSet}/{TileMatrix}/{TileCol}/{TileRow}.{Format}";

    /// Reads a template; old templates with `{{x}}` are taken, too.
    pub fn new(template: &str) -> Result<TileTemplate, TemplateError> {
        let text = template.replace("{{", "{").replace("}}", "}");
        let text = if text.starts_with('/') { text } else { format!("/{text}") };
        let mut pattern = String::from("^");
        let mut found: Vec<&str> = Vec::new();
        let mut rest = text.as_str();
        while let Some((literal, after)) = rest.split_once('{') {
            let (name, after) =
                after.split_once('}').ok_or_else(|| TemplateError(format!("missing '}}' in template {template}")))?;
            pattern.push_str(&regex::escape(literal));
            let class = match name {
                "Layer" | "TileMatrixSet" | "Style" => r"[\w_.:-]+",
                "TileMatrix" => r"\d+",
                "TileCol" | "TileRow" => r"-?\d+",
                "Format" => r"\w+",
                // A dimension.
                name if !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-') => {
                    r"[\w_.,:+-]+"
                }
                _ => return Err(TemplateError(format!("{{{name}}} in template {template} is no variable"))),
            };
            if found.iter().any(|known| known.eq_ignore_ascii_case(name)) {
                return Err(TemplateError(format!("variable {{{name}}} stands twice in template {template}")));
            }
            pattern.push_str(&format!("({class})"));
            found.push(name);
            rest = after;
        }
        pattern.push_str(&regex::escape(rest));
        pattern.push('$');
        let missing: Vec<&str> = REQUIRED.into_iter().filter(|name| !found.contains(name)).collect();
        if !missing.is_empty() {
            return Err(TemplateError(format!("template {template} lacks {{{}}}", missing.join("}, {"))));
        }
        let pattern = Regex::new(&pattern).map_err(|error| TemplateError(format!("template {template}: {error}")))?;
        let variables = found.into_iter().map(str::to_owned).collect();
        Ok(TileTemplate { text, pattern, variables })
    }

    /// The variables that name dimensions.
    pub(super) fn dimensions(&self) -> impl Iterator<Item = &str> {
        let is_dimension = |name: &&String| !REQUIRED.contains(&name.as_str()) && *name != "Style" && *name != "Format";
        self.variables.iter().filter(is_dimension).map(String::as_str)
    }

    /// The template, for `ResourceURL`.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The tile that a path names.
    pub(super) fn parse<'a>(&'a self, path: &'a str) -> Option<TileRequest<'a>> {
        let found = self.pattern.captures(path)?;
        let at = |index: usize| found.get(index + 1).map(|found| found.as_str());
        let value = |name: &str| at(self.variables.iter().position(|known| known == name)?);
        let dimensions = self.dimensions().filter_map(|name| Some((name, value(name)?)));
        Some(TileRequest {
            layer: value("Layer")?,
            matrix_set: value("TileMatrixSet")?,
            matrix: value("TileMatrix")?,
            column: value("TileCol")?,
            row: value("TileRow")?,
            format: value("Format"),
            dimensions: dimensions.collect(),
            is_closed: true,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_template_names_a_tile_by_path() {
        let template = TileTemplate::new(TileTemplate::DEFAULT).unwrap();
        let tile = template.parse("/my.layer/EPSG:3857/03/-4/5.png").unwrap();
        assert_eq!(
            (tile.layer, tile.matrix_set, tile.matrix, tile.column, tile.row, tile.format),
            ("my.layer", "EPSG:3857", "03", "-4", "5", Some("png"))
        );
        assert!(template.parse("/layer/set/3/4/5.png/more").is_none());
        assert!(template.parse("/layer/set/x/4/5.png").is_none());
    }

    #[test]
    fn templates_without_all_variables_are_refused_by_name() {
        let error = TileTemplate::new("/{Layer}/{TileMatrix}/{TileCol}.png").unwrap_err();
        assert!(error.to_string().contains("lacks {TileMatrixSet}, {TileRow}"), "{error}");
        assert!(TileTemplate::new("/{Layer").is_err());
        assert!(TileTemplate::new("/{Layer}{Layer}").is_err());
    }

    #[test]
    fn all_other_variables_are_dimensions() {
        let template = "/{Layer}/{TileMatrixSet}/{Time}/{Elevation}/{TileMatrix}/{TileCol}/{TileRow}.{Format}";
        let template = TileTemplate::new(template).unwrap();
        let tile = template.parse("/l/s/2012-11-12T00:00:00Z/-20.5/1/2/3.png").unwrap();
        assert_eq!(tile.dimensions, [("Time", "2012-11-12T00:00:00Z"), ("Elevation", "-20.5")]);
        assert!(template.parse("/l/s/../../1/2/3.png").is_some_and(|tile| tile.dimensions[0].1 == ".."));
        assert!(template.parse("/l/s/a/1/2/3.png").is_none());
        for broken in ["{Ti me}", "{}", "{Time}{TIME}"] {
            let text = format!("/{{Layer}}/{{TileMatrixSet}}/{{TileMatrix}}/{{TileCol}}/{{TileRow}}/{broken}");
            assert!(TileTemplate::new(&text).is_err(), "{broken}");
        }
    }

    #[test]
    fn old_templates_with_double_braces_are_read() {
        let template = TileTemplate::new("/a/{{Layer}}/{{TileMatrixSet}}/{{TileMatrix}}/{{TileCol}}/{{TileRow}}.png");
        assert!(template.unwrap().parse("/a/l/s/1/2/3.png").is_some());
    }
}

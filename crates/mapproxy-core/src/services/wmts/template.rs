//! Paths of RESTful tiles and of what lies at their pixels, as `restful_template` and `restful_featureinfo_template` say
//! them: `/{Layer}/{TileMatrixSet}/{TileMatrix}/{TileCol}/…`.

use regex::Regex;

use super::TileRequest;
use super::info::{InfoFormatName, InfoRequest};

/// The variables of a tile's path that must be there.
const REQUIRED: [&str; 5] = ["Layer", "TileMatrixSet", "TileMatrix", "TileCol", "TileRow"];

/// Those of a pixel's path besides.
const REQUIRED_FOR_INFO: [&str; 2] = ["I", "J"];

/// A template that cannot name tiles.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0}")]
pub struct TemplateError(String);

/// A checked `restful_template` or `restful_featureinfo_template`.
#[derive(Clone, Debug)]
pub struct TileTemplate {
    text: String,
    pattern: Regex,
    /// In the order of the path.
    variables: Vec<String>,
    /// It names pixels.
    is_for_info: bool,
}

impl TileTemplate {
    /// MapProxy's default.
    pub const DEFAULT: &'static str = "/{Layer}/{TileMatrixSet}/{TileMatrix}/{TileCol}/{TileRow}.{Format}";

    /// MapProxy's default for feature info.
    pub const INFO_DEFAULT: &'static str =
        "/{Layer}/{TileMatrixSet}/{TileMatrix}/{TileCol}/{TileRow}/{I}/{J}.{InfoFormat}";

    /// Reads a template for tiles; old templates with `{{x}}` are taken, too.
    pub fn new(template: &str) -> Result<TileTemplate, TemplateError> {
        TileTemplate::with_required(template, &REQUIRED)
    }

    /// Reads a template for feature info.
    pub fn for_info(template: &str) -> Result<TileTemplate, TemplateError> {
        TileTemplate::with_required(template, &[&REQUIRED[..], &REQUIRED_FOR_INFO].concat())
    }

    fn with_required(template: &str, required: &[&str]) -> Result<TileTemplate, TemplateError> {
        let is_for_info = required.contains(&"I");
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
                "I" | "J" if is_for_info => r"\d+",
                "InfoFormat" if is_for_info => r"\w+",
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
        let missing: Vec<&str> = required.iter().copied().filter(|name| !found.contains(name)).collect();
        if !missing.is_empty() {
            return Err(TemplateError(format!("template {template} lacks {{{}}}", missing.join("}, {"))));
        }
        let pattern = Regex::new(&pattern).map_err(|error| TemplateError(format!("template {template}: {error}")))?;
        let variables = found.into_iter().map(str::to_owned).collect();
        Ok(TileTemplate { text, pattern, variables, is_for_info })
    }

    /// The variables that name dimensions.
    pub(super) fn dimensions(&self) -> impl Iterator<Item = &str> {
        let is_known = |name: &str| REQUIRED.contains(&name) || matches!(name, "Style" | "Format");
        let is_of_info = |name: &str| self.is_for_info && matches!(name, "I" | "J" | "InfoFormat");
        self.variables.iter().map(String::as_str).filter(move |name| !is_known(name) && !is_of_info(name))
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

    /// The pixel that a path names.
    pub(super) fn parse_info<'a>(&'a self, path: &'a str) -> Option<InfoRequest<'a>> {
        let found = self.pattern.captures(path)?;
        let value = |name: &str| {
            let index = self.variables.iter().position(|known| known == name)?;
            found.get(index + 1).map(|found| found.as_str())
        };
        Some(InfoRequest {
            tile: TileRequest { format: None, ..self.parse(path)? },
            column: value("I")?,
            row: value("J")?,
            info_format: value("InfoFormat").map(InfoFormatName::Suffix),
            feature_count: None,
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
    fn pixels_of_tiles_have_paths_of_their_own() {
        let template = TileTemplate::for_info(TileTemplate::INFO_DEFAULT).unwrap();
        let wanted = template.parse_info("/l/GLOBAL/03/4/5/10/20.txt").unwrap();
        assert_eq!((wanted.tile.layer, wanted.tile.row, wanted.column, wanted.row), ("l", "5", "10", "20"));
        assert_eq!((wanted.info_format, wanted.tile.dimensions.len()), (Some(InfoFormatName::Suffix("txt")), 0));
        assert!(template.parse_info("/l/GLOBAL/03/4/5/-1/20.txt").is_none());
        let error = TileTemplate::for_info(TileTemplate::DEFAULT).unwrap_err();
        assert!(error.to_string().contains("lacks {I}, {J}"), "{error}");
        let dated = "/{Time}/{Layer}/{TileMatrixSet}/{TileMatrix}/{TileCol}/{TileRow}/{I}/{J}";
        let wanted = TileTemplate::for_info(dated).unwrap();
        let wanted = wanted.parse_info("/2020/l/s/1/2/3/4/5").unwrap();
        assert_eq!((wanted.tile.dimensions, wanted.info_format), (vec![("Time", "2020")], None));
    }

    #[test]
    fn old_templates_with_double_braces_are_read() {
        let template = TileTemplate::new("/a/{{Layer}}/{{TileMatrixSet}}/{{TileMatrix}}/{{TileCol}}/{{TileRow}}.png");
        assert!(template.unwrap().parse("/a/l/s/1/2/3.png").is_some());
    }
}

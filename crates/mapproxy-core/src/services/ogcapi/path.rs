//! The resources, by their paths.

/// What a path names.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Resource<'a> {
    Landing,
    Conformance,
    Api,
    Collections,
    Collection(&'a str),
    /// With the extension of the path.
    Map(Scope<'a>, Option<&'a str>),
    TileMatrixSets,
    TileMatrixSet(&'a str),
    TileSets(Scope<'a>),
    TileSet(Scope<'a>, &'a str),
    Tile(Scope<'a>, TilePath<'a>),
    Static(&'a str),
}

/// Of what a map or tile is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope<'a> {
    /// The collections that `collections` names, or the configuration.
    Dataset,
    Collection(&'a str),
}

/// A tile as the path names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TilePath<'a> {
    pub(super) matrix_set: &'a str,
    pub(super) matrix: &'a str,
    pub(super) row: &'a str,
    pub(super) column: &'a str,
    pub(super) extension: Option<&'a str>,
}

impl<'a> Resource<'a> {
    /// The resource of a decoded path below `/ogcapi`. `is_collection` tells names that have a slash from longer paths.
    pub(super) fn parse(path: &'a str, is_collection: impl Fn(&str) -> bool) -> Option<Resource<'a>> {
        if let Some(name) = path.strip_prefix("/static/") {
            return Some(Resource::Static(name));
        }
        let path = path.strip_suffix('/').unwrap_or(path);
        if let Some(rest) = path.strip_prefix("/collections/") {
            let (id, rest) = split_collection(rest, is_collection);
            if id.is_empty() {
                return None;
            }
            return match rest {
                "" => Some(Resource::Collection(id)),
                rest => below(Scope::Collection(id), rest),
            };
        }
        match path {
            "" => Some(Resource::Landing),
            "/conformance" => Some(Resource::Conformance),
            "/api" => Some(Resource::Api),
            "/collections" => Some(Resource::Collections),
            "/tileMatrixSets" => Some(Resource::TileMatrixSets),
            _ => match path.strip_prefix("/tileMatrixSets/") {
                Some(id) if !id.is_empty() && !id.contains('/') => Some(Resource::TileMatrixSet(id)),
                Some(_) => None,
                None => below(Scope::Dataset, path),
            },
        }
    }
}

/// The longest name of a collection that `rest` begins with, else its first segment.
fn split_collection(rest: &str, is_collection: impl Fn(&str) -> bool) -> (&str, &str) {
    let ends = rest.match_indices('/').map(|(at, _)| at).chain([rest.len()]);
    let known = ends.filter(|&end| is_collection(&rest[..end])).last();
    rest.split_at(known.or_else(|| rest.find('/')).unwrap_or(rest.len()))
}

/// Maps and tiles: `/map…`.
fn below<'a>(scope: Scope<'a>, path: &'a str) -> Option<Resource<'a>> {
    let rest = path.strip_prefix("/map")?;
    if rest.is_empty() {
        return Some(Resource::Map(scope, None));
    }
    if let Some(extension) = rest.strip_prefix('.') {
        return Some(Resource::Map(scope, Some(extension)));
    }
    let mut segments = rest.strip_prefix("/tiles")?.split('/');
    if segments.next() != Some("") {
        return None;
    }
    let segments: Vec<&str> = segments.take(5).collect();
    match segments[..] {
        [] => Some(Resource::TileSets(scope)),
        [matrix_set] => Some(Resource::TileSet(scope, matrix_set)),
        [matrix_set, matrix, row, column] => {
            let (column, extension) = match column.split_once('.') {
                Some((column, extension)) => (column, Some(extension)),
                None => (column, None),
            };
            Some(Resource::Tile(scope, TilePath { matrix_set, matrix, row, column, extension }))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(path: &str) -> Option<Resource<'_>> {
        Resource::parse(path, |name| matches!(name, "a" | "a/map" | "b c"))
    }

    #[test]
    fn each_resource_has_its_path() {
        assert_eq!(parse(""), Some(Resource::Landing));
        assert_eq!(parse("/"), Some(Resource::Landing));
        assert_eq!(parse("/collections/"), Some(Resource::Collections));
        assert_eq!(parse("/collections/b c"), Some(Resource::Collection("b c")));
        assert_eq!(parse("/collections/x/map"), Some(Resource::Map(Scope::Collection("x"), None)));
        assert_eq!(parse("/map.jpg"), Some(Resource::Map(Scope::Dataset, Some("jpg"))));
        assert_eq!(parse("/map/tiles/"), Some(Resource::TileSets(Scope::Dataset)));
        assert_eq!(parse("/map/tiles/q"), Some(Resource::TileSet(Scope::Dataset, "q")));
        let tile = TilePath { matrix_set: "q", matrix: "1", row: "2", column: "3", extension: Some("png") };
        assert_eq!(
            parse("/collections/b c/map/tiles/q/1/2/3.png"),
            Some(Resource::Tile(Scope::Collection("b c"), tile))
        );
        assert_eq!(parse("/static/style.css"), Some(Resource::Static("style.css")));
    }

    #[test]
    fn names_may_have_slashes() {
        assert_eq!(parse("/collections/a/map"), Some(Resource::Collection("a/map")));
        assert_eq!(parse("/collections/a/map/map"), Some(Resource::Map(Scope::Collection("a/map"), None)));
        assert_eq!(parse("/collections/a/map.png"), Some(Resource::Map(Scope::Collection("a"), Some("png"))));
    }

    #[test]
    fn other_paths_are_none() {
        for path in [
            "/x",
            "/collections//map",
            "/collections/a/x",
            "/map/tile",
            "/map/tiles/q/1",
            "/map/tiles/q/1/2/3/4",
            "/tileMatrixSets/a/b",
            "/maps",
            "/map/tilesets",
            "/conformance/x",
        ] {
            assert_eq!(parse(path), None, "{path}");
        }
    }

    proptest! {
        #[test]
        fn any_path_is_read(path in "(/|[a-z.]|map|tiles|collections){0,20}") {
            let _ = parse(&path);
        }
    }
}

//! OGC API – Maps – Part 1 (20-058) and Tiles – Part 1 (20-057), on Common Parts 1 and 2 (19-072, 20-024).
//!
//! A path names a resource (`path`), parameters become values (`request`) and a box with pixels (`sizing`), what is
//! drawn is drawn as for the WMS (`map`), and tiles that are kept are served as they are kept (`tile`). Documents are
//! made once, for programs (`documents`, `openapi`) and of the same for people (`pages`), as the client wishes
//! (`negotiate`).

mod collection;
mod crs;
mod documents;
mod error;
mod formats;
mod map;
mod matrix_set;
mod negotiate;
mod openapi;
mod options;
mod pages;
mod path;
mod request;
mod sizing;
mod tile;
mod wms_parameters;

use std::collections::HashMap;

use http::header::{HeaderName, VARY};
use http::{HeaderValue, StatusCode};
use mapproxy_grid::MapExtent;
pub use options::{ApiContact, ApiMetadata, OgcApiOptions};
use serde::Serialize;

use self::collection::Collection;
use self::documents::{CollectionDocument, Shown, Writer};
use self::error::{ApiError, Failure};
use self::formats::Format;
use self::matrix_set::MatrixSet;
use self::negotiate::{Accept, DocumentForm};
use self::path::{Resource, Scope};
use self::request::Query;
use self::sizing::Limits;
use super::layer_tree::LayerTree;
use super::tile_answer::Patience;
use crate::auth::{Operation, Permit, Refusal};
use crate::response::{forbid_caching, plain, respond};
use crate::{Incoming, Response, Service};

const TITLE: &str = "OGC API of MapProxy";

/// An OGC API: `/ogcapi`.
#[derive(Debug)]
pub struct OgcApi {
    options: OgcApiOptions,
    tree: LayerTree,
    collections: Vec<Collection>,
    /// Index into `collections`.
    by_id: HashMap<String, usize>,
    matrix_sets: Vec<MatrixSet>,
    formats: Vec<Format>,
    limits: Limits,
}

/// What a caller may see of the collections: maps and tiles are granted apart.
struct Permits {
    map: Option<Permit>,
    tile: Option<Permit>,
}

impl OgcApi {
    /// The service for `options`.
    pub fn new(mut options: OgcApiOptions) -> OgcApi {
        let tree = LayerTree::new(&options.root);
        let collections = collection::list(&options.root, &std::mem::take(&mut options.tile_layers));
        let by_id = collections.iter().enumerate().map(|(index, one)| (one.id.clone(), index)).collect();
        // As requests name them.
        for srs in &mut options.map_srs {
            if let Some(parsed) = crs::parse(srs.code()) {
                *srs = parsed;
            }
        }
        OgcApi {
            tree,
            collections,
            by_id,
            matrix_sets: MatrixSet::list(&options.grids),
            formats: Format::list(&options.image_formats),
            limits: Limits::new(options.max_output_pixels),
            options,
        }
    }

    fn respond(&self, request: &Incoming<'_>, patience: Patience) -> Option<Response> {
        let resource = Resource::parse(request.rest(), |id| self.by_id.contains_key(id))?;
        if patience == Patience::None && !matches!(resource, Resource::Tile(..)) {
            return None;
        }
        match resource {
            Resource::Map(..) if !self.options.maps => return None,
            Resource::TileMatrixSets | Resource::TileMatrixSet(_) if !self.options.tiles => return None,
            Resource::TileSets(_) | Resource::TileSet(..) | Resource::Tile(..) if !self.options.tiles => return None,
            _ => {}
        }
        let accept = Accept::of(request.headers);
        let form = match request.params().get("f") {
            Some("json") => DocumentForm::Json,
            Some("html") => DocumentForm::Html,
            _ => accept.document_form(),
        };
        let answer = match resource {
            Resource::Static("ogcapi.css") => {
                return Some(respond(StatusCode::OK, "text/css; charset=utf-8", include_str!("static/ogcapi.css")));
            }
            Resource::Static(_) => return Some(plain(StatusCode::NOT_FOUND, "file not found")),
            Resource::Map(_, Some(extension)) if !self.formats.iter().any(|format| format.has_extension(extension)) => {
                return None;
            }
            Resource::Map(scope, extension) => self.map(request, scope, extension, accept),
            Resource::Tile(scope, path) => match self.tile(request, scope, path, accept, patience) {
                Ok(answer) => Ok(answer?),
                Err(failure) => Err(failure),
            },
            resource => self.document(request, &resource, form),
        };
        Some(answer.unwrap_or_else(|failure| match failure {
            Failure::Error(error) => forbid_caching(self.error(request, &error, form)),
            Failure::Refused(refusal) => refusal.response(),
        }))
    }

    /// All but pictures.
    fn document(
        &self,
        request: &Incoming<'_>,
        resource: &Resource<'_>,
        form: DocumentForm,
    ) -> Result<Response, Failure> {
        let names = if *resource == Resource::Api { request::API } else { request::DOCUMENT };
        let query = Query::of_document(request.params(), names)?;
        if query.get("f").is_some_and(|f| !matches!(f, "json" | "html")) {
            return Err(ApiError::invalid("Invalid value for f query parameter").into());
        }
        let base = format!("{}/ogcapi", request.urls().script);
        let writer = self.writer(&base);
        let site = self.site(&base);
        match *resource {
            Resource::Landing => {
                let metadata = &self.options.metadata;
                let document = writer.landing();
                present(form, document, |document| pages::landing(&site, metadata, document))
            }
            Resource::Conformance => {
                present(form, writer.conformance(), |document| pages::conformance(&site, document))
            }
            Resource::Api => self.api(request, &query, &writer, form),
            Resource::Collections => {
                let permits = self.permits(request, self.ids())?;
                let visible = self.collections.iter().filter_map(|one| self.seen(one, &permits, &writer));
                let document = writer.collections(visible.collect());
                present(form, document, |document| pages::collections(&site, document))
            }
            Resource::Collection(id) => {
                let collection = self.collection(id)?;
                let permits = self.permits(request, vec![id])?;
                let document = self.seen(collection, &permits, &writer).ok_or(Refusal::Forbidden)?;
                present(form, document, |document| pages::collection(&site, document))
            }
            Resource::TileMatrixSets => {
                let document = writer.tile_matrix_sets(&self.matrix_sets);
                present(form, document, |document| pages::tile_matrix_sets(&site, document))
            }
            Resource::TileMatrixSet(id) => {
                let document = self.matrix_set(id)?.definition();
                present(form, document, |document| pages::tile_matrix_set(&site, document))
            }
            Resource::TileSets(scope) => {
                let extent = self.tile_extent(request, scope, "tilesets")?;
                let document = writer.tile_sets(scope, &self.matrix_sets, &extent);
                present(form, document, |document| pages::tile_sets(&site, scope, document))
            }
            Resource::TileSet(scope, id) => {
                let extent = self.tile_extent(request, scope, "tileset")?;
                let set = self.matrix_set(id)?;
                let document = writer.tile_set(scope, set, &extent);
                let mut response = present(form, document, |document| pages::tile_set(&site, scope, set, document))?;
                if let Some(format) = self.formats.first() {
                    let template = writer.tile_template(scope, set, format);
                    let value = format!("<{template}>; rel=\"item\"; type=\"{}\"", format.media_type);
                    // Names that are no header values are in the document only.
                    if let Ok(value) = HeaderValue::try_from(value) {
                        response.headers_mut().insert(HeaderName::from_static("link-template"), value);
                    }
                }
                Ok(response)
            }
            Resource::Static(_) | Resource::Map(..) | Resource::Tile(..) => Err(ApiError::not_found("Document").into()),
        }
    }

    fn api(
        &self,
        request: &Incoming<'_>,
        query: &Query<'_>,
        writer: &Writer<'_>,
        form: DocumentForm,
    ) -> Result<Response, Failure> {
        match (query.get("ui"), form) {
            (Some(_), DocumentForm::Json) => {
                return Err(ApiError::invalid("ui query parameter can only be used with HTML output").into());
            }
            // There is one page, whatever it is asked for as.
            (None | Some("swagger" | "redoc"), _) => {}
            (Some(_), _) => return Err(ApiError::invalid("Invalid value for ui query parameter").into()),
        }
        let permits = self.permits(request, self.ids())?;
        let visible = self.collections.iter().filter(|one| self.extent(one, &permits).is_some());
        let ids: Vec<&str> = visible.map(|one| one.id.as_str()).collect();
        let document = openapi::document(self, writer, &ids);
        let mut response = match form {
            DocumentForm::Json => respond(StatusCode::OK, documents::OPENAPI, json(&document)),
            DocumentForm::Html => pages::api(&self.site(writer.base), &document),
        };
        vary_by_accept(&mut response);
        Ok(response)
    }

    fn error(&self, request: &Incoming<'_>, error: &ApiError, form: DocumentForm) -> Response {
        let mut response = match form {
            DocumentForm::Json => respond(error.status, documents::JSON, json(&error.document())),
            DocumentForm::Html => pages::error(&self.site(&format!("{}/ogcapi", request.urls().script)), error),
        };
        vary_by_accept(&mut response);
        response
    }

    fn title(&self) -> &str {
        self.options.metadata.title.as_deref().unwrap_or(TITLE)
    }

    fn writer<'a>(&'a self, base: &'a str) -> Writer<'a> {
        Writer {
            base,
            formats: &self.formats,
            map_srs: &self.options.map_srs,
            maps: self.options.maps,
            tiles: self.options.tiles,
            dataset: !self.options.default_dataset_layers.is_empty(),
        }
    }

    fn site<'a>(&'a self, base: &'a str) -> pages::Site<'a> {
        pages::Site { title: self.title(), base }
    }

    fn ids(&self) -> Vec<&str> {
        self.collections.iter().map(|one| one.id.as_str()).collect()
    }

    fn collection(&self, id: &str) -> Result<&Collection, ApiError> {
        let index = self.by_id.get(id).ok_or_else(|| ApiError::not_found("Collection"))?;
        Ok(&self.collections[*index])
    }

    fn matrix_set(&self, id: &str) -> Result<&MatrixSet, ApiError> {
        let found = self.matrix_sets.iter().find(|set| set.id == id);
        found.ok_or_else(|| ApiError::not_found("TileMatrixSet"))
    }

    /// Asks for maps and tiles; one of them is enough.
    fn permits(&self, request: &Incoming<'_>, ids: Vec<&str>) -> Result<Permits, Refusal> {
        let ask = |operation| self.options.gate.ask(operation, request, || (ids.clone(), None));
        let map = self.options.maps.then(|| ask(Operation::OgcApiMap)).transpose();
        let tile = self.options.tiles.then(|| ask(Operation::OgcApiTile)).transpose();
        match (map, tile) {
            (Err(refusal), Err(_) | Ok(None)) | (Ok(None), Err(refusal)) => Err(refusal),
            (map, tile) => Ok(Permits { map: map.ok().flatten(), tile: tile.ok().flatten() }),
        }
    }

    /// What may be seen of a collection, and as what; `None` where that is nothing.
    fn extent(&self, collection: &Collection, permits: &Permits) -> Option<(MapExtent, Shown)> {
        let seen = |permit: &Option<Permit>| {
            let permit = permit.as_ref().filter(|permit| permit.allows(&collection.id))?;
            permit.extent(Some(&collection.id), Some(&collection.extent)).flatten()
        };
        let nothing_offered = !self.options.maps && !self.options.tiles;
        let (map, tile) = (seen(&permits.map), seen(&permits.tile));
        let shown = Shown { maps: map.is_some(), tiles: tile.is_some() };
        let extent = match (map, tile) {
            (Some(map), Some(tile)) if map == tile => map,
            (Some(map), Some(tile)) => map.union(&tile).unwrap_or(map),
            (Some(one), None) | (None, Some(one)) => one,
            (None, None) if nothing_offered => collection.extent.clone(),
            (None, None) => return None,
        };
        Some((extent, shown))
    }

    fn seen(&self, collection: &Collection, permits: &Permits, writer: &Writer<'_>) -> Option<CollectionDocument> {
        let (extent, shown) = self.extent(collection, permits)?;
        Some(writer.collection(collection, &extent, shown))
    }

    /// The area of the tiles of a collection or of the dataset, as far as they may be seen.
    fn tile_extent(&self, request: &Incoming<'_>, scope: Scope<'_>, what: &str) -> Result<MapExtent, Failure> {
        let names = self.selected(scope, None, what)?;
        let permit = self.options.gate.ask(Operation::OgcApiTile, request, || (names.clone(), None))?;
        let mut extent: Option<MapExtent> = None;
        for name in &names {
            let own = &self.collection(name)?.extent;
            if !permit.allows(name) {
                continue;
            }
            let Some(Some(visible)) = permit.extent(Some(name), Some(own)) else { continue };
            extent = Some(match extent {
                Some(known) => known.union(&visible).unwrap_or_else(|_| MapExtent::world()),
                None => visible,
            });
        }
        extent.ok_or_else(|| Refusal::Forbidden.into())
    }

    /// The names of the layers of a map or tile: that of the path, those asked for, or those of the configuration.
    fn selected<'a>(
        &'a self,
        scope: Scope<'a>,
        query: Option<&Query<'a>>,
        what: &str,
    ) -> Result<Vec<&'a str>, ApiError> {
        if let Scope::Collection(id) = scope {
            return Ok(vec![self.collection(id)?.id.as_str()]);
        }
        if let Some(asked) = query.and_then(Query::collections) {
            return match asked.iter().find(|name| !self.by_id.contains_key(**name)) {
                Some(name) => Err(ApiError::invalid(format!("unknown collection {name}"))),
                None => Ok(asked),
            };
        }
        if self.options.default_dataset_layers.is_empty() {
            let detail =
                format!("Dataset {what} request but no default_dataset_layers defined in server configuration");
            return Err(ApiError::not_configured(detail));
        }
        Ok(self.options.default_dataset_layers.iter().map(String::as_str).collect())
    }
}

impl Service for OgcApi {
    fn handle(&self, request: &Incoming<'_>) -> Option<Response> {
        self.respond(request, Patience::Unlimited)
    }

    fn handle_now(&self, request: &Incoming<'_>) -> Option<Response> {
        self.respond(request, Patience::None)
    }
}

/// A document in the form that the client wants.
fn present<D: Serialize>(
    form: DocumentForm,
    document: D,
    page: impl FnOnce(D) -> Response,
) -> Result<Response, Failure> {
    let mut response = match form {
        DocumentForm::Json => respond(StatusCode::OK, documents::JSON, json(&document)),
        DocumentForm::Html => page(document),
    };
    vary_by_accept(&mut response);
    Ok(response)
}

fn json(document: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec_pretty(document).expect("documents have text keys and finite numbers")
}

fn vary_by_accept(response: &mut Response) {
    response.headers_mut().append(VARY, HeaderValue::from_static("Accept"));
}

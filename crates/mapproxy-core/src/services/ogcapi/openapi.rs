//! The definition of the API (OpenAPI 3.0.3): complete in itself, so that no client has to fetch schemas elsewhere.

use serde_json::{Map, Value, json};

use super::OgcApi;
use super::documents::{HTML, JSON, Writer};
use super::formats::Format;
use super::options::ApiMetadata;
use super::sizing::Limits;

/// The document. `ids`: the collections that the caller may see.
pub(super) fn document(service: &OgcApi, writer: &Writer<'_>, ids: &[&str]) -> Value {
    let metadata = &service.options.metadata;
    json!({
        "openapi": "3.0.3",
        "info": info(service.title(), metadata, service.limits),
        "servers": [{ "url": writer.base }],
        "tags": [{ "name": "server", "description": service.title() }],
        "paths": paths(writer),
        "components": {
            "parameters": parameters(service, writer, ids),
            "responses": responses(&service.formats),
            "schemas": schemas(),
        },
    })
}

fn info(title: &str, metadata: &ApiMetadata, Limits { max_side, max_pixels }: Limits) -> Value {
    let mut info = json!({
        "title": title,
        "version": env!("CARGO_PKG_VERSION"),
        "x-OGC-limits": { "maps": { "maxWidth": max_side, "maxHeight": max_side, "maxPixels": max_pixels } },
    });
    let mut add = |name: &str, value: Value| {
        info[name] = value;
    };
    if let Some(description) = &metadata.description {
        add("description", json!(description));
    }
    if let Some(terms) = &metadata.terms_of_service {
        add("termsOfService", json!(terms));
    }
    if !metadata.keywords.is_empty() {
        add("x-keywords", json!(metadata.keywords));
    }
    if let Some(contact) = &metadata.contact {
        let address = (!contact.address.is_empty()).then(|| contact.address.join(", "));
        add(
            "contact",
            present([
                ("name", &contact.name),
                ("url", &contact.url),
                ("email", &contact.email),
                ("x-address", &address),
                ("x-phone", &contact.phone),
                ("x-fax", &contact.fax),
                ("x-instructions", &contact.instructions),
            ]),
        );
    }
    if let Some((name, url)) = &metadata.license {
        add("license", present([("name", &Some(name.clone())), ("url", url)]));
    }
    if let Some((name, url)) = &metadata.provider {
        add("x-provider", present([("name", name), ("url", url)]));
    }
    info
}

/// An object of those that are there.
fn present<'a>(entries: impl IntoIterator<Item = (&'a str, &'a Option<String>)>) -> Value {
    let entries = entries.into_iter().filter_map(|(name, value)| Some((name.to_owned(), json!(value.as_ref()?))));
    Value::Object(entries.collect())
}

fn paths(writer: &Writer<'_>) -> Value {
    let mut paths = Map::new();
    let mut add = |path: &str, id: &str, summary: &str, parameters: &[&str], answer: &str| {
        let parameters: Vec<Value> = parameters.iter().map(|name| parameter(name)).collect();
        let has_names = path.contains('{');
        let mut responses = json!({
            "200": response(answer),
            "400": response("InvalidParameter"),
            "500": response("ServerError"),
        });
        if has_names {
            responses["404"] = response("NotFound");
        }
        if answer == "Picture" {
            responses["406"] = response("NotAcceptable");
        }
        let operation = json!({
            "operationId": id,
            "summary": summary,
            "tags": ["server"],
            "parameters": parameters,
            "responses": responses,
        });
        paths.insert(path.to_owned(), json!({ "get": operation }));
    };
    let document = ["f"];
    let collection = ["collectionId", "f"];
    add("/", "getLandingPage", "The landing page", &document, "LandingPage");
    add("/conformance", "getConformanceDeclaration", "The standards it conforms to", &document, "Conformance");
    add("/api", "getOpenapi", "This definition", &["f", "ui"], "Api");
    add("/collections", "getCollections", "The collections", &document, "Collections");
    add("/collections/{collectionId}", "getCollection", "A collection", &collection, "Collection");
    let picture = ["f-image", "bgcolor", "transparent"];
    let scaling = ["width", "height", "scale-denominator", "mm-per-pixel"];
    if writer.maps {
        let part = ["crs", "bbox", "bbox-crs", "center", "center-crs", "subset", "subset-crs"];
        let map = [&picture[..], &scaling, &part].concat();
        let of_collection = [&["collectionId"], map.as_slice()].concat();
        add("/collections/{collectionId}/map", "getCollectionMap", "A map of a collection", &of_collection, "Picture");
        let of_dataset = [&["collections"], map.as_slice()].concat();
        add("/map", "getDatasetMap", "A map of several collections", &of_dataset, "Picture");
    }
    if writer.tiles {
        let set = ["tileMatrixSetId", "f"];
        add("/tileMatrixSets", "listTileMatrixSets", "The tile matrix sets", &document, "TileMatrixSets");
        add("/tileMatrixSets/{tileMatrixSetId}", "describeTileMatrixSet", "A tile matrix set", &set, "TileMatrixSet");
        let tile = ["tileMatrixSetId", "tileMatrix", "tileRow", "tileCol"];
        let scaling = if writer.maps { &scaling[..] } else { &[] };
        let tile = [&tile[..], &picture, scaling].concat();
        let template = "{tileMatrixSetId}/{tileMatrix}/{tileRow}/{tileCol}";
        let below = "/collections/{collectionId}/map/tiles";
        add(below, "listCollectionMapTileSets", "The tile sets of a collection", &collection, "TileSets");
        let of_collection = ["collectionId", "tileMatrixSetId", "f"];
        let path = format!("{below}/{{tileMatrixSetId}}");
        add(&path, "describeCollectionMapTileSet", "A tile set of a collection", &of_collection, "TileSet");
        let of_collection = [&["collectionId"], tile.as_slice()].concat();
        let path = format!("{below}/{template}");
        add(&path, "getCollectionMapTile", "A tile of a collection", &of_collection, "Picture");
        add("/map/tiles", "listDatasetMapTileSets", "The tile sets of the dataset", &document, "TileSets");
        let path = "/map/tiles/{tileMatrixSetId}";
        add(path, "describeDatasetMapTileSet", "A tile set of the dataset", &set, "TileSet");
        let of_dataset = [&["collections"], tile.as_slice()].concat();
        let path = format!("/map/tiles/{template}");
        add(&path, "getDatasetMapTile", "A tile of several collections", &of_dataset, "Picture");
    }
    Value::Object(paths)
}

fn parameter(name: &str) -> Value {
    json!({ "$ref": format!("#/components/parameters/{name}") })
}

fn response(name: &str) -> Value {
    json!({ "$ref": format!("#/components/responses/{name}") })
}

fn parameters(service: &OgcApi, writer: &Writer<'_>, ids: &[&str]) -> Value {
    let query = |name: &str, description: &str, schema: Value| {
        json!({
            "name": name, "in": "query", "description": description, "required": false, "schema": schema,
            "style": "form", "explode": false,
        })
    };
    let path = |name: &str, description: &str, schema: Value| json!({ "name": name, "in": "path", "description": description, "required": true, "schema": schema });
    let numbers = |min: u32, max: u32| json!({ "type": "array", "items": { "type": "number" }, "minItems": min, "maxItems": max });
    let names = json!({ "type": "array", "items": one_of(ids) });
    let sets: Vec<&str> = service.matrix_sets.iter().map(|set| set.id.as_str()).collect();
    let formats: Vec<&str> = service.formats.iter().map(|format| format.name.as_str()).collect();
    let side = json!({ "type": "integer", "minimum": 1, "maximum": service.limits.max_side });
    let positive = json!({ "type": "number", "minimum": 0, "exclusiveMinimum": true });
    let crs = json!({ "type": "string" });
    let mut parameters = json!({
        "f": query("f", "Form of the document; by default as the Accept header wishes.",
            json!({ "type": "string", "enum": ["json", "html"] })),
        "ui": query("ui", "For the HTML form of this definition; there is one page for both.",
            json!({ "type": "string", "enum": ["swagger", "redoc"] })),
        "collectionId": path("collectionId", "Name of a collection.", one_of(ids)),
    });
    let mut add = |name: &str, value: Value| {
        parameters[name] = value;
    };
    if writer.maps || writer.tiles {
        let mut image = one_of(&formats);
        image["default"] = json!(formats.first());
        add("f-image", query("f", "Format of the picture; by default as the Accept header wishes.", image));
        let text = "Colour of the ground: one of the 16 names of HTML 4, 0xRRGGBB or 0xAARRGGBB.";
        add("bgcolor", query("bgcolor", text, json!({ "type": "string" })));
        let text = "The ground can be seen through. By default true, and false with a bgcolor.";
        add("transparent", query("transparent", text, json!({ "type": "boolean" })));
        let text = "Names of collections, the lowest first. By default those of the dataset.";
        add("collections", query("collections", text, names));
    }
    if writer.maps {
        let text = "Pixels from west to east. Without a box, the map is cut to it at the scale of the layer.";
        add("width", query("width", text, side.clone()));
        let text = "Pixels from south to north. Without a box, the map is cut to it at the scale of the layer.";
        add("height", query("height", text, side));
        let text = "Scale of the map, for pixels of the size in mm-per-pixel.";
        add("scale-denominator", query("scale-denominator", text, positive.clone()));
        let mut pixel = positive;
        pixel["default"] = json!(0.28);
        add("mm-per-pixel", query("mm-per-pixel", "Size of a pixel where the map is shown.", pixel));
        let uris = super::crs::uris(writer.map_srs);
        let text = format!("CRS of the map: one of {}, as URI or CURIE.", uris.join(", "));
        add("crs", query("crs", &text, crs.clone()));
        let text = "Box of the map: lower and upper corner in the axis order of bbox-crs.";
        add("bbox", query("bbox", text, numbers(4, 6)));
        add("bbox-crs", query("bbox-crs", "CRS of bbox; by default CRS84.", crs.clone()));
        let text = "Centre of the map in the axis order of center-crs.";
        add("center", query("center", text, numbers(2, 2)));
        add("center-crs", query("center-crs", "CRS of center; by default CRS84.", crs.clone()));
        let text = "Two ranges, such as Lat(45:50),Lon(5:15), E(…),N(…) or X(…),Y(…).";
        add("subset", query("subset", text, json!({ "type": "array", "items": { "type": "string" } })));
        add("subset-crs", query("subset-crs", "CRS of subset; by default CRS84.", crs));
    }
    if writer.tiles {
        let index = |description: &str, name: &str| path(name, description, json!({ "type": "integer", "minimum": 0 }));
        add("tileMatrixSetId", path("tileMatrixSetId", "Name of a tile matrix set.", one_of(&sets)));
        add("tileMatrix", path("tileMatrix", "Name of a tile matrix: its number.", json!({ "type": "string" })));
        add("tileRow", index("Row, counted from the corner of origin.", "tileRow"));
        add("tileCol", index("Column, counted from the corner of origin.", "tileCol"));
    }
    parameters
}

/// An `enum` must not be empty.
fn one_of(names: &[&str]) -> Value {
    if names.is_empty() { json!({ "type": "string" }) } else { json!({ "type": "string", "enum": names }) }
}

fn responses(formats: &[Format]) -> Value {
    let document = |description: &str, schema: &str| {
        let schema = json!({ "$ref": format!("#/components/schemas/{schema}") });
        let html = json!({ "schema": { "type": "string" } });
        json!({ "description": description, "content": { JSON: { "schema": schema }, HTML: html } })
    };
    let picture = json!({ "schema": { "type": "string", "format": "binary" } });
    let pictures: Map<String, Value> =
        formats.iter().map(|format| (format.media_type.clone(), picture.clone())).collect();
    let header = |text: &str| json!({ "description": text, "schema": { "type": "string" } });
    json!({
        "LandingPage": document("Where everything is", "landingPage"),
        "Conformance": document("URIs of conformance classes", "confClasses"),
        "Api": {
            "description": "This document",
            "content": {
                super::documents::OPENAPI: { "schema": { "type": "object" } },
                HTML: { "schema": { "type": "string" } },
            },
        },
        "Collections": document("The collections", "collections"),
        "Collection": document("A collection", "collection"),
        "TileMatrixSets": document("The tile matrix sets", "tileMatrixSets"),
        "TileMatrixSet": document("A tile matrix set", "tileMatrixSet"),
        "TileSets": document("The tile sets", "tileSets"),
        "TileSet": document("A tile set", "tileSet"),
        "Picture": {
            "description": "A picture",
            "headers": {
                "Content-Crs": header("CRS of the picture, where it is not CRS84"),
                "Content-Bbox": header("Box of the picture in its CRS"),
            },
            "content": pictures,
        },
        "InvalidParameter": document("A parameter is unknown or has a wrong value", "exception"),
        "NotFound": document("There is no such thing", "exception"),
        "NotAcceptable": document("There is no such format", "exception"),
        "ServerError": document("The server or one behind it has failed", "exception"),
    })
}

fn schemas() -> Value {
    let text = json!({ "type": "string" });
    let number = json!({ "type": "number" });
    let texts = json!({ "type": "array", "items": text });
    let links = json!({ "type": "array", "items": { "$ref": "#/components/schemas/link" } });
    let list = |name: &str| json!({ "type": "array", "items": { "$ref": format!("#/components/schemas/{name}") } });
    let object = |required: &[&str], properties: Value| {
        let mut object = json!({ "type": "object", "properties": properties });
        // The list must not be empty.
        if !required.is_empty() {
            object["required"] = json!(required);
        }
        object
    };
    let boxes = json!({
        "type": "array",
        "minItems": 1,
        "items": { "type": "array", "items": number, "minItems": 4, "maxItems": 4 },
    });
    let point = json!({ "type": "array", "items": number, "minItems": 2, "maxItems": 2 });
    json!({
        "link": object(&["href", "rel"], json!({
            "href": text, "rel": text, "type": text, "title": text, "templated": { "type": "boolean" },
        })),
        "exception": object(&["type"], json!({
            "type": text, "title": text, "status": { "type": "integer" }, "detail": text,
        })),
        "landingPage": object(&["links"], json!({ "title": text, "description": text, "links": links })),
        "confClasses": object(&["conformsTo"], json!({ "conformsTo": texts })),
        "collections": object(&["links", "collections"], json!({
            "links": links, "collections": list("collection"),
        })),
        "collection": object(&["id", "links"], json!({
            "id": text, "title": text, "description": text, "dataType": text, "links": links,
            "attribution": text, "attributionMediaType": text,
            "extent": object(&[], json!({
                "spatial": object(&[], json!({ "bbox": boxes, "storageCrsBbox": boxes })),
            })),
            "crs": texts, "storageCrs": text,
            "minCellSize": number, "maxCellSize": number,
            "minScaleDenominator": number, "maxScaleDenominator": number,
        })),
        "tileMatrixSets": object(&["tileMatrixSets"], json!({
            "tileMatrixSets": {
                "type": "array",
                "items": object(&["links"], json!({ "id": text, "title": text, "uri": text, "links": links })),
            },
        })),
        "tileMatrixSet": object(&["crs", "tileMatrices"], json!({
            "id": text, "title": text, "uri": text, "crs": text, "wellKnownScaleSet": text,
            "tileMatrices": list("tileMatrix"),
        })),
        "tileMatrix": object(
            &["id", "scaleDenominator", "cellSize", "pointOfOrigin", "tileWidth", "tileHeight", "matrixHeight", "matrixWidth"],
            json!({
                "id": text, "scaleDenominator": number, "cellSize": number,
                "cornerOfOrigin": { "type": "string", "enum": ["topLeft", "bottomLeft"] },
                "pointOfOrigin": point,
                "tileWidth": { "type": "integer" }, "tileHeight": { "type": "integer" },
                "matrixWidth": { "type": "integer" }, "matrixHeight": { "type": "integer" },
            }),
        ),
        "tileSets": object(&["tilesets"], json!({ "links": links, "tilesets": list("tileSet") })),
        "tileSet": object(&["dataType", "crs", "links"], json!({
            "title": text, "dataType": text, "crs": text, "tileMatrixSetURI": text, "links": links,
            "tileMatrixSetLimits": list("tileMatrixLimits"),
            "boundingBox": object(&["lowerLeft", "upperRight"], json!({
                "lowerLeft": point, "upperRight": point, "crs": text,
            })),
        })),
        "tileMatrixLimits": object(
            &["tileMatrix", "minTileRow", "maxTileRow", "minTileCol", "maxTileCol"],
            json!({
                "tileMatrix": text,
                "minTileRow": { "type": "integer" }, "maxTileRow": { "type": "integer" },
                "minTileCol": { "type": "integer" }, "maxTileCol": { "type": "integer" },
            }),
        ),
    })
}

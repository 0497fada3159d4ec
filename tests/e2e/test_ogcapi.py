"""The OGC API: its definition by a validator, each document by the definition, maps through GDAL."""

import json
import subprocess
import urllib.parse

import pytest
from openapi_schema_validator import OAS30Validator
from openapi_spec_validator import OpenAPIV30SpecValidator

from harness.mapserver import GREEN, RED
from harness.pictures import assert_colour, decode

CONFIG = """\
services:
  ogcapi:
    map_srs: ['EPSG:4326', 'EPSG:3857', 'EPSG:25832']
    default_dataset_layers: [quarters]
    md:
      identification: {{title: Quarters of the world, description: Some maps, terms_of_service: 'http://example.org/terms'}}
      contact: {{name: A. Person, email: a@example.org, url: 'http://example.org'}}
      license: {{name: CC0, url: 'http://example.org/cc0'}}
layers:
  - name: group
    title: A group
    layers:
      - {{name: quarters, title: Quarters, sources: [mercator], nominal_scale: 1000000}}
      - {{name: 'slash/ed name', title: Without a cache, sources: [quarters], min_res: 100000}}
caches:
  mercator: {{grids: [GLOBAL_WEBMERCATOR], sources: [quarters]}}
sources:
  quarters: {{type: wms, req: {{url: '{url}/wms', layers: quarters}}}}
globals:
  cache: {{base_dir: cache}}
"""


@pytest.fixture
def server(serve, mapserver):
    return serve(CONFIG.format(url=mapserver.url))


def document(server, path):
    answer = server.get(f"/ogcapi{path}", headers={"Accept": "application/json"})
    assert answer.status == 200, (path, answer)
    return json.loads(answer.body)


def test_the_definition_is_valid_openapi_without_any_other_document(server):
    definition = document(server, "/api")
    assert definition["openapi"].startswith("3.0.")
    OpenAPIV30SpecValidator(definition).validate()
    assert "http" not in {value["$ref"][:4] for value in references(definition)}


def test_documents_are_as_the_definition_says(server):
    definition = document(server, "/api")
    collection = urllib.parse.quote("slash/ed name", safe="")
    names = {"collectionId": collection, "tileMatrixSetId": "WebMercatorQuad", "tileMatrix": "0", "tileRow": "0", "tileCol": "0"}
    checked = 0
    for path, item in definition["paths"].items():
        address = path.format(**names).rstrip("/")
        responses = item["get"]["responses"]
        for suffix, status in (("", "200"), ("?nonsense=1", "400")):
            answer = server.get(f"/ogcapi{address}{suffix}")
            assert str(answer.status) == status, (address, answer)
            content = resolved(definition, responses[status])["content"]
            assert answer.content_type in content, (address, answer.content_type)
            if answer.content_type == "application/json":
                schema = {**content["application/json"]["schema"], "components": definition["components"]}
                OAS30Validator(schema).validate(json.loads(answer.body))
                checked += 1
            page = server.get(f"/ogcapi{address}{suffix}", headers={"Accept": "text/html"})
            assert "image/png" in content or page.content_type == "text/html; charset=utf-8", (address, page)
    assert checked > 20


def references(value):
    if isinstance(value, dict):
        if "$ref" in value:
            yield value
        for inner in value.values():
            yield from references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from references(inner)


def resolved(definition, value):
    while "$ref" in value:
        target = value["$ref"].removeprefix("#/").split("/")
        value = definition
        for name in target:
            value = value[name]
    return value


def test_gdal_reads_maps(server, tmp_path):
    """Maps only: GDAL 3.6 does not understand tile matrix sets of this length, from whatever server."""
    target = tmp_path / "map.png"
    options = ["-outsize", "200", "200", "-projwin", "-90", "45", "90", "-45", "-oo", "API=MAP", "-oo", "IMAGE_FORMAT=PNG"]
    source = f"OGCAPI:{server.url}/ogcapi/collections/quarters"
    command = ["gdal_translate", "-q", "-of", "PNG", *options, source, str(target)]
    # GDAL keeps what it has read in the working directory.
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    picture = decode(target.read_bytes())
    assert_colour(picture, (0.25, 0.25), GREEN)
    assert_colour(picture, (0.75, 0.25), RED)

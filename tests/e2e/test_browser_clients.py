"""OpenLayers, Leaflet and MapLibre GL in Chromium: each draws our layers, and every colour is where it belongs."""

import functools
import json

import pytest

from harness.browser import Browser
from harness.mapserver import BLACK, BLUE, GREEN, RED, YELLOW
from harness.pages import Pages
from harness.server import Server

CONFIG = """\
services:
  wms: {{srs: ['EPSG:4326', 'EPSG:3857', 'EPSG:25832']}}
  wmts:
  tms:
  ogcapi:
layers:
  - {{name: quarters, title: Quarters, sources: [mercator]}}
  - {{name: national, title: UTM 32, sources: [national]}}
caches:
  mercator: {{grids: [GLOBAL_WEBMERCATOR], sources: [quarters], format: image/png}}
  national: {{grids: [utm32], sources: [quarters]}}
sources:
  quarters: {{type: wms, req: {{url: '{url}/wms', layers: quarters}}}}
grids:
  utm32: {{srs: 'EPSG:25832', bbox: [-46133, 5048875, 1206211, 6301219], origin: nw}}
globals:
  cache: {{base_dir: cache}}
"""

# The world as a whole, and the landmark of two degrees around 10° E 50° N with what is north, south, east and west.
WORLD = {"centre": [0, 0], "places": {(60, 40): RED, (-60, 40): GREEN, (60, -40): BLUE, (-60, -40): YELLOW}}
LANDMARK = {
    "centre": [10, 50],
    "places": {(10, 50): BLACK, (9.3, 49.4): BLACK, (10, 52): RED, (10, 48): RED, (12.5, 50): RED, (7.5, 50): RED},
}


@pytest.fixture(scope="module")
def server(command, mapserver, tmp_path_factory):
    folder = tmp_path_factory.mktemp("browser-clients")
    with Server.nursery(command, folder) as start:
        yield start(CONFIG.format(url=mapserver.url))


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with Browser(tmp_path_factory.mktemp("browser"), webgl=True) as browser:
        yield browser


@pytest.fixture(scope="module")
def pages():
    with Pages() as pages:
        yield pages


@pytest.fixture
def assert_colours(browser, pages, folder):
    """Draws with a page's library and compares the colours at the places of a scene."""

    def check(page, scene, **arguments):
        address = f"{pages.url}/{page}.html"
        if browser.driver.current_url != address:
            browser.open(address)
        places = list(scene["places"])
        arguments = {"centre": scene["centre"], "places": places, **arguments}
        browser.driver.set_script_timeout(60)
        answer = browser.driver.execute_async_script(
            "const done = arguments[1]; colours(arguments[0]).then(done, (error) => done({error: String(error)}))", arguments
        )
        assert "error" not in answer, answer
        assert not answer["failed"], answer
        for place, found in zip(places, answer["found"]):
            expected = (*scene["places"][place], 255)
            right = found and all(abs(a - b) <= 24 for a, b in zip(found, expected))
            assert right, f"{found} at {place}, not {expected}: {answer}"

    return check


@pytest.mark.parametrize("version", ["1.1.1", "1.3.0"])
def test_openlayers_draws_maps(server, assert_colours, version):
    options = {"url": f"{server.url}/service", "layer": "quarters", "version": version}
    assert_colours("openlayers", WORLD, kind="wms", options=options, srs="EPSG:3857", resolution=50_000)
    # Version 1.3.0 has latitudes first.
    assert_colours("openlayers", WORLD, kind="wms", options=options, srs="EPSG:4326", resolution=0.5)
    assert_colours("openlayers", LANDMARK, kind="wms", options=options, srs="EPSG:4326", resolution=0.02)


@pytest.mark.parametrize("version", ["1.1.1", "1.3.0"])
def test_openlayers_draws_maps_that_are_tiles(server, assert_colours, version):
    options = {"url": f"{server.url}/service", "layer": "quarters", "version": version}
    assert_colours("openlayers", WORLD, kind="tiled wms", options=options, srs="EPSG:3857", resolution=50_000)
    assert_colours("openlayers", LANDMARK, kind="tiled wms", options=options, srs="EPSG:3857", resolution=2_500)


@pytest.mark.parametrize("path", ["wmts/1.0.0/WMTSCapabilities.xml", "service?SERVICE=WMTS&REQUEST=GetCapabilities"])
def test_openlayers_draws_tiles_as_the_wmts_capabilities_describe_them(server, assert_colours, path):
    options = {"url": f"{server.url}/{path}", "layer": "quarters", "set": "GLOBAL_WEBMERCATOR"}
    assert_colours("openlayers", WORLD, kind="wmts", options=options, srs="EPSG:3857", resolution=50_000)
    assert_colours("openlayers", LANDMARK, kind="wmts", options=options, srs="EPSG:3857", resolution=2_500)


@pytest.mark.parametrize(
    "path",
    [
        pytest.param("tms/1.0.0/quarters/EPSG3857/{z}/{x}/{-y}.png", id="tms"),
        pytest.param("tiles/quarters/EPSG3857/{z}/{x}/{y}.png?origin=nw", id="xyz"),
        pytest.param("wmts/quarters/GLOBAL_WEBMERCATOR/{z}/{x}/{y}.png", id="wmts"),
    ],
)
def test_openlayers_draws_tiles_by_a_template(server, assert_colours, path):
    options = {"url": f"{server.url}/{path}"}
    kind = "tms" if path.startswith("tms") else "xyz"
    assert_colours("openlayers", WORLD, kind=kind, options=options, srs="EPSG:3857", resolution=50_000)
    assert_colours("openlayers", LANDMARK, kind=kind, options=options, srs="EPSG:3857", resolution=2_500)


def test_openlayers_draws_tile_sets_of_the_ogc_api(server, assert_colours):
    tile_sets = json.loads(server.get("/ogcapi/collections/quarters/map/tiles?f=json").text)["tilesets"]
    links = [link for tile_set in tile_sets for link in tile_set["links"] if link["rel"] == "self"]
    # OpenLayers draws nothing where rows are counted from the south.
    (url,) = [link["href"] for link in links if "WebMercatorQuad" in link["href"] and link["type"] == "application/json"]
    draw = functools.partial(assert_colours, "openlayers", kind="ogc api tiles", options={"url": url}, srs="EPSG:3857")
    draw(WORLD, resolution=50_000)
    draw(LANDMARK, resolution=2_500)


def test_openlayers_draws_what_tilejson_describes(server, assert_colours):
    options = {"url": f"{server.url}/tiles/quarters/EPSG3857.json"}
    assert_colours("openlayers", WORLD, kind="tilejson", options=options, srs="EPSG:3857", resolution=50_000)
    assert_colours("openlayers", LANDMARK, kind="tilejson", options=options, srs="EPSG:3857", resolution=2_500)


@pytest.mark.parametrize("version", ["1.1.1", "1.3.0"])
def test_leaflet_draws_maps(server, assert_colours, version):
    options = {"url": f"{server.url}/service", "layers": "quarters", "version": version, "format": "image/png"}
    assert_colours("leaflet", WORLD, kind="wms", options=options, crs="EPSG4326", zoom=1)
    assert_colours("leaflet", LANDMARK, kind="wms", options=options, crs="EPSG3857", zoom=6)


def test_leaflet_draws_tiles(server, assert_colours):
    wmts = {"url": f"{server.url}/wmts/quarters/GLOBAL_WEBMERCATOR/{{z}}/{{x}}/{{y}}.png"}
    assert_colours("leaflet", LANDMARK, kind="xyz", options=wmts, crs="EPSG3857", zoom=6)
    tms = {"url": f"{server.url}/tms/1.0.0/quarters/EPSG3857/{{z}}/{{x}}/{{y}}.png", "tms": True, "zoomOffset": -1}
    assert_colours("leaflet", WORLD, kind="xyz", options=tms, crs="EPSG3857", zoom=1)
    assert_colours("leaflet", LANDMARK, kind="xyz", options=tms, crs="EPSG3857", zoom=6)


def test_maplibre_draws_tiles_and_maps(server, assert_colours):
    def source(template):
        return {"type": "raster", "tiles": [f"{server.url}/{template}"], "tileSize": 256, "maxzoom": 10}

    wms = (
        "service?SERVICE=WMS&VERSION=1.3.0&REQUEST=GetMap&LAYERS=quarters&STYLES=&CRS=EPSG:3857&FORMAT=image/png"
        "&WIDTH=256&HEIGHT=256&BBOX={bbox-epsg-3857}"
    )
    assert_colours("maplibre", WORLD, source=source("wmts/quarters/GLOBAL_WEBMERCATOR/{z}/{x}/{y}.png"), zoom=1)
    assert_colours("maplibre", LANDMARK, source=source(wms), zoom=5)

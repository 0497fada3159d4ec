"""The demo pages in Chromium: every viewer draws its map, moves and zooms, and stays with our host."""

import urllib.parse

import pytest

from harness.browser import Browser, changed, share_of
from harness.mapserver import BLUE, GREEN, RED, YELLOW

CONFIG = """\
services:
  demo:
  wms: {{srs: ['EPSG:4326', 'EPSG:3857', 'EPSG:25832'], md: {{title: Quarters of the world}}}}
  wmts: {{}}
  tms: {{}}
layers:
  - {{name: quarters, title: Quarters of the world, sources: [mercator]}}
  - {{name: national, title: UTM 32, sources: [national]}}
caches:
  mercator: {{grids: [GLOBAL_WEBMERCATOR], sources: [quarters]}}
  national: {{grids: [utm32], sources: [quarters]}}
sources:
  quarters: {{type: wms, req: {{url: '{url}/wms', layers: quarters}}}}
grids:
  utm32: {{srs: 'EPSG:25832', bbox: [-46133, 5048875, 1206211, 6301219], origin: nw}}
globals:
  cache: {{base_dir: cache}}
"""

pytestmark = pytest.mark.differs("its pages ask a tile server elsewhere for a background and list WMS layers in a form")

QUARTERS = (RED, GREEN, BLUE, YELLOW)
VIEWERS = ("wms_layer", "wmts_layer", "tms_layer")


@pytest.fixture
def server(serve, mapserver):
    return serve(CONFIG.format(url=mapserver.url))


@pytest.fixture
def browser(folder):
    with Browser(folder) as browser:
        yield browser


def query_of(url):
    return {key.lower(): value for key, value in urllib.parse.parse_qsl(urllib.parse.urlsplit(url).query)}


def assert_quiet(browser, server):
    """No complaint on the console, no failed request, none to a foreign host."""
    foreign = [url for url in browser.requests if not url.startswith(server.url + "/")]
    assert not foreign, f"requests to other hosts: {foreign[:5]}"
    failures = [failure for failure in browser.failures if "favicon" not in failure[1]]
    assert not failures, failures[:5]
    complaints = [text for text in browser.complaints if "favicon" not in text]
    assert not complaints, complaints[:5]


def test_the_layer_list_names_all_layers_and_services(server, browser):
    browser.open(f"{server.url}/demo/")
    browser.screenshot("layers")
    text = browser.driver.find_element("tag name", "body").text
    assert "quarters" in text and "national" in text
    queries = [query_of(url) for url in browser.links()]
    for viewer in VIEWERS:
        shown = {query[viewer] for query in queries if viewer in query}
        # The tile services of the original add the SRS to a layer's name.
        assert {name.split("_EPSG")[0] for name in shown} == {"quarters", "national"}, (viewer, shown)
    assert any("wms_capabilities" in url for url in browser.links())
    assert_quiet(browser, server)


def test_the_root_leads_to_the_demo(server, browser):
    browser.open(f"{server.url}/")
    assert any(url.rstrip("/").endswith("/demo") for url in browser.links())


def test_the_capabilities_pages_show_the_documents(server, browser):
    browser.open(f"{server.url}/demo/")
    links = [url for url in browser.links() if "capabilities" in url and "type=external" not in url]
    pages = sorted({url for url in links if "/demo/" in url})
    assert len(pages) >= 3, links
    for page in pages:
        browser.open(page)
        text = browser.driver.find_element("tag name", "body").text
        assert "quarters" in text or "TileMap" in text, f"{page}: {text[:300]}"
    assert_quiet(browser, server)


@pytest.mark.parametrize("viewer", VIEWERS)
def test_a_viewer_draws_moves_and_zooms(server, browser, viewer):
    browser.open(f"{server.url}/demo/")
    pages = {}
    for url in browser.links():
        query = query_of(url)
        if viewer in query and "png" in query.get("format", "png"):
            pages.setdefault((query[viewer].split("_EPSG")[0], query.get("srs")), url)
    assert pages
    for number, ((layer, srs), page) in enumerate(sorted(pages.items(), key=str)):
        if layer == "quarters" and srs == "EPSG:25832":
            continue  # the whole world has no sensible extent in a national system
        browser.open(page)
        first = browser.screenshot(f"{number}-{layer}-first")
        world = layer == "quarters"
        if world:
            for colour in QUARTERS:
                assert share_of(first, colour) > 0.02, f"{page}: a quarter is missing, see {browser.folder}"
        else:
            assert share_of(first, RED) > 0.02, f"{page}: no map to be seen, see {browser.folder}"
        asked = len(browser.requests)
        browser.drag(150, 90)
        dragged = browser.screenshot(f"{number}-{layer}-dragged")
        browser.zoom_in()
        zoomed = browser.screenshot(f"{number}-{layer}-zoomed")
        assert len(browser.requests) > asked, f"{page}: nothing was asked for after zooming in"
        if world:
            assert changed(first, dragged) > 0.02, f"{page}: dragging moved nothing, see {browser.folder}"
            assert changed(dragged, zoomed) > 0.005, f"{page}: zooming changed nothing, see {browser.folder}"
        drawn = sum(share_of(zoomed, colour) for colour in QUARTERS)
        assert drawn > 0.1, f"{page}: the map is gone after zooming, see {browser.folder}"
    assert_quiet(browser, server)

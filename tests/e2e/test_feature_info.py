"""Feature info and legends of MapServer, through us: every version up and down, stylesheets by the real xsltproc."""

import urllib.parse
import xml.etree.ElementTree as ET

import pytest

from harness.mapserver import BLACK, BLUE, GREEN, RED, YELLOW
from harness.pictures import decode
from harness.server import get

CONFIG = """\
services:
  wms:
    srs: ['EPSG:4326', 'EPSG:3857', 'EPSG:25832']
    featureinfo_xslt: {{html: to_html.xsl}}
  wmts:
    featureinfo_formats: [{{mimetype: text/plain, suffix: txt}}]
layers:
  - {{name: quarters, title: Quarters, sources: [quarters]}}
  - {{name: cached, title: Cached, sources: [cached]}}
  - {{name: south, title: Rows from the south, sources: [south]}}
  - {{name: national, title: Asked in UTM only, sources: [national]}}
  - {{name: gml, title: A stylesheet of its own, sources: [gml]}}
caches:
  cached: {{grids: [GLOBAL_WEBMERCATOR], sources: [quarters]}}
  south: {{grids: [from_south], sources: [quarters]}}
grids:
  from_south: {{base: GLOBAL_WEBMERCATOR, origin: sw}}
sources:
  quarters:
    type: wms
    wms_opts: {{version: {version}, featureinfo: true, legendgraphic: true}}
    req: {{url: '{url}/wms', layers: quarters}}
  national:
    type: wms
    supported_srs: ['EPSG:25832']
    wms_opts: {{version: {version}, featureinfo: true}}
    req: {{url: '{url}/wms', layers: quarters}}
  gml:
    type: wms
    wms_opts:
      version: {version}
      featureinfo: true
      featureinfo_format: application/vnd.ogc.gml
      featureinfo_xslt: from_gml.xsl
    req: {{url: '{url}/wms', layers: quarters}}
globals:
  cache: {{base_dir: cache}}
"""

SHEET = '<xsl:stylesheet version="1.0" xmlns:xsl="http://www.w3.org/1999/XSL/Transform">{}</xsl:stylesheet>'
FROM_GML = SHEET.format(
    '<xsl:template match="/"><found><xsl:for-each select="//quarters_feature"><colour>'
    '<xsl:value-of select="colour"/></colour></xsl:for-each></found></xsl:template>'
)
TO_HTML = SHEET.format(
    '<xsl:template match="/"><html><body><p class="ours"><xsl:value-of select="//colour"/></p></body></html></xsl:template>'
)


@pytest.fixture(params=["1.1.1", "1.3.0"], ids=["upstream-wms-1.1.1", "upstream-wms-1.3.0"])
def server(request, serve, mapserver, folder):
    for name, text in {"from_gml.xsl": FROM_GML, "to_html.xsl": TO_HTML}.items():
        (folder / name).write_text(text)
    return serve(CONFIG.format(url=mapserver.url, version=request.param))


def name_of(colour):
    return "#%02x%02x%02x" % colour


def info(server, layer, srs, bbox, pixel, version="1.1.1", **more):
    new = version == "1.3.0"
    parameters = {
        "SERVICE": "WMS",
        "VERSION": version,
        "REQUEST": "GetFeatureInfo",
        "LAYERS": layer,
        "QUERY_LAYERS": layer,
        "STYLES": "",
        "CRS" if new else "SRS": srs,
        "BBOX": ",".join(map(str, bbox)),
        "WIDTH": 400,
        "HEIGHT": 200,
        "FORMAT": "image/png",
        "I" if new else "X": pixel[0],
        "J" if new else "Y": pixel[1],
        **more,
    }
    return server.get("/service?" + urllib.parse.urlencode(parameters))


@pytest.mark.parametrize("layer", ["quarters", "cached"])
@pytest.mark.parametrize("pixel, colour", [((300, 40), RED), ((100, 40), GREEN), ((300, 160), BLUE), ((100, 160), YELLOW)])
def test_each_quarter_of_the_world_is_found_where_it_is(server, layer, pixel, colour):
    for version, bbox in [("1.1.1", (-180, -90, 180, 90)), ("1.3.0", (-90, -180, 90, 180))]:
        answer = info(server, layer, "EPSG:4326", bbox, pixel, version, INFO_FORMAT="text/plain")
        assert answer.status == 200 and answer.headers["content-type"].startswith("text/plain")
        assert name_of(colour) in answer.body.decode(), answer.body
    world = (-20000000, -20000000, 20000000, 20000000)
    answer = info(server, layer, "EPSG:3857", world, pixel, INFO_FORMAT="text/plain")
    assert name_of(colour) in answer.body.decode(), answer.body


def test_a_pixel_moves_with_its_map_into_the_system_of_the_server(server):
    # The landmark is a square of two degrees around 10° E 50° N.
    for pixel, is_landmark in [((200, 100), True), ((260, 100), False), ((200, 20), False)]:
        answer = info(server, "national", "EPSG:4326", (6, 48, 14, 52), pixel, INFO_FORMAT="text/plain")
        assert (name_of(BLACK) in answer.body.decode()) is is_landmark, answer.body


@pytest.mark.parametrize("layer, grid", [("cached", "GLOBAL_WEBMERCATOR"), ("south", "from_south")])
def test_pixels_of_tiles_are_found_whatever_corner_a_grid_counts_from(server, layer, grid):
    for place, colour in [("1/1/0", RED), ("1/0/0", GREEN), ("1/1/1", BLUE), ("1/0/1", YELLOW)]:
        answer = server.get(f"/wmts/{layer}/{grid}/{place}/200/60.txt")
        assert answer.status == 200 and name_of(colour) in answer.body.decode(), answer.body


def test_stylesheets_rewrite_what_the_source_says_and_what_we_answer(server):
    bbox = (-180, -90, 180, 90)
    plain = info(server, "gml", "EPSG:4326", bbox, (300, 40), INFO_FORMAT="application/vnd.ogc.gml")
    assert plain.headers["content-type"] == "application/vnd.ogc.gml"
    assert ET.fromstring(plain.body).findtext("colour") == name_of(RED)
    html = info(server, "gml", "EPSG:4326", bbox, (100, 160), INFO_FORMAT="text/html")
    assert html.headers["content-type"].startswith("text/html")
    assert f'<p class="ours">{name_of(YELLOW)}</p>' in html.body.decode(), html.body


def test_the_legend_is_the_servers_own_and_capabilities_know_its_size(server, mapserver):
    legend = "SERVICE=WMS&VERSION=1.3.0&REQUEST=GetLegendGraphic&FORMAT=image/png&SLD_VERSION=1.1.0&LAYER=quarters"
    theirs = decode(get(f"{mapserver.url}/wms?{legend}&STYLE=").body)
    ours = decode(server.get(f"/service?{legend}").body)
    assert ours.size == theirs.size and ours.convert("RGB").tobytes() == theirs.convert("RGB").tobytes()
    capabilities = server.get("/service?SERVICE=WMS&VERSION=1.1.1&REQUEST=GetCapabilities").body
    sizes = {(url.get("width"), url.get("height")) for url in ET.fromstring(capabilities).iter("LegendURL")}
    assert sizes == {(str(theirs.size[0]), str(theirs.size[1]))}

"""MapServer as upstream of our caches: WMS 1.1.1 and 1.3.0, Web Mercator and a national grid."""

import pytest

from harness.mapserver import BLACK, BLUE, GREEN, RED, YELLOW
from harness.pictures import assert_colour, decode, psnr
from harness.server import get

CONFIG = """\
services:
  wms:
    srs: ['EPSG:4326', 'EPSG:3857', 'EPSG:25832', 'EPSG:31467']
  wmts:
  tms:
layers:
  - {{name: mercator, title: Web Mercator, sources: [mercator]}}
  - {{name: national, title: UTM 32, sources: [national]}}
  - {{name: direct, title: No cache, sources: [quarters]}}
caches:
  mercator: {{grids: [GLOBAL_WEBMERCATOR], sources: [quarters]}}
  national: {{grids: [utm32], sources: [quarters]}}
sources:
  quarters:
    type: wms
    wms_opts: {{version: {version}}}
    req: {{url: '{url}/wms', layers: quarters}}
grids:
  utm32: {{srs: 'EPSG:25832', bbox: [-46133, 5048875, 1206211, 6301219], origin: nw}}
globals:
  cache: {{base_dir: cache, meta_size: [2, 2], meta_buffer: 8}}
"""


@pytest.fixture(params=["1.1.1", "1.3.0"], ids=["upstream-wms-1.1.1", "upstream-wms-1.3.0"])
def server(request, serve, mapserver):
    return serve(CONFIG.format(url=mapserver.url, version=request.param))


def assert_quarters(image):
    """The whole world, north up."""
    for place, colour in [((0.7, 0.2), RED), ((0.2, 0.2), GREEN), ((0.7, 0.8), BLUE), ((0.2, 0.8), YELLOW)]:
        assert_colour(image, place, colour)


def test_tiles_of_the_whole_world_show_each_quarter_in_its_place(server):
    image = decode(server.get("/wmts/mercator/GLOBAL_WEBMERCATOR/0/0/0.png").body)
    assert image.size == (256, 256)
    assert_quarters(image)


def test_tms_counts_rows_from_the_south(server):
    image = decode(server.get("/tms/1.0.0/mercator/EPSG3857/0/0/0.png").body)
    assert_colour(image, (0.5, 0.5), YELLOW)
    image = decode(server.get("/tms/1.0.0/mercator/EPSG3857/0/1/1.png").body)
    assert_colour(image, (0.8, 0.5), RED)


@pytest.mark.parametrize("layer", ["mercator", "direct"])
def test_maps_in_degrees_have_their_axes_right_in_both_versions(server, layer):
    old = server.get_map(layer, "EPSG:4326", (-180, -90, 180, 90), (400, 200))
    new = server.get_map(layer, "EPSG:4326", (-90, -180, 90, 180), (400, 200), version="1.3.0")
    for answer in (old, new):
        image = decode(answer.body)
        assert image.size == (400, 200)
        assert_quarters(image)


def test_the_national_grid_shows_the_landmark_where_it_is(server):
    # 10° E 50° N is 571666 E 5539109 N in EPSG:25832; the landmark reaches about 70 km east and 110 km north of it.
    bbox = (471666, 5439109, 671666, 5639109)
    image = decode(server.get_map("national", "EPSG:25832", bbox, (400, 400)).body)
    assert_colour(image, (0.5, 0.5), BLACK)
    assert_colour(image, (0.05, 0.5), RED)
    assert_colour(image, (0.95, 0.5), RED)
    direct = decode(server.get_map("direct", "EPSG:25832", bbox, (400, 400)).body)
    assert psnr(image, direct) > 20, "the cached map lies elsewhere than the upstream's own"


def test_a_cached_map_reprojected_agrees_with_the_upstreams_own(server, mapserver):
    bbox = (8.0, 48.0, 12.0, 52.0)
    ours = decode(server.get_map("national", "EPSG:4326", bbox, (400, 400)).body)
    query = "SERVICE=WMS&VERSION=1.1.1&REQUEST=GetMap&LAYERS=quarters&STYLES=&SRS=EPSG:4326&FORMAT=image/png"
    theirs = get(f"{mapserver.url}/wms?{query}&BBOX=8,48,12,52&WIDTH=400&HEIGHT=400")
    assert psnr(ours, decode(theirs.body)) > 20
    assert_colour(ours, (0.5, 0.5), BLACK)


def test_a_second_request_for_a_tile_asks_the_upstream_nothing(server, mapserver):
    path = "/wmts/mercator/GLOBAL_WEBMERCATOR/3/4/2.png"
    first = server.get(path)
    asked = len(mapserver.requests())
    second = server.get(path)
    assert second.body == first.body
    assert len(mapserver.requests()) == asked


def test_the_upstream_is_asked_in_the_words_of_its_version(server, mapserver, request):
    before = len(mapserver.requests())
    server.get_map("direct", "EPSG:4326", (0, 10, 20, 30), (100, 100))
    asked = mapserver.requests()[before:]
    assert len(asked) == 1
    version = request.node.callspec.params["server"]
    words = asked[0].lower()
    assert f"version={version}" in words
    assert ("crs=" in words and "bbox=10" in words) if version == "1.3.0" else ("srs=" in words and "bbox=0" in words)

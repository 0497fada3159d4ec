"""Upstreams that fail in every way: the client gets a clear exception, the log says why, nothing is stored."""

import pytest
from lxml import etree

from harness import upstream as behaviours
from harness.pictures import decode
from harness.server import get

pytestmark = pytest.mark.differs("it answers 'internal error', passes bad bodies through, or stores them")

CONFIG = """\
services: {{wms: {{srs: ['EPSG:3857', 'EPSG:4326']}}, wmts: {{}}, tms: {{}}}}
layers:
  - {{name: cached_wms, title: Cached WMS, sources: [cached_wms]}}
  - {{name: cached_tiles, title: Cached tiles, sources: [cached_tiles]}}
  - {{name: direct, title: Direct, sources: [wms]}}
caches:
  cached_wms: {{grids: [GLOBAL_WEBMERCATOR], sources: [wms], meta_size: [2, 2]}}
  cached_tiles: {{grids: [GLOBAL_WEBMERCATOR], sources: [tiles]}}
sources:
  wms: {{type: wms, req: {{url: 'http://somebody:secret-word@127.0.0.1:{port}/wms', layers: any}}}}
  tiles: {{type: tile, grid: GLOBAL_WEBMERCATOR, url: 'http://somebody:secret-word@127.0.0.1:{port}/%(z)s/%(x)s/%(y)s.png'}}
globals:
  cache: {{base_dir: cache}}
  http: {{client_timeout: 2}}
"""

FAILURES = [
    behaviours.silence,
    behaviours.reset,
    behaviours.half_a_body,
    behaviours.half_a_picture,
    behaviours.html,
    behaviours.html_called_a_picture,
    behaviours.service_exception,
    behaviours.wrong_size,
    behaviours.server_error,
    behaviours.too_many_requests,
    behaviours.empty,
    behaviours.garbage,
    behaviours.decompression_bomb,
]

BBOX = (0, 0, 4e6, 4e6)


@pytest.fixture
def server(serve, upstream):
    return serve(CONFIG.format(port=upstream.port))


def stored(folder):
    cache = folder / "cache"
    return [file for file in cache.rglob("*") if file.is_file() and file.suffix != ".lck"]


def assert_clear_exception(answer, root_name):
    assert answer.status in (500, 502, 503, 504), answer
    root = etree.fromstring(answer.body)
    assert etree.QName(root).localname == root_name, answer
    text = " ".join(" ".join(root.itertext()).split())
    assert len(text) > 10, f"says nothing: {answer}"
    assert "internal error" not in text.lower() and "panick" not in text.lower(), text
    assert "secret-word" not in answer.text, "the password went to the client"


@pytest.mark.parametrize("behaviour", FAILURES, ids=lambda behaviour: behaviour.__name__)
def test_a_failing_upstream_is_a_clear_exception_and_nothing_is_stored(server, upstream, folder, behaviour):
    upstream.behaviour = behaviour
    for layer in ("cached_wms", "cached_tiles", "direct"):
        answer = server.get_map(layer, "EPSG:3857", BBOX, (256, 256), timeout=30)
        if layer == "direct" and behaviour is behaviours.wrong_size:
            assert decode(answer.body).size == (256, 256)  # scaled, with a warning: nothing of it is kept
        else:
            assert_clear_exception(answer, "ServiceExceptionReport")
    for layer in ("cached_wms", "cached_tiles"):
        assert_clear_exception(server.get(f"/wmts/{layer}/GLOBAL_WEBMERCATOR/3/4/3.png", timeout=30), "ExceptionReport")
        assert_clear_exception(server.get(f"/tms/1.0.0/{layer}/EPSG3857/2/2/2.png", timeout=30), "TileMapServerError")
    assert not stored(folder), "a failure was stored"
    log = server.log
    assert f"127.0.0.1:{upstream.port}" in log, f"the log does not name the upstream:\n{log}"
    assert "secret-word" not in log, "the password went to the log"
    assert "panicked" not in log, log

    upstream.behaviour = behaviours.picture
    answer = server.get("/wmts/cached_tiles/GLOBAL_WEBMERCATOR/3/4/3.png")
    assert answer.status == 200, f"the failure outlived its cause: {answer}"
    assert decode(answer.body).getpixel((5, 5)) == upstream.colour
    assert stored(folder)


def test_an_upstream_that_is_not_there_is_a_clear_exception(serve, folder):
    from harness.ports import free_port

    server = serve(CONFIG.format(port=free_port()))
    assert_clear_exception(server.get_map("cached_wms", "EPSG:3857", BBOX, (256, 256)), "ServiceExceptionReport")
    assert not stored(folder)


def test_the_exception_can_be_a_picture(server, upstream):
    upstream.behaviour = behaviours.server_error
    for exceptions in ("application/vnd.ogc.se_inimage", "application/vnd.ogc.se_blank"):
        answer = server.get_map("cached_wms", "EPSG:3857", BBOX, (256, 256), EXCEPTIONS=exceptions)
        assert answer.status == 200 and answer.content_type == "image/png"
        assert decode(answer.body).size == (256, 256)
        assert "no-store" in answer.headers.get("Cache-Control", "")


@pytest.mark.parametrize(
    "path",
    [
        "/service?SERVICE=WMS&VERSION=1.1.1&REQUEST=GetMap",
        "/service?SERVICE=WMS&VERSION=x.y&REQUEST=GetMap",
        "/service?SERVICE=WMS&VERSION=1.1.1&REQUEST=GetMap&LAYERS=direct&STYLES=&SRS=EPSG:3857&BBOX=a,b,c,d&WIDTH=10&HEIGHT=10&FORMAT=image/png",
        "/service?SERVICE=WMS&VERSION=1.1.1&REQUEST=GetMap&LAYERS=direct&STYLES=&SRS=EPSG:3857&BBOX=nan,0,inf,1&WIDTH=10&HEIGHT=10&FORMAT=image/png",
        "/service?SERVICE=WMS&VERSION=1.1.1&REQUEST=GetMap&LAYERS=direct&STYLES=&SRS=EPSG:3857&BBOX=0,0,1,1&WIDTH=-5&HEIGHT=0&FORMAT=image/png",
        "/service?SERVICE=WMS&VERSION=1.1.1&REQUEST=GetMap&LAYERS=direct&STYLES=&SRS=EPSG:3857&BBOX=0,0,1,1&WIDTH=99999999&HEIGHT=99999999&FORMAT=image/png",
        "/service?SERVICE=WMTS&REQUEST=GetTile&VERSION=1.0.0&LAYER=cached_wms&STYLE=&TILEMATRIXSET=GLOBAL_WEBMERCATOR&TILEMATRIX=x&TILEROW=y&TILECOL=-99999999999999999999&FORMAT=png",
        "/wmts/cached_wms/GLOBAL_WEBMERCATOR/99999999999999999999/0/0.png",
        "/wmts/cached_wms/GLOBAL_WEBMERCATOR/3/-1/0.png",
        "/tms/1.0.0/cached_wms/EPSG3857/1/99999999999999999999/0.png",
        "/tms/1.0.0/../../etc/passwd",
        "/demo/static/..%2f..%2f..%2fetc%2fpasswd",
        "/%00%ff%fe",
        "/service?%ff=%fe&&&=&service=%00",
        "/service?" + "a=b&" * 3000,
    ],
)
def test_nonsense_is_answered_and_the_server_lives(server, path):
    answer = server.get(path)
    assert 400 <= answer.status <= 500, answer
    assert "panicked" not in server.log, server.log
    assert b"root:" not in answer.body
    assert get(server.url + "/").status == 200

"""`globals.auth` of a running server: an endpoint of our own that is asked, tokens with fetched keys, and keys in addresses
with GDAL as a client that follows them."""

import contextlib
import hashlib
import io
import json
import threading
import urllib.parse
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from PIL import Image

from harness.ports import wait_until
from harness.server import Server
from test_gdal_clients import gdal, translate  # noqa: F401

pytestmark = pytest.mark.differs("it has no globals.auth")

CONFIG = """\
services: {{wms: {{srs: ['EPSG:3857', 'EPSG:4326']}}, wmts: {{}}, tms: {{}}, demo: {{}}}}
layers:
  - name: root
    title: All
    layers:
      - {{name: one, title: One, sources: [cached]}}
      - {{name: two, title: Two, sources: [upstream]}}
caches:
  cached: {{grids: [GLOBAL_WEBMERCATOR], sources: [upstream]}}
sources:
  upstream: {{type: wms, req: {{url: '{url}/wms', layers: any}}}}
globals:
  cache: {{base_dir: cache}}
  auth: {auth}
"""
CAPABILITIES = "/service?SERVICE=WMS&VERSION=1.1.1&REQUEST=GetCapabilities"

# Signed by OpenSSL for the audience `maps` and layer `photo`, valid until 2100, with the key of this set.
TOKEN = (
    "eyJhbGciOiJSUzI1NiIsImtpZCI6InIifQ.eyJleHAiOjQxMDI0NDQ4MDAsImF1ZCI6Im1hcHMiLCJsYXllcnMiOlsicGhvdG8iXX0.byQVhLdErSV9DYVx"
    "rqPaDhpMUBySAAySqRr8-G8M-oks9Dzm5M3zTQX8zuYDuaPWNG4XOVHexni2mvtL-p7RijShae6lGCF8Z1Ps1ga_573pIXw1wliSdYmxSp-1cJQpICyZIT_tl"
    "_ySbEQBvxGwa3ZnPELYgfWwJ3d-1HNASUGEBlSdLnll8p7BCTOpnVOv9cvRov_dmsn-68GL-c_jZSinYkhZpoCWYsQH0CZc6v1Z4Bdmz5B9aRB36rkavKapBj"
    "2n9I0j4qzPK3wA73xu2IiX1eOqQgBkBivi7LBvkI8Aov8F8R-NDf7PIWuNNy8IBBwskOVFw_cUpGzg1M1brw"
)
MODULUS = (
    "ra90krpbJOsBeoDHry9QlP9Kw4EsapbP8TxgvWdmfqGuCjzNG3IWE4kh4i8hBEA1D-FCaGsY56_U0rzmw2amsbXJRmv01RiCKu7KmZAuKj-m8LaY3Thq2Qs6x"
    "xSoREWIcHKH1sb0korrqnswtUwrz2Z-cP70Z-h1TqiiPu5Py6m03KGbCl-1v-tH8yLBsspUh-E3xJmZt3eBuPoFKIDTDo1xPyIuptapzPM10u3JBWpxVz-I9F"
    "vYfjPdxVTmdDpnWrCAaW-xB8MO4q3DhooCrq9BJAPW0EzasRJMxV_c8nYRWhxi_nBvsLVq-mmsVmTUbsuZ1tt_uwKmm3rNME2yuw"
)
KEYS = {"keys": [{"kty": "RSA", "kid": "r", "use": "sig", "alg": "RS256", "n": MODULUS, "e": "AQAB"}]}


@contextlib.contextmanager
def deciding(decide):
    """An HTTP server: decide(question, headers) -> (status, headers, body). Yields its address and what it was asked."""
    asked = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self):
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            question = json.loads(body) if body else None
            asked.append(question)
            status, headers, body = decide(question, self.headers)
            self.send_response(status)
            for name, value in {**headers, "Content-Length": len(body)}.items():
                self.send_header(name, str(value))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = answer

        def log_message(self, *arguments):
            """Nothing: tests look at what was asked."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/", asked
    finally:
        server.shutdown()
        server.server_close()


def decision(**answer):
    return 200, {"Content-Type": "application/json"}, json.dumps(answer).encode()


WEST = {"geometry": [-180, -85, 0, 85], "srs": "EPSG:4326"}


def by_cookie(question, headers):
    match headers.get("Cookie"):
        case "user=all":
            return decision(authorized="full")
        case "user=west":
            return decision(authorized="partial", layers={"one": {"map": True, "tile": True, "limited_to": WEST}})
        case "user=broken":
            return 200, {"Content-Type": "text/html"}, b"<h1>Welcome</h1>"
        case _:
            return 401, {"WWW-Authenticate": 'Basic realm="town"'}, b""


def test_an_endpoint_decides_who_sees_what(serve, upstream):
    away = threading.Event()
    with deciding(lambda *question: (500, {}, b"") if away.is_set() else by_cookie(*question)) as (url, asked):
        server = serve(CONFIG.format(url=upstream.url, auth=f"{{endpoint: {{url: '{url}', cache: 2}}}}"), mode="serve")
        paths = [f"/wmts/one/GLOBAL_WEBMERCATOR/3/{x}/{y}.png" for x in range(8) for y in range(8)]
        with ThreadPoolExecutor(16) as clients:
            tiles = list(clients.map(lambda path: server.get(path, headers={"Cookie": "user=all"}), paths))
        assert {tile.status for tile in tiles} == {200}
        assert asked == [{"operation": "wmts", "layers": ["one"]}], asked
        assert all("private" in tile.headers["Cache-Control"] for tile in tiles)

        west = {"Cookie": "user=west"}
        shown = server.get_map("one", "EPSG:4326", (-90, -45, 90, 45), (200, 100))
        assert (shown.status, shown.headers["WWW-Authenticate"]) == (401, 'Basic realm="town"')
        query = urllib.parse.urlencode(
            {"SERVICE": "WMS", "VERSION": "1.1.1", "REQUEST": "GetMap", "LAYERS": "one", "STYLES": "", "SRS": "EPSG:4326",
             "BBOX": "-90,-45,90,45", "WIDTH": 200, "HEIGHT": 100, "FORMAT": "image/png", "TRANSPARENT": "true"}
        )
        picture = Image.open(io.BytesIO(server.get(f"/service?{query}", headers=west).body)).convert("RGBA")
        assert picture.getpixel((50, 20))[3] == 255 and picture.getpixel((150, 20))[3] == 0
        assert server.get(f"/service?{query.replace('one', 'two')}", headers=west).status == 403
        document = server.get(CAPABILITIES, headers=west).text
        assert "<Name>two</Name>" not in document

        broken = server.get(paths[0], headers={"Cookie": "user=broken"})
        assert (broken.status, broken.text) == (503, "service unavailable")
        assert "no decision" in server.log and "user=broken" not in server.log
        # Without the endpoint an answer holds for its time and no longer.
        away.set()
        wait_until(lambda: server.get(paths[0], headers={"Cookie": "user=all"}).status == 503, 10, "the answer still holds")


def test_tokens_are_checked_with_keys_that_are_fetched(serve, upstream):
    keys = lambda question, headers: (200, {"Content-Type": "application/json"}, json.dumps(KEYS).encode())
    with deciding(keys) as (url, asked):
        jwt = f"{{jwt: {{jwks: '{url}keys', algorithms: [RS256], audience: maps}}, anonymous: {{layers: [two]}}}}"
        config = CONFIG.replace("name: one,", "name: photo,").format(url=upstream.url, auth=jwt)
        server = serve(config, mode="serve")
        bearer = {"Authorization": f"Bearer {TOKEN}"}
        tile = "/wmts/photo/GLOBAL_WEBMERCATOR/3/1/1.png"
        assert [server.get(tile, headers=bearer).status for _ in range(3)] == [200] * 3
        assert server.get(tile).status == 403
        wrong = server.get(tile, headers={"Authorization": f"Bearer {TOKEN[:-4]}AAAA"})
        assert (wrong.status, "invalid_token" in wrong.headers["WWW-Authenticate"]) == (401, True)
        assert server.get_map("two", "EPSG:3857", (0, 0, 10, 10), (10, 10)).status == 200
        assert len(asked) == 1


def test_gdal_keeps_the_key_of_its_address_and_logs_do_not(command, folder, upstream, translate):  # noqa: F811
    key = "5f3a9c"
    digest = hashlib.sha256(key.encode()).hexdigest()
    keys = f"{{api_keys: {{in_addresses: true, keys: [{{sha256: {digest}, authorized: full}}]}}}}"
    config, log = folder / "mapproxy.yaml", folder / "access.log"
    config.write_text(CONFIG.format(url=upstream.url, auth=keys))
    with Server.nursery([*command, "serve", "--access-log", str(log)], folder) as start:
        server = start(mode="--log-level=info")
        base = f"{server.url}/api_key/{key}"
        source = f"WMTS:{base}/wmts/1.0.0/WMTSCapabilities.xml,layer=one"
        assert translate(source, folder / "wmts.png", "-outsize", "64", "64").size == (64, 64)
        assert f'xlink:href="{base}/service?' in server.get(f"{CAPABILITIES}&api_key={key}").text
        assert server.get("/wmts/1.0.0/WMTSCapabilities.xml").status == 401
        assert key not in server.log
    lines = log.read_text()
    assert key not in lines and "/api_key/*/wmts/" in lines and "api_key=*" in lines, lines

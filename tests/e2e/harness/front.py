"""What must be right behind every web server, and load upon it."""

import gzip
import hashlib
import http.client
import re
import socket
import threading
import time

from harness.machine import PUBLIC, ask
from harness.pictures import decode

TILE = "/wmts/topo/GLOBAL_WEBMERCATOR/{z}/{x}/{y}.png"
FORGED = {
    "X-Forwarded-Host": "evil.example",
    "X-Script-Name": "/evil",
    "X-Forwarded-Prefix": "/evil",
    "X-Forwarded-Proto": "gopher",
    "Forwarded": "host=evil.example;proto=gopher",
}


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=30)
        self._path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def wms(layers="topo", size=(300, 200), format="image/png", bbox="-2000000,4000000,1000000,6000000"):
    return (
        f"/service?SERVICE=WMS&VERSION=1.1.1&REQUEST=GetMap&LAYERS={layers}&STYLES=&SRS=EPSG:3857&BBOX={bbox}"
        f"&WIDTH={size[0]}&HEIGHT={size[1]}&FORMAT={format}"
    )


def addresses(document):
    """Addresses that a document gives to its reader, without those of schemas and the like."""
    found = re.findall(r'(?:xlink:href|href|template)="([^"]+)"', document)
    return [address for address in found if not re.match(r"https?://(www\.opengis\.net|schemas\.opengis\.net|www\.w3\.org)", address)]


def check(machine, port=80, prefix="/maps", public=f"http://{PUBLIC}", tls=False, forged=FORGED, streams_post=True):
    """Everything the guide promises of the server on this port."""
    def get(path, headers=None, **more):
        return machine.ask(prefix + path, port, headers=headers, **more)

    documents = {
        "/service?SERVICE=WMS&VERSION=1.1.1&REQUEST=GetCapabilities": 2,
        "/service?SERVICE=WMS&VERSION=1.3.0&REQUEST=GetCapabilities": 2,
        "/service?SERVICE=WMTS&REQUEST=GetCapabilities": 2,
        "/wmts/1.0.0/WMTSCapabilities.xml": 1,
        "/tms/1.0.0/": 1,
    }
    for path, count in documents.items():
        for headers in ({}, forged):
            answer = get(path, headers)
            assert answer.status == 200, (path, answer)
            assert "evil" not in answer.text and "gopher" not in answer.text, (path, headers, answer.text[:3000])
            named = addresses(answer.text)
            assert len(named) >= count, (path, named)
            wrong = [address for address in named if not address.startswith(f"{public}{prefix}/")]
            assert not wrong, (path, wrong)
    # Documents are compressed for those who ask for it, on whatever side of the front, and known by their tags.
    path = "/service?SERVICE=WMS&VERSION=1.3.0&REQUEST=GetCapabilities"
    compressed = get(path, {"Accept-Encoding": "gzip"})
    assert compressed.headers["Content-Encoding"] == "gzip" and compressed.headers["Vary"], compressed.headers
    assert gzip.decompress(compressed.body) == get(path).body
    known = get(path, {"Accept-Encoding": "gzip", "If-None-Match": compressed.headers["ETag"]})
    assert known.status == 304 and not known.body, known
    # What a document names can be asked for.
    tile_address = re.search(r'<TileMap [^>]*href="([^"]+)"', get("/tms/1.0.0/").text)[1]
    assert machine.ask(tile_address.removeprefix(public), port).status == 200, tile_address

    tile = get(TILE.format(z=3, x=4, y=2))
    assert tile.status == 200 and tile.content_type == "image/png", tile
    assert decode(tile.body).size == (256, 256)
    again = get(TILE.format(z=3, x=4, y=2))
    assert again.body == tile.body and again.headers["ETag"] == tile.headers["ETag"]
    unchanged = get(TILE.format(z=3, x=4, y=2), {"If-None-Match": tile.headers["ETag"]})
    assert unchanged.status == 304 and not unchanged.body, unchanged
    unchanged = get(TILE.format(z=3, x=4, y=2), {"If-Modified-Since": tile.headers["Last-Modified"]})
    assert unchanged.status == 304 and not unchanged.body, unchanged
    assert get(TILE.format(z=3, x=4, y=2), {"If-None-Match": '"another"'}).body == tile.body
    head = get(TILE.format(z=3, x=4, y=2), method="HEAD")
    assert head.status == 200 and not head.body and head.headers["ETag"] == tile.headers["ETag"], head
    # Apache leaves the length out where the answer came over FastCGI.
    assert head.headers["Content-Length"] in (str(len(tile.body)), None), head.headers

    picture = get(wms())
    assert picture.status == 200 and decode(picture.body).size == (300, 200), picture
    # Escapes arrive as they were written.
    assert decode(get(wms().replace("/service", "/ser%76ice")).body).size == (300, 200)
    missing = get("/nothing/here")
    assert missing.status == 404 and missing.body == b"not found", missing

    large = get(wms(size=(2000, 1700), format="image/tiff"))
    assert large.status == 200 and len(large.body) > 10_000_000, (large.status, len(large.body))
    assert decode(large.body).size == (2000, 1700)
    for reader in (half_a_second_late, in_small_pieces):
        body = reader(machine, port, prefix + wms(size=(2000, 1700), format="image/tiff"), tls)
        assert hashlib.sha256(body).digest() == hashlib.sha256(large.body).digest(), reader.__name__

    address, parameters = wms().split("?")
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    posted = get(address, method="POST", body=parameters.encode(), headers=form)
    assert posted.status == 200 and decode(posted.body).size == (300, 200), posted
    posted = get(wms(), method="POST", body=b"x" * 300_000, headers={"Content-Type": "application/octet-stream"})
    assert posted.status == 200 and decode(posted.body).size == (300, 200), posted
    if streams_post:
        posted = get(wms(), method="POST", body=iter([b"y" * 70_000] * 4))
        assert posted.status == 200 and decode(posted.body).size == (300, 200), posted

    connection = machine.client(port)
    for _ in range(3):
        assert ask(connection, prefix + TILE.format(z=3, x=4, y=2)).body == tile.body
    connection.close()
    return tile


def half_a_second_late(machine, port, path, tls):
    """The body, read only when everybody's buffers are long full."""
    connection = machine.client(port)
    connection.request("GET", path, headers={"Host": PUBLIC})
    response = connection.getresponse()
    time.sleep(0.5)
    body = response.read()
    connection.close()
    return body


def in_small_pieces(machine, port, path, tls):
    connection = machine.client(port)
    connection.connect()
    connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 18)
    connection.request("GET", path, headers={"Host": PUBLIC})
    response = connection.getresponse()
    pieces = []
    while piece := response.read(5000):
        pieces.append(piece)
    connection.close()
    return b"".join(pieces)


class Load:
    """Clients that ask for the same few tiles over and over, and count what comes."""

    def __init__(self, machine, clients, port=80, prefix="/maps", tiles=8, fresh=False):
        """With `fresh`, no cache on the way has the answer."""
        self.machine, self.port, self.prefix, self.fresh = machine, port, prefix, fresh
        paths = [TILE.format(z=4, x=x, y=5) for x in range(tiles)]
        self.expected = {prefix + path: machine.ask(prefix + path, port).body for path in paths}
        assert all(body.startswith(b"\x89PNG") for body in self.expected.values()), self.expected
        self.right, self.wrong, self.lost = 0, [], []
        self._end, self._lock = threading.Event(), threading.Lock()
        self._threads = [threading.Thread(target=self._client, args=(number,), daemon=True) for number in range(clients)]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *error):
        self._end.set()
        for thread in self._threads:
            thread.join(70)

    def _client(self, number):
        connection, right, paths = None, 0, list(self.expected)
        while not self._end.is_set():
            path = paths[(number + right) % len(paths)]
            try:
                if connection is None:
                    connection = self.machine.client(self.port, timeout=60)
                answer = ask(connection, f"{path}?{number}-{right}" if self.fresh else path)
            except Exception as error:
                # A server may close an idle connection whenever it likes (RFC 9112, 9.3.1): asking again is the client's
                # part, and only then is a request lost.
                reused = connection is not None and getattr(connection, "used", False)
                self._close(connection)
                connection = None
                if not reused:
                    with self._lock:
                        self.lost.append(repr(error))
                continue
            connection.used = answer.headers.get("Connection", "").lower() != "close"
            if answer.status == 200 and answer.body == self.expected[path]:
                right += 1
            else:
                with self._lock:
                    self.wrong.append(f"{answer.status} {answer.body[:60]!r}")
            if not connection.used:
                self._close(connection)
                connection = None
        self._close(connection)
        with self._lock:
            self.right += right

    @staticmethod
    def _close(connection):
        if connection is not None:
            connection.close()

    def told(self):
        return f"{self.right} right, {len(self.wrong)} wrong {sorted(set(self.wrong))[:3]}, {len(self.lost)} lost {sorted(set(self.lost))[:3]}"

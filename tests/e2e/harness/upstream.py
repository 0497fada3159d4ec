"""An upstream of our own that counts, waits and misbehaves as it is told."""

import io
import socket
import struct
import threading
import time
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from PIL import Image


class _Listener(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 1024

    def handle_error(self, request, client_address):
        """Clients that go away while we misbehave are no news."""


class Upstream:
    """Answers WMS and tile requests with a picture of `colour`, or as `behaviour(handler, width, height)` says.

    `requests` are the paths asked for, in order of arrival; `delay` seconds pass before each answer, or until `release`
    is set.
    """

    def __init__(self, colour=(200, 60, 40)):
        self.colour, self.delay, self.behaviour = colour, 0.0, picture
        self.requests, self.release = [], threading.Event()
        self._lock = threading.Lock()
        owner = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                with owner._lock:
                    owner.requests.append(self.path)
                query = urllib.parse.parse_qs(urllib.parse.urlsplit(self.path).query.upper())
                width, height = (int(query.get(key, ["256"])[0]) for key in ("WIDTH", "HEIGHT"))
                owner.release.wait(owner.delay)
                owner.behaviour(self, owner, width, height)

            def log_message(self, *arguments):
                """Nothing: tests look at `requests`."""

        self._server = _Listener(("127.0.0.1", 0), Handler)
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"

    def __enter__(self):
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *error):
        self.release.set()
        self._server.shutdown()
        self._server.server_close()


def send(handler, status, content_type, body, length=None):
    handler.send_response(status)
    handler.send_header("Content-Type", content_type)
    handler.send_header("Content-Length", str(len(body) if length is None else length))
    handler.end_headers()
    handler.wfile.write(body)


def encoded(colour, width, height):
    """A PNG whose pixels vary a little, so that it is neither a single colour nor trivially short."""
    image = Image.new("RGB", (width, height), colour)
    image.paste((0, 0, 0), (width // 4, height // 4, width // 4 + 8, height // 4 + 8))
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


# Behaviours, each (handler, upstream, width, height).


def picture(handler, upstream, width, height):
    send(handler, 200, "image/png", encoded(upstream.colour, width, height))


def silence(handler, upstream, width, height):
    """Takes the request and never answers."""
    upstream.release.wait(60)
    handler.close_connection = True


def reset(handler, upstream, width, height):
    """Cuts the connection with RST."""
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.close_connection = True
    handler.connection.close()


def half_a_body(handler, upstream, width, height):
    """Promises a picture and closes in the middle of it."""
    body = encoded(upstream.colour, width, height)
    send(handler, 200, "image/png", body[: len(body) // 2], length=len(body))
    handler.close_connection = True


def half_a_picture(handler, upstream, width, height):
    """A whole answer whose picture is cut off."""
    body = encoded(upstream.colour, width, height)
    send(handler, 200, "image/png", body[: len(body) // 2])


def html(handler, upstream, width, height):
    send(handler, 200, "text/html", b"<html><body>Please log in</body></html>")


def html_called_a_picture(handler, upstream, width, height):
    send(handler, 200, "image/png", b"<html><body>Please log in</body></html>")


def service_exception(handler, upstream, width, height):
    body = b'<?xml version="1.0"?><ServiceExceptionReport><ServiceException>no</ServiceException></ServiceExceptionReport>'
    send(handler, 200, "application/vnd.ogc.se_xml", body)


def wrong_size(handler, upstream, width, height):
    send(handler, 200, "image/png", encoded(upstream.colour, 17, 11))


def server_error(handler, upstream, width, height):
    send(handler, 500, "text/plain", b"broken")


def too_many_requests(handler, upstream, width, height):
    send(handler, 429, "text/plain", b"slow down")


def empty(handler, upstream, width, height):
    send(handler, 200, "image/png", b"")


def garbage(handler, upstream, width, height):
    """Not even HTTP."""
    handler.wfile.write(b"\x00\x01\x02 nothing like a status line\r\n\r\n")
    handler.close_connection = True


def decompression_bomb(handler, upstream, width, height):
    """A small file that claims to be 60000 x 60000 pixels."""
    import zlib

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 60000, 60000, 8, 6, 0, 0, 0)
    body = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(10_000_000)))
    send(handler, 200, "image/png", body + chunk(b"IEND", b""))


def wait_for_requests(upstream, count, seconds=20):
    deadline = time.monotonic() + seconds
    while len(upstream.requests) < count:
        assert time.monotonic() < deadline, f"{len(upstream.requests)} of {count} requests reached the upstream"
        time.sleep(0.01)

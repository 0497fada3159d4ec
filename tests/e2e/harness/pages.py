"""Pages with map libraries from npm, on an origin of their own: what they ask the server for must be allowed by CORS."""

import functools
import sys
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

_PAGES = Path(__file__).parent.parent / "clients"


class _Handler(SimpleHTTPRequestHandler):
    extensions_map = {**SimpleHTTPRequestHandler.extensions_map, ".mjs": "text/javascript", ".js": "text/javascript"}

    def translate_path(self, path):
        if path.startswith("/node_modules/"):
            self.directory = str(_libraries())
        else:
            self.directory = str(_PAGES)
        return super().translate_path(path)

    def log_message(self, *_):
        pass


@functools.cache
def _libraries():
    folder = Path(sys.prefix).parent / "npm"
    assert (folder / "node_modules").is_dir(), f"{folder}/node_modules is missing: run tests/e2e/setup"
    return folder


def library(path):
    """The text of a file of a library."""
    return (_libraries() / "node_modules" / path).read_text()


class Pages:
    """The files of clients/ and /node_modules/ on a port of 127.0.0.1."""

    def __enter__(self):
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *error):
        self._server.shutdown()
        self._server.server_close()

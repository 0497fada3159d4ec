"""What is seeded, tile for tile: both programs work on the same tasks, and what they ask upstream and store is compared.

    python -m harness.walks --seed '…/mapproxy-seed' --original '…/mapproxy-seed' [NAME …]
"""

import argparse
import collections
import io
import shlex
import shutil
import subprocess
import tempfile
import threading
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from PIL import Image

CONFIG = """\
services: {{demo: {{}}}}
layers: [{{name: l, title: l, sources: [single]}}]
globals: {{cache: {{base_dir: cache, lock_dir: locks}}, image: {{paletted: false}}}}
sources:
  wms: {{type: wms, supported_srs: ['EPSG:3857', 'EPSG:4326', 'EPSG:25832'], req: {{url: '{url}/wms', layers: a}}}}
  tiles: {{type: tile, url: '{url}/%(z)s/%(x)s/%(y)s.png', grid: GLOBAL_MERCATOR}}
grids:
  utm: {{srs: 'EPSG:25832', bbox: [300000, 5200000, 900000, 6100000], origin: nw, res_factor: 2, num_levels: 9}}
  sqrt2: {{base: GLOBAL_MERCATOR, res_factor: sqrt2, num_levels: 24}}
  odd: {{srs: 'EPSG:3857', bbox: [-1000000, 4000000, 3333333, 8111111], origin: ul, res: [9000, 5000, 2100, 1000, 700, 300]}}
  tall: {{srs: 'EPSG:3857', bbox: [-1000000, 4000000, 3333333, 8111111], res_factor: 1.7, num_levels: 12, tile_size: [200, 300]}}
  degrees: {{srs: 'EPSG:4326', origin: nw, num_levels: 12}}
  thirds: {{srs: 'EPSG:3857', res_factor: 3, num_levels: 8, origin: ul}}
caches:
  single: {{sources: [wms], grids: [GLOBAL_MERCATOR], meta_size: [1, 1], meta_buffer: 0}}
  meta: {{sources: [wms], grids: [GLOBAL_MERCATOR], meta_size: [4, 4], meta_buffer: 10}}
  uneven: {{sources: [wms], grids: [GLOBAL_MERCATOR], meta_size: [3, 5], meta_buffer: 0}}
  degrees: {{sources: [wms], grids: [GLOBAL_GEODETIC, degrees], meta_size: [2, 2], meta_buffer: 0}}
  utm: {{sources: [wms], grids: [utm], meta_size: [2, 3], meta_buffer: 0}}
  sqrt2: {{sources: [wms], grids: [sqrt2], meta_size: [4, 4], meta_buffer: 0}}
  odd: {{sources: [wms], grids: [odd], meta_size: [2, 2], meta_buffer: 0}}
  tall: {{sources: [wms], grids: [tall], meta_size: [3, 3], meta_buffer: 0}}
  thirds: {{sources: [wms], grids: [thirds], meta_size: [2, 2], meta_buffer: 0}}
  tiles: {{sources: [tiles], grids: [GLOBAL_MERCATOR]}}
  bulk: {{sources: [tiles], grids: [GLOBAL_MERCATOR], bulk_meta_tiles: true, meta_size: [2, 2]}}
  rescaled: {{sources: [wms], grids: [GLOBAL_MERCATOR], upscale_tiles: 1, meta_size: [2, 2]}}
"""

COVERAGES = """\
coverages:
  box: {bbox: [5.1, 47.2, 15.3, 55.4], srs: 'EPSG:4326'}
  metres: {bbox: [1000000, 6000000, 1100000, 6100000], srs: 'EPSG:3857'}
  west: {bbox: [-10, 40, 3, 50], srs: 'EPSG:4326'}
  polygons: {datasource: polygons.wkt, srs: 'EPSG:4326'}
  hole: {datasource: hole.geojson, srs: 'EPSG:4326'}
  utm: {datasource: utm.wkt, srs: 'EPSG:25832'}
  edge: {bbox: [0, 0, 11.25, 11.178401873711785], srs: 'EPSG:4326'}
  both: {intersection: [{bbox: [0, 40, 20, 60], srs: 'EPSG:4326'}, {datasource: polygons.wkt, srs: 'EPSG:4326'}]}
  frame: {difference: [{bbox: [5, 45, 15, 55], srs: 'EPSG:4326'}, {bbox: [8, 48, 12, 52], srs: 'EPSG:4326'}]}
"""

FILES = {
    "polygons.wkt": "POLYGON((6 47,9.5 47.3,13 49,15 54,8 55,7 50.5,6 47))\nPOLYGON((-3 40,-1 40.1,-2 43,-3 40))\n",
    "utm.wkt": "POLYGON((400000 5500000,500000 5510000,480000 5700000,400000 5500000))\n",
    "hole.geojson": '{"type": "Feature", "properties": {}, "geometry": {"type": "Polygon", "coordinates": '
    "[[[5,45],[15,45],[15,55],[5,55],[5,45]],[[7,47],[13,47.5],[12,53],[7,47]]]}}",
}

TASKS = {
    "all levels": "{caches: [single], levels: {to: 4}}",
    "meta tiles": "{caches: [meta], levels: [0, 2, 5]}",
    "box": "{caches: [meta], coverages: [box], levels: {from: 3, to: 8}}",
    "box of single tiles": "{caches: [single], coverages: [box], levels: [4, 7, 8]}",
    "box in metres": "{caches: [single], coverages: [metres], levels: {to: 11}}",
    "polygons": "{caches: [meta], coverages: [polygons], levels: {to: 9}}",
    "polygons of single tiles": "{caches: [single], coverages: [polygons], levels: {from: 6, to: 8}}",
    "hole": "{caches: [single], coverages: [hole], levels: {from: 4, to: 9}}",
    "two boxes": "{caches: [meta], coverages: [box, west], levels: {to: 8}}",
    "three systems": "{caches: [single], coverages: [metres, polygons, utm], levels: [7, 8]}",
    "tile edges": "{caches: [single], coverages: [edge], levels: {to: 8}}",
    "intersection": "{caches: [single], coverages: [both], levels: {to: 8}}",
    "difference": "{caches: [single], coverages: [frame], levels: {to: 8}}",
    "utm": "{caches: [utm], levels: {to: 5}}",
    "utm and polygons": "{caches: [utm], coverages: [polygons], levels: {to: 5}}",
    "utm and its polygon": "{caches: [utm], coverages: [utm], levels: {to: 7}}",
    "degrees": "{caches: [degrees], grids: [GLOBAL_GEODETIC], levels: {to: 5}}",
    "degrees and polygons": "{caches: [degrees], grids: [degrees, GLOBAL_GEODETIC], coverages: [polygons], levels: {from: 2, to: 9}}",
    "degrees and a box in metres": "{caches: [degrees], grids: [degrees], coverages: [metres], levels: {to: 10}}",
    "sqrt2": "{caches: [sqrt2], coverages: [polygons], levels: {to: 18}}",
    "sqrt2 and a box": "{caches: [sqrt2], coverages: [box], levels: {from: 9, to: 17}}",
    "odd resolutions": "{caches: [odd], levels: {to: 4}}",
    "odd resolutions and polygons": "{caches: [odd], coverages: [polygons], levels: {to: 5}}",
    "tall tiles": "{caches: [tall], levels: {to: 8}}",
    "tall tiles and a hole": "{caches: [tall], coverages: [hole], levels: {to: 8}}",
    "thirds": "{caches: [thirds], coverages: [polygons], levels: {to: 6}}",
    "uneven meta tiles": "{caches: [uneven], coverages: [polygons], levels: {to: 9}}",
    "tile source": "{caches: [tiles], levels: {to: 3}}",
    "bulk": "{caches: [bulk], levels: {to: 4}}",
    "rescaled": "{caches: [rescaled], levels: {to: 3}}",
    "list of resolutions": "{caches: [single], resolutions: [40000, 9999, 10000, 300], coverages: [metres]}",
    "range of resolutions": "{caches: [single], resolutions: {from: 10000, to: 1000}, coverages: [box]}",
    "open range": "{caches: [utm], resolutions: {to: 1500}}",
    "deep": "{caches: [meta], levels: [14], coverages: [metres]}",
}


class Upstream:
    """Answers with a picture of the size asked for, and remembers what it was asked."""

    def __init__(self):
        owner, pictures, lock = self, {}, threading.Lock()
        self.asked = []

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                query = urllib.parse.parse_qs(urllib.parse.urlsplit(self.path).query.lower())
                size = tuple(int(query.get(side, ["256"])[0]) for side in ("width", "height"))
                with lock:
                    owner.asked.append(what(self.path, query))
                    if size not in pictures:
                        out = io.BytesIO()
                        Image.new("P", size, 3).save(out, "PNG")
                        pictures[size] = out.getvalue()
                self.send_response(200)
                self.send_header("Content-Type", "image/png")
                self.send_header("Content-Length", str(len(pictures[size])))
                self.end_headers()
                self.wfile.write(pictures[size])

            def log_message(self, *arguments):
                """Nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()


def what(path, query):
    """The part of a question that says which tile."""
    if "bbox" not in query:
        return path
    return tuple(query[name][0] for name in ("bbox", "width", "height", "srs"))


class Walks:
    """A folder with both configurations."""

    def __init__(self, folder):
        self.folder, self.upstream = Path(folder), Upstream()
        for name, text in FILES.items():
            (self.folder / name).write_text(text)
        tasks = "".join(f'  "{name}": {task}\n' for name, task in TASKS.items())
        (self.folder / "mapproxy.yaml").write_text(CONFIG.format(url=self.upstream.url))
        (self.folder / "seed.yaml").write_text(f"seeds:\n{tasks}{COVERAGES}")

    def seeded(self, command, name, *options):
        """What was asked, and the files there are, after one task."""
        cache = self.folder / "cache"
        shutil.rmtree(cache, ignore_errors=True)
        self.upstream.asked.clear()
        arguments = ["-f", "mapproxy.yaml", "-s", "seed.yaml", "--seed", name, "-c", "1", "-qq", *options]
        done = subprocess.run([*command, *arguments], cwd=self.folder, capture_output=True, text=True, timeout=900)
        assert done.returncode == 0, f"{name}: {done.stdout}{done.stderr}"
        files = {str(path.relative_to(cache)) for path in cache.rglob("*.png")}
        return list(self.upstream.asked), files

    def close(self):
        self.upstream.close()


def difference(walks, ours, original, name):
    """What differs, in words; nothing if nothing does."""
    (asked, files), (asked_there, files_there) = walks.seeded(ours, name), walks.seeded(original, name)
    # Two grids may have tiles in common, and each of them asks.
    twice = list(collections.Counter(asked) - collections.Counter(asked_there))
    faults = []
    for here, there, kind in ((set(asked), set(asked_there), "asked"), (files, files_there, "stored")):
        if here != there:
            faults.append(f"{kind} only here: {sorted(here - there)[:3]}, only there: {sorted(there - here)[:3]}")
    if twice and not faults:
        faults.append(f"asked more often here: {twice[:3]}")
    return faults, len(files), asked == asked_there


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", required=True, type=shlex.split, help="command of mapproxy-seed")
    parser.add_argument("--original", required=True, type=shlex.split, help="command of MapProxy 7.0.0's")
    parser.add_argument("names", nargs="*", metavar="NAME", help="only these tasks")
    options = parser.parse_args()
    bad = 0
    with tempfile.TemporaryDirectory(prefix="walks-") as folder:
        walks = Walks(folder)
        for name in options.names or TASKS:
            faults, tiles, in_order = difference(walks, options.seed, options.original, name)
            bad += bool(faults)
            same = "the same" if in_order else "the same in another order"
            print(f"{name}: {tiles} tiles, {'; '.join(faults) or same}", flush=True)
        walks.close()
    raise SystemExit(1 if bad else 0)


if __name__ == "__main__":
    main()

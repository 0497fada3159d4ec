"""A night of seeding in small: a cache is filled from an upstream server that fails, stalls, wants to be left in peace and
goes away, by a seeder that is killed again and again. What is in the cache in the morning, and does the report say so?

    python -m harness.night --seed '…/mapproxy-seed' --level 9 --kills 10 --away 30

Each tile has colours of its own, so that one at the wrong place is found out.
"""

import argparse
import collections
import io
import json
import math
import random
import resource
import shlex
import shutil
import signal
import subprocess
import tempfile
import threading
import time
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from PIL import Image

from harness.faults import CONFIG, HALF, SIZE, STORES, bundles, colour

SEED = """\
seeds:
  night:
    caches: [c]
    levels: {{to: {level}}}
    coverages: [most]
coverages:
  most: {{bbox: [-180, -85, 80, 85], srs: 'EPSG:4326'}}
"""


class Upstream:
    """The map server. `failing` of its answers, 0 to 1, are no good; now and then it wants to be left in peace."""

    def __init__(self, failing=0.05, stall=0.0, stall_seconds=15, busy_every=0, busy_seconds=1):
        self.failing, self.stall, self.stall_seconds = failing, stall, stall_seconds
        self.busy_every, self.busy_seconds = busy_every, busy_seconds
        self.busy_until, self.counts, self.random = 0.0, collections.Counter(), random.Random(7)
        self.lock, self.asked, self.server = threading.Lock(), collections.Counter(), None
        self.address = ("127.0.0.1", 0)
        self.come()

    @property
    def url(self):
        return "http://%s:%d" % self.address

    def come(self):
        owner = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                owner.answer(self)

            def log_message(self, *arguments):
                """Nothing."""

        class Listener(ThreadingHTTPServer):
            daemon_threads = True
            allow_reuse_address = True
            request_queue_size = 256

            def handle_error(self, request, client_address):
                """Killed clients are what this is about."""

        self.server = Listener(self.address, Handler)
        self.address = self.server.server_address
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def go(self):
        """Nobody listens any more; connections that are open fail with their next request."""
        server, self.server = self.server, None
        server.shutdown()
        server.server_close()

    close = go

    def answer(self, handler):
        query = urllib.parse.parse_qs(urllib.parse.urlsplit(handler.path).query.lower())
        with self.lock:
            self.counts["requests"] += 1
            if self.server is None:
                self.counts["while gone"] += 1
                handler.close_connection = True
                return
            now, fate, way = time.monotonic(), self.random.random(), self.random.randrange(6)
            if now < self.busy_until:
                self.counts["in spite of Retry-After"] += 1
                return self.write(handler, 429, b"later", self.busy_until - now)
            if self.busy_every and self.counts["requests"] % self.busy_every == 0:
                self.busy_until = now + self.busy_seconds
                self.counts["429"] += 1
                return self.write(handler, 429, b"later", self.busy_seconds)
        if fate < self.stall:
            self.counts["stalled"] += 1
            time.sleep(self.stall_seconds)
            handler.close_connection = True
            return None
        if fate < self.stall + self.failing:
            self.counts["failed"] += 1
            return self.fail(handler, way, query)
        self.asked[query["bbox"][0]] += 1
        return self.write(handler, 200, draw(query), None, "image/png")

    def fail(self, handler, way, query):
        if way == 0:
            self.write(handler, 500, b"no")
        elif way == 1:
            self.write(handler, 503, b"not now")
        elif way == 2:
            self.write(handler, 200, b"<html>out of order</html>", None, "text/html")
        elif way == 3:
            body = draw(query)
            self.write(handler, 200, body[: len(body) // 2], None, "image/png")
        elif way == 4:
            handler.send_response(200)
            handler.send_header("Content-Type", "image/png")
            handler.send_header("Content-Length", "100000")
            handler.end_headers()
            handler.wfile.write(b"\x89PNG")
            handler.close_connection = True
        else:
            handler.close_connection = True

    @staticmethod
    def write(handler, status, body, retry_after=None, content_type="text/plain"):
        handler.send_response(status)
        handler.send_header("Content-Type", content_type)
        handler.send_header("Content-Length", str(len(body)))
        if retry_after is not None:
            handler.send_header("Retry-After", str(max(1, math.ceil(retry_after))))
        handler.end_headers()
        handler.wfile.write(body)


def draw(query):
    """Each tile in its colour: of its column, its row and its level."""
    width, height = int(query["width"][0]), int(query["height"][0])
    left, _, right, top = map(float, query["bbox"][0].split(","))
    tile = (right - left) * SIZE / width
    level = round(2 * HALF / tile).bit_length() - 1
    column, row = round((left + HALF) / tile), round((HALF - top) / tile)
    small = Image.new("RGB", (width // SIZE, height // SIZE))
    for x in range(width // SIZE):
        for y in range(height // SIZE):
            small.putpixel((x, y), (*colour(column + x, row + y), level))
    out = io.BytesIO()
    small.resize((width, height), Image.Resampling.NEAREST).save(out, "PNG", compress_level=1)
    return out.getvalue()


def stored(folder, store):
    """All tiles, read without our programs: (level, x, y), bytes."""
    if store == "file":
        for path in (folder / "cache" / "c").glob("*/*/*.png"):
            yield (int(path.parts[-3]), int(path.parts[-2]), int(path.stem)), path.read_bytes()
    elif store == "mbtiles":
        import sqlite3

        with sqlite3.connect(folder / "cache" / "c.mbtiles") as database:
            assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            for level, x, y, body in database.execute("SELECT zoom_level, tile_column, tile_row, tile_data FROM tiles"):
                yield (level, x, y), body
    else:
        for directory in (folder / "cache" / "c").glob("L*"):
            for tile, body in bundles(directory, 2):
                yield (int(directory.name[1:]), *tile), body


def expected(level, meta=1):
    """All tiles of the coverage, those it meets with more than an edge; with `meta`, all of their meta tiles."""
    for z in range(level + 1):
        size = 2 * HALF / 2**z
        east = 80 / 180 * HALF
        # 85 degrees lie inside of the outermost row on all levels here but the deepest, where they do so, too.
        columns = int((east + HALF - 1e-6) // size) + 1
        columns = min(2**z, -(-columns // meta) * meta)
        edge = 19971868.880408563
        first = int((HALF - edge) // size)
        for x in range(columns):
            for y in range(first, 2**z - first):
                yield z, x, y


def fault_of(tile, body):
    level, x, y = tile
    try:
        image = Image.open(io.BytesIO(body)).convert("RGB")
    except Exception as error:
        return f"{tile}: {error}"
    wanted = tuple((value, value) for value in (*colour(x, y), level))
    found = image.getextrema()
    return None if image.size == (SIZE, SIZE) and found == wanted else f"{tile}: {image.size}, {found} instead of {wanted}"


class Night:
    """One cache, its upstream server and the seeder's runs."""

    def __init__(self, command, folder, level, store="file", concurrency=4, timeout=10, told=("--progress", "json"), **trouble):
        self.command, self.folder, self.store, self.level = [*command, *told], Path(folder), store, level
        self.upstream = Upstream(**trouble)
        (self.folder / "cache").mkdir(parents=True, exist_ok=True)
        config = CONFIG.format(store=STORES[store], url=self.upstream.url, meta=4, timeout=timeout)
        (self.folder / "mapproxy.yaml").write_text(config)
        (self.folder / "seed.yaml").write_text(SEED.format(level=level))
        self.concurrency, self.log = concurrency, self.folder / "seed.log"

    def begin(self, *options):
        arguments = ["-f", "mapproxy.yaml", "-s", "seed.yaml", "-c", str(self.concurrency), *options]
        with open(self.log, "ab") as log:
            return subprocess.Popen(
                [*self.command, *arguments], cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
            )

    def kill_after(self, seconds):
        """A run that is killed. False if it came to its end before."""
        process = self.begin("--continue")
        try:
            process.wait(seconds)
            return False
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            return True

    def events(self):
        """What the runs have told, as far as it is JSON."""
        for line in self.log.read_text(errors="replace").splitlines():
            if line.startswith("{"):
                yield json.loads(line)

    def check(self):
        """(tiles there, missing, wrong, unexpected)."""
        found, wrong = set(), []
        for tile, body in stored(self.folder, self.store):
            found.add(tile)
            fault = fault_of(tile, body)
            if fault:
                wrong.append(fault)
        wanted = set(expected(self.level))
        return len(found), sorted(wanted - found), wrong, sorted(found - set(expected(self.level, 4)))

    def close(self):
        if self.upstream.server is not None:
            self.upstream.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", required=True, type=shlex.split, help="command of mapproxy-seed")
    parser.add_argument("--store", choices=["file", "mbtiles", "compact2"], default="file")
    parser.add_argument("--level", type=int, default=9)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--away", type=float, default=30, help="seconds without an upstream server")
    parser.add_argument("--concurrency", type=int, default=4)
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="night-"))
    trouble = {"failing": 0.05, "stall": 0.001, "stall_seconds": 15, "busy_every": 1500, "busy_seconds": 2}
    night = Night(options.seed, folder, options.level, options.store, options.concurrency, **trouble)
    chance, started = random.Random(1), time.monotonic()

    def go_away():
        time.sleep(20)
        night.upstream.go()
        time.sleep(options.away)
        night.upstream.come()

    threading.Thread(target=go_away, daemon=True).start()
    kills = sum(night.kill_after(chance.uniform(1, 12)) for _ in range(options.kills))
    process = night.begin("--continue")
    status = process.wait()
    reruns = 0
    while status not in (0, 1, 2) and reruns < 5:
        reruns += 1
        status = night.begin("--retry-failed").wait()
    seconds = time.monotonic() - started
    there, missing, wrong, unexpected = night.check()
    memory = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    print(f"{seconds:.0f} s, {kills} kills, {reruns} runs for what failed, last status {status}, {memory:.0f} MB at most")
    print(f"{there} tiles there, {len(missing)} missing, {len(wrong)} wrong, {len(unexpected)} unexpected")
    print(f"upstream: {dict(night.upstream.counts)}; {sum(night.upstream.asked.values())} maps given, ")
    print(f"{sum(1 for count in night.upstream.asked.values() if count > 1)} of them more than once")
    print(missing[:5], wrong[:5], unexpected[:5], sep="\n")
    for event in list(night.events())[-3:]:
        print(json.dumps(event))
    night.close()
    if missing or wrong or status:
        print(f"left in {folder}")
        raise SystemExit(1)
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()

"""Faults, injected and counted: what becomes of the tiles of a cache when its servers or its seeder are killed, when the
disk is full, when the upstream server breaks off, when many processes share it.

    python -m harness.faults --server '…/mapproxy-util' --store file --kills 1000
    python -m harness.faults --seed '…/mapproxy-seed' --store file --kills 1000

The upstream server draws each tile of one level in a colour of its own, over noise that makes its file large. So a tile
can be found out to be cut off, or to be another's. A tile is lost if a client got it with leave to keep it, or a seeder
said that all is done, and the store does not have it afterwards; it is wrong if it does not decode, or shows another place.

With `--seed` the seeder is killed in place of servers, and started again until it comes to its end; then the cache is
looked at, and the next one begun. With `--server` or `--original` beside it, servers fill the same cache meanwhile.
"""

import argparse
import collections
import contextlib
import functools
import io
import itertools
import json
import os
import random
import re
import shlex
import shutil
import signal
import sqlite3
import struct
import subprocess
import tempfile
import threading
import time
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from PIL import Image

from harness.server import Server

LEVEL, TILES, SIZE = 9, 512, 256
HALF = 20037508.342789244
CLIENTS = 8

CONFIG = """\
services: {{wmts: {{}}}}
layers: [{{name: c, title: c, sources: [c]}}]
caches:
  c:
    grids: [GLOBAL_WEBMERCATOR]
    sources: [upstream]
    meta_size: [{meta}, {meta}]
    meta_buffer: 0
    cache: {store}
sources:
  upstream: {{type: wms, req: {{url: '{url}/wms', layers: any}}}}
globals:
  image: {{paletted: false}}
  http: {{client_timeout: {timeout}}}
  cache: {{base_dir: cache, tile_lock_dir: locks}}
"""

STORES = {
    "file": "{type: file, directory: cache/c, directory_layout: tms}",
    "mbtiles": "{type: mbtiles, filename: ./cache/c.mbtiles}",
    "sqlite": "{type: sqlite, directory: cache/c}",
    "geopackage": "{type: geopackage, filename: ./cache/c.gpkg, table_name: tiles}",
    "compact1": "{type: compact, version: 1, directory: cache/c}",
    "compact2": "{type: compact, version: 2, directory: cache/c}",
    "tiered": "{type: tiered, tiers: [{type: memory, max_size: 16MB}, {type: file, directory: near, max_size: 20MB}, "
    "{type: file, directory: cache/c, directory_layout: tms}]}",
}

LEFTOVERS = re.compile(r"\.tmp-|\.lck$|-journal$|-wal$|-shm$")

# Columns and rows that are seeded: where four bundles meet.
AREA = range(112, 144)

SEED = """\
seeds:
  square: {{caches: [c], levels: [{level}], coverages: [square]}}
coverages:
  square: {{bbox: [{left}, {bottom}, {right}, {top}], srs: 'EPSG:3857'}}
"""


def colour(x, y):
    return x % 251, y % 241


def fault_of(tile, body):
    """What is wrong with the picture of a tile; None for nothing."""
    try:
        image = Image.open(io.BytesIO(body))
        image.load()
    except Exception as error:
        return f"{tile}: {len(body)} bytes are no picture: {error}"
    if image.size != (SIZE, SIZE) or image.mode != "RGB":
        return f"{tile}: {image.size}, {image.mode}"
    red, green = (image.getchannel(channel).getextrema() for channel in "RG")
    expected = tuple((value, value) for value in colour(*tile))
    return None if (red, green) == expected else f"{tile}: shows {red}, {green} instead of {expected}"


class Map:
    """The upstream server; every `breaking`-th answer is broken off in one of several ways."""

    def __init__(self, breaking=0):
        self.noise = os.urandom(4 * SIZE * SIZE * 4)
        self.answers, self.breaking, self.broken = 0, breaking, 0
        owner = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                owner.answers += 1
                body = owner.draw(urllib.parse.parse_qs(urllib.parse.urlsplit(self.path).query.lower()))
                if owner.breaking and owner.answers % owner.breaking == 0:
                    owner.break_off(self, body)
                    return
                self.answer(200, "image/png", body, len(body))

            def answer(self, status, content_type, body, length):
                self.send_response(status)
                self.send_header("Content-Type", content_type)
                if length is not None:
                    self.send_header("Content-Length", str(length))
                else:
                    self.send_header("Transfer-Encoding", "chunked")
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *arguments):
                """Nothing."""

        class Listener(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 256

            def handle_error(self, request, client_address):
                """Killed clients are what this is about."""

        self.server = Listener(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def draw(self, query):
        width, height = int(query["width"][0]), int(query["height"][0])
        left, _, _, top = map(float, query["bbox"][0].split(","))
        tile = 2 * HALF / TILES
        column, row = round((left + HALF) / tile), round((HALF - top) / tile)
        red, green = Image.new("L", (width, height)), Image.new("L", (width, height))
        for x in range(0, width, SIZE):
            for y in range(0, height, SIZE):
                r, g = colour(column + x // SIZE, row + y // SIZE)
                red.paste(r, (x, y, x + SIZE, y + SIZE))
                green.paste(g, (x, y, x + SIZE, y + SIZE))
        start = random.randrange(len(self.noise) - width * height)
        blue = Image.frombytes("L", (width, height), self.noise[start : start + width * height])
        out = io.BytesIO()
        Image.merge("RGB", (red, green, blue)).save(out, "PNG", compress_level=1)
        return out.getvalue()

    def break_off(self, handler, body):
        """Each time in another way."""
        self.broken += 1
        half = body[: len(body) // 2]
        way = self.broken % 6
        if way == 0:
            handler.answer(200, "image/png", half, len(body))
        elif way == 1:
            handler.answer(200, "image/png", half, len(half))
        elif way == 2:
            handler.answer(200, "image/png", b"%x\r\n%s" % (len(body), half), None)
        elif way == 3:
            page = b"<html>out of order</html>"
            handler.answer(200, "text/html" if self.broken % 12 < 6 else "image/png", page, len(page))
        elif way == 4:
            out = io.BytesIO()
            Image.new("RGB", (1, 1)).save(out, "PNG")
            handler.answer(200, "image/png", out.getvalue(), len(out.getvalue()))
        else:
            handler.answer(500, "text/plain", b"no", 2)
        handler.close_connection = True

    def close(self):
        self.server.shutdown()
        self.server.server_close()


class Trial:
    """One cache in a folder, and what is known of its tiles."""

    def __init__(self, command, folder, store, breaking=0):
        self.command, self.folder, self.store = command, Path(folder), store
        self.area = range(TILES)
        self.map = Map(breaking)
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "cache").mkdir(exist_ok=True)
        text = CONFIG.format(store=STORES[store], url=self.map.url, meta=2, timeout=10)
        self.config = self.folder / "mapproxy.yaml"
        self.config.write_text(text)
        self.kept, self.faults, self.statuses = set(), [], collections.Counter()
        self.random, self.lock = random.Random(0), threading.Lock()

    def close(self):
        self.map.close()

    def start(self, command=None, **options):
        return Server(command or self.command, self.config, self.folder / "server.log", **options)

    def choose(self):
        with self.lock:
            if self.kept and self.random.random() < 0.3:
                return self.random.choice(list(self.kept)[-500:])
            return self.random.choice(self.area), self.random.choice(self.area)

    def ask(self, server, until):
        """Asks for tiles until told to stop, or the server is gone."""
        while not until.is_set():
            x, y = self.choose()
            try:
                answer = server.get(f"/wmts/c/GLOBAL_WEBMERCATOR/{LEVEL}/{x}/{y}.png", timeout=20)
            except Exception:
                if server.process.poll() is not None or until.is_set():
                    return
                time.sleep(0.01)
                continue
            with self.lock:
                self.statuses[answer.status] += 1
                if answer.status == 200:
                    fault = fault_of((x, y), answer.body)
                    if fault:
                        self.faults.append(f"served {fault}")
                    elif "no-store" not in answer.headers.get("Cache-Control", ""):
                        self.kept.add((x, y))

    @contextlib.contextmanager
    def clients(self, *servers):
        """Clients ask all of the servers meanwhile."""
        until = threading.Event()
        threads = [
            threading.Thread(target=self.ask, args=(servers[number % len(servers)], until), daemon=True)
            for number in range(CLIENTS)
        ]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            until.set()
            for thread in threads:
                thread.join(30)

    def kill(self, command=None):
        """One process that is killed at some moment of its work."""
        server = self.start(command)
        with self.clients(server):
            before = sum(self.statuses.values())
            deadline = time.monotonic() + 10
            while sum(self.statuses.values()) == before and time.monotonic() < deadline:
                time.sleep(0.005)
            time.sleep(random.uniform(0.0, 0.3))
            os.killpg(server.process.pid, signal.SIGKILL)
            server.process.wait()

    def stored(self):
        """All tiles of the store, read without our program: (x, y), bytes."""
        cache = self.folder / "cache"
        if self.store in ("file", "tiered"):
            for path in (cache / "c" / str(LEVEL)).glob("*/*.png"):
                yield (int(path.parent.name), int(path.stem)), path.read_bytes()
        elif self.store in ("mbtiles", "sqlite", "geopackage"):
            pattern = {"mbtiles": "c.mbtiles", "sqlite": f"{LEVEL}.mbtiles", "geopackage": "c.gpkg"}[self.store]
            name = next(cache.rglob(pattern), None)
            if name is None:
                return
            with contextlib.closing(sqlite3.connect(name)) as database:
                state = database.execute("PRAGMA integrity_check").fetchall()
                if state != [("ok",)]:
                    self.faults.append(f"{name}: {state}")
                query = "SELECT tile_column, tile_row, tile_data FROM tiles WHERE zoom_level = ?"
                for x, y, body in database.execute(query, (LEVEL,)):
                    yield (x, y), body
        else:
            yield from bundles(cache / "c" / f"L{LEVEL:02}", 1 if self.store == "compact1" else 2)

    def check(self):
        """(tiles stored, tiles lost, tiles wrong, names of leftovers)."""
        found = {}
        for tile, body in self.stored():
            found[tile] = fault_of(tile, body)
        wrong = [fault for fault in found.values() if fault]
        self.faults += wrong
        lost = self.kept - {tile for tile, fault in found.items() if not fault}
        return len(found), len(lost), len(self.faults), self.leftovers()

    def leftovers(self):
        """Files that are no tiles: temporary ones and locks."""
        return [str(path) for path in self.folder.rglob("*") if path.is_file() and LEFTOVERS.search(path.name)]


class Seeding(Trial):
    """One cache that is filled by a seeder, which is killed."""

    def __init__(self, command, folder, store, seeder, area=AREA):
        super().__init__(command, folder, store)
        self.seeder, self.area, self.tiles = seeder, area, set(itertools.product(area, area))
        west, east = (number * 2 * HALF / TILES - HALF for number in (area.start, area.stop))
        box = {"left": west, "bottom": -east, "right": east, "top": -west}
        (self.folder / "seed.yaml").write_text(SEED.format(level=LEVEL, **box))

    def seed(self, *options, kill_after=None):
        """A run of the seeder. False if it did not come to its end before it was killed, or within 90 seconds."""
        command = [*self.seeder, "-f", self.config.name, "seed.yaml", "--progress", "json", "-c", "4", *options]
        told = self.folder / "seed.log"
        with open(told, "wb") as log:
            process = subprocess.Popen(
                command, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        try:
            status = process.wait(90 if kill_after is None else kill_after)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            if kill_after is None:
                self.faults.append("a run that nobody killed did not end")
            return False
        with self.lock:
            self.statuses[f"end {status}"] += 1
            self.kept |= self.tiles if status == 0 else set()
        self.look_at(status, told.read_text(errors="replace"))
        return True

    def look_at(self, status, told):
        """Whether a run that came to its end says so, and what it and those before it have told adds up."""
        before = sum(map(int, re.findall(r"Continued: (\d+) tiles", told)))
        events = [json.loads(line) for line in told.splitlines() if line.startswith("{")]
        ended = events[-1] if events and events[-1]["event"] == "ended" else collections.Counter()
        looked_at, good = before + ended["tiles"], before + ended["made"] + ended["kept"]
        is_remembered = (self.folder / ".mapproxy_seed_progress").exists()
        if status != 0 or is_remembered or not looked_at == good == len(self.tiles):
            self.faults.append(f"end {status}, {looked_at} tiles looked at, {good} good, {is_remembered=}: {told[-500:]}")

    def kill_until_full(self, kills):
        """Runs that are killed until one comes to its end, after the last kill at the latest; how many were killed."""
        # Who begins anew finds what those before have missed: with some caches nobody does.
        anew = random.choice((0, 0.25))
        for killed in range(kills):
            # In its beginning, or anywhere.
            moment = random.uniform(0, random.choice((0.05, 0.3, 0.8)))
            if self.seed(*([] if random.random() < anew else ["--continue"]), kill_after=moment):
                return killed
        self.seed("--continue")
        return kills


def bundles(folder, version):
    """The tiles of a compact cache."""
    for bundle in folder.glob("*.bundle"):
        row, column = (int(part, 16) for part in re.match(r"R([0-9a-f]+)C([0-9a-f]+)", bundle.name).groups())
        data = bundle.read_bytes()
        index = data[64:] if version == 2 else bundle.with_suffix(".bundlx").read_bytes()[16:]
        for number in range(128 * 128):
            if version == 2:
                entry = struct.unpack_from("<Q", index, number * 8)[0]
                offset, size = entry & (1 << 40) - 1, entry >> 40
                x, y = number % 128, number // 128
            else:
                offset = int.from_bytes(index[number * 5 : number * 5 + 5], "little")
                size = struct.unpack_from("<I", data, offset)[0] if offset else 0
                x, y, offset = number // 128, number % 128, offset + 4
            if size:
                yield (column + x, row + y), data[offset : offset + size]


def with_limited_files(command, kib):
    """The command, whose files cannot grow beyond that: a full disk for each of them, wherever the test runs."""
    blocks = kib * 2  # of 512 bytes, as sh counts
    return ["sh", "-c", f'trap "" XFSZ; ulimit -f {blocks}; exec "$@"', "sh", *command]


def without_privileges(command):
    """The command as somebody whom the modes of files concern, be it root."""
    return ["setpriv", "--bounding-set=-dac_override", "--inh-caps=-dac_override", *command] if os.geteuid() == 0 else command


@contextlib.contextmanager
def small_disk(path, size="6m"):
    """A file system of its own at `path`; False where none may be mounted."""
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(path)], capture_output=True)
    try:
        yield done.returncode == 0
    finally:
        if done.returncode == 0:
            subprocess.run(["umount", str(path)], check=False)


def seconds_of_work(trial, seconds, *servers):
    with trial.clients(*servers):
        time.sleep(seconds)


def report(fault, times, trial):
    return write(trial.store, fault, times, trial.check(), trial.statuses, trial.faults)


def write(store, fault, times, found, statuses, faults):
    stored, lost, wrong, leftovers = found
    answers = " ".join(f"{status}:{count}" for status, count in sorted(statuses.items(), key=str))
    kinds = collections.Counter(LEFTOVERS.search(name).group() for name in leftovers)
    left = " ".join(f"{kind}:{count}" for kind, count in sorted(kinds.items())) or 0
    print(f"| {store} | {fault} | {times} | {stored} | {lost} | {wrong} | {left} | {answers} |", flush=True)
    for line in faults[:5] + leftovers[:3]:
        print(f"    {line}", flush=True)
    return lost, wrong


def kill_seeders(store, kills, trial, beside):
    """Caches filled by seeders that are killed, one cache after the other, to the first fault."""
    killed, found = 0, (0, 0, 0, [])
    statuses, faults = collections.Counter(), []
    while killed < kills and not faults:
        with trial() as one:
            servers = [one.start(command) for command in beside]
            with one.clients(*servers) if servers else contextlib.nullcontext():
                killed += one.kill_until_full(kills - killed)
            for server in servers:
                server.stop()
            found = [before + more for before, more in zip(found, one.check())]
        statuses += one.statuses
        faults += one.faults
    fault = f"kill -9 of seeders, {len(beside)} servers beside" if beside else "kill -9 of seeders"
    return write(store, fault, killed, found, statuses, faults)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--server", type=shlex.split, help="command of mapproxy-util")
    parser.add_argument("--seed", type=shlex.split, help="command of mapproxy-seed, to be killed in place of servers")
    parser.add_argument("--original", type=shlex.split, help="command of MapProxy 7.0.0, to share the cache with")
    parser.add_argument("--store", choices=STORES, default="file")
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=10, help="how long the other faults last")
    options = parser.parse_args()
    if not (options.server or options.seed):
        parser.error("one of --server and --seed is needed")
    print("| store | fault | times | tiles stored | lost | wrong | leftovers | answers |\n|---|---|--:|--:|--:|--:|--:|---|")
    bad = 0

    @contextlib.contextmanager
    def trial(kind=Trial, **more):
        folder = Path(tempfile.mkdtemp(prefix="faults-"))
        made = kind(options.server, folder, options.store, **more)
        try:
            yield made
        finally:
            made.close()
            shutil.rmtree(folder)

    sharing = [command for command in (options.server, options.server, options.original) if command]
    if options.seed:
        seeding = functools.partial(trial, Seeding, seeder=options.seed)
        raise SystemExit(1 if sum(kill_seeders(options.store, options.kills, seeding, sharing)) else 0)
    with trial() as one:
        for _ in range(options.kills):
            one.kill()
        bad += sum(report("kill -9", options.kills, one))
        server = one.start()
        seconds_of_work(one, options.seconds, server)
        server.stop()
        bad += sum(report("… and working on", 1, one))
    with trial(breaking=2) as one:
        server = one.start()
        seconds_of_work(one, options.seconds, server)
        server.stop()
        bad += sum(report("upstream breaks off", one.map.broken, one))
    with trial() as one:
        server = one.start(with_limited_files(one.command, 40 if options.store in ("file", "tiered") else 8000))
        seconds_of_work(one, options.seconds, server)
        server.stop()
        # What cannot be stored is served all the same, and not lost: it never was there.
        one.kept.clear()
        bad += report("files cannot grow", one.statuses[200], one)[1]
    with trial() as one, small_disk(one.folder / "cache") as mounted:
        if mounted:
            server = one.start()
            seconds_of_work(one, options.seconds, server)
            server.stop()
            one.kept.clear()
            bad += report("disk is full", one.statuses[200], one)[1]
        else:
            print("    no file system may be mounted here")
    with trial() as one:
        servers = [one.start(command) for command in sharing]
        seconds_of_work(one, options.seconds, *servers)
        for server in servers:
            server.stop()
        bad += sum(report(f"{len(servers)} processes", sum(one.statuses.values()), one))
    raise SystemExit(1 if bad else 0)


if __name__ == "__main__":
    main()

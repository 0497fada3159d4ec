"""The seeder in the world: a night of seeding in small, and the tiles of tasks against those of the original."""

import collections
import re
import signal
import subprocess
import threading
import time
import urllib.parse
from pathlib import Path

import pytest

from harness.night import Night
from harness.ports import wait_until
from harness.upstream import picture, send, wait_for_requests
from harness.walks import Walks, difference


def test_a_night_with_failures_a_dead_upstream_and_kills_ends_with_every_tile(seeder, folder):
    night = Night(seeder, folder, level=5, told=(), failing=0.05, busy_every=40, busy_seconds=1)
    try:
        assert night.kill_after(0.7), "killed in mid-work"

        def go_away():
            night.upstream.go()
            time.sleep(2.5)
            night.upstream.come()

        away = threading.Thread(target=go_away)
        away.start()
        assert night.kill_after(1.2), "killed while nobody answers"
        status = night.begin("--continue").wait(60)
        away.join()
        # What was refused with good reason, as far as the seeder can tell, is listed and tried again when one says so.
        if status == 4:
            status = night.begin("--retry-failed").wait(60)
        assert status == 0, night.log.read_text()
        there, missing, wrong, unexpected = night.check()
        assert (missing, wrong, unexpected) == ([], [], []) and there > 1000
        counts = night.upstream.counts
        assert counts["failed"] > 0 and counts["429"] > 0, counts
        workers, kills = night.concurrency, 2
        assert counts["in spite of Retry-After"] <= workers * (counts["429"] + kills), counts
        twice = sum(times - 1 for times in night.upstream.asked.values())
        assert twice <= workers * kills, "what was stored is not asked for again"
    finally:
        night.close()


@pytest.mark.parametrize("task", ["box", "utm and its polygon"])
def test_tasks_make_the_tiles_that_the_original_makes(seeder, original, folder, task):
    walks = Walks(folder)
    try:
        faults, tiles, in_order = difference(walks, seeder, [str(Path(original[0]).with_name("mapproxy-seed"))], task)
        assert (faults, in_order) == ([], True) and tiles > 100
    finally:
        walks.close()


CONFIG = """\
services: {{wmts: {{}}}}
layers: [{{name: l, title: l, sources: [c]}}]
globals: {{cache: {{base_dir: cache}}}}
caches:
  c: {{grids: [GLOBAL_WEBMERCATOR], sources: [upstream], meta_size: [2, 2], meta_buffer: 0}}
sources:
  upstream: {{type: wms, req: {{url: '{url}/wms', layers: any}}}}
"""

SEED = """\
seeds:
  world: {{caches: [c], levels: {{to: {to}}}}}
cleanups:
  all: {{caches: [c], remove_all: true}}
"""


class Seeding:
    """A cache of meta tiles of 2 by 2, and the runs of the seeder that fill it to a level."""

    def __init__(self, command, folder, url, to):
        self.command, self.folder, self.log_file, self.runs = command, folder, folder / "log", []
        (folder / "mapproxy.yaml").write_text(CONFIG.format(url=url))
        (folder / "seed.yaml").write_text(SEED.format(to=to))
        self.pieces = 1 + sum(4 ** (level - 1) for level in range(1, to + 1))
        self.tiles = sum(4**level for level in range(to + 1))

    def begin(self, *options):
        with open(self.log_file, "wb") as log:
            command = [*self.command, "-f", "mapproxy.yaml", "seed.yaml", *options]
            process = subprocess.Popen(
                command, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
            )
        self.runs.append(process)
        return process

    def run(self, *options):
        """The status a run ends with, and what it says."""
        return self.begin(*options).wait(90), self.log

    @property
    def log(self):
        return self.log_file.read_text()

    @property
    def pictures(self):
        return set((self.folder / "cache").rglob("*.png"))

    @property
    def memory(self):
        """Of what is left to do."""
        return self.folder / ".mapproxy_seed_progress"

    def close(self):
        for run in self.runs:
            if run.poll() is None:
                run.kill()
                run.wait()


@pytest.fixture
def seeding(seeder, folder, upstream):
    made = []

    def make(to):
        made.append(Seeding(seeder, folder, upstream.url, to))
        return made[-1]

    yield make
    for one in made:
        one.close()


def asked_for(path):
    """Which map: those of levels 0 and 1 differ by their size alone."""
    query = urllib.parse.parse_qs(urllib.parse.urlsplit(path).query.upper())
    return tuple(query["BBOX"][0].split(",")), query["WIDTH"][0]


def is_far_east(path):
    return float(asked_for(path)[0][0]) > 10_000_000


def refuse_the_far_east(handler, upstream, width, height):
    if is_far_east(handler.path):
        send(handler, 404, "text/plain", b"not here")
    else:
        picture(handler, upstream, width, height)


def test_what_an_upstream_refuses_is_told_and_it_alone_is_made_by_retry_failed(seeding, upstream):
    # Of level 3, the last column of meta tiles. It takes half a minute until a refusal is believed.
    seeding, refused = seeding(to=3), 4
    upstream.behaviour = refuse_the_far_east
    status, said = seeding.run()
    assert status == 4, said
    given_up = re.findall(r"Giving up 4 tiles at (\d+/\d+/\d+): upstream: HTTP Error .*: 404$", said, re.MULTILINE)
    assert sorted(given_up) == ["3/6/0", "3/6/2", "3/6/4", "3/6/6"], said
    assert "16 tiles (4 meta tiles) could not be made" in said and "--retry-failed" in said
    asked = collections.Counter(map(asked_for, upstream.requests))
    assert len(asked) == seeding.pieces
    assert sorted(asked.values()) == [1] * (seeding.pieces - refused) + [5] * refused
    before = seeding.pictures
    assert len(before) == seeding.tiles - 4 * refused and seeding.memory.exists(), "and nothing is cleaned"

    del upstream.requests[:]
    upstream.behaviour = picture
    status, said = seeding.run("--seed", "world", "--retry-failed")
    assert status == 0 and "Trying again what has failed: 4 meta tiles" in said, said
    assert len(upstream.requests) == refused and all(map(is_far_east, upstream.requests))
    assert len(seeding.pictures) == seeding.tiles and before < seeding.pictures
    assert not seeding.memory.exists()


def test_a_dry_run_asks_nobody_and_neither_stores_nor_removes(seeding, upstream):
    seeding = seeding(to=3)
    status, said = seeding.run("--dry-run", "--seed", "world")
    assert status == 0 and f"({seeding.tiles} tiles)" in said, said
    there = {path.name for path in seeding.folder.iterdir()}
    assert (upstream.requests, there) == ([], {"mapproxy.yaml", "seed.yaml", "log"})

    assert seeding.run("--seed", "world")[0] == 0
    before, asked = seeding.pictures, len(upstream.requests)
    status, said = seeding.run("-n")
    assert status == 0 and "Remove: all tiles" in said, said
    assert len(before) == seeding.tiles and seeding.pictures == before and len(upstream.requests) == asked


def test_ctrl_c_lets_the_maps_at_work_be_stored_and_a_second_run_goes_on_from_there(seeding, upstream):
    seeding, workers = seeding(to=4), 3
    upstream.delay = 0.03
    process = seeding.begin("--seed", "world", "-c", str(workers))
    wait_for_requests(upstream, seeding.pieces // 3)
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == 3, seeding.log
    assert "interrupted..." in seeding.log and "--continue" in seeding.log
    asked, there = len(upstream.requests), seeding.pictures
    assert asked < seeding.pieces and seeding.memory.exists()
    # Level 0 is a meta tile of one tile.
    assert len(there) in (4 * asked, 4 * asked - 3), "what was asked for is stored"

    status, said = seeding.run("--seed", "world", "-c", str(workers), "--continue")
    assert status == 0 and f"Continued: {len(there)} tiles were looked at before" in said, said
    assert set(collections.Counter(map(asked_for, upstream.requests)).values()) == {1}, "nothing is asked for again"
    assert len(upstream.requests) == seeding.pieces and len(seeding.pictures) == seeding.tiles
    assert not seeding.memory.exists()


def test_a_second_ctrl_c_does_not_wait_for_an_upstream_that_does_not_answer(seeding, upstream):
    seeding = seeding(to=2)
    upstream.delay = 60
    process = seeding.begin("--seed", "world")
    wait_for_requests(upstream, 2)

    def is_over():
        process.send_signal(signal.SIGINT)
        return process.poll() is not None

    wait_until(is_over, 10, "the seeder goes on waiting")
    assert process.returncode == 3 and not seeding.pictures, seeding.log
    upstream.delay = 0
    status, said = seeding.run("--seed", "world", "--continue")
    assert status == 0 and len(seeding.pictures) == seeding.tiles, said

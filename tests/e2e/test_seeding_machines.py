"""Seeding by several processes that share nothing but the cache, as machines do: by a queue on Redis, and by shards.

Each process has a folder, a configuration and tile locks of its own.
"""

import collections
import os
import re
import signal
import subprocess
import urllib.parse

import pytest
from PIL import Image

from harness.redis import Redis
from harness.upstream import wait_for_requests

CONFIG = """\
services: {{wmts: {{}}}}
layers: [{{name: shared, title: Shared, sources: [shared]}}]
caches:
  shared:
    grids: [GLOBAL_WEBMERCATOR]
    sources: [upstream]
    meta_size: [2, 2]
    meta_buffer: 0
    cache: {{type: file, directory: '{tiles}', tile_lock_dir: '{locks}'}}
sources:
  upstream: {{type: wms, req: {{url: '{url}/wms', layers: any}}}}
"""

SEED = """\
seeds:
  world: {{caches: [shared], levels: {{from: 0, to: {to}}}}}
cleanups:
  old: {{caches: [shared], remove_before: {{days: 1}}}}
"""


class Machine:
    def __init__(self, seeder, folder, name, url, options, to=4):
        self.folder = folder / name
        self.folder.mkdir()
        tiles, locks = folder / "tiles", self.folder / "locks"
        (self.folder / "mapproxy.yaml").write_text(CONFIG.format(url=url, tiles=tiles, locks=locks))
        (self.folder / "seed.yaml").write_text(SEED.format(to=to))
        self.log_file = self.folder / "log"
        with open(self.log_file, "wb") as log:
            command = [*seeder, "-f", "mapproxy.yaml", "seed.yaml", *options]
            self.process = subprocess.Popen(
                command, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
            )

    def wait(self, seconds=40):
        return self.process.wait(seconds)

    @property
    def log(self):
        return self.log_file.read_text()


@pytest.fixture
def machine(seeder, folder, upstream):
    machines = []

    def start(name, *options, **more):
        machines.append(Machine(seeder, folder, name, upstream.url, options, **more))
        return machines[-1]

    yield start
    for one in machines:
        if one.process.poll() is None:
            one.process.kill()
            one.process.wait()


@pytest.fixture
def redis(folder):
    with Redis(folder / "redis") as server:
        yield server


def address(redis):
    return f"redis://127.0.0.1:{redis.port}/2?lease=1"


def pictures(folder):
    found = list((folder / "tiles").rglob("*.png"))
    for file in found:
        with Image.open(file) as image:
            image.load()
            assert image.size == (256, 256), file
    return len(found)


def asked_of(upstream):
    """How often each meta tile was asked for."""
    query = [urllib.parse.parse_qs(urllib.parse.urlsplit(path).query.upper()) for path in upstream.requests]
    return collections.Counter((one["BBOX"][0], one["WIDTH"][0]) for one in query)


TILES = sum(4**level for level in range(5))
PIECES = 1 + 1 + 4 + 16 + 64


def totals(log):
    numbers = re.search(r"All machines: (\d+) tiles made \(\d+ bytes\), (\d+) kept, (\d+) empty, (\d+) failed", log)
    assert numbers, log
    return [int(number) for number in numbers.groups()]


def test_three_machines_of_which_one_is_killed_make_every_tile(machine, upstream, redis, folder):
    upstream.delay = 0.05
    machines = [machine(name, "--queue", address(redis), "-c", "2") for name in ("one", "two", "three")]
    wait_for_requests(upstream, PIECES // 4)
    # It may have begun the run and be the one that walks, or not.
    machines[0].process.send_signal(signal.SIGKILL)
    assert machines[0].wait() == -signal.SIGKILL
    survivors = machines[1:]
    assert [one.wait() for one in survivors] == [0, 0], [one.log for one in survivors]

    assert pictures(folder) == TILES
    asked = asked_of(upstream)
    assert len(asked) == PIECES
    twice = sum(times - 1 for times in asked.values())
    assert twice <= 2, "only what was being made by the one that died is made again"
    first, second = (totals(one.log) for one in survivors)
    assert first == second and sum(first) == TILES and first[2:] == [0, 0], "all know what all have done"
    assert all("Sharing the work in queue" in one.log for one in survivors)
    assert sorted("Cleanup tasks: done by another machine" in one.log for one in survivors) == [False, True]
    assert sorted("Start cleanup process" in one.log for one in survivors) == [False, True]
    assert "joined the run begun at" in machines[0].log + machines[1].log + machines[2].log


def test_a_machine_that_is_stopped_gives_its_work_back_and_another_goes_on(machine, upstream, redis, folder):
    upstream.delay = 0.05
    first = machine("one", "--queue", address(redis))
    wait_for_requests(upstream, 10)
    first.process.send_signal(signal.SIGTERM)
    assert first.wait(5) == 3, first.log
    assert "interrupted..." in first.log and "go on by the same command\n" in first.log
    second = machine("two", "--queue", address(redis), "-c", "8")
    other = machine("three", "--queue", address(redis), to=3)
    assert other.wait() == 1, other.log
    assert "there levels [0, 1, 2, 3, 4], here levels [0, 1, 2, 3]" in other.log
    assert second.wait() == 0, second.log
    assert "fell silent" not in second.log and pictures(folder) == TILES
    assert set(asked_of(upstream).values()) == {1}

    # Late: all is done, nothing is asked, and the totals are those of all.
    late = machine("four", "--queue", address(redis))
    assert late.wait() == 0 and "is done" in late.log
    assert totals(late.log) == totals(second.log)


def test_shards_make_all_tiles_without_talking(machine, upstream, folder):
    machines = [machine(f"{i}", "--shard", f"{i}/3") for i in (1, 2, 3)]
    assert [one.wait() for one in machines] == [0, 0, 0], [one.log for one in machines]
    assert pictures(folder) == TILES
    asked = asked_of(upstream)
    assert len(asked) == PIECES and set(asked.values()) == {1}
    assert all("Cleanup tasks: not done with --shard" in one.log for one in machines)
    made = [int(re.search(r"100\.00% .* \((\d+) tiles\)", one.log).group(1)) for one in machines]
    assert sum(made) == TILES and min(made) > TILES // 4, made


def test_a_queue_that_is_not_there_is_named_without_its_password(machine, redis, folder):
    redis.kill()
    one = machine("one", "--queue", address(redis).replace("127", "me:geheim@127"))
    two = machine("two", "--queue", "redis://me:geheim@127.0.0.1/x")
    assert (one.wait(), two.wait()) == (1, 2)
    assert f"redis 127.0.0.1:{redis.port} (db 2)" in one.log and "refused" in one.log, one.log
    assert "geheim" not in one.log + two.log and not os.path.exists(folder / "tiles")

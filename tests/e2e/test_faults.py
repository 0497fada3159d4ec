"""Servers and seeders are killed, disks are full, answers break off, many write at once: what is in the cache afterwards?"""

import itertools
import re

import pytest

from harness.faults import LEVEL, Seeding, Trial, seconds_of_work, with_limited_files, without_privileges


@pytest.fixture
def trial(command, folder):
    trials = []

    def make(store, kind=Trial, **options):
        made = kind(command, folder, store, **options)
        trials.append(made)
        return made

    yield make
    for made in trials:
        made.close()


def assert_all_is_well(trial, least=1):
    stored, lost, wrong, leftovers = trial.check()
    assert not trial.faults, trial.faults[:5]
    assert (lost, wrong) == (0, 0)
    assert stored >= least, f"{stored} tiles stored, {trial.statuses}"
    return leftovers


def test_killed_servers_leave_whole_tiles_and_lose_none(trial):
    one = trial("file")
    for _ in range(3):
        one.kill()
    assert_all_is_well(one)
    # Whoever makes a tile that one of the dead was making clears away what it has left. Where the tile itself was stored
    # before the end, and only its lock not given back, there is nothing to make: such locks go by their age.
    server = one.start()
    locks = [re.search(r"-(\d+)-(\d+)-\d+\.lck$", name) for name in one.leftovers() if name.endswith(".lck")]
    for column, row in [map(int, lock.groups()) for lock in locks]:
        for x, y in itertools.product((column, column + 1), (row, row + 1)):
            assert server.get(f"/wmts/c/GLOBAL_WEBMERCATOR/{LEVEL}/{x}/{y}.png").status == 200
    server.stop()
    assert [name for name in assert_all_is_well(one) if not name.endswith(".lck")] == []


@pytest.mark.parametrize("store", ["geopackage", "compact2"])
def test_killed_seeders_leave_whole_tiles_and_the_last_run_makes_the_rest(trial, seeder, store):
    one = trial(store, Seeding, seeder=seeder, area=range(120, 136))
    ended = [one.seed("--continue", kill_after=moment) for moment in (0.02, 0.1, 0.3)]
    assert ended == [False] * 3 and one.seed("--continue")
    leftovers = assert_all_is_well(one, least=len(one.tiles))
    assert [name for name in leftovers if not name.endswith(".lck")] == []


def test_answers_that_break_off_are_never_stored(trial):
    one = trial("file", breaking=2)
    server = one.start()
    seconds_of_work(one, 1, server)
    server.stop()
    assert one.map.broken > 2 and one.statuses[500] > 2
    assert assert_all_is_well(one) == []


def test_what_cannot_be_stored_is_served(trial):
    one = trial("file")
    server = one.start(with_limited_files(one.command, kib=40))
    seconds_of_work(one, 1, server)
    server.stop()
    assert set(one.statuses) == {200} and one.kept
    one.kept.clear()
    assert assert_all_is_well(one, least=0) == []
    assert server.log.count("new tiles are served but not kept") == 1, server.log


def test_a_read_only_directory_costs_only_the_keeping(trial):
    one = trial("file")
    server = one.start()
    seconds_of_work(one, 0.5, server)
    server.stop()
    there = set(one.kept)
    directories = [path for path in [one.folder, *one.folder.rglob("*")] if path.is_dir()]
    try:
        for path in directories:
            path.chmod(0o555)
        server = one.start(without_privileges(one.command))
        asked = one.map.answers
        for x, y in list(there)[:5]:
            assert server.get(f"/wmts/c/GLOBAL_WEBMERCATOR/{LEVEL}/{x}/{y}.png").status == 200
        assert one.map.answers == asked, "what is there is served from there"
        seconds_of_work(one, 0.5, server)
        server.stop()
    finally:
        for path in directories:
            path.chmod(0o755)
    assert set(one.statuses) == {200} and not one.faults, one.faults[:3]
    assert "tiles are made without a lock" in server.log and "new tiles are served but not kept" in server.log
    assert server.log.count("without a lock") == 1


@pytest.mark.parametrize("damage", ["cut off", "empty", "zeros", "a page"])
def test_a_damaged_tile_is_made_anew(trial, damage):
    one = trial("file")
    server = one.start()
    path = f"/wmts/c/GLOBAL_WEBMERCATOR/{LEVEL}/6/8.png"
    whole = server.get(path).body
    file = one.folder / f"cache/c/{LEVEL}/6/8.png"
    body = {
        "cut off": whole[:-7],
        "empty": b"",
        "zeros": whole[:4096] + bytes(len(whole) - 4096),
        "a page": b"<html>out of order</html>",
    }[damage]
    file.write_bytes(body)
    assert server.get(path).status == 200
    one.kept.add((6, 8))
    server.stop()
    assert file.read_bytes() != body
    assert_all_is_well(one)
    assert "stored tile" in server.log and "is made anew" in server.log


def test_many_processes_share_one_directory(trial, original):
    one = trial("file")
    servers = [one.start(), one.start(), one.start(original)]
    seconds_of_work(one, 1, *servers)
    for server in servers:
        server.stop()
    assert set(one.statuses) == {200}
    assert_all_is_well(one)


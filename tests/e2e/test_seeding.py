"""The seeder in the world: a night of seeding in small, and the tiles of tasks against those of the original."""

import threading
import time
from pathlib import Path

import pytest

from harness.night import Night
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

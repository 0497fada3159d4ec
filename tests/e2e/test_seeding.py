"""The seeder in the world: a night of seeding in small."""

import threading
import time

from harness.night import Night


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

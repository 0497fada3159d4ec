"""Caches in a real Redis server: its keys, the original beside us, and what happens when it goes away."""

import threading
import time

import pytest

from harness.redis import Redis

CONFIG = """\
services: {{wmts: {{}}, tms: {{}}, wms: {{srs: ['EPSG:3857']}}}}
layers: [{{name: plain, title: Plain, sources: [plain]}}]
caches:
  plain:
    grids: [GLOBAL_WEBMERCATOR]
    sources: [upstream]
    meta_size: [2, 2]
    meta_buffer: 10
    cache: {cache}
sources:
  upstream: {{type: wms, req: {{url: '{url}/wms', layers: any}}}}
globals:
  cache: {{base_dir: cache}}
"""


@pytest.fixture
def redis(folder):
    with Redis(folder / "redis") as server:
        yield server


def config(upstream, cache):
    return CONFIG.format(url=upstream.url, cache=cache)


def path(x, y=0, z=5):
    return f"/wmts/plain/GLOBAL_WEBMERCATOR/{z}/{x}/{y}.png"


def key(x, y=0, z=5):
    return f"plain_GLOBAL_WEBMERCATOR-{z}-{x}-{y}"


def test_tiles_are_values_with_a_time_to_live(serve, upstream, redis):
    server = serve(config(upstream, f"{{type: redis, port: {redis.port}, default_ttl: 500}}"))
    answer = server.get(path(2))
    assert answer.status == 200 and answer.headers["Last-Modified"], answer
    assert redis.keys() == sorted(key(x, y) for x in (2, 3) for y in (0, 1))
    assert 490 < int(redis.ask("TTL", key(2))[0]) <= 500
    assert int(redis.ask("STRLEN", key(2))[0]) == len(answer.body)
    again = server.get(path(2))
    assert again.body == answer.body and again.headers["Etag"] == answer.headers["Etag"]
    assert len(upstream.requests) == 1


def test_password_database_and_prefix_are_heeded(serve, upstream, folder):
    with Redis(folder / "redis", password="geheim") as redis:
        cache = f"{{type: redis, port: {redis.port}, password: geheim, db: 3, prefix: 'my [tiles]', default_ttl: 0}}"
        server = serve(config(upstream, cache))
        assert server.get(path(2)).status == 200
        assert len(redis.keys(db=3)) == 4 and redis.keys() == []
        assert redis.ask("TTL", "my [tiles]-5-2-0", db=3) == ["-1"]

        wrong = serve(config(upstream, cache.replace("geheim", "falsch")), name="wrong.yaml")
        assert wrong.get(path(2)).status == 200, "a cache that does not let us in costs no tile"
        assert "falsch" not in wrong.log and "plain" in wrong.log and "missing" in wrong.log, wrong.log


@pytest.mark.parametrize("first_is_ours", [True, False], ids=["ours-first", "original-first"])
def test_the_original_and_we_read_each_others_tiles(serve, serve_original, upstream, redis, first_is_ours):
    text = config(upstream, f"{{type: redis, port: {redis.port}}}")
    starters = [serve, serve_original] if first_is_ours else [serve_original, serve]
    first, second = starters[0](text), starters[1]()
    stored = first.get(path(2))
    keys, asked = redis.keys(), len(upstream.requests)
    again = second.get(path(2))
    assert stored.status == again.status == 200 and stored.body == again.body
    assert asked == len(upstream.requests) == 1
    assert redis.keys() == keys and len(keys) == 4


def test_a_server_that_dies_and_comes_back_costs_no_tile_and_no_time(serve, upstream, redis):
    server = serve(config(upstream, f"{{type: redis, port: {redis.port}}}"))
    server.get(path(0))
    ended, answers = threading.Event(), []

    def client(number):
        turn = 0
        while not ended.is_set():
            x = (number * 5 + turn) % 32
            begun = time.monotonic()
            answer = server.get(path(x, y=turn % 32))
            answers.append((answer.status, time.monotonic() - begun))
            turn += 1

    clients = [threading.Thread(target=client, args=(number,)) for number in range(4)]
    for thread in clients:
        thread.start()
    for _ in range(2):
        time.sleep(0.4)
        redis.kill()
        time.sleep(0.8)
        redis.start()
    time.sleep(1.2)
    ended.set()
    for thread in clients:
        thread.join()
    assert len(answers) > 100 and {status for status, _ in answers} == {200}, answers[-5:]
    assert max(seconds for _, seconds in answers) < 2.5, "a request waited for a server that is not there"
    asked = len(upstream.requests)
    # A tile that nobody has asked for is kept again.
    assert server.get(path(16, 16, z=6)).status == 200 and server.get(path(16, 16, z=6)).status == 200
    assert len(upstream.requests) == asked + 1
    assert key(16, 16, z=6) in redis.keys()


def test_without_its_server_the_program_starts_and_serves(serve, upstream, redis):
    redis.kill()
    begun = time.monotonic()
    server = serve(config(upstream, f"{{type: redis, port: {redis.port}}}"))
    assert [server.get(path(x)).status for x in range(0, 16, 2)] == [200] * 8
    assert time.monotonic() - begun < 5


def test_tiers_serve_what_they_have_seen_while_redis_is_away(serve, upstream, redis, folder):
    near = "{type: memory, max_size: 10MB, max_age: 0.3}, {type: file, max_size: 20MB, max_age: 0.3}"
    cache = f"{{type: tiered, tiers: [{near}, {{type: redis, port: {redis.port}}}]}}"
    ours = serve(config(upstream, cache))
    other = serve(config(upstream, f"{{type: redis, port: {redis.port}}}"), name="other.yaml")
    first = ours.get(path(2))
    assert first.status == 200 and len(redis.keys()) == 4
    copies = [file for file in (folder / "cache/copies/plain/GLOBAL_WEBMERCATOR").rglob("*.png")]
    assert len(copies) == 4, copies
    assert other.get(path(2)).headers["Etag"] == first.headers["Etag"], "all have the tile's own time"

    redis.kill()
    time.sleep(0.7)
    for _ in range(3):
        again = ours.get(path(2))
        assert again.body == first.body and again.headers["Etag"] == first.headers["Etag"]
    assert len(upstream.requests) == 1

    redis.start()
    redis.ask("DEL", key(2))
    time.sleep(1.2)
    upstream.colour = (10, 200, 10)
    assert other.get(path(2)).body != first.body
    time.sleep(0.7)
    assert ours.get(path(2)).body == other.get(path(2)).body, "what another has replaced shows after max_age"

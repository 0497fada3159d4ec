"""Many clients at once: stampedes, slow upstreams, idle connections."""

import socket
import statistics
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from harness.upstream import wait_for_requests

CONFIG = """\
services: {{wms: {{srs: ['EPSG:3857']}}, wmts: {{}}, tms: {{}}}}
layers:
  - {{name: fast, title: Fast, sources: [fast]}}
  - {{name: slow, title: Slow, sources: [slow]}}
caches:
  fast: {{grids: [GLOBAL_WEBMERCATOR], sources: [fast_upstream], meta_size: [4, 4]}}
  slow: {{grids: [GLOBAL_WEBMERCATOR], sources: [slow_upstream], meta_size: [1, 1], meta_buffer: 0}}
sources:
  fast_upstream: {{type: wms, req: {{url: '{fast}/wms', layers: any}}}}
  slow_upstream: {{type: wms, req: {{url: '{slow}/wms', layers: any}}}}
globals:
  cache: {{base_dir: cache}}
"""


@pytest.fixture
def slow_upstream():
    from harness.upstream import Upstream

    with Upstream() as server:
        server.delay = 60.0
        yield server


@pytest.fixture
def server(serve, upstream, slow_upstream):
    return serve(CONFIG.format(fast=upstream.url, slow=slow_upstream.url))


def at_once(count, task):
    """The results of task(number), all begun together."""
    barrier = threading.Barrier(count)

    def run(number):
        barrier.wait()
        return task(number)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(run, range(count)))


def test_64_clients_on_one_missing_tile_cause_one_upstream_request(server, upstream):
    upstream.delay = 0.5
    answers = at_once(64, lambda _: server.get("/wmts/fast/GLOBAL_WEBMERCATOR/6/33/21.png"))
    assert {answer.status for answer in answers} == {200}
    assert len({answer.body for answer in answers}) == 1
    assert len(upstream.requests) == 1, f"{len(upstream.requests)} requests"


def test_clients_on_all_tiles_of_a_meta_tile_cause_one_upstream_request(server, upstream):
    upstream.delay = 0.5
    tiles = [(x, y) for x in range(32, 36) for y in range(20, 24)]
    answers = at_once(16, lambda number: server.get("/wmts/fast/GLOBAL_WEBMERCATOR/6/%d/%d.png" % tiles[number]))
    assert {answer.status for answer in answers} == {200}
    assert len(upstream.requests) == 1, f"{len(upstream.requests)} requests"


def test_maps_and_tiles_of_the_same_place_cause_one_upstream_request(server, upstream):
    upstream.delay = 0.5
    # The bbox of tile 6/33/21 itself.
    size = 2 * 20037508.342789244 / 64
    bbox = (size, 20037508.342789244 - 22 * size, 2 * size, 20037508.342789244 - 21 * size)
    tasks = [
        lambda: server.get("/wmts/fast/GLOBAL_WEBMERCATOR/6/33/21.png"),
        lambda: server.get_map("fast", "EPSG:3857", bbox, (256, 256)),
    ]
    answers = at_once(16, lambda number: tasks[number % 2]())
    assert {answer.status for answer in answers} == {200}, answers
    assert len(upstream.requests) == 1, upstream.requests


def test_a_failure_is_shared_by_the_waiting_but_not_kept(server, upstream):
    from harness import upstream as behaviours

    upstream.delay, upstream.behaviour = 0.3, behaviours.server_error
    path = "/wmts/fast/GLOBAL_WEBMERCATOR/6/10/10.png"
    answers = at_once(8, lambda _: server.get(path))
    assert {answer.status for answer in answers} == {500}
    upstream.delay, upstream.behaviour = 0.0, behaviours.picture
    assert server.get(path).status == 200


@pytest.mark.differs("its threads are all taken by the slow requests' locks and connections")
def test_cached_tiles_do_not_wait_behind_200_requests_on_a_slow_upstream(server, slow_upstream):
    path = "/wmts/fast/GLOBAL_WEBMERCATOR/6/33/21.png"
    tile = server.get(path).body

    def latencies(count=200):
        times = []
        for _ in range(count):
            begin = time.perf_counter()
            assert server.get(path).body == tile
            times.append(time.perf_counter() - begin)
        return times

    before = latencies()
    # As raw sockets: 200 threads of our own would slow down our clock, not the server.
    waiting = []
    for number in range(200):
        client = socket.create_connection(("127.0.0.1", server.port))
        path_slow = f"/wmts/slow/GLOBAL_WEBMERCATOR/8/{number}/100.png"
        client.sendall(f"GET {path_slow} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode())
        waiting.append(client)
    wait_for_requests(slow_upstream, 40)
    time.sleep(1)
    during = latencies()
    print(f"{len(slow_upstream.requests)} upstream requests in flight; cached tiles, median in ms:", end=" ")
    print(f"{statistics.median(before) * 1e3:.2f} before, {statistics.median(during) * 1e3:.2f} during")
    assert statistics.median(during) < 3 * statistics.median(before) + 0.002
    assert max(during) < 1.0, "a cached tile waited"

    slow_upstream.release.set()
    for client in waiting:
        client.settimeout(60)
        with client, client.makefile("rb") as answer:
            assert answer.readline().startswith(b"HTTP/1.1 200"), "a slow request was lost"


def test_idle_connections_keep_nobody_out(server):
    idle = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(300)]
    for client in idle[:150]:
        client.sendall(b"GET /service HTTP/1.1\r\nHo")
    try:
        assert server.get("/wmts/fast/GLOBAL_WEBMERCATOR/0/0/0.png", timeout=10).status == 200
    finally:
        for client in idle:
            client.close()

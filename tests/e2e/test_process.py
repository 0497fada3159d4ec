"""The process itself: stopping, reloading, refusing bad configurations, one process or another."""

import http.client
import os
import signal
import subprocess
import threading
import time
from pathlib import Path

import pytest

from harness.ports import wait_until
from harness.upstream import wait_for_requests

CONFIG = """\
services: {{wms: {{srs: ['EPSG:3857', 'EPSG:4326'], md: {{title: '{title}'}}}}, wmts: {{}}}}
layers:
  - {{name: one, title: One, sources: [cached]}}
caches:
  cached: {{grids: [GLOBAL_WEBMERCATOR], sources: [upstream]}}
sources:
  upstream: {{type: wms, req: {{url: '{url}/wms', layers: any}}}}
globals:
  cache: {{base_dir: cache}}
"""

TILE = "/wmts/one/GLOBAL_WEBMERCATOR/4/8/5.png"


def title(server):
    text = server.get("/service?SERVICE=WMS&VERSION=1.3.0&REQUEST=GetCapabilities").text
    return text.split("<Title>", 1)[1].split("</Title>", 1)[0]


@pytest.mark.differs("it has no production server")
@pytest.mark.parametrize("mode", ["serve", "serve-develop"])
def test_sigterm_lets_requests_finish(serve, upstream, mode):
    server = serve(CONFIG.format(url=upstream.url, title="t"), mode=mode)
    upstream.delay = 1.0
    answers = []
    threads = [
        threading.Thread(target=lambda path=path: answers.append(server.get(path)))
        for path in (TILE, "/wmts/one/GLOBAL_WEBMERCATOR/7/3/3.png", "/wmts/one/GLOBAL_WEBMERCATOR/7/99/99.png")
    ]
    for thread in threads:
        thread.start()
    wait_for_requests(upstream, 3)
    idle = http.client.HTTPConnection("127.0.0.1", server.port)
    idle.connect()
    os.kill(server.process.pid, signal.SIGTERM)
    for thread in threads:
        thread.join()
    assert [answer.status for answer in answers] == [200, 200, 200], answers
    assert server.process.wait(10) == 0, server.log
    with pytest.raises(OSError):
        http.client.HTTPConnection("127.0.0.1", server.port, timeout=1).connect()


@pytest.mark.differs("it has no production server")
def test_sigterm_ends_within_a_deadline_whatever_the_upstream_does(serve, upstream):
    server = serve(CONFIG.format(url=upstream.url, title="t"), mode="serve")
    upstream.delay = 300.0

    def ask():
        try:
            server.get(TILE, timeout=100)
        except OSError:
            pass  # cut off at the deadline, as it should

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    wait_for_requests(upstream, 1)
    begin = time.monotonic()
    os.kill(server.process.pid, signal.SIGTERM)
    server.process.wait(60)
    assert time.monotonic() - begin < 45


@pytest.mark.differs("a signal ends its development server at once, with a status of its own")
def test_sigint_ends_an_idle_server_at_once(serve, upstream):
    server = serve(CONFIG.format(url=upstream.url, title="t"))
    os.kill(server.process.pid, signal.SIGINT)
    assert server.process.wait(3) in (0, 130), server.log


@pytest.mark.differs("it misses a change within its first second")
def test_a_changed_configuration_is_served_without_a_restart(serve, upstream):
    server = serve(CONFIG.format(url=upstream.url, title="before"))
    assert title(server) == "before"
    server.config.write_text(CONFIG.format(url=upstream.url, title="after"))
    wait_until(lambda: quiet(lambda: title(server) == "after"), 15, "the new title did not come")


@pytest.mark.differs("it misses a change within its first second")
def test_a_changed_base_file_is_noticed_too(serve, upstream, folder):
    base = folder / "base.yaml"
    base.write_text(CONFIG.format(url=upstream.url, title="before"))
    server = serve("base: base.yaml\n")
    assert title(server) == "before"
    base.write_text(CONFIG.format(url=upstream.url, title="after"))
    wait_until(lambda: quiet(lambda: title(server) == "after"), 15, "the new title did not come")


def quiet(question):
    """False while the server restarts."""
    try:
        return question()
    except OSError:
        return False


@pytest.mark.differs("its development server ends when it cannot load the changed configuration")
@pytest.mark.parametrize("broken", ["layers: [", "services: {wms: {}}\nlayers: [{name: x, title: X, sources: [no]}]\n", ""])
def test_a_broken_file_keeps_the_old_application_and_says_so(serve, upstream, broken):
    server = serve(CONFIG.format(url=upstream.url, title="before"))
    tile = server.get(TILE)
    length = len(server.log)
    server.config.write_text(broken)
    wait_until(lambda: "mapproxy.yaml" in server.log[length:], 15, "the log says nothing of the broken file")
    assert title(server) == "before"
    assert server.get(TILE).body == tile.body
    server.config.write_text(CONFIG.format(url=upstream.url, title="repaired"))
    wait_until(lambda: title(server) == "repaired", 15, "the repaired file was not loaded")


@pytest.mark.differs("its messages have no lines, and its exit status differs")
def test_a_bad_configuration_is_refused_with_all_its_mistakes(command, folder):
    config = folder / "mapproxy.yaml"
    config.write_text(
        """\
services:
  wms: {}
layers:
  - {name: one, title: One, sources: [nowhere]}
caches:
  cached: {grids: [GLOBAL_WEBMERCATOR], sources: [upstream], meta_sice: [4, 4]}
sources:
  upstream: {type: wmz, req: {url: 'http://127.0.0.1/', layers: any}}
"""
    )
    for mode in (["serve-develop", "-b", "127.0.0.1:1"], ["check"]):
        done = subprocess.run([*command, *mode, str(config)], capture_output=True, text=True, timeout=30)
        said = done.stdout + done.stderr
        assert done.returncode == (1 if mode == ["check"] else 2) or done.returncode in (1, 2), said
        for word in ("nowhere", "mapproxy.yaml:4", "meta_sice", "meta_size", "mapproxy.yaml:6", "wmz", "mapproxy.yaml:8"):
            assert word in said, f"{word!r} is not in:\n{said}"


@pytest.mark.differs("it ends with a traceback")
def test_a_taken_port_is_a_clear_error(command, serve, upstream):
    server = serve(CONFIG.format(url=upstream.url, title="t"))
    again = [*command, "serve-develop", "-b", f"127.0.0.1:{server.port}", str(server.config)]
    done = subprocess.run(again, capture_output=True, text=True, timeout=30)
    assert done.returncode not in (0, 101), done
    assert str(server.port) in done.stderr + done.stdout and "panicked" not in done.stderr


@pytest.mark.differs("it needs a file")
def test_without_a_file_a_world_map_is_served(command, folder):
    from harness.pictures import decode, distinct_colours
    from harness.ports import free_port, wait_until_listening
    from harness.server import get

    port = free_port()
    log = folder / "server.log"
    environment = {**os.environ, "HOME": str(folder), "XDG_CACHE_HOME": str(folder / "cache")}
    with open(log, "wb") as output:
        process = subprocess.Popen(
            [str(Path(command[0]).resolve()), *command[1:], "serve-develop", "-b", f"127.0.0.1:{port}"],
            stdout=output, stderr=subprocess.STDOUT, env=environment, cwd=folder,
        )
    try:
        wait_until_listening(port, process)
        assert get(f"http://127.0.0.1:{port}/demo/").status == 200
        image = decode(get(f"http://127.0.0.1:{port}/wmts/world/GLOBAL_WEBMERCATOR/1/1/0.png").body)
        assert image.size == (256, 256) and distinct_colours(image) > 30
        assert [entry.name for entry in folder.iterdir() if entry.name not in ("server.log", "cache", ".cache")] == []
    finally:
        process.terminate()
        process.wait(10)

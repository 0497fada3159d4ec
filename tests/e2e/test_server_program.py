"""The program of `create -t server-app`: a package outside of the workspace that depends on our crates by path.

It is compiled into the workspace's target directory with its lock file, so that PROJ is not built again.
"""

import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

from harness import front, guide
from harness.machine import Machine, ask
from harness.pictures import decode, distinct_colours
from harness.ports import free_port, wait_until, wait_until_listening
from harness.server import get

pytestmark = pytest.mark.differs("it is no Python package")

MAP = (
    "/service?SERVICE=WMS&VERSION=1.1.1&REQUEST=GetMap&LAYERS=world&STYLES=&SRS=EPSG:4326&BBOX=-180,-90,180,90"
    "&WIDTH=400&HEIGHT=200&FORMAT=image/png"
)


@pytest.fixture(scope="module")
def package(command):
    """A folder outside of the workspace with a configuration and the package for it, compiled; and the program."""
    cargo = os.environ.get("CARGO", "cargo")
    metadata = subprocess.run(
        [cargo, "metadata", "--no-deps", "--format-version=1"], cwd=guide.ROOT, check=True, capture_output=True, text=True
    )
    metadata = json.loads(metadata.stdout)
    folder = Path(tempfile.mkdtemp(prefix="mapproxy-e2e-package-"))
    assert not folder.is_relative_to(guide.ROOT)
    try:
        shutil.copytree(guide.ROOT / "examples/world", folder / "world", ignore=shutil.ignore_patterns("cache_data"))
        create = [*command, "create", "-t", "server-app", "-f", "world/mapproxy.yaml", "--crates", guide.ROOT / "crates", "maps"]
        subprocess.run(create, cwd=folder, check=True, capture_output=True)
        shutil.copy(guide.ROOT / "Cargo.lock", folder / "maps")
        # As the workspace compiles what comes from elsewhere; ours as fast as possible, since it is compiled anew.
        ours = [package["name"] for package in metadata["packages"] if package["name"].startswith("mapproxy-")]
        options = [f"profile.release.package.{name}.opt-level=0" for name in [*ours, "maps-server"]]
        options += [f"profile.release.package.{name}.debug=false" for name in [*ours, "maps-server"]]
        options.append('profile.release.debug="line-tables-only"')
        arguments = [word for option in options for word in ("--config", option)]
        environment = {**os.environ, "CARGO_TARGET_DIR": metadata["target_directory"], "CARGO_INCREMENTAL": "0"}
        built = subprocess.run(
            [cargo, "build", "--release", *arguments], cwd=folder / "maps", env=environment, capture_output=True, text=True
        )
        assert built.returncode == 0 and "warning" not in built.stderr, built.stderr
        assert "Compiling proj-sys" not in built.stderr, "PROJ was compiled again"
        yield folder, Path(metadata["target_directory"]) / "release/maps-server"
    finally:
        shutil.rmtree(folder)


def start(program, *arguments, **options):
    return subprocess.Popen([program, *arguments], stdin=subprocess.DEVNULL, start_new_session=True, **options)


def test_it_serves_http_and_reloads(package, folder):
    place, program = package
    port = free_port()
    with open(folder / "server.log", "wb") as log:
        process = start(program, f"127.0.0.1:{port}", stdout=log, stderr=log)
    try:
        wait_until_listening(port, process)
        image = decode(get(f"http://127.0.0.1:{port}{MAP}").body)
        assert image.size == (400, 200) and distinct_colours(image) > 10
        configuration = place / "world/mapproxy.yaml"
        text = configuration.read_text()
        configuration.write_text(text.replace("title: World map", "title: Changed map"))
        capabilities = f"http://127.0.0.1:{port}/service?SERVICE=WMS&REQUEST=GetCapabilities"
        wait_until(lambda: "Changed map" in get(capabilities).text, 15, "the change was not noticed")
        configuration.write_text(text)
        process.send_signal(signal.SIGHUP)
        wait_until(lambda: "Changed map" not in get(capabilities).text, 15, "not reloaded")
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(15) == 0, (folder / "server.log").read_text()
    assert "listening" in (folder / "server.log").read_text() or "SIGTERM" in (folder / "server.log").read_text()


def test_it_serves_fastcgi_behind_nginx(package, command, folder):
    _, program = package
    with Machine(command, folder) as machine:
        machine.path("/run/mapproxy").mkdir()
        with open(folder / "server.log", "wb") as log:
            process = start(program, "--fastcgi", machine.mapped("unix:/run/mapproxy/mapproxy.sock"), stdout=log, stderr=log)
        try:
            wait_until(machine.path("/run/mapproxy/mapproxy.sock").exists, 15, "no socket")
            machine.path("/run/mapproxy/mapproxy.sock").chmod(0o666)
            machine.save(next(block for block in guide.blocks("nginx", "Over FastCGI") if block.kind == "nginx"))
            machine.systemctl("start", "nginx")
            answer = machine.ask(f"/maps{MAP}")
            assert decode(answer.body).size == (400, 200)
            document = machine.ask("/maps/wmts/1.0.0/WMTSCapabilities.xml").text
            assert all(address.startswith("http://maps.example.org/maps/") for address in front.addresses(document))
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(15) == 0


@pytest.mark.parametrize("address", ["tcp", "unix"])
@pytest.mark.parametrize("ours", ["mapproxy-util", "the package"])
def test_the_real_systemd_socket_activate_hands_over_its_socket(package, command, folder, ours, address):
    place, program = package
    server = {
        "mapproxy-util": [*command, "serve", "-b", "systemd", str(place / "world/mapproxy.yaml")],
        "the package": [str(program), "systemd"],
    }[ours]
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="mapproxy-e2e-") as short:
        listen = f"127.0.0.1:{port}" if address == "tcp" else f"{short}/sock"
        with open(folder / "server.log", "wb") as log:
            process = start("systemd-socket-activate", "-l", listen, *server, stdout=log, stderr=log)
        try:
            if address == "tcp":
                wait_until_listening(port, process)
                connection = front.http.client.HTTPConnection("127.0.0.1", port, timeout=30)
            else:
                wait_until(Path(listen).exists, 10, "no socket")
                connection = front.UnixConnection(listen)
            # The first request starts the program.
            answer = ask(connection, MAP)
            assert decode(answer.body).size == (400, 200)
            connection.close()
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(15) == 0, (folder / "server.log").read_text()
            time.sleep(0.1)

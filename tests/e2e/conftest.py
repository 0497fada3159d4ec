"""Fixtures: the server under test, its peers, and a folder for what a test leaves behind."""

import re
import shlex
from pathlib import Path

import pytest

from harness.mapserver import MapServer
from harness.server import Server
from harness.upstream import Upstream


def pytest_addoption(parser):
    parser.addoption("--server", required=True, help="command of mapproxy-util, ours or the original's")
    parser.addoption("--artefacts", required=True, type=Path, help="folder for configurations, logs and screenshots")
    parser.addoption(
        "--reference", action="store_true", help="the server is MapProxy 7.0.0: leave out what differs by intention"
    )
    parser.addoption(
        "--crowd-seconds", type=int, default=10, help="how long 200 clients ask in the tests of the deployment guide"
    )
    parser.addoption("--keep", action="store_true", help="keep all of the artefacts of passed tests, not only pictures")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    setattr(item, f"passed_{report.when}", report.passed)
    return report


def pytest_collection_modifyitems(config, items):
    if config.getoption("--reference"):
        differing = [item for item in items if item.get_closest_marker("differs")]
        config.hook.pytest_deselected(items=differing)
        items[:] = [item for item in items if item not in differing]


@pytest.fixture(scope="session")
def command(pytestconfig):
    return shlex.split(pytestconfig.getoption("--server"))


@pytest.fixture(scope="session")
def seeder(command):
    """The command of the mapproxy-seed that belongs to the server."""
    program = Path(command[0]).with_name("mapproxy-seed")
    assert program.parent == Path() or program.exists(), f"{program} is missing"
    return [str(program), *command[1:]]


@pytest.fixture(scope="session")
def original(tmp_path_factory):
    """The command of MapProxy 7.0.0, the Python program, from the tests' own virtual environment."""
    import sys

    program = Path(sys.executable).with_name("mapproxy-util")
    assert program.exists(), f"{program} is missing: run tests/e2e/setup"
    return [str(program)]


@pytest.fixture
def folder(pytestconfig, request):
    """A fresh folder for this test, kept afterwards."""
    import shutil

    name = re.sub(r"[^\w.-]+", "_", f"{request.path.stem[5:]}/{request.node.name}".replace("/", "--"))
    path = pytestconfig.getoption("--artefacts").resolve() / name
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(parents=True)
    yield path
    if getattr(request.node, "passed_call", False) and not pytestconfig.getoption("--keep"):
        for entry in path.iterdir():
            if entry.is_dir():
                shutil.rmtree(entry)
            elif entry.suffix != ".png":
                entry.unlink()
        if not any(path.iterdir()):
            path.rmdir()


@pytest.fixture
def serve(command, folder):
    """Starts servers under test: serve(yaml text, …) -> Server; all are ended after the test."""
    with Server.nursery(command, folder) as start:
        yield start


@pytest.fixture
def serve_original(original, folder):
    """As `serve`, but starts MapProxy 7.0.0."""
    with Server.nursery(original, folder, label="original") as start:
        yield start


@pytest.fixture
def upstream():
    with Upstream() as server:
        yield server


@pytest.fixture(scope="session")
def mapserver(pytestconfig):
    folder = pytestconfig.getoption("--artefacts").resolve() / "mapserver"
    with MapServer(folder) as server:
        yield server

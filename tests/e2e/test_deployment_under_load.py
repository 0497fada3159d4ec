"""MapProxy reloaded, restarted and killed behind each of the guide's web servers while clients ask; and a crowd."""

import os
import re
import signal
import subprocess
import time

import pytest

from harness import front
from harness.machine import Machine
from harness.ports import wait_until

pytestmark = pytest.mark.differs("it is the guide of another program")

CLIENTS = 50
# Name of the way -> (chapter, section, whether MapProxy speaks FastCGI, port)
WAYS = {
    "nginx over HTTP": ("nginx", "Over HTTP", False, 80),
    "nginx over FastCGI": ("nginx", "Over FastCGI", True, 80),
    "Apache over HTTP": ("apache", "Over HTTP", False, 80),
    "Apache over FastCGI": ("apache", "Over FastCGI", True, 80),
    "lighttpd over HTTP": ("lighttpd", "Over HTTP", False, 80),
    "lighttpd over FastCGI": ("lighttpd", "Over FastCGI", True, 80),
    "Varnish": ("varnish", "", False, 6081),
}


@pytest.fixture
def behind(command, folder, upstream):
    """MapProxy as a service behind a web server: behind(name) -> (machine, port)."""
    with Machine(command, folder, upstream) as machine:

        def arrange(name):
            chapter, section, fastcgi, port = WAYS[name]
            machine.follow("production", "The program")
            machine.follow("systemd", "")
            if fastcgi:
                machine.follow("systemd", "FastCGI")
            machine.follow(chapter, section)
            return machine, port

        yield arrange


def title(machine, port):
    answer = machine.ask("/maps/service?SERVICE=WMS&VERSION=1.3.0&REQUEST=GetCapabilities", port)
    found = re.search(r"<Title>(.*?)</Title>", answer.text)
    return found[1] if found else None


@pytest.mark.parametrize("name", WAYS)
def test_reloads_and_restarts_lose_nothing(behind, name):
    machine, port = behind(name)
    configuration = machine.path("/etc/mapproxy/mapproxy.yaml")
    text = configuration.read_text()
    with front.Load(machine, CLIENTS, port, fresh=name == "Varnish") as load:
        time.sleep(0.5)
        for _ in range(3):
            machine.systemctl("reload", "mapproxy")
            time.sleep(0.3)
        for number in (1, 2):
            configuration.write_text(text.replace("Maps of Example", f"Version {number}"))
            wait_until(lambda: title(machine, port) == f"Version {number}", 20, "the change was not noticed")
        configuration.write_text("layers: [")
        time.sleep(1.5)
        assert title(machine, port) == "Version 2", "a broken configuration took the old one down"
        configuration.write_text(text)
        before = machine.units.process().pid
        for _ in range(3):
            machine.systemctl("restart", "mapproxy")
            time.sleep(0.5)
        assert machine.units.process().pid != before
    print(f"{name}: 3 SIGHUP, 4 changed files, 3 restarts: {load.told()}")
    assert load.right > 500, load.told()
    assert not load.wrong and not load.lost, load.told() + machine.logs()


@pytest.mark.parametrize("name", WAYS)
def test_a_killed_server_costs_the_requests_at_hand_and_no_more(behind, name):
    machine, port = behind(name)
    with front.Load(machine, CLIENTS, port, fresh=name == "Varnish") as load:
        time.sleep(1)
        process = machine.units.process()
        process.send_signal(signal.SIGKILL)
        process.wait()
        machine.systemctl("start", "mapproxy")  # Restart=on-failure
        time.sleep(1)
        wrong, lost, killed = len(load.wrong), len(load.lost), time.monotonic()
        time.sleep(2)
        later = len(load.wrong) - wrong, len(load.lost) - lost
    assert time.monotonic() > killed
    print(f"{name}: SIGKILL: {load.told()}")
    assert later == (0, 0), f"failures more than a second after the restart: {load.told()}"
    # Those that were being answered, and those that came before the new process: never a wrong picture.
    assert all(re.match(r"50[0234] ", wrong) for wrong in load.wrong), load.told()
    assert len(load.wrong) + len(load.lost) <= 4 * CLIENTS, load.told()
    assert machine.ask("/maps" + front.TILE.format(z=4, x=1, y=5), port).status == 200


def resident(pid):
    """In MiB."""
    with open(f"/proc/{pid}/status") as status:
        return int(re.search(r"VmRSS:\s+(\d+)", status.read())[1]) / 1024


@pytest.mark.parametrize("name", ["nginx over HTTP", "nginx over FastCGI"])
def test_200_clients_get_their_tiles_and_memory_stays_flat(behind, name, pytestconfig):
    seconds = pytestconfig.getoption("--crowd-seconds")
    machine, port = behind(name)
    path = "/maps" + front.TILE.format(z=3, x=4, y=2)
    tile = machine.ask(path, port)
    pid = machine.units.process().pid

    def crowd(seconds):
        command = ["wrk", "-t2", "-c200", f"-d{seconds}s", "--timeout", "20s", "--latency", "-H", "Host: maps.example.org",
                   f"http://127.0.0.1:{machine.ports[port]}{path}"]
        return subprocess.run(command, capture_output=True, text=True, check=True, env=machine.environment).stdout

    crowd(2)
    before, samples = resident(pid), []
    process = subprocess.Popen(
        ["sh", "-c", "while :; do grep VmRSS /proc/$0/status; sleep 1; done", str(pid)], stdout=subprocess.PIPE, text=True
    )
    try:
        said = crowd(seconds)
    finally:
        process.terminate()
        samples = [int(line.split()[1]) / 1024 for line in process.communicate()[0].splitlines()]
    after = resident(pid)
    rate = float(re.search(r"Requests/sec:\s+([\d.]+)", said)[1])
    count = int(re.search(r"(\d+) requests in", said)[1])
    print(f"{name}, {seconds} s: {count} requests, {rate:.0f}/s; RSS {before:.1f} MiB before, "
          f"{max(samples):.1f} at most, {after:.1f} after\n{said}")
    assert "Socket errors" not in said and "Non-2xx" not in said, said
    transferred = re.search(r"([\d.]+)([KMG])B read", said)
    size = float(transferred[1]) * {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}[transferred[2]]
    assert size > 0.98 * count * len(tile.body), "answers were cut short"
    assert max(samples) < before + 8, f"memory grew: {before} MiB, then {samples}"
    assert machine.ask(path, port).body == tile.body
    assert os.path.exists(f"/proc/{pid}"), "another process answers now"

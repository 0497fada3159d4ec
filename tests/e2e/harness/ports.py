"""Free ports, and waiting until somebody listens on them."""

import socket
import time


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_until_listening(port, process, seconds=30):
    """Returns once 127.0.0.1:port accepts; fails when the process ends first or time is up."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            assert process.poll() is None, f"the server ended with status {process.returncode} before it listened"
            assert time.monotonic() < deadline, f"nobody listens on port {port} after {seconds} s"
            time.sleep(0.02)


def wait_until(condition, seconds, message):
    """Returns the first true value of condition()."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, f"{message} (waited {seconds} s)"
        time.sleep(0.05)

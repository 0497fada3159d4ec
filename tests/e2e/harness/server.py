"""A mapproxy-util process, ours or the original's, and requests to it."""

import contextlib
import os
import signal
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

from harness.ports import free_port, wait_until_listening


class Answer:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    @property
    def content_type(self):
        return self.headers.get("Content-type", "")

    @property
    def text(self):
        return self.body.decode("utf-8")

    def __repr__(self):
        return f"<{self.status} {self.content_type} {self.body[:200]!r}>"


def get(url, timeout=60, headers=None):
    """The answer whatever its status; redirects are followed, proxies of the environment are not used."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(urllib.request.Request(url, headers=headers or {}), timeout=timeout) as response:
            return Answer(response.status, response.headers, response.read())
    except urllib.error.HTTPError as error:
        with error:
            return Answer(error.code, error.headers, error.read())


class Server:
    """One process; `url` is its address without a trailing slash, `log` what it has written so far."""

    def __init__(self, command, config, log, mode="serve-develop"):
        self.config, self.log_file = Path(config), Path(log)
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        environment = {key: value for key, value in os.environ.items() if not key.lower().endswith("_proxy")}
        environment["PYTHONUNBUFFERED"] = "1"
        with open(self.log_file, "ab") as output:
            self.process = subprocess.Popen(
                [*command, mode, "-b", f"127.0.0.1:{self.port}", str(self.config)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,
            )
        try:
            wait_until_listening(self.port, self.process)
        except AssertionError as error:
            self.stop()
            raise AssertionError(f"{error}\n{self.log}") from None

    @classmethod
    @contextlib.contextmanager
    def nursery(cls, command, folder, label="server"):
        running = []

        def start(yaml=None, name="mapproxy.yaml", **options):
            config = Path(folder) / name
            if yaml is not None:
                config.write_text(yaml)
            number = f"-{len(running) + 1}" if running else ""
            server = cls(command, config, Path(folder) / f"{label}{number}.log", **options)
            running.append(server)
            return server

        try:
            yield start
        finally:
            for server in running:
                server.stop()

    @property
    def log(self):
        return self.log_file.read_text(errors="replace")

    def get(self, path, timeout=60, headers=None):
        return get(self.url + path, timeout=timeout, headers=headers)

    def get_map(self, layers, srs, bbox, size, format="image/png", version="1.1.1", timeout=60, **more):
        parameters = {
            "SERVICE": "WMS",
            "VERSION": version,
            "REQUEST": "GetMap",
            "LAYERS": layers,
            "STYLES": "",
            "CRS" if version == "1.3.0" else "SRS": srs,
            "BBOX": ",".join(map(str, bbox)),
            "WIDTH": size[0],
            "HEIGHT": size[1],
            "FORMAT": format,
            **more,
        }
        return self.get("/service?" + urllib.parse.urlencode(parameters), timeout=timeout)

    def stop(self, seconds=10):
        """Ends the process and its children by the signals of their own group."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGTERM)
            try:
                self.process.wait(seconds)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait()
        return self.process.returncode

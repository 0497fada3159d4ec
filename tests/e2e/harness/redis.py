"""A Redis server of Debian's, on a port of its own, that can be killed and started again with what it had."""

import shutil
import subprocess
from pathlib import Path

from harness.ports import free_port, wait_until_listening


class Redis:
    def __init__(self, folder, password=None):
        self.folder, self.port, self.password = Path(folder), free_port(), password
        self._process = None

    def __enter__(self):
        self.folder.mkdir(parents=True, exist_ok=True)
        self.start()
        return self

    def __exit__(self, *error):
        self.kill()

    def start(self):
        program = shutil.which("redis-server")
        assert program, "redis-server is missing: run tests/e2e/setup"
        command = [
            program, "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.folder), "--save", "",
            "--appendonly", "yes", "--appendfsync", "always",
        ]
        if self.password:
            command += ["--requirepass", self.password]
        with open(self.folder / "redis.log", "ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        wait_until_listening(self.port, self._process)

    def kill(self):
        self._process.kill()
        self._process.wait(10)

    def ask(self, *words, db=0):
        """The answer of redis-cli, line by line."""
        command = ["redis-cli", "-p", str(self.port), "-n", str(db)]
        if self.password:
            command += ["-a", self.password, "--no-auth-warning"]
        done = subprocess.run([*command, *words], capture_output=True, check=True, timeout=10)
        return done.stdout.decode("utf-8", "replace").splitlines()

    def keys(self, db=0):
        return sorted(line for line in self.ask("KEYS", "*", db=db) if line)

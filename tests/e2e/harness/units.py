"""Units of systemd, as far as the guide has them, without a systemd: no container runs one.

Sockets are opened here and passed on as systemd passes them (LISTEN_FDS, LISTEN_PID), and stay open while the service
restarts; READY=1 is waited for. What the units say is checked by the real `systemd-analyze verify`, and a test of its
own passes a socket with the real systemd-socket-activate.
"""

import fcntl
import grp
import os
import pwd
import shlex
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path


class Units:
    def __init__(self, machine):
        self.machine = machine
        self._sockets, self._processes, self._notify = {}, {}, {}

    @property
    def folder(self):
        return self.machine.root / "etc/systemd/system"

    def close(self):
        for name in list(self._processes):
            process = self._processes.pop(name)
            if process.poll() is None:
                process.terminate()
                try:
                    process.wait(35)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
        for listening in self._sockets.values():
            listening.close()

    def load(self):
        """`systemctl daemon-reload`: what is written is valid."""
        units = sorted(str(path) for path in self.folder.iterdir() if path.suffix in (".service", ".socket"))
        assert units, "there are no units"
        done = subprocess.run(["systemd-analyze", "verify", "--man=no", *units], capture_output=True, text=True)
        told = [line for line in (done.stdout + done.stderr).splitlines() if str(self.folder) in line]
        assert not told and done.returncode == 0, f"systemd-analyze verify: {done.stdout}{done.stderr}"

    def read(self, name):
        """The unit with its drop-ins: {section: [(key, value)]}."""
        path = self.folder / name
        assert path.is_file(), f"Unit {name} not found."
        sections = {}
        for part in [path, *sorted((self.folder / f"{name}.d").glob("*.conf"))]:
            section = None
            for line in part.read_text().splitlines():
                line = line.strip()
                if line.startswith("["):
                    section = sections.setdefault(line.strip("[]"), [])
                elif line and line[0] not in "#;":
                    key, value = line.split("=", 1)
                    if not value:
                        section[:] = [(other, kept) for other, kept in section if other != key]
                    else:
                        section.append((key, value))
        return sections

    @staticmethod
    def value(section, key, default=None):
        values = [value for name, value in section if name == key]
        return values[-1] if values else default

    def do(self, verb, name, now=False):
        name = name if "." in name else f"{name}.service"
        assert (self.folder / name).is_file(), f"Unit {name} not found."
        if verb == "enable":
            assert self.read(name).get("Install"), f"{name} has no [Install]"
            verb = "start" if now else "is-enabled"
        if verb == "is-enabled":
            return None
        if name.endswith(".socket"):
            assert verb in ("start", "restart"), f"systemctl {verb} {name}: not understood"
            return self._open(name)
        running = self._processes.get(name)
        running = running if running is not None and running.poll() is None else None
        if verb == "is-active":
            assert running, "inactive"
            return "active\n"
        if verb == "reload":
            assert running, f"{name} is not active, cannot reload."
            command = self.value(self.read(name)["Service"], "ExecReload").replace("$MAINPID", str(running.pid))
            subprocess.run(shlex.split(command), check=True)
            return None
        if verb in ("stop", "restart") and running:
            running.send_signal(signal.SIGTERM)
            running.wait(40)
        if verb in ("start", "restart") and (verb == "restart" or not running):
            self._start(name)
        return None

    def process(self, name="mapproxy.service"):
        return self._processes[name]

    def _open(self, name):
        if name in self._sockets:
            return
        section = self.read(name)["Socket"]
        address = self.value(section, "ListenStream")
        if address.startswith("/"):
            Path(address).parent.mkdir(parents=True, exist_ok=True)
            Path(address).unlink(missing_ok=True)
            listening = socket.socket(socket.AF_UNIX)
            listening.bind(address)
            os.chmod(address, int(self.value(section, "SocketMode", "0666"), 8))
            if os.geteuid() == 0:
                user, group = self.value(section, "SocketUser"), self.value(section, "SocketGroup")
                os.chown(address, _user(user), grp.getgrnam(group).gr_gid if group else -1)
        else:
            host, port = address.rsplit(":", 1)
            listening = socket.socket()
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind((host, int(port)))
        listening.listen(4096)
        self._sockets[name] = listening

    def _start(self, name):
        unit = self.read(name)
        service = unit["Service"]
        for cache in (self.value(service, "CacheDirectory", "") or "").split():
            (self.machine.root / "var/cache" / cache).mkdir(parents=True, exist_ok=True)
        for kind, where in (("RuntimeDirectory", "run"), ("LogsDirectory", "var/log"), ("StateDirectory", "var/lib")):
            for folder in (self.value(service, kind, "") or "").split():
                (self.machine.root / where / folder).mkdir(parents=True, exist_ok=True)
        sockets = []
        for socket_name in [word for key, words in unit["Unit"] if key == "Requires" for word in words.split()]:
            if socket_name.endswith(".socket"):
                self._open(socket_name)
                sockets.append(self._sockets[socket_name])
        notify_path = f"{self.machine.root}/run/notify-{time.monotonic_ns()}"
        notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        notify.bind(notify_path)
        command = shlex.split(self.value(service, "ExecStart"))
        # The pid that systemd names is that of the program itself: known to a shell that becomes it.
        keep = [fcntl.fcntl(listening.fileno(), fcntl.F_DUPFD, 100) for listening in sockets]
        script = "".join(f"exec {number}<&{fd} {fd}<&-; " for number, fd in enumerate(keep, start=3))
        if keep:
            script += f"export LISTEN_FDS={len(keep)} LISTEN_PID=$$; "

        environment = {**self.machine.environment, "NOTIFY_SOCKET": notify_path}
        for variables in [value for key, value in service if key == "Environment"]:
            environment.update(word.split("=", 1) for word in shlex.split(variables))
        with open(self.machine.root / "var/log" / f"{name}.journal", "ab") as log:
            process = subprocess.Popen(
                ["bash", "-c", script + 'exec "$@"', "sh", *command], env=environment, cwd="/", stdin=subprocess.DEVNULL,
                stdout=log, stderr=log, pass_fds=keep, start_new_session=True,
            )
        for number in keep:
            os.close(number)
        self._processes[name] = process
        if self.value(service, "Type") == "notify":
            notify.settimeout(0.1)
            deadline = time.monotonic() + 30
            while True:
                try:
                    if b"READY=1" in notify.recv(4096):
                        break
                except TimeoutError:
                    pass
                if process.poll() is not None:
                    raise AssertionError(f"{name} ended with status {process.returncode}:\n{self.machine.logs()}")
                assert time.monotonic() < deadline, f"{name} was not ready after 30 s:\n{self.machine.logs()}"
        threading.Thread(target=_drain, args=(notify, process, notify_path), daemon=True).start()


def _drain(notify, process, path):
    notify.settimeout(0.5)
    while process.poll() is None:
        try:
            notify.recv(4096)
        except TimeoutError:
            continue
    notify.close()
    Path(path).unlink(missing_ok=True)


def _user(name):
    try:
        return pwd.getpwnam(name).pw_uid if name else -1
    except KeyError:
        return -1  # made by `adduser` on a real machine

"""A machine to follow the guide on: a folder that stands for the root of a Debian 12, with the real web servers.

Commands and files of the guide are used as they are written, but for these substitutions (`Machine.mapped`):

* /etc, /run, /srv, /usr/local and the changing parts of /var lie below the folder;
* ports 80, 443, 8080 and so on are free ports, and everybody listens on 127.0.0.1 only;
* the upstream https://geo.example.org/ is a server of the tests.

The web servers read Debian's own configurations, copied with the same substitutions. `curl` goes to the substituted
ports under the names of the guide; `systemctl` is understood by `Systemd` below, since no systemd runs in a container;
`apt-get install` looks whether the packages are there; `adduser` does nothing. All other commands are the real ones.
"""

import http.client
import json
import os
import re
import shlex
import shutil
import signal
import socket
import socketserver
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from harness import guide
from harness.ports import free_port, wait_until
from harness.server import Answer
from harness.units import Units

PORTS = (80, 443, 6081, 6082, 8080, 8081, 8443)
PUBLIC = "maps.example.org"
_FOLDERS = r"(?<![\w/.$}{\\-])/(etc|run|srv|usr/local|var/(?:backups|cache|lib|lock|log|run|spool))(?=[/\"'\s;,)]|$)"
# Of the machine we are on, and only read.
_REAL = ("/etc/mime.types", "/etc/ld.so")


class Machine:
    """`root` is the folder; `follow` does what a chapter says."""

    def __init__(self, program, folder, upstream=None):
        self.program, self.folder, self.upstream = [str(word) for word in program], Path(folder), upstream
        # Sockets have short names only, and the web servers' own users must get there.
        self.root = Path(tempfile.mkdtemp(prefix="mapproxy-e2e-"))
        self.root.chmod(0o755)
        self.ports = {port: free_port() for port in PORTS}
        self.units = Units(self)
        self._servers, self._done = {}, []

    def __enter__(self):
        try:
            self._furnish()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *error):
        self.units.close()
        for process in reversed(self._servers.values()):
            stop(process)
        if hasattr(self, "_listener"):
            self._listener.shutdown()
            self._listener.server_close()
        try:
            for name in ("var/log", "etc"):
                if (self.root / name).exists():
                    shutil.copytree(self.root / name, self.folder / name, dirs_exist_ok=True, symlinks=True)
        finally:
            shutil.rmtree(self.root, ignore_errors=True)

    # Substitution

    def mapped(self, text):
        """`text` of the guide or of Debian as it is used here."""
        def folder(match):
            return match[0] if text.startswith(_REAL, match.start()) else f"{self.root}{match[0]}"

        text = re.sub(_FOLDERS, folder, text, flags=re.M)
        text = re.sub(r"\b(6081|6082|8080|8081|8443)\b", lambda match: str(self.ports[int(match[1])]), text)
        low = r"(80|443)\b"
        text = re.sub(rf"^(\s*listen )\[::\]:{low}.*\n", "", text, flags=re.M)
        text = re.sub(rf"^(\s*[lL]isten ){low}", lambda m: f"{m[1]}127.0.0.1:{self.ports[int(m[2])]}", text, flags=re.M)
        text = re.sub(rf"(<VirtualHost [\w*]+:){low}", lambda m: f"{m[1]}{self.ports[int(m[2])]}", text)
        text = re.sub(rf"^(server\.port\s*= ){low}", lambda m: f'server.bind = "127.0.0.1"\n{m[1]}{self.ports[int(m[2])]}',
                      text, flags=re.M)
        text = re.sub(r"^include_shell .*use-ipv6.*\n", "", text, flags=re.M)
        if self.upstream:
            text = text.replace("https://geo.example.org/", f"{self.upstream.url}/")
        return text

    def path(self, name):
        """Where the file of this name lies."""
        return Path(self.mapped(str(name)))

    def _furnish(self):
        for name in ("etc/ssl/certs", "etc/ssl/private", "etc/systemd/system", "usr/local/bin", "run", "srv", "tmp",
                     "var/cache/lighttpd/uploads", "var/lib", "var/log/nginx", "var/log/apache2", "var/log/lighttpd", "var/spool"):
            (self.root / name).mkdir(parents=True, exist_ok=True)
        (self.root / "tmp").chmod(0o1777)
        for server in ("nginx", "apache2", "lighttpd", "varnish"):
            self._copy(Path("/etc") / server)
        if os.geteuid() == 0:
            for name in ("log/nginx", "log/lighttpd", "cache/lighttpd/uploads"):
                shutil.chown(self.root / "var" / name, "www-data")
        key, certificate = (f"{self.root}/etc/ssl/{name}" for name in
                            ("private/ssl-cert-snakeoil.key", "certs/ssl-cert-snakeoil.pem"))
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={PUBLIC}",
             "-addext", f"subjectAltName=DNS:{PUBLIC},DNS:localhost", "-keyout", key, "-out", certificate],
            check=True, capture_output=True,
        )
        self.certificate = certificate
        self._commands()

    def _copy(self, folder):
        """Debian's configuration, substituted; links stay links."""
        for source in sorted(folder.rglob("*")):
            target = self.path(source)
            target.parent.mkdir(parents=True, exist_ok=True)
            if source.is_dir() and not source.is_symlink():
                target.mkdir(exist_ok=True)
            elif source.is_symlink():
                link = os.readlink(source)
                target.symlink_to(self.mapped(link) if link.startswith("/etc") else link)
            elif source.is_file():
                try:
                    target.write_text(self.mapped(source.read_text()))
                except UnicodeDecodeError:
                    shutil.copy(source, target)

    # Commands

    def _commands(self):
        """Programs that come before the real ones in PATH."""
        bin = self.root / "shims"
        bin.mkdir()

        def shim(name, text):
            (bin / name).write_text(text)
            (bin / name).chmod(0o755)

        ports = {**{80: self.ports[80], 443: self.ports[443]}, **{port: port for port in self.ports.values()}}
        connect = " ".join(
            f"--connect-to {name}:{port}:127.0.0.1:{target}" for name in (PUBLIC, "localhost") for port, target in ports.items()
        )
        shim("curl", f"#!/bin/sh\nexec /usr/bin/curl --noproxy '*' --cacert {self.certificate} {connect} \"$@\"\n")
        shim("adduser", "#!/bin/sh\nexit 0\n")
        shim(
            "apt-get",
            "#!/bin/sh\nfor word; do case $word in\n  install|update|-*) ;;\n"
            "  *) dpkg-query -W -f='${Status}\\n' $word | grep -q 'ok installed' || { echo missing: $word >&2; exit 100; };;\n"
            "esac; done\n",
        )
        for name in ("a2enmod", "a2enconf", "a2ensite", "a2dismod", "a2disconf", "a2dissite"):
            shim(name, f"#!/bin/sh\nAPACHE_CONFDIR={self.root}/etc/apache2 APACHE_MODULES_LOADED= exec /usr/sbin/{name} -q \"$@\"\n")
        for name in ("lighttpd-enable-mod", "lighttpd-disable-mod"):
            shim(name, self.mapped(Path("/usr/sbin", name).read_text()))
        program = Path(shutil.which(self.program[0])).resolve()
        # As if it had just been built here.
        (self.root / "home/target/release").mkdir(parents=True)
        (self.root / "home/target/release/mapproxy-util").symlink_to(program)
        # Without an address it would listen on the port 8080 that is not ours.
        shim(
            "mapproxy-util",
            f"#!/bin/sh\ncase \"$* \" in *' -b '*|*.ini\\ |*' --fastcgi '*) ;;\n"
            f"  'serve '*|serve-develop*) set -- \"$@\" -b 127.0.0.1:{self.ports[8080]};;\nesac\n"
            f"exec {shlex.join([str(program), *self.program[1:]])} \"$@\"\n",
        )

        machine = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self):
                words = json.loads(self.rfile.readline())
                try:
                    said = machine.systemctl(*words)
                    status = 0
                except AssertionError as error:
                    said, status = f"{error}\n", 1
                self.wfile.write(json.dumps([status, said or ""]).encode())

        class Listener(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
            daemon_threads = True

        self._listener = Listener(f"{self.root}/systemctl.sock", Handler)
        threading.Thread(target=self._listener.serve_forever, args=(0.05,), daemon=True).start()
        shim(
            "systemctl",
            f"#!{sys.executable}\nimport json, socket, sys\n"
            f"s = socket.socket(socket.AF_UNIX)\ns.connect('{self.root}/systemctl.sock')\n"
            "s.sendall(json.dumps(sys.argv[1:]).encode() + b'\\n')\n"
            "status, said = json.load(s.makefile())\nprint(said, end='', file=sys.stderr if status else sys.stdout)\n"
            "sys.exit(status)\n",
        )
        self.environment = {
            **{key: value for key, value in os.environ.items() if not key.lower().endswith("_proxy")},
            "PATH": f"{bin}:{self.root}/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": str(self.root / "home"),
            "TMPDIR": str(self.root / "tmp"),
        }

    def shell(self, text):
        """Runs commands as an administrator would; returns what they print."""
        with tempfile.TemporaryFile("w+") as said:
            process = subprocess.Popen(
                ["bash", "-eu", "-c", self.mapped(text)], cwd=self.root / "home", env=self.environment,
                stdin=subprocess.DEVNULL, stdout=said, stderr=subprocess.STDOUT, start_new_session=True,
            )
            try:
                status = process.wait(60)
            except subprocess.TimeoutExpired:
                status = "no end after 60 s"
            finally:
                stop(process)  # and what was left in the background
            said.seek(0)
            output = said.read()
        assert status == 0, f"status {status} of\n{self.mapped(text)}\n{output}\n{self.logs()}"
        return output

    def save(self, block):
        path = self.path(block.path)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(self.mapped(block.text))
        if block.kind == "bash":
            path.chmod(0o755)

    def follow(self, chapter, section=None):
        """Does what the chapter, or a section of it, says, from top to bottom."""
        for block in guide.blocks(chapter, section):
            try:
                if block.kind in guide.SHELL:
                    said = self.shell(block.text)
                    self._done.append(f"{block}\n{said}")
                elif block.kind in guide.FILES:
                    self.save(block)
                else:
                    guide.included(block)
            except AssertionError as error:
                raise AssertionError(f"{block}: {error}") from None
        return self._done[-1] if self._done else ""

    # systemctl

    def systemctl(self, *words):
        verb, names = words[0], [word for word in words[1:] if not word.startswith("-")]
        if verb == "daemon-reload":
            return self.units.load()
        said = ""
        for name in names:
            if name in SERVERS:
                if verb == "enable" and "--now" not in words:
                    continue
                self._web_server(verb, name)
            else:
                said += self.units.do(verb, name, now="--now" in words) or ""
        return said

    def _web_server(self, verb, name):
        running = self._servers.get(name)
        if verb == "stop" or (verb == "restart" and running):
            assert running, f"{name} does not run"
            stop(self._servers.pop(name))
            running = None
        if verb in ("stop", "is-active"):
            assert verb == "stop" or running, f"{name} is inactive"
            return
        assert verb in ("start", "enable", "restart", "reload"), f"systemctl {verb}: not understood"
        SERVERS[name].test(self)
        if running is None:
            self._servers[name] = SERVERS[name].start(self)
        elif verb == "reload":
            SERVERS[name].reload(self, running)

    def spawn(self, name, command, **options):
        log = open(self.root / "var/log" / f"{name}.out", "ab")
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self.environment,
                                start_new_session=True, **options)

    def listening(self, port, process, name):
        def answers():
            if process.poll() is not None:
                raise AssertionError(f"{name} ended with status {process.returncode}:\n{self.logs()}")
            try:
                socket.create_connection(("127.0.0.1", self.ports[port]), timeout=1).close()
                return True
            except OSError:
                return False

        wait_until(answers, 30, f"{name} does not listen")

    def logs(self):
        """What everybody wrote, the last lines of each."""
        texts = []
        for path in sorted((self.root / "var/log").rglob("*")):
            if path.is_file() and path.stat().st_size:
                lines = path.read_text(errors="replace").splitlines()[-15:]
                texts.append(f"--- {path.relative_to(self.root)}\n" + "\n".join(lines))
        return "\n".join(texts)

    # Questions

    def client(self, port=80, timeout=60):
        """A connection to the substituted port, as a client of the public name would have it."""
        if port in (443, 8443):
            context = ssl.create_default_context(cafile=self.certificate)
            connection = _Tls(PUBLIC, self.ports[port], context=context, timeout=timeout)
        else:
            connection = http.client.HTTPConnection("127.0.0.1", self.ports[port], timeout=timeout)
        return connection

    def ask(self, path, port=80, method="GET", headers=None, body=None):
        connection = self.client(port)
        try:
            return ask(connection, path, method, headers, body)
        finally:
            connection.close()


class _Tls(http.client.HTTPSConnection):
    """By the public name, to this machine."""

    def connect(self):
        self.sock = socket.create_connection(("127.0.0.1", self.port), self.timeout)
        self.sock = self._context.wrap_socket(self.sock, server_hostname=self.host)


def ask(connection, path, method="GET", headers=None, body=None):
    connection.request(method, path, body=body, headers={"Host": PUBLIC, **(headers or {})})
    response = connection.getresponse()
    return Answer(response.status, response.headers, response.read())


def stop(process, seconds=15):
    """Ends a server and what it started, by the signals of its own group."""
    for sign in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, sign)
        except ProcessLookupError:
            pass
        try:
            process.wait(seconds)
            return
        except subprocess.TimeoutExpired:
            continue


def program(name):
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")
    assert found, f"{name} is missing: run tests/e2e/setup"
    return found


def _checked(machine, command, **options):
    done = subprocess.run(command, capture_output=True, text=True, env=machine.environment, timeout=60, **options)
    assert done.returncode == 0, f"{' '.join(map(str, command))}:\n{done.stdout}{done.stderr}"


class Nginx:
    @staticmethod
    def command(machine):
        # The folder of its modules is compiled in, and so are those of its temporary files.
        configuration = machine.root / "etc/nginx/nginx.conf"
        text = configuration.read_text()
        if "_temp_path" not in text:
            kinds = {"client_body": "body", "proxy": "proxy", "fastcgi": "fastcgi", "uwsgi": "uwsgi", "scgi": "scgi"}
            lines = [f"\t{kind}_temp_path {machine.root}/var/lib/nginx/{name};\n" for kind, name in kinds.items()]
            (machine.root / "var/lib/nginx").mkdir(exist_ok=True)
            configuration.write_text(text.replace("http {\n", "http {\n" + "".join(lines), 1))
        return [program("nginx"), "-e", f"{machine.root}/var/log/nginx/error.log", "-c", str(configuration)]

    @classmethod
    def test(cls, machine):
        _checked(machine, [*cls.command(machine), "-t"])

    @classmethod
    def start(cls, machine):
        process = machine.spawn("nginx", [*cls.command(machine), "-g", "daemon off;"])
        machine.listening(80, process, "nginx")
        return process

    @staticmethod
    def reload(machine, process):
        _workers_renewed(process)


def _workers_renewed(process):
    def children():
        return set(Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split())

    before = children()
    os.kill(process.pid, signal.SIGHUP)
    wait_until(lambda: children() - before, 20, "no new workers after a reload")
    time.sleep(0.3)


class Apache:
    @staticmethod
    def environment(machine):
        root = machine.root
        for name in ("run/apache2", "var/lock/apache2"):
            (root / name).mkdir(parents=True, exist_ok=True)
        return {
            **machine.environment, "APACHE_CONFDIR": f"{root}/etc/apache2", "APACHE_RUN_USER": "www-data",
            "APACHE_RUN_GROUP": "www-data", "APACHE_PID_FILE": f"{root}/run/apache2/apache2.pid",
            "APACHE_RUN_DIR": f"{root}/run/apache2", "APACHE_LOCK_DIR": f"{root}/var/lock/apache2",
            "APACHE_LOG_DIR": f"{root}/var/log/apache2", "LANG": "C",
        }

    @classmethod
    def command(cls, machine):
        return [program("apache2"), "-d", f"{machine.root}/etc/apache2"]

    @classmethod
    def test(cls, machine):
        done = subprocess.run([*cls.command(machine), "-t"], capture_output=True, text=True, env=cls.environment(machine))
        assert done.returncode == 0, done.stderr

    @classmethod
    def start(cls, machine):
        log = open(machine.root / "var/log/apache2.out", "ab")
        process = subprocess.Popen([*cls.command(machine), "-DFOREGROUND"], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                   env=cls.environment(machine), start_new_session=True)
        machine.listening(80, process, "apache2")
        return process

    @staticmethod
    def reload(machine, process):
        os.kill(process.pid, signal.SIGUSR1)
        time.sleep(1.5)


class Lighttpd:
    @staticmethod
    def command(machine):
        return [program("lighttpd"), "-f", f"{machine.root}/etc/lighttpd/lighttpd.conf"]

    @classmethod
    def test(cls, machine):
        _checked(machine, [*cls.command(machine), "-tt"])

    @classmethod
    def start(cls, machine):
        process = machine.spawn("lighttpd", [*cls.command(machine), "-D"])
        machine.listening(80, process, "lighttpd")
        return process

    @staticmethod
    def reload(machine, process):
        raise AssertionError("lighttpd is restarted, not reloaded")


class Varnish:
    @staticmethod
    def test(machine):
        """varnishd compiles the configuration when it starts."""

    @staticmethod
    def start(machine):
        secret = machine.root / "etc/varnish/secret"
        secret.parent.mkdir(parents=True, exist_ok=True)
        secret.write_text("secret of a test\n")
        process = machine.spawn("varnish", [
            program("varnishd"), "-j", "none", "-F", "-n", f"{machine.root}/var/lib/varnish", "-a",
            f"127.0.0.1:{machine.ports[6081]}", "-T", f"127.0.0.1:{machine.ports[6082]}",
            "-f", f"{machine.root}/etc/varnish/default.vcl", "-S", str(secret), "-s", "malloc,64m",
        ])
        machine.listening(6081, process, "varnish")
        return process

    @classmethod
    def reload(cls, machine, process):
        name = f"v{time.monotonic_ns()}"
        admin = [program("varnishadm"), "-n", f"{machine.root}/var/lib/varnish"]
        _checked(machine, [*admin, "vcl.load", name, f"{machine.root}/etc/varnish/default.vcl"])
        _checked(machine, [*admin, "vcl.use", name])


SERVERS = {"nginx": Nginx, "apache2": Apache, "lighttpd": Lighttpd, "varnish": Varnish}

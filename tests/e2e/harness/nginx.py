"""nginx in front of a server under test."""

import os
import shutil
import subprocess
from pathlib import Path

from harness.ports import free_port, wait_until_listening

_CONFIG = """\
{user}
worker_processes 1;
pid nginx.pid;
error_log error.log;
events {{ worker_connections 256; }}
http {{
  access_log access.log;
  client_body_temp_path tmp/body;
  proxy_temp_path tmp/proxy;
  fastcgi_temp_path tmp/fastcgi;
  uwsgi_temp_path tmp/uwsgi;
  scgi_temp_path tmp/scgi;
  server {{
    listen 127.0.0.1:{port};
    {locations}
  }}
}}
"""


class Nginx:
    """One process that serves these locations; `url` has no slash at its end."""

    def __init__(self, folder, locations):
        self.folder, self.port = Path(folder), free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._locations = locations

    def __enter__(self):
        program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
        assert program, "nginx is missing: run tests/e2e/setup"
        (self.folder / "tmp").mkdir(parents=True)
        config = self.folder / "nginx.conf"
        user = "user root;" if os.geteuid() == 0 else ""
        config.write_text(_CONFIG.format(user=user, port=self.port, locations=self._locations))
        command = [program, "-p", str(self.folder), "-c", str(config), "-g", "daemon off;"]
        with open(self.folder / "nginx.log", "wb") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            wait_until_listening(self.port, self._process)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *error):
        self._process.terminate()
        self._process.wait(10)

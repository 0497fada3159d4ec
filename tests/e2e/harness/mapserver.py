"""MapServer behind nginx, drawing a world of four coloured quarters with a landmark.

North-east is red, north-west green, south-east blue, south-west yellow: a map with swapped axes or a wrong place shows
at once. The landmark is a black square of 2 degrees around 10° E 50° N, in the middle of EPSG:25832.
"""

import json
import os
import shutil
import subprocess
from pathlib import Path

from harness.ports import free_port, wait_until_listening
from harness.server import get

RED, GREEN, BLUE, YELLOW, BLACK = (220, 40, 40), (40, 160, 60), (40, 70, 200), (240, 210, 50), (10, 10, 10)

# In cells of ten degrees: a quarter of the world in one piece cannot be projected into a national grid.
_STEP = 10
_AREAS = [
    ((RED if x >= 0 else GREEN) if y >= 0 else (BLUE if x >= 0 else YELLOW), (x, y, x + _STEP, y + _STEP))
    for x in range(-180, 180, _STEP)
    for y in range(-90, 90, _STEP)
] + [(BLACK, (9, 49, 11, 51))]

_MAP_FILE = """\
MAP
  NAME "quarters"
  EXTENT -180 -90 180 90
  SIZE 400 200
  IMAGETYPE png24
  OUTPUTFORMAT
    NAME "png24"
    DRIVER "AGG/PNG"
    MIMETYPE "image/png"
    IMAGEMODE RGB
  END
  PROJECTION "init=epsg:4326" END
  WEB
    METADATA
      "wms_title" "Quarters"
      "wms_onlineresource" "{url}/wms?"
      "wms_enable_request" "*"
      "wms_srs" "EPSG:4326 EPSG:3857 EPSG:25832 EPSG:31467"
      "wms_feature_info_mime_type" "application/vnd.ogc.gml"
    END
  END
  LAYER
    NAME "quarters"
    TYPE POLYGON
    STATUS ON
    CONNECTIONTYPE OGR
    CONNECTION "{data}"
    DATA "quarters"
    PROJECTION "init=epsg:4326" END
    METADATA
      "wms_title" "Four quarters and a landmark"
      "wms_include_items" "all"
      "gml_include_items" "all"
    END
    TEMPLATE "none.html"
    CLASSITEM "kind"
    CLASS
      NAME "Quarters"
      STYLE COLOR [colour] OUTLINECOLOR [colour] END
    END
  END
END
"""

_NGINX = """\
{user}
worker_processes 1;
pid nginx.pid;
error_log error.log;
events {{ worker_connections 512; }}
http {{
  access_log access.log;
  client_body_temp_path tmp/body;
  proxy_temp_path tmp/proxy;
  fastcgi_temp_path tmp/fastcgi;
  uwsgi_temp_path tmp/uwsgi;
  scgi_temp_path tmp/scgi;
  upstream mapserv {{ {sockets} }}
  server {{
    listen 127.0.0.1:{port};
    location /wms {{
      fastcgi_pass mapserv;
      fastcgi_param REQUEST_METHOD $request_method;
      fastcgi_param QUERY_STRING $query_string;
      fastcgi_param CONTENT_TYPE $content_type;
      fastcgi_param CONTENT_LENGTH $content_length;
      fastcgi_param SCRIPT_NAME /wms;
      fastcgi_param SERVER_NAME 127.0.0.1;
      fastcgi_param SERVER_PORT {port};
      fastcgi_param SERVER_PROTOCOL $server_protocol;
      fastcgi_param MS_MAPFILE {mapfile};
    }}
  }}
}}
"""

_WORKERS = 2


def _program(name):
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/lib/cgi-bin")
    assert found, f"{name} is missing: run tests/e2e/setup"
    return found


class MapServer:
    def __init__(self, folder):
        self.folder = Path(folder)
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._processes = []

    def __enter__(self):
        try:
            self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *error):
        for process in self._processes:
            process.kill() if process.args[-1].endswith("mapserv") else process.terminate()  # mapserv ends only when asked
        for process in self._processes:
            process.wait(10)

    def _start(self):
        shutil.rmtree(self.folder, ignore_errors=True)
        (self.folder / "tmp").mkdir(parents=True)
        data = self._write_data()
        mapfile = self.folder / "quarters.map"
        mapfile.write_text(_MAP_FILE.format(url=self.url, data=data))
        config = self.folder / "mapserver.conf"
        config.write_text(f'CONFIG\n  ENV\n    MS_MAP_PATTERN "^{self.folder}/"\n  END\nEND\n')
        environment = {**os.environ, "MAPSERVER_CONFIG_FILE": str(config)}
        sockets = [self.folder / f"mapserv-{number}.sock" for number in range(_WORKERS)]
        for number, socket in enumerate(sockets):
            with open(self.folder / f"mapserv-{number}.log", "wb") as log:
                command = [_program("spawn-fcgi"), "-n", "-s", str(socket), "--", _program("mapserv")]
                self._processes.append(subprocess.Popen(command, env=environment, stdout=log, stderr=log))
        nginx = self.folder / "nginx.conf"
        nginx.write_text(
            _NGINX.format(
                user="user root;" if os.geteuid() == 0 else "",
                sockets=" ".join(f"server unix:{socket};" for socket in sockets),
                port=self.port,
                mapfile=mapfile,
            )
        )
        command = [_program("nginx"), "-p", str(self.folder), "-c", str(nginx), "-g", "daemon off;"]
        with open(self.folder / "nginx.log", "wb") as log:
            self._processes.append(subprocess.Popen(command, stdout=log, stderr=log))
        wait_until_listening(self.port, self._processes[-1])
        answer = get(f"{self.url}/wms?SERVICE=WMS&VERSION=1.3.0&REQUEST=GetCapabilities")
        assert answer.status == 200 and b"quarters" in answer.body, f"MapServer does not work: {answer}"

    def _write_data(self):
        """A GeoPackage made by ogr2ogr."""
        features = []
        for colour, (west, south, east, north) in _AREAS:
            ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
            features.append(
                {
                    "type": "Feature",
                    "properties": {"kind": "area", "colour": "#%02x%02x%02x" % colour},
                    "geometry": {"type": "Polygon", "coordinates": [ring]},
                }
            )
        source = self.folder / "quarters.geojson"
        source.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
        target = self.folder / "quarters.gpkg"
        command = [_program("ogr2ogr"), "-f", "GPKG", "-nln", "quarters", str(target), str(source)]
        subprocess.run(command, check=True, capture_output=True)
        return target

    def requests(self):
        """Queries of the GetMap requests so far, as nginx logged them."""
        lines = (self.folder / "access.log").read_text().splitlines()
        return [line.split('"')[1].split(" ")[1] for line in lines if "GETMAP" in line.upper()]

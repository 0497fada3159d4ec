"""MapServer and Mapnik as programs of ours, run beside the server: no HTTP between them."""

import os
import signal
import subprocess
from pathlib import Path

import pytest

from harness.mapserver import BLACK, BLUE, GREEN, RED, YELLOW
from harness.pictures import assert_colour, decode
from harness.server import Server

MAPSERVER = """\
services: {{wms: {{srs: ['EPSG:4326', 'EPSG:3857', 'EPSG:25832']}}, wmts: }}
layers:
  - {{name: cached, title: Cached, sources: [cached]}}
  - {{name: direct, title: Direct, sources: [quarters]}}
caches: {{cached: {{grids: [GLOBAL_WEBMERCATOR], sources: [quarters]}}}}
sources:
  quarters:
    type: mapserver
    req: {{map: '{map_file}', layers: quarters}}
    wms_opts: {{version: {version}, featureinfo: true}}
    mapserver: {{binary: /usr/lib/cgi-bin/mapserv, working_dir: '{folder}'}}
globals: {{cache: {{base_dir: cache, meta_size: [2, 2], meta_buffer: 8}}}}
"""

STYLE = """\
<Map srs="+init=epsg:3857" background-color="rgb(240,210,50)">
  <Style name="north"><Rule><PolygonSymbolizer fill="rgb(40,160,60)"/></Rule></Style>
  <Style name="east"><Rule><PolygonSymbolizer fill="rgb(220,40,40)"/></Rule></Style>
  <Style name="black"><Rule><PolygonSymbolizer fill="rgb(10,10,10)"/></Rule></Style>
  <Layer name="north" srs="epsg:4326"><StyleName>north</StyleName>{north}</Layer>
  <Layer name="north-east" srs="epsg:4326"><StyleName>east</StyleName>{east}</Layer>
  <Layer name="landmark" srs="epsg:4326"><StyleName>black</StyleName>{landmark}</Layer>
</Map>
"""

AREA = """\
<Datasource><Parameter name="type">csv</Parameter><Parameter name="inline">
name|wkt
area|POLYGON(({0} {1}, {2} {1}, {2} {3}, {0} {3}, {0} {1}))
</Parameter><Parameter name="separator">|</Parameter></Datasource>"""

MAPNIK = """\
services: {wms: {srs: ['EPSG:4326', 'EPSG:3857', 'EPSG:25832']}, wmts: }
layers:
  - {name: cached, title: Cached, sources: [cached]}
  - {name: north, title: North, sources: ['style:north']}
  - {name: landmark, title: Landmark, sources: ['style:landmark']}
  - {name: broken, title: Broken, sources: [broken]}
caches: {cached: {grids: [GLOBAL_WEBMERCATOR], sources: [style]}}
sources:
  style: {type: mapnik, mapfile: style.xml, layers: [north, north-east, landmark], multithreaded: true}
  broken: {type: mapnik, mapfile: broken.xml}
globals: {cache: {base_dir: cache, meta_size: [2, 2], meta_buffer: 8}, image: {paletted: false}}
"""


@pytest.mark.parametrize("version", ["1.1.1", "1.3.0"])
def test_mapserver_runs_as_a_program_of_ours(command, folder, mapserver, version):
    # What MapServer finds in its environment, it finds in ours.
    environment = ["env", f"MAPSERVER_CONFIG_FILE={mapserver.folder / 'mapserver.conf'}"]
    config = MAPSERVER.format(map_file=mapserver.folder / "quarters.map", folder=mapserver.folder, version=version)
    with Server.nursery([*environment, *command], folder) as start:
        check_quarters(start(config))


def check_quarters(server):
    world = decode(server.get("/wmts/cached/GLOBAL_WEBMERCATOR/0/0/0.png").body)
    for place, colour in [((0.7, 0.2), RED), ((0.2, 0.2), GREEN), ((0.7, 0.8), BLUE), ((0.2, 0.8), YELLOW)]:
        assert_colour(world, place, colour)
    national = server.get_map("direct", "EPSG:25832", (471666, 5439109, 671666, 5639109), (400, 400))
    assert_colour(decode(national.body), (0.5, 0.5), BLACK)


@pytest.fixture
def style(folder):
    """Files of Mapnik in the folder of the configuration."""
    areas = {"north": (-179, 0, 179, 84), "east": (0, 0, 179, 84), "landmark": (9, 49, 11, 51)}
    text = STYLE.format(**{name: AREA.format(*edges) for name, edges in areas.items()})
    (folder / "style.xml").write_text(text)
    (folder / "broken.xml").write_text("<Map>")
    return folder / "style.xml"


def test_mapnik_draws_maps_of_any_system_and_with_chosen_layers(serve, style):
    server = serve(MAPNIK)
    world = decode(server.get("/wmts/cached/GLOBAL_WEBMERCATOR/0/0/0.png").body)
    for place, colour in [((0.7, 0.2), RED), ((0.2, 0.2), GREEN), ((0.7, 0.8), YELLOW), ((0.2, 0.8), YELLOW)]:
        assert_colour(world, place, colour)
    north = decode(server.get_map("north", "EPSG:4326", (-180, -90, 180, 90), (400, 200)).body)
    assert_colour(north, (0.7, 0.2), GREEN)
    national = decode(server.get_map("landmark", "EPSG:25832", (471666, 5439109, 671666, 5639109), (400, 400)).body)
    assert_colour(national, (0.5, 0.5), BLACK)
    assert_colour(national, (0.05, 0.5), YELLOW)

    broken = server.get_map("broken", "EPSG:4326", (-180, -90, 180, 90), (400, 200))
    assert b"Could not draw the map" in broken.body and b"broken.xml" not in broken.body

    style.write_text(style.read_text().replace("rgb(40,160,60)", "rgb(40,70,200)"))
    north = decode(server.get_map("north", "EPSG:4326", (-180, -90, 180, 90), (400, 200)).body)
    assert_colour(north, (0.7, 0.2), BLUE)


def test_a_killed_mapnik_is_replaced_and_none_is_left_behind(serve, style):
    server = serve(MAPNIK)

    def children():
        listed = subprocess.run(["ps", "--ppid", str(server.process.pid), "-o", "pid="], capture_output=True, text=True)
        return [int(line) for line in listed.stdout.split()]

    def draw(x):
        return decode(server.get_map("north", "EPSG:4326", (x, 10, x + 10, 20), (100, 100)).body)

    assert_colour(draw(0), (0.5, 0.5), GREEN)
    workers = children()
    assert workers
    for worker in workers:
        os.kill(worker, signal.SIGKILL)
    assert_colour(draw(20), (0.5, 0.5), GREEN)
    left = children()
    server.stop()
    assert not [worker for worker in left if is_running(worker)]


def is_running(process):
    try:
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False

"""GDAL's WMS, WMTS, TMS and OGC API drivers as clients, as QGIS and many scripts use them."""

import json
import os
import shutil
import subprocess

import pytest
from PIL import Image

from harness.mapserver import BLACK, BLUE, GREEN, RED, YELLOW
from harness.pictures import assert_colour

CONFIG = """\
services:
  wms: {{srs: ['EPSG:4326', 'EPSG:3857', 'EPSG:25832']}}
  wmts:
  tms:
  ogcapi:
layers:
  - {{name: quarters, title: Quarters, sources: [mercator]}}
  - {{name: national, title: UTM 32, sources: [national]}}
caches:
  mercator: {{grids: [GLOBAL_WEBMERCATOR], sources: [quarters]}}
  national: {{grids: [utm32], sources: [quarters]}}
sources:
  quarters: {{type: wms, req: {{url: '{url}/wms', layers: quarters}}}}
grids:
  utm32: {{srs: 'EPSG:25832', bbox: [-46133, 5048875, 1206211, 6301219], origin: nw}}
globals:
  cache: {{base_dir: cache}}
"""

# The landmark at 10° E 50° N in EPSG:25832, and a frame around it.
FRAME = ["-projwin", "471666", "5639109", "671666", "5439109"]


@pytest.fixture
def server(serve, mapserver):
    return serve(CONFIG.format(url=mapserver.url))


@pytest.fixture
def gdal(folder):
    """gdal(program, argument, …) -> what it printed; its own cache of tiles goes to the test's folder."""

    def run(program, *arguments):
        path = shutil.which(program)
        assert path, f"{program} is missing: run tests/e2e/setup"
        done = subprocess.run(
            [path, *map(str, arguments)], capture_output=True, text=True, timeout=120, cwd=folder,
            env={**os.environ, "GDAL_DEFAULT_WMS_CACHE_PATH": str(folder / "gdal-cache")},
        )
        assert done.returncode == 0 and "ERROR" not in done.stderr, f"{program}: {done.stderr}"
        return done.stdout

    return run


@pytest.fixture
def translate(gdal):
    """translate(source, PNG file, option, …) -> the picture gdal_translate makes."""

    def run(source, target, *options):
        gdal("gdal_translate", "-q", "-of", "PNG", *options, source, target)
        with Image.open(target) as image:
            return image.convert("RGB")

    return run


def assert_quarters(image):
    for place, colour in [((0.7, 0.3), RED), ((0.2, 0.3), GREEN), ((0.7, 0.7), BLUE), ((0.2, 0.7), YELLOW)]:
        assert_colour(image, place, colour)


def test_the_wmts_driver_reads_the_whole_world(server, folder, gdal, translate):
    source = f"WMTS:{server.url}/wmts/1.0.0/WMTSCapabilities.xml,layer=quarters"
    info = json.loads(gdal("gdalinfo", "-json", source))
    assert 'ID["EPSG",3857]' in info["coordinateSystem"]["wkt"]
    assert len(info["bands"]) >= 3
    assert_quarters(translate(source, folder / "world.png", "-outsize", "512", "512"))


def test_the_wmts_driver_finds_the_landmark_in_a_national_grid(server, folder, gdal, translate):
    source = f"WMTS:{server.url}/wmts/1.0.0/WMTSCapabilities.xml,layer=national"
    info = json.loads(gdal("gdalinfo", "-json", source))
    assert 'ID["EPSG",25832]' in info["coordinateSystem"]["wkt"]
    image = translate(source, folder / "landmark.png", *FRAME, "-outsize", "400", "400")
    assert_colour(image, (0.5, 0.5), BLACK)
    assert_colour(image, (0.05, 0.5), RED)


def test_the_wmts_driver_reads_the_kvp_capabilities_too(server, folder, translate):
    source = f"WMTS:{server.url}/service?SERVICE=WMTS&REQUEST=GetCapabilities&VERSION=1.0.0,layer=quarters"
    assert_quarters(translate(source, folder / "world.png", "-outsize", "256", "256"))


@pytest.mark.parametrize("version", ["1.1.1", "1.3.0"])
def test_the_wms_driver_reads_maps_in_degrees(server, folder, version, translate):
    source = (
        f"WMS:{server.url}/service?SERVICE=WMS&VERSION={version}&REQUEST=GetMap&LAYERS=quarters&STYLES="
        f"&{'CRS' if version == '1.3.0' else 'SRS'}=EPSG:4326&FORMAT=image/png"
        f"&BBOX={'-85,-180,85,180' if version == '1.3.0' else '-180,-85,180,85'}"
    )
    assert_quarters(translate(source, folder / "world.png", "-outsize", "512", "256"))


def test_the_wms_driver_lists_our_layers(server, gdal):
    listing = gdal("gdalinfo", f"WMS:{server.url}/service?SERVICE=WMS&VERSION=1.1.1&REQUEST=GetCapabilities")
    assert "LAYERS=quarters" in listing and "LAYERS=national" in listing


def test_the_tms_driver_draws_the_world(server, folder, translate):
    description = folder / "tms.xml"
    description.write_text(
        f"""<GDAL_WMS>
  <Service name="TMS"><ServerUrl>{server.url}/tms/1.0.0/quarters/EPSG3857/${{z}}/${{x}}/${{y}}.png</ServerUrl></Service>
  <DataWindow>
    <UpperLeftX>-20037508.342789</UpperLeftX><UpperLeftY>20037508.342789</UpperLeftY>
    <LowerRightX>20037508.342789</LowerRightX><LowerRightY>-20037508.342789</LowerRightY>
    <TileLevel>5</TileLevel><TileCountX>2</TileCountX><TileCountY>2</TileCountY><YOrigin>bottom</YOrigin>
  </DataWindow>
  <Projection>EPSG:3857</Projection><BlockSizeX>256</BlockSizeX><BlockSizeY>256</BlockSizeY><BandsCount>3</BandsCount>
</GDAL_WMS>"""
    )
    assert_quarters(translate(description, folder / "world.png", "-outsize", "512", "512"))


def test_the_tms_root_is_read_by_gdal_as_a_list_of_layers(server, gdal):
    listing = gdal("gdalinfo", f"{server.url}/tms/1.0.0/quarters/EPSG3857")
    assert "20037508" in listing


def test_the_ogc_api_driver_reads_maps(server, folder, translate):
    # Its tiles fail in GDAL 3.6, with those of the original as well.
    source = f"OGCAPI:{server.url}/ogcapi/collections/quarters"
    options = ("-oo", "API=MAP", "-oo", "IMAGE_FORMAT=PNG")
    assert_quarters(translate(source, folder / "world.png", *options, "-outsize", "512", "256"))
    landmark = translate(source, folder / "landmark.png", *options, "-projwin", "6", "54", "14", "46", "-outsize", "400", "400")
    assert_colour(landmark, (0.5, 0.5), BLACK)
    assert_colour(landmark, (0.2, 0.5), RED)

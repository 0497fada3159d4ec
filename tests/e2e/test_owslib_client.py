"""OWSLib as client: capabilities of every version, maps and tiles."""

import pytest
from owslib.wms import WebMapService
from owslib.wmts import WebMapTileService

from harness.mapserver import GREEN, RED
from harness.pictures import assert_colour, decode

CONFIG = """\
services:
  wms:
    srs: ['EPSG:4326', 'EPSG:3857', 'EPSG:25832']
    md:
      title: Quarters of the world
      abstract: Two layers in a group
      contact: {{person: A. Person, organization: An Office, email: a@example.org}}
      fees: none
  wmts:
    md: {{title: Quarters as tiles}}
  ogcapi:
layers:
  - name: group
    title: A group
    layers:
      - {{name: quarters, title: Quarters, sources: [mercator]}}
      - {{name: direct, title: Without a cache, sources: [quarters]}}
caches:
  mercator: {{grids: [GLOBAL_WEBMERCATOR], sources: [quarters]}}
sources:
  quarters: {{type: wms, req: {{url: '{url}/wms', layers: quarters}}}}
globals:
  cache: {{base_dir: cache}}
"""


@pytest.fixture
def server(serve, mapserver):
    return serve(CONFIG.format(url=mapserver.url))


@pytest.mark.parametrize("version", ["1.1.1", "1.3.0"])
def test_wms_capabilities_and_maps(server, version):
    service = WebMapService(f"{server.url}/service", version=version)
    assert service.identification.title == "Quarters of the world"
    assert service.provider.contact.organization == "An Office"
    assert set(service.contents) == {"group", "quarters", "direct"}
    assert service["quarters"].parent.title == "A group"
    west, south, east, north = service["quarters"].boundingBoxWGS84
    assert (west, east) == (-180, 180) and -86 < south < -85 and 85 < north < 86
    assert {"EPSG:4326", "EPSG:3857", "EPSG:25832"} <= set(service["quarters"].crsOptions)
    assert {"image/png", "image/jpeg"} <= set(service.getOperationByName("GetMap").formatOptions)
    for name in ("quarters", "direct", "group"):
        answer = service.getmap(
            layers=[name], srs="EPSG:4326", bbox=(-60, 10, 60, 80), size=(240, 140), format="image/png"
        )
        image = decode(answer.read())
        assert image.size == (240, 140)
        assert_colour(image, (0.2, 0.5), GREEN)
        assert_colour(image, (0.9, 0.9), RED)


@pytest.mark.parametrize("version", ["1.0.0", "1.1.0"])
def test_the_old_wms_versions_answer_with_their_own_documents(server, version):
    from lxml import etree

    parameter = "WMTVER" if version == "1.0.0" else "VERSION"
    request = "capabilities" if version == "1.0.0" else "GetCapabilities"
    answer = server.get(f"/service?SERVICE=WMS&{parameter}={version}&REQUEST={request}")
    root = etree.fromstring(answer.body)
    assert root.tag == "WMT_MS_Capabilities" and root.get("version") == version
    assert [name.text for name in root.iterfind(".//Layer/Name")] == ["group", "quarters", "direct"]


@pytest.mark.parametrize("encoding", ["KVP", "REST"])
def test_wmts_capabilities_and_tiles(server, encoding):
    path = "/service" if encoding == "KVP" else "/wmts/1.0.0/WMTSCapabilities.xml"
    service = WebMapTileService(server.url + path)
    assert service.identification.title == "Quarters as tiles"
    assert list(service.contents) == ["quarters"]
    layer = service["quarters"]
    assert list(layer.tilematrixsetlinks) == ["GLOBAL_WEBMERCATOR"]
    assert layer.formats == ["image/png"]
    matrices = service.tilematrixsets["GLOBAL_WEBMERCATOR"].tilematrix
    first = matrices[sorted(matrices)[0]]
    assert (first.matrixwidth, first.matrixheight) == (1, 1)
    assert abs(first.scaledenominator - 559082264.029) < 1
    tile = service.gettile(
        layer="quarters", tilematrixset="GLOBAL_WEBMERCATOR", tilematrix=sorted(matrices)[1], row=0, column=1,
        format="image/png",
    )
    image = decode(tile.read())
    assert image.size == (256, 256)
    assert_colour(image, (0.5, 0.5), RED)


def test_a_wrong_layer_is_a_service_exception_that_names_it(server):
    from owslib.util import ServiceException

    service = WebMapService(f"{server.url}/service", version="1.1.1")
    with pytest.raises(ServiceException) as error:
        service.getmap(layers=["nothing"], srs="EPSG:4326", bbox=(0, 0, 1, 1), size=(10, 10), format="image/png")
    assert "LayerNotDefined" in str(error.value) and "unknown layer: nothing" in str(error.value)


def test_ogc_api_collections_and_maps(server):
    from owslib.ogcapi.maps import Maps

    service = Maps(f"{server.url}/ogcapi")
    assert {"group", "quarters", "direct"} <= set(service.maps())
    assert any(link["rel"] == "service-desc" for link in service.links)
    assert "paths" in service.api()
    assert any("ogcapi-maps-1" in name for name in service.conformance()["conformsTo"])
    assert service.collection("quarters")["title"] == "Quarters"
    answer = service.map("quarters", bbox=[-60, 10, 60, 80], width=240, height=140, transparent=False)
    image = decode(answer.getvalue())
    assert image.size == (240, 140)
    assert_colour(image, (0.2, 0.5), GREEN)
    assert_colour(image, (0.9, 0.9), RED)

"""Capabilities and exceptions, rich and poor, by the OGC's own schemas and DTDs."""

import pytest

from harness.schemas import assert_valid, assert_valid_by_doctype

PLAIN = """\
services: {wms: {}, wmts: {}, tms: {}}
layers:
  - {name: quarters, title: Quarters, sources: [mercator]}
caches:
  mercator: {grids: [GLOBAL_WEBMERCATOR], sources: [drawn]}
sources:
  drawn: {type: debug}
globals:
  cache: {base_dir: cache}
"""

RICH = """\
services:
  wms:
    srs: ['EPSG:4326', 'EPSG:3857', 'EPSG:25832', 'EPSG:31467', 'CRS:84']
    image_formats: ['image/png', 'image/jpeg', 'image/gif', 'image/tiff', 'image/webp']
    bbox_srs: ['EPSG:4326', 'EPSG:3857', {srs: 'EPSG:25832', bbox: [280000, 5235000, 920000, 6102000]}]
    max_output_pixels: [4000, 4000]
    attribution: {text: '&#169; Nobody'}
    md:
      title: Title &amp; more
      abstract: An abstract
      online_resource: http://example.org/maps
      contact:
        {person: A. Person, position: Head, organization: An Office, address: Street 1, city: Town, postcode: '12345',
         state: A State, country: Somewhere, phone: '+1 2', fax: '+1 3', email: a@example.org}
      access_constraints: none at all
      fees: none at all
      keyword_list:
        - {vocabulary: GEMET, keywords: [Orthoimagery, Elevation]}
        - {keywords: [plain]}
  wmts:
    kvp: true
    restful: true
    md:
      title: Tiles
      abstract: An abstract
      contact: {person: A. Person, organization: An Office, email: a@example.org}
      keyword_list: [{keywords: [plain]}]
  tms: {}
layers:
  - name: group
    title: A group
    layers:
      - name: quarters
        title: Quarters
        sources: [mercator]
        min_res: 100000
        max_res: 1
        md:
          abstract: What it shows
          keyword_list: [{vocabulary: GEMET, keywords: [Orthoimagery]}, {keywords: [plain]}]
          attribution: {title: Somebody, url: 'http://example.org/', logo: {url: 'http://example.org/l.png', width: 10, height: 20, format: image/png}}
          identifier: [{url: 'http://example.org/ids', name: Register, value: ID-1}]
          metadata: [{url: 'http://example.org/md.xml', type: 'ISO19115:2003', format: text/xml}]
          data: [{url: 'http://example.org/data', format: application/zip}]
          feature_list: [{url: 'http://example.org/features', format: text/xml}]
      - title: Without a name
        layers:
          - {name: national, title: UTM 32, sources: [national]}
      - {name: direct, title: Not cached, sources: [drawn]}
caches:
  mercator: {grids: [GLOBAL_WEBMERCATOR, national], sources: [drawn], format: image/jpeg}
  national: {grids: [national], sources: [drawn]}
sources:
  drawn: {type: debug}
grids:
  national: {srs: 'EPSG:31467', bbox: [3200000, 5200000, 3990000, 6110000], origin: nw}
globals:
  cache: {base_dir: cache}
"""

DIMENSIONS = """\
services:
  wms:
    inspire_md: {inspire}
  wmts:
    kvp: true
    restful: true
    restful_template: '/{{Layer}}/{{TileMatrixSet}}/{{Time}}/{{TileMatrix}}/{{TileCol}}/{{TileRow}}.{{Format}}'
layers:
  - name: group
    title: A group
    dimensions:
      time: {{values: ['2024-01-01T00:00:00Z/2024-01-05T00:00:00Z/P1D', '2025-01-01T00:00:00Z']}}
    layers:
      - name: high
        title: With heights
        sources: [mercator]
        dimensions:
          time: {{values: ['2024-01-01T00:00:00Z/2024-12-31T00:00:00Z/PT1H'], default: '2024-06-01T00:00:00Z'}}
          elevation: {{values: [0, 100], units: 'CRS:88', unit_symbol: m, nearest_value: true}}
          dim_run: {{values: [a, b]}}
      - {{name: flat, title: Without, sources: [mercator]}}
caches:
  mercator: {{grids: [GLOBAL_WEBMERCATOR], sources: [drawn]}}
sources:
  drawn: {{type: debug}}
globals:
  cache: {{base_dir: cache}}
"""

LINKED = """
      type: linked
      metadata_url: {url: 'http://example.org/metadata', media_type: application/vnd.iso.19139+xml}
      languages: {default: ger}"""

EMBEDDED = """
      type: embedded
      resource_locators: [{url: 'http://example.org/metadata', media_type: application/vnd.iso.19139+xml}]
      temporal_reference: {date_of_creation: '2015-05-01', date_of_publication: 2015-06-01}
      conformities:
        - title: test
          date_of_publication: 2010-12-08
          resource_locators: [{url: 'http://example.org/rules', media_type: application/pdf}]
          degree: notEvaluated
      metadata_points_of_contact: [{organisation_name: Example Inc., email: bar@example.org}]
      mandatory_keywords: [infoMapAccessService]
      keywords: [{title: GEMET - INSPIRE themes, date_of_publication: 2008-06-01, keyword_value: Orthoimagery}]
      metadata_date: 2015-07-23
      metadata_url: {url: 'http://example.org/metadata', media_type: application/vnd.iso.19139+xml}
      languages: {default: eng}"""

WMS_DOCUMENTS = {
    "1.0.0": ("WMTVER=1.0.0&REQUEST=capabilities", "wms/1.0.0/capabilities_1_0_0.dtd", None),
    "1.1.0": ("VERSION=1.1.0&REQUEST=GetCapabilities", "wms/1.1.0/capabilities_1_1_0.dtd", "wms/1.1.0/exception_1_1_0.dtd"),
    "1.1.1": ("VERSION=1.1.1&REQUEST=GetCapabilities", "wms/1.1.1/WMS_MS_Capabilities.dtd", "wms/1.1.1/WMS_exception_1_1_1.dtd"),
    "1.3.0": ("VERSION=1.3.0&REQUEST=GetCapabilities", "wms/1.3.0/capabilities_1_3_0.xsd", "wms/1.3.0/exceptions_1_3_0.xsd"),
}


@pytest.fixture(params=[PLAIN, RICH], ids=["plain", "rich"])
def server(request, serve):
    return serve(request.param)


def test_wms_capabilities(server):
    for version, (query, rules, _) in WMS_DOCUMENTS.items():
        answer = server.get(f"/service?SERVICE=WMS&{query}")
        assert answer.status == 200, (version, answer)
        assert_valid(answer.body, rules)


def test_wms_exceptions(server):
    for version, (_, _, rules) in WMS_DOCUMENTS.items():
        if rules is None:  # 1.0.0 has no DTD for its exceptions
            continue
        for layers, srs in [("nothing <&\"'> here", "EPSG:4326"), ("quarters", "EPSG:9999")]:
            answer = server.get_map(layers, srs, (0, 0, 1, 1), (10, 10), version=version)
            root = assert_valid(answer.body, rules)
            assert root.get("version") == version


def test_wmts_capabilities(server):
    for path in ("/service?SERVICE=WMTS&REQUEST=GetCapabilities&VERSION=1.0.0", "/wmts/1.0.0/WMTSCapabilities.xml"):
        answer = server.get(path)
        assert answer.status == 200, answer
        assert_valid(answer.body, "wmts/1.0/wmtsGetCapabilities_response.xsd")


def test_ows_exceptions(server):
    tile = "/service?SERVICE=WMTS&REQUEST=GetTile&VERSION=1.0.0&STYLE=&FORMAT=image/png&TILEMATRIXSET=GLOBAL_WEBMERCATOR"
    for path in (
        f"{tile}&LAYER=nothing&TILEMATRIX=0&TILEROW=0&TILECOL=0",
        f"{tile}&LAYER=quarters&TILEMATRIX=0&TILEROW=7&TILECOL=0",
        "/service?SERVICE=WMTS&REQUEST=GetTile",
        "/service?SERVICE=nonsense&REQUEST=GetCapabilities",
        "/service?REQUEST=GetCapabilities",
        "/wmts/nothing/GLOBAL_WEBMERCATOR/0/0/0.png",
    ):
        answer = server.get(path)
        assert answer.status in (400, 404, 500), answer
        assert_valid(answer.body, "ows/1.1.0/owsExceptionReport.xsd")


def test_tms_documents_are_well_formed(server):
    from lxml import etree

    for path in ("/tms/", "/tms/1.0.0", "/tms/1.0.0/quarters/EPSG3857"):
        answer = server.get(path)
        assert answer.status == 200, answer
        etree.fromstring(answer.body)


@pytest.mark.parametrize("inspire, language", [(LINKED, "de"), (EMBEDDED, "en")], ids=["linked", "embedded"])
def test_dimensions_and_inspire(serve, inspire, language):
    server = serve(DIMENSIONS.format(inspire=inspire))
    for version, (query, _, _) in WMS_DOCUMENTS.items():
        answer = server.get(f"/service?SERVICE=WMS&{query}")
        assert answer.status == 200, (version, answer)
        assert b'name="elevation"' in answer.body, version
        if version == "1.3.0":
            assert_valid(answer.body, "inspire/inspire_vs/1.0/inspire_vs.xsd")
            assert b"<inspire_vs:ExtendedCapabilities>" in answer.body
            assert answer.headers["Content-Language"] == language
        else:
            assert "Content-Language" not in answer.headers
        if version == "1.1.1":  # the DTDs of older versions have no place for the values
            assert_valid_by_doctype(answer.body)
    for path in ("/service?SERVICE=WMTS&REQUEST=GetCapabilities&VERSION=1.0.0", "/wmts/1.0.0/WMTSCapabilities.xml"):
        answer = server.get(path)
        assert answer.status == 200, answer
        assert_valid(answer.body, "wmts/1.0/wmtsGetCapabilities_response.xsd")

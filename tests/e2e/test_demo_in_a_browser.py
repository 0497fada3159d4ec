"""The demo pages in Chromium: every viewer draws, moves, zooms and explains, for eyes, keyboards, fingers and readers."""

import json
import re
import urllib.parse

import pytest
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select

from harness.browser import Browser, changed, share_of
from harness.mapserver import BLACK, BLUE, GREEN, RED, YELLOW
from harness.nginx import Nginx
from harness.pages import library
from harness.pictures import assert_colour
from harness.ports import free_port
from harness.server import Server
from harness.upstream import encoded, picture, send

CONFIG = """\
services:
  demo:
  wms: {{srs: ['EPSG:4326', 'EPSG:3857', 'EPSG:25832'], md: {{title: Maps for tests}}}}
  wmts: {{}}
  tms: {{}}
  kml: {{}}
  ogcapi: {{}}
layers:
  - name: group
    title: Everything
    layers:
    - {{name: quarters, title: Quarters of the world, sources: [mercator]}}
    - {{name: national, title: UTM 32, sources: [national]}}
    - {{name: gone, title: A server that is gone, sources: [gone]}}
caches:
  mercator: {{grids: [GLOBAL_WEBMERCATOR], sources: [quarters]}}
  national: {{grids: [utm32], sources: [quarters]}}
sources:
  quarters: {{type: wms, req: {{url: '{url}/wms', layers: quarters}}}}
  gone: {{type: wms, req: {{url: 'http://127.0.0.1:{gone}/wms', layers: gone}}}}
grids:
  utm32: {{srs: 'EPSG:25832', bbox: [-46133, 5048875, 1206211, 6301219], origin: nw}}
globals:
  cache: {{base_dir: cache}}
  http: {{hide_error_details: false}}
"""

pytestmark = pytest.mark.differs("its pages load a library and a background from elsewhere and look otherwise")

QUARTERS = (RED, GREEN, BLUE, YELLOW)
VIEWERS = {"wms_layer": "WMS", "wmts_layer": "WMTS", "tms_layer": "TMS"}


@pytest.fixture(scope="module")
def server(command, mapserver, tmp_path_factory):
    with Server.nursery(command, tmp_path_factory.mktemp("demo")) as start:
        yield start(CONFIG.format(url=mapserver.url, gone=free_port()))


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    with Browser(tmp_path_factory.mktemp("browser")) as browser:
        yield browser


@pytest.fixture
def browser(chromium, folder):
    """One browser for all tests, which forgets what was before; its pictures go to the test's folder."""
    chromium.driver.get("about:blank")
    chromium.settle(quiet=0.05)
    chromium.forget(folder)
    yield chromium
    chromium.emulate()


@pytest.fixture(scope="module")
def accessibility():
    """accessibility(browser) -> what axe-core finds wrong with the page."""
    source = library("axe-core/axe.min.js")

    def check(browser):
        browser.driver.execute_script(source)
        found = browser.driver.execute_async_script("axe.run().then(arguments[0])")
        return [
            f"{violation['id']}: {node['target']} {node['failureSummary']}"
            for violation in found["violations"]
            for node in violation["nodes"]
        ]

    return check


def assert_quiet(browser, *servers):
    """No complaint on the console, which is where violations of the policy are told; no request to another host."""
    foreign = [url for url in browser.requests if not any(url.startswith(server + "/") for server in servers)]
    assert not foreign, f"requests to other hosts: {foreign[:5]}"
    assert not browser.failures, browser.failures[:5]
    assert not browser.complaints, browser.complaints[:5]


def text_of(browser, selector="body"):
    return browser.driver.find_element("css selector", selector).text


def map_of(browser):
    """The picture of the map alone."""
    return browser.picture_of("#map")


def test_the_first_page_lists_all_layers_of_all_services(server, browser):
    browser.open(f"{server.url}/demo/")
    browser.screenshot("layers")
    links = [urllib.parse.urlsplit(url) for url in browser.links()]
    queries = [dict(urllib.parse.parse_qsl(link.query)) for link in links]
    assert {query["wms_layer"] for query in queries if "wms_layer" in query} == {"group", "quarters", "national", "gone"}
    for viewer in ("wmts_layer", "tms_layer"):
        assert {query[viewer] for query in queries if viewer in query} == {"quarters", "national"}
    assert {link.path for link in links} >= {"/kml/quarters/EPSG3857", "/tms/1.0.0/", "/wmts/1.0.0/WMTSCapabilities.xml"}
    for url in browser.links():
        assert server.get(url.removeprefix(server.url).split("#")[0]).status == 200, url
    search = browser.driver.find_element("id", "filter")
    search.send_keys("utm 32")
    shown = [row.text for row in browser.driver.find_elements("css selector", "#wms tbody tr") if row.is_displayed()]
    assert [row.split("\n")[0] for row in shown] == ["Everything group", "UTM 32 national"], shown
    assert_quiet(browser, server.url)


def test_the_root_leads_to_the_demo(server, browser):
    browser.open(f"{server.url}/")
    assert any(url.rstrip("/").endswith("/demo") for url in browser.links())


def test_documents_are_shown_as_the_services_send_them(server, browser):
    browser.open(f"{server.url}/demo/")
    pages = sorted({url for url in browser.links() if re.search(r"/demo/\?(\w+_capabilities|kml|ogcapi|tilejson)", url)})
    assert len(pages) >= 8, pages
    for page in pages:
        browser.open(page)
        shown = browser.driver.find_element("css selector", "pre").get_attribute("textContent")
        source = browser.driver.find_element("id", "url").get_attribute("href")
        answer = server.get(source.removeprefix(server.url))
        if "json" in answer.content_type:
            assert json.loads(shown) == json.loads(answer.text), page
        else:
            assert shown == answer.text, page
    browser.open(f"{server.url}/demo/?wms_capabilities")
    browser.screenshot("capabilities")
    browser.driver.find_element("link text", "1.1.1").click()
    assert 'version="1.1.1"' in text_of(browser, "pre")
    assert_quiet(browser, server.url)


@pytest.mark.parametrize("viewer", VIEWERS)
def test_a_viewer_draws_moves_and_zooms(server, browser, viewer):
    for layer in ("quarters", "national"):
        browser.open(f"{server.url}/demo/?{viewer}={layer}&srs={'EPSG:3857' if layer == 'quarters' else 'EPSG:25832'}")
        first = map_of(browser)
        for colour in QUARTERS if layer == "quarters" else (RED,):
            assert share_of(first, colour) > 0.05, f"a quarter is missing, see {browser.folder}"
        asked = len(browser.requests)
        browser.drag_on("#map", 150, 90)
        dragged = map_of(browser)
        browser.wheel("#map", -240)
        zoomed = map_of(browser)
        assert len(browser.requests) > asked, "nothing was asked for"
        assert changed(first, dragged) > 0.02, f"dragging moved nothing, see {browser.folder}"
        assert changed(dragged, zoomed) > 0.005, f"zooming changed nothing, see {browser.folder}"
        assert sum(share_of(zoomed, colour) for colour in (*QUARTERS, BLACK)) > 0.4, f"the map is gone, see {browser.folder}"
        assert text_of(browser, "#status") == "complete"
        # The address on the page is that of a picture.
        address = browser.driver.find_element("id", "url").get_attribute("href")
        assert server.get(address.removeprefix(server.url)).content_type == "image/png", address
    assert_quiet(browser, server.url)


def test_dragging_keeps_the_ground_under_the_pointer(server, browser):
    browser.open(f"{server.url}/demo/?wms_layer=quarters&srs=EPSG:3857")
    width, height = map_of(browser).size
    browser.drag_on("#map", 100, 60)
    dragged = map_of(browser)
    # Where the quarters meet has gone with the pointer.
    for right, down, colour in [(110, 50, RED), (90, 50, GREEN), (110, 70, BLUE), (90, 70, YELLOW)]:
        assert_colour(dragged, ((width / 2 + right) / width, (height / 2 + down) / height), colour)


def test_a_keyboard_is_enough(server, browser):
    browser.open(f"{server.url}/demo/?wmts_layer=quarters")
    for _ in range(12):
        browser.driver.switch_to.active_element.send_keys(Keys.TAB)
        if browser.driver.switch_to.active_element.get_attribute("id") == "map":
            break
    keyboard = browser.driver.switch_to.active_element
    assert keyboard.get_attribute("id") == "map"
    positions = []
    for key in (Keys.HOME, "+", "+", Keys.ARROW_LEFT, Keys.ARROW_UP, "-"):
        keyboard.send_keys(key)
        browser.settle(quiet=0.3)
        positions.append(text_of(browser, "#position"))
    assert len(set(positions)) == len(positions), positions
    assert "level" in positions[0]


def test_the_view_stays_when_service_and_reference_system_change(server, browser):
    browser.open(f"{server.url}/demo/?wms_layer=quarters&srs=EPSG:4326&at=5,45,15,55&at_srs=EPSG:4326")
    assert_colour(map_of(browser), (0.5, 0.5), BLACK)
    browser.driver.find_element("id", "zoom-in").click()
    browser.settle()
    for code in ("EPSG:25832", "EPSG:3857"):
        Select(browser.driver.find_element("name", "srs")).select_by_value(code)
        browser.settle()
        landmark = map_of(browser)
        assert_colour(landmark, (0.5, 0.5), BLACK)
        assert 0.001 < share_of(landmark, BLACK) < 0.5, f"another scale, see {browser.folder}"
        assert f"({code})" in text_of(browser, "body") or code in text_of(browser, "dl.facts")
        browser.driver.find_element("id", "zoom-in").click()
        browser.driver.find_element("id", "zoom-out").click()
        browser.settle()
    browser.driver.find_element("link text", "WMTS").click()
    browser.settle()
    assert "wmts_layer=quarters" in browser.driver.current_url
    assert_colour(map_of(browser), (0.5, 0.5), BLACK)
    # And when somebody else opens the address.
    address = browser.driver.current_url
    assert "at=" in address
    browser.open(address)
    assert_colour(map_of(browser), (0.5, 0.5), BLACK)
    assert_quiet(browser, server.url)


@pytest.mark.parametrize("version", ["1.0.0", "1.1.0", "1.1.1", "1.3.0"])
def test_every_version_of_the_wms_is_asked_in_its_own_way(server, browser, version):
    browser.open(f"{server.url}/demo/?wms_layer=quarters&srs=EPSG:4326")
    Select(browser.driver.find_element("name", "version")).select_by_value(version)
    browser.settle()
    picture = map_of(browser)
    for place, colour in [((0.6, 0.4), RED), ((0.4, 0.4), GREEN), ((0.6, 0.6), BLUE), ((0.4, 0.6), YELLOW)]:
        assert_colour(picture, place, colour)
    assert version in browser.driver.find_element("id", "url").get_attribute("href")
    assert_quiet(browser, server.url)


def test_a_picture_that_fails_says_why(server, browser):
    browser.open(f"{server.url}/demo/?wms_layer=gone")
    browser.settle()
    browser.screenshot("message")
    message = text_of(browser, "#message")
    assert "gone" in message or "127.0.0.1" in message, message
    assert "1 failed" in text_of(browser, "#status")
    # And is not asked for again and again: once for the picture, once for the reason.
    maps = [url for url in browser.requests if "GetMap" in url]
    assert len(maps) == 2, maps


def test_addresses_and_lines_for_other_programs_can_be_copied(server, browser):
    browser.open(f"{server.url}/demo/?wmts_layer=quarters")
    browser.driver.execute_cdp_cmd(
        "Browser.grantPermissions",
        {"origin": server.url, "permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"]},
    )
    copied = []

    def copy(button):
        browser.click(button)
        browser.wait_for(lambda: button.text == "Copied")
        copied.append(browser.driver.execute_async_script("navigator.clipboard.readText().then(arguments[0])"))

    copy(browser.driver.find_element("css selector", ".address button"))
    for details in browser.driver.find_elements("css selector", ".snippets details"):
        if not details.get_attribute("open"):
            browser.click(details.find_element("css selector", "summary"))
        copy(details.find_element("css selector", "button"))
    assert copied[0].startswith(f"{server.url}/wmts/quarters/") and copied[0].endswith(".png")
    for word in ("iface.addRasterLayer", "optionsFromCapabilities", "L.tileLayer", "map.addSource", "gdal_translate"):
        assert any(word in text for text in copied), (word, copied)


def test_pages_fit_a_telephone_and_are_moved_by_fingers(server, browser):
    browser.emulate(360, 740, touch=True)
    for name, page in [("index", ""), ("viewer", "?wmts_layer=quarters"), ("document", "?wms_capabilities")]:
        browser.open(f"{server.url}/demo/{page}")
        browser.screenshot(f"telephone-{name}")
        width = browser.driver.execute_script("return document.documentElement.scrollWidth")
        assert width <= 360, f"{page} is {width} pixels wide"
    browser.open(f"{server.url}/demo/?wmts_layer=quarters")
    before = text_of(browser, "#position")
    browser.pinch("#map", 40, 140)
    after = text_of(browser, "#position")
    level = [int(re.search(r"level (\d+)", text)[1]) for text in (before, after)]
    assert level[1] > level[0], (before, after)
    # A screen with two pixels for each of the page gets what it can show.
    browser.open(f"{server.url}/demo/?wms_layer=quarters")
    css_width = browser.driver.execute_script("return document.getElementById('map').clientWidth")
    assert f"WIDTH={2 * css_width}" in browser.driver.find_element("id", "url").get_attribute("href")
    assert_quiet(browser, server.url)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pages_are_accessible(server, browser, accessibility, scheme):
    """What axe-core can tell, contrasts included."""
    browser.emulate(scheme=scheme)
    for name, page in [
        ("index", ""), ("wms", "?wms_layer=quarters"), ("wmts", "?wmts_layer=quarters"), ("document", "?wms_capabilities"),
    ]:
        browser.open(f"{server.url}/demo/{page}")
        browser.screenshot(f"{scheme}-{name}")
        ground = browser.driver.execute_script("return getComputedStyle(document.body).backgroundColor")
        brightness = sum(map(int, re.findall(r"\d+", ground)[:3]))
        assert (brightness < 200) == (scheme == "dark"), ground
        complaints = accessibility(browser)
        assert not complaints, f"{page}: {complaints}"


def test_pages_work_behind_nginx_under_a_path(server, browser, folder):
    with Nginx(folder / "nginx", f"""
        location /gis/maps/ {{
          proxy_pass {server.url}/;
          proxy_set_header Host $http_host;
          proxy_set_header X-Script-Name /gis/maps;
        }}
    """) as front:
        browser.open(f"{front.url}/gis/maps/demo")
        browser.driver.find_element("link text", "Quarters of the world").click()
        browser.settle()
        picture = map_of(browser)
        for colour in QUARTERS:
            assert share_of(picture, colour) > 0.05, f"a quarter is missing, see {browser.folder}"
        for link in ("WMTS", "TMS"):
            browser.driver.find_element("link text", link).click()
            browser.settle()
            assert share_of(map_of(browser), RED) > 0.05
        assert f"{front.url}/gis/maps/tiles/" in browser.driver.page_source
        browser.open(f"{front.url}/gis/maps/demo/?wms_capabilities")
        assert f"{front.url}/gis/maps/service" in text_of(browser, "pre")
        assert_quiet(browser, f"{front.url}/gis/maps")


HOSTILE_ANSWER = """<html><head><style>body { background: url(http://192.0.2.1/style.png) }</style></head>
<body onload="parent.hacked = 1"><h1 style="color: red">A place</h1><table><tr><td>height</td><td>42 m</td></tr></table>
<script>parent.hacked = 1</script><img src="http://192.0.2.1/image.png" alt="a picture"><form action="/x"></form></body></html>"""


def explaining(handler, upstream, width, height):
    """A server that draws, has legends, and answers clicks with a page that does what it should not."""
    query = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(handler.path).query.lower()))
    if query.get("request") == "getfeatureinfo":
        kind = query["info_format"]
        answers = {"text/html": HOSTILE_ANSWER, "application/json": '{"height": 42}'}
        send(handler, 200, kind, answers.get(kind, "height = 42").encode())
    elif query.get("request") == "getlegendgraphic":
        send(handler, 200, "image/png", encoded((10, 120, 60), 90, 60))
    else:
        picture(handler, upstream, width, height)


EXPLAINED = """\
services:
  demo:
  wms: {{srs: ['EPSG:4326'], featureinfo_types: [html, text, json]}}
layers:
  - name: places
    title: Places
    sources: [places]
    dimensions:
      time: {{values: ['2020-01-01', '2021-01-01'], default: '2021-01-01'}}
sources:
  places:
    type: wms
    wms_opts: {{featureinfo: true, legendgraphic: true}}
    forward_req_params: [time]
    req: {{url: '{url}/wms', layers: places, transparent: true}}
globals:
  cache: {{base_dir: cache}}
"""


def test_a_click_asks_what_is_there_and_shows_it_without_harm(serve, browser, upstream):
    upstream.behaviour = explaining
    server = serve(EXPLAINED.format(url=upstream.url))
    browser.open(f"{server.url}/demo/?wms_layer=places")
    assert not browser.driver.find_element("id", "info").is_displayed()
    size = browser.driver.execute_script("const map = document.getElementById('map'); return [map.clientWidth, map.clientHeight]")
    browser.click_on("#map", 40, -30)
    browser.screenshot("info")
    asked = query_of(browser.driver.find_element("id", "info-url").get_attribute("href"))
    assert asked["query_layers"] == "places" and asked["info_format"] == "text/html"
    assert abs(int(asked["i"]) - (size[0] // 2 + 40)) <= 1 and abs(int(asked["j"]) - (size[1] // 2 - 30)) <= 1, asked
    frame = browser.driver.find_element("css selector", "#info iframe")
    browser.driver.switch_to.frame(frame)
    assert "42 m" in text_of(browser) and "[a picture]" in text_of(browser)
    browser.driver.switch_to.default_content()
    assert browser.driver.execute_script("return window.hacked") is None
    for format, words in [("text/plain", "height = 42"), ("application/json", '"height": 42')]:
        Select(browser.driver.find_element("id", "info-format")).select_by_value(format)
        browser.settle()
        assert words in text_of(browser, "#info pre")
    legend = browser.driver.find_element("css selector", ".legend img")
    assert browser.driver.execute_script("return arguments[0].naturalWidth", legend) == 90
    assert_quiet(browser, server.url)


def test_a_dimension_is_chosen_from_its_values(serve, browser, upstream):
    upstream.behaviour = explaining
    server = serve(EXPLAINED.format(url=upstream.url))
    browser.open(f"{server.url}/demo/?wms_layer=places")
    assert "TIME=2021-01-01" in upstream.requests[-1].upper()
    Select(browser.driver.find_element("name", "time")).select_by_value("2020-01-01")
    browser.settle()
    assert "TIME=2020-01-01" in upstream.requests[-1].upper()
    assert "TIME=2020-01-01" in text_of(browser, "#url")
    assert_quiet(browser, server.url)


def query_of(url):
    return {key.lower(): value for key, value in urllib.parse.parse_qsl(urllib.parse.urlsplit(url).query)}

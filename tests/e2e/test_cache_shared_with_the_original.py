"""Our server and MapProxy 7.0.0 on the same cache directory: each reads the other's tiles and heeds its locks."""

import threading

import pytest

from harness.pictures import decode
from harness.upstream import wait_for_requests

CONFIG = """\
services: {{wmts: {{}}, tms: {{}}, wms: {{srs: ['EPSG:3857', 'EPSG:4326']}}}}
layers:
  - {{name: plain, title: Plain, sources: [plain]}}
caches:
  plain:
    grids: [GLOBAL_WEBMERCATOR]
    sources: [upstream]
    format: {format}
    request_format: {request_format}
    link_single_color_images: {link}
    meta_size: [2, 2]
    meta_buffer: 10
    cache: {{type: file, directory_layout: {layout}}}
sources:
  upstream: {{type: wms, req: {{url: '{url}/wms', layers: any, transparent: {transparent}}}}}
globals:
  cache: {{base_dir: cache}}
"""

LAYOUTS = ["tc", "mp", "tms", "reverse_tms", "quadkey", "arcgis"]
TILES = [(0, 0, 0), (1, 1, 0), (5, 17, 11), (12, 2148, 1433)]


def config(upstream, layout="tc", format="image/png", request_format="image/png", link="false", transparent="false"):
    return CONFIG.format(
        url=upstream.url, layout=layout, format=format, request_format=request_format, link=link,
        transparent=transparent,
    )


def path(tile, extension="png", cache="plain"):
    return "/wmts/%s/GLOBAL_WEBMERCATOR/%d/%d/%d.%s" % (cache, *tile, extension)


def files(folder):
    """Relative paths of all tiles in the cache."""
    cache = folder / "cache"
    return sorted(
        str(file.relative_to(cache))
        for file in cache.rglob("*")
        if file.is_file() and not file.name.endswith((".lck", "-wal", "-shm"))
    )


def assert_the_second_serves_what_the_first_stored(first, second, upstream, folder, extension="png"):
    stored = {tile: first.get(path(tile, extension)) for tile in TILES}
    assert all(answer.status == 200 for answer in stored.values()), stored
    written, asked = files(folder), len(upstream.requests)
    assert written and asked
    for tile, answer in stored.items():
        again = second.get(path(tile, extension))
        assert again.status == 200 and again.body == answer.body, f"another tile at {tile}: {again}"
        assert again.content_type == answer.content_type
    assert len(upstream.requests) == asked, "the second server asked the upstream for tiles that were there"
    assert files(folder) == written, "the second server stored tiles again, elsewhere"


# Each is a cache of its own.
STORES = {
    **{layout: f"{{type: file, directory_layout: {layout}}}" for layout in LAYOUTS},
    "by_grid_name": "{type: file, use_grid_names: true}",
    "mbtiles": "{type: mbtiles}",
    "mbtiles_wal": "{type: mbtiles, filename: other.mbtiles, sqlite_wal: true}",
    "sqlite": "{type: sqlite}",
    "sqlite_wal": "{type: sqlite, directory: levels, sqlite_wal: true, ttl: 3600}",
    "geopackage": "{type: geopackage}",
    "geopackage_levels": "{type: geopackage, levels: true, table_name: some-tiles}",
    "compact_1": "{type: compact, version: 1}",
    "compact_2": "{type: compact, version: 2}",
}


def config_of_stores(upstream):
    layers = "".join(f"  - {{name: {name}, title: {name}, sources: [{name}]}}\n" for name in STORES)
    caches = "".join(
        f"  {name}:\n    grids: [GLOBAL_WEBMERCATOR]\n    sources: [upstream]\n    meta_size: [2, 2]\n"
        f"    meta_buffer: 10\n    cache: {options}\n"
        for name, options in STORES.items()
    )
    return (
        f"services: {{wmts: {{}}}}\nlayers:\n{layers}caches:\n{caches}sources:\n"
        f"  upstream: {{type: wms, req: {{url: '{upstream.url}/wms', layers: any}}}}\nglobals:\n  cache: {{base_dir: cache}}\n"
    )


@pytest.mark.parametrize("first_is_ours", [True, False], ids=["ours-first", "original-first"])
def test_the_tiles_of_every_store_are_read_by_the_other(serve, serve_original, upstream, folder, first_is_ours):
    text = config_of_stores(upstream)
    starters = [serve, serve_original] if first_is_ours else [serve_original, serve]
    first, second = starters[0](text), starters[1]()
    stored = {(store, tile): first.get(path(tile, cache=store)) for store in STORES for tile in TILES}
    assert {answer.status for answer in stored.values()} == {200}, stored
    written, asked = files(folder), len(upstream.requests)
    again = {place: second.get(path(place[1], cache=place[0])) for place in stored}
    wrong = [place for place, answer in again.items() if (answer.status, answer.body) != (200, stored[place].body)]
    assert not wrong, f"other tiles than those stored: {wrong}"
    assert len(upstream.requests) == asked, "the second server asked the upstream for tiles that were there"
    assert files(folder) == written, "the second server stored tiles again, elsewhere"


@pytest.mark.parametrize("first_is_ours", [True, False], ids=["ours-first", "original-first"])
@pytest.mark.parametrize(
    "options",
    [
        {"format": "image/jpeg", "request_format": "image/jpeg"},
        {"format": "mixed", "transparent": "true"},
        {"link": "symlink"},
        {"link": "hardlink"},
    ],
    ids=["jpeg", "mixed", "symlinked-colours", "hardlinked-colours"],
)
def test_formats_and_links_are_shared_both_ways(serve, serve_original, upstream, folder, options, first_is_ours):
    text = config(upstream, **options)
    starters = [serve, serve_original] if first_is_ours else [serve_original, serve]
    first, second = starters[0](text), starters[1]()
    extension = "jpeg" if options.get("format") == "image/jpeg" else "png"
    assert_the_second_serves_what_the_first_stored(first, second, upstream, folder, extension)
    if "link" in options:
        assert any("single_color_tiles" in name for name in files(folder)), files(folder)


def test_both_draw_the_same_map_from_the_same_tiles(serve, serve_original, upstream):
    theirs = serve_original(config(upstream))
    ours = serve()
    question = ("plain", "EPSG:3857", (1e6, 6e6, 2e6, 7e6), (300, 300))
    first = decode(theirs.get_map(*question).body)
    asked = len(upstream.requests)
    second = decode(ours.get_map(*question).body)
    assert len(upstream.requests) == asked
    assert first.size == second.size == (300, 300)


@pytest.mark.parametrize("attempt", range(3))
def test_one_waits_for_the_lock_of_the_other(serve, serve_original, upstream, attempt):
    upstream.delay = 2.0
    servers = [serve(config(upstream)), serve_original()]
    if attempt % 2:
        servers.reverse()
    tile, answers = (9, 268 + 4 * attempt, 179), []
    threads = []
    for number, server in enumerate(servers):
        thread = threading.Thread(target=lambda server=server: answers.append(server.get(path(tile))))
        thread.start()
        threads.append(thread)
        if number == 0:
            wait_for_requests(upstream, 1)
    for thread in threads:
        thread.join()
    assert len(upstream.requests) == 1, upstream.requests
    assert [answer.status for answer in answers] == [200, 200] and answers[0].body == answers[1].body


DATED = """\
services: {{wmts: {{kvp: true}}, wms: {{srs: ['EPSG:3857']}}}}
layers:
  - name: dated
    title: Dated
    sources: [dated]
    dimensions:
      Time: {{values: ['2024-01-01T00:00:00Z/2024-01-03T00:00:00Z/P1D']}}
      elevation: {{values: [0, 1000]}}
caches:
  dated:
    grids: [GLOBAL_WEBMERCATOR]
    sources: [upstream]
    meta_size: [2, 2]
    meta_buffer: 10
    cache: {{type: file, directory_layout: {layout}}}
sources:
  upstream:
    type: wms
    req: {{url: '{url}/wms', layers: any}}
    forward_req_params: [TIME, elevation]
globals:
  cache: {{base_dir: cache}}
"""

# In WMTS; WMS with small and with capital letters; a map with a time only, and one with nothing.
TILE = "SERVICE=WMTS&VERSION=1.0.0&REQUEST=GetTile&LAYER=dated&STYLE=&TILEMATRIXSET=GLOBAL_WEBMERCATOR&FORMAT=png"
MAP = (
    "SERVICE=WMS&VERSION=1.1.1&REQUEST=GetMap&LAYERS=dated&STYLES=&SRS=EPSG:3857&FORMAT=image/png&WIDTH=256&HEIGHT=256"
    "&BBOX=0,0,20037508.342789244,20037508.342789244"
)
DATED_REQUESTS = [
    f"{TILE}&TILEMATRIX=2&TILECOL=1&TILEROW=1&time=2024-01-01T00:00:00Z&elevation=1000",
    f"{TILE}&TILEMATRIX=2&TILECOL=1&TILEROW=1",
    f"{MAP}&time=2024-01-02T00:00:00Z&elevation=0",
    f"{MAP}&time=2024-01-02T00:00:00Z",
    f"{MAP}",
]


@pytest.mark.parametrize("layout", ["tc", "mp", "tms", "reverse_tms"])
@pytest.mark.parametrize("first_is_ours", [True, False], ids=["ours-first", "original-first"])
def test_tiles_with_dimensions_are_read_by_both(serve, serve_original, upstream, folder, layout, first_is_ours):
    text = DATED.format(url=upstream.url, layout=layout)
    starters = [serve, serve_original] if first_is_ours else [serve_original, serve]
    first, second = starters[0](text), starters[1]()
    requests = DATED_REQUESTS + ([] if first_is_ours else [f"{MAP}&TIME=2024-01-03T00:00:00Z&ELEVATION=0"])
    answers = [first.get(f"/service?{query}") for query in requests]
    assert all(answer.status == 200 for answer in answers), answers
    written, asked = files(folder), len(upstream.requests)
    assert any("time-2024-01-01T00:00:00Z" in name and "elevation-1000" in name for name in written), written
    for query, answer in zip(requests, answers):
        again = second.get(f"/service?{query}")
        assert again.status == 200, again
        pixels = [decode(body).getpixel((100, 100)) for body in (answer.body, again.body)]
        assert max(abs(a - b) for a, b in zip(*pixels)) < 8, (query, pixels)
    assert len(upstream.requests) == asked, "the second server asked for tiles that were there"
    assert files(folder) == written

#!/usr/bin/env python3
"""Asks an installed MapProxy 7.0.0 for grids, tiles, meta tiles and transformed boxes.

Writes the answers beside this script, one JSON file a subject:

    python generate.py

The numbers are chosen by a seeded generator, so a second run gives the same files.
"""
import json
import math
import pathlib
import random

from mapproxy.grid.meta_grid import MetaGrid
from mapproxy.grid.tile_grid import tile_grid
from mapproxy.srs import SRS

HERE = pathlib.Path(__file__).parent
MERCATOR = 20037508.342789244
SQRT2 = math.sqrt(2)

GRIDS = {
    "mercator_ll": dict(srs="EPSG:900913"),
    "mercator_ul": dict(srs="EPSG:3857", origin="ul"),
    "geodetic": dict(srs="EPSG:4326"),
    "geodetic_ul_quad": dict(srs="EPSG:4326", origin="ul", min_res=0.703125, num_levels=18),
    "geodetic_sqrt2": dict(srs="EPSG:4326", res_factor="sqrt2"),
    "utm_bbox_srs": dict(srs="EPSG:25832", bbox=[5, 46, 16, 56], bbox_srs="EPSG:4326", tile_size=[200, 300],
                         res=[1000, 700, 3.3, 100]),
    "utm_ul": dict(srs="EPSG:25832", bbox=[-46133.17, 5048875.26857567, 1206211.10142433, 6301219.54], origin="ul",
                   num_levels=19),
    "utm_log": dict(srs="EPSG:25833", bbox=[250000, 5680000, 500000, 5950000], origin="ul", min_res=1000, max_res=0.13,
                    num_levels=12, tile_size=[512, 512]),
    "gk_factor": dict(srs="EPSG:31467", bbox=[3400000, 5300000, 3600000.5, 5500000.7], res_factor=1.5, max_res=2.5,
                      tile_size=[256, 128]),
    "swiss": dict(srs="EPSG:2056", bbox=[2420000, 1030000, 2900000, 1350000], origin="nw",
                  res=[4000, 3750, 3500, 3250, 3000, 2750, 2500, 2250, 2000, 1750, 1500, 1250, 1000, 750, 650, 500, 250,
                       100, 50, 20, 10, 5, 2.5, 2, 1.5, 1, 0.5, 0.25, 0.1]),
    "threshold": dict(srs="EPSG:3857", res=[1000, 500, 100, 20, 19, 5], threshold_res=[5000, 600, 550, 60, 19.5, 1]),
    "threshold_2": dict(srs="EPSG:3857", origin="ul", threshold_res=[156543.03392804097, 70000, 9000, 600, 1.1, 0.1],
                        stretch_factor=1.3, max_shrink_factor=2.0),
    "threshold_3": dict(srs="EPSG:3857", res=[1000, 500, 100, 20, 19, 5], threshold_res=[500, 60, 19]),
    "polar": dict(srs="EPSG:3413", bbox=[-4194304, -4194304, 4194304, 4194304], origin="ul", num_levels=9),
    "tiny": dict(srs="EPSG:4326", bbox=[8.1, 53.0, 8.30001, 53.17], res=[0.01, 0.003, 0.0001], tile_size=[100, 100]),
    "narrow": dict(srs="EPSG:3857", bbox=[0, 0, 10, 100000], res=[100, 10, 1], origin="ul"),
    "aligned": dict(srs="EPSG:3857", bbox=[1017529.7, 7044436.5, 1048104.6, 7075011.3], align_with="mercator_ll"),
    "aligned_sqrt2": dict(srs="EPSG:3857", align_with="mercator_ll", res_factor="sqrt2", min_res=50000, max_res=1000,
                          num_levels=5),
    "aligned_every_second": dict(srs="EPSG:3857", align_with="mercator_sqrt2", min_res=1000),
    "mercator_sqrt2": dict(srs="EPSG:3857", res_factor="sqrt2"),
    "mercator_sub_ll": dict(srs="EPSG:3857", bbox=[0, 0, MERCATOR, MERCATOR], origin="ll", num_levels=10),
    "mercator_part": dict(srs="EPSG:900913", bbox=[0, -MERCATOR / 2, MERCATOR / 4, 0], num_levels=6,
                          align_with="mercator_ul"),
    "mercator_512": dict(srs="EPSG:3857", tile_size=[512, 512], origin="ul", num_levels=12),
    "off_by_a_bit": dict(srs="EPSG:3857", bbox=[-MERCATOR, -MERCATOR + 1000, MERCATOR, MERCATOR], num_levels=8,
                         res=[156543.03392804097 / 2**i for i in range(8)]),
}

built = {}


def build(name):
    if name not in built:
        options = dict(GRIDS[name])
        if "align_with" in options:
            options["align_with"] = build(options["align_with"])
        for key in ("bbox", "tile_size"):
            if key in options:
                options[key] = tuple(options[key])
        built[name] = tile_grid(name=name, **options)
    return built[name]


def random_box(rng, grid, level):
    """A box that has something to do with the grid, about one screen on the level."""
    minx, miny, maxx, maxy = grid.bbox
    res = grid.resolution(level)
    size = rng.choice([(256, 256), (800, 600), (1, 1), (1024, 300), (3, 700)])
    res *= rng.choice([1, 1, 1.15, 1.1500001, 0.87, 0.5, 2, 4, 4.0000001, rng.uniform(0.3, 5)])
    width, height = size[0] * res, size[1] * res * rng.choice([1, 1, 1.0001, 0.7])
    x = rng.uniform(minx - width, maxx)
    y = rng.uniform(miny - height, maxy)
    if rng.random() < 0.25:
        # on the edges of tiles, or a fraction of a pixel beside
        tile = grid.tile_bbox((rng.randrange(grid.grid_sizes[level][0]), rng.randrange(grid.grid_sizes[level][1]), level))
        nudge = rng.choice([0, 0, res / 10, res / 9.99, res / 10.01, -res / 10, res / 2])
        x, y = tile[0] + nudge, tile[1] + nudge
        width, height = (tile[2] - tile[0]) - 2 * nudge, (tile[3] - tile[1]) - 2 * nudge
        size = tuple(grid.tile_size)
    return (x, y, x + width, y + height), size


def tiles_summary(tiles):
    """Enough to tell lists apart: their number, and first, last and number of those inside."""
    inside = [list(tile) for tile in tiles if tile is not None]
    return [len(tiles), len(inside), inside[:1] + inside[-1:]]


def answer(function, *args):
    try:
        bbox, size, tiles = function(*args)
    except Exception as error:
        return type(error).__name__
    if size[0] * size[1] > 4000:
        return [list(bbox), list(size), None]
    return [list(bbox), list(size), tiles_summary(list(tiles))]


def grids(rng):
    out = []
    for name, options in GRIDS.items():
        grid = build(name)
        levels = range(grid.levels)
        tiles, maps, level_maps, closest, metas, minimal, meta_levels = [], [], [], [], [], [], []
        for _ in range(8):
            z = rng.choice(levels)
            columns, rows = grid.grid_sizes[z]
            tile = (rng.randrange(columns), rng.randrange(rows), z)
            tiles.append([tile, grid.tile_bbox(tile)])
        for _ in range(12):
            box, size = random_box(rng, grid, rng.choice(levels))
            try:
                level = grid.get_affected_bbox_and_level(box, size)[1]
            except Exception:
                level = None
            maps.append([box, size, level, answer(grid.get_affected_tiles, box, size, grid.srs)])
        for _ in range(6):
            level = rng.choice(levels)
            box, _ = random_box(rng, grid, level)
            level_maps.append([box, level, answer(grid.get_affected_level_tiles, box, level)])
        for _ in range(16):
            res = grid.resolution(rng.choice(levels)) * rng.choice([1, 0.8, 1.15, 1 / 1.15, 1.0000001, rng.uniform(0.4, 3)])
            if grid.threshold_res and rng.random() < 0.5:
                res = rng.choice(grid.threshold_res) * rng.choice([1, 1.001, 0.999])
            closest.append([res, grid.closest_level(res)])
        for _ in range(7):
            meta_size = rng.choice([(4, 4), (1, 1), (3, 5), (2, 2), (8, 1)])
            buffer = rng.choice([0, 80, 13, 200])
            meta = MetaGrid(grid, meta_size, buffer)
            z = rng.choice(levels)
            columns, rows = grid.grid_sizes[z]
            pick = lambda n: rng.choice([0, n - 1, max(n - 2, 0), rng.randrange(n)])
            tile = (pick(columns), pick(rows), z)
            metas.append([meta_size, buffer, tile, meta.main_tile(tile), meta_answer(meta.meta_tile(tile))])
            others = [(min(max(tile[0] + rng.randrange(-2, 3), 0), columns - 1),
                       min(max(tile[1] + rng.randrange(-2, 3), 0), rows - 1), z) for _ in range(3)]
            if rng.random() < 0.5:
                minimal.append([buffer, [tile] + others, meta_answer(meta.minimal_meta_tile([tile] + others))])
            box, _ = random_box(rng, grid, z)
            meta_levels.append([meta_size, box, z, answer(meta.get_affected_level_tiles, box, z)])
        out.append(dict(
            name=name, options={k: list(v) if isinstance(v, tuple) else v for k, v in options.items()}, bbox=grid.bbox,
            resolutions=[grid.resolution(z) for z in levels], sizes=[grid.grid_sizes[z] for z in levels],
            ll=bool(grid.supports_access_with_origin("ll")), ul=bool(grid.supports_access_with_origin("ul")),
            subset_of=[other for other in GRIDS if build(name).is_subset_of(build(other))],
            tiles=tiles, maps=maps, level_maps=level_maps, closest=closest, metas=metas, minimal=minimal,
            meta_levels=meta_levels))
    return out


def meta_answer(meta):
    patterns = list(meta.tile_patterns)
    coords = [list(tile) for tile, _ in patterns if tile is not None]
    return [meta.bbox, meta.size, meta.grid_size, meta.main_tile_coord, len(coords), patterns[0][1], patterns[-1][1],
            coords[-1]]


SRS_PAIRS = [
    ("EPSG:4326", "EPSG:3857", (-180, -90, 180, 90)),
    ("EPSG:3857", "EPSG:4326", (-MERCATOR, -MERCATOR, MERCATOR, MERCATOR)),
    ("CRS:84", "EPSG:900913", (-200, -95, 200, 95)),
    ("EPSG:4326", "EPSG:102100", (-200, -95, 200, 95)),
    ("EPSG:900913", "CRS:84", (-3e7, -3e7, 3e7, 3e7)),
    ("EPSG:4326", "EPSG:25832", (5, 45, 14, 56)),
    ("EPSG:25832", "EPSG:4326", (200000, 5000000, 900000, 6200000)),
    ("EPSG:25832", "EPSG:3857", (200000, 5000000, 900000, 6200000)),
    ("EPSG:25832", "EPSG:25833", (200000, 5000000, 900000, 6200000)),
    ("EPSG:3857", "EPSG:25833", (1300000, 6200000, 1700000, 7200000)),
    ("EPSG:31467", "EPSG:3857", (3300000, 5200000, 3700000, 6000000)),
    ("EPSG:4326", "EPSG:31467", (7, 47, 11, 55)),
    ("EPSG:31466", "EPSG:25832", (2500000, 5500000, 2600000, 5800000)),
    ("EPSG:4258", "EPSG:3035", (-10, 35, 30, 65)),
    ("EPSG:3035", "EPSG:4326", (2500000, 1500000, 6000000, 5000000)),
    ("EPSG:2056", "EPSG:3857", (2480000, 1070000, 2840000, 1300000)),
    ("EPSG:4326", "EPSG:2056", (6, 46, 10, 47.5)),
    ("EPSG:21781", "EPSG:4326", (480000, 70000, 840000, 300000)),
    ("EPSG:32633", "EPSG:3857", (200000, 0, 800000, 8000000)),
    ("EPSG:4326", "EPSG:3413", (-180, 50, 180, 90)),
    ("EPSG:3413", "EPSG:4326", (-3000000, -3000000, 3000000, 3000000)),
    ("EPSG:3857", "EPSG:5514", (1400000, 6200000, 2100000, 6600000)),
    ("EPSG:27700", "EPSG:4326", (0, 0, 700000, 1200000)),
    ("EPSG:2225", "EPSG:4326", (5800000, 1800000, 6800000, 2500000)),
    ("EPSG:4326", "EPSG:32761", (-180, -90, 180, -60)),
    ("EPSG:4326", "ESRI:54009", (-180, -90, 180, 90)),
    ("ESRI:54009", "EPSG:3857", (-18000000, -9000000, 18000000, 9000000)),
    ("EPSG:4807", "EPSG:4326", (-8, 46, 9, 56)),
    ("IGNF:LAMB93", "EPSG:3857", (100000, 6050000, 1200000, 7100000)),
    ("EPSG:28992", "EPSG:3857", (0, 300000, 280000, 620000)),
    ("OGC:CRS84", "EPSG:4326", (-200, -100, 200, 100)),
]


def transforms(rng):
    out = []
    for source, target, (minx, miny, maxx, maxy) in SRS_PAIRS:
        boxes = [(minx, miny, maxx, maxy)]
        for _ in range(8):
            x, y = sorted(rng.uniform(minx, maxx) for _ in "ab"), sorted(rng.uniform(miny, maxy) for _ in "ab")
            shrink = rng.choice([1, 1, 0.01, 1e-5])
            boxes.append((x[0], y[0], x[0] + (x[1] - x[0]) * shrink, y[0] + (y[1] - y[0]) * shrink))
        for box in boxes:
            try:
                result = list(SRS(source).transform_bbox_to(SRS(target), box))
            except Exception:
                result = None
            if result is not None and not all(map(math.isfinite, result)):
                result = None
            out.append([source, target, box, result])
    return out


def write(name, cases):
    lines = ",\n".join(json.dumps(case, separators=(",", ":")) for case in cases)
    (HERE / name).write_text(f"[\n{lines}\n]\n")


if __name__ == "__main__":
    write("grids.json", grids(random.Random(7)))
    write("transforms.json", transforms(random.Random(8)))

"""Areas in the files that GDAL writes, and in whatever else it reads: the same polygons are the same coverage."""

import io
import json
import os
import shutil
import subprocess

import pytest
from PIL import Image

AREAS = {
    "type": "FeatureCollection",
    "features": [
        {
            "type": "Feature",
            "properties": {"kind": "land", "n": 1, "name": "Österreich"},
            "geometry": {"type": "Polygon", "coordinates": [[[1, 1], [9, 1], [9, 9], [1, 9], [1, 1]], [[4, 4], [4, 6], [6, 6], [6, 4], [4, 4]]]},
        },
        {
            "type": "Feature",
            "properties": {"kind": "sea", "n": 2.5, "name": None},
            "geometry": {"type": "Polygon", "coordinates": [[[11, 1], [19, 1], [15, 9], [11, 1]]]},
        },
        {
            "type": "Feature",
            "properties": {"kind": "Land", "n": 3, "name": "it's"},
            "geometry": {"type": "MultiPolygon", "coordinates": [[[[1, 11], [4, 11], [4, 19], [1, 19], [1, 11]]], [[[6, 11], [9, 11], [9, 19], [6, 11]]]]},
        },
    ],
}

# File, driver of GDAL's, options.
FILES = [
    ("areas.shp", "ESRI Shapefile", []),
    ("utf8.shp", "ESRI Shapefile", ["-lco", "ENCODING=UTF-8"]),
    ("areas.gpkg", "GPKG", ["-nlt", "MULTIPOLYGON"]),
    ("areas.fgb", "FlatGeobuf", ["-nlt", "MULTIPOLYGON"]),
    ("unindexed.fgb", "FlatGeobuf", ["-nlt", "GEOMETRY", "-lco", "SPATIAL_INDEX=NO"]),
    ("areas.gml", "GML", []),
    ("areas.sqlite", "SQLite", []),
    ("areas.kml", "KML", []),
]

CONDITIONS = ["", "kind = 'sea' OR n > 2.9", "NOT kind = 'sea' AND name IS NOT NULL", "name IN ('Österreich', 'none')"]


def source(name, datasource, condition=""):
    where = f", where: {json.dumps(condition, ensure_ascii=False)}" if condition else ""
    coverage = f"{{datasource: {json.dumps(str(datasource))}, srs: 'EPSG:4326', clip: true{where}}}"
    return f"  {name}: {{type: wms, req: {{url: '@URL@/wms', layers: a}}, coverage: {coverage}}}\n"


def config(upstream, sources):
    names = [line.split(":")[0].strip() for line in sources]
    layers = "".join(f"  - {{name: {name}, title: {name}, sources: [{name}]}}\n" for name in names)
    return f"services: {{wms: }}\nlayers:\n{layers}sources:\n{''.join(sources)}".replace("@URL@", upstream.url)


@pytest.fixture
def ogr2ogr(folder):
    def run(*arguments):
        path = shutil.which("ogr2ogr")
        assert path, "ogr2ogr is missing: run tests/e2e/setup"
        done = subprocess.run([path, *map(str, arguments)], capture_output=True, text=True, timeout=60, cwd=folder)
        assert done.returncode == 0, done.stderr

    return run


def picture(server, layer):
    answer = server.get_map(layer, "EPSG:4326", (0, 0, 20, 20), (200, 200), TRANSPARENT="TRUE")
    assert answer.status == 200 and answer.body.startswith(b"\x89PNG"), answer
    return Image.open(io.BytesIO(answer.body)).convert("RGBA").getchannel("A")


def test_the_same_polygons_are_the_same_coverage_in_each_format(serve, upstream, folder, ogr2ogr):
    (folder / "areas.geojson").write_text(json.dumps(AREAS, ensure_ascii=False))
    for name, driver, options in FILES:
        ogr2ogr("-f", driver, name, "areas.geojson", "-nln", name.split(".")[0], *options)
    sources = []
    for number, condition in enumerate(CONDITIONS):
        for name in ["areas.geojson", *(name for name, _, _ in FILES)]:
            # KML has its attributes elsewhere; what is neither ours nor asked often is asked once.
            if not condition or name not in ("areas.kml", "areas.gml", "areas.sqlite") or (number == 1 and name == "areas.gml"):
                sources.append(source(f"s{number}_{name.replace('.', '_')}", name, condition))
    sources.append(source("query", "areas.gpkg", "SELECT * FROM areas WHERE n = 1"))
    sources.append(source("query_of_gdal", "areas.shp", "SELECT * FROM areas WHERE n * 2 = 2"))
    server = serve(config(upstream, sources))
    # Inside, in a hole, and outside, of each of the areas, in fractions of 20 degrees from the north west.
    first = {(2, 18), (8, 12)}
    second, third = {(15, 17)}, {(2, 5), (8, 6)}
    expected = [first | second | third, second | third, first | third, first]
    places = first | second | third | {(5, 15), (10, 10), (5, 5), (18, 5)}
    pictures = {}
    for name in (line.split(":")[0].strip() for line in sources):
        alpha = picture(server, name)
        number = int(name[1]) if name.startswith("s") else 3
        shown = {(x, y) for x, y in places if alpha.getpixel((x * 10, y * 10))}
        assert shown == expected[number], name
        # Two digits fewer in some formats make no difference that can be seen.
        pictures.setdefault(number, alpha)
        assert alpha.tobytes() == pictures[number].tobytes(), name
    upstream.requests.clear()
    outside = server.get_map("s0_areas_fgb", "EPSG:4326", (30, 30, 40, 40), (100, 100))
    assert outside.status == 200 and upstream.requests == []


def test_what_cannot_be_read_is_told_at_the_start_with_its_place(command, folder, upstream, ogr2ogr):
    (folder / "areas.geojson").write_text(json.dumps(AREAS, ensure_ascii=False))
    ogr2ogr("-f", "ESRI Shapefile", "areas.shp", "areas.geojson")
    (folder / "cut.shp").write_bytes((folder / "areas.shp").read_bytes()[:300])
    (folder / "point.geojson").write_text('{"type": "Point", "coordinates": [1, 2]}')
    (folder / "mapproxy.yaml").write_text(
        config(
            upstream,
            [
                source("database", "PG:host=127.0.0.1 port=1 dbname=maps user=me password=s3cret"),
                source("column", "areas.shp", "colour = 'red'"),
                source("nothing", "areas.shp", "kind = 'desert'"),
                source("cut", "cut.shp"),
                source("points", "point.geojson"),
            ],
        )
    )
    done = subprocess.run([*command, "check", "mapproxy.yaml"], capture_output=True, text=True, timeout=60, cwd=folder)
    said = done.stdout + done.stderr
    assert done.returncode != 0 and "s3cret" not in said, said
    for line, words in [
        (9, "ogr2ogr cannot read PG:…: "),
        (10, "the condition `colour = 'red'` does not work: the data has no column colour (it has kind, n, name)"),
        (11, "areas.shp: no polygons for which `kind = 'desert'`"),
        (12, "cut.shp: record 1: its shape is broken"),
        (13, "point.geojson: no polygons"),
    ]:
        assert any(f"mapproxy.yaml:{line}:" in told and words in told for told in said.splitlines()), (line, words, said)


def test_files_read_here_need_no_gdal_and_others_say_that_they_do(command, folder, upstream, ogr2ogr):
    (folder / "areas.geojson").write_text(json.dumps(AREAS, ensure_ascii=False))
    ogr2ogr("-f", "GPKG", "areas.gpkg", "areas.geojson")
    ogr2ogr("-f", "GML", "areas.gml", "areas.geojson")
    program = shutil.which(command[0]) or command[0]
    empty = folder / "programs"
    empty.mkdir()
    environment = {**os.environ, "PATH": str(empty)}

    def check(*sources):
        (folder / "mapproxy.yaml").write_text(config(upstream, list(sources)))
        return subprocess.run(
            [os.path.abspath(program), *command[1:], "check", "mapproxy.yaml"],
            capture_output=True, text=True, timeout=60, cwd=folder, env=environment,
        )

    own = check(source("a", "areas.gpkg", "n > 1"), source("b", "areas.geojson", "kind LIKE 'l%'"))
    assert own.returncode == 0, own
    other = check(source("a", "areas.gml"), source("b", "areas.geojson", "n * 2 > 1"))
    said = other.stdout + other.stderr
    assert other.returncode != 0 and said.count("package gdal-bin") == 2, said
    assert "the condition `n * 2 > 1`" in said

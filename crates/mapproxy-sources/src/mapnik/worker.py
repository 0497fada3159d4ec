"""Draws maps with Mapnik. Each line of the input is a question in JSON, each answer is "ok LENGTH" or "error LENGTH",
a line feed, and as many bytes: rows of red, green, blue, alpha, or what went wrong."""

import os
import sys

# The working directory is no place for modules.
sys.path[:] = [place for place in sys.path if place]
# What others print is not for our reader.
answers = os.fdopen(os.dup(1), "wb")
os.dup2(2, 1)

import json

import mapnik

# By file name: when it was changed, and the map. Loading takes longer than drawing.
loaded = {}


def stored_map(mapfile):
    status = os.stat(mapfile)
    version = (status.st_mtime_ns, status.st_size, status.st_ino)
    known = loaded.get(mapfile)
    if known is None or known[0] != version:
        fresh = mapnik.Map(1, 1)
        mapnik.load_map(fresh, mapfile)
        known = loaded[mapfile] = (version, fresh)
    return known[1]


def draw(question):
    drawn = stored_map(question["mapfile"])
    wanted = question["layers"]
    for layer in drawn.layers:
        layer.active = wanted is None or layer.name in wanted or layer.name == "Unknown"
    drawn.srs = question["srs"]
    drawn.resize(*question["size"])
    drawn.zoom_to_box(mapnik.Box2d(*question["bbox"]))
    image = mapnik.Image(*question["size"])
    mapnik.render(drawn, image, question["scale_factor"])
    if image.premultiplied():
        image.demultiply()
    return image.tostring()


for line in sys.stdin.buffer:
    try:
        word, body = "ok", draw(json.loads(line))
    except Exception as error:
        word, body = "error", "{}: {}".format(type(error).__name__, error).encode("utf-8", "replace")[:4000]
    answers.write("{} {}\n".format(word, len(body)).encode("ascii"))
    answers.write(body)
    answers.flush()

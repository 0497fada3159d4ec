"""Looking at pictures: sizes, colours at places, how much is drawn."""

import io

from PIL import Image, ImageChops, ImageStat


def decode(body):
    """RGB of an encoded picture; anything else fails with what it is."""
    try:
        image = Image.open(io.BytesIO(body))
        image.load()
    except Exception as error:
        raise AssertionError(f"not a picture ({error}): {body[:300]!r}") from None
    return image.convert("RGBA").convert("RGB") if image.mode in ("P", "LA") else image.convert("RGB")


def assert_colour(image, position, expected, tolerance=24):
    """The pixel at position (fractions of width and height) has the expected colour."""
    x = min(int(position[0] * image.width), image.width - 1)
    y = min(int(position[1] * image.height), image.height - 1)
    found = image.getpixel((x, y))
    assert all(abs(a - b) <= tolerance for a, b in zip(found, expected)), f"{found} at {position}, not {expected}"


def distinct_colours(image):
    return len(image.getcolors(maxcolors=image.width * image.height))


def psnr(one, other):
    """In dB; equal pictures have infinity."""
    import math

    assert one.size == other.size, f"{one.size} is not {other.size}"
    squares = ImageStat.Stat(ImageChops.difference(one, other)).sum2
    mean = sum(squares) / (3 * one.width * one.height)
    return math.inf if mean == 0 else 10 * math.log10(255**2 / mean)

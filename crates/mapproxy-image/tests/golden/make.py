"""Makes the pictures of this directory anew with an installed MapProxy 7.0.0 (and its Pillow):

    python make.py [--width 160 --out DIRECTORY]

`transform.txt` has a line for each case: name, source, source box, source SRS, answer's box, size and SRS, resampling.
`merge.txt` has a line for each stack: options of the answer, layers, and the pixel that MapProxy makes of them.
`decode-*` are one picture in many formats, to be read like `decode.png` (lossy ones nearly so).
"""
import argparse
import pathlib
import struct
import zlib

import numpy as np
from PIL import Image, ImageDraw

from mapproxy.image import ImageResult
from mapproxy.image.merge import merge_images
from mapproxy.image.opts import ImageOptions
from mapproxy.image.transform import ImageTransformer
from mapproxy.srs import SRS

parser = argparse.ArgumentParser()
parser.add_argument('--width', type=int, default=120)
parser.add_argument('--out', type=pathlib.Path, default=pathlib.Path(__file__).parent)
args = parser.parse_args()
W, H, OUT = args.width, args.width * 3 // 4, args.out


def picture(width, height, alpha):
    """Hills and a few drawn lines and areas; with alpha, holes and a soft edge."""
    y, x = np.mgrid[0:height, 0:width]
    waves = [127 + 120 * np.sin(x / (9 + 5 * i) + i) * np.cos(y / (7 + 3 * i)) for i in range(3)]
    image = Image.fromarray(np.stack(waves, -1).astype('u1'))
    draw = ImageDraw.Draw(image)
    draw.rectangle([width * .1, height * .55, width * .45, height * .9], fill=(242, 239, 233))
    draw.line([0, 0, width * .7, height, width, height * .2], fill=(130, 20, 130), width=2)
    draw.ellipse([width * .55, height * .1, width * .8, height * .5], fill=(170, 211, 223))
    if alpha:
        soft = np.clip(300 - 3.2 * np.hypot(x - width * .5, y - height * .5) * 160 / width, 0, 255)
        soft[(x // 16 + y // 16) % 7 == 0] = 0
        image.putalpha(Image.fromarray(soft.astype('u1')))
    return image


def save(image, name):
    image.save(OUT / name, optimize=True)


def transforms():
    lines = []
    sources = {'opaque': picture(W, H, False), 'alpha': picture(W, H, True)}
    for name, image in sources.items():
        save(image, f'source-{name}.png')
    mercator = (900000.0, 6100000.0, 1900000.0, 6850000.0)
    inside = (1000123.0, 6200456.0, 1750789.0, 6760012.0)
    beyond = (700000.0, 5900000.0, 1500000.0, 6500000.0)
    size = (W * 4 // 5, H * 4 // 5)
    boxes = [('scale', inside, 3857), ('beyond', beyond, 3857),
             ('geographic', (8.5, 48.5, 16.5, 51.8), 4326), ('utm', (330000.0, 5370000.0, 830000.0, 5745000.0), 25832)]
    for name, image in sources.items():
        for case, box, code in boxes:
            for method in ('nearest', 'bilinear', 'bicubic'):
                if name == 'alpha' and (method == 'nearest' or case in ('beyond', 'geographic')):
                    continue
                options = ImageOptions(resampling=method, transparent=name == 'alpha', format='image/png')
                result = ImageTransformer(SRS(3857), SRS(code)).transform(
                    ImageResult(image, image_opts=options), mercator, size, box, options)
                key = f'{case}-{name}-{method}'
                save(result.as_image(), f'transform-{key}.png')
                lines.append(' '.join([key, f'source-{name}.png', ','.join(map(repr, mercator)), 'EPSG:3857',
                                       ','.join(map(repr, box)), f'{size[0]}x{size[1]}', f'EPSG:{code}', method]))
    (OUT / 'transform.txt').write_text('\n'.join(lines) + '\n')


def merges():
    outputs = {'transparent': dict(transparent=True), 'opaque': dict(transparent=False),
               'ground': dict(transparent=False, bgcolor='#102030')}
    layers = {'L': ('L', 70), 'RGB': ('RGB', (0, 100, 0)), 'RED': ('RGB', (200, 0, 0)),
              'RGBA': ('RGBA', (200, 0, 0, 128)), 'PALE': ('RGBA', (0, 100, 50, 100))}
    stacks = ['RGBA', 'RGB', 'RGB RGBA', 'RGB RGBA@0.5', 'RGB RED@0.3', 'RGB RED@0.0', 'RGB RED@1.0', 'PALE RGBA',
              'RGBA PALE', 'PALE RGBA@0.25', 'RGB L', 'PALE RED', 'RGBA RED@0.7', 'RED L@0.5 PALE']
    lines = []
    for output, options in outputs.items():
        for stack in stacks:
            if output != 'transparent' and 'RGBA@' in stack:
                continue  # MapProxy mixes in the colours of invisible pixels, too: not followed
            images = []
            for layer in stack.split():
                name, _, opacity = layer.partition('@')
                mode, color = layers[name]
                opts = ImageOptions(transparent=mode == 'RGBA', opacity=float(opacity) if opacity else None)
                images.append((ImageResult(Image.new(mode, (8, 8), color), image_opts=opts), None))
            image = merge_images(images, ImageOptions(**options), size=(8, 8)).as_image()
            pixel = ','.join(map(str, image.convert('RGBA').getpixel((3, 3))))
            lines.append(f'{output} | {stack} | {image.mode} | {pixel}')
    (OUT / 'merge.txt').write_text('\n'.join(lines) + '\n')


def formats():
    base = picture(40, 30, False).quantize(15).convert('RGB')
    save(base, 'decode.png')
    interlaced(base, 'decode-interlaced.png')
    grey = base.convert('L')
    save(grey, 'decode-grey.png')
    paletted = base.quantize(16)
    paletted.save(OUT / 'decode-palette.png', bits=4)
    base.save(OUT / 'decode-exact.gif')
    base.save(OUT / 'decode-exact.webp', lossless=True)
    base.save(OUT / 'decode-lossy.webp', quality=90)
    for compression in ('raw', 'tiff_lzw', 'tiff_adobe_deflate', 'packbits'):
        base.save(OUT / f'decode-{compression}.tif', compression=compression)
    base.save(OUT / 'decode-lossy.jpg', quality=92)
    base.save(OUT / 'decode-lossy-progressive.jpg', quality=92, progressive=True)
    base.save(OUT / 'decode-lossy-jpeg.tif', compression='jpeg', quality=92)
    base.convert('CMYK').save(OUT / 'decode-lossy-cmyk.jpg', quality=92)
    grey.save(OUT / 'decode-grey-lossy.jpg', quality=92)
    Image.fromarray(np.asarray(grey).astype('u2') * 257).save(OUT / 'decode-grey-16.png')


def interlaced(image, name):
    """Pillow reads Adam7 but does not write it."""
    pixels = np.asarray(image)
    passes = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
    rows = b''.join(b'\0' + row.tobytes() for x, y, dx, dy in passes for row in pixels[y::dy, x::dx] if row.size)
    header = struct.pack('>IIBBBBB', *image.size, 8, 2, 0, 0, 1)
    chunks = [(b'IHDR', header), (b'IDAT', zlib.compress(rows, 9)), (b'IEND', b'')]
    body = b''.join(struct.pack('>I', len(data)) + kind + data + struct.pack('>I', zlib.crc32(kind + data))
                    for kind, data in chunks)
    (OUT / name).write_bytes(b'\x89PNG\r\n\x1a\n' + body)


OUT.mkdir(parents=True, exist_ok=True)
transforms()
merges()
formats()

"""The part of the corpus that must decode: every format, mode, turn and odd name, with the pixels
each file shows.

The expected pixels are the planted arrays or a formula over them, never the answer of the loader's
own decoder.
"""

import os
import struct
from functools import partial

import cv2
import numpy as np
from PIL import Image as Pillow
from planted import (
    ALPHA,
    BIT,
    CMYK,
    DEEP,
    DEEP8,
    GREY,
    HUGE,
    INDEX,
    LA,
    NOISE,
    PAINTED,
    PALETTE,
    RGB16,
    RGBA,
    SMOOTH,
    WINDOWED,
    H,
    Kind,
    W,
    X,
    declared,
    exif,
    flipped,
    ink,
    interlaced,
    lab,
    over_white,
    pages,
    plain_tiff,
    png,
    rgb,
    save,
    scanlines,
    stored,
    tiff,
    ycck,
)


def jpegs() -> list[Kind]:
    jpeg = partial(save, kind="JPEG", quality=95, subsampling=0)
    photo = jpeg(SMOOTH)
    bent = flipped(photo, 0.6)
    # decodes, though not to what was saved
    shown = cv2.imdecode(np.frombuffer(bent, np.uint8), cv2.IMREAD_COLOR_RGB)
    odd = [
        "new\nline.jpg",
        "-dash.jpg",
        'quo"te %20 #?.jpg',
        "\N{CAMERA}.jpg",
        "n" * 240 + ".jpg",
        "LOUD.JPG",
        "a.jpg.png",
    ]
    names = [
        os.fsdecode(b"caf\xe9.jpg"),
        "no-suffix",
        "jpeg.txt",
        "jpeg.heic",
        "folder.jpg/inner.jpg",
        *odd,
    ]
    return [
        Kind("jpeg/rgb.jpg", photo, SMOOTH, 5),
        Kind("jpeg/progressive.jpg", jpeg(SMOOTH, progressive=True), SMOOTH, 5),
        Kind("jpeg/grey.jpg", jpeg(SMOOTH[:, :, 0].copy()), rgb(SMOOTH[:, :, 0]), 5),
        Kind(
            "jpeg/cmyk.jpg", save(Pillow.fromarray(CMYK, "CMYK"), "JPEG", quality=98), ink(CMYK), 6
        ),
        Kind("jpeg/ycck.jpg", *ycck(), 8),
        Kind("jpeg/two-pictures.jpg", pages(SMOOTH, "MPO", quality=95, subsampling=0), SMOOTH, 5),
        Kind(
            "jpeg/broken-exif.jpg",
            jpeg(SMOOTH, exif=b"Exif\0\0II*\0\xff\xff\xff\xff" + b"\xab" * 40),
            SMOOTH,
            5,
        ),
        Kind("jpeg/huge-icc.jpg", jpeg(SMOOTH, icc_profile=HUGE), SMOOTH, 5),
        Kind("jpeg/trailing.jpg", photo + b"junk" * 500, SMOOTH, 5),
        Kind("jpeg/bit-flipped.jpg", bent, shown, 3),
        *[
            Kind(f"jpeg/exif{k}.jpg", jpeg(stored(SMOOTH, k), exif=exif(k)), SMOOTH, 5)
            for k in range(1, 9)
        ],
        Kind("jpeg/exif99.jpg", jpeg(SMOOTH, exif=exif(99)), SMOOTH, 5),
        *[Kind(f"names/{name}", photo, SMOOTH, 5) for name in names],
        Kind("names/png.jpg", save(NOISE, "PNG"), NOISE),
        Kind("names/gif.tiff", save(PALETTE, "GIF"), PAINTED),
    ]


def pngs() -> list[Kind]:
    wide = np.resize(NOISE, (1, 20000, 3))
    keyed = NOISE.copy()
    keyed[5:9] = (1, 2, 3)
    seen = np.where((keyed == (1, 2, 3)).all(axis=2, keepdims=True), 255, keyed)
    # pixels of which Pillow keeps the high bytes
    key = (b"tRNS", struct.pack(">3H", 256 + 7, 512 + 7, 768 + 7))
    deep = (keyed.astype(np.uint16) << 8 | 7).astype(">u2")
    level, alphas = DEEP[3, 5], [255, 128, 0, 40, 200]
    seen_grey = np.where((level == DEEP)[:, :, None], 255, DEEP8)
    return [
        Kind("png/rgb.png", save(NOISE, "PNG"), NOISE),
        Kind("png/interlaced.png", interlaced(), NOISE),
        Kind("png/1bit.png", save(Pillow.fromarray(BIT), "PNG"), rgb(BIT * 255)),
        Kind(
            "png/2bit.png",
            png(4, 2, 2, 0, b"\0\x1b\0\xe4"),
            rgb(np.array([[0, 85, 170, 255], [255, 170, 85, 0]])),
        ),
        Kind("png/grey.png", save(GREY, "PNG"), rgb(GREY)),
        Kind("png/grey16.png", save(DEEP, "PNG"), DEEP8),
        Kind(
            "png/grey16-key.png",
            png(W, H, 16, 0, scanlines(DEEP.astype(">u2")), (b"tRNS", struct.pack(">H", level))),
            seen_grey,
        ),
        Kind("png/rgb16.png", png(W, H, 16, 2, scanlines(RGB16.astype(">u2"))), NOISE),
        Kind("png/rgb16-key.png", png(W, H, 16, 2, scanlines(deep), key), seen),
        Kind(
            "png/rgba16.png",
            png(W, H, 16, 6, scanlines((RGBA * 257.0).astype(">u2"))),
            over_white(NOISE, ALPHA),
            1,
        ),
        Kind("png/la.png", save(LA, "PNG"), over_white(rgb(GREY), ALPHA), 1),
        Kind("png/rgba.png", save(RGBA, "PNG"), over_white(NOISE, ALPHA), 1),
        Kind("png/key.png", save(Pillow.fromarray(keyed), "PNG", transparency=(1, 2, 3)), seen),
        Kind("png/palette.png", save(PALETTE, "PNG"), PAINTED),
        Kind("png/palette-key.png", save(PALETTE, "PNG", transparency=2), WINDOWED),
        Kind(
            "png/palette-alpha.png",
            save(PALETTE, "PNG", transparency=bytes(alphas)),
            over_white(PAINTED, np.array(alphas)[INDEX]),
            1,
        ),
        Kind("png/animated.png", pages(NOISE, "PNG"), NOISE),
        Kind("png/exif6.png", save(stored(NOISE, 6), "PNG", exif=exif(6)), NOISE),
        Kind(
            "png/broken-exif.png",
            png(
                W, H, 8, 2, scanlines(NOISE), (b"tEXt", b"Raw profile type exif\0\nexif\n4\nno hex")
            ),
            NOISE,
        ),
        Kind("png/huge-icc.png", save(NOISE, "PNG", icc_profile=HUGE), NOISE),
        Kind("png/1x1.png", save(NOISE[:1, :1].copy(), "PNG"), NOISE[:1, :1]),
        Kind("png/20000x1.png", save(wide, "PNG"), wide),
        Kind(
            "png/1x20000.png", save(wide.transpose(1, 0, 2).copy(), "PNG"), wide.transpose(1, 0, 2)
        ),
    ]


def webps() -> list[Kind]:
    return [
        Kind("webp/lossy.webp", save(SMOOTH, "WEBP", quality=95), SMOOTH, 24),
        Kind("webp/lossless.webp", save(NOISE, "WEBP", lossless=True), NOISE),
        Kind(
            "webp/rgba.webp",
            save(RGBA, "WEBP", lossless=True, exact=True),
            over_white(NOISE, ALPHA),
            1,
        ),
        Kind("webp/animated.webp", pages(NOISE, "WEBP", lossless=True), NOISE),
        Kind("webp/exif7.webp", save(stored(NOISE, 7), "WEBP", lossless=True, exif=exif(7)), NOISE),
        Kind("webp/huge-icc.webp", save(NOISE, "WEBP", lossless=True, icc_profile=HUGE), NOISE),
    ]


def tiffs() -> list[Kind]:
    float01 = (DEEP / 65535).astype(np.float32)
    holes = np.where(X == 3, np.nan, np.where(X == 4, np.inf, DEEP * 3.0)).astype(np.float32)
    known = holes[np.isfinite(holes)].astype(float)
    stretched = np.rint((DEEP - float(DEEP.min())) / float(DEEP.max() - DEEP.min()) * 255)
    filled = np.where(
        X == 3,
        0,
        np.where(
            X == 4, 255, np.rint((DEEP * 3.0 - known.min()) / (known.max() - known.min()) * 255)
        ),
    )
    signed, twelve = DEEP.astype(np.int32) - 32500, DEEP >> 4
    packed = np.packbits(
        np.unpackbits(twelve.astype(">u2").view(np.uint8).reshape(-1, 2), axis=1)[:, 4:]
    ).tobytes()
    times = ALPHA / 255.0
    ready = {"extrasamples": ["assocalpha"], "planarconfig": "contig"}
    grey_times = tiff(
        np.dstack([np.rint(GREY * times), ALPHA]).astype(np.uint8),
        photometric="minisblack",
        **ready,
    )
    rgb_times = tiff(
        np.dstack([np.rint(NOISE * times[:, :, None]), ALPHA]).astype(np.uint8),
        photometric="rgb",
        **ready,
    )
    return [
        Kind("tiff/rgb.tif", tiff(NOISE, photometric="rgb"), NOISE),
        Kind("tiff/big-endian.tif", tiff(NOISE, photometric="rgb", byteorder=">"), NOISE),
        Kind("tiff/bigtiff.tif", tiff(NOISE, photometric="rgb", bigtiff=True), NOISE),
        Kind(
            "tiff/planes.tif",
            tiff(NOISE.transpose(2, 0, 1).copy(), photometric="rgb", planarconfig="separate"),
            NOISE,
        ),
        Kind("tiff/tiles.tif", tiff(NOISE, photometric="rgb", tile=(16, 16)), NOISE),
        Kind("tiff/lzw.tif", save(NOISE, "TIFF", compression="tiff_lzw"), NOISE),
        Kind("tiff/deflate.tif", save(NOISE, "TIFF", compression="tiff_adobe_deflate"), NOISE),
        Kind("tiff/jpeg.tif", save(SMOOTH, "TIFF", compression="jpeg", quality=95), SMOOTH, 12),
        Kind(
            "tiff/fax.tif",
            save(Pillow.fromarray(BIT), "TIFF", compression="group4"),
            rgb(BIT * 255),
        ),
        Kind("tiff/grey16.tif", tiff(DEEP), DEEP8),
        Kind("tiff/grey16-big-endian.tif", tiff(DEEP, byteorder=">"), DEEP8),
        Kind("tiff/grey16-inverted.tif", tiff(~DEEP, photometric="miniswhite"), DEEP8),
        Kind(
            "tiff/grey12.tif",
            plain_tiff(packed, (258, 12), (262, 1)),
            rgb(np.rint(twelve / 4095 * 255)),
        ),
        Kind("tiff/rgb16.tif", tiff(RGB16, photometric="rgb"), NOISE),
        Kind("tiff/float01.tif", tiff(float01), rgb(np.rint(float01 * 255.0))),
        Kind("tiff/float-nan-inf.tif", tiff(holes), rgb(filled)),
        Kind(
            "tiff/float-all-nan.tif",
            tiff(np.full((H, W), np.nan, np.float32)),
            rgb(np.zeros((H, W))),
        ),
        Kind(
            "tiff/float-huge.tif",
            tiff(np.where(BIT, 3e38, -3e38).astype(np.float32)),
            rgb(BIT * 255),
        ),
        Kind("tiff/float-level.tif", tiff(np.full((H, W), 7, np.float32)), rgb(np.zeros((H, W)))),
        Kind("tiff/int32.tif", tiff(signed * 60000), rgb(stretched)),
        Kind("tiff/uint32.tif", tiff(DEEP.astype(np.uint32) * 65537), rgb(stretched)),
        Kind("tiff/int16.tif", tiff(signed.astype(np.int16)), rgb(stretched)),
        Kind("tiff/palette.tif", save(PALETTE, "TIFF"), PAINTED),
        Kind("tiff/la.tif", save(LA, "TIFF"), over_white(rgb(GREY), ALPHA), 1),
        Kind("tiff/la-premultiplied.tif", grey_times, over_white(rgb(GREY), ALPHA), 2),
        Kind("tiff/rgba.tif", save(RGBA, "TIFF"), over_white(NOISE, ALPHA), 1),
        Kind("tiff/rgba-premultiplied.tif", rgb_times, over_white(NOISE, ALPHA), 2),
        Kind("tiff/cmyk.tif", save(Pillow.fromarray(CMYK, "CMYK"), "TIFF"), ink(CMYK), 1),
        Kind("tiff/lab.tif", *lab(), 4),
        Kind("tiff/pages.tif", pages(NOISE, "TIFF"), NOISE),
        *[
            Kind(f"tiff/exif{k}.tif", save(stored(NOISE, k), "TIFF", tiffinfo={274: k}), NOISE)
            for k in (3, 5, 8)
        ],
    ]


def others() -> list[Kind]:
    return [
        Kind("bmp/rgb.bmp", save(NOISE, "BMP"), NOISE),
        Kind("bmp/top-down.bmp", declared(save(NOISE[::-1].copy(), "BMP"), 22, "<i", -H), NOISE),
        Kind("bmp/palette.bmp", save(PALETTE, "BMP"), PAINTED),
        Kind("bmp/1bit.bmp", save(Pillow.fromarray(BIT), "BMP"), rgb(BIT * 255)),
        Kind(
            "bmp/32bit.bmp", save(np.dstack([NOISE, np.full((H, W), 255, np.uint8)]), "BMP"), NOISE
        ),
        Kind("gif/palette.gif", save(PALETTE, "GIF"), PAINTED),
        Kind("gif/key.gif", save(PALETTE, "GIF", transparency=2), WINDOWED),
        Kind(
            "gif/animated.gif",
            save(PALETTE, "GIF", save_all=True, append_images=[PALETTE.rotate(180)]),
            PAINTED,
        ),
    ]


def good() -> list[Kind]:
    return [*jpegs(), *pngs(), *webps(), *tiffs(), *others()]

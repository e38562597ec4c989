"""What people keep among their photos beyond plain JPEGs: what is decoded is what a person sees
when they open the file, or the refusal names the format and says what to do.
"""

import io
import struct
import sys
import threading
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from phone import heic, motion, raw, tiled_heic, ultra_hdr, xmp
from PIL import Image as Pillow
from planted import NOISE, SMOOTH, Array, declared, exif, pages, png, save, stored, tiff
from test_reduced import SPOTS, spots, spotted

from pipeline.base import decode as decoding
from pipeline.base import tiff_pages
from pipeline.base.decode import decode
from pipeline.base.errors import ImageError
from pipeline.base.formats import recognise, refusal

LARGE = np.tile(SMOOTH, (6, 5, 1))  # 240 x 280 px


def off(data: bytes, expected: Array, side: int = 0) -> float:
    shown = decode(data, side=side).pixels
    assert shown.shape == expected.shape
    return float(np.abs(shown.astype(int) - expected).max())


@pytest.mark.parametrize("orientation", [1, 3, 6])
def test_heic_is_turned_once(orientation: int) -> None:
    # the writer turns EXIF's orientation into the file's own property, and keeps both
    assert off(heic(stored(LARGE, orientation), exif=exif(orientation)), LARGE) < 40
    square = np.ascontiguousarray(LARGE[:128, :128])
    tiles = np.tile(square, (2, 3, 1))
    assert off(tiled_heic(square, 3, 2), tiles) < 60
    assert off(tiled_heic(square, 3, 2, quarter_turns=1), np.rot90(tiles)) < 60


@pytest.mark.parametrize(
    "make",
    [
        lambda: heic(LARGE),
        lambda: motion(heic(LARGE)),
        lambda: save(LARGE, "AVIF", quality=90),
        lambda: save(LARGE, "AVIF", save_all=True, append_images=[Pillow.new("RGB", (280, 240))]),
        lambda: save(stored(LARGE, 8), "AVIF", quality=90, exif=exif(8)),
        lambda: ultra_hdr(LARGE, quality=95),
        lambda: motion(save(LARGE, "JPEG", quality=95)),
        lambda: save(stored(LARGE, 6), "JPEG", quality=95, xmp=xmp(6)),
        lambda: save(stored(LARGE, 5), "WEBP", quality=95, exif=exif(5)),
    ],
    ids=["heic", "heic-video", "avif", "avif-animated", "avif-turned", "ultra-hdr", "jpeg-video",
         "xmp-turned", "webp-turned"],
)  # fmt: skip
def test_phone_files_show_their_photo(make: Callable[[], bytes]) -> None:
    shown = decode(make()).pixels
    assert shown.shape == LARGE.shape
    assert np.abs(shown.astype(int) - LARGE).mean() < 4


def test_ten_bits_are_scaled_as_eight_are() -> None:
    import pillow_heif

    deep = (LARGE.astype(np.uint16) << 8) + 128
    out = io.BytesIO()
    pillow_heif.encode("RGB;16", (280, 240), deep.astype("<u2").tobytes(), out, quality=95)
    assert np.abs(decode(out.getvalue()).pixels.astype(int) - LARGE).mean() < 3


def test_jpeg_xl_is_read_where_the_extra_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    imagecodecs = pytest.importorskip("imagecodecs")
    assert off(imagecodecs.jpegxl_encode(NOISE, lossless=True), NOISE) == 0
    assert off(imagecodecs.jpegxl_encode(NOISE.astype(np.uint16) * 257, lossless=True), NOISE) == 0
    boxed = imagecodecs.jpegxl_encode(NOISE[:, :, 0].copy(), lossless=True, usecontainer=True)
    assert off(boxed, np.repeat(NOISE[:, :, :1], 3, axis=2)) == 0
    with pytest.raises(ImageError, match="at most 2,239 pixels, got 56 x 40"):
        decode(boxed, max_pixels=2239)
    monkeypatch.setitem(sys.modules, "imagecodecs", None)
    with pytest.raises(ImageError, match=r"JPEG XL.*run `pip install .*formats"):
        decode(boxed)


@pytest.mark.parametrize("size", [(8, 8), (256, 8), (57, 41), (300, 200), (1200, 900), (20000, 3)])
def test_jpeg_xl_says_its_size_before_it_is_decoded(size: tuple[int, int]) -> None:
    imagecodecs = pytest.importorskip("imagecodecs")
    data = imagecodecs.jpegxl_encode(np.zeros((size[1], size[0], 3), np.uint8), effort=1)
    with pytest.raises(ImageError, match=f"got {size[0]} x {size[1]}"):
        decode(data, max_pixels=1)


@pytest.mark.parametrize("dng", [True, False], ids=["dng", "nef"])
def test_raw_is_seen_by_its_preview_or_developed_never_by_its_thumbnail(dng: bool) -> None:
    pytest.importorskip("rawpy")
    sensor = np.tile(LARGE, (5, 4, 1))  # 1200 x 1120 px
    other = 255 - sensor
    for turn in (1, 6):
        shown = decode(raw(sensor, save(other, "JPEG", quality=95), dng, turn)).pixels
        expected = other if turn == 1 else np.rot90(other, -1)
        assert shown.shape == expected.shape
        assert np.abs(shown.astype(int) - expected).mean() < 4
    small = save(other[::8, ::8].copy(), "JPEG")
    for data in (raw(sensor, None, dng), raw(sensor, small, dng)):
        shown = decode(data).pixels
        assert max(shown.shape) >= 560
        thumbnail = np.asarray(Pillow.fromarray(sensor).resize(shown.shape[1::-1]))
        assert np.corrcoef(shown.ravel(), thumbnail.ravel())[0, 1] > 0.8
    reduced = decode(raw(sensor, save(other, "JPEG"), dng), side=300)
    assert (reduced.each, reduced.size) == (4, (1120, 1200))


@pytest.mark.parametrize("dng", [True, False], ids=["dng", "nef"])
def test_raw_without_the_extra_is_named(dng: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rawpy", None)
    with pytest.raises(ImageError, match=r"camera RAW.*run `pip install .*formats"):
        decode(raw(LARGE, save(LARGE, "JPEG"), dng))


def test_a_page_that_says_it_is_a_thumbnail_is_passed_over() -> None:
    small = np.ascontiguousarray(NOISE[::2, ::2])
    full = np.repeat(np.repeat(NOISE, 4, axis=0), 4, axis=1)

    def written(*leaves: tuple[Array, int]) -> bytes:
        import tifffile

        out = io.BytesIO()
        with tifffile.TiffWriter(out) as file:
            for pixels, kind in leaves:
                file.write(pixels, photometric="rgb", subfiletype=kind, metadata=None)
        return out.getvalue()

    assert off(written((small, 1), (NOISE, 0)), NOISE) == 0
    assert off(written((small, 1), (full, 1)), full) == 0
    assert off(written((full, 0), (NOISE, 1), (small, 1)), full) == 0  # a pyramid
    assert off(written((NOISE, 0), (full, 0)), full) == 0  # nothing says so: as small, and alike
    assert off(written((NOISE, 0), (NOISE[::-1].copy(), 0)), NOISE) == 0  # pages of a document
    assert off(written((NOISE[:, :20].copy(), 0), (full, 0)), NOISE[:, :20]) == 0
    assert off(pages(NOISE, "TIFF"), NOISE) == 0


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300), st.sampled_from([b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"]))
def test_directories_of_any_bytes_are_read_without_a_fault(data: bytes, order: bytes) -> None:
    assert tiff_pages.pages(order + data).shown >= 0
    whole = tiff(NOISE, photometric="rgb")
    at = len(data) % len(whole)
    tiff_pages.pages(whole[:at] + data[:9] + whole[at + 9 :])


@pytest.mark.parametrize("factor", [1, 4, 16], ids=["8 bits", "10 bits", "12 bits"])
def test_what_a_16_bit_file_holds_says_what_is_white(factor: int) -> None:
    import cv2

    bright = NOISE.copy()
    bright[0, 0] = 255
    white = 256 * factor - 1
    deep = np.rint(bright / 255 * white).astype(np.uint16)
    grey = np.repeat(bright[:, :, :1], 3, axis=2)
    planes = deep.transpose(2, 0, 1).copy()
    for data in (
        tiff(deep, photometric="rgb"),
        tiff(deep, photometric="rgb", byteorder=">"),
        tiff(deep, photometric="rgb", compression="zlib", predictor=True),
        tiff(planes, photometric="rgb", planarconfig="separate"),
        cv2.imencode(".png", deep[:, :, ::-1])[1].tobytes(),
    ):
        assert off(data, bright) <= 1
    assert off(tiff(deep[:, :, 0].copy()), grey) <= 1
    assert off(save(deep[:, :, 0].copy(), "PNG"), grey) <= 1


def test_a_dark_photo_stays_dark() -> None:
    dark = NOISE.astype(np.uint16) * 64  # a quarter of white
    assert off(tiff(dark, photometric="rgb"), dark >> 8) <= 1
    assert off(tiff(dark[:, :, 0].copy()), np.repeat(dark[:, :, :1] / 257, 3, axis=2)) <= 1


def test_16_bit_planes_are_read_as_such() -> None:
    deep = NOISE.astype(np.uint16) * 257
    planes = deep.transpose(2, 0, 1).copy()
    for order in "<>":
        data = tiff(planes, photometric="rgb", planarconfig="separate", byteorder=order)
        assert off(data, NOISE) == 0


@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_that_lacks_its_end_is_read_and_one_that_is_cut_is_not(progressive: bool) -> None:
    large = np.tile(LARGE, (3, 2, 1))
    whole = save(large, "JPEG", quality=95, progressive=progressive)
    shown = decode(whole).pixels
    for lost in (1, 2, 3, 12):
        pixels = decode(whole[:-lost]).pixels
        assert np.abs(pixels[:-32].astype(int) - shown[:-32]).max() <= 8, lost
    reduced = decode(whole[:-2], side=280)
    assert (reduced.pixels == decode(whole, side=280).pixels).all()
    for share in (0.1, 0.5) if progressive else (0.1, 0.5, 0.9):
        cut = whole[: int(len(whole) * share)]
        for data in (cut, cut + bytes(len(whole) - len(cut))):
            with pytest.raises(ImageError, match="whole JPEG"):
                decode(data)
    with pytest.raises(ImageError, match=r"cut short by .*copy it again"):
        decode(whole[: len(whole) // 2])


def test_zeros_behind_a_whole_jpeg_are_nothing() -> None:
    whole = save(LARGE, "JPEG")
    assert (decode(whole + bytes(5000)).pixels == decode(whole).pixels).all()


@pytest.mark.parametrize("orientation", [1, 2, 5, 6, 7])
def test_a_large_photo_of_any_format_is_read_at_reduced_size(
    orientation: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoding, "WHOLE", 500_000)
    jpeg = spotted(1003, 777, orientation)
    with Pillow.open(io.BytesIO(jpeg)) as photo:
        still = np.asarray(photo)
    whole = decode(jpeg, side=2000)
    same: dict[str, bytes] = {
        kind: save(still, kind, exif=exif(orientation), **how)
        for kind, how in (("PNG", {}), ("TIFF", {}), ("WEBP", {"quality": 95}))
    } | {"JPEG": jpeg, "BMP": save(np.asarray(whole.pixels), "BMP")}
    for kind, data in same.items():
        for side, each in ((100, 8), (0, 4), (126, 4), (5000, 2)):
            if (kind, side) == ("BMP", 5000):
                continue
            part = decode(data, side=side)
            assert part.each == each or kind == "BMP", (kind, side)
            expected = (777, 1003) if orientation in (5, 6, 7) else (1003, 777)
            if kind != "BMP":
                assert part.size == expected, (kind, side)
                assert np.abs(np.sort(spots(part), axis=0) - _upright(orientation)).max() < 0.7


def _upright(orientation: int) -> Array:
    """Where the spots are once the photo stands upright."""
    x, y = np.array(SPOTS, float).T
    right, bottom = 1002 - x, 776 - y
    places = {1: (x, y), 2: (right, y), 5: (y, x), 6: (bottom, x), 7: (bottom, right)}
    return np.sort(np.stack(places[orientation], axis=1), axis=0)


def test_a_header_that_claims_more_than_the_file_can_hold_is_refused() -> None:
    whole = save(SMOOTH, "JPEG")
    claims = declared(whole, whole.index(b"\xff\xc0") + 5, ">HH", 15000, 15000)
    for data in (claims, png(15000, 15000, 8, 2, b"")):
        with pytest.raises(ImageError, match=r"15000 x 15000 pixels in .* bytes, too few"):
            decode(data)


def test_decoders_share_a_stated_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "MEMORY", 100_000)
    most, at_work, lock = [0], [0], threading.Lock()
    load = decoding._READERS["PNG"].load

    def counted(self: object) -> object:
        with lock:
            at_work[0] += 1
            most[0] = max(most[0], at_work[0])
        try:
            return load(self)  # type: ignore[arg-type]
        finally:
            with lock:
                at_work[0] -= 1

    monkeypatch.setattr(decoding._READERS["PNG"], "load", counted)
    data = save(np.tile(NOISE, (2, 2, 1)), "PNG")  # 63 KB in the decoder: one at a time
    threads = [threading.Thread(target=decode, args=(data,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert (most[0], decoding._taken) == (1, [])
    monkeypatch.setattr(decoding, "WHOLE", 1000)
    with pytest.raises(ImageError, match=r"memory, got 500 x 400 pixels, which take .*save it"):
        decode(save(np.zeros((400, 500, 3), np.uint8), "PNG"))


def test_every_refusal_says_what_to_do() -> None:
    assert recognise(b"\0\0\0\x1cftypmif1\0\0\0\0mif1avifmiaf") == "AVIF"
    assert recognise(b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic") == "HEIC"
    assert refusal(b"").endswith("got an empty file, as a cloud's placeholder is; copy or download"
                                 " it again")  # fmt: skip
    assert refusal(struct.pack(">I4s4s", 24, b"ftyp", b"isom")).endswith("3GP); save a frame")
    assert refusal(b"OggS" + bytes(22) + b"\1*\x80theora").endswith("video (Ogg); save a frame")
    assert recognise(b"\xff\xd8\xff\xf7\0\x11") is None
    assert "a JPEG-LS; save it as" in refusal(b"\xff\xd8\xff\xf7\0\x11")


def test_the_start_imports_no_decoder_of_the_extra() -> None:
    import subprocess

    code = (
        "import sys, pipeline.base.images;"
        "print([m for m in ('_pi_heif', 'rawpy', 'imagecodecs', 'tifffile') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"

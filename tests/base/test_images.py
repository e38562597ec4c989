"""Decoding against a hostile corpus: the planted pixels or one line of reason, whatever the bytes,
the thread or the cut.
"""

import io
import struct
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest
from corpus import kinds, write_corpus
from PIL import Image as Pillow
from PIL import ImageFile
from planted import SMOOTH, H, Kind, W, declared, exif, plain_tiff, save

from pipeline.base import decode as decoding
from pipeline.base import pixels
from pipeline.base.errors import ImageError
from pipeline.base.folders import Found, find_photos
from pipeline.base.images import decode, load_image

FORMATS = {
    "JPEG": "jpeg/rgb.jpg",
    "PNG": "png/rgb.png",
    "WebP": "webp/lossless.webp",
    "TIFF": "tiff/lzw.tif",
    "BMP": "bmp/rgb.bmp",
    "GIF": "gif/key.gif",
}
BOMBS = ("holds.png", "holds.tif", "claims.jpg", "claims.gif", "claims.bmp", "claims.webp")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("corpus")
    write_corpus(path)
    return path


def content(name: str) -> bytes:
    data = kinds()[name].make
    assert isinstance(data, bytes)
    return data


def decodable(most: int = 40_000) -> Iterator[tuple[Kind, bytes]]:
    for kind in kinds().values():
        if kind.pixels is not None and isinstance(kind.make, bytes) and len(kind.make) < most:
            yield kind, kind.make


def outcome(kind: Kind, found: Found) -> str:
    """Empty when the kind became what it must."""
    try:
        if found.reason:
            raise ImageError(found.reason)
        pixels = load_image(found.path).pixels
    except ImageError as error:
        line = str(error)
        assert line.isprintable()
        return "" if kind.pixels is None and kind.reason in line else line
    if kind.pixels is None:
        return "decoded"
    if pixels.shape != kind.pixels.shape:
        return f"shape {pixels.shape}"
    off = int(np.abs(pixels.astype(int) - kind.pixels).max())
    return "" if off <= kind.tolerance else f"off by {off}"


def test_every_kind_has_its_pixels_or_its_reason(root: Path) -> None:
    found = {f.name: f for f in find_photos(root)}
    wrong = {
        name: outcome(kind, found.get(name, Found(name, root / name)))
        for name, kind in kinds().items()
    }
    assert {name: why for name, why in wrong.items() if why} == {}
    assert sum(kind.pixels is not None for kind in kinds().values()) > 80
    assert sum(kind.pixels is None for kind in kinds().values()) > 50


def test_a_second_decoder_agrees() -> None:
    alike = [
        "jpeg/rgb.jpg",
        "jpeg/progressive.jpg",
        "png/rgb.png",
        "png/interlaced.png",
        "webp/lossless.webp",
        "bmp/rgb.bmp",
        "tiff/lzw.tif",
    ]
    for name in [*alike, *(f"jpeg/exif{k}.jpg" for k in range(1, 9))]:
        # turns JPEGs upright, too
        second = cv2.imdecode(np.frombuffer(content(name), np.uint8), cv2.IMREAD_COLOR)
        assert second is not None
        assert np.abs(decode(content(name)).pixels[:, :, ::-1].astype(int) - second).max() <= 3, (
            name
        )


def test_sixteen_bits_are_divided_by_257_and_rounded() -> None:
    every = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    for format in ("PNG", "TIFF"):
        assert (decode(save(every, format)).pixels == np.floor(every / 257 + 0.5)[:, :, None]).all()


def test_bands_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = {kind.name: decode(data).pixels for kind, data in decodable()}
    monkeypatch.setattr(pixels, "_BAND", 3 * W + 5)
    for kind, data in decodable():
        assert np.array_equal(decode(data).pixels, whole[kind.name]), kind.name


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_refused_before_it_is_decoded(
    root: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(self: ImageFile.ImageFile) -> None:
        pytest.fail("decoded", pytrace=False)

    for reader in (ImageFile.ImageFile, *decoding._READERS.values()):
        monkeypatch.setattr(reader, "load", load)
    assert (root / "bomb" / name).stat().st_size < 100_000
    with pytest.raises(ImageError, match="pixels"):
        load_image(root / "bomb" / name)


@pytest.mark.parametrize("format", FORMATS)
def test_the_limit_of_pixels_is_exact(format: str) -> None:
    data = content(FORMATS[format])
    assert load_image(data, max_pixels=W * H).size == (W, H)
    with pytest.raises(ImageError, match=rf"^expected at most 2,239 pixels, got {W} x {H}$"):
        load_image(data, max_pixels=W * H - 1)


def test_a_cut_file_is_refused_or_whole() -> None:
    refused = 0
    for kind, data in decodable(12_000):
        shown = decode(data).pixels
        for size in np.linspace(0, len(data) - 1, 12).astype(int):
            try:
                assert np.array_equal(decode(data[:size]).pixels, shown), (kind.name, size)
            except ImageError:
                refused += 1
    assert refused > 500


def test_damaged_bytes_raise_image_errors_only_and_warn_of_nothing() -> None:
    rng = np.random.default_rng(20)
    seen = {"refused": 0, "decoded": 0}
    for _, data in decodable(12_000):
        for _ in range(12):
            bad = bytearray(data)
            # headers are where the harm is
            reach = len(bad) if rng.random() < 0.5 else min(len(bad), 300)
            for at in rng.integers(0, reach, rng.integers(1, 9)):
                bad[at] = rng.choice([0, 1, 127, 128, 255, bad[at] ^ 1 << rng.integers(8)])
            if rng.random() < 0.2:
                start, stop = sorted(rng.integers(0, len(bad), 2))
                del bad[start:stop]
            try:
                decode(bytes(bad), max_pixels=1_000_000)
                seen["decoded"] += 1
            except ImageError:
                seen["refused"] += 1
    assert min(seen.values()) > 100


def test_pillows_warnings_stay_inside(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    torn = save(SMOOTH, "JPEG", exif=exif(6)[:-9] + b"\xff" * 9)
    with pytest.warns(UserWarning, match="Tag data larger than file"):
        Pillow.open(io.BytesIO(torn)).getexif()
    big = content("tiff/rgb.tif")
    monkeypatch.setattr(Pillow, "MAX_IMAGE_PIXELS", W * H - 1)
    with pytest.warns(Pillow.DecompressionBombWarning):
        Pillow.open(io.BytesIO(big))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for data in (torn, big):
            decode(data)
    assert caught == []
    assert capfd.readouterr() == ("", "")


def test_nothing_is_said_on_stderr(tmp_path: Path) -> None:
    many = plain_tiff(bytes(3 * W * H), (258, 8), (262, 2))
    # samples a pixel: Pillow logs an error above six
    at = many.index(struct.pack("<HHII", 277, 4, 1, 1))
    (tmp_path / "many.tif").write_bytes(declared(many, at + 8, "<I", 2000))
    (tmp_path / "torn.jpg").write_bytes(save(SMOOTH, "JPEG", exif=exif(6)[:-9] + b"\xff" * 9))
    code = "import sys; from pipeline.base.folders import *; from pipeline.base.images import *\n"
    code += (
        "for f in find_photos(Path(sys.argv[1])):\n try: load_image(f.path)\n except ImageError as"
        " e: print(e)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert (done.stdout.count("\n"), done.stderr) == (1, "")


def test_threads_share_the_loader() -> None:
    rows = list(decodable())
    ready = threading.Barrier(8)

    def all_rows(_: int) -> list[bytes]:
        ready.wait()
        return [decode(data).pixels.tobytes() for _, data in rows]

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(all_rows, range(8)))
    assert all(answer == answers[0] for answer in answers)


def test_a_reason_is_one_printable_line() -> None:
    nasty = "two\nlines\r\n\ttab\x00\x1b[31mred\u2028\u202e\udce9 caf\xe9 " * 30
    line = str(ImageError(nasty))
    assert line.startswith("two lines tab [31mred caf\xe9 two")
    assert line.isprintable()
    assert len(line) <= 300
    line.encode("utf-8")


def test_pixels_can_be_handed_to_torch_and_opencv() -> None:
    for name in FORMATS.values():
        flags = decode(content(name)).pixels.flags
        assert flags.c_contiguous
        assert flags.writeable

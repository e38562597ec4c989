"""Write a folder of files as phones, cameras and clouds leave them, index it, and hold what became
of each against what must: indexed, or listed with a reason that names what it is.

    python tests/stress/phone_files.py FOLDER --photos PHOTOS [--count 500] [--precision float32]

FOLDER is made anew, with the files in `files` and their gallery in `gallery`; PHOTOS are photos of
one's own, of which the files are made. Prints the counts and the indexing process's peak memory.
"""

import argparse
import io
import itertools
import json
import resource
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import tqdm
from PIL import Image as Pillow

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "support")]

from phone import heic, motion, raw, tiled_heic, ultra_hdr, xmp  # noqa: E402
from planted import Array, exif, save, stored, tiff  # noqa: E402

from pipeline.base.images import load_image  # noqa: E402

PHONE, LARGE, LARGEST = (4032, 3024), (12000, 9000), (16320, 12240)  # 12, 108, 200 megapixels
Make = Callable[[Array], bytes]


def sized(photo: Array, size: tuple[int, int]) -> Array:
    return np.asarray(cv2.resize(photo, size, interpolation=cv2.INTER_LINEAR), np.uint8)


def jpeg(photo: Array, size: tuple[int, int] = PHONE, **how: object) -> bytes:
    return save(sized(photo, size), "JPEG", **({"quality": 88} | how))


def screenshot(photo: Array) -> bytes:
    page = np.full((2532, 1170, 3), 245, np.uint8)
    page[300:1180, 40:1130] = sized(photo, (1090, 880))
    for row in range(1300, 2400, 60):
        cv2.putText(page, f"line {row} of a message", (60, row), 0, 1.2, (20, 20, 20), 2)
    return save(page, "PNG", compress_level=1)


def sticker(photo: Array) -> bytes:
    alpha = np.zeros((512, 512), np.uint8)
    cv2.circle(alpha, (256, 256), 240, 255, -1)
    return save(np.dstack([sized(photo, (512, 512)), alpha]), "WEBP", quality=80)


def jxl(photo: Array) -> bytes:
    import imagecodecs

    coded: bytes = imagecodecs.jpegxl_encode(sized(photo, (2016, 1512)), level=85, effort=2)
    return coded


def animated(photo: Array) -> bytes:
    frames = [Pillow.fromarray(np.roll(sized(photo, (480, 360)), 9 * i, axis=1)) for i in range(4)]
    return save(frames[0], "GIF", save_all=True, append_images=frames[1:])


def turned(photo: Array, orientation: int) -> bytes:
    return save(stored(sized(photo, PHONE), orientation), "JPEG", exif=exif(orientation))


def scan(photo: Array) -> bytes:
    twelve = sized(photo, (1600, 1200)).astype(np.uint16) * 16
    return tiff(twelve, photometric="rgb", compression="zlib")


# how often in a hundred, the name's end, how it is made, and what its refusal says, if it is one
KINDS: tuple[tuple[int, str, Make, str | None], ...] = (
    (14, "iphone.HEIC", lambda p: heic(sized(p, (2016, 1512)), quality=60), None),
    (4, "tiled.heic", lambda p: tiled_heic(sized(p, (512, 512)), 8, 6), None),
    (2, "turned.heic", lambda p: tiled_heic(sized(p, (512, 512)), 8, 6, 3), None),
    (3, "live.heic", lambda p: motion(heic(sized(p, (1008, 756)))), None),
    (12, "android.jpg", jpeg, None),
    (8, "ultra_hdr.jpg", lambda p: ultra_hdr(sized(p, PHONE), quality=88), None),
    (4, "MVIMG.jpg", lambda p: motion(jpeg(p)), None),
    (4, "portrait.jpg", lambda p: turned(p, 6), None),
    (2, "upside_down.jpg", lambda p: turned(p, 3), None),
    (1, "xmp.jpg", lambda p: save(stored(sized(p, (800, 600)), 8), "JPEG", xmp=xmp(8)), None),
    (3, "panorama.jpg", lambda p: jpeg(p, (14000, 2600)), None),
    (2, "108mp.jpg", lambda p: jpeg(p, LARGE), None),
    (2, "200mp.jpg", lambda p: jpeg(p, LARGEST), None),
    (1, "108mp_progressive.jpg", lambda p: jpeg(p, LARGE, progressive=True), None),
    (1, "200mp.heic", lambda p: tiled_heic(sized(p, (2040, 2040)), 8, 6), None),
    (9, "screenshot.png", screenshot, None),
    (3, "sticker.webp", sticker, None),
    (4, "shared.webp", lambda p: save(sized(p, (1600, 1200)), "WEBP", method=0), None),
    (2, "shared.avif", lambda p: save(sized(p, (1600, 1200)), "AVIF", speed=10), None),
    (1, "photo.jxl", jxl, None),
    (1, "animated.gif", animated, None),
    (2, "camera.dng", lambda p: raw(sized(p, (2000, 1500)), jpeg(p, (2000, 1500))), None),
    (2, "camera.nef", lambda p: raw(sized(p, (2000, 1500)), None, False), None),
    (1, "scan.tif", scan, None),
    (1, "renamed.jpg", lambda p: heic(sized(p, (1008, 756))), None),
    (1, "no_end.jpg", lambda p: jpeg(p)[:-2], None),
    (1, "cut.jpg", lambda p: jpeg(p)[: 1 << 16], "cut short"),
    (1, "half_zeros.jpg", lambda p: jpeg(p)[: 1 << 16].ljust(1 << 20, b"\0"), "cut short"),
    (1, "placeholder.jpg", lambda p: b"", "an empty file"),
    (1, "zeros.heic", lambda p: bytes(1 << 20), "bytes of zeros"),
    (1, "clip.jpg", lambda p: motion(b""), "a video"),
    (1, "download.jpg", lambda p: b"<!DOCTYPE html><title>404</title>", "a web page"),
    (1, "layers.jpg", lambda p: b"8BPS\0\1" + bytes(99), "Photoshop"),
    (1, "half.heic", lambda p: heic(sized(p, (1008, 756)))[:20000], "whole HEIC"),
    (1, "hostile.png", lambda p: _claims(15800), "too few to hold them"),
)  # fmt: skip


def _claims(side: int) -> bytes:
    from planted import png

    return png(side, side, 8, 2, b"")


def plan(count: int) -> Iterator[tuple[str, Make, str | None]]:
    """The kinds in turn, each as often as it should be, the rare ones at least once."""
    due = {end: 1.0 for _, end, _, _ in KINDS}
    for i in range(count):
        _, end, make, reason = max(KINDS, key=lambda kind: due[kind[1]])
        for other, name, _, _ in KINDS:
            due[name] += other / 100
        due[end] -= 1
        yield f"{i:04d}_{end}", make, reason


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--precision", default="int8")
    given = parser.parse_args()
    files, gallery = given.folder / "files", given.folder / "gallery"
    for folder in (files, gallery):
        shutil.rmtree(folder, ignore_errors=True)
    files.mkdir(parents=True)
    sources = itertools.cycle(
        sorted(p for p in given.photos.rglob("*") if p.suffix in (".jpg", ".png"))
    )
    expected = {}
    for name, make, reason in tqdm.tqdm(list(plan(given.count)), desc="files", unit="file"):
        (files / name).write_bytes(make(load_image(next(sources)).pixels))
        expected[name] = reason
    command = [sys.executable, "-m", "pipeline.index", str(files), "--gallery", str(gallery)]
    start = time.monotonic()
    code = subprocess.run([*command, "--precision", given.precision], check=False).returncode
    seconds = time.monotonic() - start
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    wrong = judged(gallery, expected) if code == 0 else [f"the index run ended with {code}"]
    kinds = Counter(name.split("_", 1)[1] for name in expected)
    good = sum(reason is None for reason in expected.values())
    print(
        f"{len(expected)} files of {len(kinds)} kinds, {good} to be indexed; {seconds:.0f} s;"
        f" peak memory {peak / 1e6:,.0f} MB"
    )
    print("\n".join(wrong) or "each is indexed, or listed with its reason")
    return 1 if wrong else 0


def judged(gallery: Path, expected: dict[str, str | None]) -> list[str]:
    """What became of a file otherwise than it must, a line each."""
    import pipeline

    with pipeline.open_gallery(gallery) as opened:
        indexed = set(opened.names)
    lines = io.StringIO((gallery / "errors.jsonl").read_text())
    listed = {row["path"]: row["reason"] for row in map(json.loads, lines)}
    return [
        f"{name}: expected {reason or 'to be indexed'}, got {listed.get(name, 'nothing')}"
        for name, reason in expected.items()
        if (name in indexed) != (reason is None) or (reason or "") not in listed.get(name, "")
    ]


if __name__ == "__main__":
    sys.exit(main())

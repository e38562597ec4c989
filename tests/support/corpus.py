"""A hostile corpus: every kind of file that people keep among their photos, good and bad, with what
a loader must make of it.

`write_corpus` writes it all below a folder: files, links, pipes, and names no program expects.
"""

import os
import struct
import tempfile
from functools import cache
from pathlib import Path

import numpy as np
from corpus_good import good
from PIL import Image as Pillow
from planted import GREY, NOISE, SMOOTH, H, Kind, W, declared, flipped, png, save, tiff


def bad_and_odd() -> list[Kind]:
    whole = {
        "jpg": save(SMOOTH, "JPEG"),
        "png": save(NOISE, "PNG"),
        "webp": save(NOISE, "WEBP", lossless=True),
        "bmp": save(NOISE, "BMP"),
        "tif": save(NOISE, "TIFF"),
        "lzw.tif": save(NOISE, "TIFF", compression="tiff_lzw"),
        "gif": save(GREY, "GIF"),
        "progressive.jpg": save(SMOOTH, "JPEG", progressive=True),
    }
    frame = whole["jpg"].index(b"\xff\xc0") + 5
    ones = bytes(2126 * 17000)
    vp8x = (
        b"RIFF"
        + struct.pack("<I", 22)
        + b"WEBPVP8X"
        + struct.pack("<II", 10, 0)
        + b"\xfe\x3f\0" * 2
    )
    # what each is called
    strange = {
        "eps": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n", "PostScript"),
        "pdf": (b"%PDF-1.7\n1 0 obj\n", "a PDF"),
        "text": (b"not a photo\n", "begins b'not a photo"),
        "svg": (b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>', "SVG"),
        "svg-doc": (
            b'<?xml version="1.0"?>\n<!-- x --><!DOCTYPE svg PUBLIC "x">\n<svg/>',
            "SVG",
        ),
        "html": (b"<!DOCTYPE html><title>404</title>", "web page"),
        "html-late": (b"\n\n <html><head>", "web page"),
        "xml": (b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', "XML"),
        "json": (b'{"error": "not found"}', "JSON"),
        "zip": (b"PK\x03\x04" + bytes(60), "ZIP"),
        "gzip": (b"\x1f\x8b\x08" + bytes(60), "archive"),
        "ico": (save(NOISE, "ICO"), "icon"),
        "jp2": (b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(40), "JPEG 2000"),
        "jp2-stream": (b"\xff\x4f\xff\x51" + bytes(40), "JPEG 2000"),
        "psd": (b"8BPS\0\x01" + bytes(40), "Photoshop"),
        "xcf": (b"gimp xcf v011\0", "GIMP"),
        "mp4": (b"\0\0\0\x18ftypisom" + bytes(40), "video"),
        "mov": (b"\0\0\0\x14ftypqt  " + bytes(40), "video"),
        "old-mov": (b"\0\0\x10\0moov\0\0\0\x6cmvhd", "video"),
        "avi": (b"RIFF\0\0\1\0AVI LIST", "video"),
        "mkv": (b"\x1aE\xdf\xa3" + bytes(40), "video"),
        "mpg": (b"\0\0\x01\xba" + bytes(40), "video"),
        "mp3": (b"ID3\x04" + bytes(40), "sound"),
        "apple-double": (b"\0\x05\x16\x07\0\x02\0\0Mac OS X" + bytes(40), "AppleDouble"),
        "icloud": (b"bplist00\xd1\x01\x02", "iCloud"),
        "dicom": (bytes(128) + b"DICM", "DICOM"),
        "exr": (b"\x76\x2f\x31\x01" + bytes(40), "EXR"),
        "elf": (b"\x7fELF" + bytes(60), "a program"),
        "lfs": (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS"),
        "pickle": (b"\x80\x04cos\nsystem\n.", "begins b'"),
        "zeros": (bytes(5000), "5,000 bytes of zeros"),
        "random": (bytes(range(255, 0, -1)), "begins b'"),
        "word": (b"BMW\n", "begins b'BMW"),
    }
    return [
        Kind("bad/zero.jpg", b"", reason="empty"),
        *[Kind(f"bad/{name}.jpg", data, reason=named) for name, (data, named) in strange.items()],
        Kind("bad/phone.heic", b"\0\0\0\x18ftypheic" + bytes(40), reason="whole HEIC"),
        Kind("bad/small.jxl", b"\xff\x0a" + bytes(8), reason="JPEG XL"),
        Kind("bad/canon.cr3", b"\0\0\0\x18ftypcrx " + bytes(40), reason="camera RAW"),
        Kind("bad/olympus.orf", b"IIRO\x08\0\0\0" + bytes(40), reason="camera RAW"),
        Kind("bad/fuji.raf", b"FUJIFILMCCD-RAW " + bytes(40), reason="camera RAW"),
        *[
            Kind(f"bad/half.{suffix}", data[: len(data) // 2], reason="whole")
            for suffix, data in whole.items()
        ],
        *[Kind(f"bad/head.{suffix}", data[:40], reason="whole") for suffix, data in whole.items()],
        Kind("bad/no-end.png", whole["png"][:-12], reason="whole"),
        Kind("bad/bit-flipped.png", flipped(whole["png"], 0.5), reason="whole PNG"),
        Kind(
            "bad/stored-bit-flipped.png",
            flipped(save(NOISE, "PNG", compress_level=0), 0.5),
            reason="checksum",
        ),
        Kind("bad/float64.tif", tiff(np.zeros((H, W))), reason="whole TIFF"),
        Kind(
            "bad/float-rgb.tif",
            tiff(np.zeros((H, W, 3), np.float32), photometric="rgb"),
            reason="whole TIFF",
        ),
        Kind("bad/no-width.bmp", declared(whole["bmp"], 18, "<i", 0), reason="whole BMP"),
        Kind("bomb/holds.png", png(17000, 17000, 1, 0, ones), reason="pixels"),
        Kind(
            "bomb/holds.tif",
            lambda path: Pillow.new("1", (17000, 17000)).save(
                path, compression="tiff_adobe_deflate"
            ),
            reason="pixels",
        ),
        Kind(
            "bomb/claims.jpg", declared(whole["jpg"], frame, ">HH", 65500, 65500), reason="pixels"
        ),
        Kind("bomb/claims.gif", declared(whole["gif"], 6, "<HH", 60000, 60000), reason="pixels"),
        Kind("bomb/claims.bmp", declared(whole["bmp"], 18, "<ii", 30000, 30000), reason="pixels"),
        Kind("bomb/claims.webp", vp8x, reason="pixels"),
        Kind("other/fifo.jpg", os.mkfifo, reason="FIFO"),
        Kind("other/socket.jpg", lambda path: os.mknod(path, 0o140600), reason="socket"),
        Kind("other/broken.jpg", lambda path: path.symlink_to("nothing"), reason="No such file"),
        Kind(
            "other/broken-folder",
            lambda path: path.symlink_to("/no/such/disk"),
            reason="No such file",
        ),
        Kind("other/loop.jpg", lambda path: path.symlink_to("loop.jpg"), reason="symbolic link"),
        Kind("other/escape.jpg", lambda path: path.symlink_to("/dev/zero"), reason="leaves"),
        Kind("other/escape", lambda path: path.symlink_to("/usr"), reason="leaves"),
        Kind("other/up", lambda path: path.symlink_to(".."), reason="loop"),
        Kind("other/link.jpg", lambda path: path.symlink_to("../jpeg/rgb.jpg"), SMOOTH, 5),
        Kind(
            "other/locked.jpg",
            locked,
            SMOOTH if reads_everything() else None,
            5,
            reason="Permission denied",
        ),
    ]


def ignored() -> list[Kind]:
    photo = save(SMOOTH, "JPEG")
    return [
        Kind(
            "notes/notes.txt",
            b"BM is how bitmaps begin, and GIF too\n",
            found=False,
            reason="expected a photo",
        ),
        Kind("notes/empty", b"", found=False, reason="empty"),
        Kind("notes/paper.pdf", b"%PDF-1.7\n", found=False, reason="expected a photo"),
        Kind("notes/drawing.svg", b"<svg/>", found=False, reason="expected a photo"),
        Kind("notes/pipe", os.mkfifo, found=False, reason="FIFO"),
        Kind("notes/.hidden.jpg", photo, SMOOTH, 40, found=False),
        Kind("notes/.thumbnails/small.jpg", photo, SMOOTH, 40, found=False),
        Kind(
            "notes/twin", lambda path: path.symlink_to("../jpeg"), found=False, reason="directory"
        ),
    ]


def locked(path: Path) -> None:
    path.write_bytes(save(SMOOTH, "JPEG", quality=95, subsampling=0))
    path.chmod(0)


def reads_everything() -> bool:
    """Whether locked files are open to whoever runs this, as they are to most roots."""
    with tempfile.NamedTemporaryFile() as file:
        os.chmod(file.name, 0)
        return os.access(file.name, os.R_OK)


@cache
def kinds() -> dict[str, Kind]:
    """Relative name -> kind."""
    return {kind.name: kind for kind in (*good(), *bad_and_odd(), *ignored())}


def write_corpus(root: Path) -> dict[str, Kind]:
    """Write every kind below `root` and say what must become of each."""
    for name, kind in kinds().items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(kind.make, bytes):
            path.write_bytes(kind.make)
        else:
            kind.make(path)
    return kinds()

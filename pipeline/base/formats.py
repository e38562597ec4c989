"""What a file's first bytes say it is: the formats that are read, and by name those that are not.

Nothing trusts a file's name. This is the one place that knows signatures.
"""

import re

# photos by name: none of these is left out in silence, whether it can be read or not
SUFFIXES = frozenset(
    (
        ".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".webp", ".tif", ".tiff", ".bmp",
        ".dib", ".gif", ".heic", ".heif", ".hif", ".heics", ".avif", ".jxl", ".jp2",
        # camera RAW
        ".3fr", ".arw", ".cr2", ".cr3", ".crw", ".dcr", ".dng", ".erf", ".fff", ".gpr", ".iiq",
        ".k25", ".kdc", ".mef", ".mos", ".mrw", ".nef", ".nrw", ".orf", ".pef", ".raf", ".rw2",
        ".rwl", ".sr2", ".srf", ".srw", ".x3f",
    )
)  # fmt: skip
HEAD = 256  # bytes, enough to recognise a format
EXTRA = "formats"  # of pyproject.toml, which reads the last two
READ = ("JPEG", "PNG", "WebP", "TIFF", "BMP", "GIF", "HEIC", "AVIF", "JPEG XL", "camera RAW")

_FTYP = rb"[\0-\x01]...ftyp"
# BMP's two letters also begin English words
_READ: tuple[tuple[str, bytes], ...] = (
    ("JPEG", rb"\xff\xd8\xff(?!\xf7)"),
    ("PNG", rb"\x89PNG\r\n\x1a\n"),
    ("WebP", rb"RIFF.{4}WEBP"),
    # before TIFF, which some of them are; of the others `tiff_pages` says that they are
    (
        "camera RAW",
        rb"II\*\0....CR|II\x1a\0....HEAPCCDR|II[RU][OS\0]|MMOR|FUJIFILMCCD-RAW|\0MRM|FOVb"
        rb"|II\*\0....IIII|MM\0\*....MMMM|" + _FTYP + rb"crx ",
    ),
    ("TIFF", rb"II[*+]\0|MM\0[*+]"),
    ("BMP", rb"BM.{12}[\x0c\x28\x34\x38\x40\x6c\x7c]\0\0\0"),
    ("GIF", rb"GIF8[79]a"),
    ("JPEG XL", rb"\xff\x0a|\0\0\0\x0cJXL \r\n\x87\n"),
)
_AVIF = {b"avif", b"avis"}
_HEIC = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"}

_CONVERT = "save it as a JPEG or PNG"
_AGAIN = "copy or download it again"
_NAMED: tuple[tuple[str, bytes, str], ...] = (
    ("a video (MP4, MOV or 3GP)", _FTYP + rb"|....(moov|mdat|wide|free|skip)", "save a frame"),
    ("a video (AVI)", rb"RIFF.{4}AVI ", "save a frame"),
    ("a video (Matroska or WebM)", rb"\x1aE\xdf\xa3", "save a frame"),
    ("a video (MPEG)", rb"\0\0\x01[\xb3\xba]|\x47.{187}\x47", "save a frame"),
    ("a video (Windows Media)", rb"0&\xb2u\x8ef\xcf\x11", "save a frame"),
    ("a video (Ogg)", rb"OggS.{24}(\x80theora|\x01video)", "save a frame"),
    ("a video (Flash)", rb"FLV\x01", "save a frame"),
    ("a JPEG 2000", rb"\0\0\0\x0cjP  \r\n\x87\n|\xff\x4f\xff\x51", _CONVERT),
    ("a JPEG-LS", rb"\xff\xd8\xff\xf7", _CONVERT),
    ("a JPEG XR", rb"II\xbc[\0\x01]", _CONVERT),
    ("a Photoshop document (PSD)", rb"8BP[SB]", _CONVERT),
    ("a GIMP document (XCF)", rb"gimp xcf", _CONVERT),
    ("a PDF", rb"\s*%PDF-", "save its pictures as JPEG or PNG"),
    ("a PostScript file", rb"\s*%!PS|\xc5\xd0\xd3\xc6", _CONVERT),
    ("an SVG drawing", rb"(\xef\xbb\xbf)?\s*(<\?xml.*?)?(<!--.*?-->\s*)?(<!DOCTYPE svg.*?)?<svg",
     _CONVERT),
    ("a web page (HTML), perhaps an error in place of a download",
     rb"(?i)(\xef\xbb\xbf)?\s*(<\?xml.*?)?(<!--.*?-->\s*)?<(!doctype html|html|head|body|title)",
     _AGAIN),
    ("an XML file", rb"(\xef\xbb\xbf)?\s*<\?xml", _AGAIN),
    ("a JSON text, perhaps an error in place of a download", rb"\s*[{\[]\s*[\"{\[]", _AGAIN),
    ("an EXR picture", rb"\x76\x2f\x31\x01", _CONVERT),
    ("a Radiance HDR picture", rb"#\?RADIANCE|#\?RGBE", _CONVERT),
    ("an icon (ICO)", rb"\0\0[\x01\x02]\0[\x01-\x40]\0", _CONVERT),
    ("an icon (ICNS)", rb"icns", _CONVERT),
    ("a QOI picture", rb"qoif", _CONVERT),
    ("a netpbm picture", rb"P[1-7]\s", _CONVERT),
    ("a FITS picture", rb"SIMPLE  =", _CONVERT),
    ("a DICOM picture", rb".{128}DICM", _CONVERT),
    ("a DjVu document", rb"AT&TFORM", _CONVERT),
    ("an AppleDouble file, which holds what macOS knows of a photo, not the photo",
     rb"\0\x05\x16[\0\x07]", "look for the file without ._ in its name"),
    ("a property list, as iCloud leaves in place of a photo", rb"bplist00", "download the photo"),
    ("a Git LFS pointer", rb"version https://git-lfs", "run `git lfs pull`"),
    ("a Windows shortcut", rb"L\0\0\0\x01\x14\x02\0", "give the file that it leads to"),
    ("a ZIP archive", rb"PK[\x03\x05\x07]", "unpack it"),
    ("an archive", rb"Rar!|7z\xbc\xaf|\x1f\x8b|\xfd7zXZ|BZh", "unpack it"),
    ("a sound file", rb"ID3|OggS|fLaC|RIFF.{4}WAVE", "give a photo"),
    ("a program", rb"\x7fELF|MZ.{58}", "give a photo"),
    ("an SQLite database", rb"SQLite format 3\0", "give a photo"),
)  # fmt: skip


def recognise(data: bytes) -> str | None:
    """The name in READ of the format that a file begins as, or None. TIFF-based RAW is TIFF here:
    its first bytes do not tell.
    """
    head = data[:HEAD]
    if re.match(_FTYP, head, re.DOTALL):
        size = min(int.from_bytes(head[:4], "big"), HEAD)
        major, others = head[8:12], {head[at : at + 4] for at in range(16, size - 3, 4)}
        if major in _AVIF or (major in (b"mif1", b"msf1") and others & _AVIF):
            return "AVIF"
        if major in _HEIC:
            return "HEIC"
    return next((name for name, sign in _READ if re.match(sign, head, re.DOTALL)), None)


def refusal(data: bytes) -> str:
    """Why a file that `recognise` does not know is not read: what it is instead, and what to do."""
    expected = f"expected a photo ({', '.join(READ)})"
    if not data:
        return f"{expected}, got an empty file, as a cloud's placeholder is; {_AGAIN}"
    for what, sign, advice in _NAMED:
        if re.match(sign, data[:4096], re.DOTALL):
            return f"{expected}, got {what}; {advice}"
    if not data.strip(b"\0"):
        return f"{expected}, got {len(data):,} bytes of zeros; {_AGAIN}"
    return f"{expected}, got a file that begins {data[:12]!r}"

"""The contact sheet of a gallery's groups: one HTML file, the best photo of each group first.

It holds small copies of the photos, no script, and loads nothing.
"""

import base64
import io
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

import PIL.Image

from pipeline.base.errors import ImageError
from pipeline.base.files import write_file
from pipeline.base.images import load_image
from pipeline.report.html import POLICY
from pipeline.report.text import name

if TYPE_CHECKING:
    from pipeline.pairs.best import Quality
    from pipeline.pairs.find import Group, Groups

SIDE = 360  # px of a small copy
PHOTOS, GROUPS = 12, 200  # shown of a group, and in all
CSS = "\n" + Path(__file__).with_name("contact_sheet.css").read_text("utf-8")


def write_sheet(path: Path, found: "Groups") -> None:
    """Write it, whole or not at all. Raises UsageError."""
    write_file(path, document(found).encode())


def document(found: "Groups") -> str:
    shown = found.groups[:GROUPS]
    photos = {photo: group.qualities[photo] for group in shown for photo in group.photos[:PHOTOS]}
    with ThreadPoolExecutor() as pool:
        pictures = dict(zip(photos, pool.map(picture, photos.values()), strict=True))
    sections = "\n".join(section(n, group, pictures) for n, group in enumerate(shown, 1))
    return f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>Groups of photos</title>
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1"><style>{CSS}</style></head>
<body><header><h1>{headline(found)}</h1>
<p>{summary(found)}</p></header>
<main>{sections}</main></body></html>
"""


def headline(found: "Groups") -> str:
    many = len(found.groups)
    if not many:
        return f"No two of {found.photos:,} photos show the same thing"
    inside = sum(len(group.photos) for group in found.groups)
    return (
        f"{inside:,} of {found.photos:,} photos show the same thing as another, in {many:,}"
        f" group{'' if many == 1 else 's'}"
    )


def summary(found: "Groups") -> str:
    stated = f"{found.false_pairs:g} pair{'' if found.false_pairs == 1 else 's'}"
    said = [
        "The best photo of a group has the most pixels; of those with nearly as many it is the"
        " sharpest, then the one with the largest file.",
        f"At most {stated} of unrelated photos {'is' if found.false_pairs == 1 else 'are'} expected"
        " among all photos together. Nothing is deleted.",
    ]
    if len(found.groups) > GROUPS:
        said.append(f"The {GROUPS} largest groups are shown; --json and --csv have all.")
    return " ".join(said)


def section(number: int, group: "Group", pictures: Mapping[str, str]) -> str:
    """One group: its photos side by side, the best first."""
    kind = "near-duplicates" if group.near_duplicate else "the same scene"
    letters: dict[str, str] = {}
    if not group.near_duplicate:
        for letter, same in zip(map(_letter, count()), group.near_duplicates, strict=False):
            letters |= dict.fromkeys(same, letter)
    shown, more = group.photos[:PHOTOS], len(group.photos) - PHOTOS
    items = "\n".join(
        item(photo, group.qualities[photo], pictures[photo], photo == group.best, letters)
        for photo in shown
    )
    left = f'<p class="soft">and {more:,} more</p>' if more > 0 else ""
    return f"""<section aria-labelledby="g{number}"><h2 id="g{number}">Group {number}
<small>{len(group.photos):,} photos, {kind}</small></h2>
<ul class="photos">{items}</ul>{left}</section>"""


def item(
    photo: str, quality: "Quality", picture: str, best: bool, letters: Mapping[str, str]
) -> str:
    inside = f'<img src="{picture}" alt="">' if picture else "<span>photo not found</span>"
    badges = ['<span class="badge choice">best photo</span>'] if best else []
    if photo in letters:
        badges.append(f'<span class="badge">near-duplicate {letters[photo]}</span>')
    sharp = "" if quality.sharpness is None else f"<br>sharpness {quality.sharpness:,.0f}"
    return f"""<li{' class="best"' if best else ""}><div class="frame">{inside}</div>
<div class="said"><div class="badges">{"".join(badges)}</div><p>{name(photo, breaks=True)}</p>
<p class="soft">{quality.width:,} x {quality.height:,} px{sharp}</p></div></li>"""


def picture(quality: "Quality") -> str:
    """A JPEG data URI; nothing where the photo is away, or was another one when it was measured."""
    if quality.sharpness is None:
        return ""
    try:
        small = PIL.Image.fromarray(load_image(quality.file, side=SIDE).pixels)
    except ImageError:
        return ""
    small.thumbnail((SIDE, SIDE), PIL.Image.Resampling.LANCZOS)
    file = io.BytesIO()
    small.save(file, "JPEG", quality=78, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()


def _letter(place: int) -> str:
    return chr(ord("A") + place % 26) * (place // 26 + 1)

"""The picture of an answer: one HTML file in which a reader sees which points matched, what they
agree on and why each result stands there.

The file needs nothing beside itself (photos are data URIs, drawings are SVG, no script) and its
bytes depend on the answers alone.
"""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path

import numpy as np
import numpy.typing as npt
import PIL.Image

from pipeline.base.errors import QueryError
from pipeline.base.files import write_file
from pipeline.report.text import bits, few, headline, name, seconds, summary, why
from pipeline.search.absolute import asked_path
from pipeline.search.answer import Answer, Evidence, Result
from pipeline.search.engine import Engine
from pipeline.search.query import Query, read_query
from pipeline.search.turn import AS_IT_IS, nearest_turn, upright
from stages.records import Image

# px, bytes of an embedded photo: eleven of them in base64 stay under 1.5 MB
LONGEST, HEAVIEST = 640, 100_000
BOX, GAP = 480.0, 20.0  # SVG units: the square a photo is fitted into, the room between two
LINES, OUTLIERS = 150, 50  # drawn at most in one picture; of them, outliers

POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"  # no script, nothing loaded
CSS = "\n" + Path(__file__).with_name("report.css").read_text("utf-8")
LINE, SWATCH = (
    '<path d="M4,6h0M28,6h0"/><line x1="4" y1="6" x2="28" y2="6"/>',
    '<li><svg viewBox="0 0 32 12" aria-hidden="true">{}</svg>{}</li>',
)
FRAME = '<rect class="frame" x="3" y="2" width="26" height="8"/>'
FRAMED = "the query's frame, and where the map puts it"
BOXED = "the box that was searched for, and where the map puts it"
AGREES = "inlier: a match that agrees with the affine map"
KEY = f"""<ul class="key soft">{SWATCH.format(f'<g class="in">{LINE}</g>', AGREES)}
{SWATCH.format(f'<g class="out">{LINE}</g>', "outlier: a match that does not")}
{SWATCH.format(FRAME, FRAMED)}</ul>"""


@dataclass(frozen=True, eq=False)
class Shown:
    result: Result
    photo: Image | None  # the candidate; None when its file is gone
    # None beyond the candidates, or where no affine map was found
    evidence: Evidence | None


@dataclass(frozen=True, eq=False)
class Page:
    answer: Answer
    query: Image  # the whole photo, also where a box of it asked
    shown: tuple[Shown, ...]

    @property
    def corners(self) -> npt.NDArray[np.float64]:
        """(4, 2) px of what asked."""
        left, top, right, bottom = self.answer.box or (0, 0, *self.query.size)
        return np.array([[left, top], [right, top], [right, bottom], [left, bottom]]) - 0.5


@dataclass(frozen=True)
class Panel:
    """Where a photo lies in a drawing, in SVG units. There a pixel is a square: the centre of the
    first is half a pixel inside.
    """

    x: float
    y: float
    width: float
    height: float
    scale: float  # SVG units a px

    def at(self, xy: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """(n, 2) px -> (n, 2) SVG units."""
        return (np.asarray(xy, np.float64) + 0.5) * self.scale + (self.x, self.y)

    def box(self) -> str:
        return (
            f'x="{self.x:.1f}" y="{self.y:.1f}" width="{self.width:.1f}" height="{self.height:.1f}"'
        )


def write_report(path: Path, pages: Sequence[Page]) -> None:
    """Write the report of these answers, whole or not at all. Raises UsageError."""
    write_file(path, document(pages).encode())


def document(pages: Sequence[Page]) -> str:
    queries = "".join(
        f'<li><a href="#q{n}-name">{name(page.answer.query)}</a></li>'
        for n, page in enumerate(pages, 1)
    )
    contents = f'<nav aria-label="Queries"><ol>{queries}</ol></nav>'
    title = name(pages[0].answer.query) if len(pages) == 1 else f"{len(pages)} queries"
    sections = "\n".join(section(page, f"q{n}") for n, page in enumerate(pages, 1))
    return f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{title}: photo search</title>
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1"><style>{CSS}</style></head>
<body><header><h1>Two-look photo search</h1>{contents if len(pages) > 1 else ""}</header>
<main>{sections}</main></body></html>
"""


def section(page: Page, key: str) -> str:
    """One query: what was done in words, then a row for every result."""
    answer, (around,) = page.answer, placed(page.query.size)
    image = (
        f'<image id="{key}" {around.box()} preserveAspectRatio="none"'
        f' href="{embedded(page.query)}"/>'
    )
    if answer.box is not None:
        image += frame(page.corners, around)
    view = (
        f'viewBox="{around.x:.1f} 0 {around.width:.1f} {around.height:.1f}" role="img"'
        f' aria-label="The query, {name(answer.query)}"'
    )
    key_of = KEY if answer.box is None else KEY.replace(FRAMED, BOXED)
    parts = [f"""<section aria-labelledby="{key}-name"><div class="query"><svg {view}>{image}</svg>
<div><h2 id="{key}-name">{name(answer.query, breaks=True)}</h2>
<p class="verdict">{headline(answer)}</p><p>{summary(answer)}</p>
<p class="soft">{seconds(answer)}</p></div></div>
{"" if answer.by_codes else key_of}"""]  # fmt: skip
    for accepted, group in groupby(page.shown, lambda shown: shown.result.accepted):
        title, note = (
            ("Matches", "accepted by the second look, most evidence first")
            if accepted
            else ("In coarse order", "as the first look ranked them")
        )
        if answer.by_codes:
            title, note = (
                ("Ranked twice", "by the numbers behind the bits, nearest first")
                if accepted
                else ("In coarse order", "by the bits that differ, as the first look ranked them")
            )
        parts += [
            f"<h3>{title} <small>{note}</small></h3>\n<ol>",
            *(row(page, shown, key) for shown in group),
            "</ol>",
        ]
    return "\n".join([*parts, "</section>"])


def row(page: Page, shown: Shown, key: str) -> str:
    result = shown.result
    kind = "accepted" if result.accepted else "filled"
    facts = {"first look → now": f"{result.coarse_rank:,} → <b>{result.rank:,}</b>"}
    if page.answer.by_codes:
        badge = bits(result, page.answer)
        facts["bits that differ"] = f"{result.hamming} of {page.answer.bits}"
        if result.code_distance is not None:
            facts["distance of the numbers"] = f"{result.code_distance:.3f}"
    else:
        badge = "✓ match" if result.accepted else result.verdict
        facts["distance"] = f"{result.distance:.3f}"
        if result.parts_rank is not None:
            facts = {"by parts": f"{result.parts_rank:,}", **facts}
        facts |= {"matches": f"{result.matches:,}", "inliers": f"{result.inliers:,}"}
        if result.false_alarms is not None:
            facts["false alarms expected"] = few(result.false_alarms)
    return f"""<li class="hit {kind}">
<div class="head"><span class="rank">{result.rank}</span><h4>{name(result.image, breaks=True)}</h4>
<p><span class="badge">{badge}</span></p><p>{why(result, page.answer)}</p></div>
{picture(page, shown, key)}
<dl>{"".join(f"<div><dt>{fact}</dt><dd>{value}</dd></div>" for fact, value in facts.items())}</dl>
</li>"""


def picture(page: Page, shown: Shown, key: str) -> str:
    """Query and candidate side by side under their matches."""
    query, photo, evidence, affine = page.query, shown.photo, shown.evidence, shown.result.affine
    turn = AS_IT_IS
    if shown.result.accepted:
        turn = nearest_turn(shown.result.turned, shown.result.mirrored)
    there = upright(query.size, turn)
    size = query.size[::-1] if turn.quarters % 2 else query.size
    left, right = placed(size, (photo or query).size)
    high, caption = max(left.height, right.height), "Query left, candidate right"
    drawn = [f'<use href="#{key}" y="{left.y:.1f}"/>']
    if turn != AS_IT_IS:
        drawn = [f'<use href="#{key}" transform="{moved(query.size, there, left)}"/>']
        caption = "Query left, turned as the candidate shows it, candidate right"
    if photo is None:
        drawn.append(
            f'<rect class="gone" {right.box()}/><text x="{right.x + right.width / 2:.1f}"'
            f' y="{high / 2:.1f}">photo not found</text>'
        )
        caption = "The photo is no longer where it was indexed."
    else:
        drawn.append(f'<image {right.box()} preserveAspectRatio="none" href="{embedded(photo)}"/>')
        if affine is not None and np.isfinite(affine).all():
            drawn += [
                frame(by(there, page.corners), left),
                frame(by(np.array(affine, np.float64), page.corners), right),
            ]
        if evidence is not None:
            evidence = replace(evidence, query_xy=by(there, evidence.query_xy).astype(np.float32))
            inliers, outliers = np.flatnonzero(evidence.inlier), np.flatnonzero(~evidence.inlier)
            faint = min(len(outliers), OUTLIERS)
            clear = min(len(inliers), LINES - faint)
            drawn += [
                lines("out", evidence, outliers, faint, left, right),
                lines("in", evidence, inliers, clear, left, right),
            ]
            caption += (
                f"; drawn: {clear} of {len(inliers):,} inliers, {faint} of {len(outliers):,}"
                " outliers"
            )
    points = (
        ""
        if page.answer.by_codes
        else f": {shown.result.inliers:,} inliers of {shown.result.matches:,} matches"
    )
    label = f"The query beside {name(shown.result.image)}{points}"
    svg = (
        f'<svg viewBox="0 0 {2 * BOX + GAP:.0f} {high:.1f}" role="img"'
        f' aria-label="{label}">{"".join(drawn)}</svg>'
    )
    return f"<figure>{svg}<figcaption>{caption}</figcaption></figure>"


def by(matrix: npt.NDArray[np.float64], xy: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Points (n, 2) by a map (2, 3)."""
    return np.asarray(xy, np.float64) @ matrix[:, :2].T + matrix[:, 2]


def moved(size: tuple[int, int], there: npt.NDArray[np.float64], panel: Panel) -> str:
    """What moves the query of this size, as it is drawn first, by a map (2, 3) of its px into a
    panel.
    """
    (around,) = placed(size)
    corners = np.array([[0, 0], [1, 0], [0, 1]], np.float64)
    px = (corners - (around.x, around.y)) / around.scale - 0.5
    at, x, y = panel.at(by(there, px))
    return f"matrix({' '.join(f'{each:.6g}' for each in (*(x - at), *(y - at), *at))})"


def placed(*sizes: tuple[int, int]) -> list[Panel]:
    """Photos (width, height) px side by side, each as large as a box lets it, level with the
    tallest.
    """
    panels, high = [], max(BOX * size[1] / max(size) for size in sizes)
    for i, size in enumerate(sizes):
        scale = BOX / max(size)
        width, height = size[0] * scale, size[1] * scale
        panels.append(
            Panel(i * (BOX + GAP) + (BOX - width) / 2, (high - height) / 2, width, height, scale)
        )
    return panels


def frame(corners: npt.NDArray[np.float64], panel: Panel) -> str:
    """A quadrangle (4, 2) px, cut off at the photo's edge, which an inner svg does by itself."""
    points = " ".join(f"{x:.1f},{y:.1f}" for x, y in panel.at(corners) - (panel.x, panel.y))
    return f'<svg {panel.box()}><polygon class="frame" points="{points}"/></svg>'


def lines(
    kind: str, evidence: Evidence, rows: npt.NDArray[np.intp], most: int, left: Panel, right: Panel
) -> str:
    """A line for each of so many of these matches, evenly spread over them, with a dot at both
    ends.
    """
    chosen = rows[np.arange(most) * len(rows) // most]
    ends = np.hstack([left.at(evidence.query_xy[chosen]), right.at(evidence.candidate_xy[chosen])])
    drawn = "".join(
        f'<line x1="{a:.1f}" y1="{b:.1f}" x2="{c:.1f}" y2="{d:.1f}"/>' for a, b, c, d in ends
    )
    return (
        f'<g class="{kind}">{drawn}<path'
        f' d="{"".join(f"M{a:.1f},{b:.1f}h0M{c:.1f},{d:.1f}h0" for a, b, c, d in ends)}"/></g>'
    )


def embedded(image: Image) -> str:
    """A JPEG data URI, small in pixels and bytes."""
    small = PIL.Image.fromarray(image.pixels)
    small.thumbnail((LONGEST, LONGEST), PIL.Image.Resampling.LANCZOS)
    for quality in (82, 70, 55, 40, 25):
        file = io.BytesIO()
        small.save(file, "JPEG", quality=quality, optimize=True)
        if file.tell() <= HEAVIEST:
            break
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()


def page_of(engine: Engine, query: Query, answer: Answer) -> Page:
    """The pictures that go with an answer. A photo that is gone, or is another one by now, is left
    out.
    """

    def photo_of(path: Path, size: tuple[int, int]) -> Image | None:
        try:
            photo = read_query(str(path))
        except QueryError:
            return None
        return photo if photo.size == size else None

    def shown(result: Result) -> Shown:
        size = engine.gallery.features[engine.gallery.row(result.image)].size
        photo = photo_of(engine.file(result.image), size)
        return Shown(result, photo, engine.evidence(query, result))

    width, height = query.size
    asked = photo_of(Path(asked_path(engine, query.name)), (width, height))
    grey = np.full((height, width, 3), 224, np.uint8)
    return Page(answer, asked or Image(grey), tuple(map(shown, answer.results)))

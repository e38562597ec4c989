"""The picture of an answer: one HTML file in which a reader sees which points matched, what they agree on and why each result stands there.

The file needs nothing beside itself (photos are data URIs, drawings are SVG, no script) and its bytes depend on the answers alone.
"""

import base64
import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np
import numpy.typing as npt
import PIL.Image

from pipeline.answer import Answer, Evidence, Result
from pipeline.wording import few, name, seconds, summary, why
from stages.records import Image

LONGEST, HEAVIEST = 640, 100_000  # px, bytes of an embedded photo: eleven of them in base64 stay under 1.5 MB
BOX, GAP = 480.0, 20.0  # SVG units: the square a photo is fitted into, the room between two
LINES, OUTLIERS = 150, 50  # drawn at most in one picture; of them, outliers

CSS = """
:root { --paper: #fbfaf7; --card: #fff; --ink: #1b1f24; --soft: #5b636d; --rule: #dcd9d1; --yes: #00609c; --wash: #e4f0f8; color-scheme: light dark }
@media (prefers-color-scheme: dark) {
  :root { --paper: #14171a; --card: #1c2024; --ink: #eceae5; --soft: #a3abb4; --rule: #363c43; --yes: #7cc4f2; --wash: #17303f } }
* { box-sizing: border-box; margin: 0; padding: 0 } ol, ul { list-style: none } a, .accepted b { color: var(--yes) }
body { margin: 0 auto; padding: 2.5rem 1.5rem 4rem; max-width: 70rem; background: var(--paper); color: var(--ink);
  font: 1rem/1.5 system-ui, sans-serif; font-variant-numeric: tabular-nums } h1 { font-size: .875rem; font-weight: 600; color: var(--soft) }
.soft, small, figcaption, dt { color: var(--soft); font-weight: 400 } h2 { font-size: 1.75rem; line-height: 1.2; letter-spacing: -.015em }
h2, h4, nav { overflow-wrap: anywhere } nav ol { columns: 16rem; margin-top: .75rem } h3 { margin: 2.25rem 0 .75rem; font-size: 1.125rem }
h3 small { font-size: .875rem; margin-left: .5rem } h4 { font-size: 1rem; line-height: 1.35 }
:not(svg) > svg { display: block; width: 100%; height: auto; border-radius: 4px }
.query { display: grid; grid-template-columns: 15rem 1fr; gap: 2rem; align-items: center; padding: 1.5rem 0 } .query svg { max-height: 15rem }
.query p { max-width: 42rem; margin-top: .75rem } .query p + p { margin-top: .25rem; font-size: .875rem } section + section { margin-top: 4rem }
.key { display: flex; flex-wrap: wrap; gap: .25rem 1.5rem; font-size: .875rem } .key li { display: flex; align-items: center; gap: .5rem }
.key svg { flex: none; width: 2rem; border-radius: 2px; background: #555 } figcaption { margin-top: .375rem; font-size: .8125rem }
.hit { display: grid; grid-template: "head picture" auto "facts picture" 1fr / 18rem 1fr; gap: 1rem 1.5rem; margin-bottom: 1rem; padding: 1rem;
  border: 1px solid var(--rule); border-radius: 8px; break-inside: avoid } .filled { border-style: dashed }
.accepted { background: var(--card); border-left: 6px solid var(--yes) } .head > p { grid-column: 2; font-size: .875rem }
.head { grid-area: head; display: grid; grid-template-columns: minmax(2rem, auto) 1fr; gap: 0 .75rem; align-content: start }
.rank { font-size: 2.25rem; line-height: 1; font-weight: 650; grid-row: span 3 } .filled .rank { color: var(--soft); font-weight: 400 }
.badge { display: inline-block; margin: .375rem 0 .25rem; padding: 0 .5rem; border-radius: 4px; outline: 1px solid var(--rule); font-weight: 600 }
.accepted .badge { background: var(--wash); color: var(--yes); outline: none } .filled .badge { color: var(--soft) }
figure { grid-area: picture; min-width: 0 } .filled figure { max-width: 32rem } dl { grid-area: facts; font-size: .875rem }
dl div { display: flex; justify-content: space-between; gap: .5rem; padding: .1875rem 0; border-top: 1px solid var(--rule) }
line, path, .frame { fill: none; stroke: #ffd84d; stroke-width: 1.8 } path { stroke-width: 6; stroke-linecap: round } polygon { stroke-width: 4.5 }
.in, .frame { filter: drop-shadow(0 0 1px #000) } .in line { stroke-opacity: .65 } .gone { fill: var(--rule) }
.out * { stroke: #fff; stroke-opacity: .55 } .out line { stroke-dasharray: 6 6 } text { fill: var(--soft); font-size: 22px; text-anchor: middle }
@media (max-width: 44rem) {
  body { padding: 1.25rem 1rem 3rem } h2 { font-size: 1.375rem } h3 small { display: block; margin: 0 }
  .query { grid-template-columns: minmax(0, 1fr); gap: 1rem } .query svg { max-height: 12rem; width: auto; max-width: 100% }
  .hit { grid-template: "head" auto "picture" auto "facts" auto / minmax(0, 1fr); padding: .875rem; gap: .75rem }
  dl { display: grid; grid-template-columns: 1.4fr 1fr; gap: 0 1rem } }
"""
LINE, SWATCH = '<path d="M4,6h0M28,6h0"/><line x1="4" y1="6" x2="28" y2="6"/>', '<li><svg viewBox="0 0 32 12" aria-hidden="true">{}</svg>{}</li>'
KEY = f"""<ul class="key soft">{SWATCH.format(f'<g class="in">{LINE}</g>', "inlier: a match that agrees with the affine map")}
{SWATCH.format(f'<g class="out">{LINE}</g>', "outlier: a match that does not")}
{SWATCH.format('<rect class="frame" x="3" y="2" width="26" height="8"/>', "the query's frame, and where the map puts it")}</ul>"""


@dataclass(frozen=True, eq=False)
class Shown:
    result: Result
    photo: Image | None  # the candidate; None when its file is gone
    evidence: Evidence | None  # None beyond the looked-at candidates, or where no affine map was found


@dataclass(frozen=True, eq=False)
class Page:
    answer: Answer
    query: Image
    shown: tuple[Shown, ...]


@dataclass(frozen=True)
class Panel:
    """Where a photo lies in a drawing, in SVG units. There a pixel is a square: the centre of the first is half a pixel inside."""

    x: float
    y: float
    width: float
    height: float
    scale: float  # SVG units a px

    def at(self, xy: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """(n, 2) px -> (n, 2) SVG units."""
        return (np.asarray(xy, np.float64) + 0.5) * self.scale + (self.x, self.y)

    def box(self) -> str:
        return f'x="{self.x:.1f}" y="{self.y:.1f}" width="{self.width:.1f}" height="{self.height:.1f}"'


def write_report(path: Path, pages: Sequence[Page]) -> None:
    """Write the report of these answers, whole or not at all."""
    temporary = path.with_name(f".report-{os.getpid()}.tmp")
    try:
        temporary.write_bytes(document(pages).encode())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def document(pages: Sequence[Page]) -> str:
    queries = "".join(f'<li><a href="#q{n}-name">{name(page.answer.query)}</a></li>' for n, page in enumerate(pages, 1))
    title = name(pages[0].answer.query) if len(pages) == 1 else f"{len(pages)} queries"
    sections = "\n".join(section(page, f"q{n}") for n, page in enumerate(pages, 1))
    return f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{title}, looked at twice</title>
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1"><style>{CSS}</style></head>
<body><header><h1>Two-look photo search</h1>{f'<nav aria-label="Queries"><ol>{queries}</ol></nav>' if len(pages) > 1 else ""}</header>
<main>{sections}</main></body></html>
"""


def section(page: Page, key: str) -> str:
    """One query: what was done in words, then a row for every result."""
    answer, (around,) = page.answer, placed(page.query)
    image = f'<image id="{key}" {around.box()} preserveAspectRatio="none" href="{embedded(page.query)}"/>'
    view = f'viewBox="{around.x:.1f} 0 {around.width:.1f} {around.height:.1f}" role="img" aria-label="The query, {name(answer.query)}"'
    parts = [f"""<section aria-labelledby="{key}-name"><div class="query"><svg {view}>{image}</svg>
<div><h2 id="{key}-name">{name(answer.query, breaks=True)}</h2><p>{summary(answer)}</p><p class="soft">{seconds(answer)}</p></div></div>
{"" if answer.by_codes else KEY}"""]  # fmt: skip
    for accepted, group in groupby(page.shown, lambda shown: shown.result.accepted):
        title, note = ("Accepted", "by the second look, most evidence first") if accepted else ("In coarse order", "as the first look ranked them")
        if accepted and answer.by_codes:
            title, note = "Looked at twice", "nearest real-valued codes first"
        parts += [f"<h3>{title} <small>{note}</small></h3>\n<ol>", *(row(page, shown, key) for shown in group), "</ol>"]
    return "\n".join([*parts, "</section>"])


def row(page: Page, shown: Shown, key: str) -> str:
    result = shown.result
    kind, badge = ("accepted", "✓ accepted") if result.accepted else ("filled", "filled from coarse order")
    facts = {"first look → now": f"{result.coarse_rank:,} → <b>{result.rank:,}</b>", "distance": f"{result.distance:.3f}"}
    if page.answer.by_codes:
        facts = {"first look → now": facts["first look → now"], "bits that differ": f"{result.distance:.0f}"}
    if result.code_distance is not None:
        badge = "looked at twice"
        facts |= {"distance": f"{result.code_distance:.3f}"}
    if not page.answer.by_codes:
        facts |= {"matches": f"{result.matches:,}", "inliers": f"{result.inliers:,}"}
        facts |= {} if result.false_alarms is None else {"false alarms expected": few(result.false_alarms)}
    return f"""<li class="hit {kind}">
<div class="head"><span class="rank">{result.rank}</span><h4>{name(result.image, breaks=True)}</h4>
<p><span class="badge">{badge}</span></p><p>{why(result, page.answer)}</p></div>
{picture(page, shown, key)}
<dl>{"".join(f"<div><dt>{fact}</dt><dd>{value}</dd></div>" for fact, value in facts.items())}</dl>
</li>"""


def picture(page: Page, shown: Shown, key: str) -> str:
    """Query and candidate side by side under their matches."""
    query, photo, evidence, affine = page.query, shown.photo, shown.evidence, shown.result.affine
    left, right = placed(query, photo or query)
    high, caption = max(left.height, right.height), "Query left, candidate right"
    drawn = [f'<use href="#{key}" y="{left.y:.1f}"/>']
    if photo is None:
        drawn.append(f'<rect class="gone" {right.box()}/><text x="{right.x + right.width / 2:.1f}" y="{high / 2:.1f}">photo not found</text>')
        caption = "The photo is no longer where it was indexed."
    else:
        drawn.append(f'<image {right.box()} preserveAspectRatio="none" href="{embedded(photo)}"/>')
        if affine is not None and np.isfinite(affine).all():
            corners = np.array([[0, 0], [1, 0], [1, 1], [0, 1]]) * query.size - 0.5
            matrix = np.array(affine, np.float64)
            drawn += [frame(corners, left), frame(corners @ matrix[:, :2].T + matrix[:, 2], right)]
        if evidence is not None:
            inliers, outliers = np.flatnonzero(evidence.inlier), np.flatnonzero(~evidence.inlier)
            faint = min(len(outliers), OUTLIERS)
            clear = min(len(inliers), LINES - faint)
            drawn += [lines("out", evidence, outliers, faint, left, right), lines("in", evidence, inliers, clear, left, right)]
            caption += f"; drawn: {clear} of {len(inliers):,} inliers, {faint} of {len(outliers):,} outliers"
    points = "" if page.answer.by_codes else f": {shown.result.inliers:,} inliers of {shown.result.matches:,} matches"
    label = f"The query beside {name(shown.result.image)}{points}"
    svg = f'<svg viewBox="0 0 {2 * BOX + GAP:.0f} {high:.1f}" role="img" aria-label="{label}">{"".join(drawn)}</svg>'
    return f"<figure>{svg}<figcaption>{caption}</figcaption></figure>"


def placed(*photos: Image) -> list[Panel]:
    """Photos side by side, each as large as a box lets it, level with the tallest."""
    panels, high = [], max(BOX * photo.size[1] / max(photo.size) for photo in photos)
    for i, photo in enumerate(photos):
        scale = BOX / max(photo.size)
        width, height = photo.size[0] * scale, photo.size[1] * scale
        panels.append(Panel(i * (BOX + GAP) + (BOX - width) / 2, (high - height) / 2, width, height, scale))
    return panels


def frame(corners: npt.NDArray[np.float64], panel: Panel) -> str:
    """A quadrangle (4, 2) px, cut off at the photo's edge, which an inner svg does by itself."""
    points = " ".join(f"{x:.1f},{y:.1f}" for x, y in panel.at(corners) - (panel.x, panel.y))
    return f'<svg {panel.box()}><polygon class="frame" points="{points}"/></svg>'


def lines(kind: str, evidence: Evidence, rows: npt.NDArray[np.intp], most: int, left: Panel, right: Panel) -> str:
    """A line for each of so many of these matches, evenly spread over them, with a dot at both ends."""
    chosen = rows[np.arange(most) * len(rows) // most]
    ends = np.hstack([left.at(evidence.query_xy[chosen]), right.at(evidence.candidate_xy[chosen])])
    drawn = "".join(f'<line x1="{a:.1f}" y1="{b:.1f}" x2="{c:.1f}" y2="{d:.1f}"/>' for a, b, c, d in ends)
    return f'<g class="{kind}">{drawn}<path d="{"".join(f"M{a:.1f},{b:.1f}h0M{c:.1f},{d:.1f}h0" for a, b, c, d in ends)}"/></g>'


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

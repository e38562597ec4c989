"""The report is read back as a browser would: what is drawn must be the evidence, at its place, and
nothing in it may reach outside the file.
"""

import base64
import errno
import io
import os
import re
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from pipeline.base.errors import UsageError
from pipeline.report.html import Page, Shown, write_report
from pipeline.search.answer import Answer, Evidence, Result
from stages.records import Image

# never closed, or closed where they open
VOID = {"meta", "image", "line", "path", "polygon", "rect", "use", "wbr"}
AFFINE = [[0.5, -0.1, 30.0], [0.1, 0.5, 20.0]]


class Reader(HTMLParser):
    """Every element with its attributes, the text, and whether all that opened was closed in
    order."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.inside: list[str] = []
        self.text = ""
        self.feed(path.read_text("utf-8"))
        self.close()
        assert not self.inside

    def handle_starttag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        self.elements.append(
            (" ".join([*self.inside, tag]), {key: value or "" for key, value in attrs})
        )
        if tag not in VOID:
            self.inside.append(tag)

    def handle_startendtag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.inside.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attrs for path, attrs in self.elements if path.split()[-1] == tag]

    def lines(self, kind: str) -> list[list[float]]:
        """Ends (x1, y1, x2, y2) of the lines in figures of this kind, from the text, as html.parser
        knows no groups.
        """
        ends, kind_now = [], ""
        for path, attrs in self.elements:
            tag = path.split()[-1]
            kind_now = attrs.get("class", "") if tag == "g" else kind_now
            if tag == "line" and "figure" in path and kind_now == kind:
                ends.append([float(attrs[key]) for key in ("x1", "y1", "x2", "y2")])
        return ends


def noise(width: int, height: int) -> Image:
    return Image(np.random.default_rng(width).integers(0, 256, (height, width, 3), np.uint8))


def evidence(inliers: int, outliers: int) -> Evidence:
    xy = np.random.default_rng(0).uniform(0, 100, (inliers + outliers, 2)).astype(np.float32)
    inlier = np.arange(inliers + outliers) % (inliers + outliers) < inliers
    return Evidence(xy, xy[::-1].copy(), inlier, AFFINE, None, True)


def shown(
    rank: int,
    image: str = "a.jpg",
    photo: Image | None = None,
    proof: Evidence | None = None,
    accepted: bool = False,
    alarms: float | None = None,
) -> Shown:
    matches, inliers = (len(proof.inlier), int(proof.inlier.sum())) if proof else (0, 0)
    return Shown(
        Result(
            rank,
            image,
            rank + 13,
            0.41,
            matches,
            inliers,
            AFFINE if proof else None,
            alarms,
            accepted,
        ),
        photo,
        proof,
    )


def page(
    *results: Shown, query: Image | None = None, name: str = "q.jpg", candidates: int = 4000
) -> Page:
    accepted = sum(each.result.accepted for each in results)
    told = tuple(each.result for each in results)
    answer = Answer(
        name,
        "two_stage",
        10,
        candidates,
        accepted,
        0.1,
        "gallery",
        accepted < len(results),
        told,
        {"embed": 0.021, "verify": 1.5},
    )
    return Page(answer, query or noise(200, 100), results)


def read(tmp_path: Path, *pages: Page) -> Reader:
    write_report(tmp_path / "r.html", pages)
    return Reader(tmp_path / "r.html")


def test_everything_is_in_the_file(tmp_path: Path) -> None:
    proof = evidence(30, 10)
    found = read(
        tmp_path,
        page(shown(1, photo=noise(90, 60), proof=proof, accepted=True)),
        page(shown(1, photo=noise(60, 90))),
    )
    assert "://" not in (tmp_path / "r.html").read_text("utf-8")
    assert {"script", "link", "iframe", "img"}.isdisjoint(
        path.split()[-1] for path, _ in found.elements
    )
    ids = {attrs["id"] for _, attrs in found.elements if "id" in attrs}
    links = [
        attrs[key]
        for _, attrs in found.elements
        for key in ("href", "src", "xlink:href")
        if key in attrs
    ]
    assert links
    assert all(
        link.startswith("data:image/jpeg;base64,") or (link[0] == "#" and link[1:] in ids)
        for link in links
    )
    assert len(found.all("image")) == 4
    assert len(found.all("use")) == 2
    assert "url(" not in (tmp_path / "r.html").read_text("utf-8")
    assert [path.name for path in tmp_path.iterdir()] == ["r.html"]


@pytest.mark.parametrize(
    ("inliers", "outliers", "drawn"),
    [(30, 10, (30, 10)), (400, 300, (100, 50)), (400, 0, (150, 0)), (0, 400, (0, 50))],
)
def test_lines_are_the_matches(
    tmp_path: Path, inliers: int, outliers: int, drawn: tuple[int, int]
) -> None:
    query, photo, proof = noise(200, 100), noise(120, 160), evidence(inliers, outliers)
    found = read(tmp_path, page(shown(1, photo=photo, proof=proof), query=query))
    assert (len(found.lines("in")), len(found.lines("out"))) == drawn
    # 480 units to the longest side, boxes 500 apart, level at the tallest (480), portrait centred
    # in its box
    left = (proof.query_xy + 0.5) * 2.4 + (0, 120)
    right = (proof.candidate_xy + 0.5) * 3 + (500 + 60, 0)
    for kind, rows in (("in", proof.inlier), ("out", ~proof.inlier)):
        every, lines = np.hstack([left, right])[rows], np.array(found.lines(kind)).reshape(-1, 4)
        gaps = np.abs(lines[:, None] - every[None]).max(axis=2)
        assert len(lines) == 0 or gaps.min(axis=1).max() <= 0.051
        places = gaps.argmin(axis=1) if len(lines) else np.empty(0, int)
        step = -(-len(every) // max(1, len(lines)))
        gone = np.diff([-1, *places, len(every)])
        # each once, spread over them all
        assert len(lines) == 0 or (gone.min() >= 1 and gone.max() <= step)


def test_outline_is_the_affine_of_the_querys_corners(tmp_path: Path) -> None:
    found = read(
        tmp_path, page(shown(1, photo=noise(120, 160), proof=evidence(9, 0)), query=noise(200, 100))
    )
    query_frame, outline = [
        np.array([[float(v) for v in xy.split(",")] for xy in each["points"].split()])
        for each in found.all("polygon")
    ]
    assert np.allclose(query_frame, [[0, 0], [480, 0], [480, 240], [0, 240]])
    (a, b, c), (d, e, f) = AFFINE
    corners = [(-0.5, -0.5), (199.5, -0.5), (199.5, 99.5), (-0.5, 99.5)]
    wanted = [((a * x + b * y + c + 0.5) * 3, (d * x + e * y + f + 0.5) * 3) for x, y in corners]
    assert np.allclose(outline, wanted, atol=0.051)
    # an inner svg cuts at its edge
    clip = [attrs for path, attrs in found.elements if path.endswith("svg svg")][1]
    assert [float(clip[key]) for key in ("x", "y", "width", "height")] == [560, 0, 360, 480]


def test_same_answer_same_bytes(tmp_path: Path) -> None:
    pages = [page(shown(1, photo=noise(90, 60), proof=evidence(300, 80)))]
    for name in ("a.html", "b.html"):
        write_report(tmp_path / name, pages)
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()


@pytest.mark.parametrize("fails", ["fsync", "replace"])
def test_the_old_report_stands_until_the_new_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: str
) -> None:
    path = tmp_path / "r.html"
    path.write_bytes(b"old")

    def disk_full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, fails, disk_full)
    with pytest.raises(UsageError, match=r"r\.html: expected a file .*, got No space left on"):
        write_report(path, [page(shown(1))])
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


HOSTILE = {
    '"><script>alert(1)</script>': '"><script>alert(1)</script>',
    "'onload='x": "'onload='x",
    "a&lt;b&.jpg": "a&lt;b&.jpg",
    "caf\udce9.jpg": r"caf\xe9.jpg",
    "two\nlines\x00.jpg": r"two\nlines\x00.jpg",
    "\u202egpj.exe": r"\u202egpj.exe",
    "日本/é.jpg": "日本/é.jpg",
}


@pytest.mark.parametrize(("name", "spelt"), HOSTILE.items(), ids=range(len(HOSTILE)))
def test_hostile_names(tmp_path: Path, name: str, spelt: str) -> None:
    plain = read(tmp_path, page(shown(1, photo=noise(90, 60))), page(shown(1)))
    found = read(tmp_path, page(shown(1, name, noise(90, 60)), name=name), page(shown(1, name)))
    tags = [path for path, _ in found.elements if not path.endswith("wbr")]
    assert tags == [path for path, _ in plain.elements]
    assert [attrs.keys() for path, attrs in found.elements] == [
        attrs.keys() for path, attrs in plain.elements
    ]
    assert found.text.count(spelt) == 4  # link to the query, its heading, a result on both pages
    assert f"The query, {spelt}" in [svg.get("aria-label") for svg in found.all("svg")]
    assert not re.search("[\x00-\x09\x0b-\x1f\u202e\ud800-\udfff]", found.text)


def test_every_place_says_why(tmp_path: Path) -> None:
    results = [
        shown(1, photo=noise(90, 60), proof=evidence(88, 32), accepted=True, alarms=3.2e-12),
        shown(2, "gone.jpg", None, evidence(6, 34), alarms=2.13),
        Shown(Result(3, "b.jpg", 1287, 0.7, 12, 0, None, 1287.0, False), noise(60, 90), None),
        Shown(Result(4, "c.jpg", 3, 0.7, 0, 0, None, None, False), noise(20_000, 1), None),
        Shown(Result(5, "d.jpg", 1288, 0.9, 0, 0, None, None, False), noise(1, 1), None),
    ]
    found = read(tmp_path, page(*results, candidates=1287))
    for told in (
        "88 of 120 matches agree on one affine map.",
        (
            "Only 6 of 40 matches agree on one affine map: 2.1 unrelated photos are expected to"
            " look as good."
        ),
        "No affine map found among 12 matches.",
        "No local feature of the two photos matches.",
        "Not verified: beyond the candidates.",
        "1 photo matches",
        (
            "1,287 photos were verified and 1 accepted, 0.1 false alarms per query expected at"
            " most. Places 2 to 5 were filled from coarse order"
        ),
        "1.52 s in all: embed 21 ms, verify 1.50 s.",
        "first look → now14 → 1",
        "first look → now1,287 → 3",
        "photo not found",
        "false alarms expected3.2e-12",
        "false alarms expected2.1",
        "false alarms expected1,287",
    ):
        assert found.text.count(told) == 1, told
    # nobody looked at the others, or nobody calibrated
    assert found.text.count("false alarms expected") == 3
    assert "Nothing in this gallery matches" not in found.text
    assert [attrs["class"] for attrs in found.all("li") if "class" in attrs] == ["hit accepted"] + [
        "hit filled"
    ] * 4
    assert len(found.lines("in")) == 88  # none towards a photo that is gone
    assert dict(found.elements)["html"] == {"lang": "en"}
    assert all(
        svg.get("aria-label") and svg["role"] == "img"
        for path, svg in found.elements
        if path.endswith(("figure svg", "div svg"))
    )


@pytest.mark.parametrize(
    ("results", "candidates", "told"),
    [
        ((), 0, "The gallery holds no photo to rank."),
        ((shown(1),), 0, "No photo was verified"),
        (
            (shown(1, proof=evidence(9, 0), accepted=True),),
            1,
            "1 photo was verified and 1 accepted, 0.1 false alarms per query expected at most."
            " Every place shown is an accepted photo.",
        ),
        (
            (shown(1),),
            5,
            "Nothing in this gallery matches5 photos were verified and none accepted, 0.1 false"
            " alarms per query expected at most. Place 1 was filled from coarse order",
        ),
    ],
)
def test_summary(tmp_path: Path, results: tuple[Shown, ...], candidates: int, told: str) -> None:
    assert told in read(tmp_path, page(*results, candidates=candidates)).text


def test_photos_are_small_and_true(tmp_path: Path) -> None:
    colours = np.zeros((900, 1600, 3), np.uint8)
    colours[:, :800], colours[:, 800:] = (200, 40, 40), (40, 40, 200)
    results = [shown(rank, photo=noise(1280 + rank, 1280)) for rank in range(1, 11)]
    found = read(tmp_path, page(*results, query=Image(colours)))
    assert (tmp_path / "r.html").stat().st_size < 2e6
    photos = [
        PIL.Image.open(io.BytesIO(base64.b64decode(each["href"].partition(",")[2])))
        for each in found.all("image")
    ]
    assert all(max(photo.size) == 640 for photo in photos)
    query = np.asarray(photos[0], np.int16)
    assert query.shape == (360, 640, 3)
    assert np.abs(query[180, 100] - (200, 40, 40)).max() < 8
    assert np.abs(query[180, 540] - (40, 40, 200)).max() < 8

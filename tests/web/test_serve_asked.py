"""What a request may say: a photo as the body or in a form, a box of it, parameters that are known;
and what is told to whom.
"""

import json
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from serving import Served, serving

import pipeline
from pipeline.search.engine import Engine
from pipeline.web import standing
from pipeline.web.guard import Rules, is_local
from pipeline.web.pictures import kind_of

BOUNDARY = "xXx"
FORM = f"multipart/form-data; boundary={BOUNDARY}"
LIMIT = 100_000
BOX = (7, 5, 40, 30)  # left, top, width, height


@pytest.fixture(scope="module")
def served(indexed_photos: Path) -> Iterator[Served]:
    with serving(indexed_photos, max_bytes=LIMIT) as here:
        yield here


@pytest.fixture(scope="module")
def photo(indexed_photos: Path) -> bytes:
    return (indexed_photos / "photos/b.png").read_bytes()


@pytest.fixture(scope="module")
def ids(served: Served, indexed_photos: Path) -> dict[str, str]:
    return served.ids(indexed_photos / "photos/a.png")


def form(*parts: bytes, name: str = "file", end: str = "--") -> bytes:
    head = f'Content-Disposition: form-data; name="{name}"; filename="a"\r\n\r\n'
    between = f"--{BOUNDARY}"
    body = b"".join(f"{between}\r\n{head}".encode() + part + b"\r\n" for part in parts)
    return body + f"{between}{end}\r\n".encode()


def results(reply: object) -> object:
    assert isinstance(reply, dict), reply
    return reply["results"]


@pytest.mark.parametrize("kind", [FORM, FORM.upper().replace(BOUNDARY.upper(), BOUNDARY)])
def test_a_form_holds_the_photo(served: Served, photo: bytes, kind: str) -> None:
    wanted = results(served.ask("POST", "/search?k=3", photo).json())
    for body in (form(photo), form(photo, name="whatever"), photo):
        assert results(served.ask("POST", "/search?k=3", body, content_type=kind).json()) == wanted
    look = served.ask("POST", "/look?k=3", form(photo), content_type=kind).json()
    assert results(look["answer"]) == wanted


def test_the_photo_may_be_as_large_as_without_a_form(served: Served, photo: bytes) -> None:
    full = photo + b"\0" * (LIMIT - len(photo))
    for size, status in ((full, 200), (full + b"\0", 413)):
        assert served.ask("POST", "/search", size).status == status
        assert served.ask("POST", "/search", form(size), content_type=FORM).status == status


BROKEN = {
    "two": form(b"1", b"2"),
    "none": f"--{BOUNDARY}--\r\n".encode(),
    "no end": form(b"1", end=""),
    "only a boundary": f"--{BOUNDARY}".encode(),
    "a head without an end": f"--{BOUNDARY}\r\nA: b".encode(),
    "no head": f"--{BOUNDARY}\r\n\r\n1\r\n--{BOUNDARY}--".encode(),
    "many heads": f"--{BOUNDARY}\r\n{'A: b' * 9000}\r\n\r\n".encode(),
    "bad head": f"--{BOUNDARY}\r\n\xff:\0\r\n\r\n".encode("latin-1"),
    "empty": b"",
    "no photo": form(b"words"),
    "empty file": form(b""),
    "options in the form": form(b"1", b"10"),
}


@pytest.mark.parametrize("body", BROKEN.values(), ids=BROKEN)
def test_a_broken_form_is_refused_in_a_line(served: Served, body: bytes) -> None:
    reply = served.ask("POST", "/search", body, content_type=FORM)
    assert (reply.status, list(reply.json())) == (400, ["detail"])
    assert "expected" in reply.json()["detail"]
    assert served.get("/gallery").status == 200


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("candidats=3", "did you mean candidates?"),
        ("K=3", "did you mean k?"),
        ("false-alarm=1", "did you mean false_alarm?"),
        ("boxes=1", "did you mean box?"),
        ("zzzzzzzz=1", "expected the parameters k, candidates, false_alarm, box, got another"),
        ("%00=1", "got another"),
        ("k=1&k=2", "k: expected it once"),
        ("&".join(f"a{i}=1" for i in range(900)), "got another"),
    ],
)
def test_a_parameter_that_is_not_known_is_refused(
    served: Served, photo: bytes, ids: dict[str, str], query: str, said: str
) -> None:
    one = ids["a.png"]
    for method, path in (("POST", "/look"), ("POST", "/search"), ("GET", f"/look/{one}")):
        reply = served.ask(method, f"{path}?{query}", photo if method == "POST" else None)
        assert reply.status == 422
        assert said in reply.json()["detail"]
    for path in ("/gallery", f"/photos/{one}", f"/thumbnails/{one}", f"/files/{one}"):
        assert served.get(f"{path}?{query}").status == 422


def test_head_is_get_without_a_body(served: Served, ids: dict[str, str]) -> None:
    one = ids["a.png"]
    pages = ("/", "/page.js", "/docs", "/openapi.json", "/gallery", "/photos/1")
    own = (f"/photos/{one}", f"/thumbnails/{one}", f"/files/{one}", f"/search/{one}?k=1")
    for path in (*pages, *own):
        head, get = served.ask("HEAD", path), served.get(path)
        assert (head.status, head.body) == (get.status, b"")
        changes = {"date", "content-length"} if path.startswith("/search") else {"date"}
        assert {**head.headers, **dict.fromkeys(changes, "")} == {
            **get.headers,
            **dict.fromkeys(changes, ""),
        }
    reply = served.ask("HEAD", "/search")
    assert (reply.status, reply.headers["allow"], reply.body) == (405, "POST", b"")


def test_a_box_asks_as_the_library_does(
    served: Served, indexed_photos: Path, photo: bytes, ids: dict[str, str]
) -> None:
    left, top, width, height = BOX
    with pipeline.open_gallery(indexed_photos / "gallery") as gallery:
        wanted = gallery.search(photo, box=(left, top, left + width, top + height)).to_json()
    spelled = ",".join(map(str, BOX))
    got = served.ask("POST", f"/search?box={spelled}", photo).json()
    assert got["box"] == [left, top, left + width, top + height]
    assert got["results"] == json.loads(json.dumps(wanted["results"]))
    again = served.get(f"/look/{ids['b.png']}?box={spelled}").json()
    assert again["answer"]["results"] == got["results"]
    assert (again["width"], again["height"]) == (61, 40)  # of the whole photo
    first, place = again["answer"]["results"][0], again["places"][0]
    assert first["image"] == "b.png"
    inliers, affine = np.array(place["inliers"]), np.array(first["affine"])
    assert (inliers[:, :2] >= [left - 1, top - 1]).all()  # px of the whole photo
    assert (inliers[:, :2] <= [left + width, top + height]).all()
    # px: it is they that agree
    assert np.abs(inliers[:, :2] @ affine[:, :2].T + affine[:, 2] - inliers[:, 2:]).mean() < 3


@pytest.mark.parametrize(
    "box",
    ["", "1,2,3", "1,2,3,4,5", "a,b,c,d", "0,0,0,5", "0,0,5,0", "-1,0,5,5", "61,0,5,5", "0,40,5,5",
     "1e3,0,5,5", "nan,0,5,5", "9999999,0,5,5", "999999,999999,999999,999999"],
)  # fmt: skip
def test_a_box_that_cannot_be_is_refused(
    served: Served, photo: bytes, ids: dict[str, str], box: str
) -> None:
    for reply in (
        served.ask("POST", f"/look?box={box}", photo),
        served.get(f"/look/{ids['b.png']}?box={box}"),
    ):
        assert reply.status == 422
        assert reply.json()["detail"].startswith("box: ")
        assert "/" not in reply.json()["detail"]


def test_the_file_is_for_who_sits_here(
    served: Served, photo: bytes, indexed_photos: Path, ids: dict[str, str]
) -> None:
    reply = served.get(f"/files/{ids['b.png']}")
    assert (reply.status, reply.body) == (200, photo)
    assert reply.headers["content-type"] == "image/png"
    assert reply.headers["content-disposition"] == "inline; filename*=UTF-8''b.png"
    assert reply.headers["x-content-type-options"] == "nosniff"
    for label, one in ids.items():
        assert served.get(f"/files/{one}").headers["content-disposition"].isascii(), label
    path = f"/search/{ids['b.png']}"
    here = served.get(path.replace("search", "look")).json()["places"][0]
    assert here["file"] == str(indexed_photos / "photos/b.png")
    for name in ("X_Forwarded_For", "Forwarded", "Via", "X_Real_IP"):
        assert served.get(f"/files/{ids['b.png']}", **{name: "192.0.2.1"}).status == 403
        there = served.get(path.replace("search", "look"), **{name: "192.0.2.1"})
        assert there.json()["places"][0]["file"] is None
        assert str(indexed_photos).encode() not in there.body


@pytest.mark.parametrize(
    ("rules", "local"),
    [
        (Rules(), True),
        (Rules(token="a-word-of-sixteen"), True),
        (Rules(Rules.hosts | {"photos.example"}), False),  # a proxy's name
        (Rules(addresses=True), False),
    ],
)
def test_who_sits_here(rules: Rules, local: bool) -> None:
    assert is_local({"headers": []}, rules) == local


def test_browsers_are_told_what_they_show() -> None:
    assert kind_of(b"\xff\xd8\xff\xe0") == "image/jpeg"
    assert kind_of(b"GIF89a<html>") == "image/gif"
    for other in (b"", b"<html>", b"II*\0", b"%PDF", b"<svg xmlns", b"\0\0\0\x18ftypheic"):
        assert kind_of(other) is None


def test_a_sent_photo_is_shown_as_an_indexed_one(served: Served, photo: bytes) -> None:
    reply = served.ask("POST", "/photos", photo)
    assert (reply.status, reply.headers["content-type"]) == (200, "image/jpeg")
    assert reply.body.startswith(b"\xff\xd8\xff")
    assert served.ask("POST", "/photos", b"words").status == 400


def test_how_the_gallery_stands(here: Path, small_model: Path) -> None:
    with serving(here) as served:
        told = served.get("/gallery").json()
        assert (told["missing"], told["indexing"]) == ("", None)
        assert [sample["label"] for sample in told["samples"]][:2] == ["a.png", "b.png"]
        ids = served.ids(here / "photos/a.png")
        shutil.move(here / "photos", here / "elsewhere")
        told = served.get("/gallery").json()
        assert str(here / "photos") in told["missing"]
        assert "two-look index" in told["missing"]
        assert told["samples"] == []
        look = served.get(f"/look/{ids['a.png']}").json()
        assert look["missing"] == told["missing"]
        assert not any(place["there"] for place in look["places"])
        assert served.get(f"/look/{ids['a.png']}?box=0,0,30,30").status == 404
        far = served.get("/gallery", X_Forwarded_For="192.0.2.1").json()["missing"]
        assert "not there" in far
        assert str(here) not in far
        shutil.move(here / "elsewhere", here / "photos")
        (here / "photos/b.png").unlink()
        look = served.get(f"/look/{ids['a.png']}").json()
        assert look["missing"].startswith("1 photo is no longer where the gallery has it")
        there = {place["label"]: place["there"] for place in look["places"]}
        assert [label for label, is_there in there.items() if not is_there] == ["b.png"]


def test_what_an_index_run_writes_is_told(here: Path) -> None:
    file = here / "gallery/progress.json"
    with serving(here) as served:
        file.write_text(json.dumps({"done": 3, "todo": 9, "at": time.time()}))
        assert served.get("/gallery").json()["indexing"] == {"done": 3, "todo": 9}


HOSTILE = {
    "old": {"done": 1, "todo": 2, "at": 0},
    "to come": {"done": 1, "todo": 2, "at": 1e12},
    "more than all": {"done": 3, "todo": 2},
    "negative": {"done": -1, "todo": 2},
    "a truth": {"done": True, "todo": 2},
    "a fraction": {"done": 1.5, "todo": 2},
    "text": {"done": "1", "todo": "2"},
    "endless": {"done": 1, "todo": 10**400},
    "no time": {"done": 1, "todo": 2, "at": None},
    "a time without end": {"done": 1, "todo": 2, "at": 10**400},
    "no number": {"done": 1, "todo": 2, "at": float("nan")},
    "nothing": {},
    "a list": [1, 2],
}


@pytest.mark.parametrize("said", HOSTILE.values(), ids=HOSTILE)
def test_progress_that_cannot_be_is_none(tmp_path: Path, said: object) -> None:
    whole = {"at": time.time(), **said} if isinstance(said, dict) and said else said
    (tmp_path / "progress.json").write_text(json.dumps(whole))
    assert standing.progress(tmp_path) is None


def test_progress_that_is_no_file_is_none(tmp_path: Path) -> None:
    file, good = tmp_path / "progress.json", {"done": 1, "todo": 2, "at": time.time()}
    assert standing.progress(tmp_path) is None
    for make in (
        lambda: os.mkfifo(file),
        lambda: file.symlink_to("/dev/zero"),
        lambda: file.write_bytes(b"[" * 100_000),
        lambda: file.write_bytes(b"\xff\xfe\0"),
        lambda: file.write_bytes(b" " * 1_000_000 + json.dumps(good).encode()),
    ):
        make()
        assert standing.progress(tmp_path) is None
        file.unlink()
    file.write_text(json.dumps(good))
    assert standing.progress(tmp_path) == {"done": 1, "todo": 2}


def test_samples_are_spread(indexed_photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(standing, "SAMPLES", 3)
    with pipeline.open_gallery(indexed_photos / "gallery") as gallery:
        engine: Engine = gallery.engine
        assert [sample.label for sample in standing.samples(engine)] == [
            "a.png", "caf\\xe9/c.png", "z.png"]  # fmt: skip

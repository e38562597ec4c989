"""The server answers what the command line answers, shows what was indexed, and follows the
gallery.
"""

import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from pictures import ROOT, picture, write_picture
from PIL import Image as Pillow
from serving import Served, serving
from small import NAMES, answers, complaint, indexed

from pipeline import serve

LABELS = {name: name.replace("\udce9", "\\xe9") for name in NAMES}
PHOTO = Path("photos/a.png")


@pytest.fixture(scope="module")
def served(indexed_photos: Path) -> Iterator[Served]:
    with serving(indexed_photos) as here:
        yield here


@pytest.mark.parametrize(
    "choice", ["", "?k=3", "?candidates=2", "?k=2&candidates=1x", "?k=1000&false_alarm=5"]
)
def test_the_answer_is_the_command_lines(
    served: Served, indexed_photos: Path, capsys: pytest.CaptureFixture[str], choice: str
) -> None:
    flags = {"k": "-k", "candidates": "--candidates", "false_alarm": "--false-alarm"}
    arguments = [
        part for name, value in re.findall(r"(\w+)=(\w+)", choice) for part in (flags[name], value)
    ]
    queries = [indexed_photos / "photos" / name for name in NAMES]
    for query, wanted in zip(
        queries, answers(capsys, indexed_photos / "gallery", *queries, *arguments), strict=True
    ):
        got = served.search(query, choice)
        assert got.pop("seconds").keys() >= {"embed", "describe", "verify"}
        assert list(got) == list(wanted)
        assert got == {**wanted, "query": "query"}


def test_an_indexed_photo_asks_by_its_id(
    served: Served, indexed_photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ids = served.ids(indexed_photos / "photos/a.png")
    assert set(ids) == set(LABELS.values())
    for name, wanted in zip(
        NAMES,
        answers(capsys, indexed_photos / "gallery", *(f"gallery:{name}" for name in NAMES)),
        strict=True,
    ):
        got = served.get(f"/search/{ids[LABELS[name]]}").json()
        del got["seconds"]
        assert got == wanted


def test_a_look_is_the_answer_and_what_is_drawn_of_it(served: Served, indexed_photos: Path) -> None:
    look = served.search(indexed_photos / "photos/b.png", where="/look")
    plain = served.search(indexed_photos / "photos/b.png")
    assert {**look["answer"], "seconds": 0} == {**plain, "seconds": 0}
    assert (look["width"], look["height"]) == (61, 40)
    assert "6 photos were verified" in look["said"]
    for result, place in zip(look["answer"]["results"], look["places"], strict=True):
        assert place["label"] == LABELS[result["image"]]
        inliers, outliers = (
            np.reshape(place["inliers"], (-1, 4)),
            np.reshape(place["outliers"], (-1, 4)),
        )
        if result["affine"] is None:
            assert len(inliers) == len(outliers) == 0
            continue
        assert (len(inliers), len(outliers)) == (
            min(100, result["inliers"]),
            min(50, result["matches"] - result["inliers"]),
        )
        affine = np.array(result["affine"])
        # px: it is they that agree
        assert np.abs(inliers[:, :2] @ affine[:, :2].T + affine[:, 2] - inliers[:, 2:]).max() < 20
    assert look["places"][0]["why"].endswith("agree on one affine map.")


def test_pictures_are_upright_and_bare(served: Served, indexed_photos: Path) -> None:
    photo = served.ids(indexed_photos / "photos/a.png")["b.png"]
    for kind in ("thumbnails", "photos"):
        reply = served.get(f"/{kind}/{photo}")
        assert (reply.status, reply.headers["content-type"]) == (200, "image/jpeg")
        assert "immutable" in reply.headers["cache-control"]
        Path(indexed_photos / f"{kind}.jpg").write_bytes(reply.body)
        with Pillow.open(indexed_photos / f"{kind}.jpg") as shown:
            assert (shown.size, shown.getexif()) == ((61, 40), {})
            # JPEG halves the colours
            assert np.abs(np.asarray(shown, np.float32) - picture(1, 61, 40)).mean() < 30


def test_it_follows_the_gallery(here: Path, small_model: Path) -> None:
    with serving(here) as served:
        before = served.ids(PHOTO)
        assert served.get(f"/photos/{before['b.png']}").status == 200
        write_picture(Path("photos/b.png"), picture(50, 61, 40))
        reply = served.get(f"/photos/{before['b.png']}")
        assert (reply.status, "has changed" in reply.json()["detail"]) == (404, True)
        shutil.copy("photos/a.png", "photos/copy.png")
        assert indexed(Path("photos"), Path("gallery")) == 0
        end = time.monotonic() + 60
        while served.get("/gallery").json()["photos"] != 7:
            assert time.monotonic() < end
            time.sleep(0.1)
        after = served.ids(PHOTO)
        assert after["copy.png"] == after["a.png"] == before["a.png"]  # alike to the byte
        assert after["b.png"] != before["b.png"]
        assert served.get(f"/look/{before['b.png']}").status == 404
        assert served.get(f"/look/{after['copy.png']}").json()["answer"]["query"] == "gallery:a.png"
        Path("gallery/manifest.sqlite").write_bytes(b"no gallery any more" * 100)
        time.sleep(1.5)
        assert served.search(PHOTO)["results"][0]["image"] == "a.png"


def test_an_empty_gallery_is_served(
    tmp_path: Path, small_model: Path, indexed_photos: Path
) -> None:
    (tmp_path / "photos").mkdir()
    assert indexed(tmp_path / "photos", tmp_path / "gallery", "--model", small_model) == 0
    with serving(tmp_path) as served:
        assert served.search(indexed_photos / "photos/a.png", where="/look")["places"] == []


def test_the_page_is_whole(served: Served) -> None:
    page = served.get("/").body.decode()
    files = {"/", "/docs", *(f"/{name}" for name in re.findall(r'(?:src|href)="([\w.]+)"', page))}
    assert {"/page.js", "/page.css", "/icon.svg"} <= files
    for name in files:
        reply = served.get(name)
        assert reply.status == 200
        assert not re.search(rb"https?://(?!www\.w3\.org/2000/svg)", reply.body), (
            f"{name} asks elsewhere"
        )
        assert "unsafe" not in reply.headers["content-security-policy"]
        assert reply.headers["x-content-type-options"] == "nosniff"
    assert {
        "/search",
        "/search/{photo}",
        "/look",
        "/photos/{photo}",
        "/thumbnails/{photo}",
    } <= served.get("/openapi.json").json()["paths"].keys()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_ends_cleanly(indexed_photos: Path, number: signal.Signals) -> None:
    pytest.importorskip("fastapi", reason="needs the extra `web`")
    command = [
        sys.executable,
        "-m",
        "pipeline.serve",
        "--gallery",
        str(indexed_photos / "gallery"),
        "--port",
        "0",
    ]
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        told = process.stderr.readline()
        address = re.match(
            r"serve: http://127\.0\.0\.1:(\d+)/ answers from .*, 6 photos; Ctrl-C ends it\n", told
        )
        assert address, told
        query = (indexed_photos / "photos/a.png").read_bytes()
        assert (
            json.loads(Served(int(address[1])).ask("POST", "/search", query).body)["candidates"]
            == 6
        )
        process.send_signal(number)
        assert (process.wait(60), *process.communicate()) == (0, "", "")


def test_mistakes_are_one_line(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("fastapi", reason="needs the extra `web`")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert serve.main(["--port", port]) == 2
        assert f"--port {port}: expected an address of this machine and a free port" in complaint(
            capsys
        )
    assert serve.main(["--port", "0", "--host", "192.0.2.1"]) == 2
    complaint(capsys)
    assert serve.main(["--port", "0", "--token", "short"]) == 2
    assert "--token: expected at least 16" in complaint(capsys)
    assert serve.main(["--port", "0", "--gallery", "nowhere"]) == 2
    assert "run `python -m pipeline.index" in complaint(capsys)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert serve.main([]) == 2
    assert (
        complaint(capsys)
        == "serve: expected the packages of the extra `web`, got no fastapi and no python_multipart"
        f" and no uvicorn; run `pip install -e {shlex.quote(f'{ROOT}[web]')}`"
    )


def test_the_load_test_finds_what_differs(
    served: Served, indexed_photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from tests.stress import load_serve

    queries = [str(indexed_photos / "photos" / name) for name in NAMES]
    told = answers(capsys, indexed_photos / "gallery", *queries)
    lines = tmp_path / "answers.jsonl"
    arguments = [
        f"http://127.0.0.1:{served.port}/",
        "--answers",
        str(lines),
        "--clients",
        "4",
        "--seconds",
        "1",
        "--pid",
        str(os.getpid()),
    ]
    for places, code in ((6, 0), (5, 1)):
        lines.write_text(
            "".join(
                json.dumps({**answer, "results": answer["results"][:places]}) + "\n"
                for answer in told
            )
        )
        assert load_serve.main(arguments) == code
        said = json.loads(capsys.readouterr().out)
        assert said["answered"] >= 4
        assert (said["wrong"] == 0, said["refused_503"], said["memory_mb"] != []) == (
            code == 0,
            0,
            True,
        )
    lines.write_text("no answer\n")
    assert load_serve.main(arguments) == 2
    assert "expected lines of `pipeline.run" in complaint(capsys)

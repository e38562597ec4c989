"""Kill a gallery's writer before and after every single call that reaches the disk or SQLite, and
look at what is left: the photos, and their index of parts.

A program of its own, because it forks: `python killed_steps.py FOLDER` prints one JSON object.
"""

import json
import os
import shutil
import signal
import sys
from collections import Counter
from pathlib import Path
from types import FrameType
from typing import Any

from filled import BINDING, as_read, as_voted, encoded, files
from planted_codebook import planted_codebook

from pipeline.base.errors import GalleryError
from pipeline.gallery import parts_writer
from pipeline.gallery import writer as gallery_writer
from pipeline.gallery.parts import FOLDER
from pipeline.gallery.store import read_gallery
from pipeline.gallery.writer import GalleryWriter, writing
from pipeline.model.codebook import ModelCodebook

CALLS = {
    "open",
    "write",
    "flush",
    "fsync",
    "replace",
    "close",
    "unlink",
    "execute",
    "executemany",
    "executescript",
    "mkdir",
    "flock",
}
READS = {"__new__", "file_sha256", "held", "read_meta"}  # whose calls leave nothing behind
State = dict[str, Any]  # by photo
CODEBOOK = ModelCodebook("c" * 64, planted_codebook(length=6))


def add(writer: GalleryWriter) -> None:
    writer.add([encoded("2.jpg", 102), encoded("new.jpg", 100)])  # one changed, one new


def remove(writer: GalleryWriter) -> None:
    writer.remove(["3.jpg", "5.jpg"])


def compact(writer: GalleryWriter) -> None:
    writer.compact()


def complete(writer: GalleryWriter) -> None:
    assert writer.parts is not None
    writer.parts.complete(quiet=True)
    writer.sweep()


STEPS = (add, remove, compact, complete)


def work(gallery: Path, acknowledge: int) -> None:
    with writing(gallery, BINDING, CODEBOOK) as writer:
        for step in STEPS:
            step(writer)
            os.write(acknowledge, b".")


def look(gallery: Path, votes: bool = True) -> tuple[State, State, int]:
    """Rows, votes, and how many photos lie in no segment."""
    reading = read_gallery(gallery, parts=True)
    voted = as_voted(reading, CODEBOOK) if votes else {}
    parts = reading.parts
    lacking = len(set(reading.contents)) if parts is None else parts.lacks(reading.contents)
    return as_read(reading), voted, lacking


def run_until(gallery: Path, call: int) -> tuple[int, str]:
    """Work in a fork that is killed at its so many-th event: the steps it acknowledged, and where
    it died; "" when it lived.
    """
    done, died = os.pipe(), os.pipe()
    if not (pid := os.fork()):
        seen = 0

        def watch(frame: FrameType, event: str, function: Any) -> None:
            nonlocal seen
            if event not in ("c_call", "c_return") or function.__name__ not in CALLS:
                return
            # before a statement all is as it was after the call before
            again = event == "c_call" and function.__name__.startswith("execute")
            if not again and frame.f_code.co_name not in READS:
                seen += 1
                if seen == call:
                    sys.setprofile(None)
                    os.write(
                        died[1], f"{frame.f_code.co_name} {event} {function.__name__}".encode()
                    )
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.setprofile(watch)
        work(gallery, done[1])
        os._exit(0)
    for _, end in (done, died):
        os.close(end)
    _, status = os.waitpid(pid, 0)
    told = []
    for end, _ in (done, died):
        told.append(os.read(end, 1000))
        os.close(end)
    if os.waitstatus_to_exitcode(status) not in (0, -signal.SIGKILL):
        raise SystemExit(f"the writer failed at event {call}")
    return len(told[0]), told[1].decode()


def main(folder: Path) -> None:
    gallery_writer.SMALL = 4
    parts_writer.AT_ONCE = 3
    start, gallery = folder / "start", folder / "gallery"
    states = []
    with writing(start, BINDING, CODEBOOK) as writer:
        for i in range(0, 12, 2):
            if i == 8:
                writer.parts = None  # an earlier version: photos that are in no segment
            writer.add([encoded(f"{i + j}.jpg", i + j, features=i) for j in range(2)])
    shutil.copytree(start, gallery)
    with writing(gallery, BINDING, CODEBOOK) as writer:
        states.append(look(gallery))
        for step in STEPS:
            step(writer)
            states.append(look(gallery))
    missing = [lacking for *_, lacking in states]
    wrong: list[str] = []
    where: Counter[str] = Counter()
    call, place = 0, "begin"
    while place:
        call += 1
        shutil.rmtree(gallery)
        shutil.copytree(start, gallery)
        acknowledged, place = run_until(gallery, call)
        where[place] += 1
        try:
            rows, _, lacking = look(gallery, votes=False)
            possible = states[acknowledged : acknowledged + 2]
            if rows not in [known for known, *_ in possible]:
                wrong.append(f"{place}: other rows after {acknowledged} steps")
            if lacking > max(lacks for *_, lacks in possible):
                wrong.append(f"{place}: {lacking} photos without votes")
            # what is left is swept, and work goes on
            with writing(gallery, BINDING, CODEBOOK) as writer:
                for below, table in (("shards", "shards"), (FOLDER, "parts")):
                    known = {
                        file for (file,) in writer.connection.execute(f"SELECT file FROM {table}")
                    }
                    if files(gallery, below) != known:
                        wrong.append(f"{place}: {below} left")
                for step in STEPS:
                    step(writer)
            if look(gallery) != states[-1]:
                wrong.append(f"{place}: other rows or votes after going on")
        except GalleryError as error:
            wrong.append(f"{place}: {error}")
    print(
        json.dumps(
            {
                "kills": call - 1,
                "places": sorted(where),
                "wrong": wrong,
                "acknowledged": acknowledged,
                "missing": missing,
            }
        )
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))

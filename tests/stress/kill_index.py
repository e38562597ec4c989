"""Kill indexing at random moments, look at what is left, and run it again: nothing acknowledged may
be lost, every gallery must open, and its index of parts must vote as that of one that nobody
interrupted.

Most runs are forks of this process, which has torch loaded: a kill costs a fraction of a second and
lands anywhere from reading the model to merging shards. Every `--cold`th is a process of its own,
killed anywhere from its first import. Commits are made small and many.
"""

import json
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tqdm
from PIL import Image, ImageDraw

from pipeline.base.options import SearchOptions
from pipeline.base.values import at_least_one, natural
from pipeline.cli import Parser
from pipeline.gallery import parts_writer, update
from pipeline.gallery import writer as gallery_writer

ROOT = Path(__file__).resolve().parents[2]
BAR = re.compile(r"(\d+)/\d+ \[")
CHILD = (
    "import sys; sys.path.insert(0, 'tests/stress'); from kill_index import index_in_small_steps;"
    " sys.exit(index_in_small_steps(*sys.argv[1:]))"
)
OPTIONS = SearchOptions(recipe="two_stage", code="pca", device="cpu")
Rows = dict[str, tuple[bytes, ...]]  # by name: pooled, code, xy, descriptor, score, size


@dataclass
class Tally:
    """What the kills showed."""

    kills: int = 0
    amid: int = 0  # kills that left a file which nothing points to: they hit a commit or a merge
    completed: int = 0  # galleries
    checked: int = 0  # acknowledged photos looked for after a kill, each time
    lost: int = 0
    unopenable: int = 0
    failed: int = 0  # runs that ended badly by themselves
    unequal: int = 0  # completed galleries that rank otherwise than the uninterrupted one
    unvoted: int = 0  # whose parts get other votes

    def __str__(self) -> str:
        return (
            f"{self.kills} kills ({self.amid} amid a commit), {self.completed} galleries completed,"
            f" {self.checked} acknowledged photos checked, {self.lost} lost, {self.unopenable}"
            f" unopenable, {self.failed} failed runs, rankings"
            f" {'equal' if not self.unequal else f'of {self.unequal} galleries unequal'}, votes"
            f" {'equal' if not self.unvoted else f'of {self.unvoted} galleries unequal'}"
        )

    @property
    def bad(self) -> int:
        return self.lost + self.unopenable + self.failed + self.unequal + self.unvoted


def draw_photos(folder: Path, count: int, rng: np.random.Generator) -> None:
    """Coloured boxes and discs, no two photos alike."""
    folder.mkdir()
    for number in range(count):
        photo = Image.new("RGB", (64, 48), tuple(map(int, rng.integers(0, 256, 3))))
        pen = ImageDraw.Draw(photo)
        for shape in [pen.rectangle, pen.ellipse] * 6:
            x, y, w, h = (int(v) for v in rng.integers((0, 0, 4, 4), (60, 44, 30, 30)))
            shape((x, y, x + w, y + h), fill=tuple(map(int, rng.integers(0, 256, 3))))
        photo.save(folder / f"{number:03d}.png")


def write_untrained_model(folder: Path, rng: np.random.Generator) -> None:
    from pipeline.model.card import Settings
    from pipeline.model.codebook import write_codebook
    from pipeline.model.weights import write_model
    from stages.trunk import build_resnet
    from stages.visual_words import Codebook

    state = build_resnet("resnet18", 10).state_dict()
    arrays = {
        f"trunk.{key}": value.numpy().astype(np.float16)
        for key, value in state.items()
        if not key.endswith("tracked")
    }
    for part, width, numbers in (("reduce", 512, 32), ("delf", 256, 40)):
        arrays[f"{part}.mean"] = np.zeros(width, np.float32)
        arrays[f"{part}.components"] = np.linalg.qr(rng.normal(size=(width, numbers)))[0].T.astype(
            np.float32
        )
    words = rng.normal(size=(16, 40))
    words *= 127 / np.linalg.norm(words, axis=1, keepdims=True)
    centroids = np.rint(rng.normal(0, 25, (8, 5, 256))).clip(-127, 127)
    folder.mkdir()
    entry = write_codebook(
        folder, Codebook(np.rint(words).astype(np.int8), centroids.astype(np.int8))
    )
    write_model(
        folder,
        arrays,
        Settings(embed_side=32, describe_side=48, keep=40),
        {"accept": {"inliers": 14}, "codebook": entry},
        "python tests/stress/kill_index.py",
    )


def index_in_small_steps(*arguments: str) -> int:
    """`pipeline.index` as it is, but for commits of two photos, merges of six, four segments of
    parts at most and a bar that shows every count at once.
    """
    from pipeline import index

    class Prompt(tqdm.tqdm):  # type: ignore[misc]
        def __init__(self, **options: Any) -> None:
            super().__init__(**{**options, "mininterval": 0, "miniters": 1})

    # forks share the default one: killed with it, one would stop all that come after
    tqdm.tqdm.set_lock(threading.RLock())
    tqdm.tqdm = Prompt
    update.COMMIT_PHOTOS, gallery_writer.SMALL = 2, 6
    gallery_writer.SEGMENTS, parts_writer.AT_ONCE = 4, 2
    return index.main([*arguments, "--jobs", "2", "--device", "cpu"])


def start(work: Path, gallery: Path, cold: bool) -> int:
    """Begin to index in a process group of its own; its pid."""
    model = str(work / "model")
    arguments = [str(work / "photos"), "--gallery", str(gallery), "--model", model]
    if not cold:
        return fork(work, arguments)
    with open(work / "stderr", "wb") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-c", CHILD, *arguments],
            cwd=ROOT,
            stdout=subprocess.DEVNULL,
            stderr=stderr,
            start_new_session=True,
        )
    process.returncode = 0  # `end` waits for it, not Popen
    return process.pid


def fork(work: Path, arguments: list[str]) -> int:
    """The same run as a fork of this process; its pid."""
    with open(work / "stderr", "wb") as stderr:
        if pid := os.fork():
            return pid
        code = 70
        try:
            os.setsid()
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            os.dup2(stderr.fileno(), 2)
            code = index_in_small_steps(*arguments)
        finally:
            os._exit(code)


def end(pid: int, folder: Path, files: int, seconds: float) -> int | None:
    """Wait until so many files lie in the folder, then so many seconds, and kill. The exit code of
    a run that ended before, else None.
    """
    watched = os.pidfd_open(pid)

    def ended(within: float) -> bool:
        return bool(select.select([watched], [], [], within)[0])

    try:
        while len(os.listdir(folder) if folder.is_dir() else ()) < files and not ended(
            within=0.0005
        ):
            pass
        alone = ended(within=seconds)
        if not alone:
            os.killpg(pid, signal.SIGKILL)
        status = os.waitpid(pid, 0)[1]
    finally:
        os.close(watched)
    return os.waitstatus_to_exitcode(status) if alone else None


def read_rows(gallery: Path) -> Rows:
    from pipeline.gallery.store import read_gallery
    from tests.support.filled import as_read

    return as_read(read_gallery(gallery, parts=True))


def votes(gallery: Path) -> dict[str, bytes]:
    """That every photo's features give to all; nothing where not all are indexed."""
    from pipeline.gallery.store import read_gallery
    from pipeline.model.codebook import read_codebook
    from pipeline.search.open import lack_of_parts
    from tests.support.filled import as_voted

    reading = read_gallery(gallery, parts=True)
    codebook = read_codebook(reading.binding.where)
    if codebook is None or lack_of_parts(reading, codebook):
        return {}
    return as_voted(reading, codebook)


def rankings(gallery: Path) -> str:
    """Every photo's answer as JSON, but for the time it took."""
    from pipeline.search.open import open_engine

    engine = open_engine(gallery, OPTIONS)
    answers = [
        engine.answer(engine.query(f"gallery:{name}"), len(engine.gallery)).to_json()
        for name in engine.gallery.names
    ]
    return json.dumps([{**answer, "seconds": None} for answer in answers])


def leftovers(gallery: Path) -> bool:
    """Whether files lie there that the manifest does not know: the kill hit a commit or a merge."""
    from pipeline.gallery.store import connected

    with connected(gallery) as manifest:
        known = {
            file
            for table in ("shards", "parts")
            for (file,) in manifest.execute(f"SELECT file FROM {table}")
        }
    there = [*(gallery / "shards").iterdir(), *(gallery / "parts").iterdir()]
    return any(path.name not in known for path in there)


def look(gallery: Path, counted: int, whole: Rows, before: set[str], tally: Tally) -> set[str]:
    """What is left after a kill, against what was acknowledged: committed before, or counted by the
    bar since. The committed names.
    """
    from pipeline.base.errors import GalleryError

    try:
        rows = read_rows(gallery)
        tally.amid += leftovers(gallery)
    except GalleryError as error:
        if before or counted or not re.search("got none|got an empty one", str(error)):
            print(f"kill {tally.kills}: {error}", file=sys.stderr)
            tally.unopenable += 1
        return before
    tally.checked += len(before) + counted
    wrong = {name for name in before if name not in rows} | {
        name for name in rows if rows[name] != whole[name]
    }
    missing = max(0, len(before) + counted - len(rows))
    if wrong or missing:
        print(
            f"kill {tally.kills}: {len(before)} committed before, {counted} counted since,"
            f" {len(rows)} there, {len(wrong)} wrong",
            file=sys.stderr,
        )
    tally.lost += max(len(wrong), missing)
    return before | set(rows)


def kill_often(work: Path, kills: int, photos: int, every: int, rng: np.random.Generator) -> Tally:
    """`every` so many runs a whole process, 0 none."""
    whole, gallery = work / "whole", work / "gallery"
    took = {}  # seconds of an uninterrupted run
    for cold in (True, False) if every else (False,):
        shutil.rmtree(whole, ignore_errors=True)
        began = time.monotonic()
        if end(start(work, whole, cold), gallery, 0, 600) != 0:
            raise SystemExit((work / "stderr").read_text())
        took[cold] = time.monotonic() - began
    rows, ranked, voted = read_rows(whole), rankings(whole), votes(whole)
    if not any(any(each) for each in voted.values()):
        raise SystemExit("the photos get no votes: there is nothing to compare")
    tally, before, runs = Tally(), set[str](), 0
    with tqdm.tqdm(total=kills, desc="kill", unit="kill") as bar:
        while tally.kills < kills or before:  # the last gallery is completed, too
            runs += 1
            cold, left = bool(every) and runs % every == 0, 1 - len(before) / photos
            folder = gallery / ("shards" if rng.random() < 0.5 else "parts")
            files, seconds = 0, rng.uniform(0, took[cold] * max(left, 0.3))
            if tally.kills >= kills:
                seconds = 600
            # at a commit, or one of the merges behind the last: when its file is there, a hair
            # later
            elif not cold and rng.random() < 0.5:
                files = sum(1 for _ in folder.glob("*")) + int(
                    rng.integers(1, int(left * photos / 2 + photos / 6) + 2)
                )
                seconds = rng.uniform(0, 0.004)
            code = end(start(work, gallery, cold), folder, files, seconds)
            shown = BAR.findall((work / "stderr").read_text("utf-8", "replace"))
            if code is None:
                tally.kills += 1
                bar.update()
                before = look(gallery, int(shown[-1]) if shown else 0, rows, before, tally)
                continue
            tally.completed += 1
            if code != 0:
                print((work / "stderr").read_text(), file=sys.stderr)
                tally.failed += 1
            elif read_rows(gallery) != rows or rankings(gallery) != ranked:
                tally.unequal += 1
            elif votes(gallery) != voted:
                tally.unvoted += 1
            shutil.rmtree(gallery)
            before = set()
    return tally


def main(argv: list[str] | None = None) -> int:
    parser = Parser(description=__doc__.split("\n\n")[0], epilog=__doc__.split("\n\n")[1])
    parser.add_argument(
        "--kills", type=at_least_one, default=200, metavar="N", help="SIGKILLs (default: 200)"
    )
    parser.add_argument(
        "--photos", type=at_least_one, default=40, metavar="N", help="photos to index (default: 40)"
    )
    parser.add_argument(
        "--cold",
        type=natural,
        default=20,
        metavar="N",
        help="every so many runs a whole process, 0 none (default: 20)",
    )
    parser.add_argument(
        "--seed",
        type=natural,
        default=0,
        help="of the photos, the model and the moments (default: 0)",
    )
    args = parser.parse_args(argv)
    import torch

    torch.set_num_threads(1)  # no thread pool may stand when this process forks
    torch.manual_seed(args.seed)
    rng = np.random.default_rng(args.seed)
    with tempfile.TemporaryDirectory(prefix="kill-index-") as folder:
        draw_photos(Path(folder, "photos"), args.photos, rng)
        write_untrained_model(Path(folder, "model"), rng)
        tally = kill_often(Path(folder), args.kills, args.photos, args.cold, rng)
    print(tally)
    return 1 if tally.bad else 0


if __name__ == "__main__":
    sys.exit(main())

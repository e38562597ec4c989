"""Kill batch re-ranking at random moments, run it again until it is through, and compare: no query
lost or done twice, no byte different.

The gallery is planted: families of five photos that share local features, among numbers drawn at
random; or --gallery is one of yours. Every indexed photo asks, with the first look's shortlist.
Half of the kills take a worker first and the job a little later.
"""

import csv
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.base.options import SearchOptions
from pipeline.base.values import at_least_one, natural
from pipeline.cli import Parser, finish
from pipeline.gallery.roots import Roots

if TYPE_CHECKING:
    import numpy as np

ROOT = Path(__file__).resolve().parents[2]
OPTIONS = SearchOptions(recipe="two_stage", code="pca", device="cpu")
BAR = re.compile(r"(\d+)/\d+ \[")
FAMILY, SHARED, FEATURES = 5, 40, 60  # photos of a family; features that they share, of all


@dataclass
class Tally:
    """What the kills showed."""

    kills: int = 0
    workers: int = 0  # killed before the job was
    runs: int = 0
    completed: int = 0  # jobs
    checked: int = 0  # finished queries looked for after a kill, each time
    lost: int = 0
    repeated: int = 0  # queries done twice
    orphans: int = 0  # processes left five seconds after a kill
    failed: int = 0  # runs that ended badly by themselves
    unequal: int = 0  # outputs other than the uninterrupted one

    def __str__(self) -> str:
        return (
            f"{self.kills} kills ({self.workers} after a worker's), {self.completed} jobs completed"
            f" in {self.runs} runs, {self.checked} finished queries checked, {self.lost} lost,"
            f" {self.repeated} done twice, {self.orphans} orphans, {self.failed} failed runs,"
            f" output {'identical' if not self.unequal else f'of {self.unequal} jobs different'}"
        )

    @property
    def bad(self) -> int:
        return self.lost + self.repeated + self.orphans + self.failed + self.unequal


def plant_gallery(folder: Path, photos: int, rng: "np.random.Generator") -> None:
    """A gallery of the embedded model without a photo: what its networks would have seen is
    drawn."""
    import numpy as np

    from pipeline.gallery.binding import Binding
    from pipeline.gallery.store import Encoded, Entry
    from pipeline.gallery.writer import writing
    from pipeline.model.card import DEFAULT, read_identity
    from stages.records import LocalFeatures

    def features(unit: "np.ndarray", xy: "np.ndarray") -> LocalFeatures:
        unit = unit / np.linalg.norm(unit, axis=1, keepdims=True)
        score = np.linspace(2, 1, len(unit), dtype=np.float32)
        return LocalFeatures(
            xy.astype(np.float32), np.rint(127 * unit).astype(np.int8), score, (640, 480)
        )

    encoded = []
    for number in range(photos):
        if number % FAMILY == 0:
            code, unit, xy = (
                rng.normal(size=32),
                rng.normal(size=(SHARED, 40)),
                rng.uniform(100, 400, (SHARED, 2)),
            )
        turn = np.eye(2) + rng.normal(scale=0.1, size=(2, 2))
        local = features(
            np.concatenate(
                [unit + 0.2 * rng.normal(size=unit.shape), rng.normal(size=(FEATURES - SHARED, 40))]
            ),
            np.concatenate(
                [xy @ turn + rng.normal(size=xy.shape), rng.uniform(0, 480, (FEATURES - SHARED, 2))]
            ),
        )
        name = f"{number:05d}.jpg"
        entry = Entry(hashlib.sha256(name.encode()).hexdigest(), number, number)
        pooled = rng.normal(size=(2, 512)).astype(np.float16).astype(np.float32)
        encoded.append(
            Encoded(
                name, entry, pooled, (code + 0.5 * rng.normal(size=32)).astype(np.float32), local
            )
        )
    with writing(
        folder, Binding(*read_identity(DEFAULT), DEFAULT, Roots.of(str(folder.parent / "photos")))
    ) as writer:
        for begin in range(0, photos, 500):
            writer.add(encoded[begin : begin + 500])


def write_candidates(gallery: Path, path: Path, queries: int, depth: int) -> int:
    """The first look's shortlists of so many indexed photos; how many there are."""
    from pipeline.search.open import open_engine

    engine = open_engine(gallery, OPTIONS)
    names = engine.gallery.names
    with path.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file:
        writer = csv.writer(file)
        writer.writerow(("query", "image"))
        for name in names[:queries]:
            rows = engine.coarse(engine.query(f"gallery:{name}"), min(depth, len(names))).rows[0]
            writer.writerows((f"gallery:{name}", names[row]) for row in rows)
    return len(names[:queries])


def start(work: Path, gallery: Path, out: Path, jobs: int) -> "subprocess.Popen[bytes]":
    """Begin the job in a session of its own."""
    command = [
        sys.executable,
        str(ROOT / "scripts/rerank.py"),
        "--gallery",
        str(gallery),
        "--candidates",
        str(work / "run.csv"),
    ]
    command += ["--out", str(out), "--jobs", str(jobs), "--json"]
    with (work / "stdout").open("wb") as stdout, (work / "stderr").open("wb") as stderr:
        return subprocess.Popen(
            command, cwd=ROOT, stdout=stdout, stderr=stderr, start_new_session=True
        )


def session(leader: int) -> Iterator[tuple[int, bool]]:
    """The processes of a job that live, and whether each is a worker."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            state, _, _, sid, *_ = (folder / "stat").read_text().rpartition(")")[2].split()
            if int(sid) == leader and state not in "ZX":
                yield int(folder.name), b"LokyProcess" in (folder / "cmdline").read_bytes()
        except OSError:  # it ended meanwhile
            continue


def kill_worker(leader: int, rng: "np.random.Generator") -> bool:
    workers = [pid for pid, worker in session(leader) if worker]
    if workers:
        try:
            os.kill(int(rng.choice(workers)), signal.SIGKILL)
        except ProcessLookupError:
            return False
    return bool(workers)


def finished(out: Path) -> list[str]:
    """The queries that the journal holds, a torn last line left out."""
    path = out.with_name(out.name + ".part")
    lines = path.read_bytes().split(b"\n")[1:-1] if path.exists() else []
    return [json.loads(line)["query"] for line in lines]


def look(
    job: "subprocess.Popen[bytes]", out: Path, shown: int, before: set[str], tally: Tally
) -> set[str]:
    """What is left after a kill, against what was finished before or counted by the bar."""
    deadline = time.monotonic() + 5
    while (left := list(session(job.pid))) and time.monotonic() < deadline:
        time.sleep(0.02)
    tally.orphans += len(left)
    there = Counter(finished(out))
    tally.checked += max(len(before), shown)
    tally.lost += max(len(before - there.keys()), shown - len(there))
    tally.repeated += sum(count - 1 for count in there.values())
    return set(there)


def kill_often(
    work: Path, gallery: Path, kills: int, jobs: int, rng: "np.random.Generator"
) -> Tally:
    from tqdm import tqdm

    whole, out, tally = work / "whole.csv", work / "out.csv", Tally()
    began, boot = time.monotonic(), 0.0
    job = start(work, gallery, whole, jobs)
    while job.poll() is None:
        boot = boot or (time.monotonic() - began if finished(whole) else 0.0)
        time.sleep(0.05)
    if job.returncode != 0:
        raise SystemExit((work / "stderr").read_text("utf-8", "replace"))
    took = time.monotonic() - began
    print(
        f"uninterrupted: {took:.1f} s, the first query finished after {boot:.1f} s", file=sys.stderr
    )
    before = set[str]()
    with tqdm(total=kills, desc="kill", unit="kill") as bar:
        while tally.kills < kills or before:  # the last job is completed, too
            # while it starts; else once it has finished another query, however long that took today
            early = rng.random() < 0.2
            seconds = rng.uniform(0, boot) if early else rng.uniform(0, 2 * (took - boot) / kills)
            job, tally.runs = start(work, gallery, out, jobs), tally.runs + 1
            while (
                tally.kills < kills
                and not early
                and job.poll() is None
                and len(finished(out)) <= len(before)
            ):
                time.sleep(0.02)
            try:
                if tally.kills == kills:
                    job.wait(600 + 2 * took)
                else:
                    if took_worker := rng.random() < 0.5:
                        share = rng.uniform(0.5, 1) * seconds
                        time.sleep(share)
                        took_worker, seconds = kill_worker(job.pid, rng), seconds - share
                    job.wait(seconds)
            except subprocess.TimeoutExpired:
                job.kill()
                job.wait()
                tally.kills, tally.workers = tally.kills + 1, tally.workers + took_worker
                bar.update()
                shown = BAR.findall((work / "stderr").read_text("utf-8", "replace"))
                before = look(job, out, int(shown[-1]) if shown else 0, before, tally)
                continue
            tally.completed += 1
            if job.returncode != 0:
                print((work / "stderr").read_text("utf-8", "replace"), file=sys.stderr)
                tally.failed += 1
                break
            tally.unequal += out.read_bytes() != whole.read_bytes()
            out.unlink()
            before = set()
    return tally


def main(argv: list[str] | None = None) -> int:
    parser = Parser(description=__doc__.split("\n\n")[0], epilog=__doc__.split("\n\n")[1])
    parser.add_argument(
        "--kills", type=at_least_one, default=20, metavar="N", help="SIGKILLs (default: 20)"
    )
    parser.add_argument(
        "--queries",
        type=at_least_one,
        default=2000,
        metavar="N",
        help="queries of the job (default: 2000)",
    )
    parser.add_argument(
        "--depth",
        type=at_least_one,
        default=100,
        metavar="N",
        help="candidates of each (default: 100)",
    )
    parser.add_argument(
        "--jobs", type=at_least_one, default=2, metavar="N", help="processes (default: 2)"
    )
    parser.add_argument(
        "--gallery", type=Path, metavar="DIR", help="ask this gallery instead of a planted one"
    )
    parser.add_argument(
        "--seed", type=natural, default=0, help="of the gallery and the moments (default: 0)"
    )
    args = parser.parse_args(argv)

    def job() -> int:
        import numpy as np

        rng = np.random.default_rng(args.seed)
        with tempfile.TemporaryDirectory(prefix="kill-rerank-") as folder:
            gallery = args.gallery or Path(folder, "gallery")
            if args.gallery is None:
                plant_gallery(gallery, args.queries, rng)
            queries = write_candidates(gallery, Path(folder, "run.csv"), args.queries, args.depth)
            tally = kill_often(Path(folder), gallery.resolve(), args.kills, args.jobs, rng)
        print(f"{queries} queries: {tally}")
        return 1 if tally.bad or not tally.completed else 0

    return finish("kill_rerank", job)


if __name__ == "__main__":
    sys.exit(main())

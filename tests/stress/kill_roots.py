"""Kill index runs of two folders while those are emptied, unplugged, moved, renamed and restored:
whatever was indexed once must answer as it did, under whatever name its file has.

Runs are forks of this process, killed anywhere; what may not be dropped is known by its bytes.
"""

import os
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import tqdm
from kill_index import draw_photos, end, fork, write_untrained_model

from pipeline.base.values import at_least_one, natural
from pipeline.cli import Parser

Rows = dict[str, tuple[bytes, ...]]  # by the sha256 of a photo's bytes: what it became


@dataclass
class Library:
    """Two folders, one gallery of both, and what is known of them."""

    work: Path
    rng: np.random.Generator
    share: float  # of runs that are killed
    seconds: float  # that a run takes
    whole: Rows
    kept: set[str] = field(default_factory=set)  # sha256 of the photos that were indexed
    place: dict[str, Path] = field(default_factory=dict)  # of each folder, by its name
    counts: Counter[str] = field(default_factory=Counter)

    @property
    def gallery(self) -> Path:
        return self.work / "gallery"

    def index(self, *arguments: str | Path, wanted: int = 0, whole: bool = False) -> None:
        """One run, killed or not, and a look at what is left."""
        killed = not whole and self.rng.random() < self.share
        within = self.rng.exponential(self.seconds / 8) if killed else 600
        model = ["--model", str(self.work / "model")] if not self.gallery.exists() else []
        command = [*map(str, arguments), "--gallery", str(self.gallery), *model]
        code = end(fork(self.work, command), self.gallery, 0, within)
        self.counts["kills" if code is None else "runs"] += 1
        if code not in (None, wanted):
            self.counts["failed"] += 1
            print(f"{command}: {code}, {(self.work / 'stderr').read_text()}", file=sys.stderr)
        self.look(command)

    def knows(self, folder: Path) -> bool:
        from pipeline.gallery.chosen_roots import known_roots

        return known_roots(self.gallery).known(str(folder)) is not None

    def holds(self, folder: Path) -> bool:
        """Whether photos of it are in the gallery."""
        from pipeline.gallery.store import read_gallery

        if not self.knows(folder):
            return False
        reading = read_gallery(self.gallery)
        return any(
            str(reading.binding.photos.file(name)).startswith(f"{folder}/")
            for name in reading.names
        )

    def answering(self) -> int:
        """How many photos, of all folders, find themselves first by their file and by their
        name.
        """
        from pipeline.library import open_gallery

        with open_gallery(self.gallery) as gallery:
            roots, right = gallery.engine.binding.photos, 0
            for folder in self.place.values():
                root = roots.known(str(folder))
                for path in folder.rglob("*.png"):
                    name = roots.prefix(root) + str(path.relative_to(folder)) if root else ""
                    answers = [gallery.search(each, 1) for each in (path, f"gallery:{name}")]
                    right += all(answer.results[0].image == name for answer in answers)
        return right

    def look(self, command: list[str]) -> None:
        from pipeline.base.errors import GalleryError

        try:
            found = by_contents(self.gallery)
        except GalleryError as error:
            if self.kept:
                self.counts["unopenable"] += 1
                print(error, file=sys.stderr)
            return
        lost = self.kept - found.keys()
        wrong = [key for key in found if found[key] != self.whole.get(key)]
        if lost or wrong:
            print(f"{command}: {len(lost)} lost, {len(wrong)} wrong", file=sys.stderr)
        self.counts["lost"] += len(lost) + len(wrong)
        self.counts["checked"] += len(self.kept)
        self.kept |= found.keys()


def by_contents(gallery: Path) -> Rows:
    from pipeline.gallery.store import read_gallery
    from tests.support.filled import as_read

    reading = read_gallery(gallery, parts=True)
    rows = as_read(reading)
    return {
        content: rows[name] for name, content in zip(reading.names, reading.contents, strict=True)
    }


def emptied(library: Library, name: str) -> None:
    """A mount point without its disk."""
    folder, stash = library.place[name], library.work / "stash"
    os.rename(folder, stash)
    folder.mkdir()
    library.index(folder, "--prune", wanted=2 if library.holds(folder) else 0)
    folder.rmdir()
    os.rename(stash, folder)


def unplugged(library: Library, name: str) -> None:
    folder, stash = library.place[name], library.work / "stash"
    if not library.knows(folder):
        return
    os.rename(folder, stash)
    library.index("--prune", wanted=3)
    os.rename(stash, folder)


def moved(library: Library, name: str) -> None:
    folder = library.place[name]
    new = folder.with_name(f"{name}-{library.counts['runs'] + library.counts['kills']}")
    known = library.knows(folder)
    os.rename(folder, new)
    library.place[name] = new
    if known:
        library.index(new, "--moved-from", folder)
        while not library.knows(new):  # it was killed before it had begun
            library.index(new, "--moved-from", folder, whole=True)
    library.index(new, "--prune")


def renamed(library: Library, name: str) -> None:
    inside = [path for path in library.place[name].iterdir() if path.is_dir()]
    for path in inside:
        os.rename(path, path.with_name("sub" if path.name == "other" else "other"))
    library.index(library.place[name], "--prune")


def exchanged(library: Library, name: str) -> None:
    """Photos go from one folder into the other, and both are indexed before either is pruned."""
    (other,) = library.place.keys() - {name}
    if not all(map(library.knows, library.place.values())):
        return
    for path in sorted(library.place[name].rglob("*.png"))[:2]:
        os.rename(path, library.place[other] / path.name)
    library.index()
    library.index(whole=True)


def again(library: Library, name: str) -> None:
    library.index(library.place[name])
    library.index(library.place[name], "--prune")


ACTIONS: tuple[Callable[[Library, str], None], ...] = (
    emptied, unplugged, moved, renamed, exchanged, again,
)  # fmt: skip


def main(argv: list[str] | None = None) -> int:
    parser = Parser(description=__doc__.split("\n\n")[0], epilog=__doc__.split("\n\n")[1])
    parser.add_argument(
        "--kills", type=at_least_one, default=100, metavar="N", help="SIGKILLs (default: 100)"
    )
    parser.add_argument(
        "--photos", type=at_least_one, default=24, metavar="N", help="photos (default: 24)"
    )
    parser.add_argument("--seed", type=natural, default=0, help="of everything (default: 0)")
    args = parser.parse_args(argv)
    import torch

    torch.set_num_threads(1)  # no thread pool may stand when this process forks
    torch.manual_seed(args.seed)
    rng = np.random.default_rng(args.seed)
    with tempfile.TemporaryDirectory(prefix="kill-roots-") as folder:
        work = Path(os.path.realpath(folder))
        draw_photos(work / "all", args.photos, rng)
        write_untrained_model(work / "model", rng)
        for gallery in ("first", "whole"):  # the first run compiles
            began = time.monotonic()
            command = [str(work / "all"), "--gallery", str(work / gallery), "--model"]
            if end(fork(work, [*command, str(work / "model")]), work, 0, 600) != 0:
                raise SystemExit((work / "stderr").read_text())
        library = Library(work, rng, 0.8, time.monotonic() - began, by_contents(work / "whole"))
        for place, path in enumerate(sorted((work / "all").iterdir())):
            below = work / "AB"[place % 2] / ("sub" if place % 3 else "")
            below.mkdir(parents=True, exist_ok=True)
            shutil.move(path, below / path.name)
        library.place |= {name: work / name for name in "AB"}
        with tqdm.tqdm(total=args.kills, desc="kill", unit="kill") as bar:
            while library.counts["kills"] < args.kills:
                ACTIONS[rng.integers(len(ACTIONS))](library, "AB"[rng.integers(2)])
                bar.update(library.counts["kills"] - bar.n)
        library.index(*library.place.values(), "--prune", whole=True)
        answered = library.answering()
    bad = {name: library.counts[name] for name in ("lost", "unopenable", "failed")}
    bad["unanswered"] = args.photos - answered
    print(
        f"{library.counts['kills']} kills, {library.counts['runs']} runs that ended by themselves,"
        f" {library.counts['checked']} indexed photos checked, {answered} of {args.photos} photos"
        f" answer at the end; " + ", ".join(f"{count} {name}" for name, count in bad.items())
    )
    return 1 if any(bad.values()) else 0


if __name__ == "__main__":
    sys.exit(main())

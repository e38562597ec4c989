"""Labels from folders: which class a photo is of, by its path.

`folder` takes the first folder of a path, and refuses photos at several depths or beside the
folders of classes; `top` takes it at any depth; `parent` takes all folders above the photo, `.`
where there are none. Where all photos lie below train/, val/ or test/, as ImageFolder has them, a
class is a folder below those.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from pipeline.base.errors import UsageError
from pipeline.base.names import printable

# what a folder called so is for
SPLITS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
SHOWN = 5  # classes that are named in a line


@dataclass(frozen=True)
class Labels:
    """Which class each photo is of."""

    of: Mapping[str, str]  # by path; a photo that lies in no folder has none
    outside: int  # photos without a class
    splits: tuple[str, ...]  # the folders between the collection and its classes, if there are any

    def __str__(self) -> str:
        """`10 classes: africa, beach, ...; 1,000 photos, from 90 of beach to 110 of africa`."""
        counts = Counter(self.of.values())
        names = sorted(counts)
        more = ", ..." if len(names) > SHOWN else ""
        least, most = min(names, key=lambda n: counts[n]), max(names, key=lambda n: counts[n])
        spread = (
            f"{counts[most]:,} of each"
            if counts[least] == counts[most]
            else f"from {counts[least]:,} of {_short(least)} to {counts[most]:,} of {_short(most)}"
        )
        text = f"{len(names):,} class{'es' if len(names) > 1 else ''}: "
        text += f"{', '.join(map(_short, names[:SHOWN]))}{more}; {len(self.of):,} photos, {spread}"
        if self.splits:
            text += f"; below {', '.join(f'{printable(each)}/' for each in self.splits)}"
        many = "s" if self.outside > 1 else ""
        left = f"; {self.outside:,} photo{many} in no folder left out" if self.outside else ""
        return text + left


def splits_among(names: Sequence[str]) -> tuple[str, ...]:
    """The folders train/, val/, test/ and the like that all the paths begin with and classes lie
    in; none where there are other folders, or no classes below.
    """
    parts = [name.split("/") for name in names]
    tops = sorted({part[0] for part in parts})
    split = all(top.lower() in SPLITS for top in tops) and all(len(part) > 2 for part in parts)
    return tuple(tops) if split and tops else ()


def read_labels(
    names: Sequence[str], labels: str, what: str, relative: Callable[[str], str] = str
) -> Labels:
    """The classes of photos by their paths; labels: of pipeline.base.names.LABELS; what: whose
    photos these are, before a message; relative: a name -> the path that holds its class. Raises
    UsageError for what `folder` refuses.
    """
    paths = {name: relative(name) for name in names}
    splits = splits_among([*paths.values()])
    # those below the splits
    folders = {
        name: tuple(path.split("/")[1 if splits else 0 : -1]) for name, path in paths.items()
    }
    inside = {name: parts for name, parts in folders.items() if parts}
    outside = [name for name, parts in folders.items() if not parts]
    if labels == "folder":
        _refuse_mix(inside, outside, what)
    if labels == "parent":
        return Labels({name: "/".join(parts) or "." for name, parts in folders.items()}, 0, splits)
    if not inside:
        raise UsageError(
            f"{what}: expected folders of classes, got {len(names):,} photos in none"
            + (f", as {printable(names[0])}" if names else "")
        )
    of = {name: parts[0] for name, parts in inside.items()}
    if labels == "folder" and len(set(of.values())) == 1:
        lower = {parts[-1] for parts in inside.values() if len(parts) > 1}
        if len(lower) > 1:
            raise UsageError(
                f"{what}: expected several classes, got one, {printable(next(iter(of.values())))},"
                f" and {len(lower):,} folders in it; run with `--labels parent` if those are the"
                " classes"
            )
    return Labels(of, len(outside), splits)


def _refuse_mix(inside: Mapping[str, Sequence[str]], outside: Sequence[str], what: str) -> None:
    if inside and outside:
        raise UsageError(
            f"{what}: expected every photo in a folder of its class, got {len(outside):,} beside"
            f" the folders, as {printable(outside[0])}; move them, or run with `--labels top`,"
            " which leaves them out"
        )
    known = {parts[0] for parts in inside.values()}
    splits = sorted(name for name in known if name.lower() in SPLITS)
    if len(splits) > 1 and splits != sorted(known) and any(len(p) > 1 for p in inside.values()):
        other = min(known - set(splits))
        raise UsageError(
            f"{what}: expected {', '.join(splits)} alone, or folders of classes, got"
            f" {printable(other)} beside them; move it, or run with `--labels parent` or `--labels"
            " top`"
        )
    by_depth: dict[int, str] = {}
    for name, parts in inside.items():
        by_depth.setdefault(len(parts), name)
    if len(by_depth) > 1:
        first, *_, last = (by_depth[depth] for depth in sorted(by_depth))
        raise UsageError(
            f"{what}: expected photos at one depth, got {printable(first)} and {printable(last)};"
            " run with `--labels top` if the first folder is the class, `--labels parent` if all"
            " folders above a photo are"
        )


def _short(name: str) -> str:
    text = printable(name)
    return text if len(text) <= 24 else f"{text[:12]}...{text[-9:]}"

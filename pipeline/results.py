"""Results files: what was measured, in rows that each say all that is needed to measure it again.

{"command", "data", "model", "seed", "rows": [...]}: a field above the rows is what all of them have in common.
"""

import hashlib
import json
import os
import shlex
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.flags import UsageError

SHARED = ("command", "data", "model", "seed")
VARIOUS = "named in each row"


def command(script: str, arguments: Sequence[str]) -> str:
    """The command as a reader would type it, paths as they were typed."""
    return shlex.join(["python", script, *arguments])


def digest(contents: Iterable[tuple[str, str]]) -> str:
    """(name, sha256 of the contents) of many files, in any order -> sha256 over both, sorted."""
    return hashlib.sha256(b"".join(os.fsencode(f"{content}  {name}\0") for name, content in sorted(contents))).hexdigest()


def figures(compared: Mapping[str, Any], names: Sequence[str]) -> dict[str, float]:
    """What pipeline/metrics.py compared, as a row has it: NAME, coarse_NAME and NAME_gain, each with _low and _high."""
    row: dict[str, float] = {}
    for part, pattern in ((compared, "{}"), (compared["coarse"], "coarse_{}"), (compared["gain"], "{}_gain")):
        for name in names:
            figure, (low, high) = pattern.format(name), part["interval"][name]
            row |= {figure: part[name], f"{figure}_low": low, f"{figure}_high": high}
    return row


def write_row(path: Path, row: Mapping[str, Any]) -> None:
    """Put a row into a results file, in the place of the one with its label if there is one. Raises UsageError.

    Rows of older files may leave to the file what they have in common; from here on they say it themselves.
    """
    if missing := {"recipe", "label", *SHARED} - row.keys():
        raise ValueError(f"row: want {', '.join(sorted(missing))}, got {', '.join(row)}")
    before = _read(path)
    rows = [{**{name: before[name] for name in SHARED if name in before}, **old} for old in before.get("rows", [])]
    places = [place for place, old in enumerate(rows) if old.get("label") == row["label"]]
    if places:
        rows[places[0]] = dict(row)
    else:
        rows.append(dict(row))
    common = {name: row[name] if all(one.get(name) == row[name] for one in rows) else VARIOUS for name in SHARED}
    write_file(path, (json.dumps({**common, "rows": rows}, indent=1) + "\n").encode())


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text("utf-8"))
        if not isinstance(found, dict) or not all(isinstance(row, dict) for row in found["rows"]):
            raise ValueError("other JSON")
        return found
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise UsageError(f"{path}: want a results file that can be read, got {error.strerror}") from None
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise UsageError(f"{path}: want a results file, got {error}; move it away, or name another") from None


def write_file(path: Path, data: bytes) -> None:
    """The file whole, or UsageError."""
    from pipeline.shards import write_whole

    try:
        write_whole(path, data)
    except OSError as error:
        raise UsageError(f"{path}: want a file that can be written, got {error.strerror}") from None


def want_place(flag: str, path: Path | None) -> None:
    """What would stop a file from being written stops the job before its long work. Raises UsageError."""
    if path is None:
        return
    if path.is_dir():
        raise UsageError(f"{flag} {path}: want a file, got a folder")
    if not path.resolve().parent.is_dir():
        raise UsageError(f"{flag} {path}: want a file in an existing folder, got none; run `mkdir -p {shlex.quote(str(path.parent))}`")


def want_results(flag: str, path: Path | None) -> None:
    """The same for a results file, which may be there already and then has to be one."""
    want_place(flag, path)
    if path is not None:
        _read(path)


def want_folder(flag: str, folder: Path) -> None:
    """The same for a folder of files, which is made. Raises UsageError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{flag} {folder}: want a folder, got {error.strerror}") from None
    if not os.access(folder, os.W_OK):
        raise UsageError(f"{flag} {folder}: want a folder that can be written to, got one that cannot")

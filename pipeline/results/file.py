"""Results files: what was measured, in rows that each say all that is needed to measure it again.

{"command", "data", "model", "seed", "rows": [...]}: a field above the rows is what all of them have
in common.
"""

import json
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.base.errors import UsageError
from pipeline.base.files import check_place, write_file

SHARED = ("command", "data", "model", "seed")
VARIOUS = "named in each row"


def command(script: str, arguments: Sequence[str]) -> str:
    """The command as a reader would type it, paths as they were typed."""
    return shlex.join(["python", *script.split(), *arguments])


def figures(compared: Mapping[str, Any], names: Sequence[str]) -> dict[str, float]:
    """What stages/metrics.py compared, as a row has it: NAME, coarse_NAME and NAME_gain, each with
    _low and _high.
    """
    row: dict[str, float] = {}
    for part, pattern in (
        (compared, "{}"),
        (compared["coarse"], "coarse_{}"),
        (compared["gain"], "{}_gain"),
    ):
        for name in names:
            figure, (low, high) = pattern.format(name), part["interval"][name]
            row |= {figure: part[name], f"{figure}_low": low, f"{figure}_high": high}
    return row


def write_row(path: Path, row: Mapping[str, Any]) -> None:
    """Put a row into a results file, in the place of the one with its label if there is one. Raises
    UsageError.

    Rows of older files may leave to the file what they have in common; from here on they say it
    themselves.
    """
    if missing := {"recipe", "label", *SHARED} - row.keys():
        raise ValueError(f"row: expected {', '.join(sorted(missing))}, got {', '.join(row)}")
    before = _read(path)
    rows = [
        {**{name: before[name] for name in SHARED if name in before}, **old}
        for old in before.get("rows", [])
    ]
    places = [place for place, old in enumerate(rows) if old.get("label") == row["label"]]
    if places:
        rows[places[0]] = dict(row)
    else:
        rows.append(dict(row))
    common = {
        name: row[name] if all(one.get(name) == row[name] for one in rows) else VARIOUS
        for name in SHARED
    }
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
        raise UsageError(
            f"{path}: expected a results file that can be read, got {error.strerror}"
        ) from None
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise UsageError(
            f"{path}: expected a results file, got {error}; move it away, or name another"
        ) from None


def check_results(flag: str, path: Path | None) -> None:
    """The same for a results file, which may be there already and then has to be one."""
    check_place(flag, path)
    if path is not None:
        _read(path)

"""The journal of a batch job: one line a finished query, beside the output that it will become, so
that a kill costs no query.

The first line binds the job: by what lists, gallery, model and flags the others were made. Once a
line is there whole it stays; a kill amid a write leaves a torn last line, which is cut off.
"""

import fcntl
import json
import os
import shlex
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from io import FileIO
from pathlib import Path

from pipeline.base.errors import UsageError
from pipeline.search.shortlists import EVIDENCE, Reranked

SYNC_SECONDS = 1.0  # of work that a loss of power may cost; a kill costs none that is written


class Journal:
    """A job's finished queries. Use `journalling(...)`, which locks, reads and cuts."""

    def __init__(self, path: Path, file: FileIO, done: dict[str, bytes]) -> None:
        self.path = path
        self.file = file
        self.done = done  # by query: its line
        self.synced = time.monotonic()
        self.waiting = 0  # queries written since

    def __getitem__(self, query: str) -> Reranked:
        return Reranked(**json.loads(self.done[query]))

    def add(self, answer: Reranked) -> int:
        """Write one query down; how many more are safe on the disk now."""
        line = json.dumps(asdict(answer), separators=(",", ":")).encode() + b"\n"
        _write(self.path, self.file, line)
        self.done[answer.query] = line
        self.waiting += 1
        return self.sync() if time.monotonic() - self.synced >= SYNC_SECONDS else 0

    def sync(self) -> int:
        """How many more are safe on the disk now: all that were added."""
        _sync(self.path, self.file)
        safe, self.waiting, self.synced = self.waiting, 0, time.monotonic()
        return safe


@contextmanager
def journalling(
    path: Path, job: Mapping[str, str], whole: Callable[[Reranked], bool]
) -> Iterator[Journal]:
    """Go on with a job's journal, or begin one; it stays when it holds anything that the caller
    does not remove.

    job: what the lines depend on. whole: whether a line can be an answer to this job. Raises
    UsageError where the journal is another job's, or at work in another process.
    """
    with _locked(path) as file:
        header = json.dumps({"journal": 1, **job}).encode() + b"\n"
        done, end = _read(path, file, header, whole)
        file.truncate(end)
        if not end:
            _write(path, file, header)
            _sync(path, file)
            folder = os.open(path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        journal = Journal(path, file, done)
        try:
            yield journal
        finally:
            if not journal.done:
                path.unlink(missing_ok=True)


def _locked(path: Path) -> FileIO:
    while True:
        try:
            file = open(path, "a+b", buffering=0)  # noqa: SIM115
        except OSError as error:
            raise UsageError(
                f"{path}: expected a file that can be written, got {error.strerror}; run with"
                " another `--out`"
            ) from None
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.close()
            raise UsageError(
                f"{path}: expected to be the only job that writes it, got another one at work; run"
                " again when it has ended"
            ) from None
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                return file
        file.close()  # its last owner finished and removed it between our two calls


def _read(
    path: Path, file: FileIO, header: bytes, whole: Callable[[Reranked], bool]
) -> tuple[dict[str, bytes], int]:
    """The finished queries by name, and where the last whole line ends."""
    file.seek(0)
    first, *lines = file.readall().splitlines(keepends=True) or [b""]
    if first != header:
        if header.startswith(first):  # none at all, or killed amid the first line
            return {}, 0
        raise UsageError(
            f"{path}: {_difference(first, header)}; `rm {shlex.quote(str(path))}` to begin anew, or"
            " run with another `--out`"
        )
    done: dict[str, bytes] = {}
    end = len(header)
    for line in lines:
        try:
            answer = Reranked(**json.loads(line))
            if not line.endswith(b"\n") or not whole(answer):
                break
        except (ValueError, TypeError, AttributeError, LookupError):
            break
        done[answer.query] = line
        end += len(line)
    return done, end


def _difference(first: bytes, header: bytes) -> str:
    want = json.loads(header)
    try:
        got = json.loads(first)
        key = next(key for key in want if got.get(key) != want[key])
    except (ValueError, AttributeError, StopIteration):
        return "expected this job's journal, got another file"
    # 64: a sha256
    values = [text if len(text) < 64 else text[:12] for text in (str(want[key]), str(got.get(key)))]
    return f"expected the journal of a job with {key} {values[0]}, got one with {values[1]}"


def _write(path: Path, file: FileIO, data: bytes) -> None:
    try:
        while data:
            data = data[file.write(data) :]
    except OSError as error:  # a full disk
        raise _unwritable(path, error) from None


def _sync(path: Path, file: FileIO) -> None:
    try:
        os.fsync(file.fileno())
    except OSError as error:
        raise _unwritable(path, error) from None


def _unwritable(path: Path, error: OSError) -> UsageError:
    return UsageError(f"{path}: expected to write, got {error.strerror}; see to that and run again")


def fits(answer: Reranked, count: int) -> bool:
    """Whether a line can be the answer to a shortlist of so many."""
    columns: Sequence[object] = list(answer.evidence)
    return (
        sorted(answer.places) == list(range(count))
        and columns == list(EVIDENCE)
        and all(len(v) == count for v in answer.evidence.values())
    )

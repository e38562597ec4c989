"""Reading a gallery's manifest writes nothing: beside its writer, after a kill, from a folder that
may only be read, and as another user.
"""

import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from filled import BINDING, as_read, as_written, encoded, fill
from small import answers

from pipeline.gallery.store import read_gallery
from pipeline.gallery.writer import writing

A, B = encoded("a.jpg", 1), encoded("b.jpg", 2)


def state(folder: Path) -> dict[str, tuple[int, ...]]:
    """Every file and folder, with all that a write would change."""
    found = {}
    for path in (folder, *folder.rglob("*")):
        status = path.stat()
        found[str(path)] = (status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    return found


@contextmanager
def another_user(folder: Path) -> Iterator[Path]:
    """A copy that this process may read for now, and not write."""
    if os.geteuid() != 0:
        pytest.skip("only root can be somebody else")
    with tempfile.TemporaryDirectory() as place:
        os.chmod(place, 0o755)
        copy = shutil.copytree(folder, Path(place, "gallery"))
        os.chmod(copy, 0o755)
        os.seteuid(65534)
        try:
            yield copy
        finally:
            os.seteuid(0)


def test_a_search_writes_nothing(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = state(here)
    answers(capsys, Path("gallery"), "photos/a.png", "gallery:b.png", "-k", 2)
    assert state(here) == before


def test_what_is_committed_is_read_beside_its_writer(tmp_path: Path) -> None:
    with writing(fill(tmp_path, [A]), BINDING) as writer:
        writer.add([B])
        writer.connection.execute("BEGIN IMMEDIATE")
        writer.connection.execute("DELETE FROM photos")
        assert as_read(read_gallery(tmp_path)) == as_written(A, B)
        with another_user(tmp_path) as copy:
            assert as_read(read_gallery(copy)) == as_written(A, B)
        writer.connection.execute("ROLLBACK")


def test_a_log_that_goes_while_it_is_copied_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when its writer ends between two looks of a reader that cannot share its memory."""
    folder, ended = tmp_path / "gallery", fill(tmp_path / "ended", [A, B])
    with writing(fill(folder, [A]), BINDING) as writer:
        writer.add([B])
        killed = shutil.copytree(folder, tmp_path / "killed")
    (killed / "manifest.sqlite-shm").unlink()
    copyfile, gone = shutil.copyfile, []

    def copied(source: Path, place: Path) -> Path:
        if source.name.endswith("-wal") and not gone:
            gone.append(source)
            source.unlink()
            copyfile(folder / "manifest.sqlite", killed / "manifest.sqlite")
        return copyfile(source, place)

    monkeypatch.setattr(shutil, "copyfile", copied)
    assert as_read(read_gallery(killed)) == as_read(read_gallery(ended)) == as_written(A, B)
    assert gone


@pytest.mark.parametrize("without", ["", "-shm"])
def test_what_a_killed_writer_committed_is_read(tmp_path: Path, without: str) -> None:
    folder = tmp_path / "gallery"
    with writing(fill(folder, [A]), BINDING) as writer:
        writer.add([B])
        killed = shutil.copytree(folder, tmp_path / "killed")
    if without:
        (killed / f"manifest.sqlite{without}").unlink()
    before = state(killed)
    assert as_read(read_gallery(killed)) == as_written(A, B)
    if without:
        assert state(killed) == before
    with another_user(killed) as copy:
        before = state(copy)
        assert as_read(read_gallery(copy)) == as_written(A, B)
        assert state(copy) == before


def test_a_manifest_that_changes_meanwhile_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A writer that comes and goes between two looks leaves neither half of its work."""
    fill(tmp_path, [A])
    from pipeline.gallery import snapshot

    real, times = snapshot._in_memory, 0

    def late(manifest: Path) -> sqlite3.Connection:
        nonlocal times
        times += 1
        copy = real(manifest)
        if times == 1:
            fill(tmp_path, [B])
        return copy

    monkeypatch.setattr(snapshot, "_in_memory", late)
    assert as_read(read_gallery(tmp_path)) == as_written(A, B)

"""Finding and reading photos in a folder full of traps: nothing missed, nothing opened that blocks,
one order, every refusal named.
"""

import inspect
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from corpus import kinds, write_corpus
from planted import NOISE, SMOOTH, save

from pipeline.base import images
from pipeline.base.errors import ImageError
from pipeline.base.folders import find_photos
from pipeline.base.images import load_image, read_photo


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("corpus")
    write_corpus(path)
    return path


def test_the_walk_finds_all_and_only_photos_in_byte_order(root: Path) -> None:
    names = [f.name for f in find_photos(root)]
    assert names == sorted((n for n, kind in kinds().items() if kind.found), key=os.fsencode)


def test_only_regular_files_are_read(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for path, got in [
        (root, "a directory"),
        (Path("/dev/zero"), "a device"),
        (root / "other/socket.jpg", "a socket"),
    ]:
        with pytest.raises(ImageError, match=f"^expected a regular file, got {got}$"):
            read_photo(path)
    for path in (root / "vanished.jpg", root / "nul\0.jpg", root / ("x" * 300)):
        with pytest.raises(
            ImageError,
            match=r"^expected a readable file, got: .*[Nn]o such file|null byte|too long",
        ):
            read_photo(path)
    file = os.stat(root / "jpeg/rgb.jpg")
    with monkeypatch.context() as patch:
        # the FIFO took the file's place after it was looked at
        patch.setattr(os, "stat", lambda path: file)
        with pytest.raises(ImageError, match="got a FIFO"):
            read_photo(root / "other/fifo.jpg")


def test_a_forbidden_file_is_refused(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbid(*_: object) -> int:
        raise PermissionError(13, "Permission denied", "secret")

    monkeypatch.setattr(os, "open", forbid)
    with pytest.raises(ImageError, match=r"^expected a readable file, got: Permission denied$"):
        load_image(root / "jpeg/rgb.jpg")


def test_a_files_size_is_bounded(tmp_path: Path) -> None:
    path = tmp_path / "sparse.jpg"
    with path.open("wb") as file:
        file.truncate(images.MAX_BYTES + 1)
    with pytest.raises(ImageError, match=r"^expected at most 536,870,912 bytes, got 536,870,913$"):
        read_photo(path)
    path.write_bytes(b"12345")
    assert read_photo(path, max_bytes=5) == b"12345"
    with pytest.raises(ImageError, match="expected at most 4 bytes, got 5"):
        read_photo(path, max_bytes=4)


def test_a_file_that_grows_is_not_taken_for_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "growing.jpg"
    path.write_bytes(save(SMOOTH, "JPEG"))
    look = os.fstat

    def look_then_grow(descriptor: int) -> os.stat_result:
        seen = look(descriptor)
        with path.open("ab") as file:
            file.write(b"more")
        return seen

    monkeypatch.setattr(os, "fstat", look_then_grow)
    with pytest.raises(ImageError, match="grew"):
        read_photo(path)


def test_the_walks_order_is_that_of_whole_paths(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    letters = [b"a", b"-", b".", b"0", b"/", b"~", b"B", b"\xe9", b"\x80", "\xe9".encode()]
    parts = [
        b"".join(letters[i] for i in rng.integers(0, len(letters), rng.integers(1, 12)))
        for _ in range(300)
    ]
    for part in parts:
        path = tmp_path / os.fsdecode(
            b"/".join(p for p in part.split(b"/") if p.strip(b".")) or b"a"
        )
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            (path.parent / (path.name + ".png")).touch()
        except (FileExistsError, NotADirectoryError):
            continue  # one part's file is another's folder
    visible = [
        p
        for p in tmp_path.rglob("*")
        if p.is_file() and not any(x.startswith(".") for x in p.relative_to(tmp_path).parts)
    ]
    assert len(visible) > 150
    names = [f.name for f in find_photos(tmp_path)]
    assert names == sorted((p.relative_to(tmp_path).as_posix() for p in visible), key=os.fsencode)


def test_a_tree_deeper_than_pythons_stack_is_walked(tmp_path: Path) -> None:
    here, depth, limit = os.getcwd(), 250, sys.getrecursionlimit()
    sys.setrecursionlimit(len(inspect.stack()) + depth // 2)
    try:
        os.chdir(tmp_path)
        for _ in range(depth):
            os.mkdir("d")
            os.chdir("d")
        Path("deep.jpg").write_bytes(b"")
        assert [f.name for f in find_photos(tmp_path)] == ["d/" * depth + "deep.jpg"]
        os.remove("deep.jpg")
        for _ in range(depth):  # pytest's own clean-up would recurse
            os.chdir("..")
            os.rmdir("d")
    finally:
        sys.setrecursionlimit(limit)
        os.chdir(here)


def test_what_cannot_be_listed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a.jpg", "shut/b.jpg", "shut.jpg", "z/c.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(save(NOISE, "PNG"))
    scan = os.scandir

    def refuse(path: Path) -> object:
        if Path(path).name == "shut":
            raise PermissionError(13, "Permission denied")
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    assert [(f.name, f.reason) for f in find_photos(tmp_path)] == [
        ("a.jpg", None),
        ("shut.jpg", None),
        ("shut/", "expected a readable folder, got: Permission denied"),
        ("z/c.jpg", None),
    ]
    for path in (tmp_path / "missing", tmp_path / "a.jpg"):
        with pytest.raises(ImageError, match="expected a readable folder"):
            list(find_photos(path))


def test_links_are_judged_from_the_roots_real_place(tmp_path: Path) -> None:
    photo = save(NOISE, "PNG")
    for name in ("real/a.png", "real/sub/b.png", "elsewhere/c.png", "realm.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(photo)
    (tmp_path / "root").symlink_to("real")
    (tmp_path / "real/in.png").symlink_to(tmp_path / "real/sub/b.png")
    (tmp_path / "real/out.png").symlink_to("../elsewhere/c.png")
    (tmp_path / "real/neighbour.png").symlink_to("../realm.png")  # its path begins like the root's
    (tmp_path / "real/out").symlink_to("../elsewhere")
    (tmp_path / "real/out.txt").symlink_to("../elsewhere/c.png")
    (tmp_path / "real/self").symlink_to("self")
    (tmp_path / "real/twin").symlink_to("sub")
    found = {f.name: f.reason for f in find_photos(tmp_path / "root")}
    assert [name for name, reason in found.items() if reason is None] == [
        "a.png",
        "in.png",
        "sub/b.png",
    ]
    assert [name for name, reason in found.items() if reason and "leaves" in reason] == [
        "neighbour.png",
        "out",
        "out.png",
    ]
    assert [name for name, reason in found.items() if reason and "symbolic links" in reason] == [
        "self"
    ]
    assert len(found) == 7


def test_the_callers_suffixes_count(tmp_path: Path) -> None:
    (tmp_path / "a.raw").write_bytes(b"x")
    (tmp_path / "b.jpg").write_bytes(b"x")
    assert [f.name for f in find_photos(tmp_path, frozenset({".raw"}))] == ["a.raw"]

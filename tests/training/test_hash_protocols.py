"""The protocols: who asks whom, and lists that are not what they should be."""

from pathlib import Path

import numpy as np
import pytest
from pictures import picture, write_picture

from pipeline.base.errors import UsageError
from pipeline.training.hashing.protocols import cifar10, nus_wide


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes of 14 photos to learn from and 6 to test on."""
    folder = tmp_path_factory.mktemp("cifar")
    for part, count in (("train", 14), ("test", 6)):
        for name in ("cat", "dog"):
            for i in range(count):
                write_picture(folder / part / name / f"{i:02d}.png", picture(i, 8, 8))
    return folder


@pytest.mark.parametrize(
    ("protocol", "sizes"), [("A", (6, 10, 24)), ("B", (6, 10, 34)), ("C", (12, 28, 28))]
)
def test_the_parts_are_as_named(photos: Path, protocol: str, sizes: tuple[int, int, int]) -> None:
    split = cifar10(photos, protocol, queries=3, train=5)
    query, train, database = split.query, split.train, split.database
    assert (len(query), len(train), len(database)) == sizes
    assert len(np.unique(query)) == len(query)
    assert not np.intersect1d(query, database).size
    assert not np.intersect1d(query, train).size
    assert np.isin(train, database).all() == (protocol != "A")
    assert not (protocol == "A" and np.isin(train, database).any())
    for rows in (query, train):
        assert split.labels[rows].sum(0).tolist() == [len(rows) / 2] * 2
    for row in (0, 20, 39):
        assert split.paths[row].parent.name == ("cat", "dog")[split.labels[row].argmax()]
    if protocol == "C":
        assert {split.paths[row].parts[-3] for row in query} == {"test"}
    again = cifar10(photos, protocol, queries=3, train=5)
    np.testing.assert_array_equal(again.query, query)


def test_folders_that_are_no_such_set(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(
        UsageError,
        match=(
            "expected a folder of classes, got none; it needs DATA/train/CLASS and DATA/test/CLASS"
        ),
    ):
        cifar10(tmp_path, "A")
    with pytest.raises(
        UsageError,
        match="expected more than 600 photos a class for protocol A, got fewer of cat, dog",
    ):
        cifar10(photos, "A")
    for part, name in (("train", "a"), ("train", "b"), ("test", "a"), ("test", "c")):
        write_picture(tmp_path / part / name / "1.png", picture(1, 8, 8))
    with pytest.raises(
        UsageError, match="expected the same classes in train and test, got b, c in one alone"
    ):
        cifar10(tmp_path, "C")
    (tmp_path / "test" / "c" / "1.png").unlink()
    with pytest.raises(UsageError, match=r"test/c: expected photos of a class, got none"):
        cifar10(tmp_path, "C")


def write_lists(folder: Path, **lists: str) -> Path:
    whole = {
        "test": "a.jpg 0 1 0",
        "train": "b.jpg 1 0 0",
        "database": "b.jpg 1 0 0\nc.jpg 1 1 0",
    } | lists
    for name, text in whole.items():
        (folder / f"{name}.txt").write_text(text + "\n")
    return folder


def test_lists_are_read(tmp_path: Path) -> None:
    split = nus_wide(write_lists(tmp_path), None, labels=3)
    assert [path.name for path in split.paths] == ["a.jpg", "b.jpg", "c.jpg"]
    assert split.labels.tolist() == [[0, 1, 0], [1, 0, 0], [1, 1, 0]]
    assert (split.query.tolist(), split.train.tolist(), split.database.tolist(), split.depth) == (
        [0],
        [1],
        [1, 2],
        5000,
    )


@pytest.mark.parametrize(
    ("lists", "message"),
    [
        ({"test": "a.jpg 0 1"}, r"test\.txt: line 1: expected 3 labels, got 2"),
        (
            {"train": "b.jpg 1 0 0\nd.jpg 1 0 2"},
            r"train\.txt: line 2: expected labels of 0 or 1, got 2",
        ),
        ({"train": "b.jpg 0 0 0"}, r"train\.txt: line 1: expected at least one label, got none"),
        (
            {"train": "b.jpg 0 1 0"},
            r"database\.txt: b\.jpg: expected the same labels in every list",
        ),
        (
            {"database": "a.jpg 0 1 0"},
            "expected queries that are no part of the database, got 1 that are",
        ),
        (
            {"train": "a.jpg 0 1 0"},
            "expected queries that are no part of the training photos, got 1 that are",
        ),
        (
            {"train": "b.jpg 1 0 0\nb.jpg 1 0 0"},
            r"train\.txt: b\.jpg: expected every photo once, got it again",
        ),
        (
            {"database": "b.jpg 1 0 0\n\nc.jpg 1 1"},
            r"database\.txt: line 3: expected 3 labels, got 2",
        ),
    ],
)
def test_lists_that_are_wrong_are_named(
    tmp_path: Path, lists: dict[str, str], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        nus_wide(write_lists(tmp_path, **lists), None, labels=3)


def test_missing_photos_and_lists_are_named(tmp_path: Path) -> None:
    write_lists(tmp_path)
    write_picture(tmp_path / "photos" / "a.jpg", picture(0, 8, 8))
    with pytest.raises(
        UsageError,
        match=r"photos: expected the photos of the lists, got 2 of 3 missing, the first b\.jpg",
    ):
        nus_wide(tmp_path, tmp_path / "photos", labels=3)
    (tmp_path / "train.txt").unlink()
    with pytest.raises(UsageError, match=r"train\.txt: expected a readable file, got No such file"):
        nus_wide(tmp_path, None, labels=3)

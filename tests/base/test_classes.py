"""Which class a photo is of by its folders, and mixes that nobody can tell."""

import pytest

from pipeline.base.classes import read_labels, splits_among
from pipeline.base.errors import UsageError

DEEP = ("cat/tabby/1", "cat/black/2", "dog/pug/3")


@pytest.mark.parametrize(
    ("names", "labels", "classes"),
    [
        (("cat/1", "dog/2"), "folder", ["cat", "dog"]),
        (("cat/1", "dog/2"), "parent", ["cat", "dog"]),
        (DEEP, "folder", ["cat", "cat", "dog"]),
        (DEEP, "parent", ["cat/tabby", "cat/black", "dog/pug"]),
        (("cat/1", "cat/tabby/2", "dog/3"), "top", ["cat", "cat", "dog"]),
        (("train/cat/1", "val/cat/2", "test/dog/3"), "folder", ["cat", "cat", "dog"]),
        (("Train/cat/1", "validation/dog/2"), "parent", ["cat", "dog"]),
        (("train/1", "test/2"), "folder", ["train", "test"]),  # things called so
        (("train/ice/1", "car/vw/2"), "folder", ["train", "car"]),
    ],
)
def test_the_class_of_each_photo(names: tuple[str, ...], labels: str, classes: list[str]) -> None:
    found = read_labels(names, labels, "g")
    assert [found.of[name] for name in names] == classes


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (("cat/1", "2"), r"got 1 beside the folders, as 2; .* `--labels top`"),
        (("cat/1", "dog/pug/2"), r"one depth, got cat/1 and dog/pug/2; .* `--labels parent`"),
        (("1", "2"), "expected folders of classes, got 2 photos in none, as 1"),
        (("corel/cat/1", "corel/dog/2"), r"got one, corel, and 2 folders in it; .* parent`"),
        (("train/cat/1", "val/cat/2", "more/cat/3"), "expected train, val alone, .* got more"),
        ((), "expected folders of classes, got 0 photos"),
    ],
)
def test_a_mix_is_refused_with_the_way_on(names: tuple[str, ...], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        read_labels(names, "folder", "g")


def test_classes_are_told_in_a_line() -> None:
    names = [f"train/{c}/{i}" for c in "abcdefg" for i in range(2 + (c == "b") - (c == "d"))]
    assert str(read_labels(names, "folder", "g")) == (
        "7 classes: a, b, c, d, e, ...; 14 photos, from 1 of d to 3 of b; below train/"
    )
    long = read_labels([f"{'x' * 40}\n/1", "y/2", "3"], "top", "g")
    assert str(long) == (
        "2 classes: xxxxxxxxxxxx...xxxxxxx\\n, y; 2 photos, 1 of each; 1 photo in no folder left"
        " out"
    )


def test_splits_are_folders_of_classes_alone() -> None:
    assert splits_among(["train/a/1", "val/a/2"]) == ("train", "val")
    assert splits_among(["train/1", "val/2"]) == splits_among(["a/b/1"]) == splits_among([]) == ()

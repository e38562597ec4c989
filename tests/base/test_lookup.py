"""Photos found by what other programs call them, and what is said where none is meant."""

import unicodedata

import pytest

from pipeline.base.lookup import Lookup
from pipeline.base.values import prefix

NFD = unicodedata.normalize("NFD", "b/é.png")
NAMES = ("b/é.png", "b/x.png", " c.png", "d\\e.png", "f\udce9.png", "x.png")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        *((name, name) for name in NAMES),
        ("./b/x.png", "b/x.png"),
        ("b\\x.png", "b/x.png"),
        ("c.png", " c.png"),
        ("d/e.png", "d\\e.png"),
        (NFD, "b/é.png"),
        ("b/\udce9.png", "b/é.png"),  # as cp1252 has it
        ("./x.png", "x.png"),
        ("y.png", None),
        ("", None),
        ("\0", None),
    ],
)
def test_a_name_as_it_is_comes_first_then_what_is_like_it(text: str, found: str | None) -> None:
    assert Lookup(NAMES).find(text) == found


def test_what_may_be_either_of_two_is_none() -> None:
    both = Lookup(("b/é.png", NFD))
    assert (both.find("b/é.png"), both.find(NFD)) == ("b/é.png", NFD)
    assert both.find("./b/é.png") is not None
    assert Lookup(("b/é.png ", NFD)).find("b\\" + "é.png") is None


@pytest.mark.parametrize(
    ("given", "text", "found"),
    [
        (["jpg=b"], "jpg/x.png", "b/x.png"),
        (["jpg/=b/"], "jpg/x.png", "b/x.png"),
        (["=b"], "x.png", "b/x.png"),
        (["jpg="], "jpg/b/x.png", "b/x.png"),
        (["/data/img="], "/data/img/b/x.png", "b/x.png"),
        (["/="], "/b/x.png", "b/x.png"),
        (["C:\\img=b"], "C:\\img\\x.png", "b/x.png"),
        (["one=none", "jpg=b", "jpg=a"], "jpg/x.png", "b/x.png"),
        (["jp=b"], "jpg/x.png", None),  # folders, not letters
        (["jpg=a"], "jpg/x.png", None),
    ],
)
def test_a_prefix_is_folders_in_place_of_folders(
    given: list[str], text: str, found: str | None
) -> None:
    assert Lookup(NAMES, tuple(map(prefix, given))).find(text) == found


def test_what_is_not_there_names_the_nearest_and_what_to_run() -> None:
    names = ("oxford/all_souls_000013.jpg", "oxford/all_souls_000026.jpg")
    said = Lookup(names).wrong("jpg/all_souls_000013.jpg")
    assert said.startswith(
        "expected an indexed photo, got jpg/all_souls_000013.jpg, nearest oxford/all_souls_000013.j"
    )
    assert said.endswith("; run with `--prefix jpg=oxford`, or correct the path")
    assert "`--prefix =oxford`" in Lookup(names).wrong("all_souls_000013.jpg")
    assert "`--prefix /img/jpg=oxford`" in Lookup(names).wrong("/img/jpg/all_souls_000013.jpg")
    assert (
        Lookup(names).wrong("oxford/all_soul_000013.jpg").endswith("index it, or correct the path")
    )
    assert "nearest" not in Lookup(names).wrong("jpg/all_souls_000013.jpg", suggest=False)
    mapped = Lookup(names, (("jpg", "paris"),)).wrong("jpg/all_souls_000013.jpg")
    assert "got jpg/all_souls_000013.jpg, by --prefix paris/all_souls_000013.jpg, nearest" in mapped

"""Names that a wrong one may have meant, among as many as a large gallery has."""

import unicodedata

import pytest

from pipeline.base.names import composed, nearest, nearest_text

NAMES = [
    "oxford/all_souls_000013.jpg",
    "oxford/all_souls_000026.jpg",
    "paris/eiffel_000001.jpg",
    "Urlaub/Möwe.JPG",
    "a.png",
]


@pytest.mark.parametrize(
    ("wrong", "meant"),
    [
        ("jpg/all_souls_000013.jpg", "oxford/all_souls_000013.jpg"),
        ("oxford/all_soul_000026.jpg", "oxford/all_souls_000026.jpg"),
        ("all_souls_000013.jpeg", "oxford/all_souls_000013.jpg"),
        ("all_souls_000013", "oxford/all_souls_000013.jpg"),
        ("OXFORD\\ALL_SOULS_000013.JPG", "oxford/all_souls_000013.jpg"),
        (unicodedata.normalize("NFD", "urlaub/möwe.jpg"), "Urlaub/Möwe.JPG"),
        ("A.PNG", "a.png"),
    ],
)
def test_the_nearest_name_comes_first(wrong: str, meant: str) -> None:
    assert nearest(wrong, NAMES)[0] == meant


def test_what_is_like_nothing_has_no_nearest_name() -> None:
    assert nearest("zzz/qqq.tiff", NAMES) == nearest("", NAMES) == nearest("a.png", []) == []
    assert nearest_text("zzz/qqq.tiff", NAMES) == ""


def test_a_message_says_at_most_three_names_and_is_one_line() -> None:
    assert nearest_text("room.png", ["rom.png", "b.png"]) == ", nearest rom.png"
    assert nearest_text("x\n1.png", [f"x\n{i}.png" for i in range(9)]).count(".png") == 3
    assert "\n" not in nearest_text("x\n1.png", ["x\n2.png"])


def test_one_name_of_a_hundred_thousand_is_found() -> None:
    names = [f"holiday/{i // 1000:03d}/IMG_{i:06d}.jpg" for i in range(100_000)]
    assert nearest("holiday/042/IMG_42123.jpg", names)[0] == "holiday/042/IMG_042123.jpg"


def test_accents_taken_apart_are_the_same_name() -> None:
    assert composed(unicodedata.normalize("NFD", "Möwe\udce9")) == "Möwe\udce9"

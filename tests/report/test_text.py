"""What a report says of places not accepted and of codes, and how short its numbers are."""

from dataclasses import replace

import pytest

from pipeline.report.text import bits, few, summary, table, why
from pipeline.search.answer import Answer, Result

ANSWER = Answer("q.jpg", "two_stage", 10, 4000, 0, 0.1, "gallery", True, (), {})


@pytest.mark.parametrize(
    ("alarms", "told"),
    [
        (None, "; below what is accepted."),
        (0.1234, ": 0.12 unrelated photos are expected to look as good."),
        (0.996, ": 1 unrelated photo is expected to look as good."),
        (2.13, ": 2.1 unrelated photos are expected to look as good."),
        (3999.6, ": 4,000 unrelated photos are expected to look as good."),
    ],
)
def test_how_many_would_look_as_good(alarms: float | None, told: str) -> None:
    result = Result(1, "a.jpg", 14, 0.41, 40, 6, [[1, 0, 0], [0, 1, 0]], alarms, False)
    assert why(result, ANSWER) == f"Only 6 of 40 matches agree on one affine map{told}"


@pytest.mark.parametrize(
    ("number", "told"),
    [
        *(
            (0.0, "0"),
            (4e-310, "4e-310"),
            (3.21e-12, "3.2e-12"),
            (0.0004, "0.0004"),
            (0.1, "0.1"),
            (0.96, "0.96"),
            (1.0, "1"),
            (2.13, "2.1"),
        ),
        *((9.94, "9.9"), (9.96, "10"), (99.6, "100"), (3999.6, "4,000")),
    ],
)
def test_an_expected_number_is_short(number: float, told: str) -> None:
    assert few(number) == told


@pytest.mark.parametrize(
    ("candidates", "looked"),
    [
        (0, "no candidates ranked twice, all places by bits that differ"),
        (
            2,
            "2 candidates ranked twice, by bits that differ and by the distance of the real-valued"
            " codes",
        ),
    ],
)
def test_codes_are_told_in_bits(candidates: int, looked: str) -> None:
    """However many were ranked twice, and never as matches."""
    results = tuple(
        Result(
            place + 1,
            f"{bits}.jpg",
            place + 1,
            float(bits),
            0,
            0,
            None,
            None,
            place < candidates,
            code_distance=0.5 if place < candidates else None,
            hamming=bits,
        )
        for place, bits in enumerate((0, 1, 12))
    )
    answer = replace(ANSWER, candidates=candidates, results=results, false_alarm=None, bits=48)
    first, _, *lines = table(answer).splitlines()
    assert first == f"q.jpg: the nearest photos, within 12 of 48 bits; {looked}"
    assert [line.split()[2] for line in lines] == ["0", "1", "12"]
    assert [bits(result, answer) for result in results] == [
        "0 of 48 bits differ",
        "1 of 48 bits differs",
        "12 of 48 bits differ",
    ]
    assert answer.to_json()["radius"] == 12
    assert {result.verdict for result in results} == {"ranked"}
    assert ("looked at twice" in summary(answer)) == (not candidates)

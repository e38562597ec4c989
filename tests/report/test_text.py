"""What a report says of a place that was not accepted, and how short its numbers are."""

import pytest

from pipeline.report.text import few, why
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

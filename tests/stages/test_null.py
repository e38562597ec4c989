"""The null tells how many inliers chance reaches: laws that were planted are found again, and what
it states is what happens.
"""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from planted_null import FROM, LEAST, TO, draw, even, log_truth

from pipeline.model.chance import null_from_json, null_to_json
from stages.null import DIFFER, FEWEST, Null
from stages.records import Int32, Int64

PAIRS = 40_000
CELLS = np.array([[a, b] for a in (90, 200, 450) for b in (90, 200, 450)]).T


@pytest.fixture(scope="module")
def drawn() -> tuple[Int64, Int64, Int32]:
    return draw(np.random.default_rng(0), PAIRS)


@pytest.fixture(scope="module")
def fitted(drawn: tuple[Int64, Int64, Int32]) -> Null:
    return Null.fit(*drawn, LEAST)


def ladder(null: Null, query: int, candidate: int, most: int = 60) -> np.ndarray:
    """The log-chance of 0, 1, 2, ... inliers."""
    inliers = np.arange(most, dtype=np.int32)
    return null.log_chance(query, np.full(most, candidate), inliers)


def test_planted_hazards_are_found_again(fitted: Null) -> None:
    for inliers in range(LEAST, fitted.cap + 1):  # beyond, the data say nothing
        gaps = fitted.log_chance(CELLS[0], CELLS[1], np.full(9, inliers, np.int32)) - log_truth(
            *CELLS, inliers
        )
        # of chances down to e^-10, from 16,000 maps
        assert np.abs(gaps).max() < (0.15 if inliers < 9 else 0.45), inliers
    assert (fitted.least, fitted.pairs) == (LEAST, PAIRS)
    assert 10 <= fitted.cap <= 16  # where few of the maps are left
    assert np.abs(fitted.span - (FROM, TO)).max() < 10


def test_what_matters_is_how_many_features_both_have(fitted: Null) -> None:
    ten = np.full(9, 10, np.int32)
    table = fitted.log_chance(CELLS[0], CELLS[1], ten).reshape(3, 3)
    assert (np.diff(table, axis=0) > 0.5).all()
    assert (np.diff(table, axis=1) > 0.4).all()


@pytest.mark.parametrize("rate", [0.1, 0.01, 0.001])
def test_of_new_pairs_as_many_pass_as_is_stated(
    fitted: Null, rate: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    # the planted law goes on as it is; a real one has a heavier tail
    monkeypatch.setattr("stages.null.SLOWER", 0.0)
    query, candidate, inliers = draw(np.random.default_rng(1), 200_000)
    passed = (fitted.log_chance(query, candidate, inliers) <= np.log(rate)).mean()
    # three deviations of the count, and what 16,000 maps leave to know of the law: 12 % at one in a
    # thousand
    assert abs(passed / rate - 1) < 3 / np.sqrt(200_000 * rate) + 0.04 / rate**0.2


def test_half_of_exactly_so_many_is_counted() -> None:
    """A worked example: a map in half of all pairs, and at each count from 4 on a quarter stops."""
    null = even(0, np.log(1 / 3), cap=9)
    at = {n: 0.5 * 0.75 ** (n - 4) for n in range(4, 11)}  # so many or more
    told = np.exp(ladder(null, 300, 300, 10))
    np.testing.assert_allclose(told[:4], 1)  # no map: everybody is as good
    np.testing.assert_allclose(told[4:], [(at[n] + at[n + 1]) / 2 for n in range(4, 10)])


@given(
    st.lists(st.floats(-3, 3), min_size=27, max_size=27),
    st.integers(1, 20),
    st.integers(0, 30),
    st.integers(1, 2000),
    st.integers(1, 2000),
)
def test_more_inliers_are_never_more_likely_and_no_count_is_too_large(
    w: list[float], least: int, more: int, query: int, candidate: int
) -> None:
    null = Null(
        np.array(w[:10]), np.array(w[10:]), least, least + more, np.array([20.0, 1000.0]), 1000
    )
    # a photo has at most 2^14 features
    inliers = np.array([*range(least + more + 50), 1 << 10, 1 << 14], np.int32)
    told = null.log_chance(query, np.full(len(inliers), candidate), inliers)
    assert np.isfinite(told).all()
    assert (told <= 0).all()
    assert (np.diff(told) <= 0).all()
    certain = np.array([50.0] + [0] * 16)  # all stop at the smallest map
    told = replace(null, stops=certain).log_chance(query, np.full(len(inliers), candidate), inliers)
    assert np.isfinite(told).all()


def test_beyond_the_data_the_tail_goes_on_and_is_not_thinner_than_the_last_hazard() -> None:
    told, geometric = ladder(even(0, 0, cap=8), 300, 300), ladder(even(0, 0, cap=59), 300, 300)
    np.testing.assert_allclose(told[:9], geometric[:9])
    assert (np.diff(told[4:]) < 0).all()
    assert (told >= geometric - 1e-9).all()


def test_each_pair_is_told_for_itself(fitted: Null) -> None:
    query, candidate, inliers = draw(np.random.default_rng(2), 300)
    together = fitted.log_chance(query, candidate, inliers)
    alone = [
        fitted.log_chance(int(q), c[None], i[None])[0]
        for q, c, i in zip(query, candidate, inliers, strict=True)
    ]
    np.testing.assert_allclose(together, alone, rtol=1e-12)
    assert fitted.log_chance(200, np.empty(0, np.int64), np.empty(0, np.int32)).shape == (0,)


def thresholds(null: Null) -> np.ndarray:
    """The least inliers that are accepted among 1,000 candidates at 0.1 false alarms, in each
    cell."""
    return np.array(
        [np.argmax(ladder(null, *cell, 200) <= np.log(1e-4)) for cell in CELLS.T.tolist()]
    )


@pytest.mark.parametrize(("fewest", "apart"), [(100, 1), (25, 2)])
def test_near_duplicates_among_the_pairs_change_hardly_anything(
    drawn: tuple[Int64, Int64, Int32], fitted: Null, fewest: int, apart: int
) -> None:
    """Three in a thousand pairs are of one thing, and nobody knows which."""
    rng = np.random.default_rng(3)
    inliers = np.where(
        rng.random(PAIRS) < 0.003, rng.integers(fewest, 101, PAIRS), drawn[2]
    ).astype(np.int32)
    dirty = Null.fit(drawn[0], drawn[1], inliers, LEAST)
    assert np.abs(thresholds(dirty) - thresholds(fitted)).max() <= apart
    assert thresholds(fitted).min() > 8


def test_where_all_pairs_have_a_map_chance_is_known_too(
    drawn: tuple[Int64, Int64, Int32],
) -> None:
    """As where all photos have many features."""
    query, candidate, inliers = (each[drawn[2] >= LEAST] for each in drawn)
    null = Null.fit(query, candidate, inliers, LEAST)
    ten = np.full(len(query), 10, np.int32)
    expected = np.exp(null.log_chance(query, candidate, ten)).mean()
    found = (inliers > 10).mean() + (inliers == 10).mean() / 2
    assert abs(expected - found) < 0.1 * found + 0.002


def test_nearness_is_learned_and_shifts_what_is_expected() -> None:
    rng = np.random.default_rng(3)
    pairs = 60_000
    query = candidate = np.full(pairs, 300)
    share = np.exp(rng.uniform(np.log(0.001), 0, pairs))
    # near ones stop less often
    stop = 1 / (1 + np.exp(-(0.2 + 0.15 * np.log(share))))
    inliers = np.where(rng.random(pairs) < 0.8, LEAST + rng.geometric(stop) - 1, 0).astype(np.int32)
    null = Null.fit(query, candidate, inliers, LEAST, share)
    assert abs(null.near[1] + null.near[2] * np.log(6 / 8) - 0.15) < 0.05
    for low, high in ((0.001, 0.01), (0.01, 0.1), (0.1, 1)):
        some = (share >= low) & (share < high)
        ten = np.full(int(some.sum()), 8, np.int32)
        expected = np.exp(null.log_chance(query[some], candidate[some], ten, share[some])).mean()
        found = (inliers[some] > 8).mean() + (inliers[some] == 8).mean() / 2
        assert abs(expected - found) < 0.12 * found
    # a share that was never seen counts as the least that was
    one = np.array([300]), np.array([9], np.int32)
    assert null.log_chance(300, *one, np.array([1e-9])) == null.log_chance(
        300, *one, np.array([null.nearest])
    )


def test_too_few_pairs_tell_nothing(drawn: tuple[Int64, Int64, Int32]) -> None:
    query, candidate, inliers = drawn
    mapped, unmapped = np.flatnonzero(inliers >= LEAST), np.flatnonzero(inliers < LEAST)
    for rows in (
        np.concatenate([mapped[: FEWEST - 1], unmapped[:5000]]),  # with a map
        unmapped[:5000],
        mapped[:0],
    ):
        with pytest.raises(
            ValueError,
            match=(rf"^null: expected at least {FEWEST} random pairs with a map, got "),
        ):
            Null.fit(query[rows], candidate[rows], inliers[rows], LEAST)
    assert (
        Null.fit(
            *(each[np.concatenate([mapped[:FEWEST], unmapped[:300]])] for each in drawn), LEAST
        ).pairs
        == FEWEST + 300
    )


def test_photos_without_features_enough_for_a_map_are_not_fitted_on(
    drawn: tuple[Int64, Int64, Int32],
) -> None:
    """They cannot have one, and would say that maps are rarer than they are."""
    query, candidate, inliers = (each[:8000] for each in drawn)
    bare = np.zeros(8000, np.int64)
    both = Null.fit(
        np.concatenate([query, bare]),
        np.concatenate([candidate, candidate]),
        np.concatenate([inliers, bare.astype(np.int32)]),
        LEAST,
    )
    alone = Null.fit(query, candidate, inliers, LEAST)
    assert np.array_equal(both.found, alone.found)
    assert np.array_equal(both.stops, alone.stops)


@pytest.mark.parametrize(
    ("count", "as_if"), [(0, 60), (1, 60), (59, 60), (601, 600), (16_384, 600)]
)
def test_counts_that_were_never_seen_are_as_the_nearest_that_were(
    fitted: Null, count: int, as_if: int
) -> None:
    null = replace(fitted, span=np.array([60.0, 600.0]))
    np.testing.assert_array_equal(ladder(null, count, 200), ladder(null, as_if, 200))
    np.testing.assert_array_equal(ladder(null, 200, count), ladder(null, 200, as_if))
    assert not np.array_equal(ladder(null, 200, as_if), ladder(null, 200, 200))


def test_it_comes_back_from_json_bit_for_bit(fitted: Null) -> None:
    back = null_from_json(json.loads(json.dumps(null_to_json(fitted))))
    for name, value in vars(fitted).items():
        assert np.array_equal(getattr(back, name), value)
        assert type(getattr(back, name)) is type(value)
    query, candidate, inliers = draw(np.random.default_rng(4), 1000)
    np.testing.assert_array_equal(
        back.log_chance(query, candidate, inliers), fitted.log_chance(query, candidate, inliers)
    )


@pytest.mark.parametrize(
    "wrong",
    [
        {"found": np.zeros(9)},
        {"stops": np.zeros(10)},
        {"span": np.zeros(3)},
        {"least": 0},
        {"cap": 3},
    ],
)
def test_what_is_no_null_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(
        ValueError, match=r"^Null: expected 10, 17 and 3 weights and 1 <= least <= cap, got "
    ):
        replace(even(), **wrong)  # type: ignore[arg-type]


def of_query(rng: np.random.Generator, ease: float, count: int = 600) -> Int32:
    """Inliers of one query's pairs, each with a map, of which so many stop at each count below 9: a
    quarter of the others', less `ease` of the logit.
    """
    stop = 1 / (1 + np.exp(ease - np.log(1 / 3)))
    inliers = np.full(count, 4)
    for level in range(4, 40):
        on = (inliers == level) & (rng.random(count) > (stop if level < 9 else 0.25))
        inliers += on
    return inliers.astype(np.int32)


@pytest.mark.parametrize("ease", [-0.8, 0.0, 0.8])
def test_a_querys_own_candidates_tell_how_easily_chance_agrees_with_it(
    ease: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stages.null.SLOWER", 0.0)
    null, rng = even(9, np.log(1 / 3), cap=9), np.random.default_rng(5)
    odds = null.odds(200, np.full(600, 200))
    everyone = np.ones(600, np.bool_)
    told = np.array([odds.ease(of_query(rng, ease), everyone).by for _ in range(20)])
    assert abs(told.mean() - ease) < 0.1
    assert told.std() < 0.1
    # so that as many exceed a chance as is stated, which without it they do not
    known, plain = [], []
    for _ in range(20):
        seen = of_query(rng, ease)
        found = odds.ease(seen, everyone)
        known.append((odds.log_chance(seen, found) <= np.log(0.02)).mean() / 0.02)
        plain.append((odds.log_chance(seen) <= np.log(0.02)).mean() / 0.02)
    assert 0.5 < np.mean(known) < 1.6
    assert ease == 0 or not 0.5 < np.mean(plain) < 1.6


def test_few_candidates_are_judged_with_caution() -> None:
    """Nobody knows what this query is like: the chance is the mean over all that it may be."""
    null = even(9, np.log(3), cap=9)
    twelve = np.full(2, 12, np.int32)
    odds = null.odds(200, np.full(2, 200))
    nobody = odds.ease(twelve, np.zeros(2, np.bool_))
    assert (nobody.by, nobody.spread) == (0.0, pytest.approx(DIFFER))
    assert (odds.log_chance(twelve, nobody) > odds.log_chance(twelve) + np.log(1.5)).all()
    # those that are hardly unrelated say nothing, and a single usual one little
    one = odds.ease(np.array([4, 12], np.int32), np.array([True, False]))
    assert -0.1 < one.by < 0
    assert 0.9 * DIFFER < one.spread < DIFFER

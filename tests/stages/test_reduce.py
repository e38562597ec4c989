"""The projection against scikit-learn's own PCA, and what it does with too little to learn from."""

import re

import numpy as np
import pytest
from sklearn.decomposition import PCA

from stages.records import Float32
from stages.reduce import Reduce


@pytest.fixture(scope="module")
def vectors() -> Float32:
    """(80, 12), of very unequal variances and a mean that is not zero."""
    rng = np.random.default_rng(0)
    return (
        rng.normal(size=(80, 12))
        * np.geomspace(3, 0.1, 12)
        @ np.linalg.qr(rng.normal(size=(12, 12)))[0]
        + 2
    ).astype(np.float32)


def test_plain_projection_is_sklearns(vectors: Float32) -> None:
    out = Reduce.fit(vectors, 5)(vectors)
    assert out.dtype == np.float32
    np.testing.assert_allclose(out, PCA(5, svd_solver="full").fit_transform(vectors), atol=2e-5)


def test_whitening_is_sklearns_up_to_a_constant(vectors: Float32) -> None:
    ratio = Reduce.fit(vectors, 5, whiten=1)(vectors) / PCA(
        5, svd_solver="full", whiten=True
    ).fit_transform(vectors)
    np.testing.assert_allclose(ratio, ratio[0, 0], rtol=1e-3)


def test_half_whitening_leaves_the_square_root_of_each_spread(vectors: Float32) -> None:
    spread = [Reduce.fit(vectors, 5, whiten=w)(vectors).std(0) for w in (0, 0.5)]
    np.testing.assert_allclose(spread[1], np.sqrt(spread[0] * spread[0][0]), rtol=1e-4)


def test_unit_length_is_the_direction_of_the_projection(vectors: Float32) -> None:
    plain, unit = Reduce.fit(vectors, 5)(vectors), Reduce.fit(vectors, 5, unit=True)(vectors)
    np.testing.assert_allclose(np.linalg.norm(unit, axis=1), 1, rtol=1e-6)
    np.testing.assert_allclose(
        unit * np.linalg.norm(plain, axis=1, keepdims=True), plain, atol=1e-5
    )


def test_the_mean_itself_has_no_direction_and_stays_zero() -> None:
    reduce = Reduce(np.ones(3, np.float32), np.eye(2, 3, dtype=np.float32), unit=True)
    assert reduce(np.ones((1, 3), np.float32)).tolist() == [[0, 0]]


def test_one_vector_and_many_are_reduced_alike(vectors: Float32) -> None:
    reduce = Reduce.fit(vectors, 5, unit=True)
    np.testing.assert_allclose(np.stack([reduce(v) for v in vectors]), reduce(vectors), atol=1e-6)


def test_directions_in_which_nothing_varies_are_not_blown_up() -> None:
    few = np.random.default_rng(1).normal(size=(4, 12)).astype(np.float32)
    vectors = np.tile(few, (5, 1))  # twenty vectors, three directions
    assert np.abs(Reduce.fit(vectors, 8, whiten=1)(vectors)).max() < 100


@pytest.mark.parametrize("shape", [(4, 12), (80, 4), (0, 12)])
def test_too_little_to_learn_from_is_refused(shape: tuple[int, int]) -> None:
    with pytest.raises(
        ValueError,
        match=(
            f"^PCA: expected at least 5 vectors of 5 numbers or more, got {re.escape(str(shape))}$"
        ),
    ):
        Reduce.fit(np.zeros(shape, np.float32), 5)


def test_arrays_that_do_not_fit_are_refused() -> None:
    with pytest.raises(
        ValueError, match=re.escape("Reduce.mean: expected float32 (3), got float32 (2,)")
    ):
        Reduce(np.zeros(2, np.float32), np.zeros((2, 3), np.float32))
    with pytest.raises(
        ValueError,
        match=re.escape("Reduce.components: expected float32 (*, *), got float64 (2, 3)"),
    ):
        Reduce(np.zeros(3, np.float32), np.zeros((2, 3)))  # type: ignore[arg-type]

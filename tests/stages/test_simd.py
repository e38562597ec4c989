"""Every operation on sixteen lanes gives what NumPy gives: exact integers wherever they end, and
NaN never within a limit.
"""

import numba
import numpy as np
import numpy.typing as npt
import pytest

from stages.simd import (
    VNNI,
    WIDTH,
    add,
    count_within,
    div,
    dot4,
    dot4_anywhere,
    fma,
    gather_points,
    larger,
    largest,
    load,
    load_word,
    mul,
    shift_left,
    shift_right,
    splat,
    store,
    sub,
    total,
    where_more,
    where_within,
    xor,
)

INTS = [
    "load",
    "splat",
    "add",
    "sub",
    "mul",
    "div",
    "left 1",
    "left 15",
    "right 1",
    "right 31",
    "larger",
    "where_more",
    "count_within",
]
INTS += ["where_within", "dot4", "dot4_anywhere", "xor", "word", "stored after"]
FLOATS = [
    "load",
    "splat",
    "add",
    "sub",
    "mul",
    "div",
    "fma",
    "where_more",
    "where_within",
    "x",
    "y",
    "u",
    "v",
]
Arrays = tuple[
    npt.NDArray[np.int32], npt.NDArray[np.float32], npt.NDArray[np.float32], npt.NDArray[np.int32]
]
# floats, points and rows where only the ints matter
GROUND = np.ones(48, np.float32), np.zeros(64, np.float32), np.arange(16, dtype=np.int32)
Answers = tuple[
    dict[str, npt.NDArray[np.int32]],
    dict[str, npt.NDArray[np.float32]],
    tuple[int, int, float, float],
]


@numba.njit  # type: ignore[untyped-decorator]  # not cached: numba would not see that stages/simd.py has changed
def every_operation(ints, floats, points, rows, at, bytes, out, real):  # type: ignore[no-untyped-def]
    """Three vectors of each kind from row `at` on -> one row of `out` or `real` (n, 16), flat, for
    each operation.
    """
    a, b, c = load(ints, at), load(ints, at + 16), load(ints, at + 32)
    x, y, z = load(floats, at), load(floats, at + 16), load(floats, at + 32)
    store(out, 0, a)
    store(out, 16, splat(ints[at + 3]))
    store(out, 32, add(a, b))
    store(out, 48, sub(a, b))
    store(out, 64, mul(a, b))
    store(out, 80, div(a, c))
    store(out, 96, shift_left(a, numba.int32(1)))
    store(out, 112, shift_left(a, numba.int32(15)))
    store(out, 128, shift_right(a, numba.int32(1)))
    store(out, 144, shift_right(a, numba.int32(31)))
    store(out, 160, larger(a, b))
    store(out, 176, where_more(a, b, b, c))
    store(out, 192, count_within(a, x, y))
    store(out, 208, where_within(x, y, b, c))
    store(out, 224, dot4(c, a, b))
    store(out, 240, dot4_anywhere(c, a, b))
    store(out, 256, xor(a, b))
    store(out, 272, splat(load_word(bytes, 4 * at + 1)))
    store(out, len(out) - 16, splat(numba.int32(7)))  # the last row there is; nothing beyond
    store(real, 0, x)
    store(real, 16, splat(floats[at + 3]))
    store(real, 32, add(x, y))
    store(real, 48, sub(x, y))
    store(real, 64, mul(x, y))
    store(real, 80, div(x, z))
    store(real, 96, fma(x, y, z))
    store(real, 112, where_more(a, b, x, y))
    store(real, 128, where_within(x, y, x, z))
    for k, column in enumerate(gather_points(points, rows)):
        store(real, 144 + 16 * k, column)
    return largest(a), total(a), total(x), total(z)


def answers(
    ints: npt.NDArray[np.int32],
    floats: npt.NDArray[np.float32],
    points: npt.NDArray[np.float32],
    rows: npt.NDArray[np.int32],
    at: int = 0,
) -> Answers:
    out, real = np.zeros(len(INTS) * WIDTH, np.int32), np.zeros(len(FLOATS) * WIDTH, np.float32)
    reduced = every_operation(ints, floats, points, rows, at, ints.view(np.int8), out, real)
    return (
        dict(zip(INTS, out.reshape(-1, WIDTH), strict=True)),
        dict(zip(FLOATS, real.reshape(-1, WIDTH), strict=True)),
        reduced,
    )


@pytest.fixture(scope="module", params=range(4))
def given(request: pytest.FixtureRequest) -> tuple[Arrays, int]:
    """Three vectors of each kind behind 0, 1, 2 or 3 numbers that are not asked for: no address is
    a multiple of 64.
    """
    rng = np.random.default_rng(request.param)
    ints = rng.integers(-(2**31), 2**31, 51, np.int64).astype(np.int32)
    at = request.param
    ints[at : at + 8] = [0, -1, 1, 2**31 - 1, -(2**31), 5, 5, -5]
    ints[at + 16 : at + 24] = [0, 1, -1, 1, -1, 5, 4, -4]
    ints[at + 32 : at + 48][ints[at + 32 : at + 48] == 0] = 3  # a divisor
    floats = np.float32(100) * rng.normal(size=51).astype(np.float32)
    # of equals, each is within the other
    floats[at : at + 8] = floats[at + 16 : at + 24] = [0.0, -0.0, 1.5, 1e-40, 3e38, -2.5, 7.0, 1e30]
    points = rng.normal(size=4 * 40).astype(np.float32)
    arrays = ints, floats, points, rng.integers(0, 40, WIDTH).astype(np.int32)
    for array in arrays:
        array.flags.writeable = False
    return arrays, at


def test_integers(given: tuple[Arrays, int]) -> None:
    (ints, floats, points, rows), at = given
    got, _, (most, whole, _, _) = answers(ints, floats, points, rows, at)
    a, b, c = ints[at : at + 48].reshape(3, WIDTH)
    x, y, _ = floats[at : at + 48].reshape(3, WIDTH)
    wide_a, wide_b, wide_c = (v.astype(np.int64) for v in (a, b, c))
    wanted = {
        "load": a,
        "splat": np.full(WIDTH, a[3]),
        "add": wide_a + wide_b,
        "sub": wide_a - wide_b,
        "mul": wide_a * wide_b,
        "div": np.trunc(a / c.astype(float)),
        "left 1": wide_a << 1,
        "left 15": wide_a << 15,
        "right 1": wide_a >> 1,
        "right 31": wide_a >> 31,
        "larger": np.maximum(a, b),
        "where_more": np.where(a > b, b, c),
        "count_within": wide_a + (x <= y),
        "where_within": np.where(x <= y, b, c),
        "dot4": products(wide_c, a, b),
        "dot4_anywhere": products(wide_c, a, b),
        "xor": wide_a ^ wide_b,
        "word": np.full(WIDTH, ints.view(np.int8)[4 * at + 1 :][:4].copy().view(np.int32)[0]),
        "stored after": np.full(WIDTH, 7),
    }
    for name in INTS:
        np.testing.assert_array_equal(
            got[name], wanted[name].astype(np.int64).astype(np.int32), name
        )
    assert most == a.max()
    assert whole == wide_a.sum().astype(np.int32)


def products(
    start: npt.NDArray[np.int64], unsigned: npt.NDArray[np.int32], signed: npt.NDArray[np.int32]
) -> npt.NDArray[np.int64]:
    pairs = unsigned.view(np.uint8).astype(np.int64) * signed.view(np.int8)
    return start + pairs.reshape(-1, 4).sum(1)


def test_floats(given: tuple[Arrays, int]) -> None:
    (ints, floats, points, rows), at = given
    with np.errstate(over="ignore", under="ignore"):
        _, got, (_, _, _, whole) = answers(ints, floats, points, rows, at)
        a, b, _ = ints[at : at + 48].reshape(3, WIDTH)
        x, y, z = floats[at : at + 48].reshape(3, WIDTH)
        wanted = {
            "load": x,
            "splat": np.full(WIDTH, x[3]),
            "add": x + y,
            "sub": x - y,
            "mul": x * y,
            "div": x / z,
            "where_more": np.where(a > b, x, y),
            "where_within": np.where(x <= y, x, z),
            **dict(zip("xyuv", points.reshape(-1, 4)[rows].T, strict=True)),
        }
        for name in wanted:
            np.testing.assert_array_equal(got[name], wanted[name], name)
        exact, product = x.astype(float) * y + z, np.abs(x.astype(float) * y)
        small = product < 1e30
        # rounded once or twice
        assert (
            np.abs(got["fma"] - exact)[small]
            <= (2.0**-24 * (product + np.abs(exact)) + 1e-45)[small]
        ).all()
    assert abs(whole - z.astype(float).sum()) < 1e-5 * np.abs(z).sum()


def test_a_sum_of_whole_floats_is_exact() -> None:
    floats = np.tile(np.float32([2**20, 1, -3, 5]), 12)
    _, _, (_, _, whole, _) = answers(np.ones(48, np.int32), floats, *GROUND[1:])
    assert whole == 4 * (2**20 + 3)


def test_nan_is_never_within() -> None:
    floats = np.ones(48, np.float32)
    floats[:4] = [np.nan, np.nan, np.inf, -np.inf]
    floats[16:22] = [1, np.nan, np.inf, -np.inf, np.nan, -np.inf]
    ints = np.repeat(np.int32([10, 20, 30]), 16)
    got, _, _ = answers(ints, floats, *GROUND[1:])
    within = [False, False, True, True, False, False] + [True] * 10
    assert got["count_within"].tolist() == [10 + each for each in within]
    assert got["where_within"].tolist() == [20 if each else 30 for each in within]


@pytest.mark.parametrize("signed", [127, -128, -1, 0])
@pytest.mark.parametrize("unsigned", [255, 128, 0])
@pytest.mark.parametrize("start", [1, 2**31 - 1, -(2**31)])
def test_four_products_are_summed_without_a_bound(unsigned: int, signed: int, start: int) -> None:
    """No sum of two products is cut off at 16 bits, as an older instruction does; int32 itself
    wraps.
    """
    ints = np.concatenate(
        [
            np.full(64, unsigned, np.uint8).view(np.int32),
            np.full(64, signed, np.int8).view(np.int32),
            np.full(16, start, np.int32),
        ]
    )
    got, _, _ = answers(ints, *GROUND)
    assert (
        got["dot4"].tolist()
        == got["dot4_anywhere"].tolist()
        == [np.int64(start + 4 * unsigned * signed).astype(np.int32)] * WIDTH
    )


@pytest.mark.skipif(not VNNI, reason="no AVX-512 VNNI in this machine")
def test_four_products_are_one_instruction_where_there_is_one() -> None:
    answers(np.ones(48, np.int32), *GROUND)
    assert any("vpdpbusd" in assembly for assembly in every_operation.inspect_asm().values())

"""Local features without photos: random ones, and pairs of photos of which it is known which
feature is which, and where it went.
"""

import numpy as np
import numpy.typing as npt

from stages.records import Bool, Float32, Int8, Int64, LocalFeatures, PackedFeatures

Floats = npt.NDArray[np.float64]
SIZE = (640, 480)  # px
# (2, 3) a plausible map: turned by about 20 degrees, a little smaller
TURN = np.array([[0.8, -0.35, 150.0], [0.3, 0.9, -40.0]])


def directions(rng: np.random.Generator, count: int, dimensions: int = 40) -> Floats:
    """(count, dimensions) unit vectors, evenly in all directions."""
    return lengths_one(rng.normal(size=(count, dimensions)))


def lengths_one(vectors: Floats) -> Floats:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def rounded(unit: Floats) -> Int8:
    return np.rint(unit * 127).astype(np.int8)


def scattered(rng: np.random.Generator, count: int) -> Floats:
    """(count, 2) px, evenly over the photo."""
    return rng.random((count, 2)) * SIZE


def moved(affine: Floats, xy: Floats) -> Floats:
    return xy @ affine[:, :2].T + affine[:, 2]


def described(xy: npt.ArrayLike, descriptor: Int8) -> LocalFeatures:
    score = np.linspace(2, 1, len(descriptor)).astype(np.float32)
    return LocalFeatures(np.asarray(xy, np.float32).reshape(-1, 2), descriptor, score, SIZE)


def unrelated(rng: np.random.Generator, count: int = 100) -> LocalFeatures:
    return described(scattered(rng, count), rounded(directions(rng, count)))


def planted_pair(
    rng: np.random.Generator,
    affine: Floats = TURN,
    count: int = 200,
    share: float = 0.5,
    jitter: float = 1.0,
) -> tuple[LocalFeatures, LocalFeatures, Int64]:
    """Query, candidate and the planted pairs (n, 2): a share of the query's features is in the
    candidate, moved by the map and `jitter` px, looking almost the same; the others are unrelated.
    """
    n = round(count * share)
    query_unit, query_xy = directions(rng, count), scattered(rng, count)
    candidate_unit, candidate_xy = directions(rng, count), scattered(rng, count)
    pairs = np.stack([rng.permutation(count)[:n], rng.permutation(count)[:n]], 1)
    candidate_unit[pairs[:, 1]] = lengths_one(
        query_unit[pairs[:, 0]] + 0.05 * rng.normal(size=(n, 40))
    )
    candidate_xy[pairs[:, 1]] = moved(affine, query_xy[pairs[:, 0]]) + jitter * rng.normal(
        size=(n, 2)
    )
    return (
        described(query_xy, rounded(query_unit)),
        described(candidate_xy, rounded(candidate_unit)),
        pairs,
    )


def planted_matches(
    rng: np.random.Generator,
    good: int,
    count: int,
    affine: Floats = TURN,
    jitter: float = 1.0,
    size: tuple[int, int] = SIZE,
) -> tuple[Float32, Float32, Bool]:
    """Point pairs (count, 2), (count, 2) px, of which `good` follow the map but for `jitter` px,
    and which those are (count,). All others, and where the good ones stand among them, are chance.
    """
    query, candidate = rng.random((count, 2)) * size, rng.random((count, 2)) * size
    planted = rng.permutation(count) < good
    candidate[planted] = moved(affine, query[planted]) + jitter * rng.normal(size=(good, 2))
    return query.astype(np.float32), candidate.astype(np.float32), planted


def map_error(affine: npt.ArrayLike, truth: Floats = TURN, size: tuple[int, int] = SIZE) -> float:
    """px, at the query photo's worst corner; NaN where there is no map."""
    corners = np.array([[0, 0], [size[0], 0], [0, size[1]], size], float)
    return float(
        np.linalg.norm(
            moved(np.asarray(affine, float), corners) - moved(truth, corners), axis=1
        ).max()
    )


def pack(photos: list[LocalFeatures], blocks: int = 1) -> PackedFeatures:
    """Photos dealt out to blocks in turn, the later ones first in each, and rows that belong to no
    photo between them.
    """
    arrays: list[tuple[Float32, Int8, Float32]] = []
    block, start = np.zeros(len(photos), np.int32), np.zeros(len(photos), np.int64)
    for b in range(blocks):
        gap = described(np.full((3, 2), -1.0), np.full((3, 40), 99, np.int8))
        parts, end = [gap], len(gap)
        for photo in reversed(range(b, len(photos), blocks)):
            block[photo], start[photo] = b, end
            parts += [photos[photo], gap]
            end += len(photos[photo]) + len(gap)
        arrays.append(
            (
                np.concatenate([p.xy for p in parts]),
                np.concatenate([p.descriptor for p in parts]),
                np.concatenate([p.score for p in parts]),
            )
        )
    count = np.array([len(p) for p in photos], np.int64)
    return PackedFeatures(
        tuple(arrays),
        block,
        start,
        count,
        np.array([p.size for p in photos], np.int32).reshape(-1, 2),
    )

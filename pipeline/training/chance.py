"""What chance does between photos of different things, above all between those that the first look
finds near: the null that comes with a model.

Photos in different folders are taken to show different things. A gallery's own photos cannot teach
nearness: the nearest may well show the same.
"""

import os
from collections.abc import Callable

import numpy as np
from tqdm import tqdm

from pipeline.gallery.store import Reading
from stages.null import Null
from stages.records import Float64, Int32, Int64, LocalFeatures
from stages.shortlist import ByOdds
from stages.verify import Verify

ODDS = ByOdds()
NEAREST, SPREAD, RANDOM = 10, 8, 20  # partners of each photo: by each list, by each list, of all


def learn_null(
    reading: Reading,
    votes: Callable[[LocalFeatures], Int32] | None,
    verify: Verify,
    count: int,
    seed: int,
) -> Null:
    """votes: of every photo for the features of one, as `PartsIndex.votes` has them; None where no
    list is made by votes. count: photos that ask. Raises ValueError for too few pairs.
    """
    features, codes = reading.features, reading.codes
    folders = np.unique([os.path.dirname(name) for name in reading.names], return_inverse=True)[1]
    rng = np.random.default_rng(seed)
    asking = rng.permutation(len(folders))[:count]
    pairs: list[tuple[Int64, Int64, Int32, Float64]] = []
    for query in tqdm(asking.tolist(), desc="chance", unit="photo", mininterval=0.5):
        others = np.flatnonzero(folders != folders[query])
        if not len(others):
            continue
        by_codes = places(np.square(codes[others] - codes[query]).sum(1), rng)
        near, lists = by_codes, [by_codes]
        if votes is not None:
            by_votes = places(-votes(features[query])[others], rng)
            cost = ODDS.codes * np.log1p(by_codes) + ODDS.votes * np.log1p(by_votes)
            near = places(cost, rng)
            lists += [by_votes, near]
        drawn = np.unique(np.concatenate([partners(each, rng) for each in lists]))
        share = (near[drawn] + 1) / len(others)  # as `stages.rank.nearness`
        rows = others[drawn]
        inliers = verify.many(features[query], features, rows)[1]
        ours = np.full(len(rows), features.count[query])
        pairs.append((ours, features.count[rows], inliers, share))
    if not pairs:
        raise ValueError("photos in one folder")
    ours, theirs, inliers, share = (np.concatenate(column) for column in zip(*pairs, strict=True))
    return Null.fit(ours, theirs, inliers, verify.fit.least, share)


def places(distance: np.ndarray, rng: np.random.Generator) -> Int64:
    """(n,) -> (n,) the place of each, from 0; equal ones in an order that is drawn."""
    ranks = np.empty(len(distance), np.int64)
    ranks[np.lexsort((rng.random(len(distance)), distance))] = np.arange(len(distance))
    return ranks


def partners(ranks: Int64, rng: np.random.Generator) -> Int64:
    """Places of a list: the nearest, some at all distances, and some of all."""
    count = len(ranks)
    spread = (NEAREST * (max(count, NEAREST) / NEAREST) ** rng.random(SPREAD)).astype(np.int64)
    wanted = np.concatenate([np.arange(NEAREST), spread])
    drawn = rng.choice(count, min(RANDOM, count), replace=False)
    return np.concatenate([np.flatnonzero(np.isin(ranks, wanted)), drawn])

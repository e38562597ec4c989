"""The tables of docs/seeds.md, one for each paper: what is published beside what came out here, and
under what, from the results files of the pages that say more.
"""

import re
from collections.abc import Collection, Sequence

from pipeline.results import attention, hashing
from pipeline.results.tables import Row, by_label, commands, fraction, markdown, number

# Jiang, Li & Liu (seed 004), section 2 and table 1: the share of the ten answers that look alike,
# graded by eye
PUBLISHED_ACCURACY = 98.76
PUBLISHED_TABLE1 = {"logits": (0.49, 0.54), "pca": (0.58, 0.69), "embedding": (0.63, 0.76)}
TIMES_K = 4  # candidates of table 2 that the paper recommends
MAIN = ("am_vggh", "vggh")
# embeddings beside those of seeds 000 and 001
OURS = re.compile(" (with a wider head|from a teacher|of [0-9]+ components)")
HEAD = ("figure", "published", "here", "data and conditions")


def two_looks(accuracies: Sequence[Row], cells: Sequence[Row], table2: Sequence[Row]) -> list[str]:
    """Seed 004: accuracy of the classes, table 1 by class, table 2 at the candidates it
    recommends.
    """
    body, used = [], []
    for run, seeds in by_label(accuracies).items():
        shares = [100 * seed["test"] for seed in seeds]
        taught = [100 * seed["teacher_test"] for seed in seeds if "teacher_test" in seed]
        own = f"; its teacher {number(sum(taught) / len(taught), '.2f')} %" if taught else ""
        found = f"{number(sum(shares) / len(shares), '.2f')} %"
        if len(shares) > 1:
            found += f" [{number(min(shares), '.2f')}, {number(max(shares), '.2f')}]"
        body.append(
            [
                "accuracy on ten classes",
                f"{PUBLISHED_ACCURACY} %",
                found,
                f"Imagenette, {run}, random seeds: {len(seeds)}{own}",
            ]
        )
        used.append(seeds[0])
    for row in cells:
        run, _, code = row["label"].rpartition(", ")
        if code not in PUBLISHED_TABLE1:
            continue
        for what, published, name in zip(
            ("first look", "both looks"), PUBLISHED_TABLE1[code], ("coarse_", ""), strict=True
        ):
            body.append(
                [
                    f"Table 1, {code}, {what}",
                    fraction(published, ".2f"),
                    f"precision@10 {fraction(row[f'{name}precision@10'])}",
                    f"Imagenette, {run}, by class; {number(row['queries'], ',d')} queries",
                ]
            )
        used.append(row)
    (row,) = table2
    at = row["multiples"].index(TIMES_K)
    body.append(
        [
            f"Table 2, candidates {TIMES_K} x k, mean inliers",
            number(row["published"][at], ".1f"),
            number(row["mean_inliers_with_self"][at], ".1f"),
            "the authors' own features, their 14 queries; their shortlists are lost",
        ]
    )
    return markdown(HEAD, body) + commands([*used, row])


def hash_codes(rows: Sequence[Row]) -> list[str]:
    """Seed 002, table 1: mAP by recipe and length beside the published, a column for each protocol
    and trunk; and what attention adds.
    """
    columns = sorted({(row["protocol"], row["model"]["name"]) for row in rows})
    body = []
    for recipe, figures in hashing.PUBLISHED.items():
        for bits, published in zip(hashing.BITS, figures, strict=True):
            if recipe in MAIN or bits == hashing.BITS[-1]:
                cells = [hashing.cell(taken(rows, column, recipe, bits)) for column in columns]
                body.append([f"`{recipe}`, {bits} bits", fraction(published), *cells])
    for place, bits in enumerate(hashing.BITS):
        with_it, without = (hashing.PUBLISHED[recipe][place] for recipe in MAIN)
        cells = [gained(rows, column, bits) for column in columns]
        body.append(
            [f"gain by attention, {bits} bits", fraction(with_it - without, "+.3f"), *cells]
        )
    return markdown(heads(columns), body) + commands(of_first_seed(rows, hashing.PUBLISHED))


def asymmetric_codes(rows: Sequence[Row]) -> list[str]:
    """Seed 003, which publishes no figures that we know: mAP of its parts."""
    wanted = sorted({row["recipe"] for row in rows if row["recipe"].startswith("adsh")})
    some = [row for row in rows if row["recipe"] in wanted]
    columns = sorted({(row["protocol"], row["model"]["name"]) for row in some})
    body = [
        [f"`{recipe}`, {bits} bits", "not known", *cells]
        for recipe in wanted
        for bits in hashing.BITS
        if any(cells := [hashing.cell(taken(rows, column, recipe, bits)) for column in columns])
    ]
    return markdown(heads(columns), body) + commands(of_first_seed(some, wanted))


def attention_networks(rows: Sequence[Row]) -> list[str]:
    """Seeds 000 and 001, table 1: hit@1 and hit@10 of the first look, and parameters."""
    body = []
    for label, seeds in by_label(rows).items():
        data, _, run = label.partition(", ")
        recipe = seeds[0]["recipe"]
        size, top1, top10 = attention.PUBLISHED[recipe]
        published = f"{fraction(top1, '.4f')}, {fraction(top10, '.4f')}; {size} million"
        body.append(
            [
                run,
                "none: not in the paper" if OURS.search(run) else published,
                f"{attention.ranged(seeds, 'coarse_hit@1')},"
                f" {fraction(attention.mean(seeds, 'coarse_hit@10'))};"
                f" {attention.costs(seeds)[0]} million",
                f"{data}, {seeds[0]['px']} px, {seeds[0]['epochs']} epochs, random seeds:"
                f" {len(seeds)}",
            ]
        )
    return markdown(("network", "published: top-1, top-10; parameters", *HEAD[2:]), body)


def heads(columns: Sequence[tuple[str, str]]) -> list[str]:
    """Of a table of codes: the protocol's letter and the trunk."""
    return ["mAP", "published", *(f"{protocol}, {trunk}" for protocol, trunk in columns)]


def taken(rows: Sequence[Row], column: tuple[str, str], recipe: str, bits: int) -> list[Row]:
    """The rows of a cell, one for each random seed."""
    return [
        row
        for row in rows
        if (row["protocol"], row["model"]["name"], row["recipe"], row["bits"])
        == (*column, recipe, bits)
    ]


def gained(rows: Sequence[Row], column: tuple[str, str], bits: int) -> str:
    """Means over the same random seeds, and the least and the greatest gain of one of them."""
    with_it, without = (
        {row["seed"]: row["mAP"] for row in taken(rows, column, recipe, bits)} for recipe in MAIN
    )
    gains = [with_it[seed] - without[seed] for seed in sorted(with_it.keys() & without.keys())]
    if not gains:
        return ""
    ends = f" [{fraction(min(gains), '+.3f')}, {fraction(max(gains), '+.3f')}]"
    return fraction(sum(gains) / len(gains), "+.3f") + (ends if len(gains) > 1 else "")


def of_first_seed(rows: Sequence[Row], recipes: Collection[str]) -> list[Row]:
    """The other random seeds' commands differ in `--seed` alone."""
    return [row for row in rows if row["seed"] == 0 and row["recipe"] in recipes]

"""Features that others published: what is in the folder comes back, what is wrong with it is one
line, and Table 2 is worked out from it.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from planted_features import directions, lengths_one, moved, scattered
from small import complaint

from pipeline.base.errors import UsageError
from pipeline.commands import reproduce_seed004
from pipeline.commands.reproduce_seed004 import MULTIPLES, K
from pipeline.datasets.published import read_published
from pipeline.recipes import published_second_look

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data" / "seed004"
PHOTOS = 64
FAMILY = 6  # photos at the beginning that show one thing; photo 9 and the last have no features
FILES = ("names.txt", "pca32.npy", "local_start.npy", "local_xy.npy", "local_descriptor.npy")


def arrays() -> dict[str, Any]:
    rng = np.random.default_rng(0)
    unit, xy = directions(rng, 40), scattered(rng, 40)
    units, points = [], []
    for photo in range(PHOTOS):
        count = 0 if photo in (9, PHOTOS - 1) else int(rng.integers(20, 60))
        turn = np.array([[1, 0.02 * photo, 5 * photo], [-0.02 * photo, 1, 3]])
        units += (
            [lengths_one(unit + 0.04 * rng.normal(size=unit.shape))]
            if photo < FAMILY
            else [directions(rng, count)]
        )
        points += (
            [moved(turn, xy) + rng.normal(size=xy.shape)]
            if photo < FAMILY
            else [scattered(rng, count)]
        )
    return {
        "names.txt": [f"n{photo:03d}" for photo in np.random.default_rng(1).permutation(PHOTOS)],
        "pca32.npy": rng.normal(size=(PHOTOS, 32)).astype(np.float32),
        "local_start.npy": np.cumsum([0, *map(len, units)]).astype(np.int32),
        "local_xy.npy": np.concatenate(points).astype(np.float32),
        "local_descriptor.npy": np.concatenate(units).astype(np.float16),
    }


def write(folder: Path, whole: dict[str, Any]) -> Path:
    folder.mkdir(exist_ok=True)
    for name, value in whole.items():
        if name == "names.txt":
            (folder / name).write_text("\n".join(value) + "\n")
        else:
            np.save(folder / name, value)
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write(tmp_path / "f", arrays())


def test_what_was_published_comes_back(folder: Path) -> None:
    gallery, whole = read_published(folder), arrays()
    assert gallery.names == tuple(sorted(whole["names.txt"]))
    start = whole["local_start.npy"]
    for photo, name in enumerate(whole["names.txt"]):
        row, mine = gallery.row(name), slice(start[photo], start[photo + 1])
        features = gallery.features[row]
        np.testing.assert_array_equal(gallery.codes[row], whole["pca32.npy"][photo])
        np.testing.assert_array_equal(features.xy, whole["local_xy.npy"][mine])
        np.testing.assert_array_equal(
            features.descriptor,
            np.rint(whole["local_descriptor.npy"][mine].astype(np.float32) * 127),
        )
        assert len(features) == 0 or (np.array(features.size) >= features.xy.max(0)).all()
        assert features.size[0] < 900
    assert len(gallery.features[gallery.row(whole["names.txt"][9])]) == 0


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(
        UsageError, match=rf"^{folder / name}: expected .*; --features is the folder that holds it$"
    ):
        read_published(folder)


def cut(key: str, rows: slice) -> Any:
    return lambda whole: {key: whole[key][rows]}


WRONG = {
    "names, one less": cut("names.txt", slice(1, None)),
    "names, one more": lambda whole: {"names.txt": [*whole["names.txt"], "z"]},
    "codes, one less": cut("pca32.npy", slice(1, None)),
    "codes of 31": lambda whole: {"pca32.npy": whole["pca32.npy"][:, 1:]},
    "codes, flat": lambda whole: {"pca32.npy": whole["pca32.npy"].ravel()},
    "codes, whole numbers": lambda whole: {"pca32.npy": whole["pca32.npy"].astype(int)},
    "points in space": lambda whole: {"local_xy.npy": np.repeat(whole["local_xy.npy"], 2, 1)},
    "points, one less": cut("local_xy.npy", slice(1, None)),
    "points, complex": lambda whole: {"local_xy.npy": whole["local_xy.npy"].astype(complex)},
    "descriptors, one less": cut("local_descriptor.npy", slice(1, None)),
    "starts that end early": lambda whole: {
        "local_start.npy": np.minimum(whole["local_start.npy"], whole["local_start.npy"][-1] - 1)
    },
    "starts that begin late": lambda whole: {
        "local_start.npy": np.maximum(whole["local_start.npy"], 1)
    },
    "starts that fall": lambda whole: {
        "local_start.npy": whole["local_start.npy"][[0, 2, 1, *range(3, PHOTOS + 1)]]
    },
    "starts, fractions": lambda whole: {"local_start.npy": whole["local_start.npy"] * 1.0},
    "pickled": lambda whole: {"pca32.npy": np.array([{}, None, *range(PHOTOS - 2)], object)},
}


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
def test_what_does_not_fit_together_is_one_line(
    wrong: Any, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(folder, wrong(arrays()))
    capsys.readouterr()
    assert reproduce_seed004.main(["--features", str(folder), "--queries", "n003"]) == 2
    assert complaint(capsys).startswith(f"reproduce_seed004: {folder}/")


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY", b"not an array", b"\x80\x04cos\nsystem\n."])
def test_a_file_that_is_no_array_is_named(folder: Path, content: bytes) -> None:
    (folder / "local_xy.npy").write_bytes(content)
    with pytest.raises(
        UsageError, match=r"local_xy\.npy: expected an array of numbers, got "
    ) as refused:
        read_published(folder)
    assert "\n" not in str(refused.value)


def reproduce(capsys: pytest.CaptureFixture[str], folder: Path, *more: str) -> dict[str, Any]:
    capsys.readouterr()
    assert reproduce_seed004.main(["--features", str(folder), "--json", *more]) == 0
    return dict(json.loads(capsys.readouterr().out))


def test_a_table_of_planted_features(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = arrays()["names.txt"]
    told = reproduce(capsys, folder, "--queries", names[0], names[20], names[0])
    assert list(told) == ["multiples", "mean_inliers", "mean_inliers_with_self", "pairs"]
    assert told["multiples"] == [1.5, 2, 2.5, 3, 3.5, 4, 4.5, 5]
    assert list(told["pairs"]) == [names[0], names[20]]
    gallery = read_published(folder)
    verify, means = published_second_look(0, 1), []
    for query, pairs in told["pairs"].items():
        assert len(pairs) == 50
        assert next(iter(pairs)) == query
        mine = gallery.features[gallery.row(query)]
        for name, inliers in pairs.items():  # nearest first; a pair's count is the pair's own
            candidate = gallery.features[gallery.row(name)]
            assert inliers == verify.pair(mine, candidate)[2].sum()
        distance = [
            np.linalg.norm(gallery.codes[gallery.row(name)] - gallery.codes[gallery.row(query)])
            for name in pairs
        ]
        assert distance == sorted(distance)
        listed = list(pairs.values())
        means.append(
            [np.mean(sorted(listed[: round(multiple * K)])[-K:]) for multiple in MULTIPLES]
        )
        assert pairs[query] == len(mine)
    assert told["mean_inliers_with_self"] == pytest.approx(np.mean(means, 0), abs=0.0051)
    assert (np.array(told["mean_inliers"]) < told["mean_inliers_with_self"]).all()
    seen = [told["pairs"][names[0]].get(name) for name in names[1:FAMILY]]
    # the others of its family, of 40 features
    assert min(inliers for inliers in seen if inliers is not None) > 35


def test_a_mean_leaves_the_query_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One place more is searched, so that as many others are looked at. Its family are the 46th to
    the 50th of them.
    """
    whole = arrays()
    place = np.array([0, *range(46, 51), *range(1, 46), *range(51, PHOTOS)])
    whole["pca32.npy"] = place[:, None] * np.eye(1, 32, dtype=np.float32)
    gallery, query = read_published(write(tmp_path / "f", whole)), whole["names.txt"][0]
    rows = [gallery.row(whole["names.txt"][photo]) for photo in np.argsort(place)[1:51]]
    inliers = [
        published_second_look(0, 1)
        .pair(gallery.features[gallery.row(query)], gallery.features[row])[2]
        .sum()
        for row in rows
    ]
    assert min(inliers[45:]) > 35 > 20 > max(inliers[:45])
    told = reproduce(capsys, tmp_path / "f", "--queries", query)
    assert told["mean_inliers"] == pytest.approx(
        [np.mean(sorted(inliers[: round(m * K)])[-K:]) for m in MULTIPLES], abs=0.0051
    )
    assert told["mean_inliers_with_self"][0] == pytest.approx(
        np.mean([40, *sorted(inliers[:14])[-9:]]), abs=0.0051
    )


def test_the_published_figures_stand_beside_for_their_own_queries_alone(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = (arrays()["names.txt"][photo] for photo in (0, 20))
    rows = [
        ",1.5,2,2.5,3,3.5,4,4.5,5",
        f"{first}.JPEG,1,2,3,4,5,6,7,8",
        f"{second}.JPEG,3,4,1,0,1,2,3,4",
        ",2,3,2,2,3,4,5,6",
    ]
    (folder / "table2_published.csv").write_text("\n".join(rows) + "\n")
    told = reproduce(capsys, folder)
    assert list(told["pairs"]) == [first, second]
    assert told["published"] == [2, 3, 2, 2, 3, 4, 5, 6]
    assert len(told["correlation_with_published"]) == 8
    assert "published" not in reproduce(capsys, folder, "--queries", first)
    assert reproduce_seed004.main(["--features", str(folder)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line[:28].strip() for line in lines] == [
        "candidates / k",
        "mean inliers",
        "mean inliers with self",
        "published",
        "correlation with published",
    ]
    assert lines[0].split()[-8:] == ["1.5", "2", "2.5", "3", "3.5", "4", "4.5", "5"]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (
            ["--queries", "nobody"],
            "--queries nobody: expected a name as names.txt has it, got one that is not there",
        ),
        ([], "expected table2_published.csv or --queries, got neither"),
    ],
)
def test_a_question_that_cannot_be_answered_is_one_line(
    more: list[str], said: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert reproduce_seed004.main(["--features", str(folder), *more]) == 2
    assert said in complaint(capsys)
    assert reproduce_seed004.main(["--features", str(folder / "none"), *more]) == 2
    complaint(capsys)


@pytest.mark.shared
@pytest.mark.skipif(not SHARED.is_dir(), reason=f"needs {SHARED}")
def test_table_2_is_reproduced(capsys: pytest.CaptureFixture[str]) -> None:
    told = reproduce(capsys, SHARED)
    assert len(told["pairs"]) == 14
    column = told["multiples"].index(4)
    assert told["correlation_with_published"][column] >= 0.99
    assert told["mean_inliers_with_self"][column] == pytest.approx(
        told["published"][column], rel=0.04
    )

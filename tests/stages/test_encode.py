"""Both looks at a photo: the same numbers whatever else is being looked at, in the right places, at
any size.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from peephole import Peephole
from pictures import picture
from torch import nn

from pipeline.graph import Graph
from pipeline.model.weights import open_model
from pipeline.recipes import encode
from stages.delf import SCALES, Attention, Describe, normalised
from stages.embed import Embed, normalise
from stages.records import Image
from stages.trunk import last_map, resize, run, to_tensor

ROWS = ("pooled", "logits", "embedding", "pca", "features")
SHAPES = [(160, 120), (120, 160), (97, 33), (31, 250), (320, 200), (64, 64)]  # (width, height) px


@pytest.fixture(scope="module")
def table(tiny_model: Path) -> Graph:
    return encode(open_model(tiny_model), "cpu")


@pytest.fixture(scope="module")
def describe(table: Graph) -> Describe:
    return next(node.stage for node in table.rows if isinstance(node.stage, Describe))


@pytest.fixture(scope="module")
def embed(table: Graph) -> Embed:
    return next(node.stage for node in table.rows if isinstance(node.stage, Embed))


def photo(seed: int) -> Image:
    return Image(picture(seed, *SHAPES[seed % len(SHAPES)]))


def numbers(table: Graph, image: Image) -> list[bytes]:
    pooled, logits, embedding, pca, features = table({"image": image}, *ROWS)
    return [
        a.tobytes()
        for a in (pooled, logits, embedding, pca, features.xy, features.descriptor, features.score)
    ]


def test_a_photos_numbers_do_not_depend_on_its_neighbours(table: Graph) -> None:
    photos = [photo(seed) for seed in range(6)]
    alone = [numbers(table, image) for image in photos]
    assert len({tuple(n) for n in alone}) == len(photos)
    order = np.random.default_rng(0).permutation(len(photos)).repeat(2)
    with ThreadPoolExecutor(4) as pool:
        for i, beside in zip(
            order, pool.map(lambda i: numbers(table, photos[i]), order), strict=True
        ):
            assert beside == alone[i]


def test_pooling_is_the_mean_and_the_generalised_mean(embed: Embed) -> None:
    image = photo(0)
    cells = (
        run(last_map, embed.trunk, resize(image.pixels, *embed.input_size(image)))[0]
        .astype(np.float64)
        .reshape(512, -1)
    )
    pooled = embed(image)
    assert (pooled.shape, pooled.dtype) == ((2, 512), np.float32)
    np.testing.assert_allclose(
        pooled, [cells.mean(1), np.cbrt((cells.clip(1e-6) ** 3).mean(1))], rtol=1e-3, atol=1e-5
    )
    np.testing.assert_array_equal(pooled, pooled.astype(np.float16))  # as a gallery keeps it


def test_logits_are_torchvisions(table: Graph, embed: Embed) -> None:
    for seed in range(4):
        image = photo(seed)
        with torch.inference_mode():
            wanted = embed.trunk(to_tensor(resize(image.pixels, *embed.input_size(image))))[
                0
            ].numpy()
        np.testing.assert_allclose(
            table({"image": image}, "logits"), wanted, atol=2e-3 * np.abs(wanted).max()
        )


def test_embeddings_have_unit_length_or_none() -> None:
    pooled = np.abs(np.random.default_rng(0).normal(size=(2, 512))).astype(np.float32)
    np.testing.assert_allclose(
        normalise(pooled), pooled[1] / np.sqrt((pooled[1].astype(np.float64) ** 2).sum()), rtol=1e-6
    )
    assert not normalise(np.zeros((2, 512), np.float32)).any()


@pytest.mark.parametrize(
    "size", [(1, 1), (300, 200), (200, 300), (4000, 1000), (4000, 100), (1, 20000)]
)
def test_the_first_look_keeps_area_and_shape(embed: Embed, size: tuple[int, int]) -> None:
    width, height = replace(embed, side=224).input_size(
        Image(np.zeros((size[1], size[0], 3), np.uint8))
    )
    assert width % 32 == height % 32 == 0
    assert 0.8 * 224**2 < width * height < 1.2 * 224**2
    aspect = np.clip(size[0] / size[1], 1 / 4, 4)
    assert abs(np.log(width / height / aspect)) < 0.2


def test_descriptors_are_unit_vectors_in_int8_strongest_first(describe: Describe) -> None:
    for seed in range(3):
        image = photo(seed)
        features, cells = describe(image), len(describe.cells(image)[0])
        assert len(features) == min(describe.keep, cells)
        assert features.size == image.size
        assert (np.diff(features.score) <= 0).all()
        lengths = np.linalg.norm(features.descriptor.astype(float), axis=1)
        assert np.abs(lengths - 127).max() < 0.5 * np.sqrt(40)
        margin = 8 * max(image.size) / 24  # half a cell of the coarsest scale
        assert ((features.xy > -margin) & (features.xy < np.array(image.size) + margin)).all()


def test_keep_takes_the_strongest_of_all_cells(describe: Describe) -> None:
    image = photo(0)
    every = replace(describe, keep=10**6)(image)
    assert len(every) == len(describe.cells(image)[0]) > describe.keep
    few = replace(describe, keep=7)(image)
    for name in ("xy", "descriptor", "score"):
        np.testing.assert_array_equal(getattr(few, name), getattr(every, name)[:7])
    np.testing.assert_allclose(
        every.score, np.sort(np.linalg.norm(describe.cells(image)[1], axis=1))[::-1], rtol=1e-5
    )


def test_cells_that_score_too_little_are_no_features(describe: Describe) -> None:
    image = photo(0)
    whole = describe(image)
    for kept in (1, 30, len(whole)):
        # one that scores just so much stays
        few = replace(describe, threshold=float(whole.score[kept - 1]))(image)
        for name in ("xy", "descriptor", "score"):
            np.testing.assert_array_equal(getattr(few, name), getattr(whole, name)[:kept])
    none = replace(describe, threshold=float(whole.score[0]) * 2)(image)
    assert (len(none), none.descriptor.shape, none.size) == (0, (0, 40), image.size)


def test_equal_scores_keep_the_pyramids_order(describe: Describe) -> None:
    image = photo(0)
    cells = describe.cells(image)[0]
    coarse = replace(
        describe,
        attention=lambda raw: (np.arange(len(raw)) % 2).astype(np.float32),
        keep=len(cells),
    )
    np.testing.assert_array_equal(coarse(image).xy, np.concatenate([cells[1::2], cells[::2]]))


def test_attention_is_two_convolutions() -> None:
    rng = np.random.default_rng(0)
    first, second = nn.Conv2d(256, 16, 1), nn.Conv2d(16, 1, 1)
    weights = (first.weight[:, :, 0, 0], first.bias, second.weight[0, :, 0, 0], second.bias)
    x = rng.normal(size=(256, 5, 7)).astype(np.float32) * 9
    with torch.inference_mode():
        wanted = nn.Softplus()(second(nn.ReLU()(first(torch.from_numpy(x))))).numpy().ravel()
    scores = Attention(*(w.detach().numpy() for w in weights))(
        np.ascontiguousarray(x.reshape(256, -1).T)
    )
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("size", [(160, 120), (50, 250), (33, 20), (255, 255)])
def test_a_cell_is_centred_where_it_says(describe: Describe, size: tuple[int, int]) -> None:
    """In a photo whose red grows with x and whose green with y, to 255."""
    last = np.array(size) - 1  # px
    pixels = np.dstack(
        [*np.meshgrid(*(np.linspace(0, 255, side) for side in size)), np.zeros(size[::-1])]
    )
    xy, colour = replace(describe, trunk=Peephole(), side=160).cells(
        Image(np.rint(pixels).astype(np.uint8))
    )
    seen = (colour[:, :2] * (0.229, 0.224) + (0.485, 0.456)) * last
    np.testing.assert_allclose(seen, np.clip(xy, 0, last), atol=1.5 * last.max() / 255)


@pytest.mark.parametrize("size", [(160, 120), (61, 203), (40, 30)])
def test_a_planted_spot_is_seen_where_it_lies(describe: Describe, size: tuple[int, int]) -> None:
    """By the real network: the cell that a small bright spot changes most is the nearest one, on
    either side as often.
    """
    (width, height), offsets = size, []
    blank = np.full((height, width, 3), 90, np.uint8)
    for scale in SCALES:
        one = replace(describe, side=160, scales=(scale,))
        xy, before = one.cells(Image(blank))
        stride = 16 * np.array(size) / one.input_sizes(Image(blank))[0]  # px of the photo
        for at in ((0.4, 0.45), (0.55, 0.6), (0.45, 0.6)):
            x, y = round(at[0] * (width - 1)), round(at[1] * (height - 1))
            spotted = blank.copy()
            spotted[y - 2 : y + 3, x - 2 : x + 3] = 255
            change = np.linalg.norm(one.cells(Image(spotted))[1] - before, axis=1)
            offsets.append((xy[change.argmax()] - (x, y)) / stride)
    assert np.abs(offsets).max() < 1
    assert np.abs(np.mean(offsets, 0)).max() < 0.3


@pytest.mark.parametrize("size", [(1, 1), (20000, 1), (1, 20000), (3, 2), (16, 17)])
def test_photos_of_any_shape_are_looked_at(table: Graph, size: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    pooled, pca, features = table(
        {"image": Image(rng.integers(0, 256, (size[1], size[0], 3), np.uint8))},
        "pooled",
        "pca",
        "features",
    )
    assert np.isfinite(pooled).all()
    assert np.isfinite(pca).all()
    assert 0 < len(features) <= 80
    assert np.isfinite(features.xy).all()
    assert (np.abs(features.xy - (np.array(size) - 1) / 2) <= np.array(size) * 0.75).all()


@pytest.mark.parametrize("make", [np.zeros, np.ones])
def test_a_photo_of_one_colour_is_a_photo(table: Graph, make: Callable[..., np.ndarray]) -> None:
    pooled, features = table(
        {"image": Image(make((50, 70, 3), np.uint8) * 255)}, "pooled", "features"
    )
    assert np.isfinite(pooled).all()
    assert np.isfinite(features.score).all()


def test_no_direction_stays_none() -> None:
    np.testing.assert_allclose(
        normalised(np.array([[3, 4], [0, 0]], np.float32)), [[0.6, 0.8], [0, 0]], rtol=1e-6
    )

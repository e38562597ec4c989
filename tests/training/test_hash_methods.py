"""Every method learns planted classes; what each promises of its loss or its algorithm; and a kill
changes nothing.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from pipeline.base.errors import UsageError
from pipeline.base.names import HASHING
from pipeline.training import loop
from pipeline.training.hashing.adsh import balance, solve
from pipeline.training.hashing.cnnh import factorise
from pipeline.training.hashing.dnnh import triplets
from pipeline.training.hashing.dpsh import pairs
from pipeline.training.hashing.learn import learn_code
from pipeline.training.hashing.loop import Plan, Problem, similar
from pipeline.training.hashing.measures import measure
from pipeline.training.hashing.methods import METHODS, check_photos, without
from pipeline.training.hashing.projections import ksh
from stages.attention import Beside, Channel, Guided, Spatial
from stages.hashnet import HashNet, kernels, pool

PLAN = Plan(epochs=4, batch=32, rate=3e-3, width=32)


@pytest.fixture(scope="module")
def planted() -> tuple[np.ndarray, np.ndarray]:
    """Maps (500, 32, 2, 2) of four noisy classes, and their labels; for a recipe that reads two
    maps, the last one's 16 channels and the 4 of an earlier one with four cells for each.
    """
    rng = np.random.default_rng(0)
    centres, classes = rng.normal(size=(4, 32, 2, 2)), rng.integers(0, 4, 500)
    maps = np.maximum(centres[classes] + 1.5 * rng.normal(size=(500, 32, 2, 2)), 0).astype(
        np.float16
    )
    return maps, np.eye(4, dtype=np.uint8)[classes]


def test_the_table_has_every_name() -> None:
    assert tuple(METHODS) == HASHING


@pytest.mark.parametrize("recipe", HASHING)
def test_it_finds_the_classes_of_photos_it_has_not_seen(
    recipe: str, planted: tuple[np.ndarray, np.ndarray], tmp_path: Path
) -> None:
    maps, labels = planted
    train, query, database = np.arange(300), np.arange(300, 350), np.arange(350, 500)
    learned, _ = learn_code(
        METHODS[recipe], maps, train, labels[train], 16, PLAN, tmp_path / recipe, {"a": 1}, 4
    )
    codes = [learned.codes(maps, rows, "cpu") for rows in (query, database)]
    found = measure(*codes, labels[query], labels[database]).tied.mean()
    assert found > {"lsh": 0.3, "ksh": 0.5}.get(recipe, 0.7)  # chance is .25
    again, _ = learn_code(
        METHODS[recipe], maps, train, labels[train], 16, PLAN, tmp_path / recipe, {"a": 1}, 4
    )
    # read, not learned again
    np.testing.assert_array_equal(again.codes(maps, query, "cpu"), codes[0])


@pytest.mark.parametrize("recipe", ["am_vggh", "dpsh", "adsh", "adsh_attention"])
def test_a_killed_run_ends_as_if_it_had_not_been(
    recipe: str,
    planted: tuple[np.ndarray, np.ndarray],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    maps, labels = planted
    train, plan = np.arange(200), Plan(epochs=3, batch=32, rate=3e-3, width=16)
    whole, _ = learn_code(
        METHODS[recipe], maps, train, labels[train], 12, plan, tmp_path / "whole", {}, 4
    )
    saved, real = [], loop.save_checkpoint

    def killed(*args: object) -> None:
        real(*args)  # type: ignore[arg-type]
        saved.append(args)
        if len(saved) == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(loop, "save_checkpoint", killed)
        with pytest.raises(KeyboardInterrupt):
            learn_code(
                METHODS[recipe], maps, train, labels[train], 12, plan, tmp_path / "killed", {}, 4
            )
    resumed, _ = learn_code(
        METHODS[recipe], maps, train, labels[train], 12, plan, tmp_path / "killed", {}, 4
    )
    for name, array in whole.arrays.items():
        np.testing.assert_array_equal(resumed.arrays[name], array)


def test_a_loss_that_is_no_number_says_what_to_do(
    planted: tuple[np.ndarray, np.ndarray], tmp_path: Path
) -> None:
    maps, labels = planted
    with pytest.raises(
        UsageError,
        match=(
            r"expected finite numbers, got loss (nan|inf); .*; run with a `--rate` lower than"
            r" 1e\+30"
        ),
    ):
        learn_code(
            METHODS["dpsh"],
            maps,
            np.arange(300),
            labels[:300],
            12,
            Plan(2, 32, 1e30, 16),
            tmp_path / "out",
            {},
        )


def test_too_few_photos_are_refused(planted: tuple[np.ndarray, np.ndarray], tmp_path: Path) -> None:
    maps, labels = planted
    with pytest.raises(
        UsageError, match="--batch 32: expected at most half of the 40 training photos"
    ):
        learn_code(
            METHODS["vggh"], maps, np.arange(40), labels[:40], 12, PLAN, tmp_path / "out", {}
        )


def test_a_run_of_another_network_is_not_gone_on_with(
    planted: tuple[np.ndarray, np.ndarray], tmp_path: Path
) -> None:
    """Such as adsh_attention's before it read an earlier map."""
    maps, labels = planted
    rest = (maps, np.arange(100), labels[:100], 12, PLAN, tmp_path / "out", {"recipe": "a"}, 4)
    learn_code(without("adsh_attention", ["earlier"]), *rest)
    before = (tmp_path / "out" / "weights.safetensors").read_bytes()
    with pytest.raises(UsageError, match=r"got maps two; run with another `--out`"):
        learn_code(METHODS["adsh_attention"], *rest)
    assert (tmp_path / "out" / "weights.safetensors").read_bytes() == before


def net(bits: int, squash: str) -> HashNet:
    torch.manual_seed(0)
    return HashNet(4, 4, bits, 8, squash=squash).eval()


def codes_of(make: Callable[..., Problem], squash: str) -> tuple[Problem, torch.Tensor, np.ndarray]:
    labels = np.eye(3, dtype=np.uint8)[np.arange(12) % 3]
    problem = make(net(6, squash), labels, 6, Plan())
    return problem, torch.randn(12, 4, 2, 2, generator=torch.Generator().manual_seed(0)), labels


def test_dpsh_pair_by_pair() -> None:
    problem, x, labels = codes_of(pairs, "linear")
    value = float(problem.loss(x, np.arange(12)).detach())
    u = problem.net(x).detach().numpy().astype(np.float64)
    wanted = [
        np.log(1 + np.exp(u[i] @ u[j] / 2)) - (labels[i] @ labels[j]) * (u[i] @ u[j]) / 2
        for i in range(12)
        for j in range(12)
    ]
    assert value == pytest.approx(np.mean(wanted) + 0.1 * np.mean((u - np.sign(u)) ** 2), rel=1e-5)


def test_dnnh_triplet_by_triplet() -> None:
    problem, x, labels = codes_of(triplets, "sigmoid")
    u = problem.net(x).detach().numpy().astype(np.float64)
    of = labels.argmax(1)
    hinges = [
        max(0, 1 - (((u[a] - u[n]) ** 2).sum() - ((u[a] - u[p]) ** 2).sum()))
        for a in range(12)
        for p in range(12)
        for n in range(12)
        if a != p and of[a] == of[p] != of[n]
    ]
    assert float(problem.loss(x, np.arange(12)).detach()) == pytest.approx(
        np.mean(hinges), rel=1e-5
    )


def test_cnnh_factorises_the_similarities() -> None:
    """Two classes fit exactly; three cannot be all opposite to each other: at best -1/3, an error
    of 4/9 for two pairs of three.
    """
    for classes, least in ((2, 0.0), (3, 8 / 27)):
        labels = np.eye(classes, dtype=np.uint8)[np.arange(60) % classes]
        s = 2 * similar(labels, labels).numpy() - 1
        codes = factorise(s, 9, 0)
        assert np.abs(codes).max() <= 1
        assert np.square(codes @ codes.T / 9 - s).mean() == pytest.approx(least, abs=0.03)
    check_photos("cnnh", METHODS["cnnh"], 20_000)
    with pytest.raises(UsageError, match="cnnh: expected at most 20,000 training photos"):
        check_photos("cnnh", METHODS["cnnh"], 20_001)


def test_adsh_solves_every_bit_as_trying_both_would() -> None:
    rng = np.random.default_rng(0)
    labels = np.eye(3, dtype=np.uint8)[rng.integers(0, 3, 20)]
    rows, bits = np.array([1, 4, 7, 11]), 5
    alike = balance(labels)(rows)
    assert float(alike.sum()) == pytest.approx(0, abs=1e-4)
    u, v = (
        torch.from_numpy(np.tanh(rng.normal(size=(n, bits))).astype(np.float32)) for n in (4, 20)
    )

    def cost(codes: torch.Tensor) -> float:
        return float(
            ((u @ codes.T - bits * alike) ** 2).sum() + 200 * ((codes[rows] - u) ** 2).sum()
        )

    wanted = v.sign()
    for k in range(bits):
        for j in range(20):
            tries = [wanted.clone(), wanted.clone()]
            tries[0][j, k], tries[1][j, k] = -1, 1
            wanted = min(tries, key=cost)
    assert torch.equal(solve(v.sign(), u, rows, alike), wanted)


def test_ksh_is_better_than_its_anchors_at_random(planted: tuple[np.ndarray, np.ndarray]) -> None:
    maps, labels = planted
    pooled = pool(maps.astype(np.float32))
    made = ksh(pooled, labels, 8, 0)
    s = 2.0 * (labels.astype(int) @ labels.T > 0) - 1
    signs = np.where(made.of(pooled) >= 0, 1.0, -1.0)
    chance = np.where(np.random.default_rng(0).normal(size=signs.shape) >= 0, 1.0, -1.0)
    assert (
        np.square(signs @ signs.T - 8 * s).sum() < 0.7 * np.square(chance @ chance.T - 8 * s).sum()
    )
    np.testing.assert_allclose(
        made.mean, kernels(pooled, made.anchors, float(made.gamma[0])).mean(0), rtol=1e-4
    )


def test_cbam_weights_channels_then_places() -> None:
    x = torch.randn(2, 32, 3, 3)
    channel, spatial = Channel(32, 8), Spatial()
    shared = channel.shared
    weight = torch.sigmoid(shared(x.flatten(2).mean(2)) + shared(x.flatten(2).max(2).values))
    torch.testing.assert_close(channel(x), x * weight[:, :, None, None])
    look = nn.functional.conv2d(
        torch.cat([x.mean(1, keepdim=True), x.max(1, keepdim=True).values], 1),
        spatial.look.weight,
        padding=3,
    )
    torch.testing.assert_close(spatial(x), x * torch.sigmoid(look))


def test_guided_attention_leaves_an_even_map_as_it_is() -> None:
    guided = Guided(32)
    nn.init.zeros_(guided.excite[2].weight)
    nn.init.zeros_(guided.excite[2].bias)  # no channel preferred: 2 x sigmoid(0) = 1
    even = torch.randn(2, 32, 1, 1).expand(2, 32, 3, 3)
    torch.testing.assert_close(guided(even), even.contiguous())
    odd = torch.randn(2, 32, 3, 3)
    assert not torch.allclose(guided(odd), odd)


def test_an_earlier_map_stands_beside_the_last_one_and_is_weighed_by_its_classes() -> None:
    torch.manual_seed(0)
    last, earlier = torch.randn(2, 8, 3, 3), torch.randn(2, 16, 6, 6)
    two = torch.cat([last, nn.functional.pixel_unshuffle(earlier, 2)], 1)
    plain, beside = Beside(8, 16, attended=False).eval(), Beside(8, 16, True, classes=5).eval()
    scale = (1 + plain.norm.eps) ** 0.5  # of a batch norm that has seen nothing
    alone = torch.cat([last, nn.functional.avg_pool2d(earlier, 2) / scale], 1)
    torch.testing.assert_close(plain(two), alone)
    torch.testing.assert_close(beside(two), alone)  # before it has learned, all weights are 1
    for parameter in beside.parameters():
        nn.init.normal_(parameter)
    assert beside.classify is not None
    assert beside.guided is not None
    told = beside.classify(last.mean((2, 3)))
    torch.testing.assert_close(beside.scores(two), told)
    seen = beside.guided(beside.norm(earlier), told.softmax(1))
    torch.testing.assert_close(beside(two)[:, 8:], nn.functional.avg_pool2d(seen, 2))
    torch.testing.assert_close(beside(two)[:, :8], last)


def test_the_classes_that_guide_are_learned(
    planted: tuple[np.ndarray, np.ndarray], tmp_path: Path
) -> None:
    maps, labels = planted
    method, plan = METHODS["adsh_attention"], replace(PLAN, epochs=20)
    learned, _ = learn_code(
        method, maps, np.arange(300), labels[:300], 12, plan, tmp_path / "out", {}, 4
    )
    guide = learned.arrays
    told = (
        maps[300:, :16].astype(np.float32).mean((2, 3))
        @ guide["attention.classify.weight"].T.astype(np.float32)
        + guide["attention.classify.bias"]
    )
    assert (told.argmax(1) == labels[300:].argmax(1)).mean() > 0.6  # chance is .25

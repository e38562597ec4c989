"""Attention in a ResNet50's bottlenecks: its size, its formulas, and that a fresh one changes
nothing.
"""

import numpy as np
import pytest
import torch
from torch import nn

from pipeline.base.names import FUSIONS
from stages import attended
from stages.attended import Attend, attend, is_attention
from stages.attention import Channel, Global, Squeeze
from stages.trunk import build_resnet, last_map, load_resnet

KINDS = ("se", "cbam", "gam")


def count(how: Attend | None) -> int:
    with torch.device("meta"):
        return sum(
            parameter.numel() for parameter in build_resnet("resnet50", 1000, how).parameters()
        )


def planted(*shape: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).normal(size=shape).astype(np.float32))


@pytest.mark.parametrize(
    ("kind", "published", "whole"),
    [("se", 28.1, 28_071_976), ("cbam", 28.1, 28_073_544), ("gam", 151.4, 151_368_424)],
)
def test_sizes_are_the_papers(kind: str, published: float, whole: int) -> None:
    """Seed 000, table 1, at r = 16, but for CBAM: it prints 28.2 M, and what it describes has 28.1.
    A gain is a number a bottleneck.
    """
    assert count(None) == 25_557_032
    assert count(Attend(kind, fusion="product")) == whole
    assert round(whole / 1e6, 1) == published
    assert count(Attend(kind)) == whole + 16


def test_what_is_cheaper_is_smaller() -> None:
    grouped, half = count(Attend("gam", groups=8)), count(Attend("gam", reduction=32))
    assert grouped - 25_557_032 < 125_811_392 / 6
    assert half - 25_557_032 < 125_811_392 / 1.9
    assert count(Attend("gam", first=3)) < count(Attend("gam"))


@pytest.fixture(scope="module")
def weights() -> dict[str, np.ndarray]:
    torch.manual_seed(0)
    return {
        name: tensor.numpy()
        for name, tensor in build_resnet("resnet50", 4).state_dict().items()
        if not name.endswith("tracked")
    }


@pytest.mark.parametrize("fusion", ["residual", "concatenation"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_fresh_one_answers_as_the_plain_one(
    kind: str, fusion: str, weights: dict[str, np.ndarray]
) -> None:
    x = planted(1, 3, 64, 64)
    plain = load_resnet("resnet50", weights)
    with torch.inference_mode():
        wanted = last_map(plain, x)
        model = attend(load_resnet("resnet50", weights), Attend(kind, fusion=fusion)).eval()
        torch.testing.assert_close(last_map(model, x), wanted, rtol=1e-5, atol=1e-5)
    names = set(model.state_dict())
    assert set(plain.state_dict()) < names  # official weights load by name
    assert all(is_attention(name) for name in names - set(plain.state_dict()))
    assert sum("gain" in name or "join" in name for name in names) == 16


def test_the_product_does_not() -> None:
    module = attended.Fused(Squeeze(8, 2), 8, "product").eval()
    x = planted(2, 8, 3, 3)
    assert not torch.allclose(module(x), x)
    torch.testing.assert_close(module(x), Squeeze.forward(module.module, x))  # type: ignore[arg-type]


def test_a_learned_gain_adds_what_attention_weighs() -> None:
    module = attended.Fused(Squeeze(8, 2), 8, "residual").eval()
    x = planted(2, 8, 3, 3)
    with torch.no_grad():
        module.gain.fill_(0.5)
    torch.testing.assert_close(module(x), x + 0.5 * module.module(x))


def test_squeeze_is_hus_formula() -> None:
    module, x = Squeeze(8, 2), planted(2, 8, 3, 5)
    down, up = (module.excite[i].weight.detach().numpy() for i in (0, 2))
    squeezed = x.numpy().mean((2, 3))
    weight = 1 / (1 + np.exp(-(np.maximum(squeezed @ down.T, 0) @ up.T)))
    np.testing.assert_allclose(
        module(x).detach().numpy(), x.numpy() * weight[:, :, None, None], rtol=1e-5
    )


def test_global_permutes_as_the_figure_does() -> None:
    """Its perceptron works on the channels of each place: the paper's (W, H, C) permutation around
    two linear layers.
    """
    module, x = Global(8, 2).eval(), planted(2, 8, 9, 7)
    first, second = module.channel[0], module.channel[2]
    linear = nn.Sequential(nn.Linear(8, 4), nn.ReLU(), nn.Linear(4, 8))
    for layer, conv in ((linear[0], first), (linear[2], second)):
        layer.load_state_dict({"weight": conv.weight[:, :, 0, 0], "bias": conv.bias})
    with torch.inference_mode():
        weighted = x * torch.sigmoid(linear(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2))
        wanted = weighted * torch.sigmoid(module.spatial(weighted))
        torch.testing.assert_close(module(x), wanted, rtol=1e-5, atol=1e-6)
    assert Global(64, 4, groups=4)(planted(1, 64, 5, 5)).shape == (1, 64, 5, 5)


def test_channels_of_cbam_and_squeeze_differ_by_the_maximum() -> None:
    x = planted(1, 8, 1, 1)  # of one place, the maximum is the mean
    channel, squeeze = Channel(8, 2), Squeeze(8, 2)
    squeeze.excite.load_state_dict(channel.shared.state_dict())
    with torch.inference_mode():
        doubled = torch.sigmoid(2 * torch.logit(squeeze(x) / x))
        torch.testing.assert_close(channel(x) / x, doubled, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "wrong", [{"kind": "bam"}, {"fusion": "sum"}, {"first": 5}, {"reduction": 0}, {"groups": -1}]
)
def test_what_is_no_attention_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="attention: expected one of se, cbam, gam, "):
        Attend(**{"kind": "se", **wrong})  # type: ignore[arg-type]


def test_a_resnet_without_bottlenecks_is_refused() -> None:
    with pytest.raises(
        ValueError, match="expected a ResNet of bottlenecks, such as resnet50, got one without"
    ):
        build_resnet("resnet18", 2, Attend("se"))


def test_the_flags_name_every_fusion() -> None:
    assert attended.FUSIONS == FUSIONS
    assert tuple(attended.KINDS) == KINDS

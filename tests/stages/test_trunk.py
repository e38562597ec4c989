"""The trunk is torchvision's network number for number, and memory that runs out changes where it
runs, not what it answers.
"""

import logging
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from pictures import picture
from torch import nn

from pipeline.model.weights import open_model
from stages.trunk import (
    build_resnet,
    last_map,
    load_local,
    load_resnet,
    local_part,
    pick_device,
    resize,
    run,
    third_map,
    to_tensor,
)

# as torchvision's page on its weights says them
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@pytest.fixture(scope="module")
def weights(tiny_model: Path) -> dict[str, np.ndarray]:
    return open_model(tiny_model).part("trunk")


@pytest.fixture(scope="module")
def trunk(weights: dict[str, np.ndarray]) -> nn.Module:
    return load_resnet("resnet18", weights)


def test_maps_and_weights_are_torchvisions(
    weights: dict[str, np.ndarray], trunk: nn.Module
) -> None:
    """Its own forward pass, listened to on the way, with the same weights put in by its own
    means."""
    reference = build_resnet("resnet18", 10).eval()
    reference.load_state_dict(
        {key: torch.from_numpy(value.astype(np.float32)) for key, value in weights.items()},
        strict=False,
    )
    heard: dict[str, torch.Tensor] = {}
    for name in ("layer3", "layer4"):
        getattr(reference, name).register_forward_hook(
            lambda _module, _inputs, out, name=name: heard.__setitem__(name, out)
        )
    pixels = np.stack([picture(seed, 96, 64) for seed in range(2)])
    x = torch.from_numpy(((pixels / 255.0 - MEAN) / STD).astype(np.float32)).permute(0, 3, 1, 2)
    with torch.inference_mode():
        reference(x)
    for forward, name, stride in ((third_map, "layer3", 16), (last_map, "layer4", 32)):
        got, wanted = run(forward, trunk, pixels), heard[name].numpy()
        assert got.shape[2:] == (64 / stride, 96 / stride)
        np.testing.assert_allclose(got, wanted, atol=1e-4 * np.abs(wanted).max())


def test_a_trunk_of_the_local_features_own_ends_at_layer3(
    weights: dict[str, np.ndarray], trunk: nn.Module
) -> None:
    part = local_part(weights)
    assert {key.split(".")[0] for key in part} == {"conv1", "bn1", "layer1", "layer2", "layer3"}
    pixels = picture(0, 96, 64)
    for given in (part, weights):
        local = load_local("resnet18", given)
        assert not any(name.startswith(("layer4", "fc")) for name, _ in local.named_parameters())
        np.testing.assert_array_equal(run(third_map, local, pixels), run(third_map, trunk, pixels))
    del part["layer3.1.bn2.weight"]
    with pytest.raises(
        ValueError, match=r"^resnet18 weights: expected a tensor layer3\.1\.bn2\.weight, got none$"
    ):
        load_local("resnet18", part)


def test_pixels_become_normalised_channels() -> None:
    pixels = picture(0, 5, 4)
    x = to_tensor(pixels)
    assert (tuple(x.shape), x.dtype) == ((1, 3, 4, 5), torch.float32)
    np.testing.assert_allclose(
        x[0].permute(1, 2, 0).numpy(), (pixels / 255 - MEAN) / STD, atol=1e-5
    )


def test_a_trunk_answers_and_does_not_learn(trunk: nn.Module) -> None:
    assert not trunk.training
    assert not any(p.requires_grad for p in trunk.parameters())


@pytest.mark.parametrize(
    "key",
    [
        "fc.bias",
        "fc.weight",
        "conv1.weight",
        "layer3.0.downsample.1.running_var",
        "layer4.1.bn2.bias",
    ],
)
def test_a_missing_tensor_is_named(weights: dict[str, np.ndarray], key: str) -> None:
    with pytest.raises(ValueError, match=f"^resnet18 weights: expected a tensor {key}, got none$"):
        load_resnet("resnet18", {k: v for k, v in weights.items() if k != key})


@pytest.mark.parametrize(
    ("key", "shape", "wanted"),
    [
        ("layer2.0.conv1.weight", (128, 64, 3, 2), (128, 64, 3, 3)),
        ("fc.weight", (10, 2048), (10, 512)),
        ("fc.bias", (9,), (10,)),
        ("bn1.bias", (), (64,)),
    ],
)
def test_a_misshapen_tensor_is_named(
    weights: dict[str, np.ndarray], key: str, shape: tuple[int, ...], wanted: tuple[int, ...]
) -> None:
    with pytest.raises(
        ValueError,
        match=re.escape(f"resnet18 weights: {key}: expected shape {wanted}, got {shape}"),
    ):
        load_resnet("resnet18", {**weights, key: np.zeros(shape, np.float16)})


def test_a_gpu_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert (pick_device("auto"), pick_device("cpu")) == ("cpu", "cpu")
    with pytest.raises(
        ValueError, match=r"^--device cuda: expected a CUDA GPU, got none; run with `--device cpu`$"
    ):
        pick_device("cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert (pick_device("auto"), pick_device("cpu"), pick_device("cuda")) == ("cuda", "cpu", "cuda")


class Brightness(nn.Module):
    """The smallest network: it stands in for a trunk whose device holds so many photos at once."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(3.0), requires_grad=False)


def brightness(trunk: nn.Module, x: torch.Tensor) -> torch.Tensor:
    return trunk.gain * x.mean((1, 2, 3))


@pytest.mark.parametrize(
    ("holds", "batches"),
    [(8, [7]), (4, [7, 3, 4]), (3, [7, 3, 4, 2, 2]), (1, [7, 3, 1, 2, 1, 1, 4, 2, 1, 1, 2, 1, 1])],
)
def test_a_batch_that_does_not_fit_is_halved(holds: int, batches: list[int]) -> None:
    tried = []

    def forward(trunk: nn.Module, x: torch.Tensor) -> torch.Tensor:
        tried.append(len(x))
        if len(x) > holds:
            raise torch.OutOfMemoryError("a batch too large")
        return brightness(trunk, x)

    trunk, pixels = Brightness(), np.stack([picture(seed, 20, 10) for seed in range(7)])
    np.testing.assert_array_equal(run(forward, trunk, pixels), run(brightness, trunk, pixels))
    assert tried == batches


@pytest.mark.parametrize("photos", [1, 3])
def test_a_photo_that_does_not_fit_alone_is_done_on_the_cpu(
    photos: int, caplog: pytest.LogCaptureFixture
) -> None:
    trunk, pixels = Brightness(), np.stack([picture(seed, 20, 10) for seed in range(photos)])
    copies = []

    def forward(given: nn.Module, x: torch.Tensor) -> torch.Tensor:
        if given is trunk:
            raise torch.OutOfMemoryError("no memory at all")
        copies.append(next(given.parameters()).device.type)
        return brightness(given, x)

    with caplog.at_level(logging.WARNING):
        answer = run(forward, trunk, pixels if photos > 1 else pixels[0])
    np.testing.assert_array_equal(answer, run(brightness, trunk, pixels))
    assert copies == ["cpu"] * photos
    assert [r.getMessage() for r in caplog.records] == [
        "a photo of 20 x 10 did not fit the GPU's memory and was done on the CPU"
    ] * photos


def test_another_error_is_not_taken_for_memory() -> None:
    def forward(_trunk: nn.Module, _x: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("a bug")

    with pytest.raises(RuntimeError, match="a bug"):
        run(forward, Brightness(), picture(0, 20, 10))


SIZES = [
    ((200, 120), (50, 40)),
    ((200, 120), (200, 120)),
    ((20, 30), (64, 96)),
    ((200, 30), (64, 96)),
    ((30, 200), (32, 64)),
]


@pytest.mark.parametrize(("size", "to"), SIZES)
def test_resizing_keeps_every_place_where_it_is(size: tuple[int, int], to: tuple[int, int]) -> None:
    """In a photo whose red grows with x and whose green with y, to 255."""
    grow = [np.linspace(0, 255, side) for side in size]
    pixels = np.dstack([*np.meshgrid(*grow), np.zeros(size[::-1])])
    out = resize(np.rint(pixels).astype(np.uint8), *to).astype(float)
    assert out.shape == (to[1], to[0], 3)
    for axis in (0, 1):
        place = np.clip(
            (np.arange(to[axis]) + 0.5) * size[axis] / to[axis] - 0.5, 0, size[axis] - 1
        )
        wanted = np.interp(place, np.arange(size[axis]), grow[axis])
        np.testing.assert_allclose(out[:, :, axis].mean(axis), wanted, atol=1.5)  # grey levels


@pytest.mark.parametrize("height", [1, 8, 40])
def test_shrinking_averages_whatever_becomes_of_the_other_side(height: int) -> None:
    stripes = np.zeros((height, 4000, 3), np.uint8)
    stripes[:, ::2] = 255
    assert np.ptp(resize(stripes, 320, 32).astype(int) - 128) <= 20

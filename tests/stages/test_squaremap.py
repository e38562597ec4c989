"""The maps that hashing starts from: VGG16's convolutions, held against torch's own, layer by
layer.
"""

from pathlib import Path

import numpy as np
import pytest
import torch
from pictures import picture
from safetensors.torch import save_file

from pipeline.training.hashing.maps import read_trunk
from stages.lite import _own_scale, blocks_part, lite_map, load_lite
from stages.records import Image
from stages.squaremap import MAPS, SquareMap
from stages.trunk import build_resnet, last_map, load_vgg16, third_map


def test_vgg16s_convolutions_load_under_their_own_names(tmp_path: Path) -> None:
    """A file as small as VGG16's convolutions can be, and the map they make, layer by layer."""
    rng, sizes = (
        np.random.default_rng(0),
        (64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512, 0),
    )
    weights, place, channels = {}, 0, 3
    for size in sizes:
        if size:
            weights[f"features.{place}.weight"] = torch.from_numpy(
                rng.normal(0, (2 / 9 / channels) ** 0.5, (size, channels, 3, 3)).astype(np.float16)
            )
            weights[f"features.{place}.bias"] = torch.zeros(size, dtype=torch.float16)
            place, channels = place + 2, size
        else:
            place += 1
    save_file(
        {**weights, "classifier.0.weight": torch.zeros(1, dtype=torch.float16)},
        tmp_path / "vgg16.safetensors",
    )
    arrays, name = read_trunk(tmp_path / "vgg16.safetensors")
    assert (name, len(arrays)) == ("vgg16", 26)
    maps = MAPS[name]
    trunk = maps.load(name, arrays, "cpu")
    seen = SquareMap(trunk, maps.last, 64)(Image(picture(0, 90, 50)))
    assert seen.shape == (512, 2, 2)
    x = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    wanted = x
    place = 0
    for size in sizes:
        if size:
            wanted = torch.relu(
                torch.conv2d(wanted, weights[f"features.{place}.weight"].float(), padding=1)
            )
            place += 2
        else:
            wanted, place = torch.max_pool2d(wanted, 2), place + 1
    torch.testing.assert_close(maps.last(trunk, x), wanted, rtol=1e-3, atol=1e-4)
    assert maps.two(trunk, x).shape == (1, maps.channels + 4 * maps.earlier, 2, 2)
    del arrays["features.28.weight"]
    with pytest.raises(
        ValueError, match=r"vgg16 weights: expected a tensor features\.28\.weight, got none"
    ):
        load_vgg16("vgg16", arrays)


def test_the_map_of_the_last_block_is_what_the_head_reads() -> None:
    package = pytest.importorskip("efficientnet_lite_pytorch")
    torch.manual_seed(0)
    whole = package.EfficientNet.from_name("efficientnet-lite0")
    arrays = {name: tensor.numpy() for name, tensor in whole.state_dict().items()}
    maps = MAPS["efficientnet_lite0"]
    trunk = maps.load("efficientnet_lite0", blocks_part(arrays), "cpu")
    x = torch.randn(2, 3, 96, 64)
    cells = maps.last(trunk, x)
    assert cells.shape == (2, maps.channels, 3, 2)
    network = load_lite(arrays)
    headed = network._swish(network._bn1(network._conv_head(cells)))
    torch.testing.assert_close(headed, lite_map(network, x))
    before = x
    for number, block in enumerate([network._conv_stem, *network._blocks]):
        before = block(before) if number else network._swish(network._bn0(block(_own_scale(x))))
        if number == 11:  # the last of the fifth group, after which cells are twice as wide
            break
    earlier = torch.nn.functional.pixel_shuffle(maps.two(trunk, x)[:, maps.channels :], 2)
    torch.testing.assert_close(earlier, before)
    assert before.shape == (2, maps.earlier, 6, 4)


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_a_resnets_two_maps_are_those_of_its_last_two_layers(name: str) -> None:
    torch.manual_seed(0)
    maps, trunk, x = MAPS[name], build_resnet(name, 2).eval(), torch.randn(2, 3, 96, 64)
    two = maps.two(trunk, x)
    torch.testing.assert_close(two[:, : maps.channels], last_map(trunk, x))
    earlier = torch.nn.functional.pixel_shuffle(two[:, maps.channels :], 2)
    torch.testing.assert_close(earlier, third_map(trunk, x))
    assert earlier.shape == (2, maps.earlier, 6, 4)

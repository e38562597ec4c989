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
from stages.lite import blocks_part, lite_map, load_lite
from stages.records import Image
from stages.squaremap import CHANNELS, MAPS, SquareMap
from stages.trunk import load_vgg16


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
    load, forward = MAPS[name]
    trunk = load(name, arrays, "cpu")
    seen = SquareMap(trunk, forward, 64)(Image(picture(0, 90, 50)))
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
    torch.testing.assert_close(forward(trunk, x), wanted, rtol=1e-3, atol=1e-4)
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
    load, forward = MAPS["efficientnet_lite0"]
    trunk = load("efficientnet_lite0", blocks_part(arrays), "cpu")
    x = torch.randn(2, 3, 96, 64)
    cells = forward(trunk, x)
    assert cells.shape == (2, CHANNELS["efficientnet_lite0"], 3, 2)
    network = load_lite(arrays)
    headed = network._swish(network._bn1(network._conv_head(cells)))
    torch.testing.assert_close(headed, lite_map(network, x))

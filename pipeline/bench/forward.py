"""The baseline of the benches of encoding: the forward passes alone, on tensors that are ready."""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from pipeline.base.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from pipeline.graph import Graph
    from stages.quantised import EmbedQuantised
    from stages.records import Image


def inputs(encode: "Graph", image: "Image") -> list[Callable[[], object]]:
    """The forward passes that encoding a photo takes, each on a tensor that is ready."""
    import torch

    from stages.delf import Describe
    from stages.embed import Embed
    from stages.fine import DescribeFine, padded, seen_at
    from stages.fine_quantised import FineQuantised
    from stages.kinds import DescribeBoth
    from stages.quantised import EmbedQuantised
    from stages.trunk import last_map, resize, third_map, to_tensor

    stages = {node.name: node.stage for node in encode.rows}
    if "embed" not in stages:
        raise UsageError(
            "--model: expected one of recipe two_stage, whose forward passes are the baseline, got"
            " a hashing recipe's; run with another `--model`"
        )
    embed, describe = stages["embed"], stages["describe"]
    if isinstance(describe, DescribeBoth):
        describe = describe.first
    if isinstance(embed, EmbedQuantised):
        return quantised_inputs(embed, describe, image)
    assert isinstance(embed, Embed)
    if not isinstance(describe, Describe | DescribeFine):
        raise UsageError(
            "--model: expected learned features, whose forward passes are the baseline, got"
            " RootSIFT's; run with another `--model`"
        )
    device = next(embed.trunk.parameters()).device

    def forward(
        network: Callable[..., object], trunk: "nn.Module", size: tuple[int, int]
    ) -> Callable[[], object]:
        x = to_tensor(resize(image.pixels, *size), device)

        def step() -> object:
            with torch.inference_mode():
                return network(trunk, x)

        return step

    first = forward(last_map, embed.trunk, embed.input_size(image))
    if isinstance(describe, DescribeFine):
        network = describe.network
        assert not isinstance(network, FineQuantised)
        shapes = [padded(seen).shape for seen in seen_at(image, describe.side)]
        return [first, *(forward(seen_by, network, shape[1::-1]) for shape in shapes)]
    return [
        first,
        *(forward(third_map, describe.trunk, size) for size in describe.input_sizes(image)),
    ]


def quantised_inputs(
    embed: "EmbedQuantised", describe: object, image: "Image"
) -> list[Callable[[], object]]:
    """The same in whole numbers."""
    from stages.embed import input_size
    from stages.fine import DescribeFine, padded, seen_at
    from stages.fine_quantised import FineQuantised, standardised
    from stages.quantised import normalised_photo
    from stages.trunk import resize

    assert isinstance(describe, DescribeFine)
    assert isinstance(describe.network, FineQuantised)
    whole = normalised_photo(resize(image.pixels, *input_size(image, embed.side)))
    levels = [standardised(padded(seen)) for seen in seen_at(image, describe.side)]
    return [
        lambda: embed.network(whole),
        *(partial(describe.network.network, level) for level in levels),
    ]


def seen_by(network: "nn.Module", x: "Tensor") -> object:
    """All that the fine features' network computes everywhere."""
    from stages.fine_network import FineNetwork

    assert isinstance(network, FineNetwork)
    maps = network.maps(x)
    return maps, network.detection(maps)

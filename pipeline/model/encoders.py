"""What a model's files become: the stages that encode a photo for both looks."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from pipeline.base.errors import ModelError, UsageError
from pipeline.base.install import add_extra
from pipeline.base.names import LITE
from pipeline.model.card import FINE, LITE0, Settings
from pipeline.model.quantised import read_quantised
from pipeline.model.weights import Model
from stages.delf import Attention, Describe
from stages.embed import Embed
from stages.fine import DescribeFine
from stages.fine_quantised import FineQuantised
from stages.kinds import DescribeBoth
from stages.lite import HEAD, lite_map, load_lite
from stages.quantised import EmbedQuantised, Network, load_quantised
from stages.records import Float32, Image, LocalFeatures
from stages.reduce import Reduce
from stages.rootsift import RootSift
from stages.squaremap import MAPS
from stages.trunk import last_map, load_local, load_resnet

if TYPE_CHECKING:
    from onnxruntime import InferenceSession
    from torch import nn

HEADS = ("fc.weight", "fc.bias")  # of a ResNet


@dataclass(frozen=True, eq=False)
class Looks:
    """What both looks see of a photo."""

    embed: Callable[[Image], Float32]  # pooled (2, C)
    describe: Callable[[Image], LocalFeatures]
    head: tuple[str, str] = HEADS  # the weights and biases of the trunk's class head, by name


def plain_looks(model: Model, device: str) -> Looks:
    """As the model's weights are."""
    if model.settings.trunk == LITE0:
        try:
            trunk = lite_trunk(f"model {model.name}", model.part("trunk"), device)
        except ValueError as error:
            raise ModelError(f"model {model.name}: {error}; run `{model.card['mend']}`") from None
        last, head = lite_map, HEAD
    else:
        trunk = load_resnet(model.settings.trunk, model.part("trunk"), device, model.settings.how)
        last, head = last_map, HEADS
    embed = Embed(trunk, model.settings.embed_side, last)
    return Looks(embed, local_features(model, trunk, device), head)


def quantised_looks(model: Model) -> Looks:
    """With networks in whole numbers, on the CPU and without torch; what is wrong with their files
    is said when they are first asked.
    """
    embed, fine = (Network(partial(_session, model, name)) for name in ("embed", "fine"))
    heads = {
        name: np.asarray(array, np.float32)
        for name, array in model.part("fine").items()
        if name.startswith(("describe.", "attend."))
    }
    sides = model.card["int8"]
    kinds = describe_kinds(
        replace(model.settings, describe_side=sides["describe_side"]),
        FineQuantised(fine, heads),
        lambda kind: reduce_by(model, kind),
        sides["rootsift_side"],
    )
    embedded = EmbedQuantised(embed, model.settings.embed_side)
    return Looks(embedded, both_kinds(model.settings, kinds, frugal=True))


def _session(model: Model, network: str) -> "InferenceSession":
    """Raises ModelError."""
    try:
        return load_quantised(read_quantised(model, network))
    except ValueError as error:
        raise ModelError(
            f"model {model.name}: expected networks in whole numbers, got {error}; run"
            f" `{model.card['mend']}`"
        ) from None


def load_networks(looks: Sequence[object]) -> None:
    """Load what would be when it is first asked, of the stages that are `embed` and `describe`.
    Raises ModelError.
    """
    for stage in looks:
        look = stage.first if isinstance(stage, DescribeBoth) else stage
        network = getattr(look, "network", None)
        if isinstance(network, FineQuantised):
            network = network.network
        if isinstance(network, Network):
            assert network.session


def local_features(
    model: Model, trunk: "nn.Module", device: str
) -> Describe | DescribeFine | RootSift | DescribeBoth:
    """What the second look sees: fine features, RootSIFT, or both; or DELF on the model's own trunk
    for it where there is one, else on the first look's.
    """
    settings = model.settings
    if settings.features in FINE:
        from stages.fine_network import load_fine

        try:
            network = load_fine(model.part("fine"), device)
        except ValueError as error:
            raise ModelError(f"model {model.name}: {error}; run `{model.card['mend']}`") from None
        kinds = describe_kinds(settings, network, lambda kind: reduce_by(model, kind))
        return both_kinds(settings, kinds)
    if settings.features == "rootsift":
        return RootSift(settings.describe_side, settings.keep)
    local, attention = model.part("local"), model.part("attention")
    return Describe(
        load_local(settings.local_trunk or settings.trunk, local, device) if local else trunk,
        (
            Attention(
                *(
                    model.float32(f"attention.{name}")
                    for name in ("hidden", "hidden_bias", "out", "out_bias")
                )
            )
            if attention
            else None
        ),
        Reduce(model.float32("delf.mean"), model.float32("delf.components"), unit=True),
        side=settings.describe_side,
        keep=settings.keep,
        threshold=(
            model.float32("delf.threshold").item() if "delf.threshold" in model.arrays else 0.0
        ),
    )


def lite_trunk(
    named: str, weights: "Mapping[str, np.ndarray]", device: str = "cpu", network: str = LITE0
) -> "nn.Module":
    """The trunk of the recipe lite, or a larger one; named: whose it is. Raises UsageError without
    its package, ValueError for other weights.
    """
    return _of_package(named, lambda: load_lite(weights, network, device))


def map_trunk(
    named: str, trunk: str, weights: "Mapping[str, np.ndarray]", device: str = "cpu"
) -> "nn.Module":
    """The trunk whose map a hashing recipe starts from, a name of MAPS. Raises as `lite_trunk`."""
    return _of_package(named, lambda: MAPS[trunk].load(trunk, weights, device))


def _of_package(named: str, load: "Callable[[], nn.Module]") -> "nn.Module":
    try:
        return load()
    except ModuleNotFoundError as error:
        if error.name != "efficientnet_lite_pytorch":
            raise
        raise UsageError(
            f"{named}: expected the package efficientnet-lite-pytorch, got none; run"
            f" {add_extra(LITE)}"
        ) from None


def reduce_by(model: Model, kind: str) -> Reduce:
    """The principal components of one kind of local features."""
    return Reduce(
        model.float32(f"reduce_{kind}.mean"), model.float32(f"reduce_{kind}.components"), unit=True
    )


def describe_kinds(
    settings: Settings,
    network: "nn.Module | FineQuantised",
    reduce: Callable[[str], Reduce],
    rootsift_side: int = 0,
) -> dict[str, DescribeFine | RootSift]:
    """Fine features, and RootSIFT where the settings say so, by name. reduce: kind -> what makes
    its descriptors shorter; rootsift_side: px, where RootSIFT looks at a smaller photo.
    """
    side, keep = settings.describe_side, settings.keep
    kinds: dict[str, DescribeFine | RootSift] = {
        "fine": DescribeFine(network, reduce("fine"), side, keep)
    }
    if settings.features == "fine+rootsift":
        kinds["rootsift"] = RootSift(rootsift_side or side, keep, reduce("rootsift"))
    return kinds


def both_kinds(
    settings: Settings, kinds: Mapping[str, DescribeFine | RootSift], *, frugal: bool = False
) -> DescribeFine | RootSift | DescribeBoth:
    """Fine features alone, or with the other kind."""
    if settings.features == "fine":
        return kinds["fine"]
    return DescribeBoth(kinds["fine"], kinds["rootsift"], settings.keep, frugal)

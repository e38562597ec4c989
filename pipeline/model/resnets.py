"""A ResNet among the tensors of another program: its names without prefixes, and what else it is
where it is none.
"""

import logging
import re
from collections.abc import Iterable, Mapping

import numpy as np

from pipeline.base.errors import UsageError
from pipeline.base.names import printable
from pipeline.model.tensors import FEW, SECOND, Tensors

LOG = logging.getLogger(__name__)

# of nn.Sequential(*resnet.children()): what stands at each place
SEQUENTIAL = {"0": "conv1", "1": "bn1", "4": "layer1", "5": "layer2", "6": "layer3", "7": "layer4"}
HEADS = ("fc", "head.fc", "classifier.fc", "head", "classifier", "last_linear", "linear", "9", "1")
COUNTER = "num_batches_tracked"  # of a batch norm; of no use here
STEM, BODY = "conv1.weight", "layer1.0.conv1.weight"
BLOCKS = {  # by the blocks of its stages, and whether they have a third convolution
    ((2, 2, 2, 2), False): "resnet18",
    ((3, 4, 6, 3), False): "resnet34",
    ((3, 4, 6, 3), True): "resnet50",
    ((3, 4, 23, 3), True): "resnet101",
    ((3, 8, 36, 3), True): "resnet152",
}
# what other networks are known by: a pattern that one of their tensors' names holds
OTHERS = (
    (r"relative_position_bias_table", "a Swin transformer"),
    (r"attnpool\.|visual\.transformer|token_embedding", "CLIP"),
    (r"cls_token|pos_embed|attn\.qkv|encoder_layer_0|class_token", "a ViT"),
    (r"denseblock1", "a DenseNet"),
    (r"Mixed_5b|inception4a", "an Inception network"),
    (r"_conv_stem|_depthwise_conv|conv_dw\.|conv_stem", "an EfficientNet or MobileNet of timm"),
    (r"features\.1\.0\.block\.|features\.0\.0\.weight", "an EfficientNet, ConvNeXt or MobileNet"),
    (r"downsample_layers\.|stages\.\d\.blocks\.\d\.(conv_dw|gamma)", "a ConvNeXt"),
    (r"trunk_output|s1\.b1\.", "a RegNet"),
    (r"embedder\.embedder\.convolution", "a ResNet under the names of Hugging Face's transformers"),
    (r"(^|\.)res2\.0\.conv1|stem\.conv1\.norm", "a ResNet under the names of Detectron2"),
    (r"lora_[AB]|lora_down", "a LoRA, which holds no network"),
    (r"word_embeddings|(^|\.)wte\.|embed_tokens", "a language model"),
    (r"model\.0\.conv\.weight|model\.\d+\.cv1", "a YOLO"),
    (r"conv1\.0\.weight", "a ResNet with a deep stem, as timm's resnet50d"),
)


def resnet_of(named: str, arrays: Mapping[str, np.ndarray]) -> Tensors:
    """A ResNet's tensors under torchvision's names, `fc.*` where it has a class head, and a learned
    code's. What stands for no ResNet comes back as it is, but for a prefix that all have.

    One line says which prefix was taken away and how many tensors were left out. Raises UsageError
    where several ResNets are in the file and none is known to be meant.
    """
    found = _prefixes(arrays, STEM, BODY)
    places = {} if found else _prefixes(arrays, "0.weight", "4.0.conv1.weight")
    prefix = _chosen(named, found or places)
    if prefix is None:
        return _without_common_prefix(arrays)
    own = {name.removeprefix(prefix): a for name, a in arrays.items() if name.startswith(prefix)}
    if places:
        own = {_of_sequential(name): array for name, array in own.items()}
    rest = {name for name in arrays if not name.startswith(prefix)}
    if prefix == "trunk.":  # a model of ours
        return own
    taken = {name: a for name, a in own.items() if _of_resnet(name)}
    code = {name: array for name, array in own.items() if name.startswith("code.")}
    head = _head(own | {name: arrays[name] for name in rest}, _channels(taken))
    heads = [f"{head[0]}.weight", f"{head[0]}.bias"] if head else []
    used = {prefix + name for name in (*taken, *code, *heads)} | {*heads}
    left = [name for name in arrays if name not in used and not name.endswith(COUNTER)]
    if head:
        taken |= {"fc.weight": head[1], "fc.bias": head[2]}
    if prefix or places or left:
        said = f"prefix {prefix!r} taken away" if prefix else "names as they are"
        said = "a sequence's numbers for names" if places else said
        count = sum(not name.endswith(COUNTER) for name in taken)
        LOG.info(f"{named}: {said}; {count:,} tensors of a ResNet")
    if head is None:
        shapes = [f"{name} {arrays[name].shape}" for name in left if arrays[name].ndim == 2]
        LOG.info(
            f"{named}: no class head, which `--code logits` alone asks for"
            + (f"; left out: {_few(shapes)}" if shapes else "")
        )
    return {n: a for n, a in (taken | code).items() if not n.endswith(COUNTER)}


def with_head(weights: Mapping[str, np.ndarray]) -> Tensors:
    """The same with a class head of no classes where there is none."""
    if "fc.weight" in weights:
        return {**weights}
    return {
        **weights,
        "fc.weight": np.zeros((0, _channels(weights)), np.float32),
        "fc.bias": np.zeros(0, np.float32),
    }


def check_resnet(
    named: str, wanted: str, weights: Mapping[str, np.ndarray], expected: str = ""
) -> None:
    """Raises UsageError with what the weights look like, and how many tensors lack or have another
    shape, where they are not those of the network `wanted`. expected: how it is called.
    """
    from stages.trunk import build_resnet

    shapes = {
        name: tuple(tensor.shape)
        for name, tensor in build_resnet(wanted, 1).state_dict().items()
        if not name.startswith("fc.") and not name.endswith(COUNTER)
    }
    missing = [name for name in shapes if name not in weights]
    other = [name for name in shapes if name in weights and weights[name].shape != shapes[name]]
    is_ = looks_like(weights)
    # a ResNet34 has all that a ResNet18 has, and more
    if not missing and not other and is_ in (None, wanted):
        return
    got = f"got {is_}: " if is_ and is_ != wanted else "got "
    parts = []
    if missing:
        parts.append(f"{len(missing):,} of {len(shapes):,} tensors missing, as {_few(missing)}")
    if other:
        name = other[0]
        parts.append(
            f"{len(other):,} of another shape, as {name} {weights[name].shape}, not {shapes[name]}"
        )
    unknown = [name for name in weights if name not in shapes and not name.startswith("fc.")]
    if unknown:
        parts.append(f"{len(unknown):,} unknown, as {_few(sorted(unknown))}")
    raise UsageError(
        f"{named}: expected the weights of {expected or 'a ' + wanted}, {got}{'; '.join(parts)}"
    )


def looks_like(weights: Mapping[str, np.ndarray]) -> str | None:
    """What network these tensors are of, by their names and shapes; None where nobody knows."""
    names = list(weights)
    if STEM in weights and any(name.startswith("layer1.") for name in names):
        stages = tuple(
            len({m[1] for name in names if (m := re.match(rf"layer{stage}\.(\d+)\.", name))})
            for stage in range(1, 5)
        )
        deep = any(".conv3.weight" in name for name in names)
        inner = weights.get("layer1.0.conv2.weight")
        outer = weights.get("layer1.0.conv1.weight")
        if any("attnpool." in name for name in names) or weights[STEM].shape[-1:] == (3,):
            return "a ResNet with another stem, as of CLIP or CIFAR-10"
        if deep and inner is not None and inner.ndim == 4 and outer is not None:
            if inner.shape[0] != inner.shape[1]:
                return "a ResNeXt"
            if inner.shape[0] > 64:
                return "a wide ResNet"
        if not any(name.endswith("running_mean") for name in names):
            return "a ResNet without batch norms"
        return BLOCKS.get((stages, deep), f"a ResNet with {stages} blocks")  # type: ignore[arg-type]
    if any(".squeeze.weight" in name for name in names):
        return "a SqueezeNet"
    if "features.0.weight" in weights:
        first = weights["features.0.weight"].shape
        return "an AlexNet" if first[-1:] == (11,) else "a VGG"
    for pattern, kind in OTHERS:
        if any(re.search(pattern, name) for name in names):
            return kind
    return None


def _prefixes(arrays: Iterable[str], *ends: str) -> dict[str, None]:
    names = set(arrays)
    starts = (name.removesuffix(ends[0]) for name in names if name.endswith(ends[0]))
    whole = [p for p in starts if (not p or p.endswith(".")) and p + ends[1] in names]
    return dict.fromkeys(sorted(whole, key=lambda p: (len(p), p)))


def _chosen(named: str, prefixes: Iterable[str]) -> str | None:
    known = list(prefixes)
    first = [p for p in known if not any(word in p.lower() for word in SECOND)] or known
    if "" in first or "trunk." in first:
        first = ["" if "" in first else "trunk."]
    if len(first) > 1:
        raise UsageError(
            f"{named}: expected one ResNet, got {len(first)}, below {', '.join(first[:FEW])}; save"
            " the one you mean alone"
        )
    if first and len(known) > 1 and first[0] != "trunk.":
        others = ", ".join(p for p in known if p != first[0])
        LOG.info(f"{named}: the ResNet below {first[0]!r} is taken, not that below {others}")
    return first[0] if first else None


def _without_common_prefix(arrays: Mapping[str, np.ndarray]) -> Tensors:
    """Without `module.`, `model.` and the like before all names."""
    names = list(arrays)
    prefix = ""
    while names and (top := re.match(r"(module|model|backbone|_orig_mod|net|network)\.", names[0])):
        if not all(name.startswith(top[0]) for name in names):
            break
        names = [name.removeprefix(top[0]) for name in names]
        prefix += top[0]
    return {
        name.removeprefix(prefix): array
        for name, array in arrays.items()
        if not name.endswith(COUNTER)
    }


def _of_sequential(name: str) -> str:
    top, dot, rest = name.partition(".")
    return f"{SEQUENTIAL.get(top, top)}{dot}{rest}"


def _of_resnet(name: str) -> bool:
    return re.match(r"(conv1|bn1|layer[1-4]\.\d+)\.", name) is not None


def _channels(weights: Mapping[str, np.ndarray]) -> int:
    last = [
        array.shape[0]
        for name, array in weights.items()
        if name.startswith("layer4.") and array.ndim
    ]
    return max(last, default=0)


def _head(
    arrays: Mapping[str, np.ndarray], channels: int
) -> tuple[str, np.ndarray, np.ndarray] | None:
    """The class head, by whatever name: its name, weights (N, C) and biases (N,)."""
    for name in HEADS:
        for key in arrays:
            if key == f"{name}.weight" or key.endswith(f".{name}.weight"):
                weight = arrays[key]
                if weight.ndim == 2 and weight.shape[1] == channels:
                    bias = arrays.get(key.removesuffix("weight") + "bias")
                    zeros = np.zeros(len(weight), weight.dtype)
                    return key.removesuffix(".weight"), weight, zeros if bias is None else bias
    return None


def _few(names: list[str]) -> str:
    return ", ".join(map(printable, names[:FEW])) + (", ..." if len(names) > FEW else "")

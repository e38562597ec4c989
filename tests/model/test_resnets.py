"""A ResNet's tensors under the names that other programs give them, and networks that are none."""

import numpy as np
import pytest
import torch

from pipeline.base.errors import UsageError
from pipeline.model.resnets import check_resnet, looks_like, resnet_of, with_head
from pipeline.model.tensors import Tensors
from stages.trunk import build_resnet, load_resnet
from stages.vision import torchvision_models


def arrays_of(module: torch.nn.Module) -> Tensors:
    return {name: tensor.numpy() for name, tensor in module.state_dict().items()}


@pytest.fixture(scope="module")
def resnet() -> Tensors:
    return arrays_of(build_resnet("resnet18", 10))


@pytest.fixture(scope="module")
def wanted(resnet: Tensors) -> Tensors:
    return {n: a for n, a in resnet.items() if not n.endswith("num_batches_tracked")}


def same(got: Tensors, wanted: Tensors) -> bool:
    return got.keys() == wanted.keys() and all(got[name] is wanted[name] for name in wanted)


@pytest.mark.parametrize(
    "prefix",
    [
        "",
        "module.",
        "model.",
        "backbone.",
        "encoder.",
        "0.",
        "features.",
        "_orig_mod.",
        "module._orig_mod.",
        "_orig_mod.module.",
        "model.backbone.",
        "state_dict.net.",
        "module.encoder_q.",
        "student.backbone.",
    ],
)
def test_what_stands_before_the_names_is_taken_away(
    prefix: str, resnet: Tensors, wanted: Tensors, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO"):
        assert same(resnet_of("w", {prefix + name: a for name, a in resnet.items()}), wanted)
    assert (f"prefix {prefix!r} taken away" in caplog.text) is bool(prefix)


def test_of_two_networks_the_one_that_learned_is_taken(resnet: Tensors, wanted: Tensors) -> None:
    for one, other in (("module.encoder_q.", "module.encoder_k."), ("student.", "teacher.")):
        both = {one + n: a for n, a in resnet.items()} | {other + n: a for n, a in resnet.items()}
        assert same(resnet_of("w", both), wanted)
    both = {"a." + n: a for n, a in resnet.items()} | {"b." + n: a for n, a in resnet.items()}
    with pytest.raises(UsageError, match=r"expected one ResNet, got 2, below a\., b\.; save"):
        resnet_of("w", both)


def test_a_sequence_of_a_resnets_parts_is_one(resnet: Tensors, wanted: Tensors) -> None:
    """nn.Sequential(*resnet.children()) numbers them; without its last it has no head."""
    parts = list(build_resnet("resnet18", 10).children())
    for prefix in ("", "features."):
        numbered = {
            prefix + name: array
            for name, array in arrays_of(torch.nn.Sequential(*parts[:-1])).items()
        }
        assert resnet_of("w", numbered).keys() == wanted.keys() - {"fc.weight", "fc.bias"}
    whole = resnet_of("w", arrays_of(torch.nn.Sequential(*parts)))
    assert whole["fc.weight"].shape == (10, 512)


@pytest.mark.parametrize("head", ["head.fc", "classifier", "last_linear", "head"])
def test_a_class_head_of_another_name_is_found(head: str, resnet: Tensors, wanted: Tensors) -> None:
    other = {"backbone." + n: a for n, a in resnet.items() if not n.startswith("fc.")}
    other |= {f"{head}.{end}": resnet[f"fc.{end}"] for end in ("weight", "bias")}
    assert same(resnet_of("w", other), wanted)


def test_a_trunk_without_a_head_is_one_and_other_heads_are_named(
    resnet: Tensors, caplog: pytest.LogCaptureFixture
) -> None:
    bare = {n: a for n, a in resnet.items() if not n.startswith("fc.")}
    with caplog.at_level("INFO"):
        got = resnet_of("w", bare | {"fc.0.weight": np.zeros((64, 512))})
    assert "no class head, which `--code logits` alone asks for" in caplog.text
    assert "fc.0.weight (64, 512)" in caplog.text
    assert not any(name.startswith("fc.") for name in got)
    headed = with_head(got)
    assert (headed["fc.weight"].shape, headed["fc.bias"].shape) == ((0, 512), (0,))
    check_resnet("w", "resnet18", headed)
    with torch.inference_mode():
        assert load_resnet("resnet18", headed)(torch.zeros(1, 3, 64, 64)).shape == (1, 0)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("resnet34", "resnet34"),
        ("resnet50", "resnet50"),
        ("resnet101", "resnet101"),
        ("resnext50_32x4d", "a ResNeXt"),
        ("wide_resnet50_2", "a wide ResNet"),
        ("vgg11", "a VGG"),
        ("alexnet", "an AlexNet"),
        ("vit_b_16", "a ViT"),
        ("densenet121", "a DenseNet"),
        ("mobilenet_v2", "an EfficientNet, ConvNeXt or MobileNet"),
        ("convnext_tiny", "an EfficientNet, ConvNeXt or MobileNet"),
        ("squeezenet1_0", "a SqueezeNet"),
    ],
)
def test_other_networks_are_named(name: str, said: str) -> None:
    with torch.device("meta"):  # names and shapes without numbers
        state = getattr(torchvision_models(), name)().state_dict()
    shapes = {key: np.broadcast_to(np.float32(0), tensor.shape) for key, tensor in state.items()}
    assert looks_like(shapes) == said
    with pytest.raises(UsageError) as refused:
        check_resnet("w", "resnet18", shapes)
    assert f"w: expected the weights of a resnet18, got {said}: " in str(refused.value)
    assert any(f" {word}, as " in str(refused.value) for word in ("missing", "unknown"))


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (("blocks.0.attn.qkv.weight", "cls_token"), "a ViT"),
        (("layers.0.blocks.0.attn.relative_position_bias_table",), "a Swin transformer"),
        (("trunk_output.block1.block1-0.proj.0.weight",), "a RegNet"),
        (("visual.attnpool.k_proj.weight", "visual.conv1.weight"), "CLIP"),
        (("resnet.embedder.embedder.convolution.weight",), "Hugging Face"),
        (("backbone.bottom_up.res2.0.conv1.weight",), "Detectron2"),
        (("conv1.0.weight", "layer1.0.conv1.weight"), "deep stem"),
        (("layer.0.lora_A.weight",), "LoRA"),
        (("embeddings.word_embeddings.weight",), "a language model"),
        (("model.0.conv.weight",), "YOLO"),
    ],
)
def test_networks_of_other_libraries_are_named(names: tuple[str, ...], said: str) -> None:
    assert said in str(looks_like({name: np.zeros(1) for name in names}))
    assert looks_like({"a": np.zeros(1)}) is None


def test_what_lacks_or_is_too_much_is_counted_and_a_few_are_named(wanted: Tensors) -> None:
    wrong = dict(wanted)
    for name in ("layer4.1.bn2.weight", "layer4.1.bn2.bias", "layer4.1.bn2.running_var"):
        del wrong[name]
    wrong |= {"conv1.weight": np.zeros((64, 1, 7, 7)), "gate.weight": np.zeros(1)}
    with pytest.raises(UsageError) as refused:
        check_resnet("w", "resnet18", wrong)
    assert str(refused.value) == (
        "w: expected the weights of a resnet18, got 3 of 100 tensors missing, as"
        " layer4.1.bn2.weight, layer4.1.bn2.bias, layer4.1.bn2.running_var; 1 of another shape, as"
        " conv1.weight (64, 1, 7, 7), not (64, 3, 7, 7); 1 unknown, as gate.weight"
    )

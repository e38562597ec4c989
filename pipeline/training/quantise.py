"""The two networks of a model as ONNX graphs, batch norms folded, and in whole numbers.

Scales are calibrated on photos: of an activation from its least and greatest value (min-max), of
weights from each channel's greatest. ONNX Runtime's own tool does it.
"""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    quantize_static,
)

from stages.quantised import PHOTO
from stages.records import Float32

Weights = Mapping[str, Float32]
EPSILON = 1e-5  # of torch's batch norms
OPSET, IR = 17, 9


@dataclass
class Rows:
    """An ONNX graph that is being written; a row is known by the name of its output."""

    nodes: list[NodeProto] = field(default_factory=list)
    constants: list[TensorProto] = field(default_factory=list)

    def row(self, kind: str, *reads: str, **how: Any) -> str:
        name = f"{kind.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(reads), [name], name=name, **how))
        return name

    def constant(self, array: Float32) -> str:
        name = f"constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def conv(self, x: str, weight: Float32, bias: Float32, stride: int = 1, pad: int = 1) -> str:
        return self.row(
            "Conv",
            x,
            self.constant(weight),
            self.constant(bias),
            strides=[stride] * 2,
            pads=[pad] * 4,
            kernel_shape=list(weight.shape[2:]),
        )

    def folded(self, x: str, weight: Float32, norm: Weights, stride: int = 1, pad: int = 1) -> str:
        """A convolution without a bias and the batch norm behind it, as one."""
        gain = norm["weight"] / np.sqrt(norm["running_var"] + np.float32(EPSILON))
        bias = norm["bias"] - norm["running_mean"] * gain
        return self.conv(x, weight * gain[:, None, None, None], bias, stride, pad)

    def model(self, outputs: Sequence[str]) -> ModelProto:
        photo = helper.make_tensor_value_info(PHOTO, TensorProto.FLOAT, [1, 3, "h", "w"])
        made = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs]
        graph = helper.make_graph(self.nodes, "network", [photo], made, self.constants)
        return helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR
        )


def below(weights: Weights, prefix: str) -> dict[str, Float32]:
    return {
        name[len(prefix) :]: array for name, array in weights.items() if name.startswith(prefix)
    }


def embed_graph(weights: Weights) -> ModelProto:
    """ResNet18 up to its last map."""
    rows = Rows()
    x = rows.folded(PHOTO, weights["conv1.weight"], below(weights, "bn1."), 2, 3)
    x = rows.row(
        "MaxPool", rows.row("Relu", x), kernel_shape=[3] * 2, strides=[2] * 2, pads=[1] * 4
    )
    for layer in range(1, 5):
        for block in range(2):
            part = below(weights, f"layer{layer}.{block}.")
            stride = 2 if layer > 1 and block == 0 else 1
            y = rows.folded(x, part["conv1.weight"], below(part, "bn1."), stride)
            y = rows.folded(rows.row("Relu", y), part["conv2.weight"], below(part, "bn2."))
            if "downsample.0.weight" in part:
                norm = below(part, "downsample.1.")
                x = rows.folded(x, part["downsample.0.weight"], norm, stride, 0)
            x = rows.row("Relu", rows.row("Add", y, x))
    return rows.model([x])


def fine_graph(weights: Weights) -> ModelProto:
    """`stages.fine_network.FineNetwork`: the logits of pixels, four channels at half the photo's
    size, and the four maps; its input is standardised.
    """
    rows, maps, x = Rows(), [], PHOTO

    def layer(x: str, name: str, stride: int = 1) -> str:
        part = below(weights, name)
        return rows.folded(x, part["0.weight"], below(part, "1."), stride)

    for level, blocks in enumerate((0, 1, 2, 2)):
        x = rows.row("Relu", layer(x, f"levels.{level}.0.", 2))
        if level == 0:
            x = rows.row("Relu", layer(x, "levels.0.1."))
        for block in range(1, blocks + 1):
            name = f"levels.{level}.{block}."
            y = layer(rows.row("Relu", layer(x, f"{name}first.")), f"{name}second.")
            x = rows.row("Relu", rows.row("Add", x, y))
        maps.append(x)
    total = ""
    for level, each in enumerate(maps):
        part = below(weights, f"votes.{level}.")
        vote = rows.conv(each, part["weight"], part["bias"], pad=0)
        if total:
            larger = rows.constant(np.array([1, 1, 2**level, 2**level], np.float32))
            how = {"mode": "linear", "coordinate_transformation_mode": "half_pixel"}
            vote = rows.row("Add", total, rows.row("Resize", vote, "", larger, **how))
        total = vote
    for name in ("detect.0.", "detect.2."):
        part = below(weights, name)
        total = rows.conv(rows.row("Relu", total), part["weight"], part["bias"])
    return rows.model([total, *maps])


@dataclass
class Seen(CalibrationDataReader):  # type: ignore[misc]
    """Photos as the network sees them."""

    photos: Iterator[Float32]

    def get_next(self) -> dict[str, Float32] | None:
        photo = next(self.photos, None)
        return None if photo is None else {PHOTO: photo}


def in_whole_numbers(graph: ModelProto, photos: Sequence[Float32]) -> bytes:
    """A network's file; photos (1, 3, h, w) each, for the scales."""
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder, "int8.onnx")
        quantize_static(
            graph,
            made,
            Seen(iter(photos)),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            reduce_range=True,  # 7 bits: stages/quantised.py says why
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )
        return made.read_bytes()

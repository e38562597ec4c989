"""Networks in whole numbers on the CPU, by ONNX Runtime; and the first look by one.

Weights have a scale a channel and 7 bits, activations 8: the sum of two products fits into 16 bits,
so that a processor that adds pairs of them (AVX2) gives the numbers of one that adds all four at
once (VNNI).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

import cv2
import numpy as np

from stages.embed import input_size
from stages.records import Float32, Image, UInt8
from stages.trunk import MEAN, STD, resize

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

PHOTO = "photo"  # what a network's input is called


@dataclass(frozen=True, eq=False)
class Network:
    """A network in whole numbers, loaded when it is first asked."""

    load: Callable[[], InferenceSession]

    @cached_property
    def session(self) -> InferenceSession:
        """Raises what `load` does."""
        return self.load()

    def __call__(self, photo: Float32) -> list[Float32]:
        """(1, 3, h, w) -> its maps."""
        maps: list[Float32] = self.session.run(None, {PHOTO: photo})
        return maps


def load_quantised(network: bytes) -> InferenceSession:
    """A network that computes on the calling thread. Raises ValueError for what is none."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    try:
        return onnxruntime.InferenceSession(network, options, ["CPUExecutionProvider"])
    except Exception as error:  # it has classes of its own for all that can be wrong
        raise ValueError(f"a network that ONNX Runtime refuses: {type(error).__name__}") from None


# (256, 3): what each value of each channel becomes
NORMALISED: Float32 = (
    (np.arange(256, dtype=np.float32)[:, None] / np.float32(255) - np.array(MEAN, np.float32))
    / np.array(STD, np.float32)
).astype(np.float32)


def normalised_photo(pixels: UInt8) -> Float32:
    """(h, w, 3) RGB -> (1, 3, h, w), as `stages.trunk.to_tensor` has it."""
    return looked_up(pixels, NORMALISED)


def looked_up(pixels: UInt8, values: Float32) -> Float32:
    """(h, w, 3) -> (1, 3, h, w) by values (256, 3)."""
    out = np.empty((1, 3, *pixels.shape[:2]), np.float32)
    for channel, table in enumerate(np.ascontiguousarray(values.T)):
        cv2.LUT(cv2.extractChannel(pixels, channel), table, dst=out[0, channel])
    return out


@dataclass(frozen=True, eq=False)
class EmbedQuantised:
    """Image -> pooled (2, C) float32: `stages.embed.Embed` on a trunk in whole numbers."""

    known_as: ClassVar[str] = "embed"
    network: Network
    side: int

    def __call__(self, image: Image) -> Float32:
        photo = normalised_photo(resize(image.pixels, *input_size(image, self.side)))
        (cells,) = self.network(photo)  # (1, C, h / 32, w / 32)
        cells = cells.reshape(cells.shape[1], -1)
        cubes = np.maximum(cells, np.float32(1e-6)) ** 3
        pooled = np.stack([cells.mean(1), np.cbrt(cubes.mean(1))])
        return pooled.astype(np.float16).astype(np.float32)

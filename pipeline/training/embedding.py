"""The first look's training: a ResNet learns to tell classes apart, whole or its head alone, from
nothing or from given weights.
"""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pipeline.base.errors import UsageError
from pipeline.model.resnets import check_resnet, resnet_of, with_head
from pipeline.model.tensors import check_finite, read_tensors
from pipeline.training.checkpoint import WEIGHTS
from pipeline.training.data import Photos
from pipeline.training.loop import Plan, Task, top1
from pipeline.training.teacher import TELL, ClassTeacher, taught
from stages.attended import Attend, attend, is_attention
from stages.embed import generalised_mean
from stages.records import Float32, Int64, UInt8
from stages.trunk import build_resnet, last_map, load_resnet, to_tensor

LOG = logging.getLogger("pipeline.training.embedding")

TRUNK = "resnet18"
# from the photo on; the class head stays
SEARCHED = "searched"  # a perceptron of classes on the searched vector, which is not kept
PARTS = (("conv1", "bn1"), ("layer1",), ("layer2",), ("layer3",), ("layer4",))
# of the similarities of unit vectors whose parts are all positive: they differ little
TEMPERATURE = 0.05


def read_start(
    flag: str, path: Path, trunk: str = TRUNK, how: Attend | None = None
) -> dict[str, Float32]:
    """A ResNet's tensors under torchvision's names, float32: of a run, of a model, or of a
    file of another program. Raises UsageError.
    """
    arrays = with_head(read_weights(flag, path))
    check_resnet(f"{flag} {path}", trunk, arrays)
    try:
        load_resnet(trunk, arrays, how=how if any(map(is_attention, arrays)) else None)
    except (ValueError, TypeError) as error:
        raise UsageError(f"{flag} {path}: {error}") from None
    return arrays


def read_weights(flag: str, path: Path) -> dict[str, Float32]:
    """Whatever tensors are there, finite ones; a ResNet's under torchvision's names. Raises
    UsageError.
    """
    file = path / WEIGHTS if path.is_dir() else path
    if path.is_dir() and not file.is_file():
        raise UsageError(
            f"{flag} {path}: expected a finished run, a model or a file of weights, got a folder"
            f" without {WEIGHTS}"
        )
    arrays, _ = read_tensors(f"{flag} {file}", file)
    arrays = resnet_of(f"{flag} {file}", arrays)
    check_finite(f"{flag} {file}", arrays)
    return {name: array.astype(np.float32) for name, array in arrays.items()}


def embedding(
    plan: Plan,
    classes: tuple[str, ...],
    start: dict[str, Float32] | None,
    frozen: int,
    valid_side: int,
    bf16: bool,
    device: str,
    trunk: str = TRUNK,
    how: Attend | None = None,
    teacher: ClassTeacher | None = None,
) -> Task:
    """Cross-entropy with label smoothing 0.1 over the classes; valid_side: px that validation
    photos have.

    The first `frozen` of the trunk's five PARTS stay as they are, in evaluation mode; all five
    leave the class head alone to learn. Batch norms that are folded away in the start weights keep
    their statistics, mean 0 and variance 1, while their scale and shift are trained: real
    statistics would undo the folding. Attention, given `how`, begins anew where the start has none.
    A teacher's say is half of the classes' and all of a linear map's, which is not kept. Nor is the
    perceptron of `plan.hidden` units: its say is half of the labels'.
    """
    torch.manual_seed(plan.seed)
    if start is None:
        model = build_resnet(trunk, len(classes), how)
    else:
        attentive = any(map(is_attention, start))
        model = load_resnet(trunk, start, how=how if attentive else None).requires_grad_(True)
        if how and not attentive:
            attend(model, how)
        if len(start["fc.weight"]) != len(classes):
            LOG.info(
                f"--start: its head of {len(start['fc.weight'])} classes is replaced by a new one"
                f" of {len(classes)}"
            )
            model.fc = nn.Linear(model.get_submodule("fc").in_features, len(classes))  # type: ignore[arg-type]
    if teacher is not None:
        model.add_module(TELL, nn.Linear(model.get_submodule("fc").in_features, teacher.length))  # type: ignore[arg-type]
    if plan.hidden:
        length = model.get_submodule("fc").in_features
        perceptron = (nn.Linear(length, plan.hidden), nn.ReLU())  # type: ignore[arg-type]
        model.add_module(SEARCHED, nn.Sequential(*perceptron, nn.Linear(plan.hidden, len(classes))))
    norms = [
        module
        for name, module in model.named_modules()
        if isinstance(module, nn.BatchNorm2d) and not is_attention(name)
    ]
    folded = norms if start and is_folded(start) else []
    if folded:
        LOG.info(
            "--start: its batch norms are folded; their statistics stay, mean 0 and variance 1"
        )
    still = [model.get_submodule(name) for part in PARTS[:frozen] for name in part]
    for module in still:
        module.requires_grad_(False)
    model = model.to(device)
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def ready() -> None:
        model.train()
        for module in still:
            module.eval()
        for norm in folded:
            # its own statistics; the attention that may follow it inside learns on
            norm.training = False

    def loss(images: UInt8, labels: Int64, step: int) -> Tensor:
        with torch.autocast(device, torch.bfloat16, enabled=bf16):
            cells = last_map(model, to_tensor(images, device))
            pooled = cells.mean((2, 3))
            logits = model.get_submodule("fc")(pooled)
        wanted = torch.from_numpy(labels).to(device)
        value = nn.functional.cross_entropy(logits.float(), wanted, label_smoothing=0.1)
        if plan.hidden:
            seen = model.get_submodule(SEARCHED)(generalised_mean(cells.float()))
            more = nn.functional.cross_entropy(seen, wanted, label_smoothing=0.1)
            value = (value + more) / 2
        if teacher is not None:
            told = model.get_submodule(TELL)(pooled.float())
            value = taught(teacher, images, logits, told, value)
        return (
            value + plan.instance * same_photo(generalised_mean(cells.float()))
            if plan.instance
            else value
        )

    def validate(photos: Photos) -> float:
        model.eval()
        share = top1(lambda images: model(to_tensor(images, device)), photos, valid_side)
        ready()
        return share

    ready()
    return Task(model, optimizer(model, plan), loss, validate)


def optimizer(model: nn.Module, plan: Plan) -> torch.optim.Optimizer:
    """SGD with Nesterov's momentum, or AdamW; scales and shifts do not decay. Added attention
    learns at ten times the rate (seed 000, section 3.1).
    """
    groups: list[dict[str, Any]] = []
    for added in (False, True):
        trained = [
            p
            for name, p in model.named_parameters()
            if p.requires_grad and is_attention(name) == added
        ]
        for params, decay in (
            ([p for p in trained if p.ndim > 1], 1e-2 if plan.adam else 5e-4),
            ([p for p in trained if p.ndim <= 1], 0.0),
        ):
            groups += (
                [{"params": params, "weight_decay": decay, "times": 10 if added else 1}]
                if params
                else []
            )
    return (
        torch.optim.AdamW(groups, lr=plan.rate)
        if plan.adam
        else torch.optim.SGD(groups, lr=plan.rate, momentum=0.9, nesterov=True)
    )


def same_photo(embedding: Tensor, temperature: float = TEMPERATURE) -> Tensor:
    """(2 B, C), the second half the same photos as the first -> (): each has to find its other self
    among all the others.

    NT-Xent (Chen et al. 2020, equation 1) on the very vector that the first look searches, beside
    the classes as in MultiGrain (Berman et al. 2019), so that it tells two photos of a class apart
    and knows a photo of a photo.
    """
    unit = nn.functional.normalize(embedding, dim=1)
    alike = (unit @ unit.T / temperature).fill_diagonal_(-torch.inf)
    return nn.functional.cross_entropy(
        alike, torch.arange(len(unit), device=unit.device).roll(len(unit) // 2)
    )


def is_folded(weights: dict[str, Float32]) -> bool:
    """Whether every batch norm has the statistics of none at all, means of 0 and variances of 1,
    and yet is no untrained one.
    """
    own = {name: array for name, array in weights.items() if not is_attention(name)}
    means = [array for name, array in own.items() if name.endswith("running_mean")]
    variances = [array for name, array in own.items() if name.endswith("running_var")]
    shifts = [
        own[name.replace("running_mean", "bias")] for name in own if name.endswith("running_mean")
    ]
    untouched = not any(mean.any() for mean in means) and all(
        bool((variance == 1).all()) for variance in variances
    )
    return untouched and any(bool(shift.any()) for shift in shifts)


def rounded(model: nn.Module) -> dict[str, Float32]:
    """The model's arrays as they are stored, rounded to float16; the model itself has them so
    afterwards.
    """
    state = {
        name: tensor.half().float()
        for name, tensor in model.state_dict().items()
        if not name.endswith("num_batches_tracked")
        and not name.startswith((f"{TELL}.", f"{SEARCHED}."))
    }
    model.load_state_dict(state, strict=False)
    return {name: tensor.cpu().contiguous().numpy() for name, tensor in state.items()}

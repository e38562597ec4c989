"""Training of the local features' attention, learned on a frozen trunk by telling classes apart
(Noh et al. 2017, section 3.3).
"""

import numpy as np
import torch
from torch import Tensor, nn

from pipeline.training.data import Photos
from pipeline.training.embedding import TRUNK
from pipeline.training.loop import Plan, Task, top1
from stages.delf import Attention
from stages.records import Float32, Int64, UInt8
from stages.trunk import load_local, third_map, to_tensor

# photos are rescaled at random between these, so that the attention knows things at every size
GAMMA = (0.35, 1.0)
HIDDEN = 512
# of the pooled vector: unit descriptors alone would leave the classes' logits too flat
LENGTH = 16.0


def attention(
    plan: Plan,
    classes: tuple[str, ...],
    trunk: dict[str, Float32],
    valid_side: int,
    bf16: bool,
    device: str,
) -> Task:
    """Cross-entropy of a linear classifier on the score-weighted sum of the trunk's unit
    descriptors; trunk: a ResNet's tensors.

    Only the score, 1x1 conv, batch norm, ReLU, 1x1 conv, softplus, and the classifier are trained.
    valid_side: px that validation photos have.
    """
    frozen = load_local(TRUNK, trunk, device)
    channels = len(trunk["layer3.1.bn2.weight"])
    torch.manual_seed(plan.seed)
    score = score_head(channels)
    classify = nn.Linear(channels, len(classes))
    model = nn.ModuleDict({"score": score, "classify": classify}).to(device)

    def pooled(images: UInt8, scale: float) -> Tensor:
        x = to_tensor(images, device)
        side = max(32, round(images.shape[1] * scale))
        cells = cells_at(frozen, x, side, bf16)
        return nn.functional.normalize(
            (score(cells) * nn.functional.normalize(cells, dim=1)).sum((2, 3)), dim=1
        )

    def loss(images: UInt8, labels: Int64, step: int) -> Tensor:
        scale = float(np.random.default_rng([plan.seed, step]).uniform(*GAMMA))
        unit = pooled(images, scale)
        return nn.functional.cross_entropy(
            classify(unit * LENGTH), torch.from_numpy(labels).to(device), label_smoothing=0.1
        )

    def validate(photos: Photos) -> float:
        model.eval()
        share = top1(lambda images: classify(pooled(images, 1.0) * LENGTH), photos, valid_side)
        model.train()
        return share

    return Task(
        model,
        torch.optim.SGD(
            model.parameters(), lr=plan.rate, momentum=0.9, nesterov=True, weight_decay=1e-4
        ),
        loss,
        validate,
    )


def cells_at(frozen: nn.Module, x: Tensor, side: int, bf16: bool) -> Tensor:
    """Photos (B, 3, h, w) seen at `side` px by a frozen trunk -> layer3's map (B, C, side / 16,
    side / 16), float32.
    """
    with torch.inference_mode(), torch.autocast(x.device.type, torch.bfloat16, enabled=bf16):
        cells = third_map(
            frozen, nn.functional.interpolate(x, size=(side, side), mode="bilinear", antialias=True)
        )
    return cells.clone().float()  # out of inference mode, so that gradients of a head can flow


def score_head(channels: int) -> nn.Sequential:
    """(B, C, h, w) -> (B, 1, h, w) above 0: the two 1x1 convolutions of section 3.3."""
    return nn.Sequential(
        nn.Conv2d(channels, HIDDEN, 1),
        nn.BatchNorm2d(HIDDEN),
        nn.ReLU(),
        nn.Conv2d(HIDDEN, 1, 1),
        nn.Softplus(),
    )


@torch.no_grad()
def fold(model: nn.Module) -> Attention:
    """The trained score with its batch norm folded into the convolution before it; model: of an
    `attention` or a `matches` task.
    """
    hidden, norm, out = (model.get_submodule(f"score.{i}").cpu() for i in (0, 1, 3))
    assert isinstance(norm, nn.BatchNorm2d)
    gain = norm.weight / torch.sqrt(norm.get_buffer("running_var") + norm.eps)
    return Attention(
        hidden=(hidden.get_parameter("weight")[:, :, 0, 0] * gain[:, None]).numpy(),
        hidden_bias=(
            (hidden.get_parameter("bias") - norm.get_buffer("running_mean")) * gain + norm.bias
        ).numpy(),
        out=out.get_parameter("weight")[0, :, 0, 0].numpy(),
        out_bias=out.get_parameter("bias").numpy(),
    )

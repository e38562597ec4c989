"""Training of the local features' attention, our way, learned on a frozen trunk from photos that
come back.

Each photo meets itself as it may come back (stages/augment.py), and every cell is labelled by
whether it and its other self, among the longest cells of the other photo, are each other's nearest:
what verification counts. The paper's way, pipeline/training/delf.py, learns instead what tells
classes apart, which says nothing of whether a cell is found again. Tried and lost: the cells that
the score itself would choose in place of the longest. The score then wants the finest cells alone,
and copies that are nearly the same photo, where all sizes of cells agree, are matched worse (27.8
inliers of true pairs at 100 features in the museum, by length alone 35.4).
"""

import numpy as np
import torch
from torch import Tensor, nn

from pipeline.training.data import Photos, crop
from pipeline.training.delf import cells_at, score_head
from pipeline.training.embedding import TRUNK, optimizer
from pipeline.training.loop import Plan, Task
from stages.augment import again
from stages.delf import SCALES, STRIDE
from stages.records import Float32, Int64, UInt8
from stages.trunk import load_local, resize, to_tensor

# the crops are so much larger than the photos that the trunk sees: what is cut out of them is still
# sharp
FINER = 1.3
# of the photo's side: how far from its place another self may lie, more than half a cell of the
# finest scale
REACH = 0.02
CHOSEN = (100, 200, 400)  # features a photo, one at random each time
JUDGED = 100  # features a photo in validation
VALIDATE, BATCH = 64, 8  # photos


def matches(plan: Plan, trunk: dict[str, Float32], bf16: bool, device: str) -> Task:
    """Binary cross-entropy of every cell's score: is it matched? trunk: a ResNet's tensors.

    Validation is the share of the 100 strongest cells that are matched among those of the other
    photo, which is what verification counts, over the first 64 of the held-out photos. Tried and
    lost: the average precision of the scores; of two epochs it liked the one that the scenes of 200
    other photos (scripts/prepare.py scenes) liked less, 21.7 inliers at 100 features in place of
    22.3.
    """
    frozen = load_local(TRUNK, trunk, device)
    torch.manual_seed(plan.seed)
    score = score_head(len(trunk["layer3.1.bn2.weight"]))
    model = nn.ModuleDict({"score": score}).to(device)
    logit = score[:-1]

    def cells(images: UInt8) -> tuple[Tensor, Float32]:
        """(B, px, px, 3) -> all cells of the pyramid (B, C, M), their centres (M, 2) px."""
        side, seen, places = images.shape[1], [], []
        x = to_tensor(images, device)
        for scale in SCALES:
            size = max(STRIDE, round(side * scale))
            cells = cells_at(frozen, x, size, bf16)
            rows, columns = np.mgrid[: cells.shape[2], : cells.shape[3]] * STRIDE
            places.append(
                (np.stack([columns.ravel(), rows.ravel()], 1) + 0.5) * (side / size) - 0.5
            )
            seen.append(cells.flatten(2))
        return torch.cat(seen, 2), np.concatenate(places).astype(np.float32)

    def compare(
        images: UInt8, rngs: list[np.random.Generator], keep: int, by_length: bool
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Logits (2 B, M), which cells are matched (2 B, M), which are chosen (2 B, keep): of the
        photos, then of what came back.
        """
        side = round(images.shape[1] / FINER)
        back = [
            again(image, images[i - 1], side, rng)
            for i, (image, rng) in enumerate(zip(images, rngs, strict=True))
        ]
        raw, xy = cells(
            np.stack(
                [*(resize(image, side, side) for image in images), *(view for view, _ in back)]
            )
        )
        scored = logit(raw[..., None])[:, 0, :, 0]
        chosen = (
            (raw.norm(dim=1) if by_length else scored.detach())
            .topk(min(keep, len(xy)))
            .indices.cpu()
        )
        unit, n = nn.functional.normalize(raw, dim=1).cpu(), len(images)
        found = torch.zeros(scored.shape)
        for i, (_, went) in enumerate(back):
            there = moved((xy + 0.5) * (images.shape[1] / side) - 0.5, went)
            one, other = (unit[i], chosen[i], there), (unit[n + i], chosen[n + i], xy)
            for row, mine, others in ((i, one, other), (n + i, other, one)):
                found[row] = matched(*mine, *others, REACH * side)
        return scored, found.to(device), chosen

    def loss(images: UInt8, labels: Int64, step: int) -> Tensor:
        keep = CHOSEN[np.random.default_rng([plan.seed, step]).integers(len(CHOSEN))]
        rngs = [np.random.default_rng([plan.seed, step, i]) for i in range(len(images))]
        scored, found, _ = compare(images, rngs, keep, by_length=True)
        return nn.functional.binary_cross_entropy_with_logits(scored, found)

    def validate(photos: Photos) -> float:
        model.eval()
        shares = []
        with torch.no_grad():
            for first in range(0, min(VALIDATE, len(photos.labels)), BATCH):
                rows = range(first, min(first + BATCH, len(photos.labels)))
                squares = np.stack([crop(photos.pixels[i], plan.px[-1], None, 1) for i in rows])
                _, found, chosen = compare(
                    squares,
                    [np.random.default_rng(int(photos.keys[i])) for i in rows],
                    JUDGED,
                    by_length=False,
                )
                shares += found.cpu().gather(1, chosen).mean(1).tolist()
        model.train()
        return float(np.mean(shares))

    return Task(model, optimizer(model, plan), loss, validate)


def moved(xy: Float32, went: Float32) -> Float32:
    """Points (M, 2) under a perspective map (3, 3)."""
    ahead = xy @ went[:, :2].T + went[:, 2]
    there: Float32 = ahead[:, :2] / ahead[:, 2:]
    return there


def matched(
    unit: Tensor,
    chosen: Tensor,
    there: Float32,
    others: Tensor,
    others_chosen: Tensor,
    xy: Float32,
    reach: float,
) -> Tensor:
    """(M,) float32, 1 for each cell that would be a correct match: its nearest of the other photo's
    chosen cells lies within reach of its place there, and is as near to no cell that is chosen
    here.

    unit, others (C, M); chosen, others_chosen (K,); there (M, 2): where the cells went; xy (M, 2):
    where the others are.
    """
    alike = unit.T @ others[:, others_chosen]  # (M, K)
    value, nearest = alike.max(1)
    mutual = value >= alike[chosen].max(0).values[nearest]
    apart = np.linalg.norm(there - xy[others_chosen.numpy()[nearest.numpy()]], axis=1)
    return (mutual & torch.from_numpy(apart < reach)).float()

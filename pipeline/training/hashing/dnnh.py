"""DNNH (Lai et al. 2015): a photo's code is nearer to one of its label than to one of another by a
margin.

Equation 2: max(0, 1 - (|f - f-|^2 - |f - f+|^2)) on codes in [0, 1], here over all triplets of a
batch; the divide-and-encode layer (section 3.3) is the network's `slices`, its piece-wise threshold
left out.
"""

import torch
from torch import Tensor, nn

from pipeline.training.hashing.loop import Plan, Problem, similar
from stages.hashnet import HashNet
from stages.records import Int64, UInt8


def triplets(net: HashNet, labels: UInt8, bits: int, plan: Plan) -> Problem:
    """labels (n, L) zeros and ones; the net's codes are sigmoids."""

    def loss(x: Tensor, rows: Int64) -> Tensor:
        codes = net(x)
        distance = torch.cdist(codes, codes, compute_mode="donot_use_mm_for_euclid_dist").square()
        alike = similar(labels[rows], labels[rows]).bool().to(x.device)
        others = alike & ~torch.eye(len(rows), dtype=torch.bool, device=x.device)
        hinge = (1 - distance[:, None, :] + distance[:, :, None]).clamp_min(0)  # [a, p, n]
        asked = others[:, :, None] & ~alike[:, None, :]
        return hinge[asked].mean() if asked.any() else 0 * codes.sum()

    return Problem(net, nn.ModuleDict({"net": net}), loss)

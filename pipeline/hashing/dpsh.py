"""DPSH (Li, Wang & Kang 2016): codes whose inner products make the labels' similarity likely, pair by pair.

Equation 1: log(1 + e^Q) - s Q, Q = u . v / 2, plus eta |u - sign u|^2 (equation 4, eta .1), means over pairs and numbers. Every
photo of a batch meets all training photos, by the codes that these last had (algorithm 1).
"""

import torch
from torch import Tensor, nn

from pipeline.hashing.lesson import Lesson, Plan, similar
from stages.hashnet import HashNet
from stages.records import Int64, UInt8

ETA = 0.1


def pairs(net: HashNet, labels: UInt8, bits: int, plan: Plan) -> Lesson:
    """labels (n, L) zeros and ones; the net's codes are linear."""
    model = nn.ModuleDict({"net": net})
    model.register_buffer("latest", torch.randn(len(labels), bits, generator=torch.Generator().manual_seed(plan.seed)))

    def loss(x: Tensor, rows: Int64) -> Tensor:
        codes, others = net(x), model.get_buffer("latest")
        others[rows] = codes.detach()
        alike = similar(labels[rows], labels).to(x.device)
        q = codes @ others.T / 2
        likely: Tensor = (nn.functional.softplus(q) - alike * q).mean()
        undecided: Tensor = (codes - codes.detach().sign()).square().mean()
        return likely + ETA * undecided

    return Lesson(net, model, loss)

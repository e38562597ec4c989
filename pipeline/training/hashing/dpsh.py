"""DPSH (Li, Wang & Kang 2016): codes whose inner products make the labels' similarity likely, pair
by pair.

Equation 1: log(1 + e^Q) - s Q, Q = u . v / 2, plus eta |u - sign u|^2 (equation 4, eta .1), means
over the pairs of a batch and over numbers. Tried and lost: every photo of a batch against the codes
that all training photos last had, as in algorithm 1. On CIFAR-10's maps it falls into the saddle
where all codes are 0 (mAP .10 at 24 bits; .45 by the pairs of a batch).
"""

from torch import Tensor, nn

from pipeline.training.hashing.loop import Plan, Problem, similar
from stages.hashnet import HashNet
from stages.records import Int64, UInt8

ETA = 0.1


def pairs(net: HashNet, labels: UInt8, bits: int, plan: Plan) -> Problem:
    """labels (n, L) zeros and ones; the net's codes are linear."""

    def loss(x: Tensor, rows: Int64) -> Tensor:
        codes = net(x)
        alike, q = similar(labels[rows], labels[rows]).to(x.device), codes @ codes.T / 2
        likely: Tensor = (nn.functional.softplus(q) - alike * q).mean()
        undecided: Tensor = (codes - codes.detach().sign()).square().mean()
        return likely + ETA * undecided

    return Problem(net, nn.ModuleDict({"net": net}), loss)

"""VGGH and AM-VGGH (seed 002): a classifier whose last hidden layer is the code; with CBAM before
it, or without.

The class head reads the sigmoids of the hash layer, "the layer before the last" (seed 002, section
1.1). It names no loss: cross-entropy is our reading, one sigmoid a class where photos have several
labels.
"""

import torch
from torch import Tensor, nn

from pipeline.training.hashing.loop import Plan, Problem
from stages.hashnet import HashNet
from stages.records import Int64, UInt8


def classify(net: HashNet, labels: UInt8, bits: int, plan: Plan) -> Problem:
    """labels (n, L) zeros and ones."""
    model = nn.ModuleDict({"net": net, "classes": nn.Linear(bits, labels.shape[1])})
    wanted, single = torch.from_numpy(labels).float(), bool((labels.sum(1) == 1).all())

    def loss(x: Tensor, rows: Int64) -> Tensor:
        logits, classes = model["classes"](net(x)), wanted[rows].to(x.device)
        if single:
            return nn.functional.cross_entropy(logits, classes)
        return nn.functional.binary_cross_entropy_with_logits(logits, classes)

    return Problem(net, model, loss)

"""CNNH and CNNH+ (Xia et al. 2014): first codes that factorise the similarity matrix, then a
network that learns to give them.

Step one, equation 1: min |S - H H' / b|^2, H in [-1, 1], by coordinate descent, a Newton step a
number (algorithm 1). Step two regresses the signs of H by one sigmoid a bit; CNNH+ learns the
labels beside them (section 3.2).
"""

import numba
import numpy as np
import torch
from torch import Tensor, nn

from pipeline.training.hashing.loop import Plan, Problem, similar
from stages.hashnet import HashNet
from stages.records import Float32, Int64, UInt8

SWEEPS = 3


def regress(net: HashNet, labels: UInt8, bits: int, plan: Plan) -> Problem:
    """CNNH. labels (n, L) zeros and ones; the net's codes are sigmoids less a half."""
    return _regress(net, labels, bits, plan, classes=False)


def regress_and_classify(net: HashNet, labels: UInt8, bits: int, plan: Plan) -> Problem:
    """CNNH+."""
    return _regress(net, labels, bits, plan, classes=True)


def _regress(net: HashNet, labels: UInt8, bits: int, plan: Plan, classes: bool) -> Problem:
    codes = factorise(2 * similar(labels, labels).numpy() - 1, bits, plan.seed)
    wanted, named = torch.from_numpy(codes >= 0).float(), torch.from_numpy(labels).float()
    hidden = net.code.in_channels if isinstance(net.code, nn.Conv1d) else net.code.in_features
    model = nn.ModuleDict(
        {"net": net} | ({"classes": nn.Linear(hidden, labels.shape[1])} if classes else {})
    )
    binary = nn.functional.binary_cross_entropy_with_logits

    def loss(x: Tensor, rows: Int64) -> Tensor:
        hidden = net.units(x)
        value = binary(net.code(hidden), wanted[rows].to(x.device))
        return (
            value + binary(model["classes"](hidden), named[rows].to(x.device)) if classes else value
        )

    return Problem(net, model, loss)


def factorise(similarity: Float32, bits: int, seed: int) -> Float32:
    """S (n, n) in -1 and 1 -> H (n, b) in [-1, 1]; some four n x n matrices of memory."""
    rng = np.random.default_rng(seed)
    codes = rng.uniform(-1, 1, (len(similarity), bits)).astype(np.float32)
    residual = codes @ codes.T - bits * similarity
    for _ in range(SWEEPS):
        for j in rng.permutation(bits):
            _descend(codes, residual, j, rng.permutation(len(codes)))
    return codes


@numba.njit(cache=True)
def _descend(codes, residual, j, order):  # type: ignore[no-untyped-def]
    """One number after the other of column j: residual (n, n) is H H' - b S and stays so. Only row
    i of it changes, and column i alike.
    """
    n = len(codes)
    for i in order:
        first = np.float32(0)
        second = np.float32(0)
        for k in range(n):
            if k != i:
                first += residual[i, k] * codes[k, j]
                second += codes[k, j] * codes[k, j]
        own = codes[i, j]
        first += residual[i, i] * own
        second += 2 * own * own + residual[i, i]
        if second <= 0:
            continue
        value = min(max(own - first / second, np.float32(-1)), np.float32(1))
        step = value - own
        if step == 0:
            continue
        for k in range(n):
            if k != i:
                residual[i, k] += step * codes[k, j]
                residual[k, i] = residual[i, k]
        residual[i, i] += value * value - own * own
        codes[i, j] = value

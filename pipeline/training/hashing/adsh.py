"""ADSH (Jiang & Li 2018) and our reading of seed 003: the training photos' codes are learned
directly, new photos go through the network.

Equation 2: sum over sampled i and all j of (tanh F(x_i) . v_j - b S_ij)^2 + gamma sum |v_i - tanh
F(x_i)|^2. Before every epoch the codes V are solved bit by bit for the network as it is (equation
8), and 2,000 photos are drawn to teach it (algorithm 1). S is 1 for photos that share a label and
else so far below 0 that all of S sums to 0, as in the authors' code: negatives are many.

The published schedule is 50 rounds of 3 epochs; here every epoch is a round, and how many there are
is the plan's.

`adsh_attention`, after an abstract, reads an earlier map beside the last one, attended under the
guidance of class scores (`stages.attention.Beside`), whose cross-entropy is a part of the loss; and
it adds a quantisation loss of our design: max(0, m - |u|)^2, m = .8, times the square of the bits
as the fit has it. It pulls hardest at numbers around 0, whose bit is undecided, and leaves those
beyond the margin to the fit.

Chosen on photos that are no queries (48 bits, EfficientNet-Lite0 at 192 px, mean mAP of two random
seeds; not in a results file). On the last map: no attention .725, guided by its own mean .707, the
same as x + g (m(x) - x), g from zero, .715, guided by class scores .714. Beside an earlier map:
that map as it is .736, guided by the last map's mean .740, by its class scores .746. So what helps
is the earlier map first, and there attention helps, too. How the quantisation's margin and weight
were chosen is not on record. By the queries it gains .01 at 48 bits with 5,000 training photos,
costs .04 at 12 bits with these, and .02 to .05 with 50,000.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from pipeline.training.hashing.loop import Plan, Problem, similar
from stages.attention import Beside
from stages.hashnet import HashNet
from stages.records import Int64, UInt8

GAMMA, SAMPLED, SHARPEN, MARGIN = 200.0, 2000, 0.1, 0.8
CLASSES = 0.02  # weight of the guide's classes, a bit


def asymmetric(net: HashNet, labels: UInt8, bits: int, plan: Plan) -> Problem:
    """labels (n, L) zeros and ones; the net's codes are tanhs."""
    return _asymmetric(net, labels, bits, plan, 0.0)


def asymmetric_sharpened(net: HashNet, labels: UInt8, bits: int, plan: Plan) -> Problem:
    """The same with our quantisation."""
    return _asymmetric(net, labels, bits, plan, SHARPEN)


def _asymmetric(net: HashNet, labels: UInt8, bits: int, plan: Plan, sharpen: float) -> Problem:
    n, alike = len(labels), balance(labels)
    shares = torch.from_numpy(labels / np.maximum(labels.sum(1, keepdims=True), 1)).float()
    model = nn.ModuleDict({"net": net})
    start = torch.randn(n, bits, generator=torch.Generator().manual_seed(plan.seed)).sign()
    model.register_buffer("gallery", start)

    def chosen(epoch: int) -> Int64:
        return np.sort(
            np.random.default_rng([plan.seed, epoch, 1]).choice(n, min(SAMPLED, n), replace=False)
        )

    def between(epoch: int, encode: Callable[[Int64], Tensor]) -> None:
        rows = chosen(epoch)
        codes = model.get_buffer("gallery")
        codes.copy_(solve(codes.cpu(), encode(rows), rows, alike(rows)))

    def loss(x: Tensor, rows: Int64) -> Tensor:
        codes, gallery = net(x), model.get_buffer("gallery")
        fit = (codes @ gallery.T - bits * alike(rows).to(x.device)).square().sum()
        value: Tensor = (fit + GAMMA * (gallery[rows] - codes).square().sum()) / (len(rows) * n)
        if sharpen:
            value += sharpen * bits**2 * (MARGIN - codes.abs()).clamp_min(0).square().mean()
        if isinstance(net.attention, Beside) and net.attention.classify is not None:
            scores = net.attention.scores(x)
            value += CLASSES * bits * cross_entropy(scores, shares[rows].to(x.device))
        return value

    return Problem(net, model, loss, between, chosen)


def balance(labels: UInt8) -> Callable[[Int64], Tensor]:
    """Rows of S (m, n): 1 where a label is shared, elsewhere -(share of ones) / (share of the
    others).
    """

    def rows_of(rows: Int64) -> Tensor:
        shared = similar(labels[rows], labels)
        ratio = shared.sum() / (1 - shared).sum().clamp_min(1)
        return shared * (1 + ratio) - ratio

    return rows_of


def solve(codes: Tensor, network: Tensor, rows: Int64, alike: Tensor) -> Tensor:
    """V (n, b) in -1 and 1, the network's codes U (m, b) of `rows`, S (m, n) -> the V that fits
    them, each bit solved exactly in turn.
    """
    bits = codes.shape[1]
    q = -2 * bits * alike.T @ network
    q[rows] -= 2 * GAMMA * network
    codes = codes.clone()
    for k in range(bits):
        others = [i for i in range(bits) if i != k]
        codes[:, k] = -(
            q[:, k] + 2 * codes[:, others] @ (network[:, others].T @ network[:, k])
        ).sign()
        codes[codes[:, k] == 0, k] = 1
    return codes

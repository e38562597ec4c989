"""The two methods that train no network: LSH draws its directions, KSH solves for them; both on the
pooled map.
"""

import numpy as np
from scipy.linalg import eigh
from scipy.special import expit

from stages.hashnet import KernelCode, LinearCode, kernels
from stages.records import Float32, UInt8

LABELLED, ANCHORS, ROUNDS = 2000, 500, 100


def lsh(pooled: Float32, bits: int, seed: int) -> LinearCode:
    """Random hyperplanes through the mean (Charikar 2002, section 3). pooled (n, C)."""
    directions = np.random.default_rng(seed).normal(size=(bits, pooled.shape[1]))
    return LinearCode(
        pooled.mean(0, dtype=np.float64).astype(np.float32), directions.astype(np.float32)
    )


def ksh(pooled: Float32, labels: UInt8, bits: int, seed: int) -> KernelCode:
    """Supervised hashing with kernels (Liu et al. 2012): min |sum over bits of h h' - b S|^2, one
    bit after the other (equation 10): the spectral relaxation (equation 12) starts it, gradient
    descent on sigmoids in place of signs (equation 14) finishes it, and the better of the two stays
    (algorithm 1). pooled (n, C), labels (n, L) zeros and ones; at most 2,000 of the photos are
    compared.
    """
    rng = np.random.default_rng(seed)
    drawn = rng.choice(len(pooled), min(LABELLED, len(pooled)), replace=False)
    x, y = pooled[drawn], labels[drawn].astype(np.float64)
    anchors = pooled[rng.choice(len(pooled), min(ANCHORS, len(pooled)), replace=False)]
    square = (x**2).sum(1)[:, None] + (anchors**2).sum(1) - 2 * x @ anchors.T
    gamma = np.float32(1 / (2 * max(float(square.mean()), 1e-12)))
    mean = kernels(pooled, anchors, float(gamma)).mean(0, dtype=np.float64)
    k = kernels(x, anchors, float(gamma)).astype(np.float64) - mean
    residual = bits * (2.0 * (y @ y.T > 0) - 1)
    gram, weights = k.T @ k + 1e-6 * np.trace(k.T @ k) / k.shape[1] * np.eye(k.shape[1]), []
    for _ in range(bits):
        _, vectors = eigh(k.T @ residual @ k, gram, subset_by_index=[k.shape[1] - 1] * 2)
        spectral = vectors[:, 0] * np.sqrt(
            len(k) / max(vectors[:, 0] @ gram @ vectors[:, 0], 1e-12)
        )
        best = max(
            (spectral, _climb(k, residual, spectral)), key=lambda a: _agreement(k, residual, a)
        )
        weights.append(best)
        bit = np.where(k @ best >= 0, 1.0, -1.0)
        residual = residual - np.outer(bit, bit)
    return KernelCode(
        anchors,
        np.array([gamma], np.float32),
        mean.astype(np.float32),
        np.array(weights, np.float32),
    )


def _agreement(k: np.ndarray, residual: np.ndarray, weights: np.ndarray) -> float:
    bit = np.where(k @ weights >= 0, 1.0, -1.0)
    return float(bit @ residual @ bit)


def _climb(k: np.ndarray, residual: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Nesterov's gradient ascent of the smoothed agreement b' R b, b = 2 sigmoid(k a) - 1."""
    step, before, ahead = 1.0, weights, weights
    for t in range(ROUNDS):
        soft = 2 * expit(k @ ahead) - 1
        pulled = residual @ soft
        gradient = k.T @ (pulled * (1 - soft**2))
        gradient /= max(float(np.linalg.norm(gradient)), 1e-12)
        now = ahead + step * 0.1 * float(np.linalg.norm(weights)) * gradient
        now_soft, before_soft = (2 * expit(k @ a) - 1 for a in (now, before))
        if now_soft @ residual @ now_soft < before_soft @ residual @ before_soft:
            step, ahead = step / 2, before  # overshot: shorter, and without momentum
            continue
        before, ahead = now, now + t / (t + 3) * (now - before)
    return before

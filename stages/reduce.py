"""Principal components: project a vector on the directions in which a training set varies most."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from stages.records import Float32, check_array


@dataclass(frozen=True, eq=False)
class Reduce:
    """(..., C) float32 -> (..., D) float32: (x - mean) @ components.T, scaled and brought to unit
    length where asked.
    """

    mean: Float32  # (C,)
    components: Float32  # (D, C) orthonormal rows, or scaled ones when whitened
    unit: bool = False  # L2-normalise the result

    def __post_init__(self) -> None:
        check_array("Reduce", "components", self.components, np.float32, None, None)
        check_array("Reduce", "mean", self.mean, np.float32, self.components.shape[1])

    def __call__(self, vectors: Float32) -> Float32:
        out = (vectors - self.mean) @ self.components.T
        if self.unit:
            out = out / np.maximum(np.linalg.norm(out, axis=-1, keepdims=True), 1e-12)
        return out.astype(np.float32, copy=False)

    @classmethod
    def fit(
        cls, vectors: Float32, dimensions: int, *, unit: bool = False, whiten: float = 0.0
    ) -> Reduce:
        """Fit on (n, C) vectors by scikit-learn's PCA. `whiten` in [0, 1]: how far the components'
        variances are evened out (0 plain PCA, 1 whitening; Jegou & Chum 2012, section 3). Raises
        ValueError with fewer vectors than dimensions.
        """
        from sklearn.decomposition import PCA

        if len(vectors) < dimensions or vectors.shape[1] < dimensions:
            raise ValueError(
                f"PCA: expected at least {dimensions} vectors of {dimensions} numbers or more, got"
                f" {vectors.shape}"
            )
        pca = PCA(dimensions, svd_solver="full").fit(vectors.astype(np.float64))
        variance = pca.explained_variance_ / max(pca.explained_variance_[0], 1e-30)
        # a direction in which nothing varies is rounding noise: not blown up
        scale = np.maximum(variance, 1e-6) ** (-whiten / 2)
        return cls(
            pca.mean_.astype(np.float32),
            (pca.components_ * scale[:, None]).astype(np.float32),
            unit,
        )

"""The verdict: candidates whose evidence is strong enough come first, by evidence; the others stay as the first look had them.

Worked example, `least` 20: a shortlist a b c d with 3, 25, 0, 40 inliers is ranked d b a c: d and b accepted.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from stages.records import Candidates, Matches, Ranking


@dataclass(frozen=True)
class Rank:
    """(candidates, matches) -> Ranking. No evidence at all gives the first look's order back."""

    least: int  # inliers at which a candidate is accepted

    def __call__(self, candidates: Candidates, matches: Matches) -> Ranking:
        if candidates.rows.shape != matches.inliers.shape:
            raise ValueError(f"Rank.matches: want one per candidate {candidates.rows.shape}, got {matches.inliers.shape}")
        accepted = matches.inliers >= self.least
        evidence = np.where(accepted, matches.inliers, 0)
        return Ranking(np.argsort(-evidence, axis=1, kind="stable").astype(np.int64), accepted)

"""The null of a model as its card has it: JSON to record and back."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from stages.null import Null

if TYPE_CHECKING:
    pass


def null_to_json(null: Null) -> dict[str, Any]:
    return {
        name: value.tolist() if isinstance(value, np.ndarray) else value
        for name, value in vars(null).items()
    }


def null_from_json(stored: Mapping[str, Any]) -> Null:
    """Raises ValueError or TypeError for what is no null."""
    whole: dict[str, Any] = {
        name: np.array(value, np.float64) if isinstance(value, list) else value
        for name, value in stored.items()
    }
    return Null(**whole)

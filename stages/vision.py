"""The one door to torchvision: its models and transforms, never its compiled operators.

torchvision's Linux wheel is compiled for CUDA builds of torch. Beside a CPU-only torch its import
fails on an operator that nothing here uses; on exactly that error, and no other, the operator's
signature is declared and the import is tried once more.
"""

import sys
import warnings
from types import ModuleType

_MISSING = "operator torchvision::nms does not exist"
_SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
_KEEP: list[object] = []  # a torch.library.Library forgets its schemas when it is collected


def torchvision_models() -> ModuleType:
    """Return `torchvision.models`, imported beside a CUDA or a CPU-only torch alike."""
    try:
        import torchvision.models as models
    except RuntimeError as error:
        if _MISSING not in str(error):
            raise
        import torch

        library = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
        for schema in _SCHEMAS:
            library.define(schema)  # type: ignore[no-untyped-call]
        _KEEP.append(library)
        for name in [n for n in sys.modules if n == "torchvision" or n.startswith("torchvision.")]:
            del sys.modules[name]
        import torchvision.models as models

        warnings.warn(
            "torchvision was built for a CUDA torch and this torch is CPU-only; its box operators"
            " are switched off (not used here). A matching pair from PyTorch's CPU wheel index"
            " removes this message.",
            # hidden by default: the pinned pair is deliberate, `python -W default` shows it
            ImportWarning,
            stacklevel=2,
        )
    return models  # type: ignore[no-any-return]

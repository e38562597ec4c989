"""What a caller may do wrong or meet: one base class, and a line each that names the thing, what
was expected, what was got and what to run.
"""

from stages.errors import ArrayError as ArrayError
from stages.errors import TwoLookError as TwoLookError


class UsageError(TwoLookError):
    """The caller asked for something that cannot be; the message says what to do."""


class GalleryError(TwoLookError):
    """A gallery that is missing, damaged, busy or made otherwise; the message says what to run."""


class ModelError(TwoLookError):
    """A model that is missing, damaged or of another kind; the message says what to run."""


class QueryError(TwoLookError):
    """One query that cannot be answered; the others can."""


class ImageError(TwoLookError, ValueError):
    """Why a photo cannot be used, in one printable line; the caller adds its name."""

    def __init__(self, reason: str) -> None:
        super().__init__(
            " ".join("".join(c if c.isprintable() else " " for c in reason).split())[:300]
        )

"""What the network of each hashing recipe looks like: arguments of `stages.hashnet.HashNet`; a
recipe without one trains no network.
"""

from typing import Any

Form = dict[str, Any]

FORMS: dict[str, Form | None] = {
    "am_vggh": {"attention": "cbam", "squash": "sigmoid"},
    "vggh": {"attention": "none", "squash": "sigmoid"},
    "dpsh": {"attention": "none", "squash": "linear"},
    "dnnh": {"attention": "none", "squash": "sigmoid", "slices": 8},
    "cnnh_plus": {"attention": "none", "squash": "sigmoid"},
    "cnnh": {"attention": "none", "squash": "sigmoid"},
    "adsh": {"attention": "none", "squash": "tanh"},
    "adsh_attention": {"attention": "guided", "squash": "tanh"},
    "ksh": None,
    "lsh": None,
}


def complete_form(form: Form | None, width: int, channels: int, cells: int) -> Form:
    """Arguments of its HashNet but the bits, {} for a projection."""
    return {} if form is None else {**form, "channels": channels, "cells": cells, "width": width}

"""What the network of each hashing recipe looks like: arguments of `stages.hashnet.HashNet`, where
`earlier` and `classes` stand for their numbers; a recipe without one trains no network.
"""

from typing import Any

Form = dict[str, Any]

# of adsh_attention, as models of version 0.1 have it
FIRST_READING: Form = {"attention": "guided", "squash": "tanh"}
FORMS: dict[str, Form | None] = {
    "am_vggh": {"attention": "cbam", "squash": "sigmoid"},
    "vggh": {"attention": "none", "squash": "sigmoid"},
    "dpsh": {"attention": "none", "squash": "linear"},
    "dnnh": {"attention": "none", "squash": "sigmoid", "slices": 8},
    "cnnh_plus": {"attention": "none", "squash": "sigmoid"},
    "cnnh": {"attention": "none", "squash": "sigmoid"},
    "adsh": {"attention": "none", "squash": "tanh"},
    "adsh_attention": {**FIRST_READING, "earlier": True, "classes": True},
    "ksh": None,
    "lsh": None,
}


def reads_earlier(form: Form | None) -> bool:
    """Whether the network reads an earlier map beside the last one."""
    return bool(form and form.get("earlier"))


def complete_form(
    form: Form | None, width: int, channels: int, cells: int, earlier: int = 0, classes: int = 0
) -> Form:
    """Arguments of its HashNet but the bits, {} for a projection. channels: of the last map;
    earlier: those of the trunk's earlier one; classes: how many.
    """
    if form is None:
        return {}
    numbers = {"earlier": earlier, "classes": classes}
    wanted = {name: number for name, number in numbers.items() if form.get(name)}
    return {**form, **wanted, "channels": channels, "cells": cells, "width": width}

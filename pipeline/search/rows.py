"""Which indexed photo a person means by a name: the one place where names that were typed, or that
another program wrote, meet those of a gallery.
"""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from pipeline.base.names import composed, nearest_text


@dataclass(frozen=True, eq=False)
class Rows(Mapping[str, int]):
    """The row of each indexed name, also where it is written otherwise: with its accents apart or
    in one, with `./` or `//`, or without the label of its folder. A name that several photos could
    mean means none.
    """

    names: tuple[str, ...]
    prefixes: tuple[str, ...] = ()  # of several folders: what the names in each begin with

    def __getitem__(self, name: str) -> int:
        row = self._exact.get(name)
        if row is None:
            plain = composed(os.path.normpath(name))
            below = {self._alike.get(composed(prefix) + plain) for prefix in self.prefixes} - {None}
            row = self._alike.get(plain, below.pop() if len(below) == 1 else None)
        if row is None:
            raise KeyError(name)
        return row

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)

    def nearest(self, name: str) -> str:
        """What stands behind "got NAME" of one that is not here."""
        return nearest_text(name, self.names)

    @cached_property
    def _exact(self) -> dict[str, int]:
        return {name: row for row, name in enumerate(self.names)}

    @cached_property
    def _alike(self) -> dict[str, int | None]:
        found: dict[str, int | None] = {}
        for row, name in enumerate(self.names):
            plain = composed(name)
            found[plain] = None if plain in found else row
        return found

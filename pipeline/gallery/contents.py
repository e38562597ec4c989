"""The sha256 of each photo's bytes, 32 bytes a photo."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np

from stages.records import UInt8


@dataclass(frozen=True, eq=False)
class Contents(Sequence[str]):
    """(N,) hexadecimal, read as a sequence of str and kept as (N, 32) bytes."""

    digests: UInt8

    @classmethod
    def of(cls, hexadecimal: Iterable[str]) -> "Contents":
        """Raises ValueError for what is no sha256."""
        whole = bytearray()
        for each in hexadecimal:
            whole += bytes.fromhex(each)
            if len(each) != 64 or len(whole) % 32:
                raise ValueError(f"expected a sha256, got {each}")
        return cls(np.frombuffer(bytes(whole), np.uint8).reshape(-1, 32))

    def __len__(self) -> int:
        return len(self.digests)

    @overload
    def __getitem__(self, place: int) -> str: ...
    @overload
    def __getitem__(self, place: slice) -> "Contents": ...
    def __getitem__(self, place: int | slice) -> "str | Contents":
        if isinstance(place, slice):
            return Contents(self.digests[place])
        return bytes(self.digests[place]).hex()

    def __iter__(self) -> Iterator[str]:
        return map(bytes.hex, rows_of(self.digests))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Contents):
            return NotImplemented
        return np.array_equal(self.digests, other.digests)

    __hash__ = None  # type: ignore[assignment]


def rows_of(digests: UInt8) -> Iterator[bytes]:
    """(P, 32) -> P; a memory map gives its rows one by one a hundred times slower."""
    whole = digests.tobytes()
    return (whole[begin : begin + 32] for begin in range(0, len(whole), 32))

"""What the tests of the server share."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import Tab, browsing
from serving import Served, serving


@pytest.fixture(scope="package")
def served(indexed_photos: Path) -> Iterator[Served]:
    with serving(indexed_photos) as here:
        yield here


@pytest.fixture(scope="package")
def tab() -> Iterator[Tab]:
    with browsing() as here:
        yield here

"""One node under fire for all modules here."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.fuzz.target import Target, target


@pytest.fixture(scope="package")
def running() -> Iterator[Target]:
    with target() as found:
        yield found

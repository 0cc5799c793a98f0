"""The overlay that the acceptance tests share; those that break theirs make their own."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from dmmp.demo.internet import Internet
from dmmp.demo.overlay import Overlay
from tests.acceptance.lab import CORE, MEMBERS, OTHERS, network, start_all

Networks = Callable[..., AbstractContextManager[Overlay]]


@pytest.fixture(scope="session")
def swept() -> None:
    """Remove what killed runs have left."""
    Internet.sweep()


@pytest.fixture
def directory() -> Iterator[Path]:
    """Give a directory with a short path: UNIX sockets need one (unix(7))."""
    with tempfile.TemporaryDirectory(prefix="dmmp-") as path:
        yield Path(path)


@pytest.fixture(scope="package")
def shared(swept: None) -> Iterator[Overlay]:
    """Give the overlay of 1 RP, 1 source, 3 super nodes and 12 members; leave it as it is."""
    with (
        tempfile.TemporaryDirectory(prefix="dmmp-") as path,
        network([*CORE, *MEMBERS, *OTHERS], Path(path)) as overlay,
    ):
        start_all(overlay)
        yield overlay

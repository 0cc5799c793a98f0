"""zenoh over TCP: not for programs that use multicast, but for programs written to it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Final

from tests.bench.peers.system import SOURCE, System

PROGRAM: Final = "tests.bench.peers.zenoh_program"
PORT: Final = 7447


class Zenoh(System):
    """The publisher feeds every subscriber itself; the programs are all there is."""

    name = "zenoh (own programs)"

    @classmethod
    def why_not(cls) -> str:
        """It is on PyPI."""
        found = find_spec("zenoh")
        return "" if found else "eclipse-zenoh is not installed (make bench-peers installs it)"

    def start(self) -> None:
        """Have nothing to start."""

    def send_command(self, ordinary: Sequence[str]) -> list[str]:
        """Publish instead."""
        return self._instead(ordinary)

    def receive_command(self, ordinary: Sequence[str]) -> list[str]:
        """Subscribe instead."""
        return self._instead(ordinary)

    def _instead(self, ordinary: Sequence[str]) -> list[str]:
        at = f"ZENOH_AT={self.internet[SOURCE].address}:{PORT}"
        return ["env", at, sys.executable, "-m", PROGRAM, *ordinary[1:]]

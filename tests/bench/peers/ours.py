"""Ours: a source that feeds all receivers, or a super node between them."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from dmmp.demo.admission import CERTIFICATES, NONE
from dmmp.demo.internet import Internet
from dmmp.demo.overlay import Overlay
from tests.bench.peers.system import EXTRA, RECEIVERS, SOURCE, System


class Dmmp(System):
    """The nodes of the command line, all receivers directly below the source."""

    name = "dmmp"
    interface = "dmmp0"
    words: Final[tuple[str, ...]] = ()
    security = CERTIFICATES

    def __init__(self, internet: Internet, directory: Path) -> None:
        super().__init__(internet, directory)
        self.overlay = Overlay(internet, directory, security=self.security)

    def start(self) -> None:
        """Start the nodes, and wait until each has its place."""
        overlay = self.overlay
        overlay.rp(EXTRA)
        overlay.source(SOURCE, "--out-degree", str(len(RECEIVERS)), *self.words)
        overlay.wait_joined()
        for name in RECEIVERS:
            overlay.member(name, "--out-degree", "8", *self.words)
        overlay.wait_joined()

    def stop(self) -> None:
        """End the nodes, those that depend on others first."""
        self.overlay.close()

    def processes(self) -> list[int]:
        """List the nodes."""
        return [node.process.pid for node in self.overlay if node.is_running]


class DmmpPlain(Dmmp):
    """The same without security: nothing is sealed, signed or proven."""

    name = "dmmp, no security"
    security = NONE

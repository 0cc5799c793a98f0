"""Signals that end a node: the first in good order, the second at once."""

from __future__ import annotations

import asyncio
import signal
from contextlib import suppress
from typing import Any

from dmmp.runtime.driver import Driver


class Stop:
    """SIGTERM, SIGINT and SIGHUP: the first leaves in good order, the second at once."""

    def __init__(self) -> None:
        self.driver: Driver | None = None
        self._asked = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            with suppress(ValueError, NotImplementedError, RuntimeError):
                # Not in the main thread, as in tests: then signals are not ours to take.
                loop.add_signal_handler(number, self._on_signal)

    def _on_signal(self) -> None:
        self._asked.set()
        if self.driver is not None:
            self.driver.stop()

    async def unless_stopped(self, task: Any) -> Any:
        """Await a coroutine; None if we are stopped before it ends."""
        working = asyncio.ensure_future(task)
        stopped = asyncio.ensure_future(self._asked.wait())
        await asyncio.wait((working, stopped), return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        if working.done():
            return working.result()
        working.cancel()
        return None

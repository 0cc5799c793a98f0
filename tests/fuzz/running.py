"""Running inputs through a target, within a bound of time, and telling what was found.

For the tests and for repeating a finding; atheris has its own loop and uses `bounded` only.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from types import FrameType
from typing import NamedTuple

from tests.fuzz.target import Target

HANGS_AFTER = 5.0
"""Seconds of this process's own time, not the clock's, after which an input is an endless loop."""


class Hangs(Exception):
    """An input takes so long that it may never end."""


class Finding(NamedTuple):
    """An input that does what none may do, and what that was."""

    data: bytes
    error: Exception


def bounded(test_one: Callable[[bytes], None]) -> Callable[[bytes], None]:
    """Make the same function, which raises `Hangs` where it would go on for ever.

    Only in the main thread of a process, because only that hears signals.
    """
    if threading.current_thread() is not threading.main_thread():
        return test_one

    def late(number: int, frame: FrameType | None) -> None:
        raise Hangs(f"more than {HANGS_AFTER:g} s of processor time")

    def run(data: bytes) -> None:
        signal.setitimer(signal.ITIMER_VIRTUAL, HANGS_AFTER)
        try:
            test_one(data)
        finally:
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)

    signal.signal(signal.SIGVTALRM, late)
    return run


def findings(target: Target, inputs: Iterable[bytes]) -> Iterator[Finding]:
    """Run inputs, and yield those that are findings."""
    run = bounded(target.test_one)
    for data in inputs:
        try:
            run(data)
        except Exception as error:
            yield Finding(data, error)

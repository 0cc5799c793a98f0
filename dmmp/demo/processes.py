"""Ending processes in order: ask, wait, insist. Only ever those whose ids the caller names."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Final

PATIENCE: Final = 3.0
"""How long a process has to leave in order after SIGTERM."""

POLL: Final = 0.02


def stop_all(processes: Sequence[subprocess.Popen[str]], patience: float = PATIENCE) -> None:
    """Terminate the processes that still run, all at once, and kill those that do not listen."""
    for process in processes:
        if process.poll() is None:
            process.terminate()
    deadline = time.monotonic() + patience
    for process in processes:
        try:
            process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()
        if process.stderr is not None:
            process.stderr.close()


def kill_all(process_ids: Iterable[int], patience: float = PATIENCE) -> None:
    """Kill processes that are not our children, and wait until they are gone."""
    left = set(process_ids) - {os.getpid()}
    for process_id in left:
        with suppress(ProcessLookupError):
            os.kill(process_id, signal.SIGKILL)
    deadline = time.monotonic() + patience
    while left and time.monotonic() < deadline:
        left = {process_id for process_id in left if _is_running(process_id)}
        if left:
            time.sleep(POLL)


def _is_running(process_id: int) -> bool:
    """Tell whether it runs; a zombie does not, and only its own parent can end that."""
    try:
        with open(f"/proc/{process_id}/stat", encoding="ascii", errors="replace") as stat:
            return stat.read().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False

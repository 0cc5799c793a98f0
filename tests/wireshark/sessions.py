"""Captures of real sessions: everything that passes the router of a small Internet, once each."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dmmp.demo.internet import Internet

BUFFER_MEGABYTES = 128
START_PATIENCE = 10.0
DRAIN = 0.5


@contextmanager
def captured(internet: Internet, path: Path) -> Iterator[None]:
    """Capture what the hosts send while the block runs, without a gap."""
    log = path.with_suffix(".log")
    # What a host sends comes in at the router; what goes out to another one is the same again.
    words = ("-i", "any", "-f", "inbound and (ip or ip6)", "-B", str(BUFFER_MEGABYTES), "-w", path)
    with log.open("w") as said:
        process = internet.router.popen(
            "dumpcap", "-q", *words, standard_output=said, standard_error=said
        )
    deadline = time.monotonic() + START_PATIENCE
    while "File: " not in log.read_text():
        assert process.poll() is None and time.monotonic() < deadline, log.read_text()
        time.sleep(0.05)
    try:
        yield
        time.sleep(DRAIN)
    finally:
        process.terminate()
        process.wait()
    (counts,) = [line for line in log.read_text().splitlines() if "received/dropped" in line]
    assert "/0 (pcap:0/dumpcap:0/" in counts

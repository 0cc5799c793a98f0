"""Sends the datagrams of a capture once more, as they were, under the addresses they came from.

Row 7 of the threat table: nothing may change, nothing may be delivered twice.
"""

from __future__ import annotations

import sys
import time
from argparse import ArgumentParser
from collections.abc import Iterator
from pathlib import Path

from dmmp.captures import Captured, packets_of_capture
from dmmp.types import DEFAULT_PORT
from tests.attackers.wire import flood, packet, report


def read(path: Path, port: int = DEFAULT_PORT) -> list[Captured]:
    """Read a capture's datagrams from or to a port, each once: bridges and routers show copies."""
    found: dict[tuple[object, ...], Captured] = {}
    for each in packets_of_capture(path.read_bytes(), port):
        if each.source.address.version == 4:
            found.setdefault((each.source, each.destination, each.payload), each)
    return list(found.values())


def packets(captured: list[Captured]) -> Iterator[bytes]:
    """Make the packets, in their order."""
    for each in captured:
        yield packet(each.payload, each.source, each.destination)


def main() -> int:
    """Run as a program."""
    arguments = ArgumentParser(description=__doc__)
    arguments.add_argument("capture", type=Path, help="pcap or pcapng")
    arguments.add_argument("--port", type=int, default=DEFAULT_PORT)
    arguments.add_argument("--wait", type=float, default=0.0, help="seconds until it begins")
    arguments.add_argument("--rate", type=float, help="datagrams a second; else at once")
    options = arguments.parse_args()
    captured = read(options.capture, options.port)
    time.sleep(options.wait)
    report(flood(packets(captured), options.rate), captured=len(captured))
    return 0


if __name__ == "__main__":
    sys.exit(main())

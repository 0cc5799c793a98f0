"""Takes sealed datagrams of a capture and sends them from another address: here I am now.

Row 9 of the threat table: what a host sends must not follow whoever repeats it elsewhere.
"""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from collections.abc import Iterable, Iterator
from pathlib import Path

from dmmp.captures import Captured
from dmmp.messages.options import Option
from dmmp.types import DEFAULT_PORT, Endpoint
from tests.attackers.replayer import read
from tests.attackers.wire import flood, packet, parse_endpoint, report


def sealed(captured: Iterable[Captured]) -> list[Captured]:
    """Choose the sealed ones."""
    return [each for each in captured if int.from_bytes(each.payload[2:4]) == Option.SEALED]


def packets(captured: Iterable[Captured], source: Endpoint) -> Iterator[bytes]:
    """Make the packets, from elsewhere."""
    for each in captured:
        yield packet(each.payload, source, each.destination)


def main() -> int:
    """Run as a program."""
    arguments = ArgumentParser(description=__doc__)
    arguments.add_argument("capture", type=Path, help="pcap or pcapng")
    arguments.add_argument("source", type=parse_endpoint, help="where they shall come from")
    arguments.add_argument("--port", type=int, default=DEFAULT_PORT)
    arguments.add_argument("--rate", type=float)
    options = arguments.parse_args()
    chosen = sealed(read(options.capture, options.port))
    report(flood(packets(chosen, options.source), options.rate), captured=len(chosen))
    return 0


if __name__ == "__main__":
    sys.exit(main())

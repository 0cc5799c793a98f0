"""What was on the wires: the capture of the router, through which every datagram passes, decoded.

Each datagram is there once, as it came from its sender, before any loss. Instants are seconds since
1970, addresses those of the hosts. Everything but `Capturing` is pure.
"""

from __future__ import annotations

import subprocess
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from dmmp.captures import Captured, packets_of_capture
from dmmp.demo.internet import Host, InternetError
from dmmp.errors import DecodeError
from dmmp.messages import decode
from dmmp.messages.header import FLAG_MANIFEST, FLAG_SEALED, FLAG_SIGNED, read_header
from dmmp.messages.options import Option
from dmmp.types import IpAddress
from interop.matrix.contract import PORT

ROOM_MIB: Final = "16"
STREAM_BYTES: Final = 1000
"""Datagrams of so many bytes are the stream's, not control; what probes a path is told by code."""

OPEN: Final = frozenset(
    {
        Option.HANDSHAKE_INITIATION,
        Option.HANDSHAKE_RESPONSE,
        Option.COOKIE_REPLY,
        Option.SEALED,
        Option.HOP_SEALED,
    }
)
"""What passes under its own name in a secured session, beside sealed data (security.md)."""


class Capturing:
    """dumpcap at the router, until it is ended."""

    def __init__(self, router: Host, path: Path) -> None:
        self.path = path
        self._process = router.popen(
            *("dumpcap", "-P", "-q", "-B", ROOM_MIB, "-i", "any"),
            *("-f", f"inbound and udp port {PORT}", "-w", path),
            standard_output=subprocess.DEVNULL,
            standard_error=subprocess.PIPE,
        )
        assert self._process.stderr is not None
        said = ""
        while not said.startswith("File: "):
            said = self._process.stderr.readline()
            if not said:
                raise InternetError("dumpcap cannot capture: is it installed, and this root?")

    def end(self) -> None:
        """End it; the file is whole then."""
        self._process.terminate()
        self._process.communicate()

    def so_far(self) -> list[Captured]:
        """Read what is there already."""
        return read_capture(self.path.read_bytes())


def read_capture(content: bytes) -> list[Captured]:
    """List the datagrams from or to the port; a file that is still written ends somewhere."""
    found: list[Captured] = []
    with suppress(DecodeError):
        found.extend(packets_of_capture(content, PORT))
    return found


def option_of(packet: Captured) -> int:
    """Give a datagram's option code; -1 if it is too short to have one."""
    return int.from_bytes(packet.payload[2:4], "big") if len(packet.payload) >= 4 else -1


def of_option(
    packets: Sequence[Captured], *options: Option, sender: IpAddress | None = None
) -> Iterator[Captured]:
    """Yield the datagrams of these kinds, from one host if it is named."""
    for packet in packets:
        if option_of(packet) in options and sender in (None, packet.source.address):
            yield packet


def malformed(packets: Sequence[Captured]) -> list[str]:
    """List the datagrams that our codec does not take, each with the reason."""
    found = []
    for packet in packets:
        try:
            decode(packet.payload)
        except DecodeError as error:
            found.append(f"frame {packet.number} from {packet.source}: {error}")
    return found


def in_the_clear(packets: Sequence[Captured]) -> list[str]:
    """List what a secured session must not show: control, and data that is not sealed."""
    found = []
    for packet in packets:
        option = option_of(packet)
        if option in OPEN:
            continue
        if option == Option.DATA:
            word = read_header(packet.payload).reserved
            if word & FLAG_SEALED and not word & (FLAG_MANIFEST | FLAG_SIGNED):
                continue
        name = Option(option).name if option in list(Option) else f"{option:#06x}"
        found.append(f"frame {packet.number} from {packet.source}: {name} in the clear")
    return found


def epochs(packets: Sequence[Captured]) -> list[int]:
    """List the key epochs of sealed data in the order in which they came."""
    seen: dict[int, None] = {}
    for packet in of_option(packets, Option.DATA):
        word = read_header(packet.payload).reserved
        if word & FLAG_SEALED:
            seen[word >> 16 & 0xFF] = None
    return list(seen)


def of_stream(
    packets: Sequence[Captured],
    to: Collection[IpAddress],
    since: float = 0.0,
    until: float = float("inf"),
) -> Iterator[Captured]:
    """Yield the stream's datagrams to these addresses in a time; sealed from hop to hop too."""
    for packet in packets:
        if packet.destination.address not in to or not since <= packet.time <= until:
            continue
        if len(packet.payload) >= STREAM_BYTES and option_of(packet) in (
            Option.DATA,
            Option.HOP_SEALED,
        ):
            yield packet


def parent_of(packets: Sequence[Captured], to: IpAddress) -> IpAddress | None:
    """Tell who feeds a host: the sender of most of the last stream datagrams that went there."""
    senders = [packet.source.address for packet in of_stream(packets, (to,))][-20:]
    return max(set(senders), key=senders.count) if senders else None

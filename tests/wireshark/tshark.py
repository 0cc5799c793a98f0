"""What the tests of the dissector share: captures of given datagrams, and tshark's reading of them.

tshark is asked for PDML, which has every field with its name, bytes and place, in their order.
"""

from __future__ import annotations

import os
import re
import struct
import subprocess
import tempfile
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from dmmp.types import DEFAULT_PORT

ROOT = Path(__file__).resolve().parents[2]
DISSECTOR = ROOT / "interop" / "wireshark" / "dmmp.lua"
PROTOCOL = "dmmp"
ERROR = str(0x800000)
"""Of `_ws.expert.severity`; a warning is 0x600000."""

HEXADECIMAL = re.compile("([0-9a-f]{2})*")

HOST_1, HOST_2 = bytes((10, 0, 0, 1)), bytes((10, 0, 0, 2))
_RAW_IP = 101
_IP_BYTES, _UDP_BYTES = 20, 8
_ICMP, _UDP = 1, 17

CAPTURE_HEAD = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 1 << 18, _RAW_IP)
"""How a pcap of IP packets begins."""


class Sent(NamedTuple):
    """A datagram, from whom to whom (addresses of 4 bytes, and ports), how much was captured.

    `quoted` is how much of it an ICMP error quotes, which its receiver then sends back.
    """

    data: bytes
    source: tuple[bytes, int] = (HOST_1, DEFAULT_PORT)
    destination: tuple[bytes, int] = (HOST_2, DEFAULT_PORT)
    captured: int | None = None
    quoted: int | None = None


class Shown(NamedTuple):
    """A field: its name, what tshark says of it, its bytes, where it is, the fields below it."""

    name: str
    show: str
    label: str
    value: bytes
    at: int
    size: int
    below: tuple[Shown, ...]

    def everything(self) -> Iterator[Shown]:
        """List it and all below it, in their order."""
        yield self
        for each in self.below:
            yield from each.everything()


class Frame(NamedTuple):
    """A frame as tshark understood it: its protocols in their order."""

    protocols: tuple[Shown, ...]

    def everything(self) -> Iterator[Shown]:
        """List all fields, in their order."""
        for each in self.protocols:
            yield from each.everything()

    def messages(self) -> list[Shown]:
        """List what stands under DMMP, once for each datagram, what is sealed too."""
        return [each for each in self.everything() if each.name == PROTOCOL]

    def faults(self) -> set[str]:
        """Name the kinds of expert infos of ours in it."""
        start = f"{PROTOCOL}.expert."
        return {
            each.name.removeprefix(start)
            for each in self.everything()
            if each.name.startswith(start)
        }

    def has_error(self) -> bool:
        """Tell whether an expert info of ours says that a receiver must refuse this."""
        found = [each.below for each in self.everything() if each.name == "_ws.expert"]
        own = [below for below in found if below[0].name.startswith(f"{PROTOCOL}.expert.")]
        return any(ERROR in (each.show for each in below[1:]) for below in own)

    def texts(self, name: str) -> list[str]:
        """List what tshark says of the fields of this name."""
        return [each.show for each in self.everything() if each.name == name]


def write_capture(path: Path, datagrams: Iterable[Sent]) -> None:
    """Write a pcap of IPv4 packets, one for each datagram, 0.1 s apart."""
    records = [record(sent, number) for number, sent in enumerate(datagrams)]
    path.write_bytes(CAPTURE_HEAD + b"".join(records))


def record(sent: Sent, number: int) -> bytes:
    """Build what a pcap has of one datagram."""
    packet = _packet(sent)
    kept = len(packet)
    if sent.captured is not None:
        kept = _IP_BYTES + _UDP_BYTES + sent.captured
    seconds, tenths = divmod(number, 10)
    return struct.pack("<IIII", seconds, tenths * 100_000, kept, len(packet)) + packet[:kept]


def _packet(sent: Sent) -> bytes:
    (source, source_port), (destination, destination_port) = sent.source, sent.destination
    size = _UDP_BYTES + len(sent.data)
    udp = struct.pack("!HHHH", source_port, destination_port, size, 0) + sent.data
    packet = _ip(_UDP, source, destination, udp)
    if sent.quoted is None:
        return packet
    unreachable = struct.pack("!BBHI", 3, 3, 0, 0)
    quotation = packet[: _IP_BYTES + _UDP_BYTES + sent.quoted]
    return _ip(_ICMP, destination, source, unreachable + quotation)


def _ip(protocol: int, source: bytes, destination: bytes, payload: bytes) -> bytes:
    size = _IP_BYTES + len(payload)
    head = (0x45, 0, size, 0, 0, 64, protocol, 0, source, destination)
    return struct.pack("!BBHHHBBH4s4s", *head) + payload


def tshark(
    *words: str | os.PathLike[str],
    preferences: Mapping[str, str] | None = None,
    environment: Mapping[str, str] | None = None,
) -> str:
    """Run tshark, with the dissector unless there is an `environment`; give what it prints."""
    command = ["tshark", *(os.fspath(word) for word in words)]
    if environment is None:
        command += ["-X", f"lua_script:{DISSECTOR}"]
    for name, value in (preferences or {}).items():
        command += ["-o", f"{name}:{value}"]
    done = subprocess.run(
        command, capture_output=True, text=True, env=dict(os.environ, **(environment or {}))
    )
    assert done.returncode == 0, done.stderr
    assert "Lua: Error" not in done.stderr, done.stderr
    return done.stdout


def plugin_home(directory: Path) -> dict[str, str]:
    """Make a home whose tshark has the dissector as a plugin; give the environment for it."""
    plugins = directory / ".local/lib/wireshark/plugins"
    plugins.mkdir(parents=True)
    (plugins / DISSECTOR.name).write_text(DISSECTOR.read_text())
    return {"HOME": str(directory), "XDG_CONFIG_HOME": str(directory / ".config")}


def dissected(
    datagrams: Sequence[Sent | bytes], preferences: Mapping[str, str] | None = None
) -> list[Frame]:
    """Have tshark take datagrams apart, in two passes as Wireshark does; one frame for each."""
    with tempfile.TemporaryDirectory(prefix="dmmp-") as directory:
        path = Path(directory) / "sent.pcap"
        sent = [each if isinstance(each, Sent) else Sent(each) for each in datagrams]
        write_capture(path, sent)
        frames = frames_of(path, "frame", preferences)
    assert len(frames) == len(datagrams)
    return frames


def frames_of(path: Path, wanted: str, preferences: Mapping[str, str] | None = None) -> list[Frame]:
    """Take the frames of a capture apart that match, in two passes as Wireshark does."""
    shown = tshark("-2", "-r", path, "-Y", wanted, "-T", "pdml", preferences=preferences)
    return [_frame(packet) for packet in ElementTree.fromstring(shown).iter("packet")]


def columns(
    path: Path, wanted: str, *names: str, preferences: Mapping[str, str] | None = None
) -> list[tuple[str, ...]]:
    """List fields of the frames of a capture that match; a field's values are parted by commas."""
    words = [word for name in names for word in ("-e", name)]
    lines = tshark("-r", path, "-Y", wanted, "-T", "fields", *words, preferences=preferences)
    return [tuple(line.split("\t")) for line in lines.splitlines()]


def _frame(packet: ElementTree.Element) -> Frame:
    return Frame(tuple(_shown(each) for each in packet))


def _shown(element: ElementTree.Element) -> Shown:
    value = element.get("value", "")  # Of others' bit fields: mask and bits.
    return Shown(
        element.get("name", ""),
        element.get("show", ""),
        element.get("showname", ""),
        bytes.fromhex(value) if HEXADECIMAL.fullmatch(value) else b"",
        int(element.get("pos", "0")),
        int(element.get("size", "0")),
        tuple(_shown(each) for each in element if each.get("hide") != "yes"),
    )

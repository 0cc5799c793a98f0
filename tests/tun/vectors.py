"""The recorded IGMP and MLD packets, as values; what they are is told in tests/vectors/README."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

VECTORS = Path(__file__).parent.parent / "vectors" / "igmp_mld.json"
ETHERNET_BYTES = 14


@dataclass(frozen=True)
class Vector:
    """One recorded packet without its Ethernet header, and what it was said to be."""

    name: str
    kind: str
    packet: bytes
    decoded: dict[str, object]

    @property
    def label(self) -> str:
        return str(self.decoded.get("label", ""))

    @property
    def records(self) -> list[tuple[str, str, tuple[str, ...]]]:
        listed = self.decoded["records"]
        assert isinstance(listed, list)
        return [(kind, group, tuple(sources)) for kind, group, sources in listed]

    @property
    def addresses(self) -> tuple[str, str]:
        source, destination = str(self.decoded["ip"]).split(">")
        return source, destination


@cache
def recorded() -> tuple[Vector, ...]:
    """Read all vectors but ARP, which is not IP."""
    listed = json.loads(VECTORS.read_text())["vectors"]
    vectors = [
        Vector(
            name=entry["name"],
            kind=entry["kind"],
            packet=bytes.fromhex(entry["hex"])[
                ETHERNET_BYTES if entry["link"] == "ethernet" else 0 :
            ],
            decoded=entry["decoded"],
        )
        for entry in listed
    ]
    return tuple(vector for vector in vectors if vector.packet[0] >> 4 in (4, 6))


def igmp_vectors() -> list[Vector]:
    """Give the IPv4 ones: all are IGMP."""
    return [vector for vector in recorded() if vector.packet[0] >> 4 == 4]


def mld_vectors() -> list[Vector]:
    """Give the IPv6 ones that are MLD by name or by the label of a crafted packet."""
    six = [vector for vector in recorded() if vector.packet[0] >> 4 == 6]
    return [vector for vector in six if "MLD" in vector.kind or "MLD" in vector.label]


def named(name: str) -> Vector:
    """Give one vector."""
    return next(vector for vector in recorded() if vector.name == name)

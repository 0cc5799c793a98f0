"""Inputs to begin with, from what the other tests have: message vectors, recorded packets.

Only readers; what a target makes of them is in its file.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

from tests.tun.vectors import recorded

MESSAGES = Path(__file__).parent.parent / "vectors" / "messages"


@cache
def message_vectors() -> tuple[bytes, ...]:
    """Read the datagrams of all message vectors."""
    return tuple(
        bytes.fromhex(vector["hex"])
        for path in sorted(MESSAGES.glob("*.json"))
        for vector in json.loads(path.read_text(encoding="utf-8"))["vectors"]
    )


@cache
def recorded_packets() -> tuple[bytes, ...]:
    """Read the recorded IGMP and MLD packets, each once, as raw IP."""
    return tuple(dict.fromkeys(vector.packet for vector in recorded()))

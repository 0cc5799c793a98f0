"""Junk: noise of all lengths, and noise behind headers that look like the protocol's.

Row 1 of the threat table: it must cost the receiver no memory and no answer.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from random import Random

from dmmp.messages.header import HEADER, VERSION
from dmmp.messages.options import Option
from dmmp.types import STUN_MAGIC
from tests.attackers.wire import parser, run

POOL = 4096
"""Datagrams that are drawn; they are sent again and again, one bit of each changed."""

OPTIONS = tuple(int(option) for option in Option)


def junk(dice: Random) -> Iterator[bytes]:
    """Give junk without end."""
    pool = [bytearray(one(dice)) for _ in range(POOL)]
    while True:
        for datagram in pool:
            if datagram:
                datagram[int(dice.random() * len(datagram))] ^= 1 << int(dice.random() * 8)
            yield bytes(datagram)


def one(dice: Random) -> bytes:
    """Make one: noise, or noise behind a header of some option, or what other protocols send."""
    kind, size = dice.random(), min(int(dice.expovariate(1 / 200)), 1400)
    body = dice.randbytes(size)
    if kind < 0.3:
        return body
    if kind < 0.35:
        return b"\0\1\0\0" + STUN_MAGIC.to_bytes(4, "big") + body
    option = dice.choice(OPTIONS) if kind < 0.9 else dice.getrandbits(16)
    length = size if kind < 0.8 else dice.getrandbits(32)
    session, source = dice.getrandbits(32), dice.getrandbits(32)
    head = (VERSION, 0, option, session, source, dice.getrandbits(32), dice.getrandbits(32), length)
    return HEADER.pack(*head) + body


def main() -> int:
    """Run as a program."""
    return run(parser(__doc__).parse_args(), junk)


if __name__ == "__main__":
    sys.exit(main())

"""Data in upstream's name, by somebody who is not on the path and guesses what it cannot see.

The session's id follows from its name; origin and number it must guess. Row 4 of the threat table.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from hashlib import sha256
from random import Random

from dmmp.messages.header import HEADER
from tests.attackers.wire import parser, run
from tests.attackers.wrong_keys import DATA, Known

_ORIGIN = slice(8, 12)

assert HEADER.size == 24


def session_of(name: str) -> int:
    """Derive a session's id, as every RP does."""
    return int.from_bytes(sha256(name.encode()).digest()[:4])


def blind(dice: Random, session: int, origin: int | None = None) -> Iterator[bytes]:
    """Give forged data without end; `origin` is guessed anew each time, unless it is known."""
    pool = []
    for _ in range(1024):
        known = Known(session, origin or 1, number=dice.getrandbits(32), spread=1 << 16)
        pool += [bytearray(make(known, dice)) for make in DATA]
    while True:
        for datagram in pool:
            if origin is None:
                datagram[_ORIGIN] = dice.getrandbits(28).to_bytes(4)
            datagram[-1 - int(dice.random() * 16)] ^= 1 << int(dice.random() * 8)
            yield bytes(datagram)


def main() -> int:
    """Run as a program: `--sources` is the parent in whose name it sends."""
    arguments = parser(__doc__)
    arguments.add_argument("--session", default="demo", help="the session's name")
    arguments.add_argument("--origin", type=lambda text: int(text, 16), help="the source's id")
    options = arguments.parse_args()
    session = session_of(options.session)
    return run(options, lambda dice: blind(dice, session, options.origin))


if __name__ == "__main__":
    sys.exit(main())

"""Handshakes from addresses that are not the sender's: valid mac1, a whole Noise message behind it.

Whoever knows the RP's public key, and all do, can make as many as he likes. Row 3 of the threat
table: the RP must keep no state for them, and a true host must still get in.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from random import Random

from dmmp.security.cookies import COOKIE_BYTES, mac1_key
from dmmp.security.handshakes import Said, write_initiation
from dmmp.security.identity import Mode, prologue
from dmmp.security.noise import Initiator, KeyPair
from dmmp.security.peer import Party
from dmmp.security.session_file import SessionFile
from tests.attackers.wire import parser, run

POOL = 2048
"""Initiations that are made beforehand; mac1 does not cover the address, so each serves many."""


def openings(
    dice: Random,
    static_key: bytes,
    common: bytes,
    wall: float,
    party: Party | None = None,
    noise: bool = False,
) -> Iterator[bytes]:
    """Give initiations without end: nobody has signed the credential, unless a `party` is given.

    `common` is the session's prologue, `wall` the time to claim, in seconds since 1970; with
    `noise` they pretend to bear a cookie.
    """
    key = mac1_key(static_key)
    own = KeyPair(dice.randbytes(32) if party is None else party.static_secret)
    pool = []
    for number in range(POOL):
        shown = dice.randbytes(380) if party is None else party.credential
        said = Said(int(wall * 1e6) + number, dice.getrandbits(64), shown)
        begun = Initiator(own, static_key, common, KeyPair(dice.randbytes(32)))
        cookie = dice.randbytes(COOKIE_BYTES) if noise else None
        pool.append(write_initiation(begun, dice.getrandbits(32) | 1, said, key, cookie))
    while True:
        yield from pool


def main() -> int:
    """Run as a program."""
    arguments = parser(__doc__)
    arguments.add_argument("--session-file", type=Path, required=True, help="as every host has it")
    arguments.add_argument("--wall", type=float, default=0.0, help="seconds since 1970 to claim")
    arguments.add_argument("--key", help="static key (hexadecimal) of who is called; else the RP's")
    arguments.add_argument("--noise", action="store_true", help="mac2 as if they had a cookie")
    options = arguments.parse_args()
    file = SessionFile.parse(options.session_file.read_text())
    key = file.rendezvous_points[0].static_key
    if options.key is not None:
        key = bytes.fromhex(options.key)
    common = prologue(Mode.CERTIFICATES, file.session)
    return run(options, lambda dice: openings(dice, key, common, options.wall, noise=options.noise))


if __name__ == "__main__":
    sys.exit(main())

"""Everything of the right shape and under the right addresses, but with keys that are not theirs.

Sealed messages, handshakes whose mac1 holds, cookie replies, data, manifests, signed packets,
heartbeats and certificates: what who sees the wire could make that has no key. Rows 1, 4 and 10.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from random import Random

from dmmp.messages import encode
from dmmp.messages.data import Credential, Heartbeat
from dmmp.messages.header import (
    EPOCH_SHIFT,
    FLAG_HEARTBEAT,
    FLAG_MANIFEST,
    FLAG_SEALED,
    FLAG_SIGNED,
    HEADER,
    VERSION,
)
from dmmp.messages.options import Option, TlvType
from dmmp.messages.schema import Tlv
from dmmp.security.cookies import NO_MAC, mac, mac1_key
from dmmp.security.manifest import DIGEST_BYTES
from dmmp.security.signing import SIGNATURE_BYTES
from dmmp.types import HostId, IpAddress, SessionId
from tests.attackers.wire import endpoint, parser, run

POOL = 1024
"""Datagrams of one kind that are drawn; they are sent again and again, with other numbers."""

NUMBERS = slice(12, 16)


@dataclass(frozen=True, slots=True)
class Known:
    """What the attacker has seen: session, origin, channel, a number near those in use now.

    `group` and `source` are the channel's; `indexes` those of associations; `static_key` is the
    victim's, by which mac1 is made.
    """

    session: int = 1
    origin: int = 1
    channel: int = 1
    epoch: int = 1
    number: int = 1000
    spread: int = 512
    tree_version: int = 0
    group: IpAddress = endpoint("239.1.2.3").address
    source: IpAddress = endpoint("10.0.0.1").address
    indexes: tuple[int, ...] = ()
    static_key: bytes = bytes(32)

    def head(self, option: int, first: int, second: int, reserved: int, size: int) -> bytes:
        """Pack a header as hosts of the session do."""
        data = option <= Option.CREDENTIAL
        session, version = (self.session, self.tree_version) if data else (0, 0)
        return HEADER.pack(VERSION, version, option, session, first, second, reserved, size)


def _data(known: Known, dice: Random, flags: int, size: int) -> bytes:
    reserved = flags | known.epoch << EPOCH_SHIFT | known.channel
    number = known.number + dice.randrange(known.spread) & 0xFFFFFFFF
    return known.head(Option.DATA, known.origin, number, reserved, size) + dice.randbytes(size)


def sealed_data(known: Known, dice: Random) -> bytes:
    """Make a data packet whose tag and digest are noise."""
    return _data(known, dice, FLAG_SEALED, dice.randrange(16, 1400))


def signed_data(known: Known, dice: Random) -> bytes:
    """Make a data packet whose signature is noise."""
    return _data(known, dice, FLAG_SEALED | FLAG_SIGNED, dice.randrange(80, 1400))


def manifest(known: Known, dice: Random) -> bytes:
    """Make a manifest that lists the packets to come, under a signature that is noise."""
    size = 4 + DIGEST_BYTES * dice.randrange(1, 65) + SIGNATURE_BYTES
    made = bytearray(_data(known, dice, FLAG_MANIFEST, size))
    made[24:28] = (int.from_bytes(made[NUMBERS]) + 1 & 0xFFFFFFFF).to_bytes(4)
    return bytes(made)


def heartbeat(known: Known, dice: Random) -> bytes:
    """Make a heartbeat that tells of numbers far ahead, its signature noise."""
    return encode(
        Heartbeat(
            session=SessionId(known.session),
            source=HostId(known.origin),
            sequence=dice.getrandbits(31),
            tree_version=known.tree_version,
            reserved=FLAG_HEARTBEAT | known.epoch << EPOCH_SHIFT | known.channel,
            group=known.group,
            origin_address=known.source,
            highest=known.number + dice.randrange(known.spread),
            started=1,
            tlvs=(Tlv(TlvType.SIGNATURE, dice.randbytes(SIGNATURE_BYTES)),),
        )
    )


def credential(known: Known, dice: Random) -> bytes:
    """Make a certificate that no authority has signed."""
    return encode(
        Credential(
            session=SessionId(known.session),
            source=HostId(known.origin),
            certificate=dice.randbytes(380),
        )
    )


def _index(known: Known, dice: Random) -> int:
    return dice.choice(known.indexes) if known.indexes else dice.getrandbits(32)


def sealed(known: Known, dice: Random) -> bytes:
    """Make a sealed message for an association that exists, under no key at all."""
    size = dice.randrange(16, 400)
    counter = dice.getrandbits(16)
    return known.head(Option.SEALED, _index(known, dice), counter, 0, size) + dice.randbytes(size)


def _with_mac1(known: Known, datagram: bytes) -> bytes:
    return datagram + mac(mac1_key(known.static_key), datagram) + NO_MAC


def initiation(known: Known, dice: Random) -> bytes:
    """Make an initiation whose mac1 holds, and nothing else."""
    head = known.head(Option.HANDSHAKE_INITIATION, dice.getrandbits(32), 0, 0, 600 - 24)
    return _with_mac1(known, head + dice.randbytes(600 - 24 - 32))


def response(known: Known, dice: Random) -> bytes:
    """Make a response to a call that is open, if the index is one."""
    index = _index(known, dice)
    head = known.head(Option.HANDSHAKE_RESPONSE, dice.getrandbits(32), index, 0, 456)
    return _with_mac1(known, head + dice.randbytes(456 - 32))


def cookie_reply(known: Known, dice: Random) -> bytes:
    """Make a cookie reply that does not open."""
    return known.head(Option.COOKIE_REPLY, 0, _index(known, dice), 0, 44) + dice.randbytes(44)


Make = Callable[[Known, Random], bytes]

CONTROL: tuple[Make, ...] = (sealed, initiation, response, cookie_reply)
"""What claims to be control; an initiation whose mac1 holds may earn a cookie reply."""

DATA: tuple[Make, ...] = (sealed_data, signed_data, manifest, heartbeat, credential)
"""What claims to be data from upstream."""

SILENT: tuple[Make, ...] = (sealed, response, cookie_reply, *DATA)
"""All that must earn no answer."""


def wrong_keys(dice: Random, known: Known, kinds: tuple[Make, ...] = SILENT) -> Iterator[bytes]:
    """Give such datagrams without end, the kinds in turn."""
    pools = [[bytearray(make(known, dice)) for _ in range(POOL)] for make in kinds]
    while True:
        for number in range(POOL):
            for pool in pools:
                datagram = pool[number]
                datagram[-1 - int(dice.random() * 16)] ^= 1 << int(dice.random() * 8)
                yield bytes(datagram)


def number(text: str) -> int:
    """Read a number, hexadecimal with 0x."""
    return int(text, 0)


def main() -> int:
    """Run as a program."""
    arguments = parser(__doc__)
    for name in ("session", "origin", "channel", "epoch", "number", "tree-version"):
        arguments.add_argument(f"--{name}", type=number, default=1)
    arguments.add_argument("--index", type=number, action="append", default=[])
    arguments.add_argument("--static-key", type=bytes.fromhex, default=bytes(32))
    arguments.add_argument("--initiations", action="store_true", help="send those, too")
    options = arguments.parse_args()
    known = Known(
        session=options.session,
        origin=options.origin,
        channel=options.channel,
        epoch=options.epoch,
        number=options.number,
        tree_version=options.tree_version,
        indexes=tuple(options.index),
        static_key=options.static_key,
    )
    kinds = (*SILENT, initiation) if options.initiations else SILENT
    return run(options, lambda dice: wrong_keys(dice, replace(known), kinds))


if __name__ == "__main__":
    sys.exit(main())

"""Hostile datagrams without end: mutated examples and noise, the same for the same seed.

Cheap enough for a million. Most keep a header that fits, so that they reach what lies behind it.
For `decode`, and for every role and forwarder that is fed by it. Decision 5.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from random import Random

from dmmp.messages import encode
from dmmp.messages.header import HEADER_BYTES
from dmmp.types import STUN_MAGIC
from tests.examples import examples

Mutate = Callable[[bytearray, list[bytes], Random], None]


def datagrams(seed: int, count: int) -> Iterator[bytes]:
    """Yield `count` hostile datagrams."""
    rng = Random(seed)
    bases = [encode(message) for _, message in examples()]
    for _ in range(count):
        datagram = bytearray(bases[int(rng.random() * len(bases))])
        MUTATIONS[int(rng.random() * len(MUTATIONS))](datagram, bases, rng)
        yield bytes(datagram)


def _fit(datagram: bytearray) -> None:
    """Make the header announce the length there is."""
    if len(datagram) >= HEADER_BYTES:
        datagram[20:24] = (len(datagram) - HEADER_BYTES).to_bytes(4, "big")


def _change_header(datagram: bytearray, bases: list[bytes], rng: Random) -> None:
    datagram[int(rng.random() * HEADER_BYTES)] = int(rng.random() * 256)


def _change_bytes(datagram: bytearray, bases: list[bytes], rng: Random) -> None:
    span = len(datagram) - HEADER_BYTES
    for _ in range(1 + int(rng.random() * 4)):
        datagram[HEADER_BYTES + int(rng.random() * span)] = int(rng.random() * 256)


def _flip_bit(datagram: bytearray, bases: list[bytes], rng: Random) -> None:
    bit = int(rng.random() * len(datagram) * 8)
    datagram[bit >> 3] ^= 1 << (bit & 7)


def _cut(datagram: bytearray, bases: list[bytes], rng: Random) -> None:
    del datagram[int(rng.random() * len(datagram)) :]
    if rng.random() < 0.9:
        _fit(datagram)


def _insert(datagram: bytearray, bases: list[bytes], rng: Random) -> None:
    at = HEADER_BYTES + int(rng.random() * (len(datagram) - HEADER_BYTES + 1))
    datagram[at:at] = rng.randbytes(1 + int(rng.random() * 8))
    _fit(datagram)


def _splice(datagram: bytearray, bases: list[bytes], rng: Random) -> None:
    other = bases[int(rng.random() * len(bases))]
    at = HEADER_BYTES + int(rng.random() * (len(datagram) - HEADER_BYTES + 1))
    datagram[at:] = other[int(rng.random() * len(other)) :]
    _fit(datagram)


def _other_option(datagram: bytearray, bases: list[bytes], rng: Random) -> None:
    datagram[2:4] = bases[int(rng.random() * len(bases))][2:4]


def _append_element(datagram: bytearray, bases: list[bytes], rng: Random) -> None:
    high = 0x80 if rng.random() < 0.7 else 0
    length = int(rng.random() * 12)
    datagram += bytes((high, int(rng.random() * 4), 0, length))
    datagram += rng.randbytes(length) + bytes(-length % 4)
    _fit(datagram)


def _noise_body(datagram: bytearray, bases: list[bytes], rng: Random) -> None:
    datagram[HEADER_BYTES:] = rng.randbytes(int(rng.random() * 200))
    _fit(datagram)


def _noise(datagram: bytearray, bases: list[bytes], rng: Random) -> None:
    datagram[:] = rng.randbytes(int(rng.random() * 64))


def _stun(datagram: bytearray, bases: list[bytes], rng: Random) -> None:
    datagram[4:8] = STUN_MAGIC.to_bytes(4, "big")


MUTATIONS: tuple[Mutate, ...] = (
    _change_header,
    _change_bytes,
    _change_bytes,
    _flip_bit,
    _cut,
    _insert,
    _splice,
    _other_option,
    _append_element,
    _noise_body,
    _noise,
    _stun,
)
"""What may be done to an example; each as likely as the others."""

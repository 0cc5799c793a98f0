"""Seeded mutations of inputs: what the fast tests use in place of atheris, which not all have.

Blind to coverage, and the same for the same seed on every machine. Whole messages with headers
that fit are made in `tests.mutations`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from random import Random

Change = Callable[[bytearray, Sequence[bytes], Random], None]

INTERESTING = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


def mutations(
    bases: Sequence[bytes], count: int, seed: int, most_bytes: int = 1 << 16
) -> Iterator[bytes]:
    """Yield `count` changed inputs of at most `most_bytes`; without any base, of nothing."""
    rng = Random(seed)
    known = list(bases) or [b""]
    for _ in range(count):
        made = bytearray(known[rng.randrange(len(known))])
        for _ in range(rng.choice((1, 1, 1, 2, 4))):
            CHANGES[rng.randrange(len(CHANGES))](made, known, rng)
        yield bytes(made[:most_bytes])


def _place(made: bytearray, rng: Random) -> int:
    return rng.randrange(len(made) + 1)


def _set_byte(made: bytearray, known: Sequence[bytes], rng: Random) -> None:
    if made:
        made[rng.randrange(len(made))] = rng.randrange(256)


def _flip_bit(made: bytearray, known: Sequence[bytes], rng: Random) -> None:
    if made:
        made[rng.randrange(len(made))] ^= 1 << rng.randrange(8)


def _set_number(made: bytearray, known: Sequence[bytes], rng: Random) -> None:
    size = rng.choice((1, 2, 4))
    at = _place(made, rng)
    number = rng.choice(INTERESTING) & (1 << 8 * size) - 1
    made[at : at + size] = number.to_bytes(size, "big")


def _cut(made: bytearray, known: Sequence[bytes], rng: Random) -> None:
    del made[_place(made, rng) :]


def _remove(made: bytearray, known: Sequence[bytes], rng: Random) -> None:
    at = _place(made, rng)
    del made[at : at + rng.randrange(1, 9)]


def _insert(made: bytearray, known: Sequence[bytes], rng: Random) -> None:
    at = _place(made, rng)
    made[at:at] = rng.randbytes(rng.randrange(1, 9))


def _repeat(made: bytearray, known: Sequence[bytes], rng: Random) -> None:
    at = _place(made, rng)
    part = made[at : at + rng.randrange(1, 65)]
    made[at:at] = part * rng.randrange(1, 4)


def _splice(made: bytearray, known: Sequence[bytes], rng: Random) -> None:
    other = known[rng.randrange(len(known))]
    made[_place(made, rng) :] = other[rng.randrange(len(other) + 1) :]


CHANGES: tuple[Change, ...] = (
    _set_byte,
    _set_byte,
    _flip_bit,
    _set_number,
    _cut,
    _remove,
    _insert,
    _repeat,
    _splice,
)
"""What may be done to an input; each as likely as the others."""

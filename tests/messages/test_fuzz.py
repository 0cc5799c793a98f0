"""A million hostile datagrams into `decode`: only `DecodeError`, nothing kept. Decision 5."""

from __future__ import annotations

import gc
import sys
from collections import Counter
from pathlib import Path

import pytest

from dmmp.errors import DecodeError, DecodeReason
from dmmp.messages import decode
from tests.mutations import datagrams

PAGE_BYTES = 4096
REACHABLE = set(DecodeReason) - {
    DecodeReason.CHECKSUM,
    DecodeReason.TRAILING,
    DecodeReason.SEAL,
}
"""`CHECKSUM` belongs to other codecs; `TRAILING` needs luck, and has its own test."""


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE_BYTES


def _feed(seed: int, count: int) -> Counter[DecodeReason | None]:
    """Decode so many; count the outcomes, None for a message."""
    outcomes: Counter[DecodeReason | None] = Counter()
    for number, datagram in enumerate(datagrams(seed, count)):
        try:
            decode(datagram)
        except DecodeError as error:
            outcomes[error.reason] += 1
            assert 0 <= error.offset <= len(datagram), (seed, number, datagram.hex())
        except Exception as error:
            pytest.fail(f"seed {seed}, datagram {number}, {datagram.hex()}: {error!r}")
        else:
            outcomes[None] += 1
    return outcomes


def _check(seed: int, count: int) -> None:
    _feed(seed, 1000)
    gc.collect()
    blocks, resident = sys.getallocatedblocks(), _resident_bytes()
    outcomes = _feed(seed, count)
    gc.collect()
    assert sys.getallocatedblocks() - blocks < 500, "memory blocks were kept"
    assert _resident_bytes() - resident < 16 << 20, "the process grew"
    assert outcomes.total() == count
    assert set(outcomes) >= REACHABLE, "the mutations no longer reach every refusal"
    assert outcomes[None] > count // 5, "the mutations no longer leave messages"


def test_twenty_thousand() -> None:
    _check(seed=1, count=20_000)


@pytest.mark.slow
def test_a_million() -> None:
    _check(seed=2, count=1_000_000)


def test_the_same_seed_gives_the_same_datagrams() -> None:
    assert list(datagrams(7, 300)) == list(datagrams(7, 300))
    assert list(datagrams(7, 300)) != list(datagrams(8, 300))

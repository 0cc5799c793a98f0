"""Sealed bursts are opened whole or not at all, whatever numbers, sizes and tails they have."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dmmp.messages.header import FLAG_SEALED, HEADER, HEADER_BYTES, VERSION
from dmmp.messages.options import Option
from dmmp.security.data_keys import BLOCK_BITS, TAG_BYTES, DataKeys, opened, sealed
from dmmp.security.signing import SIGNATURE_BYTES

SESSION, ORIGIN, CHANNEL, EPOCH = 5, 77, 3, 1
ORIGIN_KEY = SESSION << 32 | ORIGIN
RESERVED = FLAG_SEALED | EPOCH << 16 | CHANNEL
BLOCK = 1 << BLOCK_BITS

TAILS = st.sampled_from((0, SIGNATURE_BYTES))
NUMBERS = st.sampled_from((0, 1, BLOCK - 2, BLOCK - 1, BLOCK, 5 * BLOCK - 3, (1 << 32) - 1))


def held() -> DataKeys:
    keys = DataKeys()
    keys.install(ORIGIN_KEY, EPOCH, b"s" * 32, 0.0)
    return keys


def packet(keys: DataKeys, number: int, payload: bytes, tail: int) -> bytes:
    """Seal a packet as the origin does; zeros stand where a signature would."""
    cipher = keys.cipher(ORIGIN_KEY, RESERVED, number)
    assert cipher is not None
    size = len(payload) + TAG_BYTES + tail
    head = HEADER.pack(VERSION, 0, Option.DATA, SESSION, ORIGIN, number, RESERVED, size)
    return sealed(cipher, head, payload) + bytes(tail)


@given(st.lists(NUMBERS, min_size=1, max_size=12), st.integers(0, 40), st.data(), TAILS)
def test_a_burst_opens_to_its_headers_and_payloads(
    numbers: list[int], size: int, data: st.DataObject, tail: int
) -> None:
    keys = held()
    # Only the last one may be shorter.
    sizes = [size] * (len(numbers) - 1) + [data.draw(st.integers(0, size))]
    payloads = [bytes([at + 1]) * length for at, length in enumerate(sizes)]
    packets = [
        packet(keys, number, payload, tail)
        for number, payload in zip(numbers, payloads, strict=True)
    ]
    burst = b"".join(packets)
    expected = b"".join(
        each[:HEADER_BYTES] + payload for each, payload in zip(packets, payloads, strict=True)
    )
    stride = len(packets[0])
    assert opened(keys, ORIGIN_KEY, RESERVED, burst, stride, tail) == expected
    assert opened(keys, ORIGIN_KEY, RESERVED, memoryview(burst), stride, tail) == expected


@given(st.integers(1, 6), st.data(), TAILS)
def test_one_changed_bit_anywhere_opens_nothing(count: int, data: st.DataObject, tail: int) -> None:
    keys = held()
    packets = [packet(keys, BLOCK - 2 + at, b"payload", tail) for at in range(count)]
    burst = bytearray(b"".join(packets))
    stride = len(packets[0])
    at = data.draw(st.integers(0, count - 1)) * stride + data.draw(
        st.integers(0, stride - tail - 1)
    )
    burst[at] ^= 1 << data.draw(st.integers(0, 7))
    assert opened(keys, ORIGIN_KEY, RESERVED, bytes(burst), stride, tail) is None


@given(st.integers(0, 3), st.integers(1, HEADER_BYTES + TAG_BYTES), TAILS)
def test_a_last_packet_too_short_for_a_tag_opens_nothing(
    whole: int, missing: int, tail: int
) -> None:
    keys = held()
    full = packet(keys, 9, b"", tail)
    stride = len(full)
    burst = full * whole + full[: stride - missing]
    if len(burst) > whole * stride:
        assert opened(keys, ORIGIN_KEY, RESERVED, burst, stride, tail) is None


def test_nothing_opens_without_the_secret_of_its_epoch() -> None:
    keys = held()
    burst = packet(keys, 1, b"payload", 0)
    other = RESERVED + (1 << 16)
    assert opened(keys, ORIGIN_KEY, RESERVED, burst, len(burst), 0) is not None
    assert opened(keys, ORIGIN_KEY, other, burst, len(burst), 0) is None
    assert opened(DataKeys(), ORIGIN_KEY, RESERVED, burst, len(burst), 0) is None

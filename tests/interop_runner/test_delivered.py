"""Deliveries are held against the stream byte by byte."""

from __future__ import annotations

import pytest

from interop.endpoint.stream import DATAGRAM_BYTES, datagram, parse_flow
from interop.matrix.delivered import last_number, read_delivered


def content(*numbers: int) -> bytes:
    return b"".join(datagram(number, 1000 + number) for number in numbers)


def test_what_was_sent_is_recognised_in_any_order() -> None:
    got = read_delivered(content(3, 5, 4, 8))
    assert (got.numbers, got.foreign) == ((3, 5, 4, 8), 0)
    assert (got.missing(3, 8), got.missing(3, 5), got.repeated) == (2, 0, 0)
    assert (got.last, last_number(content(3, 5, 4))) == (8, 4)


def test_each_datagram_has_the_size_that_it_is_cut_by() -> None:
    assert len(datagram(7, 0)) == DATAGRAM_BYTES
    assert datagram(7, 0)[16:] != datagram(8, 0)[16:]


@pytest.mark.parametrize("at", [0, 7, 16, 700, DATAGRAM_BYTES - 1])
def test_a_wrong_byte_anywhere_makes_it_foreign(at: int) -> None:
    """But for the instant of sending, which is nobody's to judge."""
    wrong = bytearray(content(1, 2))
    wrong[DATAGRAM_BYTES + at] ^= 1
    assert read_delivered(bytes(wrong)) == ((1,), 1)


def test_what_comes_again_is_counted() -> None:
    assert read_delivered(content(1, 2, 1, 1)).repeated == 2


def test_a_piece_is_foreign_and_none_is_nothing() -> None:
    assert read_delivered(content(1) + b"piece") == ((1,), 1)
    assert (read_delivered(b"").last, last_number(b"piece")) == (-1, -1)


@pytest.mark.parametrize(
    ("text", "flow"),
    [("239.1.2.3:5004", ("239.1.2.3", 5004)), ("[ff1e::1234]:5004", ("ff1e::1234", 5004))],
)
def test_a_flow_is_read(text: str, flow: tuple[str, int]) -> None:
    assert parse_flow(text) == flow

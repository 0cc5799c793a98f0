"""mac1, mac2 and the cookie: who holds what, where and how long."""

from __future__ import annotations

from random import Random

import pytest

from dmmp.errors import AuthenticationError
from dmmp.messages import CookieReply, decode
from dmmp.security.cookies import (
    COOKIE_SECONDS,
    MACS_BYTES,
    NO_MAC,
    REPLY_BYTES,
    Cookies,
    mac1_key,
    mac1_of,
    read_reply,
    with_macs,
)
from tests.security.association_stage import at

OURS, OTHERS = b"o" * 32, b"x" * 32
MESSAGE = bytes(range(200)) * 3


def made() -> Cookies:
    return Cookies(OURS, Random(1).randbytes)


def asked(cookie: bytes | None = None, message: bytes = MESSAGE) -> bytes:
    return with_macs(message, mac1_key(OURS), cookie)


def cookie(cookies: Cookies, number: int = 1, now: float = 0.0) -> bytes:
    reply = cookies.reply(asked(), at(number), 7, now)
    return read_reply(reply, OURS, 7, mac1_of(asked()))


def test_mac1_needs_the_public_key() -> None:
    cookies = made()
    assert cookies.mac1_holds(asked())
    assert not cookies.mac1_holds(with_macs(MESSAGE, mac1_key(OTHERS), None))
    assert not cookies.mac1_holds(MESSAGE)


def test_mac1_covers_every_byte_before_it() -> None:
    cookies, datagram = made(), asked()
    for place in range(len(datagram) - MACS_BYTES // 2):
        changed = bytearray(datagram)
        changed[place] ^= 0x10
        assert not cookies.mac1_holds(bytes(changed))
    assert not any(cookies.mac1_holds(datagram[:size]) for size in range(len(datagram)))


def test_without_a_cookie_there_is_no_mac2() -> None:
    cookies = made()
    assert asked()[-16:] == NO_MAC
    assert not cookies.mac2_holds(asked(), at(1), 0.0)
    assert not cookies.mac2_holds(asked(b"c" * 16), at(1), 0.0)


def test_a_cookie_is_for_one_address_and_one_port() -> None:
    cookies = made()
    answer = asked(cookie(cookies))
    assert cookies.mac2_holds(answer, at(1), 0.0)
    assert not cookies.mac2_holds(answer, at(2), 0.0)
    assert not cookies.mac2_holds(answer, at(1, port=47701), 0.0)


def test_mac2_covers_every_byte_before_it() -> None:
    cookies = made()
    answer = asked(cookie(cookies))
    for place in range(len(answer)):
        changed = bytearray(answer)
        changed[place] ^= 0x01
        assert not cookies.mac2_holds(bytes(changed), at(1), 0.0)


@pytest.mark.parametrize("got", [0.0, 60.0, 119.0])
def test_a_cookie_holds_for_120_seconds_at_least_and_240_at_most(got: float) -> None:
    cookies = made()
    cookie(cookies, now=0.0)
    answer = asked(cookie(cookies, now=got))
    assert cookies.mac2_holds(answer, at(1), got + COOKIE_SECONDS)
    assert not cookies.mac2_holds(answer, at(1), got + 2 * COOKIE_SECONDS)


def test_after_a_long_rest_no_old_cookie_holds() -> None:
    cookies = made()
    answer = asked(cookie(cookies))
    assert not cookies.mac2_holds(answer, at(1), 1000.0)
    assert not cookies.mac2_holds(answer, at(1), 1001.0)


def test_a_reply_is_short_and_well_formed() -> None:
    reply = made().reply(asked(), at(1), 0xABCD, 0.0)
    assert len(reply) == REPLY_BYTES == 68
    read = decode(reply)
    assert isinstance(read, CookieReply)
    assert (read.sequence, read.source, read.reserved, read.session) == (0xABCD, 0, 0, 0)


def test_a_reply_is_read_only_by_who_sent_that_mac1_to_that_host() -> None:
    reply = made().reply(asked(), at(1), 7, 0.0)
    for key, index, mac1 in (
        (OTHERS, 7, mac1_of(asked())),
        (OURS, 8, mac1_of(asked())),
        (OURS, 7, bytes(16)),
    ):
        with pytest.raises(AuthenticationError):
            read_reply(reply, key, index, mac1)


def test_every_changed_byte_of_a_reply_is_refused() -> None:
    reply = made().reply(asked(), at(1), 7, 0.0)
    for place in range(len(reply)):
        changed = bytearray(reply)
        changed[place] ^= 0x01
        for false in (bytes(changed), reply[:place], reply + bytes(place + 1)):
            with pytest.raises(AuthenticationError):
                read_reply(false, OURS, 7, mac1_of(asked()))


def test_replies_never_repeat_a_nonce() -> None:
    cookies = made()
    assert len({cookies.reply(asked(), at(1), 7, 0.0)[24:36] for _ in range(200)}) == 200

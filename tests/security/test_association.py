"""One association: seals and opens in any order, each datagram once, nothing that was changed."""

from __future__ import annotations

import itertools

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from dmmp.errors import AuthenticationError
from dmmp.messages import Sealed, decode, encode
from dmmp.security.association import (
    MAXIMUM_PLAINTEXT_BYTES,
    RENEW_AFTER,
    RENEW_AFTER_COUNT,
    SEND_UNTIL,
    Association,
    ReplayError,
    is_preferred,
)
from dmmp.security.noise import Keys, pack_nonce
from tests.security.association_stage import at, party

ONE, TWO = b"1" * 32, b"2" * 32


def made(
    index: int = 1,
    *,
    initiated: bool = True,
    order: int = 1,
    crossed: frozenset[int] = frozenset(),
    transcript: bytes = b"h",
) -> Association:
    keys = Keys(ONE, TWO, transcript) if initiated else Keys(TWO, ONE, transcript)
    peer = party(2).check(party(2).credential, party(2).public, 0.0)
    return Association(
        (index, 100 + index), keys, at(2), peer, 0.0, order, initiated, crossed=crossed
    )


def ends() -> tuple[Association, Association]:
    return made(), made(initiated=False)


@given(plaintexts=st.lists(st.binary(max_size=200), min_size=1, max_size=30), dice=st.randoms())
def test_everything_opens_once_in_any_order(plaintexts: list[bytes], dice: object) -> None:
    ours, theirs = ends()
    sealed = [(ours.seal(plaintext, 1.0), plaintext) for plaintext in plaintexts]
    dice.shuffle(sealed)  # type: ignore[attr-defined]
    for datagram, plaintext in sealed:
        assert theirs.open(datagram, 2.0) == plaintext
    for datagram, _ in sealed:
        with pytest.raises(ReplayError):
            theirs.open(datagram, 3.0)


def test_the_bytes_are_noise_transport_messages_with_the_header_as_associated_data() -> None:
    ours, _ = ends()
    ours.count = (5 << 32) + 7
    datagram = ours.seal(b"plaintext", 1.0)
    read = decode(datagram)
    assert isinstance(read, Sealed)
    assert encode(read) == datagram
    assert (read.source, read.sequence, read.reserved) == (101, 7, 5)
    assert (read.session, read.tree_version) == (0, 0)
    nonce = pack_nonce((5 << 32) + 7)
    assert nonce == bytes(4) + ((5 << 32) + 7).to_bytes(8, "big")
    opened = AESGCM(ONE).decrypt(nonce, read.ciphertext + read.tag, datagram[:24])
    assert opened == b"plaintext"


def test_every_changed_byte_and_every_prefix_is_refused_and_leaves_no_trace() -> None:
    ours, theirs = ends()
    datagram = ours.seal(b"a control message", 1.0)
    for place in range(len(datagram)):
        for bit in (0x01, 0x80):
            changed = bytearray(datagram)
            changed[place] ^= bit
            with pytest.raises(AuthenticationError):
                theirs.open(bytes(changed), 2.0)
        with pytest.raises(AuthenticationError):
            theirs.open(datagram[:place], 2.0)
    with pytest.raises(AuthenticationError):
        theirs.open(datagram + b"\0", 2.0)
    assert theirs.last_heard < 0
    assert theirs.open(datagram, 2.0) == b"a control message"


def test_what_one_sends_does_not_open_at_itself() -> None:
    ours, _ = ends()
    with pytest.raises(AuthenticationError):
        ours.open(ours.seal(b"reflected", 1.0), 2.0)


def test_no_counter_is_used_twice() -> None:
    ours, _ = ends()
    assert len({ours.seal(b"same", 1.0)[12:20] for _ in range(1000)}) == 1000


def test_the_longest_plaintext_fills_a_datagram() -> None:
    ours, theirs = ends()
    datagram = ours.seal(bytes(MAXIMUM_PLAINTEXT_BYTES), 1.0)
    assert len(datagram) == 65_507
    assert len(theirs.open(datagram, 1.0)) == MAXIMUM_PLAINTEXT_BYTES


def test_its_life() -> None:
    ours, theirs = ends()
    assert not ours.should_renew(RENEW_AFTER - 0.1)
    assert ours.should_renew(RENEW_AFTER)
    assert not theirs.should_renew(RENEW_AFTER)
    assert theirs.should_renew(SEND_UNTIL)
    assert ours.may_send(SEND_UNTIL - 0.1)
    assert not ours.may_send(SEND_UNTIL)


def test_its_counters() -> None:
    ours, _ = ends()
    ours.count = RENEW_AFTER_COUNT
    assert ours.should_renew(0.0)
    assert ours.may_send(0.0)
    ours.count = 2 * RENEW_AFTER_COUNT
    assert not ours.may_send(0.0)


def test_only_plaintexts_ask_for_an_answer_and_anything_is_one() -> None:
    ours, theirs = ends()
    ours.seal(b"", 1.0)
    assert ours.unanswered == 0
    ours.seal(b"one", 2.0)
    ours.seal(b"two", 3.0)
    assert (ours.unanswered, ours.unanswered_since, ours.last_sent) == (2, 2.0, 3.0)
    ours.open(theirs.seal(b"", 4.0), 4.0)
    assert ours.unanswered == 0


def test_both_ends_prefer_the_same_of_two_that_crossed() -> None:
    """Each end numbers its own initiation first; the hash is the same at both."""
    for one, two in itertools.permutations((b"a", b"b")):
        # Host 1 called with index 1 (hash `one`), host 2 with index 2 (hash `two`).
        at_1 = (
            made(1, order=1, transcript=one),
            made(9, initiated=False, order=2, crossed=frozenset({1}), transcript=two),
        )
        at_2 = (
            made(8, initiated=False, order=2, crossed=frozenset({2}), transcript=one),
            made(2, order=1, transcript=two),
        )
        assert is_preferred(*at_1) is is_preferred(*at_2) is (one > two)
        assert is_preferred(*at_1) is not is_preferred(*reversed(at_1))


def test_else_the_younger_initiation_is_preferred() -> None:
    for initiated in itertools.product((True, False), repeat=2):
        old = made(1, initiated=initiated[0], order=1, transcript=b"z")
        new = made(2, initiated=initiated[1], order=2, transcript=b"a")
        assert is_preferred(new, old)
        assert not is_preferred(old, new)

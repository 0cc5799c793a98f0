"""Verdicts: each check is content with what is right, and complains of what is wrong."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_address

import pytest

from dmmp.captures import Captured
from dmmp.messages import (
    Data,
    HopSealed,
    LeaveReport,
    LeaveResponse,
    Message,
    PingRpRequest,
    PingRpResponse,
    ProbeRequest,
    encode,
)
from dmmp.messages.common import HostRecord
from dmmp.messages.header import FLAG_SEALED, FLAG_SIGNED
from dmmp.messages.options import Option
from dmmp.types import Endpoint, HostId, SessionId
from interop.matrix import captured, checks
from interop.matrix.delivered import Delivered
from interop.matrix.evidence import MEMBERS, STRANGER, Evidence

NAMES = ("rp", "source", "s1", "s2", *MEMBERS, STRANGER)
ADDRESSES = {name: ip_address(f"10.77.{number}.2") for number, name in enumerate(NAMES, 1)}
FIRST, LAST = 100, 499
EVERYTHING = tuple(range(FIRST - 5, LAST + 1))
PACKET = bytes(1200)


def sent(time: float, source: str, destination: str, content: Message | bytes) -> Captured:
    payload = content if isinstance(content, bytes) else encode(content)
    here, there = (Endpoint(ADDRESSES[name], 47700) for name in (source, destination))
    return Captured(1, time, here, there, payload)


def data(epoch: int | None = None, flags: int = 0) -> Data:
    word = 1 if epoch is None else FLAG_SEALED | epoch << 16 | 1
    return Data(session=SessionId(5), source=HostId(2), reserved=word | flags, payload=PACKET)


def evidence(
    packets: Iterable[Captured] = (), security: str = "none", **delivered: Delivered
) -> Evidence:
    files = {name: Delivered(EVERYTHING, 0) for name in MEMBERS} | delivered
    return Evidence(security, dict(ADDRESSES), FIRST, LAST, files, list(packets))


def without(*numbers: int) -> Delivered:
    return Delivered(tuple(n for n in EVERYTHING if n not in numbers), 0)


def test_all_that_is_owed_must_be_there_from_the_first_to_the_last() -> None:
    assert checks.whole(evidence()) == []
    assert checks.whole(evidence(m1=without(FIRST - 1))) == []
    assert checks.whole(evidence(m1=without(FIRST, LAST))) == ["m1 lacks 2 of 400 datagrams"]
    assert checks.whole(evidence(m1=without(FIRST)), members=("m2",)) == []


def test_a_share_may_be_enough_and_no_less() -> None:
    few = range(200, 204)
    assert checks.whole(evidence(m2=without(*few)), least=0.99) == []
    assert checks.whole(evidence(m2=without(*few, 300)), least=0.99)


def test_who_is_gone_is_owed_nothing_but_a_stream_there_must_be() -> None:
    seen = evidence(m1=Delivered((), 0))
    seen.gone = {"m1"}
    assert checks.whole(seen) == []
    seen.last = seen.first - 1
    assert checks.whole(seen) == ["the stream was empty"]


def test_nothing_comes_twice_and_nothing_is_made_up() -> None:
    assert checks.pure(evidence()) == []
    assert checks.pure(evidence(m1=Delivered((*EVERYTHING, 120), 0)))
    half = evidence(m1=Delivered(EVERYTHING, 1))
    assert checks.pure(half) == ["m1 delivered 1 pieces that nobody sent"]
    half.gone = {"m1"}
    assert checks.pure(half) == []


def test_who_comes_late_lacks_nothing_from_then_on() -> None:
    late = Delivered(tuple(range(300, LAST + 1)), 0)
    assert checks.contiguous(evidence(m2=late), "m2") == []
    gap = Delivered((300, 301, 303), 0)
    assert checks.contiguous(evidence(m2=gap), "m2", to_the_end=False) == [
        "m2 lacks 1 of 4 datagrams"
    ]
    early = Delivered((300, 301), 0)
    assert checks.contiguous(evidence(m2=early), "m2", to_the_end=False) == []
    assert checks.contiguous(evidence(m2=early), "m2")
    assert checks.contiguous(evidence(m2=Delivered((), 0)), "m2") == ["m2 delivered nothing"]


def test_every_datagram_must_be_readable_but_a_strangers() -> None:
    good = sent(1, "m1", "s1", ProbeRequest(session=SessionId(5), timestamp=1))
    cut = sent(2, "m1", "s1", encode(data())[:30])
    assert checks.readable(evidence([good])) == []
    assert "from 10.77.5.2" in checks.readable(evidence([good, cut]))[0]
    assert checks.readable(evidence([good, sent(3, STRANGER, "rp", b"\2" * 30)])) == []
    assert checks.readable(evidence()) == ["nothing was captured"]
    assert checks.readable(evidence([cut] * 10))[-1] == "and 7 more like these"


@pytest.mark.parametrize(
    ("content", "is_open"),
    [
        (ProbeRequest(session=SessionId(5), timestamp=1), True),
        (data(), True),
        (data(3), False),
        (data(3, FLAG_SIGNED), True),
        (HopSealed(ciphertext=b"x" * 40, tag=bytes(16)), False),
    ],
)
def test_a_secured_session_shows_only_what_it_may(content: Message, is_open: bool) -> None:
    packets = [sent(1, "s1", "m1", content)]
    assert bool(captured.in_the_clear(packets)) == is_open
    seen = checks.readable(evidence(packets, security="certificates"))
    assert any("in the clear" in complaint for complaint in seen) == is_open


def test_a_place_is_found_by_registering_and_being_fed() -> None:
    asked, answered = PingRpRequest(instance=1, host=HostRecord()), PingRpResponse()
    packets = [
        packet
        for name in MEMBERS
        for packet in (
            sent(1, name, "rp", asked),
            sent(2, "rp", name, answered),
            sent(3, "s1", name, data()),
        )
    ]
    assert checks.joined(evidence(packets)) == []
    assert checks.joined(evidence(packets[1:])) == ["m1 sent no PING_RP_REQUEST"]
    assert checks.joined(evidence(packets[:1] + packets[2:])) == ["m1 got no PING_RP_RESPONSE"]
    assert checks.joined(evidence(packets[:-1])) == ["nobody fed m3"]


def leaving(*more: Captured, code: int = 0) -> Evidence:
    told = [sent(10, "m1", "s1", LeaveReport()), sent(10.1, "s1", "m1", LeaveResponse())]
    seen = evidence([sent(8, "s1", "m1", data()), *told, *more])
    seen.marks = {"leaving": 9.0, "left": 11.0, "ended": 20.0}
    seen.exits = {"m1": code}
    return seen


def test_a_good_leave_is_said_answered_and_heeded() -> None:
    assert checks.has_left(leaving(sent(11.5, "s1", "m1", data())), "m1") == []
    assert checks.has_left(leaving(sent(13, "s2", "m1", data())), "m1") == []
    assert "was sent 1" in checks.has_left(leaving(sent(13, "s1", "m1", data())), "m1")[0]
    assert checks.has_left(leaving(code=1), "m1") == ["m1 ended with exit code 1"]
    silent = leaving()
    silent.packets = []
    assert checks.has_left(silent, "m1") == ["m1 sent no LEAVE_REPORT"]
    assert checks.exchanged(silent, "m1", Option.LEAVE_REPORT, Option.LEAVE_RESPONSE, False) == []


def test_the_key_changes_when_somebody_leaves() -> None:
    before = [sent(1, "s1", "m1", data(4)), sent(2, "s1", "m1", data(5))]
    for new, is_wrong in ((6, False), (5, True)):
        seen = evidence([*before, sent(4, "s1", "m1", data(new))])
        seen.marks = {"leaving": 3.0}
        assert bool(checks.keys_changed(seen)) == is_wrong
    seen = evidence([sent(1, "s1", "m1", data())])
    seen.marks = {"leaving": 3.0}
    assert checks.keys_changed(seen) == ["no sealed data"]


@pytest.mark.parametrize(
    ("after", "delivered", "complaint"),
    [
        (8.0, without(*range(200, 300)), ""),
        (0.0, without(), "nobody fed m1"),
        (20.0, without(), "only after 20.0 s"),
        (8.0, without(LAST - 3), "lacks 1 of the last"),
    ],
)
def test_who_moved_is_found_again(after: float, delivered: Delivered, complaint: str) -> None:
    seen = evidence(m1=delivered)
    seen.marks = {"heard again": after}
    assert complaint in " ".join(checks.moved(seen, "m1"))
    assert bool(checks.moved(seen, "m1")) == bool(complaint)


def test_other_versions_are_not_answered_and_ours_is() -> None:
    answer = ProbeRequest(session=SessionId(5), timestamp=1)
    early = sent(1, "s2", STRANGER, answer)
    late = [sent(9, name, STRANGER, answer) for name in NAMES if name != STRANGER]
    for packets, complaints in (
        (late, []),
        ([early, *late], ["10.77.4.2:47700 answered"]),
        (late[1:], ["rp does not answer version 1 either"]),
    ):
        seen = evidence(packets)
        seen.marks = {"asked well": 5.0}
        assert checks.ignored(seen) == complaints


def test_ipv6_means_nothing_else() -> None:
    assert checks.only_ipv6([]) == []
    four = [sent(1, "s1", "m1", data())]
    assert checks.only_ipv6(four) == ["1 datagrams went by IPv4"]


def test_a_network_that_did_nothing_proves_nothing() -> None:
    seen = evidence()
    assert checks.disturbed(seen, "lost")
    seen.marks["lost"] = 7
    assert checks.disturbed(seen, "lost") == []


def test_handshakes_go_both_ways() -> None:
    assert checks.associated(evidence()) == [f"{name} made no handshake" for name in MEMBERS]
    start = Option.HANDSHAKE_INITIATION.to_bytes(2, "big")
    reply = Option.HANDSHAKE_RESPONSE.to_bytes(2, "big")
    packets = [
        packet
        for name in MEMBERS
        for packet in (
            sent(1, name, "rp", b"\1\0" + start + bytes(40)),
            sent(2, "rp", name, b"\1\0" + reply + bytes(40)),
        )
    ]
    assert checks.associated(evidence(packets)) == []
    assert checks.associated(evidence(packets[1:])) == ["m1 made no handshake"]


def test_the_parent_is_who_feeds() -> None:
    packets = [sent(1, "s1", "m1", data())] * 30 + [sent(2, "s2", "m1", data())] * 15
    assert captured.parent_of(packets, ADDRESSES["m1"]) == ADDRESSES["s2"]
    assert captured.parent_of(packets, ADDRESSES["m2"]) is None
    control = [sent(1, "s1", "m2", ProbeRequest(session=SessionId(5), timestamp=1))]
    assert captured.parent_of(control, ADDRESSES["m2"]) is None


def test_a_capture_that_is_still_written_is_read_as_far_as_it_goes() -> None:
    assert captured.read_capture(b"") == []
    assert captured.read_capture(b"\xd4\xc3\xb2\xa1\2\0\4\0") == []

"""Section 1: datagrams and the header."""

from __future__ import annotations

from dmmp.conformance.carrier import GROUP
from dmmp.conformance.case import Failure, Unsupported, case
from dmmp.conformance.generic import (
    LENGTH_OFFSET,
    body_of,
    control_messages,
    expect_dropped,
    patched,
    probe,
    raw,
    ready,
)
from dmmp.conformance.playing import SUBJECT_ID, play_rp
from dmmp.conformance.tester import Tester
from dmmp.conformance.timing import DEFAULTS
from dmmp.interest import interest
from dmmp.messages import (
    Error,
    JoinRequest,
    LeaveReport,
    PingRpRequest,
    PingRpResponse,
    ProbeRequest,
    ProbeResponse,
    PromotionRequest,
    RefreshRequest,
    RefreshResponse,
    SetupRequest,
    SourceRequest,
    SubscriptionRequest,
    SubscriptionResponse,
    Tlv,
    TlvType,
    decode,
    encode,
)
from dmmp.messages.common import HostRecord, RefreshKind
from dmmp.messages.header import HEADER_BYTES
from dmmp.types import NO_HOST, STUN_MAGIC, HostId, SessionId

PERIOD = 1.2 * DEFAULTS.refresh_cluster + 5
"""Seconds in which every host refreshes its parent once."""

MODE = 83
"""Offset of the first filter mode in a Refresh Request with an empty root path."""

LARGE_BYTES = 8000


@case("1/1", "A datagram shorter than the header is dropped")
def short_datagrams(tester: Tester) -> None:
    peer = ready(tester)
    datagram = encode(peer.make(ProbeRequest, timestamp=1))
    expect_dropped(peer, [datagram[:size] for size in (0, 1, 2, 4, 8, 23)], may_err=False)


@case("1/2", "Other versions are dropped")
def other_versions(tester: Tester) -> None:
    peer = ready(tester)
    datagram = encode(peer.make(ProbeRequest, timestamp=1))
    others = [patched(datagram, 0, bytes([version])) for version in (0, 2, 3, 129, 255)]
    expect_dropped(peer, others, may_err=False)


@case("1/3", "STUN on the same port is let alone")
def stun(tester: Tester) -> None:
    peer = ready(tester)
    datagram = encode(peer.make(ProbeRequest, timestamp=1))
    binding = bytes.fromhex("000100002112a442") + bytes(range(12))
    looks_like_one = patched(datagram, 4, STUN_MAGIC.to_bytes(4))
    expect_dropped(peer, [binding, binding + bytes(4), looks_like_one], may_err=False)


@case("1/4", "A length that does not fit the datagram is a fault")
def wrong_length(tester: Tester) -> None:
    peer = ready(tester)
    datagram = encode(peer.make(ProbeRequest, timestamp=1))
    size = len(datagram) - HEADER_BYTES
    lengths = (0, size - 1, size + 1, 0xFFFF, 0xFFFFFFFF)
    wrong = [patched(datagram, LENGTH_OFFSET, length.to_bytes(4)) for length in lengths]
    expect_dropped(peer, [*wrong, datagram + b"\0", datagram[:-1]])


@case("1/5", "An option without a message is dropped")
def unassigned_option(tester: Tester) -> None:
    peer = ready(tester)
    datagram = encode(peer.make(ProbeRequest, timestamp=1))
    options = (0x0003, 0x0082, 0x00EE, 0x0F00)
    expect_dropped(peer, [patched(datagram, 2, option.to_bytes(2)) for option in options])


@case("1/6", "A message that is cut anywhere is dropped")
def cut_messages(tester: Tester) -> None:
    peer = ready(tester)
    probe_request = peer.make(ProbeRequest, timestamp=1)
    leave = peer.make(LeaveReport)
    cut = [raw(probe_request, body_of(probe_request)[:size]) for size in range(8)]
    cut += [raw(leave, body_of(leave)[:size]) for size in range(len(body_of(leave)))]
    expect_dropped(peer, cut)


@case("1/7", "More refused super nodes than fit are a fault", "rp")
def too_many_refused(tester: Tester) -> None:
    peer = ready(tester)
    most = tuple(HostId(number) for number in range(1, 13))
    message = peer.make(PingRpRequest, instance=peer.instance, host=peer.record(), refused=most)
    body = body_of(message)
    count = len(body) - 4 * len(most) - 1
    one_more = body[:count] + bytes([13]) + body[count + 1 :] + bytes(4)
    expect_dropped(peer, [raw(message, one_more)])


@case("1/7", "A root path that is too long is a fault", "source", "super-node", "member")
def too_long_path(tester: Tester) -> None:
    peer = ready(tester)
    peer.host = HostId(0x300)
    path = tuple(HostId(number) for number in range(0x400, 0x440))
    message = peer.make(RefreshRequest, kind=RefreshKind.RELATIVE, sender=peer.record())
    body = body_of(message)
    ids = b"".join(host.to_bytes(4) for host in (*path, HostId(0x440)))
    one_more = body[:41] + bytes([len(path) + 1]) + ids + body[42:]
    expect_dropped(peer, [raw(message, one_more)])


@case("1/8", "Text that is no UTF-8 is a fault", "rp")
def no_text(tester: Tester) -> None:
    peer = ready(tester)
    message = peer.make(SubscriptionRequest, group_name=tester.session_name)
    body = bytes([2]) + b"\xc3\x28" + b"\0"
    expect_dropped(peer, [raw(message, body)])


@case("1/9", "A filter mode without a name is a fault", "source", "super-node", "member")
def unknown_filter_mode(tester: Tester) -> None:
    peer = ready(tester)
    peer.host = HostId(0x300)
    wish = interest(GROUP.address)
    message = peer.make(
        RefreshRequest, kind=RefreshKind.RELATIVE, sender=peer.record(), interest=(wish,)
    )
    datagram = encode(message)
    expect_dropped(peer, [patched(datagram, MODE, bytes([mode])) for mode in (2, 3, 255)])


@case("1/10", "What it sends has the one form that the message has")
def one_form(tester: Tester) -> None:
    peer = ready(tester)
    probe(peer)
    peer.ask(LeaveReport)
    for line in tester.lines:
        if not line.is_sent:
            again = encode(decode(line.datagram))
            tester.equal(line.datagram.hex(), again.hex(), "a datagram")


@case("1/11", "The reserved word is 0 in control messages")
def reserved_sent(tester: Tester) -> None:
    peer = ready(tester)
    probe(peer)
    for message in control_messages(tester):
        tester.equal(message.reserved, 0, f"the reserved word of a {type(message).__name__}")


@case("1/12", "The reserved word of control messages is ignored")
def reserved_received(tester: Tester) -> None:
    peer = ready(tester)
    peer.ask(ProbeRequest, timestamp=7, reserved=0xFFFFFFFF)
    peer.ask(LeaveReport, reserved=0x01020304)


@case("1/13", "The session's id stands in every message but the first request")
def session_id(tester: Tester) -> None:
    peer = ready(tester)
    probe(peer)
    peer.ask(LeaveReport)
    for message in control_messages(tester):
        wanted = 0 if isinstance(message, SubscriptionRequest) else tester.session
        tester.equal(message.session, wanted, f"the session of a {type(message).__name__}")


@case("1/14", "Its id stands in what it sends, 0 before", "source", "super-node", "member")
def own_id(tester: Tester) -> None:
    probe(ready(tester))
    messages = control_messages(tester)
    for message in messages[:2]:
        tester.equal(message.source, NO_HOST, f"the source of the first {type(message).__name__}")
    for message in messages[2:]:
        if not isinstance(message, SubscriptionRequest):
            tester.equal(message.source, SUBJECT_ID, f"the source of a {type(message).__name__}")


@case("1/15", "The RP names itself where it has to, and nowhere else", "rp")
def rp_names_itself(tester: Tester) -> None:
    peer = tester.peer()
    own = tester.locate(peer).source
    tester.check(own != NO_HOST, "the Subscription Response bears no id of the RP")
    tester.equal(tester.register(peer).source, own, "the source of a Ping_RP Response")
    tester.equal(probe(peer).source, NO_HOST, "the source of a Probe Response")
    request = peer.tell(SourceRequest, host=peer.record())
    tester.equal(peer.expect_answer(request).source, NO_HOST, "the source of a Source Response")
    tester.equal(peer.ask(LeaveReport).source, NO_HOST, "the source of a Leave Response")


@case("1/16", "Another session's messages are not answered", "source", "super-node", "member")
def other_session(tester: Tester) -> None:
    peer = ready(tester)
    other = SessionId(tester.session ^ 0x55555555)
    messages = [
        peer.make(ProbeRequest, session=other, timestamp=1),
        peer.make(LeaveReport, session=other),
        peer.make(ProbeRequest, session=SessionId(0), timestamp=1),
    ]
    expect_dropped(peer, [encode(message) for message in messages])


@case("1/17", "The source says the newest tree version that an RP told it", "source")
def tree_version_of_source(tester: Tester) -> None:
    rp = play_rp(tester)
    rp.tree_version = 7
    rp.peer.expect(PingRpRequest, where=lambda message: message.tree_version == 0)
    tester.wait(tester.timing.answer)
    tester.equal(probe(tester.peer()).tree_version, 7, "the tree version")


@case("1/17", "The tree version comes from above", "super-node", "member", seconds=PERIOD)
def tree_version_from_above(tester: Tester) -> None:
    peer = ready(tester)
    tester.equal(probe(peer).tree_version, 1, "the tree version")
    above = next(each for each in tester.peers.values() if each.name in ("parent", "source"))
    above.tree_version = 9
    above.forget()
    above.expect(
        RefreshRequest,
        within=1.2 * tester.timing.parameters.refresh_cluster,
        where=lambda message: message.kind == RefreshKind.CHILD,
    )
    tester.wait(tester.timing.answer)
    tester.equal(probe(peer).tree_version, 9, "the tree version after the next Refresh")


@case("1/18", "An Error is not answered")
def errors(tester: Tester) -> None:
    peer = ready(tester)
    for code, option in ((0, 0x0080), (3, 0x0050), (99, 0x00F0)):
        peer.tell(Error, code=code, option=option, offset=2, text="none")
    peer.expect_silence()
    probe(peer)


@case("1/19", "Messages that are not an RP's to hear are dropped", "rp")
def nothing_for_an_rp(tester: Tester) -> None:
    peer = ready(tester)
    peer.host = HostId(0x300)
    record = peer.record()
    messages = [
        peer.make(JoinRequest, applicant=record, passes=8),
        peer.make(RefreshRequest, kind=RefreshKind.CHILD, sender=record),
        peer.make(SetupRequest, sender=record),
        peer.make(PromotionRequest, applicant=record),
        peer.make(PingRpResponse, host=HostId(9), observed=peer.endpoint),
        peer.make(RefreshResponse, sender=record),
    ]
    expect_dropped(peer, [encode(message) for message in messages])
    peer.host = NO_HOST


@case("1/19", "Messages that are an RP's to hear are dropped", "source", "super-node", "member")
def nothing_for_a_host(tester: Tester) -> None:
    peer = ready(tester)
    messages = [
        peer.make(PingRpRequest, instance=1, host=HostRecord()),
        peer.make(SourceRequest, host=HostRecord()),
        peer.make(PingRpResponse, host=HostId(9), observed=peer.endpoint),
        peer.make(SubscriptionResponse, lifetime=60),
        peer.make(ProbeResponse, timestamp=1, sender=HostRecord(host=HostId(9))),
        peer.make(RefreshResponse, sender=HostRecord(host=HostId(9))),
    ]
    expect_dropped(peer, [encode(message) for message in messages])
    tester.equal(probe(peer).source, SUBJECT_ID, "its id")


@case("1/24", "IPv4 addresses are written as IPv6 ones that map them")
def mapped_addresses(tester: Tester) -> None:
    if tester.subject.address.version == 6:
        raise Unsupported("the case is about IPv4")
    peer = ready(tester)
    if tester.role.value == "rp":
        tester.register(peer)
        found = next(
            line.datagram[30:46]
            for line in reversed(tester.lines)
            if not line.is_sent and line.datagram[2:4] == b"\x00\x21"
        )
        wanted = peer.endpoint.address
    else:
        probe(peer)
        assert peer.last is not None
        found, wanted = peer.last.datagram[36:52], tester.subject.address
    mapped = bytes(10) + b"\xff\xff" + wanted.packed
    tester.equal(found.hex(), mapped.hex(), "the address of the host")


@case("1/27", "A datagram of eight kilobytes is read like any other")
def large_datagram(tester: Tester) -> None:
    peer = ready(tester)
    padding = Tlv(TlvType.PADDING, bytes(LARGE_BYTES))
    try:
        peer.ask(ProbeRequest, timestamp=5, tlvs=(padding,))
    except Failure:
        raise Failure(f"no answer to a Probe Request of {LARGE_BYTES} bytes") from None

"""Section 5, third part: the source as the origin of data, its leaving, and its several RPs."""

from __future__ import annotations

from itertools import pairwise

from dmmp.conformance.carrier import GROUP
from dmmp.conformance.case import Feature, case
from dmmp.conformance.cases.source_choice import capable, enlist, reported, rooted
from dmmp.conformance.peer import Peer
from dmmp.conformance.playing import PlayedRp, apply_for_place, play_rp, refresh
from dmmp.conformance.tester import Tester
from dmmp.interest import FilterMode, Interest, interest
from dmmp.messages import (
    Data,
    DataRequest,
    Heartbeat,
    LeaveReport,
    PingRpRequest,
    StatusReport,
)
from dmmp.messages.common import HostFlag, LeaveReason
from dmmp.tun.packets import PROTOCOL_UDP, parse
from dmmp.types import HostId

NEEDS = (Feature.PROGRAM,)
FLAGS, CHANNEL = 0xFF000000, 0xFFFF
HEARTBEAT = 0x01000000
SECOND_RP_ID = HostId(0x1000_0001)


def fed(
    tester: Tester,
    played: PlayedRp,
    number: int = 0,
    wishes: tuple[Interest, ...] = (interest(GROUP.address),),
    flags: int = 0,
) -> Peer:
    """Make a super node, and a child of the source, that wants `GROUP`."""
    peer = capable(tester, number)
    enlist(tester, played, peer)
    apply_for_place(peer)
    peer.flags |= flags
    refresh(peer, interest=wishes)
    return peer


def send(tester: Tester, *payloads: bytes) -> None:
    """Have a program on the source's host send datagrams, and wait until they are through.

    Not longer: a newcomer gets only what came a moment ago.
    """
    for payload in payloads:
        tester.carrier.program_sends(payload)
    tester.wait(tester.timing.parameters.newcomer_seconds / 4)


def payload_of(data: Data) -> bytes:
    """Return the UDP payload in a data packet."""
    packet = parse(data.payload)
    return data.payload[packet.payload_offset + 8 :]


@case("5/41", "A channel is announced before its data", "source", needs=NEEDS)
def announced(tester: Tester) -> None:
    played = rooted(tester)
    peer = fed(tester, played)
    send(tester, b"one")
    kinds = [each.message for each in peer.inbox if isinstance(each.message, Data | Heartbeat)]
    tester.check(bool(kinds) and isinstance(kinds[0], Heartbeat), "data came unannounced")
    beat, data = peer.expect(Heartbeat), peer.expect(Data)
    tester.equal(beat.group, GROUP.address, "the group")
    tester.equal(beat.origin_address, parse(data.payload).source, "the source address")
    tester.equal(beat.reserved & CHANNEL, data.reserved & CHANNEL, "the channel")


@case("5/42", "Data goes to whom it interests", "source", needs=NEEDS)
def interested(tester: Tester) -> None:
    played = rooted(tester)
    other = interest(GROUP.address + 1)
    wanting = fed(tester, played, 0)
    fed_with_other = fed(tester, played, 1, (other,))
    wanting_nothing = fed(tester, played, 2, ())
    no_child = capable(tester, 3)
    enlist(tester, played, no_child)
    send(tester, b"one", b"two")
    tester.equal([payload_of(each) for each in wanting.seen(Data)], [b"one", b"two"], "the data")
    for peer in (fed_with_other, wanting_nothing, no_child):
        tester.check(not peer.seen(Data), f"{peer.name} gets data that it does not want")


@case("5/43", "Data is numbered one by one", "source", needs=NEEDS)
def numbered(tester: Tester) -> None:
    played = rooted(tester)
    peer = fed(tester, played)
    send(tester, *(bytes([number]) for number in range(10)))
    found = peer.seen(Data)
    tester.equal([payload_of(each)[0] for each in found], list(range(10)), "the data")
    for before, after in pairwise(found):
        tester.equal(after.sequence, before.sequence + 1, "a number")
    for each in found:
        tester.equal(each.source, played.subject, "the origin")
        tester.equal(each.reserved & FLAGS, 0, "the flags")
        tester.check(each.reserved & CHANNEL != 0, "the channel is 0")


@case("5/44", "The payload is a whole IP packet", "source", needs=NEEDS)
def whole_packet(tester: Tester) -> None:
    played = rooted(tester)
    peer = fed(tester, played)
    send(tester, b"payload")
    packet = parse(peer.expect(Data).payload)
    tester.equal(packet.destination, GROUP.address, "the destination")
    tester.equal(packet.protocol, PROTOCOL_UDP, "the protocol of the packet")
    tester.check(packet.ttl > 0, "the packet's TTL is 0")


@case("5/45", "Heartbeats after the last data", "source", seconds=12, needs=NEEDS)
def heartbeats(tester: Tester) -> None:
    played = rooted(tester)
    peer = fed(tester, played)
    send(tester, b"one")
    last = peer.expect(Data)
    assert peer.last is not None
    before, pause = peer.last.at, tester.timing.parameters.heartbeat_first
    peer.forget(Data)
    for _ in range(4):
        beat = peer.expect(
            Heartbeat, within=pause + 1.0, where=lambda message: message.highest == last.sequence
        )
        tester.near(peer.last.at - before, pause, pause, "from the last to this Heartbeat")
        tester.equal(beat.started, 1, "whether the channel has started")
        before, pause = peer.last.at, 2 * pause


@case("5/46", "What is missing is sent again", "source", needs=NEEDS)
def sent_again(tester: Tester) -> None:
    played = rooted(tester)
    peer = fed(tester, played)
    send(tester, *(bytes([number]) for number in range(8)))
    first = [each.datagram for each in peer.inbox if isinstance(each.message, Data)]
    numbers = [each.sequence for each in peer.seen(Data)]
    channel = peer.seen(Data)[0].reserved & CHANNEL
    peer.forget()
    peer.tell(
        DataRequest,
        origin=played.subject,
        channel=channel,
        base=numbers[0],
        bitmap=bytes([0b01010001]),
    )
    tester.wait(tester.timing.answer)
    again = [each.datagram for each in peer.inbox if isinstance(each.message, Data)]
    tester.equal(again, [first[1], first[3], first[7]], "what comes again")


@case("5/47", "A stranger gets no data", "source", needs=NEEDS)
def stranger(tester: Tester) -> None:
    played = rooted(tester)
    peer, other = fed(tester, played), tester.peer("stranger")
    send(tester, b"one")
    data = peer.expect(Data)
    for host in (HostId(0x999), peer.host):
        other.tell(
            DataRequest,
            source=host,
            origin=played.subject,
            channel=data.reserved & CHANNEL,
            base=data.sequence,
            bitmap=b"\x80",
        )
    other.expect_silence()


@case("5/48", "A newcomer gets the latest packets", "source", needs=NEEDS)
def newcomer(tester: Tester) -> None:
    played = rooted(tester)
    fed(tester, played, 0)
    late = capable(tester, 1)
    enlist(tester, played, late)
    apply_for_place(late)
    send(tester, b"one", b"two")
    refresh(late, interest=(interest(GROUP.address),))
    tester.wait(tester.timing.answer)
    tester.equal([payload_of(each) for each in late.seen(Data)], [b"one", b"two"], "the data")
    late.expect(Heartbeat)


@case("5/49", "A newcomer that asks for itself gets nothing else", "source", needs=NEEDS)
def newcomer_that_asks(tester: Tester) -> None:
    played = rooted(tester)
    fed(tester, played, 0)
    late = capable(tester, 1)
    enlist(tester, played, late)
    apply_for_place(late)
    late.flags |= HostFlag.FED
    send(tester, b"one", b"two")
    refresh(late, interest=(interest(GROUP.address),))
    tester.wait(tester.timing.answer)
    tester.check(not late.seen(Data), "it gets data that it has not asked for")
    send(tester, b"three")
    tester.equal([payload_of(each) for each in late.seen(Data)], [b"three"], "the data later")


@case("5/50", "Heartbeats have numbers of their own", "source", needs=NEEDS)
def heartbeat_numbers(tester: Tester) -> None:
    played = rooted(tester)
    peer = fed(tester, played)
    send(tester, b"one")
    tester.wait(1.0)
    beats = peer.seen(Heartbeat)
    tester.check(len(beats) > 1, "there is no second Heartbeat")
    for before, after in pairwise(beats):
        tester.equal(after.sequence, before.sequence + 1, "the number of a Heartbeat")
    for each in beats:
        tester.equal(each.reserved & FLAGS, HEARTBEAT, "the flags")
        tester.equal(each.source, played.subject, "the origin")


@case("5/54", "Who withdraws a group gets no more of it", "source", needs=NEEDS)
def withdrawn(tester: Tester) -> None:
    played = rooted(tester)
    peer = fed(tester, played)
    send(tester, b"one")
    peer.expect(Data)
    refresh(peer, interest=(Interest(GROUP.address, FilterMode.INCLUDE),))
    send(tester, b"two")
    tester.check(not peer.seen(Data), "data comes of a group that is withdrawn")


@case("5/51", "A source that goes says so", "source", needs=(Feature.STOP,))
def goes(tester: Tester) -> None:
    played, peer = rooted(tester), capable(tester)
    enlist(tester, played, peer)
    tester.carrier.stop()
    for told in (peer, played.peer):
        report = told.expect(LeaveReport)
        tester.equal(report.reason, LeaveReason.SHUTDOWN, "the reason")
        tester.equal(report.replacement.host, 0, "the host that it names")


@case("5/52", "A source that goes does not wait for ever", "source", needs=(Feature.STOP,))
def goes_unanswered(tester: Tester) -> None:
    played, peer = rooted(tester), capable(tester)
    enlist(tester, played, peer)
    peer.off(LeaveReport)
    tester.carrier.stop()
    peer.expect(LeaveReport)
    peer.expect(LeaveReport, within=tester.timing.parameters.retry_first)
    tester.wait(tester.timing.parameters.leave_wait + tester.timing.answer)
    peer.expect_silence(LeaveReport, seconds=2.0)
    tester.check(not played.peer.seen(PingRpRequest), "it registers anew")


@case("5/53", "Every RP hears of super nodes", "source", needs=(Feature.SECOND_RP,))
def every_rp_told(tester: Tester) -> None:
    first, second = tester.points
    played = play_rp(tester)
    first.expect(PingRpRequest)
    play_rp(tester, peer=second)
    second.host = SECOND_RP_ID
    second.expect(PingRpRequest, within=1.0)
    tester.wait(tester.timing.answer)
    peer = capable(tester)
    enlist(tester, played, peer)
    second.expect(StatusReport, where=lambda message: message.subject.host == peer.host)


@case("3/13", "A lost report of a super node costs one repetition", "source")
def lost_report(tester: Tester) -> None:
    played, peer = rooted(tester), capable(tester)
    note = played.peer.answers[StatusReport]
    played.peer.off(StatusReport)
    played.peer.ask(StatusReport, state=0, subject=peer.record(flags=HostFlag.OFFERS))
    first = reported(played, peer)
    again = reported(played, peer, within=tester.timing.parameters.retry_first)
    tester.equal(again, first, "the second try")
    answer = note(again)
    assert answer is not None
    played.peer.send(answer)
    played.peer.expect_silence(StatusReport, seconds=2.0)

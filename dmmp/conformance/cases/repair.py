"""Section 8, second half: asking for what is missing, and answering who asks."""

from __future__ import annotations

from functools import partial

from dmmp.conformance.case import case
from dmmp.conformance.peer import Peer
from dmmp.conformance.playing import add_child, play_parent, refresh
from dmmp.conformance.staging import (
    EVERYTHING,
    FLOW_GAP,
    Placed,
    Stream,
    bitmap,
    datagrams,
    have_wanted,
    marked,
    numbers,
    of_kind,
    placed,
    play_node,
    stranger,
    with_relatives,
)
from dmmp.conformance.tester import Tester
from dmmp.messages import Data, DataRequest, Heartbeat, LeaveReport, RefreshRequest
from dmmp.messages.common import HostFlag, LeaveReason, RefreshKind

BOTH = ("super-node", "member")
CHILD = of_kind(RefreshKind.CHILD)
GIVEN_UP = 2.0
"""Seconds after which a missing packet is not asked for any more."""


def _served(tester: Tester, *sent: int) -> tuple[Placed, Peer, Stream]:
    """Have a place, a child that wants the stream, and these packets passed on."""
    stage = placed(tester)
    child = add_child(tester, interest=EVERYTHING)
    stream = Stream(tester)
    stream.begin(stage.parent)
    stream.send(stage.parent, *sent)
    tester.wait(tester.timing.answer)
    child.forget()
    return stage, child, stream


def _sent(tester: Tester, *sent: int) -> tuple[Placed, Stream]:
    """Have a place and somebody who wants the stream, and send these packets."""
    stage = placed(tester)
    have_wanted(stage)
    stream = Stream(tester)
    stream.begin(stage.parent)
    stream.send(stage.parent, *sent)
    tester.wait(tester.timing.answer)
    return stage, stream


def _ask(peer: Peer, stream: Stream, base: int, *wanted: int, bits: bytes | None = None) -> None:
    """Send a Data Request for these numbers."""
    marks = bitmap(base, wanted) if bits is None else bits
    peer.tell(DataRequest, origin=stream.origin, channel=1, base=base, bitmap=marks)


@case("8/14", "What is missing is asked of the parent, and nothing else", *BOTH)
def gap_asked_for(tester: Tester) -> None:
    stage, stream = _sent(tester, 1, 2, 5, 6)
    asked = stage.parent.expect(DataRequest)
    tester.equal((asked.origin, asked.channel), (stream.origin, 1), "the channel asked for")
    tester.equal(marked(asked), [3, 4], "the numbers asked for")


@case("8/15", "A heartbeat shows that the newest are missing", *BOTH)
def tail_asked_for(tester: Tester) -> None:
    stage, stream = _sent(tester, 1, 2, 3)
    stream.beat(stage.parent, 5)
    asked = stage.parent.expect(DataRequest)
    tester.equal(marked(asked), [4, 5], "the numbers asked for")


@case("8/16", "It asks again, and gives up after 2 s", *BOTH, seconds=10.0)
def asked_again(tester: Tester) -> None:
    stage, _ = _sent(tester, 1, 2, 4)
    noticed = tester.now
    tester.wait(GIVEN_UP)
    asked = len(stage.parent.seen(DataRequest))
    tester.check(asked >= 2, f"it asks {asked} times for what does not come")
    tester.check(tester.now - noticed >= GIVEN_UP, "time stands still")
    tester.wait(tester.timing.answer)
    stage.parent.expect_silence(DataRequest, seconds=2.0)


@case("8/17", "Later relatives are asked, too", "member", seconds=30.0)
def relatives_asked(tester: Tester) -> None:
    stage, backups, siblings = with_relatives(tester)
    have_wanted(stage)
    _gap_in_a_stream(stage)
    came = tester.take((*backups, *siblings), (DataRequest,), within=1.5)
    tester.check(came is not None, "no relative is asked for what the parent does not send")


@case("8/18", "Of a relative only what was asked for is taken", "member", seconds=30.0)
def relatives_data(tester: Tester) -> None:
    stage, backups, siblings = with_relatives(tester)
    child = add_child(tester, interest=EVERYTHING)
    stream = _gap_in_a_stream(stage)
    relatives = (*backups, *siblings)
    relatives[0].send_bytes(stream.packet(9))
    came = tester.take(relatives, (DataRequest,), within=1.5)
    tester.check(came is not None, "no relative is asked")
    assert came is not None
    came.peer.send_bytes(stream.packet(3))
    tester.wait(tester.timing.answer)
    tester.equal(sorted(numbers(child)), [1, 2, 3, 4], "the numbers that came")


def _gap_in_a_stream(stage: Placed) -> Stream:
    """Let number 3 of a stream be missing."""
    stream = Stream(stage.tester)
    stream.begin(stage.parent)
    stream.send(stage.parent, 1, 2, 4)
    return stream


@case("8/19", "What was missing goes to the branches when it comes", *BOTH)
def repaired_passed_on(tester: Tester) -> None:
    stage, child, stream = _served(tester, 1, 2, 5)
    asked = stage.parent.expect(DataRequest)
    stream.send(stage.parent, *marked(asked))
    tester.wait(tester.timing.answer)
    wanted = [stream.packet(number) for number in marked(asked)]
    tester.equal(datagrams(child), wanted, "what came of the missing packets")


@case("8/20", "A child gets the packets that it marks, byte for byte", *BOTH)
def marked_answered(tester: Tester) -> None:
    _, child, stream = _served(tester, 1, 2, 3, 4, 5)
    _ask(child, stream, 1, 2, 4)
    tester.wait(tester.timing.answer)
    wanted = [stream.packet(2), stream.packet(4)]
    tester.equal(datagrams(child), wanted, "what came in answer")


@case("8/34", "What was passed on is there for 2 s", *BOTH)
def kept_for_a_while(tester: Tester) -> None:
    _, child, stream = _served(tester, 1, 2)
    tester.wait(tester.timing.parameters.cache_seconds - 2 * tester.timing.answer - 0.1)
    _ask(child, stream, 1, 1)
    tester.wait(tester.timing.answer)
    tester.equal(numbers(child), [1], "what came in answer")


@case("8/21", "An empty bitmap is answered with all from the base on, and the heartbeat", *BOTH)
def all_answered(tester: Tester) -> None:
    _, child, stream = _served(tester, 1, 2, 3, 4, 5)
    _ask(child, stream, 3, bits=b"")
    tester.wait(tester.timing.answer)
    tester.equal(numbers(child), [3, 4, 5], "the numbers in answer")
    tester.check(bool(child.seen(Heartbeat)), "no heartbeat came in answer")


@case("8/22", "A bitmap of zeros is answered with the heartbeat alone", *BOTH)
def heartbeat_answered(tester: Tester) -> None:
    _, child, stream = _served(tester, 1, 2)
    _ask(child, stream, 1, bits=b"\0")
    child.expect(Heartbeat)
    tester.wait(tester.timing.answer)
    tester.check(not child.seen(Data), "packets came to who asked for none")


@case("8/23", "A stranger gets nothing", *BOTH)
def stranger_asks(tester: Tester) -> None:
    _, _, stream = _served(tester, 1, 2)
    peer = stranger(tester)
    _ask(peer, stream, 1, 1, 2)
    peer.expect_silence()


@case("8/24", "Who asks just ahead of its confirmation is answered then", *BOTH)
def asked_ahead(tester: Tester) -> None:
    _, _, stream = _served(tester, 1, 2, 3)
    peer = stranger(tester, flags=HostFlag.FED)
    _ask(peer, stream, 1, 2, 3)
    tester.wait(0.05)
    refresh(peer, interest=EVERYTHING)
    tester.wait(tester.timing.answer)
    tester.equal(numbers(peer), [2, 3], "the numbers that came to the new child")


@case("8/25", "A guest is answered", *BOTH)
def guest_asks(tester: Tester) -> None:
    _, _, stream = _served(tester, 1, 2)
    peer = stranger(tester)
    refresh(peer, RefreshKind.RELATIVE)
    _ask(peer, stream, 1, 1, 2)
    tester.wait(tester.timing.answer)
    tester.equal(numbers(peer), [1, 2], "the numbers that came to a guest")


@case("8/26", "What is missing here too goes to the asker when it comes", *BOTH)
def passed_on_when_it_comes(tester: Tester) -> None:
    stage = placed(tester)
    add_child(tester, interest=EVERYTHING)
    peer = stranger(tester)
    refresh(peer, RefreshKind.RELATIVE)
    stream = Stream(tester)
    stream.begin(stage.parent)
    stream.send(stage.parent, 1, 2, 4)
    tester.wait(0.05)
    _ask(peer, stream, 3, 3)
    tester.wait(0.05)
    stream.send(stage.parent, 3)
    tester.wait(tester.timing.answer)
    tester.equal(numbers(peer), [3], "what came to the asker")


@case("8/27", "A new parent is asked for what follows, ahead of all", *BOTH, seconds=12.0)
def asked_of_a_new_parent(tester: Tester) -> None:
    other = play_parent(tester, "other", 0x120)
    other.delay = 0.02
    stage = placed(tester, (other,))
    have_wanted(stage)
    stream = Stream(tester)
    stream.begin(stage.parent)
    stream.send(stage.parent, 1, 2, 3)
    tester.wait(tester.timing.answer)
    stage.parent.tell(LeaveReport, reason=LeaveReason.DISMISSED, replacement=other.record())
    other.expect(RefreshRequest, within=3.0, where=CHILD)
    asked = other.seen(DataRequest)
    tester.check(bool(asked), "no Data Request came ahead of the confirmation")
    tester.equal((asked[0].base, asked[0].bitmap), (4, b""), "the base and bitmap")


@case("8/30", "A copy of a request is not answered", *BOTH)
def copy_not_answered(tester: Tester) -> None:
    _, child, stream = _served(tester, 1, 2)
    for _ in range(2):
        _ask(child, stream, 1, 1)
    tester.wait(tester.timing.answer)
    tester.equal(numbers(child), [1], "the numbers in answer")


@case("8/31", "A super node of the mesh is answered", "super-node")
def mesh_asks(tester: Tester) -> None:
    member = play_node(tester)
    stage = placed(tester, (member,))
    add_child(tester, interest=EVERYTHING)
    stream = Stream(tester)
    stream.begin(stage.parent)
    stream.send(stage.parent, 1, 2)
    tester.wait(tester.timing.answer)
    _ask(member, stream, 1, 1, 2)
    tester.wait(tester.timing.answer)
    tester.equal(numbers(member), [1, 2], "the numbers that came to a super node")


@case("8/33", "A parent that does not send what others have is left", "member", seconds=60.0)
def withholding_parent(tester: Tester) -> None:
    stage, backups, siblings = with_relatives(tester)
    add_child(tester, interest=EVERYTHING)
    stream = Stream(tester)
    stream.begin(stage.parent)
    for peer in (*backups, *siblings):
        peer.on(DataRequest, partial(_send_marked, stream, peer))
    for number in range(1, 400):
        stream.highest = number
        if number % 3:
            stream.send(stage.parent, number)
        tester.wait(FLOW_GAP)
        if stage.parent.seen(LeaveReport):
            break
    report = stage.parent.expect(LeaveReport, within=2.0)
    tester.equal(LeaveReason(report.reason), LeaveReason.MOVED, "what the parent is told")


@case(
    "8/40",
    "A parent below which nothing of what is announced comes is left",
    "member",
    seconds=60.0,
)
def starving_parent(tester: Tester) -> None:
    stage, _, _ = with_relatives(tester)
    add_child(tester, interest=EVERYTHING)
    stream = Stream(tester)
    stream.begin(stage.parent)
    stream.send(stage.parent, 1, 2, 3)
    for highest in range(10, 200, 10):
        stream.beat(stage.parent, highest)
        tester.wait(GIVEN_UP + 0.5)
        if stage.parent.seen(LeaveReport):
            break
    report = stage.parent.expect(LeaveReport, within=2.0)
    tester.equal(LeaveReason(report.reason), LeaveReason.MOVED, "what the parent is told")


def _send_marked(stream: Stream, peer: Peer, request: DataRequest) -> None:
    for number in marked(request):
        if number <= stream.highest:
            peer.send_bytes(stream.packet(number))

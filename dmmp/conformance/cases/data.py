"""Section 8, first half: where data and heartbeats go, and who wants what."""

from __future__ import annotations

from ipaddress import ip_address

from dmmp.conformance.case import case
from dmmp.conformance.peer import Peer
from dmmp.conformance.playing import add_child, apply_for_place, play_parent, refresh
from dmmp.conformance.staging import (
    EVERYTHING,
    PROGRAM,
    UNWANTED,
    WANTED,
    Placed,
    Stream,
    datagrams,
    numbers,
    of_kind,
    placed,
    stranger,
)
from dmmp.conformance.tester import Tester
from dmmp.interest import FilterMode, Interest, interest, no_interest
from dmmp.messages import Data, DataRequest, Heartbeat, LeaveReport, RefreshRequest
from dmmp.messages.common import HostFlag, LeaveReason, RefreshKind, Status
from dmmp.messages.schema import FieldValue

BOTH = ("super-node", "member")
CHILD = of_kind(RefreshKind.CHILD)
VERSION_HOLD = 30.0
"""Seconds for which a replaced tree version is taken."""


def _watched(tester: Tester) -> tuple[Placed, Peer, Stream]:
    """Have a place, a child that wants the stream, and the stream announced."""
    stage = placed(tester)
    child = add_child(tester, interest=EVERYTHING)
    stream = Stream(tester)
    stream.begin(stage.parent)
    tester.wait(tester.timing.answer)
    child.forget()
    return stage, child, stream


@case("8/1", "Data of the parent goes to a branch, byte for byte", *BOTH)
def data_passed_on(tester: Tester) -> None:
    stage, child, stream = _watched(tester)
    stream.send(stage.parent, *range(1, 6))
    tester.wait(tester.timing.answer)
    wanted = [stream.packet(number) for number in range(1, 6)]
    tester.equal(datagrams(child), wanted, "the data that came")


@case("8/2", "Data of anybody else goes nowhere", *BOTH)
def data_of_others(tester: Tester) -> None:
    _, child, stream = _watched(tester)
    other = add_child(tester, "other", 0x201)
    for peer in (stranger(tester), other):
        stream.send(peer, stream.highest + 1)
    tester.wait(tester.timing.quiet)
    tester.equal(numbers(child), [], "what came of a stranger's data")


@case("8/3", "A number that was seen goes nowhere again", *BOTH)
def duplicates_dropped(tester: Tester) -> None:
    stage, child, stream = _watched(tester)
    stream.send(stage.parent, 1, 2, 2, 1, 3, 3)
    tester.wait(tester.timing.answer)
    tester.equal(numbers(child), [1, 2, 3], "the numbers that came")


@case("8/4", "Data of a group that a branch does not want does not go there", *BOTH)
def unwanted_group(tester: Tester) -> None:
    stage, child, stream = _watched(tester)
    other = add_child(tester, "other", 0x201, interest=(interest(UNWANTED),))
    stream.send(stage.parent, 1, 2, 3)
    tester.wait(tester.timing.answer)
    tester.equal(numbers(child), [1, 2, 3], "what came to who wants it")
    tester.equal(numbers(other), [], "what came to who wants another group")


@case("8/5", "INCLUDE wants the sources that it lists alone", *BOTH)
def sources_included(tester: Tester) -> None:
    _check_sources(tester, FilterMode.INCLUDE, [1, 2], [])


@case("8/5", "EXCLUDE wants all sources but those that it lists", *BOTH)
def sources_excluded(tester: Tester) -> None:
    _check_sources(tester, FilterMode.EXCLUDE, [], [1, 2])


def _check_sources(
    tester: Tester, mode: FilterMode, naming: list[int], naming_another: list[int]
) -> None:
    stage = placed(tester)
    other = ip_address("10.9.9.10")
    peers = [
        add_child(tester, str(source), 0x201 + at, interest=(interest(WANTED, mode, [source]),))
        for at, source in enumerate((PROGRAM, other))
    ]
    stream = Stream(tester)
    stream.begin(stage.parent)
    stream.send(stage.parent, 1, 2)
    tester.wait(tester.timing.answer)
    tester.equal(numbers(peers[0]), naming, "what came to who names the source")
    tester.equal(numbers(peers[1]), naming_another, "what came to who names another")


@case("8/6", "INCLUDE without sources ends the wish at once", *BOTH)
def interest_withdrawn(tester: Tester) -> None:
    stage, child, stream = _watched(tester)
    stream.send(stage.parent, 1)
    refresh(child, interest=(no_interest(WANTED),))
    stream.send(stage.parent, 2, 3)
    tester.wait(tester.timing.answer)
    tester.equal(numbers(child), [1], "the numbers that came")


@case("8/7", "A group that is not renewed is not wanted any more", *BOTH, seconds=120.0)
def interest_lapses(tester: Tester) -> None:
    stage = placed(tester)
    child = add_child(tester, interest=(interest(UNWANTED), *EVERYTHING))
    kept, lapsed = Stream(tester, channel=2, group=UNWANTED), Stream(tester)
    limits = tester.timing.parameters
    spent = 0.0
    while spent <= limits.hold_mesh + 2 * limits.refresh_cluster:
        tester.wait(limits.refresh_cluster)
        spent += limits.refresh_cluster
        refresh(child, interest=(interest(UNWANTED),))
    for stream in (kept, lapsed):
        stream.begin(stage.parent)
        stream.send(stage.parent, 1)
    tester.wait(tester.timing.answer)
    tester.equal(numbers(child, 2), [1], "what came of the group that was renewed")
    tester.equal(numbers(child, 1), [], "what came of the group that was not")


@case("8/8", "The parent hears at once of a new wish, and of its end", *BOTH)
def wishes_passed_up(tester: Tester) -> None:
    stage = placed(tester)
    child = add_child(tester)
    stage.parent.forget()
    for wish in (interest(UNWANTED), no_interest(UNWANTED)):
        refresh(child, interest=(wish,))
        said = stage.parent.expect(RefreshRequest, where=_names(UNWANTED))
        told = next(record for record in said.interest if record.group == UNWANTED)
        tester.equal(told, wish, "the wish that the parent was told")


@case("8/37", "The wishes of two children go up as one", *BOTH)
def wishes_joined(tester: Tester) -> None:
    stage = placed(tester)
    sources = [ip_address(f"10.9.9.{at}") for at in (1, 2)]
    for at, source in enumerate(sources):
        wish = interest(UNWANTED, FilterMode.INCLUDE, [source])
        add_child(tester, f"child{at}", 0x201 + at, interest=(wish,))
    told = _last_told(stage)
    tester.equal(told, interest(UNWANTED, FilterMode.INCLUDE, sources), "what the parent was told")


@case("8/38", "Too many sources become all of them", *BOTH)
def wishes_widened(tester: Tester) -> None:
    stage = placed(tester)
    for at in range(2):
        sources = [ip_address(f"10.9.{at}.{number}") for number in range(1, 13)]
        wish = interest(UNWANTED, FilterMode.INCLUDE, sources)
        add_child(tester, f"child{at}", 0x201 + at, interest=(wish,))
    tester.equal(_last_told(stage), interest(UNWANTED), "what the parent was told")


def _last_told(stage: Placed) -> Interest | None:
    """Wait, and return what the parent was last told of `UNWANTED`."""
    stage.tester.wait(stage.tester.timing.quiet)
    told = None
    for said in stage.parent.seen(RefreshRequest, CHILD):
        for record in said.interest:
            told = record if record.group == UNWANTED else told
    return told


@case("8/39", "More groups than fit into a message all go up", *BOTH)
def many_groups(tester: Tester) -> None:
    stage = placed(tester)
    child = add_child(tester)
    groups = [ip_address("239.255.78.0") + at for at in range(50)]
    for begin in range(0, len(groups), 25):
        refresh(child, interest=tuple(interest(group) for group in groups[begin : begin + 25]))
    tester.wait(tester.timing.quiet)
    told = {
        record.group
        for said in stage.parent.seen(RefreshRequest, CHILD)
        for record in said.interest
    }
    tester.check(set(groups) <= told, f"the parent was told of {len(told)} groups, not of all")


@case("8/29", "A wish for what is no multicast, or stays on a link, is ignored", *BOTH)
def senseless_wishes(tester: Tester) -> None:
    stage = placed(tester)
    stage.parent.forget()
    groups = [ip_address(text) for text in ("10.1.2.3", "224.0.0.5", "ff02::5")]
    child = add_child(tester, interest=tuple(interest(group) for group in groups))
    tester.equal(Status(refresh(child).status), Status.SUCCESS, "the answer to the child")
    tester.wait(tester.timing.quiet)
    for said in stage.parent.seen(RefreshRequest, CHILD):
        told = [record.group for record in said.interest if record.group in groups]
        tester.equal(told, [], "what the parent was told of it")


def _names(group: FieldValue) -> FieldValue:
    return lambda message: any(record.group == group for record in message.interest)


@case("8/9", "A heartbeat that is news goes to the branches, byte for byte, once", *BOTH)
def heartbeat_passed_on(tester: Tester) -> None:
    stage, child, stream = _watched(tester)
    sent = stream.beat(stage.parent)
    stage.parent.send_bytes(sent)
    tester.wait(tester.timing.answer)
    tester.equal(datagrams(child, Heartbeat), [sent], "the heartbeats that came")


@case("8/10", "A new branch gets the latest heartbeat of a channel", *BOTH)
def heartbeat_for_a_new_branch(tester: Tester) -> None:
    stage, _, stream = _watched(tester)
    stream.send(stage.parent, 1, 2)
    latest = stream.beat(stage.parent)
    tester.wait(tester.timing.answer)
    late = add_child(tester, "late", 0x202, interest=EVERYTHING)
    late.expect(Heartbeat)
    assert late.last is not None
    tester.equal(late.last.datagram, latest, "the heartbeat that came")


@case("8/11", "A newcomer gets what came within the last half second", *BOTH)
def newcomer_served(tester: Tester) -> None:
    stage, _, stream = _watched(tester)
    stream.send(stage.parent, 1, 2)
    tester.wait(2 * tester.timing.parameters.newcomer_seconds)
    stream.send(stage.parent, 3, 4)
    late = add_child(tester, "late", 0x202, interest=EVERYTHING)
    tester.wait(tester.timing.answer)
    tester.equal(numbers(late), [3, 4], "the numbers that came to the newcomer")


@case("8/11", "Who was fed before gets nothing that it did not ask for", *BOTH)
def fed_child_not_served(tester: Tester) -> None:
    stage, _, stream = _watched(tester)
    stream.send(stage.parent, 1, 2)
    late = add_child(tester, "late", 0x202, interest=EVERYTHING, flags=HostFlag.FED)
    tester.wait(tester.timing.answer)
    tester.equal(numbers(late), [], "the numbers that came to who was fed before")


@case("8/12", "Data that was not announced waits, and the announcement is asked for", *BOTH)
def announcement_asked_for(tester: Tester) -> None:
    stage = placed(tester)
    child = add_child(tester, interest=EVERYTHING)
    stream = Stream(tester)
    stream.send(stage.parent, 1, 2)
    asked = stage.parent.expect(DataRequest)
    tester.equal((asked.origin, asked.channel), (stream.origin, 1), "the channel asked for")
    tester.equal(asked.bitmap, b"\0", "the bitmap")
    tester.check(not child.seen(Data), "it passes on data of a channel that nobody announced")
    stream.beat(stage.parent)
    tester.wait(tester.timing.answer)
    tester.equal(numbers(child), [1, 2], "the numbers that came then")


@case(
    "8/13", "Data of a tree version that was replaced long ago goes nowhere", *BOTH, seconds=120.0
)
def old_tree_version(tester: Tester) -> None:
    stage, child, stream = _watched(tester)
    old = Stream(tester, channel=2)
    old.begin(stage.parent)
    _outwait(tester, child, VERSION_HOLD + 1.0)
    stage.parent.tree_version = stream.tree_version = 2
    stage.parent.tell(
        RefreshRequest,
        kind=RefreshKind.PARENT,
        sender=stage.parent.record(),
        super_node=stage.parent.cluster,
        root_path=stage.parent.root_path,
    )
    tester.wait(1.0)
    old.beat(stage.parent, 0, 0)
    old.send(stage.parent, 1)
    _outwait(tester, child, VERSION_HOLD + 1.0)
    old.beat(stage.parent, 0, 0)
    old.send(stage.parent, 2)
    stream.begin(stage.parent)
    stream.send(stage.parent, 1)
    tester.wait(tester.timing.answer)
    tester.equal(numbers(child, 2), [1], "what came of the version before")
    tester.equal(numbers(child, 1), [1], "what came of the present version")


def _outwait(tester: Tester, child: Peer, seconds: float) -> None:
    """Let time pass while a child keeps its place."""
    period = tester.timing.parameters.refresh_cluster
    until = tester.now + seconds
    while tester.now < until:
        tester.wait(min(period, until - tester.now))
        refresh(child, interest=EVERYTHING)


@case("8/28", "From the parent before, data is taken for 2 s", "member", seconds=12.0)
def data_of_the_parent_before(tester: Tester) -> None:
    other = play_parent(tester, "other", 0x120)
    other.delay = 0.02
    stage = placed(tester, (other,))
    child = add_child(tester, interest=EVERYTHING)
    stream = Stream(tester)
    stream.begin(stage.parent)
    _move_to(stage, other)
    stream.send(stage.parent, 1)
    tester.wait(tester.timing.parameters.previous_parent_hold + tester.timing.answer)
    stream.send(stage.parent, 2)
    stream.send(other, 3)
    tester.wait(tester.timing.answer)
    tester.equal(numbers(child), [1, 3], "the numbers that came")


@case("8/32", "Data does not go back to where it came from", "member", seconds=12.0)
def not_back(tester: Tester) -> None:
    other = play_parent(tester, "other", 0x120)
    stage = placed(tester, (other,))
    child = add_child(tester, interest=EVERYTHING)
    stream = Stream(tester)
    _move_to(stage, other)
    before = stage.parent
    before.flags = HostFlag.NONE
    stream.begin(other)
    apply_for_place(before)
    answer = refresh(before, interest=EVERYTHING)
    tester.equal(Status(answer.status), Status.SUCCESS, "the answer to the former parent")
    before.forget()
    stream.send(before, 1)
    tester.wait(tester.timing.answer)
    tester.equal(numbers(child), [1], "what came to the other branch")
    tester.equal(numbers(before), [], "what came back")


def _move_to(stage: Placed, other: Peer) -> None:
    """Have the parent send it away to another host, and wait until it is there."""
    stage.parent.tell(LeaveReport, reason=LeaveReason.DISMISSED, replacement=other.record())
    other.expect(RefreshRequest, within=3.0, where=CHILD)
    stage.parent.expect(
        LeaveReport, within=1.0, where=lambda message: message.reason == LeaveReason.MOVED
    )


@case("8/35", "A branch that fell silent gets no more data", *BOTH, seconds=90.0)
def silent_branch(tester: Tester) -> None:
    stage, child, stream = _watched(tester)
    other = add_child(tester, "other", 0x201, interest=EVERYTHING)
    child.vanish()
    limits = tester.timing.parameters
    _outwait(tester, other, limits.hold_cluster + 3 * limits.refresh_cluster)
    stream.begin(stage.parent)
    stream.send(stage.parent, 1)
    tester.wait(tester.timing.answer)
    tester.equal(numbers(other), [1], "what came to who is there")
    tester.equal(numbers(child), [], "what came to who fell silent")


@case("8/36", "Data with another version, session or length goes nowhere", *BOTH)
def malformed_data(tester: Tester) -> None:
    stage, child, stream = _watched(tester)
    true = [stream.packet(number) for number in range(1, 6)]
    stage.parent.send_bytes(b"\2" + true[0][1:])
    stage.parent.send_bytes(true[1][:4] + bytes((true[1][4] ^ 1,)) + true[1][5:])
    stage.parent.send_bytes(true[2][:-1])
    stage.parent.send_bytes(true[3] + b"\0")
    stage.parent.send_bytes(true[4])
    tester.wait(tester.timing.answer)
    tester.equal(datagrams(child), [true[4]], "the data that came")

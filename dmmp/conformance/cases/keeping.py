"""Section 7, third part: keeping a parent, doubting it, losing it, going elsewhere."""

from __future__ import annotations

from dmmp.conformance.case import case
from dmmp.conformance.playing import (
    SOURCE_ID,
    SUBJECT_ID,
    add_child,
    apply_for_place,
    play_parent,
    refresh,
    refreshed,
)
from dmmp.conformance.staging import (
    EVERYTHING,
    Placed,
    Stream,
    answer_refresh,
    gaps,
    have_wanted,
    of_kind,
    placed,
    stranger,
    with_relatives,
)
from dmmp.conformance.tester import Tester
from dmmp.messages import (
    DataRequest,
    JoinRequest,
    LeaveReport,
    PingRpRequest,
    ProbeRequest,
    ProbeResponse,
    RefreshRequest,
    StatusReport,
    StatusResponse,
)
from dmmp.messages.common import HostState, LeaveReason, RefreshKind, Status
from dmmp.types import HostId

BOTH = ("super-node", "member")
CHILD = of_kind(RefreshKind.CHILD)
RELATIVE = of_kind(RefreshKind.RELATIVE)
SILENCE = 1.0
"""Seconds within which a steady flow that stopped is noticed."""


@case("7/36", "The parent gets a Refresh in each period", *BOTH, seconds=45.0)
def parent_refreshed(tester: Tester) -> None:
    stage = placed(tester)
    period = tester.timing.parameters.refresh_cluster
    stage.parent.forget(RefreshRequest)
    instants = []
    for _ in range(3):
        stage.parent.expect(RefreshRequest, within=1.2 * period, where=CHILD)
        assert stage.parent.last is not None
        instants.append(stage.parent.last.at)
    for pause in gaps(instants):
        tester.near(pause, 0.8 * period, 1.2 * period, "the time between two Refreshes")


@case("7/41", "Relatives that are new get a Refresh of kind RELATIVE", "member", seconds=25.0)
def relatives_refreshed(tester: Tester) -> None:
    stage, backups, siblings = with_relatives(tester)
    for peer in (*backups, *siblings):
        said = peer.seen(RefreshRequest, RELATIVE)[0]
        tester.equal(said.sender.host, SUBJECT_ID, "the host in the Refresh")
        tester.equal(said.root_path, stage.path, "the root path in the Refresh")
        tester.equal(said.interest, (), "the interest in the Refresh")


@case("7/71", "A relative that refuses or leaves is asked for nothing", "member", seconds=60.0)
def relatives_that_are_none(tester: Tester) -> None:
    stage, backups, siblings = with_relatives(tester)
    leaves, refuses = siblings[0], backups[0]
    leaves.ask(LeaveReport, reason=LeaveReason.SHUTDOWN)
    answer_refresh(
        refuses,
        RefreshKind.RELATIVE,
        lambda message: refreshed(refuses, message, status=Status.UNKNOWN_HOST),
    )
    refuses.forget()
    # With the next Refresh that it gets it refuses; the other is not to be named again meanwhile.
    answer_refresh(
        stage.parent,
        RefreshKind.CHILD,
        lambda message: refreshed(
            stage.parent, message, backups=tuple(peer.record() for peer in backups)
        ),
    )
    limits = tester.timing.parameters
    later = limits.refresh_relative + 1.2 * limits.refresh_cluster
    refuses.expect(RefreshRequest, within=later, where=RELATIVE)
    tester.wait(tester.timing.answer)
    have_wanted(stage)
    stream = Stream(tester)
    stream.begin(stage.parent)
    stream.send(stage.parent, 1, 2, 4)
    came = tester.take(backups[1:], (DataRequest,), within=2.0)
    tester.check(came is not None, "the relative that is left is not asked")
    for peer in (leaves, refuses):
        tester.check(not peer.seen(DataRequest), f"{peer.name} is asked")


@case("7/43", "When a steady flow stops the parent is probed, twice", *BOTH, seconds=10.0)
def probed_in_silence(tester: Tester) -> None:
    stage = _in_the_flow(tester)
    stage.parent.off(ProbeRequest)
    first = stage.parent.expect(ProbeRequest, within=SILENCE)
    again = stage.parent.expect(ProbeRequest, within=SILENCE)
    tester.equal(again, first, "the second try")


@case("7/73", "A flow that begins after a rest is watched like any", *BOTH, seconds=15.0)
def watched_after_a_rest(tester: Tester) -> None:
    stage = placed(tester)
    stream = _flow(stage)
    stream.send(stage.parent, 1)
    for pause in (0.2, 0.4, 0.8, 1.6):
        tester.wait(pause)
        stream.beat(stage.parent)
    # The next is due 3.2 s after the last one, so for 3.9 s more nothing is remarkable.
    tester.wait(1.0)
    stream.flow(stage.parent)
    tester.check(not stage.parent.seen(ProbeRequest), "it is probed while data comes")
    stage.parent.expect(ProbeRequest, within=SILENCE)


@case("7/44", "A parent that answers the probe stays the parent", *BOTH, seconds=20.0)
def stays_at_a_living_parent(tester: Tester) -> None:
    stage = _in_the_flow(tester)
    stage.parent.expect(ProbeRequest, within=SILENCE)
    stage.parent.forget()
    stage.parent.expect(
        RefreshRequest, within=1.2 * tester.timing.parameters.refresh_cluster, where=CHILD
    )
    tester.check(not stage.parent.seen(LeaveReport), "it left a parent that answers")


@case("7/72", "A parent that lives is shown the host's address", *BOTH, seconds=10.0)
def shows_its_address(tester: Tester) -> None:
    stage = _in_the_flow(tester)
    stage.parent.expect(ProbeRequest, within=SILENCE)
    said = stage.parent.expect(RefreshRequest, where=CHILD)
    tester.equal(said.sender.host, SUBJECT_ID, "whose Refresh it is")
    stage.parent.expect_silence(RefreshRequest, seconds=SILENCE, where=CHILD)


@case("7/45", "A parent that answers no probe is left, and told so", *BOTH, seconds=10.0)
def leaves_a_dead_parent(tester: Tester) -> None:
    stage = _in_the_flow(tester)
    stage.parent.vanish()
    _expect_moved(stage, within=2.0)


@case("7/46", "A parent that answers no Refresh is lost", *BOTH, seconds=40.0)
def refresh_unanswered(tester: Tester) -> None:
    stage = placed(tester)
    answer_refresh(stage.parent, RefreshKind.CHILD, lambda message: None)
    limits = tester.timing.parameters
    tries = limits.retry_first * (2**limits.retry_tries - 1)
    _expect_moved(stage, within=1.2 * limits.refresh_cluster + tries)


@case("7/47", "A parent that refuses a Refresh is lost", *BOTH, seconds=25.0)
def refresh_refused(tester: Tester) -> None:
    stage = placed(tester)
    answer_refresh(
        stage.parent,
        RefreshKind.CHILD,
        lambda message: refreshed(stage.parent, message, status=Status.UNKNOWN_HOST),
    )
    _expect_moved(stage, within=1.2 * tester.timing.parameters.refresh_cluster)


@case("7/48", "A parent whose path leads through this host is lost", *BOTH)
def loop_noticed(tester: Tester) -> None:
    stage = placed(tester)
    stage.parent.tell(
        RefreshRequest,
        kind=RefreshKind.PARENT,
        sender=stage.parent.record(depth=3),
        root_path=(HostId(0x77), SUBJECT_ID, SOURCE_ID),
    )
    _expect_moved(stage, within=0.0)


@case("7/49", "A parent in whose place another id answers is lost", *BOTH, seconds=10.0)
def another_host_answers(tester: Tester) -> None:
    stage = _in_the_flow(tester)
    parent = stage.parent
    parent.on(
        ProbeRequest,
        lambda message: parent.reply(
            message,
            ProbeResponse,
            source=HostId(0x99),
            timestamp=message.timestamp,
            sender=parent.record(host=HostId(0x99)),
        ),
    )
    _expect_moved(stage, within=2.0)


@case("7/50", "With the parent dead a backup is confirmed at once", "member", seconds=30.0)
def backup_confirmed(tester: Tester) -> None:
    stage, backups, _ = with_relatives(tester)
    stream = _flow(stage)
    stream.flow(stage.parent)
    stage.parent.vanish()
    came = tester.take(backups, (RefreshRequest,), 2.0, CHILD)
    tester.check(came is not None, "no backup is confirmed")
    tester.check(
        not any(peer.seen(JoinRequest) for peer in backups), "a backup is asked for an offer first"
    )


@case("7/51", "With the parent dead the relatives hear of it", "member", seconds=30.0)
def relatives_told(tester: Tester) -> None:
    stage, _, siblings = with_relatives(tester)
    stream = _flow(stage)
    stream.flow(stage.parent)
    stage.parent.vanish()
    report = siblings[0].expect(StatusReport, within=2.0)
    tester.equal(HostState(report.state), HostState.INACTIVE, "the state in the report")
    tester.equal(report.subject.host, stage.parent.host, "the host in the report")


@case("7/52", "With the parent lost the children hear that there is no path", *BOTH, seconds=10.0)
def children_told(tester: Tester) -> None:
    stage = placed(tester)
    child = add_child(tester, interest=EVERYTHING)
    stream = Stream(tester)
    stream.begin(stage.parent)
    stream.flow(stage.parent)
    child.forget()
    stage.parent.vanish()
    said = child.expect(RefreshRequest, within=2.0, where=of_kind(RefreshKind.PARENT))
    tester.equal(said.sender.depth, 255, "the depth that the children are told")
    tester.equal(said.root_path, (), "the root path that the children are told")
    tester.equal(Status(refresh(child).status), Status.SUCCESS, "the answer to a child then")


@case("7/53", "What a relative says of the parent is a reason to probe it", "member", seconds=25.0)
def relative_reports(tester: Tester) -> None:
    stage, _, siblings = with_relatives(tester)
    stage.parent.forget()
    siblings[0].ask(StatusReport, state=HostState.INACTIVE, subject=stage.parent.record())
    stage.parent.expect(ProbeRequest)


@case("7/54", "What a stranger says of the parent is acknowledged only", "member")
def stranger_reports(tester: Tester) -> None:
    stage = placed(tester)
    stage.parent.forget()
    answer = stranger(tester).ask(
        StatusReport, state=HostState.INACTIVE, subject=stage.parent.record()
    )
    tester.check(isinstance(answer, StatusResponse), "it does not acknowledge")
    stage.parent.expect_silence(ProbeRequest)


@case("7/55", "A backup that does not confirm is followed by the next", "member", seconds=30.0)
def next_backup(tester: Tester) -> None:
    stage, backups, _ = with_relatives(tester)
    for peer in backups:
        answer_refresh(peer, RefreshKind.CHILD, lambda message: None)
    stream = _flow(stage)
    stream.flow(stage.parent)
    stage.parent.vanish()
    for peer in backups:
        peer.off(JoinRequest)
        peer.expect(RefreshRequest, within=4.0, where=CHILD)


@case("7/55", "Without a backup it searches among those that it knows", "member", seconds=15.0)
def search_without_backups(tester: Tester) -> None:
    other = play_parent(tester, "other", 0x12)
    other.delay = 0.05
    stage = placed(tester, (other,))
    _flow(stage).flow(stage.parent)
    stage.parent.vanish()
    other.expect(JoinRequest, within=3.0)


@case("7/57", "Below a super node without a path the RP is asked", "member", seconds=50.0)
def parent_without_a_path(tester: Tester) -> None:
    stage = placed(tester)
    stage.parent.depth, stage.parent.root_path = 255, ()
    stage.rp.super_nodes = []
    stage.rp.peer.forget()
    period = tester.timing.parameters.refresh_cluster
    stage.rp.peer.expect(PingRpRequest, within=2.4 * period)
    stage.parent.forget()
    stage.parent.expect(RefreshRequest, within=1.2 * period, where=CHILD)
    tester.check(not stage.parent.seen(LeaveReport), "it left without another place")


@case("7/20", "Below a host without a path there is no place", "member", seconds=15.0)
def no_place_below_an_orphan(tester: Tester) -> None:
    stage = placed(tester)
    stage.parent.tell(
        RefreshRequest,
        kind=RefreshKind.PARENT,
        sender=stage.parent.record(depth=255),
        super_node=stage.parent.cluster,
    )
    tester.wait(tester.timing.answer)
    answer = apply_for_place(stranger(tester))
    tester.equal(Status(answer.status), Status.NOT_JOINED, "the answer below an orphan")


def _in_the_flow(tester: Tester) -> Placed:
    """Have a place, and a steady flow, which somebody wants, that has just stopped."""
    stage = placed(tester)
    _flow(stage).flow(stage.parent)
    stage.parent.forget()
    return stage


def _flow(stage: Placed) -> Stream:
    """Announce a stream from the parent, and see to it that somebody wants it."""
    have_wanted(stage)
    stream = Stream(stage.tester)
    stream.begin(stage.parent)
    return stream


def _expect_moved(stage: Placed, within: float) -> None:
    report = stage.parent.expect(LeaveReport, within=within)
    stage.tester.equal(LeaveReason(report.reason), LeaveReason.MOVED, "what the parent is told")

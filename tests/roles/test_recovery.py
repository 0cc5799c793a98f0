"""When the parent dies: who takes its place, and what late words of before are worth."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest

from dmmp.actions import Action, Send
from dmmp.events import ChildLost, Claimed, ParentLost, PeerViolation
from dmmp.messages import (
    JoinRequest,
    JoinResponse,
    LeaveReport,
    PingRpRequest,
    PingRpResponse,
    ProbeRequest,
    ProbeResponse,
    RefreshRequest,
    RefreshResponse,
)
from dmmp.messages.common import HostRecord, LeaveReason, Phase, RefreshKind, Status
from dmmp.messages.local import Silence, Unreachable, Withholding
from dmmp.roles.end_host import EndHost
from dmmp.roles.points import Points
from dmmp.roles.requests import RoundTrip
from dmmp.types import SELF, HostId, Instant
from tests.roles.stage import (
    ME,
    PARAMETERS,
    RP,
    SESSION,
    answer,
    at,
    body,
    events,
    only,
    sends,
    super_node,
)
from tests.roles.test_cluster_member import adopt, child_record, joined, request_from


def named_successor(successor: HostId) -> tuple[EndHost, Instant]:
    """Make a member whose super node has named a successor; also when."""
    member = joined()
    while True:
        alarm = member.next_alarm()
        assert alarm is not None
        now = alarm[0]
        renewals = [send for send in sends(member.wake(now), RefreshRequest) if send.to == at(3)]
        if renewals:
            break
    renewed = answer(
        renewals[0],
        RefreshResponse,
        3,
        sender=super_node(3),
        super_node=HostId(3),
        root_path=(HostId(2),),
        successor=HostRecord(host=successor, endpoint=at(int(successor)), out_degree=4),
    )
    member.receive(renewed, at(3), now)
    return member, now


def after_the_loss(member: EndHost, now: Instant) -> tuple[list[Action], Instant]:
    """Let the parent fall silent, and nobody answer; return all that happens, and the loss."""
    actions = member.receive(Silence(now), SELF, now)
    lost_at = None
    while (alarm := member.next_alarm()) is not None and alarm[0] < now + 8.0:
        done = member.wake(alarm[0])
        lost_at = alarm[0] if lost_at is None and events(done, ParentLost) else lost_at
        actions += done
    assert lost_at is not None
    return actions, lost_at


def test_the_named_successor_claims_the_place_when_nobody_answers() -> None:
    """Decision 22: it holds the cluster together, though it has no way to the source."""
    member, now = named_successor(ME)
    actions, lost_at = after_the_loss(member, now)
    assert events(actions, Claimed)
    assert member.view(now + 8.0).role == "super-node"
    orphan = request_from(9, JoinRequest, applicant=child_record(9))
    offer = body(member.receive(orphan, at(9), lost_at + 7.0), JoinResponse)
    assert offer.status == Status.SUCCESS


def test_nobody_else_does() -> None:
    member, now = named_successor(HostId(50))
    actions, _ = after_the_loss(member, now)
    assert not events(actions, Claimed) and member.view(now + 8.0).role == "member"


def test_a_late_report_of_before_a_place_was_taken_does_not_end_it() -> None:
    member = joined()
    late = replace(request_from(9, LeaveReport, reason=LeaveReason.MOVED), sequence=8000)
    adopt(member, 9, 11.0)
    assert not events(member.receive(late, at(9), 11.1), ChildLost)
    assert [child.host for child in member.view(11.1).children] == [9]
    leaves = replace(request_from(9, LeaveReport, reason=LeaveReason.MOVED), sequence=9100)
    assert events(member.receive(leaves, at(9), 11.2), ChildLost)


def test_where_children_are_full_one_with_room_is_named_but_never_the_dead() -> None:
    """The full backup names the lost parent, which it still counts among its children."""
    member, now = named_successor(HostId(50))
    refused = None
    actions = member.receive(Silence(now), SELF, now)
    for _ in range(200):
        confirms = [
            send
            for send in sends(actions, RefreshRequest)
            if isinstance(send.message, RefreshRequest)
            and send.message.kind == RefreshKind.CHILD
            and send.to != at(3)
        ]
        if confirms and refused is None:
            refused = answer(
                confirms[0],
                RefreshResponse,
                4,
                status=Status.FULL,
                sender=super_node(4),
                backups=(super_node(3), super_node(6)),
            )
            actions = member.receive(refused, confirms[0].to, now)
            assert {s.to for s in sends(actions, RefreshRequest)} <= {at(6)}
            return
        joins = [send for send in sends(actions, JoinRequest) if send.to == at(4)]
        if joins:
            offer = answer(joins[0], JoinResponse, 4, parent=super_node(4), super_node=HostId(4))
            actions = member.receive(offer, at(4), now)
            continue
        alarm = member.next_alarm()
        assert alarm is not None
        now = alarm[0]
        actions = member.wake(now)
    raise AssertionError("it never asked the other super node")


def with_backup() -> EndHost:
    """Make a member whose backup parent, super node 4, has answered; its parent is 3."""
    member = joined()
    (held,) = [
        held
        for held in member.standing.requests._open.values()
        if isinstance(held.message, RefreshRequest) and held.to == at(4)
    ]
    known = RefreshResponse(
        session=SESSION,
        source=HostId(4),
        sequence=held.message.sequence,
        sender=super_node(4),
        super_node=HostId(4),
        root_path=(HostId(2),),
    )
    member.receive(known, at(4), 10.1)
    return member


def until_lost(member: EndHost, now: Instant) -> tuple[list[Action], Instant]:
    """Let the parent fall silent; return what the verdict is followed by, and when it is."""
    member.receive(Silence(now), SELF, now)
    return next_verdict(member)


def next_verdict(member: EndHost) -> tuple[list[Action], Instant]:
    """Let alarms ring, nobody answering, until the parent is lost."""
    while (alarm := member.next_alarm()) is not None:
        now = alarm[0]
        done = member.wake(now)
        if events(done, ParentLost):
            return done, now
    raise AssertionError("it never gives its parent up")


def test_while_it_confirms_a_place_it_tells_of_that_and_of_no_path() -> None:
    """With 255 its children would look for other places, all at once, for the time of an answer."""
    member = with_backup()
    adopt(member, 9, 11.0)
    actions, _ = until_lost(member, 12.0)
    refreshes = {send.to: send.message for send in sends(actions, RefreshRequest)}
    confirming, told = refreshes[at(4)], refreshes[at(9)]
    assert isinstance(confirming, RefreshRequest) and isinstance(told, RefreshRequest)
    assert (confirming.sender.depth, confirming.root_path) == (2, ())
    # Three of its own, two below its child: the parent counts on them.
    assert confirming.sender.free_slots == 5
    assert (told.kind, told.sender.depth, told.root_path) == (RefreshKind.PARENT, 2, ())


def test_where_children_are_full_its_own_child_is_not_asked() -> None:
    """It could only answer that this host stands above it."""
    member = with_backup()
    adopt(member, 9, 11.0)
    actions, now = until_lost(member, 12.0)
    (confirm,) = [send for send in sends(actions, RefreshRequest) if send.to == at(4)]
    full = answer(
        confirm,
        RefreshResponse,
        4,
        status=Status.FULL,
        sender=super_node(4),
        root_path=(HostId(2),),
        backups=(child_record(9), super_node(6)),
    )
    actions = member.receive(full, at(4), now)
    assert [send.to for send in sends(actions, RefreshRequest)] == [at(6)]


def test_an_older_tree_version_of_the_parent_is_taken_over_and_told_below() -> None:
    """Where source and rendezvous point began anew, data of the new tree would be dropped."""
    member, now = joined(), 11.0
    adopt(member, 9, now)
    told = []
    for version in (7, 7, 5):
        asked: list[Send] = []
        while not asked:
            alarm = member.next_alarm()
            assert alarm is not None
            now = alarm[0]
            asked = [send for send in sends(member.wake(now), RefreshRequest) if send.to == at(3)]
        response = answer(
            asked[0],
            RefreshResponse,
            3,
            sender=super_node(3),
            super_node=HostId(3),
            root_path=(HostId(2),),
            tree_version=version,
        )
        actions = member.receive(response, at(3), now)
        assert member.view(now).tree_version == version
        told.append([send.to for send in sends(actions, RefreshRequest)].count(at(9)))
    assert told[1:] == [0, 1]


def with_two_backups(trip: float = 0.02) -> tuple[EndHost, Instant]:
    """Make a member of two backups that have answered, 4 and 6, 4 heard last; also when.

    Both are `trip` seconds away and back.
    """
    member, now = with_backup(), 10.1
    heard = {at(4): False, at(6): False}
    while not all(heard.values()):
        alarm = member.next_alarm()
        assert alarm is not None
        pending = [*sends(member.wake(alarm[0]), RefreshRequest)]
        now = alarm[0]
        while pending:
            send = pending.pop()
            number = int(send.to.address) & 0xFF
            done = answer(
                send,
                RefreshResponse,
                number,
                sender=super_node(number),
                super_node=HostId(number),
                root_path=(HostId(2),),
                backups=(super_node(4), super_node(6)) if number == 3 else (),
            )
            pending += sends(member.receive(done, send.to, now), RefreshRequest)
            heard[send.to] = True
    role: Any = member.role
    for kin in role.kinship.named.values():
        kin.round_trip = RoundTrip()
        kin.round_trip.sample(trip)
    role.kinship.named[HostId(4)].heard = now + 0.1
    role.round_trip.sample(0.02)
    return member, now + 0.1


@pytest.mark.parametrize("first", [True, False], ids=["chosen-lives", "chosen-is-silent"])
def test_a_backup_that_lives_is_preferred_to_one_that_has_not_answered(first: bool) -> None:
    """What killed the parent may have killed its parent, too: its waits are the longest."""
    member, now = with_two_backups(trip=0.1)
    probes = {s.to: s for s in sends(member.receive(Silence(now), SELF, now), ProbeRequest)}
    actions, now = next_verdict(member)
    assert [send.to for send in sends(actions, RefreshRequest)] == [at(4)]
    done = []
    for number in (4, 6) if first else (6,):
        alive = answer(
            probes[at(number)], ProbeResponse, number, timestamp=0, sender=super_node(number)
        )
        done += member.receive(alive, at(number), now + 0.01)
    assert [send.to for send in sends(done, RefreshRequest)] == ([] if first else [at(6)])
    # The one that was asked may have confirmed all the same.
    assert [send.to for send in sends(done, LeaveReport)] == ([] if first else [at(4)])
    if not first:
        full = answer(
            sends(done, RefreshRequest)[0],
            RefreshResponse,
            6,
            status=Status.FULL,
            sender=super_node(6),
        )
        after = member.receive(full, at(6), now + 0.1)
        assert [send.to for send in sends(after, RefreshRequest)] == [at(4)]


def test_when_no_backup_answers_its_probe_others_are_asked_first() -> None:
    """Whoever is dead is not waited for alone: its confirmation takes 0.3 s to be given up."""
    member, now = with_two_backups()
    role: Any = member.role
    role.standing.super_nodes = (super_node(3), super_node(5), super_node(7))
    member.receive(Silence(now), SELF, now)
    actions, _ = next_verdict(member)
    assert not [send for send in sends(actions, RefreshRequest) if send.to in (at(4), at(6))]
    asked = [send.to for send in sends(actions, JoinRequest)]
    assert asked[:2] == [at(5), at(7)] and asked[2] in (at(4), at(6))


def test_a_backup_that_has_not_answered_its_probe_is_confirmed_at_only_by_a_search() -> None:
    member, now = with_two_backups()
    probes = {s.to: s for s in sends(member.receive(Silence(now), SELF, now), ProbeRequest)}
    alive = answer(probes[at(6)], ProbeResponse, 6, timestamp=0, sender=super_node(6))
    member.receive(alive, at(6), now + 0.02)
    actions, now = next_verdict(member)
    (confirm,) = sends(actions, RefreshRequest)
    assert confirm.to == at(6)
    full = answer(confirm, RefreshResponse, 6, status=Status.FULL, sender=super_node(6))
    after = member.receive(full, at(6), now + 0.02)
    assert at(4) in [send.to for send in sends(after, JoinRequest)]


def test_a_backup_below_the_lost_parent_is_cut_off_too() -> None:
    member, now = with_two_backups()
    role: Any = member.role
    role.kinship.named[HostId(4)].path = (HostId(4), HostId(3), HostId(2))
    probes = {s.to: s for s in sends(member.receive(Silence(now), SELF, now), ProbeRequest)}
    for number in (4, 6):
        probe = probes[at(number)]
        alive = answer(probe, ProbeResponse, number, timestamp=0, sender=super_node(number))
        member.receive(alive, at(number), now + (0.02 if number == 6 else 0.03))
    actions, _ = next_verdict(member)
    assert [send.to for send in sends(actions, RefreshRequest)] == [at(6)]


def test_a_parent_that_answers_ends_the_doubt_of_its_backups() -> None:
    member, now = with_two_backups()
    probes = {s.to: s for s in sends(member.receive(Silence(now), SELF, now), ProbeRequest)}
    alive = answer(probes[at(3)], ProbeResponse, 3, timestamp=0, sender=super_node(3))
    member.receive(alive, at(3), now + 0.01)
    role: Any = member.role
    assert not role.unproven
    actions = list(role.lose_parent("another reason", now + 5.0))
    assert [send.to for send in sends(actions, RefreshRequest)] == [at(4)]


def test_a_parent_is_probed_no_longer_than_its_round_trip_explains() -> None:
    """A moment in which it was busy makes the variation great for a minute."""
    for trips, wait in (((0.003, 0.2, 0.003), 0.056), ((0.1, 0.1, 0.1), 0.1)):
        member, now = with_two_backups()
        role: Any = member.role
        role.round_trip = RoundTrip()
        for trip in trips * 3:
            role.round_trip.sample(trip)
        member.receive(Silence(now), SELF, now)
        (held,) = [r for r in role.standing.requests._open.values() if r.to == at(3)]
        assert wait <= held.wait < wait + 0.03


def test_a_parent_that_lives_while_the_flow_is_silent_is_shown_where_this_host_is() -> None:
    """Its address may have changed. Once for each silence: it may be the source that is silent."""
    member, shown = with_backup(), []
    for since, now in ((11.0, 11.1), (11.0, 11.4), (11.0, 12.0), (14.0, 14.1)):
        (probe,) = [
            send
            for send in sends(member.receive(Silence(since), SELF, now), ProbeRequest)
            if send.to == at(3)
        ]
        alive = answer(probe, ProbeResponse, 3, timestamp=0, sender=super_node(3))
        done = sends(member.receive(alive, at(3), now), RefreshRequest)
        shown.append([send.to for send in done])
        for send in done:
            assert isinstance(send.message, RefreshRequest)
            assert send.message.kind == RefreshKind.CHILD and send.message.sender.depth == 2
            renewed = answer(send, RefreshResponse, 3, sender=super_node(3), root_path=(HostId(2),))
            member.receive(renewed, at(3), now)
    assert shown == [[at(3)], [], [], [at(3)]]


def test_a_parent_that_is_probed_for_another_reason_is_shown_nothing() -> None:
    member = with_backup()
    probe = only(member.receive(Unreachable(at(3)), SELF, 11.0), ProbeRequest)
    alive = answer(probe, ProbeResponse, 3, timestamp=0, sender=super_node(3))
    assert not sends(member.receive(alive, at(3), 11.1), RefreshRequest)


def test_the_first_refresh_comes_soon_and_the_next_after_the_whole_period() -> None:
    """Those who came just after it are relatives to know before long (Decision 76)."""
    member, now = joined(now=10.0), 10.0
    sent: list[Instant] = []
    while len(sent) < 3:
        alarm = member.next_alarm()
        assert alarm is not None
        now = alarm[0]
        for send in sends(member.wake(now), RefreshRequest):
            if send.to == at(3):
                sent.append(now)
                renewed = answer(
                    send, RefreshResponse, 3, sender=super_node(3), root_path=(HostId(2),)
                )
                member.receive(renewed, at(3), now)
    first = sent[0] - 10.0
    assert 0.8 * PARAMETERS.refresh_first <= first <= 1.2 * PARAMETERS.refresh_first
    for before, after in pairwise(sent):
        period = PARAMETERS.refresh_cluster
        assert 0.8 * period <= after - before <= 1.2 * period


def test_the_lost_parent_is_asked_again_when_the_others_have_failed() -> None:
    """It may be the only super node there is, and live; but whoever is asked first costs time."""
    member = joined()
    _, now = until_lost(member, 11.0)
    lost_at, asked = now, {3: 0.0, 4: 0.0}
    renewals = 0
    while not asked[3]:
        alarm = member.next_alarm()
        assert alarm is not None and alarm[0] < lost_at + 30.0
        now = alarm[0]
        actions = member.wake(now)
        for ping in sends(actions, PingRpRequest):
            renewals += 1
            named = (super_node(3), super_node(4))
            welcome = answer(
                ping, PingRpResponse, 0, host=ME, phase=Phase.RUNNING, super_nodes=named
            )
            actions += member.receive(welcome, RP, now)
        for send in sends(actions, JoinRequest):
            number = int(send.to.address) & 0xFF
            asked[number] = asked[number] or now
    assert asked[4] and asked[4] < asked[3]
    # Once the rendezvous point named it in vain.
    assert renewals == 2


def test_a_super_node_that_only_another_rp_names_is_a_relative() -> None:
    """Else an RP that names only its friends, who name theirs, is all that a host hears of."""
    member = joined()
    points = member.standing.points = Points((RP, at(8)))
    named = ((3, 4), (4, 5, 6))
    for point, index, numbers in zip(points, (1, 2), named, strict=True):
        point.registered, point.identity = True, HostId(index << 28 | 1)
        point.super_nodes = tuple(super_node(number) for number in numbers)

    def relatives() -> list[int]:
        return [record.host for record in member.role.relatives()]  # type: ignore[attr-defined]

    assert relatives() == [4, 5]
    # It stays the same one as long as it is named.
    member.standing.kinship.name([super_node(6)])
    assert relatives() == [4, 6]
    # Who is silent is none, however long it is named.
    member.role.unanswered.add(HostId(6))  # type: ignore[attr-defined]
    assert relatives() == [4, 5]
    # A second address of the same RP is no second opinion.
    (first, second) = points
    second.identity = first.identity
    assert relatives() == [4]


@pytest.mark.parametrize("hops", [2, 3, 4])
def test_a_parent_below_which_nothing_comes_is_left_the_sooner_the_nearer_to_the_source(
    hops: int,
) -> None:
    member = joined()
    path = tuple(HostId(number) for number in (8, 7, 2)[4 - hops :])
    moved = request_from(
        3, RefreshRequest, kind=RefreshKind.PARENT, sender=super_node(3), root_path=path
    )
    member.receive(moved, at(3), 10.5)
    for starved in range(1, hops - 1):
        assert not member.receive(Withholding(at(3), starved), SELF, 10.5 + starved)
    actions = member.receive(Withholding(at(3), hops - 1), SELF, 10.5 + hops)
    assert events(actions, PeerViolation)
    # It is served until it has another place, if there is anything to serve.
    assert member.view(10.5 + hops).parent is not None
    while not (asked := sends(actions, JoinRequest)):
        alarm = member.next_alarm()
        assert alarm is not None and alarm[0] < 20.0
        actions = member.wake(alarm[0])
    assert at(3) not in {send.to for send in asked}

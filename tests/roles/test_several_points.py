"""A host and its several RPs, rule by rule (Decision 21)."""

from __future__ import annotations

from dataclasses import replace
from random import Random

from dmmp.actions import Action, Send
from dmmp.events import Misconfigured, Refused, Registered, Resumed, Waiting
from dmmp.messages import (
    JoinRequest,
    LeaveReport,
    PingRpRequest,
    PingRpResponse,
    ProbeRequest,
    ProbeResponse,
    RefreshRequest,
    RefreshResponse,
    SetupRequest,
    SetupResponse,
    StatusReport,
    StatusResponse,
    SubscriptionRequest,
    SubscriptionResponse,
)
from dmmp.messages.common import HostRecord, HostState, Status
from dmmp.messages.local import Start, Stop
from dmmp.roles.end_host import EndHost
from dmmp.roles.points import MAXIMUM_NAMED
from dmmp.roles.standing import HostSetup
from dmmp.types import SELF, Endpoint, HostId, Instant
from tests.roles.mesh_stage import lost, named, news, sleep
from tests.roles.stage import (
    ME,
    PARAMETERS,
    SESSION,
    SOURCE,
    SOURCE_RECORD,
    answer,
    at,
    body,
    events,
    only,
    sends,
    super_node,
)
from tests.roles.super_node_stage import in_mesh, refresh_from, setup_from

FIRST, SECOND, THIRD = at(1), at(8), at(9)
IDENTITY = {FIRST: 0x0000_0111, SECOND: 0x1000_0222, THIRD: 0x2000_0333}


class Stage:
    """A host that several RPs serve, each of which answers while it is among `alive`."""

    def __init__(
        self, kind: str = "member", points: tuple[Endpoint, ...] = (FIRST, SECOND)
    ) -> None:
        setup = HostSetup("demo", points, 8, instance=7)
        self.host = EndHost(kind, setup, PARAMETERS, Random(1))
        self.alive = set(points)
        self.identity = dict(IDENTITY)
        self.gives = {point: ME + number for number, point in enumerate(points)}
        self.names: dict[Endpoint, tuple[HostRecord, ...]] = {}
        self.status: dict[Endpoint, Status] = {}
        self.hosts = dict.fromkeys(points, 1)
        self.version = 0
        self.log: list[tuple[Instant, Action]] = []

    def start(self, until: Instant = 0.2) -> Stage:
        self._take(self.host.receive(Start(), SELF, 0.0), 0.0)
        return self.run(until)

    def run(self, until: Instant) -> Stage:
        """Let time pass; every question reaches its RP at once."""
        while (alarm := self.host.next_alarm()) is not None and alarm[0] <= until:
            self._take(self.host.wake(alarm[0]), alarm[0])
        return self

    def _take(self, actions: list[Action], now: Instant) -> None:
        self.log += [(now, action) for action in actions]
        for send in sends(actions):
            if send.to in self.alive:
                self._answer(send, now)

    def _answer(self, send: Send, now: Instant) -> None:
        me, status = self.identity[send.to], self.status.get(send.to, Status.SUCCESS)
        if isinstance(send.message, SubscriptionRequest):
            reply = answer(send, SubscriptionResponse, me)
        elif isinstance(send.message, PingRpRequest):
            reply = answer(
                send,
                PingRpResponse,
                me,
                status=status,
                host=send.message.source or self.gives[send.to],
                observed=at(100),
                super_nodes=self.names.get(send.to, ()),
                hosts=self.hosts[send.to],
            )
        else:
            return
        self._take(self.host.receive(reply, send.to, now), now)

    def pings(self, to: Endpoint, since: Instant = 0.0) -> list[tuple[Instant, PingRpRequest]]:
        """List when the host asked an RP to register it, and how."""
        return [
            (now, action.message)
            for now, action in self.log
            if isinstance(action, Send) and action.to == to and now >= since
            if isinstance(action.message, PingRpRequest)
        ]

    def said(self, *kinds: type) -> list[str]:
        """List what the host reported."""
        return [str(event) for _, action in self.log for event in events([action], *kinds)]


# Registering.


def test_the_first_that_answers_gives_the_id_and_the_others_are_brought_it() -> None:
    stage = Stage().start()
    assert [ping.source for _, ping in stage.pings(FIRST)] == [0]
    assert [ping.source for _, ping in stage.pings(SECOND)] == [ME]
    assert len(stage.said(Registered)) == 1 and stage.host.view(0.0).host == ME


def test_a_dead_first_rp_costs_less_than_a_second() -> None:
    stage = Stage()
    stage.alive.remove(FIRST)
    stage.start(0.9)
    assert stage.host.view(0.9).host == stage.gives[SECOND]


def test_one_that_was_dead_from_the_beginning_is_registered_at_when_it_comes() -> None:
    stage = Stage("source")
    stage.alive.remove(FIRST)
    stage.start(30.0)
    stage.alive.add(FIRST)
    stage.run(30.0 + 1.2 * PARAMETERS.refresh_rp_core)
    assert stage.pings(FIRST)[0][1].source == stage.gives[SECOND]


def test_one_that_dies_between_its_two_answers_costs_less_than_a_second() -> None:
    stage = Stage()
    answered = stage._answer

    def once(send: Send, now: Instant) -> None:
        if send.to == FIRST:
            stage.alive.remove(FIRST)
        answered(send, now)

    stage._answer = once  # type: ignore[method-assign]
    stage.start(0.9)
    assert stage.pings(FIRST) and stage.host.view(0.9).host == stage.gives[SECOND]


def test_a_slow_first_rp_that_answers_after_all_is_brought_the_id() -> None:
    stage = Stage()
    stage.alive.remove(FIRST)
    stage.start(0.6)
    stage.alive.add(FIRST)
    stage.run(2.0)
    assert {ping.source for _, ping in stage.pings(FIRST)} == {stage.gives[SECOND]}


def test_an_rp_that_gave_an_id_too_late_is_brought_the_one_that_counts() -> None:
    stage = Stage()
    stage.alive.clear()
    stage.start(0.0)
    located = [send for _, send in stage.log if isinstance(send, Send)]
    stage._take(
        stage.host.receive(answer(located[0], SubscriptionResponse, IDENTITY[FIRST]), FIRST, 0.1),
        0.1,
    )
    stage.run(0.7)
    (second,) = [
        action
        for _, action in stage.log
        if isinstance(action, Send) and action.to == SECOND
        if isinstance(action.message, SubscriptionRequest) and action.message.sequence
    ][:1]
    reply = answer(second, SubscriptionResponse, IDENTITY[SECOND])
    stage._take(stage.host.receive(reply, SECOND, 0.7), 0.7)
    for point in (SECOND, FIRST):
        (_, ping), *_ = stage.pings(point)
        late = answer(Send(ping, point), PingRpResponse, IDENTITY[point], host=stage.gives[point])
        stage._take(stage.host.receive(late, point, 0.8), 0.8)
    assert stage.host.view(0.8).host == stage.gives[SECOND]
    assert stage.pings(FIRST)[-1][1].source == stage.gives[SECOND]
    assert len(stage.said(Registered)) == 1 and not stage.said(Misconfigured)


def test_one_that_does_not_serve_the_session_is_said_once_and_asked_again() -> None:
    stage = Stage("source").start(5.0)
    stage.status[SECOND] = Status.UNKNOWN_SESSION
    stage.run(30.0)
    assert len(stage.said(Refused)) == 1
    assert stage.host.view(30.0).state == "Rooted"
    stage.status.clear()
    stage.run(40.0)
    assert stage.pings(SECOND, 31.0)


# Renewing.


def test_all_are_renewed_each_in_its_own_time() -> None:
    stage = Stage("source").start().run(100.0)
    times = {point: [now for now, _ in stage.pings(point, 5.0)] for point in (FIRST, SECOND)}
    for point in (FIRST, SECOND):
        assert 95.0 / 4.8 - 1 <= len(times[point]) <= 95.0 / 3.2 + 1
    assert not set(times[FIRST]) & set(times[SECOND])


def test_a_silent_one_is_said_once_asked_with_each_renewal_and_greeted_once() -> None:
    stage = Stage("source").start()
    stage.alive.remove(SECOND)
    stage.run(60.0)
    assert stage.said(Waiting) == [f"waiting: the RP at {SECOND} does not answer, trying again"]
    asked = len(stage.pings(SECOND, 30.0))
    rounds = 30.0 / PARAMETERS.refresh_rp_core
    assert 0.7 * rounds * 2 <= asked <= 1.3 * rounds * 2
    stage.alive.add(SECOND)
    stage.run(60.0 + 1.2 * PARAMETERS.refresh_rp_core)
    assert stage.said(Resumed) == [f"the RP at {SECOND} answers again"]
    assert stage.host.view(70.0).host == ME and stage.host.view(70.0).state == "Rooted"


def test_all_hear_that_the_host_goes() -> None:
    stage = Stage().start()
    told = {send.to for send in sends(stage.host.receive(Stop(), SELF, 1.0), LeaveReport)}
    assert told == {FIRST, SECOND}


def test_the_size_of_the_session_is_what_the_rp_says_that_knows_most() -> None:
    stage = Stage()
    stage.hosts = {FIRST: 40, SECOND: 3}
    assert stage.start().host.view(1.0).hosts == 40
    stage.alive.remove(FIRST)
    stage.run(60.0)
    assert stage.host.view(60.0).hosts == 3


# Which RP is which.


def test_two_addresses_of_one_rp_are_one_registration() -> None:
    stage = Stage()
    stage.identity[SECOND] = stage.identity[FIRST]
    stage.start().run(60.0)
    assert stage.pings(FIRST, 5.0) and not stage.pings(SECOND)
    assert not stage.said(Misconfigured)
    # Where the first address is silent, the second serves.
    stage.alive.remove(FIRST)
    stage.run(120.0)
    assert stage.pings(SECOND, 60.0)


def test_an_rp_of_two_addresses_that_starts_anew_is_not_registered_at_by_both() -> None:
    stage = Stage()
    stage.identity[SECOND] = stage.identity[FIRST]
    stage.start().run(10.0)
    stage.identity[FIRST] = stage.identity[SECOND] = 0x0000_0999
    stage.run(120.0)
    assert stage.pings(FIRST, 60.0) and not stage.pings(SECOND)


def test_two_rps_of_one_index_are_named_once() -> None:
    stage = Stage()
    stage.identity[SECOND] = stage.identity[FIRST] + 1
    stage.start().run(60.0)
    (said,) = stage.said(Misconfigured)
    assert str(FIRST) in said and str(SECOND) in said and "--index" in said


def test_an_id_that_an_rp_knows_as_anothers_is_given_up_everywhere_and_that_is_said() -> None:
    stage = Stage("source").start()
    now, ping = stage.pings(SECOND)[-1]
    stage.alive.remove(SECOND)
    stage.run(3.0)
    other = HostId(0x1000_0777)
    while len(stage.pings(SECOND)) < 2:
        stage.run(stage.host.next_alarm()[0])  # type: ignore[index]
    now, ping = stage.pings(SECOND)[-1]
    reply = answer(Send(ping, SECOND), PingRpResponse, IDENTITY[SECOND], host=other)
    stage._take(stage.host.receive(reply, SECOND, now), now)
    assert stage.host.view(now).host == other and stage.said(Misconfigured)
    assert stage.pings(FIRST)[-1][1].source == other


# Candidates.


def test_what_one_does_not_know_another_may() -> None:
    stage = Stage()
    stage.names = {SECOND: (super_node(3),)}
    stage.start(0.3)
    probed = {send.to for _, send in stage.log if isinstance(send, Send)}
    assert at(3) in probed


def test_when_the_candidates_of_one_are_used_up_those_of_the_others_are_asked() -> None:
    stage = Stage()
    stage.names = {FIRST: (super_node(3), super_node(4)), SECOND: (super_node(4), super_node(5))}
    stage.start(20.0)
    asked = [
        action.to
        for now, action in stage.log
        if isinstance(action, Send) and isinstance(action.message, JoinRequest)
        if now < PARAMETERS.probe_wait + 2 * PARAMETERS.join_wait + 0.1
    ]
    assert set(asked[:2]) == {at(3), at(4)} and at(5) in asked


def test_super_nodes_that_several_name_are_kept_once_and_so_many_at_most() -> None:
    stage = Stage(points=(FIRST, SECOND, THIRD))
    for at_point, point in enumerate((FIRST, SECOND, THIRD)):
        stage.names[point] = tuple(super_node(20 + 11 * at_point + n) for n in range(12))
    stage.start()
    kept = [host.host for host in stage.host.standing.super_nodes]
    assert len(kept) == len(set(kept)) == MAXIMUM_NAMED


# The source's tree version.


def reports(stage: Stage) -> list[Send]:
    """Pick the last reports of a change of the mesh, one for each RP that heard of it."""
    found = [a for _, a in stage.log if isinstance(a, Send) and isinstance(a.message, StatusReport)]
    return list({send.message.sequence: send for send in found}.values())


def changed(count: int = 2) -> Stage:
    """Make a source of several RPs that has just taken up its first super node."""
    stage = Stage("source", (FIRST, SECOND, THIRD)[:count]).start()
    now = 0.3
    news(stage.host, named(3), now, sender=8)
    stage.run(now + PARAMETERS.choose_after)
    (setup,) = [
        a for _, a in stage.log if isinstance(a, Send) and isinstance(a.message, SetupRequest)
    ]
    reply = answer(setup, SetupResponse, 3, sender=super_node(3))
    stage._take(stage.host.receive(reply, at(3), 0.9), 0.9)
    return stage


def say(stage: Stage, to: Endpoint, version: int, status: Status = Status.SUCCESS) -> int:
    """Have an RP answer the report; return the source's version then."""
    (send,) = [send for send in reports(stage) if send.to == to]
    reply = answer(send, StatusResponse, 1, tree_version=version, status=status)
    stage._take(stage.host.receive(reply, to, 1.0), 1.0)
    return stage.host.view(1.0).tree_version


def test_the_source_tells_all_of_them_and_takes_the_newest_version() -> None:
    stage = changed()
    assert {send.to for send in reports(stage)} == {FIRST, SECOND}
    assert [say(stage, SECOND, 7), say(stage, FIRST, 5)] == [7, 7]
    # The one behind learns it from the next renewal.
    stage.run(7.0)
    assert stage.pings(FIRST)[-1][1].tree_version == 7


def test_the_version_rises_though_one_rp_is_silent_and_only_once() -> None:
    stage = changed()
    stage.alive.remove(FIRST)
    assert say(stage, SECOND, 1) == 1
    stage.run(12.0)
    assert stage.host.view(12.0).tree_version == 1


def test_the_source_raises_it_itself_when_none_answers() -> None:
    stage = changed()
    stage.alive.clear()
    stage.run(8.6)
    assert stage.host.view(8.6).tree_version == 0
    stage.run(9.0)
    assert stage.host.view(9.0).tree_version == 1


def test_an_rp_that_started_anew_refuses_and_is_registered_at_at_once() -> None:
    stage = changed()
    before = len(stage.pings(FIRST))
    assert say(stage, FIRST, 0, Status.REFUSED) == 0
    assert len(stage.pings(FIRST)) == before + 1
    assert say(stage, SECOND, 1) == 1


def test_news_of_one_host_from_two_rps_invite_it_once() -> None:
    stage = Stage("source").start()
    for number, sender in enumerate((1, 8, 1, 8)):
        news(stage.host, named(3, 8), 0.3 + number / 100, sender=sender)
        news(stage.host, super_node(4), 0.3 + number / 100, sender=sender)
    asked = {
        send.message.sequence
        for send in sends(sleep(stage.host, 0.9), SetupRequest)
        if send.to == at(4)
    }
    assert len(asked) == 1
    assert not news(stage.host, named(5), 1.0, sender=77)[1:]


# Two sources.


def test_a_source_that_an_earlier_rp_has_goes_on_another_steps_back() -> None:
    stage = Stage("source").start()
    stage.status[SECOND] = Status.DUPLICATE_SOURCE
    stage.run(20.0)
    assert stage.host.view(20.0).state == "Rooted" and len(stage.said(Refused)) == 1
    later = Stage("source").start()
    later.status[FIRST] = Status.DUPLICATE_SOURCE
    later.run(5.5)
    assert later.host.view(5.5).state == "Locating"
    left = [a for _, a in later.log if isinstance(a, Send) and isinstance(a.message, LeaveReport)]
    assert [send.to for send in left] == [SECOND]


# A source that was cut off.


def test_super_nodes_that_were_dropped_for_silent_are_invited_when_the_source_is_back() -> None:
    stage = changed()
    say(stage, FIRST, 1)
    stage.alive.clear()
    news(stage.host, super_node(3), 5.0, HostState.INACTIVE, 3, 3)
    stage.run(5.0)
    list(stage.host.role.doubt(HostId(3), 5.0))  # type: ignore[attr-defined]
    stage.run(20.0)
    assert stage.host.view(20.0).super_nodes == ()
    seen = len(stage.log)
    stage.alive = {FIRST, SECOND}
    stage.run(26.0)
    invited = {
        type(a.message).__name__
        for _, a in stage.log[seen:]
        if isinstance(a, Send) and a.to == at(3)
    }
    assert invited == {"SetupRequest"}


def test_a_source_that_has_just_come_dismisses_no_super_node_that_it_does_not_know_yet() -> None:
    stage = Stage("source").start()
    refresh = refresh_from(5)
    assert not sends(stage.host.receive(refresh, at(5), 1.0))
    # Once the RPs had time to name it, it is none.
    late = stage.host.receive(refresh_from(5, 6), at(5), 0.2 + PARAMETERS.refresh_rp_core)
    assert body(late, RefreshResponse).status == Status.UNKNOWN_HOST


def test_a_super_node_that_was_dropped_for_silent_is_taken_up_again_when_it_refreshes() -> None:
    stage = changed()
    say(stage, FIRST, 1)
    list(stage.host.role.doubt(HostId(3), 2.0))  # type: ignore[attr-defined]
    while stage.host.view(3.9).super_nodes:
        stage.host.wake(stage.host.next_alarm()[0])  # type: ignore[index]
    stage.run(3.9)
    assert stage.host.view(3.9).super_nodes == ()
    actions = stage.host.receive(refresh_from(3), at(3), 5.0)
    assert body(actions, RefreshResponse).status == Status.SUCCESS
    assert only(actions, SetupRequest).to == at(3)
    # Not by its id alone.
    thief = stage.host.receive(refresh_from(3), at(7), 5.1)
    assert body(thief, RefreshResponse).status == Status.UNKNOWN_HOST


def test_a_super_node_whose_source_started_anew_at_the_same_address_joins_the_new_one() -> None:
    subject = in_mesh()
    record = replace(SOURCE_RECORD, host=HostId(99))
    actions = subject.receive(setup_from(record, 78), SOURCE, 5.0)
    assert lost(actions) == ["another source"]
    # Without a search: it stands where the one before stood.
    assert only(actions, RefreshRequest).to == SOURCE
    # The same source again disturbs nobody.
    again = in_mesh()
    assert not lost(again.receive(setup_from(SOURCE_RECORD, 78), SOURCE, 5.0))


def test_a_super_node_that_searches_in_vain_asks_a_new_source_at_once() -> None:
    subject = in_mesh()
    list(subject.role.lose_parent("silent", 5.0))  # type: ignore[attr-defined]
    subject.wake(30.0)
    record = replace(SOURCE_RECORD, host=HostId(99), endpoint=at(55))
    actions = subject.receive(setup_from(record, 78), at(55), 31.0)
    assert at(55) in [send.to for send in sends(actions, JoinRequest)]


def test_probes_are_no_news_of_an_rp() -> None:
    stage = Stage().start()
    request = ProbeRequest(session=SESSION, sequence=4, timestamp=0)
    assert only(stage.host.receive(request, SECOND, 1.0), ProbeResponse).to == SECOND

"""The notes' state diagrams: observed again, in step with the tables, and without dead ends."""

from __future__ import annotations

import json
from typing import Any

import pytest

from dmmp.messages.local import Start, Stop
from dmmp.roles.cluster_member import ClusterMember
from dmmp.roles.rendezvous_point import RendezvousPoint, RpAlarm
from dmmp.roles.role import Role
from dmmp.roles.standing import Alarm
from dmmp.types import SELF
from tests.alarm_times import alarm_parameters
from tests.roles.observe import Observations, record, watching
from tests.roles.stage import host
from tests.state_machines import OBSERVED, ROLES, first_line, rows_of, states_of

TRANSITIONS: list[list[Any]] = json.loads(OBSERVED.read_text(encoding="utf-8"))["transitions"]
every_role = pytest.mark.parametrize("role", [role for _, role in ROLES], ids=lambda r: r.NAME)


@pytest.mark.slow
def test_what_was_observed_is_observed_again() -> None:
    again = record()
    stored = OBSERVED.read_text(encoding="utf-8")
    gone = sorted(set(stored.splitlines()) - set(again.splitlines()))
    new = sorted(set(again.splitlines()) - set(stored.splitlines()))
    assert again == stored, (
        f"no more: {gone}, new: {new}; if this is meant: python -m tests.roles.observe, "
        "then python -m tests.regenerate"
    )


def test_watching_sees_a_transition_and_what_is_sent() -> None:
    seen = Observations()
    with watching(seen):
        host().receive(Start(), SELF, 0.0)
    host().receive(Stop(), SELF, 0.0)
    assert seen.transitions == {("member", "Idle", "Start", "member", "Locating")}
    assert seen.sent == {("member", "Idle", "Start", "SubscriptionRequest", "others")}


@every_role
def test_only_what_a_role_handles_changes_its_state(role: type[Role]) -> None:
    handled = {(state.__name__, kind.__name__) for state, kind in rows_of(role)}
    alarms = {f"alarm {alarm.name}" for alarm in role.ALARMS}
    for name, state, given, *_ in TRANSITIONS:
        if name == vars(role).get("NAME"):
            assert given in alarms or (state, given) in handled, (state, given)


@every_role
def test_every_state_is_reached_and_left(role: type[Role]) -> None:
    name = str(vars(role)["NAME"])
    order = [state.__name__ for state in states_of(role)]
    reached = {order[0]}
    for _ in order:
        reached |= {row[4] for row in TRANSITIONS if row[3] == name and _begins(row, name, reached)}
    assert reached == set(order)
    left = {row[1] for row in TRANSITIONS if row[0] == name}
    assert left == set(order) - {"Gone"} or order == ["Serving"]


def _begins(row: list[Any], name: str, reached: set[str]) -> bool:
    """A state that is come into from another role is reached, too."""
    return bool(row[0] != name or row[1] in reached)


@every_role
def test_every_row_and_every_alarm_says_what_is_done_and_when(role: type[Role]) -> None:
    for handler in (*rows_of(role).values(), *role.ALARMS.values()):
        assert first_line(handler).endswith((".", "?", ")", ":")), handler
    for alarm in role.ALARMS:
        assert alarm_parameters(role, alarm), f"{alarm}: no parameter says when"


def test_alarm_times_are_followed_through_names_methods_and_callers() -> None:
    assert alarm_parameters(RendezvousPoint, RpAlarm.SWEEP) == ("refresh_rp",)
    # Through a local name that is reassigned, a method of a subclass, a callers' argument.
    waits = ("retry_bootstrap", "retry_bootstrap_most", "retry_orphan_most", "offer_after")
    assert alarm_parameters(ClusterMember, Alarm.JOIN_AGAIN) == waits
    assert alarm_parameters(ClusterMember, Alarm.REGISTER) == ("refresh_rp",)
    assert "promotion_hold" in alarm_parameters(ClusterMember, Alarm.PROMOTION)
    assert alarm_parameters(RendezvousPoint, Alarm.REGISTER) == ()

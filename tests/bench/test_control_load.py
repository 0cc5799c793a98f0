"""The load of the control path is real: what the crowd counts, the measured processes count too."""

from __future__ import annotations

import pytest

from dmmp.actions import Report
from dmmp.events import ChildAdded, ChildLost, HostRegistered
from dmmp.messages import REGISTRY
from tests.bench import control, joins

SECONDS = 0.3


@pytest.mark.slow
def test_a_rendezvous_point_registers_every_newcomer_that_was_answered() -> None:
    found = joins.rendezvous_point(SECONDS, 1, super_nodes=3)
    newcomers, renewals = found["newcomers"][0], found["renewals"][0]
    assert newcomers["done"] and renewals["done"]
    assert not newcomers["refused"] and not renewals["refused"]
    # The source and the super nodes besides; who renews is no newcomer.
    assert found["counted"] == found["hosts"] >= newcomers["done"] + 1 + 3


@pytest.mark.slow
def test_a_super_node_takes_in_every_host_that_joined_and_the_stream_loses_nothing() -> None:
    found = joins.super_node(SECONDS, 1, standing=8)
    assert found["joins"][0]["done"] and not found["joins"][0]["refused"]
    # The child that hears the stream besides.
    assert found["counted"] == found["joined"] + found["late"] + 1
    for stream in (*found["calm"], *found["stream"]):
        assert stream["sent"] and not stream["missing"]


def events(made: control.Round) -> list[object]:
    """Let a round be played; give what the host reported."""
    stage, said = made
    found: list[object] = []
    for message, sender in said:
        stage.now += control.SPACING
        actions = stage.host.receive(message, sender, stage.now)
        found += [action.event for action in actions if isinstance(action, Report)]
    return found


def test_what_is_measured_of_the_roles_is_what_it_says() -> None:
    reported = [type(event) for event in events(control.joins(5))]
    assert reported.count(ChildAdded) == reported.count(ChildLost) == 5
    assert [type(event) for event in events(control.newcomers(5))] == [HostRegistered] * 5
    assert events(control.renewals(5)) == []
    assert events(control.of_children(control.refreshing, 5)) == []


def test_every_class_of_message_is_measured() -> None:
    measured = {type(message) for message in control.one_of_each()}
    assert measured == set(REGISTRY.values())

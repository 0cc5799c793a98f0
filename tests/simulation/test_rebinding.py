"""A host's address changes under the flow: its parent goes on sending to the old one."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dmmp.sim.faults import Fault
from dmmp.sim.scenario import Scenario

AT = 12.0
CALM = Scenario(
    seed=5, members=8, window=2.0, settle=25.0, topology="plane", packets_per_second=25.0
)
BOUND = 0.5
"""Seconds: the silence is noticed, the parent answers a probe, then it is shown the new address."""


def kinds() -> dict[str, bool]:
    """Tell of each member that is in a cluster whether it feeds others."""
    world = CALM.prepare()
    world.run_until(AT)
    views = {node.name: node.view(AT) for node in world.nodes if node.forwarder is not None}
    return {name: bool(view.children) for name, view in views.items() if view.role == "member"}


@pytest.mark.parametrize("feeds", [False, True], ids=["leaf", "relay"])
def test_a_host_that_moves_to_another_address_is_served_there_at_once(feeds: bool) -> None:
    """Not with its next Refresh, up to twelve seconds later."""
    name = next(name for name, does in kinds().items() if does is feeds)
    world = replace(CALM, faults=(Fault("rebind", AT, who=name),), safety=True).prepare()
    world.run_until(AT - 0.1)
    node = world.node(name)
    before, heard = node.endpoint, len(node.heard)
    world.run_until(AT + 3.0)
    assert node.endpoint != before
    assert node.silence_us <= BOUND * 1e6
    assert world.node(name).view(world.now).state == "Joined"
    # And nothing was lost meanwhile: what the old address got is asked for again.
    assert len(node.heard) - heard >= 3.0 * CALM.packets_per_second - 3
    assert all(other.silence_us <= BOUND * 1e6 for other in world.nodes if other.heard)

"""A host leaves, and in the same moment another dies: still nobody below misses a packet."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dmmp.sim.faults import Fault
from dmmp.sim.scenario import Scenario

pytestmark = pytest.mark.slow

AT = 20.0
"""When the host is asked to leave; the tree has been built for a while."""


def scenario(seed: int) -> Scenario:
    """Make a session of slow growth, in which every packet must be heard."""
    return Scenario(
        seed=seed,
        members=24,
        source_out_degree=3,
        out_degrees=((2, 1), (3, 1), (4, 1)),
        window=5.0,
        settle=35.0,
        packets_per_second=20.0,
        strict=True,
    )


def around_a_leaver(calm: Scenario) -> dict[str, str]:
    """Find a host that feeds others and whose parent is not the source, its parent and a child."""
    world = calm.prepare()
    world.run_until(AT)
    names = {node.view(AT).host: node.name for node in world.nodes if node.alive}
    for node in sorted(world.nodes, key=lambda node: node.name):
        view = node.view(AT)
        parent = names.get(view.parent.host) if view.parent is not None else None
        if view.children and parent is not None and parent != "source":
            child = max(view.children, key=lambda child: child.out_degree)
            return {"parent": parent, "itself": node.name, "child": names[child.host]}
    raise AssertionError("the tree is too flat for this test")


@pytest.mark.parametrize(
    ("who", "delay"),
    [
        *(("parent", -0.1), ("parent", 0.001), ("parent", 0.05), ("parent", 0.5)),
        *(("itself", 0.01), ("itself", 0.06), ("child", 0.001), ("child", 0.05)),
    ],
)
@pytest.mark.parametrize("seed", [1, 2])
def test_nobody_else_misses_a_packet(seed: int, who: str, delay: float) -> None:
    """It is asked to leave at `AT`, the other dies so many seconds later."""
    calm = scenario(seed)
    names = around_a_leaver(calm)
    faults = (
        Fault("leave", AT, 0.0, names["itself"]),
        Fault("crash", AT + delay, 0.0, names[who]),
    )
    world = replace(calm, faults=faults).play()
    assert [str(failure) for failure in world.failures] == []

"""What the overlay costs: the source's uplink whatever the number of members, others nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from dmmp.demo.overlay import Overlay
from tests.acceptance.lab import (
    CORE,
    LEAF,
    MEMBERS,
    finish,
    finish_sender,
    listen,
    network,
    record,
    start_core,
    start_sender,
    stream_bytes,
)

pytestmark = [pytest.mark.namespace, pytest.mark.alone, pytest.mark.slow]

FLOW = "239.10.23.1:5004"
SECONDS = 2
ONE_COPY = 1.1
"""What one copy may cost, with the outer headers and all control: a tenth more than the stream."""

NOTHING = 0.01


@pytest.mark.parametrize("places", [1, pytest.param(2, marks=pytest.mark.long)])
def test_the_sources_uplink_carries_its_out_degree_at_most(
    swept: None, directory: Path, places: int
) -> None:
    copies = {}
    with network([*CORE, *MEMBERS], directory) as overlay:
        start_core(overlay, places)
        for count in (4, 8, 12):
            for name in MEMBERS[count - 4 : count]:
                overlay.member(name, "--out-degree", "2")
            overlay.wait_joined()
            copies[count] = measure(overlay, directory, MEMBERS[:count])
    record("uplink", {"out_degree": places, "copies": copies})
    assert all(0.9 < measured <= places * ONE_COPY for measured in copies.values()), copies


def measure(overlay: Overlay, directory: Path, members: tuple[str, ...]) -> float:
    """Send a stream to all; return how many copies of it the source's uplink carried."""
    listeners = listen(overlay, directory, members, FLOW)
    before = overlay.internet.uplink_bytes("source")
    sender = start_sender(overlay.internet["source"], FLOW, "--seconds", str(SECONDS))
    sent = finish_sender(sender)[0]
    received = finish(listeners)
    carried = overlay.internet.uplink_bytes("source") - before
    for name, reports in received.items():
        assert reports[0]["sha256"] == sent["sha256"], name
    return round(carried / stream_bytes(sent), 3)


def test_a_host_that_did_not_join_gets_no_copy(shared: Overlay, directory: Path) -> None:
    idle = [LEAF, "rp", "outsider"]
    joined = [name for name in MEMBERS if name not in idle]
    listeners = listen(shared, directory, joined, FLOW)
    hosts = {name: shared.internet[name] for name in idle}
    before = {name: host.counters().received_bytes for name, host in hosts.items()}
    sender = start_sender(shared.internet["source"], FLOW, "--seconds", str(SECONDS))
    sent = stream_bytes(finish_sender(sender)[0])
    copies = {
        name: round((host.counters().received_bytes - before[name]) / sent, 5)
        for name, host in hosts.items()
    }
    finish(listeners)
    record("not joined", {"copies": copies})
    assert max(copies.values()) < NOTHING

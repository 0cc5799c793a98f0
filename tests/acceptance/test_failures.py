"""Nodes killed while a stream runs: the rendezvous point costs nothing, a relay a few seconds."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from dmmp.demo.overlay import Node, Overlay, descendants
from dmmp.demo.performance import busiest
from tests.acceptance.lab import (
    MEMBERS,
    Report,
    finish,
    finish_sender,
    listen,
    record,
    start_sender,
)

pytestmark = [pytest.mark.namespace, pytest.mark.slow]

FLOW = "239.10.25.1:5004"
HEARING_AGAIN = 5.0
BEFORE = 2.0


def test_nobody_loses_a_packet_when_the_rendezvous_point_is_killed(
    own: Overlay, directory: Path
) -> None:
    listeners = listen(own, directory, MEMBERS, FLOW, "--sequence")
    sender = start_sender(own.internet["source"], FLOW, "--seconds", "10")
    time.sleep(BEFORE)
    own["rp"].kill()
    sent = finish_sender(sender)[0]
    received = finish(listeners)
    for name in MEMBERS:
        assert_whole(received[name][0], sent, own[name])


@pytest.mark.parametrize("kind", ["super-node", "member"])
def test_everyone_below_a_killed_relay_hears_again(
    own: Overlay, directory: Path, kind: str
) -> None:
    listeners = listen(own, directory, MEMBERS, FLOW, "--sequence")
    seconds = BEFORE + 2 * HEARING_AGAIN
    sender = start_sender(own.internet["source"], FLOW, "--seconds", str(seconds))
    time.sleep(BEFORE)
    parents = own.parents()
    relay = busiest(own, kind, parents, MEMBERS)
    assert relay is not None, parents
    killed_ns = time.monotonic_ns()
    relay.kill()
    below = set(descendants(parents, relay.name)) & set(MEMBERS)
    sent = finish_sender(sender)[0]
    reports = {name: flows[0] for name, flows in finish(listeners).items()}
    reports.pop(relay.name, None)
    silences = {name: silence(report, killed_ns, sent) for name, report in reports.items()}
    record(
        "relay killed",
        {
            "kind": kind,
            "below": len(below),
            "silence_ms": sorted(round(silences[name] * 1000) for name in below),
            "reordered": sum(report["sequence"]["reordered"] for report in reports.values()),
            "duplicates": sum(report["sequence"]["duplicates"] for report in reports.values()),
        },
    )
    for name, report in reports.items():
        if name in below:
            assert silences[name] <= HEARING_AGAIN, name
        else:
            assert_whole(report, sent, own[name])


def assert_whole(report: Report, sent: Report, node: Node) -> None:
    """Check that every datagram came once; the network may overtake itself while nodes change."""
    got = report["sequence"]
    assert (got["distinct"], got["duplicates"]) == (sent["count"], 0), (
        f"{node.name}: {report}\n{node.lines()}\n{node.show()}"
    )


def silence(report: Report, killed_ns: int, sent: Report) -> float:
    """Give how long a program heard nothing after the kill; to the stream's end if for good."""
    assert report["last_ns"] is not None
    to_the_end = sent["last_ns"] - report["last_ns"]
    within = report["largest_gap_ns"] if report["largest_gap_at_ns"] > killed_ns - 1e9 else 0
    return float(max(to_the_end, within)) / 1e9

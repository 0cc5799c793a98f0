"""Joining and leaving while a stream runs, within the bounds that are promised."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dmmp.demo.internet import Host
from dmmp.demo.overlay import TUN, Overlay
from dmmp.demo.stream import Listener, await_ready
from tests.acceptance.lab import LEAF, finish, listen, record, start_sender, stop_sender

pytestmark = [pytest.mark.namespace, pytest.mark.alone, pytest.mark.slow]

FLOW, UNWANTED, UNHEARD = "239.10.22.1:5004", "239.10.22.2:5004", "239.10.22.3:5004"
LONGEST = ("--seconds", "60")
RATE_BYTES = 1_000_000
PROGRAM_JOINS, BRANCH_FALLS_SILENT, HOST_JOINS = 0.5, 1.0, 2.0

CONTROL_BYTES = 30_000
"""More than the control messages of a few seconds take, and 1 % of what the stream would."""


@contextmanager
def streaming(overlay: Overlay, *flows: str) -> Iterator[None]:
    """Send at 8 Mbit/s to each flow meanwhile."""
    sender = start_sender(overlay.internet["source"], *flows, *LONGEST)
    assert sender.stdout is not None
    assert sender.stdout.readline() == "ready\n"
    try:
        yield
    finally:
        stop_sender(sender)


def await_data(listener: Listener, patience: float = 5.0) -> None:
    """Wait until a program that tells its progress has received something."""
    deadline = time.monotonic() + patience
    while not sum(listener.counts()):
        assert time.monotonic() < deadline, f"{listener.name} received nothing"
        time.sleep(0.02)


def downlink_bytes(host: Host, seconds: float) -> int:
    before = host.counters().received_bytes
    time.sleep(seconds)
    return host.counters().received_bytes - before


@pytest.mark.parametrize("others", [True, False], ids=["others have", "nobody has"])
def test_a_program_that_joins_late_on_a_member_receives_at_once(
    shared: Overlay, directory: Path, others: bool
) -> None:
    late = LEAF
    early = ["m2", "m3"] if others else []
    flow = FLOW if others else UNWANTED
    with streaming(shared, flow):
        listeners = listen(shared, directory, early, flow)
        program = Listener(shared.internet[late], directory, flow, "--progress", "0.05")
        await_data(program)
        report = finish({**listeners, late: program})[late][0]
    waited = (report["first_ns"] - report["joined_ns"]) / 1e9
    record("late program", {"others": others, "first_datagram_ms": round(waited * 1000, 1)})
    assert waited <= PROGRAM_JOINS


def test_a_branch_falls_silent_when_its_last_program_leaves(
    shared: Overlay, directory: Path
) -> None:
    name = LEAF
    host = shared.internet[name]
    with streaming(shared, FLOW):
        program = listen(shared, directory, [name], FLOW)[name]
        assert downlink_bytes(host, 1.0) > RATE_BYTES * 0.8
        left = time.monotonic()
        program.process.terminate()
        silent = last = time.monotonic()
        count = host.counters().received_bytes
        while last - left < 2 * BRANCH_FALLS_SILENT:
            time.sleep(0.02)
            now, received = time.monotonic(), host.counters().received_bytes
            if received - count > RATE_BYTES * (now - last) / 4:
                silent = now
            last, count = now, received
        assert downlink_bytes(host, 1.0) < CONTROL_BYTES
    record("leave", {"silent_after_ms": round((silent - left) * 1000)})
    assert silent - left <= BRANCH_FALLS_SILENT


def test_a_group_that_nobody_joined_costs_the_source_nothing(shared: Overlay) -> None:
    with streaming(shared, UNHEARD):
        before = shared.internet.uplink_bytes("source")
        time.sleep(3.0)
        sent = shared.internet.uplink_bytes("source") - before
    record("unheard group", {"uplink_bytes": sent, "stream_bytes": 3 * RATE_BYTES})
    assert sent < CONTROL_BYTES


def test_a_host_that_joins_late_receives_soon(shared: Overlay, directory: Path) -> None:
    host = shared.internet["late"]
    with streaming(shared, FLOW):
        listeners = listen(shared, directory, ["m1"], FLOW)
        begun_ns = time.monotonic_ns()
        node = shared.member("late", "--out-degree", "2")
        while not any(line.startswith("ready") for line in node.lines()):
            assert time.monotonic_ns() - begun_ns < 10e9, node.lines()
            time.sleep(0.02)
        program = Listener(host, directory, FLOW, "--interface", TUN, "--progress", "0.05")
        await_ready([program])
        await_data(program)
        report = finish({**listeners, "late": program})["late"][0]
    node.stop()
    waited = (report["first_ns"] - begun_ns) / 1e9
    record("late host", {"first_datagram_ms": round(waited * 1000)})
    assert waited <= HOST_JOINS

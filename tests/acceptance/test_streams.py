"""Real streams to every member: nothing lost, nothing changed, nothing out of order."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import pytest

from dmmp.demo.digests import compare_digests
from dmmp.demo.overlay import Overlay
from dmmp.demo.programs import Flow
from dmmp.demo.stream import find_ffmpeg, play
from tests.acceptance.lab import (
    MEMBERS,
    SETTLE,
    finish,
    finish_sender,
    listen,
    network,
    record,
    start_sender,
)

pytestmark = [pytest.mark.namespace, pytest.mark.alone, pytest.mark.slow]

RATE = 8_000_000
BERN_STREAMS = 7
BERN_RATE = 11_000_000
BERN_SECONDS = 6
FFMPEG_SECONDS = 5


@pytest.mark.parametrize("flow", ["239.10.20.30:5004", "[ff1e::1234]:5004"])
def test_every_member_receives_ffmpegs_stream_whole_and_in_order(
    shared: Overlay, directory: Path, flow: str
) -> None:
    seconds = FFMPEG_SECONDS
    ffmpeg = find_ffmpeg()
    assert ffmpeg is not None, "apt-get install ffmpeg"
    listeners = listen(shared, directory, ["source", *MEMBERS], flow)
    log = directory / "ffmpeg.log"
    stream = play(shared.internet["source"], Flow.parse(flow), RATE, seconds, log, ffmpeg)
    assert stream.wait(seconds + 15) == 0, log.read_text()
    reports = finish(listeners)
    sent = listeners["source"].digests.read_bytes()
    assert reports["source"][0]["bytes"] * 8 > 0.9 * RATE * seconds
    for name in MEMBERS:
        compared = compare_digests(sent, listeners[name].digests.read_bytes())
        assert compared.is_identical, (name, compared)
    record(
        "ffmpeg",
        {
            "flow": flow,
            "datagrams": reports["source"][0]["count"],
            "members": len(MEMBERS),
            "longest_gap_ms": max(
                round(reports[name][0]["largest_gap_ns"] / 1e6) for name in MEMBERS
            ),
        },
    )


def test_ffmpeg_at_the_other_end_decodes_without_a_complaint(
    shared: Overlay, directory: Path
) -> None:
    ffmpeg = find_ffmpeg()
    assert ffmpeg is not None, "apt-get install ffmpeg"
    # Both ends are programs as they are; the last pictures only come out when a stream is closed.
    player = shared.internet["m5"].popen(
        *(ffmpeg, "-hide_banner", "-loglevel", "warning", "-nostdin", "-xerror"),
        *("-i", "udp://239.10.20.31:5004?timeout=9000000", "-frames:v", "90"),
        *("-f", "framemd5", directory / "frames"),
        standard_error=subprocess.PIPE,
    )
    time.sleep(SETTLE)
    picture = ("-f", "lavfi", "-i", "testsrc2=size=320x180:rate=25", "-t", "4")
    shared.internet["source"].run(
        *(ffmpeg, "-hide_banner", "-loglevel", "error", "-nostdin", "-re", *picture),
        *("-c:v", "mpeg2video", "-f", "mpegts", "udp://239.10.20.31:5004?ttl=16&pkt_size=1316"),
    )
    _, complaints = player.communicate(timeout=30)
    assert (player.returncode, complaints) == (0, "")
    lines = (directory / "frames").read_text().splitlines()
    assert len([line for line in lines if not line.startswith("#")]) == 90


def test_seven_streams_at_once_lose_nothing(swept: None, directory: Path) -> None:
    # One super node and three members: what two cores carry beside the programs themselves, which
    # take as much as the nodes. 77 Mbit/s is what the Bern prototype was measured with.
    members = ["m1", "m2", "m3"]
    flows = [f"239.10.21.{number}:5004" for number in range(1, BERN_STREAMS + 1)]
    with network(["rp", "source", "s1", *members], directory) as overlay:
        overlay.rp()
        overlay.source("source", "--out-degree", "1")
        overlay.super_node("s1", "--out-degree", "6")
        for name in members:
            overlay.member(name, "--out-degree", "0")
        overlay.wait_joined()
        listeners = listen(overlay, directory, members, *flows)
        nodes = ("source", "s1", *members)
        before = {name: overlay[name].processor_seconds() for name in nodes}
        sender = start_sender(
            overlay.internet["source"],
            *(*flows, "--rate", str(BERN_RATE), "--seconds", str(BERN_SECONDS)),
        )
        sent = finish_sender(sender)
        used = {name: overlay[name].processor_seconds() - before[name] for name in nodes}
        received = finish(listeners)
    seconds = (sent[0]["last_ns"] - sent[0]["first_ns"]) / 1e9
    record(
        "seven streams",
        {
            "streams": BERN_STREAMS,
            "megabits_per_second": round(sum(f["bytes"] for f in sent) * 8 / seconds / 1e6, 1),
            "packets_per_second": round(sum(f["count"] for f in sent) / seconds),
            "processor_percent": {
                name: round(100 * spent / seconds, 1) for name, spent in used.items()
            },
        },
    )
    for name in members:
        for was_sent, got in zip(sent, received[name], strict=True):
            assert got["count"] == was_sent["count"], (name, got["flow"])
            assert got["sha256"] == was_sent["sha256"], (name, got["flow"])

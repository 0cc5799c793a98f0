"""What is on the wires, by captures that tshark judges: only unicast, and nothing malformed."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import pytest

from dmmp.captures import packets_of_capture
from dmmp.demo.internet import UPLINK, Host
from dmmp.demo.overlay import TUN, Overlay
from dmmp.inspection import describe
from dmmp.types import DEFAULT_PORT
from tests.acceptance.lab import LEAF, finish, finish_sender, listen, start_sender

pytestmark = [pytest.mark.namespace, pytest.mark.alone, pytest.mark.slow]

FLOWS = ("239.10.26.1:5004", "[ff1e::2601]:5004")
CHECKED = ("-o", "ip.check_checksum:TRUE", "-o", "udp.check_checksum:FALSE")
GOOD = "1"


def capture(host: Host, interface: str, path: Path) -> subprocess.Popen[str]:
    """Start to capture, and wait until it does."""
    process = host.popen(
        *("dumpcap", "-P", "-q", "-i", interface, "-w", path), standard_error=subprocess.PIPE
    )
    assert process.stderr is not None
    said = ""
    while not said.startswith("File: "):
        said = process.stderr.readline()
        assert said, f"dumpcap on {interface} has ended"
    return process


def fields(path: Path, wanted: str, *names: str) -> list[tuple[str, ...]]:
    """Let tshark take a capture apart; give the fields of the packets that match."""
    words = [word for name in names for word in ("-e", name)]
    done = subprocess.run(
        ["tshark", "-r", path, *CHECKED, "-Y", wanted, "-T", "fields", *words],
        capture_output=True,
        text=True,
        check=True,
    )
    return [tuple(line.split("\t")) for line in done.stdout.splitlines()]


def test_only_unicast_passes_and_no_packet_is_malformed(shared: Overlay, directory: Path) -> None:
    host = shared.internet[LEAF]
    inside, outside = directory / "tun.pcap", directory / "uplink.pcap"
    captures = [capture(host, TUN, inside), capture(host, UPLINK, outside)]
    listeners = listen(shared, directory, [host.name], *FLOWS)
    sender = start_sender(shared.internet["source"], *FLOWS, "--rate", "1M", "--seconds", "2")
    sent = finish_sender(sender)
    received = finish(listeners)[host.name]
    time.sleep(0.5)
    for process in captures:
        process.terminate()
        process.communicate()
    assert [flow["sha256"] for flow in received] == [flow["sha256"] for flow in sent]

    assert not fields(inside, "_ws.malformed", "frame.number")
    assert not fields(outside, "_ws.malformed", "frame.number")
    # Between the hosts: no data to a group, and nothing over UDP but what we can read.
    assert not fields(outside, "udp and (ip.dst == 224.0.0.0/4 or ipv6.dst == ff00::/8)", "ip.dst")
    ports = fields(outside, "udp", "udp.srcport", "udp.dstport")
    assert all(str(DEFAULT_PORT) in pair for pair in ports)
    payloads = [packet.payload for packet in packets_of_capture(outside.read_bytes(), None)]
    # Links between namespaces pass a burst on as one frame.
    assert len(payloads) >= max(len(ports), sum(flow["count"] for flow in sent))
    assert not [found.fault for payload in payloads if (found := describe(payload)).fault]

    # On the TUN: the querier and the kernel speak with each other, and the data is as it was sent.
    for protocol in ("igmp", "icmpv6.type in {130, 131, 143}"):
        assert fields(inside, protocol, "frame.number"), protocol
    assert {GOOD} >= {status for (status,) in fields(inside, "igmp", "igmp.checksum.status")}
    assert {GOOD} >= {status for (status,) in fields(inside, "icmpv6", "icmpv6.checksum.status")}
    data = fields(inside, "udp.port == 5004", "frame.number")
    assert len(data) == sum(flow["count"] for flow in sent)

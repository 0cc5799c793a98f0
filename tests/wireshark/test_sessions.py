"""Real sessions: nothing malformed, nothing left undissected, and with the key log all is open."""

from __future__ import annotations

import hashlib
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from ipaddress import ip_address
from pathlib import Path

import pytest

from dmmp.demo.internet import Internet
from dmmp.demo.overlay import Overlay
from dmmp.demo.performance import Performance, Result
from dmmp.demo.programs import Flow
from dmmp.runtime.securing import CERTIFICATES, NONE, SHARED_SECRET
from tests.acceptance.lab import Report, finish, finish_sender, listen, start_sender
from tests.wireshark.sessions import captured
from tests.wireshark.tshark import columns, frames_of

pytestmark = [pytest.mark.namespace, pytest.mark.slow]

FLOWS = ("239.10.27.1:5004", "[ff1e::2701]:5004")
MEMBERS = ("m1", "m2", "m3")
HOSTS = ("rp", "source", "s1", "s2", *MEMBERS)

WRONG = (
    "_ws.malformed or _ws.lua.error or dmmp.undissected or dmmp.expert.tag"
    " or (udp and not dmmp)"
    " or (_ws.expert.severity >= 6291456 and not ber.error.oid_not_implemented)"
)
"""What must not be in a capture; 6291456 is a warning, what is above it an error. Wireshark itself
warns of the grant in certificates, whose identifier is too long for it; the dissector reads it."""

SEEN = {
    "Heartbeat",
    "JoinRequest",
    "JoinResponse",
    "LeaveReport",
    "LeaveResponse",
    "PingRpRequest",
    "PingRpResponse",
    "ProbeRequest",
    "ProbeResponse",
    "RefreshRequest",
    "RefreshResponse",
    "SetupRequest",
    "SetupResponse",
    "StatusReport",
    "StatusResponse",
    "SubscriptionRequest",
    "SubscriptionResponse",
}
"""Messages that every session needs."""


@pytest.fixture
def directory() -> Iterator[Path]:
    """Give a directory with a short path: UNIX sockets need one (unix(7))."""
    with tempfile.TemporaryDirectory(prefix="dmmp-") as path:
        yield Path(path)


def run_session(
    directory: Path, path: Path, security: str, log: Path
) -> tuple[list[Report], list[str]]:
    """Run a session whole, from its first datagram to its last.

    Gives what was sent in each flow, and the addresses of the members that received it.
    """

    def keys(name: str) -> tuple[str, ...]:
        return () if security == NONE else ("--key-log", str(directory / f"{name}.keys"))

    Internet.sweep()
    with (
        Internet.build(HOSTS) as internet,
        Overlay(internet, directory, security=security) as overlay,
        captured(internet, path),
    ):
        overlay.rp("rp", *keys("rp"))
        overlay.source("source", "--out-degree", "2", *keys("source"))
        for name in ("s1", "s2"):
            overlay.super_node(name, "--out-degree", "2", *keys(name))
        for name in MEMBERS:
            overlay.member(name, "--out-degree", "1", *keys(name))
        overlay.wait_joined()
        listeners = listen(overlay, directory, MEMBERS, *FLOWS)
        words = ("--rate", "300k", "--seconds", "2")
        sent = finish_sender(start_sender(overlay.internet["source"], *FLOWS, *words))
        for received in finish(listeners).values():
            assert [flow["sha256"] for flow in received] == [flow["sha256"] for flow in sent]
        addresses = [str(overlay.internet[name].address) for name in MEMBERS]
        overlay.close()
    log.write_text("".join(each.read_text() for each in directory.glob("*.keys")))
    return sent, addresses


@pytest.mark.parametrize(
    "security",
    [
        pytest.param(NONE, marks=pytest.mark.long),
        CERTIFICATES,
        pytest.param(SHARED_SECRET, marks=pytest.mark.long),
    ],
)
def test_a_session_is_taken_apart_whole(directory: Path, security: str) -> None:
    path, log = directory / "session.pcapng", directory / "all-keys"
    sent, addresses = run_session(directory, path, security, log)
    opened = {"dmmp.keylog_file": str(log)}
    assert not columns(path, WRONG, "frame.number", "_ws.col.Info", preferences=opened)
    assert not columns(path, "dmmp.opened == 0", "frame.number", preferences=opened)

    options = columns(path, "dmmp and not icmp", "_ws.col.Info", preferences=opened)
    words = {word.strip(":|") for (info,) in options for word in info.split()}
    assert words >= SEEN
    answered = columns(path, "dmmp.response_to", "frame.number", preferences=opened)
    assert len(answered) > len(MEMBERS)

    seen = stream_digests(path, opened)
    for address in addresses:
        for flow in sent:
            assert seen[address, flow["flow"]] == flow["sha256"]

    if security != NONE:
        # Without keys nothing is wrong either, but little is to be seen.
        assert not columns(path, WRONG, "frame.number")
        assert columns(path, "dmmp.opened == 0", "frame.number")
        assert not columns(path, "dmmp and udp.port == 5004", "frame.number")


def stream_digests(path: Path, opened: dict[str, str]) -> dict[tuple[str, str], str]:
    """Digest what a capture shows of each flow on its way to each host, in the order of numbers."""
    payloads: dict[tuple[str, str], dict[bytes, bytes]] = {}
    for frame in frames_of(path, "dmmp and udp.port == 5004 and not icmp", opened):
        outer, inner, port = "", "", ""
        for each in frame.everything():
            if each.name in ("ip.dst", "ipv6.dst"):
                outer, inner = outer or each.show, each.show
            elif each.name == "udp.dstport":
                port = each.show
            elif each.name == "data.data":
                flow = str(Flow(ip_address(inner), int(port)))
                payloads.setdefault((outer, flow), {})[each.value[:8]] = each.value
    return {
        name: hashlib.sha256(b"".join(found[number] for number in sorted(found))).hexdigest()
        for name, found in payloads.items()
    }


class CapturedPerformance(Performance):
    """The demonstration as `make demo` plays it, with a capture from its first datagram on."""

    def __init__(self, members: int, seconds: float, path: Path) -> None:
        super().__init__(members, seconds, lambda scene: None)
        self._path = path
        self._capture = ExitStack()

    def _start(self, overlay: Overlay) -> float:
        self._capture.enter_context(captured(overlay.internet, self._path))
        return super()._start(overlay)

    def _play(self, internet: Internet, overlay: Overlay, directory: Path, joined: float) -> Result:
        with self._capture:
            return super()._play(internet, overlay, directory, joined)


def test_the_demonstration_is_taken_apart_whole(directory: Path) -> None:
    path = directory / "demo.pcapng"
    Internet.sweep()
    result = CapturedPerformance(12, 5.0, path).run(directory)
    assert not result.problems
    assert result.relay
    assert not columns(path, WRONG, "frame.number", "_ws.col.Info")
    shown = Counter(
        option
        for (options,) in columns(path, "dmmp and not icmp", "dmmp.option")
        for option in options.split(",")
    )
    assert shown["0x0000"] >= sum(member.received for member in result.members)
    assert {"0x00d0", "0x00d1", "0x00d3", "0x00dc"} <= set(shown)

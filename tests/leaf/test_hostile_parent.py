"""A parent that says anything: the leaf joins it, is sent changed vectors, and lives on."""

from __future__ import annotations

import json
import random
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest

from tests.leaf.test_among_members import VECTORS, build

pytestmark = pytest.mark.slow

SESSION = bytes.fromhex("00de0001")
LEAF_ID = 6
PARENT_ID = 4
ROUNDS = 40
RESPONSES = {
    0x10: ("subscription_response", "two RPs, IPv4 and IPv6"),
    0x20: ("ping_rp_response", "an id and two super nodes"),
    0x50: ("join_response", "offer at depth two"),
    0xA0: ("refresh_response", "state and backup parents in return"),
    0x80: ("probe_response", None),
    0x90: ("leave_response", None),
}


def vectors(message: str) -> dict[str, bytearray]:
    """Give the vectors of a message by name."""
    document = json.loads((VECTORS / f"{message}.json").read_text())
    return {each["name"]: bytearray.fromhex(each["hex"]) for each in document["vectors"]}


class Parent:
    """Rendezvous point and parent in one socket, made of the vectors with a few bytes exchanged."""

    def __init__(self) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.socket.settimeout(0.02)
        self.port: int = self.socket.getsockname()[1]
        self.leaf: tuple[str, int] | None = None
        self.refreshed = 0

    def record(self, host: int) -> bytes:
        """Give a HostRecord at this socket: a super node with room, right below the source."""
        address = bytes(10) + b"\xff\xff" + socket.inet_aton("127.0.0.1")
        end = bytes([2, 1, 0, 8, 0, 5]) + bytes(8)
        return host.to_bytes(4, "big") + address + self.port.to_bytes(2, "big") + end

    def serve(self, seconds: float) -> None:
        """Answer for so long as an honest host would."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            try:
                asked, self.leaf = self.socket.recvfrom(65536)
            except TimeoutError:
                continue
            option = asked[3]
            if option not in RESPONSES:
                continue
            message, name = RESPONSES[option]
            known = vectors(message)
            answer = known[name] if name is not None else next(iter(known.values()))
            answer[4:8] = SESSION
            answer[12:16] = asked[12:16]
            if option == 0x20:
                answer[26:30] = LEAF_ID.to_bytes(4, "big")
                answer[53:89] = self.record(PARENT_ID)
            elif option in (0x50, 0xA0):
                answer[25:61] = self.record(PARENT_ID)
                self.refreshed += option == 0xA0
            elif option == 0x80:
                answer[8:12] = PARENT_ID.to_bytes(4, "big")
                answer[24:32] = asked[24:32]
                answer[32:68] = self.record(PARENT_ID)
            self.socket.sendto(answer, self.leaf)

    def assault(self, lot: random.Random) -> None:
        """Send every vector with a few bytes changed."""
        assert self.leaf is not None
        for path in VECTORS.glob("*.json"):
            for vector in vectors(path.stem).values():
                vector[4:8] = SESSION
                for _ in range(lot.randrange(5)):
                    vector[lot.randrange(len(vector))] = lot.randrange(256)
                    vector[0] = 1
                if lot.random() < 0.7:
                    vector[20:24] = (len(vector) - 24).to_bytes(4, "big")
                self.socket.sendto(vector, self.leaf)


def test_the_leaf_survives_a_parent_that_says_anything(tmp_path: Path) -> None:
    program = build(tmp_path / "build", SANITIZE="1")
    parent = Parent()
    words = ("--rp", f"127.0.0.1:{parent.port}", "--session", "demo", "--listen", "127.0.0.1")
    log = tmp_path / "log"
    with log.open("w") as errors:
        leaf = subprocess.Popen(
            [program, "--verbose", "--ordered", "100", *words, "239.10.20.30", "[ff1e::1234]"],
            stdout=subprocess.DEVNULL,
            stderr=errors,
        )
    try:
        lot = random.Random(17)
        parent.serve(2.0)
        assert "joined below 4" in log.read_text()
        for _ in range(ROUNDS):
            parent.assault(lot)
            parent.serve(0.1)
        before = parent.refreshed
        parent.serve(20.0)
        assert leaf.poll() is None, log.read_text()
        assert parent.refreshed > before, "it has its place, or has found it again"
    finally:
        leaf.send_signal(signal.SIGTERM)
        parent.socket.close()
        assert leaf.wait(10) == 0, log.read_text()

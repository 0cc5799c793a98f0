"""The edge without a TUN: ordinary sockets on a real interface, in namespaces of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from dmmp.demo.internet import UPLINK, Host, Internet
from dmmp.demo.programs import program_command
from dmmp.errors import UsageError
from dmmp.runtime.control import DIRECTORY_VARIABLE
from dmmp.runtime.groups import Group, parse_group
from dmmp.runtime.interface import Interface, packet_filter
from dmmp.tun.packets import wrap_udp
from dmmp.types import Endpoint, IpAddress
from tests.runtime.loopback import address

COUNT = 300
PATIENCE = 30.0


def evaluate(program: list[tuple[int, int, int, int]], packet: bytes, ethertype: int) -> int:
    """Run a classic BPF program of the three instructions we use, as the kernel would."""
    accumulator, at = 0, 0
    while True:
        code, if_equal, if_not, value = program[at]
        at += 1
        if code == 0x06:
            return value
        if code == 0x20:
            if value == 0xFFFFF000:
                accumulator = ethertype
            elif value + 4 > len(packet):
                return 0
            else:
                accumulator = int.from_bytes(packet[value : value + 4])
        else:
            assert code == 0x15
            at += if_equal if accumulator == value else if_not


def datagram(group: IpAddress) -> bytes:
    own = address("10.0.0.1" if group.version == 4 else "fd00::1")
    return wrap_udp(Endpoint(own, 5), Endpoint(group, 6), b"payload")


@pytest.mark.parametrize(
    ("wanted", "others", "ethertype"),
    [
        (["239.1.2.3", "239.1.2.4"], ["239.1.2.5", "224.0.0.1"], 0x0800),
        (["ff1e::1", "ff1e:0:1::1"], ["ff1e::2", "ff1e:0:1::2", "ff0e::1"], 0x86DD),
    ],
)
def test_the_filter_passes_the_groups_and_nothing_else(
    wanted: list[str], others: list[str], ethertype: int
) -> None:
    program = packet_filter([address(text) for text in wanted])
    for text in wanted:
        assert evaluate(program, datagram(address(text)), ethertype) > 0
        assert evaluate(program, datagram(address(text)), 0x0806) == 0
    for text in others:
        assert evaluate(program, datagram(address(text)), ethertype) == 0
    assert evaluate(program, b"", ethertype) == 0


@pytest.mark.parametrize(
    ("text", "group"),
    [
        ("239.1.2.3", Group(address("239.1.2.3"))),
        ("239.1.2.3:5004", Group(address("239.1.2.3"), 5004)),
        ("ff1e::1", Group(address("ff1e::1"))),
        ("[ff1e::1]:5", Group(address("ff1e::1"), 5)),
    ],
)
def test_groups_are_read_as_people_write_them(text: str, group: Group) -> None:
    assert parse_group(text) == group
    assert parse_group(str(group)) == group


@pytest.mark.parametrize(
    "text", ["", "10.1.2.3", "224.0.0.5", "ff02::1", "239.1.2.3:x", "239.1.2.3:0", "name", "[ff1e"]
)
def test_what_is_no_group_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--group"):
        parse_group(text)


def test_an_interface_that_is_not_there_is_named() -> None:
    with pytest.raises(UsageError, match="ip link"):
        Interface("nope0", [Group(address("239.1.2.3"))], reads=False)


class Overlay:
    """A rendezvous point, a source and a member with interfaces, each its own process."""

    def __init__(self, internet: Internet, directory: Path, group: str) -> None:
        self.internet = internet
        self.environment = {DIRECTORY_VARIABLE: str(directory)}
        dmmp = [sys.executable, "-m", "dmmp"]
        internet["rp"].popen(
            *dmmp, "rp", "--security", "none", "--session", "demo", environment=self.environment,
            standard_output=subprocess.DEVNULL,
        )  # fmt: skip
        arguments = ["--security", "none", "--rp", str(internet["rp"].address), "--session", "demo"]
        arguments += ["--interface", UPLINK, "--group", group]
        for kind in ("source", "member"):
            internet[kind].popen(
                *dmmp, kind, *arguments, environment=self.environment,
                standard_output=subprocess.DEVNULL,
            )  # fmt: skip

    def show(self, name: str) -> dict[str, Any]:
        done = subprocess.run(
            [sys.executable, "-m", "dmmp", "show", name, "--json"],
            env=dict(os.environ, **self.environment),
            capture_output=True,
            text=True,
        )
        shown: dict[str, Any] = json.loads(done.stdout) if done.returncode == 0 else {}
        return shown

    def wait_for_wishes(self) -> None:
        deadline = time.monotonic() + PATIENCE
        while not self.show("source").get("subtree_groups"):
            assert time.monotonic() < deadline, self.show("member")


@contextmanager
def overlay(directory: Path, group: str) -> Iterator[Overlay]:
    with Internet.build(["rp", "source", "member"]) as internet:
        made = Overlay(internet, directory, group)
        made.wait_for_wishes()
        yield made


def receive(host: Host, flow: str, output: Path) -> subprocess.Popen[str]:
    """Start an ordinary program that has joined on the interface once this returns."""
    receiver = host.popen(
        *program_command("receive", flow, "--interface", UPLINK, "--count", str(COUNT)),
        *("--seconds", str(PATIENCE), "--sequence", "--output", output),
    )
    assert receiver.stdout is not None
    receiver.stdout.readline()
    return receiver


@pytest.mark.namespace
@pytest.mark.parametrize(
    ("flow", "group"),
    [
        ("239.1.2.3:5004", "239.1.2.3:5004"),
        ("239.1.2.3:5004", "239.1.2.3"),
        ("[ff1e::55]:5004", "[ff1e::55]:5004"),
        ("[ff1e::55]:5004", "ff1e::55"),
    ],
)
def test_programs_on_an_interface_hear_each_other(tmp_path: Path, flow: str, group: str) -> None:
    with overlay(tmp_path, group) as running:
        receiver = receive(running.internet["member"], flow, tmp_path / "report")
        sending = ("--interface", UPLINK, "--count", str(COUNT), "--rate", "4M", "--seconds", "9")
        sent = running.internet["source"].run(*program_command("send", flow, *sending))
        receiver.wait(PATIENCE)
        (heard,) = json.loads((tmp_path / "report").read_text())["flows"]
        (told,) = json.loads(sent.stdout.splitlines()[-1])["flows"]
        assert heard["count"] == told["count"] == COUNT
        assert heard["sha256"] == told["sha256"]
        source, member = running.show("source"), running.show("member")
        # What the member sent on its interface did not come back to anybody.
        assert source["edge"]["read"] == source["counters"]["originated"] == COUNT
        assert member["edge"]["read"] == 0 and member["edge"]["written"] == COUNT


@pytest.mark.namespace
def test_a_ttl_of_one_stays_on_its_link(tmp_path: Path) -> None:
    flow = "239.1.2.3:5004"
    with overlay(tmp_path, flow) as running:
        sending = ("--interface", UPLINK, "--count", "20", "--ttl", "1")
        running.internet["source"].run(*program_command("send", flow, *sending))
        shown = running.show("source")
        assert shown["drops"]["ttl"] == 20 and shown["counters"]["originated"] == 0

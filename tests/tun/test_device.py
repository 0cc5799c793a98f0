"""The real TUN in namespaces of its own, with ordinary sockets as programs; and `MemoryTun`."""

from __future__ import annotations

import os
import select
import subprocess
import sys
from collections.abc import Iterator
from ipaddress import IPv4Interface, IPv6Interface
from pathlib import Path

import pytest

from dmmp.errors import UsageError
from dmmp.tun.addresses import default_addresses
from dmmp.tun.device import MemoryTun, PacketDevice, Tun
from tests.tun import inside, inside_bursts

ROOT = Path(__file__).parent.parent.parent
SECONDS = 60

# Those about packets are played on both kinds of device; those about what is around it on one.
SCENARIOS = [("inside", scenario, "portable") for scenario in inside.SCENARIOS]
SCENARIOS.append(("inside", "foreign_sources_are_delivered", "batched"))
SCENARIOS += [
    ("inside_bursts", scenario, datapath)
    for scenario in inside_bursts.SCENARIOS
    for datapath in ("portable", "batched")
]


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True)


@pytest.fixture
def namespace() -> Iterator[str]:
    """Make a host with a veth `eth0` and a default route; its neighbour is a namespace too."""
    here, there = f"dmmptun{os.getpid()}a", f"dmmptun{os.getpid()}b"
    made: list[str] = []
    try:
        for name in (here, there):
            _run("ip", "netns", "add", name)
            made.append(name)
            _run("ip", "-n", name, "link", "set", "lo", "up")
        veth = ["eth0", "netns", here, "type", "veth", "peer", "eth0", "netns", there]
        _run("ip", "link", "add", *veth)
        for name, number in ((here, 1), (there, 2)):
            _run("ip", "-n", name, "addr", "add", f"192.0.2.{number}/24", "dev", "eth0")
            six = [f"2001:db8::{number}/64", "dev", "eth0", "nodad"]
            _run("ip", "-n", name, "-6", "addr", "add", *six)
            # A link-local address made later would change what the scenarios compare.
            _run("ip", "-n", name, "link", "set", "eth0", "addrgenmode", "none", "up")
        _run("ip", "-n", here, "route", "add", "default", "via", "192.0.2.2")
        yield here
    finally:
        for name in made:
            _run("ip", "netns", "del", name)


@pytest.mark.namespace
@pytest.mark.skipif(not Path("/dev/net/tun").exists(), reason="no /dev/net/tun: modprobe tun")
@pytest.mark.parametrize(("module", "scenario", "datapath"), SCENARIOS)
def test_inside_a_namespace(namespace: str, module: str, scenario: str, datapath: str) -> None:
    command = [sys.executable, "-W", "error", "-m", f"tests.tun.{module}", scenario, datapath]
    run = subprocess.run(
        ["ip", "netns", "exec", namespace, *command],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    assert run.returncode == 0, run.stderr
    assert not run.stderr, run.stderr


@pytest.mark.parametrize("name", ["", ".", "a/b", "a b", "tun%d", "ä", "a:1", "sixteen-letters-"])
def test_names_that_cannot_be_are_refused_before_anything_happens(name: str) -> None:
    with pytest.raises(UsageError) as caught:
        Tun.open(name)
    assert "name" in str(caught.value)


@pytest.mark.parametrize("mtu", [0, 575, 65536])
def test_sizes_that_cannot_be_are_refused(mtu: int) -> None:
    with pytest.raises(UsageError):
        Tun.open("dmmp0", mtu)


@pytest.mark.parametrize(
    "address",
    ["239.1.1.1/8", "127.0.0.1/8", "0.0.0.0/0", "10.0.0.0/24", "10.0.0.255/24", "169.254.1.1/16"],
)
def test_addresses_that_no_host_can_have_are_refused(address: str) -> None:
    with pytest.raises(UsageError):
        MemoryTun().configure(IPv4Interface(address), None)


@pytest.mark.parametrize("address", ["ff1e::1/64", "::1/128", "fe80::1/64", "fd64::/64"])
def test_ipv6_addresses_that_no_host_can_have_are_refused(address: str) -> None:
    with pytest.raises(UsageError):
        MemoryTun().configure(None, IPv6Interface(address))


@pytest.mark.parametrize("address", ["10.0.0.0/31", "10.0.0.1/31", "10.0.0.9/32", "10.0.0.9/24"])
def test_point_to_point_prefixes_are_fine(address: str) -> None:
    device = MemoryTun()
    device.configure(IPv4Interface(address), IPv6Interface("fd64::ffff:ffff:ffff:ffff/64"))
    assert device.ipv4 == IPv4Interface(address)
    device.close()


def _readable(device: PacketDevice) -> bool:
    return bool(select.select([device], [], [], 0)[0])


def test_memory_tun_is_readable_exactly_while_it_holds_something() -> None:
    device = MemoryTun()
    device.configure(*default_addresses(1, 1))
    assert not _readable(device) and device.read() == []
    device.inject(b"one", memoryview(b"two"))
    device.inject(b"three")
    assert _readable(device)
    assert device.read(2) == [b"one", b"two"]
    assert _readable(device)
    assert device.read() == [b"three"]
    assert not _readable(device)
    device.close()


def test_memory_tun_delivers_and_bounds_both_ways() -> None:
    device = MemoryTun(limit=3)
    assert device.write([b"a", memoryview(b"b")]) == 2
    assert device.write([b"c", b"d", b"e"]) == 1
    assert device.delivered() == [b"a", b"b", b"c"]
    assert device.delivered() == []
    device.inject(*[b"x"] * 5)
    assert len(device.read()) == 3
    assert device.drops == {"queue_full": 4}
    device.close()
    device.close()
    device.inject(b"late")
    assert device.read() == [] and device.drops == {"queue_full": 5}

"""What happens inside a namespace of its own: `python -m tests.tun.inside SCENARIO [batched]`.

A scenario opens a real TUN beside a real veth, plays ordinary programs with plain sockets, and
fails by an exception. `test_device` makes the namespace and runs each scenario in it.
"""

from __future__ import annotations

import asyncio
import errno
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ipaddress import IPv6Address, ip_address
from pathlib import Path

from dmmp.errors import DmmpError, UsageError
from dmmp.interest import FilterMode, Interest, interest, no_interest
from dmmp.tun.addresses import default_addresses, querier_address
from dmmp.tun.device import Tun
from dmmp.tun.membership import InterestChanged, Membership, TransmitQuery
from dmmp.tun.packets import classify, parse, too_big, wrap_udp
from dmmp.types import Endpoint
from tests.tun.unwrapping import unwrap_udp

NAME = "dmmp0"
IPV4, IPV6 = default_addresses(0xABCDEF, 5)
GROUP4, GROUP6, SSM4, SSM6 = "239.1.2.3", "ff1e::1234", "232.1.1.1", "ff3e::4321"
PORT = 6000
MCAST_JOIN_SOURCE_GROUP, MCAST_LEAVE_SOURCE_GROUP = 46, 47
IP_MTU_DISCOVER, IPV6_MTU_DISCOVER, PMTUDISC_DO = 10, 23, 2
PATIENCE = 10.0
BATCHED = sys.argv[2:] == ["batched"]


@contextmanager
def opened() -> Iterator[Tun]:
    """Open and configure the TUN as a host does."""
    with Tun.open(NAME, batched=BATCHED) as tun:
        tun.configure(IPV4, IPV6)
        assert tun.warnings == []
        yield tun


class Edge:
    """A TUN and its querier, driven by hand."""

    def __init__(self, tun: Tun) -> None:
        self.tun = tun
        self.membership = Membership(IPV4, time.monotonic())
        self._changes: list[Interest] = []

    def next_change(self) -> Interest:
        """Run until the host's interest changes."""
        end = time.monotonic() + PATIENCE
        while not self._changes:
            assert time.monotonic() < end, f"no change of interest; {self.membership.drops}"
            actions = self.membership.wake(time.monotonic())
            for packet in self.tun.read():
                actions += self.membership.receive(packet, time.monotonic())
            queries = [action.packet for action in actions if isinstance(action, TransmitQuery)]
            assert self.tun.write(queries) == len(queries)
            self._changes += [a.interest for a in actions if isinstance(a, InterestChanged)]
            if not self._changes:
                select.select([self.tun], [], [], 0.02)
        return self._changes.pop(0)


def program(group: str) -> socket.socket:
    """Make the socket of a program that listens on PORT; it has joined nothing yet."""
    family = socket.AF_INET6 if ":" in group else socket.AF_INET
    made = socket.socket(family, socket.SOCK_DGRAM)
    if family == socket.AF_INET6:
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    made.bind(("", PORT))
    made.settimeout(PATIENCE)
    return made


def change_membership(made: socket.socket, group: str, join: bool = True) -> None:
    """Join or leave without naming an interface, as most programs do."""
    address = ip_address(group).packed
    if made.family == socket.AF_INET:
        option = socket.IP_ADD_MEMBERSHIP if join else socket.IP_DROP_MEMBERSHIP
        made.setsockopt(socket.IPPROTO_IP, option, address + bytes(4))
    else:
        option = socket.IPV6_JOIN_GROUP if join else socket.IPV6_LEAVE_GROUP
        made.setsockopt(socket.IPPROTO_IPV6, option, address + struct.pack("@I", 0))


def change_source(made: socket.socket, group: str, source: str, join: bool = True) -> None:
    """Join or leave one source of a group (RFC 3678 §5)."""
    option = MCAST_JOIN_SOURCE_GROUP if join else MCAST_LEAVE_SOURCE_GROUP
    request = struct.pack("@I4x", 0) + _sockaddr(group) + _sockaddr(source)
    level = socket.IPPROTO_IP if made.family == socket.AF_INET else socket.IPPROTO_IPV6
    made.setsockopt(level, option, request)


def _sockaddr(address: str) -> bytes:
    packed = ip_address(address).packed
    if len(packed) == 4:
        return struct.pack("@HH4s", socket.AF_INET, 0, packed).ljust(128, b"\0")
    return struct.pack("@HHI16sI", socket.AF_INET6, 0, 0, packed, 0).ljust(128, b"\0")


def shell(command: str) -> str:
    """Run a command of the system and give what it says."""
    run = subprocess.run(command, shell=True, check=True, capture_output=True, text=True)
    return run.stdout


def filters(*names: str) -> list[int]:
    """Give the reverse-path filters of interfaces."""
    conf = Path("/proc/sys/net/ipv4/conf")
    return [int((conf / name / "rp_filter").read_text()) for name in names]


def state() -> str:
    """Describe everything the TUN might leave behind."""
    names = sorted(path.name for path in Path("/proc/sys/net/ipv4/conf").iterdir())
    values = [f"{name} {value}\n" for name, value in zip(names, filters(*names), strict=True)]
    return "".join(values) + shell(
        "ip -br link; ip route show table all; ip -6 route show table all"
    )


def joins_become_interest() -> None:
    """Programs join and leave; the querier knows it within a moment."""
    everything = FilterMode.EXCLUDE
    with opened() as tun:
        edge = Edge(tun)
        for group in (GROUP4, GROUP6):
            with program(group) as made:
                change_membership(made, group)
                assert edge.next_change() == interest(ip_address(group), everything)
                change_membership(made, group, join=False)
                assert edge.next_change() == no_interest(ip_address(group))
        for group, sources in ((SSM4, ("192.0.2.9", "192.0.2.8")), (SSM6, ("fd99::9", "fd99::8"))):
            with program(group) as made:
                listed: list[str] = []
                for source in sources:
                    change_source(made, group, source)
                    listed.append(source)
                    expected = interest(
                        ip_address(group), FilterMode.INCLUDE, [ip_address(text) for text in listed]
                    )
                    assert edge.next_change() == expected
                change_source(made, group, listed.pop(0), join=False)
                assert edge.next_change().sources == (ip_address(listed[0]),)
                made.close()
                assert edge.next_change() == no_interest(ip_address(group))
        assert edge.membership.interests == ()


def earlier_joins_are_learned() -> None:
    """Programs that joined before the querier started are found by its first query."""
    with opened() as tun, program(GROUP4) as four, program(GROUP6) as six:
        change_membership(four, GROUP4)
        change_membership(six, GROUP6)
        # The kernel repeats its report within a second; these nobody hears.
        deadline = time.monotonic() + 1.5
        while time.monotonic() < deadline:
            select.select([tun], [], [], 0.1)
            tun.read()
        edge = Edge(tun)
        found = {str(edge.next_change().group) for _ in range(2)}
        assert found == {GROUP4, GROUP6}


def sent_datagrams_come_out() -> None:
    """A program that chooses no interface sends to the TUN; link-local groups stay at eth0."""
    with opened() as tun:
        for group, source in ((GROUP4, IPV4.ip), (GROUP6, IPV6.ip)):
            with program(group) as made:
                hops = (
                    (socket.IPPROTO_IP, socket.IP_MULTICAST_TTL)
                    if made.family == socket.AF_INET
                    else (socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS)
                )
                made.setsockopt(*hops, 9)
                made.sendto(b"hello", (group, PORT))
                datagram = unwrap_udp(_packet_to(tun, group))
                assert datagram.payload == b"hello"
                assert datagram.source == Endpoint(source, PORT)
        with program(GROUP4) as made:
            made.sendto(b"local", ("224.0.0.251", PORT))
            made.sendto(b"hello", (GROUP4, PORT))
            seen = _packet_to(tun, GROUP4, others_allowed=False)
            assert classify(seen, {}).reason == "ttl"


def _packet_to(tun: Tun, group: str, others_allowed: bool = True) -> bytes:
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        select.select([tun], [], [], 0.1)
        for packet in tun.read():
            header = parse(packet)
            if header.protocol == socket.IPPROTO_UDP:
                if str(header.destination) == group:
                    return packet
                assert others_allowed, header
    raise AssertionError("nothing came out")


def foreign_sources_are_delivered() -> None:
    """Datagrams from other networks reach the program; those of sources not joined do not."""
    with opened() as tun:
        for group, source in ((GROUP4, "203.0.113.9"), (GROUP6, "2001:db8:99::9")):
            with program(group) as made:
                change_membership(made, group)
                sender, receiver = (
                    Endpoint(ip_address(source), 77),
                    Endpoint(ip_address(group), PORT),
                )
                assert tun.write([memoryview(wrap_udp(sender, receiver, b"from afar"))]) == 1
                payload, address = made.recvfrom(100)
                assert payload == b"from afar" and address[:2] == (source, 77)
        for group, joined, other in (
            (SSM4, "203.0.113.9", "203.0.113.8"),
            (SSM6, "2001:db8:99::9", "2001:db8:99::8"),
        ):
            with program(group) as made:
                change_source(made, group, joined)
                for text, data in ((other, b"unwanted"), (joined, b"wanted")):
                    sender, receiver = (
                        Endpoint(ip_address(text), 1),
                        Endpoint(ip_address(group), PORT),
                    )
                    assert tun.write([wrap_udp(sender, receiver, data)]) == 1
                assert made.recv(100) == b"wanted"
        assert tun.write([b"\x00nonsense", b""]) == 0
        assert tun.drops == {"malformed": 2}


def strict_filter_without_default_route() -> None:
    """With rp_filter 1 for all and no way back to the source, `all` moves to the others."""
    shell("sysctl -w net.ipv4.conf.all.rp_filter=1; ip route del default")
    before = state()
    with opened():
        assert filters("all", "eth0", NAME, "default") == [0, 1, 0, 1]
    assert state() == before
    foreign_sources_are_delivered()


def strict_filter_with_default_route() -> None:
    """With a default route the interface's own value is enough, and nothing else changes."""
    shell("sysctl -w net.ipv4.conf.all.rp_filter=1")
    with opened():
        assert filters("all", "eth0", NAME) == [1, 0, 2]
    foreign_sources_are_delivered()


def other_interfaces_work_on() -> None:
    """Neighbour discovery and membership at eth0 are untouched by the TUN's better metric."""
    with opened(), socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as made:
        made.settimeout(PATIENCE)
        made.bind(("2001:db8::1", PORT))
        end = time.monotonic() + PATIENCE
        while "lladdr" not in shell("ip -6 neigh show 2001:db8::2 dev eth0"):
            assert time.monotonic() < end, "no neighbour"
            made.sendto(b"x", ("2001:db8::2", PORT))
            time.sleep(0.02)


def close_leaves_nothing() -> None:
    """Interface, addresses, routes and sysctls are as before, also after new addresses."""
    before = state()
    with opened() as tun:
        assert state() != before
        ipv4, ipv6 = default_addresses(0xABCDEF, 6)
        tun.configure(ipv4, ipv6)
        shown = shell(f"ip addr show {NAME}")
        assert str(ipv4) in shown and str(ipv6) in shown
        assert str(IPV4) not in shown and str(IPV6) not in shown
        tun.configure(IPV4, IPV6, routes=False)
        assert "224.0.0.0/4" not in shell("ip route show table all")
    assert state() == before
    tun.close()
    assert tun.fileno() == -1


def a_killed_process_leaves_nothing() -> None:
    """After SIGKILL the interface is gone; the next start removes the rest."""
    shell("sysctl -w net.ipv4.conf.all.rp_filter=1; ip route del default")
    shell("ip route add 224.0.0.0/8 dev eth0 metric 77")
    before = state()
    child = os.fork()
    if child == 0:
        Tun.open(NAME).configure(IPV4, IPV6)
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    left = state()
    assert NAME not in left and "224.0.0.0/24" in left and "eth0 1" in left
    Tun.open(NAME).close()
    assert state() == before


def senders_learn_the_size() -> None:
    """The ICMP answer to a packet too big reaches a program that sends to a group."""
    with opened() as tun:
        cases = (
            (GROUP4, (socket.IPPROTO_IP, IP_MTU_DISCOVER), querier_address(IPV4)),
            (GROUP6, (socket.IPPROTO_IPV6, IPV6_MTU_DISCOVER), IPv6Address("fe80::1")),
        )
        for group, option, router in cases:
            with program(group) as made:
                made.setsockopt(*option, PMTUDISC_DO)
                made.connect((group, PORT))
                end = time.monotonic() + PATIENCE
                try:
                    while time.monotonic() < end:
                        made.send(bytes(1320))
                        answer = too_big(_packet_to(tun, group), 1280, router)
                        assert answer is not None and tun.write([answer]) == 1
                        # A busy kernel takes an answer in late, or loses it: the edge answers each.
                        time.sleep(0.02)
                    raise AssertionError(f"the size was not learned: {shell('nstat -as')}")
                except OSError as error:
                    assert error.errno == errno.EMSGSIZE


def two_interfaces_live_together() -> None:
    """A second TUN says that the groups are the first's, and goes without a trace."""
    before = state()
    with opened():
        first = state()
        with Tun.open("dmmp1") as second:
            second.configure(*default_addresses(7, 7))
            assert len(second.warnings) == 2 and "224.0.0.0/4" in second.warnings[0]
        assert state() == first
    assert state() == before


def works_inside_an_event_loop() -> None:
    """The runtime opens and closes the device from a coroutine, and waits for it there."""

    async def run() -> None:
        loop = asyncio.get_running_loop()
        with opened() as tun:
            readable = asyncio.Event()
            loop.add_reader(tun, readable.set)
            with program(GROUP4) as made:
                made.sendto(b"hello", (GROUP4, PORT))
                await asyncio.wait_for(readable.wait(), PATIENCE)
                loop.remove_reader(tun)

    asyncio.run(run())


def mistakes_have_a_cure() -> None:
    """What the user can do wrong is told in one line."""
    _refused("exists already", lambda: Tun.open("eth0"))
    _refused("exists already", lambda: Tun.open("lo"))
    with opened() as tun:
        _refused("exists already", lambda: Tun.open(NAME))
        shell(f"ip link del {NAME}")
        try:
            tun.read()
        except UsageError as error:
            raise AssertionError("not the user's mistake") from error
        except DmmpError as error:
            assert "removed" in str(error)
        else:
            raise AssertionError("a removed interface went unseen")
    with Tun.open(NAME, mtu=1000) as tun:
        tun.configure(IPV4, IPV6)
        assert tun.warnings == [f"{NAME} has no IPv6: that needs an MTU of 1280"]
    shell("mount -t tmpfs none /dev/net")
    _refused("modprobe tun", lambda: Tun.open(NAME))
    shell("umount /dev/net")
    os.setuid(65534)
    _refused("CAP_NET_ADMIN", lambda: Tun.open(NAME))


def _refused(part: str, call: Callable[[], object]) -> None:
    try:
        call()
    except UsageError as error:
        assert part in str(error) and "\n" not in str(error), error
    else:
        raise AssertionError(f"not refused: {part}")


SCENARIOS: dict[str, Callable[[], None]] = {
    scenario.__name__: scenario
    for scenario in (
        joins_become_interest,
        earlier_joins_are_learned,
        sent_datagrams_come_out,
        foreign_sources_are_delivered,
        strict_filter_without_default_route,
        strict_filter_with_default_route,
        other_interfaces_work_on,
        close_leaves_nothing,
        a_killed_process_leaves_nothing,
        senders_learn_the_size,
        two_interfaces_live_together,
        works_inside_an_event_loop,
        mistakes_have_a_cure,
    )
}

if __name__ == "__main__":
    SCENARIOS[sys.argv[1]]()

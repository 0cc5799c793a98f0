"""The TUN edge: what programs send, what they hear, and what passes in neither direction."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from ipaddress import IPv4Address, IPv4Interface, IPv6Interface, ip_address

import pytest

from dmmp.errors import UsageError
from dmmp.forwarding.burst import Delivery
from dmmp.interest import Interest, interest, no_interest
from dmmp.messages.header import HEADER, HEADER_BYTES, VERSION
from dmmp.runtime.driver import Driver
from dmmp.runtime.gateway import Gateway
from dmmp.runtime.node import NodeOptions, open_edge
from dmmp.runtime.tun_addresses import parse_tun_addresses
from dmmp.tun.addresses import default_addresses
from dmmp.tun.device import MemoryTun, Tun
from dmmp.tun.packets import PROTOCOL_ICMP, PROTOCOL_ICMPV6, ip_packet, parse, wrap_udp
from dmmp.types import Endpoint, HostId, IpAddress, SessionId
from tests.runtime.loopback import GROUP, joined, left

OWN4 = IPv4Interface("10.0.0.5/24")
OWN6 = IPv6Interface("fd00::5/64")
GROUP6 = ip_address("ff1e::1234")


class ScriptedDriver:
    """Takes what the gateway gives a driver."""

    def __init__(self) -> None:
        self.originated: list[tuple[IpAddress, IpAddress, list[bytes]]] = []
        self.wishes: list[Interest] = []
        self.failure: BaseException | None = None

    def originate(
        self, group: IpAddress, source: IpAddress, packets: Sequence[bytes | memoryview]
    ) -> None:
        self.originated.append((group, source, [bytes(packet) for packet in packets]))

    def subscribe(self, wish: Interest) -> None:
        self.wishes.append(wish)

    def guarded(self, callback: Callable[[], None]) -> Callable[[], None]:
        return Driver.guarded(self, callback)  # type: ignore[arg-type]

    def fail(self, failure: BaseException) -> None:
        self.failure = failure


class Bench:
    """A gateway between a TUN in memory and a scripted driver."""

    def __init__(self, is_source: bool = True, addressed: bool = True) -> None:
        self.now = 100.0
        self.tun = MemoryTun("memory", 1380)
        self.gateway = Gateway(
            self.tun, (OWN4, OWN6) if addressed else None, True, is_source, lambda: self.now
        )
        self.driver = ScriptedDriver()
        self.gateway.start(self.driver)  # type: ignore[arg-type]

    async def inject(self, *packets: bytes) -> None:
        self.tun.inject(*packets)
        for _ in range(3):
            await asyncio.sleep(0)


def on_bench(play: Callable[[Bench], object], **options: bool) -> Bench:
    async def main() -> Bench:
        bench = Bench(**options)
        try:
            found = play(bench)
            if asyncio.iscoroutine(found):
                await found
        finally:
            bench.gateway.close()
        return bench

    return asyncio.run(main())


def udp(group: IpAddress = GROUP, size: int = 100, ttl: int = 16, port: int = 9) -> bytes:
    own = OWN4.ip if group.version == 4 else OWN6.ip
    return wrap_udp(Endpoint(own, port), Endpoint(group, 5004), bytes(size), ttl)


def burst(*packets: bytes) -> Delivery:
    data = b"".join(HEADER.pack(VERSION, 0, 0, 1, 2, 3, 4, len(p)) + p for p in packets)
    return Delivery(data, HEADER_BYTES + len(packets[0]), GROUP)


def test_a_fault_while_reading_ends_the_node_instead_of_being_printed() -> None:
    async def play(bench: Bench) -> None:
        def read(budget: int = 0) -> list[bytes]:
            raise ZeroDivisionError("ours")

        bench.tun.read = read  # type: ignore[method-assign]
        await bench.inject(udp())

    assert isinstance(on_bench(play).driver.failure, ZeroDivisionError)


def test_what_programs_send_is_originated_by_group_in_order() -> None:
    first, second, other = udp(port=1), udp(port=2), udp(GROUP6)
    bench = on_bench(lambda bench: bench.inject(first, other, second))
    assert bench.driver.originated == [
        (GROUP, OWN4.ip, [first, second]),
        (GROUP6, OWN6.ip, [other]),
    ]


@pytest.mark.parametrize(
    ("packet", "reason"),
    [
        (udp(ttl=1), "ttl"),
        (udp(IPv4Address("224.0.0.251")), "link_local"),
        (udp(ip_address("ff02::fb")), "link_local"),
        (udp(IPv4Address("192.0.2.1")), "not_multicast"),
        (b"\x45garbage", "malformed"),
        (udp(size=1400), "too_big"),
    ],
)
def test_what_stays_at_home_is_counted_by_reason(packet: bytes, reason: str) -> None:
    bench = on_bench(lambda bench: bench.inject(packet))
    assert bench.gateway.drops == {reason: 1} and bench.driver.originated == []


def test_a_member_sends_nothing() -> None:
    bench = on_bench(lambda bench: bench.inject(udp()), is_source=False)
    assert bench.gateway.drops == {"not_source": 1} and bench.driver.originated == []


@pytest.mark.parametrize(("group", "protocol"), [(GROUP, PROTOCOL_ICMP), (GROUP6, PROTOCOL_ICMPV6)])
def test_a_packet_too_big_is_answered_to_its_program(group: IpAddress, protocol: int) -> None:
    packet = udp(group, size=1400)
    answers: list[bytes] = []

    async def play(bench: Bench) -> None:
        await bench.inject(packet)
        answers.extend(bench.tun.delivered())

    on_bench(play)
    (answer,) = answers
    header = parse(answer)
    own = OWN4.ip if group.version == 4 else OWN6.ip
    assert header.protocol == protocol and header.destination == own != header.source
    assert packet[:500] in answer or answer[48:500] in packet


def test_joins_and_leaves_become_wishes() -> None:
    async def play(bench: Bench) -> None:
        await bench.inject(joined(GROUP, OWN4.ip))
        await bench.inject(left(GROUP, OWN4.ip))

    bench = on_bench(play, is_source=False)
    assert bench.driver.wishes == [interest(GROUP), no_interest(GROUP)]
    assert bench.gateway.drops == {}


def test_it_asks_its_host_what_it_wants() -> None:
    asked: list[bytes] = []

    def play(bench: Bench) -> None:
        alarm = bench.gateway.next_alarm()
        assert alarm is not None and alarm[0] <= bench.now
        bench.gateway.wake(bench.now)
        asked.extend(bench.tun.delivered())

    on_bench(play)
    assert [str(parse(query).destination) for query in asked] == ["224.0.0.1", "ff02::1"]


def test_data_is_delivered_without_its_header() -> None:
    packets = [udp(port=1), udp(port=2), udp(size=50)]
    heard: list[bytes] = []

    def play(bench: Bench) -> None:
        bench.gateway.deliver([burst(*packets), burst(packets[0])])
        heard.extend(bench.tun.delivered())

    bench = on_bench(play)
    assert heard == [*packets, packets[0]] and bench.gateway.counters["written"] == 4


@pytest.mark.parametrize(
    ("packet", "reason"),
    [
        (udp(IPv4Address("192.0.2.1")), "overlay_not_multicast"),
        (udp(IPv4Address("224.0.0.1")), "overlay_link_local"),
        (ip_packet(OWN4.ip, GROUP, 2, bytes(8), 5), "overlay_membership"),
        (b"junk", "overlay_malformed"),
        (b"", "overlay_malformed"),
    ],
)
def test_a_peer_cannot_inject_anything_but_groups(packet: bytes, reason: str) -> None:
    heard: list[bytes] = []

    def play(bench: Bench) -> None:
        bench.gateway.deliver([burst(udp(), packet)] if packet else [burst(packet)])
        heard.extend(bench.tun.delivered())

    bench = on_bench(play)
    assert reason in bench.gateway.drops or not packet
    assert packet not in heard


def test_without_addresses_the_hosts_id_makes_them_once() -> None:
    def play(bench: Bench) -> None:
        assert bench.gateway.next_alarm() is None
        bench.gateway.registered(SessionId(7), HostId(9))
        bench.gateway.registered(SessionId(7), HostId(10))

    bench = on_bench(play, addressed=False)
    assert (bench.tun.ipv4, bench.tun.ipv6) == default_addresses(7, 9)


@pytest.mark.parametrize(
    ("kind", "datapath", "batched"),
    [
        ("member", "auto", True),
        ("member", "batched", True),
        ("member", "portable", False),
        ("source", "auto", False),
    ],
)
def test_those_that_write_use_the_batched_device_unless_told_otherwise(
    kind: str, datapath: str, batched: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bool] = []

    def opened(name: str, mtu: int, batched: bool) -> MemoryTun:
        asked.append(batched)
        return MemoryTun(name, mtu)

    monkeypatch.setattr(Tun, "open", opened)
    options = NodeOptions(kind, "demo", (), 2, tun="dmmp0", datapath=datapath)
    edge = open_edge(options)
    assert edge is not None and asked == [batched]
    edge.close()


def test_tun_addresses_are_read_by_version() -> None:
    assert parse_tun_addresses(()) is None
    assert parse_tun_addresses(("fd00::5/64", "10.0.0.5/24")) == (OWN4, OWN6)
    assert parse_tun_addresses(("10.0.0.5/24",)) == (OWN4, None)


@pytest.mark.parametrize(
    "texts", [("10.0.0.5",), ("x",), ("10.0.0.5/99",), ("10.0.0.5/24", "10.0.0.6/24")]
)
def test_tun_addresses_that_cannot_be_are_refused(texts: tuple[str, ...]) -> None:
    with pytest.raises(UsageError, match="--tun-address"):
        parse_tun_addresses(texts)

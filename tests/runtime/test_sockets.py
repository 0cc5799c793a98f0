"""Datagram sockets: bursts in, bursts out, and what goes wrong on the way."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dmmp.errors import UsageError
from dmmp.forwarding.burst import MAXIMUM_BURST_BYTES, MAXIMUM_SEGMENTS, Burst, Transmit
from dmmp.runtime.binding import RECEIVE_BUFFER_BYTES, bind
from dmmp.runtime.errorqueue import (
    ENDPOINTS_A_DRAIN,
    ERRORS_A_DRAIN,
    QUIET,
    TOLD_LIMIT,
    ErrorQueue,
)
from dmmp.runtime.linux import BatchedSocket
from dmmp.runtime.sockets import (
    ENDPOINT_CACHE_LIMIT,
    Addresses,
    Collector,
    DatagramSocket,
    PortableSocket,
    count_failure,
    endpoint_of,
    new_counters,
    open_socket,
)
from dmmp.types import Endpoint
from tests.runtime.inbox import listen, receive
from tests.runtime.loopback import ANY_PORT, LOOPBACK

DATAPATHS = pytest.mark.parametrize("datapath", ["portable", "batched"])


def segments(bursts: list[Burst]) -> list[tuple[bytes, Endpoint]]:
    """Take bursts apart into datagrams."""
    found = []
    for data, stride, sender, _ in bursts:
        assert len(data) <= max(MAXIMUM_BURST_BYTES, stride)
        if len(data) <= stride:
            found.append((bytes(data), sender))
            continue
        assert len(data) <= stride * MAXIMUM_SEGMENTS
        found += [(bytes(data[at : at + stride]), sender) for at in range(0, len(data), stride)]
    return found


def on_two(
    datapath: str, play: Callable[[DatagramSocket, DatagramSocket], Awaitable[None]]
) -> None:
    """Run something with two sockets, and see that they close."""

    async def main() -> None:
        one, other = await open_socket(ANY_PORT, datapath), await open_socket(ANY_PORT, datapath)
        try:
            await play(one, other)
        finally:
            one.close()
            other.close()

    asyncio.run(main())


async def attach(opened: socket.socket, datapath: str) -> DatagramSocket:
    if datapath == "batched":
        return BatchedSocket(opened)
    return await PortableSocket.attach(opened)


async def take(opened: DatagramSocket, count: int) -> list[tuple[bytes, Endpoint]]:
    found: list[tuple[bytes, Endpoint]] = []
    while len(found) < count:
        found += segments(await receive(opened, 10))
    return found


@given(
    st.lists(
        st.tuples(
            st.integers(1, 40), st.integers(1, 60), st.integers(0, 60), st.sampled_from("abc")
        ),
        max_size=60,
    )
)
def test_the_collector_gives_back_what_was_put_in(
    blocks: list[tuple[int, int, int, str]],
) -> None:
    # A block is what one recvmsg gives: whole segments and perhaps a shorter last one.
    addresses = Addresses(socket.AF_INET)
    collector = Collector(addresses)
    expected, given_out, number = [], [], 0
    for count, stride, rest, host in blocks:
        sizes = [stride] * count + ([rest] if 0 < rest < stride else [])
        room = collector.room
        if room is None:
            given_out += collector.take()
            room = collector.room
            assert room is not None
        data = b""
        for size in sizes:
            number += 1
            datagram = bytes([number % 256]) * size
            data += datagram
            expected.append((datagram, Endpoint(ip_address("10.0.0.1"), ord(host))))
        room[: len(data)] = data
        collector.add(len(data), stride, ("10.0.0.1", ord(host)))
    assert segments(given_out + collector.take()) == expected


def test_an_empty_datagram_is_a_burst_of_its_own() -> None:
    collector = Collector(Addresses(socket.AF_INET))
    collector.add(0, 0, ("10.0.0.1", 1))
    assert [len(burst.data) for burst in collector.take()] == [0]


@DATAPATHS
def test_what_is_sent_in_bursts_arrives_in_order(datapath: str) -> None:
    sent = [bytes([number]) * (900 if number % 10 else 300) for number in range(120)]

    async def play(one: DatagramSocket, other: DatagramSocket) -> None:
        for at in range(0, len(sent), 10):
            # Nine equal ones after a short one: a burst of one and a burst of nine.
            one.send([Transmit(sent[at], 300, other.local)])
            one.send([Transmit(b"".join(sent[at + 1 : at + 10]), 900, other.local)])
        assert await take(other, len(sent)) == [(each, one.local) for each in sent]

    on_two(datapath, play)


@DATAPATHS
def test_a_receiver_that_died_does_not_stop_the_others(datapath: str) -> None:
    async def play(one: DatagramSocket, other: DatagramSocket) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as dead:
            dead.bind((str(LOOPBACK), 0))
            nowhere = Endpoint(LOOPBACK, dead.getsockname()[1])
        for number in range(20):
            one.send([Transmit(b"x", 1, nowhere), Transmit(bytes([number]), 1, other.local)])
        assert [data[0] for data, _ in await take(other, 20)] == list(range(20))
        other.send([Transmit(b"back", 4, one.local)])
        assert await take(one, 1) == [(b"back", other.local)]

    on_two(datapath, play)


async def until(holds: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not holds():
            await asyncio.sleep(0.001)


@DATAPATHS
@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "::"])
@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_who_is_not_there_is_told_and_costs_the_others_nothing(
    datapath: str, address: str, loop: str
) -> None:
    heard = Endpoint(ip_address("::1" if address == "::1" else "127.0.0.1"), 0)

    async def main() -> None:
        one = await open_socket(Endpoint(ip_address(address), 0), datapath)
        other = await open_socket(heard, datapath)
        with bind(heard) as dead:
            nowhere = Endpoint(heard.address, dead.getsockname()[1])
        told: list[Endpoint] = []
        one.on_unreachable(told.append)
        listen(one)
        for number in range(100):
            one.send([Transmit(b"xy", 1, nowhere), Transmit(bytes([number] * 6), 3, other.local)])
        arrived = await take(other, 200)
        assert [data[0] for data, _ in arrived] == [n for n in range(100) for _ in "ab"]
        if datapath == "batched" or loop == "asyncio":
            await until(lambda: told)
            assert set(told) == {nowhere} and len(told) < 50
            assert one.counters["network_errors"] > 0
        other.send([Transmit(b"back", 4, arrived[0][1])])
        assert [data for data, _ in await take(one, 1)] == [b"back"]
        assert one.counters["unreachable"] == one.counters["send_failed"] == 0
        one.close()
        other.close()

    factory = None if loop == "asyncio" else pytest.importorskip("uvloop").new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(main())


@DATAPATHS
def test_a_backlog_goes_out_though_a_peer_is_gone(datapath: str) -> None:
    async def main() -> None:
        opened = bind(ANY_PORT)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        with bind(ANY_PORT) as dead:
            nowhere = Endpoint(LOOPBACK, dead.getsockname()[1])
        one, other = await attach(opened, datapath), await open_socket(ANY_PORT, datapath)
        for number in range(200):
            one.send(
                [Transmit(b"x", 1, nowhere), Transmit(bytes([number]) * 900, 900, other.local)]
            )
        assert [data[0] for data, _ in await take(other, 200)] == list(range(200))
        one.close()
        other.close()

    asyncio.run(main())


def test_a_flood_of_errors_is_told_in_bounded_portions() -> None:
    async def main() -> None:
        opened = bind(ANY_PORT)
        now = [0.0]
        counters = new_counters()
        queue = ErrorQueue(opened, endpoint_of, counters, lambda: now[0])
        told: list[Endpoint] = []
        queue.report = told.append
        for _ in range(2):
            for number in range(TOLD_LIMIT + 50):
                for port in range(20):
                    # An error that is pending fails the next send, whomever it goes to.
                    with suppress(ConnectionRefusedError):
                        opened.sendto(b"x", (f"127.0.{1 + number // 200}.{number % 200}", 1 + port))
                before = len(told), counters["network_errors"]
                queue.drain()
                assert len(told) - before[0] <= ENDPOINTS_A_DRAIN
                assert counters["network_errors"] - before[1] <= ERRORS_A_DRAIN
                assert len(queue._told) <= TOLD_LIMIT
            now[0] += QUIET
        assert counters["network_errors"] and told
        queue.close()
        opened.close()

    asyncio.run(main())


def test_one_endpoint_is_told_of_once_in_a_while() -> None:
    async def main() -> None:
        opened = bind(ANY_PORT)
        now = [0.0]
        queue = ErrorQueue(opened, endpoint_of, new_counters(), lambda: now[0])
        told: list[Endpoint] = []
        queue.report = told.append
        for expected in (1, 1, 2):
            opened.sendto(b"x", (str(LOOPBACK), 1))
            queue.drain()
            assert told == [Endpoint(LOOPBACK, 1)] * expected
            now[0] += 0.6 * QUIET
        queue.close()
        opened.close()

    asyncio.run(main())


@DATAPATHS
def test_an_ipv6_socket_speaks_ipv4_too(datapath: str) -> None:
    async def main() -> None:
        both = await open_socket(Endpoint(ip_address("::"), 0), datapath)
        only4 = await open_socket(ANY_PORT, datapath)
        only4.send([Transmit(b"four" * 3, 4, Endpoint(LOOPBACK, both.local.port))])
        assert await take(both, 3) == [(b"four", only4.local)] * 3
        both.send([Transmit(b"back" * 3, 4, only4.local)])
        answers = await take(only4, 3)
        assert [data for data, _ in answers] == [b"back"] * 3
        only4.send([Transmit(b"six", 3, Endpoint(ip_address("::1"), both.local.port))])
        assert only4.counters["unreachable"] == 1
        both.close()
        only4.close()

    asyncio.run(main())


@DATAPATHS
def test_after_a_large_burst_it_hears_as_before(datapath: str) -> None:
    async def play(one: DatagramSocket, other: DatagramSocket) -> None:
        listen(one)
        for number in range(3):
            one.send([Transmit(bytes([number]) * 64, 1, other.local)] * 2)
            arrived = await take(other, 128)
            assert {data for data, _ in arrived} == {bytes([number])}
            other.send([Transmit(b"answer", 6, one.local)])
            assert [data for data, _ in await take(one, 1)] == [b"answer"]

    on_two(datapath, play)


@DATAPATHS
def test_a_closed_socket_takes_nothing_any_more(datapath: str) -> None:
    async def main() -> None:
        taken: list[Burst] = []
        failures: list[BaseException] = []
        opened = await open_socket(ANY_PORT, datapath)
        opened.start(taken.extend, failures.append)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.sendto(b"late", (str(LOOPBACK), opened.local.port))
        opened.close()
        opened.close()
        await asyncio.sleep(0.05)
        assert (taken, failures) == ([], [])

    asyncio.run(main())


@DATAPATHS
def test_who_runs_the_node_learns_what_its_reader_raises(datapath: str) -> None:
    def take(bursts: list[Burst]) -> None:
        raise ZeroDivisionError

    async def main() -> BaseException:
        opened = await open_socket(ANY_PORT, datapath)
        failed = asyncio.get_running_loop().create_future()
        opened.start(take, failed.set_result)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.sendto(b"data", (str(LOOPBACK), opened.local.port))
        try:
            return await asyncio.wait_for(failed, 10)
        finally:
            opened.close()

    assert isinstance(asyncio.run(main()), ZeroDivisionError)


@DATAPATHS
def test_what_does_not_fit_the_kernel_is_counted(datapath: str) -> None:
    async def play(one: DatagramSocket, other: DatagramSocket) -> None:
        one.send([Transmit(bytes(65508), 65508, other.local)])
        assert one.counters["too_big"] == 1

    on_two(datapath, play)


@DATAPATHS
def test_a_full_receive_buffer_shows(datapath: str) -> None:
    async def play(one: DatagramSocket, other: DatagramSocket) -> None:
        # Nobody reads `other` meanwhile: its event loop is busy with sending.
        large = bytes(60000)
        for _ in range(3 * RECEIVE_BUFFER_BYTES // len(large)):
            one.send([Transmit(large, 1000, other.local)])
        assert other.overflowed() > 0 and one.overflowed() == 0

    on_two(datapath, play)


def test_a_taken_port_is_named_with_the_cure() -> None:
    with bind(ANY_PORT) as first:
        taken = Endpoint(LOOPBACK, first.getsockname()[1])
        with pytest.raises(UsageError, match=f"port {taken.port} is taken; .*--listen"):
            bind(taken)


def test_without_a_wish_the_port_is_any_if_the_usual_one_is_taken() -> None:
    with bind(None) as first, bind(None) as second:
        assert first.getsockname()[1] != second.getsockname()[1]


def test_a_strangers_address_is_named_with_the_cure() -> None:
    with pytest.raises(UsageError, match="not an address of this machine"):
        bind(Endpoint(ip_address("192.0.2.1"), 0))


def test_the_address_caches_are_bounded() -> None:
    addresses = Addresses(socket.AF_INET6)
    for port in range(ENDPOINT_CACHE_LIMIT + 10):
        addresses.endpoint(("::ffff:10.0.0.1", port, 0, 0))
        addresses.address(Endpoint(LOOPBACK, port))
    assert len(addresses._endpoints) <= ENDPOINT_CACHE_LIMIT
    assert len(addresses._addresses) <= ENDPOINT_CACHE_LIMIT
    assert addresses.endpoint(("fe80::1%eth0", 5, 0, 3)) == Endpoint(ip_address("fe80::1"), 5)


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (errno.ENETUNREACH, "unreachable"),
        (errno.EMSGSIZE, "too_big"),
        (errno.EPERM, "send_failed"),
    ],
)
def test_failures_are_counted_by_reason(code: int, reason: str) -> None:
    counters = new_counters()
    count_failure(counters, OSError(code, ""))
    assert counters[reason] == 1 == sum(counters.values())

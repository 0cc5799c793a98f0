"""The way out of both sockets: full ways, refused offload, limits, floods; one socket for all."""

from __future__ import annotations

import asyncio
import errno
import itertools
import logging
import os
import re
import shlex
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from dmmp.forwarding.burst import Transmit
from dmmp.forwarding.outgoing import QUEUE_SECONDS, Outgoing
from dmmp.runtime.linux import OFFLOAD_AGAIN, BatchedSocket
from dmmp.runtime.sockets import (
    MAXIMUM_DATAGRAM_BYTES,
    RECEIVE_BUDGET,
    DatagramSocket,
    PortableSocket,
    open_socket,
)
from dmmp.types import Endpoint
from tests.runtime.inbox import receive
from tests.runtime.loopback import ANY_PORT, LOOPBACK, until
from tests.runtime.test_sockets import DATAPATHS, segments, take


class MoodySocket(socket.socket):
    """A socket that fails as told: by port, with an error, for bursts or for everything."""

    def __init__(self, family: int = socket.AF_INET) -> None:
        super().__init__(family, socket.SOCK_DGRAM)
        self.setblocking(False)
        self.refused: dict[int, int] = {}
        self.refused_bursts: dict[int, int] = {}
        self.calls: Counter[str] = Counter()

    def sendto(self, data: Any, address: Any) -> int:  # type: ignore[override]
        self.calls["single"] += 1
        if code := self.refused.get(address[1]):
            raise OSError(code, "moody")
        return super().sendto(data, address)

    def sendmsg(  # type: ignore[override]
        self, buffers: Any, ancillary: Any, flags: int, address: Any
    ) -> int:
        self.calls["burst"] += 1
        refused = self.refused | self.refused_bursts
        if code := refused.get(address[1]):
            raise OSError(code, "moody")
        return super().sendmsg(buffers, ancillary, flags, address)


Play = Callable[[DatagramSocket, MoodySocket, DatagramSocket, DatagramSocket], Awaitable[None]]


def on_moody(
    datapath: str,
    play: Play,
    address: str = "127.0.0.1",
    rate: float | None = None,
    clock: Callable[[], float] = time.monotonic,
    longest: float = QUEUE_SECONDS,
) -> None:
    """Run something with a socket that fails as told and two that receive."""

    async def main() -> None:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        moody = MoodySocket(family)
        moody.bind((address, 0))
        outgoing = Outgoing(rate, longest)
        sender: DatagramSocket
        if datapath == "batched":
            sender = BatchedSocket(moody, outgoing, clock)
        else:
            sender = await PortableSocket.attach(moody, outgoing)
        listen = Endpoint(sender.local.address, 0)
        one, other = await open_socket(listen, datapath), await open_socket(listen, datapath)
        try:
            await play(sender, moody, one, other)
        finally:
            for opened in (sender, one, other):
                opened.close()

    asyncio.run(main())


def burst(number: int, count: int = 4) -> bytes:
    return b"".join(bytes([number, at]) * 50 for at in range(count))


@DATAPATHS
@pytest.mark.parametrize("code", [errno.EAGAIN, errno.ENOBUFS])
def test_a_child_whose_way_is_full_delays_nobody_and_gets_what_is_not_too_old(
    datapath: str, code: int
) -> None:
    async def play(
        sender: DatagramSocket, moody: MoodySocket, slow: DatagramSocket, other: DatagramSocket
    ) -> None:
        moody.refused[slow.local.port] = code
        for number in range(20):
            data = burst(number)
            sender.send([Transmit(data, 100, slow.local), Transmit(data, 100, other.local)])
            arrived = await take(other, 4)
            assert [each for each, _ in arrived] == [
                data[at : at + 100] for at in (0, 100, 200, 300)
            ]
        assert sender.queues()[slow.local].waiting > 0
        # It has waited too long: all of it is dropped.
        await until(lambda: sender.counters["queue_full"] == 80)
        assert sender.queues()[slow.local].dropped == 80
        sender.send([Transmit(burst(20), 100, slow.local)])
        del moody.refused[slow.local.port]
        sender.send([Transmit(burst(21), 100, slow.local)])
        arrived = await take(slow, 8)
        assert b"".join(each for each, _ in arrived) == burst(20) + burst(21)
        assert sender.queues()[slow.local].waiting == 0

    on_moody(datapath, play)


@DATAPATHS
def test_control_goes_past_what_waits(datapath: str) -> None:
    async def play(
        sender: DatagramSocket, moody: MoodySocket, child: DatagramSocket, _: DatagramSocket
    ) -> None:
        for number in range(5):
            sender.send([Transmit(burst(number), 100, child.local)])
        sender.send_control(b"control", child.local)
        first = [each for each, _ in await take(child, 1)]
        # A turn of the limit has gone, and the rest comes behind the control message.
        while b"control" not in first:
            first += [each for each, _ in await take(child, 1)]
        assert len(first) < 20
        while len(first) < 21:
            first += [each for each, _ in await take(child, 1)]
        data = b"".join(each for each in first if each != b"control")
        assert data == b"".join(burst(number) for number in range(5))

    # 2,560 bytes with headers at 20,000 a second: an eighth of a second; a busy machine needs more.
    on_moody(datapath, play, rate=20_000, longest=5.0)


@pytest.mark.slow
@DATAPATHS
def test_a_limit_bounds_what_is_sent_and_shares_it(datapath: str) -> None:
    async def play(
        sender: DatagramSocket, moody: MoodySocket, one: DatagramSocket, other: DatagramSocket
    ) -> None:
        loop = asyncio.get_running_loop()
        begun = loop.time()
        while loop.time() < begun + 0.5:
            for _ in range(5):
                sender.send([Transmit(burst(1, 64), 100, one.local)])
                sender.send([Transmit(burst(2, 32), 100, other.local)])
            await asyncio.sleep(0.01)
        ended = loop.time()
        await until(lambda: not any(each.waiting for each in sender.queues().values()))
        ended = max(ended, begun + 0.5) + QUEUE_SECONDS
        counts = [0, 0]
        for index, opened in enumerate((one, other)):
            try:
                while True:
                    counts[index] += len(await asyncio.wait_for(take(opened, 1), 0.2))
            except TimeoutError:
                pass
        assert sum(counts) * 128 <= 200_000 * (ended - begun + 0.1)
        assert sender.counters["queue_full"] > 0
        # Both want more than half.
        assert counts[1] > 0.5 * counts[0] > 0

    on_moody(datapath, play, rate=200_000)


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
@pytest.mark.parametrize("code", [errno.EIO, errno.EINVAL])
def test_refused_offload_is_left_off_for_that_receiver_and_tried_again_later(
    address: str, code: int, caplog: pytest.LogCaptureFixture
) -> None:
    now = [1000.0]

    async def play(
        sender: DatagramSocket, moody: MoodySocket, plain: DatagramSocket, other: DatagramSocket
    ) -> None:
        moody.refused_bursts[plain.local.port] = code

        async def both(number: int) -> tuple[int, int]:
            moody.calls.clear()
            for to in (plain, other):
                # The last datagram is a short one.
                sender.send([Transmit(burst(number)[:-30], 100, to.local)])
                arrived = b"".join(each for each, _ in await take(to, 4))
                assert arrived == burst(number)[:-30]
            return moody.calls["burst"], moody.calls["single"]

        assert await both(1) == (2, 4)
        assert await both(2) == (1, 4)
        now[0] += OFFLOAD_AGAIN
        assert await both(3) == (2, 4)
        now[0] += OFFLOAD_AGAIN
        moody.refused_bursts.clear()
        assert await both(4) == (2, 0)
        assert await both(5) == (2, 0)
        said = [record.getMessage() for record in caplog.records]
        assert len(said) == 1 and str(plain.local) in said[0]
        assert not any(sender.counters[name] for name in ("too_big", "send_failed", "queue_full"))

    with caplog.at_level(logging.WARNING, logger="dmmp.runtime.linux"):
        on_moody("batched", play, address, clock=lambda: now[0])


def test_datagrams_too_large_are_no_reason_to_leave_offload_off() -> None:
    async def play(
        sender: DatagramSocket, moody: MoodySocket, narrow: DatagramSocket, _: DatagramSocket
    ) -> None:
        moody.refused[narrow.local.port] = errno.EMSGSIZE
        sender.send([Transmit(burst(1), 100, narrow.local)])
        assert sender.counters["too_big"] == 4
        del moody.refused[narrow.local.port]
        moody.calls.clear()
        sender.send([Transmit(burst(2), 100, narrow.local)])
        await take(narrow, 4)
        assert moody.calls == {"burst": 1}

    on_moody("batched", play)


def test_a_full_way_half_through_single_datagrams_keeps_the_rest() -> None:
    async def play(
        sender: DatagramSocket, moody: MoodySocket, child: DatagramSocket, _: DatagramSocket
    ) -> None:
        moody.refused_bursts[child.local.port] = errno.EIO
        original, count = moody.sendto, [0]

        def sendto(data: Any, address: Any) -> int:
            count[0] += 1
            if count[0] == 3:
                raise BlockingIOError(errno.EAGAIN, "full")
            return original(data, address)

        monkey = pytest.MonkeyPatch()
        monkey.setattr(moody, "sendto", sendto)
        sender.send([Transmit(burst(1), 100, child.local)])
        assert sender.queues()[child.local].waiting == 200
        arrived = await take(child, 4)
        assert b"".join(each for each, _ in arrived) == burst(1)
        monkey.undo()

    on_moody("batched", play)


@DATAPATHS
def test_timers_and_control_have_their_turn_in_a_flood_of_data(datapath: str) -> None:
    async def main() -> None:
        opened = await open_socket(ANY_PORT, datapath)
        data = bytes(1000)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as flood:
            for _ in range(40 * RECEIVE_BUDGET):
                flood.sendto(data, (str(LOOPBACK), opened.local.port))
            # Without privileges the receive buffer is too small for all of it.
            sent = 40 * RECEIVE_BUDGET - opened.overflowed()
            taken, taken_when_woken = 0, []
            loop = asyncio.get_running_loop()

            def tick() -> None:
                taken_when_woken.append(taken)
                # What this host has to say goes out at once.
                opened.send_control(b"control", Endpoint(LOOPBACK, flood.getsockname()[1]))
                loop.call_later(0.0, tick)

            loop.call_later(0.0, tick)
            while taken < sent:
                bursts = await receive(opened)
                assert sum(len(each.data) for each in bursts) <= 5 * MAXIMUM_DATAGRAM_BYTES
                taken += len(segments(bursts))
            steps = [after - before for before, after in itertools.pairwise(taken_when_woken)]
            assert steps and max(steps) <= 4 * RECEIVE_BUDGET
            flood.settimeout(5)
            assert flood.recv(100) == b"control"
        opened.close()

    asyncio.run(main())


BEHIND_A_SMALL_QUEUE = """
import asyncio, sys
from ipaddress import ip_address
from dmmp.forwarding.burst import Transmit
from dmmp.runtime.sockets import open_socket
from dmmp.types import Endpoint

async def main(datapath):
    opened = await open_socket(Endpoint(ip_address("10.9.0.1"), 0), datapath)
    to = Endpoint(ip_address("10.9.0.2"), 5004)
    for _ in range(60):
        opened.send([Transmit(bytes(1000), 1000, to)])
    async with asyncio.timeout(10):
        while opened.queues().get(to):
            await asyncio.sleep(0.01)
    assert not any(opened.counters.values()), opened.counters

asyncio.run(main(sys.argv[1]))
"""

SMALL_QUEUE = """
ip link add near type veth peer name far
ip addr add 10.9.0.1/24 dev near && ip link set near up && ip link set far up
ip neigh add 10.9.0.2 lladdr 02:00:00:00:00:01 dev near
tc qdisc add dev near root tbf rate 5mbit burst 3000 limit 10000
"""


@DATAPATHS
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root for a network of its own")
def test_a_full_queue_of_the_device_is_waited_for(datapath: str) -> None:
    program = shlex.join([sys.executable, "-c", BEHIND_A_SMALL_QUEUE, datapath])
    inside = f"set -e; {SMALL_QUEUE} {program}; sleep 0.2; tc -s qdisc show dev near"
    done = subprocess.run(["unshare", "-n", "sh", "-c", inside], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = re.search(r"Sent \d+ bytes (\d+) pkt \(dropped (\d+)", done.stdout)
    assert found is not None, done.stdout
    # Others are the kernel's own, of IPv6; each refusal counts as a drop there.
    assert int(found[1]) >= 60 and int(found[2]) > 0

"""A stream through a super node of another process: `python -m tests.bench.stream RP-PORT`.

Plays a source, which feeds but one host, and a member below the super node, with the real roles,
forwarder and socket; no TUN. When the member has its place a line "ready" is printed, and the
stream begins. For every line on standard input it prints a JSON object: what was sent since the
line before, what of it did not come, and the latency between the two programs, in microseconds.
"""

from __future__ import annotations

import asyncio
import json
import struct
import sys
import time
from collections.abc import Callable
from ipaddress import ip_address
from random import Random

from dmmp.forwarding.burst import Delivery
from dmmp.forwarding.forwarder import Forwarder
from dmmp.interest import interest
from dmmp.messages.header import HEADER_BYTES
from dmmp.parameters import Parameters
from dmmp.roles.end_host import EndHost
from dmmp.roles.standing import HostSetup
from dmmp.roles.view import View
from dmmp.runtime.driver import Driver
from dmmp.runtime.sockets import open_socket
from dmmp.tun.packets import wrap_udp
from dmmp.types import Endpoint, HostId, Instant, SessionId

SESSION = "bench"
GROUP = ip_address("239.1.2.3")
PROGRAM = Endpoint(ip_address("192.0.2.1"), 5004)
PAYLOAD_BYTES = 1316
RATE = 50e6
"""Bits of payload a second."""

TICK = 0.002
"""How often packets are sent, seconds."""

MOST_AT_ONCE = 48
"""Packets sent at once, ten milliseconds of the stream."""

PATIENCE = 20.0
LAST_ONES = 5.0
"""Seconds that packets sent before a line have to arrive, repair included."""

_STAMP = struct.Struct("!Qd")
_STAMP_AT = HEADER_BYTES + 28
"""Behind the DMMP header, and the IPv4 and UDP headers of the packet in it."""


class Programs:
    """The edge of the member: notes which packets came, and how long they were under way."""

    def __init__(self) -> None:
        self.heard = bytearray()
        self.waits: list[float] = []

    def start(self, driver: Driver) -> None:
        """Begin: the program joins the group."""
        driver.subscribe(interest(GROUP))

    def deliver(self, deliveries: list[Delivery]) -> None:
        """Take packets."""
        now = time.perf_counter()
        for data, stride, _ in deliveries:
            for at in range(0, len(data), stride):
                number, sent = _STAMP.unpack_from(data, at + _STAMP_AT)
                if number >= len(self.heard):
                    self.heard.extend(bytes(number + 1024))
                self.heard[number] = 1
                self.waits.append(now - sent)

    def registered(self, session: SessionId, host: HostId) -> None:
        """Learn an identity that nothing is made of here."""

    def wake(self, now: Instant) -> None:
        """Do nothing: there are no alarms."""

    def next_alarm(self) -> tuple[Instant, str] | None:
        """Tell that there are none."""
        return None

    def close(self) -> None:
        """Give nothing back."""


def view(driver: Driver) -> View:
    """Look at what a driver's host shows of itself."""
    assert isinstance(driver.host, EndHost)
    return driver.host.view(driver.clock())


async def host(kind: str, out_degree: int, point: Endpoint, programs: Programs | None) -> Driver:
    """Open a host on loopback, to be run."""
    instance = Random().getrandbits(64)
    setup = HostSetup(SESSION, (point,), out_degree, instance, kind)
    opened = await open_socket(Endpoint(ip_address("127.0.0.1"), 0))
    role = EndHost(kind, setup, Parameters(), Random(instance))
    return Driver(role, opened, Forwarder(Parameters()), programs)


async def until(holds: Callable[[], object], what: str) -> None:
    """Wait until something holds; raise `TimeoutError` after a while."""
    deadline = time.monotonic() + PATIENCE
    while not holds():
        if time.monotonic() > deadline:
            raise TimeoutError(what)
        await asyncio.sleep(0.005)


class Stream:
    """The source's program: packets at a steady rate, each with its number and when it was sent."""

    def __init__(self, source: Driver, programs: Programs) -> None:
        self.source = source
        self.programs = programs
        self.sent = 0
        self._told = 0
        self._filling = bytes(PAYLOAD_BYTES - _STAMP.size)

    async def play(self) -> None:
        """Send for ever."""
        before = time.perf_counter()
        due = 0.0
        while True:
            await asyncio.sleep(TICK)
            now = time.perf_counter()
            # A program that was held up does not make up for it by a burst of its own.
            due = min(due + (now - before) * RATE / 8 / PAYLOAD_BYTES, MOST_AT_ONCE)
            before = now
            packets = [self._packet(self.sent + n) for n in range(int(due))]
            due -= len(packets)
            self.sent += len(packets)
            if packets:
                self.source.originate(GROUP, PROGRAM.address, packets)

    def _packet(self, number: int) -> bytes:
        payload = _STAMP.pack(number, time.perf_counter()) + self._filling
        return wrap_udp(PROGRAM, Endpoint(GROUP, PROGRAM.port), payload)

    async def report(self) -> dict[str, float]:
        """Tell of the packets sent since the last report, when they had time to arrive."""
        first, end = self._told, self.sent
        self._told = end
        waits, self.programs.waits = sorted(self.programs.waits), []
        heard = self.programs.heard
        deadline = time.monotonic() + LAST_ONES
        while heard.count(1, first, end) < end - first and time.monotonic() < deadline:
            await asyncio.sleep(0.01)
        report: dict[str, float] = {
            "sent": end - first,
            "missing": end - first - heard.count(1, first, end),
        }
        for name, share in (("p50", 0.5), ("p99", 0.99), ("most", 1.0)):
            at = min(int(len(waits) * share), len(waits) - 1)
            report[name] = round(1e6 * waits[at], 1) if waits else 0.0
        return report


async def main(port: int) -> None:
    """Take the places, play, answer lines until there are no more."""
    point = Endpoint(ip_address("127.0.0.1"), port)
    source = await host("source", 1, point, None)
    running = [asyncio.ensure_future(source.run())]
    await until(lambda: view(source).mesh_children, "no super node came")
    programs = Programs()
    member = await host("member", 1, point, programs)
    running.append(asyncio.ensure_future(member.run()))
    await until(lambda: view(member).parent, "the member found no place")
    await until(lambda: view(source).subtree_groups, "nobody wants the stream")
    lines = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    print("ready", flush=True)
    stream = Stream(source, programs)
    running.append(asyncio.ensure_future(stream.play()))
    while await lines.readline():
        print(json.dumps(await stream.report()), flush=True)
    for task in running:
        task.cancel()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))

"""Somebody on the path who changes what passes: flips, cuts, lengthens, splices, doubles, reorders.

A UDP relay between one listening address and one target, both ways, for real programs; and
the changes themselves, for tests in process. Row 6 of the threat table.
"""

from __future__ import annotations

import asyncio
import sys
from argparse import ArgumentParser
from collections.abc import Callable, Sequence
from random import Random
from typing import cast

from dmmp.messages.header import HEADER_BYTES
from dmmp.types import Endpoint
from tests.attackers.wire import endpoint, parse_endpoint

Change = Callable[[Random, bytes, Sequence[bytes]], bytes]
"""Changes a datagram; the last are others that passed before."""


def flip(dice: Random, data: bytes, others: Sequence[bytes]) -> bytes:
    """Flip one bit anywhere."""
    at = dice.randrange(8 * len(data))
    return data[: at >> 3] + bytes((data[at >> 3] ^ 1 << (at & 7),)) + data[(at >> 3) + 1 :]


def flip_header(dice: Random, data: bytes, others: Sequence[bytes]) -> bytes:
    """Flip one bit of the header."""
    head = flip(dice, data[:HEADER_BYTES], others)
    return head + data[HEADER_BYTES:]


def number(dice: Random, data: bytes, others: Sequence[bytes]) -> bytes:
    """Give it another sequence number, mostly a near one."""
    step = dice.choice((1, 2, 63, 64, 65, 5000, dice.getrandbits(32)))
    changed = int.from_bytes(data[12:16]) + step & 0xFFFFFFFF
    return data[:12] + changed.to_bytes(4) + data[16:]


def noise(dice: Random, data: bytes, others: Sequence[bytes]) -> bytes:
    """Write noise over some of it."""
    begin = dice.randrange(len(data))
    end = min(len(data), begin + dice.randrange(1, 33))
    return data[:begin] + dice.randbytes(end - begin) + data[end:]


def _fit(data: bytes) -> bytes:
    size = max(0, len(data) - HEADER_BYTES)
    return data[:20] + size.to_bytes(4) + data[24:]


def cut(dice: Random, data: bytes, others: Sequence[bytes]) -> bytes:
    """Cut it, and mostly have the header say so."""
    short = data[: dice.randrange(len(data))]
    return short if dice.random() < 0.2 or len(short) < HEADER_BYTES else _fit(short)


def lengthen(dice: Random, data: bytes, others: Sequence[bytes]) -> bytes:
    """Put something behind it."""
    return _fit(data + dice.randbytes(dice.randrange(1, 40)))


def splice(dice: Random, data: bytes, others: Sequence[bytes]) -> bytes:
    """Put the beginning of one and the end of another together."""
    if not others:
        return flip(dice, data, others)
    other = dice.choice(others)
    at = dice.choice((HEADER_BYTES, dice.randrange(len(data))))
    return _fit(data[:at] + other[at:])


def head_of_another(dice: Random, data: bytes, others: Sequence[bytes]) -> bytes:
    """Give it another's header."""
    if not others:
        return flip(dice, data, others)
    return _fit(dice.choice(others)[:HEADER_BYTES] + data[HEADER_BYTES:])


CHANGES: tuple[Change, ...] = (
    flip,
    flip,
    flip_header,
    number,
    noise,
    cut,
    lengthen,
    splice,
    head_of_another,
)

MOST_OTHERS = 256


class Mutator:
    """Changes a share of what passes; the rest it lets pass, some of it twice or late."""

    def __init__(self, dice: Random, share: float = 0.5) -> None:
        self.dice = dice
        self.share = share
        self.changed = self.passed = 0
        self._others: list[bytes] = []

    def change(self, data: bytes) -> bytes:
        """Change one datagram, so that it differs."""
        while True:
            made = self.dice.choice(CHANGES)(self.dice, data, self._others)
            if made != data:
                return made

    def __call__(self, data: bytes) -> list[bytes]:
        """Give what goes on in the place of a datagram, in this order."""
        others = self._others
        if data:
            if len(others) < MOST_OTHERS:
                others.append(data)
            else:
                others[self.dice.randrange(MOST_OTHERS)] = data
        if data and self.dice.random() < self.share:
            self.changed += 1
            return [self.change(data)]
        self.passed += 1
        return [data] if self.dice.random() < 0.9 else [data, data]


class Proxy(asyncio.DatagramProtocol):
    """Relays between whoever speaks to it and one target, through `alter`, which may drop."""

    def __init__(self, target: Endpoint, alter: Callable[[bytes, bool], Sequence[bytes]]) -> None:
        """`alter` gets a datagram, and whether it goes to the target."""
        self.target = target
        self.alter = alter
        self.counts = {True: 0, False: 0}
        self._ways: dict[tuple[str, int], _Back] = {}
        self.transport: asyncio.DatagramTransport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self.transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, address: tuple[str, int]) -> None:
        """Send on what a client has sent."""
        way = self._ways.get(address)
        if way is None:
            way = self._ways[address] = _Back(self, address)
            way.opening = asyncio.ensure_future(way.open())
        self.counts[True] += 1
        for each in self.alter(data, True):
            way.send(each)

    def back(self, data: bytes, address: tuple[str, int]) -> None:
        """Send on what the target has sent."""
        self.counts[False] += 1
        for each in self.alter(data, False):
            self.transport.sendto(each, address)

    def close(self) -> None:
        """Close all sockets."""
        self.transport.close()
        for way in self._ways.values():
            way.close()


class _Back(asyncio.DatagramProtocol):
    """One client's socket towards the target."""

    def __init__(self, proxy: Proxy, client: tuple[str, int]) -> None:
        self._proxy = proxy
        self._client = client
        self._waiting: list[bytes] = []
        self._transport: asyncio.DatagramTransport | None = None
        self.opening: asyncio.Future[None]

    async def open(self) -> None:
        target = self._proxy.target
        remote = (str(target.address), target.port)
        loop = asyncio.get_running_loop()
        self._transport, _ = await loop.create_datagram_endpoint(lambda: self, remote_addr=remote)
        for data in self._waiting:
            self._transport.sendto(data)
        self._waiting.clear()

    def send(self, data: bytes) -> None:
        if self._transport is None:
            self._waiting.append(data)
        else:
            self._transport.sendto(data)

    def datagram_received(self, data: bytes, address: tuple[str, int]) -> None:
        self._proxy.back(data, self._client)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()


async def open_proxy(
    listen: Endpoint, target: Endpoint, alter: Callable[[bytes, bool], Sequence[bytes]]
) -> tuple[Proxy, Endpoint]:
    """Open one; give it and where it listens."""
    loop = asyncio.get_running_loop()
    local = (str(listen.address), listen.port)
    transport, proxy = await loop.create_datagram_endpoint(
        lambda: Proxy(target, alter), local_addr=local
    )
    address, port = transport.get_extra_info("sockname")[:2]
    return proxy, endpoint(address, port)


async def serve(listen: Endpoint, target: Endpoint, seconds: float, share: float) -> None:
    """Run as a program."""
    mutator = Mutator(Random(1), share)
    proxy, where = await open_proxy(listen, target, lambda data, up: mutator(data))
    sys.stdout.write(f"listening on {where}\n")
    sys.stdout.flush()
    await asyncio.sleep(seconds)
    proxy.close()
    sys.stdout.write(f"changed {mutator.changed}, let pass {mutator.passed}\n")


def main() -> int:
    """Read the command line."""
    arguments = ArgumentParser(description=__doc__)
    arguments.add_argument("listen", type=parse_endpoint, metavar="ADDRESS:PORT")
    arguments.add_argument("target", type=parse_endpoint, metavar="ADDRESS:PORT")
    arguments.add_argument("--share", type=float, default=0.5, help="of datagrams that are changed")
    arguments.add_argument("--seconds", type=float, default=3600.0)
    options = arguments.parse_args()
    asyncio.run(serve(options.listen, options.target, options.seconds, options.share))
    return 0


if __name__ == "__main__":
    sys.exit(main())

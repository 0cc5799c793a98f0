"""Datagrams on the wire under any source address, many in one system call; and packets read there.

Raw IPv4 sockets (raw(7)), so it needs root. The kernel fills in nothing but the IP checksum; the
UDP checksum is left out, which RFC 768 allows.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import socket
import struct
import sys
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from ipaddress import IPv4Address, IPv4Network, ip_address
from random import Random
from typing import NamedTuple

from dmmp.types import DEFAULT_PORT, Endpoint

VOLLEY = 128
"""Datagrams in one system call."""

PACE_SECONDS = 0.005
"""A rate is kept over so short a time: no queue on the way sees more of a burst."""

_IP = struct.Struct("!BBHHHBBH4s4s")
_UDP = struct.Struct("!HHHH")
_HEADERS = _IP.size + _UDP.size
_SOCKADDR_IN = struct.Struct("=HH4s8x")


class Sent(NamedTuple):
    """What a flood came to."""

    packets: int
    octets: int
    seconds: float

    @property
    def rate(self) -> float:
        """Datagrams a second."""
        return self.packets / self.seconds if self.seconds else 0.0


def packet(payload: bytes, source: Endpoint, to: Endpoint) -> bytes:
    """Make an IPv4 packet with a UDP datagram from whatever address."""
    size = _HEADERS + len(payload)
    ip = _IP.pack(0x45, 0, size, 0, 0, 64, 17, 0, source.address.packed, to.address.packed)
    return ip + _UDP.pack(source.port, to.port, size - _IP.size, 0) + payload


class _Vector(ctypes.Structure):
    _fields_ = (("base", ctypes.c_char_p), ("length", ctypes.c_size_t))


class _Head(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_char_p),
        ("name_length", ctypes.c_uint),
        ("vector", ctypes.POINTER(_Vector)),
        ("vector_length", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("control_length", ctypes.c_size_t),
        ("flags", ctypes.c_int),
    )


class _Message(ctypes.Structure):
    # struct mmsghdr of sendmmsg(2).
    _fields_ = (("head", _Head), ("sent", ctypes.c_uint))


class Gun:
    """A raw socket that sends many packets at once; a context manager."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 << 20)
        self._vectors = (_Vector * VOLLEY)()
        self._messages = (_Message * VOLLEY)()
        self._send = ctypes.CDLL(None, use_errno=True).sendmmsg
        for number in range(VOLLEY):
            head = self._messages[number].head
            head.vector, head.vector_length = ctypes.pointer(self._vectors[number]), 1

    def __enter__(self) -> Gun:
        return self

    def __exit__(self, *error: object) -> None:
        self._socket.close()

    def fire(self, packets: Sequence[bytes]) -> int:
        """Send up to `VOLLEY` packets, each to the address in it; return how many went out."""
        names = [_SOCKADDR_IN.pack(socket.AF_INET, 0, each[16:20]) for each in packets]
        for number, (name, data) in enumerate(zip(names, packets, strict=True)):
            head, vector = self._messages[number].head, self._vectors[number]
            head.name, head.name_length = name, len(name)
            vector.base, vector.length = data, len(data)
        count = int(self._send(self._socket.fileno(), self._messages, len(packets), 0))
        if count >= 0:
            return count
        code = ctypes.get_errno()
        if code in (11, 105, 1):
            # EAGAIN, ENOBUFS; EPERM where a filter drops it: as good as lost.
            return 0
        raise OSError(code, os.strerror(code))


def flood(
    packets: Iterable[bytes], rate: float | None = None, seconds: float | None = None
) -> Sent:
    """Send packets, as fast as it goes or at a rate a second, until they or the time run out.

    `KeyboardInterrupt` ends it sooner.
    """
    sent = octets = 0
    begun = time.monotonic()
    with Gun() as gun, suppress(KeyboardInterrupt):
        for volley in volleys(packets, VOLLEY if rate is None else pace(rate)):
            gone = gun.fire(volley)
            sent += gone
            octets += sum(map(len, volley[:gone]))
            elapsed = time.monotonic() - begun
            if seconds is not None and elapsed >= seconds:
                break
            if rate is not None and (ahead := sent / rate - elapsed) > 0:
                time.sleep(ahead)
    return Sent(sent, octets, time.monotonic() - begun)


def pace(rate: float) -> int:
    """Say how many to send at once for a rate."""
    return max(1, min(VOLLEY, int(rate * PACE_SECONDS)))


def volleys(packets: Iterable[bytes], size: int) -> Iterator[list[bytes]]:
    """Take packets so many at a time."""
    volley: list[bytes] = []
    for each in packets:
        volley.append(each)
        if len(volley) == size:
            yield volley
            volley = []
    if volley:
        yield volley


def parse_endpoint(text: str) -> Endpoint:
    """Read `ADDRESS` or `ADDRESS:PORT`; only IPv4 here."""
    address, _, port = text.partition(":")
    return Endpoint(IPv4Address(address), int(port) if port else DEFAULT_PORT)


class Sources:
    """Where datagrams pretend to come from: one endpoint, several, or any of a network."""

    def __init__(self, text: str, dice: Random) -> None:
        self._dice = dice
        self._network: IPv4Network | None = None
        self._endpoints: list[Endpoint] = []
        if "/" in text:
            self._network = IPv4Network(text)
        else:
            self._endpoints = [parse_endpoint(each) for each in text.split(",")]

    def draw(self) -> Endpoint:
        """Take one."""
        if self._network is None:
            return self._endpoints[self._dice.randrange(len(self._endpoints))]
        number = self._dice.randrange(self._network.num_addresses)
        return Endpoint(self._network[number], self._dice.randrange(1024, 65536))


def own_address(to: Endpoint) -> str:
    """Find the address that this host would send from."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        asking.connect((str(to.address), to.port))
        return str(asking.getsockname()[0])


def parser(description: str | None) -> ArgumentParser:
    """Begin a command line: where to, under which address, how many, how fast, by which dice."""
    made = ArgumentParser(description=description)
    made.add_argument("targets", nargs="+", type=parse_endpoint, metavar="ADDRESS[:PORT]")
    made.add_argument(
        "--sources",
        help="ADDRESS:PORT[,…] or NETWORK/BITS that datagrams pretend to come from; else this host",
    )
    made.add_argument("--count", type=int, default=1_000_000, help="datagrams in all")
    made.add_argument("--seconds", type=float, help="end after so long")
    made.add_argument("--rate", type=float, help="datagrams a second; else as many as it can")
    made.add_argument("--seed", type=int, default=1)
    return made


def run(options: Namespace, make: Callable[[Random], Iterator[bytes]]) -> int:
    """Send what `make` gives to the targets in turn, and print what it came to; SIGTERM ends it."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    dice = Random(options.seed)
    targets: list[Endpoint] = options.targets
    sources = Sources(options.sources or own_address(targets[0]), dice)
    payloads = make(dice)
    packets = (
        packet(next(payloads), sources.draw(), targets[number % len(targets)])
        for number in range(options.count)
    )
    report(flood(packets, options.rate, options.seconds))
    return 0


def report(sent: Sent, **more: object) -> None:
    """Print figures, one line of JSON."""
    figures = {"packets": sent.packets, "octets": sent.octets, "seconds": round(sent.seconds, 3)}
    sys.stdout.write(json.dumps(figures | {"rate": round(sent.rate)} | more) + "\n")


def endpoint(address: str, port: int = DEFAULT_PORT) -> Endpoint:
    """Make an endpoint of text."""
    return Endpoint(ip_address(address), port)

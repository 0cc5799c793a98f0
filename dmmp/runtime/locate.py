"""Where the rendezvous points are: literal addresses, names by DNS (Decision 23).

`HOST:PORT` is looked up as A and AAAA. `HOST` without a port is first asked for as the SRV record
`_dmmp._udp.<session>.<HOST>`, then as A and AAAA with the usual port. Only addresses come out; who
answers there is for the protocol to find out.
"""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Awaitable, Callable, Sequence
from ipaddress import ip_address
from typing import NamedTuple

from dmmp.errors import UsageError
from dmmp.types import DEFAULT_PORT, Endpoint

RETRY = 5.0
"""Seconds between two tries to resolve a name."""

LOOKUP = 4.0
"""Seconds one question to the DNS may take."""

ADDRESSES_LIMIT = 8
"""Rendezvous points of one session, as many as a Subscription Response carries (Decision 23)."""

_LABEL = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)")
_SERVICE = "_dmmp._udp"


class Place(NamedTuple):
    """A host as the user wrote it; `port` is None when none was given."""

    host: str
    port: int | None

    def __str__(self) -> str:
        return self.host if self.port is None else f"{self.host}:{self.port}"


class NotFound(Exception):
    """A name has no address now; it may have one later."""


Lookup = Callable[[str, int], Awaitable[Sequence[Endpoint]]]
Services = Callable[[str], Awaitable[Sequence[tuple[str, int]]]]


def parse_place(text: str) -> Place:
    """Read `HOST[:PORT]` or `[V6]:PORT`; raise `UsageError` for what can be neither."""
    host, port = _split(text.strip())
    if port is not None and not 0 < port < 65536:
        raise UsageError(f"{text!r}: a port is 1 to 65535")
    try:
        ip_address(host)
    except ValueError:
        labels = host.removesuffix(".").split(".")
        is_name = len(host) <= 253 and all(_LABEL.fullmatch(label) for label in labels)
        if not is_name or labels[-1].isdigit():
            raise UsageError(
                f"{text!r} is neither an address nor a name; write HOST, HOST:PORT or [IPV6]:PORT"
            ) from None
    return Place(host, port)


def _split(text: str) -> tuple[str, int | None]:
    if bracketed := re.fullmatch(r"\[([^\]]*)\](?::(\d{1,5}))?", text):
        return bracketed[1], int(bracketed[2]) if bracketed[2] else None
    if text.count(":") > 1:
        return text, None
    host, colon, port = text.partition(":")
    if colon and not re.fullmatch(r"\d{1,5}", port):
        raise UsageError(f"{text!r}: {port!r} is no port; write HOST:PORT, for example HOST:47700")
    return host, int(port) if colon else None


def parse_endpoint(text: str, default_port: int = DEFAULT_PORT) -> Endpoint:
    """Read `ADDRESS[:PORT]`, `[V6]:PORT` or `:PORT`; no names; port 0 is "any"."""
    host, port = _split(text.strip())
    try:
        address = ip_address(host or "::")
    except ValueError:
        raise UsageError(
            f"{text!r} is no address; write for example 0.0.0.0:{DEFAULT_PORT} "
            f"or [::]:{DEFAULT_PORT}"
        ) from None
    if port is not None and port > 65535:
        raise UsageError(f"{text!r}: a port is 0 to 65535")
    if address.is_multicast:
        raise UsageError(f"{text!r} is a multicast address; DMMP itself is unicast")
    return Endpoint(address, default_port if port is None else port)


async def resolve(place: Place, session: str, lookup: Lookup, services: Services) -> list[Endpoint]:
    """Give the addresses of a place; raise `NotFound` if it has none now."""
    try:
        return [Endpoint(ip_address(place.host), place.port or DEFAULT_PORT)]
    except ValueError:
        pass
    targets: Sequence[tuple[str, int]] = ()
    if place.port is None and _LABEL.fullmatch(session):
        targets = await services(f"{_SERVICE}.{session}.{place.host}")
    found: dict[Endpoint, None] = {}
    for host, port in targets or ((place.host, place.port or DEFAULT_PORT),):
        found.update(dict.fromkeys(await lookup(host, port)))
    if not found:
        raise NotFound(f"{place.host} has no address")
    return list(found)[:ADDRESSES_LIMIT]


async def look_up(host: str, port: int) -> Sequence[Endpoint]:
    """Ask the system's resolver for A and AAAA; none is an empty list."""
    loop = asyncio.get_running_loop()
    try:
        found = await asyncio.wait_for(loop.getaddrinfo(host, port, type=socket.SOCK_DGRAM), LOOKUP)
    except (OSError, UnicodeError, TimeoutError):
        return []
    return [Endpoint(ip_address(str(entry[4][0]).partition("%")[0]), port) for entry in found]


async def look_up_services(name: str) -> Sequence[tuple[str, int]]:
    """Ask the DNS for SRV records, the most preferred first (RFC 2782); none is an empty list."""
    # Imported here because it takes longer than everything else a member imports together.
    import dns.asyncresolver
    import dns.exception

    try:
        answer = await dns.asyncresolver.resolve(name, "SRV", lifetime=LOOKUP)
    except (dns.exception.DNSException, OSError):
        return []
    records = sorted(answer, key=lambda record: (record.priority, -record.weight))
    return [(str(record.target).rstrip("."), record.port) for record in records]


async def locate(
    places: Sequence[Place],
    session: str,
    waiting: Callable[[str], None],
    lookup: Lookup = look_up,
    services: Services = look_up_services,
    pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> tuple[Endpoint, ...]:
    """Give the addresses of all places that have some; try again, saying so, until one has."""
    while True:
        found: dict[Endpoint, None] = {}
        missing: list[str] = []
        for place in places:
            try:
                found.update(dict.fromkeys(await resolve(place, session, lookup, services)))
            except NotFound as error:
                missing.append(str(error))
        if found:
            return tuple(found)[:ADDRESSES_LIMIT]
        waiting(
            f"rendezvous point not found: {', '.join(missing)}; "
            f"trying again every {RETRY:.0f} s (check --rp and the DNS)"
        )
        await pause(RETRY)

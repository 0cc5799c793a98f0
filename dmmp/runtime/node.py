"""A whole node: puts host, forwarder, socket, edge, driver and control socket together and runs it.

What can be wrong with the user's wishes shows here, as `UsageError`, before anything is announced.
How a node behaves is in the roles; how it shows itself, in `observe`.
"""

from __future__ import annotations

import asyncio
import gc
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from dmmp.errors import UsageError
from dmmp.events import Event, PeerViolation, Refused, Registered, Waiting
from dmmp.forwarding.forwarder import Forwarder
from dmmp.messages.header import HEADER_BYTES
from dmmp.parameters import Parameters
from dmmp.roles.end_host import EndHost
from dmmp.roles.keyed import KeyedHost
from dmmp.roles.rendezvous_point import RendezvousPoint
from dmmp.roles.standing import HostSetup
from dmmp.runtime import observe
from dmmp.runtime.control import ControlServer, claim
from dmmp.runtime.driver import Driver, Edge
from dmmp.runtime.gateway import Gateway
from dmmp.runtime.groups import Group
from dmmp.runtime.interface import Interface
from dmmp.runtime.locate import Place, locate
from dmmp.runtime.renewing import renewing
from dmmp.runtime.securing import (
    NONE,
    UNSECURED,
    SecurityOptions,
    locate_points,
    security_of,
)
from dmmp.runtime.sockets import DatagramSocket, open_socket
from dmmp.runtime.stopping import Stop
from dmmp.runtime.traffic import security_document, traffic_document
from dmmp.runtime.tun_addresses import TunAddresses
from dmmp.security.data_guard import DataGuard
from dmmp.security.data_keys import TAG_BYTES
from dmmp.security.gate import Gate
from dmmp.security.setup import Security
from dmmp.tun.device import DEFAULT_MTU, Tun
from dmmp.types import Endpoint

FIRST_REMINDER = 3.0
"""Seconds after which a node says again what it waits for; each time twice as long."""

LONGEST_REMINDER = 15.0

SESSION_NAME_LIMIT_BYTES = 64
"""Longest session name that a Subscription Request carries."""


@dataclass(frozen=True, slots=True)
class NodeOptions:
    """What the user wants of a node, checked one by one; `kind` as `EndHost` has it.

    `ordered` is how long packets may wait to be delivered in order, in seconds; `randomized` the
    share of packets that relatives get besides (Decision 19); `rate_limit` in bit/s;
    `paces` spreads bursts to receivers that lose packets (Decision 63).
    """

    kind: str
    session: str
    places: tuple[Place, ...]
    out_degree: int
    listen: Endpoint | None = None
    name: str | None = None
    tun: str | None = None
    tun_addresses: TunAddresses | None = None
    routes: bool = True
    mtu: int = DEFAULT_MTU
    interface: str | None = None
    groups: tuple[Group, ...] = ()
    datapath: str = "auto"
    ordered: float | None = None
    randomized: float = 0.0
    rate_limit: float | None = None
    paces: bool = False
    security: SecurityOptions = UNSECURED


@dataclass(frozen=True, slots=True)
class RendezvousOptions:
    """What the user wants of a rendezvous point."""

    sessions: tuple[str, ...]
    listen: Endpoint | None = None
    name: str | None = None
    index: int = 0
    security: SecurityOptions = UNSECURED


def check_session(name: str) -> str:
    """Give the name back if a session can be called so, or raise `UsageError`."""
    if not name or len(name.encode()) > SESSION_NAME_LIMIT_BYTES or not name.isprintable():
        raise UsageError(
            f"--session {name!r}: 1 to {SESSION_NAME_LIMIT_BYTES} bytes of printable text"
        )
    return name


def run(main: Any) -> int:
    """Run a node's coroutine, on uvloop if it is installed."""
    try:
        import uvloop
    except ImportError:
        return int(asyncio.run(main))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return int(runner.run(main))


async def run_host(options: NodeOptions, lines: observe.EventLines) -> int:
    """Run a source, member or super node until it is stopped; give the exit code."""
    started = time.monotonic()
    name, listening = claim(options.name, options.kind)
    control = ControlServer(listening, lambda: {"name": name, "kind": options.kind})
    edge: Edge | None = None
    socket: DatagramSocket | None = None
    stop = Stop()
    try:
        edge = open_edge(options)
        socket = await open_socket(options.listen, options.datapath, options.rate_limit)
        say_unsecured(options.security, lines)
        points = await stop.unless_stopped(_points(options, lines))
        if points is None:
            return 0
        security = security_of(options.security, options.session, points)
        host, gate, forwarder = _parts(options, name, tuple(points), security)
        size = options.mtu + HEADER_BYTES + (0 if security is None else TAG_BYTES)
        driver = Driver(host, socket, forwarder, edge, datagram_bytes=size, gate=gate)
        driver.paces = options.paces
        control = ControlServer(
            listening, lambda: host_document(options, name, tuple(points), started, host, driver)
        )
        news = News(lines, tuple(points), lambda: _ready(options, name, driver))
        driver.on_event(news)
        stop.driver = driver
        await control.start()
        edge = socket = None
        # What is here now stays: the collector need not look at it again and again.
        gc.freeze()
        with news, renewing(options.security, security and security.party, driver, lines):
            await driver.run()
    finally:
        control.close()
        for opened in (edge, socket):
            if opened is not None:
                opened.close()
    if driver.refused is not None:
        raise UsageError(f"{driver.refused}; check --session and --rp")
    return 0


async def _points(options: NodeOptions, lines: observe.EventLines) -> dict[Endpoint, bytes]:
    """Find the rendezvous points, and their keys if a session file says them."""

    def say(reason: str) -> None:
        lines.say(f"waiting: {reason}")

    file = options.security.session_file
    if file is not None:
        return await locate_points(file, say)
    return dict.fromkeys(await locate(options.places, options.session, say), b"")


def say_unsecured(options: SecurityOptions, lines: observe.EventLines) -> None:
    """Say loudly that nothing is secured."""
    if options.mode == NONE:
        lines.say(
            "WARNING: --security none: nothing is encrypted, and anybody who reaches this host can "
            "take part, read and forge",
            "Unsecured",
        )


def _parts(
    options: NodeOptions, name: str, points: tuple[Endpoint, ...], security: Security | None
) -> tuple[EndHost | KeyedHost, Gate | None, Forwarder]:
    """Make host, gate and forwarder of a node."""
    host = _host(options, name, points, security)
    if security is None:
        return host, None, _forwarder(options, None)
    is_source = options.kind == "source"
    gate = security.gate(time.monotonic(), Parameters(), central=is_source)
    delivers = options.kind != "super-node"
    keyed = KeyedHost(
        host,
        security.node_of(gate),
        security.random,
        random.Random(random.SystemRandom().getrandbits(64)),
        security.wall,
        is_source=is_source,
        takes_keys=delivers or security.shared,
    )
    return keyed, gate, _forwarder(options, security.guard(delivers=delivers))


def _host(
    options: NodeOptions, name: str, points: tuple[Endpoint, ...], security: Security | None
) -> EndHost:
    seed = random.SystemRandom()
    out_degree = options.out_degree
    if security is not None:
        out_degree = min(out_degree, security.out_degree)
    setup = HostSetup(
        session_name=options.session,
        rendezvous_points=points,
        out_degree=out_degree,
        instance=seed.getrandbits(64),
        name=name,
        relay_only=options.kind == "super-node",
        ordinary=security is not None and security.is_ordinary,
    )
    return EndHost(options.kind, setup, Parameters(), random.Random(seed.getrandbits(64)))


def _forwarder(options: NodeOptions, guard: DataGuard | None) -> Forwarder:
    parameters = replace(Parameters(), random_forward=options.randomized)
    dice = random.Random(random.SystemRandom().getrandbits(64))
    return Forwarder(parameters, ordered=options.ordered, rng=dice, guard=guard)


class News:
    """Says what happens, when the host is ready, and again and again what it waits for."""

    def __init__(
        self,
        lines: observe.EventLines,
        points: tuple[Endpoint, ...],
        ready: Callable[[], str],
    ) -> None:
        where = ", ".join(str(point) for point in points)
        self._lines = lines
        self._ready: Callable[[], str] | None = ready
        self._missing = f"no answer yet from the rendezvous point at {where}"
        self._refusal: Refused | None = None
        self._pause = FIRST_REMINDER
        self._timer: asyncio.TimerHandle | None = None

    def __enter__(self) -> None:
        self._remind_later()

    def __exit__(self, *error: object) -> None:
        self._stop()

    def __call__(self, event: Event) -> None:
        """Take an event of the host; a refusal that is only repeated is no news."""
        if isinstance(event, PeerViolation):
            self._lines(event)
            return
        if isinstance(event, Refused) and event == self._refusal:
            return
        self._refusal = event if isinstance(event, Refused) else None
        self._lines(event)
        self._stop()
        if isinstance(event, Waiting) or (isinstance(event, Refused) and self._ready is not None):
            self._missing, self._pause = event.reason, FIRST_REMINDER
            self._remind_later()
        if isinstance(event, Registered) and self._ready is not None:
            self._lines.say(self._ready(), "Ready")
            self._ready = None

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _remind_later(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(self._pause, self._remind)
        self._pause = min(2 * self._pause, LONGEST_REMINDER)

    def _remind(self) -> None:
        self._lines.say(f"still waiting: {self._missing}", "Waiting", reason=self._missing)
        self._remind_later()


def _ready(options: NodeOptions, name: str, driver: Driver) -> str:
    where = ""
    if isinstance(driver.edge, Gateway):
        addresses = ", ".join(str(each) for each in driver.edge.addresses or () if each)
        where = f", TUN {driver.edge.device.name} ({addresses})"
    elif isinstance(driver.edge, Interface):
        groups = ", ".join(str(group) for group in options.groups)
        where = f", {options.interface} for {groups}"
    return (
        f"ready: {options.kind} {name!r} of session {options.session!r} "
        f"on {driver.socket.local}{where}"
    )


def open_edge(options: NodeOptions) -> Edge | None:
    """Open where the host's programs are; None for a host that has none."""
    if options.kind == "super-node":
        return None
    is_source = options.kind == "source"
    if options.interface is not None:
        return Interface(options.interface, options.groups, reads=is_source)
    # A source only reads its device, and what lets packets be written jointly slows reading.
    batched = options.datapath != "portable" and not is_source
    device = Tun.open(options.tun or "dmmp0", options.mtu, batched)
    try:
        return Gateway(device, options.tun_addresses, options.routes, is_source, time.monotonic)
    except UsageError:
        device.close()
        raise


def host_document(
    options: NodeOptions,
    name: str,
    points: tuple[Endpoint, ...],
    started: float,
    host: EndHost | KeyedHost,
    driver: Driver,
) -> observe.Document:
    """Make the document of `dmmp show` for a host."""
    now = driver.clock()
    document = observe.base_document(name, options.kind, driver.socket.local, started, now)
    document["rendezvous_points"] = [str(point) for point in points]
    document |= observe.view_document(host.view(now))
    document |= traffic_document(driver)
    document["security"] = security_document(options.security, driver.gate)
    return document


async def run_rendezvous_point(options: RendezvousOptions, lines: observe.EventLines) -> int:
    """Run a rendezvous point until it is stopped; give the exit code."""
    started = time.monotonic()
    name, listening = claim(options.name, "rp")
    control = ControlServer(listening, lambda: {"name": name, "kind": "rp"})
    stop = Stop()
    try:
        seed = random.SystemRandom().getrandbits(64)
        # First what may refuse its options: an open socket would have to be closed again.
        host = RendezvousPoint(
            options.sessions, Parameters(), random.Random(seed), index=options.index
        )
        socket = await open_socket(options.listen, "portable")
        say_unsecured(options.security, lines)
        security = security_of(options.security, options.sessions[0], {})
        gate = None
        if security is not None:
            gate = security.gate(time.monotonic(), Parameters(), central=True)
        driver = Driver(host, socket, gate=gate)
        driver.on_event(lines)
        control = ControlServer(
            listening, lambda: rendezvous_document(name, started, host, driver, options.security)
        )
        stop.driver = driver
        await control.start()
        sessions = ", ".join(repr(session) for session in options.sessions)
        lines.say(f"ready: rendezvous point {name!r} of {sessions} on {socket.local}", "Ready")
        with renewing(options.security, security and security.party, driver, lines):
            await driver.run()
    finally:
        control.close()
    return 0


def rendezvous_document(
    name: str, started: float, host: RendezvousPoint, driver: Driver, options: SecurityOptions
) -> observe.Document:
    """Make the document of `dmmp show` for a rendezvous point."""
    now = driver.clock()
    document = observe.base_document(name, "rp", driver.socket.local, started, now)
    sessions = [observe.view_document(view) for view in host.views(now)]
    # A rendezvous point has no place in a tree; the fields every node has say so.
    document |= {"role": "rendezvous point", "node_id": None, "parent": None, "depth": None}
    document |= {"session": sessions[0]["session"] if sessions else None, "children": []}
    document |= {"super_node": None, "groups": [], "backup": [], "sessions": sessions}
    document |= traffic_document(driver)
    document["security"] = security_document(options, driver.gate)
    return document

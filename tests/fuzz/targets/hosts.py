"""What the four targets of roles share: a host fed messages of others, its own wishes, and time.

An input is a row of steps. A message goes over the wire form, so that only what can be sent comes;
answers bear the sequence number of what the host has asked, from whom it asked, or nearly so.
Nothing is raised, actions can be encoded, tables keep their bounds, alarms come to an end.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from random import Random

from dmmp.actions import Action, Send
from dmmp.interest import interest, no_interest
from dmmp.messages import REGISTRY, Message, Rekey, decode, encode
from dmmp.messages.local import (
    Carries,
    Credited,
    Forged,
    KeyFits,
    KeyNews,
    KeyWanted,
    Silence,
    Start,
    Stop,
    Subscribe,
    TooLarge,
    Unreachable,
)
from dmmp.parameters import Parameters
from dmmp.roles.end_host import EndHost
from dmmp.roles.keyed import KeyedHost
from dmmp.roles.rendezvous_point import RendezvousPoint
from dmmp.roles.role import Host, Input
from dmmp.roles.standing import HostSetup
from dmmp.roles.view import View
from dmmp.types import SELF, Endpoint, HostId
from tests.fuzz.drawn import GROUPS, World, message
from tests.fuzz.feed import Feed
from tests.fuzz.target import Target
from tests.roles.stage import RP, SESSION, at

WORLD = World(tuple(at(number) for number in range(12)), SESSION)
PARAMETERS = Parameters(
    children=3,
    groups=3,
    guests=2,
    hosts=6,
    maximum_outstanding=8,
    super_nodes_most=3,
    promotion_uptime=1.0,
    promotion_look=2.0,
)
"""Bounds that a story of some twenty steps can reach."""

LIMITS = {
    "children": PARAMETERS.children,
    "reservations": PARAMETERS.children,
    "heirs": PARAMETERS.children,
    "applicants": PARAMETERS.children,
    "paths": PARAMETERS.children,
    "guests": PARAMETERS.guests,
    "requests": PARAMETERS.maximum_outstanding,
    # One retransmission each, a few of the role's own.
    "alarms": PARAMETERS.maximum_outstanding + 64,
    "groups": PARAMETERS.groups,
    "mesh": PARAMETERS.super_nodes_most + 1,
    "former": PARAMETERS.super_nodes_most,
    "invited": PARAMETERS.super_nodes_most,
    "candidates": 1024,
    "hosts": PARAMETERS.hosts,
    "super_nodes": PARAMETERS.super_nodes_most,
}
"""How many entries each table of a view may have; the names are those of `View.tables`."""

CLASSES = tuple(REGISTRY[option] for option in sorted(REGISTRY))
WAITS = (0.0, 0.0, 0.01, 0.05, 0.2, 0.5, 2.0, 5.0, 16.0, 31.0)
MOST_STEPS = 16
MOST_ASKED = 24
MOST_WAKES = 10

Asked = deque[tuple[Message, Endpoint]]


def end_host(kind: str, out_degree: int, relay_only: bool = False) -> EndHost:
    """Make a host that has not started."""
    setup = HostSetup("demo", (RP,), out_degree, instance=7, relay_only=relay_only)
    return EndHost(kind, setup, PARAMETERS, Random(1))


def keyed(host: EndHost, is_source: bool = False) -> KeyedHost:
    """Put the group's keys around a host that has not started."""

    def node_of(endpoint: Endpoint) -> bytes | None:
        return endpoint.address.packed * 4 if endpoint in WORLD.hosts[:9] else None

    dice = Random(2)
    return KeyedHost(host, node_of, dice.randbytes, dice, 1.8e9, is_source=is_source)


def step(feed: Feed, subject: Host, asked: Asked, now: float) -> list[Action]:
    """Give the host one input, or wake it."""
    kind = feed.byte()
    if kind < 0x30:
        return subject.wake(now)
    if kind < 0x50:
        return subject.receive(wish(feed, now), SELF, now)
    sender_number = feed.byte()
    sender = WORLD.hosts[sender_number % len(WORLD.hosts)]
    if kind < 0xA0 and asked:
        request, to = asked[-1 - sender_number % len(asked)]
        cls = REGISTRY.get(request.OPTION + 1, type(request))
        sequence = request.sequence
        sender = to if to in WORLD.hosts and kind < 0x98 else sender
    else:
        cls = CLASSES[feed.byte() % len(CLASSES)]
        sequence = feed.byte()
    source = WORLD.hosts.index(sender)
    made = message(feed, cls, WORLD, sequence, source)
    return subject.receive(decode(encode(made)), sender, now)


def wish(feed: Feed, now: float) -> Input:
    """Make an input of this host's own."""
    number = feed.byte() % 13
    host = feed.choice(WORLD.hosts)
    group = feed.choice(GROUPS)
    wishes: tuple[Callable[[], Input], ...] = (
        lambda: Subscribe(interest(group)),
        lambda: Silence(now - 1.0),
        lambda: Unreachable(host),
        lambda: Subscribe(no_interest(group)),
        lambda: Carries(1000 + 4 * feed.byte()),
        lambda: TooLarge(host, feed.choice((0, 1000, 1400))),
        Start,
        Stop,
        lambda: Forged(host, SESSION, HostId(feed.byte() % 12), 1),
        lambda: KeyWanted(SESSION, HostId(2), feed.byte(), bool(feed.byte() & 1)),
        lambda: KeyFits(SESSION, HostId(2), feed.byte()),
        lambda: KeyNews(SESSION, HostId(2), encode(message(feed, Rekey, WORLD, 1, 2))),
        lambda: Credited(SESSION, HostId(2)),
    )
    return wishes[number]()


def carry_out(actions: list[Action], asked: Asked) -> None:
    """See that what is to be sent can be; remember it."""
    for action in actions:
        if isinstance(action, Send):
            encode(action.message)
            asked.append((action.message, action.to))


def run(data: bytes, subject: Host) -> None:
    """Run a story."""
    feed, now = Feed(data), 1.0
    asked: Asked = deque(maxlen=MOST_ASKED)
    for _ in range(MOST_STEPS):
        if not feed:
            break
        now += feed.choice(WAITS)
        carry_out(step(feed, subject, asked, now), asked)
    check_bounds(subject, now)
    for _ in range(MOST_WAKES):
        alarm = subject.next_alarm()
        if alarm is None:
            break
        now = max(now, alarm[0])
        carry_out(subject.wake(now), asked)
        following = subject.next_alarm()
        assert following is None or following[0] > now, f"fires for ever: {following}"
    check_bounds(subject, now)


def views(subject: Host, now: float) -> tuple[View, ...]:
    """Look at a host's tables."""
    if isinstance(subject, RendezvousPoint):
        return subject.views(now)
    assert isinstance(subject, EndHost | KeyedHost)
    return (subject.view(now),)


def check_bounds(subject: Host, now: float) -> None:
    """Compare the tables with their bounds."""
    for view in views(subject, now):
        for table, size in view.tables:
            assert size <= LIMITS[table], f"{table}: {size}"
        if hasattr(view, "children") and hasattr(view, "mesh_children"):
            assert len(view.children) + len(view.mesh_children) <= max(view.out_degree, 0)


def seeds() -> Iterable[bytes]:
    """Tell a few stories: wishes and time; answers; messages of every class from a host."""
    yield bytes((0, 0x30, 0, 3, 0, 4, 0, 5, 0, 6, 0, 7, 0))
    yield bytes((1, 0x50, 0, 0, *(1, 0) * 20, 2, 0x60, 0, 0, *(1, 2) * 20, 4, 0, 5, 0))
    for number in range(len(CLASSES)):
        body = bytes((number + n) % 7 for n in range(40))
        yield bytes((2, 0x30, 0, 0, 0, 2, 0xA0, 3 + number % 3, number, 9, 0)) + body


def target(name: str, role: str, make: Callable[[], Host]) -> Target:
    """Make the target of one role."""
    return Target(
        name,
        f"a {role} raises nothing on any messages in any order, and keeps its tables bounded",
        lambda data: run(data, make()),
        seeds,
        most_bytes=1024,
    )

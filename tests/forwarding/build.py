"""Small words for the forwarder's tests: hosts, datagrams, entries."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_address

from dmmp.actions import ANY_ORIGIN, Branch, ForwardingEntry, Install
from dmmp.forwarding.burst import Burst, Outcome
from dmmp.forwarding.forwarder import Forwarder
from dmmp.interest import Interest, interest
from dmmp.messages import decode, encode
from dmmp.messages.data import DataRequest, Heartbeat
from dmmp.messages.header import FLAG_HEARTBEAT, HEADER, VERSION
from dmmp.parameters import Parameters
from dmmp.types import Endpoint, HostId, IpAddress, SessionId

SESSION = SessionId(5)
ORIGIN = HostId(77)
CHANNEL = 3
GROUP = ip_address("239.1.2.3")
OTHER_GROUP = ip_address("239.4.5.6")
SOURCE = ip_address("10.0.0.1")
WANT = (interest(GROUP),)
TREE = 10
ME = HostId(4711)


def endpoint(number: int) -> Endpoint:
    """Make an endpoint; equal numbers give equal ones, never the same object."""
    return Endpoint(ip_address(0x0A090000 + number), 47700)


PARENT = endpoint(1)
OLD_PARENT = endpoint(2)
CHILD = endpoint(11)
CHILD_2 = endpoint(12)
STRANGER = endpoint(99)
GRANDPARENT = endpoint(21)
SIBLING = endpoint(22)


def datagram(
    sequence: int,
    payload: bytes = b"payload",
    *,
    origin: int = ORIGIN,
    channel: int = CHANNEL,
    session: int = SESSION,
    tree: int = TREE,
    version: int = VERSION,
    option: int = 0,
) -> bytes:
    """Build a data datagram."""
    length = len(payload)
    return HEADER.pack(version, tree, option, session, origin, sequence, channel, length) + payload


def heartbeat(
    sequence: int = 1,
    *,
    channel: int = CHANNEL,
    origin: HostId = ORIGIN,
    group: IpAddress = GROUP,
    source: IpAddress = SOURCE,
    highest: int = 0,
    started: int = 0,
    tree: int = TREE,
) -> bytes:
    """Build a heartbeat."""
    return encode(
        Heartbeat(
            session=SESSION,
            source=origin,
            sequence=sequence,
            tree_version=tree,
            reserved=FLAG_HEARTBEAT | channel,
            group=group,
            origin_address=source,
            highest=highest,
            started=started,
        )
    )


def burst(datagrams: Sequence[bytes] | bytes, sender: Endpoint = PARENT) -> Burst:
    """Lay datagrams into one burst, as they are."""
    if isinstance(datagrams, bytes):
        return Burst(datagrams, len(datagrams), sender)
    return Burst(b"".join(datagrams), len(datagrams[0]), sender)


def install(
    *branches: Endpoint | Branch,
    deliver: tuple[Interest, ...] = (),
    upstream: tuple[Endpoint, ...] = (PARENT,),
    origin: HostId = ANY_ORIGIN,
    tree: int = TREE,
    repairers: tuple[Endpoint, ...] = (),
    patience: float = 0.0,
) -> Install:
    """Make an Install; a bare endpoint is a branch that wants GROUP."""
    downstream = tuple(
        branch if isinstance(branch, Branch) else Branch(branch, WANT) for branch in branches
    )
    return Install(
        ForwardingEntry(
            SESSION, origin, tree, upstream, downstream, deliver, repairers, ME, patience
        )
    )


def relay(
    *branches: Endpoint | Branch,
    deliver: tuple[Interest, ...] = (),
    parameters: Parameters | None = None,
) -> Forwarder:
    """Make a forwarder with an entry, that knows CHANNEL."""
    forwarder = Forwarder(parameters or Parameters())
    forwarder.apply(install(*branches, deliver=deliver), 0.0)
    forwarder.forward(burst(heartbeat()), 0.0)
    return forwarder


def sent(outcome: Outcome) -> dict[Endpoint, bytes]:
    """Return the bytes sent to each receiver, in order."""
    found: dict[Endpoint, bytes] = {}
    for data, _, to in outcome.transmits:
        found[to] = found.get(to, b"") + bytes(data)
    return found


def requests(outcome: Outcome) -> list[tuple[Endpoint, list[int] | int]]:
    """List the requests for packets: whom, and which numbers; a bare number is "from there on"."""
    found: list[tuple[Endpoint, list[int] | int]] = []
    for data, _, to in outcome.transmits:
        message = decode(data)
        if not isinstance(message, DataRequest):
            continue
        assert (message.session, message.source) == (SESSION, ME)
        assert (message.origin, message.channel) == (ORIGIN, CHANNEL)
        bits = "".join(f"{octet:08b}" for octet in message.bitmap)
        marked = [(message.base + n) % 2**32 for n, bit in enumerate(bits) if bit == "1"]
        found.append((to, marked if message.bitmap else message.base))
    return found


def woken(forwarder: Forwarder, until: float) -> list[tuple[float, Endpoint, list[int] | int]]:
    """Wake a forwarder at its alarms; list the requests it sends, and when."""
    found = []
    while (alarm := forwarder.next_alarm()) is not None and alarm[0] <= until:
        for to, marked in requests(forwarder.wake(alarm[0])[0]):
            found.append((round(alarm[0], 4), to, marked))
    return found


def delivered(outcome: Outcome) -> bytes:
    """Return the bytes delivered, in order."""
    return b"".join(bytes(delivery.data) for delivery in outcome.deliveries)

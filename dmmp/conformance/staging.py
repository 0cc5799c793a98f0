"""What cases of super nodes and members begin with: a place in the tree, children, a stream.

Both roles are brought to a place by their own ways; the host above is then `Placed.parent`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address
from itertools import pairwise

from dmmp.conformance.in_process import GROUP
from dmmp.conformance.peer import Peer
from dmmp.conformance.playing import (
    SOURCE_ID,
    PlayedRp,
    add_child,
    answer_plainly,
    choose,
    need_places,
    offer,
    play_parent,
    refreshed,
    seat,
    settle,
)
from dmmp.conformance.requirement import Role
from dmmp.conformance.tester import Tester
from dmmp.interest import interest
from dmmp.messages import (
    Data,
    Heartbeat,
    JoinRequest,
    JoinResponse,
    Message,
    RefreshRequest,
    encode,
)
from dmmp.messages.common import HostFlag, HostRecord, RefreshKind, Status
from dmmp.messages.header import FLAG_HEARTBEAT
from dmmp.messages.schema import FieldValue
from dmmp.tun.packets import wrap_udp
from dmmp.types import Endpoint, HostId, IpAddress

WANTED = GROUP.address
"""The group that programs on a member's host want, where there are any."""

UNWANTED = ip_address("239.255.77.2")
PROGRAM = ip_address("10.9.9.9")
"""Where the streams of played sources come from."""

EVERYTHING = (interest(WANTED),)
FLOW_GAP = 0.02
"""Seconds between two packets of a steady flow."""


@dataclass(slots=True)
class Placed:
    """The implementation under test has a place: below `parent`, with `places` for a cluster."""

    tester: Tester
    rp: PlayedRp
    parent: Peer
    confirmation: RefreshRequest
    others: tuple[Peer, ...] = ()

    @property
    def record(self) -> HostRecord:
        """Return what it said of itself when it confirmed its place."""
        return self.confirmation.sender

    @property
    def path(self) -> tuple[HostId, ...]:
        """Return its root path."""
        return (self.parent.host, *self.parent.root_path)

    @property
    def places(self) -> int:
        """Return how many children it may have in its cluster; Unsupported if none."""
        need_places(self.record)
        out_degree = self.record.out_degree
        return out_degree if self.tester.role is Role.MEMBER else out_degree - out_degree // 2


def placed(tester: Tester, others: tuple[Peer, ...] = ()) -> Placed:
    """Bring a member below a super node, or a super node below the source.

    `others` are further super nodes: the RP names them to a member, the source to a super node.
    """
    if tester.role is Role.MEMBER:
        rp, parent, confirmation = seat(tester, None, *others)
    else:
        rp, parent, _ = choose(tester, None, others)
        confirmation = settle(tester, parent)
    return Placed(tester, rp, parent, confirmation, others)


def play_node(tester: Tester, name: str = "node", host: int = 0x0000_0120) -> Peer:
    """Play a super node that is further from the one under test than the source is.

    Its id is the greater one, so that nobody's place in the core tree is below it.
    """
    node = play_parent(tester, name, host)
    node.delay = 0.02
    return node


def play_member(
    tester: Tester, name: str, host: int, above: Peer, out_degree: int = 4, free_slots: int = 4
) -> Peer:
    """Play a cluster member with a place below another host."""
    path = (above.host, *above.root_path)
    peer = play_parent(tester, name, host, flags=HostFlag.NONE, root_path=path)
    peer.out_degree, peer.free_slots, peer.cluster = out_degree, free_slots, above.cluster
    return peer


def have_wanted(stage: Placed) -> None:
    """See to it that somebody wants the stream: a child, or a leaf, which wants it by itself."""
    if stage.record.out_degree:
        add_child(stage.tester, interest=EVERYTHING)


def fill(stage: Placed, free_slots: int = 0, out_degree: int = 2) -> list[Peer]:
    """Give it as many children as it has places in its cluster."""
    return [
        add_child(
            stage.tester,
            f"child{number}",
            0x0000_0300 + number,
            out_degree=out_degree,
            free_slots=free_slots,
        )
        for number in range(stage.places)
    ]


def stranger(
    tester: Tester, name: str = "stranger", host: int = 0x0000_0900, **fields: FieldValue
) -> Peer:
    """Play a host without a place that nobody knows; it answers probes and good-byes."""
    peer = tester.peer(name)
    peer.host = HostId(host)
    for key, value in fields.items():
        setattr(peer, key, value)
    answer_plainly(peer)
    return peer


def of_kind(kind: RefreshKind) -> Callable[[FieldValue], bool]:
    """Make the condition that a Refresh is of this kind."""
    return lambda message: bool(message.kind == kind)


def answer_refresh(
    peer: Peer, kind: RefreshKind, answer: Callable[[FieldValue], Message | None]
) -> None:
    """Answer Refreshes of one kind in another way than a parent does; the others as before."""

    def respond(message: FieldValue) -> Message | None:
        return answer(message) if message.kind == kind else refreshed(peer, message)

    peer.on(RefreshRequest, respond)


def refuse_places(peer: Peer, status: Status = Status.FULL) -> None:
    """Have a played host refuse applicants and first Refreshes."""
    peer.on(JoinRequest, lambda message: offer(peer, message, JoinResponse, status=status))
    answer_refresh(
        peer,
        RefreshKind.CHILD,
        lambda message: refreshed(peer, message, status=status),
    )


def with_relatives(tester: Tester) -> tuple[Placed, list[Peer], list[Peer]]:
    """Have the parent name two backups and a sibling, and wait until they were heard."""
    stage = placed(tester)
    parent = stage.parent
    backups = [play_parent(tester, f"backup{at}", 0x60 + at) for at in range(2)]
    siblings = [play_member(tester, "sibling", 0x70, parent)]
    answer_refresh(
        parent,
        RefreshKind.CHILD,
        lambda message: refreshed(
            parent,
            message,
            backups=tuple(peer.record() for peer in backups),
            siblings=tuple(peer.record() for peer in siblings),
        ),
    )
    later = 1.2 * tester.timing.parameters.refresh_cluster
    for peer in (*backups, *siblings):
        came = tester.take((peer,), (RefreshRequest,), later, of_kind(RefreshKind.RELATIVE))
        tester.check(came is not None, f"no Refresh of kind RELATIVE came to {peer.name}")
        assert came is not None
        peer.inbox.append(came)
    tester.wait(tester.timing.answer)
    return stage, backups, siblings


@dataclass(slots=True)
class Stream:
    """One channel of an origin: makes its packets and heartbeats, and sends them from any peer."""

    tester: Tester
    channel: int = 1
    group: IpAddress = WANTED
    source: IpAddress = PROGRAM
    origin: HostId = SOURCE_ID
    tree_version: int = 1
    beats: int = 0
    highest: int = 0
    sent: dict[int, bytes] = field(default_factory=dict)

    def packet(self, number: int, text: bytes = b"") -> bytes:
        """Make the datagram of a number, the same each time."""
        if number not in self.sent or text:
            payload = wrap_udp(
                Endpoint(self.source, 47702),
                Endpoint(self.group, GROUP.port),
                text or b"packet %d" % number,
            )
            self.sent[number] = encode(
                Data(
                    session=self.tester.session,
                    source=self.origin,
                    sequence=number,
                    tree_version=self.tree_version,
                    reserved=self.channel,
                    payload=payload,
                )
            )
        return self.sent[number]

    def send(self, peer: Peer, *numbers: int) -> None:
        """Send packets from a peer."""
        for number in numbers:
            self.highest = max(self.highest, number)
            peer.send_bytes(self.packet(number))

    def beat(self, peer: Peer, highest: int | None = None, started: int = 1) -> bytes:
        """Send the channel's next heartbeat; return it."""
        self.beats += 1
        datagram = encode(
            Heartbeat(
                session=self.tester.session,
                source=self.origin,
                sequence=self.beats,
                tree_version=self.tree_version,
                reserved=FLAG_HEARTBEAT | self.channel,
                group=self.group,
                origin_address=self.source,
                highest=self.highest if highest is None else highest,
                started=started,
            )
        )
        peer.send_bytes(datagram)
        return datagram

    def begin(self, peer: Peer) -> None:
        """Announce the channel, of which nothing was sent yet."""
        self.beat(peer, 0, 0)

    def flow(self, peer: Peer, packets: int = 20) -> None:
        """Let so many packets come from a peer, one after the other: a steady flow."""
        for _ in range(packets):
            self.send(peer, self.highest + 1)
            self.tester.wait(FLOW_GAP)


def numbers(peer: Peer, channel: int = 1) -> list[int]:
    """List the sequence numbers of the data that came to a peer."""
    return [message.sequence for message in peer.seen(Data) if message.reserved & 0xFFFF == channel]


def datagrams(peer: Peer, cls: type[Message] = Data) -> list[bytes]:
    """List the datagrams of a class that came to a peer, as they came."""
    return [each.datagram for each in peer.inbox if isinstance(each.message, cls)]


def marked(message: FieldValue) -> list[int]:
    """List the numbers that a Data Request's bitmap marks."""
    return [
        message.base + at
        for at in range(8 * len(message.bitmap))
        if message.bitmap[at // 8] & 0x80 >> at % 8
    ]


def bitmap(base: int, wanted: Sequence[int]) -> bytes:
    """Make the bitmap that marks these numbers."""
    bits = bytearray(max(number - base for number in wanted) // 8 + 1)
    for number in wanted:
        bits[(number - base) // 8] |= 0x80 >> (number - base) % 8
    return bytes(bits)


def gaps(instants: Sequence[float]) -> list[float]:
    """List the times between instants."""
    return [later - earlier for earlier, later in pairwise(instants)]

"""The parts that the tester plays: an RP, a source, a super node, a parent, a child.

Each makes a peer answer by itself what its part has to answer, so that a case says only what it is
about. `Peer.on` and `Peer.off` change single answers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from dmmp.conformance.case import Unsupported
from dmmp.conformance.peer import Peer
from dmmp.conformance.tester import Tester
from dmmp.interest import Interest
from dmmp.messages import (
    ClusterRequest,
    ClusterResponse,
    JoinRequest,
    JoinResponse,
    LeaveReport,
    LeaveResponse,
    Message,
    PingRpRequest,
    PingRpResponse,
    ProbeRequest,
    ProbeResponse,
    RefreshRequest,
    RefreshResponse,
    SetupRequest,
    SetupResponse,
    SourceRequest,
    SourceResponse,
    StatusReport,
    StatusResponse,
    SubscriptionRequest,
    SubscriptionResponse,
)
from dmmp.messages.common import HostFlag, HostRecord, Phase, RefreshKind, Status
from dmmp.messages.schema import FieldValue
from dmmp.types import NO_HOST, HostId

SUBJECT_ID = HostId(0x0000_0100)
"""The id that a played RP gives to the implementation under test."""

NOTHING_SAID = HostRecord()
SOURCE_ID = HostId(0x0000_0002)
RP_ID = HostId(0x0000_0001)


@dataclass(slots=True)
class PlayedRp:
    """What a played RP says; a case may change it at any time."""

    peer: Peer
    super_nodes: list[Peer] = field(default_factory=list)
    source: Peer | None = None
    phase: Phase = Phase.RUNNING
    hosts: int = 20
    tree_version: int = 1
    subject: HostId = SUBJECT_ID
    record: HostRecord = NOTHING_SAID
    """What the implementation last said of itself."""
    refused: tuple[HostId, ...] = ()


def play_rp(
    tester: Tester,
    super_nodes: tuple[Peer, ...] = (),
    *,
    source: Peer | None = None,
    peer: Peer | None = None,
    phase: Phase = Phase.RUNNING,
) -> PlayedRp:
    """Play the RP: it serves the session, gives the id `SUBJECT_ID` and names super nodes."""
    rp = peer or tester.rp
    rp.host = RP_ID
    played = PlayedRp(rp, list(super_nodes), source, phase)

    def register(message: PingRpRequest) -> Message:
        played.record, played.refused = message.host, message.refused
        return rp.reply(
            message,
            PingRpResponse,
            tree_version=played.tree_version,
            phase=played.phase,
            host=played.subject,
            observed=tester.subject,
            hosts=played.hosts,
            super_nodes=tuple(each.record() for each in played.super_nodes),
        )

    def name_source(message: SourceRequest) -> Message:
        if played.source is None:
            return rp.reply(message, SourceResponse, status=Status.NO_SOURCE)
        return rp.reply(message, SourceResponse, origin=played.source.record())

    def note(message: StatusReport) -> Message:
        played.tree_version = played.tree_version % 255 + 1
        return rp.reply(message, StatusResponse, tree_version=played.tree_version)

    rp.on(SubscriptionRequest, lambda message: rp.reply(message, SubscriptionResponse, lifetime=60))
    rp.on(PingRpRequest, register)
    rp.on(SourceRequest, name_source)
    rp.on(StatusReport, note)
    answer_plainly(rp)
    return played


def answer_plainly(peer: Peer) -> None:
    """Answer what every host answers in one way: probes, and that somebody goes."""
    peer.on(LeaveReport, lambda message: peer.reply(message, LeaveResponse))
    peer.on(
        ProbeRequest,
        lambda message: peer.reply(
            message, ProbeResponse, timestamp=message.timestamp, sender=peer.record()
        ),
    )
    peer.answers.setdefault(
        StatusReport, lambda message: peer.reply(message, StatusResponse, status=Status.SUCCESS)
    )


def play_parent(
    tester: Tester,
    name: str = "parent",
    host: int = 0x0000_0010,
    *,
    flags: int = HostFlag.SUPER_NODE,
    root_path: tuple[HostId, ...] = (SOURCE_ID,),
) -> Peer:
    """Play a host with a place and room below it, by default a super node right below the source.

    It offers places, takes children, and answers Refreshes of every kind.
    """
    peer = tester.peer(name)
    peer.host, peer.flags, peer.root_path = HostId(host), flags, root_path
    peer.depth, peer.out_degree, peer.free_slots, peer.uptime = len(root_path), 8, 6, 100
    peer.cluster = peer.host if flags & HostFlag.SUPER_NODE else HostId(0x0000_0010)
    peer.tree_version = 1
    answer_plainly(peer)
    peer.on(JoinRequest, lambda message: offer(peer, message, JoinResponse))
    peer.on(ClusterRequest, lambda message: offer(peer, message, ClusterResponse))
    peer.on(RefreshRequest, lambda message: refreshed(peer, message))
    peer.on(SetupRequest, lambda message: peer.reply(message, SetupResponse, sender=peer.record()))
    return peer


def play_source(tester: Tester, name: str = "source", out_degree: int = 8) -> Peer:
    """Play the source: super nodes find a place below it, cluster members are sent away."""
    source = play_parent(tester, name, SOURCE_ID, flags=HostFlag.SOURCE, root_path=())
    source.out_degree, source.free_slots, source.cluster = out_degree, 0, NO_HOST
    return source


def offer(peer: Peer, request: Message, response: type[Message], **fields: FieldValue) -> Message:
    """Make the answer to an applicant: a place, unless `fields` say otherwise."""
    own = {
        "status": Status.SUCCESS,
        "parent": peer.record(),
        "super_node": peer.cluster,
        "root_path": peer.root_path,
    }
    return peer.reply(request, response, **{**own, **fields})


def refreshed(peer: Peer, request: RefreshRequest, **fields: FieldValue) -> Message | None:
    """Make the answer to a Refresh: SUCCESS, unless `fields` say otherwise; none to a parent's."""
    if request.kind == RefreshKind.PARENT:
        return None
    own = {
        "status": Status.SUCCESS,
        "sender": peer.record(),
        "super_node": peer.cluster,
        "root_path": peer.root_path,
    }
    return peer.reply(request, RefreshResponse, **{**own, **fields})


def seat(
    tester: Tester, parent: Peer | None = None, *others: Peer
) -> tuple[PlayedRp, Peer, RefreshRequest]:
    """Give a member a place: play RP and parent until it has confirmed; return the confirmation."""
    parent = parent or play_parent(tester)
    rp = play_rp(tester, (parent, *others))
    confirmation = parent.expect(
        RefreshRequest, within=5.0, where=lambda message: message.kind == RefreshKind.CHILD
    )
    tester.wait(2 * tester.timing.answer)
    return rp, parent, confirmation


def choose(
    tester: Tester, source: Peer | None = None, members: tuple[Peer, ...] = ()
) -> tuple[PlayedRp, Peer, SetupResponse]:
    """Make the implementation a super node: play RP and source, and send it a Setup Request."""
    source = source or play_source(tester)
    rp = play_rp(tester, source=source)
    rp.peer.expect(PingRpRequest)
    tester.wait(tester.timing.answer)
    answer = source.ask(
        SetupRequest,
        sender=source.record(),
        members=tuple(member.record() for member in members),
    )
    return rp, source, answer


def settle(tester: Tester, source: Peer) -> RefreshRequest:
    """Wait until a chosen super node has confirmed its place below the source."""
    confirmation = source.expect(
        RefreshRequest, within=5.0, where=lambda message: message.kind == RefreshKind.CHILD
    )
    tester.wait(2 * tester.timing.answer)
    return confirmation


def need_places(record: HostRecord) -> None:
    """Raise Unsupported if a host says of itself that it takes no children."""
    if record.out_degree == 0:
        raise Unsupported("it says that it takes no children: out-degree 0")


def apply_for_place(peer: Peer, **fields: FieldValue) -> JoinResponse:
    """Ask the implementation under test for a place; return its answer."""
    answer = peer.ask(JoinRequest, **{"applicant": peer.record(), "passes": 0, **fields})
    assert isinstance(answer, JoinResponse)
    if answer.status == Status.FULL:
        need_places(answer.parent)
    return answer


def refresh(
    peer: Peer,
    kind: RefreshKind = RefreshKind.CHILD,
    interest: tuple[Interest, ...] = (),
    **fields: FieldValue,
) -> RefreshResponse:
    """Refresh a place, or another relation, at the implementation under test."""
    own = {"sender": peer.record(), "super_node": peer.cluster, "root_path": peer.root_path}
    answer = peer.ask(RefreshRequest, **{"kind": kind, "interest": interest, **own, **fields})
    assert isinstance(answer, RefreshResponse)
    return answer


def add_child(
    tester: Tester,
    name: str = "child",
    host: int = 0x0000_0200,
    interest: tuple[Interest, ...] = (),
    prepare: Callable[[Peer], object] | None = None,
    **fields: FieldValue,
) -> Peer:
    """Make a peer a child of the implementation under test: asked for, offered, confirmed.

    `prepare` is what is done to the peer before it says its first word.
    """
    child = tester.peer(name)
    child.host = HostId(host)
    for key, value in fields.items():
        setattr(child, key, value)
    answer_plainly(child)
    if prepare is not None:
        prepare(child)
    offered = apply_for_place(child)
    tester.equal(Status(offered.status), Status.SUCCESS, "the answer to a Join Request")
    child.root_path = (offered.parent.host, *offered.root_path)
    child.depth, child.cluster = len(child.root_path), offered.super_node
    confirmed = refresh(child, interest=interest)
    tester.equal(Status(confirmed.status), Status.SUCCESS, "the answer to the confirmation")
    child.on(RefreshRequest, lambda message: refreshed(child, message))
    return child

"""Section 6, second half: refreshes among super nodes, links, the core tree, places for two."""

from __future__ import annotations

from dmmp.conformance.case import Unsupported, case
from dmmp.conformance.peer import Peer
from dmmp.conformance.playing import (
    SOURCE_ID,
    SUBJECT_ID,
    add_child,
    apply_for_place,
    choose,
    play_parent,
    play_source,
    refresh,
    refreshed,
    settle,
)
from dmmp.conformance.staging import (
    Placed,
    answer_refresh,
    fill,
    gaps,
    of_kind,
    placed,
    play_node,
    stranger,
)
from dmmp.conformance.tester import Tester
from dmmp.messages import (
    ClusterRequest,
    ClusterResponse,
    LeaveReport,
    RefreshRequest,
    RefreshResponse,
    SetupRequest,
    StatusReport,
)
from dmmp.messages.common import (
    HostFlag,
    HostState,
    LeaveReason,
    LinkRecord,
    RefreshKind,
    Status,
)
from dmmp.types import HostId

NODE = HostFlag.SUPER_NODE
MOST_NODES = 7
"""Super nodes that are played at most: with the one under test, as many as the source feeds."""

MESH = of_kind(RefreshKind.MESH)
CHILD = of_kind(RefreshKind.CHILD)


@case("6/16", "Source and super nodes get a Refresh in each period", "super-node", seconds=40.0)
def mesh_refreshed(tester: Tester) -> None:
    member = play_node(tester)
    stage = placed(tester, (member,))
    period = tester.timing.parameters.refresh_mesh
    for peer in (stage.parent, member):
        instants = []
        for _ in range(2):
            peer.expect(RefreshRequest, within=1.2 * period, where=MESH)
            assert peer.last is not None
            instants.append(peer.last.at)
        tester.near(gaps(instants)[0], 0.8 * period, 1.2 * period, "the time between two of them")


@case("6/17", "The first Refresh of the mesh comes 0.3 s after it was chosen", "super-node")
def first_mesh_refresh(tester: Tester) -> None:
    _, source, _ = choose(tester)
    chosen = tester.now
    source.expect(RefreshRequest, within=1.0, where=MESH)
    assert source.last is not None
    after = tester.timing.parameters.rebuild_after
    took = source.last.at - chosen
    tester.near(took, 0.8 * after - tester.timing.answer, 1.2 * after, "until its first Refresh")


@case("6/18", "A Refresh of a named super node is answered with record and path", "super-node")
def mesh_refresh_answered(tester: Tester) -> None:
    member = play_node(tester)
    placed(tester, (member,))
    answer = refresh(member, RefreshKind.MESH)
    tester.equal(Status(answer.status), Status.SUCCESS, "the answer to a super node")
    tester.equal(answer.sender.host, SUBJECT_ID, "the host in the answer")
    tester.equal(answer.root_path, (SOURCE_ID,), "the root path in the answer")


@case("6/18", "A Refresh of the mesh by a stranger is answered UNKNOWN_HOST", "super-node")
def mesh_refresh_of_a_stranger(tester: Tester) -> None:
    placed(tester)
    other = stranger(tester, flags=NODE, depth=1, root_path=(SOURCE_ID,))
    answer = refresh(other, RefreshKind.MESH)
    tester.equal(Status(answer.status), Status.UNKNOWN_HOST, "the answer to a stranger")


@case("6/19", "Its Refresh names itself and the links that it measured", "super-node", seconds=20.0)
def links_announced(tester: Tester) -> None:
    members = tuple(play_node(tester, f"node{at}", 0x120 + at) for at in range(2))
    stage = placed(tester, members)
    for member in members:
        member.delay = 0.02
    later = 1.3 * tester.timing.parameters.refresh_mesh
    stage.parent.forget(RefreshRequest)
    said = stage.parent.expect(RefreshRequest, within=later, where=MESH)
    tester.equal(said.super_node, SUBJECT_ID, "the super node in its Refresh")
    known = {SOURCE_ID, *(member.host for member in members)}
    linked = {link.neighbour for link in said.links}
    tester.check(bool(linked) and linked <= known, f"it announces links to {sorted(linked)}")
    tester.check(all(link.delay_us > 0 for link in said.links), "it announces a delay of nothing")


@case("6/20", "It confirms its place in the core tree, then leaves the old one", "super-node")
def moves_in_the_core_tree(tester: Tester) -> None:
    stage, near, request = _drawn_to_a_near_one(tester, None)
    tester.wait(0.2)
    tester.check(not stage.parent.seen(LeaveReport), "it left its place before it had another")
    answer_refresh(near, RefreshKind.CHILD, lambda message: refreshed(near, message))
    near.answer(request, RefreshResponse, sender=near.record(), root_path=near.root_path)
    report = stage.parent.expect(LeaveReport)
    tester.equal(LeaveReason(report.reason), LeaveReason.MOVED, "what the old parent is told")


@case("6/21", "Refused in the core tree it stays where it is", "super-node", seconds=25.0)
def refused_in_the_core_tree(tester: Tester) -> None:
    stage, _, _ = _drawn_to_a_near_one(tester, Status.FULL)
    stage.parent.forget(RefreshRequest)
    stage.parent.expect(
        RefreshRequest, within=1.2 * tester.timing.parameters.refresh_cluster, where=CHILD
    )
    tester.check(not stage.parent.seen(LeaveReport), "it left the place that it had")


def _drawn_to_a_near_one(
    tester: Tester, status: Status | None
) -> tuple[Placed, Peer, RefreshRequest]:
    """Make a near super node its parent in the core tree; return how it asks that one.

    The near one answers with this status, or not at all.
    """
    source, near = play_source(tester), play_parent(tester, "near", 0x20)
    answer_refresh(
        near,
        RefreshKind.CHILD,
        lambda message: None if status is None else refreshed(near, message, status=status),
    )
    source.delay = 0.1
    rp, _, _ = choose(tester, source, (near,))
    stage = Placed(tester, rp, source, settle(tester, source))
    links = (LinkRecord(SOURCE_ID, 1000), LinkRecord(SUBJECT_ID, 1000))
    refresh(near, RefreshKind.MESH, links=links)
    return stage, near, near.expect(RefreshRequest, within=3.0, where=CHILD)


@case(
    "6/22",
    "A super node that answers no Refresh is reported to the source",
    "super-node",
    seconds=20.0,
)
def silent_one_reported(tester: Tester) -> None:
    member = play_node(tester)
    stage = placed(tester, (member,))
    member.vanish()
    report = stage.parent.expect(
        StatusReport, within=1.2 * tester.timing.parameters.refresh_mesh + 2.0
    )
    tester.equal(HostState(report.state), HostState.INACTIVE, "the state in its report")
    tester.equal(report.subject.host, member.host, "the host in its report")


@case("6/23", "A super node that answers no Refresh is no link", "super-node", seconds=40.0)
def silent_one_no_link(tester: Tester) -> None:
    member = play_node(tester)
    stage = placed(tester, (member,))
    member.vanish()
    period = tester.timing.parameters.refresh_mesh
    stage.parent.expect(StatusReport, within=1.2 * period + 2.0)
    stage.parent.forget(RefreshRequest)
    said = stage.parent.expect(RefreshRequest, within=1.2 * period, where=MESH)
    linked = [link.neighbour for link in said.links]
    tester.check(member.host not in linked, "it announces a link to a host that does not answer")


@case("6/24", "A Cluster Request gets a place, if there is one", "super-node", seconds=10.0)
def cluster_request_granted(tester: Tester) -> None:
    stage = placed(tester)
    statuses = []
    for at in range(stage.places + 1):
        peer = stranger(tester, f"applicant{at}", 0x400 + at)
        answer = peer.ask(ClusterRequest, within=0.3, applicant=peer.record())
        statuses.append(Status(answer.status))
    wanted = [Status.SUCCESS] * stage.places + [Status.FULL]
    tester.equal(statuses, wanted, "the answers to one applicant after the other")


@case("6/25", "Of several applicants the most capable get the places", "super-node")
def most_capable_first(tester: Tester) -> None:
    stage = placed(tester)
    peers = [
        stranger(tester, f"applicant{at}", 0x400 + at, out_degree=2 + at)
        for at in range(stage.places + 1)
    ]
    for peer in peers:
        peer.tell(ClusterRequest, applicant=peer.record())
    answers = [Status(peer.expect(ClusterResponse, within=0.3).status) for peer in peers]
    wanted = [Status.FULL] + [Status.SUCCESS] * stage.places
    tester.equal(answers, wanted, "the answers, the least capable first")


@case("6/26", "A Cluster Request is not passed down", "super-node")
def cluster_request_refused(tester: Tester) -> None:
    stage = placed(tester)
    children = fill(stage, free_slots=2)
    for child in children:
        child.forget()
    peer = stranger(tester)
    answer = peer.ask(ClusterRequest, within=0.3, applicant=peer.record())
    tester.equal(Status(answer.status), Status.FULL, "the answer of a full super node")
    named = {record.host for record in answer.children}
    tester.equal(named, {child.host for child in children}, "the children in the refusal")
    tester.check(
        not any(child.seen(ClusterRequest) for child in children), "a Cluster Request went on"
    )


@case("6/27", "Mesh and cluster have half of the out-degree each", "super-node", seconds=10.0)
def separate_places(tester: Tester) -> None:
    stage = placed(tester)
    for flags, places, base in (
        (HostFlag.NONE, stage.places, 0x400),
        (NODE, stage.record.out_degree // 2, 0x500),
    ):
        answers = [
            Status(
                apply_for_place(stranger(tester, f"{base + at:x}", base + at, flags=flags)).status
            )
            for at in range(places + 1)
        ]
        wanted = [Status.SUCCESS] * places + [Status.FULL]
        tester.equal(answers, wanted, f"the answers to applicants with flags {int(flags)}")


@case("6/30", "The source hears who could succeed, others do not", "super-node", seconds=20.0)
def successors_named(tester: Tester) -> None:
    member = play_node(tester)
    stage = placed(tester, (member,))
    able = add_child(tester, "able", 0x301, out_degree=6)
    add_child(tester, "leaf", 0x302, out_degree=1)
    later = 1.3 * tester.timing.parameters.refresh_mesh
    for peer, wanted in ((stage.parent, [able.host]), (member, [])):
        peer.forget(RefreshRequest)
        said = peer.expect(RefreshRequest, within=later, where=MESH)
        tester.equal([each.host for each in said.successors], wanted, f"successors to {peer.name}")


@case("6/32", "What a child says of a super node goes on to the source", "super-node")
def news_from_below(tester: Tester) -> None:
    member = play_node(tester)
    stage = placed(tester, (member,))
    child = add_child(tester)
    child.ask(StatusReport, state=HostState.INACTIVE, subject=member.record())
    report = stage.parent.expect(StatusReport)
    tester.equal(HostState(report.state), HostState.INACTIVE, "the state in its report")
    tester.equal(report.subject.host, member.host, "the host in its report")


@case("6/37", "With its mesh parent dead it takes a place elsewhere", "super-node", seconds=40.0)
def another_mesh_parent(tester: Tester) -> None:
    member = play_node(tester)
    stage = placed(tester, (member,))
    member.expect(SetupRequest)
    refresh(member, RefreshKind.MESH, within=member.delay)
    tester.check(not member.seen(RefreshRequest, CHILD), "it left its place without a reason")
    stage.parent.vanish()
    member.expect(
        RefreshRequest,
        within=1.2 * tester.timing.parameters.refresh_cluster + 9.0,
        where=CHILD,
    )


@case("6/39", "A full one sends away whom the core tree puts elsewhere", "super-node", seconds=10.0)
def sends_away_in_the_core_tree(tester: Tester) -> None:
    children, asking = _taken_from_a_near_one(tester, SUBJECT_ID)
    told = [child for child in children if child.seen(LeaveReport)]
    tester.equal(len(told), 1, "how many of its mesh children are sent away")
    report = told[0].expect(LeaveReport)
    tester.equal(LeaveReason(report.reason), LeaveReason.DISMISSED, "what that one is told")
    refresh(asking, RefreshKind.CHILD)
    tester.wait(0.5)
    told = [child for child in children if child.seen(LeaveReport)]
    tester.check(not told, "it sends another one away before that one had time to go")


@case("6/40", "Nobody is sent away for one whose place is elsewhere", "super-node", seconds=10.0)
def keeps_who_came_first(tester: Tester) -> None:
    children, _ = _taken_from_a_near_one(tester, SOURCE_ID)
    told = [child.name for child in children if child.seen(LeaveReport)]
    tester.equal(told, [], "who of its mesh children is sent away")


def _taken_from_a_near_one(tester: Tester, near: HostId) -> tuple[list[Peer], Peer]:
    """Fill its places in the mesh with hosts near to the source; have one near to `near` refused.

    Whoever has no link but its own hangs where that link leads in the core tree. Return the
    children, and the one that asks for a place.
    """
    nodes = [play_node(tester, f"node{at}", 0x120 + at) for at in range(MOST_NODES)]
    stage = placed(tester, tuple(nodes))
    places = stage.record.out_degree // 2
    if not 0 < places < MOST_NODES:
        raise Unsupported(f"it has {places} places in the mesh, not 1 to {MOST_NODES - 1}")
    asking, *children = nodes[: places + 1]
    for child in children:
        refresh(child, RefreshKind.MESH, links=(LinkRecord(SOURCE_ID, 1000),))
        given = refresh(child, RefreshKind.CHILD)
        tester.equal(Status(given.status), Status.SUCCESS, "the answer where places are free")
    refresh(asking, RefreshKind.MESH, links=(LinkRecord(near, 1000),))
    refused = refresh(asking, RefreshKind.CHILD)
    tester.equal(Status(refused.status), Status.FULL, "the answer where every place is taken")
    tester.wait(0.5)
    return children, asking

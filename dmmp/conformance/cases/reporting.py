"""Section 4, second part: an RP and the source; two sources, reports, the tree version."""

from __future__ import annotations

from dmmp.conformance.case import Feature, case
from dmmp.conformance.cases.rendezvous import named, new_source, new_super_node
from dmmp.conformance.peer import Peer
from dmmp.conformance.tester import Tester
from dmmp.conformance.timing import DEFAULTS
from dmmp.messages import (
    LeaveReport,
    PingRpRequest,
    PingRpResponse,
    ProbeRequest,
    ProbeResponse,
    SourceRequest,
    StatusReport,
)
from dmmp.messages.common import HostFlag, HostState, Status
from dmmp.types import NO_HOST, HostId, serial_newer

MOST_SUPER_NODES = 100
"""Super nodes that an RP keeps, and hosts of which it tells a new source (slide 15)."""


def claimant(tester: Tester, name: str = "second") -> tuple[Peer, PingRpRequest]:
    """Make a host that would be the source; return it and the registration that it sends."""
    peer = tester.peer(name)
    peer.flags, peer.depth = HostFlag.SOURCE, 255
    return peer, peer.tell(PingRpRequest, instance=peer.instance, host=peer.record())


def verdict(peer: Peer, request: PingRpRequest, within: float = 0.0) -> Status:
    """Wait for what the RP says to a claimant, which takes the id that it gives."""
    answer = peer.expect_answer(request, within)
    assert isinstance(answer, PingRpResponse)
    if not answer.status:
        peer.host = answer.host
    return Status(answer.status)


def report_of(source: Peer, peer: Peer, within: float = 0.0) -> StatusReport:
    """Take the first report about a host."""
    return source.expect(
        StatusReport, within, where=lambda message: message.subject.host == peer.host
    )


@case("4/30", "The first source is probed before the second is answered", "rp")
def first_source_probed(tester: Tester) -> None:
    first = new_source(tester, "first")
    first.off(ProbeRequest)
    second, request = claimant(tester)
    asked = first.expect(ProbeRequest)
    tester.check(not second.seen(PingRpResponse), "the second source is answered at once")
    tester.check(asked.source != NO_HOST, "the probe does not say whose it is")
    first.answer(asked, ProbeResponse, timestamp=asked.timestamp, sender=first.record())
    second.expect_answer(request)


@case("4/31", "The first source lives: the second is refused", "rp")
def first_source_lives(tester: Tester) -> None:
    new_source(tester, "first")
    second, request = claimant(tester)
    tester.equal(verdict(second, request), Status.DUPLICATE_SOURCE, "the answer to the second")


@case("4/32", "The first source renews: the second is refused", "rp")
def first_source_renews(tester: Tester) -> None:
    first = new_source(tester, "first")
    first.off(ProbeRequest)
    second, request = claimant(tester)
    first.expect(ProbeRequest)
    tester.equal(Status(tester.register(first).status), Status.SUCCESS, "the renewal")
    tester.equal(verdict(second, request), Status.DUPLICATE_SOURCE, "the answer to the second")


@case("4/33", "The first source is silent: the second takes its place", "rp", seconds=6)
def first_source_silent(tester: Tester) -> None:
    first = new_source(tester, "first")
    first.vanish()
    second, request = claimant(tester)
    tester.equal(verdict(second, request, within=4.0), Status.SUCCESS, "the answer to the second")
    first.host = NO_HOST
    peer = tester.peer()
    tester.register(peer)
    origin = peer.ask(SourceRequest, host=peer.record()).origin
    tester.equal(origin.host, second.host, "the source that is named")


@case("4/34", "Another host in the place of the first: the second is the source", "rp")
def first_source_replaced(tester: Tester) -> None:
    first = new_source(tester, "first")
    first.off(ProbeRequest)
    second, request = claimant(tester)
    asked = first.expect(ProbeRequest)
    first.host = HostId(0xA000_0777)
    first.answer(asked, ProbeResponse, timestamp=asked.timestamp, sender=first.record())
    first.host = NO_HOST
    tester.equal(verdict(second, request), Status.SUCCESS, "the answer to the second")


@case("4/35", "A third source is refused meanwhile", "rp", seconds=6)
def third_source(tester: Tester) -> None:
    first = new_source(tester, "first")
    first.off(ProbeRequest)
    second, request = claimant(tester)
    asked = first.expect(ProbeRequest)
    third, another = claimant(tester, "third")
    tester.equal(verdict(third, another), Status.DUPLICATE_SOURCE, "the answer to the third")
    first.answer(asked, ProbeResponse, timestamp=asked.timestamp, sender=first.record())
    tester.equal(verdict(second, request), Status.DUPLICATE_SOURCE, "the answer to the second")


@case("4/36", "Three probes, 1.75 s", "rp", seconds=6)
def three_probes(tester: Tester) -> None:
    first = new_source(tester, "first")
    first.vanish()
    second, request = claimant(tester)
    first.expect(ProbeRequest)
    assert first.last is not None
    began = first.last.at
    verdict(second, request, within=4.0)
    first.host = NO_HOST
    assert second.last is not None
    tester.equal(len(first.seen(ProbeRequest)), 2, "the number of further probes")
    tester.near(second.last.at - began, 1.75, 1.75, "from the first probe to the answer")


@case("4/37", "The source hears of a host that can feed others", "rp")
def non_leaf_reported(tester: Tester) -> None:
    source, peer = new_source(tester), tester.peer()
    peer.out_degree = 2
    tester.register(peer)
    report = report_of(source, peer)
    tester.equal(HostState(report.state), HostState.ACTIVE, "the state in the report")
    tester.equal(report.subject, peer.record(), "what is said of the host")


@case("4/38", "The source does not hear of a leaf", "rp")
def leaf_not_reported(tester: Tester) -> None:
    source = new_source(tester)
    for out_degree in (0, 1):
        peer = tester.peer()
        peer.out_degree = out_degree
        tester.register(peer)
    source.expect_silence(StatusReport)
    tester.check(not source.seen(StatusReport), "a leaf is reported")


@case("4/39", "The source hears again of a host that moved or now offers itself", "rp")
def news_reported(tester: Tester) -> None:
    source, peer, elsewhere = new_source(tester), tester.peer(), tester.peer("moved")
    tester.register(peer)
    report_of(source, peer)
    tester.register(peer)
    source.expect_silence(StatusReport)
    elsewhere.instance, elsewhere.host = peer.instance, peer.host
    tester.register(elsewhere)
    tester.equal(report_of(source, peer).subject.endpoint, elsewhere.endpoint, "the endpoint")
    elsewhere.flags = HostFlag.OFFERS
    tester.register(elsewhere)
    tester.equal(report_of(source, peer).subject.flags, HostFlag.OFFERS, "the flags")
    peer.host = NO_HOST


@case(
    "4/40",
    "The source hears of a super node again and again",
    "rp",
    seconds=DEFAULTS.refresh_rp + 12,
)
def super_node_reported_again(tester: Tester) -> None:
    source, peer = new_source(tester), new_super_node(tester)
    report_of(source, peer)
    parameters = tester.timing.parameters
    began = tester.now
    times = []
    while tester.now < began + parameters.refresh_rp + 6.0:
        tester.wait(parameters.refresh_rp_core)
        tester.register(source)
        tester.register(peer)
        tester.wait(tester.timing.answer)
        if source.seen(StatusReport, lambda message: message.subject.host == peer.host):
            times.append(tester.now - began)
            source.forget(StatusReport)
    tester.check(bool(times), "a super node is not reported again")
    tester.check(times[0] > parameters.refresh_rp - 1.0, f"reported again after {times[0]:.1f} s")


@case("4/41", "The source hears that a host left", "rp")
def leave_reported(tester: Tester) -> None:
    source, peer = new_source(tester), tester.peer()
    tester.register(peer)
    report_of(source, peer)
    peer.ask(LeaveReport)
    state = report_of(source, peer).state
    peer.host = NO_HOST
    tester.equal(HostState(state), HostState.LEAVING, "the state in the report")


@case("4/42", "The source hears that a host fell silent", "rp", seconds=5 * DEFAULTS.refresh_rp + 5)
def silence_reported(tester: Tester) -> None:
    source, peer = new_source(tester), tester.peer()
    tester.register(peer)
    report_of(source, peer)
    parameters = tester.timing.parameters
    for _ in range(5):
        tester.wait(parameters.refresh_rp - 1.0)
        tester.register(source)
    state = report_of(source, peer).state
    peer.host = NO_HOST
    tester.equal(HostState(state), HostState.INACTIVE, "the state in the report")


@case("4/43", "A new source hears of the best first", "rp", needs=(Feature.FRESH,))
def new_source_told(tester: Tester) -> None:
    leaf, strong = tester.peer("leaf"), tester.peer("strong")
    leaf.out_degree, strong.out_degree = 1, 50
    for peer in (leaf, strong):
        tester.register(peer)
    weak = new_super_node(tester, "weak", out_degree=2)
    source = new_source(tester)
    tester.wait(tester.timing.answer)
    told = [message.subject.host for message in source.seen(StatusReport)]
    tester.equal(told, [weak.host, strong.host], "of whom the source is told")


@case("4/43", "A new source hears of a hundred hosts at most", "rp", needs=(Feature.FRESH,))
def new_source_told_of_a_hundred(tester: Tester) -> None:
    for _ in range(MOST_SUPER_NODES + 8):
        tester.register(tester.peer())
    source = new_source(tester)
    tester.wait(2 * tester.timing.answer)
    told = {message.subject.host for message in source.seen(StatusReport)}
    # An RP may count the source itself among the hundred.
    tester.check(
        MOST_SUPER_NODES - 1 <= len(told) <= MOST_SUPER_NODES, f"it is told of {len(told)} hosts"
    )


@case("4/44", "An offer goes on to the source", "rp")
def offer_passed_on(tester: Tester) -> None:
    source, peer = new_source(tester), tester.peer()
    peer.out_degree = 1
    tester.register(peer)
    offer = peer.record(flags=HostFlag.OFFERS, endpoint=source.endpoint)
    peer.ask(SourceRequest, host=offer)
    subject = report_of(source, peer).subject
    tester.equal(subject.endpoint, peer.endpoint, "the endpoint in the report")
    tester.check(bool(subject.flags & HostFlag.OFFERS), "the report does not say that it offers")


@case("4/44", "A stranger's offer goes nowhere", "rp")
def stranger_offers(tester: Tester) -> None:
    source, peer, forger = new_source(tester), tester.peer(), tester.peer("forger")
    tester.register(peer)
    report_of(source, peer)
    offer = peer.record(flags=HostFlag.OFFERS)
    forger.ask(SourceRequest, host=offer, source=peer.host)
    source.expect_silence(StatusReport)


@case("4/45", "The source is not told of ordinary hosts", "rp")
def ordinary_not_reported(tester: Tester) -> None:
    source, peer = new_source(tester), tester.peer()
    peer.flags = HostFlag.ORDINARY
    tester.register(peer)
    peer.ask(SourceRequest, host=peer.record(flags=HostFlag.ORDINARY | HostFlag.OFFERS))
    source.expect_silence(StatusReport)
    tester.check(not source.seen(StatusReport), "an ordinary host is reported")


def raise_version(source: Peer, subject: Peer, state: HostState = HostState.ACTIVE) -> int:
    """Report a change of the mesh; return the tree version that the RP says."""
    answer = source.ask(StatusReport, state=state, subject=subject.record())
    assert answer.status == Status.SUCCESS
    source.tree_version = answer.tree_version
    return source.tree_version


@case("4/46", "A change of the mesh raises the tree version", "rp")
def version_raised(tester: Tester) -> None:
    source, peer = new_source(tester), new_super_node(tester)
    before = source.tree_version = tester.register(source).tree_version
    for _ in range(3):
        after = raise_version(source, peer)
        tester.check(serial_newer(after, before, 8), f"{after} is not newer than {before}")
        before = after
    told = source.tree_version = (before + 60) & 0xFF or 1
    after = raise_version(source, peer)
    tester.check(serial_newer(after, told, 8), f"{after} is not newer than the source's {told}")


@case("4/46", "The tree version wraps", "rp", seconds=20)
def version_wraps(tester: Tester) -> None:
    source, peer = new_source(tester), new_super_node(tester)
    before = source.tree_version = tester.register(source).tree_version
    for _ in range(6):
        source.tree_version = (before + 100) & 0xFF or 1
        told = source.tree_version
        before = raise_version(source, peer)
        tester.check(serial_newer(before, told, 8), f"{before} is not newer than {told}")


@case("4/47", "Only the source raises the tree version", "rp")
def report_of_another(tester: Tester) -> None:
    source, peer, forger = new_source(tester), new_super_node(tester), tester.peer("forger")
    before = tester.register(source).tree_version
    for host, sender in ((peer.host, peer), (source.host, forger)):
        answer = sender.ask(
            StatusReport, source=host, state=HostState.INACTIVE, subject=peer.record()
        )
        tester.equal(Status(answer.status), Status.REFUSED, "the answer")
    tester.equal(tester.register(source).tree_version, before, "the tree version")
    tester.check(peer.host in named(tester), "a super node is gone at another one's word")


@case("4/48", "An RP that is behind learns the tree version from the source", "rp")
def version_learnt(tester: Tester) -> None:
    source = new_source(tester)
    before = tester.register(source).tree_version
    source.tree_version = (before + 10) & 0xFF or 11
    tester.register(source)
    tester.equal(tester.register(tester.peer()).tree_version, source.tree_version, "the version")
    newest, source.tree_version = source.tree_version, before
    tester.register(source)
    tester.equal(tester.register(tester.peer()).tree_version, newest, "the version later")


@case("4/49", "A host that says a newer tree version keeps it, the RP its own", "rp")
def version_of_another(tester: Tester) -> None:
    source, peer = new_source(tester), tester.peer()
    own = tester.register(source).tree_version
    tester.register(peer)
    peer.tree_version = (own + 20) & 0xFF or 21
    tester.equal(tester.register(peer).tree_version, peer.tree_version, "what it is answered")
    tester.equal(tester.register(tester.peer()).tree_version, own, "what others are told")


@case("4/50", "A super node that the source gives up is no candidate", "rp")
def given_up_by_source(tester: Tester) -> None:
    source = new_source(tester)
    for state in (HostState.INACTIVE, HostState.LEAVING):
        peer = new_super_node(tester)
        tester.check(peer.host in named(tester), "a super node is not named")
        raise_version(source, peer, state)
        tester.check(peer.host not in named(tester), f"a super node that is {state.name} is named")


@case("1/26", "A super node in an unknown state is given up", "rp")
def unknown_state(tester: Tester) -> None:
    source, peer = new_source(tester), new_super_node(tester)
    source.ask(StatusReport, state=77, subject=peer.record())
    tester.check(peer.host not in named(tester), "a super node in an unknown state is named")


@case("4/51", "Those that the source named go before others", "rp", needs=(Feature.FRESH,))
def hundred_super_nodes(tester: Tester) -> None:
    source = new_source(tester)
    for _ in range(MOST_SUPER_NODES):
        new_super_node(tester, free_slots=1)
    late = new_super_node(tester, "late", free_slots=500)
    tester.check(late.host not in named(tester), "one hundred and one super nodes are kept")
    raise_version(source, late)
    tester.register(late)
    tester.check(late.host in named(tester), "the source's super node is not kept")


@case("4/54", "A crowd of newcomers is not sent to the same few", "rp", needs=(Feature.FRESH,))
def crowd(tester: Tester) -> None:
    for _ in range(2):
        new_super_node(tester, free_slots=100)
    found = [len(tester.register(tester.peer()).super_nodes) for _ in range(8)]
    tester.equal(found[:4], [2, 2, 2, 2], "how many are named to the first four")
    tester.equal(found[-1], 1, "how many are named to the eighth")

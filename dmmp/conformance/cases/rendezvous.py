"""Section 4, first part: what a rendezvous point tells hosts, and which super nodes it names."""

from __future__ import annotations

from dmmp.conformance.case import Feature, case
from dmmp.conformance.generic import expect_dropped, probe
from dmmp.conformance.peer import Peer
from dmmp.conformance.playing import answer_plainly
from dmmp.conformance.tester import Tester
from dmmp.conformance.timing import DEFAULTS
from dmmp.messages import (
    Data,
    Heartbeat,
    LeaveReport,
    PingRpRequest,
    PingRpResponse,
    SourceRequest,
    SourceResponse,
    SubscriptionRequest,
    encode,
)
from dmmp.messages.common import HostFlag, Phase, Status
from dmmp.types import NO_HOST, NO_SESSION, STUN_MAGIC, HostId, SessionId

EXCUSES = {
    "4/53": "how many hosts an RP can keep is its own to say; ours keeps 200,000",
}

LAPSE = DEFAULTS.hold_rp + DEFAULTS.refresh_rp + 5
"""Seconds after which a host that said nothing is forgotten for certain."""

ID_BITS = 28
"""Bits of an id below the RP's index."""


def new_super_node(tester: Tester, name: str = "", **fields: object) -> Peer:
    """Register a super node that has its place, with room unless `fields` say otherwise."""
    peer = tester.peer(name)
    peer.flags, peer.depth, peer.out_degree, peer.free_slots = HostFlag.SUPER_NODE, 1, 8, 4
    for key, value in fields.items():
        setattr(peer, key, value)
    answer_plainly(peer)
    tester.register(peer)
    return peer


def new_source(tester: Tester, name: str = "source") -> Peer:
    """Register a source that answers what it is asked."""
    source = tester.peer(name)
    source.flags, source.depth, source.out_degree = HostFlag.SOURCE, 0, 8
    answer_plainly(source)
    tester.register(source)
    return source


def named(tester: Tester, refused: tuple[HostId, ...] = ()) -> list[HostId]:
    """List whom the RP names to a newcomer; not so often that it would name fewer."""
    tester.wait(2 / tester.timing.parameters.newcomer_probes)
    asker = tester.peer("asker")
    answer = tester.register(asker, refused=refused)
    asker.ask(LeaveReport)
    asker.host = NO_HOST
    return [record.host for record in answer.super_nodes]


@case("4/1", "A session that is served has an id", "rp")
def session_served(tester: Tester) -> None:
    answer = tester.locate()
    tester.equal(Status(answer.status), Status.SUCCESS, "the answer")
    tester.check(answer.session not in (0, STUN_MAGIC), f"the session is {answer.session:#x}")
    tester.check(answer.source != NO_HOST, "the RP names no id of its own")


@case("4/2", "Another session is unknown", "rp")
def session_unknown(tester: Tester) -> None:
    tester.locate()
    peer = tester.peer()
    for name in ("another", "", tester.session_name.upper(), tester.session_name + " "):
        answer = peer.ask(SubscriptionRequest, group_name=name)
        tester.equal(Status(answer.status), Status.UNKNOWN_SESSION, f"the answer to {name!r}")
        tester.equal(answer.session, NO_SESSION, "the session of the answer")


@case("4/3", "The domain is not looked at", "rp")
def domain_ignored(tester: Tester) -> None:
    tester.locate()
    peer = tester.peer()
    answer = peer.ask(SubscriptionRequest, group_name=tester.session_name, domain="example.org")
    tester.equal(Status(answer.status), Status.SUCCESS, "the answer")


@case("4/4", "The session's id stays", "rp")
def session_stays(tester: Tester) -> None:
    wanted = tester.locate().session
    for _ in range(3):
        tester.equal(tester.locate().session, wanted, "the session's id")


@case("4/5", "A registration gives an id and shows the endpoint", "rp")
def first_registration(tester: Tester) -> None:
    peer = tester.peer()
    answer = tester.register(peer)
    tester.equal(Status(answer.status), Status.SUCCESS, "the answer")
    tester.check(answer.host != NO_HOST, "the answer gives no id")
    tester.equal(answer.observed, peer.endpoint, "the endpoint in the answer")


@case("4/6", "Different hosts get different ids", "rp")
def different_ids(tester: Tester) -> None:
    own = tester.locate().source
    hosts = [tester.register(tester.peer()).host for _ in range(5)]
    tester.equal(len({own, *hosts}), 6, "the number of different ids")


@case("4/7", "The same instance has the same id", "rp")
def same_instance(tester: Tester) -> None:
    peer, elsewhere = tester.peer(), tester.peer("moved")
    host = tester.register(peer).host
    tester.equal(tester.register(peer).host, host, "the id of a renewal")
    peer.host = NO_HOST
    tester.equal(tester.register(peer).host, host, "the id without the one brought")
    elsewhere.instance = peer.instance
    tester.equal(tester.register(elsewhere).host, host, "the id at another endpoint")


@case("4/8", "A host keeps the id that it brings", "rp")
def brought_id(tester: Tester) -> None:
    peer = tester.peer()
    peer.host = HostId(0xA000_0123)
    answer = tester.register(peer)
    tester.equal(answer.host, 0xA000_0123, "the id")


@case("4/8", "An id that a host brings counts, the RP's own for it is forgotten", "rp")
def brought_id_later(tester: Tester) -> None:
    peer = tester.peer()
    given = tester.register(peer)
    peer.host = HostId(0xA000_0124)
    answer = tester.register(peer)
    tester.equal(answer.host, 0xA000_0124, "the id")
    tester.equal(answer.hosts, given.hosts, "the number of hosts")


@case("4/9", "An id that another host holds is not given twice", "rp")
def brought_id_of_another(tester: Tester) -> None:
    own = tester.locate().source
    holder, peer = tester.peer("holder"), tester.peer("second")
    holder.host = peer.host = HostId(0xA000_0125)
    tester.register(holder)
    answer = tester.register(peer)
    count = peer.instance % ((1 << ID_BITS) - 1) + 1
    wanted = own >> ID_BITS << ID_BITS | count
    tester.equal(answer.host, wanted, "the id")
    tester.equal(tester.register(holder).host, 0xA000_0125, "the id of who holds it")


@case("4/10", "Ids bear the RP's index", "rp")
def index_in_ids(tester: Tester) -> None:
    index = tester.locate().source >> ID_BITS
    for _ in range(3):
        host = tester.register(tester.peer()).host
        tester.equal(host >> ID_BITS, index, "the top four bits of an id")


@case("4/11", "A host that was started again is one host", "rp")
def started_again(tester: Tester) -> None:
    peer = new_super_node(tester)
    before, hosts = peer.host, tester.register(peer).hosts
    peer.instance, peer.host = peer.instance ^ 1, NO_HOST
    answer = tester.register(peer)
    tester.check(answer.host != before, "the new start has the old id")
    tester.equal(answer.hosts, hosts, "the number of hosts")
    tester.check(before not in named(tester), "the old id is still named")


@case("4/12", "Nobody registers in a session that is not served", "rp")
def registration_elsewhere(tester: Tester) -> None:
    peer = tester.peer()
    other = SessionId(tester.session ^ 1)
    answer = tester.register(peer, session=other)
    tester.equal(Status(answer.status), Status.UNKNOWN_SESSION, "the answer")


@case("4/13", "A super node is named, as it last described itself", "rp")
def super_node_named(tester: Tester) -> None:
    peer = new_super_node(tester, uptime=5)
    peer.uptime, peer.free_slots, peer.out_degree = 50, 3, 9
    tester.register(peer)
    asker = tester.peer()
    found = [each for each in tester.register(asker).super_nodes if each.host == peer.host]
    tester.equal(found, [peer.record()], "what is said of the super node")


@case("1/20", "Unknown flags change nothing", "rp")
def unknown_flags(tester: Tester) -> None:
    peer = new_super_node(tester, flags=HostFlag.SUPER_NODE | 0x80)
    tester.check(peer.host in named(tester), "a super node with an unknown flag is not named")


@case("1/25", "The endpoint in a record does not count", "rp")
def claimed_endpoint(tester: Tester) -> None:
    peer, elsewhere = new_super_node(tester), tester.peer("elsewhere")
    tester.register(peer, host=peer.record(endpoint=elsewhere.endpoint))
    answer = tester.register(tester.peer())
    found = [each.endpoint for each in answer.super_nodes if each.host == peer.host]
    tester.equal(found, [peer.endpoint], "the endpoint of the super node")


@case("4/14", "Who is no super node, or has no place, is no candidate", "rp")
def no_candidates(tester: Tester) -> None:
    homeless = new_super_node(tester, "homeless", depth=255)
    member = new_super_node(tester, "member", flags=0)
    former = new_super_node(tester, "former")
    tester.check(former.host in named(tester), "a super node with a place is not named")
    former.flags = 0
    tester.register(former)
    found = named(tester)
    for peer in (homeless, member, former):
        tester.check(peer.host not in found, f"{peer.name} is named")


@case("4/15", "Nobody is named to itself", "rp")
def not_to_itself(tester: Tester) -> None:
    peer = new_super_node(tester)
    answer = tester.register(peer)
    tester.check(peer.host not in [each.host for each in answer.super_nodes], "it names itself")


@case("4/16", "Twelve candidates at most", "rp")
def twelve_candidates(tester: Tester) -> None:
    for _ in range(14):
        new_super_node(tester)
    found = named(tester)
    tester.equal(len(found), 12, "the number of candidates")
    tester.equal(len(set(found)), 12, "the number of different candidates")


@case("4/17", "Free slots and not refused: nobody else is named", "rp", needs=(Feature.FRESH,))
def usable_candidates(tester: Tester) -> None:
    good = new_super_node(tester, "good")
    full = new_super_node(tester, "full", free_slots=0)
    refused = new_super_node(tester, "refused")
    tester.equal(named(tester, (refused.host,)), [good.host], "who is named")
    tester.check(full.host not in named(tester), "a full super node is named")


@case("4/18", "Better refused with room than full", "rp", needs=(Feature.FRESH,))
def refused_candidates(tester: Tester) -> None:
    refused = new_super_node(tester, "refused")
    new_super_node(tester, "full", free_slots=0)
    tester.equal(named(tester, (refused.host,)), [refused.host], "who is named")


@case("4/19", "Full ones where no other is left", "rp", needs=(Feature.FRESH,))
def full_candidates(tester: Tester) -> None:
    full = new_super_node(tester, "full", free_slots=0)
    other = new_super_node(tester, "other", free_slots=0)
    tester.equal(named(tester, (other.host,)), [full.host], "who is named")
    found = sorted(named(tester, (other.host, full.host)))
    tester.equal(found, sorted((full.host, other.host)), "who is named of the refused")


@case("4/20", "Those with most room are among the twelve", "rp", needs=(Feature.FRESH,))
def roomy_candidates(tester: Tester) -> None:
    roomy = [new_super_node(tester, f"roomy{number}", free_slots=100) for number in range(4)]
    for _ in range(12):
        new_super_node(tester, free_slots=1)
    found = named(tester)
    for peer in roomy:
        tester.check(peer.host in found, f"{peer.name} is not named")


@case("4/21", "BUILDING ends 5 s after the first place", "rp", seconds=8, needs=(Feature.FRESH,))
def phase(tester: Tester) -> None:
    def present() -> Phase:
        return Phase(tester.register(tester.peer()).phase)

    window = tester.timing.parameters.build_window
    tester.equal(present(), Phase.BUILDING, "the phase before any super node")
    new_super_node(tester, "homeless", depth=255)
    new_super_node(tester)
    tester.wait(window - 0.5)
    tester.equal(present(), Phase.BUILDING, "the phase within 5 s")
    tester.wait(1.0)
    tester.equal(present(), Phase.RUNNING, "the phase later")


@case("4/22", "The number of hosts is that of the registered ones", "rp")
def number_of_hosts(tester: Tester) -> None:
    one, other = tester.peer(), tester.peer()
    before = tester.register(one).hosts
    tester.equal(tester.register(other).hosts, before + 1, "the number of hosts")
    other.ask(LeaveReport)
    other.host = NO_HOST
    tester.equal(tester.register(one).hosts, before, "the number of hosts after one left")


@case("4/23", "Who renews is kept", "rp", seconds=6 * DEFAULTS.refresh_rp + 5)
def renewed(tester: Tester) -> None:
    peer = new_super_node(tester)
    parameters = tester.timing.parameters
    for _ in range(6):
        tester.wait(parameters.refresh_rp)
        tester.register(peer)
    tester.check(peer.host in named(tester), "a host that renews is forgotten")


@case("4/24", "Who is silent for the hold time is forgotten", "rp", seconds=LAPSE)
def forgotten(tester: Tester) -> None:
    peer = new_super_node(tester)
    parameters = tester.timing.parameters
    tester.wait(parameters.hold_rp - 2.0)
    tester.check(peer.host in named(tester), "a host is forgotten too soon")
    tester.wait(parameters.refresh_rp + 4.0)
    tester.check(peer.host not in named(tester), "a silent host is not forgotten")


@case("4/25", "Who leaves is forgotten at once", "rp")
def leaves(tester: Tester) -> None:
    peer = new_super_node(tester)
    tester.check(peer.host in named(tester), "a super node is not named")
    peer.ask(LeaveReport)
    tester.check(peer.host not in named(tester), "who left is still named")


@case("1/21", "Who leaves for an unknown reason is forgotten", "rp")
def leaves_somehow(tester: Tester) -> None:
    peer = new_super_node(tester)
    peer.ask(LeaveReport, reason=99)
    tester.check(peer.host not in named(tester), "who left is still named")


@case("4/26", "Nobody else can say that a host leaves", "rp")
def forged_leave(tester: Tester) -> None:
    peer, forger = new_super_node(tester), tester.peer("forger")
    forger.ask(LeaveReport, source=peer.host)
    tester.check(peer.host in named(tester), "a host is gone at another one's word")


@case("4/27", "Without a source there is none", "rp", needs=(Feature.FRESH,))
def no_source(tester: Tester) -> None:
    peer = tester.peer()
    tester.register(peer)
    answer = peer.ask(SourceRequest, host=peer.record())
    tester.equal(Status(answer.status), Status.NO_SOURCE, "the answer")


@case("4/28", "The source is named", "rp")
def source_named(tester: Tester) -> None:
    source, peer = new_source(tester), tester.peer()
    tester.register(peer)
    answer = peer.ask(SourceRequest, host=peer.record())
    assert isinstance(answer, SourceResponse)
    tester.equal(Status(answer.status), Status.SUCCESS, "the answer")
    tester.equal(answer.origin, source.record(), "what is said of the source")


@case("4/29", "No source in a session that is not served", "rp")
def source_elsewhere(tester: Tester) -> None:
    peer = tester.peer()
    other = SessionId(tester.session ^ 1)
    answer = peer.ask(SourceRequest, host=peer.record(), session=other)
    tester.equal(Status(answer.status), Status.UNKNOWN_SESSION, "the answer")


@case("4/52", "An RP passes nothing on", "rp")
def passes_nothing_on(tester: Tester) -> None:
    source, peer = new_source(tester), new_super_node(tester)
    peer.forget()
    source.forget()
    data = source.make(Data, reserved=1, payload=bytes(40))
    heartbeat = source.make(
        Heartbeat,
        reserved=0x01000001,
        group=peer.endpoint.address,
        origin_address=source.endpoint.address,
        highest=1,
        started=1,
    )
    source.send(data)
    source.send(heartbeat)
    peer.expect_silence()
    expect_dropped(source, [encode(data)], may_err=False)


@case("3/13", "A lost answer to a registration changes nothing", "rp")
def lost_registration_answer(tester: Tester) -> None:
    peer = tester.peer()
    request = peer.make(PingRpRequest, instance=peer.instance, host=peer.record())
    answers = []
    for _ in range(2):
        peer.send(request)
        tester.wait(tester.timing.answer)
        answers += peer.seen(PingRpResponse)
        peer.forget()
    peer.host = answers[0].host
    tester.equal([each.host for each in answers], 2 * [peer.host], "the ids")
    probe(peer)

"""Section 4, third part: how hosts find the RPs and an identity there."""

from __future__ import annotations

from dmmp.conformance.case import Feature, case
from dmmp.conformance.cases.requests import HOSTS, located, quiet_rp, welcome
from dmmp.conformance.generic import probe
from dmmp.conformance.peer import Peer
from dmmp.conformance.playing import RP_ID, SUBJECT_ID, choose, play_rp, settle
from dmmp.conformance.requirement import Role
from dmmp.conformance.tester import Tester
from dmmp.conformance.timing import DEFAULTS
from dmmp.messages import PingRpRequest, PingRpResponse, SubscriptionRequest, SubscriptionResponse
from dmmp.messages.common import NOT_JOINED_DEPTH, HostFlag, Status
from dmmp.types import NO_HOST, NO_SESSION, NOWHERE, HostId, SessionId

PERIOD = 1.2 * DEFAULTS.refresh_rp + 5
"""Seconds in which every host renews its registration once."""

SECOND_RP_ID = HostId(0x1000_0001)


def arrived_at(peer: Peer) -> float:
    """Return when what a peer took last came."""
    assert peer.last is not None
    return peer.last.at


@case("4/60", "It asks for the session by name", *HOSTS)
def first_question(tester: Tester) -> None:
    request = quiet_rp(tester).expect(SubscriptionRequest)
    tester.equal(request.group_name, tester.session_name, "the name")
    tester.equal(request.session, NO_SESSION, "the session")
    tester.equal(request.source, NO_HOST, "its id")


@case("4/61", "The second RP is asked half a second later", *HOSTS, needs=(Feature.SECOND_RP,))
def second_rp(tester: Tester) -> None:
    first, second = tester.points
    first.expect(SubscriptionRequest)
    second.expect(SubscriptionRequest, within=1.0)
    spacing = tester.timing.parameters.rp_spacing
    between = arrived_at(second) - arrived_at(first)
    tester.near(between, spacing, spacing, "from the first RP to the second")


@case("4/61", "The second RP is enough", *HOSTS, seconds=8, needs=(Feature.SECOND_RP,))
def second_rp_alone(tester: Tester) -> None:
    play_rp(tester, peer=tester.points[1])
    tester.points[1].expect(PingRpRequest, within=1.0)
    tester.wait(tester.timing.answer)
    tester.equal(probe(tester.peer()).source, SUBJECT_ID, "its id")


@case("4/62", "After a refusal the next RP is asked at once", *HOSTS, needs=(Feature.SECOND_RP,))
def refused_by_first(tester: Tester) -> None:
    first, second = tester.points
    request = first.expect(SubscriptionRequest)
    began = arrived_at(first)
    first.answer(request, SubscriptionResponse, session=NO_SESSION, status=Status.UNKNOWN_SESSION)
    play_rp(tester, peer=second)
    second.expect(PingRpRequest)
    spacing = tester.timing.parameters.rp_spacing
    tester.near(arrived_at(second) - began, 0.0, spacing / 2, "from one RP to the other")


@case("4/63", "Nobody serves the session: a pause of 10 s", *HOSTS, seconds=14)
def unknown_everywhere(tester: Tester) -> None:
    rp = quiet_rp(tester)
    request = rp.expect(SubscriptionRequest)
    rp.answer(request, SubscriptionResponse, session=NO_SESSION, status=Status.UNKNOWN_SESSION)
    rp.expect_silence(seconds=tester.timing.parameters.retry_bootstrap_most - 0.5)


@case("4/64", "It registers in the session that the RP named", *HOSTS)
def registers(tester: Tester) -> None:
    rp = quiet_rp(tester)
    named = SessionId(tester.session ^ 0x00FF00FF)
    request = rp.expect(SubscriptionRequest)
    rp.answer(request, SubscriptionResponse, session=named, lifetime=60)
    registration = rp.expect(PingRpRequest)
    tester.equal(registration.session, named, "the session")
    tester.equal(registration.source, NO_HOST, "its id")
    tester.equal(registration.host.host, NO_HOST, "the id in its record")


@case("4/65", "The instance stays", *HOSTS, seconds=PERIOD)
def instance_stays(tester: Tester) -> None:
    rp = play_rp(tester).peer
    found = [rp.expect(PingRpRequest).instance]
    parameters = tester.timing.parameters
    found.append(rp.expect(PingRpRequest, within=1.2 * parameters.refresh_rp).instance)
    tester.equal(found[1], found[0], "the instance of a renewal")
    tester.check(found[0] != 0, "the instance is 0")


@case("4/66", "It has the id that it was given", *HOSTS)
def id_taken(tester: Tester) -> None:
    rp, request = located(tester)
    rp.send(welcome(rp, request, HostId(0xA0B0_C0D0)))
    tester.wait(tester.timing.answer)
    answer = probe(tester.peer())
    tester.equal(answer.source, 0xA0B0_C0D0, "its id")
    tester.equal(answer.sender.host, 0xA0B0_C0D0, "the id in its record")


@case("4/67", "Its endpoint is what the RP saw", *HOSTS)
def observed_endpoint(tester: Tester) -> None:
    rp, request = located(tester)
    tester.equal(request.host.endpoint, NOWHERE, "the endpoint before")
    elsewhere = tester.peer("elsewhere").endpoint
    answer = rp.reply(
        request, PingRpResponse, phase=1, host=SUBJECT_ID, observed=elsewhere, hosts=1
    )
    rp.send(answer)
    tester.wait(tester.timing.answer)
    tester.equal(probe(tester.peer()).sender.endpoint, elsewhere, "the endpoint in its record")


@case("4/68", "It renews in time", *HOSTS, seconds=3 * PERIOD)
def renews(tester: Tester) -> None:
    parameters = tester.timing.parameters
    period = parameters.refresh_rp_core
    if tester.role is Role.SUPER_NODE:
        rp, source, _ = choose(tester)
        settle(tester, source)
    else:
        rp = play_rp(tester)
        rp.peer.expect(PingRpRequest)
        period = period if tester.role is Role.SOURCE else parameters.refresh_rp
    rp.peer.forget()
    rp.peer.expect(PingRpRequest, within=1.2 * period)
    before = arrived_at(rp.peer)
    for _ in range(2):
        rp.peer.expect(PingRpRequest, within=1.2 * period)
        after = arrived_at(rp.peer)
        tester.near(after - before, 0.0, 1.2 * period, "from one renewal to the next")
        before = after


@case("4/69", "It brings its id to the other RPs", *HOSTS, needs=(Feature.SECOND_RP,))
def id_brought(tester: Tester) -> None:
    first, second = tester.points
    play_rp(tester)
    first.expect(PingRpRequest)
    play_rp(tester, peer=second)
    second.host = SECOND_RP_ID
    registration = second.expect(PingRpRequest, within=1.0)
    tester.equal(registration.source, SUBJECT_ID, "the id that it brings")


@case(
    "4/70",
    "An RP's other id counts, and the first RP hears of it",
    *HOSTS,
    needs=(Feature.SECOND_RP,),
)
def id_changed(tester: Tester) -> None:
    first, second = tester.points
    play_rp(tester)
    other = play_rp(tester, peer=second)
    second.host, other.subject = SECOND_RP_ID, HostId(0x1000_0500)
    first.expect(PingRpRequest)
    second.expect(PingRpRequest, within=1.0)
    again = first.expect(PingRpRequest, where=lambda message: message.source == other.subject)
    tester.equal(again.host.host, other.subject, "the id in its record")


@case("4/71", "Refused without an id: a pause of 10 s, then anew", *HOSTS, seconds=14)
def refused_registration(tester: Tester) -> None:
    rp, request = located(tester)
    rp.answer(request, PingRpResponse, status=Status.FULL, observed=tester.subject)
    pause = tester.timing.parameters.retry_bootstrap_most
    rp.expect_silence(seconds=pause - 0.5)
    play_rp(tester)
    rp.expect(SubscriptionRequest, within=0.5)
    rp.expect(PingRpRequest)


@case("4/72", "A silent RP is asked twice with each renewal", "source", seconds=45)
def silent_rp(tester: Tester) -> None:
    played = play_rp(tester)
    rp, parameters = played.peer, tester.timing.parameters
    rp.expect(PingRpRequest)
    tester.wait(tester.timing.answer)
    rp.vanish()
    rp.forget()
    tester.wait(1.2 * parameters.refresh_rp_core + 8.0)
    rp.forget()
    tester.wait(4 * parameters.refresh_rp_core)
    numbers = [message.sequence for message in rp.seen(PingRpRequest)]
    whole = set(numbers[2:-2])
    tester.check(bool(whole), "a silent RP is not asked any more")
    for number in whole:
        tester.equal(numbers.count(number), 2, "the number of tries")
    play_rp(tester)
    rp.forget()
    again = rp.expect(PingRpRequest, within=1.2 * parameters.refresh_rp_core)
    tester.equal(again.source, SUBJECT_ID, "its id")


@case("4/72", "An RP that fell silent is asked on", "super-node", "member", seconds=4 * PERIOD)
def asked_on(tester: Tester) -> None:
    rp, parameters = play_rp(tester).peer, tester.timing.parameters
    rp.expect(PingRpRequest)
    tester.wait(tester.timing.answer)
    rp.vanish()
    tester.wait(1.2 * parameters.refresh_rp + 8.0)
    rp.forget()
    tester.wait(1.2 * parameters.refresh_rp)
    tester.check(bool(rp.seen(PingRpRequest)), "a silent RP is not asked any more")
    rp.forget()
    play_rp(tester)
    again = rp.expect(PingRpRequest, within=1.2 * parameters.refresh_rp)
    tester.equal(again.source, SUBJECT_ID, "its id")


@case("4/73", "One RP at two addresses is one", *HOSTS, seconds=PERIOD, needs=(Feature.SECOND_RP,))
def same_rp_twice(tester: Tester) -> None:
    first, second = tester.points
    play_rp(tester)
    first.expect(PingRpRequest)
    play_rp(tester, peer=second)
    second.host = RP_ID
    tester.wait(1.2 * tester.timing.parameters.refresh_rp)
    tester.equal(len(second.seen(PingRpRequest)), 0, "the number of registrations at the second")


@case("4/74", "It says of what kind it is", *HOSTS)
def first_record(tester: Tester) -> None:
    _, request = located(tester)
    wanted = {
        Role.SOURCE: HostFlag.SOURCE,
        Role.SUPER_NODE: HostFlag.OFFERS | HostFlag.RELAY_ONLY,
        Role.MEMBER: HostFlag.NONE,
    }
    tester.equal(request.host.flags, int(wanted[tester.role]), "the flags")
    tester.equal(request.host.depth, NOT_JOINED_DEPTH, "the depth")
    tester.equal(request.host.free_slots, 0, "the free slots")

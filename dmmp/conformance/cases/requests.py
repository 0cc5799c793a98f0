"""Section 3: requests, responses and repetition."""

from __future__ import annotations

from itertools import pairwise

from dmmp.conformance.case import case
from dmmp.conformance.generic import probe, ready
from dmmp.conformance.peer import Peer
from dmmp.conformance.playing import RP_ID, SUBJECT_ID, answer_plainly, play_rp
from dmmp.conformance.tester import Tester
from dmmp.messages import (
    LeaveReport,
    Message,
    PingRpRequest,
    PingRpResponse,
    ProbeRequest,
    SourceResponse,
    StatusReport,
    StatusResponse,
    SubscriptionRequest,
    SubscriptionResponse,
)
from dmmp.messages.common import HostFlag, HostRecord, HostState, Status
from dmmp.types import NO_HOST, HostId

EXCUSES = {
    "3/12": "one start of a host shows one number; that it was drawn nobody can see from outside",
    "3/16": "the tester cannot make an alarm of another program come late",
    "3/17": "the tester cannot see how many requests are open, and no role is asked for so many",
}

HOSTS = ("source", "super-node", "member")


def quiet_rp(tester: Tester) -> Peer:
    """Play an RP that says only what a case makes it say."""
    tester.rp.host = RP_ID
    return tester.rp


def located(tester: Tester) -> tuple[Peer, PingRpRequest]:
    """Answer the Subscription Request, and nothing else; return the first registration."""
    rp = quiet_rp(tester)
    rp.answer(rp.expect(SubscriptionRequest), SubscriptionResponse, lifetime=60)
    return rp, rp.expect(PingRpRequest)


def welcome(rp: Peer, request: Message, host: HostId = SUBJECT_ID) -> PingRpResponse:
    """Make the answer to a registration."""
    return rp.reply(
        request, PingRpResponse, phase=1, host=host, observed=rp.tester.subject, hosts=1
    )


def registered_source(tester: Tester) -> Peer:
    """Register a source at the RP under test; it answers nothing by itself."""
    source = tester.peer("source")
    source.flags, source.depth, source.out_degree = HostFlag.SOURCE, 0, 8
    tester.register(source)
    return source


def tries(tester: Tester, peer: Peer, cls: type[Message]) -> list[tuple[float, bytes]]:
    """Leave a message of a class, and what repeats it, unanswered; list when what came."""
    parameters = tester.timing.parameters
    first = peer.expect(cls)
    assert peer.last is not None
    found = [(peer.last.at, peer.last.datagram)]
    last = parameters.retry_first * 2 ** (parameters.retry_tries - 1)
    while True:
        arrived = tester.take(
            (peer,), (cls,), last, lambda message: message.sequence == first.sequence
        )
        if arrived is None:
            return found
        found.append((arrived.at, arrived.datagram))


@case("3/1", "A response has the next option and the request's number")
def answer_has_number(tester: Tester) -> None:
    peer = ready(tester)
    for sequence in (1, 0x7FFFFFFF, 0xFFFFFFFF):
        peer.ask(ProbeRequest, timestamp=3, sequence=sequence)
        peer.ask(LeaveReport, sequence=sequence)


@case("3/2", "A response goes where the request came from")
def answer_to_sender(tester: Tester) -> None:
    one, other = ready(tester), tester.peer("other")
    request = one.tell(ProbeRequest, timestamp=1)
    other.expect_silence()
    one.expect_answer(request)
    other.ask(ProbeRequest, timestamp=2)


@case("3/3", "A request that comes again is answered again")
def answered_again(tester: Tester) -> None:
    peer = ready(tester)
    for message in (peer.make(ProbeRequest, timestamp=9), peer.make(LeaveReport)):
        peer.send(message)
        first = peer.expect_answer(message)
        peer.send(message)
        again = peer.expect_answer(message)
        tester.equal(type(again), type(first), "the second answer")


@case("3/3", "A registration that comes again changes nothing", "rp")
def registered_again(tester: Tester) -> None:
    peer = tester.peer()
    request = peer.make(PingRpRequest, instance=peer.instance, host=peer.record())
    peer.send(request)
    first = peer.expect_answer(request)
    peer.send(request)
    again = peer.expect_answer(request)
    peer.host = first.host
    tester.equal(again.host, first.host, "the id in the second answer")
    tester.equal(again.hosts, first.hosts, "the number of hosts")


def check_tries(tester: Tester, found: list[tuple[float, bytes]]) -> None:
    """Compare what was tried, and when, with Decision 9."""
    parameters = tester.timing.parameters
    tester.equal(len(found), parameters.retry_tries, "the number of tries")
    for number, ((before, _), (after, _)) in enumerate(pairwise(found)):
        wait = parameters.retry_first * 2**number
        tester.near(after - before, wait, wait, f"from try {number + 1} to the next")


@case("3/4", "Five tries of the first question", *HOSTS, seconds=10)
def tries_of_host(tester: Tester) -> None:
    check_tries(tester, tries(tester, quiet_rp(tester), SubscriptionRequest))


@case("3/4", "Five tries of a registration", *HOSTS, seconds=10)
def tries_of_registration(tester: Tester) -> None:
    rp = quiet_rp(tester)
    rp.answer(rp.expect(SubscriptionRequest), SubscriptionResponse, lifetime=60)
    check_tries(tester, tries(tester, rp, PingRpRequest))


@case("3/4", "Five tries of a report to the source", "rp", seconds=10)
def tries_of_rp(tester: Tester) -> None:
    source = registered_source(tester)
    tester.register(tester.peer("other"))
    check_tries(tester, tries(tester, source, StatusReport))


@case("3/5", "A try repeats the bytes of the one before", *HOSTS, seconds=10)
def same_bytes(tester: Tester) -> None:
    found = tries(tester, quiet_rp(tester), SubscriptionRequest)
    tester.check(len(found) > 1, "the request is not repeated")
    tester.equal({each for _, each in found}, {found[0][1]}, "what the tries say")


@case("3/5", "A try of a report repeats the bytes of the one before", "rp", seconds=10)
def same_bytes_of_rp(tester: Tester) -> None:
    source = registered_source(tester)
    tester.register(tester.peer("other"))
    found = tries(tester, source, StatusReport)
    tester.check(len(found) > 1, "the report is not repeated")
    tester.equal({each for _, each in found}, {found[0][1]}, "what the tries say")


@case("3/6", "The request is given up 4 s after its last try", *HOSTS, seconds=12)
def given_up(tester: Tester) -> None:
    rp = quiet_rp(tester)
    last, _ = tries(tester, rp, SubscriptionRequest)[-1]
    rp.expect(SubscriptionRequest, within=1.0)
    assert rp.last is not None
    parameters = tester.timing.parameters
    wait = parameters.retry_first * 2 ** (parameters.retry_tries - 1)
    tester.near(rp.last.at - last, wait, wait, "from the last try to the next request")


@case("3/6", "No sixth try of a report", "rp", seconds=20)
def no_sixth_try(tester: Tester) -> None:
    source = registered_source(tester)
    tester.register(tester.peer("other"))
    tries(tester, source, StatusReport)
    source.expect_silence(StatusReport, seconds=6.0)


@case("3/7", "An answer to no request is none", *HOSTS)
def wrong_number(tester: Tester) -> None:
    rp, request = located(tester)
    for sequence in (request.sequence + 1, request.sequence - 1, 0):
        rp.tell(
            PingRpResponse,
            sequence=sequence & 0xFFFFFFFF,
            phase=1,
            host=SUBJECT_ID,
            observed=tester.subject,
        )
    again = rp.expect(PingRpRequest, within=tester.timing.parameters.retry_first)
    tester.equal(again.sequence, request.sequence, "the number of the second try")


@case("3/8", "An answer from elsewhere is none", *HOSTS)
def wrong_sender(tester: Tester) -> None:
    rp, request = located(tester)
    other = tester.peer("other")
    other.send(welcome(rp, request))
    again = rp.expect(PingRpRequest, within=tester.timing.parameters.retry_first)
    tester.equal(again.source, NO_HOST, "its id")
    rp.send(welcome(rp, again))
    tester.wait(tester.timing.answer)
    tester.equal(probe(other).source, SUBJECT_ID, "its id after the RP's own answer")


@case("3/9", "The first answer counts, the second does not", *HOSTS)
def second_answer(tester: Tester) -> None:
    rp, request = located(tester)
    answer_plainly(rp)
    rp.send(welcome(rp, request))
    rp.send(welcome(rp, request, HostId(0x777)))
    tester.wait(tester.timing.answer)
    tester.equal(probe(tester.peer()).source, SUBJECT_ID, "its id")


@case("3/10", "An answer of another kind is none", *HOSTS)
def wrong_kind(tester: Tester) -> None:
    rp, request = located(tester)
    rp.answer(request, SourceResponse, origin=HostRecord())
    rp.answer(request, StatusResponse)
    rp.answer(request, SubscriptionResponse, lifetime=60)
    again = rp.expect(PingRpRequest, within=tester.timing.parameters.retry_first)
    tester.equal(again.sequence, request.sequence, "the number of the second try")


@case("3/11", "Requests are numbered one by one", *HOSTS)
def numbers(tester: Tester) -> None:
    rp = quiet_rp(tester)
    first = rp.expect(SubscriptionRequest)
    rp.answer(first, SubscriptionResponse, lifetime=60)
    second = rp.expect(PingRpRequest)
    # 0 may be left out where the numbers wrap.
    step = (second.sequence - first.sequence) & 0xFFFFFFFF
    tester.check(step == 1 or (step == 2 and second.sequence == 1), f"the step is {step}, not 1")


@case("3/13", "A lost answer costs one repetition each", *HOSTS)
def lost_answers(tester: Tester) -> None:
    rp = quiet_rp(tester)
    wait = tester.timing.parameters.retry_first
    for cls in (SubscriptionRequest, PingRpRequest):
        first = rp.expect(cls)
        again = rp.expect(cls, within=wait)
        tester.equal(again.sequence, first.sequence, f"the number of the second {cls.__name__}")
        if isinstance(again, SubscriptionRequest):
            rp.answer(again, SubscriptionResponse, lifetime=60)
        else:
            rp.send(welcome(rp, again))
    tester.wait(tester.timing.answer)
    tester.equal(probe(tester.peer()).source, SUBJECT_ID, "its id")


@case("3/13", "A lost report costs one repetition", "rp")
def lost_report(tester: Tester) -> None:
    source = registered_source(tester)
    tester.register(tester.peer("other"))
    first = source.expect(StatusReport)
    again = source.expect(StatusReport, within=tester.timing.parameters.retry_first)
    tester.equal(again.sequence, first.sequence, "the number of the second try")
    source.answer(again, StatusResponse)
    source.expect_silence(StatusReport, seconds=3.0)


@case("3/14", "A silent RP is asked for ever", *HOSTS, seconds=40)
def asked_for_ever(tester: Tester) -> None:
    rp = quiet_rp(tester)
    rp.expect(SubscriptionRequest)
    for _ in range(4):
        rp.forget()
        tester.wait(4.5)
        rp.expect(SubscriptionRequest)
    play_rp(tester)
    rp.expect(PingRpRequest, within=4.0)
    tester.wait(tester.timing.answer)
    tester.equal(probe(tester.peer()).source, SUBJECT_ID, "its id")


@case("3/15", "An answer to the first try counts after the second", *HOSTS)
def late_answer(tester: Tester) -> None:
    rp = quiet_rp(tester)
    first = rp.expect(SubscriptionRequest)
    rp.expect(SubscriptionRequest, within=tester.timing.parameters.retry_first)
    rp.answer(first, SubscriptionResponse, lifetime=60)
    rp.expect(PingRpRequest)
    rp.answer(first, SubscriptionResponse, lifetime=60)
    rp.expect_silence(SubscriptionRequest)


@case("3/18", "A probe's timestamp comes back as it was")
def timestamp_returned(tester: Tester) -> None:
    peer = ready(tester)
    for timestamp in (0, 1, 0x0123456789ABCDEF, 0xFFFFFFFFFFFFFFFF):
        tester.equal(probe(peer, timestamp).timestamp, timestamp, "the timestamp")


@case("3/19", "A stranger's Leave Report is answered")
def stranger_leaves(tester: Tester) -> None:
    peer = ready(tester)
    for host in (NO_HOST, HostId(0x999)):
        answer = peer.ask(LeaveReport, source=host)
        tester.equal(Status(answer.status), Status.SUCCESS, "the answer")


@case("3/20", "A stranger's Status Report is answered")
def stranger_reports(tester: Tester) -> None:
    peer = ready(tester)
    subject = HostRecord(host=HostId(0x998), endpoint=peer.endpoint)
    for state in (HostState.ACTIVE, HostState.INACTIVE):
        peer.ask(StatusReport, source=HostId(0x999), state=state, subject=subject)

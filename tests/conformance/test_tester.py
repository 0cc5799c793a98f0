"""The tester notices what it is there to notice, and says how a case ended."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest

from dmmp.actions import Action
from dmmp.conformance.case import Case, Failure, Feature, Unsupported, Verdict, case
from dmmp.conformance.catalogue import choose_cases
from dmmp.conformance.generic import probe
from dmmp.conformance.in_process import InProcess, Running
from dmmp.conformance.in_process import make as make_ours
from dmmp.conformance.requirement import Role
from dmmp.conformance.runner import Plan, Result, run_all, run_case
from dmmp.conformance.tester import Tester
from dmmp.conformance.timing import REAL, VIRTUAL, with_timers
from dmmp.errors import UsageError
from dmmp.messages import (
    ProbeRequest,
    ProbeResponse,
    SubscriptionRequest,
    SubscriptionResponse,
    decode,
    encode,
)
from dmmp.parameters import Parameters
from dmmp.roles.rendezvous_point import RendezvousPoint
from dmmp.roles.role import Input
from dmmp.roles.standing import HostSetup
from dmmp.types import Endpoint, Instant


class Mute(RendezvousPoint):
    """An RP that says nothing once it was probed."""

    probed = False

    def receive(self, message: Input, sender: Endpoint, now: Instant) -> list[Action]:
        self.probed = self.probed or isinstance(message, ProbeRequest)
        return [] if self.probed else super().receive(message, sender, now)


class Babbler(InProcess):
    """A carrier whose implementation sends a byte too many."""

    def send(self, origin: Endpoint, to: Endpoint, datagram: bytes, delay: float = 0.0) -> None:
        extra = b"\0" if origin == self.subject else b""
        super().send(origin, to, datagram + extra, delay)


def mute(role: Role, setup: HostSetup, parameters: Parameters, rng: Random) -> Running:
    return Running(Mute((setup.session_name,), parameters, rng))


def ended(run: Case, *, carrier: type[InProcess] = InProcess, broken: bool = False) -> Result:
    def open_carrier(case: Case, seed: int) -> InProcess:
        if broken:
            return carrier(Role.RP, "conformance", Parameters(), seed, mute)
        return carrier(Role.RP, "conformance", Parameters(), seed)

    return run_case(run, Plan(Role.RP, open_carrier, VIRTUAL))


@case("3/18", "probes twice", "rp")
def probes(tester: Tester) -> None:
    peer = tester.peer()
    tester.locate(peer)
    probe(peer)
    probe(peer)


@case("1/1", "silence after a probe", "rp")
def wants_silence(tester: Tester) -> None:
    peer = tester.peer()
    tester.locate(peer)
    peer.tell(ProbeRequest, timestamp=1)
    peer.expect_silence()


@case("1/1", "nothing at all", "rp")
def does_nothing(tester: Tester) -> None:
    tester.peer().tell(ProbeRequest, timestamp=1)
    tester.wait(1.0)


@case("1/1", "not offered", "rp")
def unsupported(tester: Tester) -> None:
    raise Unsupported("it has none")


@case("1/1", "programs", "rp", needs=(Feature.SECURED, Feature.FRESH))
def needs_more(tester: Tester) -> None:
    raise AssertionError("never run")


@case("1/1", "a mistake in the case", "rp")
def mistaken(tester: Tester) -> None:
    raise KeyError("what")


def test_an_answer_passes_and_its_absence_fails() -> None:
    assert ended(probes).verdict is Verdict.PASSED
    found = ended(probes, broken=True)
    assert found.verdict is Verdict.FAILED
    assert "no ProbeResponse came to peer1" in found.reason


def test_silence_passes_and_an_answer_fails() -> None:
    found = ended(wants_silence)
    assert found.verdict is Verdict.FAILED
    assert found.reason == "ProbeResponse came to peer1: nothing may"
    assert ended(wants_silence, broken=True).verdict is Verdict.PASSED


def test_a_malformed_datagram_fails_any_case() -> None:
    found = ended(does_nothing, carrier=Babbler)
    assert found.verdict is Verdict.FAILED
    assert "malformed: length at byte 20" in found.reason


def test_what_is_not_offered_is_unsupported() -> None:
    found = ended(unsupported)
    assert (found.verdict, found.reason) == (Verdict.UNSUPPORTED, "it has none")


def test_a_missing_feature_is_unsupported() -> None:
    found = ended(needs_more)
    assert (found.verdict, found.reason) == (
        Verdict.UNSUPPORTED,
        f"needs {Feature.SECURED.value}",
    )


def test_a_leaf_need_not_have_children() -> None:
    def make_leaf(role: Role, setup: HostSetup, parameters: Parameters, rng: Random) -> Running:
        return make_ours(role, replace(setup, out_degree=0), parameters, rng)

    def open_carrier(case: Case, seed: int) -> InProcess:
        return InProcess(Role.MEMBER, "conformance", Parameters(), seed, make_leaf)

    plan = Plan(Role.MEMBER, open_carrier, VIRTUAL)
    (found,) = run_all(choose_cases(Role.MEMBER, ["1/20"]), plan)
    assert found.verdict is Verdict.UNSUPPORTED
    assert "takes no children" in found.reason


def test_a_mistake_fails_and_says_where() -> None:
    found = ended(mistaken)
    assert found.verdict is Verdict.FAILED
    assert "KeyError: 'what'" in found.reason
    assert "test_tester.py" in found.reason


def test_the_dialogue_is_kept() -> None:
    lines = ended(probes).lines
    said = [(line.peer, line.is_sent, type(decode(line.datagram)).__name__) for line in lines]
    assert said == [
        ("peer1", True, "SubscriptionRequest"),
        ("peer1", False, "SubscriptionResponse"),
        ("peer1", True, "ProbeRequest"),
        ("peer1", False, "ProbeResponse"),
        ("peer1", True, "ProbeRequest"),
        ("peer1", False, "ProbeResponse"),
    ]
    assert [line.at for line in lines] == pytest.approx([0, 0.002, 0.002, 0.004, 0.004, 0.006])


def test_jobs_change_no_result() -> None:
    cases = [probes, wants_silence, does_nothing, unsupported]
    plan = Plan(Role.RP, lambda case, seed: InProcess(Role.RP, "x", Parameters(), seed), VIRTUAL)
    plan = Plan(Role.RP, plan.open_carrier, VIRTUAL, "x")
    alone = [result.verdict for result in run_all(cases, plan)]
    assert alone == [result.verdict for result in run_all(cases, plan, jobs=3)]
    assert Verdict.PASSED in alone and Verdict.FAILED in alone


def new_tester(role: Role = Role.RP) -> Tester:
    carrier = InProcess(role, "conformance", Parameters(), 1)
    carrier.start()
    return Tester(carrier, role, "conformance", VIRTUAL, 1)


def test_expect_takes_what_came_first_and_once() -> None:
    tester = new_tester()
    peer = tester.peer()
    tester.locate(peer)
    for timestamp in (1, 2):
        peer.tell(ProbeRequest, timestamp=timestamp)
    tester.wait(0.1)
    assert [message.timestamp for message in peer.seen(ProbeResponse)] == [1, 2]
    assert peer.expect(ProbeResponse).timestamp == 1
    assert len(peer.inbox) == 1


def test_answers_by_itself_cover_what_waits() -> None:
    tester = new_tester(Role.MEMBER)
    tester.wait(0.1)
    waiting = tester.rp.inbox[0]
    before = waiting.is_answered
    tester.rp.on(
        SubscriptionRequest,
        lambda message: tester.rp.reply(message, SubscriptionResponse, lifetime=1),
    )
    assert (before, waiting.is_answered) == (False, True)
    tester.rp.expect_silence(SubscriptionRequest, seconds=1.0)


def test_a_delayed_peer_is_far_away() -> None:
    tester = new_tester()
    peer = tester.peer()
    tester.locate(peer)
    peer.delay = 0.1
    began = tester.now
    probe(peer)
    assert tester.now - began == pytest.approx(0.102)


def test_near_grants_the_tolerance_alone() -> None:
    tester = new_tester()
    tester.near(1.005, 1.0, 1.0, "x")
    with pytest.raises(Failure, match=r"x: 1\.100 s, not 1 to 1 s"):
        tester.near(1.1, 1.0, 1.0, "x")


def test_timers_are_taken_over() -> None:
    timing = with_timers(REAL, ("hold_rp=140", "refresh_rp=40"))
    assert (timing.parameters.hold_rp, timing.parameters.refresh_rp) == (140.0, 40.0)
    assert timing.answer == REAL.answer


@pytest.mark.parametrize("text", ["hold", "hold=3", "hold_rp", "hold_rp=soon", "children=3"])
def test_timers_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--timer"):
        with_timers(REAL, (text,))


def test_a_message_is_encoded_as_it_is_made() -> None:
    tester = new_tester()
    peer = tester.peer()
    tester.locate(peer)
    message = peer.make(ProbeRequest, timestamp=3, session=7, sequence=9, source=5)
    assert decode(encode(message)) == message

"""How a member gets its keys, keeps up, catches up, forgets and goes (RFC 2627, slide 23)."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address
from itertools import pairwise
from random import Random

import pytest

from dmmp.errors import AuthenticationError, DecodeError
from dmmp.messages import KeyLeave, KeyRequest, KeyResponse, Rekey
from dmmp.messages.common import Status
from dmmp.messages.keys import KeyRenewal, KeyWrap
from dmmp.security.key_member import FULL_WAIT, KEEP, LEAVE_TRIES, RENEW, KeyMember
from dmmp.security.key_server import KeyServer
from dmmp.security.key_wrap import ROOT, node_at
from dmmp.types import Endpoint
from tests.security.key_session import SESSION, SOURCE, Session


def asked(session: Session, since: float = 0.0) -> list[tuple[float, int, int]]:
    """List when who asked with which epoch."""
    return [
        (when, number, message.epoch)
        for when, number, message in session.requests
        if isinstance(message, KeyRequest) and when >= since
    ]


def member_of(members: int = 8, seed: int = 1) -> tuple[Session, KeyMember]:
    """Make a session, and give one of its members."""
    session = Session(seed)
    session.join(members)
    return session, session.members[0]


def answer_to(member: KeyMember, **fields: object) -> KeyResponse:
    """Answer the member's first request."""
    (send,) = member.want(SOURCE, 100.0)
    return replace(KeyResponse(sequence=send.message.sequence), **fields)  # type: ignore[arg-type]


def test_it_asks_and_gets_its_keys_at_once() -> None:
    session, member = member_of(1)
    assert asked(session) == [(100.0, 0, 0)]
    assert member.epoch == 1001
    assert member.current() == session.server.secret
    assert member.secret(1001 & 0xFF, 100.0) == session.server.secret
    following = member.next_alarm()
    assert following is not None
    assert 100.0 + 0.8 * RENEW <= following[0] <= 100.0 + 1.2 * RENEW


def test_unanswered_it_asks_again_ever_more_seldom() -> None:
    session = Session(loss=1.0)
    session.join(1)
    session.run(160.0)
    times = [when for when, _, _ in asked(session)]
    gaps = [after - before for before, after in pairwise(times)]
    for gap, expected in zip(gaps, (0.5, 1, 2, 4, 8, 8, 8), strict=False):
        assert 0.79 * expected <= gap <= 1.21 * expected
    assert len({message.sequence for _, _, message in session.requests}) == 1


def test_joins_are_noticed_by_the_data_alone() -> None:
    session, _ = member_of(20)
    session.run(110.0)
    for now in range(10):
        session.join(1)
        session.run(111.0 + now)
        assert session.up_to_date() == list(session.members)
    assert session.rekeys == []
    assert len(asked(session, 100.1)) == 10


def test_an_epoch_that_never_flowed_is_learnt_at_the_renewal() -> None:
    """300 changes without a packet: the eight bits on the wire have come round."""
    session, member = member_of(20)
    held = member.epoch
    tree = session.server._tree
    for _ in range(300):
        tree.change()
    assert member.secret(tree.epoch & 0xFF, 101.0) != session.server.secret
    session.run(140.0, flowing=False)
    assert member.epoch == held + 300
    assert session.up_to_date() == list(session.members)


def test_a_leave_changes_everybody_but_the_leaver() -> None:
    session, leaver = member_of(40)
    other = KeyMember(SESSION, Random(1))
    session.run(110.0)
    session.leave(0)
    assert leaver.current() is None
    assert leaver.next_alarm() is None
    session.run(111.0)
    assert session.up_to_date() == list(range(1, 40))
    assert other.leave(111.0) == []


def test_who_goes_says_so_three_times_and_then_no_more() -> None:
    session, member = member_of(4)
    session.loss = 1.0
    session.leave(0)
    session.run(130.0, flowing=False)
    leaves = [message for _, _, message in session.requests if isinstance(message, KeyLeave)]
    assert len(leaves) == LEAVE_TRIES
    assert len({message.sequence for message in leaves}) == 1
    assert member.next_alarm() is None


@pytest.mark.parametrize("seed", range(4))
def test_with_losses_everybody_gets_there(seed: int) -> None:
    session = Session(seed, loss=0.3)
    session.join(30)
    session.run(110.0)
    for number in range(12):
        session.leave(number)
        session.join(1)
        session.run(session.now + 1.5)
    session.loss = 0.0
    session.run(session.now + 6.0)
    there = [number for number in session.members if number >= 12]
    assert session.up_to_date() == there


def test_who_missed_a_rekey_asks_when_the_data_shows_it() -> None:
    session, member = member_of(16)
    session.run(110.0)
    before = session.server.secret
    session.deaf = {0, 1}
    session.leave(5)
    session.run(111.0)
    assert set(session.up_to_date()) == set(range(2, 16)) - {5}
    session.run(113.0)
    assert set(session.up_to_date()) == set(range(16)) - {5}
    missed = [(when, number) for when, number, epoch in asked(session, 111.0)]
    assert {number for _, number in missed} == {0, 1}
    for number in (0, 1):
        assert session.members[number].secret(1001 & 0xFF, session.now) == before
    assert all(111.5 <= when <= 112.6 for when, _ in missed)
    assert member.epoch == 1002


def test_a_rekey_that_does_not_open_is_reason_enough_to_ask() -> None:
    session, member = member_of(16)
    session.deaf = {0}
    session.leave(1)
    session.run(102.0, flowing=False)
    session.deaf = set()
    session.leave(9)
    session.run(103.0, flowing=False)
    assert member.epoch == 1001
    session.run(105.0, flowing=False)
    assert member.epoch == session.server.secret.epoch


@pytest.mark.slow
def test_a_thousand_who_missed_it_do_not_ask_at_once() -> None:
    session = Session(3)
    session.join(1000)
    session.now = 110.0
    session.deaf = set(session.members)
    session.leave(7)
    for _ in range(60):
        session.now += 0.05
        session.serve()
        for number, member in session.members.items():
            session.carry(number, member.wake(session.now))
        if session.server.secret.epoch == 1002:
            session.flow()
    times = sorted(when for when, _, _ in asked(session, 110.0))
    assert len(times) == 999
    assert max(times.count(when) for when in set(times)) < 100
    assert times[-1] - times[0] > 0.8
    assert len(session.up_to_date()) == 999


def test_junk_makes_it_ask_ever_more_seldom() -> None:
    """Anybody can send data with any epoch; the source is to notice little of it."""
    session, member = member_of(4)
    rng = Random(4)
    session.run(101.0)
    while session.now < 401.0:
        member.unreadable(rng.randrange(256), session.now)
        session.run(session.now + 0.2)
    theirs = [when for when, number, _ in asked(session, 101.0) if number == 0]
    assert len(theirs) < 2.2 * 300 / RENEW + 10
    assert member.current() == session.server.secret


def test_former_epochs_are_kept_two_seconds_and_erased() -> None:
    session, member = member_of(16)
    session.run(110.0)
    before = session.server.secret
    session.leave(5)
    session.run(111.0)
    assert member.epoch == before.epoch + 1
    assert member.secret(before.epoch & 0xFF, 111.0 + KEEP - 0.01) == before
    found = member.secret(before.epoch & 0xFF, 111.0 + KEEP)
    assert found is None or found.epoch == before.epoch + 256
    assert member.current() == session.server.secret


def test_they_are_erased_though_nobody_asks() -> None:
    session, member = member_of(16)
    for number in (5, 6, 7):
        session.leave(number)
        session.run(session.now + 1.0)
    assert member._path is not None
    assert member._path.oldest < member.epoch
    session.run(session.now + KEEP)
    assert member._path.oldest == member.epoch
    assert not member._path._waiting


def test_nobody_goes_back() -> None:
    """The whole of a session again: no epoch of before is read or returned to."""
    session, member = member_of(30)
    for number in range(5, 12):
        session.leave(number)
        session.run(session.now + 1.0)
    session.run(session.now + 5.0)
    at = member.epoch
    for rekey in session.rekeys:
        assert not member.on_rekey(rekey, session.now)
    assert member.epoch == at
    for secret in session.secrets[:-1]:
        assert member.secret(secret.epoch & 0xFF, session.now) != secret
        member.confirm(secret.epoch, session.now)
    assert member.epoch == at


def test_the_eight_bits_mean_the_nearest_epoch_from_the_oldest_kept_on() -> None:
    member = KeyMember(SESSION, Random(1))
    for first in (254, 255, 256, 1000):
        server = KeyServer(SESSION, Random(2).randbytes, 0.0, first)
        (send,) = member.want(SOURCE, 0.0)
        assert isinstance(send.message, KeyRequest)
        server.on_request(send.message, bytes(16), SOURCE, 0.0)
        (answer,) = server.wake(0.0).sends
        assert isinstance(answer.message, KeyResponse)
        assert member.on_response(answer.message, SOURCE, 0.0)
        for ahead in (0, 1, 2, 255):
            found = member.secret((first + 1 + ahead) & 0xFF, 0.0)
            assert found is not None
            assert found.epoch == first + 1 + ahead


def test_a_source_that_began_anew_is_followed() -> None:
    session, member = member_of(4)
    for number in (1, 2, 3):
        session.leave(number)
        session.run(session.now + 1.0)
    assert member.epoch > 1003
    session.server = KeyServer(SESSION, session.rng.randbytes, session.now, 3)
    session.run(session.now + 2.5)
    assert member.current() == session.server.secret
    assert member.epoch == 4
    session.run(session.now + 5.0)
    assert member.current() == session.server.secret


def test_a_source_that_began_anew_in_the_same_epochs_is_followed_too() -> None:
    session, member = member_of(4)
    session.run(120.0)
    session.server = KeyServer(SESSION, Random(99).randbytes, session.now, 1000)
    session.run(session.now + 45.0)
    assert session.up_to_date() == list(session.members)
    assert member.current() == session.server.secret


def test_a_response_that_a_rekey_has_overtaken_does_no_harm() -> None:
    session, member = member_of(16)
    session.run(110.0)
    (send,) = member._ask(110.0)
    assert isinstance(send.message, KeyRequest)
    path = session.server._tree.path(0)
    late = KeyResponse(sequence=send.message.sequence, epoch=1001, leaf=0, path=path)
    session.leave(5)
    session.now = 111.0
    session.serve()
    secret = session.server.secret
    assert member.current() == secret
    assert not member.on_response(late, SOURCE, 111.0)
    assert member.unmatched == 0
    assert member.current() == secret


def test_only_the_source_and_only_once_answers_a_request() -> None:
    session, _ = member_of(4)
    path, epoch = session.server._tree.path(2), session.server.secret.epoch
    member = KeyMember(SESSION, Random(5))
    good = answer_to(member, epoch=epoch, leaf=2, path=path)
    other = Endpoint(ip_address("192.0.2.66"), 47700)
    assert not member.on_response(good, other, 100.0)
    assert not member.on_response(replace(good, sequence=good.sequence + 1), SOURCE, 100.0)
    assert member.current() is None
    assert member.on_response(good, SOURCE, 100.0)
    assert not member.on_response(good, SOURCE, 100.0)
    assert member.unmatched == 3


def test_keys_that_make_no_sense_change_nothing() -> None:
    session, _ = member_of(4)
    path, epoch = session.server._tree.path(2), session.server.secret.epoch
    member = KeyMember(SESSION, Random(5))
    good = answer_to(member, epoch=epoch, leaf=2, path=path)
    for bad in (
        replace(good, leaf=3),
        replace(good, epoch=epoch + 1),
        replace(good, path=path[1:]),
        replace(good, path=path[::-1]),
    ):
        with pytest.raises(DecodeError):
            member.on_response(bad, SOURCE, 100.0)
    assert member.epoch == 0
    assert member.on_response(good, SOURCE, 100.0)
    assert member.epoch == epoch


def test_who_is_refused_asks_again_much_later() -> None:
    member = KeyMember(SESSION, Random(5))
    full = answer_to(member, status=Status.FULL, epoch=9)
    assert not member.on_response(full, SOURCE, 100.0)
    following = member.next_alarm()
    assert following is not None
    assert 100.0 + 0.8 * FULL_WAIT <= following[0] <= 100.0 + 1.2 * FULL_WAIT
    (again,) = member.wake(following[0])
    assert isinstance(again.message, KeyRequest)
    assert again.message.epoch == 0


def test_an_empty_answer_to_a_stranger_means_nothing() -> None:
    member = KeyMember(SESSION, Random(5))
    assert not member.on_response(answer_to(member, epoch=9), SOURCE, 100.0)
    assert member.current() is None


def test_another_source_is_another_group() -> None:
    session, member = member_of(4)
    member.want(Endpoint(ip_address("192.0.2.5"), 47700), session.now)
    assert member.current() is None
    assert member.epoch == 0


def test_without_keys_nothing_is_read_and_nothing_raised() -> None:
    member = KeyMember(SESSION, Random(5))
    assert member.secret(3, 1.0) is None
    member.unreadable(3, 1.0)
    member.confirm(3, 1.0)
    assert not member.on_rekey(Rekey(epoch=5), 1.0)
    assert not member.on_response(KeyResponse(), SOURCE, 1.0)
    assert member.wake(1.0) == []
    assert member.next_alarm() is None


def test_a_false_rekey_is_refused_and_forgotten() -> None:
    session, member = member_of(16)
    false = Rekey(
        epoch=1002, renewals=(KeyRenewal(ROOT, (KeyWrap(node_at(1, 0), 1001, bytes(48)),)),)
    )
    with pytest.raises(AuthenticationError):
        member.on_rekey(false, 100.0)
    session.leave(9)
    session.run(101.5)
    assert member.current() == session.server.secret


def test_a_minute_of_churn_among_a_hundred() -> None:
    """Somebody leaves and somebody comes each second; all are up to date at each second's end."""
    session = Session(8)
    session.join(100)
    session.run(101.0)
    gone: set[int] = set()
    for second in range(60):
        gone.add(second)
        session.leave(second)
        session.join(1)
        session.now = 102.0 + second
        session.serve()
        session.flow()
        assert set(session.up_to_date()) == set(session.members) - gone
    assert session.server.secret.epoch >= 1060

"""Who is a member and when epochs begin; what that costs (RFC 2627, slide 23)."""

from __future__ import annotations

from ipaddress import ip_address
from itertools import pairwise
from random import Random

import pytest

from dmmp.actions import Send
from dmmp.messages import KeyLeave, KeyRequest, KeyResponse, Rekey, encode
from dmmp.messages.common import Status
from dmmp.messages.keys import MAXIMUM_RENEWALS, KeyRenewal, KeyWrap
from dmmp.security import key_server
from dmmp.security.key_path import KeyPath
from dmmp.security.key_server import (
    MAXIMUM_REKEY_BYTES,
    REPLACE_REST,
    ROOT_LIFE,
    SILENCE_MOST,
    KeyServer,
    Work,
    in_parts,
)
from dmmp.security.key_wrap import ROOT, node_at
from dmmp.types import Endpoint, HostId, SessionId

SESSION, SOURCE = SessionId(7), HostId(1)
HERE = Endpoint(ip_address("203.0.113.40"), 47700)


def node(number: int) -> bytes:
    """Make a member's name."""
    return number.to_bytes(16)


def server_at(now: float = 100.0, first_epoch: int = 500) -> KeyServer:
    """Make a server that was quiet until now."""
    return KeyServer(SESSION, Random(1).randbytes, now, first_epoch, SOURCE)


def request(sequence: int = 1, epoch: int = 0) -> KeyRequest:
    return KeyRequest(session=SESSION, sequence=sequence, epoch=epoch)


def answers(sends: list[Send]) -> list[KeyResponse]:
    found = [send.message for send in sends]
    assert all(isinstance(message, KeyResponse) for message in found)
    return [message for message in found if isinstance(message, KeyResponse)]


def due(server: KeyServer) -> float:
    following = server.next_alarm()
    assert following is not None
    return following[0]


def filled(members: int, now: float = 100.0) -> KeyServer:
    """Make a server with members 0 on, all of whom came at once."""
    server = server_at(now)
    for number in range(members):
        assert server.on_request(request(), node(number), HERE, now) == []
    work = server.wake(now)
    assert [len(work.sends), len(work.epochs), len(server)] == [members, 1, members]
    return server


def test_a_join_after_a_quiet_second_is_answered_at_once() -> None:
    server = server_at()
    assert server.on_request(request(sequence=77), node(1), HERE, 100.0) == []
    assert server.next_alarm() == (100.0, "CHANGE")
    work = server.wake(100.0)
    (send,) = work.sends
    (response,) = answers(work.sends)
    assert send.to == HERE
    assert (response.session, response.source) == (SESSION, SOURCE)
    assert (response.sequence, response.status, response.epoch) == (77, Status.SUCCESS, 501)
    assert work.rekeys == []
    assert work.epochs == [server.secret]
    assert KeyPath(response.leaf, 501, response.path).secret(501) == server.secret


def test_more_within_the_second_are_answered_together_at_its_end() -> None:
    server = filled(1)
    for number in range(1, 5):
        server.on_request(request(), node(number), HERE, 100.1)
        assert server.wake(100.2) == Work([], [], [])
    assert server.next_alarm() == (101.0, "CHANGE")
    work = server.wake(101.0)
    assert len(work.sends) == 4
    assert [secret.epoch for secret in work.epochs] == [502]


def test_a_leave_is_answered_at_once_and_felt_within_a_second() -> None:
    server = filled(20)
    (response,) = answers(server.on_leave(KeyLeave(sequence=5), node(3), HERE, 150.0))
    assert (response.sequence, response.status, response.path) == (5, Status.SUCCESS, ())
    server.on_leave(KeyLeave(), node(4), HERE, 150.9)
    assert server.wake(150.9) == Work([], [], [])
    work = server.wake(151.0)
    assert len(server) == 18
    assert [secret.epoch for secret in work.epochs] == [502]
    (rekey,) = work.rekeys
    assert (rekey.session, rekey.source, rekey.epoch, rekey.part, rekey.parts) == (
        SESSION,
        SOURCE,
        502,
        0,
        1,
    )


def test_changes_are_a_second_apart() -> None:
    server = filled(200)
    rng = Random(3)
    now, changes = 100.0, []
    for step in range(400):
        now += rng.random() * 0.2
        if rng.random() < 0.5:
            server.on_request(request(), node(1000 + step), HERE, now)
        else:
            server.evict(node(rng.randrange(200)), now)
        while due(server) <= now:
            at = due(server)
            if server.wake(at).epochs:
                changes.append(at)
    gaps = [after - before for before, after in pairwise(changes)]
    assert min(gaps) >= 0.999
    assert max(gaps) < 1.5


def test_a_join_takes_pending_leaves_with_it() -> None:
    server = filled(20)
    server.on_leave(KeyLeave(), node(3), HERE, 150.0)
    server.on_request(request(), node(99), HERE, 150.3)
    work = server.wake(150.3)
    assert len(work.rekeys) == len(work.sends) == len(work.epochs) == 1


def test_who_leaves_twice_is_told_the_same() -> None:
    server = filled(4)
    for now in (150.0, 151.0, 152.0):
        (response,) = answers(server.on_leave(KeyLeave(), node(3), HERE, now))
        assert response.status == Status.SUCCESS
        server.wake(now)
    assert len(server) == 3
    assert server.secret.epoch == 502


def test_who_goes_before_it_came_changes_nothing() -> None:
    server = filled(4)
    server.on_request(request(), node(9), HERE, 100.2)
    server.on_leave(KeyLeave(), node(9), HERE, 100.4)
    assert server.wake(101.0) == Work([], [], [])
    assert server.secret.epoch == 501


def test_a_member_that_keeps_up_gets_no_keys() -> None:
    server = filled(20)
    (response,) = answers(server.on_request(request(2, 501), node(3), HERE, 130.0))
    assert (response.epoch, response.path) == (501, ())
    server.on_request(request(), node(99), HERE, 131.0)
    server.wake(131.0)
    (response,) = answers(server.on_request(request(3, 501), node(3), HERE, 140.0))
    assert (response.epoch, response.path) == (502, ())


@pytest.mark.parametrize("epoch", [1, 500, 501, 503, 0xFFFFFFFF])
def test_a_member_that_is_behind_or_of_another_time_gets_its_path(epoch: int) -> None:
    server = filled(20)
    server.evict(node(4), 120.0)
    server.wake(121.0)
    (response,) = answers(server.on_request(request(2, epoch), node(3), HERE, 122.0))
    assert (response.epoch, response.leaf, len(server)) == (502, 3, 19)
    assert KeyPath(response.leaf, 502, response.path).secret(502) == server.secret


def test_the_request_by_which_it_came_is_answered_alike_again() -> None:
    server = server_at()
    server.on_request(request(sequence=8, epoch=501), node(1), HERE, 100.0)
    (first,) = answers(server.wake(100.0).sends)
    for now in (101.0, 102.0, 200.0):
        (again,) = answers(server.on_request(request(8, 501), node(1), HERE, now))
        assert again == first


def test_of_a_joiners_requests_the_last_is_answered() -> None:
    server = filled(1)
    for sequence in (11, 12):
        server.on_request(request(sequence), node(2), HERE, 100.5)
    assert [response.sequence for response in answers(server.wake(101.0).sends)] == [12]


def test_a_member_that_lost_its_keys_is_another_one_with_its_name() -> None:
    server = filled(20)
    server.on_request(request(sequence=9), node(3), HERE, 100.0 + REPLACE_REST)
    work = server.wake(100.0 + REPLACE_REST)
    (response,) = answers(work.sends)
    assert (response.sequence, response.epoch, len(server)) == (9, 502, 20)
    assert work.rekeys
    assert KeyPath(response.leaf, 502, response.path).secret(502) == server.secret


def test_but_not_again_and_again() -> None:
    server = filled(20)
    epochs = set()
    for step in range(200):
        server.on_request(request(sequence=100 + step), node(3), HERE, 100.0 + step)
        server.wake(100.0 + step)
        epochs.add(server.secret.epoch)
    assert len(epochs) <= 200 / REPLACE_REST + 1


def test_who_is_silent_is_evicted_within_a_second_of_its_time() -> None:
    server = filled(5)
    for number in (0, 1, 2, 4):
        server.on_request(request(2, 501), node(number), HERE, 130.0)
    while server.secret.epoch == 501:
        now = due(server)
        work = server.wake(now)
    assert 100.0 + SILENCE_MOST < now <= 100.0 + SILENCE_MOST + 1.0
    assert len(server) == 4
    assert len(work.rekeys) == 1
    while len(server):
        now = due(server)
        work = server.wake(now)
    assert 130.0 + SILENCE_MOST < now <= 130.0 + SILENCE_MOST + 1.0
    assert work.rekeys == []


def test_the_root_is_renewed_every_ten_minutes() -> None:
    server = filled(20)
    now = 100.0
    while not (work := server.wake(now)).rekeys:
        for number in range(20):
            server.on_request(request(2, 501), node(number), HERE, now)
        now = min(now + 30.0, due(server))
    assert now == 100.0 + ROOT_LIFE
    (rekey,) = work.rekeys
    assert [renewal.node for renewal in rekey.renewals] == [ROOT]
    assert server.secret.epoch == 502


def test_a_leave_renews_the_root_too() -> None:
    server = filled(20)
    server.evict(node(7), 300.0)
    server.wake(301.0)
    alarms = []
    now = 301.0
    while now < 301.0 + ROOT_LIFE:
        for number in range(20):
            server.on_request(request(2, server.secret.epoch), node(number), HERE, now)
        now = min(now + 30.0, due(server))
        alarms += [now] if server.wake(now).rekeys else []
    assert alarms[-1] == 301.0 + ROOT_LIFE


def test_there_are_only_so_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(key_server, "MAXIMUM_MEMBERS", 3)
    server = filled(3)
    (response,) = answers(server.on_request(request(sequence=4), node(9), HERE, 150.0))
    assert (response.sequence, response.status, response.path) == (4, Status.FULL, ())
    # Whoever is to go makes room.
    server.evict(node(1), 150.0)
    assert server.on_request(request(), node(9), HERE, 151.0) == []
    (response,) = answers(server.wake(151.0).sends)
    assert response.status == Status.SUCCESS


def test_two_requests_a_second_are_heard() -> None:
    server = filled(4)
    heard = [bool(server.on_request(request(2, 501), node(1), HERE, 200.0)) for _ in range(5)]
    assert heard == [True, True, False, False, False]
    heard = [server.permits(node(1), 200.0 + n / 10) for n in range(100)]
    assert 18 <= sum(heard) <= 21
    assert server.permits(node(2), 200.0)


def test_whoever_asks_is_remembered_within_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(key_server, "MOST_RATES", 10)
    server = server_at()
    for number in range(1000):
        server.permits(node(number), 100.0)
    assert len(server._rates) == 10


def test_a_part_has_at_most_1200_bytes_and_nothing_is_lost() -> None:
    rng = Random(5)
    for _ in range(50):
        renewals = tuple(
            KeyRenewal(
                node_at(1, n),
                tuple(
                    KeyWrap(4 * n + child, rng.randrange(1 << 32), rng.randbytes(48))
                    for child in range(rng.randrange(1, 5))
                ),
            )
            for n in range(rng.randrange(1, 60))
        )
        parts = in_parts(SESSION, SOURCE, 9, renewals)
        sizes = [len(encode(part)) for part in parts]
        assert max(sizes) <= MAXIMUM_REKEY_BYTES
        assert min(sizes[:-1], default=1200) > MAXIMUM_REKEY_BYTES - 61
        assert [(part.part, part.parts) for part in parts] == [
            (n, len(parts)) for n in range(len(parts))
        ]
        flat = [(r.node, wrap) for part in parts for r in part.renewals for wrap in r.wraps]
        assert flat == [(r.node, wrap) for r in renewals for wrap in r.wraps]
    assert in_parts(SESSION, SOURCE, 9, ()) == []


def test_as_many_renewals_as_fit() -> None:
    renewals = [KeyRenewal(node_at(1, n), (KeyWrap(n, 1, bytes(48)),)) for n in range(100)]
    parts = in_parts(SESSION, SOURCE, 9, renewals)
    assert len(parts[0].renewals) == MAXIMUM_RENEWALS
    assert len(encode(parts[0])) <= MAXIMUM_REKEY_BYTES


def test_a_thousand_members_one_of_whom_leaves_each_second() -> None:
    """A flow of 10 Mbit/s could spare 12.5 kB a second for it; 1.5 kB is what is allowed."""
    server = filled(1000)
    rng = Random(6)
    present = list(range(1000))
    sent: list[Rekey] = []
    for second in range(60):
        now = 101.0 + second
        server.evict(node(present.pop(rng.randrange(len(present)))), now)
        present.append(1000 + second)
        server.on_request(request(), node(present[-1]), HERE, now)
        sent += server.wake(now).rekeys
    assert len(server) == 1000
    assert server.secret.epoch == 561
    a_second = sum(len(encode(rekey)) for rekey in sent) / 60
    assert a_second < 1_500

"""A member's keys: Rekeys lost, repeated, disordered, hostile; ratchets; secrets (RFC 2627)."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dmmp.errors import AuthenticationError, DecodeError
from dmmp.messages import Message, decode, encode
from dmmp.messages.keys import KeyRenewal, KeyResponse, KeyWrap, PathKey, Rekey
from dmmp.security import key_path
from dmmp.security.key_path import MOST_AHEAD, MOST_PENDING, MOST_ROOTS, MOST_STEPS, KeyPath
from dmmp.security.key_server import in_parts
from dmmp.security.key_wrap import ROOT, EpochSecret, node_at, ratcheted
from dmmp.types import NO_HOST, NO_SESSION
from tests.key_examples import SECRETS
from tests.security.key_group import Group

VECTORS = Path(__file__).parent.parent / "vectors" / "messages"


def parts_of(rekey: Rekey) -> list[Rekey]:
    """Cut a Rekey as the source does, and send it through the codec."""
    parts = in_parts(NO_SESSION, NO_HOST, rekey.epoch, rekey.renewals)
    return [part for part in map(decode, map(encode, parts)) if isinstance(part, Rekey)]


def published(name: str) -> Message:
    """Read the first vector of a message."""
    vectors = json.loads((VECTORS / f"{name}.json").read_text(encoding="utf-8"))["vectors"]
    return decode(bytes.fromhex(vectors[0]["hex"]))


def group_of(members: int, seed: int = 1) -> Group:
    """Make a group whose members are on leaves 0 on."""
    group = Group(seed)
    group.change(joining=members)
    return group


def test_the_published_vectors_open() -> None:
    """The bytes as they stand in the files: whoever reads them otherwise does not interoperate."""
    response, rekey = published("key_response"), published("rekey")
    assert isinstance(response, KeyResponse)
    assert isinstance(rekey, Rekey)
    path = KeyPath(response.leaf, response.epoch, response.path)
    assert path.apply(rekey)
    for epoch, secret in SECRETS.items():
        assert path.secret(epoch) == EpochSecret(epoch, bytes.fromhex(secret))


def test_joins_are_followed_by_the_ratchet_alone() -> None:
    group = group_of(20)
    path = group.paths["m3"]
    for _ in range(20):
        group.change(joining=1)
        secret = group.tree.secret
        assert path.secret(secret.epoch) == secret
    assert path.epoch == 2
    assert path.advance(group.tree.epoch)
    assert path.epoch == group.tree.epoch
    group.follow(group.change(leaving=["m4"]))
    assert group.agree()


def test_a_key_that_joins_turned_forward_is_turned_forward_here() -> None:
    """The seals name later versions than this member ever heard of."""
    group = group_of(30)
    for _ in range(5):
        group.change(joining=3)
    group.follow(group.change(leaving=["m20"]))
    assert group.agree()


def test_after_a_leave_the_ratchet_leads_nowhere() -> None:
    group = group_of(10)
    leaver = group.paths["m3"]
    stayer = group.paths["m4"]
    rekey = group.change(leaving=["m3"])
    secret = group.tree.secret
    for path in (leaver, stayer):
        assert path.secret(secret.epoch) not in (None, secret)
    assert not leaver.apply(rekey)
    assert stayer.apply(rekey)
    assert leaver.secret(secret.epoch) != secret
    assert stayer.secret(secret.epoch) == secret


@pytest.mark.parametrize("seed", range(15))
def test_parts_in_any_order_and_any_number(seed: int) -> None:
    group = group_of(150, seed)
    rng = Random(seed)
    for _ in range(4):
        rekey = group.change(leaving=rng.sample(sorted(group.paths), 12), joining=4)
        parts = parts_of(rekey)
        assert len(parts) > 2
        for name, path in group.paths.items():
            if name not in group.present[rekey.epoch - 1]:
                continue
            heard = [*parts, *rng.sample(parts, 2)]
            rng.shuffle(heard)
            assert sum(path.apply(part) for part in heard) == 1
        assert group.agree()


@pytest.mark.parametrize("seed", range(15))
def test_whole_rekeys_in_any_order(seed: int) -> None:
    """Whoever has all of them has the newest epoch, in whatever order they came."""
    group = group_of(60, seed)
    rng = Random(seed)
    parts: list[Rekey] = []
    for _ in range(4):
        if rng.random() < 0.5:
            group.change(joining=rng.randrange(1, 4))
        parts += parts_of(group.change(leaving=rng.sample(sorted(group.paths), 5)))
    old = group.present[2] & set(group.paths)
    assert len(old) > 20
    for name in sorted(old):
        rng.shuffle(parts)
        for part in parts:
            group.paths[name].apply(part)
        assert group.paths[name].secret(group.tree.epoch) == group.tree.secret
        assert group.paths[name].epoch == group.tree.epoch


def test_a_rekey_that_was_overtaken_still_opens_its_epoch() -> None:
    group = group_of(64)
    path = group.paths["m0"]
    first = group.change(leaving=["m20"])
    secret = group.tree.secret
    second = group.change(leaving=["m40"])
    assert path.apply(second)
    assert path.epoch == second.epoch
    assert path.apply(first)
    assert path.epoch == second.epoch
    assert path.secret(first.epoch) == secret
    assert path.secret(second.epoch) == group.tree.secret


def test_a_rekey_from_before_the_tree_grew_takes_no_level_away() -> None:
    group = group_of(16)
    path = group.paths["m0"]
    before = group.change(leaving=["m15"])
    secret = group.tree.secret
    grown = group.change(joining=3)
    assert path.apply(grown)
    assert path.apply(before)
    assert path.secret(before.epoch) == secret
    rekey = group.change(leaving=["m18"])
    assert group.tree.height == 3
    assert path.apply(rekey)
    assert path.secret(rekey.epoch) == group.tree.secret


def test_a_missing_rekey_that_comes_late_opens_the_next() -> None:
    group = group_of(64)
    path = group.paths["m0"]
    first = group.change(leaving=["m1"])
    second = group.change(leaving=["m40"])
    third = group.change(leaving=["m41"])
    assert not path.apply(third)
    assert not path.apply(second)
    assert path.apply(first)
    assert path.secret(third.epoch) == group.tree.secret


def test_whoever_missed_one_cannot_read_on_until_it_gets_its_path() -> None:
    group = group_of(64)
    path = group.paths["m0"]
    group.change(leaving=["m1"])
    rekey = group.change(leaving=["m40"])
    assert not path.apply(rekey)
    assert path.secret(rekey.epoch) != group.tree.secret
    given = KeyPath(path.leaf, group.tree.epoch, group.tree.path(path.leaf))
    given.follow(path)
    assert given.secret(rekey.epoch) == group.tree.secret
    assert given.secret(2) == path.secret(2)
    rekey = group.change(leaving=["m41"])
    assert given.apply(rekey)
    assert given.secret(rekey.epoch) == group.tree.secret


def test_old_epochs_are_forgotten_and_never_return() -> None:
    group = group_of(64)
    path = group.paths["m0"]
    rekeys = [group.change(leaving=[f"m{n}"]) for n in range(20, 24)]
    for rekey in rekeys:
        path.apply(rekey)
    assert path.oldest == 2
    assert path.secret(3) is not None
    path.forget_before(5)
    assert path.oldest == 5
    assert path.secret(4) is None
    assert not path.apply(rekeys[0])
    assert path.secret(3) is None
    path.forget_before(1000)
    assert path.oldest == path.epoch == rekeys[-1].epoch
    assert not path.advance(path.epoch - 1)


def test_only_so_many_roots_are_held() -> None:
    group = group_of(64)
    path = group.paths["m0"]
    for n in range(20, 60):
        path.apply(group.change(leaving=[f"m{n}"]))
    assert path.epoch - path.oldest == MOST_ROOTS - 1


def test_only_so_far_ahead_is_tried() -> None:
    path = group_of(4).paths["m0"]
    assert path.secret(2 + MOST_AHEAD) is not None
    assert path.secret(3 + MOST_AHEAD) is None
    assert path.secret(1) is None
    assert not path.advance(3 + MOST_STEPS)
    assert path.advance(2 + MOST_STEPS)
    assert path.epoch == 2 + MOST_STEPS


def test_candidates_in_any_order_cost_one_ratchet(monkeypatch: pytest.MonkeyPatch) -> None:
    path = group_of(4).paths["m0"]
    steps = Steps(monkeypatch)
    rng = Random(1)
    for _ in range(3):
        epochs = list(range(2, 3 + MOST_AHEAD))
        rng.shuffle(epochs)
        for epoch in epochs:
            path.secret(epoch)
    assert steps.made == MOST_AHEAD


class Steps:
    """Counts the ratchets of key paths."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.made = 0
        monkeypatch.setattr(key_path, "ratcheted", self.ratcheted)

    def ratcheted(self, key: bytes, count: int) -> bytes:
        self.made += count
        return ratcheted(key, count)


def given_path(leaf: int = 5, epoch: int = 9) -> list[PathKey]:
    nodes = (node_at(0, leaf), node_at(1, leaf >> 2), ROOT)
    return [PathKey(node, epoch, bytes(32)) for node in nodes]


@pytest.mark.parametrize(
    ("leaf", "epoch", "keys"),
    [
        (5, 9, []),
        (5, 9, given_path()[:2]),
        (5, 9, given_path()[1:]),
        (5, 9, given_path()[::-1]),
        (5, 9, [given_path()[0], *given_path()]),
        (6, 9, given_path()),
        (5, 8, given_path()),
        (5, 10, given_path()),
        (5, 9, [given_path()[0], PathKey(node_at(1, 2), 9, bytes(32)), given_path()[2]]),
        (5, 9, [given_path()[0], PathKey(node_at(1, 1), 10, bytes(32)), given_path()[2]]),
        (5, 9, [*given_path(), PathKey(node_at(8, 0), 9, bytes(32))]),
        (1 << 14, 9, given_path(1 << 14)),
        (1 << 31, 9, [PathKey(1 << 31, 9, bytes(32)), given_path()[2]]),
    ],
)
def test_what_is_no_path(leaf: int, epoch: int, keys: list[PathKey]) -> None:
    with pytest.raises(DecodeError):
        KeyPath(leaf, epoch, keys)


def test_a_path_is_a_path() -> None:
    assert KeyPath(5, 9, given_path()).epoch == 9


SEALED = bytes(48)


@pytest.mark.parametrize(
    "rekey",
    [
        Rekey(epoch=10, part=1, parts=1),
        Rekey(epoch=10, part=0, parts=0),
        Rekey(epoch=10, renewals=(KeyRenewal(ROOT, (KeyWrap(ROOT, 9, SEALED),)),)),
        Rekey(
            epoch=10,
            renewals=(KeyRenewal(node_at(1, 1), (KeyWrap(ROOT, 9, SEALED),)),),
        ),
        Rekey(
            epoch=10,
            renewals=(KeyRenewal(node_at(0, 5), (KeyWrap(node_at(0, 5), 9, SEALED),)),),
        ),
    ],
)
def test_what_no_source_says(rekey: Rekey) -> None:
    """Cycles above all: a key sealed under itself, or under one that it is to open."""
    path = KeyPath(5, 9, given_path())
    with pytest.raises(DecodeError):
        path.apply(rekey)
    assert path.epoch == 9


def test_a_seal_that_does_not_hold() -> None:
    path = KeyPath(5, 9, given_path())
    rekey = Rekey(epoch=10, renewals=(KeyRenewal(ROOT, (KeyWrap(node_at(1, 1), 9, SEALED),)),))
    for _ in range(2):
        with pytest.raises(AuthenticationError):
            path.apply(rekey)
    assert path.epoch == 9


def test_huge_versions_cost_little(monkeypatch: pytest.MonkeyPatch) -> None:
    path = KeyPath(5, 9, given_path())
    steps = Steps(monkeypatch)
    levels = (node_at(0, 5), node_at(1, 1), ROOT)
    for version in (9 + MOST_STEPS, 10 + MOST_STEPS, 0xFFFFFFFF):
        for epoch in (10, 11, 0xFFFFFFFF):
            before = steps.made
            renewals = tuple(
                KeyRenewal(node, (KeyWrap(under, version, SEALED),) * 4)
                for under, node in pairwise(levels)
            )
            path.apply(Rekey(epoch=epoch, renewals=renewals))
            assert steps.made - before <= MOST_STEPS
    assert path.epoch == 9


def test_what_was_tried_in_vain_is_not_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    group = group_of(64)
    path = group.paths["m0"]
    group.change(leaving=["m1"])
    group.change(joining=1)
    rekey = group.change(leaving=["m40"])
    steps = Steps(monkeypatch)
    for _ in range(5):
        assert not path.apply(rekey)
    assert steps.made <= 2


def test_few_epochs_wait() -> None:
    path = KeyPath(5, 9, given_path())
    for epoch in range(10, 200):
        unknown = KeyRenewal(ROOT, (KeyWrap(node_at(6, 0), epoch, SEALED),))
        path.apply(Rekey(epoch=epoch, renewals=(unknown,)))
    assert len(path._waiting) == MOST_PENDING


numbers = st.one_of(
    st.sampled_from([0, 1, 8, 9, 10, 0xFFFFFFFF, ROOT, node_at(1, 1), node_at(0, 5)]),
    st.integers(0, 0xFFFFFFFF),
)
wraps = st.builds(KeyWrap, numbers, numbers, st.just(SEALED))
renewals = st.builds(KeyRenewal, numbers, st.lists(wraps, max_size=4).map(tuple))
rekeys = st.builds(
    Rekey,
    epoch=numbers,
    part=st.integers(0, 3),
    parts=st.integers(0, 3),
    renewals=st.lists(renewals, max_size=5).map(tuple),
)


@settings(max_examples=100)
@given(hostile=st.lists(rekeys, max_size=6), data=st.data())
def test_whatever_is_said_a_member_stays_whole(hostile: list[Rekey], data: st.DataObject) -> None:
    group = group_of(12)
    path = group.paths["m5"]
    for rekey in hostile:
        try:
            assert not path.apply(rekey)
        except DecodeError:
            pass
    # What waits in vain gives way, and the source has the last word.
    rekey = group.change(leaving=["m4"])
    try:
        path.apply(rekey)
    except AuthenticationError:
        pass
    assert path.epoch in (2, 3)
    fresh = KeyPath(path.leaf, group.tree.epoch, group.tree.path(path.leaf))
    fresh.follow(path)
    assert fresh.secret(3) == group.tree.secret

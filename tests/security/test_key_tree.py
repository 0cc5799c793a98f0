"""The source's tree: what a leave sends, who can read what, how it grows (RFC 2627 §5.4)."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from dmmp.errors import AuthenticationError, UsageError
from dmmp.security.key_tree import Change, KeyTree
from dmmp.security.key_wrap import (
    MAXIMUM_MEMBERS,
    ROOT,
    derived,
    epoch_secret,
    index_of,
    level_of,
    node_at,
    ratcheted,
    unwrap,
    wrap,
)
from tests.security.key_group import Group


def counted(change: Change) -> int:
    """Count the seals that a change sends."""
    return sum(len(renewal.wraps) for renewal in change.renewals)


def tree_of(members: int, seed: int = 1) -> KeyTree:
    """Make a tree with members on leaves 0 on."""
    tree = KeyTree(Random(seed).randbytes)
    assert tree.change(joining=members).leaves == tuple(range(members))
    return tree


def test_the_worked_example_of_rfc_2627() -> None:
    """§5.4: sixteen users in a binary tree; user 11 goes, and seven seals reach all others.

    Keys of the RFC: A to H over pairs of users, I to L over pairs of those, M and N, and O.
    """
    group = Group(seed=11, bits=1)
    group.change(joining=16)
    rekey = group.change(leaving=["m10"])
    user12, e, f = node_at(0, 11), node_at(1, 4), node_at(1, 5)
    k, l, m, n, o = node_at(2, 2), node_at(2, 3), node_at(3, 0), node_at(3, 1), ROOT  # noqa: E741
    assert {renewal.node: [wrap.under for wrap in renewal.wraps] for renewal in rekey.renewals} == {
        f: [user12],
        k: [e, f],
        n: [k, l],
        o: [m, n],
    }
    assert [renewal.node for renewal in rekey.renewals] == [f, k, n, o]
    assert counted(Change((), rekey.renewals)) == 7
    group.follow(rekey)
    assert len(group.paths) == 15
    assert group.agree()
    assert group.readable(["m10"]) == {2}


@pytest.mark.parametrize(
    ("members", "leaving", "least", "most"),
    [(100, 1, 11, 13), (1_000, 1, 18, 19), (1_000, 10, 100, 125), (10_000, 1, 25, 27)],
)
def test_a_leave_costs_what_it_should(members: int, leaving: int, least: int, most: int) -> None:
    tree = tree_of(members)
    rng = Random(2)
    for _ in range(5):
        gone = rng.sample(range(members), leaving)
        assert least <= counted(tree.change(gone)) <= most
        tree.change(joining=leaving)


def test_a_join_is_told_to_nobody() -> None:
    tree = tree_of(100)
    for _ in range(100):
        change = tree.change(joining=1)
        assert change.renewals == ()
        assert tree.renewed < tree.epoch


def test_the_root_is_renewed_without_a_leave() -> None:
    tree = tree_of(100)
    renewals = tree.change(renew=True).renewals
    assert [renewal.node for renewal in renewals] == [ROOT]
    assert [wrap.under for wrap in renewals[0].wraps] == [node_at(3, 0), node_at(3, 1)]
    assert tree.renewed == tree.epoch


@pytest.mark.parametrize("seed", range(30))
def test_who_is_there_agrees_and_nobody_else_reads(seed: int) -> None:
    """After every batch; then coalitions of some, gone or present, read what they were there for.

    This is secrecy forward, backward, and against collusion.
    """
    group = Group(seed)
    group.change(joining=group.rng.randrange(1, 40))
    for _ in range(25):
        group.follow(group.random_change(most=8))
        assert group.agree()
    names = sorted(group.given)
    for _ in range(8):
        some = group.rng.sample(names, min(len(names), group.rng.randrange(1, 5)))
        there = {epoch for epoch, present in group.present.items() if present.intersection(some)}
        assert group.readable(some) == there, some
    gone = set(names) - set(group.paths)
    assert group.tree.epoch not in group.readable(gone)


def test_a_leaf_of_another_gives_nothing_of_its_past() -> None:
    group = Group(seed=3)
    group.change(joining=16)
    group.change(leaving=["m5"])
    rekey = group.change(joining=1)
    assert group.paths["m16"].leaf == 5
    group.change(leaving=["m6"], joining=0)
    assert group.readable(["m16"]) == {rekey.epoch, rekey.epoch + 1}
    assert group.readable(["m5"]) == {2}


@pytest.mark.parametrize("seed", range(6))
def test_no_version_and_no_nonce_serves_twice(seed: int) -> None:
    group = Group(seed)
    group.change(joining=20)
    keys: dict[tuple[int, int], bytes] = {}
    nonces: dict[tuple[int, int, int, int], bytes] = {}
    for _ in range(60):
        group.follow(rekey := group.random_change(most=12))
        for path in group.paths.values():
            for key in group.tree.path(path.leaf):
                assert keys.setdefault((key.node, key.version), key.key) == key.key
                assert key.version <= group.tree.epoch
        for renewal in rekey.renewals:
            for seal in renewal.wraps:
                name = (seal.under, seal.version, renewal.node, rekey.epoch)
                assert nonces.setdefault(name, seal.sealed) == seal.sealed
    assert len(set(keys.values())) == len(keys)


def test_it_grows_and_shrinks_below_the_root_and_renumbers_nobody() -> None:
    group = Group(seed=4)
    heights = []
    for members in (1, 4, 5, 16, 17, 64, 65):
        group.follow(group.change(joining=members - len(group.paths)))
        heights.append(group.tree.height)
        assert group.agree()
    assert heights == [1, 1, 2, 2, 3, 3, 4]
    leaves = {name: path.leaf for name, path in group.paths.items()}
    group.follow(group.change(leaving=[name for name, leaf in leaves.items() if leaf > 3]))
    assert group.tree.height == 1
    assert group.agree()
    assert {name: path.leaf for name, path in group.paths.items()} == {
        name: leaf for name, leaf in leaves.items() if leaf <= 3
    }
    group.follow(group.change(joining=70))
    assert group.agree()
    assert sorted(path.leaf for path in group.paths.values()) == list(range(74))


def test_several_levels_at_once() -> None:
    """Who was below the first level must be told of all of them."""
    group = Group(seed=5)
    group.change(joining=3)
    rekey = group.change(joining=100)
    assert group.tree.height == 4
    told = {renewal.node: [seal.under for seal in renewal.wraps] for renewal in rekey.renewals}
    assert told == {
        node_at(1, 0): [node_at(0, 0), node_at(0, 1), node_at(0, 2)],
        node_at(2, 0): [node_at(1, 0)],
        node_at(3, 0): [node_at(2, 0)],
        ROOT: [node_at(3, 0)],
    }
    group.follow(rekey)
    assert group.agree()


def test_it_stays_shallow_over_much_churn() -> None:
    tree = tree_of(500)
    rng = Random(6)
    present = list(range(500))
    for _ in range(200):
        gone = [present.pop(rng.randrange(len(present))) for _ in range(40)]
        present += tree.change(gone, 40).leaves
    assert len(tree) == 500
    assert max(present) < 500
    assert tree.height == 5
    # The few that stay are anywhere; newcomers move down as they come.
    tree.change(present[20:], 0)
    tree.change(present[:20], 20)
    tree.change([], 0, renew=True)
    assert len(tree) == 20
    assert tree.height <= 3


def test_it_can_be_empty_and_begin_again() -> None:
    group = Group(seed=7)
    group.change(joining=30)
    everybody = sorted(group.paths)
    rekey = group.change(leaving=everybody)
    assert rekey.renewals == ()
    assert (len(group.tree), group.tree.height) == (0, 1)
    group.follow(group.change(joining=1))
    assert group.agree()
    assert group.readable(everybody) == {2}


def test_what_cannot_be() -> None:
    tree = tree_of(5)
    before = tree.epoch, tree.secret
    for leaving, joining in (([5], 0), ([1, 1], 0), ([], MAXIMUM_MEMBERS - 4)):
        with pytest.raises(UsageError):
            tree.change(leaving, joining)
    assert (tree.epoch, tree.secret) == before
    for epoch in (0, 1 << 32):
        with pytest.raises(UsageError):
            KeyTree(Random(1).randbytes, epoch)


def test_as_many_as_there_can_be() -> None:
    tree = tree_of(MAXIMUM_MEMBERS)
    assert (tree.height, len(tree.path(MAXIMUM_MEMBERS - 1))) == (7, 8)
    assert counted(tree.change([77])) == 3 + 6 * 4


def nodes() -> Iterator[tuple[int, int]]:
    yield from ((0, 0), (0, 16383), (1, 4095), (6, 3), (7, 0))


def test_nodes_are_numbered_by_level_and_index() -> None:
    assert node_at(2, 3) == 0x02000003
    assert ROOT == 0x07000000
    for level, index in nodes():
        assert (level_of(node_at(level, index)), index_of(node_at(level, index))) == (level, index)


def test_keys_are_derived_by_hkdf() -> None:
    """RFC 5869, by another's hand."""
    key = bytes(range(32))
    expand = HKDFExpand(hashes.SHA256(), 32, b"dmmp ratchet")
    assert ratcheted(key, 1) == derived(key, b"dmmp ratchet") == expand.derive(key)
    assert ratcheted(key, 3) == ratcheted(ratcheted(key, 2), 1)
    assert ratcheted(key, 0) == key
    expand = HKDFExpand(hashes.SHA256(), 32, b"dmmp epoch" + bytes((0, 0, 1, 2)))
    assert epoch_secret(key, 0x102) == expand.derive(key)


def test_a_seal_holds_for_its_node_its_version_and_its_key() -> None:
    sealed = wrap(bytes(32), ROOT, 7, bytes(range(32)))
    assert len(sealed) == 48
    assert unwrap(bytes(32), ROOT, 7, sealed) == bytes(range(32))
    changed = bytes((sealed[0] ^ 1,)) + sealed[1:]
    for under, node, version, found in (
        (bytes(31) + b"\x01", ROOT, 7, sealed),
        (bytes(32), ROOT - 1, 7, sealed),
        (bytes(32), ROOT, 8, sealed),
        (bytes(32), ROOT, 7, changed),
    ):
        with pytest.raises(AuthenticationError):
            unwrap(under, node, version, found)


def test_secrets_do_not_show_where_they_are_printed() -> None:
    tree = tree_of(2)
    assert repr(tree.secret) == f"EpochSecret({tree.epoch})"

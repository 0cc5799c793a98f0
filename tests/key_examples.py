"""The group key's part of the little session in `examples`: M4 gets its keys, another one goes.

Six members are at the source, M4 has leaf 1; leaf 2 leaves. The keys come from a real tree whose
random bytes are hashes, so the Rekey can be opened with the response: `SECRETS` says what to get.
"""

from __future__ import annotations

from hashlib import sha256
from itertools import count
from typing import TypedDict

from dmmp.messages import KeyLeave, KeyRequest, KeyResponse, Message, Rekey
from dmmp.messages.common import LeaveReason, Status
from dmmp.security.key_tree import KeyTree
from dmmp.types import HostId, SessionId

SESSION, SOURCE, M4 = SessionId(0x00DE0001), HostId(1), HostId(4)
LEAF = 1
SECRETS = {
    1001: "f941a5706620ce55c4b186723938ff696e726f06297b033c90136534838a8fca",
    1002: "34037ade599ae85d5ebb7dc08131f49fb75c6d918c1d7bb4cdee529b13fb4eb0",
}
"""Secrets of the epochs before and after the leave."""


class Header(TypedDict):
    """What the header of each says."""

    session: SessionId
    source: HostId
    tree_version: int


def key_examples() -> list[tuple[str, Message]]:
    """List a name and a message each."""
    numbers = count()
    tree = KeyTree(lambda size: sha256(b"example %d" % next(numbers)).digest()[:size], 1000)
    tree.change(joining=6)
    path = tree.path(LEAF)
    renewals = tree.change([2]).renewals
    source: Header = {"session": SESSION, "source": SOURCE, "tree_version": 7}
    m4: Header = {"session": SESSION, "source": M4, "tree_version": 7}
    return [
        ("M4 asks for the group's keys", KeyRequest(**m4, sequence=0x5EED0070)),
        (
            "M4 gets leaf 1 of six",
            KeyResponse(**source, sequence=0x5EED0070, epoch=1001, leaf=LEAF, path=path),
        ),
        (
            "leaf 2 has gone, the others get fresh keys",
            Rekey(session=SESSION, source=SOURCE, epoch=1002, renewals=renewals),
        ),
        ("M4 renews its membership", KeyRequest(**m4, sequence=0x5EED0071, epoch=1002)),
        (
            "ratchets lead from there to the present epoch",
            KeyResponse(**source, sequence=0x5EED0071, epoch=1003, leaf=LEAF),
        ),
        ("M4 goes", KeyLeave(**m4, sequence=0x5EED0072, reason=LeaveReason.SHUTDOWN)),
        (
            "there are 16,384 members already",
            KeyResponse(**source, sequence=0x5EED0073, status=Status.FULL, epoch=1003),
        ),
    ]

"""The group key: who asks the source for it, what it answers, and what it tells all (RFC 2627).

The unicast ones travel sealed between two hosts; a Rekey reaches everybody in the session, signed,
as data does. Behaviour is elsewhere (`security.key_server`, `security.key_member`). Slide 23.
"""

from __future__ import annotations

from dmmp.messages.common import LeaveReason, Status
from dmmp.messages.options import Option
from dmmp.messages.schema import Message, message, record, wire
from dmmp.messages.wiretypes import counted, exactly, uint8, uint16, uint32

KEY_BYTES = 32
"""Bytes of every key."""

SEALED_KEY_BYTES = KEY_BYTES + 16
"""A key sealed with AES-GCM: its tag is 16 bytes."""

MAXIMUM_PATH_KEYS = 8
"""Keys of a member: its own, six above it, the root (4^7 members)."""

MAXIMUM_WRAPS = 4
"""Seals of one key, each under a child's: the degree of the tree."""

MAXIMUM_RENEWALS = 18
"""Renewals in one Rekey: so many fit into 1,200 bytes if each has one seal."""


@record
class PathKey:
    """One key of a member's path (RFC 2627 §5.4)."""

    node: int = wire(uint32, doc="place in the tree: level 8 bits, index 24 bits")
    version: int = wire(uint32, doc="epoch it was made in, plus the ratchets since")
    key: bytes = wire(exactly(KEY_BYTES), doc="the key")


@record
class KeyWrap:
    """A renewed key, sealed for all below one child of its node (RFC 2627 §5.4)."""

    under: int = wire(uint32, doc="node whose key seals it")
    version: int = wire(uint32, doc="version of that key")
    sealed: bytes = wire(exactly(SEALED_KEY_BYTES), doc="AES-256-GCM: the key, and the tag")


@record
class KeyRenewal:
    """A node with a fresh key, whose version is the epoch (RFC 2627 §5.4)."""

    node: int = wire(uint32, doc="place in the tree")
    wraps: tuple[KeyWrap, ...] = wire(
        counted(KeyWrap.WIRE, MAXIMUM_WRAPS),  # type: ignore[attr-defined]
        doc="the fresh key, once for each child",
    )


@message(Option.KEY_REQUEST)
class KeyRequest(Message):
    """Slide 23, RFC 2627. Let me have, or keep, the group's key; bring me up to date."""

    epoch: int = wire(uint32, doc="newest epoch whose key the sender holds; 0 = none", default=0)


@message(Option.KEY_RESPONSE)
class KeyResponse(Message):
    """Slide 23, RFC 2627 §5.4. The keys of your path, or none if ratchets lead from yours there."""

    status: int = wire(uint8, names=Status, doc="result", default=Status.SUCCESS)
    epoch: int = wire(uint32, doc="the present epoch", default=0)
    leaf: int = wire(uint32, doc="the member's place in the tree, from 0 on", default=0)
    path: tuple[PathKey, ...] = wire(
        counted(PathKey.WIRE, MAXIMUM_PATH_KEYS),  # type: ignore[attr-defined]
        doc="keys from the member's own up to the root",
        default=(),
    )


@message(Option.KEY_LEAVE)
class KeyLeave(Message):
    """Slide 23. I go: renew what I know. Answered by a KeyResponse without keys."""

    reason: int = wire(uint8, names=LeaveReason, doc="why it goes", default=LeaveReason.SHUTDOWN)


@message(Option.REKEY)
class Rekey(Message):
    """Slide 23, RFC 2627 §5.4. One part of a new epoch: fresh keys, each sealed for some."""

    epoch: int = wire(uint32, doc="the new epoch")
    part: int = wire(uint16, doc="number of this part, from 0 on", default=0)
    parts: int = wire(uint16, doc="how many there are", default=1)
    renewals: tuple[KeyRenewal, ...] = wire(
        counted(KeyRenewal.WIRE, MAXIMUM_RENEWALS),  # type: ignore[attr-defined]
        doc="renewed nodes, from the leaves up; a node may stand in two parts",
        default=(),
    )

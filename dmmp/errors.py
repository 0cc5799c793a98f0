"""The whole error tree on one screen.

`DecodeError` is the only thing bytes from outside can raise; `Violation` never leaves a role.
"""

from __future__ import annotations

from enum import Enum


class DmmpError(Exception):
    """The root: anything this package raises on purpose."""


class DecodeReason(Enum):
    """Why bytes could not be read; tests compare these, never prose."""

    TRUNCATED = "truncated"
    TRAILING = "trailing"
    VERSION = "version"
    OPTION = "option"
    LENGTH = "length"
    VALUE = "value"
    CHECKSUM = "checksum"
    TLV = "tlv"
    STUN = "stun"
    SEAL = "seal"


class DecodeError(DmmpError):
    """Bytes from a peer that cannot be read: dropped and counted.

    `offset` counts bytes from the start of the datagram; `reason` is a `DecodeReason`.
    """

    def __init__(self, reason: DecodeReason, offset: int, detail: str = "") -> None:
        super().__init__(f"{reason.value} at byte {offset}" + (f": {detail}" if detail else ""))
        self.reason = reason
        self.offset = offset
        self.detail = detail


class AuthenticationError(DecodeError):
    """A seal, a mac, a signature or a certificate that does not hold: dropped and counted."""

    def __init__(self, detail: str = "", offset: int = 0) -> None:
        super().__init__(DecodeReason.SEAL, offset, detail)


class Violation(DmmpError):
    """Well-formed but not allowed now; a handler raises it, `Role.receive` reports it."""

    def __init__(self, section: str, reason: str) -> None:
        super().__init__(f"{section}: {reason}")
        self.section = section
        self.reason = reason


class UsageError(DmmpError):
    """Our own caller asked for what cannot be: one line with the cure, exit code 2."""


class ParameterError(UsageError):
    """Parameters contradict each other; raised when they are made, never later."""

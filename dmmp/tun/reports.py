"""What IGMP and MLD say, whichever of the two says it: values, no bytes.

MLD is IGMP with longer addresses (RFC 9777 §1), so one set of values serves both; the codecs are
`igmp` and `mld`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from dmmp.types import IpAddress


class RecordType(IntEnum):
    """The kinds of group record (RFC 9776 §4.2.13, RFC 9777 §5.2.12)."""

    MODE_IS_INCLUDE = 1
    MODE_IS_EXCLUDE = 2
    CHANGE_TO_INCLUDE = 3
    CHANGE_TO_EXCLUDE = 4
    ALLOW_NEW_SOURCES = 5
    BLOCK_OLD_SOURCES = 6


@dataclass(frozen=True, slots=True)
class Record:
    """What a host says about one group in a version 3 report (version 2 of MLD)."""

    kind: RecordType
    group: IpAddress
    sources: tuple[IpAddress, ...] = ()


@dataclass(frozen=True, slots=True)
class Query:
    """A question about every group (`group` unspecified), one group, or some sources of it.

    `version` is that of the protocol asked in: 1 to 3 for IGMP, 1 or 2 for MLD. Codes are as on
    the wire; `code_value` reads them.
    """

    version: int
    group: IpAddress
    response_code: int
    sources: tuple[IpAddress, ...] = ()
    suppress: bool = False
    robustness: int = 0
    interval_code: int = 0


@dataclass(frozen=True, slots=True)
class Report:
    """The state of one host: IGMPv3 or MLDv2."""

    records: tuple[Record, ...]


@dataclass(frozen=True, slots=True)
class OldReport:
    """Membership of one group, sources unknown: IGMPv1, IGMPv2 or MLDv1."""

    version: int
    group: IpAddress


@dataclass(frozen=True, slots=True)
class Leave:
    """The end of a membership: an IGMPv2 leave or an MLDv1 done."""

    group: IpAddress


MembershipMessage = Query | Report | OldReport | Leave


def code_value(code: int, mantissa_bits: int = 4) -> int:
    """Read a response or interval code: small ones are themselves, large ones floating point.

    IGMP (RFC 9776 §4.1.1, §4.1.7) and the MLD interval have a mantissa of 4 bits, the MLD response
    code one of 12 (RFC 9777 §5.1.3). Units as in the field: 0.1 s, 1 s, 1 ms.
    """
    limit = 1 << mantissa_bits + 3
    if code < limit:
        return code
    mantissa = code & (1 << mantissa_bits) - 1 | 1 << mantissa_bits
    return mantissa << (code >> mantissa_bits & 7) + 3


def code_of(value: int, mantissa_bits: int = 4) -> int:
    """Give the code of the largest value not above `value`, or the largest code there is."""
    limit = 1 << mantissa_bits + 3
    if value < limit:
        return max(value, 0)
    exponent = value.bit_length() - mantissa_bits - 4
    if exponent > 7:
        return 2 * limit - 1
    mantissa = value >> exponent + 3 & (1 << mantissa_bits) - 1
    return limit | exponent << mantissa_bits | mantissa

"""The registry of option codes: the number in the header that names the message (Decision 4).

Pairs stand in steps of 0x10 in the order of slide 12; a response is its request plus one. From
0x8000 up codes are private. `dmmp decode --list` prints this table.
"""

from __future__ import annotations

from enum import IntEnum


class Option(IntEnum):
    """Option codes (Decision 4)."""

    DATA = 0x0000
    HEARTBEAT = 0x0001
    CREDENTIAL = 0x0002
    SUBSCRIPTION_REQUEST = 0x0010
    SUBSCRIPTION_RESPONSE = 0x0011
    PING_RP_REQUEST = 0x0020
    PING_RP_RESPONSE = 0x0021
    SOURCE_REQUEST = 0x0030
    SOURCE_RESPONSE = 0x0031
    CLUSTER_REQUEST = 0x0040
    CLUSTER_RESPONSE = 0x0041
    JOIN_REQUEST = 0x0050
    JOIN_RESPONSE = 0x0051
    SETUP_REQUEST = 0x0060
    SETUP_RESPONSE = 0x0061
    STATUS_REPORT = 0x0070
    STATUS_RESPONSE = 0x0071
    PROBE_REQUEST = 0x0080
    PROBE_RESPONSE = 0x0081
    LEAVE_REPORT = 0x0090
    LEAVE_RESPONSE = 0x0091
    REFRESH_REQUEST = 0x00A0
    REFRESH_RESPONSE = 0x00A1
    PROMOTION_REQUEST = 0x00B0
    PROMOTION_ACK = 0x00B1
    PROMOTION_CONFIRM = 0x00B2
    BREAK_REQUEST = 0x00B3
    BREAK_RESPONSE = 0x00B4
    BREAK_CONFIRM = 0x00B5
    JOIN_NOTIFICATION = 0x00B6
    DATA_REQUEST = 0x00C0
    HANDSHAKE_INITIATION = 0x00D0
    HANDSHAKE_RESPONSE = 0x00D1
    COOKIE_REPLY = 0x00D2
    SEALED = 0x00D3
    KEY_REQUEST = 0x00D4
    KEY_RESPONSE = 0x00D5
    KEY_LEAVE = 0x00D6
    REKEY = 0x00D7
    INTRODUCTION_REQUEST = 0x00D8
    INTRODUCTION_RESPONSE = 0x00D9
    RENEWAL_REQUEST = 0x00DA
    RENEWAL_RESPONSE = 0x00DB
    HOP_SEALED = 0x00DC
    ERROR = 0x00F0


LAST_DATA_OPTION = Option.CREDENTIAL
"""Options up to this one are the forwarder's: data, heartbeats and certificates of origins."""

SECURITY_FIRST = 0x00D0
"""First of the codes kept for the security handshake (Decision 4)."""

PRIVATE_FIRST = 0x8000
"""First private code: never assigned here (Decision 4)."""


class TlvType(IntEnum):
    """Optional elements (Decision 5); the high bit means "ignore me if unknown"."""

    PADDING = 0x8001
    NAME = 0x8002
    SIGNATURE = 0x8003


COMPREHENSION_OPTIONAL = 0x8000

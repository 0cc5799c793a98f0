"""Certificates as any host may show them: `Trust.check` gives a peer or `AuthenticationError`.

The signature keeps noise from the reader behind it, so what has the outer form is also signed
anew, as by a root whose program is faulty.
"""

from __future__ import annotations

from collections.abc import Iterable

from dmmp.errors import AuthenticationError, DecodeError
from dmmp.security.certificate import build_grant, read_certificate, read_grant
from tests.fuzz.target import Target
from tests.security.certifying import (
    CONSTRAINTS,
    GRANT,
    NOW,
    STATIC_KEY,
    credential,
    forged,
    grant_extension,
    signed_again,
    trust,
)

TRUST = trust()
MOST_BYTES = 1100
"""A little more than any certificate may have."""


def parse(data: bytes) -> bool:
    """Check a certificate; tell whether it holds."""
    try:
        TRUST.check(data, STATIC_KEY, NOW)
    except AuthenticationError:
        return False
    return True


def test_one(data: bytes) -> None:
    """Check as it came, read it without a check, and check it signed by the root."""
    parse(data)
    try:
        read_certificate(data)
    except AuthenticationError:
        pass
    else:
        again = signed_again(data)
        if parse(again):
            assert TRUST.check(again, STATIC_KEY, NOW).static_key == STATIC_KEY
    try:
        grant = read_grant(data)
    except DecodeError:
        return
    assert build_grant(grant) == data


def seeds() -> Iterable[bytes]:
    yield credential().certificate
    yield forged()
    yield forged([(CONSTRAINTS, True), (grant_extension(b"short"), True)])
    yield forged([(CONSTRAINTS, False), (grant_extension(), True)])
    yield build_grant(GRANT)


TARGET = Target(
    "certificates",
    "Trust.check and read_grant give a value or raise DecodeError, whoever signed it",
    test_one,
    seeds,
    parse,
    MOST_BYTES,
)

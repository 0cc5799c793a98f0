"""Deny lists as they are received: `read_deny_list` gives one to obey, or raises `DecodeError`.

The signature is the last thing checked, so what has the form is also signed by the root.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from dmmp.errors import AuthenticationError, DecodeError
from dmmp.security.authority import _DENY_LIST as PACKED
from dmmp.security.authority import DENIED_LIMIT, DENY_LIST_LIMIT_BYTES, DenyList, read_deny_list
from tests.fuzz.target import Target
from tests.security.certifying import SESSION, authority

ROOT = authority()
NEWEST = 3


def parse(data: bytes) -> DenyList | None:
    """Read a list; None if it is refused."""
    try:
        return read_deny_list(data, SESSION, [ROOT.public], NEWEST)
    except DecodeError as error:
        assert error.offset <= len(data)
        return None


def test_one(data: bytes) -> None:
    """Read as it came, and signed by the root."""
    found = parse(data)
    if found is not None:
        assert found.encode() == data
        return
    try:
        values, _ = PACKED.parse(data, 0)
    except DecodeError:
        return
    unsigned = DenyList(**dict(zip(PACKED.names, values, strict=True)))  # type: ignore[arg-type]
    signed = replace(unsigned, signature=ROOT.sign(unsigned.content()))
    is_obeyed = unsigned.session == SESSION and unsigned.number >= NEWEST
    try:
        assert read_deny_list(signed.encode(), SESSION, [ROOT.public], NEWEST) == signed
        assert is_obeyed
    except AuthenticationError:
        assert not is_obeyed
    except DecodeError:
        assert len(signed.encode()) > DENY_LIST_LIMIT_BYTES


def seeds() -> Iterable[bytes]:
    for number, serials in ((3, ()), (2, (1 << 62,)), (9, tuple(range(1 << 62, (1 << 62) + 5)))):
        yield ROOT.deny(SESSION, number, serials).encode()
    yield ROOT.deny("another session", 5, (1 << 62,)).encode()
    yield ROOT.deny(SESSION, 5, range(1 << 62, (1 << 62) + DENIED_LIMIT)).encode()


TARGET = Target(
    "deny_lists",
    "read_deny_list gives a list that encodes to the same bytes, or raises DecodeError",
    test_one,
    seeds,
    parse,
)

"""What users write for hosts: `parse_place` and `parse_endpoint` give a value or `UsageError`."""

from __future__ import annotations

from collections.abc import Iterable

from dmmp.errors import UsageError
from dmmp.runtime.locate import parse_endpoint, parse_place
from tests.fuzz.target import Target


def test_one(data: bytes) -> None:
    """Read a text both ways; what was read reads the same when written."""
    text = data.decode("utf-8", "surrogateescape")
    try:
        place = parse_place(text)
    except UsageError:
        pass
    else:
        assert place.port is None or 0 < place.port < 65536
        assert place.host
    try:
        endpoint = parse_endpoint(text)
    except UsageError:
        pass
    else:
        assert 0 <= endpoint.port < 65536 and not endpoint.address.is_multicast
        # What Python takes for a zone index may hold brackets; the kernel will refuse it.
        if "%" not in text:
            assert parse_endpoint(str(endpoint)) == endpoint


def seeds() -> Iterable[bytes]:
    for text in ("rp.example:47700", "192.0.2.1:4000", "[2001:db8::1]:9", "::1", ":5", "a-b.c."):
        yield text.encode()


TARGET = Target(
    "places",
    "parse_place and parse_endpoint give a value or raise UsageError",
    test_one,
    seeds,
    most_bytes=512,
)

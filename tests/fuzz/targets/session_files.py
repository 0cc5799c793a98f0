"""`session.toml` and credential files, which travel by mail: a value, or a line of `UsageError`."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable
from dataclasses import replace

from dmmp.errors import UsageError
from dmmp.security.identity import Credential
from dmmp.security.pem import read_pem
from dmmp.security.session_file import Contact, SessionFile, _read
from tests.fuzz.target import Target
from tests.security.certifying import SESSION, STATIC_KEY, authority, credential

ROOT = authority()
MOST_BYTES = 4096
OTHER_CURVE = bytes.fromhex("302e020100300506032b656f04220420") + bytes(32)


def private_block(content: bytes) -> str:
    """Make a block of what is said to be a private key."""
    body = b64encode(content).decode("ascii")
    return f"-----BEGIN PRIVATE KEY-----\n{body}\n-----END PRIVATE KEY-----\n"


def signed_file() -> SessionFile:
    """Make a file with everything in it."""
    points = (Contact("rp.example:47700", STATIC_KEY), Contact("[2001:db8::1]:9", STATIC_KEY))
    denied = ROOT.deny(SESSION, 3, (1 << 62, (1 << 62) + 1))
    made = SessionFile(SESSION, 7, (ROOT.public,), points, points[0], denied)
    return made.signed(ROOT.sign)


def test_one(data: bytes) -> None:
    """Parse as it came; and what can be read, signed by the root, is the same when parsed."""
    text = data.decode("utf-8", "surrogateescape")
    for read in (SessionFile.parse, read_pem, Credential.parse):
        try:
            read(text)
        except UsageError as error:
            assert "\n" not in str(error), "more than one line"
    try:
        found = _read(text)
    except UsageError:
        return
    signed = replace(found, roots=(ROOT.public,), denied=None).signed(ROOT.sign)
    assert SessionFile.parse(signed.text()) == signed


def seeds() -> Iterable[bytes]:
    whole = signed_file()
    yield whole.text().encode()
    yield replace(whole, authority=None, denied=None).text().encode()
    yield credential().text().encode()
    yield ROOT.text().encode()
    # A key of no bytes, and one of another curve: not what the library calls unreadable.
    for content in (bytes.fromhex("300e020100300506032b656e04020400"), OTHER_CURVE):
        yield private_block(content).encode()


TARGET = Target(
    "session_files",
    "SessionFile.parse, Credential.parse and read_pem give a value or raise UsageError in one line",
    test_one,
    seeds,
    most_bytes=MOST_BYTES,
)

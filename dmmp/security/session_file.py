"""The session file, `session.toml`: what a host must know to find its session and to trust it.

Root keys, rendezvous points with their keys, denied certificates; signed by a root, since it
travels by mail and web. Not secret. Files are opened elsewhere (`cli.authority`).
"""

from __future__ import annotations

import base64
import json
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

from dmmp.errors import AuthenticationError, UsageError
from dmmp.security.authority import DENIED_LIMIT, SERIAL_LEAST, DenyList
from dmmp.security.certificate import KEY_BYTES, fingerprint, is_session_name, verifiers
from dmmp.security.identity import ROOTS_LIMIT, Trust
from dmmp.security.signing import SIGNATURE_BYTES

RENDEZVOUS_LIMIT = 8
"""Rendezvous points of one session, as many as a Subscription Response names (Decision 23)."""

FILE_LIMIT_CHARACTERS = 65536
"""Longest file that is looked at; one with everything in it has 8000 characters."""

NUMBER_LIMIT = 0xFFFFFFFF
"""Highest number of a session file or a deny list."""

_LABEL = b"DMMP session file\x00"
_ADDRESS = re.compile(r"(?:\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9._-]{1,253}):([1-9][0-9]{0,4})")
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Contact:
    """Where a host is found, HOST:PORT, and the X25519 key by which it is known."""

    address: str
    static_key: bytes


@dataclass(frozen=True, slots=True)
class SessionFile:
    """The content of a session file; `serial` grows with each version of it.

    `authority` is who renews certificates, if anybody does. The signature is a root's.
    """

    session: str
    serial: int
    roots: tuple[bytes, ...]
    rendezvous_points: tuple[Contact, ...]
    authority: Contact | None = None
    denied: DenyList | None = None
    signature: bytes = b""

    def trust(self) -> Trust:
        """Give what a host of this session believes."""
        serials = frozenset() if self.denied is None else frozenset(self.denied.serials)
        return Trust(self.roots, self.session, serials)

    def signed(self, sign: Callable[[bytes], bytes]) -> SessionFile:
        """Give the same with a new signature (`Authority.sign`)."""
        return replace(self, signature=sign(self.content()))

    def content(self) -> bytes:
        """Give what is signed: a label, and the values as JSON, names sorted, no space, ASCII.

        So comments and layout of the file mean nothing, and every value does.
        """
        return _LABEL + json.dumps(
            _document(self), sort_keys=True, separators=(",", ":"), ensure_ascii=True
        ).encode("ascii")

    def text(self) -> str:
        """Give the file."""
        document = _document(self)
        lines = [
            "# DMMP session file. It holds no secret, and its signature covers every value in it.",
            *(f"# root {fingerprint(root)}" for root in self.roots),
            "",
            *_lines(document),
        ]
        for table in ("rendezvous_points", "authority", "denied"):
            value = document.get(table, [])
            for part in value if isinstance(value, list) else [value]:
                heading = f"[[{table}]]" if isinstance(value, list) else f"[{table}]"
                lines += ["", heading, *_lines(part)]
        signature = base64.b64encode(self.signature).decode("ascii")
        lines += ["", "[signature]", f'ed25519 = "{signature}"', ""]
        return "\n".join(lines)

    @classmethod
    def parse(cls, text: str, pinned: str | None = None) -> SessionFile:
        """Read a session file and check its signature; raise `UsageError` in one line.

        The signature tells that nothing was changed since a holder of one of the roots named in it
        wrote it. With `pinned`, a fingerprint from elsewhere, it must be that very root's.
        """
        found = _read(text)
        # A root that whoever changed the file added to it must not speak for the pinned one.
        signers = {
            name: root
            for name, root in verifiers(found.roots).items()
            if pinned is None or name == _plain(pinned)
        }
        if not signers:
            raise UsageError(
                f"the session file is not of the root {pinned}; get the one that its authority made"
            )
        if not any(root.holds(found.signature, found.content()) for root in signers.values()):
            raise UsageError(
                "the session file was changed after it was signed; get it again as it was made"
            )
        if found.denied is not None:
            try:
                found.denied.check(found.session, verifiers(found.roots))
            except AuthenticationError as error:
                raise _wrong(f"denied: {error.detail}") from None
        return found


def _plain(pinned: str) -> str:
    return re.sub(r"[\s:-]", "", pinned).lower()


def _document(file: SessionFile) -> dict[str, object]:
    """Give the values as they stand in the file, all but the signature."""
    document: dict[str, object] = {
        "session": file.session,
        "serial": file.serial,
        "roots": [root.hex() for root in file.roots],
        "rendezvous_points": [_contact(point) for point in file.rendezvous_points],
    }
    if file.authority is not None:
        document["authority"] = _contact(file.authority)
    if file.denied is not None:
        document["denied"] = {
            "number": file.denied.number,
            "serials": [f"{serial:016x}" for serial in file.denied.serials],
            "ed25519": base64.b64encode(file.denied.signature).decode("ascii"),
        }
    return document


def _contact(contact: Contact) -> dict[str, object]:
    return {"address": contact.address, "key": contact.static_key.hex()}


def _lines(values: object) -> list[str]:
    """Write the plain values of a table; what JSON writes for them is TOML as well."""
    assert isinstance(values, dict)
    return [
        f"{name} = {json.dumps(value, ensure_ascii=False)}"
        for name, value in values.items()
        if isinstance(value, (str, int))
        or (isinstance(value, list) and all(isinstance(element, str) for element in value))
    ]


def _read(text: str) -> SessionFile:
    if len(text) > FILE_LIMIT_CHARACTERS:
        raise _wrong(f"more than {FILE_LIMIT_CHARACTERS} characters")
    try:
        table = _Table("", tomllib.loads(text))
    except (ValueError, RecursionError) as error:
        raise _wrong(f"not TOML: {error}") from None
    session = table.take("session", str)
    if not is_session_name(session):
        raise _wrong("session: 1 to 64 bytes of printable text")
    authority, denied = table.optional("authority"), table.optional("denied")
    signature = table.table("signature")
    found = SessionFile(
        session=session,
        serial=table.number("serial"),
        roots=tuple(_hexadecimal("roots", root, KEY_BYTES) for root in table.texts("roots")),
        rendezvous_points=tuple(map(_read_contact, table.tables("rendezvous_points"))),
        authority=None if authority is None else _read_contact(authority),
        denied=None if denied is None else _read_denied(denied, session),
        signature=signature.signature(),
    )
    for each in (table, signature):
        each.done()
    if not 0 < len(found.roots) <= ROOTS_LIMIT or len(set(found.roots)) < len(found.roots):
        raise _wrong(f"roots: 1 to {ROOTS_LIMIT}, each once")
    if not 0 < len(found.rendezvous_points) <= RENDEZVOUS_LIMIT:
        raise _wrong(f"rendezvous_points: 1 to {RENDEZVOUS_LIMIT}")
    return found


def _read_contact(table: _Table) -> Contact:
    address = table.take("address", str)
    if not is_contact_address(address):
        raise _wrong(f"{table.name}.address: write HOST:PORT or [IPV6]:PORT")
    contact = Contact(address, _hexadecimal(f"{table.name}.key", table.take("key", str), KEY_BYTES))
    table.done()
    return contact


def _read_denied(table: _Table, session: str) -> DenyList:
    texts = table.texts("serials")
    serials = [int.from_bytes(_hexadecimal("denied.serials", text, 8), "big") for text in texts]
    if len(serials) > DENIED_LIMIT or any(serial < SERIAL_LEAST for serial in serials):
        raise _wrong(f"denied.serials: at most {DENIED_LIMIT}, of certificates")
    number, signature = table.number("number"), table.signature()
    table.done()
    return DenyList(session=session, number=number, serials=tuple(serials), signature=signature)


def is_contact_address(text: str) -> bool:
    """Tell whether this is HOST:PORT or [IPV6]:PORT; the name is looked up by who uses it."""
    found = _ADDRESS.fullmatch(text)
    return found is not None and int(found[1]) < 65536


def _hexadecimal(name: str, text: str, size_bytes: int) -> bytes:
    if not re.fullmatch(rf"[0-9a-f]{{{2 * size_bytes}}}", text):
        raise _wrong(f"{name}: write {2 * size_bytes} hexadecimal digits")
    return bytes.fromhex(text)


def _wrong(what: str) -> UsageError:
    return UsageError(f"no session file: {' '.join(what.split())}; get it again as it was made")


class _Table:
    """One table of the file: gives each value once and knows which were never asked for."""

    def __init__(self, name: str, values: Mapping[str, object]) -> None:
        self.name = name
        self._values = dict(values)

    def take(self, key: str, kind: type[_T]) -> _T:
        """Give a value of just this type; true and false are no numbers."""
        value = self._values.pop(key, None)
        if type(value) is not kind:
            raise _wrong(f"{self._path(key)} is missing or not what it should be")
        return value

    def number(self, key: str) -> int:
        number = self.take(key, int)
        if not 0 <= number <= NUMBER_LIMIT:
            raise _wrong(f"{self._path(key)}: 0 to {NUMBER_LIMIT}")
        return number

    def texts(self, key: str) -> list[str]:
        values = self.take(key, list)
        if not all(isinstance(value, str) for value in values):
            raise _wrong(f"{self._path(key)}: write a list of texts")
        return values

    def signature(self) -> bytes:
        try:
            signature = base64.b64decode(self.take("ed25519", str), validate=True)
        except ValueError:
            signature = b""
        if len(signature) != SIGNATURE_BYTES:
            raise _wrong(f"{self._path('ed25519')}: write {SIGNATURE_BYTES} bytes as base64")
        return signature

    def table(self, key: str) -> _Table:
        return _Table(key, self.take(key, dict))

    def optional(self, key: str) -> _Table | None:
        return self.table(key) if key in self._values else None

    def tables(self, key: str) -> list[_Table]:
        values = self.take(key, list)
        if not all(isinstance(value, dict) for value in values):
            raise _wrong(f"{self._path(key)}: write tables, [[{key}]]")
        return [_Table(key, value) for value in values]

    def done(self) -> None:
        """Refuse what was never asked for: it would not be covered by the signature."""
        if self._values:
            raise _wrong(f"{self._path(min(self._values))} is not known here")

    def _path(self, key: str) -> str:
        return f"{self.name}.{key}" if self.name else key

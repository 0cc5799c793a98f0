"""The certificate of a host: X.509 with Ed25519, one level, authority root -> host (slide 23).

The one form that we issue (`authority`) and no other is read. Bytes reach the X.509 parser only
after a root's signature over them held. Whether to believe it here and now is for `identity`.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.x509.oid import ExtensionOID, NameOID

from dmmp.errors import AuthenticationError, DecodeError, DecodeReason, UsageError
from dmmp.messages.packed import Packed
from dmmp.messages.schema import record, wire
from dmmp.messages.wiretypes import address, counted, octets, text, uint16, uint32, uint64
from dmmp.security.peer import EVERY_CAPABILITY, Capability, Peer
from dmmp.security.signing import Verifier
from dmmp.types import IpAddress

KEY_BYTES = 32
"""Every key here: Ed25519 (RFC 8032) and X25519 (RFC 7748), public and private."""

NODE_BYTES = 16
"""Of the SHA-256 of a signing key: too many to find a key for a wanted place (security.md 2.2)."""

CERTIFICATE_LIMIT_BYTES = 1024
"""Longest certificate that is looked at; one with 16 groups and the longest names has 712."""

GROUPS_LIMIT = 16
"""Groups one certificate can name: 16 bytes each, and it must travel in one datagram of 1200."""

SESSION_LIMIT_BYTES = 64
"""Longest session name, as a Subscription Request carries it (Decision 23)."""

OUT_DEGREE_LIMIT = 0xFFFF
"""Highest ceiling of an out-degree that a certificate can state."""

BANDWIDTH_LIMIT = 0xFFFF_FFFF_FFFF_FFFF
"""Highest ceiling of a bandwidth that a certificate can state, bit/s."""

ARC = "2.25.207133978391716109281991689872162480950"
"""Our arc of object identifiers: the UUID 9bd48d9b-234d-5457-af72-91d0e87ce336, version 5 of the
name `urn:dmmp` in the URL name space (RFC 9562). Needs no registration (ITU-T X.667)."""

GRANT_IDENTIFIER = x509.ObjectIdentifier(f"{ARC}.1")
"""The extension that holds a `Grant`; another layout takes another number."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_ISSUER_BYTES = 10
# An integer: the complement of a flag holds the bits that have a name and no others.
_EVERY_BIT = int(EVERY_CAPABILITY)
_EXTENSIONS = [ExtensionOID.BASIC_CONSTRAINTS, GRANT_IDENTIFIER]

# The one form in which certificates are issued: version 3, serial of 8 bytes, Ed25519, an issuer
# of 16 letters. To match it first gives the issuer and the signed bytes without a parser, and
# leaves nothing outside the signature that could vary.
_FORM = re.compile(
    rb"\x30\x82(?P<length>..)"
    rb"(?P<signed>\x30(?:\x81.|\x82..)"
    rb"\xa0\x03\x02\x01\x02"
    rb"\x02\x08[\x40-\x7f].{7}"
    rb"\x30\x05\x06\x03\x2b\x65\x70"
    rb"\x30\x1b\x31\x19\x30\x17\x06\x03\x55\x04\x03\x0c\x10(?P<issuer>[a-z2-7]{16})"
    rb".*)"
    rb"\x30\x05\x06\x03\x2b\x65\x70"
    rb"\x03\x41\x00(?P<signature>.{64})",
    re.DOTALL,
)
_FORM_HEAD_BYTES = 4

# What the parser is known to raise for what it cannot read.
_UNREADABLE = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)


@record
class Grant:
    """What an authority grants to a host (slide 23); the content of our certificate extension."""

    capabilities: int = wire(uint32, doc="bits of what the host may be")
    out_degree: int = wire(uint16, doc="most children it may claim")
    bandwidth: int = wire(uint64, doc="most bandwidth it may claim, bit/s")
    session: str = wire(text(SESSION_LIMIT_BYTES), doc="the one session it may take part in")
    static_key: bytes = wire(octets(KEY_BYTES), doc="X25519 key of its handshakes")
    groups: tuple[IpAddress, ...] = wire(
        counted(address, GROUPS_LIMIT), doc="groups it may send to; none = all", default=()
    )


_GRANT = Packed(Grant.WIRE)  # type: ignore[attr-defined]


@dataclass(frozen=True, slots=True)
class Certificate:
    """What a certificate says, whoever signed it; `not_before` in seconds since 1970."""

    peer: Peer
    session: str
    not_before: float


def node_of(signing_key: bytes) -> bytes:
    """Give the identity of a host, 16 bytes: a hash, so that no host can choose its own."""
    return sha256(signing_key).digest()[:NODE_BYTES]


def fingerprint(key: bytes) -> str:
    """Give the name of a root key for people and for certificates: 16 letters, 80 bits."""
    return base64.b32encode(sha256(key).digest()[:_ISSUER_BYTES]).decode("ascii").lower()


def is_host_name(name: str) -> bool:
    """Tell whether a certificate can be for this name: safe in logs, terminals and file names."""
    return _NAME.fullmatch(name) is not None


def is_session_name(name: str) -> bool:
    """Tell whether a session can be called so: 1 to 64 bytes of printable text (Decision 23)."""
    # Not printable are also lone surrogates, which could not be encoded.
    return name.isprintable() and 0 < len(name.encode("utf-8")) <= SESSION_LIMIT_BYTES


def build_grant(grant: Grant) -> bytes:
    """Build the content of the extension; raise `InvalidValue` if a value does not fit."""
    return _GRANT.build(grant)


def read_grant(data: bytes) -> Grant:
    """Read the content of the extension; raise `DecodeError` unless it is one grant, and whole."""
    values, end = _GRANT.parse(data, 0)
    if end != len(data):
        raise DecodeError(DecodeReason.TRAILING, end, "after the grant")
    fields = dict(zip(_GRANT.names, values, strict=True))
    grant = Grant(**fields)  # type: ignore[arg-type]
    if len(grant.static_key) != KEY_BYTES:
        raise DecodeError(DecodeReason.LENGTH, 0, f"static key of {len(grant.static_key)} bytes")
    if grant.capabilities & ~_EVERY_BIT:
        raise DecodeError(DecodeReason.VALUE, 0, f"capabilities {grant.capabilities:#x}")
    if not is_session_name(grant.session):
        raise DecodeError(DecodeReason.VALUE, 0, "session name")
    return grant


def read_certificate(der: bytes) -> Certificate:
    """Read a certificate of one's own, whoever signed it; raise `AuthenticationError` if bad."""
    return _read(der, _form(der))


def read_issued(der: bytes, roots: Mapping[str, Verifier]) -> Certificate:
    """Read a certificate that one of these roots, by fingerprint, has signed, valid now or not.

    Raise `AuthenticationError` for anything else.
    """
    form = _form(der)
    root = roots.get(form["issuer"].decode("ascii"))
    if root is None:
        raise AuthenticationError("certificate of an unknown authority")
    if not root.holds(form["signature"], form["signed"]):
        raise AuthenticationError("certificate whose signature does not hold")
    return _read(der, form)


def _form(der: bytes) -> re.Match[bytes]:
    if len(der) > CERTIFICATE_LIMIT_BYTES:
        raise AuthenticationError(f"certificate of {len(der)} bytes")
    form = _FORM.fullmatch(der)
    if form is None or int.from_bytes(form["length"], "big") != len(der) - _FORM_HEAD_BYTES:
        raise AuthenticationError("no certificate of our form")
    return form


def _read(der: bytes, form: re.Match[bytes]) -> Certificate:
    try:
        parsed = x509.load_der_x509_certificate(der)
        if parsed.tbs_certificate_bytes != form["signed"]:
            raise AuthenticationError("certificate cut in two ways")
        signing_key = parsed.public_key()
        if not isinstance(signing_key, Ed25519PublicKey):
            raise AuthenticationError("certificate of a key that is not Ed25519")
        grant = _read_extensions(parsed.extensions)
        key = signing_key.public_bytes_raw()
        peer = Peer(
            node=node_of(key),
            name=_read_subject(parsed.subject),
            capabilities=Capability(grant.capabilities),
            out_degree=grant.out_degree,
            bandwidth=grant.bandwidth,
            groups=grant.groups,
            static_key=grant.static_key,
            signing_key=key,
            serial=parsed.serial_number,
            not_after=parsed.not_valid_after_utc.timestamp(),
        )
        return Certificate(peer, grant.session, parsed.not_valid_before_utc.timestamp())
    except AuthenticationError:
        raise
    except DecodeError as error:
        raise AuthenticationError(f"grant: {error}") from None
    except _UNREADABLE as error:
        raise AuthenticationError(f"certificate that cannot be read: {error}") from None


def _read_subject(subject: x509.Name) -> str:
    attributes = list(subject)
    if len(attributes) != 1 or attributes[0].oid != NameOID.COMMON_NAME:
        raise AuthenticationError("certificate whose subject is more than a name, or less")
    name = attributes[0].value
    if not isinstance(name, str) or not is_host_name(name):
        raise AuthenticationError(f"certificate for {name!r}")
    return name


def _read_extensions(extensions: x509.Extensions) -> Grant:
    """Read the grant, of exactly the two critical extensions that we issue."""
    if [extension.oid for extension in extensions] != _EXTENSIONS:
        raise AuthenticationError("certificate with other extensions than ours")
    if not all(extension.critical for extension in extensions):
        raise AuthenticationError("certificate whose extensions are not critical")
    constraints, granted = (extension.value for extension in extensions)
    if not isinstance(constraints, x509.BasicConstraints) or constraints.ca:
        raise AuthenticationError("certificate of an authority, not of a host")
    if not isinstance(granted, x509.UnrecognizedExtension):
        raise AuthenticationError("certificate without a grant")
    return read_grant(granted.value)


def verifiers(roots: Iterable[bytes]) -> dict[str, Verifier]:
    """Make what checks the roots' signatures, by fingerprint; raise `UsageError` for no key."""
    try:
        return {fingerprint(root): Verifier(root) for root in roots}
    except ValueError:
        raise UsageError(f"a root is an Ed25519 key of {KEY_BYTES} bytes") from None

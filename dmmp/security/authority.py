"""The authority centre (slide 23): issues and renews certificates, and denies them.

Values in, values out: randomness and time are arguments, files are the command's business. What a
host does with a certificate is in `identity`, its form in `certificate`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from dmmp.errors import AuthenticationError, DecodeError, DecodeReason, UsageError
from dmmp.messages.packed import Packed
from dmmp.messages.schema import record, wire
from dmmp.messages.wiretypes import counted, octets, text, uint32, uint64
from dmmp.security.certificate import (
    BANDWIDTH_LIMIT,
    GRANT_IDENTIFIER,
    GROUPS_LIMIT,
    KEY_BYTES,
    OUT_DEGREE_LIMIT,
    SESSION_LIMIT_BYTES,
    Grant,
    build_grant,
    fingerprint,
    is_host_name,
    is_session_name,
    read_issued,
    verifiers,
)
from dmmp.security.identity import Credential, static_public
from dmmp.security.peer import EVERY_CAPABILITY, Capability
from dmmp.security.pem import ed25519_pem, read_pem
from dmmp.security.signing import SIGNATURE_BYTES, Signer, Verifier
from dmmp.types import IpAddress

LIFETIME = 24 * 3600.0
"""Seconds a certificate is valid unless told otherwise (security.md 2.2)."""

LIFETIME_LEAST, LIFETIME_MOST = 60.0, 366 * 24 * 3600.0
"""Shorter ones cannot be renewed in time; longer ones make the deny list the only way back."""

BACKDATING = 300.0
"""Seconds before its issue from which a certificate is valid: clocks differ (security.md 2.2)."""

DENIED_LIMIT = 128
"""Serials in one deny list: with its signature it travels in one datagram of 1200 bytes."""

DENY_LIST_LIMIT_BYTES = 1200
"""Longest deny list that is looked at."""

SERIAL_BYTES = 8
SERIAL_LEAST = 1 << 62
"""Serials have 62 random bits below this one, so that all have 8 bytes and none is negative."""

_DENY_LABEL = b"DMMP deny list\x00"
_CURE = "write letters, digits, '.', '_' and '-', at most 64"

Random = Callable[[int], bytes]
"""Gives so many bytes that nobody can guess."""


@dataclass(frozen=True, slots=True)
class Request:
    """What a certificate is asked for: out-degree and bandwidth (bit/s) are ceilings.

    `groups` are those the host may send to, none meaning all; `session` the only one it is for.
    """

    name: str
    session: str
    capabilities: Capability
    out_degree: int
    bandwidth: int
    groups: tuple[IpAddress, ...] = ()


class Authority:
    """One root key, 32 bytes, and what it can do. The key also signs session files and deny lists.

    Each kind of content begins differently (a certificate with 0x30, the others with a label), so
    that no signature can be taken for another's.
    """

    def __init__(self, secret: bytes) -> None:
        self._secret = secret
        self._signer = Signer(secret)
        self._key = Ed25519PrivateKey.from_private_bytes(secret)
        self.public = self._signer.public
        self.fingerprint = fingerprint(self.public)
        self._issuer = _name(self.fingerprint)

    @classmethod
    def create(cls, random: Random) -> Authority:
        """Make a new root."""
        return cls(random(KEY_BYTES))

    @classmethod
    def parse(cls, text: str) -> Authority:
        """Read the file that `text` makes; raise `UsageError` for the user who named it."""
        held = read_pem(text)
        if held.kinds() != ["Ed25519"]:
            raise UsageError("no root key: it holds one Ed25519 private key and nothing else")
        return cls(held.ed25519[0])

    def text(self) -> str:
        """Give the root key as a PEM file, not encrypted."""
        return ed25519_pem(self._secret)

    def sign(self, content: bytes) -> bytes:
        """Sign content that begins with a label of its own: 64 bytes."""
        return self._signer.sign(content)

    def credential(
        self, request: Request, at: float, random: Random, lifetime: float = LIFETIME
    ) -> Credential:
        """Make keys and a certificate for them; `at` in seconds since 1970, `lifetime` in seconds.

        Raise `UsageError` for what cannot be granted.
        """
        signing_secret, static_secret = random(KEY_BYTES), random(KEY_BYTES)
        keys = Signer(signing_secret).public, static_public(static_secret)
        certificate = self.issue(request, *keys, at, random, lifetime)
        return Credential(certificate, signing_secret, static_secret)

    def issue(
        self,
        request: Request,
        signing_key: bytes,
        static_key: bytes,
        at: float,
        random: Random,
        lifetime: float = LIFETIME,
    ) -> bytes:
        """Certify a host's two public keys; raise `UsageError` for what cannot be granted."""
        _check(request)
        if len(signing_key) != KEY_BYTES or len(static_key) != KEY_BYTES:
            raise UsageError(f"{request.name}: a key has {KEY_BYTES} bytes")
        if not LIFETIME_LEAST <= lifetime <= LIFETIME_MOST:
            raise UsageError(
                f"a lifetime of {lifetime:g} s: {LIFETIME_LEAST:g} s to 366 days; 24h is usual"
            )
        grant = Grant(
            capabilities=int(request.capabilities),
            out_degree=request.out_degree,
            bandwidth=request.bandwidth,
            session=request.session,
            static_key=static_key,
            groups=request.groups,
        )
        return self._certify(request.name, grant, signing_key, at, random, lifetime)

    def renew(
        self,
        certificate: bytes,
        denied: frozenset[int],
        at: float,
        random: Random,
        lifetime: float | None = None,
    ) -> bytes:
        """Issue a certificate of ours again: same keys and grant, new dates and serial.

        It lasts as long as before unless `lifetime` is given. It may have expired: whoever asks
        has shown by other means who they are. Raise `AuthenticationError` if it is not ours or was
        denied.
        """
        says = read_issued(certificate, verifiers([self.public]))
        peer = says.peer
        if peer.serial in denied:
            raise AuthenticationError(f"certificate of {peer.name}: denied")
        request = Request(
            peer.name,
            says.session,
            peer.capabilities,
            peer.out_degree,
            peer.bandwidth,
            peer.groups,
        )
        if lifetime is None:
            lifetime = peer.not_after - says.not_before - BACKDATING
        return self.issue(request, peer.signing_key, peer.static_key, at, random, lifetime)

    def deny(self, session: str, number: int, serials: Iterable[int]) -> DenyList:
        """Sign a list of denied serials; raise `UsageError` if they are too many."""
        denied = tuple(sorted(set(serials)))
        if len(denied) > DENIED_LIMIT:
            raise UsageError(
                f"{len(denied)} certificates to deny, at most {DENIED_LIMIT}; wait until some have "
                "expired, or start again with a new root: dmmp authority init"
            )
        unsigned = DenyList(session=session, number=number, serials=denied)
        return replace(unsigned, signature=self.sign(unsigned.content()))

    def _certify(
        self,
        name: str,
        grant: Grant,
        signing_key: bytes,
        at: float,
        random: Random,
        lifetime: float,
    ) -> bytes:
        constraints = x509.BasicConstraints(ca=False, path_length=None)
        granted = x509.UnrecognizedExtension(GRANT_IDENTIFIER, build_grant(grant))
        return (
            x509.CertificateBuilder()
            .issuer_name(self._issuer)
            .subject_name(_name(name))
            .public_key(Ed25519PublicKey.from_public_bytes(signing_key))
            .serial_number(_serial(random))
            .not_valid_before(_whole(at - BACKDATING))
            .not_valid_after(_whole(at + lifetime))
            .add_extension(constraints, critical=True)
            .add_extension(granted, critical=True)
            .sign(self._key, None)
            .public_bytes(Encoding.DER)
        )


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _serial(random: Random) -> int:
    drawn = int.from_bytes(random(SERIAL_BYTES), "big")
    return SERIAL_LEAST | (drawn & (SERIAL_LEAST - 1))


def _whole(at: float) -> datetime:
    # X.509 knows no parts of a second.
    return datetime.fromtimestamp(int(at), UTC)


def _check(request: Request) -> None:
    """Raise `UsageError` for what no certificate can grant."""
    if not is_host_name(request.name):
        raise UsageError(f"the name {request.name!r}: {_CURE}")
    if not is_session_name(request.session):
        raise UsageError(
            f"session {request.session!r}: 1 to {SESSION_LIMIT_BYTES} bytes of printable text"
        )
    # As an integer: the complement of a flag holds the bits that have a name and no others.
    if not request.capabilities or int(request.capabilities) & ~int(EVERY_CAPABILITY):
        raise UsageError(f"{request.name}: name one role or more, like --role member")
    if not 0 <= request.out_degree <= OUT_DEGREE_LIMIT:
        raise UsageError(f"an out-degree of {request.out_degree}: 0 to {OUT_DEGREE_LIMIT}")
    if not 0 <= request.bandwidth <= BANDWIDTH_LIMIT:
        raise UsageError(f"a bandwidth of {request.bandwidth} bit/s: 0 to 2^64 - 1")
    if len(request.groups) > GROUPS_LIMIT:
        raise UsageError(
            f"{len(request.groups)} groups: at most {GROUPS_LIMIT}; name none to allow all"
        )
    for group in request.groups:
        if not group.is_multicast:
            raise UsageError(f"{group} is not multicast; groups are like 239.1.2.3 or ff3e::1")


@record
class DenyList:
    """Certificates not to be accepted although they are valid, in one session (security.md 2.2).

    Its number grows with each list; the signature is a root's over all the rest.
    """

    session: str = wire(text(SESSION_LIMIT_BYTES), doc="the session it is for")
    number: int = wire(uint32, doc="grows with each list")
    serials: tuple[int, ...] = wire(counted(uint64, DENIED_LIMIT), doc="serials", default=())
    signature: bytes = wire(octets(SIGNATURE_BYTES), doc="Ed25519, by a root", default=b"")

    def content(self) -> bytes:
        """Give what is signed: a label, and the list as it is sent but for the signature."""
        return _DENY_LABEL + replace(self, signature=b"").encode()

    def encode(self) -> bytes:
        """Give the list as it is sent."""
        return _DENY_LIST.build(self)

    def check(self, session: str, roots: Mapping[str, Verifier], newest: int = 0) -> None:
        """Raise `AuthenticationError` unless a root signed it for this session, `newest` or later.

        `newest` is the number of the newest list that was accepted before.
        """
        content = self.content()
        if not any(root.holds(self.signature, content) for root in roots.values()):
            raise AuthenticationError("deny list whose signature does not hold")
        if self.session != session:
            raise AuthenticationError("deny list of another session")
        if self.number < newest:
            raise AuthenticationError(f"deny list {self.number}, older than {newest}")


_DENY_LIST = Packed(DenyList.WIRE)  # type: ignore[attr-defined]


def read_deny_list(data: bytes, session: str, roots: Iterable[bytes], newest: int) -> DenyList:
    """Read a deny list that was received; raise `DecodeError` unless it is to be obeyed.

    It must be signed by one of these root keys, for this session, and be no older than `newest`.
    """
    if len(data) > DENY_LIST_LIMIT_BYTES:
        raise DecodeError(DecodeReason.LENGTH, 0, f"deny list of {len(data)} bytes")
    values, end = _DENY_LIST.parse(data, 0)
    if end != len(data):
        raise DecodeError(DecodeReason.TRAILING, end, "after the deny list")
    fields = dict(zip(_DENY_LIST.names, values, strict=True))
    found = DenyList(**fields)  # type: ignore[arg-type]
    found.check(session, verifiers(roots), newest)
    return found

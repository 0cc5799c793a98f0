"""Who a host is and whom it believes: its credential, its trust, and the two kinds of `Party`.

What a certificate says is in `certificate`, who issues it in `authority`; a `Party` is all that a
handshake needs of this host. Nothing here is said on the wire (slide 23).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import IntEnum
from hashlib import sha256

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from dmmp.errors import AuthenticationError, UsageError
from dmmp.messages.header import VERSION
from dmmp.security.certificate import (
    BANDWIDTH_LIMIT,
    KEY_BYTES,
    OUT_DEGREE_LIMIT,
    SESSION_LIMIT_BYTES,
    Certificate,
    is_session_name,
    node_of,
    read_certificate,
    read_issued,
    verifiers,
)
from dmmp.security.peer import EVERY_CAPABILITY, Peer
from dmmp.security.pem import certificate_pem, ed25519_pem, read_pem, x25519_pem
from dmmp.security.signing import Signer, Verifier

__all__ = [
    "CertifiedParty",
    "Credential",
    "Mode",
    "SharedSecretParty",
    "Trust",
    "node_of",
    "prologue",
    "static_public",
    "verify",
]

ROOTS_LIMIT = 8
"""Roots of one session: a new one beside the old while certificates change over, with room."""

CLOCK_SKEW = 300.0
"""Seconds by which two hosts' clocks may differ (security.md 2.2)."""

SECRET_LEAST_BYTES, SECRET_MOST_BYTES = 16, 256
"""Length of a shared secret; below, all secrets can be tried on one recorded handshake."""

_SECRET_CURE = "make a good one with: openssl rand -base64 32"


class Trust:
    """Whom a host believes: pinned roots, for one session, but for serials that were denied.

    Raise `UsageError` when it is made of roots that are none, or of more than `ROOTS_LIMIT`.
    """

    def __init__(
        self, roots: Iterable[bytes], session: str, denied: frozenset[int] = frozenset()
    ) -> None:
        self.roots = tuple(dict.fromkeys(roots))
        self.session = session
        self.denied = denied
        if not 0 < len(self.roots) <= ROOTS_LIMIT:
            raise UsageError(f"{len(self.roots)} roots: a session has 1 to {ROOTS_LIMIT}")
        if not is_session_name(session):
            raise UsageError(
                f"session {session!r}: 1 to {SESSION_LIMIT_BYTES} bytes of printable text"
            )
        self._verifiers = verifiers(self.roots)

    def check(self, der: bytes, static_key: bytes, at: float) -> Peer:
        """Tell who shows this certificate and holds this X25519 key, at `at` seconds since 1970.

        Raise `AuthenticationError` unless a root signed it, for this session and that key, and it
        is valid now and not denied (security.md 2.2).
        """
        certificate = read_issued(der, self._verifiers)
        peer = certificate.peer
        # Written so that a time that is no number is refused.
        if not certificate.not_before - CLOCK_SKEW <= at <= peer.not_after + CLOCK_SKEW:
            when = "not yet valid" if at < certificate.not_before else "expired"
            raise AuthenticationError(f"certificate of {peer.name}: {when}")
        if certificate.session != self.session:
            raise AuthenticationError(f"certificate of {peer.name}: for another session")
        if peer.static_key != static_key:
            raise AuthenticationError(f"certificate of {peer.name}: shown by another key")
        if peer.serial in self.denied:
            raise AuthenticationError(f"certificate of {peer.name}: denied")
        return peer


@dataclass(frozen=True, slots=True)
class Credential:
    """A host's certificate (DER) and its two secrets (32 bytes each): Ed25519 and X25519.

    Raise `AuthenticationError` when made of a certificate that is bad or not for these secrets.
    """

    certificate: bytes
    signing_secret: bytes = field(repr=False)
    static_secret: bytes = field(repr=False)
    says: Certificate = field(init=False, repr=False, compare=False)
    _signer: Signer = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        says, signer = read_certificate(self.certificate), Signer(self.signing_secret)
        if says.peer.signing_key != signer.public:
            raise AuthenticationError("certificate of another signing key")
        if says.peer.static_key != static_public(self.static_secret):
            raise AuthenticationError("certificate of another static key")
        object.__setattr__(self, "says", says)
        object.__setattr__(self, "_signer", signer)

    @property
    def peer(self) -> Peer:
        """This host as others see it."""
        return self.says.peer

    @property
    def session(self) -> str:
        """The session it is for."""
        return self.says.session

    @property
    def renewal_at(self) -> float:
        """Seconds since 1970 when to renew it: two thirds of its life (security.md 2.2)."""
        return self.says.not_before + (self.peer.not_after - self.says.not_before) * 2 / 3

    def sign(self, data: bytes) -> bytes:
        """Sign with the host's key: 64 bytes; each use puts a label of its own before the data."""
        return self._signer.sign(data)

    def renewed(self, certificate: bytes) -> Credential:
        """Give the same secrets with another certificate for them."""
        return Credential(certificate, self.signing_secret, self.static_secret)

    def text(self) -> str:
        """Give it as one PEM file (RFC 7468): certificate, signing key, static key."""
        return (
            certificate_pem(self.certificate)
            + ed25519_pem(self.signing_secret)
            + x25519_pem(self.static_secret)
        )

    @classmethod
    def parse(cls, text: str) -> Credential:
        """Read the file that `text` makes; raise `UsageError` for the user who named it."""
        held = read_pem(text)
        if held.kinds() != ["CERTIFICATE", "Ed25519", "X25519"]:
            raise UsageError(
                f"no credential: it holds {', '.join(held.kinds()) or 'nothing'} and not one "
                "certificate, one Ed25519 and one X25519 key; make one with: dmmp authority issue"
            )
        try:
            return cls(held.certificates[0], held.ed25519[0], held.x25519[0])
        except AuthenticationError as error:
            raise UsageError(
                f"no credential: {error.detail}; make one with: dmmp authority issue"
            ) from None


def static_public(secret: bytes) -> bytes:
    """Give the public key of an X25519 secret, 32 bytes each."""
    return X25519PrivateKey.from_private_bytes(secret).public_key().public_bytes_raw()


def verify(signing_key: bytes, signature: bytes, data: bytes) -> None:
    """Check a host's signature; raise `AuthenticationError` unless it holds (RFC 8032)."""
    try:
        holds = Verifier(signing_key).holds(signature, data)
    except ValueError:
        holds = False
    if not holds:
        raise AuthenticationError("signature that does not hold")


class Mode(IntEnum):
    """How the hosts of a session know each other; part of what both ends must agree on."""

    CERTIFICATES = 1
    SHARED_SECRET = 2


def prologue(mode: Mode, session: str) -> bytes:
    """Give what both ends mix into their handshake: another version, mode or session breaks it."""
    return b"DMMP" + bytes((VERSION, mode)) + sha256(session.encode("utf-8")).digest()


class CertifiedParty:
    """A host that shows a certificate and believes those of its session's roots: a `Party`.

    Raise `UsageError` when made of a credential that those roots would not accept.
    """

    def __init__(self, credential: Credential, trust: Trust) -> None:
        try:
            _accept(credential, trust)
        except AuthenticationError as error:
            raise UsageError(
                f"the credential does not go with the session file: {error.detail}; "
                "use the two that one authority made for one session"
            ) from None
        self.held = credential
        self.trust = trust
        self.prologue = prologue(Mode.CERTIFICATES, trust.session)

    @property
    def static_secret(self) -> bytes:
        """The X25519 private key."""
        return self.held.static_secret

    @property
    def credential(self) -> bytes:
        """The certificate, DER, as it is now."""
        return self.held.certificate

    def check(self, credential: bytes, static_key: bytes, at: float) -> Peer:
        """Tell who shows this certificate and holds this key (`Trust.check`)."""
        return self.trust.check(credential, static_key, at)

    def sign(self, data: bytes) -> bytes:
        """Sign with the host's key: 64 bytes."""
        return self.held.sign(data)

    def renew(self, credential: Credential) -> None:
        """Show a newer certificate from now on.

        Raise `AuthenticationError`, and change nothing, unless it is for the same keys, acceptable
        to the session's roots, and valid at least as long as the present one.
        """
        _accept(credential, self.trust)
        if (credential.signing_secret, credential.static_secret) != (
            self.held.signing_secret,
            self.held.static_secret,
        ):
            # Others know this host and its associations by these keys.
            raise AuthenticationError("renewal with other keys")
        if credential.peer.not_after < self.held.peer.not_after:
            raise AuthenticationError("renewal with an older certificate")
        self.held = credential

    def deny(self, serials: frozenset[int]) -> None:
        """Refuse these serials from now on, and no others: a newer deny list has come."""
        self.trust = Trust(self.trust.roots, self.trust.session, serials)


def _accept(credential: Credential, trust: Trust) -> None:
    """Raise `AuthenticationError` unless others would accept it in its last moment, if not now."""
    peer = credential.peer
    trust.check(credential.certificate, peer.static_key, peer.not_after)


class SharedSecretParty:
    """A host among others that all hold one secret: a `Party` without an authority.

    Whoever holds the secret may be anything and can pass for anyone else who does. Both key pairs
    come from the secret, so that to show a key proves that one holds it. `secret` is the content
    of the file that the user named: raise `UsageError` unless it is UTF-8 text of 16 to 256 bytes.
    """

    credential = b""

    def __init__(self, secret: bytes, session: str) -> None:
        if not is_session_name(session):
            raise UsageError(
                f"session {session!r}: 1 to {SESSION_LIMIT_BYTES} bytes of printable text"
            )
        held = _checked_secret(secret)
        self.prologue = prologue(Mode.SHARED_SECRET, session)
        self.static_secret = _derive(held, b"DMMP shared secret: static key", session)
        self.signer = Signer(_derive(held, b"DMMP shared secret: signing key", session))
        self._static_key = static_public(self.static_secret)
        self._peer = Peer(
            node=node_of(self.signer.public),
            name="shared secret",
            capabilities=EVERY_CAPABILITY,
            out_degree=OUT_DEGREE_LIMIT,
            bandwidth=BANDWIDTH_LIMIT,
            groups=(),
            static_key=self._static_key,
            signing_key=self.signer.public,
            serial=0,
            not_after=float("inf"),
        )

    def check(self, credential: bytes, static_key: bytes, at: float) -> Peer:
        """Tell that it is one of those who hold the secret; else raise `AuthenticationError`."""
        if credential or static_key != self._static_key:
            raise AuthenticationError("not a holder of the shared secret")
        return self._peer

    def sign(self, data: bytes) -> bytes:
        """Sign with the key that all holders share: 64 bytes."""
        return self.signer.sign(data)


def _checked_secret(secret: bytes) -> bytes:
    """Give the secret without the newline that an editor leaves at its end."""
    held = secret.removesuffix(b"\n").removesuffix(b"\r")
    try:
        held.decode("utf-8")
    except UnicodeDecodeError:
        raise UsageError(f"the shared secret is not UTF-8 text; {_SECRET_CURE}") from None
    if not SECRET_LEAST_BYTES <= len(held) <= SECRET_MOST_BYTES:
        raise UsageError(
            f"the shared secret has {len(held)} bytes, and must have {SECRET_LEAST_BYTES} to "
            f"{SECRET_MOST_BYTES}; {_SECRET_CURE}"
        )
    return held


def _derive(secret: bytes, label: bytes, session: str) -> bytes:
    # The salt separates sessions even where someone gives the same secret to two.
    salt = sha256(session.encode("utf-8")).digest()
    return HKDF(hashes.SHA256(), KEY_BYTES, salt, label).derive(secret)

"""A small authority for tests: dice that repeat, a fixed day, and certificates bent at will."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from hashlib import sha256

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from dmmp.errors import AuthenticationError
from dmmp.security.authority import Authority, Request
from dmmp.security.certificate import GRANT_IDENTIFIER, Grant, build_grant, fingerprint
from dmmp.security.identity import Credential, Trust, static_public
from dmmp.security.peer import Capability
from dmmp.security.signing import Signer

NOW = 1_800_000_000.0
SESSION = "conference"
ROOT_SECRET = sha256(b"root").digest()
SIGNING_SECRET = sha256(b"signing").digest()
STATIC_SECRET = sha256(b"static").digest()
SIGNING_KEY = Signer(SIGNING_SECRET).public
STATIC_KEY = static_public(STATIC_SECRET)
OTHER_ROOT = sha256(b"another root").digest()

GRANT = Grant(1, 12, 100_000_000, SESSION, STATIC_KEY)
CONSTRAINTS = x509.BasicConstraints(ca=False, path_length=None)

Extensions = Sequence[tuple[x509.ExtensionType, bool]]


def dice(seed: str) -> Callable[[int], bytes]:
    """Give bytes that look random and repeat."""
    thrown = 0

    def throw(count: int) -> bytes:
        nonlocal thrown
        thrown += 1
        return sha256(f"{seed} {thrown}".encode()).digest()[:count]

    return throw


def authority() -> Authority:
    return Authority(ROOT_SECRET)


def request(name: str = "m1", session: str = SESSION) -> Request:
    return Request(name, session, Capability.MEMBER, out_degree=12, bandwidth=100_000_000)


def credential(name: str = "m1", session: str = SESSION) -> Credential:
    return authority().credential(request(name, session), NOW, dice(name))


def trust(session: str = SESSION, denied: frozenset[int] = frozenset()) -> Trust:
    return Trust([authority().public], session, denied)


def refused(der: bytes, static_key: bytes = STATIC_KEY, at: float = NOW) -> str:
    """Show a certificate that must be refused, and give the reason."""
    with pytest.raises(AuthenticationError) as caught:
        trust().check(der, static_key, at)
    return caught.value.detail


def grant_extension(content: bytes | None = None) -> x509.UnrecognizedExtension:
    return x509.UnrecognizedExtension(
        GRANT_IDENTIFIER, build_grant(GRANT) if content is None else content
    )


def named(*names: tuple[x509.ObjectIdentifier, str]) -> x509.Name:
    """Make a name that the library would not let pass, if need be."""
    return x509.Name([x509.NameAttribute(kind, value, _validate=False) for kind, value in names])


def forged(
    extensions: Extensions | None = None,
    *,
    subject: x509.Name | None = None,
    issuer: str | None = None,
    key: CertificatePublicKeyTypes | None = None,
    serial: int = 1 << 62,
    signer: bytes = ROOT_SECRET,
) -> bytes:
    """Make a certificate as the root would sign it, were it not for what is given."""
    root = Ed25519PrivateKey.from_private_bytes(signer)
    title = issuer if issuer is not None else fingerprint(root.public_key().public_bytes_raw())
    builder = (
        x509.CertificateBuilder()
        .issuer_name(named((NameOID.COMMON_NAME, title)))
        .subject_name(named((NameOID.COMMON_NAME, "m1")) if subject is None else subject)
        .public_key(Ed25519PublicKey.from_public_bytes(SIGNING_KEY) if key is None else key)
        .serial_number(serial)
        .not_valid_before(datetime.fromtimestamp(NOW, UTC))
        .not_valid_after(datetime.fromtimestamp(NOW + 3600, UTC))
    )
    usual: Extensions = ((CONSTRAINTS, True), (grant_extension(), True))
    for extension, critical in usual if extensions is None else extensions:
        builder = builder.add_extension(extension, critical=critical)
    return builder.sign(root, None).public_bytes(Encoding.DER)


def signed_again(der: bytes) -> bytes:
    """Sign the changed content of a certificate as the root would."""
    return der[:-64] + Signer(ROOT_SECRET).sign(der[4:-74])

"""Certificates and private keys as PEM text (RFC 7468) with PKCS #8 (RFC 5958), for files.

Only for files that the user named: what cannot be read is a `UsageError`. What the certificate
says is for `identity`.
"""

from __future__ import annotations

import base64
import re
from typing import NamedTuple

from cryptography.exceptions import InternalError, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from dmmp.errors import UsageError

FILE_LIMIT_CHARACTERS = 16384
"""Longest file that is looked at; a credential has 900 characters."""

_LINE_CHARACTERS = 64
_BLOCK = re.compile(r"-----BEGIN ([A-Z0-9 ]+)-----\s(.*?)-----END \1-----", re.DOTALL)


class Held(NamedTuple):
    """What a file holds: certificates as DER, and private keys of 32 bytes."""

    certificates: tuple[bytes, ...]
    ed25519: tuple[bytes, ...]
    x25519: tuple[bytes, ...]

    def kinds(self) -> list[str]:
        """Name what is there, once for each."""
        names = ("CERTIFICATE", "Ed25519", "X25519")
        return [name for name, found in zip(names, self, strict=True) for _ in found]


def read_pem(text: str) -> Held:
    """Read all blocks; raise `UsageError` if one is neither a certificate nor one of our keys."""
    certificates: list[bytes] = []
    ed25519: list[bytes] = []
    x25519: list[bytes] = []
    if len(text) > FILE_LIMIT_CHARACTERS:
        raise UsageError(f"more than {FILE_LIMIT_CHARACTERS} characters are no PEM file of ours")
    for label, body in _BLOCK.findall(text):
        try:
            content = base64.b64decode("".join(body.split()), validate=True)
        except ValueError:
            raise UsageError(
                f"the {label} is damaged; take the file from where it was made"
            ) from None
        if label == "CERTIFICATE":
            certificates.append(content)
        elif label == "PRIVATE KEY":
            key = _private_key(content)
            (ed25519 if isinstance(key, Ed25519PrivateKey) else x25519).append(
                key.private_bytes_raw()
            )
        else:
            raise UsageError(f"there is a {label}, which does not belong here")
    return Held(tuple(certificates), tuple(ed25519), tuple(x25519))


def _private_key(content: bytes) -> Ed25519PrivateKey | X25519PrivateKey:
    try:
        key = serialization.load_der_private_key(content, None)
    except (ValueError, TypeError, UnsupportedAlgorithm, InternalError):
        # The last is what the library makes of a key of a wrong length.
        raise UsageError(
            "a private key cannot be read; take the file from where it was made"
        ) from None
    if not isinstance(key, Ed25519PrivateKey | X25519PrivateKey):
        raise UsageError(
            "a private key is neither Ed25519 nor X25519; make it with: dmmp authority"
        )
    return key


def certificate_pem(der: bytes) -> str:
    """Give the block of a certificate."""
    body = base64.b64encode(der).decode("ascii")
    lines = [body[at : at + _LINE_CHARACTERS] for at in range(0, len(body), _LINE_CHARACTERS)]
    return "\n".join(["-----BEGIN CERTIFICATE-----", *lines, "-----END CERTIFICATE-----", ""])


def ed25519_pem(secret: bytes) -> str:
    """Give the block of an Ed25519 private key of 32 bytes."""
    return _private_pem(Ed25519PrivateKey.from_private_bytes(secret))


def x25519_pem(secret: bytes) -> str:
    """Give the block of an X25519 private key of 32 bytes."""
    return _private_pem(X25519PrivateKey.from_private_bytes(secret))


def _private_pem(key: Ed25519PrivateKey | X25519PrivateKey) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ).decode("ascii")

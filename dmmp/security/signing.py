"""Ed25519 signatures (RFC 8032), with the key objects made once and not for each signature."""

from __future__ import annotations

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

SIGNATURE_BYTES = 64


class Signer:
    """Signs with one private key of 32 bytes."""

    def __init__(self, secret: bytes) -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(secret)
        self.public = self._key.public_key().public_bytes_raw()

    def sign(self, content: bytes) -> bytes:
        """Return the signature, 64 bytes."""
        return self._key.sign(content)


class Verifier:
    """Checks signatures of one public key of 32 bytes."""

    def __init__(self, public: bytes) -> None:
        self._key = Ed25519PublicKey.from_public_bytes(public)

    def holds(self, signature: bytes, content: bytes) -> bool:
        """Tell whether this is the key's signature of the content."""
        try:
            self._key.verify(signature, content)
        except InvalidSignature:
            return False
        return True

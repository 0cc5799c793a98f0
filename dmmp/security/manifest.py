"""Manifests: which packets an origin sent, by the hashes of their bytes, under one signature.

A manifest is a packet of its channel, numbered like data, so it is passed on, kept and repaired
like data. Its number follows from what it lists, so its signature covers that as well; a second
copy has another number, and is listed by the next manifest as any other packet. It
covers the packets as they travel, so a relay needs no key to check them. There is no chain of
manifests: a gap in the numbers shows what is withheld.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from typing import NamedTuple

from dmmp.errors import AuthenticationError, DecodeError, DecodeReason
from dmmp.messages.header import HEADER, HEADER_BYTES
from dmmp.security.signing import SIGNATURE_BYTES, Signer, Verifier

DIGEST_BYTES = 16
"""Bytes kept of each SHA-256: nobody but the origin chooses what is hashed, so a second packet
with the same hash costs 2^128 tries."""

MOST_LISTED = 76
"""Digests in one manifest: with a second signature, sealed for its way, it is no longer than the
longest packet under the usual MTU. A batch is no more than 64, as many as one send carries."""

NOT_LISTED = bytes(DIGEST_BYTES)
"""Stands in a list for the manifest itself; nothing has this digest."""

_LABEL = b"dmmp manifest 1"
_PACKET = b"dmmp packet 1"
_BEAT = b"dmmp heartbeat 1"
_FIRST = 4
SEQUENCE_MASK = 0xFFFFFFFF


class Manifest(NamedTuple):
    """What a manifest says: from number `first` on, the digests of consecutive packets."""

    first: int
    digests: bytes

    @property
    def packets(self) -> int:
        """Packets listed."""
        return len(self.digests) // DIGEST_BYTES

    def leads_to(self, number: int) -> bool:
        """Tell whether this number follows the last one listed."""
        return self.first + self.packets & SEQUENCE_MASK == number

    def may_have(self, number: int) -> bool:
        """Tell whether a manifest that lists this may have the number.

        It is the one before the first that is listed, or the one for which zeros stand.
        """
        if self.first == number + 1 & SEQUENCE_MASK:
            return True
        at = (number - self.first & SEQUENCE_MASK) * DIGEST_BYTES
        return self.digests[at : at + DIGEST_BYTES] == NOT_LISTED


def digests_of(data: bytes | memoryview, stride: int) -> bytes:
    """Hash each segment of a burst; the digests back to back."""
    view = memoryview(data)
    return b"".join(
        [
            sha256(view[at : at + stride]).digest()[:DIGEST_BYTES]
            for at in range(0, len(view), stride)
        ]
    )


def signed_manifest(
    signer: Signer, origin_key: int, channel: int, first: int, digests: Sequence[bytes]
) -> bytes:
    """Make the payload of a manifest: first number, digests, signature."""
    body = first.to_bytes(_FIRST) + b"".join(digests)
    return body + signer.sign(_LABEL + _stream(origin_key, channel) + body)


def read_manifest(payload: bytes, origin_key: int, channel: int, verifier: Verifier) -> Manifest:
    """Read a manifest's payload and check its signature; raise `DecodeError`."""
    manifest = unchecked_manifest(payload)
    body, signature = payload[:-SIGNATURE_BYTES], payload[-SIGNATURE_BYTES:]
    if not verifier.holds(signature, _LABEL + _stream(origin_key, channel) + body):
        raise AuthenticationError("the manifest's signature does not hold", HEADER_BYTES)
    return manifest


def unchecked_manifest(payload: bytes) -> Manifest:
    """Read a manifest's payload whose signature is of no interest; raise `DecodeError`."""
    size = len(payload) - _FIRST - SIGNATURE_BYTES
    if size < DIGEST_BYTES or size % DIGEST_BYTES or size > MOST_LISTED * DIGEST_BYTES:
        raise DecodeError(DecodeReason.LENGTH, HEADER_BYTES, f"a manifest of {len(payload)} bytes")
    body = payload[:-SIGNATURE_BYTES]
    return Manifest(int.from_bytes(body[:_FIRST]), body[_FIRST:])


def signed_packet(signer: Signer, datagram: bytes) -> bytes:
    """Put the signature behind a datagram whose header counts it already."""
    return datagram + signer.sign(_PACKET + datagram)


def packet_holds(verifier: Verifier, datagram: bytes | memoryview) -> bool:
    """Tell whether a datagram ends in its origin's signature."""
    if len(datagram) < HEADER_BYTES + SIGNATURE_BYTES:
        return False
    content = bytes(datagram)
    return verifier.holds(content[-SIGNATURE_BYTES:], _PACKET + content[:-SIGNATURE_BYTES])


def signed_beat(signer: Signer, content: bytes) -> bytes:
    """Sign a heartbeat: all of it before the signature, whose element's head is part of it."""
    return signer.sign(_BEAT + content)


def beat_holds(verifier: Verifier, datagram: bytes) -> bool:
    """Tell whether a heartbeat ends in its origin's signature."""
    if len(datagram) < HEADER_BYTES + SIGNATURE_BYTES:
        return False
    return verifier.holds(datagram[-SIGNATURE_BYTES:], _BEAT + datagram[:-SIGNATURE_BYTES])


def _stream(origin_key: int, channel: int) -> bytes:
    return origin_key.to_bytes(8) + channel.to_bytes(2)


assert HEADER.size == HEADER_BYTES

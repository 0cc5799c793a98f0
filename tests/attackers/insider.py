"""Forgeries of an insider: a member with the group's key that writes what the source never said.

From a packet that passes through its hands it makes others, each in a way of its own. All tags are
valid; only the source's signature cannot be made. Row 10 of the threat table.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from ipaddress import ip_address
from random import Random

from dmmp.messages import Rekey, encode
from dmmp.messages.data import Credential, Heartbeat
from dmmp.messages.header import (
    CHANNEL_MASK,
    EPOCH_SHIFT,
    FLAG_HEARTBEAT,
    FLAG_MANIFEST,
    FLAG_SEALED,
    FLAG_SIGNED,
    HEADER,
    HEADER_BYTES,
    VERSION,
    Header,
)
from dmmp.messages.options import TlvType
from dmmp.messages.schema import Tlv
from dmmp.security.data_guard import DataGuard
from dmmp.security.data_keys import TAG_BYTES, opened, sealed
from dmmp.security.manifest import digests_of, signed_beat, signed_manifest, signed_packet
from dmmp.security.signing import SIGNATURE_BYTES, Signer
from dmmp.types import HostId, SessionId

FORGERY = b"an insider wrote this"

FAR = 1000
"""Numbers ahead at which a packet is not yet expected, but would be believed."""

_SEQUENCE_MASK = 0xFFFFFFFF


class Forger:
    """Makes forgeries with the keys of `guard`, signed by the insider's own `signer`.

    `kinds` of a forgery:

    - `altered`: the packet's number, other content;
    - `signed`: the next number, with the insider's signature behind it;
    - `manifest`: a manifest under the insider's signature, and what it lists;
    - `ahead`: a number far ahead that no manifest lists;
    - `heartbeat`: one that tells of numbers far ahead;
    - `rekey`: a new epoch for everybody, in the channel of keys;
    - `credential`: the insider's certificate as that of the source.
    """

    def __init__(self, guard: DataGuard, signer: Signer, rng: Random, certificate: bytes) -> None:
        self._guard = guard
        self._signer = signer
        self._rng = rng
        self._certificate = certificate
        self._turn = 0
        self._kinds: dict[str, Callable[[Header, bytes], list[bytes]]] = {
            "altered": self._altered,
            "signed": self._signed,
            "manifest": self._manifest,
            "ahead": self._ahead,
            "heartbeat": self._heartbeat,
            "rekey": self._rekey,
            "credential": self._credential,
        }

    @property
    def kinds(self) -> tuple[str, ...]:
        """List the names of all kinds."""
        return tuple(self._kinds)

    def forge(self, packet: bytes, kinds: Sequence[str] = ()) -> list[bytes]:
        """Make the next kind of forgery in turn from a packet of the source; none without keys."""
        header = Header._make(HEADER.unpack_from(packet))
        if not header.reserved & CHANNEL_MASK:
            return []
        names = kinds or self.kinds
        self._turn += 1
        return self._kinds[names[self._turn % len(names)]](header, packet)

    def sealed(self, header: Header, sequence: int, flags: int = 0) -> list[bytes]:
        """Seal a forgery under the group's key with a number; with the flag, sign it as well."""
        epoch = header.reserved >> EPOCH_SHIFT & 0xFF
        channel = header.reserved & CHANNEL_MASK
        key = header.session << 32 | header.source
        sequence &= _SEQUENCE_MASK
        cipher = self._guard.keys.cipher(key, epoch << EPOCH_SHIFT | channel, sequence)
        if cipher is None:
            return []
        plain = FORGERY + self._rng.randbytes(8)
        tail = SIGNATURE_BYTES if flags & FLAG_SIGNED else 0
        reserved = flags | FLAG_SEALED | epoch << EPOCH_SHIFT | channel
        head = self._head(header, sequence, reserved, len(plain) + TAG_BYTES + tail)
        made = sealed(cipher, head, plain)
        return [signed_packet(self._signer, made) if tail else made]

    def opens(self, packet: bytes) -> bool:
        """Tell whether the insider's key opens a packet: its forgeries bear valid tags."""
        header = Header._make(HEADER.unpack_from(packet))
        key = header.session << 32 | header.source
        tail = SIGNATURE_BYTES if header.reserved & FLAG_SIGNED else 0
        found = opened(self._guard.keys, key, header.reserved, packet, len(packet), tail)
        return found is not None

    def _head(self, header: Header, sequence: int, reserved: int, length: int) -> bytes:
        tree, session, source = header.tree_version, header.session, header.source
        return HEADER.pack(VERSION, tree, 0, session, source, sequence, reserved, length)

    def _altered(self, header: Header, packet: bytes) -> list[bytes]:
        flags = header.reserved & FLAG_SIGNED
        if header.reserved & FLAG_MANIFEST:
            # Its first digest is another one: the signature does not hold any more.
            at = HEADER_BYTES + 4
            return [packet[:at] + bytes([packet[at] ^ 1]) + packet[at + 1 :]]
        return self.sealed(header, header.sequence, flags)

    def _signed(self, header: Header, packet: bytes) -> list[bytes]:
        return self.sealed(header, header.sequence + 1, FLAG_SIGNED)

    def _manifest(self, header: Header, packet: bytes) -> list[bytes]:
        number = header.sequence + 1 & _SEQUENCE_MASK
        listed = self.sealed(header, number + 1)
        if not listed:
            return []
        key, channel = header.session << 32 | header.source, header.reserved & CHANNEL_MASK
        digests = digests_of(listed[0], len(listed[0]))
        payload = signed_manifest(self._signer, key, channel, number + 1, [digests])
        head = self._head(header, number, FLAG_MANIFEST | channel, len(payload))
        return [head + payload, *listed]

    def _ahead(self, header: Header, packet: bytes) -> list[bytes]:
        return self.sealed(header, header.sequence + FAR)

    def _heartbeat(self, header: Header, packet: bytes) -> list[bytes]:
        beat = Heartbeat(
            session=SessionId(header.session),
            source=HostId(header.source),
            sequence=self._rng.getrandbits(31),
            tree_version=header.tree_version,
            reserved=FLAG_HEARTBEAT | header.reserved & (0xFF << EPOCH_SHIFT | CHANNEL_MASK),
            group=ip_address("239.1.2.3"),
            origin_address=ip_address("192.0.2.1"),
            highest=header.sequence + FAR & _SEQUENCE_MASK,
            started=1,
        )
        blank = Tlv(TlvType.SIGNATURE, bytes(SIGNATURE_BYTES))
        content = encode(replace(beat, tlvs=(blank,)))[:-SIGNATURE_BYTES]
        return [content + signed_beat(self._signer, content)]

    def _rekey(self, header: Header, packet: bytes) -> list[bytes]:
        rekey = Rekey(
            session=SessionId(header.session),
            source=HostId(header.source),
            epoch=self._rng.getrandbits(31),
        )
        payload = encode(rekey)
        number = self._rng.getrandbits(32)
        head = self._head(header, number, FLAG_SIGNED, len(payload) + SIGNATURE_BYTES)
        return [signed_packet(self._signer, head + payload)]

    def _credential(self, header: Header, packet: bytes) -> list[bytes]:
        message = Credential(
            session=SessionId(header.session),
            source=HostId(header.source),
            certificate=self._certificate,
        )
        return [encode(message)]

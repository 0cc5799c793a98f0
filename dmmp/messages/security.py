"""The datagrams of pairwise associations: Noise IK with WireGuard's two macs and its cookie.

The classes are for tools and vectors. `dmmp.security` makes and reads the same bytes itself, since
most of what comes is to be dropped before it is worth an object. Slide 23.
"""

from __future__ import annotations

from dmmp.messages.options import Option
from dmmp.messages.schema import Message, message, wire
from dmmp.messages.wiretypes import all_but, exactly

_MACS = 32
_TAG = 16


@message(Option.HANDSHAKE_INITIATION, tlvs=False)
class HandshakeInitiation(Message):
    """Slide 23. First message of Noise IK: `source` is the index its sender wants to be sent to.

    The payload in it: timestamp (uint64, microseconds since 1970), instance (uint64, random for
    each start of the sender), credential (octets), and zeros that fill the datagram to 820 bytes.
    """

    ephemeral: bytes = wire(exactly(32), doc="X25519 key for this handshake alone")
    sealed_static: bytes = wire(exactly(48), doc="the sender's X25519 key, and the tag")
    sealed_payload: bytes = wire(all_but(_MACS), doc="who the sender is, and the tag")
    mac1: bytes = wire(exactly(16), doc="keyed hash: the sender knows the receiver's key")
    mac2: bytes = wire(exactly(16), doc="keyed hash under a cookie: it is where it says; or zero")


@message(Option.HANDSHAKE_RESPONSE, tlvs=False)
class HandshakeResponse(Message):
    """Slide 23. Second message of Noise IK: `source` is its sender's index, `sequence` the other's.

    The payload in it: credential (octets). Never longer than the initiation.
    """

    ephemeral: bytes = wire(exactly(32), doc="X25519 key for this handshake alone")
    sealed_payload: bytes = wire(all_but(_MACS), doc="who the sender is, and the tag")
    mac1: bytes = wire(exactly(16), doc="keyed hash: the sender knows the receiver's key")
    mac2: bytes = wire(exactly(16), doc="keyed hash under a cookie: it is where it says; or zero")


@message(Option.COOKIE_REPLY, tlvs=False)
class CookieReply(Message):
    """Slide 23. Show that you are there: again with this cookie. `sequence` is the other's index.

    Sealed under the hash of "dmmp cookie" and the sender's public key; associated data is the mac1
    that it answers.
    """

    nonce: bytes = wire(exactly(12), doc="random")
    sealed_cookie: bytes = wire(exactly(32), doc="the cookie, and the tag")


@message(Option.SEALED, tlvs=False)
class Sealed(Message):
    """Slide 23. A whole datagram, or nothing, sealed: `source` is the receiver's index.

    `sequence` and `reserved` are the low and high half of a 64-bit counter, the nonce; the header
    is associated data.
    """

    ciphertext: bytes = wire(all_but(_TAG), doc="AES-256-GCM")
    tag: bytes = wire(exactly(_TAG), doc="shows that nothing was changed")


@message(Option.HOP_SEALED, tlvs=False)
class HopSealed(Message):
    """Decision 74. As Sealed, for what is the forwarder's: it does not wait behind control."""

    ciphertext: bytes = wire(all_but(_TAG), doc="AES-256-GCM")
    tag: bytes = wire(exactly(_TAG), doc="shows that nothing was changed")

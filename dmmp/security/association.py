"""One association: two keys, two indexes, a counter and a window, and what was heard over it.

Seals and opens; when to make the next one is `associations`' business. The Noise transport phase
with the counter in the header. Slide 23; the times are WireGuard's unless they say otherwise.
"""

from __future__ import annotations

from struct import Struct

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from dmmp.errors import AuthenticationError
from dmmp.messages.header import (
    HEADER,
    HEADER_BYTES,
    MAXIMUM_PAYLOAD_BYTES,
    OPTION_OFFSET,
)
from dmmp.messages.options import LAST_DATA_OPTION, Option
from dmmp.security.handshakes import PREFIX_BYTES, prefix
from dmmp.security.noise import TAG_BYTES, Keys, pack_nonce
from dmmp.security.peer import Peer
from dmmp.security.replay import Window
from dmmp.types import Endpoint, Instant

RENEW_AFTER = 120.0
"""Its initiator makes a new one after so many seconds, if there is traffic."""

SEND_UNTIL = 170.0
"""Nothing is sent over it after so many seconds: what was, arrives before the other end's 180."""

LIFE = 180.0
"""Nothing is accepted over it after so many seconds; then it is forgotten.

That is also the only idle limit. An association that nobody uses is not renewed, and so both ends
forget it at the same time without a word; one that forgot earlier would lose what the other still
sends. DMMP's relatives talk every 5 to 20 s (Decision 10), so theirs are always renewed.
"""

RENEW_AFTER_COUNT = 1 << 48
"""And after so many datagrams, far below what AES-GCM bears; in practice the time comes first."""

MAXIMUM_PLAINTEXT_BYTES = MAXIMUM_PAYLOAD_BYTES - TAG_BYTES

_LOW = 0xFFFFFFFF
_FRAME, _MESSAGE = prefix(Option.HOP_SEALED), prefix(Option.SEALED)
_pack_header = Struct(f"!{PREFIX_BYTES}sIIII").pack
_OPTION = slice(OPTION_OFFSET, OPTION_OFFSET + 2)
_LAST_DATA = LAST_DATA_OPTION.to_bytes(2)
_NEVER = float("-inf")
_LEAST_BYTES = HEADER_BYTES + TAG_BYTES


class Association:
    """The state of one; `begun` is when its initiation was sent or came, `order` its number then.

    `initiated` tells whether this end sent the initiation, `crossed` which tries of this end were
    open when the other's came, `instance` which start of the initiator it was.
    """

    __slots__ = (
        "_open",
        "_seal",
        "_window",
        "begun",
        "count",
        "crossed",
        "endpoint",
        "index",
        "initiated",
        "instance",
        "is_heard",
        "is_watched",
        "keys",
        "last_content",
        "last_heard",
        "last_sent",
        "mac1",
        "order",
        "owed_since",
        "peer",
        "remote_index",
        "unanswered",
        "unanswered_since",
    )

    def __init__(
        self,
        indexes: tuple[int, int],
        keys: Keys,
        endpoint: Endpoint,
        peer: Peer,
        begun: Instant,
        order: int,
        initiated: bool,
        instance: int = 0,
        crossed: frozenset[int] = frozenset(),
        mac1: bytes = b"",
    ) -> None:
        self.index, self.remote_index = indexes
        self.keys = keys
        self._seal = AESGCM(keys.send).encrypt
        self._open = AESGCM(keys.receive).decrypt
        self._window = Window()
        self.endpoint, self.peer = endpoint, peer
        self.begun, self.order, self.initiated = begun, order, initiated
        self.instance, self.crossed, self.mac1 = instance, crossed, mac1
        self.count = 0
        self.is_heard = self.is_watched = False
        self.last_sent = self.last_heard = self.last_content = _NEVER
        self.owed_since: Instant | None = None
        self.unanswered = 0
        self.unanswered_since = _NEVER

    def may_send(self, now: Instant) -> bool:
        """Tell whether anything may still be sent over it."""
        return now < self.begun + SEND_UNTIL and self.count < 2 * RENEW_AFTER_COUNT

    def should_renew(self, now: Instant) -> bool:
        """Tell whether this end should make a new one, given that there is traffic.

        The initiator, so that not both do; towards the end whoever needs it.
        """
        if self.count >= RENEW_AFTER_COUNT:
            return True
        return now >= self.begun + (RENEW_AFTER if self.initiated else SEND_UNTIL)

    def seal(self, plaintext: bytes, now: Instant) -> bytes:
        """Make the datagram of a plaintext of up to `MAXIMUM_PLAINTEXT_BYTES`."""
        count = self.count
        self.count = count + 1
        frame = is_forwarders(plaintext)
        header = _pack_header(
            _FRAME if frame else _MESSAGE,
            self.remote_index,
            count & _LOW,
            count >> 32,
            len(plaintext) + TAG_BYTES,
        )
        self.last_sent = now
        if plaintext and not frame:
            if not self.unanswered:
                self.unanswered_since = now
            self.unanswered += 1
        return header + self._seal(pack_nonce(count), plaintext, header)

    def open(self, datagram: bytes, now: Instant) -> bytes:
        """Return the plaintext; raise `AuthenticationError` if it was changed or came before."""
        if len(datagram) < _LEAST_BYTES:
            raise AuthenticationError("shorter than a tag")
        header = datagram[:HEADER_BYTES]
        _, _, _, _, _, low, high, _ = HEADER.unpack(header)
        counter = high << 32 | low
        if not self._window.is_new(counter):
            raise ReplayError("a counter that was seen")
        try:
            plaintext = self._open(pack_nonce(counter), datagram[HEADER_BYTES:], header)
        except InvalidTag as error:
            raise AuthenticationError("a datagram that does not open") from error
        self._window.record(counter)
        self.unanswered = 0
        self.last_heard = now
        if plaintext and not is_forwarders(plaintext):
            self.last_content = now
        return plaintext


def is_forwarders(plaintext: bytes) -> bool:
    """Tell whether this is a datagram of the data plane, which goes under an option of its own."""
    return len(plaintext) >= HEADER_BYTES and plaintext[_OPTION] <= _LAST_DATA


class ReplayError(AuthenticationError):
    """A counter that was seen already, or is too old to tell."""


def is_preferred(new: Association, old: Association) -> bool:
    """Tell whether to send over `new` from now on, rather than over `old`; both ends say the same.

    The one whose initiation is younger. But where both ends called at once, each one's own is the
    elder; so if the other's initiation came while ours was open, the hash decides.
    """
    crossed = old.index in new.crossed or new.index in old.crossed
    if crossed and new.initiated != old.initiated:
        return new.keys.transcript > old.keys.transcript
    return new.order > old.order

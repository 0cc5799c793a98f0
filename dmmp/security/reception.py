"""Reception: what becomes of initiations, cheapest doubt first (design 2.6), up to half-open.

Nothing is kept of a caller before its mac1, its address if in doubt, its Noise message, its
timestamp and its credential held; and never more is sent than came.
"""

from __future__ import annotations

from collections.abc import Callable

from dmmp.errors import DecodeError
from dmmp.messages.header import HEADER_BYTES
from dmmp.security.association import Association
from dmmp.security.cookies import NO_MAC, Cookies, mac1_key, mac1_of, where
from dmmp.security.half_open import HalfOpen
from dmmp.security.handshakes import (
    INITIATION_LEAST,
    INITIATION_MOST,
    Said,
    indexes,
    read_initiation,
    response_bytes,
    write_response,
)
from dmmp.security.host import Host
from dmmp.security.limits import Buckets, Load, Recent
from dmmp.security.noise import Responder
from dmmp.security.peer import Peer
from dmmp.types import Endpoint, Instant


class Reception:
    """Answers initiations; `half_open` holds those that were answered and not yet confirmed.

    The table tells a free index, this host's open tries to an endpoint, and whether who holds a
    static key may have an endpoint.
    """

    def __init__(
        self,
        host: Host,
        new_index: Callable[[], int],
        tries: Callable[[Endpoint], frozenset[int]],
        may_take: Callable[[Endpoint, bytes, Instant], bool],
    ) -> None:
        self._host = host
        self._new_index, self._tries, self._may_take = new_index, tries, may_take
        self._cookies = Cookies(host.static.public, host.random)
        self._load = Load(host.limits.initiations)
        # Of addresses that anybody may claim, and of those that were shown to be true: a spoofer
        # can use up the former, and then the true owner needs a cookie, but not the latter.
        self._claimed = Buckets(host.limits, host.random(16))
        self._proven = Buckets(host.limits, host.random(16))
        self._timestamps: Recent[tuple[bytes, int], int] = Recent(host.limits.timestamps)
        self.half_open = HalfOpen(host.limits.half_open)

    def timestamps(self) -> int:
        """Return how many initiators' timestamps are known."""
        return len(self._timestamps)

    def is_proven(self, initiation: bytes, sender: Endpoint, now: Instant) -> bool:
        """Tell whether an initiation bears a cookie of this host for where it comes from."""
        return self._cookies.mac2_holds(initiation, sender, now)

    def is_flooded(self, now: Instant) -> bool:
        """Tell whether callers are asked for a cookie, whoever they are."""
        return self._load.is_high(now) or self.half_open.is_crowded()

    def answer(self, initiation: bytes, sender: Endpoint, now: Instant) -> bytes | None:
        """Answer with a response or a cookie reply; None, and counted, if with nothing."""
        return self._admit(initiation, sender, now) if self._is_worthy(initiation) else None

    def answer_flood(
        self, initiation: bytes | memoryview, place: bytes, may_answer: bool, now: Instant
    ) -> bytes | None:
        """Answer as `answer` does while `is_flooded`, from a `cookies.where`; b"": with nothing.

        So it is if not `may_answer`. None, and nothing done but counted as load, if it bears a
        cookie: `answer` is to be asked.
        """
        if not self._is_worthy(initiation):
            return b""
        self._load.note(now)
        if self._cookies.mac2_holds_at(initiation, place, now):
            return None
        return self._cookie_reply(initiation, place, now) if may_answer else b""

    def _is_worthy(self, initiation: bytes | memoryview) -> bool:
        """Tell whether an initiation is one, for this host, and not too short to be answered."""
        host = self._host
        size = len(initiation)
        if not INITIATION_LEAST <= size <= INITIATION_MOST:
            host.count("malformed")
        elif not self._cookies.mac1_holds(initiation):
            host.count("mac1")
        elif initiation[12:HEADER_BYTES] != (size - HEADER_BYTES).to_bytes(12):
            # Sequence and reserved word are zero: what stands in the header is not in the proof.
            host.count("malformed")
        elif size < response_bytes(host.party.credential):
            host.count("amplifying")
        else:
            return True
        return False

    def _cookie_reply(self, initiation: bytes | memoryview, place: bytes, now: Instant) -> bytes:
        if initiation[-len(NO_MAC) :] != NO_MAC:
            self._host.count("mac2")
        self._host.count("cookie_replies_sent")
        return self._cookies.reply_at(initiation, place, indexes(initiation)[0], now)

    def _admit(self, initiation: bytes, sender: Endpoint, now: Instant) -> bytes | None:
        """Ask for a cookie under load, and of an address that calls too often."""
        host = self._host
        self._load.note(now)
        if self.is_flooded(now) or not self._claimed.take(sender.address, now):
            if not self._cookies.mac2_holds(initiation, sender, now):
                return self._cookie_reply(initiation, where(sender), now)
            if not self._proven.take(sender.address, now):
                host.count("flooded")
                return None
        noise = Responder(host.static, host.party.prologue)
        try:
            said = read_initiation(initiation, noise)
        except DecodeError:
            host.count("handshake")
            return None
        known = self._check(said, noise.remote, now)
        if known is None:
            return None
        if not self._may_take(sender, noise.remote, now):
            host.count("usurping")
            return None
        return self._respond(initiation, sender, noise, said.instance, known, now)

    def _check(self, said: Said, static_key: bytes, now: Instant) -> Peer | None:
        host = self._host
        if said.instance == host.instance:
            # Only with a shared secret can it be read at all: then both ends have one static key.
            host.count("reflected")
            return None
        earlier = self._timestamps.get((static_key, said.instance))
        if earlier is not None and said.timestamp <= earlier:
            host.count("replayed")
            return None
        try:
            known = host.party.check(said.credential, static_key, now + host.wall)
        except DecodeError:
            host.count("refused")
            return None
        self._timestamps.put((static_key, said.instance), said.timestamp)
        return known

    def _respond(
        self,
        initiation: bytes,
        sender: Endpoint,
        noise: Responder,
        instance: int,
        known: Peer,
        now: Instant,
    ) -> bytes | None:
        host = self._host
        both = self._new_index(), indexes(initiation)[0]
        try:
            response, keys = write_response(
                noise,
                both,
                host.party.credential,
                host.ephemeral(),
                mac1_key(noise.remote),
                host.cookie_for(sender, now),
            )
        except DecodeError:
            host.count("handshake")
            return None
        association = Association(
            both,
            keys,
            sender,
            known,
            now,
            host.next_order(),
            initiated=False,
            instance=instance,
            crossed=self._tries(sender),
            mac1=mac1_of(response),
        )
        if self.half_open.add(association):
            host.count("half_open_evicted")
        host.count("responses_sent")
        return response

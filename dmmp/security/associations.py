"""The associations of a host with all others: from first contact to renewal, sans-I/O.

Datagrams and plaintexts in and out, alarms, tables of fixed size; no roles, no sockets. Noise IK,
WireGuard's macs and times, DMMP's header (slide 23; design 2.5 and 2.6). The rules and their
reasons stand at the class `Associations`.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from enum import Enum

from dmmp.alarms import Alarms
from dmmp.errors import DecodeError, UsageError
from dmmp.messages.header import HEADER_BYTES
from dmmp.messages.options import Option
from dmmp.parameters import Parameters
from dmmp.security.association import LIFE, MAXIMUM_PLAINTEXT_BYTES, Association, ReplayError
from dmmp.security.calls import Calls
from dmmp.security.contacts import AssociationAlarm, Contacts
from dmmp.security.cookies import REPLY_BYTES, read_reply
from dmmp.security.handshakes import (
    INITIATION_LEAST,
    INITIATION_MOST,
    PREFIX_BYTES,
    indexes,
    prefix,
)
from dmmp.security.host import Datagram, Host
from dmmp.security.limits import Limits, Recent
from dmmp.security.noise import KEY_BYTES
from dmmp.security.outcomes import Received, Regard, Unknown
from dmmp.security.peer import Party, Peer
from dmmp.security.reception import Reception
from dmmp.security.waiting import Waiting
from dmmp.types import Endpoint, Instant

KEY_WAIT = 8.0
"""A static key is waited for as long as a call lasts, which is 7.25 s."""


_INITIATION = prefix(Option.HANDSHAKE_INITIATION)
_SEALED = (prefix(Option.SEALED), prefix(Option.HOP_SEALED))


class Associations:
    """The table. `random` gives so many random bytes, `instance` is a random number of 64 bits for
    each start of the process, `wall` seconds since 1970 minus the monotonic clock's.

    `default_key` is the static key of every endpoint where one secret is shared by all; `key_log`
    gets a line for each association, with which captures of it can be opened.

    *First contact.* `send` seals if there is an association. If not, it queues and calls,
    provided that the other's static key is known; else it says `Unknown`, and `introduce`
    brings the key later. An initiation is sent again every 0.25 s, from the eighth on doubling,
    eleven tries in all, each time a new one, and a response to any of them counts. The responder
    keeps a half-open entry and sends nothing but the response until the first datagram that
    opens shows that its call was no replay.

    *Doubts, cheapest first.* Length and the first 8 bytes; mac1; then, under load or from an
    address that calls too often, mac2, without which there is but a cookie reply, shorter than
    what it answers, and no state; then Noise, the timestamp, the credential. Whatever fails is
    dropped without a word.

    *Two calls at once* may both succeed. All that is alive is accepted; which one is sent over
    both ends tell alike (`is_preferred`). One that was replaced is accepted for 10 s after the
    other end was first heard over its successor, so nothing on its way is lost, however far
    apart the ends switch.

    *Silence.* Who gets something sealed for an index it does not know says nothing, though it
    may just have restarted. So the sender must notice: three plaintexts unanswered for 2 s, and
    it calls again, meanwhile sending as before; if that changes nothing after 4, 8 and every 16
    s. A message that names another host there brings that forward: what is said until anything
    opens from there is said over the new association too. And so that one who only listens is
    not doubted, a host that heard something and had nothing to say for 1 s says so, sealed and
    empty: shorter than what it heard.

    *Other keys.* An endpoint where somebody was heard within 10 s is not given to who comes
    with another static key: an address can be taken over by who is on the path, an identity
    cannot.
    """

    def __init__(
        self,
        party: Party,
        random: Callable[[int], bytes],
        instance: int,
        wall: float,
        parameters: Parameters | None = None,
        limits: Limits | None = None,
        default_key: bytes | None = None,
        key_log: Callable[[str], None] | None = None,
    ) -> None:
        self.limits = limits or Limits()
        self._host = Host(party, random, instance, wall, self.limits)
        self._alarms = Alarms()
        self._contacts = Contacts(self._host, self._alarms, key_log)
        self._calls = Calls(self._host, parameters or Parameters())
        self._reception = Reception(
            self._host, self._new_index, self._calls.indexes, self._contacts.may_take
        )
        self._half_open = self._reception.half_open
        self._default_key = default_key
        self._keys: Recent[Endpoint, bytes] = Recent(self.limits.keys)
        self._pinned: dict[Endpoint, bytes] = {}
        self._waiting = Waiting(self.limits)
        self._failed: dict[Endpoint, None] = {}
        self._doors: dict[bytes, Callable[[bytes, Endpoint, Instant], Received]] = {
            prefix(Option.SEALED): self._on_sealed,
            prefix(Option.HOP_SEALED): self._on_sealed,
            prefix(Option.HANDSHAKE_INITIATION): self._on_initiation,
            prefix(Option.HANDSHAKE_RESPONSE): self._on_response,
            prefix(Option.COOKIE_REPLY): self._on_cookie_reply,
        }
        self._wakes: dict[Enum, Callable[[Hashable, Instant], list[Datagram]]] = {
            AssociationAlarm.RETRY: self._on_retry,
            AssociationAlarm.KEY: self._on_key,
            AssociationAlarm.EXPIRY: self._on_expiry,
            AssociationAlarm.HALF_OPEN: self._on_half_open,
            AssociationAlarm.DOUBT: self._on_doubt,
            AssociationAlarm.SAY: self._on_say,
        }

    @property
    def counters(self) -> dict[str, int]:
        """How often what happened, by the names in `host.COUNTERS`."""
        counters = self._host.counters
        counters["queue_dropped"] = self._waiting.dropped
        return counters

    @property
    def static_key(self) -> bytes:
        """This host's public static key, by which others call it."""
        return self._host.static.public

    def set_wall(self, wall: float) -> None:
        """Take note that the wall clock was put right."""
        self._host.wall = wall

    def peer(self, endpoint: Endpoint) -> Peer | None:
        """Return who is at the other end of the association with this endpoint, if there is one."""
        contact = self._contacts.get(endpoint)
        return contact.current.peer if contact is not None else None

    def of_serials(self, serials: frozenset[int]) -> dict[Endpoint, bytes]:
        """Find the endpoints of hosts whose certificates have these serials, and their nodes."""
        peers = self._contacts.peers()
        return {at: peer.node for at, peer in peers.items() if peer.serial in serials}

    def key(self, endpoint: Endpoint) -> bytes | None:
        """Return the static key by which an endpoint is, or would be, called; None: unknown."""
        return self._key(endpoint)

    def forget_key(self, endpoint: Endpoint) -> None:
        """Forget what was said of an endpoint's key, if nobody is associated there."""
        if self._contacts.get(endpoint) is None:
            self._keys.pop(endpoint)

    def failed(self) -> list[Endpoint]:
        """Take the endpoints that were called in vain, or whose key never came, since last time."""
        found = list(self._failed)
        self._failed.clear()
        return found

    def sizes(self) -> dict[str, int]:
        """Return how many entries each table has."""
        return {
            "associations": len(self._contacts),
            "contacts": self._contacts.endpoints(),
            "half_open": len(self._half_open),
            "calls": len(self._calls),
            "keys": len(self._keys),
            "timestamps": self._reception.timestamps(),
            "cookies": len(self._host.cookies),
            "queued_endpoints": len(self._waiting),
            "queued_bytes": self._waiting.bytes_in_all,
            "failed": len(self._failed),
            "alarms": len(self._alarms),
        }

    # What this host wants.

    def pin(self, endpoint: Endpoint, static_key: bytes) -> None:
        """Know a static key for good, as the session file's: it is not forgotten, nor replaced."""
        self._pinned[endpoint] = static_key

    def introduce(self, endpoint: Endpoint, static_key: bytes, now: Instant) -> list[Datagram]:
        """Learn the static key to use for an endpoint; what waits for it goes on.

        An endpoint that is associated already keeps its key: that one was proven.
        """
        contact = self._contacts.get(endpoint)
        if (
            len(static_key) != KEY_BYTES
            or self._pinned.get(endpoint, static_key) != static_key
            or (contact is not None and contact.current.peer.static_key != static_key)
        ):
            self._host.count("hearsay")
            return []
        self._keys.put(endpoint, static_key)
        return self._call(endpoint, now) if endpoint in self._waiting else []

    def send(self, plaintext: bytes, to: Endpoint, now: Instant) -> list[Datagram] | Unknown:
        """Seal a plaintext, or queue it and call; `Unknown` if the key for that is missing.

        Raise `UsageError` if it is too long for a datagram.
        """
        if len(plaintext) > MAXIMUM_PLAINTEXT_BYTES:
            raise UsageError(f"{len(plaintext)} bytes cannot be sealed into one datagram")
        contact = self._contacts.get(to)
        if contact is None or not contact.current.may_send(now):
            return self._wait(plaintext, to, now)
        datagrams = [self._contacts.seal(contact.current, plaintext, now)]
        if self._calls.is_open(to):
            if contact.keeps(plaintext):
                self._queue(plaintext, to, now)
        elif contact.current.should_renew(now):
            datagrams += self._call(to, now)
        return datagrams

    def suspect(self, endpoint: Endpoint, now: Instant) -> list[Datagram] | None:
        """Call an associated endpoint anew: somebody says that another process is there by now.

        None if nobody is known there, or if that was said less than 16 s ago.
        """
        if not self._contacts.suspect(endpoint, now):
            return None
        if len(self._calls.indexes(endpoint)) > 1:  # In vain, and after longer and longer waits.
            self._calls.close(endpoint)
        return self._call(endpoint, now)

    def send_all(
        self, plaintexts: Sequence[bytes], to: Endpoint, now: Instant
    ) -> list[bytes] | None:
        """Seal plaintexts for one endpoint; None if more is to be done, as `send` does for each."""
        contact = self._contacts.get(to)
        if contact is None or len(max(plaintexts, key=len)) > MAXIMUM_PLAINTEXT_BYTES:
            return None
        association = contact.current
        if not association.may_send(now) or association.should_renew(now):
            return None
        if contact.is_suspect and self._calls.is_open(to):
            return None
        return self._contacts.seal_all(association, plaintexts, now)

    def wake(self, now: Instant) -> list[Datagram]:
        """Do what is due; a wake too many does no harm."""
        datagrams: list[Datagram] = []
        while (due := self._alarms.due(now)) is not None:
            alarm, key = due
            datagrams += self._wakes[alarm](key, now)
        return datagrams

    def next_alarm(self) -> tuple[Instant, str] | None:
        """Say when to wake, and why."""
        return self._alarms.next()

    def drop(self, endpoint: Endpoint) -> None:
        """Forget all associations with an endpoint, what waits for it, and calls to it."""
        self._contacts.drop(endpoint)
        self._half_open.drop(endpoint)
        self._end_call(endpoint)
        self._waiting.drop(endpoint)

    def _wait(self, plaintext: bytes, to: Endpoint, now: Instant) -> list[Datagram] | Unknown:
        self._queue(plaintext, to, now)
        if to not in self._waiting or self._calls.is_open(to):
            return []
        if self._key(to) is None:
            if not self._alarms.is_set(AssociationAlarm.KEY, to):
                self._alarms.set(AssociationAlarm.KEY, now + KEY_WAIT, to)
            return Unknown(to)
        return self._call(to, now)

    def _queue(self, plaintext: bytes, to: Endpoint, now: Instant) -> None:
        for gone in self._waiting.put(to, plaintext):
            if not self._contacts.can_send(gone, now):
                self._end_call(gone)

    # What comes from outside.

    def regard(self, datagram: bytes, sender: Endpoint, now: Instant) -> Regard:
        """Tell whether a datagram is worth a place in a queue, and in which; count what is not.

        The cheapest doubts only, so that a flood takes no place of what relatives say.
        """
        head = datagram[:PREFIX_BYTES]
        if head in _SEALED:
            index = int.from_bytes(datagram[PREFIX_BYTES : PREFIX_BYTES + 4], "big")
            association = self._contacts.of_index(index) or self._half_open.get(index)
            if association is not None and sender == association.endpoint:
                return Regard.KNOWN
            self._host.count("unknown_index" if association is None else "wrong_address")
        elif head == _INITIATION:
            # That mac1 holds says little here: it does not cover the address, so one that does can
            # be sent from everywhere.
            if INITIATION_LEAST <= len(datagram) <= INITIATION_MOST:
                proven = self._reception.is_proven(datagram, sender, now)
                return Regard.KNOWN if proven else Regard.STRANGER
            self._host.count("malformed")
        elif head in self._doors and len(datagram) >= HEADER_BYTES:
            index = indexes(datagram)[1]
            if index in self._calls or index in self._half_open:
                return Regard.KNOWN
            self._host.count("unknown_index")
        else:
            self._host.count("malformed")
        return Regard.NONE

    def is_flooded(self, now: Instant) -> bool:
        """Tell whether whoever calls is asked for a cookie."""
        return self._reception.is_flooded(now)

    def answer_flood(
        self, datagram: bytes | memoryview, place: bytes, may_answer: bool, now: Instant
    ) -> bytes | None:
        """Answer an initiation while `is_flooded`, if one may, and sooner than `receive` would.

        `place` is the `cookies.where` of its sender. b"": with nothing; None: `receive` is to do
        it, as with all other datagrams.
        """
        if datagram[:PREFIX_BYTES] != _INITIATION:
            return None
        return self._reception.answer_flood(datagram, place, may_answer, now)

    def receive(self, datagram: bytes, sender: Endpoint, now: Instant) -> Received:
        """Take a datagram of this family; never raises, whatever it is."""
        door = self._doors.get(datagram[:PREFIX_BYTES])
        return self._drop_as("malformed") if door is None else door(datagram, sender, now)

    def _drop_as(self, reason: str) -> Received:
        self._host.count(reason)
        return Received([], [], None)

    def _on_sealed(self, datagram: bytes, sender: Endpoint, now: Instant) -> Received:
        index = int.from_bytes(datagram[PREFIX_BYTES : PREFIX_BYTES + 4], "big")
        association = self._contacts.of_index(index)
        is_confirmed = association is not None
        if association is None:
            association = self._half_open.get(index)
        if association is None or now >= association.begun + LIFE:
            return self._drop_as("unknown_index")
        if sender != association.endpoint:
            return self._drop_as("wrong_address")
        try:
            plaintext = association.open(datagram, now)
        except ReplayError:
            return self._drop_as("replayed")
        except DecodeError:
            return self._drop_as("seal")
        datagrams: list[Datagram] = []
        if not is_confirmed:
            if not self._contacts.may_take(sender, association.peer.static_key, now):
                return self._drop_as("usurping")
            self._half_open.take(association)
            datagrams = self._adopt(association, now)
        if self._contacts.heard(association, plaintext, now):
            # It lives, and what was kept has reached it; late, it would come after what is newer.
            self._waiting.take(sender)
        if (
            association.initiated
            and association.should_renew(now)
            and self._contacts.is_current(association)
        ):
            datagrams += self._call(sender, now)
        return Received([plaintext] if plaintext else [], datagrams, association.peer)

    def _on_initiation(self, datagram: bytes, sender: Endpoint, now: Instant) -> Received:
        answer = self._reception.answer(datagram, sender, now)
        if answer is None:
            return Received([], [], None)
        if not self._alarms.is_set(AssociationAlarm.HALF_OPEN):
            self._on_half_open(None, now)
        return Received([], [Datagram(answer, sender)], None)

    def _on_response(self, datagram: bytes, sender: Endpoint, now: Instant) -> Received:
        association = self._calls.receive(datagram, sender, now)
        if association is None:
            return Received([], [], None)
        association.last_heard = now
        datagrams = self._adopt(association, now)
        if not association.count:
            # The responder waits for something that opens before it sends anything itself.
            datagrams.append(self._contacts.seal(association, b"", now))
        return Received([], datagrams, association.peer)

    def _on_cookie_reply(self, datagram: bytes, sender: Endpoint, now: Instant) -> Received:
        if len(datagram) != REPLY_BYTES:
            return self._drop_as("malformed")
        index = indexes(datagram)[1]
        called, half_open = self._calls.get(index), self._half_open.get(index)
        if called is not None:
            endpoint, static_key, mac1 = called.endpoint, called.static_key, called.mac1
        elif half_open is not None:
            endpoint, mac1 = half_open.endpoint, half_open.mac1
            static_key = half_open.peer.static_key
        else:
            return self._drop_as("unknown_index")
        if sender != endpoint:
            return self._drop_as("wrong_address")
        try:
            cookie = read_reply(datagram, static_key, index, mac1)
        except DecodeError:
            return self._drop_as("cookie")
        self._host.cookies.put(endpoint, (cookie, now))
        self._host.count("cookies_received")
        at = self._calls.hasten(endpoint, now)
        if at is not None:
            self._alarms.set(AssociationAlarm.RETRY, at, endpoint)
        return Received([], [], None)

    # What time brings.

    def _on_retry(self, endpoint: Hashable, now: Instant) -> list[Datagram]:
        assert isinstance(endpoint, Endpoint)
        return self._try(endpoint, now)

    def _on_key(self, endpoint: Hashable, now: Instant) -> list[Datagram]:
        assert isinstance(endpoint, Endpoint)
        self._fail(endpoint)
        return []

    def _on_expiry(self, index: Hashable, now: Instant) -> list[Datagram]:
        assert isinstance(index, int)
        self._contacts.forget(index)
        return []

    def _on_half_open(self, _: Hashable, now: Instant) -> list[Datagram]:
        self._half_open.expire(now)
        at = self._half_open.next_expiry()
        if at is not None:
            self._alarms.set(AssociationAlarm.HALF_OPEN, at)
        return []

    def _on_doubt(self, index: Hashable, now: Instant) -> list[Datagram]:
        assert isinstance(index, int)
        endpoint = self._contacts.on_doubt(index, now)
        return self._call(endpoint, now) if endpoint is not None else []

    def _on_say(self, index: Hashable, now: Instant) -> list[Datagram]:
        assert isinstance(index, int)
        return self._contacts.on_say(index, now)

    # Calls, and what ends them.

    def _key(self, endpoint: Endpoint) -> bytes | None:
        contact = self._contacts.get(endpoint)
        if contact is not None:
            return contact.current.peer.static_key
        return self._pinned.get(endpoint) or self._keys.get(endpoint) or self._default_key

    def _new_index(self) -> int:
        while True:
            index = int.from_bytes(self._host.random(4), "big")
            tables = (self._contacts, self._half_open, self._calls)
            if index and not any(index in table for table in tables):
                return index

    def _call(self, endpoint: Endpoint, now: Instant) -> list[Datagram]:
        return [] if self._calls.is_open(endpoint) else self._try(endpoint, now)

    def _try(self, endpoint: Endpoint, now: Instant) -> list[Datagram]:
        static_key = self._key(endpoint)
        made = (
            None
            if static_key is None
            else self._calls.next_try(endpoint, static_key, self._new_index(), now)
        )
        if made is None:
            self._end_call(endpoint)
            self._waiting.drop(endpoint)
            if not self._contacts.can_send(endpoint, now):
                self._fail(endpoint)
            return []
        datagram, at = made
        self._alarms.stop(AssociationAlarm.KEY, endpoint)
        self._alarms.set(AssociationAlarm.RETRY, at, endpoint)
        return [Datagram(datagram, endpoint)]

    def _end_call(self, endpoint: Endpoint) -> None:
        self._calls.close(endpoint)
        self._alarms.stop(AssociationAlarm.RETRY, endpoint)
        self._alarms.stop(AssociationAlarm.KEY, endpoint)

    def _fail(self, endpoint: Endpoint) -> None:
        self._waiting.drop(endpoint)
        self._host.count("failed")
        self._failed[endpoint] = None
        if len(self._failed) > self.limits.queued_endpoints:
            del self._failed[next(iter(self._failed))]

    def _adopt(self, association: Association, now: Instant) -> list[Datagram]:
        """Take up an association that both ends have, and seal what waited for it."""
        endpoint = association.endpoint
        self._end_call(endpoint)
        self._failed.pop(endpoint, None)
        self._keys.put(endpoint, association.peer.static_key)
        contact = self._contacts.add(association)
        waiting = self._waiting.take(endpoint)
        return [self._contacts.seal(contact.current, plaintext, now) for plaintext in waiting]

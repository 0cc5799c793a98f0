"""Confirmed associations by endpoint and by index: which one is sent over, and how long each lives.

Notices silence and the need to renew; the handshakes that follow are `associations`' business.
Slide 23; the reasons stand at the class `Associations`.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum

from dmmp.alarms import Alarms
from dmmp.security.association import LIFE, Association, is_forwarders, is_preferred
from dmmp.security.host import Datagram, Host
from dmmp.security.peer import Peer
from dmmp.types import Endpoint, Instant

SUPERSEDED = 10.0
"""A replaced association is accepted for so many seconds more."""

DOUBT_AFTER = 2.0
DOUBT_COUNT = 3
"""So many plaintexts without any answer for so many seconds: the other end may have restarted."""

DOUBT_MOST = 16.0
"""Longest time between two calls to one that does not answer: about as long as
relatives are held that are silent (Decision 10), so one that restarted behind a cut is found."""

SAY_AFTER = 1.0
"""A host that heard something says something within so many seconds, if only that it is there."""

HELD = 10.0
"""An endpoint where somebody was heard within so many seconds keeps its static key."""


class AssociationAlarm(Enum):
    """What the table of associations wakes up for."""

    RETRY = "When to call an endpoint again"
    KEY = "When to give up waiting for a static key"
    EXPIRY = "When an association is forgotten"
    HALF_OPEN = "When the oldest half-open entry is forgotten"
    DOUBT = "When an association has been silent for too long"
    SAY = "When to say that this end is there"


@dataclass(slots=True)
class Contact:
    """The associations of one endpoint: the one that is sent over, and others that still open.

    `doubt_wait` is the time from the last call out of doubt, `doubt_from`, to the next. What is
    said to a suspect is said to its successor as well.
    """

    endpoint: Endpoint
    current: Association
    others: list[Association] = field(default_factory=list)
    doubt_wait: float = DOUBT_AFTER
    doubt_from: Instant = float("-inf")
    suspected_at: Instant = float("-inf")
    is_suspect: bool = False

    def keeps(self, plaintext: bytes) -> bool:
        """Tell whether a plaintext is to be said to the successor as well: if it is a message."""
        return self.is_suspect and not is_forwarders(plaintext)

    def every(self) -> list[Association]:
        """Return all of them."""
        return [self.current, *self.others]


class Contacts:
    """The table; the association that was used least recently goes when it is full."""

    def __init__(
        self, host: Host, alarms: Alarms, key_log: Callable[[str], None] | None = None
    ) -> None:
        self._host, self._alarms, self._key_log = host, alarms, key_log
        self._contacts: dict[Endpoint, Contact] = {}
        self._by_index: OrderedDict[int, Association] = OrderedDict()

    def __len__(self) -> int:
        return len(self._by_index)

    def __contains__(self, index: object) -> bool:
        return index in self._by_index

    def endpoints(self) -> int:
        """Return with how many endpoints there are associations."""
        return len(self._contacts)

    def peers(self) -> dict[Endpoint, Peer]:
        """Return who is at each endpoint."""
        return {at: contact.current.peer for at, contact in self._contacts.items()}

    def get(self, endpoint: Endpoint) -> Contact | None:
        """Return the contact of an endpoint."""
        return self._contacts.get(endpoint)

    def of_index(self, index: int) -> Association | None:
        """Return the association with this index of ours."""
        return self._by_index.get(index)

    def is_current(self, association: Association) -> bool:
        """Tell whether this is the one that its endpoint is sent over."""
        return self._contacts[association.endpoint].current is association

    def can_send(self, endpoint: Endpoint, now: Instant) -> bool:
        """Tell whether anything can be sealed for an endpoint."""
        contact = self._contacts.get(endpoint)
        return contact is not None and contact.current.may_send(now)

    def may_take(self, endpoint: Endpoint, static_key: bytes, now: Instant) -> bool:
        """Tell whether who holds this key may have this endpoint: not if another was just heard."""
        contact = self._contacts.get(endpoint)
        if contact is None or contact.current.peer.static_key == static_key:
            return True
        return all(now >= other.last_heard + HELD for other in contact.every())

    def add(self, association: Association) -> Contact:
        """Take up an association that both ends have."""
        endpoint = association.endpoint
        contact = self._contacts.get(endpoint)
        if contact is not None and contact.current.peer.static_key != association.peer.static_key:
            self.drop(endpoint)
            contact = None
        self._by_index[association.index] = association
        self._alarms.set(AssociationAlarm.EXPIRY, association.begun + LIFE, association.index)
        if contact is None:
            contact = self._contacts[endpoint] = Contact(endpoint, association)
        else:
            self._place(association, contact)
        self._host.count("established")
        self._log(association)
        if len(self._by_index) > self._host.limits.associations:
            self._host.count("evicted")
            self.forget(next(iter(self._by_index)))
        return contact

    def drop(self, endpoint: Endpoint) -> None:
        """Forget all associations with an endpoint."""
        contact = self._contacts.get(endpoint)
        for association in contact.every() if contact is not None else ():
            self.forget(association.index)

    def forget(self, index: int) -> None:
        """Forget one; another that is left takes its place."""
        association = self._by_index.pop(index)
        for alarm in (AssociationAlarm.EXPIRY, AssociationAlarm.DOUBT, AssociationAlarm.SAY):
            self._alarms.stop(alarm, index)
        contact = self._contacts[association.endpoint]
        if contact.current is not association:
            contact.others.remove(association)
        elif contact.others:
            contact.current = max(contact.others, key=_order)
            contact.others.remove(contact.current)
        else:
            del self._contacts[association.endpoint]

    def seal(self, association: Association, plaintext: bytes, now: Instant) -> Datagram:
        """Seal a plaintext, and keep an eye on whether anything comes back."""
        return Datagram(self.seal_all(association, (plaintext,), now)[0], association.endpoint)

    def seal_all(
        self, association: Association, plaintexts: Sequence[bytes], now: Instant
    ) -> list[bytes]:
        """Seal several for the same end."""
        datagrams = [association.seal(plaintext, now) for plaintext in plaintexts]
        self._by_index.move_to_end(association.index)
        if association.unanswered >= DOUBT_COUNT and not association.is_watched:
            self._watch(association, association.unanswered_since + DOUBT_AFTER)
        return datagrams

    def heard(self, association: Association, plaintext: bytes, now: Instant) -> bool:
        """Note that something opened; whoever sent a plaintext is to hear of this end soon.

        Return whether it was suspected until now, and could be sent to all the same.
        """
        self._by_index.move_to_end(association.index)
        contact = self._contacts[association.endpoint]
        is_cleared = contact.is_suspect and contact.current.may_send(now)
        contact.is_suspect = False
        if not association.is_heard:
            self._on_first_heard(association, now)
        if plaintext and not is_forwarders(plaintext) and association.owed_since is None:
            association.owed_since = now
            self._alarms.set(AssociationAlarm.SAY, now + SAY_AFTER, association.index)
        return is_cleared

    def on_say(self, index: int, now: Instant) -> list[Datagram]:
        """Say that this end is there, unless it said anything since it heard something."""
        association = self._by_index[index]
        current = self._contacts[association.endpoint].current
        owed, association.owed_since = association.owed_since, None
        if owed is None or not current.may_send(now):
            return []
        if current.last_sent < owed:
            return [self.seal(current, b"", now)]
        if current.last_sent < association.last_content:
            # What was said since answered an earlier plaintext; the last one may still wait a bit.
            association.owed_since = association.last_content
            self._alarms.set(AssociationAlarm.SAY, association.last_content + SAY_AFTER, index)
        return []

    def suspect(self, endpoint: Endpoint, now: Instant) -> bool:
        """Note that another process is said to be there; not again for 16 s: it may be made up."""
        contact = self._contacts.get(endpoint)
        if contact is None or now < contact.suspected_at + DOUBT_MOST:
            return False
        contact.suspected_at, contact.is_suspect = now, True
        self._host.count("suspected")
        return True

    def on_doubt(self, index: int, now: Instant) -> Endpoint | None:
        """Name the endpoint if it is to be called anew: still nothing came back from it."""
        association = self._by_index[index]
        association.is_watched = False
        contact = self._contacts[association.endpoint]
        if contact.current is not association or association.unanswered < DOUBT_COUNT:
            return None
        at = max(
            association.unanswered_since + DOUBT_AFTER, contact.doubt_from + contact.doubt_wait
        )
        if now < at:
            self._watch(association, at)
            return None
        contact.doubt_from = now
        contact.doubt_wait = min(2 * contact.doubt_wait, DOUBT_MOST)
        association.unanswered = 0
        self._host.count("doubted")
        return association.endpoint

    def _place(self, association: Association, contact: Contact) -> None:
        """Send over it if both ends would, and keep no more of the others than there may be."""
        if is_preferred(association, contact.current):
            contact.others.append(contact.current)
            contact.current, contact.is_suspect = association, False
        else:
            contact.others.append(association)
        if len(contact.others) > self._host.limits.superseded:
            self.forget(min(contact.others, key=_order).index)

    def _on_first_heard(self, association: Association, now: Instant) -> None:
        """The other end has this one: those that it replaced are soon used no more."""
        association.is_heard = True
        contact = self._contacts[association.endpoint]
        if contact.current is not association:
            return
        contact.doubt_wait = DOUBT_AFTER
        for other in contact.others:
            at = min(now + SUPERSEDED, other.begun + LIFE)
            self._alarms.set(AssociationAlarm.EXPIRY, at, other.index)

    def _watch(self, association: Association, at: Instant) -> None:
        association.is_watched = True
        self._alarms.set(AssociationAlarm.DOUBT, at, association.index)

    def _log(self, association: Association) -> None:
        """Write each index with the key that opens what is addressed to it."""
        if self._key_log is not None:
            keys = association.keys
            self._key_log(
                f"DMMP_ASSOCIATION {association.index:08x} {keys.receive.hex()} "
                f"{association.remote_index:08x} {keys.send.hex()}"
            )


def _order(association: Association) -> int:
    return association.order

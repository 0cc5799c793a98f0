"""Calls: the initiator's side of handshakes, several tries each, until one is answered.

Every try is an initiation of its own, with its own index and ephemeral key, so that none is a copy
of another; the answer to any of them ends the call. Alarms and queues are the caller's. Decision 9.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from dmmp.errors import DecodeError
from dmmp.messages.header import HEADER_BYTES
from dmmp.parameters import Parameters
from dmmp.security.association import Association
from dmmp.security.cookies import MACS_BYTES, mac, mac1_key, mac1_of
from dmmp.security.handshakes import (
    RESPONSE_LEAST,
    RESPONSE_MOST,
    Said,
    indexes,
    read_response,
    write_initiation,
)
from dmmp.security.host import Host
from dmmp.security.noise import Initiator
from dmmp.types import Endpoint, Instant

STEADY_TRIES = 8
"""So many tries follow one another after `retry_first`, the rest after twice as long each: among a
flood of false initiations each has the same small chance, and a host is to get in within 2 s."""

TRIES = 11
"""Tries of a call, the last at 5.25 s."""

LONGEST_WAIT = 2.0


class Try(NamedTuple):
    """One initiation that was sent: to whom, with which key, when, and what may answer it."""

    endpoint: Endpoint
    static_key: bytes
    noise: Initiator
    mac1: bytes
    begun: Instant
    order: int


@dataclass(slots=True)
class Call:
    """The tries of one endpoint; `wait` is the time from the next to the one after it."""

    tries_left: int
    wait: float
    next_at: Instant
    tries: list[int] = field(default_factory=list)
    is_hastened: bool = False


class Calls:
    """Open calls by endpoint, and their tries by index: `TRIES` a call, and one for a cookie.

    How many calls there are is bounded by what waits for them and by the associations they renew.
    """

    def __init__(self, host: Host, parameters: Parameters) -> None:
        self._host = host
        self._parameters = parameters
        self._calls: dict[Endpoint, Call] = {}
        self._tries: dict[int, Try] = {}
        self._mac1_key = mac1_key(host.static.public)
        self._timestamp = 0

    def __len__(self) -> int:
        return len(self._calls)

    def __contains__(self, index: object) -> bool:
        return index in self._tries

    def get(self, index: int) -> Try | None:
        """Return the try of this index."""
        return self._tries.get(index)

    def is_open(self, endpoint: Endpoint) -> bool:
        """Tell whether this endpoint is being called."""
        return endpoint in self._calls

    def indexes(self, endpoint: Endpoint) -> frozenset[int]:
        """Return the indexes under which this endpoint is being called."""
        call = self._calls.get(endpoint)
        return frozenset(call.tries) if call is not None else frozenset()

    def next_try(
        self, endpoint: Endpoint, static_key: bytes, index: int, now: Instant
    ) -> tuple[bytes, Instant] | None:
        """Open a call or try again: the initiation, and when to look next.

        None, and the call is closed, if the tries are used up or the key is none.
        """
        first = self._parameters.retry_first
        call = self._calls.setdefault(endpoint, Call(TRIES, first, now))
        if call.tries_left == 0:
            self.close(endpoint)
            return None
        host = self._host
        said = Said(self._next_timestamp(now), host.instance, host.party.credential)
        noise = Initiator(host.static, static_key, host.party.prologue, host.ephemeral())
        cookie = host.cookie_for(endpoint, now)
        try:
            datagram = write_initiation(noise, index, said, mac1_key(static_key), cookie)
        except DecodeError:
            host.count("handshake")
            self.close(endpoint)
            return None
        self._tries[index] = Try(
            endpoint, static_key, noise, mac1_of(datagram), now, host.next_order()
        )
        call.tries.append(index)
        call.tries_left -= 1
        call.next_at = now + call.wait
        if len(call.tries) >= STEADY_TRIES - 1:
            call.wait = min(2 * call.wait, LONGEST_WAIT)
        host.count("initiations_sent")
        return datagram, call.next_at

    def close(self, endpoint: Endpoint) -> None:
        """Forget the call and its tries: what answers them still means nothing any more."""
        call = self._calls.pop(endpoint, None)
        for index in call.tries if call is not None else ():
            del self._tries[index]

    def hasten(self, endpoint: Endpoint, now: Instant) -> Instant | None:
        """Say when to try again now that there is a cookie; None if as it was planned.

        As soon as after the first try, and once more if that was the last; once a call. Not at
        once, so that nobody can make this host send 820 bytes with a reply of 68.
        """
        call = self._calls.get(endpoint)
        if call is None or call.is_hastened:
            return None
        call.is_hastened = True
        call.tries_left = max(1, call.tries_left)
        call.next_at = min(call.next_at, now + self._parameters.retry_first)
        return call.next_at

    def receive(self, response: bytes, sender: Endpoint, now: Instant) -> Association | None:
        """Read a response: the association it completes; None, and counted, if it is none."""
        host = self._host
        if not RESPONSE_LEAST <= len(response) <= RESPONSE_MOST:
            host.count("malformed")
            return None
        remote_index, index = indexes(response)
        found = self._tries.get(index)
        if found is None:
            host.count("unknown_index")
        elif mac1_of(response) != mac(self._mac1_key, response[:-MACS_BYTES]):
            host.count("mac1")
        elif sender != found.endpoint:
            host.count("wrong_address")
        elif response[16:HEADER_BYTES] != (len(response) - HEADER_BYTES).to_bytes(8):
            host.count("malformed")
        else:
            return self._complete(response, found, (index, remote_index), now)
        return None

    def _complete(
        self, response: bytes, found: Try, indexes: tuple[int, int], now: Instant
    ) -> Association | None:
        host = self._host
        try:
            credential, keys = read_response(response, found.noise)
        except DecodeError:
            host.count("handshake")
            return None
        try:
            peer = host.party.check(credential, found.static_key, now + host.wall)
        except DecodeError:
            host.count("refused")
            return None
        return Association(
            indexes, keys, found.endpoint, peer, found.begun, found.order, initiated=True
        )

    def _next_timestamp(self, now: Instant) -> int:
        # Two tries may fall into one microsecond, and clocks are put back: never the same twice.
        self._timestamp = max(self._timestamp + 1, int((now + self._host.wall) * 1_000_000))
        return self._timestamp

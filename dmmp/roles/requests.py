"""Open requests of one host: numbering, matching of answers, retransmission (Decisions 6 and 9).

A request is sent again after 250 ms, doubling, until its tries are used up; then whoever asked is
told. An answer that matches no open request means nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import inf
from random import Random

from dmmp.actions import Send
from dmmp.messages.liveness import StatusReport
from dmmp.messages.schema import Message
from dmmp.parameters import Parameters
from dmmp.types import Endpoint, Instant

_SEQUENCES = 1 << 32

LONGEST_WAIT = 2.0
"""Seconds a request waits at most for its first repetition, however slowly the other answers."""

MOST_EXCUSES = 2
"""Late alarms of one request that cost no try: a host that is always late must give up too."""


LEAST_OF = 4
"""Samples of which at least the shortest is how far a host is: 40 s of Refreshes (Decision 75)."""


@dataclass(slots=True)
class RoundTrip:
    """A round trip as RFC 6298 smooths it, in seconds, and the least of late: how far it is.

    What a busy machine or a queue adds says something of how long to wait, nothing of the way.
    """

    smoothed: float | None = None
    variation: float = 0.0
    is_guess: bool = False
    """It came from an answer that may have been to a repetition: the next clean one replaces it."""
    _least: float = inf
    _least_before: float = inf
    _samples: int = 0

    def sample(self, seconds: float) -> None:
        """Take in one measured round trip."""
        if self.smoothed is None or self.is_guess:
            self.smoothed, self.variation, self.is_guess = seconds, seconds / 2, False
            self._least, self._least_before, self._samples = seconds, inf, 1
            return
        self.variation += (abs(seconds - self.smoothed) - self.variation) / 4
        self.smoothed += (seconds - self.smoothed) / 8
        if self._samples == LEAST_OF:
            self._least_before, self._least, self._samples = self._least, inf, 0
        self._least = min(self._least, seconds)
        self._samples += 1

    def least(self) -> float | None:
        """Return the shortest of the last samples, `LEAST_OF` to twice as many; None: no sample."""
        return None if self.smoothed is None else min(self._least, self._least_before)

    def timeout(self, least: float, unknown: float) -> float:
        """Return how long to wait for an answer: at least `least`, `unknown` if never measured."""
        if self.smoothed is None:
            return unknown
        return min(max(least, self.smoothed + 4 * self.variation), LONGEST_WAIT)

    def wait(self, parameters: Parameters) -> float:
        """Return how long a request waits before it is sent again (Decision 9)."""
        return self.timeout(parameters.retry_first, parameters.retry_first)


@dataclass(slots=True)
class Request:
    """A request that waits for its answer."""

    message: Message
    to: Endpoint
    sent: Instant
    wait: float
    tries_left: int
    any_sender: bool
    lasting: bool
    due: Instant
    backoff: float = 2.0
    excuses: int = 0
    sent_again: bool = False

    def round_trip(self, now: Instant) -> float | None:
        """Return the round-trip time of the answer arriving now; None if it is ambiguous."""
        return None if self.sent_again else now - self.sent

    def sample(self, trip: RoundTrip, now: Instant) -> None:
        """Let the answer arriving now measure the round trip; one that is ambiguous only at first.

        Whoever is farther than the first wait would never be measured, and asked twice for ever.
        """
        if not self.sent_again:
            trip.sample(now - self.sent)
        elif trip.smoothed is None:
            trip.sample(now - self.sent)
            trip.is_guess = True


class Requests:
    """The table of open requests, by sequence number; bounded by `maximum_outstanding`.

    `on_closed` is called with the number of each that is answered, forgotten or given up, so that
    its alarm does not stay behind.
    """

    def __init__(
        self, parameters: Parameters, rng: Random, on_closed: Callable[[int], None]
    ) -> None:
        self._parameters = parameters
        self._on_closed = on_closed
        self._open: dict[int, Request] = {}
        self._sequence = rng.randrange(_SEQUENCES)
        self.unmatched = 0

    def __len__(self) -> int:
        return len(self._open)

    def open(
        self,
        message: Message,
        to: Endpoint,
        now: Instant,
        tries: int,
        any_sender: bool = False,
        wait: float = 0.0,
        backoff: float = 2.0,
    ) -> tuple[Send, int, Instant]:
        """Number and remember a request: what to send, its number, when to look at it again.

        `wait` seconds to the first such look, if not those of Decision 9; each later one is
        `backoff` times as long.
        """
        number = message.sequence or self.number()
        numbered = message if message.sequence else replace(message, sequence=number)
        if len(self._open) >= self._parameters.maximum_outstanding:
            self.close(self._least_missed())
        wait = wait or self._parameters.retry_first
        self._open[number] = Request(
            numbered, to, now, wait, tries - 1, any_sender, tries > 1, now + wait, backoff
        )
        return Send(numbered, to), number, now + wait

    def number(self) -> int:
        """Take the next sequence number; 0 is left out, it means "not numbered yet"."""
        self._sequence = self._sequence % (_SEQUENCES - 1) + 1
        return self._sequence

    def _least_missed(self) -> int:
        # Nobody waits for the answer to a report; a role could wait for ever for any other.
        reports = (n for n, held in self._open.items() if isinstance(held.message, StatusReport))
        return next(reports, next(iter(self._open)))

    def match(self, response: Message, sender: Endpoint) -> Request | None:
        """Take the request that this answers; None, and counted, if there is none."""
        request = self.peek(response, sender)
        if request is None:
            self.unmatched += 1
        elif not request.any_sender:
            self.close(response.sequence)
        return request

    def peek(self, response: Message, sender: Endpoint) -> Request | None:
        """Return the request that this answers, without taking it."""
        request = self._open.get(response.sequence)
        if (
            request is None
            or request.message.OPTION + 1 != response.OPTION
            or (request.to != sender and not request.any_sender)
        ):
            return None
        return request

    def is_open(self, cls: type[Message], to: Endpoint, even_once: bool = False) -> bool:
        """Tell whether a request of this class is open at this host: one sent until answered.

        With `even_once` also one that is sent but once.
        """
        return any(
            (held.lasting or even_once) and held.to == to and isinstance(held.message, cls)
            for held in self._open.values()
        )

    def is_waiting(self, sequence: int | None) -> bool:
        """Tell whether the request of this number waits for its answer."""
        return sequence in self._open

    def close(self, sequence: int) -> None:
        """Forget a request, answered or not."""
        if self._open.pop(sequence, None) is not None:
            self._on_closed(sequence)

    def close_all(self) -> None:
        """Forget every request: this host has no questions any more."""
        for sequence in list(self._open):
            self.close(sequence)

    def close_all_to(self, endpoint: Endpoint, cls: type[Message] = Message) -> None:
        """Forget every request, or those of a class, to a host that is gone."""
        for sequence in [
            number
            for number, held in self._open.items()
            if held.to == endpoint and isinstance(held.message, cls)
        ]:
            self.close(sequence)

    def hasten(self, cls: type[Message], to: Endpoint) -> None:
        """Leave the open requests of a class to a host one more try at most."""
        for held in self._open.values():
            if held.to == to and isinstance(held.message, cls):
                held.tries_left = min(held.tries_left, 1)

    def again(self, sequence: int, now: Instant) -> tuple[Send, Instant] | Request | None:
        """Handle the alarm of a request: what to send again and when to look next.

        A request whose tries are used up is returned itself, and forgotten. An alarm that comes
        late shows that this host was held up, and the answer may lie in its socket: that costs no
        try, so that a busy machine does not take its relatives for dead (Decision 11).
        """
        request = self._open.get(sequence)
        if request is None:
            return None
        late = now - request.due > self._parameters.held_up
        if late and request.excuses < MOST_EXCUSES:
            request.excuses += 1
            request.sent_again = True
            request.due = now + request.wait
            return Send(request.message, request.to), request.due
        if request.tries_left == 0:
            self.close(sequence)
            return request
        request.tries_left -= 1
        request.sent_again = True
        request.wait *= request.backoff
        request.due = now + request.wait
        return Send(request.message, request.to), request.due

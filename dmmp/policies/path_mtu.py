"""How large a datagram one path carries whole: the search of RFC 8899 (DPLPMTUD), without I/O.

Time and answers go in, sizes to probe come out; `roles.paths` makes messages of them. A size counts
once a probe of it was answered. Nothing that the network says of itself is believed: an ICMP
message only chooses what is probed next, so a forged one costs a few probes. All sizes are bytes of
a UDP datagram, this protocol's header included, unless they are called an MTU.
"""

from __future__ import annotations

from bisect import bisect_right
from random import Random

from dmmp.alarms import jittered
from dmmp.messages.header import HEADER_BYTES, MAXIMUM_PAYLOAD_BYTES
from dmmp.parameters import Parameters
from dmmp.types import Endpoint, Instant

BASE_MTU = {4: 1200, 6: 1280}
"""BASE_PLPMTU, by IP version: what almost every path carries (RFC 8899 §5.1.2, RFC 8200 §5)."""

USUAL_MTUS = (1280, 1380, 1400, 1420, 1440, 1448, 1460, 1472, 1480, 1492, 1500, 4352, 8500, 9000)
"""MTUs that paths have: tunnels of every kind below Ethernet's 1500, FDDI, clouds, jumbo frames.

A fraction of all sizes: knowing one between two of these exactly would cost more than it brings.
"""

ETHERNET_MTU = 1500
OVERHEAD_BYTES = {4: 28, 6: 48}
"""IP and UDP headers, without options and extensions (RFC 791, RFC 8200, RFC 768)."""

PROBE_LEAST_BYTES = HEADER_BYTES + 8 + 4
"""A Probe Request whose padding element is empty; longer ones grow by four bytes (Decision 5)."""

LARGEST_BYTES = (HEADER_BYTES + MAXIMUM_PAYLOAD_BYTES) // 4 * 4
"""The largest probe that UDP over IPv4 takes; so large a path exists only within a machine."""

_NEVER = 1 << 30


def overhead_bytes(endpoint: Endpoint) -> int:
    """Return how many bytes of headers the datagrams to an endpoint get."""
    return OVERHEAD_BYTES[endpoint.address.version]


def sizes_of_use(version: int, largest: int) -> tuple[int, ...]:
    """List the sizes worth a probe in ascending order: the base, likely ones, the largest wanted.

    None is larger than what this host sends, rounded up to a size that a probe can have.
    """
    overhead = OVERHEAD_BYTES[version]
    base = BASE_MTU[version] - overhead
    largest = min(largest + -largest % 4, LARGEST_BYTES)
    between = {mtu - overhead for mtu in USUAL_MTUS if base < mtu - overhead < largest}
    return (base, *sorted(between | ({largest} if largest > base else set())))


class PathSearch:
    """The search on one path; see the module's docstring.

    `known` is the largest size that was answered, 0 while none was; `next_at` when to call `act`.
    """

    def __init__(
        self, version: int, largest: int, parameters: Parameters, rng: Random, now: Instant
    ) -> None:
        """Begin to search up to datagrams of `largest` bytes over IPv4 or IPv6 (`version`)."""
        self.known = 0
        self.next_at = now
        self._version = version
        self._parameters = parameters
        self._rng = rng
        self._sizes = sizes_of_use(version, largest)
        self._too_large = _NEVER
        """The least size whose probes were lost in this search."""
        self._size = self._tries = self._hint = 0
        self._wait = parameters.path_mtu_wait
        self._raise_at = self._confirm_at = self._answered_at = now

    @property
    def base(self) -> int:
        """The size that every path should carry."""
        return self._sizes[0]

    @property
    def largest(self) -> int:
        """The largest size of use."""
        return self._sizes[-1]

    @property
    def is_settled(self) -> bool:
        """Whether the search has ended, for the time being (Search Complete, RFC 8899 §5.2)."""
        return self.known > 0 and not self._choose() and self._size in (0, self.known)

    def act(self, now: Instant) -> int:
        """Return the size to probe now, 0 if none; sets `next_at`."""
        if now < self.next_at:
            return 0
        # One lost confirmation is enough to cut data up: that costs little, a black hole all of it.
        is_confirming = self.base < self.known == self._size
        if self._size and self._tries >= (1 if is_confirming else self._parameters.path_mtu_tries):
            self._give_up(now)
        if not self._size and now >= self.next_at:
            self._begin(now)
        if not self._size:
            return 0
        self._tries += 1
        self.next_at = now + self._wait
        return self._size

    def answered(self, size: int, round_trip: float, now: Instant) -> None:
        """Take the answer to a probe of this size, also one that comes late."""
        limits = self._parameters
        self._wait = min(max(4 * round_trip, limits.path_mtu_wait_least), limits.path_mtu_wait)
        if size < self.known:
            return
        self.known, self._answered_at = size, now
        self._confirm_at = now + jittered(self._rng, limits.path_mtu_confirm)
        if size >= self._too_large:
            # It was lost for another reason.
            self._too_large = _NEVER
        if self._size <= size:
            self._size, self.next_at = 0, now

    def refused(self, now: Instant) -> None:
        """Take it that this host's own interface cannot send the probe: no doubt is possible."""
        if self._size:
            self._tries, self.next_at = self._parameters.path_mtu_tries, now

    def hint(self, fits: int, now: Instant) -> None:
        """Take an ICMP message that says what would fit (RFC 8899 §4.6.2): it may be forged."""
        if not self.base <= fits < max(self._size, self.known):
            return
        if fits < self.known and now < self._answered_at + self._parameters.path_mtu_doubt:
            # It has just been shown to pass; who forges such messages must not keep us at it.
            self.doubt(now)
            return
        self._hint = fits
        if fits < self.known:
            # Data need not be lost while this is found out: cut up, it passes either way.
            self._fall(now)
        else:
            # This probe is lost, so that nobody waits; it takes all tries to convince us.
            self.next_at = now

    def doubt(self, now: Instant) -> None:
        """Take it that packets were lost: look soon whether the present size still passes."""
        at = max(now, self._answered_at + self._parameters.path_mtu_doubt)
        if self.known and not self._size and at < self._confirm_at:
            self._confirm_at = at
            self.next_at = min(self.next_at, at)

    def grow(self, largest: int, now: Instant) -> None:
        """Search up to datagrams of `largest` bytes from now on."""
        self._sizes = sizes_of_use(self._version, largest)
        if not self._size and self._choose():
            self.next_at = now

    def _choose(self) -> int:
        """Choose a size between what is known to fit and what is not; 0 if there is none."""
        if not self.known:
            return self.base
        between = self._sizes[bisect_right(self._sizes, self.known) :]
        between = tuple(size for size in between if size < self._too_large)
        if not between:
            return 0
        hinted = bisect_right(between, self._hint)
        if hinted:
            return between[hinted - 1]
        if self._too_large == _NEVER:
            # Most paths carry all that is wanted: then two probes are all it takes.
            return between[-1]
        ethernet = ETHERNET_MTU - OVERHEAD_BYTES[self._version]
        return ethernet if ethernet in between else between[(len(between) - 1) // 2]

    def _begin(self, now: Instant) -> None:
        if self._too_large != _NEVER and now >= self._raise_at:
            self._too_large = _NEVER
        size = self._choose()
        if not size and now >= self._confirm_at:
            size = self.known
        self._size, self._tries = size, 0
        if not size:
            raise_at = self._raise_at if self._too_large != _NEVER else self._confirm_at
            self.next_at = min(self._confirm_at, raise_at)

    def _give_up(self, now: Instant) -> None:
        """All probes of the size were lost."""
        size, self._size = self._size, 0
        if size == self.base:
            # Not a matter of sizes: the way is cut, or the other host does not answer (Error).
            self.known, self._too_large = 0, _NEVER
            self.next_at = now + jittered(self._rng, self._parameters.path_mtu_again)
        elif size == self.known:
            self._fall(now)
        else:
            self._too_large = size
            self._raise_at = now + self._parameters.path_mtu_raise
            if size <= self._hint:
                self._hint = 0

    def _fall(self, now: Instant) -> None:
        """A black hole, or the like (RFC 8899 §4.3): back to the base, and search anew.

        What was lost is tried again: the other host may only have stood still for a moment.
        """
        self.known, self._too_large = self.base, _NEVER
        self._size, self._tries, self.next_at = self.base, 0, now

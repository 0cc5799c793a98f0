"""What carries datagrams between the tester and the implementation under test.

Two have this interface: `in_process` in virtual time, `over_udp` on real sockets. Neither knows
what is in a datagram.
"""

from __future__ import annotations

from ipaddress import ip_address
from typing import NamedTuple, Protocol

from dmmp.conformance.case import Feature
from dmmp.types import Endpoint, Instant

GROUP = Endpoint(ip_address("239.255.77.1"), 47701)
"""What programs on the host of the implementation under test want, and send to."""


class Arrival(NamedTuple):
    """A datagram that reached one of the tester's addresses."""

    at: Instant
    sender: Endpoint
    to: Endpoint
    datagram: bytes


class Carrier(Protocol):
    """See the module's docstring."""

    features: frozenset[Feature]

    @property
    def now(self) -> Instant:
        """Return the present time, seconds."""

    @property
    def subject(self) -> Endpoint | None:
        """Return where the implementation under test receives; None if only it can tell."""

    def points(self) -> tuple[Endpoint, ...]:
        """Return the addresses that the implementation takes for RPs, in its order."""

    def open(self) -> Endpoint:
        """Open one more address for the tester."""

    def close_address(self, endpoint: Endpoint) -> None:
        """Let nobody listen at an address any more."""

    def start(self) -> None:
        """Start the implementation, if that is for the tester to do."""

    def stop(self) -> None:
        """Tell it to leave in good order."""

    def send(self, origin: Endpoint, to: Endpoint, datagram: bytes, delay: float = 0.0) -> None:
        """Send from one of the tester's addresses, `delay` seconds from now."""

    def receive(self, until: Instant) -> Arrival | None:
        """Let time pass until something arrives; None if nothing does before `until`."""

    def program_sends(self, payload: bytes) -> None:
        """Have a program on its host send a UDP datagram to `GROUP`."""

    def program_heard(self) -> list[bytes]:
        """Return the UDP payloads to `GROUP` that programs on its host got so far, in order."""

    def said(self) -> str:
        """Return what it printed, for whoever has to find out why a case failed."""

    def close(self) -> None:
        """End it without a word, and give everything back."""

"""The authority's desk: renews the certificates of hosts that ask in good time (slide 23).

Who asks is known by his association, so he gets a certificate for himself or none. Whom an operator
denied gets none. It decides nothing else, and remembers nothing.
"""

from __future__ import annotations

from collections.abc import Callable

from dmmp.actions import Action, Report, Send
from dmmp.errors import AuthenticationError
from dmmp.events import CertificateRenewed, PeerViolation
from dmmp.messages.common import Status
from dmmp.messages.local import LocalMessage
from dmmp.messages.renewing import RenewalRequest, RenewalResponse
from dmmp.roles.role import Input
from dmmp.security.certificate import read_certificate
from dmmp.types import Endpoint, Instant

Renew = Callable[[bytes], bytes]
"""Certifies the keys of a certificate again; raises `AuthenticationError` for whom it will not."""


class RenewalDesk:
    """A host that answers Renewal Requests; see `roles.role.Host`."""

    def __init__(self, renew: Renew, node_of: Callable[[Endpoint], bytes | None]) -> None:
        """Make it; `node_of` tells which node (16 bytes) is at an endpoint."""
        self._renew = renew
        self._node_of = node_of

    def receive(self, message: Input, sender: Endpoint, now: Instant) -> list[Action]:
        """Take one input; never raises."""
        if isinstance(message, LocalMessage):
            return []
        if not isinstance(message, RenewalRequest):
            name = type(message).__name__
            return [Report(PeerViolation("Decision 72", f"{name} to an authority", sender))]
        try:
            asked = read_certificate(message.certificate).peer
            if asked.node != self._node_of(sender):
                raise AuthenticationError("the certificate of another host")
            made = self._renew(message.certificate)
        except AuthenticationError as error:
            answer = self._answer(message, Status.REFUSED, b"")
            violation = PeerViolation("Decision 72", error.detail, sender)
            return [Report(violation), Send(answer, sender)]
        renewed = Report(CertificateRenewed(asked.name, sender))
        return [renewed, Send(self._answer(message, Status.SUCCESS, made), sender)]

    def wake(self, now: Instant) -> list[Action]:
        """Have nothing due."""
        return []

    def next_alarm(self) -> tuple[Instant, str] | None:
        """Never ask for a wake."""
        return None

    def _answer(
        self, request: RenewalRequest, status: Status, certificate: bytes
    ) -> RenewalResponse:
        return RenewalResponse(
            session=request.session,
            sequence=request.sequence,
            status=status,
            certificate=certificate,
        )

"""Renewal: a host asks the authority for another certificate before its own ends (slide 23).

They travel sealed, so the authority knows who asks. Behaviour is elsewhere (`roles.renewal_desk`,
`security.gate`).
"""

from __future__ import annotations

from dmmp.messages.common import Status
from dmmp.messages.data import MAXIMUM_CERTIFICATE_BYTES
from dmmp.messages.options import Option
from dmmp.messages.schema import Message, message, wire
from dmmp.messages.wiretypes import octets, uint8


@message(Option.RENEWAL_REQUEST)
class RenewalRequest(Message):
    """Slide 23, Decision 72. Certify my keys again: here is the certificate they have."""

    certificate: bytes = wire(octets(MAXIMUM_CERTIFICATE_BYTES), doc="X.509, DER")


@message(Option.RENEWAL_RESPONSE)
class RenewalResponse(Message):
    """Slide 23, Decision 72. A certificate for the same keys and grants, or a refusal."""

    status: int = wire(uint8, names=Status, doc="result", default=Status.SUCCESS)
    certificate: bytes = wire(
        octets(MAXIMUM_CERTIFICATE_BYTES), doc="X.509, DER; nothing if refused", default=b""
    )

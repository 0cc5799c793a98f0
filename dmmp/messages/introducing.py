"""Introductions: who asks for the key of a host it only knows by its address (Decision 66).

They travel sealed. The key itself stands behind the answer like behind every message that names
hosts (`security.introductions`); an answer without one means that the key is not known here.
"""

from __future__ import annotations

from dmmp.messages.options import Option
from dmmp.messages.schema import Message, message, wire
from dmmp.messages.wiretypes import endpoint
from dmmp.types import Endpoint


@message(Option.INTRODUCTION_REQUEST)
class IntroductionRequest(Message):
    """Decision 66. What is the key of the host at this address?"""

    wanted: Endpoint = wire(endpoint, doc="where the host receives datagrams")


@message(Option.INTRODUCTION_RESPONSE)
class IntroductionResponse(Message):
    """Decision 66. Its key stands behind this message, if it is known here."""

    wanted: Endpoint = wire(endpoint, doc="as in the request")

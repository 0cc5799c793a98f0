"""Who is who, in the little session of `examples`: the source's certificate, and keys of others."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256
from ipaddress import ip_address

from dmmp.messages import (
    Credential,
    Heartbeat,
    IntroductionRequest,
    IntroductionResponse,
    Message,
    RenewalRequest,
    RenewalResponse,
    encode,
)
from dmmp.messages.common import Status
from dmmp.messages.options import TlvType
from dmmp.messages.schema import Tlv
from dmmp.security.authority import Authority, Request
from dmmp.security.manifest import signed_beat
from dmmp.security.peer import Capability
from dmmp.security.signing import SIGNATURE_BYTES, Signer
from dmmp.types import Endpoint, HostId, SessionId

SESSION, SOURCE, M4 = SessionId(0x00DE0001), HostId(1), HostId(4)
S2 = Endpoint(ip_address("198.51.100.20"), 47700)
AT = 1_800_000_000.0


def introducing_examples() -> list[tuple[str, Message]]:
    """List a name and a message each."""
    random = _Drawn()
    authority = Authority(random(32))
    request = Request("camera", "demo", Capability.SOURCE | Capability.MEMBER, 8, 100_000_000)
    held = authority.credential(request, AT, random)
    beat = Heartbeat(
        session=SESSION,
        source=SOURCE,
        sequence=13,
        tree_version=7,
        reserved=0x01030001,
        group=ip_address("239.1.2.3"),
        origin_address=ip_address("198.51.100.10"),
        highest=4712,
        started=1,
        tlvs=(Tlv(TlvType.SIGNATURE, bytes(SIGNATURE_BYTES)),),
    )
    content = encode(beat)[:-SIGNATURE_BYTES]
    signature = Tlv(TlvType.SIGNATURE, signed_beat(Signer(held.signing_secret), content))
    return [
        (
            "the source's certificate",
            Credential(session=SESSION, source=SOURCE, certificate=held.certificate),
        ),
        (
            "announcement signed by the key of the certificate in credential.json, key epoch 3",
            replace(beat, tlvs=(signature,)),
        ),
        (
            "M4 asks for the key of a host it has heard of",
            IntroductionRequest(wanted=S2),
        ),
        (
            "the answer, without the key that stands behind it when it is sent",
            IntroductionResponse(wanted=S2),
        ),
        (
            "the source has its certificate renewed",
            RenewalRequest(sequence=1, certificate=held.certificate),
        ),
        (
            "and the authority has denied it",
            RenewalResponse(sequence=1, status=Status.REFUSED),
        ),
    ]


class _Drawn:
    """Random bytes that are always the same."""

    def __init__(self) -> None:
        self._count = 0

    def __call__(self, size: int) -> bytes:
        self._count += 1
        return sha256(b"example %d" % self._count).digest()[:size]

"""One small session, told in messages: the hand-chosen examples of which the vectors are made.

Session `demo` has the id 0x00DE0001. Its RP is 192.0.2.1, its source 198.51.100.10 (id 1), super
nodes are S2 at 198.51.100.20 and S3 at 2001:db8::30, members M4 to M6. Addresses: RFC 5737, 3849.
"""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address
from typing import TypedDict

from dmmp.interest import FilterMode, interest, no_interest
from dmmp.messages import (
    BreakConfirm,
    BreakRequest,
    BreakResponse,
    ClusterRequest,
    ClusterResponse,
    Data,
    DataRequest,
    Error,
    Heartbeat,
    JoinNotification,
    JoinRequest,
    JoinResponse,
    LeaveReport,
    LeaveResponse,
    Message,
    Option,
    PingRpRequest,
    PingRpResponse,
    ProbeRequest,
    ProbeResponse,
    PromotionAck,
    PromotionConfirm,
    PromotionRequest,
    RefreshRequest,
    RefreshResponse,
    SetupRequest,
    SetupResponse,
    SourceRequest,
    SourceResponse,
    StatusReport,
    StatusResponse,
    SubscriptionRequest,
    SubscriptionResponse,
    Tlv,
    TlvType,
    encode,
)
from dmmp.messages.common import (
    ErrorCode,
    HostFlag,
    HostRecord,
    HostState,
    LeaveReason,
    LinkRecord,
    Phase,
    RefreshKind,
    Status,
)
from dmmp.security.manifest import signed_beat
from dmmp.security.signing import SIGNATURE_BYTES, Signer
from dmmp.tun.packets import wrap_udp
from dmmp.types import Endpoint, HostId, SessionId
from tests.association_examples import association_examples
from tests.introducing_examples import introducing_examples
from tests.key_examples import key_examples

SESSION = SessionId(0x00DE0001)
TREE = 7
"""Tree version of the session throughout."""


def at(address: str, port: int = 47700) -> Endpoint:
    """Make an endpoint of text."""
    return Endpoint(ip_address(address), port)


RENDEZVOUS_POINT = at("192.0.2.1")
SOURCE = HostRecord(
    HostId(1), at("198.51.100.10"), HostFlag.SOURCE, 0, 3, 0, uptime=3600, delay_us=0
)
S2 = HostRecord(
    HostId(2), at("198.51.100.20"), HostFlag.SUPER_NODE, 1, 8, 5, uptime=3500, delay_us=12_000
)
S3 = HostRecord(
    HostId(3), at("2001:db8::30", 4000), HostFlag.SUPER_NODE, 2, 4, 0, uptime=900, delay_us=31_500
)
M4 = HostRecord(HostId(4), at("203.0.113.40"), HostFlag.NONE, 2, 2, 2, uptime=600, delay_us=15_250)
M5 = HostRecord(HostId(5), at("203.0.113.50"), HostFlag.NONE, 3, 4, 4, uptime=120, delay_us=19_000)
NEWCOMER = HostRecord(out_degree=2)
M6 = HostRecord(HostId(6), at("203.0.113.60"), HostFlag.NONE, out_degree=2)
RP = HostRecord(HostId(0x0A0B0C0D))
"""Its id in the session; in most of its answers the header says 0 all the same."""

GROUP = ip_address("239.10.20.30")
GROUP_V6 = ip_address("ff1e::1234")
CAMERA = ip_address("10.1.2.3")
CAMERA_V6 = ip_address("2001:db8:1::7")

IPV4_PACKET = wrap_udp(Endpoint(CAMERA, 49152), Endpoint(GROUP, 5004), b"hello\n", ttl=16)
IPV6_PACKET = wrap_udp(Endpoint(CAMERA_V6, 49152), Endpoint(GROUP_V6, 5004), b"hello\n", ttl=16)


class Control(TypedDict):
    """The header fields of a control message."""

    session: SessionId
    source: HostId
    sequence: int
    tree_version: int


def _control(sender: HostRecord, sequence: int) -> Control:
    return {
        "session": SESSION,
        "source": sender.host,
        "sequence": sequence,
        "tree_version": TREE,
    }


def _bootstrap() -> list[tuple[str, Message]]:
    return [
        (
            "which RPs serve demo",
            SubscriptionRequest(sequence=0x5EED0001, group_name="demo", domain="multicast.example"),
        ),
        (
            "name with letters beyond ASCII",
            SubscriptionRequest(sequence=1, group_name="Übertragung"),
        ),
        (
            "two RPs, IPv4 and IPv6",
            SubscriptionResponse(
                **_control(RP, 0x5EED0001),
                lifetime=3600,
                rendezvous_points=(RENDEZVOUS_POINT, at("2001:db8::1")),
            ),
        ),
        (
            "no such session",
            SubscriptionResponse(sequence=0x5EED0001, status=Status.UNKNOWN_SESSION),
        ),
        (
            "first contact of a newcomer",
            PingRpRequest(
                session=SESSION,
                sequence=0x5EED0002,
                instance=0x0123456789ABCDEF,
                host=NEWCOMER,
                tlvs=(Tlv(TlvType.NAME, b"lab-pc"),),
            ),
        ),
        (
            "again, refused by both super nodes",
            PingRpRequest(
                **_control(M6, 0x5EED0003),
                instance=0x0123456789ABCDEF,
                host=M6,
                refused=(S2.host, S3.host),
            ),
        ),
    ]


def _registered() -> list[tuple[str, Message]]:
    unsaid = HostRecord()
    return [
        (
            "an id and two super nodes",
            PingRpResponse(
                **_control(RP, 0x5EED0002),
                phase=Phase.RUNNING,
                host=M6.host,
                observed=M6.endpoint,
                hosts=6,
                super_nodes=(S2, S3),
            ),
        ),
        (
            "session without a super node yet",
            PingRpResponse(
                **_control(RP, 2),
                phase=Phase.BUILDING,
                host=M6.host,
                observed=M6.endpoint,
                hosts=1,
            ),
        ),
        (
            "twelve candidates, as many as fit",
            PingRpResponse(
                **_control(RP, 3),
                phase=Phase.RUNNING,
                host=M6.host,
                observed=M6.endpoint,
                hosts=5000,
                super_nodes=(S2, S3) * 6,
            ),
        ),
        ("where is the source", SourceRequest(**_control(M6, 0x5EED0004), host=M6)),
        (
            "a host offers itself as super node",
            SourceRequest(
                **_control(M5, 9),
                host=HostRecord(M5.host, M5.endpoint, HostFlag.OFFERS, out_degree=4),
            ),
        ),
        ("the source", SourceResponse(**_control(unsaid, 0x5EED0004), origin=SOURCE)),
        ("failure", SourceResponse(**_control(unsaid, 5), status=Status.NO_SOURCE)),
    ]


def _joining() -> list[tuple[str, Message]]:
    return [
        ("a place in the first build", ClusterRequest(**_control(M6, 0x5EED0010), applicant=M6)),
        (
            "place given by the super node",
            ClusterResponse(
                **_control(S2, 0x5EED0010),
                parent=S2,
                super_node=S2.host,
                root_path=(SOURCE.host,),
            ),
        ),
        (
            "full: ask my children",
            ClusterResponse(
                **_control(S2, 0x5EED0011),
                status=Status.FULL,
                parent=S2,
                super_node=S2.host,
                root_path=(SOURCE.host,),
                children=(M4, replace(M5, depth=2)),
            ),
        ),
        (
            "a place for a late comer",
            JoinRequest(**_control(M6, 0x5EED0012), applicant=M6, passes=8),
        ),
        (
            "passed down for the last time",
            JoinRequest(**_control(S2, 0x5EED0012), applicant=M6, passes=0),
        ),
        (
            "offer at depth two",
            JoinResponse(
                **_control(M4, 0x5EED0012),
                parent=M4,
                super_node=S2.host,
                root_path=(S2.host, SOURCE.host),
            ),
        ),
        (
            "refused: the applicant is above me",
            JoinResponse(
                **_control(M5, 0x5EED0013),
                status=Status.LOOP,
                parent=M5,
                super_node=S2.host,
                root_path=(M6.host, S2.host, SOURCE.host),
            ),
        ),
        (
            "the deepest root path",
            JoinResponse(
                **_control(M5, 3),
                parent=replace(M5, depth=64),
                super_node=HostId(1062),
                root_path=(*(HostId(1000 + hop) for hop in range(63)), SOURCE.host),
            ),
        ),
    ]


def _mesh() -> list[tuple[str, Message]]:
    return [
        (
            "the source names its super nodes",
            SetupRequest(**_control(SOURCE, 0x5EED0020), sender=SOURCE, members=(S2, S3)),
        ),
        ("between super nodes", SetupRequest(**_control(S2, 0x5EED0021), sender=S2)),
        ("accepted", SetupResponse(**_control(S3, 0x5EED0021), sender=S3)),
        (
            "not capable of it",
            SetupResponse(**_control(M4, 0x5EED0022), status=Status.INCAPABLE, sender=M4),
        ),
    ]


def _liveness() -> list[tuple[str, Message]]:
    return [
        (
            "child to parent with its groups",
            RefreshRequest(
                **_control(M4, 0x5EED0030),
                kind=RefreshKind.CHILD,
                sender=M4,
                super_node=S2.host,
                root_path=(S2.host, SOURCE.host),
                interest=(
                    interest(GROUP),
                    interest(GROUP_V6, FilterMode.INCLUDE, (CAMERA_V6,)),
                    interest(ip_address("232.1.1.1"), FilterMode.INCLUDE, (CAMERA,)),
                    no_interest(ip_address("239.0.0.9")),
                ),
            ),
        ),
        (
            "link state through the mesh",
            RefreshRequest(
                **_control(S2, 0x5EED0031),
                kind=RefreshKind.MESH,
                sender=S2,
                super_node=S2.host,
                root_path=(SOURCE.host,),
                links=(LinkRecord(SOURCE.host, 24_000), LinkRecord(S3.host, 39_000)),
            ),
        ),
        (
            "state and backup parents in return",
            RefreshResponse(
                **_control(S2, 0x5EED0030),
                sender=S2,
                super_node=S2.host,
                root_path=(SOURCE.host,),
                backups=(S3,),
            ),
        ),
        (
            "a relative that answers no Data Requests of guests",
            RefreshResponse(
                **_control(M5, 0x5EED0032),
                status=Status.UNKNOWN_HOST,
                sender=M5,
                super_node=S2.host,
                root_path=(M4.host, S2.host, SOURCE.host),
            ),
        ),
    ]


def _probes_and_reports() -> list[tuple[str, Message]]:
    return [
        ("how far are you", ProbeRequest(**_control(M6, 0x5EED0033), timestamp=1_234_567_890)),
        (
            "padded to measure the path",
            ProbeRequest(
                **_control(M6, 0x5EED0034),
                timestamp=2**64 - 1,
                tlvs=(Tlv(TlvType.PADDING, bytes(61)),),
            ),
        ),
        (
            "so far",
            ProbeResponse(**_control(S3, 0x5EED0033), timestamp=1_234_567_890, sender=S3),
        ),
        (
            "a relative fell silent",
            StatusReport(**_control(S2, 0x5EED0035), state=HostState.INACTIVE, subject=M4),
        ),
        (
            "with an unknown optional element",
            StatusReport(
                **_control(S2, 0x5EED0036), subject=M5, tlvs=(Tlv(0x80FF, b"\x01\x02\x03"),)
            ),
        ),
        ("noted", StatusResponse(**_control(M5, 0x5EED0035))),
    ]


def _leaving() -> list[tuple[str, Message]]:
    return [
        ("going for good", LeaveReport(**_control(M4, 0x5EED0040))),
        (
            "a super node names its successor",
            LeaveReport(**_control(S2, 0x5EED0041), reason=LeaveReason.SHUTDOWN, replacement=M4),
        ),
        (
            "found a better parent",
            LeaveReport(**_control(M5, 0x5EED0042), reason=LeaveReason.MOVED),
        ),
        ("farewell", LeaveResponse(**_control(S2, 0x5EED0040))),
    ]


def _promotion() -> list[tuple[str, Message]]:
    return [
        ("step 1, X to P", PromotionRequest(**_control(M5, 0x5EED0050), applicant=M5)),
        ("step 2, P to G", BreakRequest(**_control(M4, 0x5EED0051), applicant=M5)),
        ("step 3, G to P", BreakResponse(**_control(S2, 0x5EED0051))),
        ("step 4, P to X", PromotionAck(**_control(M4, 0x5EED0050), grandparent=S2)),
        ("step 4, refused", PromotionAck(**_control(M4, 6), status=Status.REFUSED)),
        ("step 7, X to P", JoinNotification(**_control(M5, 0x5EED0053), parent=S2)),
        ("step 8, P to G", BreakConfirm(**_control(M4, 0x5EED0054))),
        ("step 9, P to Y", JoinNotification(**_control(M4, 0x5EED0055), parent=M5)),
        ("step 12, Y to P", PromotionConfirm(**_control(M6, 0x5EED0055))),
    ]


def _data() -> list[tuple[str, Message]]:
    return [
        ("an IPv4 packet", Data(**_control(SOURCE, 4711), reserved=1, payload=IPV4_PACKET)),
        (
            "an IPv6 packet in channel 2",
            Data(**_control(SOURCE, 0xFFFFFFFF), reserved=0x00000002, payload=IPV6_PACKET),
        ),
        (
            "announcement of channel 1",
            Heartbeat(
                **_control(SOURCE, 12),
                reserved=0x01000001,
                group=GROUP,
                origin_address=CAMERA,
                highest=4711,
                started=1,
            ),
        ),
        (
            "announcement before any data",
            Heartbeat(
                **_control(SOURCE, 1),
                reserved=0x01000002,
                group=GROUP_V6,
                origin_address=CAMERA_V6,
                highest=0,
                started=0,
            ),
        ),
        (
            "packets 4700, 4703 and 4715 are missing",
            DataRequest(
                **_control(M4, 0x5EED0060),
                origin=SOURCE.host,
                channel=1,
                base=4700,
                bitmap=bytes((0b10010000, 0b00000001)),
            ),
        ),
        (
            "a newcomer asks for all that is held",
            DataRequest(**_control(M6, 0x5EED0061), origin=HostId(0), channel=0, base=0),
        ),
        (
            "unknown element refused",
            Error(
                **_control(S2, 0x5EED0062),
                code=ErrorCode.UNKNOWN_TLV,
                option=Option.JOIN_REQUEST,
                offset=61,
                text="unknown element 0x0077",
            ),
        ),
    ]


def signed_heartbeat() -> bytes:
    """Give the announcement of channel 1 as a secured session has it: signed by the source."""
    beat = next(made for _, made in _data() if isinstance(made, Heartbeat))
    blank = Tlv(TlvType.SIGNATURE, bytes(SIGNATURE_BYTES))
    content = encode(replace(beat, tlvs=(blank,)))[:-SIGNATURE_BYTES]
    return content + signed_beat(Signer(bytes((0x55,)) * 32), content)


def examples() -> list[tuple[str, Message]]:
    """List the examples: a name and a message, every class at least once."""
    return [
        *_data(),
        *_bootstrap(),
        *_registered(),
        *_joining(),
        *_mesh(),
        *_liveness(),
        *_probes_and_reports(),
        *_leaving(),
        *_promotion(),
        *association_examples(
            M6.endpoint, encode(LeaveReport(**_control(M6, 0x5EED0070))), signed_heartbeat()
        ),
        *key_examples(),
        *introducing_examples(),
    ]

"""Who may say what: certificates against messages, and the group's keys only for members."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from dmmp.errors import AuthenticationError
from dmmp.messages import (
    JoinRequest,
    KeyLeave,
    KeyRequest,
    KeyResponse,
    PingRpRequest,
    PingRpResponse,
    RefreshRequest,
    SetupRequest,
    SetupResponse,
)
from dmmp.messages.common import HostFlag, HostRecord, RefreshKind, Status
from dmmp.messages.schema import Message
from dmmp.security.peer import Capability, Peer
from dmmp.security.permissions import permitted
from dmmp.types import Endpoint, HostId

SENDER = Endpoint(ip_address("192.0.2.1"), 47700)
ELSEWHERE = Endpoint(ip_address("192.0.2.2"), 47700)
RECORD = HostRecord(host=HostId(7), endpoint=SENDER, out_degree=100)


def peer(capabilities: Capability) -> Peer:
    key = bytes(32)
    return Peer(key[:16], "host", capabilities, 8, 10**9, (), key, key, 1, 2e9)


MEMBER = peer(Capability.MEMBER)
SUPER_NODE = peer(Capability.SUPER_NODE | Capability.MEMBER)
SOURCE = peer(Capability.SOURCE | Capability.MEMBER)
POINT = peer(Capability.RENDEZVOUS_POINT)


@pytest.mark.parametrize(
    ("message", "who"),
    [
        (KeyRequest(epoch=0), POINT),
        (KeyLeave(), POINT),
        (KeyResponse(), POINT),
        (KeyResponse(), SUPER_NODE),
        (PingRpResponse(host=HostId(1), observed=SENDER), SOURCE),
        (SetupRequest(sender=RECORD), MEMBER),
        (SetupResponse(status=Status.SUCCESS, sender=RECORD), MEMBER),
        (RefreshRequest(sender=RECORD, kind=RefreshKind.MESH), MEMBER),
    ],
    ids=lambda value: value.name if isinstance(value, Peer) else type(value).__name__,
)
def test_what_a_certificate_does_not_allow_is_refused(message: Message, who: Peer) -> None:
    with pytest.raises(AuthenticationError):
        permitted(message, who, SENDER)


@pytest.mark.parametrize(
    ("message", "who"),
    [
        (KeyRequest(epoch=0), MEMBER),
        (KeyRequest(epoch=0), SUPER_NODE),
        (KeyResponse(), SOURCE),
        (PingRpResponse(host=HostId(1), observed=SENDER), POINT),
    ],
    ids=lambda value: value.name if isinstance(value, Peer) else type(value).__name__,
)
def test_what_it_allows_passes_as_it_is(message: Message, who: Peer) -> None:
    assert permitted(message, who, SENDER) is message


@pytest.mark.parametrize("flag", [HostFlag.SOURCE, HostFlag.SUPER_NODE])
def test_a_member_cannot_say_that_it_is_more(flag: HostFlag) -> None:
    record = HostRecord(host=HostId(7), endpoint=SENDER, flags=flag)
    with pytest.raises(AuthenticationError):
        permitted(PingRpRequest(instance=1, host=record), MEMBER, SENDER)


def test_what_a_host_says_of_itself_is_cut_down_to_its_certificate() -> None:
    offering = HostRecord(host=HostId(7), endpoint=SENDER, out_degree=100, flags=HostFlag.OFFERS)
    message = PingRpRequest(instance=1, host=offering)
    heard = permitted(message, MEMBER, SENDER)
    assert isinstance(heard, PingRpRequest)
    assert (heard.host.out_degree, heard.host.flags) == (8, HostFlag.ORDINARY)
    heard = permitted(message, SUPER_NODE, SENDER)
    assert isinstance(heard, PingRpRequest)
    assert (heard.host.out_degree, heard.host.flags) == (8, HostFlag.OFFERS)


@pytest.mark.parametrize("status", [Status.INCAPABLE, Status.NOT_SUPER_NODE])
def test_who_may_not_accept_may_refuse(status: Status) -> None:
    refusal = SetupResponse(status=status, sender=RECORD)
    heard = permitted(refusal, MEMBER, SENDER)
    assert isinstance(heard, SetupResponse) and heard.status == status


def test_who_passes_an_application_down_is_not_the_applicant() -> None:
    applicant = HostRecord(host=HostId(9), endpoint=ELSEWHERE, out_degree=100)
    message = JoinRequest(applicant=applicant)
    assert permitted(message, MEMBER, SENDER) is message


def test_an_applicant_is_known_by_its_id_whatever_endpoint_it_names() -> None:
    applicant = HostRecord(host=HostId(9), endpoint=ELSEWHERE, out_degree=100)
    heard = permitted(JoinRequest(source=HostId(9), applicant=applicant), MEMBER, SENDER)
    assert isinstance(heard, JoinRequest) and heard.applicant.out_degree == 8
    claims = HostRecord(host=HostId(9), endpoint=ELSEWHERE, flags=HostFlag.SUPER_NODE)
    with pytest.raises(AuthenticationError):
        permitted(JoinRequest(source=HostId(9), applicant=claims), MEMBER, SENDER)

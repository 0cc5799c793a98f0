"""Tests of renewal: the authority's desk, the host that asks, and the file in which it is kept."""

from __future__ import annotations

import stat
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from random import Random

import pytest

from dmmp.actions import Report, Send
from dmmp.errors import AuthenticationError
from dmmp.messages import ProbeRequest, RenewalRequest, RenewalResponse
from dmmp.messages.common import Status
from dmmp.parameters import Parameters
from dmmp.roles.renewal_desk import RenewalDesk
from dmmp.runtime.renewing import Denials, Renewing
from dmmp.runtime.securing import read_credential
from dmmp.security.authority import LIFETIME, Authority, Request
from dmmp.security.gate import Gate
from dmmp.security.host import Datagram
from dmmp.security.identity import CertifiedParty, Credential, Trust
from dmmp.security.peer import Capability
from dmmp.security.session_file import Contact, SessionFile
from dmmp.security.setup import Security
from dmmp.types import Endpoint

AT = 1_800_000_000.0
HOST, DESK = Endpoint(ip_address("192.0.2.1"), 1), Endpoint(ip_address("192.0.2.9"), 9)


@dataclass
class Stage:
    """An authority, a host's credential in a file, and a clock."""

    path: Path
    random: Random = field(default_factory=lambda: Random(1))
    now: float = AT
    said: list[str] = field(default_factory=list)
    asked: list[bytes] = field(default_factory=list)
    renewals: int = 0

    def __post_init__(self) -> None:
        self.authority = Authority.create(self.random.randbytes)
        self.trust = Trust((self.authority.public,), "demo")
        held = self.issue("host", Capability.MEMBER)
        self.path.write_text(held.text())
        self.path.chmod(0o600)
        self.party = CertifiedParty(held, self.trust)
        self.renewing = Renewing(
            self.party, self.path, self.count, self.said.append, self.asked.append, lambda: self.now
        )

    def count(self) -> None:
        self.renewals += 1

    def issue(self, name: str, may: Capability) -> Credential:
        request = Request(name, "demo", may, 4, 10**8)
        return self.authority.credential(request, self.now, self.random.randbytes)

    def renew(self, certificate: bytes) -> bytes:
        return self.authority.renew(certificate, frozenset(), self.now, self.random.randbytes)


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path / "credential.pem")


def test_nothing_is_asked_before_two_thirds_of_the_life(stage: Stage) -> None:
    stage.now = AT + LIFETIME / 2
    assert not stage.renewing.look()
    stage.now = AT + LIFETIME * 0.7
    assert not stage.renewing.look()
    assert stage.asked == [stage.party.credential]
    assert len(stage.said) == 1 and "expires in 7.2 h" in stage.said[0]
    stage.now += 30
    stage.renewing.look()
    assert len(stage.asked) == 2 and len(stage.said) == 1


def test_a_newer_file_is_taken_up(stage: Stage) -> None:
    stage.now = AT + LIFETIME * 0.7
    newer = stage.party.held.renewed(stage.renew(stage.party.credential))
    stage.path.write_text(newer.text())
    assert stage.renewing.look()
    assert stage.party.credential == newer.certificate and stage.renewals == 1
    assert not stage.asked and "renewed, for 24 h" in stage.said[0]


def test_what_the_authority_sends_is_used_and_kept(stage: Stage) -> None:
    stage.now = AT + LIFETIME * 0.7
    certificate = stage.renew(stage.party.credential)
    stage.renewing.answered(certificate)
    assert stage.party.credential == certificate and stage.renewals == 1
    assert read_credential(stage.path).certificate == certificate
    assert stat.S_IMODE(stage.path.stat().st_mode) == 0o600
    assert [path.name for path in stage.path.parent.iterdir()] == [stage.path.name]


def test_a_certificate_of_other_keys_is_no_renewal(stage: Stage) -> None:
    before = stage.party.credential
    for wrong in (stage.issue("host", Capability.MEMBER).certificate, b"", b"nonsense"):
        stage.renewing.answered(wrong)
    assert stage.party.credential == before and stage.renewals == 0
    assert read_credential(stage.path).certificate == before


def carry(first: Gate, second: Gate, sent: list[Datagram]) -> list[object]:
    """Carry datagrams between two hosts until nothing more is sent; give what came out."""
    heard: list[object] = []
    while sent:
        data, to = sent.pop(0)
        receiver, sender = (second, HOST) if to == DESK else (first, DESK)
        messages, more, _ = receiver.receive(data, sender, 0.0)
        heard += messages
        sent += more
    return heard


def test_a_host_and_the_desk_speak_through_their_gates(stage: Stage) -> None:
    desk_held = stage.issue("authority", Capability.AUTHORITY)
    parties = (stage.party, CertifiedParty(desk_held, stage.trust))
    host, desk = (
        Security(party, stage.random.randbytes, AT).gate(0.0, Parameters()) for party in parties
    )
    got: list[bytes] = []
    host.on_renewal = got.append
    key = desk_held.peer.static_key
    asked = host.ask_renewal(stage.party.credential, DESK, key, 0.0)
    (request,) = carry(host, desk, list(asked))
    assert isinstance(request, RenewalRequest)
    clerk = RenewalDesk(stage.renew, {HOST: stage.party.held.peer.node}.get)
    assert (asking := desk.peer(HOST)) is not None and asking.name == "host"
    report, send = clerk.receive(request, HOST, 0.0)
    assert isinstance(report, Report) and "host" in str(report.event)
    assert isinstance(send, Send)
    carry(host, desk, desk.send(send.message, send.to, 0.0))
    stage.renewing.answered(*got)
    assert stage.party.credential == got[0] and stage.renewals == 1


def test_only_an_authority_renews(stage: Stage) -> None:
    parties = (stage.party, CertifiedParty(stage.issue("other", Capability.MEMBER), stage.trust))
    host, other = (
        Security(party, stage.random.randbytes, AT).gate(0.0, Parameters()) for party in parties
    )
    got: list[bytes] = []
    host.on_renewal = got.append
    other.associations.introduce(HOST, host.associations.static_key, 0.0)
    answer = RenewalResponse(certificate=stage.renew(stage.party.credential))
    carry(host, other, other.send(answer, HOST, 0.0))
    assert got == [] and host.counters["forbidden"] == 1


@pytest.mark.parametrize("which", ["another's", "nonsense"])
def test_the_desk_gives_nobody_another_ones_certificate(stage: Stage, which: str) -> None:
    wanted = stage.issue("victim", Capability.SOURCE | Capability.MEMBER).certificate
    if which == "nonsense":
        wanted = b"\x30\x82"
    clerk = RenewalDesk(stage.renew, lambda endpoint: stage.party.held.peer.node)
    _, send = clerk.receive(RenewalRequest(sequence=5, certificate=wanted), HOST, 0.0)
    assert isinstance(send, Send) and isinstance(send.message, RenewalResponse)
    assert (send.message.status, send.message.certificate) == (Status.REFUSED, b"")


def session_file(stage: Stage, number: int, serials: tuple[int, ...]) -> str:
    """Write a session file with a deny list, and give its text."""
    denied = stage.authority.deny("demo", number, serials)
    contacts = (Contact("192.0.2.1:47700", bytes(32)),)
    file = SessionFile("demo", number, (stage.authority.public,), contacts, None, denied)
    return file.signed(stage.authority.sign).text()


def test_a_newer_deny_list_shuts_hosts_out_of_running_nodes(stage: Stage, tmp_path: Path) -> None:
    path = tmp_path / "session.toml"
    path.write_text(session_file(stage, 1, ()))
    got: list[frozenset[int]] = []
    first = SessionFile.parse(path.read_text())
    denials = Denials(stage.party, first, path, got.append, stage.said.append)
    assert not denials.look()
    bad = stage.issue("bad", Capability.MEMBER)
    stage.trust.check(bad.certificate, bad.peer.static_key, AT)
    path.write_text(session_file(stage, 2, (bad.peer.serial,)))
    assert denials.look() and got == [frozenset({bad.peer.serial})]
    with pytest.raises(AuthenticationError, match="denied"):
        stage.party.check(bad.certificate, bad.peer.static_key, AT)
    # An older list, and one of a root that nobody trusts, change nothing.
    path.write_text(session_file(stage, 1, ()))
    assert not denials.look()
    forger = Stage(tmp_path / "forger.pem", Random(9))
    path.write_text(session_file(forger, 3, (stage.party.held.peer.serial,)))
    assert not denials.look() and len(got) == 1


def test_a_gate_ends_the_associations_of_hosts_that_are_denied(stage: Stage) -> None:
    parties = (stage.party, CertifiedParty(stage.issue("bad", Capability.MEMBER), stage.trust))
    host, other = (
        Security(party, stage.random.randbytes, AT).gate(0.0, Parameters()) for party in parties
    )
    host.associations.introduce(DESK, other.associations.static_key, 0.0)
    carry(host, other, host.send(ProbeRequest(timestamp=1), DESK, 0.0))
    assert (peer := host.peer(DESK)) is not None
    assert host.deny(frozenset({peer.serial + 1})) == set() and host.peer(DESK) is not None
    assert host.deny(frozenset({peer.serial})) == {peer.node} and host.peer(DESK) is None

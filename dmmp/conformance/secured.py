"""A secured session for cases: a test authority, peers with credentials, handshakes made by hand.

In process the implementation under test is given a credential of the same authority. What cases
send in a wrong way on purpose is made by `Caller`; peers that behave have a `gate`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from random import Random

from dmmp.conformance.case import Case, Failure, Feature, Unsupported
from dmmp.conformance.in_process import InProcess, Running
from dmmp.conformance.peer import Peer
from dmmp.conformance.playing import play_rp
from dmmp.conformance.requirement import Role
from dmmp.conformance.tester import Tester
from dmmp.errors import DecodeError
from dmmp.forwarding.forwarder import Forwarder
from dmmp.messages import (
    HandshakeResponse,
    PingRpRequest,
    ProbeRequest,
    ProbeResponse,
    Sealed,
    decode,
    encode,
)
from dmmp.messages.header import HEADER, HEADER_BYTES, VERSION
from dmmp.messages.options import Option
from dmmp.messages.schema import FieldValue
from dmmp.parameters import Parameters
from dmmp.roles.end_host import EndHost
from dmmp.roles.keyed import KeyedHost
from dmmp.roles.rendezvous_point import RendezvousPoint
from dmmp.roles.standing import HostSetup
from dmmp.security.association import Association
from dmmp.security.authority import Authority, Request
from dmmp.security.cookies import MACS_BYTES, mac1_key, with_macs
from dmmp.security.gate import Gate, Taken
from dmmp.security.handshakes import INITIATION_LEAST, read_response
from dmmp.security.identity import (
    CertifiedParty,
    Credential,
    Mode,
    Trust,
    prologue,
    static_public,
)
from dmmp.security.introductions import split_introductions
from dmmp.security.noise import Initiator, KeyPair
from dmmp.security.peer import Capability
from dmmp.security.setup import Security
from dmmp.types import Endpoint, HostId, Instant

WALL = 1_800_000_000.0
"""Seconds since 1970 when the clock of the carrier in virtual time says 0."""

BEGIN = 1000.0
"""What that clock says at first."""

LIFETIME = 86400.0
BANDWIDTH = 10**9
MEMBER = Capability.MEMBER
SUPER_NODE = Capability.SUPER_NODE | Capability.MEMBER
SOURCE = Capability.SOURCE | SUPER_NODE
RP = Capability.RENDEZVOUS_POINT

GRANTED = {
    Role.RP: RP,
    Role.SOURCE: SOURCE,
    Role.SUPER_NODE: SUPER_NODE,
    Role.MEMBER: MEMBER,
}
_FIXED = HEADER_BYTES + 32 + 48 + 16 + MACS_BYTES
"""Bytes of an initiation without its payload."""


class SecuredSession:
    """The authority and what it issued; `subject_key` is the static key of what is tested.

    `wall` is seconds since 1970 less the carrier's clock, `began` what that says now.
    """

    def __init__(self, name: str, seed: int, wall: float, began: Instant) -> None:
        self.name = name
        self.wall = wall
        self.began = began
        self.random = Random(f"{seed}/conformance").randbytes
        self.authority = Authority.create(self.random)
        self.trust = Trust((self.authority.public,), name)
        self.keys: dict[Endpoint, bytes] = {}
        self.points: dict[Endpoint, Credential] = {}
        self.gates: list[Gate] = []
        self.subject_key = b""

    def credential(
        self,
        name: str,
        capabilities: Capability = MEMBER,
        *,
        at: float | None = None,
        authority: Authority | None = None,
        session: str = "",
        out_degree: int = 100,
    ) -> Credential:
        """Issue a credential; what is named after `capabilities` makes one that is not to hold."""
        request = Request(name, session or self.name, capabilities, out_degree, BANDWIDTH)
        issued = self.wall + self.began if at is None else at
        return (authority or self.authority).credential(request, issued, self.random, LIFETIME)

    def admit(self, role: Role, points: Iterable[Endpoint]) -> Credential:
        """Issue the credential of what is tested, and those of the RPs that it is told of."""
        own = self.credential("subject", GRANTED[role])
        self.subject_key = static_public(own.static_secret)
        for endpoint in points:
            point = self.points[endpoint] = self.credential("point", RP)
            self.keys[endpoint] = static_public(point.static_secret)
        return own

    def recertified(self, held: Credential, capabilities: Capability) -> Credential:
        """Give the keys of a credential a certificate that says something else."""
        request = Request("recertified", self.name, capabilities, 100, BANDWIDTH)
        keys = held.peer.signing_key, held.peer.static_key
        return held.renewed(
            self.authority.issue(
                request, *keys, self.wall + self.began, self.random, LIFETIME + 1.0
            )
        )

    def security(self, credential: Credential, points: dict[Endpoint, bytes]) -> Security:
        """Make one host's part in the session."""
        return Security(CertifiedParty(credential, self.trust), self.random, self.wall, points)


class Door(Gate):
    """A gate that remembers which datagrams came in a HopSealed."""

    frames: list[bytes]

    def receive(self, datagram: bytes, sender: Endpoint, now: Instant) -> Taken:
        """Take a datagram of anybody; never raises."""
        taken = super().receive(datagram, sender, now)
        self.frames += taken.frames
        return taken


MakeSecured = Callable[[Security, Role, HostSetup, Parameters, Random], Running]
"""Makes what is tested in a secured session; tests give broken ones."""


class SecuredInProcess(InProcess):
    """The carrier in virtual time for a secured session."""

    features = InProcess.features | {Feature.SECURED}

    def __init__(
        self,
        role: Role,
        session_name: str,
        parameters: Parameters,
        seed: int,
        secured: MakeSecured | None = None,
        *,
        second_rp: bool = False,
    ) -> None:
        self.secured = SecuredSession(session_name, seed, WALL, BEGIN)
        self._secured = secured or make_secured
        super().__init__(role, session_name, parameters, seed, self._make, second_rp=second_rp)

    def _make(self, role: Role, setup: HostSetup, parameters: Parameters, rng: Random) -> Running:
        own = self.secured.admit(role, setup.rendezvous_points)
        points = dict(self.secured.keys)
        return self._secured(self.secured.security(own, points), role, setup, parameters, rng)


def make_secured(
    security: Security, role: Role, setup: HostSetup, parameters: Parameters, rng: Random
) -> Running:
    """Make our own role with its credential."""
    gate = security.gate(0.0, parameters, central=role in (Role.RP, Role.SOURCE))
    if role is Role.RP:
        return Running(RendezvousPoint((setup.session_name,), parameters, rng), None, gate)
    host = EndHost(role.value, replace(setup, ordinary=security.is_ordinary), parameters, rng)
    keyed = KeyedHost(
        host,
        security.node_of(gate),
        security.random,
        rng,
        WALL,
        is_source=role is Role.SOURCE,
        takes_keys=role is Role.MEMBER,
    )
    guard = security.guard(delivers=role is not Role.SUPER_NODE)
    return Running(keyed, Forwarder(parameters, guard=guard), gate)


def open_in_process(
    case: Case, role: Role, session: str, parameters: Parameters, seed: int
) -> InProcess:
    """Make the carrier in virtual time that a case needs."""
    made = SecuredInProcess if Feature.SECURED in case.needs else InProcess
    return made(role, session, parameters, seed, second_rp=Feature.SECOND_RP in case.needs)


def session_of(tester: Tester) -> SecuredSession:
    """Return the secured session of a case that needs one."""
    secured = getattr(tester.carrier, "secured", None)
    if not isinstance(secured, SecuredSession):
        raise Unsupported(f"needs {Feature.SECURED.value}")
    return secured


def secure(
    peer: Peer, capabilities: Capability = MEMBER, credential: Credential | None = None
) -> Door:
    """Give a peer a credential and a gate; all peers know each other's keys, and the subject's.

    The RP's key is what the implementation was told; its credential may be another one for it.
    """
    session, now = session_of(peer.tester), peer.tester.now
    own = credential or session.points.get(peer.endpoint)
    own = own or session.credential(peer.name.replace(" ", "-"), capabilities)
    made = session.security(own, {}).gate(now, peer.tester.timing.parameters, central=True)
    door = Door(made.associations)
    door.frames = []
    key = static_public(own.static_secret)
    session.keys[peer.endpoint] = key
    session.gates.append(door)
    for gate in session.gates:
        gate.associations.introduce(peer.endpoint, key, now)
    for endpoint, other in session.keys.items():
        door.associations.introduce(endpoint, other, now)
    door.associations.introduce(peer.tester.subject, session.subject_key, now)
    peer.gate = door
    return door


class Caller:
    """A host of the tester that makes its initiations by hand, well or badly."""

    def __init__(
        self, tester: Tester, name: str = "caller", credential: Credential | None = None
    ) -> None:
        session = session_of(tester)
        if tester.role is Role.RP and not tester.is_heard:
            # Over UDP it takes a moment until an RP that was started is there.
            wake_up(tester)
        self.tester = tester
        self.peer = tester.peer(name)
        self.credential = credential or session.credential(name)
        self.key = session.subject_key
        self.prologue = prologue(Mode.CERTIFICATES, session.name)
        self.certificate = self.credential.certificate
        self.timestamp = int((tester.now + session.wall) * 1e6)
        self.instance = tester.rng.getrandbits(64)
        self.index = 0
        self._noise: Initiator | None = None

    def initiation(
        self,
        *,
        mac_key: bytes = b"",
        size: int = INITIATION_LEAST,
        end: bytes = b"",
        cookie: bytes | None = None,
    ) -> bytes:
        """Make an initiation from the fields as they are; `end` stands where zeros should."""
        self.timestamp += 1
        self.index = self.tester.rng.getrandbits(31) + 1
        ephemeral = KeyPair(self.tester.rng.randbytes(32))
        self._noise = Initiator(
            KeyPair(self.credential.static_secret), self.key, self.prologue, ephemeral
        )
        payload = self.timestamp.to_bytes(8) + self.instance.to_bytes(8)
        payload += len(self.certificate).to_bytes(2) + self.certificate
        payload = payload.ljust(size - _FIXED - len(end), b"\0") + end
        length = _FIXED - HEADER_BYTES + len(payload)
        option = Option.HANDSHAKE_INITIATION
        head = HEADER.pack(VERSION, 0, option, 0, self.index, 0, 0, length)
        key = mac1_key(mac_key or session_of(self.tester).subject_key)
        return with_macs(head + self._noise.write(payload), key, cookie)

    def call(self, **fields: FieldValue) -> bytes:
        """Make an initiation and send it."""
        datagram = self.initiation(**fields)
        self.peer.send_bytes(datagram)
        return datagram

    def associate(self, **fields: FieldValue) -> Association:
        """Call, and take the response."""
        self.call(**fields)
        return self.take_response()

    def take_response(self) -> Association:
        """Take the response to the last initiation; fail if it is none, or does not open."""
        response = self.peer.expect(HandshakeResponse)
        self.tester.equal(response.sequence, self.index, "the index that the response repeats")
        self.tester.check(response.source != 0, "the response bears no index")
        assert self.peer.last is not None and self._noise is not None
        try:
            certificate, keys = read_response(self.peer.last.datagram, self._noise)
            session = session_of(self.tester)
            session.trust.check(certificate, self.key, self.tester.now + session.wall)
        except DecodeError as error:
            raise Failure(f"the response does not hold: {error}") from error
        return Association(
            (self.index, response.source),
            keys,
            self.tester.subject,
            self.credential.peer,
            self.tester.now,
            0,
            initiated=True,
        )

    def expect_nothing(self, **fields: FieldValue) -> None:
        """Call, and fail if anything comes back."""
        self.call(**fields)
        self.peer.expect_silence()

    # Over an association.

    def probe(self, host: int = 0, timestamp: int = 1) -> bytes:
        """Make a Probe Request, as plaintext."""
        return encode(
            ProbeRequest(
                session=self.tester.session,
                source=HostId(host),
                sequence=self.peer.next_sequence(),
                timestamp=timestamp,
            )
        )

    def say(self, association: Association, plaintext: bytes) -> bytes:
        """Seal a plaintext and send it; return the datagram."""
        datagram = association.seal(plaintext, self.tester.now)
        self.peer.send_bytes(datagram)
        return datagram

    def heard(self, association: Association, seconds: float | None = None) -> list[bytes]:
        """Wait, and open what came sealed over an association: the plaintexts, in order."""
        timing = self.tester.timing
        self.tester.wait(timing.answer if seconds is None else seconds)
        datagrams = [each.datagram for each in self.peer.inbox if isinstance(each.message, Sealed)]
        self.peer.forget(Sealed)
        return [association.open(datagram, self.tester.now) for datagram in datagrams]

    def answers(self, association: Association, seconds: float | None = None) -> int:
        """Count the Probe Responses that came over an association."""
        opened = [split_introductions(each)[0] for each in self.heard(association, seconds) if each]
        return sum(isinstance(decode(each), ProbeResponse) for each in opened)


def wake_up(tester: Tester) -> None:
    """Bring it to where it answers probes: registered, or as an RP simply there."""
    if tester.role is Role.RP:
        asker = tester.peer("asker")
        secure(asker)
        tester.use_session(tester.locate(asker).session)
        return
    secure(tester.rp)
    play_rp(tester).peer.expect(PingRpRequest)
    tester.wait(tester.timing.answer)

"""The gate between a host and the network, for all control messages: sealed, proven, permitted.

What comes in was sealed by a host with a valid credential, from its own address, and says no more
than that credential allows; what goes out brings the keys of the hosts that it names. Roles know
nothing of it. Sans-I/O, like all here; `driver` and the simulator stand between it and the world.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import NamedTuple

from dmmp.errors import AuthenticationError, DecodeError
from dmmp.messages import (
    IntroductionRequest,
    IntroductionResponse,
    PingRpResponse,
    RenewalRequest,
    RenewalResponse,
    decode,
    encode,
)
from dmmp.messages.header import HEADER_BYTES, HOP_SEALED_FLAGS, OPTION_OFFSET
from dmmp.messages.options import Option, TlvType
from dmmp.messages.schema import Message, Tlv
from dmmp.security.association import is_forwarders
from dmmp.security.associations import Associations
from dmmp.security.budgets import Budgets
from dmmp.security.data_keys import TAG_BYTES
from dmmp.security.handshakes import PREFIX_BYTES, prefix
from dmmp.security.host import Datagram
from dmmp.security.introductions import (
    endpoints_in,
    hosts_in,
    introduced,
    introductions,
    split_introductions,
)
from dmmp.security.limits import Recent
from dmmp.security.outcomes import Regard, Unknown
from dmmp.security.peer import Peer
from dmmp.security.permissions import permitted
from dmmp.types import NO_HOST, Endpoint, HostId, Instant

SEALED_BYTES = HEADER_BYTES + TAG_BYTES
"""What a sealed message is longer than the message itself."""

MOST_NAMED = 4096
"""Endpoints of which it is known who named them, and hosts of which the id is: as many as keys."""

ASK_AGAIN = 0.5
"""Seconds until somebody is asked for the same key again."""

ID_SECONDS = 60.0
"""So long an id belongs to the host that used it last: four hold times in a cluster."""

MOST_IDS = 3
"""Ids that one node has at a time: its own, one from before a restart, one that another RP gave it.
Else a single member could keep all those that are still to be given."""


_HOP_SEALED = prefix(Option.HOP_SEALED)
_FLAGS_OFFSET = 16
_FLAGS = HOP_SEALED_FLAGS >> 24


def goes_sealed(datagram: bytes | memoryview) -> bool:
    """Tell whether a datagram of the forwarder goes through the gate: all but plain data does.

    What is signed is worth a check of its signature only if it comes from whom it says (Decision
    74), and requests are control messages.
    """
    return datagram[OPTION_OFFSET + 1] != 0 or datagram[_FLAGS_OFFSET] & _FLAGS != 0


class Taken(NamedTuple):
    """What came of a datagram: messages for the host (one or none), and what to send.

    `frames` are datagrams for the forwarder, one or none.
    """

    messages: list[Message]
    datagrams: list[Datagram]
    frames: list[bytes]


class Gate:
    """One host's gate; `points` are the rendezvous points, who know every host's key.

    `counters` counts what was dropped: `impersonating` bore another host's id, `forbidden` was
    more than the credential allows, `over_budget` more than a peer may say, `malformed` no message
    at all. The associations count the rest.
    """

    def __init__(
        self, associations: Associations, points: Iterable[Endpoint] = (), shared: bool = False
    ) -> None:
        self.associations = associations
        self.counters = {"opened": 0, "impersonating": 0, "forbidden": 0, "malformed": 0}
        self.counters |= {"over_budget": 0, "introductions_asked": 0, "keys_learned": 0}
        self._points = tuple(points)
        self._shared = shared
        self._named_by: Recent[Endpoint, Endpoint] = Recent(MOST_NAMED)
        self._asked: Recent[Endpoint, Instant] = Recent(MOST_NAMED)
        self._ids: Recent[tuple[int, int], tuple[bytes, Instant]] = Recent(MOST_NAMED)
        self._ids_of: Recent[tuple[int, bytes], tuple[int, ...]] = Recent(MOST_NAMED)
        self._hosts_at: Recent[Endpoint, tuple[HostId, ...]] = Recent(MOST_NAMED)
        self._budgets = Budgets()
        self.on_renewal: Callable[[bytes], None] = lambda certificate: None
        """Called with a certificate that the authority issued for this host."""

    def send(
        self, message: Message, to: Endpoint, now: Instant, whole: bool = False
    ) -> list[Datagram]:
        """Seal a message with the keys of the hosts it names; what it waits for, if it must wait.

        Of one that has to be of an exact size (`whole`) the padding gives way to the seal. Raise
        `UsageError` for what fits no datagram.
        """
        if whole:
            message = _shrunk(message)
        if type(message) is PingRpResponse and message.host != NO_HOST:
            # Here ids are given out: whoever used this one before had no right to it.
            peer = self.peer(to)
            if peer is not None:
                self._note_id((message.session, message.host), self._node(peer, to), now)
        return self.send_datagram(self._with_keys(message), to, now)

    def send_datagram(self, datagram: bytes, to: Endpoint, now: Instant) -> list[Datagram]:
        """Seal a message that is a datagram already and names nobody."""
        sent = self.associations.send(datagram, to, now)
        return self._ask_for(to, now) if isinstance(sent, Unknown) else sent

    def regard(self, datagram: bytes, sender: Endpoint, now: Instant) -> Regard:
        """Tell what is to be thought of a datagram that may have to wait."""
        return self.associations.regard(datagram, sender, now)

    def receive(self, datagram: bytes, sender: Endpoint, now: Instant) -> Taken:
        """Take a datagram of anybody; never raises."""
        plaintexts, datagrams, peer = self.associations.receive(datagram, sender, now)
        messages: list[Message] = []
        if datagram[:PREFIX_BYTES] == _HOP_SEALED:
            frames = [plaintext for plaintext in plaintexts if is_forwarders(plaintext)]
            self.counters["malformed"] += len(plaintexts) - len(frames)
            return Taken(messages, datagrams, frames)
        for plaintext in plaintexts:
            assert peer is not None
            if not self._budgets.take(self._node(peer, sender), peer, plaintext, now):
                self.counters["over_budget"] += 1
                continue
            message = self._read(plaintext, peer, sender, datagrams, now)
            if isinstance(message, IntroductionRequest):
                datagrams += self._answer(message, sender, now)
            elif isinstance(message, RenewalResponse):
                self.on_renewal(message.certificate)
            elif message is not None and not isinstance(message, IntroductionResponse):
                self.counters["opened"] += 1
                messages.append(message)
        return Taken(messages, datagrams, [])

    def ask_renewal(
        self, certificate: bytes, authority: Endpoint, key: bytes, now: Instant
    ) -> list[Datagram]:
        """Ask the authority, by its static key, for a certificate after this one."""
        datagrams = self.associations.introduce(authority, key, now)
        request = RenewalRequest(sequence=1, certificate=certificate)
        return datagrams + self.send(request, authority, now)

    def deny(self, serials: frozenset[int]) -> set[bytes]:
        """End the associations of hosts with these serials; give their nodes."""
        denied = self.associations.of_serials(serials)
        for endpoint in denied:
            self.associations.drop(endpoint)
        return set(denied.values())

    def peer(self, endpoint: Endpoint) -> Peer | None:
        """Return who is known to be at an endpoint."""
        return self.associations.peer(endpoint)

    def wake(self, now: Instant) -> list[Datagram]:
        """Do what is due; whose key led nowhere is asked for anew when it is needed again."""
        datagrams = self.associations.wake(now)
        for endpoint in self.associations.failed():
            self.associations.forget_key(endpoint)
        return datagrams

    def next_alarm(self) -> tuple[Instant, str] | None:
        """Say when to wake it, and why."""
        return self.associations.next_alarm()

    def _read(
        self,
        plaintext: bytes,
        peer: Peer,
        sender: Endpoint,
        datagrams: list[Datagram],
        now: Instant,
    ) -> Message | None:
        """Read a message and the keys behind it; None, and a count, for what is not to be said."""
        try:
            datagram, rest = split_introductions(plaintext)
            message = decode(datagram)
            if message.tlvs:
                message = _padded(message, SEALED_BYTES)
        except DecodeError:
            self.counters["malformed"] += 1
            return None
        if not self._owns_id(message, peer, sender, now):
            self.counters["impersonating"] += 1
            return None
        try:
            message = permitted(message, peer, sender)
        except AuthenticationError:
            self.counters["forbidden"] += 1
            return None
        for endpoint in endpoints_in(message):
            self._named_by.put(endpoint, sender)
        if message.source != NO_HOST:
            self._note_host(sender, message.source)
        for endpoint, host in hosts_in(message):
            # What it believes of its own address may be another's: behind NATs many have the same.
            if host != message.source:
                datagrams += self._hear_of(endpoint, host, now)
        for endpoint, key in introductions(message, rest):
            self.counters["keys_learned"] += 1
            datagrams += self.associations.introduce(endpoint, key, now)
        return message

    def _hear_of(self, endpoint: Endpoint, host: HostId, now: Instant) -> list[Datagram]:
        """Note who is said to be at an endpoint; call it anew if so far only others were.

        A process that starts again gets another id, and knows none of its former associations
        (Decision 82).
        """
        held = self._hosts_at.get(endpoint) or ()
        if host in held:
            return []
        datagrams = self.associations.suspect(endpoint, now) if held else []
        if datagrams is not None or self.associations.peer(endpoint) is None:
            self._note_host(endpoint, host)
        return datagrams or []

    def _note_host(self, endpoint: Endpoint, host: HostId) -> None:
        held = self._hosts_at.get(endpoint) or ()
        if host not in held:
            self._hosts_at.put(endpoint, (*held, host)[-MOST_IDS:])

    def _owns_id(self, message: Message, peer: Peer, sender: Endpoint, now: Instant) -> bool:
        """Tell whether the sender's id is its own: who uses one first has it while it uses it."""
        # With a shared secret all are one node, and whoever knows it may say anything.
        if message.source == NO_HOST or self._shared:
            return True
        node = self._node(peer, sender)
        name = (message.session, message.source)
        owner = self._ids.get(name)
        if owner is not None and owner[0] != node and now - owner[1] < ID_SECONDS:
            return False
        self._note_id(name, node, now)
        return True

    def _note_id(self, name: tuple[int, int], node: bytes, now: Instant) -> None:
        """Give a node an id; one that has too many loses the one that it got first."""
        session, host = name
        held = self._ids_of.get((session, node)) or ()
        if host not in held:
            held = (*held, host)
            if len(held) > MOST_IDS:
                owner = self._ids.get((session, held[0]))
                if owner is not None and owner[0] == node:
                    self._ids.pop((session, held[0]))
                held = held[1:]
            self._ids_of.put((session, node), held)
        self._ids.put(name, (node, now))

    def _node(self, peer: Peer, endpoint: Endpoint) -> bytes:
        """Say who is at an endpoint; with a shared secret nothing but that tells hosts apart."""
        return str(endpoint).encode() if self._shared else peer.node

    def _with_keys(self, message: Message) -> bytes:
        datagram = encode(message)
        return datagram if self._shared else introduced(datagram, message, self.associations.key)

    def _answer(
        self, request: IntroductionRequest, sender: Endpoint, now: Instant
    ) -> list[Datagram]:
        answer = IntroductionResponse(
            session=request.session, sequence=request.sequence, wanted=request.wanted
        )
        return self.send(answer, sender, now)

    def _ask_for(self, endpoint: Endpoint, now: Instant) -> list[Datagram]:
        """Ask who named an endpoint, and a rendezvous point, for its key."""
        last = self._asked.get(endpoint)
        if last is not None and now - last < ASK_AGAIN:
            return []
        self._asked.put(endpoint, now)
        namer = self._named_by.get(endpoint)
        datagrams: list[Datagram] = []
        for to in dict.fromkeys([*([] if namer is None else [namer]), *self._points]):
            if to == endpoint or self.associations.key(to) is None:
                continue
            self.counters["introductions_asked"] += 1
            datagrams += self.send(IntroductionRequest(wanted=endpoint), to, now)
        return datagrams


def _shrunk(message: Message) -> Message:
    """Take as much from the padding as the seal adds."""
    return _padded(message, -SEALED_BYTES)


def _padded(message: Message, more: int) -> Message:
    """Make the padding so much longer: its size tells how long the datagram was."""
    tlvs = tuple(
        Tlv(tlv.type, bytes(max(0, len(tlv.value) + more))) if tlv.type == TlvType.PADDING else tlv
        for tlv in message.tlvs
    )
    return replace(message, tlvs=tlvs)

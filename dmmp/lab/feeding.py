"""The world of `flows`: who is fed by whom, kept in arrays, and a shorter way from role to role.

A message costs here what its roles make of it and little more. What other worlds do beside that is
left out, since nobody looks at it in a crowd: traces, checks of invariants, gates, forwarders.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from dmmp.actions import Action, Install, Report, Send, Withdraw
from dmmp.events import Admitted, Event, Left, PeerViolation
from dmmp.interest import interest
from dmmp.messages import Message, RefreshRequest, RefreshResponse
from dmmp.messages.common import RefreshKind
from dmmp.roles.cluster_member import ClusterMember
from dmmp.roles.end_host import EndHost
from dmmp.roles.standing import Alarm
from dmmp.roles.states import NOBODY, Joined
from dmmp.roles.super_node import SuperNode
from dmmp.sim.carrying import GROUP, Arrival
from dmmp.sim.node import Node
from dmmp.sim.schedule import MICROSECONDS, microseconds
from dmmp.sim.sizes import size_of
from dmmp.sim.world import World
from dmmp.types import Endpoint, HostId, Instant

DOUBLINGS: Final = 7
"""Of the number of hops looked up at once: more than the longest root path takes."""


LONGEST: Final = 64
"""Hosts of the longest root path (Decision 17)."""

REFRESH: Final = Alarm.REFRESH.name

QUESTIONS: Final = [
    size_of(RefreshRequest(kind=RefreshKind.RELATIVE, sender=NOBODY, root_path=(HostId(1),) * hops))
    for hops in range(LONGEST + 1)
]
"""Bytes of a Refresh Request to a relative, by the length of the sender's root path."""

ANSWERS: Final = [
    size_of(RefreshResponse(sender=NOBODY, root_path=(HostId(1),) * hops))
    for hops in range(LONGEST + 1)
]
"""Bytes of the answer, by the length of the answering host's."""


class OnlyAddress(IPv4Address):
    """An address that is made once: compared and hashed as the object that it is.

    Nothing is decoded here, so nobody makes a second one.
    """

    __slots__ = ()
    __eq__ = object.__eq__
    __hash__ = object.__hash__


WISH: Final = interest(OnlyAddress(int(GROUP)))
"""What all programs here want."""


class Feeding(World):
    """A world that keeps, for each host by its number, who feeds it and how far that one is."""

    is_quick = True
    """Whether relatives that know each other are spared the messages: see `_meet_relatives`."""
    numbers: dict[int, int]
    """The number of the host that a node is, by the node's `id`."""

    def number_hosts(self, hosts: Sequence[Node]) -> None:
        """Begin to keep track; one more than the last stands for nobody."""
        self.numbers = {id(node): number for number, node in enumerate(hosts)}
        self.feeder = np.full(len(hosts) + 1, len(hosts), dtype=np.int32)
        self.feeder[0] = 0
        self.hop = np.zeros(len(hosts) + 1, dtype=np.float32)
        self.is_changed = True

    def start(self, node: Node) -> None:
        """Switch a machine on; it has no parent yet."""
        super().start(node)
        self._find_feeder(node)

    def _note_links(self, node: Node) -> None:
        before = node.downstream
        super()._note_links(node)
        after = node.downstream
        for address in before.keys() ^ after.keys():
            child = before.get(address) or after.get(address)
            if child is not None:
                self._find_feeder(child)
        self._find_feeder(node)

    def _remove(self, node: Node) -> None:
        super()._remove(node)
        for child in node.downstream.values():
            if child is not None:
                self._find_feeder(child)
        self._find_feeder(node)

    def _find_feeder(self, node: Node) -> None:
        number = self.numbers.get(id(node))
        if not number:
            return  # The source feeds itself, and the rendezvous point nobody.
        address = int(node.endpoint.address)
        feeder = len(self.numbers)
        if node.alive:
            for above in node.upstream:
                if above.alive and address in above.downstream:
                    feeder = self.numbers[id(above)]
                    delay_us = self.network.topology.delay_us(above.place, node.place)
                    self.hop[number] = delay_us / 1e6
                    break
        self.feeder[number] = feeder
        self.is_changed = True

    def branches(self) -> NDArray[np.int64]:
        """Count whom each host feeds, [hosts]."""
        nobody = len(self.numbers)
        return np.bincount(self.feeder[1:-1], minlength=nobody + 1)[:nobody]

    def ways(self) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
        """Say whom data reaches, and after how many seconds, [hosts] both."""
        above = self.feeder.copy()
        delay = self.hop.copy()
        delay[0] = delay[-1] = 0.0
        for _ in range(DOUBLINGS):
            delay += delay[above]
            above = above[above]
        return above[:-1] == 0, delay[:-1]

    # Relatives that know each other.

    def _meet_relatives(self, node: Node, now: Instant) -> None:
        """Renew in one step what a member and those it refreshes beside its parent know.

        The member is about to send its periodic Refresh to backups and siblings (Decision 76). One
        that has answered before, is up in the same life, and has a place as the member has, will
        answer with its present record and nothing else, and nothing is lost on the way: so both
        learn what they would, and both messages are counted. What differs from messages: they
        learn it at once instead of half a round trip later. In every other case the messages go.
        """
        role = node.host.role if isinstance(node.host, EndHost) else None
        if not isinstance(role, ClusterMember) or type(role.state) is not Joined:
            return
        if not self.network.is_plain:
            return
        parameters, me = self.parameters, role.standing.host
        for kin in role.kinship.named.values():
            if not kin.is_known or kin.refreshed + parameters.refresh_relative > now:
                continue
            route = node.routes.get(id(kin.endpoint)) or self._addresses.find_route(
                node, kin.endpoint
            )
            _, other, delay_us = route
            if other is None or not other.alive or not isinstance(other.host, EndHost):
                continue
            theirs = other.host.role
            if (
                not isinstance(theirs, ClusterMember | SuperNode)
                or type(theirs.state) is not Joined
                or theirs.standing.host != kin.record.host
                or theirs.standing.session != role.standing.session
            ):
                continue
            path = theirs.root_path()
            self._count(node, QUESTIONS[len(role.root_path())])
            self._count(other, ANSWERS[len(path)])
            other.received += 1
            node.received += 1
            until = now + delay_us / MICROSECONDS + parameters.hold_relative
            theirs.kinship.admit(me, node.endpoint, until)
            kin.refreshed = now
            role.kinship.heard(kin, theirs.record(now), path, theirs.super_node(), now)
            kin.round_trip.sample(2 * delay_us / MICROSECONDS)

    def _count(self, node: Node, octets: int) -> None:
        node.sent += 1
        node.sent_bytes += octets
        self.network.counts.sent += 1
        self.network.counts.sent_bytes += octets

    # A shorter way.

    def add(self, *args: Any, **named: Any) -> Node:
        """Put a machine somewhere, under an address that there is once."""
        node = super().add(*args, **named)
        node.endpoint = Endpoint(OnlyAddress(int(node.endpoint.address)), node.endpoint.port)
        return node

    def run_until(self, instant: Instant) -> None:
        """Let virtual time pass."""
        until_us = microseconds(instant)
        pop, arrive = self._schedule.pop, self._arrive
        while (popped := pop(until_us)) is not None:
            self.now_us, what = popped
            if isinstance(what, tuple):
                arrive(what)
            elif isinstance(what, Node):
                self._wake(what)
            else:
                what()
        self.now_us = until_us

    def _arrive(self, arrival: Arrival) -> None:
        node, _, origin, message = arrival
        if not node.alive:
            self.network.counts.unheard += 1
            return
        node.received += 1
        assert isinstance(message, Message)
        actions = node.host.receive(message, origin, self.now_us / MICROSECONDS)
        if actions:
            self._perform(node, actions)
        self._arm(node)

    def _perform(self, node: Node, actions: Sequence[Action]) -> None:
        for action in actions:
            if isinstance(action, Send):
                self.send(node, action.message, action.to)
            elif isinstance(action, Install):
                entry = action.entry
                node.entries[entry.session, entry.origin] = entry
                self._note_links(node)
            elif isinstance(action, Report):
                self._note_event(node, action.event)
            elif isinstance(action, Withdraw):
                node.entries.pop((action.session, action.origin), None)
                self._note_links(node)

    def _note_event(self, node: Node, event: Event) -> None:
        if isinstance(event, Admitted):
            node.admitted_us = node.admitted_us or self.now_us
        elif isinstance(event, PeerViolation):
            node.violations += 1
        elif isinstance(event, Left):
            self._remove(node)

    def send(self, node: Node, message: Message, to: Endpoint, whole: bool = False) -> None:
        """Send one control message; its bytes are counted as the codec would make them."""
        size = size_of(message)
        node.sent += 1
        node.sent_bytes += size
        counts = self.network.counts
        counts.sent_bytes += size
        if not self.network.is_plain:
            self._transmit(node, to, message)
            return
        counts.sent += 1
        _, receiver, delay_us = node.routes.get(id(to)) or self._addresses.find_route(node, to)
        if receiver is None:
            counts.unheard += 1
        else:
            self._schedule.push(self.now_us + delay_us, (receiver, node, node.endpoint, message))

    def _wake(self, node: Node) -> None:
        if node.armed_us != self.now_us:
            return
        node.armed_us = None
        if not node.alive:
            return
        now = self.now_us / MICROSECONDS
        host = node.host
        due = host.next_alarm()
        if due is not None and due[0] <= now:
            if due[1] == REFRESH and self.is_quick:
                self._meet_relatives(node, now)
            actions = host.wake(now)
            if actions:
                self._perform(node, actions)
        self._arm(node)
        self._judge_progress(node)

    def _arm(self, node: Node) -> None:
        if not node.alive:
            return
        due = node.host.next_alarm()
        if due is None:
            return
        armed_us = node.armed_us
        if armed_us is None or due[0] * MICROSECONDS < armed_us:
            at_us = max(microseconds(due[0]), self.now_us)
            if armed_us is None or at_us < armed_us:
                node.armed_us = at_us
                self._schedule.push(at_us, node)

"""The TUN edge: programs' packets to the forwarder and back, IGMP and MLD to the host's wishes.

Reads in batches; memberships become `Subscribe`, multicast data is originated or dropped for a
named reason, too-big packets are answered. Nothing but carried multicast passes in either
direction, so a peer cannot inject unicast. Walks of §4.16; §4.9; Decisions 25, 26 and 27.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence

from dmmp.errors import DmmpError, UsageError
from dmmp.forwarding.burst import Delivery
from dmmp.messages.header import HEADER_BYTES
from dmmp.runtime.driver import Driver
from dmmp.runtime.tun_addresses import TunAddresses
from dmmp.tun.addresses import default_addresses, querier_address
from dmmp.tun.device import PacketDevice
from dmmp.tun.membership import InterestChanged, Membership, MembershipAction, TransmitQuery
from dmmp.tun.offload import Run, pieces
from dmmp.tun.packets import MEMBERSHIP, Buffer, FlowCache, classify, too_big
from dmmp.types import HostId, Instant, IpAddress, SessionId

NOT_SOURCE = "not_source"
TOO_BIG = "too_big"
OVERLAY_PREFIX = "overlay_"
"""Goes before the reason for which something from the overlay was not delivered."""

_QUERIER_INTERFACE_ID = 0xFFFFFFFF
_log = logging.getLogger(__name__)


class Gateway:
    """The edge of one TUN: see the module's docstring.

    Without `addresses` they are made of the host's id as soon as it has one.
    """

    def __init__(
        self,
        device: PacketDevice,
        addresses: TunAddresses | None,
        routes: bool,
        is_source: bool,
        clock: Callable[[], Instant],
    ) -> None:
        self.device = device
        self.addresses = addresses
        self.counters = {"read": 0, "written": 0}
        self.drops: dict[str, int] = {}
        self.membership: Membership | None = None
        self._routes = routes
        self._is_source = is_source
        self._clock = clock
        self._outgoing: FlowCache = {}
        self._incoming: FlowCache = {}
        self._driver: Driver | None = None
        if addresses is not None:
            self._configure(addresses)

    def start(self, driver: Driver) -> None:
        """Begin to read the device."""
        self._driver = driver
        asyncio.get_running_loop().add_reader(self.device.fileno(), driver.guarded(self._readable))

    def registered(self, session: SessionId, host: HostId) -> None:
        """Address the interface by the host's id, unless it has addresses already."""
        if self.addresses is None:
            try:
                self._configure(default_addresses(session, host))
            except UsageError as error:
                if self._driver is None:
                    raise
                self._driver.fail(error)

    def _configure(self, addresses: TunAddresses) -> None:
        self.addresses = addresses
        self.device.configure(*addresses, routes=self._routes)
        self.membership = Membership(addresses[0], self._clock())
        for warning in getattr(self.device, "warnings", ()):
            _log.warning("%s", warning)

    def _readable(self) -> None:
        driver = self._driver
        assert driver is not None
        self._take(self.device.read(), driver)

    def _take(self, packets: Sequence[bytes], driver: Driver) -> None:
        flows: dict[tuple[IpAddress, IpAddress], list[bytes | memoryview]] = {}
        self.counters["read"] += len(packets)
        for packet in packets:
            found = classify(packet, self._outgoing)
            if found.reason == MEMBERSHIP:
                self._on_membership(packet)
            elif found.reason:
                self._drop(found.reason)
            elif not self._is_source:
                # Members as senders come with the any-source sessions of Decision 24.
                self._drop(NOT_SOURCE)
            elif len(packet) > self.device.mtu:
                self._refuse(packet)
            elif found.group is not None and found.source is not None:
                flows.setdefault((found.group, found.source), []).append(packet)
        for (group, source), batch in flows.items():
            driver.originate(group, source, batch)

    def _on_membership(self, packet: Buffer) -> None:
        if self.membership is not None:
            self._perform(self.membership.receive(packet, self._clock()))

    def _perform(self, actions: Iterable[MembershipAction]) -> None:
        for action in actions:
            if isinstance(action, TransmitQuery):
                self.device.write((action.packet,))
            elif isinstance(action, InterestChanged) and self._driver is not None:
                self._driver.subscribe(action.interest)

    def _refuse(self, packet: Buffer) -> None:
        """Tell the program's kernel how large a packet may be (Decision 27)."""
        self._drop(TOO_BIG)
        router = self._router(packet[0] >> 4)
        answer = None if router is None else too_big(packet, self.device.mtu, router)
        if answer is not None:
            self.device.write((answer,))

    def _router(self, version: int) -> IpAddress | None:
        """Give an address in the TUN's network that is not the host's own."""
        ipv4, ipv6 = self.addresses or (None, None)
        if version == 4:
            return None if ipv4 is None else querier_address(ipv4)
        if ipv6 is None:
            return None
        return ipv6.network.network_address + _QUERIER_INTERFACE_ID

    def deliver(self, deliveries: list[Delivery]) -> None:
        """Write the IP packets in the bursts to the device.

        What is alike in all that `classify` reads is classified once, the rest one by one.
        """
        fitting: list[Run | memoryview] = []
        incoming, reasons = self._incoming, self.drops
        for data, stride, _ in deliveries:
            for piece in pieces(data, stride, HEADER_BYTES):
                packet, count = (
                    (piece.first(), piece.packets) if isinstance(piece, Run) else (piece, 1)
                )
                reason = classify(packet, incoming).reason
                if reason:
                    name = OVERLAY_PREFIX + reason
                    reasons[name] = reasons.get(name, 0) + count
                else:
                    fitting.append(piece)
        try:
            self.counters["written"] += self.device.write(fitting)
        except DmmpError as error:
            if self._driver is None:
                raise
            self._driver.fail(error)

    def wake(self, now: Instant) -> None:
        """Do what is due: queries, and the end of memberships."""
        if self.membership is not None:
            self._perform(self.membership.wake(now))

    def next_alarm(self) -> tuple[Instant, str] | None:
        """Tell when to wake it."""
        return None if self.membership is None else self.membership.next_alarm()

    def close(self) -> None:
        """Take the device away, with its addresses and routes."""
        if self._driver is not None:
            asyncio.get_running_loop().remove_reader(self.device.fileno())
        self.device.close()

    def _drop(self, reason: str) -> None:
        self.drops[reason] = self.drops.get(reason, 0) + 1

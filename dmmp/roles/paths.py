"""The paths to a host's children: probing what they carry whole, by padded Probe Requests.

RFC 8899 calls this DPLPMTUD; the search on each path is in `policies.path_mtu`. Whoever sends data
probes: a parent its children, in the mesh and in its cluster. A child sees from the probes that
arrive what its parent's path carries, and probes nothing upward. It begins with the runtime's
`Carries`, and never where that is not given: a simulation without sizes knows nothing of it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from dmmp.actions import Action, ForwardingEntry, PathMtu, Report, Send
from dmmp.alarms import Alarms
from dmmp.events import PathNarrow, PathWide
from dmmp.messages import DataRequest, ProbeRequest, ProbeResponse
from dmmp.messages.local import Carries, TooLarge
from dmmp.messages.options import TlvType
from dmmp.messages.schema import Tlv
from dmmp.policies.path_mtu import PROBE_LEAST_BYTES, PathSearch, overhead_bytes
from dmmp.roles.role import Actions, Input
from dmmp.roles.standing import Standing
from dmmp.roles.view import PathView
from dmmp.types import NOWHERE, SELF, Endpoint, Instant

REMEMBERED_PROBES = 4
"""Probes of a path whose answers may still come: all tries of one size, and a late one."""


class PathAlarm(Enum):
    """Why the paths want to be looked at."""

    PROBE = "When to probe a path, or to give a probe up (RFC 8899)."


@dataclass(slots=True)
class _Path:
    search: PathSearch
    sent: dict[int, tuple[int, Instant]] = field(default_factory=dict)
    """Probes by sequence number: size and when."""
    known: int = 0
    """What the runtime was told."""
    probes: int = 0
    told: PathNarrow | None = None


class Paths:
    """See the module's docstring."""

    def __init__(self, standing: Standing) -> None:
        self.alarms = Alarms()
        self.is_on = False
        self._standing = standing
        self._largest = 0
        self._paths: dict[Endpoint, _Path] = {}
        self._entry: ForwardingEntry | None = None
        self._parent = NOWHERE
        self._from_parent = 0

    def __len__(self) -> int:
        return len(self._paths)

    def receive(self, message: Input, sender: Endpoint, now: Instant) -> list[Action] | None:
        """Take an input that is for the paths alone; None, maybe noted, if a role must have it."""
        if sender == SELF:
            if isinstance(message, Carries):
                return list(self._carry(message.datagram_bytes, now))
            if isinstance(message, TooLarge):
                return list(self._too_large(message, now))
            return None
        path = self._paths.get(sender)
        if isinstance(message, ProbeResponse) and path is not None:
            return self._answered(path, message, sender, now)
        if isinstance(message, DataRequest) and path is not None:
            path.search.doubt(now)
            self._arm(sender, path)
        if isinstance(message, ProbeRequest) and sender == self._parent:
            padding = [tlv for tlv in message.tlvs if tlv.type == TlvType.PADDING]
            if padding:
                self._from_parent = PROBE_LEAST_BYTES + len(padding[0].value)
        return None

    def follow(self, entry: ForwardingEntry | None, now: Instant) -> Actions:
        """Take the forwarding entry in force: its branches are the paths that data takes."""
        if entry is None or entry is self._entry:
            return
        self._entry = entry
        parent = entry.upstream[0] if entry.upstream else NOWHERE
        if parent != self._parent:
            self._parent, self._from_parent = parent, 0
        present = {branch.endpoint for branch in entry.downstream}
        for endpoint in [known for known in self._paths if known not in present]:
            path = self._paths.pop(endpoint)
            self.alarms.stop(PathAlarm.PROBE, endpoint)
            if path.known:
                yield PathMtu(endpoint, 0)
        for branch in entry.downstream:
            endpoint = branch.endpoint
            if endpoint not in self._paths:
                search = PathSearch(
                    endpoint.address.version,
                    self._largest,
                    self._standing.parameters,
                    self._standing.rng,
                    now,
                )
                self._paths[endpoint] = _Path(search)
                self.alarms.set(PathAlarm.PROBE, now, endpoint)

    def stop(self) -> None:
        """Probe nothing any more: this host is gone."""
        self.is_on = False
        self._paths.clear()
        self.alarms.stop_all()

    def wake(self, now: Instant) -> Actions:
        """Send the probes that are due."""
        while (due := self.alarms.due(now)) is not None:
            endpoint = due[1]
            path = self._paths.get(endpoint) if isinstance(endpoint, Endpoint) else None
            if path is not None and isinstance(endpoint, Endpoint):
                size = path.search.act(now)
                self._arm(endpoint, path)
                yield from self._note(endpoint, path)
                if size:
                    yield self._probe(endpoint, path, size, now)

    def views(self) -> tuple[PathView, ...]:
        """Show what is known of each path."""
        found = []
        for endpoint, path in self._paths.items():
            overhead = overhead_bytes(endpoint)
            mtu = path.search.known + overhead if path.search.known else 0
            found.append(PathView(endpoint, mtu, path.search.largest + overhead, path.probes))
        if self._from_parent:
            mtu = self._from_parent + overhead_bytes(self._parent)
            found.append(PathView(self._parent, mtu))
        return tuple(found)

    def _carry(self, datagram_bytes: int, now: Instant) -> Actions:
        self.is_on = self.is_on or datagram_bytes > 0
        if datagram_bytes <= self._largest:
            return
        self._largest = datagram_bytes
        for endpoint, path in self._paths.items():
            path.search.grow(datagram_bytes, now)
            self._arm(endpoint, path)
            yield from self._note(endpoint, path)

    def _too_large(self, message: TooLarge, now: Instant) -> Actions:
        path = self._paths.get(message.endpoint)
        if path is None:
            return
        if message.fits:
            path.search.hint(message.fits, now)
        else:
            path.search.refused(now)
        self._arm(message.endpoint, path)
        yield from self._note(message.endpoint, path)

    def _answered(
        self, path: _Path, message: ProbeResponse, sender: Endpoint, now: Instant
    ) -> list[Action] | None:
        held = path.sent.get(message.sequence)
        if held is None or message.session != self._standing.session:
            return None
        del path.sent[message.sequence]
        size, sent = held
        path.search.answered(size, now - sent, now)
        self._arm(sender, path)
        return list(self._note(sender, path))

    def _probe(self, endpoint: Endpoint, path: _Path, size: int, now: Instant) -> Send:
        """Make a Probe Request of this size, numbered anew: then its round trip is beyond doubt."""
        padding = Tlv(TlvType.PADDING, bytes(size - PROBE_LEAST_BYTES))
        message = self._standing.make(ProbeRequest, timestamp=0, tlvs=(padding,))
        path.sent[message.sequence] = (size, now)
        if len(path.sent) > REMEMBERED_PROBES:
            del path.sent[next(iter(path.sent))]
        path.probes += 1
        return Send(message, endpoint, whole=True)

    def _arm(self, endpoint: Endpoint, path: _Path) -> None:
        self.alarms.set(PathAlarm.PROBE, path.search.next_at, endpoint)

    def _note(self, endpoint: Endpoint, path: _Path) -> Actions:
        """Tell the runtime what is known now; people only what they should know, once."""
        search = path.search
        if search.known != path.known:
            path.known = search.known
            yield PathMtu(endpoint, search.known)
        if not search.is_settled:
            return
        overhead = overhead_bytes(endpoint)
        if search.known < search.largest:
            narrow = PathNarrow(endpoint, search.known + overhead, search.largest + overhead)
            if path.told is None or narrow.path_mtu != path.told.path_mtu:
                path.told = narrow
                yield Report(narrow)
        elif path.told is not None:
            path.told = None
            yield Report(PathWide(endpoint, search.known + overhead))

"""Places in the mesh go to those whom the core tree puts there (Decisions 15 and 33).

Every super node moves to its parent in that tree, and finds the place taken by one that came before
the tree was as it is. That one may want the place of a third, or the first's own: nobody could ever
move. So the parent, which computes the same tree, sends such a child away, and serves it until it
has found a place elsewhere; whom the tree puts below it is never sent away.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping

from dmmp.messages import LeaveReport
from dmmp.messages.common import LeaveReason
from dmmp.roles.mesh import Mesh
from dmmp.roles.parenting import ParentRole
from dmmp.roles.role import Actions
from dmmp.roles.standing import Standing
from dmmp.types import Endpoint, HostId, Instant


class RightfulRole(ParentRole):
    """A member of the mesh that has mesh children; see the module's docstring."""

    def __init__(self, standing: Standing) -> None:
        super().__init__(standing)
        self.mesh = Mesh(standing.parameters)
        self.clearing: Instant = 0.0
        """Until when the child that was sent away last has time to find a place."""
        self.sent_away: dict[HostId, Instant] = {}
        """The mesh children that were, and until when they are not sent away again."""

    @abstractmethod
    def core_tree(self) -> Mapping[HostId, HostId]:
        """Compute every super node's mesh parent from the links known (Decision 15)."""

    def on_mesh_full(self, applicant: HostId, sender: Endpoint, now: Instant) -> Actions:
        """Send a child away that stands where the tree puts the applicant."""
        peer = self.mesh.peers.get(applicant)
        if now < self.clearing or peer is None or peer.endpoint != sender:
            return
        tree, me = self.core_tree(), self.standing.host
        if tree.get(applicant) != me:
            return
        self.clearing = now + self.parameters.place_wait
        children = {child.record.host: child for child in self.standing.children.of(mesh=True)}
        self.sent_away = {
            host: until
            for host, until in self.sent_away.items()
            if until > now and host in children
        }
        others = [child for host, child in children.items() if tree.get(host) != me]
        if not others:
            yield from self.dismiss_surplus(now)
            return
        # One that found no place elsewhere, or does not want to, is no reason to keep the others.
        fresh = [child for child in others if child.record.host not in self.sent_away]
        if not fresh:
            return
        # Fewer places below mean fewer hosts whose path changes.
        child = min(fresh, key=lambda each: (each.record.free_slots, each.record.host))
        self.sent_away[child.record.host] = now + self.parameters.refresh_mesh
        report = self.standing.make(LeaveReport, reason=LeaveReason.DISMISSED)
        yield self.standing.ask(report, child.endpoint, now)

    def dismiss_surplus(self, now: Instant) -> Actions:
        """Send away children of the cluster that stand on places of the mesh."""
        yield from ()

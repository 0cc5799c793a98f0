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
from dmmp.types import HostId, Instant


class RightfulRole(ParentRole):
    """A member of the mesh that has mesh children; see the module's docstring."""

    def __init__(self, standing: Standing) -> None:
        super().__init__(standing)
        self.mesh = Mesh(standing.parameters)
        self.clearing: Instant = 0.0
        """Until when the child that was sent away last has time to find a place."""

    @abstractmethod
    def core_tree(self) -> Mapping[HostId, HostId]:
        """Compute every super node's mesh parent from the links known (Decision 15)."""

    def on_mesh_full(self, applicant: HostId, now: Instant) -> Actions:
        """Send a child away that stands where the tree puts the applicant."""
        tree, me = self.core_tree(), self.standing.host
        if now < self.clearing or tree.get(applicant) != me:
            return
        self.clearing = now + self.parameters.place_wait
        children = self.standing.children.of(mesh=True)
        others = [child for child in children if tree.get(child.record.host) != me]
        if not others:
            yield from self.dismiss_surplus(now)
            return
        # Fewer places below mean fewer hosts whose path changes.
        child = min(others, key=lambda each: (each.record.free_slots, each.record.host))
        report = self.standing.make(LeaveReport, reason=LeaveReason.DISMISSED)
        yield self.standing.ask(report, child.endpoint, now)

    def dismiss_surplus(self, now: Instant) -> Actions:
        """Send away children of the cluster that stand on places of the mesh."""
        yield from ()

"""One host: one role at a time, changed in place, behind the same three methods.

A driver neither knows nor cares which role it drives. `Become` ends here. Beside the role stand the
paths to its children, whatever it is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from random import Random

from dmmp.actions import Action, Become, Report
from dmmp.errors import UsageError
from dmmp.events import RoleChanged
from dmmp.messages.local import Carries, Forged, Withholding
from dmmp.parameters import Parameters
from dmmp.roles.cluster_member import ClusterMember
from dmmp.roles.handover import Claim, Demotion, Handover
from dmmp.roles.overlay import OverlayRole
from dmmp.roles.paths import Paths
from dmmp.roles.recovery import RecoveringRole
from dmmp.roles.role import Input
from dmmp.roles.source import Source
from dmmp.roles.standing import HostSetup, Standing
from dmmp.roles.states import Gone
from dmmp.roles.super_node import SuperNode
from dmmp.roles.view import View
from dmmp.types import SELF, Endpoint, Instant

ROLES: dict[str, Callable[[Standing], OverlayRole]] = {
    "member": ClusterMember,
    "source": Source,
    "super-node": SuperNode,
}
"""What a host may begin as."""


class EndHost:
    """A host of the overlay that is not an RP; see `roles.role.Host`."""

    def __init__(self, kind: str, setup: HostSetup, parameters: Parameters, rng: Random) -> None:
        if kind not in ROLES:
            raise UsageError(f"no role {kind!r}: choose one of {', '.join(sorted(ROLES))}")
        self.standing = Standing(setup, parameters, rng)
        self.role = ROLES[kind](self.standing)
        self.paths = Paths(self.standing)

    def receive(self, message: Input, sender: Endpoint, now: Instant) -> list[Action]:
        """Take one input, from a peer or (sender `SELF`) from this host; never raises."""
        if isinstance(message, Forged | Withholding):
            return self._on_bad_parent(message, now)
        if not self.paths.is_on and type(message) is not Carries:
            return self._carry_out(self.role.receive(message, sender, now), now)
        actions = self.paths.receive(message, sender, now)
        if actions is None:
            actions = self._carry_out(self.role.receive(message, sender, now), now)
        return actions + self._follow(now)

    def wake(self, now: Instant) -> list[Action]:
        """Handle every alarm that is due."""
        if self.standing.distrusted:
            self.standing.forgive(now)
        actions = self._carry_out(self.role.wake(now), now)
        if not self.paths.is_on:
            return actions
        return [*actions, *self._follow(now), *self.paths.wake(now)]

    def next_alarm(self) -> tuple[Instant, str] | None:
        """Return when to wake it, and why."""
        alarm = self.role.next_alarm()
        if not self.paths.is_on:
            return alarm
        probe = self.paths.alarms.next()
        if alarm is None or probe is None:
            return alarm or probe
        return min(alarm, probe)

    def view(self, now: Instant) -> View:
        """Take a snapshot for people and checks."""
        view = self.role.view(now)
        if not self.paths.is_on:
            return view
        tables = (*view.tables, ("paths", len(self.paths)))
        return replace(view, paths=self.paths.views(), tables=tables)

    def _on_bad_parent(self, message: Forged | Withholding, now: Instant) -> list[Action]:
        role = self.role
        if not isinstance(role, RecoveringRole):
            return []
        if isinstance(message, Forged):
            actions = list(role.on_forged(message, SELF, now))
        else:
            actions = list(role.on_withholding(message, SELF, now))
        return self._carry_out(actions, now) + self._follow(now)

    def _follow(self, now: Instant) -> list[Action]:
        if isinstance(self.role.state, Gone):
            self.paths.stop()
            return []
        return list(self.paths.follow(self.role.installed, now))

    def _carry_out(self, actions: list[Action], now: Instant) -> list[Action]:
        if not any(isinstance(action, Become) for action in actions):
            return actions
        done: list[Action] = []
        for action in actions:
            if isinstance(action, Become):
                done.extend(self._become(action, now))
            else:
                done.append(action)
        return done

    def _become(self, action: Become, now: Instant) -> list[Action]:
        past = action.state
        actions: list[Action] = [Report(RoleChanged(self.role.NAME, action.role))]
        if isinstance(past, Handover):
            super_node = SuperNode(self.standing)
            self.role = super_node
            actions.extend(super_node.take_over(past, now))
        elif isinstance(past, Claim):
            super_node = SuperNode(self.standing)
            self.role = super_node
            actions.extend(super_node.claim(now))
        elif isinstance(past, Demotion):
            member = ClusterMember(self.standing)
            self.role = member
            actions.extend(member.take_over(past.parent, now))
        return self._carry_out(actions, now)

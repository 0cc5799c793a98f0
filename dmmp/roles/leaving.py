"""Leaving in good order (slides 20 and 21): nobody below loses a packet.

A host that leaves elects an heir, its most capable child. It tells its other children to go to the
heir, or wherever there is room, and serves them until they have; then the heir takes over the
leaving host's place at its parent at the moment it confirms there. Then it is gone. A super node's
heir becomes a super node first: the source sends it a Setup Request. Every wait has its end, after
which those below are left to their own recovery.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import replace

from dmmp.actions import Report, Send
from dmmp.events import ChildLost, ParentLost
from dmmp.messages import (
    DataRequest,
    LeaveReport,
    LeaveResponse,
    ProbeRequest,
    ProbeResponse,
    RefreshRequest,
)
from dmmp.messages.common import HostFlag, HostRecord, LeaveReason, RefreshKind, Status
from dmmp.messages.local import Silence, Stop, Unreachable
from dmmp.roles.recovery import RecoveringRole
from dmmp.roles.relatives import Child
from dmmp.roles.role import Actions
from dmmp.roles.standing import Alarm
from dmmp.roles.states import NOBODY, Leaving, LeavingStep
from dmmp.types import Endpoint, HostId, Instant


class LeavingRole(RecoveringRole):
    """A role that can leave; see the module's docstring."""

    def on_stop(self, message: Stop, sender: Endpoint, now: Instant) -> Actions:
        """Begin to leave (slide 20): step by step, without children with the last step."""
        yield from self.give_back(now)
        parent = self.parent() if self.has_place() else None
        heirs = self.standing.children.heirs_of(1) if parent is not None else ()
        self.alarms.stop_all()
        self.standing.requests.close_all()
        heir = heirs[0] if heirs else NOBODY
        self.state = Leaving(parent=self.parent(), heir=heir, step=LeavingStep.ELECTION)
        if heirs and self.must_elect():
            self.alarms.set(Alarm.LEAVE, now + self.parameters.leave_elect)
            yield from self.elect(heir, now)
        else:
            yield from self._send_children(now)

    def must_elect(self) -> bool:
        """Tell whether the heir has to become something before the others go to it."""
        return False

    def elect(self, heir: HostRecord, now: Instant) -> Actions:
        """Have the heir made what this host is."""
        yield from ()

    def _send_children(self, now: Instant) -> Actions:
        """Send all children but the heir elsewhere: to the heir, if they find room there."""
        state = self._leaving(LeavingStep.CHILDREN)
        replacement = state.heir
        if not replacement.host and state.parent is not None:
            replacement = state.parent.record
        for child in self._others(state):
            yield self._leave_report(child.endpoint, replacement, LeaveReason.SHUTDOWN, now)
        self.alarms.set(Alarm.LEAVE, now + self.parameters.leave_move)
        yield from self._go_on(now)

    def _send_heir(self, now: Instant) -> Actions:
        """Give the heir this host's place at the parent."""
        state = self._leaving(LeavingStep.HEIR)
        heir = self._child(state.heir.host)
        if heir is not None and state.parent is not None:
            parent = state.parent
            yield self._leave_report(parent.endpoint, heir.record, LeaveReason.HANDOVER, now)
        self.alarms.set(Alarm.LEAVE, now + self.parameters.leave_move)
        yield from self._go_on(now)

    def _say_goodbye(self, now: Instant) -> Actions:
        """Tell parent, RP, guests, and whoever is still below, that this host is gone now."""
        state = self._leaving(LeavingStep.GOODBYE)
        parent = state.parent
        told = [child.endpoint for child in self.standing.children.confirmed.values()]
        told += [parent.endpoint] if parent is not None else []
        told += self.others_to_tell()
        for guest in self.kinship.present_guests(now):
            if guest not in told:
                # Once, and nobody waits: it would only ask in vain, or send what is not wanted.
                yield Send(self.standing.make(LeaveReport), guest)
        yield from self.say_goodbye(told, NOBODY if parent is None else parent.record, now)

    def others_to_tell(self) -> list[Endpoint]:
        """List who hears of the leaving besides parent and children: the RPs."""
        return list(self.standing.registrars())

    def _go_on(self, now: Instant) -> Actions:
        """Take the next step as soon as nothing is left to wait for."""
        state = self.state
        assert isinstance(state, Leaving)
        heir = self._child(state.heir.host)
        if state.step is LeavingStep.ELECTION:
            if heir is None or heir.record.flags & HostFlag.SUPER_NODE:
                yield from self._send_children(now)
        elif state.step is LeavingStep.CHILDREN:
            if not self._others(state):
                yield from self._send_heir(now)
        elif state.step is LeavingStep.HEIR and heir is None:
            yield from self._say_goodbye(now)

    def on_leave_alarm(self, key: Hashable, now: Instant) -> Actions:
        """Enough waited: take the next step."""
        state = self.state
        if not isinstance(state, Leaving):
            return
        if state.step is LeavingStep.ELECTION:
            yield from self._send_children(now)
        elif state.step is LeavingStep.CHILDREN:
            yield from self._send_heir(now)
        elif state.step is LeavingStep.HEIR:
            yield from self._say_goodbye(now)
        else:
            yield from self.go(now)

    def on_leave_response(self, message: LeaveResponse, sender: Endpoint, now: Instant) -> Actions:
        """The parent has noted the heir: send it there; or one more knows that this host goes."""
        state = self.state
        if not isinstance(state, Leaving) or state.step is LeavingStep.GOODBYE:
            request = self.matched(message, sender)
            if request is not None and isinstance(state, Leaving):
                yield from self.one_less(sender, now)
            return
        request = self.matched(message, sender)
        parent, heir = state.parent, self._child(state.heir.host)
        if request is None or parent is None or heir is None:
            return
        if state.step is LeavingStep.HEIR and sender == parent.endpoint:
            yield self._leave_report(heir.endpoint, parent.record, LeaveReason.SHUTDOWN, now)

    def lose_parent(self, reason: str, now: Instant) -> Actions:
        """Who leaves has nothing to hand over to a dead parent: those below go to their backups."""
        state = self.state
        if not isinstance(state, Leaving):
            yield from super().lose_parent(reason, now)
        elif state.parent is not None and state.step is not LeavingStep.GOODBYE:
            yield Report(ParentLost(state.parent.record.host, reason))
            self.state = replace(state, parent=None)
            yield from self._say_goodbye(now)

    def on_leaving_unreachable(
        self, message: Unreachable, sender: Endpoint, now: Instant
    ) -> Actions:
        """Ask the parent whether it lives; a child that does not will not be waited for long."""
        parent = self.parent()
        if parent is not None and parent.endpoint == message.endpoint:
            yield from self.on_unreachable(message, sender, now)

    def on_child_goes(self, message: LeaveReport, sender: Endpoint, now: Instant) -> Actions:
        """A child has another parent now, or leaves too; the parent itself may go."""
        yield Send(self.standing.answer(LeaveResponse, message), sender)
        child = self.standing.children.confirmed.get(message.source)
        if child is not None and child.endpoint == sender:
            self.standing.children.remove(message.source)
            yield Report(ChildLost(message.source, "left"))
            yield from self.install(now)
        yield from self._go_on(now)

    def on_leaving_refresh(
        self, message: RefreshRequest, sender: Endpoint, now: Instant
    ) -> Actions:
        """A child that has not moved yet is still one; nobody else becomes one."""
        child = self.standing.children.confirmed.get(message.source)
        if message.kind != RefreshKind.CHILD or child is None or child.endpoint != sender:
            status = Status.NOT_JOINED if message.kind == RefreshKind.CHILD else Status.SUCCESS
            yield Send(self.refresh_answer(message, status, now), sender)
            return
        child.record = replace(message.sender, endpoint=sender)
        sequence, expires = message.sequence, child.expires
        if self.standing.children.note_interest(child, message.interest, sequence, expires):
            yield from self.install(now)
        yield Send(self.refresh_answer(message, Status.SUCCESS, now), sender)
        yield from self._go_on(now)

    def _leave_report(
        self, to: Endpoint, replacement: HostRecord, reason: LeaveReason, now: Instant
    ) -> Send:
        message = self.standing.make(LeaveReport, reason=reason, replacement=replacement)
        return self.standing.ask(message, to, now)

    def _leaving(self, step: LeavingStep) -> Leaving:
        state = self.state
        assert isinstance(state, Leaving)
        self.state = state = replace(state, step=step)
        return state

    def _child(self, host: HostId) -> Child | None:
        return self.standing.children.confirmed.get(host)

    def _others(self, state: Leaving) -> list[Child]:
        children = self.standing.children.confirmed
        return [child for host, child in children.items() if host != state.heir.host]


LEAVING: Mapping[tuple[type, type], Callable[..., Actions]] = {
    (Leaving, LeaveResponse): LeavingRole.on_leave_response,
    (Leaving, LeaveReport): LeavingRole.on_child_goes,
    (Leaving, ProbeRequest): LeavingRole.on_probe,
    (Leaving, RefreshRequest): LeavingRole.on_leaving_refresh,
    (Leaving, DataRequest): LeavingRole.on_data_request,
    (Leaving, ProbeResponse): LeavingRole.on_probe_response,
    (Leaving, Silence): LeavingRole.on_silence,
    (Leaving, Unreachable): LeavingRole.on_leaving_unreachable,
}
"""What a leaving host still reacts to: those below it that have not moved, and its parent's end."""

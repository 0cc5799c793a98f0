"""The stage: a small world that obeys the commands of a transcript and says what it shows.

One method a command, named `do_<command>`; its docstring is its line in the manual. A command's
output is the lines it yields.
"""

from __future__ import annotations

import dataclasses
import inspect
import shlex
from collections.abc import Callable, Iterator, Mapping
from fnmatch import fnmatchcase
from ipaddress import ip_address
from typing import Any

from dmmp.errors import UsageError
from dmmp.events import Event
from dmmp.interest import interest, no_interest
from dmmp.messages import REGISTRY, Message, encode
from dmmp.messages.common import HostRecord, LeaveReason, RefreshKind, Status
from dmmp.parameters import Parameters
from dmmp.sim.carrying import GROUP
from dmmp.sim.network import Conditions
from dmmp.sim.node import Node
from dmmp.sim.report import tree_lines
from dmmp.sim.scenario import add_end_host, add_rendezvous_point
from dmmp.sim.schedule import seconds
from dmmp.sim.topology import Uniform
from dmmp.sim.trace import Payload, Trace, as_message
from dmmp.sim.world import World
from tests.transcripts.printing import Cast, wish

SEED = 1
CLASSES: Mapping[str, type[Message]] = {cls.__name__: cls for cls in REGISTRY.values()}
SYMBOLS: Mapping[str, int] = {
    member.name: member.value for kind in (Status, RefreshKind, LeaveReason) for member in kind
}


class Recorder(Trace):
    """Keeps what arrived and what was reported, until the transcript asks for it."""

    def __init__(self) -> None:
        super().__init__()
        self.arrivals: list[tuple[float, Node, Node, Payload]] = []
        self.events: list[tuple[float, Node, Event]] = []

    def arrival(self, at_us: int, sender: Node, receiver: Node, payload: Payload) -> None:
        """Keep an arrival."""
        super().arrival(at_us, sender, receiver, payload)
        self.arrivals.append((seconds(at_us), sender, receiver, payload))

    def event(self, at_us: int, node: Node, event: Event) -> None:
        """Keep a report."""
        super().event(at_us, node, event)
        self.events.append((seconds(at_us), node, event))


class Stage:
    """See the module's docstring."""

    def __init__(self) -> None:
        self.recorder = Recorder()
        self.topology = Uniform()
        # The draft's figures know nothing of places nearer to the source (Decision 75).
        still = Parameters(nearing_look=0.0)
        self.world = World(SEED, self.topology, parameters=still, trace=self.recorder)
        self.cast = Cast(self.world)

    def run(self, line: str) -> Iterator[str]:
        """Obey one command."""
        words = shlex.split(line)
        options = dict(word.split("=", 1) for word in words[1:] if "=" in word)
        arguments = [word for word in words[1:] if "=" not in word]
        command = commands().get(words[0])
        if command is None:
            raise UsageError(f"no command is called {words[0]!r}")
        try:
            inspect.signature(command).bind(self, *arguments, **options)
        except TypeError as error:
            raise UsageError(f"{line}: {error}") from None
        yield from command(self, *arguments, **options)

    # Who plays.

    def do_rp(self, name: str = "rp") -> Iterator[str]:
        """`rp [NAME]`: start the rendezvous point."""
        self.world.start(add_rendezvous_point(self.world, name))
        yield from ()

    def do_source(self, name: str, out_degree: str = "4") -> Iterator[str]:
        """`source NAME [out_degree=4]`: start the source."""
        self._add(name, "source", out_degree)
        yield from ()

    def do_super_node(self, name: str, out_degree: str = "8") -> Iterator[str]:
        """`super-node NAME [out_degree=8]`: start a host that only relays."""
        self._add(name, "super-node", out_degree)
        yield from ()

    def do_member(self, name: str, out_degree: str = "2", group: str = str(GROUP)) -> Iterator[str]:
        """`member NAME [out_degree=2] [group=239.1.2.3]`: start a member; `group=none`: no wish."""
        node = self._add(name, "member", out_degree)
        if group != "none":
            self.world.subscribe(node, interest(ip_address(group)))
        yield from ()

    def _add(self, name: str, kind: str, out_degree: str) -> Node:
        points = tuple(node.endpoint for node in self.world.nodes if node.kind.startswith("rend"))
        node = add_end_host(self.world, name, kind, int(out_degree), points)
        self.world.start(node)
        return node

    # What happens.

    def do_advance(self, duration: str) -> Iterator[str]:
        """`advance SECONDS`: let time pass."""
        self.world.run_until(self.world.now + float(duration))
        yield from ()

    def do_join(self, name: str, group: str = str(GROUP)) -> Iterator[str]:
        """`join NAME [GROUP]`: a program on the host joins a group."""
        self.world.subscribe(self.world.node(name), interest(ip_address(group)))
        yield from ()

    def do_part(self, name: str, group: str = str(GROUP)) -> Iterator[str]:
        """`part NAME [GROUP]`: the last program on the host leaves a group."""
        self.world.subscribe(self.world.node(name), no_interest(ip_address(group)))
        yield from ()

    def do_send(self, name: str, count: str = "1", group: str = str(GROUP)) -> Iterator[str]:
        """`send NAME [count=1] [group=239.1.2.3]`: a program on the source's host sends packets."""
        self.world.originate(self.world.node(name), int(count), ip_address(group))
        yield from ()

    def do_stop(self, name: str) -> Iterator[str]:
        """`stop NAME`: the host leaves in good order."""
        self.world.stop(self.world.node(name))
        yield from ()

    def do_crash(self, name: str) -> Iterator[str]:
        """`crash NAME`: the machine is switched off."""
        self.world.crash(self.world.node(name))
        yield from ()

    def do_delay(self, first: str, second: str, milliseconds: str) -> Iterator[str]:
        """`delay NAME NAME MS`: set the one-way delay between two hosts; 10 ms elsewhere."""
        places = self.world.node(first).place, self.world.node(second).place
        self.topology.set_delay(*places, int(float(milliseconds) * 1000))
        yield from ()

    def do_loss(self, share: str, name: str = "") -> Iterator[str]:
        """`loss SHARE [NAME]`: lose a share of all datagrams, or of one host's."""
        place = self.world.node(name).place if name else None
        self.world.network.set_conditions(Conditions(loss=float(share)), place)
        yield from ()

    def do_block(self, sender: str, receiver: str) -> Iterator[str]:
        """`block NAME NAME`: let nothing through from the first to the second."""
        places = self.world.node(sender).place, self.world.node(receiver).place
        self.world.network.block(*places)
        yield from ()

    def do_heal(self) -> Iterator[str]:
        """`heal`: end every block."""
        self.world.network.heal()
        yield from ()

    def do_say(self, sender: str, receiver: str, kind: str, **fields: str) -> Iterator[str]:
        """`say NAME NAME MESSAGE [FIELD=VALUE …]`: send a message by hand, as the first host.

        A value is a number, a symbol such as `REFUSED`, or a host's name for that host's record.
        """
        node, to = self.world.node(sender), self.world.node(receiver)
        view = node.view(self.world.now)
        values: dict[str, Any] = {
            "session": view.session,
            "source": view.host,
            "tree_version": view.tree_version,
            "sequence": 1,
        }
        values.update({name: self._value(text) for name, text in fields.items()})
        self.world.send(node, CLASSES[kind](**values), to.endpoint)
        yield from ()

    def _value(self, text: str) -> int | HostRecord:
        if text in SYMBOLS:
            return SYMBOLS[text]
        if text.isdigit() and all(node.name != text for node in self.world.nodes):
            return int(text)
        node = self.world.node(text)
        view = node.view(self.world.now)
        depth = 255 if view.depth is None else view.depth
        return HostRecord(view.host, node.endpoint, depth=depth, out_degree=node.out_degree)

    # What is seen.

    def do_messages(self, *names: str, only: str = "*", omit: str = "") -> Iterator[str]:
        """`messages [NAME …] [only=A*,B*] [omit=C*]`: what arrived since it was last asked for.

        With names: only what one of these hosts sent or got.
        """
        arrivals, self.recorder.arrivals = self.recorder.arrivals, []
        for at, sender, receiver, payload in arrivals:
            message = as_message(payload)
            if message is None or (names and not {sender.name, receiver.name} & set(names)):
                continue
            kind = type(message).__name__
            if _matches(kind, only) and not _matches(kind, omit):
                yield self.cast.line(at, sender, receiver, message)

    def do_headers(self, *names: str, only: str = "*") -> Iterator[str]:
        """`headers [NAME …] [only=A*,B*]`: the same, as the words of the packets' headers."""
        arrivals, self.recorder.arrivals = self.recorder.arrivals, []
        for _, sender, receiver, payload in arrivals:
            message = as_message(payload)
            if message is None or (names and not {sender.name, receiver.name} & set(names)):
                continue
            if _matches(type(message).__name__, only):
                yield from self.cast.header(sender, receiver, encode(message))

    def do_events(self, *names: str) -> Iterator[str]:
        """`events [NAME …]`: what hosts reported since it was last asked for."""
        events, self.recorder.events = self.recorder.events, []
        for at, node, event in events:
            if not names or node.name in names:
                yield f"{at:9.3f}  {node.name}: {self._named(event)}"

    def _named(self, event: Event) -> str:
        text = type(event).__name__
        for field in dataclasses.fields(event):
            value = getattr(event, field.name)
            if field.name in ("session", "endpoint", "observed", "tree_version"):
                continue
            if field.name in ("host", "parent", "child"):
                value = self.cast.by_id(value)
            elif field.name in ("rendezvous_point", "by", "sender"):
                value = self.cast.by_endpoint(value)
            text += f" {field.name}={value}"
        return text

    def do_forget(self) -> Iterator[str]:
        """`forget`: drop what arrived and what was reported so far."""
        self.recorder.arrivals, self.recorder.events = [], []
        yield from ()

    def do_tree(self) -> Iterator[str]:
        """`tree`: draw the tree: host, role, depth, children of out-degree."""
        yield from tree_lines(self.world.nodes, self.world.now)

    def do_heard(self) -> Iterator[str]:
        """`heard`: which packets the programs on each host got."""
        for node in self.world.nodes:
            if node.alive and node.wants:
                numbers = ", ".join(str(number) for number in sorted(node.heard)) or "nothing"
                yield f"{node.name}: {numbers}"

    def do_entry(self, *names: str) -> Iterator[str]:
        """`entry NAME …`: the forwarding entry of hosts: upstream, downstream, deliver."""
        for name in names:
            entry = self.world.node(name).entry
            if entry is None:
                yield f"{name}: none"
                continue
            upstream = ", ".join(self.cast.by_endpoint(at) for at in entry.upstream) or "-"
            below = [
                f"{self.cast.by_endpoint(branch.endpoint)}"
                f" ({', '.join(wish(record) for record in branch.interest) or 'nothing'})"
                for branch in entry.downstream
            ]
            deliver = ", ".join(wish(record) for record in entry.deliver) or "nothing"
            yield f"{name}: from {upstream}; to {', '.join(below) or '-'}; delivers {deliver}"

    def do_show(self, *names: str) -> Iterator[str]:
        """`show NAME …`: role, state, parent, super node, backups of hosts."""
        for name in names:
            node = self.world.node(name)
            view = node.view(self.world.now)
            parts = [f"{view.role}, {view.state}"]
            if view.depth is not None:
                parts.append(f"depth {view.depth}")
            if view.parent is not None:
                parts.append(f"parent {self.cast.by_id(view.parent.host)}")
            if view.super_node:
                parts.append(f"super node {self.cast.by_id(view.super_node)}")
            if view.backups:
                named = " ".join(self.cast.by_id(backup.host) for backup in view.backups)
                parts.append(f"backups {named}")
            if view.super_nodes:
                named = " ".join(sorted(self.cast.by_id(peer.host) for peer in view.super_nodes))
                parts.append(f"super nodes {named}")
            yield f"{name}: {', '.join(parts)}"

    def do_checks(self) -> Iterator[str]:
        """`checks`: what the simulator's checks found wrong so far."""
        self.world.checks.sweep(self.world.now_us)
        yield from [str(failure) for failure in self.world.failures] or ["all checks hold"]


def commands() -> dict[str, Callable[..., Iterator[str]]]:
    """List the commands by name."""
    return {
        name[len("do_") :].replace("_", "-"): function
        for name, function in vars(Stage).items()
        if name.startswith("do_")
    }


def _matches(kind: str, patterns: str) -> bool:
    return any(fnmatchcase(kind, pattern) for pattern in patterns.split(",") if pattern)

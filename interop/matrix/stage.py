"""Where a cell is played: hosts around a router, a pair's processes on them, a stream, a capture.

Real kernels, devices and processes. What a process prints goes to a file that is shown to people
where a cell fails, and judges nothing.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from contextlib import suppress
from ipaddress import IPv4Address
from pathlib import Path
from typing import Final

from dmmp.captures import Captured
from dmmp.demo.admission import CERTIFICATES, SHARED_SECRET, Admission
from dmmp.demo.internet import UPLINK, Internet, InternetError
from dmmp.demo.processes import stop_all
from dmmp.types import IpAddress
from interop.endpoint import stream
from interop.matrix.captured import Capturing
from interop.matrix.contract import (
    MEMBER,
    PORT,
    RP,
    SESSION,
    SOURCE,
    SUPER_NODE,
    UNSUPPORTED,
    Task,
)
from interop.matrix.delivered import last_number, read_delivered
from interop.matrix.evidence import MEMBERS, STRANGER, Evidence
from interop.matrix.participants import BUILD, ROOT, Pair, Participant

CORE_ROLES: Final = {"rp": RP, "source": SOURCE, "s1": SUPER_NODE, "m3": MEMBER}
EDGE_ROLES: Final = {"s2": SUPER_NODE, "m1": MEMBER, "m2": MEMBER}
ROLES: Final = CORE_ROLES | EDGE_ROLES
OUT_DEGREES: Final = {RP: 0, SOURCE: 2, SUPER_NODE: 4, MEMBER: 3}

GROUPS: Final = {4: "239.1.2.3:5004", 6: "[ff1e::1234]:5004"}
READY_PATIENCE: Final = 30.0
DRAIN: Final = 4.0
"""How long after the stream's end repairs may still arrive, seconds."""

LEAVE_PATIENCE: Final = 8.0
POLL: Final = 0.1
LOG_LINES: Final = 4


class Unsupported(Exception):
    """A participant said that it does not do this."""


class Broken(Exception):
    """The scenario could not be played to its end, by a participant's fault."""


class Stage:
    """One cell's world; a context manager, because it must not outlive the cell."""

    def __init__(
        self, pair: Pair, scenario: str, security: str, version: int, directory: Path
    ) -> None:
        self.pair = pair
        self.scenario = scenario
        self.security = security
        self.version = version
        self.directory = directory
        self.group = GROUPS[version]
        self.internet = Internet.build([*ROLES, STRANGER])
        self.admission = Admission(directory / "authority", SESSION, security)
        self.processes: dict[str, subprocess.Popen[str]] = {}
        self.tasks: dict[str, Task] = {}
        self.marks: dict[str, float] = {}
        self.notes: list[str] = []
        self.gone: set[str] = set()
        self.exits: dict[str, int] = {}
        self.first = 0
        self._sender: subprocess.Popen[str] | None = None
        self._capturing: Capturing | None = None

    def __enter__(self) -> Stage:
        self.internet.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        with suppress(OSError):
            self._stop_all()
        self.internet.close()

    def address(self, name: str) -> IpAddress:
        """Give a host's address in the scenario's version of IP."""
        host = self.internet[name]
        return host.address if self.version == 4 else host.address6

    def begin(self, without: Iterable[str] = ()) -> None:
        """Start the capture, every host but those `without`, and the stream."""
        self._capturing = Capturing(self.internet.router, self.directory / "router.pcap")
        for name in ROLES:
            if name not in set(without):
                self.start(name)
        self._sender = self.internet["source"].popen(
            *(sys.executable, "-I", "-S", stream.__file__, "send", self.group)
        )

    def start(self, name: str) -> None:
        """Start a host's participant."""
        participant, role = self.participant(name), ROLES[name]
        place = f"{self.address('rp')}" if self.version == 4 else f"[{self.address('rp')}]"
        listen = f"{place}:{PORT}"
        if role == RP:
            self.admission.rendezvous_point(name, listen)
        else:
            self.admission.host(name, role, [listen])
        files = self.directory / "authority"
        certified = self.security == CERTIFICATES
        task = Task(
            role=role,
            name=name,
            scenario=self.scenario,
            security=self.security,
            points=() if role == RP else (listen,),
            out_degree=OUT_DEGREES[role],
            group=self.group,
            directory=self.directory,
            build=BUILD,
            session_file=os.fspath(files / "session.toml") if certified else "",
            credential=os.fspath(files / f"{name}.pem") if certified else "",
            secret_file=os.fspath(files / "secret") if self.security == SHARED_SECRET else "",
        )
        with (self.directory / f"{name}.log").open("a") as log:
            command = ["env", "--chdir", os.fspath(ROOT), *participant.command]
            self.processes[name] = self.internet[name].popen(
                *command,
                standard_output=log,
                standard_error=subprocess.STDOUT,
                environment=task.variables(),
            )
        self.tasks[name] = task

    def participant(self, name: str) -> Participant:
        """Tell who plays a host: the edge, as far as it can."""
        if name in EDGE_ROLES and self.pair.edge.plays(EDGE_ROLES[name]):
            return self.pair.edge
        return self.pair.core

    def await_members(self, names: Iterable[str] = MEMBERS) -> None:
        """Wait until each of these members has delivered something; the stream counts from then."""
        deadline = time.monotonic() + READY_PATIENCE
        waiting = list(names)
        while waiting:
            self.check()
            waiting = [name for name in waiting if self.delivered_so_far(name) < 0]
            if waiting and time.monotonic() > deadline:
                raise Broken(f"{waiting[0]} delivered nothing in {READY_PATIENCE:.0f} s")
            time.sleep(POLL)
        self.first = 1 + max(self.delivered_so_far(name) for name in MEMBERS)

    def delivered_so_far(self, name: str) -> int:
        """Give the number of the last datagram in a member's file; -1 if there is none."""
        task = self.tasks.get(name)
        if task is None or not task.output.exists():
            return -1
        return last_number(task.output.read_bytes())

    def check(self) -> None:
        """Raise if a participant has ended that was not asked to."""
        for name, process in self.processes.items():
            code = process.poll()
            if code is None or name in self.gone:
                continue
            who = f"{self.participant(name).name} as {ROLES[name]}"
            if code == UNSUPPORTED:
                raise Unsupported(who)
            raise Broken(f"{who} ended with exit code {code}")

    def play(self, seconds: float) -> None:
        """Let the stream run for so long."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            self.check()
            time.sleep(min(POLL, left))

    def mark(self, name: str) -> None:
        """Note that something happens now."""
        self.marks[name] = time.time()

    def captured(self) -> list[Captured]:
        """Read the capture so far."""
        assert self._capturing is not None
        return self._capturing.so_far()

    def kill(self, name: str) -> None:
        """End a host's participant without warning, all of its processes at once."""
        self.gone.add(name)
        process = self.processes[name]
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def leave(self, name: str) -> None:
        """Ask a host's participant to leave, and wait until it has."""
        self.gone.add(name)
        process = self.processes[name]
        process.terminate()
        try:
            self.exits[name] = process.wait(LEAVE_PATIENCE)
        except subprocess.TimeoutExpired:
            raise Broken(f"{name} had not left after {LEAVE_PATIENCE:.0f} s") from None

    def rebind(self, name: str) -> IPv4Address:
        """Give a host another IPv4 address in place of the one it has; return it."""
        host = self.internet[name]
        gateway, address = (IPv4Address(f"10.78.{host.number}.{last}") for last in (1, 2))
        self.internet.router.ip(f"addr add {gateway}/30 dev {host.router_interface}")
        host.ip(
            f"addr add {address}/30 dev {UPLINK}",
            f"addr del {host.address}/30 dev {UPLINK}",
            f"route replace default via {gateway}",
        )
        return address

    def narrow(self, name: str, mtu: int) -> None:
        """Have a host's link carry packets of so many bytes only, both ways."""
        host = self.internet[name]
        self.internet.router.ip(f"link set {host.router_interface} mtu {mtu}")
        host.ip(f"link set {UPLINK} mtu {mtu}")

    def too_large(self) -> int:
        """Count the IPv4 packets that the router found too large for the next link."""
        shown = self.internet.router.run("cat", "/proc/net/snmp").stdout.splitlines()
        names, figures = (line.split() for line in shown[:2])
        return sum(int(figures[names.index(name)]) for name in ("FragOKs", "FragFails"))

    def end(self) -> Evidence:
        """End the stream, wait for repairs, end everybody; gather what there is."""
        assert self._sender is not None and self._capturing is not None
        self.check()
        self._sender.terminate()
        said, _ = self._sender.communicate()
        if not said.strip().isdigit():
            raise InternetError("the sender has failed")
        last = int(said) - 1
        self._drain(last)
        self.check()
        gone = set(self.gone)
        self._stop_all()
        self._capturing.end()
        return Evidence(
            security=self.security,
            addresses={name: self.address(name) for name in [*ROLES, STRANGER]},
            first=self.first,
            last=last,
            delivered={
                name: read_delivered(task.output.read_bytes() if task.output.exists() else b"")
                for name, task in self.tasks.items()
                if task.role == MEMBER
            },
            packets=self._capturing.so_far(),
            marks=self.marks,
            gone=gone,
            exits=self.exits,
        )

    def _drain(self, last: int) -> None:
        """Wait for what is late, no longer than anybody lacks something."""
        deadline = time.monotonic() + DRAIN
        waiting = [name for name in MEMBERS if name in self.tasks and name not in self.gone]
        while waiting and time.monotonic() < deadline:
            time.sleep(POLL)
            waiting = [
                name
                for name in waiting
                if read_delivered(self.tasks[name].output.read_bytes()).missing(self.first, last)
            ]

    def _stop_all(self) -> None:
        """Ask everybody to leave, those that depend on others first; then insist."""
        self.gone |= set(self.processes)
        stop_all(list(reversed(self.processes.values())))

    def last_words(self) -> dict[str, list[str]]:
        """Give the end of what each participant printed, for people to read."""
        found = {}
        for name in self.processes:
            lines = (self.directory / f"{name}.log").read_text(errors="replace").splitlines()
            found[name] = lines[-LOG_LINES:]
        return found

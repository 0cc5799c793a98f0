"""A small Internet of network namespaces: hosts around a router that forwards unicast only.

Every host is a namespace of its own with one link, one IPv4 and one IPv6 network to the router, and
a default route. Multicast passes nowhere: the router runs no multicast routing. It changes nothing
outside its own namespaces, and removes them at exit; `sweep` removes what a killed process left.
It is not a simulator: real kernels, real devices, real time.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from types import FrameType, TracebackType
from typing import IO, Final, Self

from dmmp.demo.processes import kill_all, stop_all
from dmmp.demo.user_namespace import in_user_namespace, may_make_namespaces
from dmmp.errors import UsageError

NETNS: Final = Path("/run/netns")
"""Where `ip netns` keeps its namespaces (ip-netns(8))."""

MOST_HOSTS: Final = 250
UPLINK: Final = "eth0"
ROUTER: Final = "router"
OUR_NAMES: Final = re.compile(r"dmmp-(\d+)-(\d+)-")
LOSS_STEPS: Final = 10_000
MOST_SEGMENTS: Final = 65_535
LARGE_BYTES: Final = 1000
DROPPED: Final = re.compile(r"counter packets (\d+)")
RATE_BURST_BYTES: Final = 32_000
RATE_LATENCY_MS: Final = 50
LINK_PATIENCE: Final = 3.0
POLL: Final = 0.02
PROCESSORS: Final = os.cpu_count() or 1

ROUTER_SYSCTLS: Final = (
    "net.ipv4.ip_forward=1",
    "net.ipv6.conf.all.forwarding=1",
    "net.ipv4.conf.all.rp_filter=0",
    "net.ipv4.conf.default.rp_filter=0",
)
COMMON_SYSCTLS: Final = (
    # Duplicate address detection and router discovery only delay what is known already.
    "net.ipv6.conf.all.accept_dad=0",
    "net.ipv6.conf.default.accept_dad=0",
    "net.ipv6.conf.default.accept_ra=0",
)
UPLINK_SYSCTL: Final = f"net.ipv6.conf.{UPLINK}.accept_dad=0"
"""The uplinks are there before their namespace's defaults are set."""


class InternetError(UsageError):
    """A command that builds or changes the small Internet failed; the message is its own."""


@dataclass(frozen=True, slots=True)
class Counters:
    """What an interface has sent and received since it was made, link headers included."""

    sent_bytes: int
    sent_packets: int
    received_bytes: int
    received_packets: int


def execute(command: Sequence[str], standard_input: str = "") -> str:
    """Run a command that must succeed and return what it printed."""
    done = subprocess.run(command, input=standard_input, capture_output=True, text=True)
    if done.returncode != 0:
        message = (done.stderr or done.stdout).strip() or f"exit code {done.returncode}"
        raise InternetError(f"{' '.join(command)}: {message}")
    return done.stdout


class Host:
    """One namespace with one uplink; programs run in it as they would on a machine of their own."""

    def __init__(self, namespace: str, name: str, number: int) -> None:
        self.namespace = namespace
        self.name = name
        self.number = number
        # Not RFC 2544's network, which a TUN addresses itself from; RFC 3849's is free.
        base = int(IPv4Address("10.77.0.0")) + (number << 8)
        self.gateway = IPv4Address(base + 1)
        self.address = IPv4Address(base + 2)
        base6 = int(IPv6Address("2001:db8::")) + (number << 64)
        self.gateway6 = IPv6Address(base6 + 1)
        self.address6 = IPv6Address(base6 + 2)
        self.router_interface = f"to{number}"
        self.processes: list[subprocess.Popen[str]] = []

    def __repr__(self) -> str:
        return f"Host({self.name}, {self.address}, {self.address6})"

    def inside(self, command: Sequence[str | os.PathLike[str]]) -> list[str]:
        """Give the command line that runs `command` in this host's namespace."""
        if in_user_namespace():
            # `ip netns exec` mounts a fresh /sys, which an own user namespace may be refused.
            prefix = ["nsenter", f"--net={NETNS / self.namespace}", "--"]
        else:
            prefix = ["ip", "netns", "exec", self.namespace]
        return prefix + [os.fspath(word) for word in command]

    def run(
        self,
        *command: str | os.PathLike[str],
        timeout: float = 30.0,
        check: bool = True,
        standard_input: str | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command to its end; with `check`, a failure raises `InternetError`."""
        done = subprocess.run(
            self.inside(command),
            input=standard_input,
            stdin=subprocess.DEVNULL if standard_input is None else None,
            capture_output=True,
            text=True,
            timeout=timeout,
            env=None if environment is None else dict(os.environ, **environment),
        )
        if check and done.returncode != 0:
            words = " ".join(os.fspath(word) for word in command)
            said = (done.stderr or done.stdout).strip() or f"exit code {done.returncode}"
            raise InternetError(f"on {self.name}: {words}: {said}")
        return done

    def popen(
        self,
        *command: str | os.PathLike[str],
        standard_output: int | IO[str] | None = subprocess.PIPE,
        standard_error: int | IO[str] | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> subprocess.Popen[str]:
        """Start a command; it is stopped with the Internet if it still runs then.

        The process id is the command's own, so signals reach it.
        """
        process = subprocess.Popen(
            self.inside(command),
            stdin=subprocess.DEVNULL,
            stdout=standard_output,
            stderr=standard_error,
            text=True,
            # A Ctrl-C is for whoever built the Internet, who then ends things in order.
            start_new_session=True,
            env=None if environment is None else dict(os.environ, **environment),
        )
        self.processes.append(process)
        return process

    def ip(self, *lines: str) -> None:
        """Run lines of ip(8) in this namespace, all in one process."""
        execute(["ip", "-n", self.namespace, "-batch", "-"], "\n".join(lines) + "\n")

    def counters(self, interface: str = UPLINK) -> Counters:
        """Read an interface's counters."""
        shown = execute(["ip", "-n", self.namespace, "-j", "-s", "link", "show", "dev", interface])
        figures = json.loads(shown)[0]["stats64"]
        return Counters(
            figures["tx"]["bytes"],
            figures["tx"]["packets"],
            figures["rx"]["bytes"],
            figures["rx"]["packets"],
        )

    def process_ids(self) -> list[int]:
        """List every process in this namespace, whoever started it."""
        return namespace_process_ids(self.namespace)


class Internet:
    """Hosts and their router; a context manager, because it must not outlive its use."""

    def __init__(self, names: Iterable[str]) -> None:
        names = list(names)
        if len(set(names)) != len(names) or ROUTER in names:
            raise InternetError(f"host names must differ from each other and from {ROUTER!r}")
        if len(names) > MOST_HOSTS:
            raise InternetError(f"at most {MOST_HOSTS} hosts")
        prefix = _free_prefix()
        self.router = Host(prefix + ROUTER, ROUTER, 0)
        self.hosts = {name: Host(prefix + name, name, i) for i, name in enumerate(names, 1)}
        self._previous_handler: signal.Handlers | None = None

    @classmethod
    def build(
        cls,
        hosts: int | Iterable[str],
        *,
        rates: Mapping[str, float] | None = None,
        losses: Mapping[str, float] | None = None,
    ) -> Self:
        """Build one: of so many hosts (`h1`, `h2` …) or of those named.

        `rates` limits hosts' links, in bit/s both ways; `losses` drops a share (0 to 1) of what
        the router sends to a host.
        """
        names = (
            (f"h{number}" for number in range(1, hosts + 1)) if isinstance(hosts, int) else hosts
        )
        internet = cls(names)
        try:
            internet._make()
            for name, rate in (rates or {}).items():
                internet.limit(name, rate)
            for name, share in (losses or {}).items():
                internet.lose(name, share)
        except BaseException:
            internet.close()
            raise
        return internet

    def __enter__(self) -> Self:
        # SIGTERM ends Python without unwinding; as an exception it passes through `__exit__`.
        with suppress(ValueError):  # Not the main thread: then signals are not ours to take.
            if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
                self._previous_handler = signal.SIG_DFL
                signal.signal(signal.SIGTERM, _exit_on_signal)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self.close()
        finally:
            if self._previous_handler is not None:
                signal.signal(signal.SIGTERM, self._previous_handler)
                self._previous_handler = None

    def __getitem__(self, name: str) -> Host:
        return self.hosts[name]

    def __iter__(self) -> Iterator[Host]:
        return iter(self.hosts.values())

    def __len__(self) -> int:
        return len(self.hosts)

    def limit(self, name: str, rate_bits: float, *, up: bool = True, down: bool = True) -> None:
        """Limit a host's link to so many bit/s, up, down or both; again to change it."""
        host = self.hosts[name]
        for limited, node, interface in (
            (up, host, UPLINK),
            (down, self.router, host.router_interface),
        ):
            if limited:
                node.run(
                    *("tc", "qdisc", "replace", "dev", interface, "root", "tbf"),
                    *("rate", f"{rate_bits:.0f}bit", "burst", str(RATE_BURST_BYTES)),
                    *("latency", f"{RATE_LATENCY_MS}ms"),
                )

    def unlimit(self, name: str) -> None:
        """Take a host's rate limits away."""
        host = self.hosts[name]
        host.run("tc", "qdisc", "del", "dev", UPLINK, "root", check=False)
        self.router.run("tc", "qdisc", "del", "dev", host.router_interface, "root", check=False)

    def lose(self, name: str, share: float, *, up: bool = False, down: bool = True) -> None:
        """Drop a share of a host's packets at random; 0 ends it. netem is not in every kernel."""
        host = self.hosts[name]
        if up:
            self._lose_at(self.router, host.router_interface, share)
        if down:
            self._lose_at(host, UPLINK, share)

    def lost(self, name: str) -> tuple[int, int]:
        """Count what `lose` dropped on the way to a host: all packets, and large ones of them."""
        shown = self.hosts[name].run(
            "nft", "list", "table", "netdev", f"loss_{UPLINK}", check=False
        )
        large, small = map(int, DROPPED.findall(shown.stdout) or (0, 0))
        return large + small, large

    def segment(self, single: bool = True) -> None:
        """Have every host cut what its programs send into single packets before the link, or not.

        Otherwise a super-packet of many datagrams (GSO) is lost or passed as one.
        """
        for host in self:
            host.ip(f"link set {UPLINK} gso_max_segs {1 if single else MOST_SEGMENTS}")

    def block(self, one: str, other: str) -> None:
        """Drop everything between two hosts, both ways."""
        self.block_between([one], [other])

    def block_between(self, ones: Iterable[str], others: Iterable[str]) -> None:
        """Drop everything between hosts on two sides, both ways, all at the same moment."""
        sides = [[self.hosts[name] for name in names] for names in (ones, others)]
        rules = ""
        for source, target in (sides, sides[::-1]):
            for family, addresses in (
                ("ip", [[str(host.address) for host in side] for side in (source, target)]),
                ("ip6", [[str(host.address6) for host in side] for side in (source, target)]),
            ):
                senders, receivers = (", ".join(side) for side in addresses)
                rules += (
                    f"add rule inet block forward {family} saddr {{ {senders} }}"
                    f" {family} daddr {{ {receivers} }} drop\n"
                )
        self._nft(self.router, rules)

    def unblock_all(self) -> None:
        """End every `block`."""
        self._nft(self.router, "flush chain inet block forward\n")

    def cut(self, name: str) -> None:
        """Take a host's link away, as when its cable is pulled."""
        self.router.ip(f"link set {self.hosts[name].router_interface} down")

    def mend(self, name: str) -> None:
        """Give a host's link back. The kernel forgot the IPv6 address with the link."""
        host = self.hosts[name]
        self.router.ip(
            f"link set {host.router_interface} up",
            f"addr replace {host.gateway6}/64 dev {host.router_interface} nodad",
        )

    def uplink_bytes(self, name: str) -> int:
        """Count the bytes a host has sent into the network."""
        return self.hosts[name].counters().sent_bytes

    def uplink_packets(self, name: str) -> int:
        """Count the packets a host has sent into the network; a GSO super-packet counts once."""
        return self.hosts[name].counters().sent_packets

    def close(self) -> None:
        """Stop every process in it and remove every namespace; again is harmless."""
        stop_all([process for host in self.hosts.values() for process in host.processes])
        _remove([node.namespace for node in (self.router, *self.hosts.values())])

    @staticmethod
    def sweep() -> list[str]:
        """Remove the namespaces of processes that no longer live; return their names."""
        left = [
            name
            for name in _namespaces()
            if (match := OUR_NAMES.match(name)) and not Path("/proc", match[1]).exists()
        ]
        _remove(left)
        return left

    def _make(self) -> None:
        may_make_namespaces()
        nodes = [self.router, *self.hosts.values()]
        execute(["ip", "-batch", "-"], "".join(f"netns add {node.namespace}\n" for node in nodes))
        self.router.run("sysctl", "-q", "-w", *COMMON_SYSCTLS, *ROUTER_SYSCTLS)
        self._nft(
            self.router,
            "add table inet block\n"
            "add chain inet block forward { type filter hook forward priority 0; }\n",
        )
        self.router.ip("link set lo up", *(line for host in self for line in _router_lines(host)))
        for host in self:
            host.run("sysctl", "-q", "-w", *COMMON_SYSCTLS, UPLINK_SYSCTL)
            host.ip(*_host_lines(host))
        self._keep_order()
        self._await_links()

    def _keep_order(self) -> None:
        """Have each link's packets handled by one processor, so that none overtakes another.

        A virtual link queues them at the processor of whoever sends; a wire keeps its order.
        """
        if in_user_namespace():
            # There /sys still shows the devices of the namespace we came from.
            return
        for node, interfaces in (
            (self.router, [host.router_interface for host in self]),
            *((host, [UPLINK]) for host in self),
        ):
            lines = [
                f"echo {1 << number % PROCESSORS:x} > /sys/class/net/{name}/queues/rx-0/rps_cpus"
                for number, name in enumerate(interfaces, node.number)
            ]
            # Not every kernel can.
            node.run("sh", "-c", "\n".join(lines), check=False)

    def _await_links(self) -> None:
        """Wait for the kernel's own IPv6 routes, which come a moment after the link.

        Otherwise they would come before or after those of a TUN by chance.
        """
        deadline = time.monotonic() + LINK_PATIENCE
        waiting = list(self)
        while waiting and time.monotonic() < deadline:
            shown = ["ip", "-n", waiting[-1].namespace, "-6", "route", "show", "table", "local"]
            if "ff00::/8" in execute(shown):
                waiting.pop()
            else:
                time.sleep(POLL)

    def _lose_at(self, node: Host, interface: str, share: float) -> None:
        table = f"netdev loss_{interface}"
        commands = f"add table {table}\ndelete table {table}\n"
        if share > 0:
            dropped = max(1, round(share * LOSS_STEPS))
            commands += (
                f"add table {table}\n"
                f"add chain {table} lost\n"
                f"add rule {table} lost meta length >= {LARGE_BYTES} counter drop\n"
                f"add rule {table} lost counter drop\n"
                f"add chain {table} in"
                f" {{ type filter hook ingress device {interface} priority 0; }}\n"
                f"add rule {table} in numgen random mod {LOSS_STEPS} < {dropped} jump lost\n"
            )
        self._nft(node, commands)

    def _nft(self, node: Host, commands: str) -> None:
        node.run("nft", "-f", "-", standard_input=commands)


def namespace_process_ids(namespace: str) -> list[int]:
    """List the processes that live in a named namespace."""
    shown = subprocess.run(["ip", "netns", "pids", namespace], capture_output=True, text=True)
    return [int(word) for word in shown.stdout.split()]


def _router_lines(host: Host) -> list[str]:
    name = host.router_interface
    return [
        f"link add {name} type veth peer name {UPLINK} netns {host.namespace}",
        f"addr add {host.gateway}/30 dev {name}",
        f"addr add {host.gateway6}/64 dev {name} nodad",
        f"link set {name} up",
    ]


def _host_lines(host: Host) -> list[str]:
    return [
        "link set lo up",
        f"addr add {host.address}/30 dev {UPLINK}",
        f"addr add {host.address6}/64 dev {UPLINK} nodad",
        f"link set {UPLINK} up",
        f"route add default via {host.gateway}",
        f"route add ::/0 via {host.gateway6}",
    ]


def _namespaces() -> list[str]:
    return os.listdir(NETNS) if NETNS.is_dir() else []


def _free_prefix() -> str:
    """Find a prefix nobody uses: this process may have several Internets."""
    used = {match[0] for name in _namespaces() if (match := OUR_NAMES.match(name))}
    number = 0
    while (prefix := f"dmmp-{os.getpid()}-{number}-") in used:
        number += 1
    return prefix


def _remove(namespaces: Sequence[str]) -> None:
    present = set(_namespaces())
    namespaces = [name for name in namespaces if name in present]
    if not namespaces:
        return
    kill_all([process for name in namespaces for process in namespace_process_ids(name)])
    lines = "".join(f"netns delete {name}\n" for name in namespaces)
    execute(["ip", "-force", "-batch", "-"], lines)


def _exit_on_signal(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)

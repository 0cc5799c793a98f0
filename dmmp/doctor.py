"""What is missing on this machine, and the command that cures it: the substance of `dmmp doctor`.

`gather` looks, `examine` judges what it found and is pure. The questions are those that users of
multicast tools ask most: TTL 1, rp_filter, no route for the group, nobody joined.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

OK, WARN, FAIL = "ok", "warn", "fail"

WANTED_BUFFER_BYTES = 4 << 20
"""Receive buffer that loses no bursts (measured: the default loses 5 % at 43 % of a core)."""

TTL_SHARE = 0.01
"""Share of a node's packets dropped for their TTL from which it is worth a word."""

DROPPED_SHARE = 0.01
"""Share of a node's packets that found no room from which it is worth a word."""

PROGRAMS = {
    "ip": ("iproute2", "routes and namespaces"),
    "ffmpeg": ("ffmpeg", "the demo's stream"),
    "iperf": ("iperf", "measuring"),
    "nft": ("nftables", "the demo's losses"),
}
"""Programs, their Debian package, what they are for."""

_CAP_NET_ADMIN, _CAP_NET_RAW = 12, 13
_COMMAND_SECONDS = 5

Findings = dict[str, Any]


class Check(NamedTuple):
    """One line of the table: state, what was looked at, what was found, what cures it."""

    state: str
    name: str
    found: str
    cure: str = ""


def gather() -> Findings:
    """Look at this machine and at its running nodes."""
    return {
        "python": tuple(sys.version_info[:3]),
        "platform": sys.platform,
        "tun": _tun_state(),
        "capabilities": _capabilities(),
        "programs": {name: shutil.which(name) is not None for name in PROGRAMS},
        "rmem_max": _number("/proc/sys/net/core/rmem_max"),
        "wmem_max": _number("/proc/sys/net/core/wmem_max"),
        "rp_filter": _reverse_path_filters(),
        "route": _command("ip", "route", "show", "224.0.0.0/4"),
        "route_to_group": _command("ip", "route", "get", "239.1.2.3"),
        "ipv6": Path("/proc/net/if_inet6").exists(),
        "nodes": _nodes(),
    }


def examine(findings: Findings) -> list[Check]:
    """Judge what was found."""
    checks = [
        _python(findings),
        _tun(findings),
        _privilege(findings),
        *(_program(name, there) for name, there in findings["programs"].items()),
        _buffers(findings),
        _reverse_path(findings),
        _route(findings),
        _ipv6(findings),
    ]
    nodes = findings["nodes"]
    if not nodes:
        checks.append(Check(OK, "nodes", "none of yours runs here"))
    for node in nodes:
        checks += _node(node, findings)
    return checks


def _python(findings: Findings) -> Check:
    version = findings["python"]
    text = ".".join(str(part) for part in version)
    if findings["platform"] != "linux":
        return Check(FAIL, "system", findings["platform"], "use Linux; TUN and netlink are needed")
    if tuple(version[:2]) < (3, 11):
        return Check(FAIL, "Python", text, "install Python 3.11 or newer")
    return Check(OK, "Python", text)


def _tun(findings: Findings) -> Check:
    state = findings["tun"]
    if state == "missing":
        return Check(
            WARN, "/dev/net/tun", "missing", "sudo modprobe tun, or use --interface with --group"
        )
    if state == "forbidden":
        return Check(WARN, "/dev/net/tun", "not for this user", "sudo, or --interface with --group")
    return Check(OK, "/dev/net/tun", "there")


def _privilege(findings: Findings) -> Check:
    held = findings["capabilities"]
    if "net_admin" in held:
        return Check(OK, "privilege", "may make a TUN")
    python = os.path.realpath(sys.executable)
    return Check(
        WARN,
        "privilege",
        "may not make a TUN (no CAP_NET_ADMIN)",
        f"sudo, or: sudo setcap cap_net_admin+ep {python}, or use --interface with --group",
    )


def _program(name: str, there: bool) -> Check:
    package, use = PROGRAMS[name]
    if there:
        return Check(OK, name, "there")
    return Check(WARN, name, f"missing, for {use}", f"sudo apt-get install -y {package}")


def _buffers(findings: Findings) -> Check:
    limits = {name: findings.get(name) for name in ("rmem_max", "wmem_max")}
    small = {
        name: size
        for name, size in limits.items()
        if size is not None and size < WANTED_BUFFER_BYTES
    }
    if not small or "net_admin" in findings["capabilities"]:
        return Check(OK, "socket buffers", "large enough, or this user may make them so")
    found = " and ".join(f"net.core.{name} is {size}" for name, size in small.items())
    cure = " ".join(f"net.core.{name}={WANTED_BUFFER_BYTES}" for name in small)
    return Check(WARN, "socket buffers", f"{found}: bursts get lost", f"sudo sysctl -w {cure}")


def _reverse_path(findings: Findings) -> Check:
    strict = sorted(name for name, value in findings["rp_filter"].items() if value == 1)
    if not strict:
        return Check(OK, "rp_filter", "not strict")
    if "all" in strict and "net_admin" in findings["capabilities"]:
        return Check(OK, "rp_filter", "strict; dmmp sets it right for its TUN while it runs")
    return Check(
        WARN,
        "rp_filter",
        f"strict on {', '.join(strict[:4])}: the kernel drops groups from foreign sources",
        "sudo sysctl -w net.ipv4.conf.all.rp_filter=2",
    )


def _route(findings: Findings) -> Check:
    if findings["route"]:
        return Check(OK, "route 224.0.0.0/4", findings["route"].splitlines()[0].strip())
    if not findings["route_to_group"]:
        return Check(
            WARN,
            "route 224.0.0.0/4",
            "none, and no default route: programs cannot send to a group",
            "a source or member with --tun sets it; or: sudo ip route add 224.0.0.0/4 dev NAME",
        )
    return Check(
        OK, "route 224.0.0.0/4", "none; groups follow the default route until a TUN is there"
    )


def _ipv6(findings: Findings) -> Check:
    if findings["ipv6"]:
        return Check(OK, "IPv6", "there")
    return Check(WARN, "IPv6", "the kernel has none: IPv4 groups only", "boot with IPv6 enabled")


def _node(node: Findings, findings: Findings) -> list[Check]:
    """Judge a running node by its `show` document."""
    name = f"node {node.get('name')}"
    if node.get("role") == "rp" or node.get("kind") == "rp":
        hosts = sum(session.get("hosts", 0) for session in node.get("sessions", ()))
        return [Check(OK, name, f"rendezvous point with {hosts} hosts")]
    checks = []
    drops, counters = node.get("drops", {}), node.get("counters", {})
    read = max(1, (node.get("edge") or {}).get("read", 0))
    if drops.get("ttl", 0) > TTL_SHARE * read:
        checks.append(
            Check(
                WARN,
                name,
                f"{drops['ttl']} packets stayed at home: their TTL is 1, the usual default",
                "let the program send with a larger TTL, for example ?ttl=16 in ffmpeg and VLC",
            )
        )
    checks += _waiting(name, node, drops, counters)
    if node.get("kind") == "source":
        checks += _source(name, node, drops, counters)
    else:
        checks += _receiver(name, node, counters, findings)
    return checks or [Check(OK, name, f"{node.get('role')}, {node.get('state')}")]


def _waiting(name: str, node: Findings, drops: Findings, counters: Findings) -> list[Check]:
    """Judge what was dropped at the socket: on the way in by the kernel, on the way out by us."""
    checks = []
    if drops.get("socket_overflow", 0) > DROPPED_SHARE * counters.get("data_received", 0):
        checks.append(
            Check(
                WARN,
                name,
                f"{drops['socket_overflow']} datagrams came faster than it fetched them",
                f"sudo sysctl -w net.core.rmem_max={WANTED_BUFFER_BYTES}, and start it again; "
                "else give it more of a processor, or fewer children (--out-degree)",
            )
        )
    if drops.get("queue_full", 0) > DROPPED_SHARE * counters.get("data_forwarded", 0):
        dropped = {each["address"]: each["dropped"] for each in node.get("queues", ())}
        worst = max(dropped, key=lambda address: dropped[address], default="others")
        checks.append(
            Check(
                WARN,
                name,
                f"{drops['queue_full']} packets found no room on the way out, most to {worst}",
                "more than its uplink or --rate-limit carries: a smaller --out-degree",
            )
        )
    return checks


def _source(name: str, node: Findings, drops: Findings, counters: Findings) -> list[Check]:
    if not (node.get("edge") or {}).get("read", 0):
        return [
            Check(
                WARN,
                name,
                "nothing was sent into it",
                "ip route get GROUP must name its interface; else bind the program to it",
            )
        ]
    if drops.get("no_members", 0) and not counters.get("originated", 0):
        return [
            Check(
                WARN,
                name,
                f"{drops['no_members']} packets went nowhere: nobody joined their groups",
                "start the receiving program; its group must be the very same",
            )
        ]
    return []


def _receiver(name: str, node: Findings, counters: Findings, findings: Findings) -> list[Check]:
    if node.get("parent") is None:
        return [
            Check(
                WARN,
                name,
                f"no parent ({node.get('state')})",
                "is the rendezvous point reachable, and does a source run in the session?",
            )
        ]
    if node.get("kind") == "super-node":
        return []
    if not node.get("groups"):
        return [
            Check(
                WARN,
                name,
                "no program here has joined a group",
                "start the receiving program; it must join on the node's interface",
            )
        ]
    edge = node.get("edge") or {}
    strict = findings["rp_filter"].get(edge.get("interface"), 0) == 1
    if strict and counters.get("delivered", 0):
        return [
            Check(
                WARN,
                name,
                "delivers, but rp_filter is strict on its interface: the kernel may drop it all",
                f"sudo sysctl -w net.ipv4.conf.{edge['interface']}.rp_filter=2",
            )
        ]
    return []


def _tun_state() -> str:
    if not os.path.exists("/dev/net/tun"):
        return "missing"
    return "there" if os.access("/dev/net/tun", os.R_OK | os.W_OK) else "forbidden"


def _capabilities() -> list[str]:
    """Read the effective capabilities that matter (proc(5), CapEff)."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return []
    (bits,) = (line.split()[1] for line in status.splitlines() if line.startswith("CapEff"))
    held = int(bits, 16)
    named = (("net_admin", _CAP_NET_ADMIN), ("net_raw", _CAP_NET_RAW))
    return [name for name, bit in named if held >> bit & 1]


def _number(path: str) -> int | None:
    try:
        return int(Path(path).read_text())
    except (OSError, ValueError):
        return None


def _reverse_path_filters() -> dict[str, int]:
    found = {}
    for path in Path("/proc/sys/net/ipv4/conf").glob("*/rp_filter"):
        if (value := _number(os.fspath(path))) is not None:
            found[path.parent.name] = value
    return found


def _command(*words: str) -> str:
    """Run a command; its output, or "" if it is missing or fails."""
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=_COMMAND_SECONDS)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _nodes() -> list[Findings]:
    from dmmp.errors import UsageError
    from dmmp.runtime.control import ask, running

    found = []
    for name in running():
        try:
            found.append(ask(name))
        except UsageError:
            # It ended between the two looks.
            continue
    return found

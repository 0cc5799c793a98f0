"""What the TUN needs of the kernel around it: links, addresses, routes and the reverse-path filter.

With `device` the only module of `tun` that touches the system; no packets here. Each change outside
our own interface can be undone, by the process that made it or, after a crash, by the next one.
Works in the network namespace of the calling thread. Netlink is RFC 3549.
"""

from __future__ import annotations

import errno
import json
import os
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from ipaddress import IPv4Interface, IPv6Interface
from pathlib import Path
from typing import Any, TypeVar

from dmmp.errors import UsageError

TRANSMIT_QUEUE_LENGTH = 5000
"""The default of 500 loses bursts while the reader is busy: 17 % against 8 % at saturation."""

_ROUTE_PROTOCOL = 221
"""Marks our routes (`proto 221`); any number that no routing daemon uses."""
_MAIN_TABLE, _LOCAL_TABLE = 254, 255
_MULTICAST_TYPE = 5
_NO_DAD = 0x02

_CONF4 = Path("/proc/sys/net/ipv4/conf")
_CONF6 = Path("/proc/sys/net/ipv6/conf")
_RECORDS = Path("/run/dmmp")

_Result = TypeVar("_Result")


def run_netlink(task: Callable[[Any], _Result]) -> _Result:
    """Run `task` with a netlink socket, in a thread of its own.

    pyroute2 runs an event loop for each call, which fails where one is running, as in our runtime.
    It is imported here because that takes 0.15 s, which `dmmp --help` should not pay.
    """

    def run() -> _Result:
        from pyroute2 import IPRoute
        from pyroute2.netlink.exceptions import NetlinkError

        try:
            with IPRoute() as netlink:
                return task(netlink)
        except NetlinkError as error:
            reason = os.strerror(error.code)
            raise UsageError(f"cannot set up the interface: {reason} (netlink)") from error

    with ThreadPoolExecutor(max_workers=1) as executor:
        return executor.submit(run).result()


def prepare(netlink: Any, index: int, name: str, mtu: int) -> None:
    """Size a new interface, and remove what killed processes left in this namespace."""
    remove_stale_routes(netlink)
    ReversePath.put_back_stale(name)
    netlink.link("set", index=index, mtu=mtu, txqlen=TRANSMIT_QUEUE_LENGTH)


def bring_up(
    netlink: Any, index: int, ipv4: IPv4Interface | None, ipv6: IPv6Interface | None
) -> None:
    """Give the interface these addresses in place of others, and bring it up for multicast."""
    remove_routes(netlink, index)
    for family in (socket.AF_INET, socket.AF_INET6):
        netlink.flush_addr(family=family, index=index, scope=0)
    for interface, more in (
        (ipv4, {}),
        # Nobody else is on the link, so there is no duplicate to wait for.
        (ipv6, {"family": socket.AF_INET6, "flags": _NO_DAD}),
    ):
        if interface is not None:
            length = interface.network.prefixlen
            netlink.addr("add", index=index, address=str(interface.ip), prefixlen=length, **more)
    netlink.link("set", index=index, state="up", multicast=True)


def route_groups(netlink: Any, index: int, name: str, ipv4: bool, ipv6: bool) -> list[str]:
    """Send all groups to the interface; give warnings about those that go elsewhere.

    IPv4: 224.0.0.0/24 stays where it was, lest mDNS and its like vanish into the TUN. The metric of
    that route is our interface's index, by which a later start knows whose it was.
    IPv6: every interface has ff00::/8 in the local table, which is looked up first and whose order
    is that of the interfaces coming up; only a better metric in that table decides it.
    """
    elsewhere = []
    if ipv4:
        link_local = _device_of_link_local(netlink)
        if _route_exists(netlink, dst="224.0.0.0/4", oif=index):
            elsewhere.append("224.0.0.0/4")
        elif link_local not in (None, index, socket.if_nametoindex("lo")):
            _route_exists(netlink, dst="224.0.0.0/24", oif=link_local, priority=index)
    if ipv6:
        fields = {"table": _LOCAL_TABLE, "type": _MULTICAST_TYPE, "priority": 1}
        if _route_exists(netlink, family=socket.AF_INET6, dst="ff00::/8", oif=index, **fields):
            elsewhere.append("ff00::/8")
    return [
        f"{groups} already goes to another interface: programs that mean {name} must say so, "
        f"or remove that route ('ip route show {groups} table all')"
        for groups in elsewhere
    ]


def enable_ipv6(name: str) -> bool:
    """Switch IPv6 on for the interface; False where the kernel has none."""
    own = _CONF6 / name
    if not own.exists():
        return False
    # Router discovery has nobody to find here. Both belong to the interface and go with it.
    for setting, value in (("disable_ipv6", 0), ("router_solicitations", 0)):
        _set(own / setting, value)
    return _get(own / "disable_ipv6") == 0


def _route_exists(netlink: Any, **fields: object) -> bool:
    """Add a route of ours; tell whether there was one in its place already."""
    from pyroute2.netlink.exceptions import NetlinkError

    try:
        netlink.route("add", proto=_ROUTE_PROTOCOL, **fields)
    except NetlinkError as error:
        if error.code != errno.EEXIST:
            raise
        return True
    return False


def _delete_route(netlink: Any, route: Any) -> None:
    """Delete a route that was listed, unless it went by itself in between."""
    from pyroute2.netlink.exceptions import NetlinkError

    try:
        netlink.route(
            "del",
            family=route["family"],
            dst=f"{route.get_attr('RTA_DST')}/{route['dst_len']}",
            oif=route.get_attr("RTA_OIF"),
            priority=route.get_attr("RTA_PRIORITY") or 0,
            table=route.get_attr("RTA_TABLE"),
            type=route["type"],
        )
    except NetlinkError as error:
        if error.code != errno.ESRCH:
            raise


def has_default_route(netlink: Any) -> bool:
    """Tell whether every IPv4 source has some route back."""
    return bool(list(netlink.get_default_routes(family=socket.AF_INET, table=_MAIN_TABLE)))


def _device_of_link_local(netlink: Any) -> int | None:
    """Give the index of the interface that 224.0.0.1 goes to, None for nowhere."""
    from pyroute2.netlink.exceptions import NetlinkError

    try:
        (found,) = netlink.route("get", dst="224.0.0.1")
    except NetlinkError:
        return None
    index: int | None = found.get_attr("RTA_OIF")
    return index


def remove_routes(netlink: Any, index: int) -> None:
    """Remove the routes made for the interface `index`."""
    for family in (socket.AF_INET, socket.AF_INET6):
        for route in netlink.get_routes(family=family, proto=_ROUTE_PROTOCOL):
            if index in (route.get_attr("RTA_OIF"), route.get_attr("RTA_PRIORITY")):
                _delete_route(netlink, route)


def remove_stale_routes(netlink: Any) -> None:
    """Remove the routes that killed processes made over interfaces not their own."""
    living = {link["index"] for link in netlink.get_links()}
    for route in netlink.get_routes(family=socket.AF_INET, proto=_ROUTE_PROTOCOL):
        owner = route.get_attr("RTA_PRIORITY")
        if owner and owner not in living:
            _delete_route(netlink, route)


def _get(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None


def _set(path: Path, value: int) -> bool:
    """Write a sysctl that has another value; False where that is not allowed or not there."""
    if _get(path) == value:
        return True
    try:
        path.write_text(f"{value}\n")
    except OSError:
        return False
    return True


class ReversePath:
    """The reverse-path filter, which would drop sources that are in other networks (ip-sysctl).

    The stricter of `all` and the interface's own value holds, except that 2 (loose) beats 1. So 0
    for the interface is enough where `all` is 0, and 2 where there is a default route. Otherwise
    `all` must become 0; its value then moves to every other interface, where it means the same.
    What was written is recorded in a file as old and new value, for the next start after a crash.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        # The namespace, because /run is shared by those that `ip netns` makes.
        space = os.stat("/proc/thread-self/ns/net").st_ino
        self.record = _RECORDS / f"{space}-{name}.json"
        self.changed: dict[str, tuple[int, int]] = {}

    def open_up(self, default_route: bool) -> list[str]:
        """Let foreign sources in; give warnings."""
        strict = _get(_CONF4 / "all" / "rp_filter") or 0
        own = 2 if strict else 0
        if strict and not default_route:
            self._move_from_all(strict)
            own = 2 if _get(_CONF4 / "all" / "rp_filter") else 0
        allowed = _set(_CONF4 / self.name / "rp_filter", own)
        if allowed and (own == 0 or default_route):
            return []
        return [
            "rp_filter cannot be changed here, so sources in other networks may not be heard: "
            "sysctl net.ipv4.conf.all.rp_filter=0 (in a container: --sysctl)"
        ]

    def put_back(self) -> None:
        """Restore every value that is still ours."""
        for directory, (before, written) in reversed(self.changed.items()):
            path = _CONF4 / directory / "rp_filter"
            if _get(path) == written:
                _set(path, before)
        self.changed = {}
        self.record.unlink(missing_ok=True)

    def _move_from_all(self, strict: int) -> None:
        if self.changed:
            return
        for directory in sorted(path.name for path in _CONF4.iterdir()):
            value = _get(_CONF4 / directory / "rp_filter")
            if directory not in ("all", self.name) and value is not None and value < strict:
                self.changed[directory] = (value, strict)
        self.changed["all"] = (strict, 0)
        try:
            _RECORDS.mkdir(mode=0o755, parents=True, exist_ok=True)
            self.record.write_text(json.dumps(self.changed))
        except OSError:
            # Not recorded: after a crash the values stay, which changes nothing that matters.
            pass
        for directory, (_, written) in self.changed.items():
            _set(_CONF4 / directory / "rp_filter", written)

    @classmethod
    def put_back_stale(cls, new: str) -> None:
        """Restore what killed processes of this namespace changed.

        `new` is an interface just made, so a record of that name is of an earlier one.
        """
        space = os.stat("/proc/thread-self/ns/net").st_ino
        living = {name for _, name in socket.if_nameindex()} - {new}
        for record in _RECORDS.glob(f"{space}-*.json"):
            name = record.stem.partition("-")[2]
            if name in living:
                continue
            left = cls(name)
            try:
                listed = json.loads(record.read_text()).items()
                left.changed = {
                    str(directory): (int(before), int(written))
                    for directory, (before, written) in listed
                    if "/" not in directory and directory != ".."
                }
            except (OSError, ValueError, TypeError, AttributeError):
                pass
            left.put_back()

"""Packets to some hosts overtake each other: the router hands a share of them to `hold`."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable
from typing import Final

from dmmp.demo.internet import Internet, InternetError
from dmmp.types import IpAddress
from interop.matrix import hold
from interop.matrix.hold import DEVICE

ONE_IN: Final = 8
MARK: Final = 78
TABLE: Final = 78
POLL: Final = 0.02
PATIENCE: Final = 5.0


def disturb(internet: Internet, addresses: Iterable[IpAddress]) -> None:
    """Have one in `ONE_IN` of the packets to these IPv4 addresses come late."""
    internet.segment()
    router = internet.router
    router.popen(sys.executable, "-I", "-S", hold.__file__, standard_output=None)
    deadline = time.monotonic() + PATIENCE
    while router.run("ip", "link", "set", DEVICE, "up", check=False).returncode:
        if time.monotonic() > deadline:
            raise InternetError("no TUN on the router")
        time.sleep(POLL)
    rules = (
        "add table ip reorder\n"
        "add chain ip reorder in { type filter hook prerouting priority -150; }\n"
        f'add rule ip reorder in iifname "{DEVICE}" return\n'
        f"add rule ip reorder in ip daddr {{ {', '.join(map(str, addresses))} }}"
        f" numgen random mod {ONE_IN} 0 counter meta mark set {MARK}\n"
    )
    router.run("nft", "-f", "-", standard_input=rules)
    router.ip(
        f"route add default dev {DEVICE} table {TABLE}", f"rule add fwmark {MARK} lookup {TABLE}"
    )


def held(internet: Internet) -> int:
    """Count the packets that came late."""
    shown = internet.router.run("nft", "list", "table", "ip", "reorder").stdout
    return int(shown.partition("counter packets ")[2].split()[0])

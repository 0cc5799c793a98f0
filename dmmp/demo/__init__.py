"""What shows dmmp at work: a small Internet of network namespaces and programs to use in it.

Not part of the protocol and imported by none of it; the command `dmmp demo` and the tests use it.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from dmmp.errors import UsageError

KEPT_PROMISE = 0
BROKEN_PROMISE = 1

TOOLS = {"ip": "iproute2", "tc": "iproute2", "nft": "nftables", "sysctl": "procps"}
"""The programs the small Internet is built with, and the Debian packages they are in."""

PREFIX = "dmmp-demo-"
TUN_DEVICE = "/dev/net/tun"


def main(members: int = 12, seconds: float = 15.0, json: bool = False) -> int:
    """Play the demonstration and show it; give the exit code.

    Raises `UsageError` with the cure where this machine or user cannot. Without root it starts this
    process over in a user namespace of its own, so call it first thing.
    """
    check_tools()
    from dmmp.demo.user_namespace import reexec_in_user_namespace

    reexec_in_user_namespace()
    check_tun()
    from rich.console import Console

    from dmmp.demo.internet import Internet
    from dmmp.demo.performance import Performance
    from dmmp.demo.screen import LiveScreen, PlainScreen, result_tables

    Internet.sweep()
    sweep_directories()
    console = Console(highlight=False, stderr=json)
    screen = LiveScreen(console) if console.is_terminal else PlainScreen(console)
    with screen, tempfile.TemporaryDirectory(prefix=f"{PREFIX}{os.getpid()}-") as directory:
        result = Performance(members, seconds, screen.watch).run(Path(directory))
    if json:
        Console(highlight=False, soft_wrap=True).print_json(data=result.to_json())
    else:
        for table in result_tables(result):
            console.print(table)
    for problem in result.problems:
        console.print(f"dmmp demo: {problem}", style="red")
    return BROKEN_PROMISE if result.problems else KEPT_PROMISE


def sweep_directories() -> None:
    """Remove the directories of demonstrations that were killed."""
    for left in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        process = left.name.removeprefix(PREFIX).partition("-")[0]
        if process.isdigit() and not Path("/proc", process).exists():
            shutil.rmtree(left, ignore_errors=True)


def check_tools() -> None:
    """Raise `UsageError` unless the programs that build the small Internet are here."""
    missing = {package for tool, package in TOOLS.items() if shutil.which(tool) is None}
    if missing:
        packages = " ".join(sorted(missing))
        raise UsageError(f"the demo needs other programs: apt-get install {packages}")


def check_tun() -> None:
    """Raise `UsageError` unless TUN devices can be made."""
    if not os.path.exists(TUN_DEVICE):
        raise UsageError(
            f"{TUN_DEVICE} is missing: modprobe tun (in a container: --device=/dev/net/tun)"
        )
    if not os.access(TUN_DEVICE, os.R_OK | os.W_OK):
        raise UsageError(f"{TUN_DEVICE} may not be opened by this user: try again with sudo")

"""Joins one after the other from one host, each as a host that nobody has met, timed.

A program for `flooded_joins`: no process is started for a join, which would take the processors
from whom is measured. One line of JSON comes out for each.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from argparse import ArgumentParser, Namespace
from pathlib import Path

from dmmp.events import Admitted, Event
from dmmp.runtime.driver import Driver
from dmmp.runtime.node import NodeOptions, _parts
from dmmp.runtime.securing import locate_points, read_options, security_of
from dmmp.runtime.sockets import open_socket

POLL = 0.002


async def join(options: NodeOptions, patience: float) -> dict[str, float | int | None]:
    """Join and leave: seconds from the first opening to the first answer, and to a place."""
    file = options.security.session_file
    assert file is not None
    points = await locate_points(file, lambda reason: None)
    security = security_of(options.security, options.session, points)
    socket = await open_socket(None)
    host, gate, forwarder = _parts(options, "joiner", tuple(points), security)
    assert gate is not None
    driver = Driver(host, socket, forwarder, gate=gate)
    found: dict[str, float | int | None] = {"answered": None, "placed": None}
    begun = time.monotonic()

    def note(event: Event) -> None:
        if isinstance(event, Admitted) and found["placed"] is None:
            found["placed"] = round(time.monotonic() - begun, 3)

    driver.on_event(note)
    running = asyncio.ensure_future(driver.run())
    while found["placed"] is None and time.monotonic() - begun < patience and not running.done():
        await asyncio.sleep(POLL)
        if found["answered"] is None and gate.counters["opened"]:
            found["answered"] = round(time.monotonic() - begun, 3)
    counted = gate.associations.counters
    found |= {name: counted[name] for name in ("initiations_sent", "cookies_received")}
    driver.stop()
    if found["placed"] is None:
        driver.stop()
    await running
    return found


async def run(arguments: Namespace) -> None:
    """Join so many times, with a pause between."""
    security = read_options(
        "member",
        "certificates",
        session_file=arguments.session_file,
        credential=arguments.credential,
    )
    assert security.session_file is not None
    session = security.session_file.session
    options = NodeOptions("member", session, (), out_degree=1, security=security)
    for _ in range(arguments.joins):
        sys.stdout.write(json.dumps(await join(options, arguments.patience)) + "\n")
        sys.stdout.flush()
        await asyncio.sleep(arguments.pause)


def main() -> int:
    """Run as a program."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--session-file", type=Path, required=True)
    parser.add_argument("--credential", type=Path, required=True)
    parser.add_argument("--joins", type=int, default=15)
    parser.add_argument("--patience", type=float, default=12.0, help="seconds for each")
    parser.add_argument("--pause", type=float, default=0.3, help="seconds between two")
    asyncio.run(run(parser.parse_args()))
    return 0


if __name__ == "__main__":
    sys.exit(main())

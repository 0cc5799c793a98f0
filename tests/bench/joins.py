"""What a rendezvous point and a super node handle a second: `python -m tests.bench.joins`.

Real processes over UDP on loopback: `dmmp rp` answers Ping_RP requests of hosts that are new and of
hosts that renew; `dmmp super-node` takes in hosts while a stream of 50 Mbit/s runs through it to a
child, in turns with and without the joins. The rate that counts is that of a second of the measured
process's own processor time: it is what one core would do if nobody else used it. Beside it stands
what was seen by the clock, with whatever else the machine did.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from pathlib import Path
from statistics import median
from typing import Any

from dmmp.roles.rendezvous_point import session_id
from dmmp.types import Endpoint
from tests.bench.crowd import Crowd, Joiners, Newcomers, Tally
from tests.bench.stream import SESSION

ROUNDS = 3
SECONDS = 2.0
WINDOW = 32
"""Hosts that are under way at once."""

SUPER_NODES = 100
"""Super nodes the rendezvous point knows: as many as there may be (slide 15)."""

STANDING = 90
"""Children of the super node while others join and leave."""

OUT_DEGREE = 256
PATIENCE = 20.0
_TICKS = os.sysconf("SC_CLK_TCK")
_PORT = re.compile(r":(\d+)$")


class Node:
    """A process of the command line, the lines it wrote, and the processor time it used."""

    def __init__(self, directory: Path, *arguments: str) -> None:
        self._lines = directory / f"{arguments[0]}.jsonl"
        environment = os.environ | {"DMMP_RUNTIME_DIR": str(directory)}
        command = (sys.executable, "-m", "dmmp", *arguments, "--log-json", "--listen", "[::]:0")
        with self._lines.open("wb") as output:
            self.process = subprocess.Popen(command, stdout=output, env=environment)
        ready = self.event("Ready")
        found = _PORT.search(ready["text"])
        assert found is not None
        self.endpoint = Endpoint(ip_address("127.0.0.1"), int(found[1]))

    def events(self, kind: str) -> list[dict[str, Any]]:
        """Give the events of a kind it has told of."""
        lines = self._lines.read_text().splitlines()
        return [found for found in map(_parsed, lines) if found and found["event"] == kind]

    def event(self, kind: str) -> dict[str, Any]:
        """Wait for the first event of a kind; raise `TimeoutError` after a while."""
        deadline = time.monotonic() + PATIENCE
        while not (found := self.events(kind)):
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise TimeoutError(f"{self._lines.stem} told of no {kind}")
            time.sleep(0.02)
        return found[0]

    def processor(self) -> float:
        """Give the processor time used so far, user and kernel, seconds."""
        stat = Path(f"/proc/{self.process.pid}/schedstat").read_text().split()
        return int(stat[0]) / 1e9

    def memory(self) -> int:
        """Give the resident memory, bytes."""
        pages = Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")

    def stop(self) -> None:
        """End it."""
        self.process.kill()
        self.process.wait()


def _parsed(line: str) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = json.loads(line)
    except json.JSONDecodeError:
        # The last line may be half written.
        return None
    return found


@contextmanager
def node(directory: Path, *arguments: str) -> Iterator[Node]:
    """Run a node for a while."""
    made = Node(directory, *arguments)
    try:
        yield made
    finally:
        made.stop()


def measured(crowd: Crowd, process: Node, seconds: float) -> dict[str, Any]:
    """Let a crowd load a process for so long; give what it came to."""
    before = process.processor()
    tally = crowd.run(seconds, WINDOW)
    used = process.processor() - before
    return figures(tally, used)


def figures(tally: Tally, used: float) -> dict[str, Any]:
    """Give the figures of a run in which the process used so much processor time."""
    waits = sorted(tally.waits)
    return {
        "done": tally.done,
        "refused": tally.refused,
        "unanswered": tally.unanswered,
        "per_processor_second": tally.done / used if used else 0.0,
        "per_second": tally.rate,
        "processor_share": used / tally.seconds,
        "wait_ms_p50": 1e3 * median(waits) if waits else 0.0,
    }


def rendezvous_point(seconds: float, rounds: int, super_nodes: int) -> dict[str, Any]:
    """Measure Ping_RP requests: of newcomers, and of hosts that renew."""
    result: dict[str, Any] = {"super_nodes": super_nodes, "newcomers": [], "renewals": []}
    for _ in range(rounds):
        with (
            tempfile.TemporaryDirectory(prefix="dmmp-") as directory,
            node(Path(directory), "rp", "--security", "none", "--session", SESSION) as process,
            Newcomers(process.endpoint, session_id(SESSION)) as crowd,
        ):
            crowd.found(super_nodes)
            begun = process.memory()
            result["newcomers"].append(measured(crowd, process, seconds))
            crowd.settle()
            result["bytes_per_host"] = (process.memory() - begun) / max(len(crowd.ids), 1)
            crowd.renew()
            result["renewals"].append(measured(crowd, process, seconds))
            result["hosts"] = len(crowd.ids)
            result["counted"] = len(process.events("HostRegistered"))
    return result


class Streamer:
    """The process that plays the stream; see `tests.bench.stream`."""

    def __init__(self, port: int) -> None:
        command = (sys.executable, "-m", "tests.bench.stream", str(port))
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        if self._read().strip() != "ready":
            self.stop()
            raise TimeoutError("the stream found no way")

    def _read(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()

    def report(self) -> dict[str, float]:
        """Ask what came of the packets sent since the last time."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        found: dict[str, float] = json.loads(self._read())
        return found

    def stop(self) -> None:
        """End it."""
        self._process.kill()
        self._process.communicate()


def super_node(seconds: float, rounds: int, standing: int) -> dict[str, Any]:
    """Measure joins beside a stream: each round without joins, then with."""
    result: dict[str, Any] = {"standing": standing, "calm": [], "joins": [], "stream": []}
    with (
        tempfile.TemporaryDirectory(prefix="dmmp-") as directory,
        node(Path(directory), "rp", "--security", "none", "--session", SESSION) as point,
        node(
            Path(directory),
            *(
                "super-node",
                "--security",
                "none",
                "--session",
                SESSION,
                "--rp",
                str(point.endpoint),
            ),
            *("--out-degree", str(OUT_DEGREE)),
        ) as process,
        Joiners(process.endpoint, session_id(SESSION), standing) as crowd,
    ):
        streamer = Streamer(point.endpoint.port)
        try:
            joined = crowd.run(PATIENCE, WINDOW, most=standing).done
            for _ in range(rounds):
                streamer.report()
                before = process.processor()
                time.sleep(seconds)
                result["calm"].append(streamer.report())
                calm = (process.processor() - before) / seconds
                before = process.processor()
                tally = crowd.run(seconds, WINDOW)
                used = process.processor() - before
                result["stream"].append(streamer.report())
                result["joins"].append(figures(tally, used) | {"stream_processor_share": calm})
                crowd.settle()
                joined += tally.done
            result["memory_bytes"] = process.memory()
            result["joined"] = joined
            result["late"] = crowd.late
            result["counted"] = len(process.events("ChildAdded"))
        finally:
            streamer.stop()
    return result


def show(result: dict[str, Any]) -> None:
    """Print the figures as a table."""
    print(f"{'':34}{'/s of processor':>16}{'/s by the clock':>17}{'p50 ms':>9}{'lost':>6}")
    rp, node = result["rendezvous_point"], result["super_node"]
    for name, runs in (
        ("Ping_RP, newcomers", rp["newcomers"]),
        ("Ping_RP, renewals", rp["renewals"]),
        ("joins, each with a leave", node["joins"]),
    ):
        figure = {key: median(run[key] for run in runs) for key in runs[0]}
        lost = sum(run["unanswered"] for run in runs)
        print(
            f"{name:34}{figure['per_processor_second']:16.0f}{figure['per_second']:17.0f}"
            f"{figure['wait_ms_p50']:9.1f}{lost:6}"
        )
    print(f"\n{'the stream through the super node':34}{'packets':>9}{'missing':>9}", end="")
    print(f"{'p50 µs':>9}{'p99 µs':>9}{'most µs':>9}")
    for name, runs in (("without joins", node["calm"]), ("with joins", node["stream"])):
        sent, missing = (sum(run[key] for run in runs) for key in ("sent", "missing"))
        times = [median(run[key] for run in runs) for key in ("p50", "p99", "most")]
        print(f"{name:34}{sent:9}{missing:9}" + "".join(f"{each:9.0f}" for each in times))
    print(f"\nmemory of the super node: {node['memory_bytes'] / 2**20:.0f} MiB; of the rendezvous")
    print(f"point for each of {rp['hosts']} hosts: {rp['bytes_per_host']:.0f} bytes")


def main() -> None:
    """Measure, and print a table or JSON."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.joins", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print JSON in place of the table")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="measurements of each kind")
    options = parser.parse_args()
    result = {
        "rendezvous_point": rendezvous_point(options.seconds, options.rounds, SUPER_NODES),
        "super_node": super_node(options.seconds, options.rounds, STANDING),
    }
    if options.json:
        print(json.dumps(result, indent=2))
    else:
        show(result)


if __name__ == "__main__":
    main()

"""How long joins take while an RP is flooded with openings, and what became of the flood.

`python -m tests.attacks.flooded_joins --rate 50000 --joins 15` as root: real processes in
namespaces. One line of JSON for each join, then one with the sums: what was really sent, what the
kernel handed to the RP and what it dropped, what was answered, and the RP's processor time.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dmmp.demo.internet import Host, Internet
from dmmp.demo.overlay import Overlay
from tests.attacks.lab import FORGED, Attack, counters

WARM_UP = 2.0
"""Seconds of flood before the first join."""

DEGREE = "40"
"""Places at the super node: who has just left must be in nobody's way."""


@contextmanager
def lab() -> Iterator[Overlay]:
    """Run an RP, a source and a super node; an attacker and a joiner are there too."""
    with (
        tempfile.TemporaryDirectory(prefix="dmmp-") as path,
        Internet.build(("rp", "source", "s1", "eve", "late")) as internet,
        Overlay(internet, Path(path)) as overlay,
    ):
        internet.router.ip(f"route add blackhole {FORGED}")
        overlay.rp()
        overlay.source("source", "--out-degree", "1")
        overlay.super_node("s1", "--out-degree", DEGREE)
        overlay.wait_joined()
        overlay.admission.host("late", "member", ())
        yield overlay


def udp_counters(host: Host) -> dict[str, int]:
    """Read what a host's kernel has counted of UDP over IPv4."""
    lines = host.run("cat", "/proc/net/snmp").stdout.splitlines()
    names, values = [line.split()[1:] for line in lines if line.startswith("Udp:")]
    return dict(zip(names, map(int, values), strict=True))


def measure(overlay: Overlay, options: Namespace) -> dict[str, object]:
    """Flood, join, and give the sums; a rate of 0 is no flood."""
    internet, rp = overlay.internet, overlay["rp"]
    files = overlay.directory / "authority"
    session = str(files / "session.toml")
    attack = None
    if options.rate:
        words = [str(rp.host.address), "--sources", FORGED, "--session-file", session]
        words += ["--rate", str(options.rate), "--count", "1000000000"]
        words += ["--seconds", str(options.seconds), *options.attacker]
        attack = Attack(internet["eve"], "openings", *words)
    time.sleep(WARM_UP)
    before, counted, used = udp_counters(rp.host), counters(rp), rp.processor_seconds()
    begun = time.monotonic()
    late = internet["late"].popen(
        *(sys.executable, "-m", "tests.attacks.joiner", "--session-file", session),
        *("--credential", str(files / "late.pem"), "--joins", str(options.joins)),
    )
    assert late.stdout is not None
    joins = []
    for line in late.stdout:
        sys.stdout.write(line)
        joins.append(json.loads(line))
    took = time.monotonic() - begun
    after, again = udp_counters(rp.host), counters(rp)
    used = rp.processor_seconds() - used
    running = attack is None or attack.process.poll() is None
    if attack is not None:
        attack.process.terminate()
    per_second = {
        name: round((after[name] - before[name]) / took)
        for name in ("InDatagrams", "InErrors", "RcvbufErrors", "OutDatagrams")
    }
    changed = {name: again[name] - counted.get(name, 0) for name in again}
    return {
        "sent": attack.finish() if attack is not None else None,
        "seconds": round(took, 1),
        "flooded_to_the_end": running,
        "a second": per_second,
        "counted": {name: count for name, count in changed.items() if count},
        "processor": round(used / took, 2),
        **{name: spread([join[name] for join in joins]) for name in ("answered", "placed")},
    }


def spread(found: list[float | None]) -> dict[str, object]:
    """Give the least, the middle and the most of times, and how many there are."""
    times = sorted(each for each in found if each is not None)
    if not times:
        return {"count": 0, "of": len(found)}
    middle = times[len(times) // 2]
    return {
        "count": len(times),
        "of": len(found),
        "least": times[0],
        "median": middle,
        "most": times[-1],
        "within_two": sum(each <= 2 for each in times),
    }


def main() -> int:
    """Run as a program."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=int, default=50_000, help="openings a second; 0: none")
    parser.add_argument("--joins", type=int, default=15)
    parser.add_argument("--seconds", type=float, default=90.0, help="the flood's length at most")
    parser.add_argument("attacker", nargs="*", help="more words for the attacker, behind --")
    options = parser.parse_args()
    Internet.sweep()
    with lab() as overlay:
        sys.stdout.write(json.dumps(measure(overlay, options)) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""The small Internet of namespaces: what passes between its hosts, and what is left of it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dmmp.demo.internet import NETNS, Host, Internet, InternetError
from dmmp.demo.programs import program_command
from dmmp.demo.user_namespace import MARK, UNSHARE

pytestmark = [pytest.mark.namespace, pytest.mark.alone]

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def internet() -> Iterator[Internet]:
    with Internet.build(["a", "b", "c"]) as built:
        yield built


def transmit(source: Host, target: Host, flow: str, *sending: str) -> dict[str, Any]:
    """Send a flow from one host, receive it on another; return what the receiver reports."""
    receiver = target.popen(*program_command("receive", flow, "--sequence"))
    assert receiver.stdout is not None
    assert receiver.stdout.readline() == "ready\n"
    source.run(*program_command("send", flow, *sending))
    # Whatever was on its way arrives within this, unless a queue of 50 ms is in between.
    time.sleep(0.15)
    receiver.terminate()
    report: dict[str, Any] = json.loads(receiver.stdout.read())["flows"][0]
    assert receiver.wait() == 0
    return report


def our_namespaces() -> list[str]:
    return [name for name in os.listdir(NETNS) if name.startswith(f"dmmp-{os.getpid()}-")]


BRIEFLY = ("--rate", "8M", "--count", "100")


def test_unicast_passes_over_ipv4(internet: Internet) -> None:
    report = transmit(internet["a"], internet["b"], f"{internet['b'].address}:5004", *BRIEFLY)
    assert report["count"] == 100
    assert report["sequence"]["reordered"] == report["sequence"]["lost"] == 0


def test_unicast_passes_over_ipv6(internet: Internet) -> None:
    report = transmit(internet["a"], internet["b"], f"[{internet['b'].address6}]:5004", *BRIEFLY)
    assert report["count"] == 100


@pytest.mark.parametrize("group", ["239.1.2.3:5004", "[ff1e::1234]:5004"])
def test_multicast_leaves_the_host_but_passes_nowhere(internet: Internet, group: str) -> None:
    before = internet.uplink_packets("a")
    assert transmit(internet["a"], internet["b"], group, *BRIEFLY)["count"] == 0
    assert internet.uplink_packets("a") - before >= 100


@pytest.mark.parametrize("group", ["239.1.2.3:5004", "[ff1e::1234]:5004"])
def test_a_member_on_the_senders_own_host_hears_every_datagram(
    internet: Internet, group: str
) -> None:
    assert transmit(internet["a"], internet["a"], group, *BRIEFLY)["count"] == 100


def test_the_counters_count_what_was_sent(internet: Internet) -> None:
    before = internet.uplink_bytes("a")
    transmit(internet["a"], internet["b"], f"{internet['b'].address}:5004", *BRIEFLY)
    # 1316 bytes and the Ethernet, IPv4 and UDP headers; a little for neighbour discovery.
    assert 0 <= internet.uplink_bytes("a") - before - 100 * (1316 + 14 + 20 + 8) < 2000


def test_a_rate_limit_limits(internet: Internet) -> None:
    flow = f"{internet['c'].address}:5004"
    # Four times the limit for a second: a quarter passes, and what the queue holds.
    internet.limit("a", 2e6)
    limited = transmit(internet["a"], internet["c"], flow, "--rate", "8M", "--seconds", "1")
    internet.unlimit("a")
    free = transmit(internet["a"], internet["c"], flow, "--rate", "8M", "--seconds", "1")
    assert 150 < limited["count"] < 400
    assert free["count"] == 760


def test_loss_loses_its_share(internet: Internet) -> None:
    flow = f"{internet['b'].address}:5004"
    internet.lose("b", 0.25)
    lossy = transmit(internet["a"], internet["b"], flow, "--rate", "40M", "--count", "1000")
    internet.lose("b", 0)
    clean = transmit(internet["a"], internet["b"], flow, "--rate", "40M", "--count", "1000")
    assert 650 < lossy["count"] < 850
    assert clean["count"] == 1000


def test_blocked_hosts_still_hear_the_others(internet: Internet) -> None:
    flow = f"{internet['b'].address}:5004"
    internet.block("a", "b")
    try:
        assert transmit(internet["a"], internet["b"], flow, *BRIEFLY)["count"] == 0
        assert transmit(internet["c"], internet["b"], flow, *BRIEFLY)["count"] == 100
    finally:
        internet.unblock_all()
    assert transmit(internet["a"], internet["b"], flow, *BRIEFLY)["count"] == 100


@pytest.mark.parametrize("version", [4, 6])
def test_a_cut_link_carries_nothing_until_mended(internet: Internet, version: int) -> None:
    target = internet["b"]
    flow = f"{target.address}:5004" if version == 4 else f"[{target.address6}]:5004"
    internet.cut("b")
    try:
        assert transmit(internet["a"], internet["b"], flow, *BRIEFLY)["count"] == 0
    finally:
        internet.mend("b")
    deadline = time.monotonic() + 5
    while transmit(internet["a"], target, flow, *BRIEFLY)["count"] < 100:
        assert time.monotonic() < deadline


def test_a_failing_command_says_where_and_why(internet: Internet) -> None:
    with pytest.raises(InternetError, match=r"on a: cat /nowhere: .*No such file"):
        internet["a"].run("cat", "/nowhere")


def test_nothing_is_left_after_the_end_or_an_exception(internet: Internet) -> None:
    before = our_namespaces()
    with pytest.raises(RuntimeError), Internet.build(2) as other:
        sleeper = other["h1"].popen("sleep", "100")
        assert len(our_namespaces()) == len(before) + 3
        assert other["h1"].process_ids() == [sleeper.pid]
        raise RuntimeError
    assert our_namespaces() == before
    assert sleeper.returncode == -signal.SIGTERM


def test_a_failed_build_leaves_nothing(internet: Internet) -> None:
    before = our_namespaces()
    with pytest.raises(InternetError):
        Internet.build(["x"], rates={"x": -1.0})
    assert our_namespaces() == before


def test_names_must_differ() -> None:
    with pytest.raises(InternetError, match="differ"):
        Internet.build(["x", "x"])


def start_other_process() -> tuple[subprocess.Popen[str], list[str]]:
    """Start a process that builds an Internet and waits; return it and its namespaces."""
    program = textwrap.dedent("""
        import time
        from dmmp.demo.internet import Internet
        with Internet.build(["x"]) as internet:
            internet["x"].popen("sleep", "100")
            print(internet["x"].namespace, internet.router.namespace, flush=True)
            time.sleep(100)
    """)
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    assert process.stdout is not None
    names = process.stdout.readline().split()
    assert len(names) == 2
    return process, names


def test_nothing_is_left_after_sigterm() -> None:
    process, names = start_other_process()
    process.terminate()
    process.communicate(timeout=10)
    assert process.returncode == 128 + signal.SIGTERM
    assert not any((NETNS / name).exists() for name in names)


def test_sweep_removes_what_a_killed_process_left_and_nothing_else(internet: Internet) -> None:
    process, names = start_other_process()
    ours = our_namespaces()
    assert not set(Internet.sweep()) & set(names)
    process.kill()
    process.communicate(timeout=10)
    assert all((NETNS / name).exists() for name in names)
    assert set(Internet.sweep()) >= set(names)
    assert not any((NETNS / name).exists() for name in names)
    assert our_namespaces() == ours


def test_it_also_works_in_a_user_namespace() -> None:
    possible = subprocess.run([*UNSHARE, "true"], capture_output=True, text=True, check=False)
    if possible.returncode:
        pytest.skip(f"no user namespaces on this machine: {possible.stderr.strip()}")
    program = textwrap.dedent("""
        from dmmp.demo.internet import Internet
        from dmmp.demo.programs import program_command
        from dmmp.demo.user_namespace import in_user_namespace, reexec_in_user_namespace
        reexec_in_user_namespace()
        assert in_user_namespace()
        with Internet.build(2, rates={"h1": 1e8}, losses={"h2": 0.01}) as internet:
            flow = f"{internet['h2'].address}:5"
            receiver = internet["h2"].popen(*program_command("receive", flow, "--count", "1"))
            receiver.stdout.readline()
            internet["h1"].run(*program_command("send", flow, "--seconds", "0.1"))
            print(receiver.stdout.read())
    """)
    # What `reexec_in_user_namespace` does for an ordinary user, done to root.
    done = subprocess.run(
        [*UNSHARE, sys.executable, "-c", program],
        env=dict(os.environ, **{MARK: "entering"}),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["flows"][0]["count"] >= 1

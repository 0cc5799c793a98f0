"""The command line as people use it: real processes, and one clear line for every mistake."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from dmmp import __version__
from dmmp.cli import main, tools
from dmmp.cli.nodes import member
from dmmp.cli.options import (
    OUT_DEGREE_LIMIT,
    out_degree,
    parse_delay,
    parse_probability,
    parse_rate,
)
from dmmp.errors import UsageError
from dmmp.messages import ProbeRequest, encode
from dmmp.runtime import node
from dmmp.runtime.control import DIRECTORY_VARIABLE
from dmmp.runtime.node import NodeOptions
from dmmp.runtime.observe import EventLines
from tests.marks import slow

SECONDS = 30


NODES = ("rp", "source", "member", "super-node")


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    return dict(os.environ, **{DIRECTORY_VARIABLE: str(tmp_path)})


def unsecured(arguments: Sequence[str]) -> list[str]:
    """Let nodes do without security: that is tested elsewhere."""
    if arguments[0] not in NODES:
        return list(arguments)
    return [arguments[0], "--security", "none", *arguments[1:]]


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "dmmp", *unsecured(arguments)]


def run(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*arguments), env=environment, capture_output=True, text=True, timeout=SECONDS
    )


class Running:
    """A long-running command, and what it says."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.said: list[str] = []

    def says(self, pattern: str) -> re.Match[str]:
        """Read lines until one matches."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.said.append(line)
            if found := re.search(pattern, line):
                return found
        raise AssertionError(f"never said {pattern!r}, but: {''.join(self.said)}")

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(SECONDS)


@contextmanager
def started(environment: dict[str, str], *arguments: str) -> Iterator[Running]:
    process = subprocess.Popen(
        command(*arguments),
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield Running(process)
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


@contextmanager
def rendezvous_point(environment: dict[str, str], *arguments: str) -> Iterator[tuple[Running, str]]:
    """Start one for session `demo`; give it and its address."""
    listening = ("rp", "--listen", "127.0.0.1:0", "--session", "demo", *arguments)
    with started(environment, *listening) as running:
        yield running, running.says(r"ready: .* on (127\.0\.0\.1:\d+)")[1]


HOST = ("member", "--rp", "127.0.0.1:9", "--session", "demo")
INTERFACE = (*HOST, "--interface", "lo")

MISTAKES = {
    "unknown flag": (("member", "--bogus"), "--bogus"),
    "unknown command": (("frobnicate",), "frobnicate"),
    "no rendezvous point": (("member", "--session", "demo"), "--rp"),
    "no session": (("member", "--rp", "127.0.0.1"), "--session"),
    "flag without value": (("member", "--rp"), "--rp"),
    "empty session": (("rp", "--session", ""), "--session"),
    "long session": (("rp", "--session", "x" * 65), "--session"),
    "bad address": (("rp", "--session", "demo", "--listen", "nowhere:1"), "write for example"),
    "bad port": (("rp", "--session", "demo", "--listen", "127.0.0.1:99999"), "port"),
    "strange address": (("rp", "--session", "demo", "--listen", "192.0.2.1:5"), "ip address"),
    "no name": (("member", "--rp", "not a name", "--session", "demo"), "HOST"),
    "bad rate": ((*HOST, "--bandwidth", "fast"), "8M"),
    "bad stream rate": ((*HOST, "--stream-rate", "0"), "8M"),
    "no rate limit": ((*HOST, "--rate-limit", "fast"), "8M"),
    "rate limit without unit": ((*HOST, "--rate-limit", "20"), "20M"),
    "bad out-degree": ((*HOST, "--out-degree", "-1"), "0 to"),
    "bad MTU": ((*HOST, "--mtu", "20"), "--mtu"),
    "negative delay": ((*HOST, "--ordered", "-1"), "--ordered"),
    "delay that is no number": ((*HOST, "--ordered", "soon"), "--ordered"),
    "delay without end": ((*HOST, "--ordered", "inf"), "--ordered"),
    "delay not a number": ((*HOST, "--ordered", "nan"), "--ordered"),
    "probability of two": ((*HOST, "--randomized", "2"), "--randomized"),
    "no probability": ((*HOST, "--randomized", "often"), "--randomized"),
    "not multicast": ((*INTERFACE, "--group", "10.1.2.3"), "not multicast"),
    "link-local group": ((*INTERFACE, "--group", "224.0.0.5"), "link-local"),
    "no group": (INTERFACE, "--group"),
    "no interface": ((*HOST, "--interface", "nope0", "--group", "239.1.2.3"), "ip link"),
    "group on a TUN": ((*HOST, "--group", "239.1.2.3"), "--interface"),
    "two edges": ((*INTERFACE, "--group", "239.1.2.3", "--tun", "t0"), "choose one"),
    "bad TUN name": ((*HOST, "--tun", "much-too-long-a-name"), "too long"),
    "bad TUN address": ((*HOST, "--tun-address", "10.0.0.1"), "10.0.0.1/24"),
    "bad node name": ((*HOST, "--name", "a/b"), "--name"),
    "bad log level": ((*HOST, "--log-level", "loud"), "loud"),
    "too many sessions": (
        ("rp", *(word for number in range(65) for word in ("--session", f"s{number}"))),
        "64",
    ),
    "nobody to show": (("show", "nobody"), "nobody"),
    "nothing to show": (("show",), "no node"),
    "not hexadecimal": (("decode", "zz"), "hexadecimal"),
    "nothing to decode": (("decode",), "--list"),
    "no such capture": (("decode", "missing.pcap"), "missing.pcap"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_clear_line_with_the_cure(
    mistake: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv(DIRECTORY_VARIABLE, str(tmp_path))
    arguments, named = MISTAKES[mistake]
    assert main(unsecured(arguments)) == 2
    said, complained = capsys.readouterr()
    assert said == ""
    assert complained.startswith("dmmp: ") and complained.count("\n") == 1, complained
    assert named in complained and "Traceback" not in complained


def test_a_mistake_ends_the_process_with_its_code(environment: dict[str, str]) -> None:
    done = run(environment, *HOST, "--rate-limit", "fast")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)


@pytest.mark.parametrize("wanted", [True, False])
def test_what_a_user_wants_of_a_node_reaches_it(
    wanted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[NodeOptions] = []

    async def run_host(options: NodeOptions, lines: EventLines) -> int:
        seen.append(options)
        return 0

    monkeypatch.setattr(node, "run_host", run_host)
    flags = ("--pace", "--rate-limit", "20M", "--ordered", "0.2", "--randomized", "0.02")
    assert main(unsecured((*HOST, *flags) if wanted else HOST)) == 0
    (options,) = seen
    told = (options.paces, options.rate_limit, options.ordered, options.randomized)
    assert told == ((True, 20e6, 0.2, 0.02) if wanted else (False, None, None, 0.0))


@pytest.mark.slow
def test_a_taken_port_is_one_clear_line(environment: dict[str, str]) -> None:
    with rendezvous_point(environment) as (_, address):
        done = run(environment, "rp", "--session", "demo", "--listen", address)
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert "is taken" in done.stderr and "--listen" in done.stderr


@pytest.mark.slow
def test_a_taken_name_is_one_clear_line(environment: dict[str, str]) -> None:
    with rendezvous_point(environment, "--name", "point"):
        done = run(
            environment, "rp", "--session", "x", "--listen", "127.0.0.1:0", "--name", "point"
        )
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and "--name" in done.stderr


@pytest.mark.slow
def test_an_unknown_session_is_one_clear_line(environment: dict[str, str]) -> None:
    with rendezvous_point(environment) as (_, address):
        done = run(environment, "super-node", "--rp", address, "--session", "other")
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert "'other'" in done.stderr and "--session" in done.stderr


@pytest.mark.slow
def test_a_session_that_one_of_two_rendezvous_points_serves_is_found(
    environment: dict[str, str],
) -> None:
    other = ("rp", "--listen", "127.0.0.1:0", "--session", "another")
    with started(environment, *other) as wrong, rendezvous_point(environment) as (_, right):
        address = wrong.says(r"ready: .* on (127\.0\.0\.1:\d+)")[1]
        both = ("super-node", "--rp", address, "--rp", right, "--listen", "127.0.0.1:0")
        done = run(environment, *both, "--session", "neither")
        assert done.returncode == 2 and done.stderr.count("\n") == 1 and "'neither'" in done.stderr
        with started(environment, *both, "--session", "demo") as running:
            running.says("^ready")
            assert running.stop() == 0


@pytest.mark.slow
def test_a_second_source_says_so_once_and_waits(environment: dict[str, str]) -> None:
    with rendezvous_point(environment) as (_, address):
        source = ("source", "--rp", address, "--session", "demo", "--listen", "127.0.0.1:0")
        edge = ("--interface", "lo", "--group", "239.1.2.3:5004")
        with started(environment, *source, *edge) as first:
            first.says("^ready")
            with started(environment, *source, *edge) as second:
                second.says("^refused: .*another source.*stop that one.*trying again")
                second.says("^still waiting: .*another source")
                second.says("^still waiting: .*another source")
                assert "".join(second.said).count("refused") == 1
                assert second.stop() == 0
            assert first.stop() == 0


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["member", "super-node"])
def test_a_rendezvous_point_that_dies_and_returns_is_said(
    environment: dict[str, str], kind: str
) -> None:
    edge = ("--interface", "lo", "--group", "239.1.2.3:5004") if kind == "member" else ()
    with rendezvous_point(environment) as (point, address):
        node = (kind, "--rp", address, "--session", "demo", "--listen", "127.0.0.1:0", *edge)
        with started(environment, *node) as running:
            running.says("^ready")
            point.stop(signal.SIGKILL)
            running.says(f"^waiting: the RP at {address} does not answer")
            listening = ("rp", "--listen", address, "--session", "demo")
            with started(environment, *listening) as again:
                again.says("^ready")
                running.says(f"^the RP at {address} answers again")
                again.says("registered, 1 in the session")
                assert running.process.poll() is None
                assert sum(line.startswith("waiting: the RP") for line in running.said) == 1
                assert running.stop() == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to be another user")
@pytest.mark.parametrize("name", [(), ("point",)])
def test_who_may_not_see_roots_nodes_is_told_of_sudo(
    name: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Another user may not be able to read what is imported later.
    import dmmp.cli.tables  # noqa: F401
    from dmmp.runtime import control

    with socket.socket(socket.AF_UNIX) as listening:
        tmp_path.chmod(0o700)
        listening.bind(str(tmp_path / "point.sock"))
        listening.listen()
        monkeypatch.setattr(control, "ROOT_DIRECTORY", tmp_path)
        monkeypatch.setenv(DIRECTORY_VARIABLE, "/tmp/nothing-of-dmmp-is-here")
        assert "sudo" not in control.hint()
        os.seteuid(65534)
        try:
            assert control.hint() == "; root's run here, see them with: sudo dmmp show"
            with pytest.raises(UsageError, match="sudo dmmp show"):
                assert tools.show.callback is not None
                tools.show.callback(*(name or (None,)), as_json=False)
        finally:
            os.seteuid(0)
    monkeypatch.setattr(control, "ROOT_DIRECTORY", tmp_path / "none")
    assert control.hint() == ""


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give privilege away")
def test_no_privilege_is_one_clear_line(environment: dict[str, str]) -> None:
    # setpriv(1) takes the capability away and leaves the files readable.
    without = ["setpriv", "--bounding-set", "-net_admin", "--inh-caps", "-all"]
    done = subprocess.run(
        [*without, *command(*HOST, "--tun", "dmmptest")],
        env=environment,
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    assert done.returncode == 2 and done.stderr.count("\n") == 1, done
    assert "CAP_NET_ADMIN" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.slow
def test_a_silent_rendezvous_point_is_tried_again_and_said(environment: dict[str, str]) -> None:
    # Port 9 discards, if anybody listens there at all.
    silent = ("super-node", "--rp", "127.0.0.1:9", "--session", "demo", "--listen", "127.0.0.1:0")
    with started(environment, *silent) as running:
        running.says(r"waiting: .*127\.0\.0\.1:9")
        running.says(r"waiting: .*127\.0\.0\.1:9")
        assert running.stop() == 0


def test_an_unknown_name_is_tried_again_and_said(environment: dict[str, str]) -> None:
    unknown = ("super-node", "--rp", "nowhere.invalid:5", "--session", "demo")
    with started(environment, *unknown, "--listen", "127.0.0.1:0") as running:
        running.says(r"waiting: .*nowhere\.invalid.*trying again")
        assert running.stop() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, *slow(signal.SIGINT, signal.SIGHUP)])
def test_nodes_start_show_themselves_and_stop(
    environment: dict[str, str], tmp_path: Path, number: int
) -> None:
    with rendezvous_point(environment, "--name", "point") as (point, address):
        arguments = ("--rp", address, "--session", "demo", "--listen", "127.0.0.1:0")
        with started(environment, "super-node", *arguments, "--name", "s1") as running:
            running.says(r"^ready: super-node 's1' of session 'demo'")
            point.says("registered, 1 in the session")
            shown = json.loads(run(environment, "show", "s1", "--json").stdout)
            both = json.loads(run(environment, "show", "--json").stdout)
            text = run(environment, "show", "s1").stdout
            assert running.stop(number) == 0
            assert not (tmp_path / "s1.sock").exists()
        assert point.stop(number) == 0
    assert shown["role"] == "super-node" and shown["session"] == "demo"
    assert shown["node_id"] and shown["node_id"] in text
    assert [node["name"] for node in both] == ["point", "s1"]
    assert both[0]["sessions"][0]["hosts"] == 1
    assert list(tmp_path.glob("*.sock")) == []


STABLE = {
    "role", "node_id", "session", "parent", "depth", "children", "super_node", "groups",
    "counters", "per_group", "drops", "backup", "uptime", "version", "name", "mesh_children",
    "super_nodes", "out_degree", "tree_version", "edge", "listen", "state", "schema",
}  # fmt: skip


@pytest.mark.slow
def test_the_documented_fields_are_there(environment: dict[str, str]) -> None:
    documented = set(
        re.findall(r"^\| `(\w+)`", Path("docs/show.md").read_text(encoding="utf-8"), re.MULTILINE)
    )
    with rendezvous_point(environment) as (_, address):
        arguments = ("--rp", address, "--session", "demo", "--listen", "127.0.0.1:0")
        with started(environment, "super-node", *arguments) as running:
            running.says("^ready")
            shown = json.loads(run(environment, "show", "super-node", "--json").stdout)
    assert set(shown) >= STABLE
    counted = set(shown["counters"]) | set(shown["drops"])
    assert set(shown) | counted <= documented, (set(shown) | counted) - documented


def test_events_and_logs_can_be_json(environment: dict[str, str]) -> None:
    with started(
        environment, "rp", "--listen", "127.0.0.1:0", "--session", "demo", "--log-json"
    ) as running:
        line = json.loads(running.says("ready")[0] and running.said[-1])
    assert line["event"] == "Ready" and line["text"].startswith("ready: rendezvous point")


def test_version_and_help(environment: dict[str, str]) -> None:
    assert run(environment, "--version").stdout == f"dmmp, version {__version__}\n"
    shown = run(environment, "--help")
    assert shown.returncode == 0
    for name in (
        "rp",
        "source",
        "member",
        "super-node",
        "authority",
        "show",
        "sim",
        "decode",
        "demo",
        "doctor",
    ):
        assert f"\n  {name} " in shown.stdout


def test_decode_says_what_a_datagram_says(environment: dict[str, str]) -> None:
    datagram = encode(ProbeRequest(sequence=7, timestamp=5))
    done = run(environment, "decode", datagram.hex(), "--json")
    described = json.loads(done.stdout)
    assert done.returncode == 0 and described["name"] == "ProbeRequest"
    assert {"field": "sequence", "value": "7"}.items() <= {
        key: row[key] for row in described["fields"] if row["field"] == "sequence" for key in row
    }.items()
    cut = run(environment, "decode", datagram[:-1].hex())
    assert cut.returncode == 1 and "Traceback" not in cut.stderr
    listed = json.loads(run(environment, "decode", "--list", "--json").stdout)
    assert any(row["message"] == "JoinRequest" for row in listed)


@pytest.mark.slow
def test_sim_runs_and_repeats(environment: dict[str, str]) -> None:
    arguments = ("sim", "--members", "5", "--seed", "3", "--json")
    first, second = (json.loads(run(environment, *arguments).stdout) for _ in range(2))
    assert first == second and first["failures"] == []
    tree = run(environment, "sim", "--members", "5", "--seed", "3", "--tree")
    assert tree.returncode == 0 and first["digest"] in tree.stdout


def test_doctor_looks_at_this_machine(environment: dict[str, str]) -> None:
    checks = json.loads(run(environment, "doctor", "--json").stdout)
    assert {"Python", "privilege", "rp_filter"} <= {check["name"] for check in checks}
    assert all(check["state"] in ("ok", "warn", "fail") for check in checks)
    assert "Python" in run(environment, "doctor").stdout


def test_a_member_imports_nothing_slow() -> None:
    program = "import dmmp.cli, dmmp.runtime.node, sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    loaded = set(done.stdout.split())
    assert "dmmp.runtime.node" in loaded, done.stderr
    assert not loaded & {"networkx", "rich", "dns", "pyroute2", "dmmp.sim"}


@pytest.mark.parametrize(
    ("text", "rate"), [("8M", 8e6), ("1.5G", 1.5e9), ("500k", 5e5), ("100", 100), ("2Mbit/s", 2e6)]
)
def test_rates(text: str, rate: float) -> None:
    assert parse_rate("--bandwidth", text) == rate


@pytest.mark.parametrize("text", ["", "M", "-8M", "8X", "0", "8 8M", "nan", "1e9", "9" * 400])
def test_what_is_no_rate_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--bandwidth"):
        parse_rate("--bandwidth", text)


def test_the_out_degree_follows_the_rates_unless_given() -> None:
    assert out_degree("100M", "8M", None) == 11
    assert out_degree("50M", "9M", None) == 5
    assert out_degree("8M", "8M", None) == 0
    assert out_degree("7M", "8M", None) == 0
    assert out_degree("1T", "1k", None) == OUT_DEGREE_LIMIT
    assert out_degree("100M", "8M", 3) == 3


def test_a_delay_is_seconds_and_off_unless_asked_for() -> None:
    assert parse_delay("--ordered", None) is None
    assert [parse_delay("--ordered", text) for text in ("0.5", "1e-3", "10")] == [0.5, 0.001, 10]
    for text in ("0", "10.1", "", "1s"):
        with pytest.raises(UsageError, match="--ordered"):
            parse_delay("--ordered", text)


def test_a_probability_has_a_usual_value_and_is_none_unless_asked_for() -> None:
    assert parse_probability("--randomized", None) == 0
    where = ["--rp", "127.0.0.1", "--session", "demo"]
    for arguments, meant in ((["--randomized"], 0.01), (["--randomized", "0.2"], 0.2)):
        given = member.make_context("member", [*where, *arguments]).params["randomized"]
        assert parse_probability("--randomized", given) == meant

"""Attacks on real programs over real sockets, from hosts that forge their addresses.

Captures are the judges of what went out; what is counted in time is only recorded. Rows 1 to 9, 15
and 18; `DMMP_ATTACK_COUNT` of a million or more floods each role for ten seconds, 40,000 datagrams
a second.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from dmmp.demo.internet import Internet
from dmmp.demo.overlay import Overlay
from dmmp.security.identity import Credential, static_public
from dmmp.security.limits import Limits
from tests.acceptance.lab import record
from tests.attacks import attack_count
from tests.attacks.lab import (
    FORGED,
    MARKER,
    ROLES,
    Attack,
    Capture,
    Stream,
    counters,
    epoch_secrets,
    holds,
    lab,
    places,
    resident,
)
from tests.marks import long

pytestmark = [pytest.mark.namespace, pytest.mark.alone]

FULL = attack_count(0) >= 1_000_000
SECONDS = "10" if FULL else "3"
RATE = ("--rate", "40000") if FULL else ("--rate", "12000")
"""Datagrams a second: above some 60,000 this machine's two processors are the limit, not a node."""

TARGETS: dict[str, tuple[str, ...]] = {role: (name,) for role, name in ROLES.items()}
if not FULL:
    TARGETS = {"everybody": tuple(ROLES.values())}
OPENINGS = "50000"
MOST = "100000000"
GROWTH = 512 << 10
"""Bytes: an attack may take 64 KiB of them (`test_junk`), the rest is for the stream meanwhile."""

JOIN = 12.0
"""Seconds for a join among openings, the start of its process included. Without the doorman it
takes two to five seconds or fails (`flooded_joins`); with him, less than one."""


@pytest.fixture(scope="module")
def overlay() -> Iterator[Overlay]:
    """Give one overlay for all: no attack may break it."""
    Internet.sweep()
    with lab() as made:
        yield made


def test_the_stream_is_in_clear_nowhere_and_a_replay_of_all_changes_nothing(
    overlay: Overlay,
) -> None:
    internet, path = overlay.internet, overlay.directory / "all.pcap"
    capture = Capture(internet.router, path, "udp", interface="any")
    stream = Stream(overlay, "400k")
    time.sleep(2.0)
    sent = stream.stop()
    time.sleep(1.0)
    captured = capture.finish()
    options = {int.from_bytes(each.payload[2:4]) for each in captured}
    assert len(captured) > 3 * sent and {0x00, 0xD3, 0xDC} <= options
    assert not [each for each in captured if MARKER[:16] in each.payload]
    assert MARKER[:16] not in path.read_bytes()
    before, established = places(overlay), counters(overlay["m1"])["established"]
    figures = Attack(internet["eve"], "replayer", str(path)).finish()
    assert figures["packets"] >= len(captured) * 0.99
    time.sleep(2.0)
    assert places(overlay) == before
    assert counters(overlay["m1"])["established"] == established
    assert counters(overlay["m1"])["replayed"] > 0
    # And from another address: whoever sends it is answered by nobody.
    seen = Capture(internet["victim"], overlay.directory / "moved.pcap", "udp", "and", "inbound")
    victim = f"{internet['victim'].address}:4000"
    moved = Attack(internet["eve"], "resourcing", str(path), victim).finish()
    assert moved["packets"] > 10
    time.sleep(1.0)
    assert seen.finish() == []
    for report in stream.reports().values():
        assert report["sequence"]["duplicates"] == 0
        assert report["sequence"]["distinct"] == sent
    assert places(overlay) == before


def test_whoever_only_relays_holds_no_key(overlay: Overlay) -> None:
    secrets = epoch_secrets(overlay, "m1")
    assert secrets and not epoch_secrets(overlay, "s1")
    assert secrets[-1] in epoch_secrets(overlay, "source")
    # What is looked for can be found where it is.
    assert holds(overlay["m1"], secrets[-1])
    for name in ("s1", "rp"):
        assert not [each for each in secrets if holds(overlay[name], each)]


@pytest.mark.parametrize("attacker", ["junk", "wrong_keys", "blind_data"])
@pytest.mark.parametrize("whom", sorted(TARGETS))
def test_a_flood_earns_nothing(overlay: Overlay, whom: str, attacker: str) -> None:
    internet, nodes = overlay.internet, [overlay[name] for name in TARGETS[whom]]
    sources = FORGED
    if attacker != "junk":
        # The right addresses: those of its neighbours.
        names = [name for name in ROLES.values() if len(nodes) > 1 or name != nodes[0].name]
        sources = ",".join(f"{internet[name].address}:47700" for name in names)
    stream = Stream(overlay)
    words = [*(str(node.host.address) for node in nodes), "--sources", sources, *RATE]
    words += ["--count", MOST]
    Attack(internet["eve"], attacker, *words, "--seconds", "1").finish()
    filters = ("src", "net", "10.77.0.0/16", "and", "dst", "net", FORGED)
    replies = Capture(internet.router, overlay.directory / "out", *filters, interface="any")
    memory = [resident(node) for node in nodes]
    before = [counters(node) for node in nodes]
    figures = Attack(internet["eve"], attacker, *words, "--seconds", SECONDS).finish()
    growth = [resident(node) - was for node, was in zip(nodes, memory, strict=True)]
    after = [counters(node) for node in nodes]
    sent, reports = stream.finish()
    got = {name: report["sequence"]["distinct"] for name, report in reports.items()}
    record(
        "flood",
        {"whom": whom, "attacker": attacker, "rate": figures["rate"]}
        | {"packets": figures["packets"], "growth": growth, "sent": sent, "got": got},
    )
    assert replies.finish() == []
    # Neighbours renew what they have now and then; nobody is asked for a cookie, or refused.
    for name in ("cookie_replies_sent", "refused"):
        assert [new.get(name, 0) for new in after] == [old.get(name, 0) for old in before]
    assert min(got.values()) >= 0.999 * sent
    assert all(report["sequence"]["duplicates"] == 0 for report in reports.values())
    # What a stream needs is taken meanwhile: a cache of two seconds, and what one read brings.
    assert max(growth) <= GROWTH


@pytest.mark.parametrize("mac2", ["none", "noise"])
def test_a_true_host_gets_in_among_false_openings(overlay: Overlay, mac2: str) -> None:
    internet, node = overlay.internet, overlay["rp"]
    session = str(overlay.directory / "authority" / "session.toml")
    words = [str(node.host.address), "--sources", FORGED, "--session-file", session]
    words += ["--rate", OPENINGS, "--count", MOST, "--seconds", "40"]
    words += ["--noise"] if mac2 == "noise" else []
    before = counters(node)
    attack = Attack(internet["eve"], "openings", *words)
    time.sleep(1.0)
    late = overlay.member("late") if "late" not in overlay.nodes else overlay.restart("late")
    most, deadline = 0, time.monotonic() + JOIN
    while not late.is_joined and time.monotonic() < deadline:
        document = node.show()
        if document is not None:
            most = max(most, document["security"]["tables"]["half_open"])
        time.sleep(0.02)
    document = late.show()
    assert attack.process.poll() is None
    attack.process.terminate()
    figures = attack.finish()
    assert document is not None and document["parent"] is not None
    record(
        "openings",
        {"mac2": mac2, "rate": figures["rate"], "joined": document["uptime"], "half_open": most},
    )
    assert most <= Limits().half_open
    after = counters(node)
    assert after["cookie_replies_sent"] - before.get("cookie_replies_sent", 0) > 10_000
    if mac2 == "noise":
        assert after["mac2"] > 10_000
    late.stop()


@pytest.mark.parametrize("mac2", [*long("none"), "noise"])
def test_openings_at_a_relay_cost_the_stream_nothing(overlay: Overlay, mac2: str) -> None:
    internet, node = overlay.internet, overlay["s1"]
    key = Credential.parse((overlay.directory / "authority" / "s1.pem").read_text()).static_secret
    session = str(overlay.directory / "authority" / "session.toml")
    words = [str(node.host.address), "--sources", FORGED, "--session-file", session, *RATE]
    words += ["--key", static_public(key).hex(), "--count", MOST, "--seconds", SECONDS]
    words += ["--noise"] if mac2 == "noise" else []
    before = counters(node)
    stream = Stream(overlay)
    figures = Attack(internet["eve"], "openings", *words).finish()
    sent, reports = stream.finish()
    got = {name: report["sequence"]["distinct"] for name, report in reports.items()}
    answered = counters(node)["cookie_replies_sent"] - before.get("cookie_replies_sent", 0)
    record(
        "openings at a relay",
        {"mac2": mac2, "rate": figures["rate"], "answered": answered, "sent": sent, "got": got},
    )
    assert 0 < answered < figures["packets"]
    assert min(got.values()) >= 0.999 * sent
    assert all(report["sequence"]["duplicates"] == 0 for report in reports.values())


def test_a_victim_gets_no_more_than_came_in_its_name(overlay: Overlay) -> None:
    internet, victim = overlay.internet, overlay.internet["victim"].address
    session = str(overlay.directory / "authority" / "session.toml")
    filters = ("udp", "and", "host", str(victim))
    capture = Capture(internet.router, overlay.directory / "in", *filters, interface="any")
    everybody = [str(overlay[name].host.address) for name in ROLES.values()]
    few = ("--session-file", session, "--count", "400")
    many = ("--session-file", session, "--count", "3000")
    for attacker, targets, words in (
        ("junk", everybody, ("--count", "4000")),
        ("wrong_keys", everybody, ("--count", "4000")),
        ("blind_data", everybody, ("--count", "2000")),
        # To the RP, whose key all know, first few and then enough for load.
        ("openings", everybody[:1], few),
        ("openings", everybody[:1], many),
        ("openings", everybody, few),
    ):
        common = [*targets, "--sources", f"{victim}:4000", "--rate", "3000"]
        Attack(internet["eve"], attacker, *common, *words).finish()
    # As long as a host would try again what it has begun.
    time.sleep(8.0)
    captured = capture.finish()
    for role, name in ROLES.items():
        address = overlay[name].host.address
        into = [each for each in captured if each.destination.address == address]
        out = [each for each in captured if each.source.address == address]
        sizes = [sum(len(each.payload) for each in side) for side in (into, out)]
        figures = {"in": [len(into), sizes[0]], "out": [len(out), sizes[1]]}
        record("amplification", {"role": role} | figures)
        assert len(into) > 1000
        assert len(out) <= len(into) and sizes[1] <= sizes[0]
        # One that never answers anybody would make this no test.
        assert bool(out) == (role == "rp")

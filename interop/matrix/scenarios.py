"""What is played: the scenarios, each with what it needs, what is done, and how it is judged."""

from __future__ import annotations

import struct
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from dmmp.demo.admission import CERTIFICATES, NONE, SHARED_SECRET
from dmmp.messages import ProbeRequest, SubscriptionRequest, encode
from dmmp.types import HostId, SessionId
from interop.matrix import checks, reordering
from interop.matrix.captured import of_stream, parent_of
from interop.matrix.contract import PORT, SESSION
from interop.matrix.evidence import MEMBERS, STRANGER, Evidence
from interop.matrix.stage import ROLES, Broken, Stage

SETTLE: Final = 2.0
"""A tree that has just been built still moves a little."""

BACKUPS: Final = 6.0
"""Until members have refreshed their parent, from whom they know whom else to turn to."""

PLAY: Final = 4.0
REBOUND: Final = 15.0
LONG: Final = 60.0
NARROW_BYTES: Final = 1280
VERSIONS: Final = (0, 2, 255)
ASKING: Final = """
import socket, sys
one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for word in sys.argv[2:]:
    address, _, content = word.partition("=")
    one.sendto(bytes.fromhex(content), (address, int(sys.argv[1])))
"""
"""A stranger's program: PORT ADDRESS=HEXADECIMAL …"""

Judge = Callable[[Evidence], list[str]]


@dataclass(frozen=True, slots=True)
class Scenario:
    """One thing that may happen to a session."""

    name: str
    says: str
    play: Callable[[Stage], None]
    judges: tuple[Judge, ...]
    """What is asked beside that nothing false or malformed is there (`judge`)."""

    security: str = CERTIFICATES
    version: int = 4
    seconds: float = 15.0
    """About how long a cell takes; the longest are begun first."""

    def judge(self, evidence: Evidence) -> list[str]:
        """List all that is wrong."""
        asked = (checks.pure, checks.readable, *self.judges)
        return [complaint for check in asked for complaint in check(evidence)]


def calmly(stage: Stage, seconds: float = PLAY) -> None:
    """Play the stream to everybody, and do nothing."""
    stage.begin()
    stage.await_members()
    stage.play(seconds)


def late_join(stage: Stage) -> None:
    """Start a member when the stream runs already."""
    stage.begin(without=["m2"])
    stage.await_members(["m1", "m3"])
    stage.play(SETTLE)
    stage.start("m2")
    first = stage.first
    stage.await_members(["m2"])
    stage.first = first
    stage.play(PLAY)


def lossily(stage: Stage, share: float) -> None:
    """Let the links to super nodes and members lose a share of all packets."""
    stage.begin()
    stage.await_members()
    stage.play(SETTLE)
    names = [name for name in ROLES if name not in ("rp", "source")]
    stage.internet.segment()
    for name in names:
        stage.internet.lose(name, share)
    stage.play(PLAY)
    lost = stage.marks["lost"] = sum(stage.internet.lost(name)[1] for name in names)
    stage.notes.append(f"{lost} large packets lost")


def reordered(stage: Stage) -> None:
    """Let packets to super nodes and members overtake each other."""
    stage.begin()
    stage.await_members()
    stage.play(SETTLE)
    names = [name for name in ROLES if name not in ("rp", "source")]
    reordering.disturb(stage.internet, [stage.address(name) for name in names])
    stage.play(PLAY)
    held = stage.marks["held up"] = reordering.held(stage.internet)
    stage.notes.append(f"{held} packets held up")


def rebound(stage: Stage) -> None:
    """Give a member another address in the middle of the stream."""
    stage.begin()
    stage.await_members()
    stage.play(SETTLE)
    stage.mark("rebound")
    address = stage.rebind("m1")
    stage.play(REBOUND)
    first = next(of_stream(stage.captured(), (address,)), None)
    again = stage.marks["heard again"] = first.time - stage.marks["rebound"] if first else 0.0
    stage.notes.append(f"fed again after {again:.1f} s")


def parent_dies(stage: Stage) -> None:
    """Kill the host that feeds a member of the edge, whoever it is but the source."""
    stage.begin()
    stage.await_members()
    stage.play(BACKUPS)
    packets = stage.captured()
    names: dict[object, str] = {stage.address(name): name for name in ROLES}
    parents = [parent_of(packets, stage.address(member)) for member in MEMBERS]
    found = [names[parent] for parent in parents if parent in names]
    victim = next((name for name in found if name != "source"), None)
    if victim is None:
        raise Broken("the source itself feeds every member: there is no parent to kill")
    stage.notes.append(f"{victim} killed, of {stage.participant(victim).name}")
    stage.kill(victim)
    stage.play(PLAY)


def rendezvous_dies(stage: Stage) -> None:
    """Kill the rendezvous point."""
    stage.begin()
    stage.await_members()
    stage.play(SETTLE)
    stage.kill("rp")
    stage.play(PLAY)


def one_leaves(stage: Stage, name: str) -> None:
    """Ask a member to leave."""
    stage.begin()
    stage.await_members()
    stage.play(SETTLE)
    stage.mark("leaving")
    stage.leave(name)
    stage.mark("left")
    stage.play(PLAY)
    stage.mark("ended")


def narrowly(stage: Stage) -> None:
    """Let the members of the edge have links that a full datagram does not fit through."""
    for name in ("m1", "m2"):
        stage.narrow(name, NARROW_BYTES)
    calmly(stage)
    large = stage.marks["too large"] = stage.too_large()
    stage.notes.append(f"{large} packets too large for a link")


def other_versions(stage: Stage) -> None:
    """Let a stranger speak other versions to everybody, and then ours."""
    stage.begin()
    stage.await_members()
    stage.play(SETTLE / 2)
    session = SessionId(struct.unpack_from("!I", stage.captured()[-1].payload, 4)[0])
    probe = encode(ProbeRequest(session=session, source=HostId(77), sequence=2, timestamp=1))
    words = [probe, encode(SubscriptionRequest(sequence=1, group_name=SESSION))]
    _ask(stage, [bytes([version]) + word[1:] for version in VERSIONS for word in words])
    stage.play(SETTLE)
    stage.mark("asked well")
    _ask(stage, [probe])
    stage.play(SETTLE / 2)


def _ask(stage: Stage, words: Sequence[bytes]) -> None:
    """Send these datagrams from the stranger to every host."""
    asked = [f"{stage.address(name)}={word.hex()}" for name in ROLES for word in words]
    stage.internet[STRANGER].run(sys.executable, "-I", "-S", "-c", ASKING, str(PORT), *asked)


def _loss(percent: int, least: float = 1.0) -> Scenario:
    return Scenario(
        f"loss-{percent}",
        f"links lose {percent} % of what they carry",
        partial(lossily, share=percent / 100),
        (partial(checks.whole, least=least), partial(checks.disturbed, mark="lost")),
        seconds=17,
    )


SCENARIOS: Final = (
    Scenario(
        "handshake",
        "certificates: members shake hands; nothing is in the clear",
        calmly,
        (checks.whole, checks.associated),
    ),
    Scenario(
        "secret",
        "a shared secret: the same",
        calmly,
        (checks.whole, checks.associated),
        security=SHARED_SECRET,
    ),
    Scenario(
        "join",
        "without security: members register and find places",
        calmly,
        (checks.whole, checks.joined),
        security=NONE,
    ),
    Scenario(
        "late-join",
        "a member comes into the stream and lacks nothing from its first datagram on",
        late_join,
        (
            partial(checks.whole, members=("m1", "m3")),
            partial(checks.contiguous, name="m2"),
        ),
        seconds=18,
    ),
    _loss(1),
    _loss(5),
    _loss(10, least=0.999),
    Scenario(
        "reorder",
        "packets overtake each other",
        reordered,
        (checks.whole, partial(checks.disturbed, mark="held up")),
        seconds=17,
    ),
    Scenario(
        "rebind",
        "a member's address changes; it is fed again in 13 s, the others notice nothing",
        rebound,
        (
            partial(checks.whole, members=("m2", "m3")),
            partial(checks.moved, name="m1"),
        ),
        seconds=30,
    ),
    Scenario(
        "parent-death",
        "a member's parent is killed; nobody lacks anything",
        parent_dies,
        (checks.whole,),
        seconds=22,
    ),
    Scenario(
        "rp-death",
        "the rendezvous point is killed; nobody lacks anything",
        rendezvous_dies,
        (checks.whole,),
        seconds=17,
    ),
    Scenario(
        "leave",
        "a member leaves in good order; the others lack nothing",
        partial(one_leaves, name="m1"),
        (
            checks.whole,
            partial(checks.contiguous, name="m1", to_the_end=False),
            partial(checks.has_left, name="m1"),
        ),
        security=NONE,
        seconds=18,
    ),
    Scenario(
        "rekey",
        "a member leaves; the key changes under the stream",
        partial(one_leaves, name="m2"),
        (checks.whole, checks.keys_changed),
        seconds=18,
    ),
    Scenario(
        "ipv6",
        "overlay and group by IPv6, and nothing else",
        calmly,
        (checks.whole, lambda evidence: checks.only_ipv6(evidence.packets)),
        version=6,
    ),
    Scenario(
        "mtu",
        f"two members behind links of {NARROW_BYTES} bytes get datagrams that do not fit",
        narrowly,
        (checks.whole, partial(checks.disturbed, mark="too large")),
    ),
    Scenario(
        "version",
        "other protocol versions get no answer and do no harm",
        other_versions,
        (checks.whole, checks.ignored),
        security=NONE,
    ),
    Scenario(
        "long-run",
        "a minute of stream",
        partial(calmly, seconds=LONG),
        (checks.whole,),
        seconds=72,
    ),
)

NAMES: Final = tuple(scenario.name for scenario in SCENARIOS)

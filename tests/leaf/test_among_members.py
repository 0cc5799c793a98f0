"""The leaf in C plays a stream among members in Python, and keeps it when its parent dies."""

from __future__ import annotations

import hashlib
import json
import random
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from dmmp.demo.internet import UPLINK, Internet
from dmmp.demo.overlay import Node, Overlay
from dmmp.demo.programs import program_command
from tests.acceptance.lab import finish_sender, start_sender

pytestmark = [pytest.mark.namespace, pytest.mark.slow]

REPOSITORY = Path(__file__).parents[2]
LEAF = REPOSITORY / "interop" / "leaf-c"
VECTORS = REPOSITORY / "tests" / "vectors" / "messages"
HOSTS = ("rp", "source", "s1", "s2", "m1", "m2", "leaf")
PATIENCE = 20.0
SETTLE = 12.0
"""Until the tree has come to rest, and the leaf has refreshed its place and knows other parents."""

FLOWS = {"ipv4": "239.1.2.3:5004", "ipv6": "[ff1e::1234]:5004"}


class Leaf:
    """The leaf's process on the host `leaf`; what it delivers and what it tells go to files."""

    def __init__(
        self, overlay: Overlay, program: Path, flow: str, *options: str, before: Sequence[str] = ()
    ) -> None:
        self.output = overlay.directory / "leaf.output"
        self.log = overlay.directory / "leaf.log"
        words = overlay.admission.host("leaf", "member", [_listen(overlay)])
        with self.output.open("w") as output, self.log.open("w") as log:
            self.process = overlay.internet["leaf"].popen(
                *(*before, str(program), "--verbose", "--ordered", "2000"),
                *(*words, *options, flow),
                standard_output=output,
                standard_error=log,
            )

    def wait_for(self, pattern: str, patience: float = PATIENCE) -> re.Match[str]:
        """Wait until its log says this; give the last place where it does."""
        end = time.monotonic() + patience
        while time.monotonic() < end:
            if found := list(re.finditer(pattern, self.log.read_text())):
                return found[-1]
            assert self.process.poll() is None, self.log.read_text()
            time.sleep(0.05)
        raise AssertionError(f"no {pattern}: {self.log.read_text()}")

    def parent(self, overlay: Overlay) -> Node:
        """Tell which node it joined last."""
        parent = format(int(self.wait_for(r"joined below (\d+)")[1]), "08x")
        documents = overlay.documents()
        names = {document.get("node_id"): name for name, document in documents.items()}
        assert parent in names, (names, self.log.read_text())
        return overlay[names[parent]]

    def stop(self) -> dict[str, int]:
        """Ask it to leave; give its counters."""
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(PATIENCE) == 0, self.log.read_text()
        last = self.log.read_text().splitlines()[-1]
        return {name: int(count) for name, count in re.findall(r"(\w+) (\d+)", last)}


def _listen(overlay: Overlay) -> str:
    words = overlay["rp"].words
    return words[words.index("--listen") + 1]


def build(directory: Path, **variables: str) -> Path:
    """Build the leaf there; give the program."""
    values = [f"{name}={value}" for name, value in variables.items()]
    command = ["make", "-C", str(LEAF), f"BUILD={directory}", *values]
    subprocess.run(command, check=True, capture_output=True)
    return directory / "dmmp-leaf"


@pytest.fixture(scope="module")
def sanitized(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the leaf with AddressSanitizer and UndefinedBehaviorSanitizer."""
    return build(tmp_path_factory.mktemp("sanitized"), SANITIZE="1")


@pytest.fixture(scope="module")
def unsanitized(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the leaf as users build it, which is what valgrind can watch."""
    return build(tmp_path_factory.mktemp("unsanitized"))


def start(internet: Internet, directory: Path, security: str, version: int) -> Overlay:
    """Start an overlay in which a leaf has four possible parents."""
    overlay = Overlay(internet, directory, security=security)
    host = internet["rp"]
    listen = f"{host.address}:47700" if version == 4 else f"[{host.address6}]:47700"
    overlay.rp("rp", listen=listen)
    overlay.source("source", "--out-degree", "2")
    overlay.super_node("s1", "--out-degree", "6")
    overlay.super_node("s2", "--out-degree", "6")
    for name in ("m1", "m2"):
        overlay.member(name, "--out-degree", "3")
    overlay.wait_joined()
    return overlay


@pytest.fixture
def directory() -> Iterator[Path]:
    """Give a directory with a short path: UNIX sockets need one (unix(7))."""
    with tempfile.TemporaryDirectory(prefix="leaf-") as path:
        yield Path(path)


def check(leaf: Leaf, sent: dict[str, object]) -> dict[str, int]:
    """End the leaf; it delivered what was sent, byte for byte, in order."""
    counters = leaf.stop()
    told = leaf.log.read_text()
    assert counters["delivered"] == sent["count"], told
    assert hashlib.sha256(leaf.output.read_bytes()).hexdigest() == sent["sha256"], told
    return counters


@pytest.mark.parametrize(
    ("security", "version"),
    [
        ("certificates", 6),
        *(
            pytest.param(security, version, marks=pytest.mark.long)
            for security in ("none", "psk", "certificates")
            for version in (4, 6)
            if (security, version) != ("certificates", 6)
        ),
    ],
)
def test_the_stream_is_whole_though_the_parent_is_killed(
    sanitized: Path, directory: Path, security: str, version: int
) -> None:
    flow = FLOWS[f"ipv{version}"]
    with (
        Internet.build(HOSTS) as internet,
        start(internet, directory, security, version) as overlay,
    ):
        leaf = Leaf(overlay, sanitized, flow)
        leaf.wait_for(r"joined below")
        time.sleep(SETTLE)
        sender = start_sender(
            internet["source"], flow, "--rate", "8M", "--size", "1316", "--seconds", "10"
        )
        time.sleep(4)
        leaf.parent(overlay).kill()
        sent = finish_sender(sender)[0]
        time.sleep(2.5)
        check(leaf, sent)
        assert leaf.log.read_text().count("joined below") >= 2


@pytest.mark.parametrize("security", [pytest.param("none", marks=pytest.mark.long), "certificates"])
def test_what_the_path_loses_is_repaired(sanitized: Path, directory: Path, security: str) -> None:
    flow = FLOWS["ipv4"]
    with Internet.build(HOSTS) as internet, start(internet, directory, security, 4) as overlay:
        leaf = Leaf(overlay, sanitized, flow)
        leaf.wait_for(r"joined below")
        internet.lose("leaf", 0.02)
        time.sleep(SETTLE)
        sender = start_sender(internet["source"], flow, "--rate", "8M", "--seconds", "6")
        sent = finish_sender(sender)[0]
        time.sleep(2.5)
        assert check(leaf, sent)["repaired"] > 0


@pytest.mark.parametrize("security", ["certificates", pytest.param("psk", marks=pytest.mark.long)])
def test_keys_change_under_the_stream_while_others_come_and_go(
    sanitized: Path, directory: Path, security: str
) -> None:
    flow = FLOWS["ipv4"]
    with Internet.build(HOSTS) as internet, start(internet, directory, security, 4) as overlay:
        leaf = Leaf(overlay, sanitized, flow)
        leaf.wait_for(r"epoch")
        leaf.wait_for(r"joined below")
        time.sleep(SETTLE)
        sender = start_sender(internet["source"], flow, "--rate", "8M", "--seconds", "10")
        time.sleep(2)
        overlay["m2"].stop()
        time.sleep(3)
        overlay.restart("m2")
        sent = finish_sender(sender)[0]
        time.sleep(2.5)
        check(leaf, sent)
        assert len(set(re.findall(r"epoch (\d+)", leaf.log.read_text()))) >= 3


@pytest.mark.long
def test_valgrind_finds_nothing(unsanitized: Path, directory: Path) -> None:
    valgrind = shutil.which("valgrind")
    assert valgrind is not None, "apt-get install valgrind"
    flow = FLOWS["ipv4"]
    with (
        Internet.build(HOSTS) as internet,
        start(internet, directory, "certificates", 4) as overlay,
    ):
        before = (valgrind, "--quiet", "--error-exitcode=9", "--leak-check=full")
        leaf = Leaf(overlay, unsanitized, flow, before=before)
        leaf.wait_for(r"joined below")
        leaf.wait_for(r"epoch")
        time.sleep(SETTLE)
        sender = start_sender(internet["source"], flow, "--rate", "800k", "--seconds", "6")
        time.sleep(3)
        leaf.parent(overlay).kill()
        sent = finish_sender(sender)[0]
        time.sleep(2.5)
        check(leaf, sent)
        assert "==" not in leaf.log.read_text()


@pytest.mark.parametrize(
    ("version", "interface"),
    [
        (4, "lo"),
        pytest.param(4, UPLINK, marks=pytest.mark.long),
        pytest.param(6, UPLINK, marks=pytest.mark.long),
    ],
)
def test_programs_on_its_machine_receive_the_group(
    sanitized: Path, directory: Path, version: int, interface: str
) -> None:
    """Linux gives `lo` no route for IPv6 groups."""
    flow = FLOWS[f"ipv{version}"]
    report = directory / "report.json"
    with Internet.build(HOSTS) as internet, start(internet, directory, "none", 4) as overlay:
        leaf = Leaf(overlay, sanitized, flow, "--output", interface)
        leaf.wait_for(r"joined below")
        words = (
            "receive",
            flow,
            "--interface",
            interface,
            "--seconds",
            "8",
            "--output",
            str(report),
        )
        receiver = internet["leaf"].popen(*program_command(*words))
        time.sleep(1)
        sent = finish_sender(
            start_sender(internet["source"], flow, "--rate", "8M", "--seconds", "3")
        )[0]
        receiver.wait(PATIENCE)
        received = json.loads(report.read_text())["flows"][0]
        leaf.stop()
    assert (received["count"], received["sha256"]) == (sent["count"], sent["sha256"])


def test_a_wish_for_one_source_is_for_that_alone(sanitized: Path, directory: Path) -> None:
    """Its own address as the source of the first wish, which nobody sends from."""
    flow = FLOWS["ipv4"]
    with Internet.build(HOSTS) as internet, start(internet, directory, "none", 4) as overlay:
        told = internet["source"].run("ip", "-4", "-oneline", "address", "show", "dmmp0").stdout
        address = re.findall(r"inet ([0-9.]+)", told)[0]
        others = (f"192.0.2.1@{flow}", f"192.0.2.1@{flow}")
        leaf = Leaf(overlay, sanitized, f"{address}@{flow}", *others)
        leaf.wait_for(r"joined below")
        time.sleep(SETTLE)
        sent = finish_sender(start_sender(internet["source"], flow, "--seconds", "2"))[0]
        time.sleep(1)
        check(leaf, sent)
        other = Leaf(overlay, sanitized, f"192.0.2.1@{flow}", f"{address}@239.1.2.4")
        other.wait_for(r"joined below")
        time.sleep(SETTLE)
        finish_sender(start_sender(internet["source"], flow, "--seconds", "2"))
        assert other.stop()["delivered"] == 0


def test_it_takes_no_children_and_says_goodbye(sanitized: Path, directory: Path) -> None:
    """A host that asks it for a place is refused; when it goes parent and rendezvous point know."""
    with Internet.build(HOSTS) as internet, start(internet, directory, "none", 4) as overlay:
        leaf = Leaf(overlay, sanitized, FLOWS["ipv4"], "--listen", "0.0.0.0:47700")
        number = leaf.wait_for(r"id (\d+)")[1]
        parent = leaf.parent(overlay)
        identity = format(int(number), "08x")
        assert identity in json.dumps(parent.show())
        vector = json.loads((VECTORS / "join_request.json").read_text())["vectors"][0]["hex"]
        asked = bytearray.fromhex(vector)
        asked[4:8] = session_of(overlay)
        answer = ask(overlay, "m2", internet["leaf"].address, bytes(asked))
        assert (answer[3], answer[24]) == (0x51, 2), "a JoinResponse with FULL"
        leaf.stop()
        time.sleep(0.5)
        assert identity not in json.dumps(parent.show())


def test_strangers_datagrams_change_nothing(sanitized: Path, directory: Path) -> None:
    flow = FLOWS["ipv4"]
    with Internet.build(HOSTS) as internet, start(internet, directory, "none", 4) as overlay:
        leaf = Leaf(overlay, sanitized, flow, "--listen", "0.0.0.0:47700")
        leaf.wait_for(r"joined below")
        sender = start_sender(internet["source"], flow, "--rate", "8M", "--seconds", "6")
        time.sleep(1)
        session = session_of(overlay)
        lot = random.Random(7)
        vectors = [
            bytearray.fromhex(vector["hex"])
            for path in sorted(VECTORS.glob("*.json"))
            for vector in json.loads(path.read_text())["vectors"]
        ]
        for _ in range(20):
            datagrams = []
            for vector in vectors:
                changed = vector.copy()
                changed[4:8] = session
                for _ in range(lot.randrange(4)):
                    changed[lot.randrange(len(changed))] = lot.randrange(256)
                datagrams.append(bytes(changed))
            ask(overlay, "m1", internet["leaf"].address, *datagrams)
        sent = finish_sender(sender)[0]
        time.sleep(2.5)
        check(leaf, sent)


def session_of(overlay: Overlay) -> bytes:
    """Give the session's id as it stands in headers."""
    document = overlay["source"].show()
    assert document is not None
    return int(document["session_id"], 16).to_bytes(4, "big")


def ask(overlay: Overlay, name: str, to: object, *datagrams: bytes) -> bytes:
    """Send datagrams from a host to the leaf; give the first answer that comes, if any."""
    program = (
        "import socket,sys\n"
        "one=socket.socket(socket.AF_INET,socket.SOCK_DGRAM); one.settimeout(0.2)\n"
        "for word in sys.argv[2:]: one.sendto(bytes.fromhex(word),(sys.argv[1],47700))\n"
        "try: print(one.recv(65536).hex())\n"
        "except OSError: print()\n"
    )
    asking = overlay.internet[name].popen(
        *("python3", "-c", program, str(to), *(datagram.hex() for datagram in datagrams))
    )
    said, _ = asking.communicate()
    return bytes.fromhex(said.strip())

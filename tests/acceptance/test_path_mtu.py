"""Children behind paths of different MTUs: everybody gets everything, and `dmmp show` says why.

The links carry 9000, 1500 and 1280 bytes; what the router cannot pass on it says by ICMP, except in
the last test.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dmmp.demo.internet import UPLINK, Host
from dmmp.demo.overlay import TUN, Overlay
from dmmp.demo.programs import DIGEST_BYTES
from tests.acceptance.lab import finish, finish_sender, listen, network, record, start_sender

pytestmark = [pytest.mark.namespace, pytest.mark.slow]

MTUS = {"wide": 9000, "ethernet": 1500, "tunnel": 1280}
NAMES = ("rp", "source", "s1", *MTUS)
OVERHEAD = {4: 28 + 24 + 16, 6: 48 + 24 + 16}
"""What a packet of the TUN gets on its way: a tag, this protocol's header, UDP's and IP's."""

PATIENCE = 30.0


def build(overlay: Overlay, mtu: int, version: int) -> None:
    """Start a source and a super node on jumbo links, below it a member on each kind of link."""
    internet = overlay.internet
    for host in internet:
        link_mtu = MTUS.get(host.name, 9000)
        internet.router.ip(f"link set {host.router_interface} mtu {link_mtu}")
        host.ip(f"link set {UPLINK} mtu {link_mtu}")
    words = ("--mtu", str(mtu))

    def listen_at(host: Host) -> tuple[str, str]:
        return "--listen", f"[{host.address6}]:47700" if version == 6 else f"{host.address}:47700"

    # Options given later win over those that the overlay gives itself.
    overlay.rp("rp", listen=listen_at(internet["rp"])[1])
    overlay.source("source", "--out-degree", "1", *words, *listen_at(internet["source"]))
    overlay.super_node("s1", "--out-degree", "8", *listen_at(internet["s1"]))
    overlay.wait_joined(["source", "s1"])
    for name in MTUS:
        overlay.member(name, "--out-degree", "1", *words, *listen_at(internet[name]))
    overlay.wait_joined()


def stream(
    overlay: Overlay,
    directory: Path,
    flow: str,
    size: int,
    seconds: str = "1",
    meanwhile: Callable[[], None] = lambda: None,
) -> dict[str, int]:
    """Send datagrams of so many bytes; say how many each member lacks.

    What comes must be what was sent, byte for byte, in whatever order: repaired ones come late.
    """
    listeners = listen(overlay, directory, MTUS, flow, "--interface", TUN)
    digests = directory / "sent.digests"
    words = ("--size", str(size), "--rate", "8000000", "--seconds", seconds)
    sender = start_sender(overlay.internet["source"], flow, *words, "--digests", os.fspath(digests))
    meanwhile()
    finish_sender(sender)
    finish(listeners)
    sent = split(digests)
    lacking = {}
    for name, listener in listeners.items():
        received = split(listener.digests)
        assert received <= sent, name
        lacking[name] = (sent - received).total()
    return lacking


def split(digests: Path) -> Counter[bytes]:
    """Count the digests of a file, which may be of datagrams in any order."""
    data = digests.read_bytes()
    return Counter(data[at : at + DIGEST_BYTES] for at in range(0, len(data), DIGEST_BYTES))


def found(overlay: Overlay) -> dict[str, dict[str, Any]]:
    """Give what the super node says of its children, by name."""
    documents = overlay.documents()
    names = {document.get("node_id"): name for name, document in documents.items()}
    children = documents["s1"]["children"]
    return {names[child["node_id"]]: child for child in children}


def await_sizes(overlay: Overlay, expected: dict[str, int]) -> dict[str, dict[str, Any]]:
    """Wait until the super node has found these path MTUs."""
    deadline = time.monotonic() + PATIENCE
    while True:
        said = found(overlay)
        if {name: child["path_mtu"] for name, child in said.items()} == expected:
            return said
        assert time.monotonic() < deadline, said
        time.sleep(0.1)


@pytest.fixture
def overlay(swept: None, directory: Path) -> Iterator[Overlay]:
    with network(NAMES, directory) as made:
        yield made


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("mtu", [1380, 8900])
def test_everybody_gets_everything(
    overlay: Overlay, directory: Path, version: int, mtu: int
) -> None:
    build(overlay, mtu, version)
    flow = f"239.10.30.{version}:5004" if version == 4 else "[ff1e::3006]:5004"
    # The largest packet that programs can send; the first ones while nothing is known yet.
    headers = 28 if version == 4 else 48
    nothing = dict.fromkeys(MTUS, 0)
    assert stream(overlay, directory, flow, mtu - headers) == nothing
    needed = mtu + OVERHEAD[version]
    expected = {name: min(link_mtu, needed) for name, link_mtu in MTUS.items()}
    said = await_sizes(overlay, expected)
    assert stream(overlay, directory, flow, mtu - headers) == nothing
    for name, child in said.items():
        assert child["fragments"] is (expected[name] < needed)
        assert child["path_probes"] <= 24
        parent = overlay[name].show()
        assert parent is not None and parent["parent"]["path_mtu"] == expected[name]
    document = overlay["s1"].show()
    assert document is not None
    assert "socket_too_big" not in document["drops"], document["drops"]
    narrow = [line for line in overlay["s1"].lines() if line.startswith("the path to")]
    assert len(narrow) == sum(size < needed for size in expected.values()), narrow
    probes = {name: child["path_probes"] for name, child in said.items()}
    record("path MTU", {"mtu": mtu, "version": version, "found": expected, "probes": probes})


def test_a_path_that_shrinks_without_a_word_is_found_by_what_is_missed(
    overlay: Overlay, directory: Path
) -> None:
    router = overlay.internet.router
    router.run(
        *("nft", "add table ip mute; add chain ip mute out"),
        "{ type filter hook output priority 0; };",
        "add rule ip mute out icmp type destination-unreachable counter drop",
    )
    build(overlay, 1380, 4)
    whole = 1380 + OVERHEAD[4]
    await_sizes(overlay, {"wide": whole, "ethernet": whole, "tunnel": 1280})
    wide = overlay.internet["wide"].router_interface

    def shrink() -> None:
        # Later than a confirmation that was just made answers for.
        time.sleep(3.0)
        router.ip(f"link set {wide} mtu 1400")

    lacking = stream(overlay, directory, "239.10.30.8:5004", 1352, "6", shrink)
    await_sizes(overlay, {"wide": 1400, "ethernet": whole, "tunnel": 1280})
    listed = router.run("nft", "list", "table", "ip", "mute").stdout
    assert "packets 0 " not in listed, listed
    record("path MTU, black hole", {"lacking": lacking})
    assert lacking["ethernet"] == lacking["tunnel"] == 0
    again = stream(overlay, directory, "239.10.30.9:5004", 1352)
    assert again == dict.fromkeys(MTUS, 0)

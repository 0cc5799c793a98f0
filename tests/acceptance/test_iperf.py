"""iperf 2, which knows nothing of overlays: what people measure multicast with says "no loss"."""

from __future__ import annotations

import re
import subprocess
import time
from ipaddress import ip_interface
from pathlib import Path

import pytest

from dmmp.demo.overlay import Overlay
from tests.acceptance.lab import (
    LEAF,
    SETTLE,
    finish,
    finish_sender,
    listen,
    record,
    start_sender,
)

pytestmark = [pytest.mark.namespace, pytest.mark.alone, pytest.mark.slow]

RATE, SECONDS = "20M", "3"
SERVERS = ("m3", "m9")
JOINED = re.compile(r"^Joining multicast", re.MULTILINE)
SENT = re.compile(r"Sent (\d+) datagrams")
RECEIVED = re.compile(r" (\d+)/ *(\d+) \(\S+%\)")


def source_address(overlay: Overlay, version: int) -> str:
    """Give the address that the source's programs send from."""
    document = overlay["source"].show()
    assert document is not None
    addresses = [ip_interface(text).ip for text in document["edge"]["addresses"]]
    return next(str(address) for address in addresses if address.version == version)


@pytest.mark.parametrize(
    ("group", "version", "specific", "size"),
    [
        ("239.10.24.1", 4, False, 1316),
        ("232.10.24.2", 4, True, 1316),
        ("ff1e::2403", 6, False, 1316),
        ("ff3e::2404", 6, True, 1316),
        # iperf's own size, which the kernel must cut in two for the overlay's tunnels.
        ("239.10.24.5", 4, False, 1470),
    ],
    ids=["ASM", "SSM", "ASM-IPv6", "SSM-IPv6", "fragments"],
)
def test_iperf_reports_no_loss(
    shared: Overlay, group: str, version: int, specific: bool, size: int
) -> None:
    family = ["-V"] if version == 6 else []
    chosen = ["-H", source_address(shared, version)] if specific else []
    servers = {
        name: shared.internet[name].popen(
            *("iperf", "-s", "-u", *family, "-B", group, *chosen),
            standard_error=subprocess.STDOUT,
        )
        for name in SERVERS
    }
    time.sleep(SETTLE)
    client = shared.internet["source"].run(
        *("iperf", "-c", group, "-u", *family, "-b", RATE, "-t", SECONDS),
        *("-T", "16", "-l", str(size)),
    )
    time.sleep(SETTLE)
    sent = SENT.search(client.stdout)
    assert sent is not None, client.stdout
    reported = {}
    for name, server in servers.items():
        server.terminate()
        said = server.communicate(timeout=10)[0]
        found = RECEIVED.search(said)
        assert JOINED.search(said) and found, (name, said)
        reported[name] = (int(found[1]), int(found[2]))
    record("iperf", {"group": group, "sent": int(sent[1]), "lost/total": reported})
    for name, (lost, total) in reported.items():
        # The client counts its last datagram, which only says that it ends; the server does not.
        assert (lost, total) == (0, int(sent[1]) - 1), name


def test_another_source_than_the_one_asked_for_is_not_heard(
    shared: Overlay, directory: Path
) -> None:
    flow = "232.10.24.6:5004"
    asking, other = LEAF, "m9"
    right = listen(shared, directory, [other], flow, "--source", source_address(shared, 4))
    wrong = listen(shared, directory, [asking], flow, "--source", "198.51.100.1")
    before = shared.internet[asking].counters().received_bytes
    sent = finish_sender(start_sender(shared.internet["source"], flow, "--seconds", "2"))[0]
    carried = shared.internet[asking].counters().received_bytes - before
    reports = finish(right | wrong)
    assert reports[other][0]["sha256"] == sent["sha256"]
    assert reports[asking][0]["count"] == 0
    # Nor is it carried there to be thrown away.
    assert carried < sent["bytes"] / 100

"""Participants that are wrong in a way of their own: `broken.py wrong|twice|refuses|ends|tells`."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType

from interop.endpoint.stream import DATAGRAM_BYTES

OURS = Path(__file__).parents[2] / "interop" / "endpoint" / "ours.py"
EVERY = 50


def deliver_badly(twice: bool) -> int:
    """Take part as ours does; change a byte of some deliveries on their way out, or repeat them."""
    output = Path(os.environ["DMMP_OUTPUT"])
    honest = output.with_suffix(".honest")
    command = [sys.executable, str(OURS)]
    node = subprocess.Popen(command, env=dict(os.environ, DMMP_OUTPUT=str(honest)))

    def leave(number: int, frame: FrameType | None) -> None:
        node.terminate()

    signal.signal(signal.SIGTERM, leave)
    count = 0
    with open(output, "ab", buffering=0) as out:
        while node.poll() is None:
            content = honest.read_bytes() if honest.exists() else b""
            while len(content) >= (count + 1) * DATAGRAM_BYTES:
                piece = bytearray(content[count * DATAGRAM_BYTES :][:DATAGRAM_BYTES])
                count += 1
                if not twice and count % EVERY == 0:
                    piece[-1] ^= 1
                out.write(piece)
                if twice and count % EVERY == 0:
                    out.write(piece)
            time.sleep(0.02)
    return node.returncode


def main(way: str) -> int:
    """Be broken in the way that is named."""
    if way in ("wrong", "twice"):
        return deliver_badly(way == "twice")
    if way == "refuses":
        return 127
    if way == "tells":
        told = {name: value for name, value in os.environ.items() if name.startswith("DMMP_")}
        path = Path(os.environ["DMMP_DIRECTORY"]) / f"{os.environ['DMMP_NAME']}.json"
        path.write_text(json.dumps(told))
    return 3


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))

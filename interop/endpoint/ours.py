"""Start this implementation from the variables of the contract, as any participant is started.

With `--with SCRIPT` that script runs in the place of `python -m dmmp`; it takes the same words.
Which tree is run is for PYTHONPATH to say.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Final

UNSUPPORTED: Final = 127
ROLES: Final = ("rp", "source", "super-node", "member")
TUN: Final = "dmmp0"
STREAM: Final = Path(__file__).with_name("stream.py")


def command_of(variables: Mapping[str, str]) -> list[str]:
    """Turn the contract's variables into words of the command line `dmmp`."""
    role = variables["DMMP_ROLE"]
    words = [role, "--name", variables["DMMP_NAME"], "--listen", f"[::]:{variables['DMMP_PORT']}"]
    words += ["--security", variables["DMMP_SECURITY"]]
    if variables["DMMP_SECURITY"] == "certificates":
        words += ["--session-file", variables["DMMP_SESSION_FILE"]]
        words += ["--credential", variables["DMMP_CREDENTIAL"]]
    else:
        words += ["--session", variables["DMMP_SESSION"]]
        if role != "rp":
            words += [word for point in variables["DMMP_RP"].split() for word in ("--rp", point)]
        if variables["DMMP_SECURITY"] == "psk":
            words += ["--secret-file", variables["DMMP_SECRET_FILE"]]
        else:
            words += ["--allow-public"]
    if role != "rp":
        words += ["--out-degree", variables["DMMP_OUT_DEGREE"]]
    if role in ("source", "member"):
        words += ["--tun", TUN]
    return words


def main(arguments: Sequence[str]) -> int:
    """Run the node, and for a member the program that takes the group to the file."""
    variables = dict(os.environ)
    if variables["DMMP_ROLE"] not in ROLES:
        return UNSUPPORTED
    program = [arguments[1]] if arguments[:1] == ["--with"] else ["-m", "dmmp"]
    command = [sys.executable, *program, *command_of(variables)]
    environment = dict(variables, DMMP_RUNTIME_DIR=variables["DMMP_DIRECTORY"])
    if variables["DMMP_ROLE"] != "member":
        os.execve(sys.executable, command, environment)
    node = subprocess.Popen(command, env=environment)

    def leave(number: int, frame: FrameType | None) -> None:
        node.terminate()

    signal.signal(signal.SIGTERM, leave)
    words = ["deliver", variables["DMMP_GROUP"], "--output", variables["DMMP_OUTPUT"]]
    taking = subprocess.Popen(
        [sys.executable, "-I", "-S", os.fspath(STREAM), *words, "--interface", TUN]
    )
    try:
        return node.wait()
    finally:
        taking.kill()
        taking.wait()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""The contract with a participant: the variables it is started with, and how it says "not I".

`CONTRACT.md` tells the same to those who write one; a test holds the two together.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

UNSUPPORTED: Final = 127
"""Exit code of a participant that does not do what it is asked for."""

SESSION: Final = "interop"
PORT: Final = 47700

RP, SOURCE, SUPER_NODE, MEMBER = "rp", "source", "super-node", "member"
ROLES: Final = (RP, SOURCE, SUPER_NODE, MEMBER)

VARIABLES: Final = {
    "DMMP_ROLE": "what to be: rp, source, super-node or member",
    "DMMP_NAME": "the host's name in the experiment",
    "DMMP_SCENARIO": "which scenario is played",
    "DMMP_SESSION": "the session's name",
    "DMMP_PORT": "the UDP port to receive at, on all addresses of the host",
    "DMMP_RP": "the rendezvous points, ADDRESS:PORT, blanks between; IPv6 in brackets",
    "DMMP_SECURITY": "none, certificates or psk",
    "DMMP_SESSION_FILE": "the session file; empty without certificates",
    "DMMP_CREDENTIAL": "the host's certificate and keys; empty without certificates",
    "DMMP_SECRET_FILE": "the shared secret; empty without psk",
    "DMMP_OUT_DEGREE": "the most children to have",
    "DMMP_GROUP": "the group and port that the stream goes to",
    "DMMP_OUTPUT": "a member's file for what it delivers",
    "DMMP_DIRECTORY": "a directory for files of its own",
    "DMMP_BUILD": "what `prepare` made is there",
    "DMMP_PYTHON": "a Python interpreter, 3.11 or newer",
}
"""Every variable, and what it says."""


@dataclass(frozen=True, slots=True)
class Task:
    """What one participant is asked to do on one host."""

    role: str
    name: str
    scenario: str
    security: str
    points: tuple[str, ...]
    out_degree: int
    group: str
    directory: Path
    build: Path
    session_file: str = ""
    credential: str = ""
    secret_file: str = ""

    @property
    def output(self) -> Path:
        """The file that a member's deliveries go to."""
        return self.directory / f"{self.name}.delivered"

    def variables(self) -> dict[str, str]:
        """Write it down as the variables of the contract; each of them is there, if empty."""
        return {
            "DMMP_ROLE": self.role,
            "DMMP_NAME": self.name,
            "DMMP_SCENARIO": self.scenario,
            "DMMP_SESSION": SESSION,
            "DMMP_PORT": str(PORT),
            "DMMP_RP": " ".join(self.points),
            "DMMP_SECURITY": self.security,
            "DMMP_SESSION_FILE": self.session_file,
            "DMMP_CREDENTIAL": self.credential,
            "DMMP_SECRET_FILE": self.secret_file,
            "DMMP_OUT_DEGREE": str(self.out_degree),
            "DMMP_GROUP": self.group,
            "DMMP_OUTPUT": str(self.output),
            "DMMP_DIRECTORY": str(self.directory),
            "DMMP_BUILD": str(self.build),
            "DMMP_PYTHON": sys.executable,
        }

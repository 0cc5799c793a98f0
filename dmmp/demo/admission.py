"""What admits the nodes of a demonstration to their session: an authority, a secret, or nothing.

It makes the files that `dmmp authority` makes, and gives the words of the command line for them.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from dmmp.runtime.securing import CERTIFICATES, NONE, SHARED_SECRET
from dmmp.security.authority import Authority, Request
from dmmp.security.identity import static_public
from dmmp.security.peer import Capability
from dmmp.security.session_file import Contact, SessionFile

OUT_DEGREE: Final = 256
BANDWIDTH: Final = 10**10

CAPABILITIES: Final = {
    "rp": Capability.RENDEZVOUS_POINT,
    "source": Capability.SOURCE | Capability.SUPER_NODE | Capability.MEMBER,
    "super-node": Capability.SUPER_NODE | Capability.MEMBER,
    "member": Capability.SUPER_NODE | Capability.MEMBER,
}

__all__ = ["CERTIFICATES", "NONE", "SHARED_SECRET", "Admission"]


class Admission:
    """The files of one session in a directory; rendezvous points first, then hosts."""

    def __init__(self, directory: Path, session: str, security: str) -> None:
        self.directory = directory
        self.session = session
        self.security = security
        self.authority = Authority.create(os.urandom)
        self._points: list[Contact] = []
        self._secrets: dict[str, bytes] = {}

    def rendezvous_point(self, name: str, listen: str) -> list[str]:
        """Admit a rendezvous point at HOST:PORT; hosts admitted later know it."""
        if self.security != CERTIFICATES:
            return ["--session", self.session, *self._words()]
        secret = self._credential(name, "rp")
        self._points.append(Contact(listen, static_public(secret)))
        file = SessionFile(
            self.session, len(self._points), (self.authority.public,), tuple(self._points)
        )
        text = file.signed(self.authority.sign).text()
        (self.directory / "session.toml").write_text(text)
        return self._files(name)

    def host(self, name: str, kind: str, points: Sequence[str]) -> list[str]:
        """Admit a host that begins as `kind`."""
        if self.security == CERTIFICATES:
            self._credential(name, kind)
            return self._files(name)
        words = ["--session", self.session, *self._words()]
        for place in points:
            words += ["--rp", place]
        return words

    def _words(self) -> list[str]:
        words = ["--security", self.security]
        if self.security == SHARED_SECRET:
            path = self.directory / "secret"
            if not path.exists():
                self._write(path, os.urandom(24).hex())
            words += ["--secret-file", os.fspath(path)]
        return words

    def _files(self, name: str) -> list[str]:
        session, credential = self.directory / "session.toml", self.directory / f"{name}.pem"
        return ["--session-file", os.fspath(session), "--credential", os.fspath(credential)]

    def _credential(self, name: str, kind: str) -> bytes:
        """Write a host's credential, the same whenever it is started; give its static secret."""
        if name in self._secrets:
            return self._secrets[name]
        request = Request(name, self.session, CAPABILITIES[kind], OUT_DEGREE, BANDWIDTH)
        held = self.authority.credential(request, time.time(), os.urandom)
        self._write(self.directory / f"{name}.pem", held.text())
        self._secrets[name] = held.static_secret
        return held.static_secret

    def _write(self, path: Path, text: str) -> None:
        self.directory.mkdir(mode=0o700, exist_ok=True)
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as written:
            written.write(text)

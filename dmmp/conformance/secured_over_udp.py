"""The carrier over real UDP for a secured session: the tester is the authority, and writes files.

`{session_file}` and `{credential}` in the command are what the tester made for this one case.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from dmmp.conformance import over_udp
from dmmp.conformance.case import Case, Feature
from dmmp.conformance.over_udp import OverUdp, Target
from dmmp.conformance.secured import SecuredSession
from dmmp.security.identity import Credential, static_public
from dmmp.security.session_file import Contact, SessionFile
from dmmp.types import Endpoint


class SecuredOverUdp(OverUdp):
    """See the module's docstring; `target.command` is one that takes the two files."""

    def __init__(self, target: Target, seed: int, *, second_rp: bool = False) -> None:
        self._files = tempfile.TemporaryDirectory(prefix="dmmp-conformance-")
        super().__init__(target, second_rp=second_rp)
        self.features = target.features | {Feature.SECURED}
        wall = time.time() - time.monotonic()
        self.secured = SecuredSession(target.session_name, seed, wall, self.now)
        own = self.secured.admit(target.role, self._points)
        self._session_file = Path(self._files.name) / "session.toml"
        self._credential = Path(self._files.name) / "subject.pem"
        self._write(own)

    def _write(self, own: Credential) -> None:
        """Write the session file and the credential of what is tested."""
        session = self.secured
        contacts = [self._contact(each, session.keys[each]) for each in self._points]
        if self.subject is not None:
            contacts = [self._contact(self.subject, static_public(own.static_secret))]
        file = SessionFile(
            session=session.name,
            serial=1,
            roots=(session.authority.public,),
            rendezvous_points=tuple(contacts),
        )
        self._session_file.write_text(file.signed(session.authority.sign).text(), encoding="utf-8")
        self._credential.touch(0o600)
        self._credential.write_text(own.text(), encoding="utf-8")

    @staticmethod
    def _contact(endpoint: Endpoint, key: bytes) -> Contact:
        return Contact(str(endpoint), key)

    def _values(self) -> dict[str, str]:
        files = {"session_file": str(self._session_file), "credential": str(self._credential)}
        return {**super()._values(), **files}

    def close(self) -> None:
        """Kill the process, close the sockets, remove the files."""
        super().close()
        self._files.cleanup()


def opens(target: Target, secured_command: str | None) -> Callable[[Case, int], OverUdp]:
    """Return what makes the carrier that a case needs; `secured_command` starts a secured one."""
    open_plain = over_udp.opens(target)

    def open_carrier(case: Case, seed: int) -> OverUdp:
        if Feature.SECURED not in case.needs or secured_command is None:
            return open_plain(case, seed)
        secured = replace(target, command=secured_command)
        return SecuredOverUdp(secured, seed, second_rp=Feature.SECOND_RP in case.needs)

    return open_carrier

"""Certificates that are renewed while nodes run: at a node, and at the authority's desk.

Once a certificate has lived two thirds of its time its host asks the authority for the next, if the
session file names one, and looks whether somebody has put a newer credential into its file.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

from dmmp.errors import AuthenticationError, UsageError
from dmmp.forwarding.forwarder import Forwarder
from dmmp.messages.local import Denied
from dmmp.parameters import Parameters
from dmmp.roles.renewal_desk import Renew, RenewalDesk
from dmmp.runtime.driver import Driver
from dmmp.runtime.locate import NotFound, look_up, look_up_services, parse_place, resolve
from dmmp.runtime.observe import EventLines
from dmmp.runtime.securing import SecurityOptions, read_credential, read_session, security_of
from dmmp.runtime.sockets import open_socket
from dmmp.runtime.stopping import Stop
from dmmp.security.certificate import verifiers
from dmmp.security.gate import Gate
from dmmp.security.identity import CertifiedParty, Credential
from dmmp.security.session_file import Contact, SessionFile
from dmmp.types import Endpoint

RENEWAL_CHECK = 30.0
"""Seconds between two tries to have a certificate renewed, from two thirds of its life on."""

WARN_EVERY = 600.0

_log = logging.getLogger(__name__)


class Renewing:
    """Sees to it that a node's certificate is renewed in time; `look` is one try."""

    def __init__(
        self,
        party: CertifiedParty,
        path: Path,
        renewed: Callable[[], None],
        say: Callable[[str], None],
        ask: Callable[[bytes], None] = lambda certificate: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._party = party
        self._path = path
        self._renewed = renewed
        self._say = say
        self._ask = ask
        self._clock = clock
        self._warned = float("-inf")

    async def run(self) -> None:
        """Try again and again, as long as the node runs."""
        while True:
            await asyncio.sleep(RENEWAL_CHECK)
            self.look()

    def look(self) -> bool:
        """Take up a newer credential file, if it is time and there is one; else ask.

        Tell whether there was one.
        """
        now = self._clock()
        held = self._party.held
        if now < held.renewal_at:
            return False
        try:
            found = read_credential(self._path)
            if found.peer.serial != held.peer.serial:
                self._take(found)
                return True
        except (UsageError, AuthenticationError) as error:
            _log.warning("%s: %s", self._path, error)
        self._ask(held.certificate)
        if now - self._warned >= WARN_EVERY:
            self._warned = now
            hours = max(0.0, held.peer.not_after - now) / 3600
            self._say(
                f"the certificate expires in {hours:.1f} h and is not renewed yet; without an "
                f"authority that answers, do it with: dmmp authority renew, into {self._path}"
            )
        return False

    def answered(self, certificate: bytes) -> None:
        """Take up what the authority sent, and keep it for the next start."""
        try:
            found = self._party.held.renewed(certificate)
            self._take(found)
        except AuthenticationError as error:
            _log.warning("what the authority sent is no renewal: %s", error)
            return
        try:
            keep(self._path, found)
        except OSError as error:
            _log.warning("%s: %s", self._path, error.strerror)

    def _take(self, found: Credential) -> None:
        self._party.renew(found)
        self._renewed()
        hours = (found.peer.not_after - self._clock()) / 3600
        self._say(f"the certificate is renewed, for {hours:.0f} h")


def keep(path: Path, credential: Credential) -> None:
    """Write a credential in place of the one in a file, all of it or nothing."""
    beside = path.with_name(f".{path.name}.new")
    with open(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as written:
        written.write(credential.text())
        written.flush()
        os.fsync(written.fileno())
    os.replace(beside, path)


@contextmanager
def renewing(
    options: SecurityOptions, party: object, driver: Driver, lines: EventLines
) -> Iterator[None]:
    """Have a node's certificate renewed while it runs, if it has one."""
    gate, path, file = driver.gate, options.credential_path, options.session_file
    if not isinstance(party, CertifiedParty) or path is None or gate is None or file is None:
        yield
        return

    def renewed() -> None:
        if isinstance(driver.forwarder, Forwarder):
            driver.carry_out(driver.forwarder.renew_credential(party.credential))

    tasks: set[asyncio.Task[None]] = set()

    def ask(certificate: bytes) -> None:
        if file.authority is not None:
            asking = _ask(driver, gate, file, file.authority, certificate)
            task = asyncio.get_running_loop().create_task(asking)
            tasks.add(task)
            task.add_done_callback(tasks.discard)

    renewal = Renewing(party, path, renewed, lines.say, ask)
    gate.on_renewal = renewal.answered
    tasks.add(asyncio.get_running_loop().create_task(renewal.run()))
    denials = Denials(party, file, options.session_path, partial(deny, driver, gate), lines.say)
    tasks.add(asyncio.get_running_loop().create_task(denials.run()))
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()


def deny(driver: Driver, gate: Gate, serials: frozenset[int]) -> None:
    """Have nothing more to do with hosts that were denied."""
    nodes = gate.deny(serials)
    if isinstance(driver.forwarder, Forwarder):
        driver.forwarder.deny(serials)
    driver.local(Denied(frozenset(nodes)))


class Denials:
    """Looks whether the session file on disk denies more hosts than it did."""

    def __init__(
        self,
        party: CertifiedParty,
        file: SessionFile,
        path: Path | None,
        denied: Callable[[frozenset[int]], None],
        say: Callable[[str], None],
    ) -> None:
        self._party = party
        self._number = 0 if file.denied is None else file.denied.number
        self._path = path
        self._denied = denied
        self._say = say

    async def run(self) -> None:
        """Look again and again, as long as the node runs."""
        while True:
            await asyncio.sleep(RENEWAL_CHECK)
            self.look()

    def look(self) -> bool:
        """Take up a newer deny list of a root that is trusted; tell whether there was one."""
        if self._path is None:
            return False
        try:
            found = read_session(self._path)
        except UsageError as error:
            _log.warning("%s", error)
            return False
        listed, trust = found.denied, self._party.trust
        if listed is None or listed.number <= self._number or found.session != trust.session:
            return False
        try:
            listed.check(found.session, verifiers(trust.roots))
        except AuthenticationError as error:
            _log.warning("%s: %s", self._path, error)
            return False
        self._number = listed.number
        serials = frozenset(listed.serials)
        self._party.deny(serials)
        self._denied(serials)
        self._say(f"deny list {listed.number} is in force, for {len(serials)} certificates")
        return True


async def _ask(
    driver: Driver, gate: Gate, file: SessionFile, authority: Contact, certificate: bytes
) -> None:
    place = parse_place(authority.address)
    with suppress(NotFound):
        for endpoint in (await resolve(place, file.session, look_up, look_up_services))[:1]:
            now = driver.clock()
            driver.send_sealed(gate.ask_renewal(certificate, endpoint, authority.static_key, now))


async def run_desk(
    options: SecurityOptions, session: str, listen: Endpoint | None, renew: Renew, lines: EventLines
) -> int:
    """Renew certificates until it is stopped; give the exit code."""
    security = security_of(options, session, {})
    assert security is not None
    opened = await open_socket(listen, "portable")
    stop = Stop()
    gate = security.gate(time.monotonic(), Parameters(), central=True)
    driver = Driver(RenewalDesk(renew, security.node_of(gate)), opened, gate=gate)
    driver.on_event(lines)
    stop.driver = driver
    lines.say(f"ready: authority of session {session!r} on {opened.local}", "Ready")
    await driver.run()
    return 0

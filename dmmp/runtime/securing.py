"""Security as the user asks for it: modes, files, where the RPs are, keys for analysis, renewal.

Everything that can be wrong with a file or an option is one line with its cure, before anything is
opened. What the files mean is in `dmmp.security`.
"""

from __future__ import annotations

import asyncio
import os
import stat
import time
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

from dmmp.errors import UsageError
from dmmp.runtime.locate import RETRY, Lookup, NotFound, Place, look_up, parse_place, resolve
from dmmp.runtime.locate import look_up_services as services
from dmmp.security.identity import CertifiedParty, Credential, SharedSecretParty
from dmmp.security.peer import Capability
from dmmp.security.session_file import SessionFile
from dmmp.security.setup import Security
from dmmp.types import Endpoint, IpAddress

CERTIFICATES, SHARED_SECRET, NONE = "certificates", "psk", "none"
MODES = (CERTIFICATES, SHARED_SECRET, NONE)
"""How the hosts of a session know each other; the first is the default."""

CREDENTIAL = "credential.pem"
"""Where a credential is looked for beside the session file, unless it is named."""

FILE_LIMIT_BYTES = 1 << 16
"""Longer than any file that is read here."""

_NEEDED = {
    "rp": Capability.RENDEZVOUS_POINT,
    "source": Capability.SOURCE,
    "super-node": Capability.SUPER_NODE,
    "member": Capability.MEMBER,
    "authority": Capability.AUTHORITY,
}
_CURE = (
    "make one with `dmmp authority init`, or use --security psk with a --secret-file, "
    "or --security none for experiments"
)


@dataclass(frozen=True, slots=True)
class SecurityOptions:
    """What the user wants, read and checked; `credential_path` is looked at again for renewals."""

    mode: str = NONE
    session_file: SessionFile | None = None
    credential: Credential | None = None
    credential_path: Path | None = None
    session_path: Path | None = None
    secret: bytes | None = None
    key_log: Path | None = None
    allow_public: bool = False


UNSECURED = SecurityOptions()


def read_options(
    kind: str,
    mode: str,
    *,
    session_file: Path | None = None,
    credential: Path | None = None,
    secret_file: Path | None = None,
    key_log: Path | None = None,
    allow_public: bool = False,
) -> SecurityOptions:
    """Read the files that a mode needs; raise `UsageError` for what does not go together."""
    if mode != CERTIFICATES and (session_file or credential):
        raise UsageError(f"--session-file and --credential do not go with --security {mode}")
    if mode != SHARED_SECRET and secret_file:
        raise UsageError("--secret-file goes with --security psk")
    if mode == NONE:
        if key_log:
            raise UsageError("--key-log: without security there are no keys")
        return SecurityOptions(NONE, allow_public=allow_public)
    if key_log is not None:
        _check_owner_only(key_log)
    if mode == SHARED_SECRET:
        if secret_file is None:
            raise UsageError(
                "--security psk needs --secret-file FILE; make one with: "
                "(umask 077; openssl rand -base64 32 > FILE)"
            )
        secret = _read(secret_file, "--secret-file", secret=True)
        return SecurityOptions(SHARED_SECRET, secret=secret.encode(), key_log=key_log)
    if session_file is None:
        raise UsageError(f"no --session-file: {_CURE}")
    content = read_session(session_file)
    path = credential or _beside(session_file)
    held = read_credential(path)
    if not held.peer.capabilities & _NEEDED[kind]:
        raise UsageError(
            f"{path}: the certificate of {held.peer.name!r} is not for a {kind}; issue one with: "
            f"dmmp authority issue DIRECTORY NAME --role {kind}"
        )
    CertifiedParty(held, content.trust())
    if held.peer.not_after < time.time():
        raise UsageError(
            f"{path}: the certificate of {held.peer.name!r} has expired; renew it with: "
            "dmmp authority renew DIRECTORY NAME"
        )
    return SecurityOptions(CERTIFICATES, content, held, path, session_file, key_log=key_log)


def read_session(path: Path) -> SessionFile:
    """Read a session file; raise `UsageError` for the user who named it."""
    return SessionFile.parse(_read(path, "--session-file"))


def read_credential(path: Path) -> Credential:
    try:
        return Credential.parse(_read(path, "--credential", secret=True))
    except UsageError as error:
        raise UsageError(
            f"{path}: {error}" if str(path) not in str(error) else str(error)
        ) from None


def _beside(session_file: Path) -> Path:
    """Find the credential beside a session file: the usual name, or the only one there."""
    usual = session_file.parent / CREDENTIAL
    if usual.exists():
        return usual
    others = sorted(session_file.parent.glob("*.pem"))
    if len(others) == 1:
        return others[0]
    raise UsageError(
        f"no --credential, and no {CREDENTIAL} beside {session_file}; "
        "get one with: dmmp authority issue DIRECTORY NAME"
    )


def _read(path: Path, option: str, secret: bool = False) -> str:
    try:
        with path.open("rb") as opened:
            mode = stat.S_IMODE(os.fstat(opened.fileno()).st_mode)
            content = opened.read(FILE_LIMIT_BYTES + 1)
    except OSError as error:
        raise UsageError(f"{option} {path}: {error.strerror}") from None
    if secret and mode & 0o077:
        raise UsageError(f"{option} {path}: others can read it; repair it with: chmod 600 {path}")
    if len(content) > FILE_LIMIT_BYTES:
        raise UsageError(f"{option} {path}: this is no file of dmmp, it is too long")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        raise UsageError(f"{option} {path}: this is no text") from None


def _check_owner_only(path: Path) -> None:
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        if not path.parent.is_dir():
            raise UsageError(f"--key-log {path}: no such directory") from None
        return
    except OSError as error:
        raise UsageError(f"--key-log {path}: {error.strerror}") from None
    if not stat.S_ISREG(mode) or mode & 0o077:
        raise UsageError(f"--key-log {path}: others may read it; repair it with: chmod 600 {path}")


def key_log(path: Path | None) -> Callable[[str], None] | None:
    """Open the file for keys, readable by its owner alone; give what writes a line to it."""
    if path is None:
        return None
    try:
        number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise UsageError(f"--key-log {path}: {error.strerror}") from None

    def write(line: str) -> None:
        os.write(number, line.encode() + b"\n")

    return write


def security_of(
    options: SecurityOptions, session: str, points: dict[Endpoint, bytes]
) -> Security | None:
    """Make a host's part in a secured session; None for a session without security."""
    party: CertifiedParty | SharedSecretParty
    if options.mode == NONE:
        return None
    if options.secret is not None:
        party = SharedSecretParty(options.secret, session)
    else:
        assert options.session_file is not None and options.credential is not None
        party = CertifiedParty(options.credential, options.session_file.trust())
    wall = time.time() - time.monotonic()
    return Security(party, os.urandom, wall, points, key_log(options.key_log))


async def locate_points(
    file: SessionFile, say: Callable[[str], None], lookup: Lookup = look_up
) -> dict[Endpoint, bytes]:
    """Find the RPs that a session file names, and whose key is where; try again until one is."""
    while True:
        found: dict[Endpoint, bytes] = {}
        missing: list[str] = []
        for contact in file.rendezvous_points:
            place = parse_place(contact.address)
            try:
                for endpoint in await resolve(place, file.session, lookup, services):
                    found[endpoint] = contact.static_key
            except NotFound as error:
                missing.append(str(error))
        if found:
            return found
        say(f"rendezvous point not found: {', '.join(missing)}; trying again (check the DNS)")
        await asyncio.sleep(RETRY)


def places_of(file: SessionFile) -> tuple[Place, ...]:
    """List the places that a session file names."""
    return tuple(parse_place(contact.address) for contact in file.rendezvous_points)


def refuse_public(options: SecurityOptions, listen: Endpoint | None) -> None:
    """Raise `UsageError` where a host without security would hear the whole Internet.

    Not for use inside an event loop: it asks the kernel. `listen` None is every address.
    """
    if options.mode != NONE or options.allow_public:
        return
    if listen is None or listen.address.is_unspecified:
        addresses = own_addresses()
    else:
        addresses = [listen.address]
    public = [str(address) for address in addresses if address.is_global]
    if public:
        raise UsageError(
            f"--security none, and {public[0]} is a public address: anybody could take part; "
            "use --listen with a private address, another --security, or --allow-public"
        )


def own_addresses() -> list[IpAddress]:
    """List this machine's unicast addresses."""
    from pyroute2 import IPRoute

    with IPRoute() as netlink:
        found = [entry.get_attr("IFA_ADDRESS") for entry in netlink.get_addr()]
    return [ip_address(address) for address in found if address]

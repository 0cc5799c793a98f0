"""The commands of the authority centre: dmmp authority init, issue, renew, list, deny (slide 23).

They read and write the files (`authority_files`), draw random bytes and ask the clock; what a
certificate, a session file or a deny list is, is decided in `dmmp.security`.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from dmmp.cli.authority_serve import serve
from dmmp.cli.options import out_degree, parse_rate
from dmmp.errors import AuthenticationError, UsageError

if TYPE_CHECKING:
    from dmmp.cli.authority_files import AuthorityDirectory, Entry
    from dmmp.security.authority import Authority, Request
    from dmmp.security.certificate import Certificate
    from dmmp.security.identity import Credential
    from dmmp.security.peer import Capability
    from dmmp.security.session_file import Contact, SessionFile
    from dmmp.types import IpAddress

ROLES = ("member", "super-node", "source", "rp", "authority")
"""What a certificate can be for; a super node and a source are members as well."""

STREAM_RATE = "8M"
"""By which a bandwidth is divided for an out-degree, as where nodes are started."""

_LIFETIME = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)\s*([smhd])")
_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_SERIAL = re.compile(r"[0-9a-fA-F]{16}")

_directory = click.argument("directory", type=click.Path(file_okay=False, path_type=Path))
_lifetime = click.option(
    "--lifetime",
    default="24h",
    show_default=True,
    metavar="TIME",
    help="How long certificates are valid: 30m, 24h, 7d.",
)


@click.group("authority")
def authority() -> None:
    """Say who may take part in a session: make its authority, admit hosts, deny them."""


@authority.command()
@_directory
@click.option("--session", required=True, metavar="NAME", help="The session it is for.")
@click.option(
    "--rp",
    "points",
    multiple=True,
    required=True,
    metavar="HOST[:PORT]",
    help="Where a rendezvous point will be; repeat it for several.",
)
@click.option(
    "--authority",
    "renewer",
    metavar="HOST[:PORT]",
    help="Where running nodes will have their certificates renewed.  Default: nowhere.",
)
@_lifetime
def init(
    directory: Path, session: str, points: tuple[str, ...], renewer: str | None, lifetime: str
) -> int:
    """Make the authority of a session: its root key, its session file, its RPs' credentials."""
    from dmmp.cli import authority_files as files
    from dmmp.security.authority import Authority
    from dmmp.security.session_file import RENDEZVOUS_LIMIT, SessionFile

    now, seconds = time.time(), parse_lifetime(lifetime)
    if len(points) > RENDEZVOUS_LIMIT:
        raise UsageError(f"--rp {len(points)} times: at most {RENDEZVOUS_LIMIT}")
    places = {("rp" if n == 0 else f"rp{n + 1}"): _place(p) for n, p in enumerate(points)}
    renewal = {} if renewer is None else {"authority": _place(renewer)}
    made = Authority.create(os.urandom)
    held: dict[str, Credential] = {}
    for name in (*places, *renewal):
        request = _request(name, session, ["authority" if name in renewal else "rp"])
        held[name] = made.credential(request, now, os.urandom, seconds)
    content = SessionFile(
        session=session,
        serial=1,
        roots=(made.public,),
        rendezvous_points=tuple(_contact(at, held[name]) for name, at in places.items()),
        authority=next((_contact(at, held[name]) for name, at in renewal.items()), None),
    ).signed(made.sign)

    try:
        directory.mkdir(mode=files.DIRECTORY_MODE, parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{directory}: {error.strerror}") from None
    with files.AuthorityDirectory(directory).locked():
        paths = {name: directory / f"{name}.pem" for name in held}
        kept = (files.ROOT, files.SESSION, files.ISSUED)
        files.refuse_to_overwrite([*(directory / name for name in kept), *paths.values()])
        entries = [_entry(held[name], paths[name].name) for name in held]
        files.write_new(directory / files.ROOT, made.text(), files.SECRET_MODE)
        files.write_new(directory / files.ISSUED, files.entries_text(entries), files.SECRET_MODE)
        for name, credential in held.items():
            files.write_new(paths[name], credential.text(), files.SECRET_MODE)
        files.write_new(directory / files.SESSION, content.text(), files.PUBLIC_MODE)
    _say_initialised(directory, content, made, held)
    return 0


@authority.command()
@_directory
@click.argument("name")
@click.option(
    "--role",
    "roles",
    multiple=True,
    type=click.Choice(ROLES),
    default=("member",),
    show_default=True,
    help="What the host may be; repeat it for several.",
)
@click.option(
    "--out-degree",
    "degree",
    type=int,
    metavar="N",
    help="Most children it may claim."
    f"  Default: as many streams of {STREAM_RATE}bit/s as nine tenths of --bandwidth carry.",
)
@click.option(
    "--bandwidth",
    default="100M",
    show_default=True,
    metavar="RATE",
    help="Most bandwidth it may claim, bit/s.",
)
@click.option(
    "--group",
    "groups",
    multiple=True,
    metavar="GROUP",
    help="A group that a source may send to; repeat it for several.  Default: all.",
)
@_lifetime
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Where to write the credential.  Default: DIRECTORY/NAME.pem.",
)
def issue(
    directory: Path,
    name: str,
    roles: tuple[str, ...],
    degree: int | None,
    bandwidth: str,
    groups: tuple[str, ...],
    lifetime: str,
    output: Path | None,
) -> int:
    """Admit a host: write NAME.pem, the credential to give to it, and to it alone."""
    from dmmp.cli import authority_files as files

    now, seconds = time.time(), parse_lifetime(lifetime)
    if groups and "source" not in roles:
        raise UsageError("--group goes with --role source: it says to which groups one may send")
    place = files.AuthorityDirectory(directory)
    with place.locked():
        made = place.authority()
        request = replace(
            _request(name, place.session(made).session, roles),
            out_degree=out_degree(bandwidth, STREAM_RATE, degree),
            bandwidth=int(parse_rate("--bandwidth", bandwidth)),
            groups=tuple(map(_group, groups)),
        )
        entries = place.entries()
        if any(entry.name == name and entry.state(now) == "valid" for entry in entries):
            raise UsageError(
                f"{name} has a certificate; renew it with: dmmp authority renew {directory} {name}"
            )
        credential = made.credential(request, now, os.urandom, seconds)
        path = output or directory / f"{name}.pem"
        files.refuse_to_overwrite([path])
        # Recorded first: a certificate that nobody knows of could not be denied by its name.
        place.write_entries([*entries, _entry(credential, place.file_of(path))], now)
        files.write_new(path, credential.text(), files.SECRET_MODE)
    click.echo(f"{path}: {name}, {', '.join(roles)}, {_until(credential)}")
    click.echo(f"There: {_start(directory / files.SESSION, roles, path)}")
    return 0


@authority.command()
@_directory
@click.argument("name", required=False)
@click.option("--all", "everyone", is_flag=True, help="Every host that was not denied.")
@click.option("--lifetime", metavar="TIME", help="How long it is valid.  Default: as before.")
def renew(directory: Path, name: str | None, everyone: bool, lifetime: str | None) -> int:
    """Write new dates into credentials, in place: same keys, same grant."""
    from dmmp.cli import authority_files as files

    if everyone == (name is not None):
        raise UsageError("renew NAME, or renew --all: name one host or all of them")
    now = time.time()
    seconds = None if lifetime is None else parse_lifetime(lifetime)
    place = files.AuthorityDirectory(directory)
    failed = 0
    with place.locked():
        made = place.authority()
        session = place.session(made)
        entries = place.entries()
        newest = {entry.name: entry for entry in entries}
        chosen = [entry for entry in newest.values() if everyone and not entry.denied]
        if name is not None:
            chosen = [_known(newest, name)]
        for entry in chosen:
            try:
                renewed = _renew(place, made, session, entry, now, seconds)
            except UsageError as error:
                if not everyone:
                    raise
                failed += 1
                click.echo(f"{entry.name}: {error}", err=True)
                continue
            entries.append(_entry(renewed, entry.file))
            place.write_entries(entries, now)
            path = place.credential_path(entry)
            files.replace_file(path, renewed.text())
            click.echo(f"{path}: {entry.name}, {_until(renewed)}")
    return 1 if failed else 0


@authority.command("list")
@_directory
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def list_(directory: Path, as_json: bool) -> int:
    """List the certificates that were issued."""
    from dmmp.cli.authority_files import AuthorityDirectory, date_text

    now = time.time()
    place = AuthorityDirectory(directory)
    with place.locked():
        entries = place.entries()
    if as_json:
        from dmmp.cli.tools import echo_json

        echo_json([{**entry.to_json(), "state": entry.state(now)} for entry in entries])
        return 0
    from dmmp.cli.tables import columns, print_tables

    rows = [
        (
            entry.name,
            ", ".join(entry.roles),
            entry.state(now),
            date_text(entry.not_after),
            f"{entry.serial:016x}",
            entry.file,
        )
        for entry in entries
    ]
    print_tables([columns("", ("name", "roles", "state", "until", "serial", "file"), rows)])
    return 0


@authority.command()
@_directory
@click.argument("whom", metavar="NAME|SERIAL")
def deny(directory: Path, whom: str) -> int:
    """Shut a host out before its certificate expires: put it on the list in session.toml."""
    from dmmp.cli import authority_files as files

    now = time.time()
    place = files.AuthorityDirectory(directory)
    with place.locked():
        made = place.authority()
        session = place.session(made)
        entries = place.entries()
        denying = _serials_of(entries, whom, now)
        before = session.denied
        number = 1 if before is None else before.number + 1
        listed = frozenset() if before is None else frozenset(before.serials)
        # Hosts refuse by themselves what has expired: it needs no place on the list.
        over = {entry.serial for entry in entries if entry.is_over(now)}
        denied = made.deny(session.session, number, (listed - over) | denying)
        changed = replace(session, serial=session.serial + 1, denied=denied).signed(made.sign)
        # The list first: a host marked as denied, and not on it, would look shut out and not be.
        files.replace_file(directory / files.SESSION, changed.text())
        place.write_entries(files.denied_entries(entries, denying), now)
    serials = ", ".join(f"{serial:016x}" for serial in sorted(denying))
    click.echo(f"{whom}: denied {serials}; deny list {number} has {len(denied.serials)}")
    click.echo(f"Give {directory / files.SESSION} to the rendezvous points and the source.")
    return 0


def parse_lifetime(text: str) -> float:
    """Read a time like 30m, 24h or 7d, and give seconds."""
    found = _LIFETIME.fullmatch(text.strip())
    if found is None:
        raise UsageError(f"--lifetime {text!r} is no time; write for example 30m, 24h or 7d")
    return float(found[1]) * _SECONDS[found[2]]


def capabilities(roles: Sequence[str]) -> Capability:
    """Give what a host with these roles may be."""
    from dmmp.security.peer import Capability

    meant = {
        "member": Capability.MEMBER,
        "super-node": Capability.SUPER_NODE | Capability.MEMBER,
        "source": Capability.SOURCE | Capability.MEMBER,
        "rp": Capability.RENDEZVOUS_POINT,
        "authority": Capability.AUTHORITY,
    }
    may = Capability.NONE
    for role in roles:
        may |= meant[role]
    return may


def roles_of(may: Capability) -> tuple[str, ...]:
    """Name the roles of what a host may be; member only where nothing says it already."""
    granted = [role for role in ROLES if capabilities([role]) & may == capabilities([role])]
    if len(granted) > 1 and {"super-node", "source"} & set(granted):
        granted.remove("member")
    return tuple(granted)


def _request(name: str, session: str, roles: Sequence[str]) -> Request:
    from dmmp.security.authority import Request

    return Request(name, session, capabilities(roles), out_degree=0, bandwidth=0)


def _place(text: str) -> str:
    """Read where a host will be, and give it as HOST:PORT."""
    from dmmp.runtime.locate import parse_place
    from dmmp.types import DEFAULT_PORT

    place = parse_place(text)
    host = f"[{place.host}]" if ":" in place.host else place.host
    return f"{host}:{place.port or DEFAULT_PORT}"


def _group(text: str) -> IpAddress:
    from dmmp.runtime.groups import parse_group

    group = parse_group(text)
    if group.port is not None:
        raise UsageError(f"--group {text}: without a port; it says to which groups one may send")
    return group.address


def _contact(address: str, credential: Credential) -> Contact:
    from dmmp.security.session_file import Contact

    return Contact(address, credential.peer.static_key)


def _entry(credential: Credential, file: str) -> Entry:
    return entry_of(credential.says, file)


def entry_of(says: Certificate, file: str) -> Entry:
    """Make the record of a certificate that was issued."""
    from dmmp.cli.authority_files import Entry

    peer = says.peer
    return Entry(
        peer.serial,
        peer.name,
        roles_of(peer.capabilities),
        says.not_before,
        peer.not_after,
        file,
    )


def _known(newest: dict[str, Entry], name: str) -> Entry:
    if name not in newest:
        raise UsageError(f"{name} was never issued a certificate; see: dmmp authority list")
    return newest[name]


def _renew(
    place: AuthorityDirectory,
    made: Authority,
    session: SessionFile,
    entry: Entry,
    now: float,
    seconds: float | None,
) -> Credential:
    """Make the renewed credential of a host, from the file where its present one is."""
    if entry.denied:
        raise UsageError(f"{entry.name} was denied; admit it anew with: dmmp authority issue")
    path = place.credential_path(entry)
    held = place.read_credential(path)
    if held.peer.name != entry.name:
        raise UsageError(f"{path} is the credential of {held.peer.name}, not of {entry.name}")
    try:
        certificate = made.renew(held.certificate, session.trust().denied, now, os.urandom, seconds)
    except AuthenticationError as error:
        raise UsageError(
            f"{path}: {error.detail}; admit it anew with: dmmp authority issue"
        ) from None
    return held.renewed(certificate)


def _serials_of(entries: Sequence[Entry], whom: str, now: float) -> frozenset[int]:
    """Find what is to be denied: all certificates of a host that are still good, or one."""
    from dmmp.security.authority import SERIAL_LEAST

    of_name = [entry for entry in entries if entry.name == whom]
    good = {entry.serial for entry in of_name if not entry.denied and not entry.is_over(now)}
    if good:
        return frozenset(good)
    if of_name:
        raise UsageError(f"{whom} has no certificate that is valid; see: dmmp authority list")
    # One that another machine of this authority has issued is in no list here.
    if _SERIAL.fullmatch(whom) and int(whom, 16) >= SERIAL_LEAST:
        return frozenset((int(whom, 16),))
    raise UsageError(f"{whom!r} is neither a host nor a serial number; see: dmmp authority list")


def _until(credential: Credential) -> str:
    from dmmp.cli.authority_files import date_text

    return f"valid until {date_text(credential.peer.not_after)}"


def _start(session_file: Path, roles: Sequence[str], path: Path) -> str:
    """Give the command that a host with this credential is started by."""
    order = ("source", "super-node", "member", "rp")
    command = next((role for role in order if role in roles), "...")
    return f"dmmp {command} --session-file {session_file} --credential {path}"


def _say_initialised(
    directory: Path, content: SessionFile, made: Authority, held: dict[str, Credential]
) -> None:
    """Say what was made and what to do next."""
    from dmmp.cli import authority_files as files

    session_file = directory / files.SESSION
    lines = [
        f"The authority of session {content.session} is {made.fingerprint}.",
        f"  {directory / files.ROOT}: the root key; keep it to yourself, and a copy of it",
        f"  {session_file}: for every host; no secret",
    ]
    for name, credential in held.items():
        lines.append(f"  {directory / f'{name}.pem'}: {name}, {_until(credential)}")
    lines += ["Next:"]
    lines += [
        f"  at {point.address}: {_start(session_file, ['rp'], directory / f'{name}.pem')}"
        for name, point in zip(held, content.rendezvous_points, strict=False)
    ]
    lines += [
        f"  for each host: dmmp authority issue {directory} NAME --role member",
        f"  before certificates expire: dmmp authority renew {directory} --all",
    ]
    click.echo("\n".join(lines))


authority.add_command(serve)

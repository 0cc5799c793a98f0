"""`dmmp authority serve`: the authority on line, which renews the certificates of running nodes.

It holds the root key while it runs. Who wants that key off line renews by `dmmp authority renew`
and carries the files to the hosts.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import click

from dmmp.cli.options import listen_option, log_options
from dmmp.errors import AuthenticationError, UsageError


@click.command()
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path))
@listen_option("the port that `init --authority` named, on all addresses")
@log_options
def serve(directory: Path, **common: Any) -> int:
    """Renew certificates of running hosts, at the address that `init --authority` was given."""
    import sys

    from dmmp.cli import authority_files as files
    from dmmp.runtime.locate import parse_endpoint
    from dmmp.runtime.node import run
    from dmmp.runtime.observe import EventLines, set_up_logging
    from dmmp.runtime.renewing import run_desk
    from dmmp.runtime.securing import CERTIFICATES, read_options

    set_up_logging(common["log_level"], common["log_json"])
    lines = EventLines(sys.stdout, common["log_json"])
    place = files.AuthorityDirectory(directory)
    with place.locked():
        session = place.session(place.authority())
    if session.authority is None:
        raise UsageError(
            f"{directory}: hosts do not know where its authority is; make it with: "
            "dmmp authority init --authority HOST:PORT"
        )
    options = read_options(
        "authority",
        CERTIFICATES,
        session_file=directory / files.SESSION,
        credential=directory / "authority.pem",
    )
    port = session.authority.address.rpartition(":")[2]
    listen = parse_endpoint(common["listen"] or f"[::]:{port}")
    renew = _Renewals(directory)
    return run(run_desk(options, session.session, listen, renew, lines))


class _Renewals:
    """Renews with what the directory says now: its root key, whom it denied."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def __call__(self, certificate: bytes) -> bytes:
        from dmmp.cli import authority_files as files
        from dmmp.cli.authority import entry_of
        from dmmp.security.certificate import read_certificate

        place = files.AuthorityDirectory(self._directory)
        now = time.time()
        with place.locked():
            made = place.authority()
            denied = place.session(made).trust().denied
            says = read_certificate(certificate)
            entries = place.entries()
            known = [each for each in entries if each.serial == says.peer.serial]
            if not known or any(each.denied for each in known):
                raise AuthenticationError(f"{says.peer.name}: not issued here, or denied")
            renewed = made.renew(certificate, denied, now, os.urandom)
            entries.append(entry_of(read_certificate(renewed), known[-1].file))
            place.write_entries(entries, now)
        return renewed

"""The files of `dmmp authority`: the directory in which one authority keeps one session.

`root.pem` (secret), `session.toml` (for everybody), `issued.json` (its own memory). What stands in
them is decided elsewhere. Nothing is overwritten unasked; what is replaced, is replaced whole.
"""

from __future__ import annotations

import fcntl
import json
import os
import stat
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dmmp.errors import UsageError

if TYPE_CHECKING:
    from dmmp.security.authority import Authority
    from dmmp.security.identity import Credential
    from dmmp.security.session_file import SessionFile

SECRET_MODE, PUBLIC_MODE, DIRECTORY_MODE = 0o600, 0o644, 0o700

ROOT, SESSION, ISSUED = "root.pem", "session.toml", "issued.json"

_DATE = "%Y-%m-%dT%H:%M:%SZ"


@dataclass(frozen=True, slots=True)
class Entry:
    """One certificate that was issued; dates in seconds since 1970."""

    serial: int
    name: str
    roles: tuple[str, ...]
    not_before: float
    not_after: float
    file: str
    denied: bool = False

    def state(self, now: float) -> str:
        """Say in one word what it is worth."""
        return "denied" if self.denied else "expired" if now > self.not_after else "valid"

    def is_over(self, now: float) -> bool:
        """Tell whether no host accepts it any more, however wrong its clock may go."""
        from dmmp.security.identity import CLOCK_SKEW

        return now > self.not_after + 2 * CLOCK_SKEW

    def to_json(self) -> dict[str, Any]:
        """Give it as it stands in `issued.json`."""
        return {
            "serial": f"{self.serial:016x}",
            "name": self.name,
            "roles": list(self.roles),
            "from": date_text(self.not_before),
            "until": date_text(self.not_after),
            "file": self.file,
            "denied": self.denied,
        }

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Entry:
        """Read what `to_json` gives; raise `KeyError`, `TypeError` or `ValueError` if it is not."""
        return cls(
            int(value["serial"], 16),
            value["name"],
            tuple(value["roles"]),
            _seconds(value["from"]),
            _seconds(value["until"]),
            value["file"],
            bool(value["denied"]),
        )


def date_text(at: float) -> str:
    """Write an instant, in seconds since 1970, as RFC 3339 has it."""
    return datetime.fromtimestamp(at, UTC).strftime(_DATE)


def _seconds(text: str) -> float:
    return datetime.strptime(text, _DATE).replace(tzinfo=UTC).timestamp()


def write_new(path: Path, text: str, mode: int) -> None:
    """Write a file that must not be there yet; raise `UsageError` if it is, or cannot be made."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    except FileExistsError:
        raise _exists(path) from None
    except OSError as error:
        raise _unable(path, error) from None
    with open(descriptor, "w", encoding="utf-8") as file:
        file.write(text)


def refuse_to_overwrite(paths: Iterable[Path]) -> None:
    """Raise `UsageError` if one of these exists, before anything is made."""
    for path in paths:
        if os.path.lexists(path):
            raise _exists(path)


def replace_file(path: Path, text: str) -> None:
    """Put new content in the place of a file's, at once; it keeps its owner and its mode."""
    try:
        before = path.stat()
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    except OSError as error:
        raise _unable(path, error) from None
    try:
        with open(descriptor, "w", encoding="utf-8") as file:
            if os.geteuid() == 0:
                # The node that reads it runs as somebody else.
                os.fchown(descriptor, before.st_uid, before.st_gid)
            os.fchmod(descriptor, stat.S_IMODE(before.st_mode))
            file.write(text)
            file.flush()
            os.fsync(descriptor)
        os.replace(name, path)
    except OSError as error:
        with suppress(OSError):
            os.unlink(name)
        raise _unable(path, error) from None


def read_text(path: Path) -> str:
    """Read a file; raise `UsageError` if it is not there or no text."""
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise _unable(path, error) from None
    except UnicodeDecodeError:
        raise UsageError(f"{path} is no text; is it the right file?") from None


def _exists(path: Path) -> UsageError:
    return UsageError(f"{path} exists and is not overwritten; move it away or name another place")


def _unable(path: Path, error: OSError) -> UsageError:
    return UsageError(f"{path}: {error.strerror}")


class AuthorityDirectory:
    """The directory of one authority; every method raises `UsageError` for what is wrong in it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other commands out of the directory, so that no two take the same number."""
        try:
            descriptor = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        except OSError as error:
            raise UsageError(
                f"{self.path}: {error.strerror}; make an authority with: dmmp authority init"
            ) from None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def authority(self) -> Authority:
        """Read the root key, unless others can read it too."""
        from dmmp.security.authority import Authority

        path = self.path / ROOT
        text = read_text(path)
        if path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise UsageError(f"{path} is open to others; take it back with: chmod 600 {path}")
        try:
            return Authority.parse(text)
        except UsageError as error:
            raise UsageError(f"{path}: {error}") from None

    def session(self, authority: Authority) -> SessionFile:
        """Read the session file, which must be this authority's."""
        from dmmp.security.session_file import SessionFile

        path = self.path / SESSION
        try:
            return SessionFile.parse(read_text(path), authority.fingerprint)
        except UsageError as error:
            raise UsageError(f"{path}: {error}") from None

    def entries(self) -> list[Entry]:
        """Read what was issued, the oldest first."""
        path = self.path / ISSUED
        try:
            return [Entry.from_json(value) for value in json.loads(read_text(path))["issued"]]
        except (KeyError, TypeError, ValueError) as error:
            raise UsageError(f"{path} cannot be read ({error}); restore it from a copy") from None

    def write_entries(self, entries: Iterable[Entry], now: float) -> None:
        """Write what was issued, without what has expired and was renewed since."""
        replace_file(self.path / ISSUED, entries_text(_kept(list(entries), now)))

    def credential_path(self, entry: Entry) -> Path:
        """Say where the credential of an entry was written."""
        return self.path / entry.file

    def read_credential(self, path: Path) -> Credential:
        """Read a credential file."""
        from dmmp.security.identity import Credential

        try:
            return Credential.parse(read_text(path))
        except UsageError as error:
            named = "" if str(error).startswith(str(path)) else f"{path}: "
            raise UsageError(f"{named}{error}") from None

    def file_of(self, path: Path) -> str:
        """Give a path as entries hold it: from the directory on if it is inside, else whole."""
        whole, inside = path.resolve(), self.path.resolve()
        return str(whole.relative_to(inside) if whole.is_relative_to(inside) else whole)


def entries_text(entries: Iterable[Entry]) -> str:
    """Give the content of `issued.json`."""
    return json.dumps({"issued": [entry.to_json() for entry in entries]}, indent=2) + "\n"


def denied_entries(entries: Iterable[Entry], serials: frozenset[int]) -> list[Entry]:
    """Mark the entries with these serials as denied."""
    return [replace(entry, denied=True) if entry.serial in serials else entry for entry in entries]


def _kept(entries: list[Entry], now: float) -> list[Entry]:
    newest = {entry.name: entry.serial for entry in entries}
    return [
        entry
        for entry in entries
        # Of the denied it must be known when they can leave the deny list.
        if entry.denied or not entry.is_over(now) or newest[entry.name] == entry.serial
    ]

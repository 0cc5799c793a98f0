"""The UNIX socket of a running node: one JSON document for each connection, then it closes.

Only the node's owner and root are answered. It is read-only: nothing can be changed through it. The
document itself is made in `observe`; its fields are described in docs/show.md.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import re
import socket
import struct
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from dmmp.errors import UsageError

DIRECTORY_VARIABLE = "DMMP_RUNTIME_DIR"
"""Environment variable that says where the sockets are, in place of the usual directory."""

ROOT_DIRECTORY = Path("/run/dmmp")
"""Where the sockets of root's nodes are."""

ANSWER_LIMIT_BYTES = 4 << 20
CONNECTIONS_LIMIT = 16
NAMES_LIMIT = 1000
CLIENT_TIMEOUT = 3.0

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_SUFFIX = ".sock"
_CREDENTIALS = struct.Struct("3i")


def directory() -> Path:
    """Give the directory of this user's node sockets."""
    if chosen := os.environ.get(DIRECTORY_VARIABLE):
        return Path(chosen)
    if os.geteuid() == 0 and os.access("/run", os.W_OK):
        return ROOT_DIRECTORY
    if run := os.environ.get("XDG_RUNTIME_DIR"):
        return Path(run, "dmmp")
    home = Path.home()
    if os.access(home, os.W_OK):
        return home / ".dmmp" / "run"
    return Path(tempfile.gettempdir(), f"dmmp-{os.geteuid()}")


def claim(name: str | None, kind: str) -> tuple[str, socket.socket]:
    """Bind and listen at the socket of `name`; without a name, of the first free one of `kind`.

    Sockets of dead processes are removed. Raise `UsageError` if a living one has the name.
    """
    if name is not None and not _NAME.fullmatch(name):
        raise UsageError(f"--name {name!r}: letters, digits, dot, dash and underscore, 64 at most")
    try:
        where = directory()
        where.mkdir(mode=0o700, parents=True, exist_ok=True)
        if where.stat().st_uid not in (0, os.geteuid()):
            raise PermissionError(f"{where} belongs to another user")
        with _locked(where):
            for path in where.glob(f"*{_SUFFIX}"):
                if not _is_alive(path):
                    path.unlink(missing_ok=True)
            for candidate in [name] if name else _candidates(kind):
                path = where / f"{candidate}{_SUFFIX}"
                if not path.exists():
                    return candidate, _listen(path)
    except OSError as error:
        raise UsageError(
            f"no place for the control socket: {error}; set {DIRECTORY_VARIABLE} to a directory "
            "of yours with a short path"
        ) from None
    raise UsageError(f"--name {name}: a running node has this name; choose another")


def _candidates(kind: str) -> Iterator[str]:
    yield kind
    for number in range(2, NAMES_LIMIT):
        yield f"{kind}-{number}"


@contextmanager
def _locked(where: Path) -> Iterator[None]:
    """Let one process at a time look for dead sockets: two would remove each other's new one."""
    descriptor = os.open(where, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _is_alive(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(CLIENT_TIMEOUT)
        try:
            probe.connect(os.fspath(path))
        except (FileNotFoundError, ConnectionRefusedError):
            return False
        except OSError as error:
            if error.errno is None and not isinstance(error, TimeoutError):
                # Not the kernel's answer but Python's: the path is too long for a socket.
                raise
            # Somebody is there and busy, or is not ours to judge.
            return True
    return True


def _listen(path: Path) -> socket.socket:
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        made.bind(os.fspath(path))
        made.listen(CONNECTIONS_LIMIT)
        made.setblocking(False)
    except OSError:
        made.close()
        raise
    finally:
        os.umask(before)
    return made


class ControlServer:
    """Answers each connection with the document that `state` makes."""

    def __init__(self, listening: socket.socket, state: Callable[[], dict[str, Any]]) -> None:
        self._listening = listening
        self._path = Path(listening.getsockname())
        self._state = state
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Begin to answer."""
        self._server = await asyncio.start_unix_server(self._answer, sock=self._listening)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, TimeoutError):
            if _peer_user(writer.get_extra_info("socket")) in (0, os.geteuid()):
                writer.write(json.dumps(self._state()).encode() + b"\n")
                await asyncio.wait_for(writer.drain(), CLIENT_TIMEOUT)
        writer.close()

    def close(self) -> None:
        """Stop answering and remove the socket's file."""
        if self._server is not None:
            self._server.close()
        self._listening.close()
        self._path.unlink(missing_ok=True)


def _peer_user(connected: Any) -> int:
    given = connected.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    return int(_CREDENTIALS.unpack(given)[1])


def running() -> list[str]:
    """List the names of this user's running nodes."""
    try:
        paths = sorted(directory().glob(f"*{_SUFFIX}"))
    except OSError:
        return []
    return [path.name.removesuffix(_SUFFIX) for path in paths if _is_alive(path)]


def hint() -> str:
    """Say how to see root's nodes, if there are some and this is another user; else nothing."""
    if os.geteuid() == 0:
        return ""
    try:
        # The directory itself is root's alone; the kernel's list of sockets is for everybody.
        listed = Path("/proc/net/unix").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    if f" {ROOT_DIRECTORY}/" not in listed:
        return ""
    return "; root's run here, see them with: sudo dmmp show"


def ask(name: str) -> dict[str, Any]:
    """Fetch the document of a running node; raise `UsageError` if there is none."""
    path = directory() / f"{name}{_SUFFIX}"
    answer = bytearray()
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking:
            asking.settimeout(CLIENT_TIMEOUT)
            asking.connect(os.fspath(path))
            while (part := asking.recv(65536)) and len(answer) < ANSWER_LIMIT_BYTES:
                answer += part
    except (FileNotFoundError, ConnectionRefusedError):
        names = ", ".join(running()) or "none"
        raise UsageError(
            f"no running node is called {name!r}; running here: {names}{hint()}"
        ) from None
    except PermissionError:
        raise UsageError(f"node {name!r} belongs to another user; try with sudo") from None
    except OSError as error:
        raise UsageError(f"node {name!r} does not answer: {error}") from None
    try:
        document = json.loads(bytes(answer))
    except ValueError:
        raise UsageError(f"node {name!r} gave no answer; it is ending, or not yours") from None
    if not isinstance(document, dict):
        raise UsageError(f"{path} is no node's socket")
    return document

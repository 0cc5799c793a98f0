"""Root without being root: a user namespace of one's own, in which networks may be made.

What is made in it ends with it and no other user can see it. It needs no privilege, where the
kernel's settings allow it; a TUN device in it also needs a /dev/net/tun this user may open.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from dmmp.errors import UsageError

MARK: Final = "DMMP_USER_NAMESPACE"
"""Environment variable: `entering` on the way in, `inside` afterwards."""

UNSHARE: Final = ("unshare", "--user", "--map-root-user", "--net", "--mount", "--")


def in_user_namespace() -> bool:
    """Tell whether this process went through `reexec_in_user_namespace`."""
    return os.environ.get(MARK) == "inside"


def may_make_namespaces() -> None:
    """Raise `UsageError` with the cure unless this process may make network namespaces."""
    if os.geteuid() != 0:
        raise UsageError("network namespaces need root or a user namespace: try again with sudo")


def reexec_in_user_namespace(command: Sequence[str] | None = None) -> None:
    """Return at once as root; otherwise start over in a user namespace, as root of that.

    `command` replaces this process's own command line. Call it first thing: what ran before runs
    again.
    """
    if os.environ.get(MARK) == "entering":
        _furnish()
        os.environ[MARK] = "inside"
    if os.geteuid() == 0:
        return
    tried = subprocess.run([*UNSHARE, "true"], capture_output=True, text=True)
    if tried.returncode != 0:
        said = tried.stderr.strip()
        raise UsageError(f"this system allows no user namespaces ({said}): try again with sudo")
    # A process of another name would lose the virtual environment, hence the interpreter's path.
    words = list(command) if command is not None else [sys.executable, *sys.orig_argv[1:]]
    os.execvpe(UNSHARE[0], [*UNSHARE, *words], dict(os.environ, **{MARK: "entering"}))


def _furnish() -> None:
    """Give the namespace a /run it may write to: `ip netns` and the nodes' sockets live there."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=755", "dmmp", "/run"], check=True)
    Path("/run/netns").mkdir()
    if runtime_directory := os.environ.get("XDG_RUNTIME_DIR"):
        Path(runtime_directory).mkdir(mode=0o700, parents=True, exist_ok=True)


def main(arguments: Sequence[str]) -> int:
    """Run a command as root of a user namespace, or as it is when root already."""
    reexec_in_user_namespace()
    return subprocess.run(arguments).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

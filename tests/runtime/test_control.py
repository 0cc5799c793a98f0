"""The control socket: names, dead sockets, who may ask."""

from __future__ import annotations

import asyncio
import os
import stat
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from dmmp.errors import UsageError
from dmmp.runtime.control import DIRECTORY_VARIABLE, ControlServer, ask, claim, directory, running


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(DIRECTORY_VARIABLE, str(tmp_path / "run"))
    return tmp_path / "run"


def test_a_node_answers_with_its_document() -> None:
    async def main() -> None:
        name, listening = claim(None, "member")
        server = ControlServer(listening, lambda: {"role": "member", "name": name})
        await server.start()
        assert await asyncio.to_thread(running) == ["member"]
        assert await asyncio.to_thread(ask, name) == {"role": "member", "name": "member"}
        server.close()
        assert running() == []

    asyncio.run(main())


def test_only_the_owner_may_open_it(place: Path) -> None:
    _, listening = claim("mine", "member")
    assert stat.S_IMODE((place / "mine.sock").stat().st_mode) == 0o600
    assert stat.S_IMODE(place.stat().st_mode) == 0o700
    listening.close()


def test_unnamed_nodes_get_names_of_their_own() -> None:
    claimed = [claim(None, "member") for _ in range(3)]
    assert [name for name, _ in claimed] == ["member", "member-2", "member-3"]
    for _, listening in claimed:
        listening.close()


def test_a_living_nodes_name_is_refused() -> None:
    _, listening = claim("m1", "member")
    with pytest.raises(UsageError, match="--name m1: a running node has this name"):
        claim("m1", "member")
    listening.close()


def test_a_dead_nodes_socket_is_cleaned_away(place: Path) -> None:
    program = "from dmmp.runtime.control import claim; kept = claim('m1', 'member'); import os; "
    subprocess.run([sys.executable, "-c", program + "os._exit(0)"], check=True)
    assert (place / "m1.sock").exists()
    assert running() == []
    with pytest.raises(UsageError, match="no running node is called 'm1'"):
        ask("m1")
    _, listening = claim("m2", "member")
    assert [path.name for path in place.glob("*.sock")] == ["m2.sock"]
    listening.close()


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".hidden", "x" * 65, "a b"])
def test_a_name_cannot_leave_the_directory(name: str) -> None:
    with pytest.raises(UsageError, match="--name"):
        claim(name, "member")


def test_a_directory_that_cannot_be_made_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(DIRECTORY_VARIABLE, "/proc/nowhere")
    with pytest.raises(UsageError, match=DIRECTORY_VARIABLE):
        claim(None, "member")


def test_a_path_too_long_for_a_socket_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(DIRECTORY_VARIABLE, str(tmp_path / ("x" * 120)))
    with pytest.raises(UsageError, match="short path"):
        claim(None, "member")


def test_a_node_that_says_nothing_is_no_answer(place: Path) -> None:
    name, listening = claim("mute", "member")

    async def main() -> None:
        async def close(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.close()

        server = await asyncio.start_unix_server(close, sock=listening)
        with pytest.raises(UsageError, match="gave no answer"):
            await asyncio.to_thread(ask, name)
        server.close()

    asyncio.run(main())


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to be someone else")
def test_a_stranger_gets_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    # The file's mode keeps strangers out already; this is what holds if it is ever widened.
    async def main(place: Path) -> None:
        _, listening = claim("m1", "member")
        server = ControlServer(listening, lambda: {"secret": True})
        await server.start()
        (place / "m1.sock").chmod(0o777)
        code = (
            "import socket, sys; s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]);"
            "print(s.recv(100))"
        )
        done = await asyncio.to_thread(
            subprocess.run,
            ["/usr/bin/env", "python3", "-c", code, str(place / "m1.sock")],
            capture_output=True,
            text=True,
            user=65534,
        )
        server.close()
        assert "secret" not in done.stdout and "b''" in done.stdout

    with TemporaryDirectory() as made:
        monkeypatch.setenv(DIRECTORY_VARIABLE, made)
        Path(made).chmod(0o755)
        asyncio.run(main(Path(made)))


def test_the_directory_follows_the_user(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(DIRECTORY_VARIABLE)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/1000")
    assert directory() == Path("/run/user/1000/dmmp")
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert directory() == tmp_path / ".dmmp" / "run"


def test_a_file_that_is_no_socket_is_no_node(place: Path) -> None:
    place.mkdir()
    (place / "odd.sock").write_text("x")
    assert "odd" not in running()

"""Every transcript must play as recorded; `python -m tests.transcripts` records anew."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.transcripts.scripts import HERE, files, parse, play, write
from tests.transcripts.stage import commands


@pytest.mark.parametrize("path", files(), ids=lambda path: path.stem)
def test_transcript(path: Path) -> None:
    """Block by block, so that the first difference is the one that is shown."""
    blocks = parse(path.read_text("utf-8"))
    for recorded, played in zip(blocks, play(blocks), strict=True):
        assert played.output == recorded.output, (
            f"{path.name}, after {recorded.commands}: if this is meant, python -m tests.transcripts"
        )


@pytest.mark.parametrize("path", files(), ids=lambda path: path.stem)
def test_writing_gives_what_was_read(path: Path) -> None:
    """So that recording anew changes outputs and nothing else."""
    text = path.read_text("utf-8")
    assert write(parse(text)) == text


def test_a_changed_output_is_noticed() -> None:
    """The comparison itself can fail."""
    blocks = parse("rp\nsource s\nadvance 1\nchecks\n----\nall checks hold\n")
    assert next(play(blocks)).output == ["all checks hold"]
    assert next(play(parse("checks x\n----\nall checks hold\n"))).output != ["all checks hold"]


def test_the_manual_lists_every_command() -> None:
    """Name and first line of the docstring, as in the code."""
    manual = (HERE / "README.md").read_text("utf-8")
    for name, command in commands().items():
        summary = (command.__doc__ or "").split("\n")[0].rstrip(".")
        assert summary.startswith(f"`{name}")
        assert summary in manual, f"{name}: {summary}"

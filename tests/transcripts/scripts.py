"""Reading, playing and writing transcript files.

A file is a sequence of blocks: comment lines (`#`), commands, a line of dashes, and the output,
which ends at an empty line. A block without a line of dashes must print nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from dmmp.errors import UsageError
from tests.transcripts.stage import Stage

HERE = Path(__file__).resolve().parent
DASHES = "----"


@dataclass
class Block:
    """Commands, comments among them, and the output they had when recorded."""

    lines: list[str] = field(default_factory=list)
    output: list[str] = field(default_factory=list)

    @property
    def commands(self) -> list[str]:
        """List the commands without the comments."""
        return [line for line in self.lines if line and not line.startswith("#")]


def files() -> list[Path]:
    """List the transcripts."""
    return sorted(HERE.glob("*.txt"))


def parse(text: str) -> list[Block]:
    """Read the blocks of a transcript."""
    blocks = []
    for chunk in text.strip("\n").split("\n\n"):
        lines = chunk.split("\n")
        at = lines.index(DASHES) if DASHES in lines else len(lines)
        blocks.append(Block(lines[:at], lines[at + 1 :]))
    return blocks


def write(blocks: list[Block]) -> str:
    """Write blocks as a transcript."""
    chunks = []
    for block in blocks:
        output = [DASHES, *block.output] if block.output else []
        chunks.append("\n".join([*block.lines, *output]))
    return "\n\n".join(chunks) + "\n"


def play(blocks: list[Block]) -> Iterator[Block]:
    """Play a transcript from its beginning; yield each block with the output it has now."""
    stage = Stage()
    for block in blocks:
        output: list[str] = []
        for command in block.commands:
            try:
                output.extend(stage.run(command))
            except UsageError as error:
                output.append(f"error: {error}")
        yield Block(block.lines, output)


def transcripts() -> dict[Path, str]:
    """Play every transcript and return its file as it should be."""
    return {path: write(list(play(parse(path.read_text("utf-8"))))) for path in files()}

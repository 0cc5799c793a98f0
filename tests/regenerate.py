"""`python -m tests.regenerate`: write every file that follows from the code, and name what changed.

`generated` gives the files as they should be; the fast tests compare them with those in the tree.
A new kind of generated file is one more function in `GENERATORS`.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dmmp.inspection import option_table
from dmmp.messages import REGISTRY, Message, encode
from tests.examples import examples
from tests.message_tables import fill
from tests.plain import message_to_plain
from tests.security.derivation_vectors import derivation_vectors
from tests.security.derivations import VERSION
from tests.state_machines import state_machines
from tests.tree_vectors import tree_vectors
from tests.wire_vectors import wire_vectors

ROOT = Path(__file__).resolve().parent.parent
VECTORS = ROOT / "tests" / "vectors" / "messages"
MESSAGES = ROOT / "spec-notes" / "messages.md"


def file_name(cls: type[Message]) -> str:
    """Name the vector file of a class: `JoinRequest` in `join_request.json`."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", cls.__name__).lower() + ".json"


def vectors() -> dict[Path, str]:
    """Make one file a message class from the hand-chosen examples."""
    sections = {row.message: row.section for row in option_table()}
    found: dict[type[Message], list[dict[str, Any]]] = {cls: [] for cls in REGISTRY.values()}
    for name, message in examples():
        vector = {"name": name, "hex": encode(message).hex(), "fields": message_to_plain(message)}
        found[type(message)].append(vector)
    made = {}
    for cls, listed in found.items():
        content = {
            "version": VERSION,
            "kind": "message",
            "message": cls.__name__,
            "option": cls.OPTION,
            "section": sections[cls.__name__],
            "vectors": listed,
        }
        made[VECTORS / file_name(cls)] = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
    return made


def notes() -> dict[Path, str]:
    """Make the notes on the messages: the text as it stands, with the present tables."""
    return {MESSAGES: fill(MESSAGES.read_text(encoding="utf-8"))}


GENERATORS: tuple[Callable[[], dict[Path, str]], ...] = (
    vectors,
    wire_vectors,
    derivation_vectors,
    tree_vectors,
    notes,
    state_machines,
)


def generated() -> dict[Path, str]:
    """Give every generated file as it should be."""
    return {path: text for generator in GENERATORS for path, text in generator().items()}


def main() -> int:
    """Write what differs."""
    for path, text in generated().items():
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
            sys.stdout.write(f"wrote {path.relative_to(ROOT)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""The style that matters, enforced: who may import whom, how long things are, what is cited.

Each rule is a row: what it says, why, its check, and the smallest file that breaks it. The
formatter and the linter look after the rest. A failure prints rule, reason and every place.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.tidy_checks import (
    ENDINGS,
    FILE_LINES,
    FUNCTION_LINES,
    LINE_COLUMNS,
    Check,
    Source,
    alarm_docstrings,
    anys,
    bare_excepts,
    cited_messages,
    cited_parameters,
    class_names,
    directions,
    file_length,
    function_length,
    line_length,
    module_docstrings,
    module_state,
    mutable_defaults,
    places,
    prints,
    purity,
    reminders,
    titles,
)

ROOT = Path(__file__).resolve().parents[1]
REMINDER = "".join(("TO", "DO"))


class Rule(NamedTuple):
    """What must hold, why, how it is checked, and the smallest file that breaks it."""

    says: str
    reason: str
    check: Check
    breaks: Source


def rule(says: str, reason: str, check: Check, path: str, breaking: str) -> Rule:
    return Rule(says, reason, check, Source(path, breaking))


RULES = [
    rule(
        "A module imports from its own layer and those below.",
        "A role that knows its driver cannot be run by another; see LAYERS in tests/test_tidy.py.",
        directions,
        "dmmp/roles/source.py",
        "from dmmp.forwarding.forwarder import Forwarder\n",
    ),
    rule(
        "The pure packages import no clock, no socket, no global randomness.",
        "The protocol must run in virtual time and repeat to the bit; time and dice are arguments.",
        purity,
        "dmmp/roles/source.py",
        "import random\nrandom.random()\n",
    ),
    rule(
        "A library appears only where its job is.",
        "What is in one place can be replaced in one place.",
        places,
        "dmmp/roles/source.py",
        "import construct\n",
    ),
    rule(
        f"No file has more than {FILE_LINES} lines.",
        "A file is read in one sitting or not at all.",
        file_length,
        "dmmp/types.py",
        "x = 1\n" * (FILE_LINES + 1),
    ),
    rule(
        f"No function has more than {FUNCTION_LINES} lines.",
        "A function is seen on one screen.",
        function_length,
        "dmmp/types.py",
        "def long():\n" + "    pass\n" * FUNCTION_LINES,
    ),
    rule(
        f"No line has more than {LINE_COLUMNS} columns.",
        "Two files fit side by side.",
        line_length,
        "dmmp/types.py",
        "#" * (LINE_COLUMNS + 1),
    ),
    rule(
        "Only the command line prints.",
        "A library reports by values and logs; its caller owns the terminal.",
        prints,
        "dmmp/types.py",
        "print(1)\n",
    ),
    rule(
        "No except without a type.",
        "It would also swallow the signal to end, and every mistake.",
        bare_excepts,
        "dmmp/types.py",
        "try:\n    x = 1\nexcept:\n    x = 2\n",
    ),
    rule(
        "The pure packages know no Any.",
        "Where the protocol is decided, the type checker must see everything.",
        anys,
        "dmmp/roles/source.py",
        "from typing import Any\n",
    ),
    rule(
        "No default value is mutable.",
        "It is shared by all calls.",
        mutable_defaults,
        "dmmp/types.py",
        "def f(x=[]):\n    pass\n",
    ),
    rule(
        "Modules hold constants, no state.",
        "Two nodes in one process, or two runs of a test, would meddle with each other.",
        module_state,
        "dmmp/types.py",
        "seen = set()\n",
    ),
    rule(
        "No class is named for vagueness: " + ", ".join(ENDINGS) + ".",
        "A class that needs such a name has no job of its own.",
        class_names,
        "dmmp/types.py",
        "class PeerManager:\n    pass\n",
    ),
    rule(
        "No reminders are left in the code.",
        "What is to be done stands in an issue, where somebody looks.",
        reminders,
        "dmmp/types.py",
        f"# {REMINDER}: later\n",
    ),
    rule(
        "Every module opens with a docstring.",
        "A reader asks first what a file is and what it is not.",
        module_docstrings,
        "dmmp/types.py",
        "x = 1\n",
    ),
    rule(
        "Every message class cites where it comes from.",
        "The specification is the index; `slide 10`, `-03 §6.5`, `Decision 7`, `RFC 792`.",
        cited_messages,
        "dmmp/messages/joining.py",
        '@message(Option.X)\nclass Hello(Message):\n    """Says hello."""\n',
    ),
    rule(
        "Every parameter cites where it comes from.",
        "A number without a source cannot be argued about.",
        cited_parameters,
        "dmmp/parameters.py",
        "class Parameters:\n    hold: float = 15.0  # seconds\n",
    ),
    rule(
        "Every alarm says when it rings.",
        "A state machine is read by its inputs, and an alarm is one.",
        alarm_docstrings,
        "dmmp/roles/source.py",
        "class SourceAlarm(Enum):\n    REFRESH = 1\n",
    ),
]

MARKDOWN_RULES = [
    rule(
        "A Markdown file has exactly one title.",
        "A document is about one thing.",
        titles,
        "README.md",
        "# One\n```\n# a comment\n```\n# Two\n",
    ),
    rule(
        "No reminders are left in documents.",
        "What is to be done stands in an issue, where somebody looks.",
        reminders,
        "README.md",
        f"{REMINDER}\n",
    ),
]


def name_of(rule: Rule) -> str:
    return rule.check.__name__


@functools.cache
def sources(suffix: str) -> tuple[Source, ...]:
    """Read the project's own files of a kind, in the package, the tests and beside them."""
    folders = [ROOT / name for name in ("dmmp", "tests", "interop", "spec-notes", "scripts")]
    paths = [*ROOT.glob(f"*{suffix}"), *(p for f in folders for p in f.rglob(f"*{suffix}"))]
    return tuple(
        Source(path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8"))
        for path in sorted(paths)
    )


def broken(rule: Rule, files: tuple[Source, ...]) -> list[str]:
    return [
        f"  {source.path}:{line}: {what}" for source in files for line, what in rule.check(source)
    ]


def report(rule: Rule, found: list[str]) -> str:
    return "\n".join([f"{rule.says}", f"Why: {rule.reason}", *found])


@pytest.mark.parametrize("rule", RULES, ids=name_of)
def test_python(rule: Rule) -> None:
    found = broken(rule, sources(".py"))
    assert not found, report(rule, found)


@pytest.mark.parametrize("rule", MARKDOWN_RULES, ids=name_of)
def test_markdown(rule: Rule) -> None:
    found = broken(rule, sources(".md"))
    assert not found, report(rule, found)


@pytest.mark.parametrize("rule", RULES + MARKDOWN_RULES, ids=name_of)
def test_each_rule_can_fail(rule: Rule) -> None:
    assert list(rule.check(rule.breaks))


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("dmmp/roles/source.py", "import dmmp.runtime.driver\n"),
        ("dmmp/messages/mesh.py", "from dmmp import roles\n"),
        ("dmmp/types.py", "from .messages import mesh\n"),
        ("dmmp/sim/world.py", "from ..runtime import driver\n"),
        ("dmmp/novelty.py", ""),
    ],
)
def test_no_import_direction_slips_through(path: str, text: str) -> None:
    assert list(directions(Source(path, text)))


def test_what_is_allowed_passes() -> None:
    allowed = (
        "from random import Random\nimport random\nfrom dmmp.messages.mesh import SetupRequest\n"
        "from dmmp.roles.role import Role\nfrom dmmp.policies import Policies\nx = random.Random\n"
    )
    source = Source("dmmp/roles/source.py", allowed)
    assert not [*directions(source), *purity(source), *places(source)]


def test_the_rules_see_the_project() -> None:
    paths = {source.path for source in sources(".py")}
    assert {"dmmp/types.py", "tests/test_tidy.py"} <= paths

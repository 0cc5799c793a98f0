"""The checks behind `test_tidy`: each looks at one file and yields the places that break its rule.

Nothing but `ast`, `re` and the tables at the top; which rule and why stands in `test_tidy`.
"""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

FILE_LINES, FUNCTION_LINES, LINE_COLUMNS = 500, 60, 100
CITATION = re.compile(r"\b[sS]lides? \d|(?<!\w)-0\d (§|Table|Figure)|\bDecisions? \d|\bRFC \d{3,}")

# From the bottom up: a module may import from its own row and those before it. Siblings in
# different strings of one row may not know each other.
LAYERS = [
    ["types errors interest"],
    ["messages"],
    ["actions events alarms parameters security"],
    ["policies"],
    ["roles", "forwarding"],
    ["tun"],
    ["sim", "runtime"],
    ["lab"],
    ["demo doctor captures inspection"],
    ["conformance"],
    ["cli __main__"],
]
RANK = {
    unit: (level, group)
    for level, row in enumerate(LAYERS)
    for group, units in enumerate(row)
    for unit in units.split()
}

PURE = re.compile(
    r"dmmp/(roles|forwarding|policies|messages|security|sim)/|dmmp/tun/(?!device|kernel)"
    r"|dmmp/(types|errors|interest|actions|events|alarms|parameters)\.py"
)
# construct knows no types, so the two files that turn declarations into codecs cannot either.
SPEAKS_TO_CONSTRUCT = ("dmmp/messages/schema.py", "dmmp/messages/wiretypes.py")
IMPURE_MODULES = {
    "asyncio",
    "socket",
    "time",
    "os",
    "threading",
    "logging",
    "datetime",
    "selectors",
}
ONLY_IN = {
    "construct": r"dmmp/messages/|dmmp/tun/|tests/",
    "asyncio_dgram": r"dmmp/runtime/sockets\.py",
    "cryptography": r"dmmp/security/|tests/(security|simulation|attack(er)?s)/",
    "networkx": r"dmmp/policies/links\.py|dmmp/sim/|dmmp/lab/|tests/",
    "numpy": r"dmmp/lab/|tests/",
    "scipy": r"dmmp/lab/|tests/",
    "matplotlib": r"dmmp/lab/pictures\.py|tests/",
    "dask": r"dmmp/lab/running\.py|tests/",
    "distributed": r"dmmp/lab/running\.py|tests/",
}
# X.509 certificates are made with datetimes; these come from numbers that are given.
DATES_ONLY = {"dmmp/security/authority.py": {"datetime.UTC", "datetime.datetime"}}
MAY_PRINT = re.compile(r"dmmp/(cli|__main__)|tests/(__main__|bench/|fuzz/|attackers/)")
ENDINGS = ("Manager", "Handler", "Helper", "Util", "Utils")
# Spelt so that this file does not break its own rule.
REMINDERS = re.compile(r"\b(T[O]DO|FIX[M]E|X[X]X)\b|(?i:future[ ]work)")
MUTABLE_CALLS = {"list", "dict", "set", "bytearray", "defaultdict", "deque", "Counter"}


class Source(NamedTuple):
    """One file: its path from the root, its lines, and its tree if it is Python."""

    path: str
    text: str

    @property
    def lines(self) -> list[str]:
        return self.text.splitlines()

    @property
    def tree(self) -> ast.Module:
        return parse(self.text)

    @property
    def nodes(self) -> tuple[ast.AST, ...]:
        """What `ast.walk` gives, walked once for all rules."""
        return walk(self.text)


@functools.cache
def parse(text: str) -> ast.Module:
    return ast.parse(text)


@functools.cache
def walk(text: str) -> tuple[ast.AST, ...]:
    return tuple(ast.walk(parse(text)))


Finding = tuple[int, str]
Check = Callable[[Source], Iterator[Finding]]


def imports(source: Source) -> Iterator[tuple[int, str]]:
    """Give every imported name in full, `dmmp.messages.header` or `dmmp.messages.header.Header`."""
    package = source.path.removesuffix(".py").replace("/", ".").split(".")
    for node in source.nodes:
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: -node.level] if node.level else []
            base = [*base, *(node.module or "").split(".")] if node.module else base
            yield from ((node.lineno, ".".join([*base, alias.name])) for alias in node.names)


def unit_of(path: str) -> str:
    return path.removeprefix("dmmp/").split("/")[0].removesuffix(".py")


def directions(source: Source) -> Iterator[Finding]:
    if not source.path.startswith("dmmp/") or source.path == "dmmp/__init__.py":
        return
    unit = unit_of(source.path)
    if unit not in RANK:
        yield 1, f"{unit} has no place in LAYERS"
        return
    level, group = RANK[unit]
    for line, name in imports(source):
        first, _, rest = name.partition(".")
        target = rest.split(".")[0]
        if first == "tests":
            yield line, "the package imports its tests"
        elif first != "dmmp" or target == unit or name == "dmmp.__version__":
            continue
        elif target not in RANK:
            yield line, f"{name}: import from the module itself, not through the package"
        elif RANK[target][0] > level:
            yield line, f"{unit} imports {target} from above"
        elif RANK[target][0] == level and RANK[target][1] != group:
            yield line, f"{unit} and {target} are siblings that must not know each other"


def purity(source: Source) -> Iterator[Finding]:
    if not PURE.match(source.path):
        return
    for line, name in imports(source):
        if name in DATES_ONLY.get(source.path, ()):
            continue
        if name.split(".")[0] in IMPURE_MODULES:
            yield line, name
        if name.startswith("random.") and name != "random.Random":
            yield line, f"{name}: only random.Random"
    for node in source.nodes:
        if (
            isinstance(node, ast.Attribute)
            and isinstance(node.value, ast.Name)
            and node.value.id == "random"
            and node.attr != "Random"
        ):
            yield node.lineno, f"random.{node.attr}: only random.Random"


def places(source: Source) -> Iterator[Finding]:
    for line, name in imports(source):
        allowed = ONLY_IN.get(name.split(".")[0])
        if allowed and not re.match(allowed, source.path):
            yield line, name


def file_length(source: Source) -> Iterator[Finding]:
    if len(source.lines) > FILE_LINES:
        yield len(source.lines), f"{len(source.lines)} lines"


def function_length(source: Source) -> Iterator[Finding]:
    for node in source.nodes:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno:
            length = node.end_lineno - node.lineno + 1
            if length > FUNCTION_LINES:
                yield node.lineno, f"{node.name}: {length} lines"


def line_length(source: Source) -> Iterator[Finding]:
    for number, line in enumerate(source.lines, 1):
        if len(line) > LINE_COLUMNS:
            yield number, f"{len(line)} columns"


def prints(source: Source) -> Iterator[Finding]:
    if MAY_PRINT.match(source.path):
        return
    for node in source.nodes:
        function = node.func if isinstance(node, ast.Call) else None
        if isinstance(function, ast.Name) and function.id == "print":
            yield function.lineno, "print"


def bare_excepts(source: Source) -> Iterator[Finding]:
    for node in source.nodes:
        if isinstance(node, ast.ExceptHandler) and node.type is None:
            yield node.lineno, "except:"


def anys(source: Source) -> Iterator[Finding]:
    if not PURE.match(source.path) or source.path in SPEAKS_TO_CONSTRUCT:
        return
    for line, name in imports(source):
        if name == "typing.Any":
            yield line, name
    for node in source.nodes:
        if isinstance(node, ast.Attribute) and node.attr == "Any":
            yield node.lineno, "Any"


def is_mutable(node: ast.expr | None) -> bool:
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        return node.func.id in MUTABLE_CALLS
    return isinstance(
        node, ast.List | ast.Dict | ast.Set | ast.ListComp | ast.DictComp | ast.SetComp
    )


def mutable_defaults(source: Source) -> Iterator[Finding]:
    for node in source.nodes:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            for default in (*node.args.defaults, *node.args.kw_defaults):
                if is_mutable(default):
                    yield node.lineno, "a mutable default"


def module_state(source: Source) -> Iterator[Finding]:
    for node in source.tree.body:
        targets = node.targets if isinstance(node, ast.Assign) else []
        if isinstance(node, ast.AnnAssign):
            targets = [node.target]
        value = node.value if isinstance(node, ast.Assign | ast.AnnAssign) else None
        for target in targets:
            name = target.id if isinstance(target, ast.Name) else ""
            if is_mutable(value) and not re.fullmatch(r"_?[A-Z]\w*|__all__|pytestmark|", name):
                yield node.lineno, name
    for inner in source.nodes:
        if isinstance(inner, ast.Global):
            yield inner.lineno, "global " + ", ".join(inner.names)


def class_names(source: Source) -> Iterator[Finding]:
    for node in source.nodes:
        if isinstance(node, ast.ClassDef) and node.name.endswith(ENDINGS):
            yield node.lineno, node.name


def reminders(source: Source) -> Iterator[Finding]:
    for number, line in enumerate(source.lines, 1):
        if found := REMINDERS.search(line):
            yield number, found[0]


def module_docstrings(source: Source) -> Iterator[Finding]:
    if source.tree.body and not ast.get_docstring(source.tree):
        yield 1, "no docstring"


def is_message(node: ast.ClassDef) -> bool:
    decorators = {
        getattr(decorator.func if isinstance(decorator, ast.Call) else decorator, "id", "")
        for decorator in node.decorator_list
    }
    return "message" in decorators or any(
        isinstance(base, ast.Name) and base.id in ("Message", "LocalMessage") for base in node.bases
    )


def cited_messages(source: Source) -> Iterator[Finding]:
    if not source.path.startswith("dmmp/messages/"):
        return
    for node in source.nodes:
        if not isinstance(node, ast.ClassDef) or not is_message(node):
            continue
        if not CITATION.search(ast.get_docstring(node) or ""):
            yield node.lineno, node.name


def cited_parameters(source: Source) -> Iterator[Finding]:
    """Look between each field and the next, where its comment or its docstring is."""
    if source.path != "dmmp/parameters.py":
        return
    for node in source.nodes:
        if not isinstance(node, ast.ClassDef):
            continue
        for field, following in zip(node.body, [*node.body[1:], None], strict=True):
            if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
                is_docstring = isinstance(following, ast.Expr)
                last = following if is_docstring and following else field
                about = source.lines[field.lineno - 1 : last.end_lineno]
                if not CITATION.search("\n".join(about)):
                    yield field.lineno, field.target.id


def alarm_docstrings(source: Source) -> Iterator[Finding]:
    for node in source.nodes if source.path.startswith("dmmp/roles/") else ():
        if not isinstance(node, ast.ClassDef) or not node.name.endswith("Alarm"):
            continue
        for member, following in zip(node.body, [*node.body[1:], None], strict=True):
            if not isinstance(member, ast.Assign) or isinstance(following, ast.Expr):
                continue
            if not re.match(r"'When ", ast.unparse(member.value)):
                yield member.lineno, ast.unparse(member.targets[0])


def titles(source: Source) -> Iterator[Finding]:
    fenced, found = False, []
    for number, line in enumerate(source.lines, 1):
        if line.lstrip().startswith(("```", "~~~")):
            fenced = not fenced
        elif line.startswith("# ") and not fenced:
            found.append(number)
    if len(found) != 1:
        yield (found[1] if found else 1), f"{len(found)} titles"

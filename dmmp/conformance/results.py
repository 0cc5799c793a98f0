"""How results are shown: lines for people, a document for programs, JUnit XML for CI.

A failure shows the requirement, what was said, what came last field by field, and how to repeat it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from xml.etree import ElementTree

from dmmp.conformance.case import Case, Verdict
from dmmp.conformance.requirement import Role, sections
from dmmp.conformance.runner import Result
from dmmp.conformance.tester import Line
from dmmp.inspection import describe

LINES_SHOWN = 40
"""Of a long dialogue only the last lines are shown."""

ROWS_SHOWN = 60
_NO_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd]")


def result_line(result: Result) -> str:
    """Say in one line how a case ended."""
    line = f"{result.verdict.value:11} {result.case.id}  {result.case.title}"
    if result.verdict in (Verdict.SKIPPED, Verdict.UNSUPPORTED):
        line += f" ({result.reason})"
    return line


def failure_lines(result: Result, again: str) -> list[str]:
    """Say all that is known of a failed case; `again` is the command that repeats it."""
    requirement = result.case.requirement
    lines = [
        f"    {requirement.id} {requirement.level.value}: {requirement.text}",
        f"    (spec-notes: {requirement.where})",
        f"    {result.reason}",
        "    what was said (seconds, at which of the tester's hosts, < from the implementation):",
        *(f"      {each}" for each in dialogue(result.lines)),
    ]
    for is_sent, title in ((True, "sent to it last:"), (False, "heard from it last:")):
        last = next((line for line in reversed(result.lines) if line.is_sent is is_sent), None)
        lines.append(f"    {title}")
        lines += [f"      {each}" for each in ([] if last is None else field_lines(last))]
    if result.said:
        lines.append("    what it printed:")
        lines += [f"      {each}" for each in result.said.splitlines()[-10:]]
    return [*lines, f"    again: {again}"]


def dialogue(lines: Sequence[Line]) -> list[str]:
    """Say in a line each what was sent and what came."""
    shown = [
        f"{line.at:9.3f} {line.peer:10} {'>' if line.is_sent else '<'} "
        f"{describe(line.datagram).summary}"
        for line in lines[-LINES_SHOWN:]
    ]
    left_out = len(lines) - len(shown)
    return [f"({left_out} earlier ones left out)", *shown] if left_out else shown


def field_lines(line: Line) -> list[str]:
    """Take a datagram apart."""
    found = describe(line.datagram)
    rows = [f"{row.offset:5} {row.field:24} {row.value}" for row in found.rows[:ROWS_SHOWN]]
    if len(found.rows) > ROWS_SHOWN:
        rows.append(f"      and {len(found.rows) - ROWS_SHOWN} more fields")
    return [f"{found.summary}: {line.datagram[:64].hex()}", *rows]


def summary(results: Iterable[Result]) -> str:
    """Count the verdicts."""
    counts = Counter(result.verdict for result in results)
    return ", ".join(f"{counts[verdict]} {verdict.value}" for verdict in Verdict)


def list_line(case: Case) -> str:
    """Describe a case for `--list`."""
    requirement = case.requirement
    roles = "all" if len(case.roles) == len(Role) else ", ".join(role.value for role in case.roles)
    return f"{case.id}  {requirement.level.value}  {roles}  {case.title}"


def document(results: Sequence[Result], role: Role, again: str) -> dict[str, object]:
    """Make the document of `--json`; `again` has `{id}` where the case's id goes."""
    counts = Counter(result.verdict for result in results)
    return {
        "role": role.value,
        "counts": {verdict.value: counts[verdict] for verdict in Verdict},
        "cases": [_case_document(result, again) for result in results],
    }


def _case_document(result: Result, again: str) -> dict[str, object]:
    case, requirement = result.case, result.case.requirement
    found: dict[str, object] = {
        "id": case.id,
        "title": case.title,
        "requirement": requirement.id,
        "level": requirement.level.value,
        "text": requirement.text,
        "where": requirement.where,
        "verdict": result.verdict.value,
        "reason": result.reason,
        "seconds": round(result.seconds, 3),
    }
    if result.verdict is Verdict.FAILED:
        found["again"] = again.format(id=case.id)
        found["said"] = [
            {
                "at": round(line.at, 6),
                "host": line.peer,
                "from": "tester" if line.is_sent else "implementation",
                "datagram": line.datagram.hex(),
                "summary": describe(line.datagram).summary,
            }
            for line in result.lines
        ]
    return found


def junit(results: Sequence[Result], role: Role, again: str) -> str:
    """Make the file of `--junit`; `again` as for `document`."""
    counts = Counter(result.verdict for result in results)
    passed_over = counts[Verdict.SKIPPED] + counts[Verdict.UNSUPPORTED]
    suite = ElementTree.Element(
        "testsuite",
        name=f"dmmp conformance {role.value}",
        tests=str(len(results)),
        failures=str(counts[Verdict.FAILED]),
        errors="0",
        skipped=str(passed_over),
        time=f"{sum(result.seconds for result in results):.3f}",
    )
    titles = sections()
    for result in results:
        requirement = result.case.requirement
        element = ElementTree.SubElement(
            suite,
            "testcase",
            classname=f"{role.value}.{titles.get(requirement.section, requirement.section)}",
            name=result.case.id,
            time=f"{result.seconds:.3f}",
        )
        if result.verdict is Verdict.FAILED:
            failure = ElementTree.SubElement(element, "failure", message=_clean(result.reason))
            lines = failure_lines(result, again.format(id=result.case.id))
            failure.text = _clean("\n".join(lines))
        elif result.verdict is not Verdict.PASSED:
            ElementTree.SubElement(element, "skipped", message=_clean(result.reason))
    root = ElementTree.Element("testsuites")
    root.append(suite)
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _clean(text: str) -> str:
    """Leave out what XML has no way to write."""
    return _NO_XML.sub("?", text)

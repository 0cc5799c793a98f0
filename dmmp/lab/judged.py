"""The sections of the report on goals and external checks: what holds, and what does not."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from dmmp.lab.check import NOT_BUILT
from dmmp.lab.goals import MISSED, NOT_RUN, REACHED, judge
from dmmp.lab.measurements import Measurements
from dmmp.lab.page import Cell, Numbers, paragraphs, table, text
from dmmp.lab.results import BRIEF, FAILED, FULL, NOT_REPRODUCED, PASSED, CheckTable
from dmmp.lab.running import find_checks


def goals_section(found: Sequence[Measurements], numbers: Numbers) -> str:
    """Say which goals are reached, if there are any about these studies."""
    judged = judge(found)
    if not judged:
        return ""
    counts = {word: sum(each.result == word for each in judged) for word in (REACHED, MISSED)}
    intro = (
        f"What the protocol was to reach, and what came of it: {counts[REACHED]} of {len(judged)} "
        f"goals are reached, {counts[MISSED]} missed, "
        f"{len(judged) - counts[REACHED] - counts[MISSED]} not run. Where it says within chance, "
        "the 95 % interval of the difference, seed by seed, goes to both sides of the bound. "
        "Compared are the seeds that both have run: a bound may differ from the mean in the tables "
        "below."
    )
    titles = [text(name) for name in ("goal", "demanded", "measured", "result")]
    rows = []
    for each in judged:
        kind = {REACHED: "text passed", MISSED: "text failed", NOT_RUN: "text"}[each.result]
        result = f"{each.result} ({each.remark})" if each.remark else each.result
        cells = [text(each.goal.says), text(each.bound), text(each.measured), text(result, kind)]
        rows.append((cells, ""))
    return paragraphs(intro) + table(titles, rows, numbers.table("Goals for DMMP."))


def checks_section(done: CheckTable, numbers: Numbers) -> str:
    """Say which checks hold, at which size, and which do not or are not there."""
    names = ("", "check", "published", "must be", "measured here", "size", "time", "result")
    titles = [text(name) for name in names]
    rows = {}
    for number, row in done.rows.items():
        state = row["result"]
        kind = {PASSED: "text passed", FAILED: "text failed"}.get(state, "text")
        cells = [Cell(str(number)), text(row["what"]), text(row["published"]), text(row["band"])]
        time = f"{float(row['took']):,.0f} s" if row["took"] else ""
        cells += [text(row["measured"]), text(row["size"]), Cell(time)]
        rows[number] = ([*cells, text(state, kind)], "")
    for number, missing in NOT_BUILT.items():
        cells = [Cell(str(number)), text(missing.what), text(missing.published), text("")]
        cells += [text(missing.reason), text(""), Cell("")]
        rows[number] = ([*cells, text("not built")], "")
    origins = sorted({row["commit"] or "unknown" for row in done.rows.values()})
    caption = numbers.table(
        f"The external checks; commit{'' if len(origins) == 1 else 's'} {', '.join(origins)}."
    )
    ordered = [rows[number] for number in sorted(rows)]
    return paragraphs(_checks_told(done)) + table(titles, ordered, caption)


def _checks_told(done: CheckTable) -> str:
    """Say in sentences what the checks are, and which of them hold."""
    by_result: dict[str, list[int]] = defaultdict(list)
    by_size: dict[str, list[int]] = defaultdict(list)
    for number in sorted(done.rows):
        by_result[done.rows[number]["result"]].append(number)
        by_size[done.rows[number]["size"]].append(number)
    left = [check.number for check in find_checks() if check.number not in done.rows]
    words = (
        ("Passed", by_result[PASSED]),
        ("failed", by_result[FAILED]),
        ("reported only, and not reproduced", by_result[NOT_REPRODUCED]),
        ("not run yet", left),
        ("not built", sorted(NOT_BUILT)),
    )
    said = "; ".join(f"{word}: {_these(numbers)}" for word, numbers in words if numbers)
    sizes = (("At full size", by_size[FULL]), ("with fewer hosts and seeds", by_size[BRIEF]))
    run = "; ".join(f"{word}: {_these(numbers)}" for word, numbers in sizes if numbers)
    return (
        "The simulator is held to results that others published, or that follow by definition. "
        "Comparisons below count only as far as these hold. The bands are wide where the "
        "published set-up is not known in full: networks, sizes of messages and the detection of "
        f"failures differ.\n\n{said}. {run}."
    )


def _these(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers))

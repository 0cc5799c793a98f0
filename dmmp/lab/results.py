"""What came of a study, in a directory: `cases.csv`, `samples.csv`, and `study.toml` as it was run.

One row a case, written when it ends; a row that was cut off when the machine went down does not
count, so that its case runs again. Samples are in a file of their own: one row for each case and
name, its values with blanks between them.
"""

from __future__ import annotations

import csv
import fcntl
import io
import math
import os
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from hashlib import sha256
from importlib import metadata
from pathlib import Path
from platform import python_version

from dmmp import __version__
from dmmp.errors import UsageError
from dmmp.lab.case import Case, Measured
from dmmp.lab.check import CheckResult

CASES, SAMPLES, STUDY, CHECKS = "cases.csv", "samples.csv", "study.toml", "checks.csv"

FULL, BRIEF = "full", "brief"
"""Sizes of a check."""

PASSED, FAILED, NOT_REPRODUCED = "passed", "FAILED", "not reproduced"

MOST_ROWS = 100_000
"""Cases that are read from a directory."""

MOST_COLUMNS = 500

MOST_VALUES = 2_000
"""Values of a sample that are kept: of more, as many of equal rank distance, smallest and largest
among them. Whoever is whose parent is kept whole, or not at all above `MOST_PARENTS`."""

MOST_PARENTS = 10_000

ORDERED = ("parents", "longitude", "latitude")
"""Samples with one value for each host, by its number; the others are distributions."""

_CASE = tuple(field.name for field in fields(Case))
_PROVENANCE = ("case", "took", "commit", "version", "python", "numpy", "date")
_FIXED = (*_CASE, *_PROVENANCE)
_CHECK = (
    "number", "what", "published", "measured", "band", "result", "size", "took", "commit",
    "version", "date",
)  # fmt: skip
_ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True)
class Row:
    """A case, its figures, and where they come from."""

    case: Case
    figures: Mapping[str, float]
    provenance: Mapping[str, str]


def key_of(case: Case) -> str:
    """Return a short name for a case that no other has."""
    return sha256(repr(_cells(case)).encode()).hexdigest()[:16]


def provenance() -> dict[str, str]:
    """Say what measures: commit, if this is a clone, and versions."""
    try:
        numpy = metadata.version("numpy")
    except metadata.PackageNotFoundError:
        numpy = ""
    return {
        "commit": _commit(),
        "version": __version__,
        "python": python_version(),
        "numpy": numpy,
    }


def _commit() -> str:
    """Return the commit of the clone that this file is in, with a + if it was changed since."""
    if not (_ROOT / ".git").exists():
        return ""
    try:
        head = _git("rev-parse", "--short=12", "HEAD")
        changes = _git("status", "--porcelain", "--untracked-files=no", "--", "dmmp")
    except (OSError, subprocess.SubprocessError):
        return ""
    return head + ("+" if changes else "")


def _git(*arguments: str) -> str:
    # Without the lock: looking must not disturb who commits at this moment.
    command = ["git", "--no-optional-locks", "-C", str(_ROOT), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    return done.stdout.strip()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


@contextmanager
def _held(directory: Path) -> Iterator[None]:
    """Make a directory if it is not there, and keep other writers out of it."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with open(directory / ".lock", "w", encoding="utf-8") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise UsageError(f"{directory}: another run writes there") from None
            yield
    except OSError as error:
        raise UsageError(f"{directory}: {error.strerror or error}") from None


class Results:
    """The results in a directory; reads what is there, takes what comes.

    `writing` must be held while something is added: one writer at a time.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.rows: list[Row] = []
        self._figures: list[str] = []
        self._origin: dict[str, str] = {}
        self._read()

    @property
    def done(self) -> set[Case]:
        """Return the cases whose rows exist."""
        return {row.case for row in self.rows}

    @contextmanager
    def writing(self, study: str) -> Iterator[None]:
        """Hold the directory, made if it is not there, for the results of this study text."""
        with _held(self.directory):
            _replace(self.directory / STUDY, [study])
            self._origin = provenance()
            self.rows.clear()
            self._figures.clear()
            self._read()
            self._rewrite()
            yield

    def add(self, case: Case, measured: Measured, took: float) -> None:
        """Write what came of a case that took so many seconds."""
        key = key_of(case)
        origin = {
            "case": key,
            "took": f"{took:.3f}",
            **self._origin,
            "date": _now(),
        }
        # The samples first: a row in the one file means that the other is complete.
        with open(self.directory / SAMPLES, "a", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows(_sample_rows(key, measured.samples))
        row = Row(case, dict(measured.figures), origin)
        self.rows.append(row)
        new = [name for name in row.figures if name not in self._figures]
        if new:
            self._figures += new
            self._rewrite()
            return
        with open(self.directory / CASES, "a", encoding="utf-8", newline="") as file:
            csv.writer(file).writerow(self._row_cells(row))

    def samples(self) -> dict[str, dict[str, list[float]]]:
        """Read all samples: by the case's key, by name."""
        path = self.directory / SAMPLES
        found: dict[str, dict[str, list[float]]] = {}
        if not path.is_file():
            return found
        for line, cells in _rows_of(path):
            if len(cells) != 4:
                continue
            try:
                values = [float(value) for value in cells[3].split()]
            except ValueError:
                raise UsageError(f"{path}: line {line}: a value is no number") from None
            found.setdefault(cells[0], {})[cells[1]] = values
        return found

    def _read(self) -> None:
        path = self.directory / CASES
        if not path.is_file():
            return
        rows = _rows_of(path)
        _, titles = next(rows, (0, list(_FIXED)))
        if tuple(titles[: len(_FIXED)]) != _FIXED or len(titles) > MOST_COLUMNS:
            raise UsageError(f"{path}: line 1: these are not the columns of a study's cases")
        self._figures = titles[len(_FIXED) :]
        for line, cells in rows:
            if len(cells) != len(titles):
                # Cut off when the machine went down: that case runs again.
                continue
            if len(self.rows) >= MOST_ROWS:
                raise UsageError(f"{path}: more than {MOST_ROWS} cases")
            try:
                self.rows.append(self._row(cells))
            except ValueError as error:
                raise UsageError(f"{path}: line {line}: {error}") from None

    def _row(self, cells: Sequence[str]) -> Row:
        cases, origin = cells[: len(_CASE)], cells[len(_CASE) : len(_FIXED)]
        values = zip(self._figures, cells[len(_FIXED) :], strict=True)
        figures = {name: float(value) for name, value in values if value}
        return Row(_case(cases), figures, dict(zip(_PROVENANCE, origin, strict=True)))

    def _row_cells(self, row: Row) -> list[str]:
        figures = (
            _number(row.figures[name]) if name in row.figures else "" for name in self._figures
        )
        return [
            *_cells(row.case),
            *(row.provenance.get(name, "") for name in _PROVENANCE),
            *figures,
        ]

    def _rewrite(self) -> None:
        lines = [[*_FIXED, *self._figures], *(self._row_cells(row) for row in self.rows)]
        _replace(self.directory / CASES, map(_line, lines))


def verdict(check: CheckResult) -> str:
    """Say in a word what came of a check."""
    if check.passed:
        return PASSED
    return NOT_REPRODUCED if check.reported_only else FAILED


class CheckTable:
    """`checks.csv` of a directory: one row for each check, by its number, written when it ends.

    `writing` must be held while something is added: one writer at a time.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.rows: dict[int, dict[str, str]] = {}
        self._origin: dict[str, str] = {}
        self._read()

    def has(self, number: int, brief: bool = False) -> bool:
        """Tell whether a check is done: at full size, or, if a brief one would do, at all."""
        row = self.rows.get(number)
        return row is not None and (brief or row["size"] == FULL)

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Hold the directory, made if it is not there."""
        with _held(self.directory):
            self._origin = provenance()
            self._read()
            yield

    def add(self, check: CheckResult, took: float) -> None:
        """Write what came of a check that took so many seconds, instead of what was there."""
        self.rows[check.number] = {
            "number": str(check.number),
            "what": check.what,
            "published": check.published,
            "measured": check.measured,
            "band": check.band,
            "result": verdict(check),
            "size": BRIEF if check.is_brief else FULL,
            "took": f"{took:.1f}",
            **{name: self._origin.get(name, "") for name in ("commit", "version")},
            "date": _now(),
        }
        lines = [_line(_CHECK)]
        for number in sorted(self.rows):
            lines.append(_line([self.rows[number][name] for name in _CHECK]))
        _replace(self.directory / CHECKS, lines)

    def _read(self) -> None:
        self.rows.clear()
        path = self.directory / CHECKS
        if not path.is_file():
            return
        rows = _rows_of(path)
        _, titles = next(rows, (0, []))
        for line, cells in rows:
            # What an older version did not write down is empty, and cut-off rows do not count.
            if len(cells) == len(titles):
                row = dict.fromkeys(_CHECK, "") | dict(zip(titles, cells, strict=True))
                if not row["number"].isdecimal():
                    raise UsageError(f"{path}: line {line}: a check has a number")
                self.rows[int(row["number"])] = row


def _cells(case: Case) -> list[str]:
    options = ";".join(f"{name}={value}" for name, value in case.options)
    return [
        case.protocol,
        case.underlay,
        str(case.hosts),
        str(case.seed),
        case.uplinks,
        case.churn,
        _number(case.loss),
        _number(case.seconds),
        options,
    ]


def _case(cells: Sequence[str]) -> Case:
    protocol, underlay, hosts, seed, uplinks, churn, loss, seconds, options = cells
    pairs = (option.partition("=") for option in options.split(";") if option)
    return Case(
        protocol,
        underlay,
        int(hosts),
        int(seed),
        uplinks,
        churn,
        float(loss),
        float(seconds),
        tuple((name, value) for name, _, value in pairs),
    )


def _number(value: float) -> str:
    """Write a number so that reading gives the same one."""
    return str(int(value)) if value == (value // 1) and abs(value) < 1e15 else repr(float(value))


def _sample_rows(key: str, samples: Mapping[str, Sequence[float]]) -> Iterator[list[str]]:
    """Give case, name, how many values there were, and those that are kept."""
    for name, values in samples.items():
        if name in ORDERED:
            kept = list(values) if len(values) <= MOST_PARENTS else []
        else:
            kept = thinned(values)
        yield [key, name, str(len(values)), " ".join(f"{value:.9g}" for value in kept)]


def thinned(values: Sequence[float], most: int = MOST_VALUES) -> list[float]:
    """Return the values by size, or `most` of them at equal distances of rank.

    What is no number is left out.
    """
    ordered = sorted(value for value in values if not math.isnan(value))
    if len(ordered) <= most:
        return ordered
    return [ordered[round(number * (len(ordered) - 1) / (most - 1))] for number in range(most)]


def _rows_of(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Read a CSV file; what is none is a `UsageError`."""
    try:
        with open(path, encoding="utf-8", newline="") as file:
            rows = csv.reader(file)
            for cells in rows:
                yield rows.line_num, cells
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from None
    except (csv.Error, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: is no CSV file: {error}") from None


def _line(cells: Sequence[str]) -> str:
    text = io.StringIO()
    csv.writer(text).writerow(cells)
    return text.getvalue()


def _replace(path: Path, lines: Iterable[str]) -> None:
    """Write a file whole, or leave the one that was there."""
    beside = path.with_suffix(".new")
    with open(beside, "w", encoding="utf-8", newline="") as file:
        file.writelines(lines)
    os.replace(beside, path)

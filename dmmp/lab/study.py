"""Studies: which protocols run where, how often, and what is shown of it; each a TOML file.

A study expands to cases: every protocol on every network, in every size, with every mix of uplinks,
every churn, every loss, from every seed; constructions only where nobody fails. Seeds stand
outermost, so that a study that was cut short has compared all protocols on fewer seeds. Whatever is
wrong with a file gives one `UsageError` that names file and key.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import import_module, resources
from itertools import product
from pathlib import Path

from dmmp.errors import UsageError
from dmmp.lab.case import Case
from dmmp.lab.protocols import STATIC, runner

MOST_CASES = 20_000
"""Cases of one study."""

MOST_SEEDS = 1_000

MOST_HOSTS = 10_000_000

MOST_SECONDS = 86_400.0

MOST_ELEMENTS = 1_000
"""Elements of a list."""

MOST_LETTERS = 5_000
"""Of a text."""

KINDS = ("curve", "bars", "dots", "cdf", "map")
"""Pictures: a figure over a number; a figure in groups, from 0 or not; a distribution; a tree on
the globe."""

FIELDS = ("protocol", "underlay", "hosts", "uplinks", "churn", "loss")
"""What a picture or a published row may be about, as in `Case`."""

Place = tuple[tuple[str, str | float], ...]
"""Fields of cases and the values that are meant."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture of the report: `of` is a figure, for a CDF a sample.

    `over` is the field of `Case` along the axis (curves) or in groups (bars), `at` keeps to the
    cases of these values, `is_log` means both axes of a curve, the axis of values otherwise.
    """

    kind: str
    of: str
    title: str = ""
    over: str = ""
    at: Place = ()
    is_log: bool = False


@dataclass(frozen=True, slots=True)
class Published:
    """A row that others printed: `figures` by name, and what they were measured with."""

    source: str
    label: str
    at: Place
    figures: tuple[tuple[str, float], ...]


@dataclass(frozen=True, slots=True)
class Study:
    """Many cases with one purpose; `limits` keeps protocols out of networks too large for them.

    Sizes from `once_from` up are run with the first seed only.
    """

    name: str
    title: str
    protocols: tuple[str, ...]
    underlays: tuple[str, ...]
    sizes: tuple[int, ...]
    seeds: tuple[int, ...]
    uplinks: tuple[str, ...] = ("d4",)
    churn: tuple[str, ...] = ("none",)
    loss: tuple[float, ...] = (0.0,)
    seconds: float = 60.0
    text: str = ""
    options: tuple[tuple[str, tuple[tuple[str, str], ...]], ...] = ()
    limits: tuple[tuple[str, int], ...] = ()
    once_from: int = MOST_HOSTS + 1
    figures: tuple[str, ...] = ()
    pictures: tuple[Picture, ...] = ()
    references: tuple[Published, ...] = ()

    def cases(self) -> list[Case]:
        """Return what is to be run, in that order."""
        options, limits = dict(self.options), dict(self.limits)
        return [
            Case(
                protocol, underlay, hosts, seed, uplinks, churn, loss, self.seconds,
                options.get(protocol, ()),
            )
            for seed, underlay, hosts, uplinks, churn, loss, protocol in product(
                self.seeds, self.underlays, self.sizes, self.uplinks, self.churn, self.loss,
                self.protocols,
            )
            if hosts <= limits.get(protocol, hosts)
            and (hosts < self.once_from or seed == self.seeds[0])
            and (churn == "none" or protocol not in STATIC)
        ]  # fmt: skip

    def with_seeds(self, count: int) -> Study:
        """Return the same study with so many seeds: its own first, then the numbers after them."""
        own = self.seeds[:count]
        after = max(self.seeds) + 1
        return replace(self, seeds=(*own, *range(after, after + count - len(own))))


def read_study(path: Path) -> Study:
    """Read a study file; whatever is wrong with it is a `UsageError`."""
    return parse_study(study_text(path), str(path))


def study_text(path: Path) -> str:
    """Return what a study file says."""
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UsageError(f"{path}: is not UTF-8 text") from None


def parse_study(text: str, where: str) -> Study:
    """Make a study of TOML text; `where` it stands is said of every mistake."""
    try:
        table = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{where}: is not TOML: {error}") from None
    try:
        return _study(_Table(table, ""))
    except UsageError as error:
        raise UsageError(f"{where}: {error}") from None


def own_studies() -> dict[str, Path]:
    """Return the studies that come with the package, by name."""
    folder = Path(str(resources.files("dmmp.lab") / "studies"))
    return {path.stem: path for path in sorted(folder.glob("*.toml"))}


def find_study(name: str) -> Path:
    """Return the file that is meant: one that exists, or a study of the package by its name."""
    own = own_studies()
    if name in own:
        return own[name]
    if name.endswith(".toml") or "/" in name or Path(name).is_file():
        return Path(name)
    raise UsageError(f"{name}: no study of this name; there are checks, {', '.join(own)}")


class _Table:
    """A table of TOML, taken key by key: what is left in the end should not be there."""

    def __init__(self, values: object, where: str) -> None:
        self.where = where
        if not isinstance(values, dict) or len(values) > MOST_ELEMENTS:
            raise UsageError(f"{where.rstrip('. ')}: must be a table")
        self._values: dict[str, object] = dict(values)

    def __contains__(self, key: str) -> bool:
        return key in self._values

    def end(self) -> None:
        for key in self._values:
            raise UsageError(f"{self.where}{_shown(key)}: there is no such key")

    def take(self, key: str) -> object:
        if key not in self._values:
            raise UsageError(f"{self.where}{key}: is missing")
        return self._values.pop(key)

    def text(self, key: str, default: str | None = None) -> str:
        if default is not None and key not in self:
            return default
        return self._text(self.take(key), key)

    def _text(self, value: object, key: str) -> str:
        if not isinstance(value, str) or len(value) > MOST_LETTERS:
            raise UsageError(f"{self.where}{key}: must be a text, not {_shown(value)}")
        return value

    def name(self, key: str, default: str | None = None) -> str:
        value = self.text(key, default)
        if not re.fullmatch(r"[A-Za-z0-9][\w.+-]{0,63}", value) and value != default:
            raise UsageError(f"{self.where}{key}: must be a short plain name")
        return value

    def flag(self, key: str) -> bool:
        value = self.take(key) if key in self else False
        if not isinstance(value, bool):
            raise UsageError(f"{self.where}{key}: must be true or false, not {_shown(value)}")
        return value

    def number(self, key: str, low: float, high: float, default: float | None = None) -> float:
        if default is not None and key not in self:
            return default
        return self._number(self.take(key), key, low, high)

    def _number(self, value: object, key: str, low: float, high: float) -> float:
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not is_number or not low <= value <= high:  # type: ignore[operator]
            raise UsageError(
                f"{self.where}{key}: must be a number from {low:g} to {high:g}, not {_shown(value)}"
            )
        return float(value)  # type: ignore[arg-type]

    def _list(self, key: str) -> list[object]:
        value = self.take(key)
        values = value if isinstance(value, list) else [value]
        if not values or len(values) > MOST_ELEMENTS:
            raise UsageError(f"{self.where}{key}: must be a list of 1 to {MOST_ELEMENTS}")
        for number, each in enumerate(values):
            if each in values[:number]:
                raise UsageError(f"{self.where}{key}: {_shown(each)} stands there twice")
        return values

    def texts(self, key: str, default: Sequence[str] | None = None) -> tuple[str, ...]:
        if default is not None and key not in self:
            return tuple(default)
        return tuple(self._text(each, key) for each in self._list(key))

    def numbers(
        self, key: str, low: float, high: float, default: Sequence[float] | None = None
    ) -> tuple[float, ...]:
        if default is not None and key not in self:
            return tuple(default)
        return tuple(self._number(each, key, low, high) for each in self._list(key))

    def wholes(self, key: str, low: int, high: int) -> tuple[int, ...]:
        values = self.numbers(key, low, high)
        for value in values:
            if value != int(value):
                raise UsageError(f"{self.where}{key}: must be whole, not {value:g}")
        return tuple(int(value) for value in values)

    def table(self, key: str) -> _Table:
        return _Table(self.take(key) if key in self else {}, f"{self.where}{key}.")

    def tables(self, key: str) -> Iterator[_Table]:
        value = self.take(key) if key in self else []
        if not isinstance(value, list) or len(value) > MOST_ELEMENTS:
            raise UsageError(f"{self.where}{key}: must be [[{key}]] tables")
        for number, each in enumerate(value, 1):
            yield _Table(each, f"{key} {number} ")

    def names(self) -> list[str]:
        return list(self._values)

    def rest(self) -> Mapping[str, object]:
        values, self._values = self._values, {}
        return values


def _names(module: str, constant: str) -> tuple[str, ...]:
    """Return the names that a module of the laboratory knows, imported only when they are asked."""
    return tuple(getattr(import_module(f"dmmp.lab.{module}"), constant))


def _study(table: _Table) -> Study:
    study = Study(
        name=table.name("name"),
        title=table.text("title"),
        protocols=table.texts("protocols"),
        underlays=_known(table, "underlays", _names("underlays", "UNDERLAYS")),
        sizes=table.wholes("sizes", 2, MOST_HOSTS),
        seeds=_seeds(table),
        uplinks=_known(table, "uplinks", _names("uplinks", "UPLINKS"), ("d4",)),
        churn=_known(table, "churn", _names("failures", "CHURNS"), ("none",)),
        loss=table.numbers("loss", 0, 0.9, (0.0,)),
        seconds=table.number("seconds", 1, MOST_SECONDS, 60.0),
        text=table.text("text", ""),
        options=tuple(_options(table.table("options"))),
        limits=tuple(_limits(table.table("limits"))),
        once_from=int(table.number("once_from", 2, MOST_HOSTS + 1, MOST_HOSTS + 1)),
        figures=table.texts("figures", ()),
        pictures=tuple(_picture(each) for each in table.tables("pictures")),
        references=tuple(_published(each) for each in table.tables("references")),
    )
    table.end()
    for protocol in study.protocols:
        try:
            runner(protocol)
        except UsageError as error:
            raise UsageError(f"protocols: {error}") from None
    for key, names in (("options", study.options), ("limits", study.limits)):
        for protocol, _ in names:
            if protocol not in study.protocols:
                raise UsageError(f"{key}.{protocol}: is none of the protocols of this study")
    if len(study.cases()) > MOST_CASES:
        raise UsageError(f"sizes: {len(study.cases())} cases, more than {MOST_CASES}")
    return study


def _seeds(table: _Table) -> tuple[int, ...]:
    values = table.wholes("seeds", 0, 2**53)
    if len(values) == 1:
        if not 1 <= values[0] <= MOST_SEEDS:
            raise UsageError(f"seeds: must be how many, 1 to {MOST_SEEDS}, or a list of them")
        return tuple(range(1, values[0] + 1))
    return values


def _known(
    table: _Table, key: str, known: Sequence[str], default: Sequence[str] | None = None
) -> tuple[str, ...]:
    found = table.texts(key, default)
    for name in found:
        if name not in known:
            raise UsageError(f"{key}: there is no {_shown(name)}, but {', '.join(known)}")
    return found


def _options(table: _Table) -> Iterator[tuple[str, tuple[tuple[str, str], ...]]]:
    for protocol, values in table.rest().items():
        found = []
        for name, value in _Table(values, f"options.{protocol}.").rest().items():
            text = str(value).lower() if isinstance(value, bool) else str(value)
            is_plain = isinstance(value, (bool, int, float, str)) and len(text) <= 200
            if not is_plain or re.search(r"[;=\n\r]", name + text):
                raise UsageError(
                    f"options.{protocol}.{name}: must be a number or a short text without ; or ="
                )
            found.append((name, text))
        yield protocol, tuple(found)


def _limits(table: _Table) -> Iterator[tuple[str, int]]:
    for protocol in table.names():
        yield protocol, int(table.number(protocol, 2, MOST_HOSTS))


def _place(table: _Table) -> Place:
    """Take the fields of cases that a table names."""
    place: list[tuple[str, str | float]] = []
    for key in table.names():
        if key in ("hosts", "loss"):
            place.append((key, table.number(key, 0, MOST_HOSTS)))
        elif key in FIELDS:
            place.append((key, table.text(key)))
    return tuple(place)


def _picture(table: _Table) -> Picture:
    kind = table.text("kind")
    if kind not in KINDS:
        raise UsageError(f"{table.where}kind: must be one of {', '.join(KINDS)}")
    over = table.text(
        "over", {"curve": "hosts", "bars": "uplinks", "dots": "uplinks"}.get(kind, "")
    )
    if kind in ("curve", "bars", "dots") and over not in FIELDS:
        raise UsageError(f"{table.where}over: must be one of {', '.join(FIELDS)}")
    if kind == "curve" and over not in ("hosts", "loss"):
        raise UsageError(f"{table.where}over: a curve goes over hosts or loss")
    at = table.table("at")
    is_log = table.flag("log")
    if is_log and kind in ("bars", "map"):
        raise UsageError(f"{table.where}log: not for {kind}; dots can have it")
    made = Picture(
        kind,
        table.text("of", "parents" if kind == "map" else None),
        table.text("title", ""),
        over,
        _place(at),
        is_log,
    )
    at.end()
    table.end()
    return made


def _published(table: _Table) -> Published:
    source, figures = table.text("source"), table.table("figures")
    at = _place(table)
    values = tuple((name, figures.number(name, -1e12, 1e12)) for name in figures.names())
    if "protocol" not in dict(at):
        raise UsageError(f"{table.where}protocol: is missing")
    if not values:
        raise UsageError(f"{table.where}figures: is missing")
    made = Published(source, table.text("label", str(dict(at)["protocol"])), at, values)
    table.end()
    return made


def _shown(value: object) -> str:
    try:
        return repr(value)[:100]
    except ValueError:
        # Python writes no integer of more than 4300 digits.
        return "what has so many digits"

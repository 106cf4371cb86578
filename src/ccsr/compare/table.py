"""A comparison as a table: cells with their marks, whatever format they are printed in afterwards."""

import math
import platform
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from ccsr.compare.paper_values import PrintedRow
from ccsr.compare.run import Comparison, Row
from ccsr.compare.scoring import Figure
from ccsr.data.layouts import KNOWN_SIZES
from ccsr.metrics import Metric

NOT_AVAILABLE = "not available"
MILLISECOND = 0.001
PAPER_PRESET = "ccsr"
PAPER_RUNS = 10
"""Runs behind each printed value (paper IV-B)."""
RANKED = 2
"""Best and second best are marked."""


@dataclass(frozen=True)
class Cell:
    """One cell: what is shown, what it is sorted by, and whether it is the best (1) or second best (2)."""

    text: str
    value: float | None = None
    rank: int | None = None
    notes: tuple[int, ...] = ()
    """Numbers of notes below the table."""


@dataclass(frozen=True)
class TableLine:
    """One line: a method measured here, or the paper's row that belongs to the line above."""

    name: str
    kind: Literal["measured", "printed"]
    cells: list[Cell]
    problem: str | None = None
    name_notes: tuple[int, ...] = ()


@dataclass(frozen=True)
class Table:
    """One table over one set of pictures."""

    title: str
    columns: list[str]
    lines: list[TableLine]
    notes: list[str]
    """Numbered from 1."""
    left_out: str = ""
    """One sentence on metrics that no line has."""


@dataclass
class _Notes:
    texts: list[str] = field(default_factory=list)

    def number(self, text: str) -> int:
        if text not in self.texts:
            self.texts.append(text)
        return self.texts.index(text) + 1


def tables(comparison: Comparison) -> list[Table]:
    """The table over all pictures, and one over the common ones where a method lacks some."""
    total = len(comparison.pictures.inputs)
    whole = _table(comparison, None, f"All pictures ({total})")
    if any(row.scores and len(row.names) < total for row in comparison.rows):
        common = comparison.common
        if common:
            return [whole, _table(comparison, common, f"The {plural(len(common), 'picture')} that every method has")]
    return [whole]


def columns_of(metrics: Sequence[Metric]) -> list[str]:
    """Titles of all columns but the first, with the way that is better."""
    arrows = {"higher": "↑", "lower": "↓"}
    measured = [f"{metric.title} {arrows[metric.direction]} / G-STD" for metric in metrics]
    costs = ["s per picture ↓", "load s", "first s", "memory MB ↓"]
    return ["pictures", "runs", "steps", "parameters", *measured, "L-STD ↓", *costs]


def _table(comparison: Comparison, names: list[str] | None, title: str) -> Table:
    """`names`: the pictures to count; None for all that each method has, where only complete methods are ranked."""
    total = len(comparison.pictures.inputs) if names is None else len(names)
    notes = _Notes()
    rows = [row for row in comparison.rows if names is None or row.scores]
    metrics, left_out = _filled(comparison, rows)
    measured = [_figures(row, metrics, row.names if names is None else names) for row in rows]
    ranked = [bool(row.scores) and (names is not None or len(row.names) == total) for row in rows]
    costs = [[row.cost.seconds, _megabytes(row)] for row in rows]
    marks = [_ranks([f[m.name] for f in measured], ranked, m.direction == "higher") for m in metrics]
    lstd_marks = _ranks([f["lstd"] for f in measured], ranked, False)
    cost_marks = [_ranks([c[i] for c in costs], [c[i] is not None for c in costs], False) for i in range(2)]
    lines = []
    for i, row in enumerate(rows):
        # Printed values are of all pictures of the set.
        printed = row.printed if names is None else None
        if not row.method.is_expected:
            lines += [_printed_line(printed, metrics, notes, f"{row.method.name}, ")] if printed else []
            continue
        marks_here = {m.name: marks[j][i] for j, m in enumerate(metrics)}
        lines.append(
            _line(row, metrics, measured[i], marks_here, (lstd_marks[i], cost_marks[0][i], cost_marks[1][i]), total,
                  ranked[i], notes)
        )  # fmt: skip
        if printed:
            lines.append(_printed_line(printed, metrics, notes))
    return Table(title, columns_of(metrics), lines, notes.texts, left_out)


def _filled(comparison: Comparison, rows: Sequence[Row]) -> tuple[list[Metric], str]:
    """The metrics that some line has a figure for, and one sentence on the others."""
    asked = comparison.config.chosen
    printed = [row.printed for row in rows if row.printed]
    filled = [
        metric
        for metric in asked
        if any(row.scores and row.scores.figure(metric, row.names) for row in rows)
        or any(line.value(metric.name) for line in printed)
    ]
    absent = [metric.title for metric in asked if metric not in filled]
    if not absent or not filled:
        return list(asked), ""
    return filled, f"No line has {', '.join(absent)}; ccsr evaluate --check-metrics says what they lack."


Values = dict[str, Figure | None]


def _figures(row: Row, metrics: Sequence[Metric], names: Sequence[str]) -> Values:
    found: Values = {metric.name: row.scores.figure(metric, names) if row.scores else None for metric in metrics}
    lstd = row.scores.lstd(names) if row.scores else None
    return {**found, "lstd": None if lstd is None else Figure(lstd, None)}


def _ranks(values: Sequence[Figure | float | None], ranked: Sequence[bool], higher: bool) -> list[int | None]:
    """1 for the best and 2 for the second best of those that are ranked, equal ones alike; none where one is alone."""
    plain = [v.mean if isinstance(v, Figure) else v for v in values]
    taken = sorted({v for v, counts in zip(plain, ranked, strict=True) if counts and v is not None}, reverse=higher)
    if len(taken) < RANKED:
        return [None] * len(plain)
    return [
        taken.index(v) + 1 if counts and v is not None and v in taken[:RANKED] else None
        for v, counts in zip(plain, ranked, strict=True)
    ]


def _line(
    row: Row, metrics: Sequence[Metric], figures: Values, marks: dict[str, int | None],
    other_marks: tuple[int | None, int | None, int | None], total: int, is_ranked: bool, notes: _Notes,
) -> TableLine:  # fmt: skip
    scores = row.scores
    count = len(row.names) if total >= len(row.names) else total
    shown = f"{count}" if count == total else f"{count} of {total}"
    cells = [
        Cell(shown if scores else NOT_AVAILABLE, count),
        Cell(str(scores.runs) if scores else NOT_AVAILABLE, scores.runs if scores else None),
        _number(row.steps, str(row.steps)) if row.method.has_steps else Cell("none", 0),
        _number(row.parameters, _count(row.parameters or 0)),
    ]
    for metric in metrics:
        figure = figures[metric.name]
        if figure is None:
            why = scores.missing.get(metric.name) if scores else None
            numbers = (notes.number(f"{metric.title}: {why}"),) if why else ()
            cells.append(Cell(NOT_AVAILABLE, notes=numbers))
        else:
            text = f"{figure.mean:.{metric.digits}f}" + ("" if figure.gstd is None else f" / {figure.gstd:.4f}")
            without = scores.unscored.get(metric.name, {}) if scores else {}
            about_it = f"{metric.title}: {plural(len(without), 'picture')} cannot have it" if without else ""
            numbers = (notes.number(about_it),) if about_it else ()
            cells.append(Cell(text, figure.mean, marks[metric.name], numbers))
    lstd, cost = figures["lstd"], row.cost
    one_run = "one run" if scores and scores.runs == 1 else NOT_AVAILABLE
    cells.append(Cell(one_run) if lstd is None else Cell(f"{lstd.mean:.4f}", lstd.mean, other_marks[0]))
    how = (notes.number(f"Time: {cost.how}"),) if cost.how else ()
    megabytes = _megabytes(row)
    cells += [
        _number(cost.seconds, _seconds(cost.seconds), other_marks[1], how),
        _number(cost.load, _seconds(cost.load)),
        _number(cost.first, _seconds(cost.first)),
        _number(megabytes, f"{megabytes or 0:.0f}", other_marks[2]),
    ]
    about = []
    if note := row.method.note() if scores else row.method.source:
        about.append(notes.number(note))
    if scores and not is_ranked:
        about.append(notes.number("Not ranked here: it lacks pictures. The table below compares the common ones."))
    return TableLine(row.method.name, "measured", cells, row.problem, tuple(about))


def _printed_line(printed: PrintedRow, metrics: Sequence[Metric], notes: _Notes, before: str = "") -> TableLine:
    absent = Cell(NOT_AVAILABLE)
    size = KNOWN_SIZES[printed.dataset.lower()]
    cells = [Cell(str(size), size), Cell(str(PAPER_RUNS), PAPER_RUNS), Cell(str(printed.steps), printed.steps), absent]
    for name in [*(metric.name for metric in metrics), "lstd"]:
        value = printed.value(name)
        if value is None:
            cells.append(absent)
        else:
            number = (notes.number(f"Table {printed.table}: {value.note}"),) if value.note else ()
            cells.append(Cell(value.text, value.mean, notes=number))
    return TableLine(before + printed.title, "printed", [*cells, absent, absent, absent, absent])


def _number(value: float | None, text: str, rank: int | None = None, notes: tuple[int, ...] = ()) -> Cell:
    return Cell(NOT_AVAILABLE) if value is None else Cell(text, value, rank, notes)


def _seconds(value: float | None) -> str:
    """Three digits that count; what is below a millisecond is not told apart."""
    if not value or value < MILLISECOND:
        return "< 0.001"
    return f"{value:.{max(0, 2 - math.floor(math.log10(value)))}f}"


def _count(number: int) -> str:
    """A number of parameters as papers print it."""
    return f"{number / 1e6:.2f} M" if number >= 10_000 else str(number)


def _megabytes(row: Row) -> float | None:
    return None if row.cost.peak_bytes is None else row.cost.peak_bytes / 1e6


def heading(comparison: Comparison) -> list[str]:
    """What the figures hang on, as plain sentences."""
    config = comparison.config
    pictures, runs = plural(len(comparison.pictures.inputs), "picture"), plural(config.samples, "run")
    threads = plural(config.threads, "thread") if config.threads else "all threads"
    lines = [
        f"{config.title or config.dataset or 'Comparison'}: {pictures}, preset {config.preset} (border"
        f" {config.protocol.border}), up to {runs}, seeds from {config.seed}.",
        f"Measured on {machine()}, {threads}; memory is that of the method's process on the host. Times are those of"
        " this machine alone and hang on what else it does.",
    ]
    if any(row.printed for row in comparison.rows):
        lines.append(
            "Lines 'paper' are values that the paper prints, beside our line and not a measurement of it; its times and"
            " parameters are not in hand."
            + ("" if config.preset == PAPER_PRESET else f" The paper measures as preset {PAPER_PRESET} does.")
        )
    return lines


def plural(number: int, thing: str) -> str:
    """`1 run`, `2 runs`."""
    return f"{number} {thing}" + ("" if number == 1 else "s")


def machine() -> str:
    """The processor, as the system names it."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def as_json(comparison: Comparison) -> dict[str, Any]:
    """Everything as plain values, every score of every picture among it."""
    from ccsr.evaluate import versions

    config = comparison.config
    methods = []
    for row in comparison.rows:
        figures = _figures(row, config.chosen, row.names)
        on_common = _figures(row, config.chosen, comparison.common) if row.scores else {}
        methods.append(
            {
                "name": row.method.name,
                "problem": row.problem,
                "source": row.method.source,
                "pictures": len(row.names),
                "runs": row.scores.runs if row.scores else None,
                "steps": row.steps,
                "parameters": row.parameters,
                "metrics": {n: _plain(f) for n, f in figures.items()},
                "metrics_on_common": {n: _plain(f) for n, f in on_common.items()},
                "missing": row.scores.missing if row.scores else {},
                "unscored": row.scores.unscored if row.scores else {},
                "seconds": {"each": row.cost.seconds, "load": row.cost.load, "first": row.cost.first},
                "seconds_how": row.cost.how or None,
                "peak_bytes": row.cost.peak_bytes,
                "paper": _printed_json(row.printed),
                "per_image": dict(_per_image(row)),
            }
        )
    return {
        "title": config.title,
        "dataset": config.dataset,
        "preset": config.preset,
        "border": config.protocol.border,
        "seed": config.seed,
        "machine": machine(),
        "threads": config.threads,
        "versions": versions(),
        "pictures": list(comparison.pictures.inputs),
        "common": comparison.common,
        "directions": {metric.name: metric.direction for metric in config.chosen},
        "methods": methods,
    }


def _plain(figure: Figure | None) -> dict[str, float | None] | None:
    return None if figure is None else {"mean": figure.mean, "gstd": figure.gstd}


def _printed_json(row: PrintedRow | None) -> dict[str, Any] | None:
    if row is None:
        return None
    values = {n: {"mean": v.mean, "gstd": v.gstd, "note": v.note or None} for n, v in row.values.items()}
    return {"table": row.table, "dataset": row.dataset, "row": row.name, "steps": row.steps, "values": values}


def _per_image(row: Row) -> list[tuple[str, dict[str, Any]]]:
    scores = row.scores
    if scores is None:
        return []
    per = {metric: values for metric, values in scores.values.items() if len(values) == len(scores.names)}
    return [
        (name, {**{m: values[i] for m, values in per.items()}, "lstd": scores.lstd_of.get(name)})
        for i, name in enumerate(scores.names)
    ]

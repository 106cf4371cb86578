"""The values that the paper prints (Tables II, III and V), with the anomalies that were noticed in them."""

import csv
from dataclasses import dataclass
from functools import cache
from importlib import resources

from ccsr.errors import OptionError

NAMES = {
    "psnr": "PSNR",
    "ssim": "SSIM",
    "lpips": "LPIPS",
    "dists": "DISTS",
    "fid": "FID",
    "niqe": "NIQE",
    "clipiqa": "CLIPIQA",
    "musiq": "MUSIQ",
    "maniqa": "MANIQA",
}
"""What the paper calls a metric, by our name."""


@dataclass(frozen=True)
class PrintedValue:
    """One cell of a table."""

    mean: float
    gstd: float | None
    note: str
    """What is odd about it; empty where nothing is."""
    text: str
    """As it is printed, with its digits: `25.97` or `25.97 / 0.1976`."""


@dataclass(frozen=True)
class PrintedRow:
    """One row of a table."""

    table: str
    dataset: str
    name: str
    steps: int
    values: dict[str, PrintedValue]
    """By the metric's name in the paper, `L-STD` among them."""

    def value(self, metric: str) -> PrintedValue | None:
        """The cell of one of our metrics, or of `lstd`."""
        return self.values.get("L-STD" if metric == "lstd" else NAMES.get(metric, ""))

    @property
    def title(self) -> str:
        """Where it stands."""
        return f"paper, Table {self.table}: {self.name}"


def find_row(name: str, dataset: str) -> PrintedRow:
    """The row of this name, `CCSR-S1` or with its table `III: T=6 t_max=2/3 t_min=1/3`.

    Raises:
        OptionError: there is none, with the names that there are.
    """
    table, colon, row = name.rpartition(":")
    row = row.strip() if colon else name
    rows = [r for r in printed_rows() if r.dataset.lower() == dataset.lower()]
    found = [r for r in rows if r.name.lower() == row.lower() and (not colon or r.table == table.strip())]
    if not rows:
        known = sorted({r.dataset for r in printed_rows()})
        raise OptionError(f"the paper's tables have no data set {dataset!r}", hint=f"dataset: {' or '.join(known)}")
    if not found:
        names = ", ".join(f"{r.table}: {r.name}" for r in rows)
        raise OptionError(f"the paper's tables have no row {name!r} for {dataset}", hint=names)
    return found[-1]


@cache
def printed_rows() -> tuple[PrintedRow, ...]:
    """All rows in the order of the paper."""
    text = resources.files("ccsr.compare").joinpath("data/paper_tables.csv").read_text(encoding="utf-8")
    rows: dict[tuple[str, str, str], PrintedRow] = {}
    for line in csv.DictReader(text.splitlines()):
        key = line["table"], line["dataset"], line["row"]
        row = rows.setdefault(key, PrintedRow(*key, int(line["steps"]), {}))
        shown = f"{line['mean']} / {line['gstd']}" if line["gstd"] else line["mean"]
        gstd = float(line["gstd"]) if line["gstd"] else None
        row.values[line["metric"]] = PrintedValue(float(line["mean"]), gstd, line["note"], shown)
    return tuple(rows.values())

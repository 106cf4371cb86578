"""Scores of a method's results, kept on disk until results or metrics change."""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from ccsr.compare.staging import StagedPictures
from ccsr.data.pairing import run_folders
from ccsr.evaluate import as_plain, evaluate, extremes_of, gstd_of, mean_of, versions
from ccsr.metrics import Metric, Protocol

_FORMAT = 2
"""Of the kept scores; those of another one are not read."""


@dataclass(frozen=True)
class Figure:
    """A metric of one method: mean over pictures and runs, and its spread over runs (G-STD)."""

    mean: float
    gstd: float | None


@dataclass(frozen=True)
class Scores:
    """All scores of one method."""

    names: list[str]
    """Pictures with a result in every run."""
    runs: int
    values: dict[str, list[list[float | None]]]
    """By metric: a row for each picture, or one row for a metric of whole folders; columns are runs. None where the
    picture cannot have the metric."""
    lstd_of: dict[str, float]
    """L-STD of each picture; empty for a single run."""
    missing: dict[str, str]
    """Metrics that could not be computed, and why."""
    unscored: dict[str, dict[str, str]]
    """By metric and picture: why the picture cannot have it."""

    def figure(self, metric: Metric, names: Sequence[str]) -> Figure | None:
        """The metric over some of the pictures; None where it is not known for just these."""
        if metric.name not in self.values:
            return None
        values = np.array(self.values[metric.name], float)
        if metric.of_set:
            return Figure(float(values.mean()), None) if set(names) == set(self.names) else None
        rows = values[[self.names.index(name) for name in names]]
        mean = mean_of(rows)
        return None if mean is None else Figure(mean, gstd_of(rows))

    def lstd(self, names: Sequence[str]) -> float | None:
        """L-STD over some of the pictures; None for a single run."""
        return float(np.mean([self.lstd_of[name] for name in names])) if self.lstd_of else None

    def extremes(self, name: str, metric: Metric) -> tuple[int, int]:
        """Best and worst run of a picture by a metric."""
        return extremes_of(np.array(self.values[metric.name][self.names.index(name)], float), metric)


def score(
    results: Path,
    pictures: StagedPictures,
    protocol: Protocol,
    metrics: Sequence[Metric],
    cache: Path,
    on_progress: Callable[[int, int], None],
) -> Scores:
    """Score a folder of results, or take the scores from `cache` if neither they nor their inputs and ground truth
    changed since.

    Raises:
        CCSRError: pictures that cannot be read, or of another size than their ground truth.
    """
    inputs, truths = pictures.input_folder, pictures.truth_folder
    folders = [*run_folders(results), inputs, truths]
    files = [path for folder in folders for path in sorted(folder.iterdir())]
    facts = [(str(p.relative_to(results.parents[2])), p.stat().st_size, p.stat().st_mtime_ns) for p in files]
    key = hashlib.sha256(
        json.dumps([_FORMAT, facts, protocol.name, [metric.name for metric in metrics], versions()]).encode()
    ).hexdigest()
    if cache.exists():
        kept = json.loads(cache.read_text(encoding="utf-8"))
        if kept.pop("key") == key:
            return Scores(**kept)
    found = evaluate([results], truths, protocol, metrics, inputs=inputs, skip_missing=True, on_progress=on_progress)
    values = {name: as_plain(array) for name, array in found.scores.items()}
    scores = Scores(found.images, len(found.runs), values, found.lstd_of, found.missing, found.unscored)
    # What is missing may be installed before the next call.
    if not scores.missing:
        cache.write_text(json.dumps({"key": key, **asdict(scores)}), encoding="utf-8")
    return scores

"""Folders of results against their ground truth: every metric, its spread over runs, and how stable pictures are.

Pictures are read one after another, all runs of one before the next, so memory does not grow with either number.
"""

import importlib.metadata
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from PIL import Image

from ccsr import images
from ccsr.data.pairing import Pairs, pair, run_folders
from ccsr.errors import CCSRError, ImageError, OptionError
from ccsr.metrics import Metric, Protocol, without_border
from ccsr.metrics.registry import Score
from ccsr.stability import StabilityMeter, gstd
from ccsr.stability.maps import save_maps
from ccsr.version import __version__

LIBRARIES = ("numpy", "scipy", "torch", "pyvips", "pyiqa", "torchmetrics")


@dataclass(frozen=True)
class Evaluation:
    """What was measured; `as_json` is the line of `ccsr evaluate --json`."""

    protocol: Protocol
    metrics: list[Metric]
    """Those that could be computed, in order."""
    runs: list[Path]
    scores: dict[str, np.ndarray]
    """By metric: (pictures, runs), or (1, runs) for a metric of whole folders."""
    images: list[str]
    lstd: float | None
    """None for a single run."""
    medoids: list[int]
    """Of each picture the run that is nearest to all others (least mean squared difference)."""
    missing: dict[str, str]
    """Metrics that could not be computed, and why."""
    skipped: list[Path] = field(default_factory=list)
    """Files without a partner."""
    lstd_of: dict[str, float] = field(default_factory=dict)
    """L-STD of each picture; empty for a single run."""

    def mean(self, name: str) -> float:
        """Mean of a metric over pictures and runs."""
        return float(self.scores[name].mean())

    def gstd(self, name: str) -> float | None:
        """G-STD of a metric (paper Eq. 4); None where there is one run, or a metric of whole folders."""
        of_set = any(metric.of_set for metric in self.metrics if metric.name == name)
        return None if of_set or len(self.runs) < 2 else gstd(self.scores[name])

    def extremes(self, image: int) -> tuple[int, int]:
        """Best and worst run of a picture by PSNR, or by the first metric that there is."""
        metric = next((m for m in self.metrics if m.name == "psnr"), None) or next(
            (m for m in self.metrics if not m.of_set), None
        )
        if metric is None:
            return 0, 0
        row = self.scores[metric.name][image]
        low, high = int(row.argmin()), int(row.argmax())
        return (high, low) if metric.direction == "higher" else (low, high)

    def as_json(self) -> dict[str, Any]:
        """Plain values, as interface and documentation describe them."""
        per_image = {}
        for i, name in enumerate(self.images):
            best, worst = self.extremes(i)
            values = {m.name: self.scores[m.name][i].tolist() for m in self.metrics if not m.of_set}
            per_image[name] = {**values, "best": best, "worst": worst, "medoid": self.medoids[i]}
        return {
            "preset": self.protocol.name,
            "border": self.protocol.border,
            "versions": versions(),
            "images": len(self.images),
            "runs": len(self.runs),
            "metrics": {
                m.name: {
                    "mean": self.mean(m.name),
                    "gstd": self.gstd(m.name),
                    "direction": m.direction,
                    "implementation": m.implementation,
                }
                for m in self.metrics
            },
            "lstd": self.lstd,
            "per_image": per_image,
            "missing": self.missing,
            "skipped": [str(path) for path in self.skipped],
        }


def evaluate(
    results: Sequence[Path],
    truths: Path,
    protocol: Protocol,
    metrics: Sequence[Metric],
    *,
    skip_missing: bool = False,
    maps: Path | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """Measure folders of results, each one run or the home of `sampleNN/` runs, against a folder of ground truth.

    With `maps`, the stability map of each picture and its overlay are written there. `on_progress` is called as
    (pictures done, pictures).

    Raises:
        OptionError: folders that do not fit together; ImageError: a picture that cannot be read, or of another size.
    """
    runs = [run for folder in results for run in run_folders(folder)]
    pairings = [pair(run, truths, skip_missing) for run in runs]
    names = _common(pairings, runs, skip_missing)
    scorers, missing = _loaded(metrics)
    of_pictures = [m for m in metrics if m.name in scorers and not m.of_set]
    scores = {m.name: np.empty((len(names), len(runs))) for m in of_pictures}
    meter, medoids = StabilityMeter(), []
    for i, name in enumerate(names):
        gt_path = pairings[0].files[name][1]
        gt = _cut(gt_path, protocol.border)
        for j, pairing in enumerate(pairings):
            sr_path = pairing.files[name][0]
            sr = _cut(sr_path, protocol.border)
            if sr.shape != gt.shape:
                raise ImageError(
                    f"is {_size(sr)} and its ground truth {gt_path.name} is {_size(gt)}",
                    path=sr_path, hint="results are scored at the size of the ground truth",
                )  # fmt: skip
            for metric in of_pictures:
                scores[metric.name][i, j] = _scored(scorers[metric.name], sr, gt, sr_path)
            meter.update(name, j, sr / 255.0)
        mean = meter.mean
        apart = [((_cut(p.files[name][0], protocol.border) / 255.0 - mean) ** 2).mean() for p in pairings]
        # The run nearest to the mean is the one with the least mean squared difference to all runs.
        medoids.append(int(np.argmin(apart)))
        if maps is not None and len(runs) > 1:
            save_maps(meter.deviation.mean(2), mean, maps / name)
        if on_progress:
            on_progress(i + 1, len(names))
    of_sets = [m for m in metrics if m.name in scorers and m.of_set]
    if of_sets:
        scores |= _set_scores(of_sets, scorers, pairings, names)
    stability = meter.result()
    lonely = sorted({path for pairing in pairings for path in pairing.without_partner})
    return Evaluation(
        protocol=protocol,
        metrics=[m for m in metrics if m.name in scorers],
        runs=runs,
        scores=scores,
        images=names,
        lstd=stability.lstd if len(runs) > 1 else None,
        medoids=medoids,
        missing=missing,
        skipped=lonely,
        lstd_of=stability.per_image if len(runs) > 1 else {},
    )


def versions() -> dict[str, str]:
    """Versions of this program and of the libraries that a figure hangs on."""
    found = {"ccsr": __version__}
    for library in LIBRARIES:
        try:
            found[library] = importlib.metadata.version(library)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _loaded(metrics: Sequence[Metric]) -> tuple[dict[str, Score], dict[str, str]]:
    scorers: dict[str, Score] = {}
    missing: dict[str, str] = {}
    for metric in metrics:
        try:
            scorers[metric.name] = metric.load()
        except CCSRError as error:
            missing[metric.name] = str(error)
    if not scorers:
        raise OptionError("none of the metrics can be computed", hint="; ".join(missing.values()))
    return scorers, missing


def _common(pairings: Sequence[Pairs], runs: Sequence[Path], skip_missing: bool) -> list[str]:
    common = set.intersection(*(set(p.files) for p in pairings))
    for run, pairing in zip(runs, pairings, strict=True):
        more = sorted(set(pairing.files) - common)
        if more and not skip_missing:
            raise OptionError(f"{more[0]} is not in every run", path=run, hint="--skip-missing goes on without")
    if not common:
        raise OptionError("no picture is in every run", path=runs[0])
    return sorted(common)


def _cut(path: Path, border: int) -> np.ndarray:
    return without_border(images.to_uint8(images.load(path).rgb), border)


def _scored(score: Score, sr: np.ndarray, gt: np.ndarray, path: Path) -> float:
    try:
        return score(sr, gt)
    except ImageError as error:
        raise ImageError(error.what, path=path, hint=error.hint) from error


def _size(picture: np.ndarray) -> str:
    return f"{picture.shape[1]}x{picture.shape[0]}"


def _set_scores(
    metrics: Sequence[Metric], scorers: dict[str, Score], pairings: Sequence[Pairs], names: Sequence[str]
) -> dict[str, np.ndarray]:
    """Metrics of whole folders, on PNG copies of just the paired pictures, whole (no border is cut)."""
    with ExitStack() as stack:

        def copied(paths: Sequence[Path]) -> Any:
            folder = Path(stack.enter_context(TemporaryDirectory()))
            for i, path in enumerate(paths):
                Image.fromarray(images.to_uint8(images.load(path).rgb)).save(folder / f"{i:06d}.png")
            return folder

        truths = copied([pairings[0].files[name][1] for name in names])
        runs = [copied([pairing.files[name][0] for name in names]) for pairing in pairings]
        return {m.name: np.array([[scorers[m.name](run, truths) for run in runs]]) for m in metrics}

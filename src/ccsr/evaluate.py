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
from ccsr.metrics import Metric, Protocol, difference_map, without_border
from ccsr.metrics.registry import Score
from ccsr.stability import StabilityMeter, gstd
from ccsr.stability.maps import save_difference, save_maps
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
    """By metric: (pictures, runs), or (1, runs) for a metric of whole folders; NaN where a picture cannot have it."""
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
    unscored: dict[str, dict[str, str]] = field(default_factory=dict)
    """By metric and picture: why the picture cannot have it, such as one that is too small for NIQE."""

    def mean(self, name: str) -> float | None:
        """Mean of a metric over the pictures that have it, and over runs; None where none has."""
        return mean_of(self.scores[name])

    def gstd(self, name: str) -> float | None:
        """G-STD of a metric (paper Eq. 4); None where there is one run, or a metric of whole folders."""
        of_set = any(metric.of_set for metric in self.metrics if metric.name == name)
        return None if of_set else gstd_of(self.scores[name])

    def extremes(self, image: int) -> tuple[int, int]:
        """Best and worst run of a picture by PSNR, or by the first metric that there is."""
        metric = next((m for m in self.metrics if m.name == "psnr"), None) or next(
            (m for m in self.metrics if not m.of_set), None
        )
        if metric is None:
            return 0, 0
        return extremes_of(self.scores[metric.name][image], metric)

    def as_json(self) -> dict[str, Any]:
        """Plain values, as interface and documentation describe them."""
        per_image = {}
        for i, name in enumerate(self.images):
            best, worst = self.extremes(i)
            values = {m.name: as_plain(self.scores[m.name])[i] for m in self.metrics if not m.of_set}
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
                    "unscored": len(self.unscored.get(m.name, ())),
                    "direction": m.direction,
                    "implementation": m.implementation,
                }
                for m in self.metrics
            },
            "lstd": self.lstd,
            "per_image": per_image,
            "missing": self.missing,
            "unscored": self.unscored,
            "skipped": [str(path) for path in self.skipped],
        }


def evaluate(
    results: Sequence[Path],
    truths: Path | None,
    protocol: Protocol,
    metrics: Sequence[Metric],
    *,
    inputs: Path | None = None,
    skip_missing: bool = False,
    maps: Path | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """Measure folders of results, each one run or the home of `sampleNN/` runs, against a folder of ground truth.

    `inputs` are the low-quality pictures, for the metric that compares results with them; metrics that need no ground
    truth do without it then. With `maps`, the stability map of each picture and its overlay are written there, and
    where inputs are given a map of the difference from them.
    `on_progress` is called as (pictures done, pictures).

    A metric that a picture cannot have is NaN there, with the reason under `unscored`; everything else goes on.

    Raises:
        OptionError: folders that do not fit together; ImageError: a picture that cannot be read, or of another size.
    """
    partners = truths or inputs
    if partners is None or (truths is None and any(metric.needs_gt for metric in metrics)):
        raise OptionError("no ground truth is given", hint="add --gt FOLDER")
    runs = [run for folder in results for run in run_folders(folder)]
    pairings = [pair(run, partners, skip_missing) for run in runs]
    names = _common(pairings, runs, skip_missing)
    of_interest = inputs if maps is not None or any(m.of_input for m in metrics) else None
    lqs = pair(of_interest, partners, skip_missing=True).files if of_interest else {}
    scorers, missing = _loaded(metrics, has_inputs=bool(inputs))
    of_pictures = [m for m in metrics if m.name in scorers and not m.of_set]
    scores = {m.name: np.full((len(names), len(runs)), np.nan) for m in of_pictures}
    unscored: dict[str, dict[str, str]] = {}
    meter, medoids = StabilityMeter(), []
    for i, name in enumerate(names):
        gt_path = pairings[0].files[name][1]
        gt, lq = _read(gt_path), _read(lqs[name][0]) if name in lqs else None
        apart_from_lq = []
        for j, pairing in enumerate(pairings):
            sr_path = pairing.files[name][0]
            sr = _read(sr_path)
            if truths is not None and sr.shape != gt.shape:
                raise ImageError(
                    f"is {_size(sr)} and its ground truth {gt_path.name} is {_size(gt)}",
                    path=sr_path, hint="results are scored at the size of the ground truth",
                )  # fmt: skip
            for metric in of_pictures:
                try:
                    scores[metric.name][i, j] = _scored(scorers[metric.name], metric, sr, gt, lq, protocol.border)
                except ImageError as error:
                    unscored.setdefault(metric.name, {})[name] = str(error)
            meter.update(name, j, _inside(sr, protocol.border) / 255.0)
            if maps is not None and lq is not None:
                apart_from_lq.append(difference_map(sr, lq))
        mean = meter.mean
        apart = [((_inside(_read(p.files[name][0]), protocol.border) / 255.0 - mean) ** 2).mean() for p in pairings]
        # The run nearest to the mean is the one with the least mean squared difference to all runs.
        medoids.append(int(np.argmin(apart)))
        if maps is not None and len(runs) > 1:
            save_maps(meter.deviation.mean(2), mean, maps / name)
        if maps is not None and apart_from_lq:
            save_difference(np.mean(apart_from_lq, axis=0), maps / name)
        if on_progress:
            on_progress(i + 1, len(names))
    of_sets = [m for m in metrics if m.name in scorers and m.of_set]
    if of_sets:
        of_folders, failed = _set_scores(of_sets, scorers, pairings, names)
        scores, missing = scores | of_folders, missing | failed
    stability = meter.result()
    lonely = sorted({path for pairing in pairings for path in pairing.without_partner})
    return Evaluation(
        protocol=protocol,
        metrics=[m for m in metrics if m.name in scores],
        runs=runs,
        scores=scores,
        images=names,
        lstd=stability.lstd if len(runs) > 1 else None,
        medoids=medoids,
        missing=missing,
        skipped=lonely,
        lstd_of=stability.per_image if len(runs) > 1 else {},
        unscored=unscored,
    )


def mean_of(scores: np.ndarray) -> float | None:
    """Mean of a metric's scores (pictures, runs) over those that there are; None where there is none."""
    known = scores[~np.isnan(scores)]
    return float(known.mean()) if known.size else None


def gstd_of(scores: np.ndarray) -> float | None:
    """G-STD over the pictures that have a score in every run; None where none has, or there is one run."""
    known = scores[~np.isnan(scores).any(axis=1)]
    return gstd(known) if known.size and known.shape[1] > 1 else None


def extremes_of(row: np.ndarray, metric: Metric) -> tuple[int, int]:
    """Best and worst run of one picture by its scores (runs,); the first, twice, where it has none."""
    if np.isnan(row).all():
        return 0, 0
    low, high = int(np.nanargmin(row)), int(np.nanargmax(row))
    return (high, low) if metric.direction == "higher" else (low, high)


def as_plain(scores: np.ndarray) -> list[list[float | None]]:
    """Scores (pictures, runs) as JSON can hold them: None for NaN."""
    return [[None if np.isnan(score) else float(score) for score in row] for row in scores]


def versions() -> dict[str, str]:
    """Versions of this program and of the libraries that a figure hangs on."""
    found = {"ccsr": __version__}
    for library in LIBRARIES:
        try:
            found[library] = importlib.metadata.version(library)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _loaded(metrics: Sequence[Metric], has_inputs: bool) -> tuple[dict[str, Score], dict[str, str]]:
    scorers: dict[str, Score] = {}
    missing: dict[str, str] = {}
    for metric in metrics:
        if metric.of_input and not has_inputs:
            missing[metric.name] = "compares with the inputs (--lq names their folder)"
            continue
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


def _read(path: Path) -> np.ndarray:
    return images.to_uint8(images.load(path).rgb)


def _inside(picture: np.ndarray, border: int) -> np.ndarray:
    """Without the border; whole where nothing would be left of it, which no metric can score but runs can differ in."""
    return without_border(picture, border) if min(picture.shape[:2]) > 2 * border else picture


def _scored(score: Score, metric: Metric, sr: np.ndarray, gt: np.ndarray, lq: np.ndarray | None, border: int) -> float:
    if not metric.of_input:
        reference = gt if metric.needs_gt else sr
        found = score(without_border(sr, border), without_border(reference, border))
    elif lq is None:
        raise ImageError("its input is not in the folder of inputs")
    else:
        found = score(sr, lq)
    if not np.isfinite(found):
        raise ImageError(f"the metric gives {found}, which is no score")
    return found


def _size(picture: np.ndarray) -> str:
    return f"{picture.shape[1]}x{picture.shape[0]}"


def _set_scores(
    metrics: Sequence[Metric], scorers: dict[str, Score], pairings: Sequence[Pairs], names: Sequence[str]
) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Metrics of whole folders, on PNG copies of just the paired pictures, whole (no border is cut); and of those
    that these folders cannot have, why."""
    scores: dict[str, np.ndarray] = {}
    failed: dict[str, str] = {}
    with ExitStack() as stack:

        def copied(paths: Sequence[Path]) -> Any:
            folder = Path(stack.enter_context(TemporaryDirectory()))
            for i, path in enumerate(paths):
                Image.fromarray(images.to_uint8(images.load(path).rgb)).save(folder / f"{i:06d}.png")
            return folder

        truths = copied([pairings[0].files[name][1] for name in names])
        runs = [copied([pairing.files[name][0] for name in names]) for pairing in pairings]
        for metric in metrics:
            try:
                scores[metric.name] = np.array([[scorers[metric.name](run, truths) for run in runs]])
            except ImageError as error:
                failed[metric.name] = str(error)
    return scores, failed

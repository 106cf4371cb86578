"""Pictures of the report: who is shown, where it is zoomed, and the bytes that go into the page."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.ndimage import uniform_filter

from ccsr import images
from ccsr.compare.config import ComparisonConfig
from ccsr.compare.methods.base import find_result
from ccsr.compare.run import Comparison, Row
from ccsr.data.pairing import run_folders
from ccsr.errors import OptionError
from ccsr.stability import StabilityMeter
from ccsr.stability.maps import coloured

MAX_SIDE = 1024
"""Longer pictures are made smaller for the page."""


@dataclass(frozen=True)
class Panel:
    """One picture of a method, or input or ground truth."""

    title: str
    caption: str
    data: str
    """A `data:` address."""
    is_input: bool = False


@dataclass(frozen=True)
class Sheet:
    """All panels of one picture of the test set."""

    name: str
    width: int
    height: int
    crop: tuple[int, int, int]
    """Left, top and side of the zoomed square."""
    panels: list[Panel]
    maps: list[Panel]
    """Stability maps of methods with several runs."""


def chosen_names(comparison: Comparison) -> list[str]:
    """Pictures to show: those asked for, or some of the common ones, evenly spread."""
    asked = comparison.config.panels
    known = list(comparison.pictures.inputs)
    if isinstance(asked, list):
        for name in asked:
            if name not in known:
                raise OptionError(f"panels: no picture is called {name}", hint=f"for instance {known[0]}")
        return asked
    names = comparison.common or known
    count = min(asked, len(names))
    return [names[i * len(names) // count] for i in range(count)]


def sheet(comparison: Comparison, name: str) -> Sheet:
    """The panels of one picture: input, each method's best and worst run by PSNR, ground truth, stability maps."""
    config, pictures = comparison.config, comparison.pictures
    truth = _read(pictures.truths[name])
    height, width = truth.shape[:2]
    lq = np.asarray(Image.open(pictures.inputs[name]).convert("RGB"))
    shown: list[tuple[str, str, np.ndarray]] = []
    maps: list[Panel] = []
    for row in comparison.rows:
        if row.scores is None or name not in row.names:
            continue
        runs = [_read(path) for path in _results(row, name)]
        shown += [(title, caption, runs[run]) for title, caption, run in _extremes(row, name, config)]
        if len(runs) > 1:
            meter = StabilityMeter()
            for number, run in enumerate(runs):
                meter.update(name, number, run / 255.0)
            deviation = meter.deviation.mean(2)
            caption = f"L-STD {deviation.mean():.4f} over {len(runs)} runs"
            maps.append(Panel(row.method.name, caption, _data(coloured(deviation))))
    crop = _crop(config, name, [picture for _, _, picture in shown], truth)
    enlarged = np.asarray(Image.fromarray(lq).resize((width, height), Image.Resampling.NEAREST))
    panels = [
        Panel("LR", f"{lq.shape[1]}x{lq.shape[0]}", _data(enlarged), is_input=True),
        *(Panel(title, caption, _data(picture)) for title, caption, picture in shown),
        Panel("GT", f"{width}x{height}", _data(truth)),
    ]
    return Sheet(name, width, height, crop, panels, maps)


def _results(row: Row, name: str) -> list[Path]:
    found = [find_result(run, name) for run in run_folders(row.results)]
    return [path for path in found if path is not None]


def _extremes(row: Row, name: str, config: ComparisonConfig) -> list[tuple[str, str, int]]:
    """(title, caption, run) of the runs to show."""
    scores = row.scores
    single = [m for m in config.chosen if not m.of_set and scores is not None and m.name in scores.values]
    metric = next((m for m in single if m.name == "psnr"), single[0] if single else None)
    if scores is None or metric is None:
        return [(row.method.name, "", 0)]
    values = scores.values[metric.name][scores.names.index(name)]
    best, worst = scores.extremes(name, metric)
    unit = " dB" if metric.name.startswith("psnr") else ""
    told = [
        "" if (value := values[run]) is None else f"{metric.title} {value:.{metric.digits}f}{unit}"
        for run in (best, worst)
    ]
    if scores.runs == 1:
        return [(row.method.name, told[0], 0)]
    return [(f"{row.method.name}, best", told[0], best), (f"{row.method.name}, worst", told[1], worst)]


def _crop(
    config: ComparisonConfig, name: str, results: Sequence[np.ndarray], truth: np.ndarray
) -> tuple[int, int, int]:
    """The square asked for, or the one of a quarter of the side where methods differ most."""
    if name in config.crops:
        left, top, side = config.crops[name]
        return left, top, side
    height, width = truth.shape[:2]
    side = max(16, min(height, width) // 4)
    grey = np.stack([picture.mean(2) for picture in (*results, truth)])
    differences = uniform_filter(grey.std(axis=0), side, mode="constant")
    half = side // 2
    inner = differences[half : height - half, half : width - half]
    if not inner.size:
        return 0, 0, min(height, width)
    y, x = np.unravel_index(int(inner.argmax()), inner.shape)
    return min(int(x), width - side), min(int(y), height - side), side


def _read(path: Path) -> np.ndarray:
    return images.to_uint8(images.load(path).rgb)


def _data(picture: np.ndarray) -> str:
    """The picture as the address of an `img`: WebP, so that a report of many pictures stays small."""
    shown = Image.fromarray(picture)
    shown.thumbnail((MAX_SIDE, MAX_SIDE), Image.Resampling.LANCZOS)
    out = io.BytesIO()
    shown.save(out, "webp", quality=92, method=4)
    return "data:image/webp;base64," + base64.b64encode(out.getvalue()).decode("ascii")

"""The stability map of a job: how much the samples of one picture differ, pixel by pixel, kept as numbers."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from ccsr import images
from ccsr.stability import StabilityMeter
from ccsr.stability.maps import coloured


def spread_of(samples: Sequence[Path]) -> np.ndarray:
    """Standard deviation over pictures of one size, mean of the channels: float32 (H, W), 0 to 0.5."""
    meter = StabilityMeter()
    for run, path in enumerate(samples):
        meter.update("picture", run, images.load(path).rgb)
    return meter.deviation.mean(axis=2).astype(np.float32)


def summary(spread: np.ndarray) -> dict[str, float]:
    """Mean, and the end of the colour scale: the 99.5th percentile, at least half a step of 8 bit.

    Unlike the map's own scale this one follows the picture, so that small differences show; the page prints its end.
    """
    return {"mean": float(spread.mean()), "scale": max(float(np.percentile(spread, 99.5)), 0.5 / 255)}


def overlay(spread: np.ndarray, scale: float) -> Image.Image:
    """RGBA to lay over a result: clear where the samples agree, opaque at `scale` and above."""
    alpha = np.round(np.clip(spread / scale, 0, 1) * 235)
    return Image.fromarray(np.dstack([coloured(spread, scale), alpha.astype(np.uint8)]), "RGBA")

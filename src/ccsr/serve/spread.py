"""The stability map: how much the samples of one picture differ, pixel by pixel, and its colours for people.

The value of a pixel is the population standard deviation over the samples, the mean of the three channels (ccsr-spec 8,
L-STD before its mean over the picture).
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from ccsr import images

STOPS = ((38, 60, 180, 0), (38, 60, 180, 120), (150, 40, 190, 180), (235, 70, 95, 220), (255, 205, 70, 240))
"""RGBA from "the same in all" to "differs most"; lightness rises all the way, so that it reads without colour too."""


def spread_of(samples: Sequence[Path]) -> np.ndarray:
    """float32 (H, W) in 0..0.5 over at least two pictures of one size; holds two pictures, however many there are."""
    mean = total = np.zeros(())
    for count, path in enumerate(samples, 1):
        rgb = images.load(path).rgb
        if count == 1:
            mean, total = rgb.astype(np.float64), np.zeros(rgb.shape)
            continue
        before = rgb - mean
        mean += before / count
        total += before * (rgb - mean)
    return np.sqrt(total / len(samples)).mean(axis=2).astype(np.float32)


def summary(spread: np.ndarray) -> dict[str, float]:
    """Mean, and the end of the colour scale: the 99.5th percentile, at least half a step of 8 bit."""
    return {"mean": float(spread.mean()), "scale": max(float(np.percentile(spread, 99.5)), 0.5 / 255)}


def overlay(spread: np.ndarray, scale: float) -> Image.Image:
    """RGBA picture to lay over a result; `scale` is the value of the last colour."""
    stops = np.array(STOPS, np.float32)
    level = np.clip(spread / scale, 0, 1) * (len(stops) - 1)
    channels = [np.interp(level, np.arange(len(stops)), stops[:, c]) for c in range(4)]
    return Image.fromarray(np.stack(channels, axis=-1).round().astype(np.uint8), "RGBA")

"""The stability map: where the results of one picture differ, as a picture with its scale and as an overlay."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ccsr import images
from ccsr.stability.meter import StabilityMeter

FULL = 0.05
"""Deviation (of a range of 0..1) at the end of the colour scale: the same for all pictures, so that maps compare."""

_COLOURS = np.array(
    [(8, 9, 24), (52, 26, 94), (122, 38, 112), (196, 62, 88), (240, 124, 52), (250, 196, 80), (253, 246, 200)], float
)
"""Dark to light, even in lightness, so that the order survives in grey and for colour-blind eyes."""

_PAPER, _INK = (22, 22, 26), (230, 230, 230)


def measure_files(results: Sequence[Path], image_id: str = "picture") -> StabilityMeter:
    """A meter that has seen the saved results of one picture; one of them at a time is in memory.

    Raises:
        ImageError: a file cannot be read.
        OptionError: results of different sizes; it names `image_id`.
    """
    meter = StabilityMeter()
    for run, path in enumerate(results):
        meter.update(image_id, run, images.load(path).rgb)
    return meter


def coloured(deviation: np.ndarray, full: float = FULL) -> np.ndarray:
    """`deviation` (H, W), values in 0..1, as colours, uint8 (H, W, 3); `full` and above get the last one."""
    place = np.clip(deviation / full, 0, 1) * (len(_COLOURS) - 1)
    low = np.minimum(place.astype(int), len(_COLOURS) - 2)
    share = (place - low)[..., None]
    return np.round(_COLOURS[low] * (1 - share) + _COLOURS[low + 1] * share).astype(np.uint8)


def with_scale(deviation: np.ndarray, full: float = FULL, what: str = "std over runs") -> Image.Image:
    """The map with its colour scale below: labelled in grey levels of 255, what it is, and its mean (the L-STD)."""
    height, width = deviation.shape
    size = max(11, min(28, width // 28))
    strip = 4 * size
    sheet = Image.new("RGB", (width, height + strip), _PAPER)
    sheet.paste(Image.fromarray(coloured(deviation, full)), (0, 0))
    left, right = size, max(size + 1, width - size)
    ramp = np.tile(np.linspace(0, full, right - left), (size, 1))
    sheet.paste(Image.fromarray(coloured(ramp, full)), (left, height + size // 2))
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(size)
    y = height + 2 * size
    draw.text((left, y), "0", _INK, font)
    draw.text((right, y), f"{full * 255:.0f} of 255", _INK, font, anchor="ra")
    if width >= 20 * size:
        middle = f"{what}, mean {deviation.mean():.4f}"
        draw.text(((left + right) // 2, y), middle, _INK, font, anchor="ma")
    return sheet


def overlay(deviation: np.ndarray, picture: np.ndarray, full: float = FULL) -> Image.Image:
    """The map's colours over `picture` (H, W, 3) in grey: opaque where runs differ most, clear where they agree."""
    grey = np.repeat((picture.mean(2, keepdims=True) * 255).clip(0, 255), 3, axis=2)
    share = 0.9 * np.clip(deviation / full, 0, 1)[..., None]
    return Image.fromarray(np.round(grey * (1 - share) + coloured(deviation, full) * share).astype(np.uint8))


def transparent_overlay(deviation: np.ndarray, full: float = FULL) -> Image.Image:
    """The map as RGBA to lay over a result: clear where runs agree, nearly opaque at `full` and above."""
    alpha = np.round(np.clip(deviation / full, 0, 1) * 235)
    return Image.fromarray(np.dstack([coloured(deviation, full), alpha.astype(np.uint8)]), "RGBA")


def map_paths(stem: Path) -> tuple[Path, Path]:
    """Where the map and its overlay go: `STEM_std.png` and `STEM_std_overlay.png`."""
    return stem.with_name(f"{stem.name}_std.png"), stem.with_name(f"{stem.name}_std_overlay.png")


def save_maps(deviation: np.ndarray, mean: np.ndarray, stem: Path) -> None:
    """Write the map and its overlay under `map_paths(stem)`.

    `deviation` is (H, W), `mean` the mean result, (H, W, 3), both in 0..1.
    """
    for path, picture in zip(map_paths(stem), (with_scale(deviation), overlay(deviation, mean)), strict=True):
        path.parent.mkdir(parents=True, exist_ok=True)
        images.save(images.Picture(np.asarray(picture, np.float32) / 255), path)


def save_difference(difference: np.ndarray, stem: Path) -> None:
    """Write the map of a result's difference from its input, (h, w) in 0..1, as `STEM_consistency.png`."""
    path = stem.with_name(f"{stem.name}_consistency.png")
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet = with_scale(difference, what="difference from the input")
    images.save(images.Picture(np.asarray(sheet, np.float32) / 255), path)

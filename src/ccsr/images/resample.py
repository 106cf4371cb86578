"""Sizes: the one bicubic filter, padding to what the networks take, and the published program's resizes.

Pictures are arrays (H, W, C), float32 in 0..1 unless said otherwise. The filter is Pillow's cubic (a = -0.5),
antialiased when shrinking: torch's without antialias differs by four grey levels on noise. Pillow's Lanczos reduces a
result to its input's size, to see whether it is still the same picture.
"""

from collections.abc import Callable, Iterator
from math import ceil, floor
from typing import NamedTuple

import numpy as np
from PIL import Image

from ccsr.images.buffers import bands, zeros


class Kernel(NamedTuple):
    """One of Pillow's filters."""

    pillow: Image.Resampling
    reach: int
    """Pixels to each side that it sees; more when shrinking."""
    weight: Callable[[np.ndarray], np.ndarray]
    """Its value at distances inside the reach."""


def _cubic(x: np.ndarray) -> np.ndarray:
    a = -0.5
    near: np.ndarray = ((a + 2) * x - (a + 3)) * x * x + 1
    return np.where(x < 1, near, (((x - 5) * x + 8) * x - 4) * a)


def _lanczos(x: np.ndarray) -> np.ndarray:
    windowed: np.ndarray = np.sinc(x) * np.sinc(x / 3)
    return windowed


BICUBIC = Kernel(Image.Resampling.BICUBIC, 2, _cubic)
LANCZOS = Kernel(Image.Resampling.LANCZOS, 3, _lanczos)


def enlarge(picture: np.ndarray, width: int, height: int, out: np.ndarray | None = None) -> np.ndarray:
    """`picture` at another size, float32, clipped to 0..1; (H, W) pictures stay (H, W).

    `out` is an array for the result; without one it is made (or is `picture` itself, at its own size).
    """
    if out is None:
        if picture.shape[:2] == (height, width):
            return picture.astype(np.float32, copy=False)
        out = zeros((height, width, *picture.shape[2:]))
    for top, bottom, rows in enlarged_bands(picture, width, height):
        out[top:bottom] = rows
    return out


def enlarged_bands(picture: np.ndarray, width: int, height: int) -> Iterator[tuple[int, int, np.ndarray]]:
    """The same band by band: (first row, row after the last, these rows)."""
    for top, bottom, rows in resized_bands(picture, width, height, BICUBIC):
        yield top, bottom, rows.clip(0, 1)


def reduced_bands(picture: np.ndarray, width: int, height: int) -> Iterator[tuple[int, int, np.ndarray]]:
    """A result at its input's size by the Lanczos filter, band by band as `enlarged_bands`."""
    for top, bottom, rows in resized_bands(picture, width, height, LANCZOS):
        yield top, bottom, rows.clip(0, 1)


def resized_bands(
    picture: np.ndarray, width: int, height: int, kernel: Kernel
) -> Iterator[tuple[int, int, np.ndarray]]:
    """`picture` at another size as (first row, row after the last, these rows), float32 and not clipped: values may be
    of any range."""
    if picture.shape[:2] == (height, width):
        yield from ((top, bottom, picture[top:bottom].astype(np.float32)) for top, bottom in bands(height, width))
        return
    # Of a picture that shrinks, what is read counts.
    pieces = bands(height, max(width, picture.shape[0] * picture.shape[1] // height))
    for top, bottom in pieces:
        if len(pieces) == 1:
            yield top, bottom, _resized(picture, width, height, kernel)
            continue
        # Pillow's own order: along the rows first, rounded to float32, then down the columns, summed in float64.
        first, weights = _taps(picture.shape[0], height, top, bottom, kernel)
        start, stop = int(first.min()), min(picture.shape[0], int(first.max()) + weights.shape[1])
        strip = _resized(picture[start:stop], width, stop - start, kernel).astype(np.float64)
        rows = np.empty((bottom - top, *strip.shape[1:]), np.float32)
        # Row by row, so that what is added up stays in the processor's cache.
        total = np.empty(strip.shape[1:])
        weighted = np.empty_like(total)
        for row, at, taps in zip(rows, first - start, weights, strict=True):
            total[:] = 0
            for k in np.flatnonzero(taps):
                total += np.multiply(strip[at + k], taps[k], out=weighted)
            row[:] = total
        yield top, bottom, rows


def _resized(picture: np.ndarray, width: int, height: int, kernel: Kernel) -> np.ndarray:
    """Pillow's result of each plane, float32, not clipped."""
    planes = picture[..., None] if picture.ndim == 2 else picture
    out = np.stack(
        [
            np.asarray(
                Image.fromarray(np.ascontiguousarray(planes[..., c], np.float32)).resize((width, height), kernel.pillow)
            )
            for c in range(planes.shape[2])
        ],
        axis=-1,
    )
    return out[..., 0] if picture.ndim == 2 else out


def _taps(length: int, size: int, top: int, bottom: int, kernel: Kernel) -> tuple[np.ndarray, np.ndarray]:
    """Pillow's filter from `length` to `size`, for outputs `top` to `bottom`: first inputs (rows,) and weights
    (rows, taps), zero behind the last."""
    scale = length / size
    stretch = max(scale, 1.0)
    support = kernel.reach * stretch
    center = (np.arange(top, bottom) + 0.5) * scale
    first = np.maximum(0, (center - support + 0.5).astype(np.int64))
    stop = np.minimum(length, (center + support + 0.5).astype(np.int64))
    taps = np.arange(ceil(support) * 2 + 1)
    x = np.abs((taps + first[:, None] - center[:, None] + 0.5) * (1.0 / stretch))
    weights = np.where(x < kernel.reach, kernel.weight(x), 0)
    weights[taps >= (stop - first)[:, None]] = 0
    total = np.zeros(len(first))
    for weight in weights.T:  # one by one, as Pillow adds
        total += weight
    return first, weights / total[:, None]


def enlarge_8bit(picture: np.ndarray, width: int, height: int, *, lanczos: bool = False) -> np.ndarray:
    """The same on uint8 (H, W, 3), rounded to 8 bit as the published programs' resizes are (ccsr-spec 1.3, 4.6)."""
    kind = Image.Resampling.LANCZOS if lanczos else Image.Resampling.BICUBIC
    return np.asarray(Image.fromarray(picture).resize((width, height), kind))


def padded(picture: np.ndarray, width: int, height: int, multiple: int) -> np.ndarray:
    """`picture` enlarged to (width, height) and grown at the bottom and right by repeated reflection until both sides
    are multiples."""
    rows, columns = (_reflected(side, -side % multiple) for side in (height, width))
    if (len(rows), len(columns)) == (height, width):
        return enlarge(picture, width, height)
    out = zeros((len(rows), len(columns), *picture.shape[2:]))
    enlarge(picture, width, height, out[:height, :width])
    for top, bottom in bands(height, width):
        out[top:bottom, width:] = out[top:bottom, columns[width:]]
    out[height:] = out[rows[height:]]
    return out


def _reflected(side: int, grow: int) -> np.ndarray:
    """Index of the value at each place of a grown side; one of one pixel has nothing to reflect and is repeated."""
    return np.pad(np.arange(side), (0, grow), mode="reflect" if side > 1 else "edge")


def published_resizes(picture: np.ndarray, scale: int, minimum: int) -> np.ndarray:
    """Network input of the published program, uint8: minimum size, times scale, stretched to multiples of 8.

    Source: ccsr-spec 1.3, steps 2 to 4; every step rounds to 8 bit.
    """
    height, width = picture.shape[:2]
    smallest = minimum // scale
    if min(width, height) < smallest:
        factor = smallest / min(width, height)
        picture = enlarge_8bit(picture, round(factor * width), round(factor * height))
        height, width = picture.shape[:2]
    picture = enlarge_8bit(picture, width * scale, height * scale)
    return enlarge_8bit(picture, floor(width * scale / 8) * 8, floor(height * scale / 8) * 8)


def first_version_resizes(picture: np.ndarray, width: int, height: int, minimum: int) -> np.ndarray:
    """Network input of the first published program, uint8: output size, minimum, Lanczos to multiples of 64.

    Source: ccsr-spec 4.6, the plain program.
    """
    picture = enlarge_8bit(picture, width, height)
    if (factor := minimum / min(width, height)) > 1:
        width, height = ceil(width * factor), ceil(height * factor)
        picture = enlarge_8bit(picture, width, height)
    return enlarge_8bit(picture, max(64, width // 64 * 64), max(64, height // 64 * 64), lanczos=True)

"""Whether a result is still its input: reduced to the input's size it should be the same picture."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass

import numpy as np

from ccsr.images import to_uint8
from ccsr.images.resample import reduced_bands
from ccsr.metrics.luma import as_levels


@dataclass(frozen=True)
class Consistency:
    """How far a result, reduced by the Lanczos filter to its input's size, is from that input, both in 8 bit."""

    psnr: float
    """Over R, G and B in dB; 80 for equal ones, as the other metrics have it."""
    largest: int
    """Largest difference of a value, 0..255."""

    def as_json(self) -> dict[str, float]:
        """Plain values, the PSNR to a thousandth."""
        return {**asdict(self), "psnr": round(self.psnr, 3)}


def consistency_of(sr: np.ndarray, lq: np.ndarray) -> Consistency:
    """How true the result `sr`, (H, W, 3), is to its input `lq`, (h, w, 3); float in 0..1 or uint8.

    A result that is as it was restored counts, before a lossy format changes it. Memory does not grow with the size.
    """
    squares, largest = 0.0, 0
    for _, _, difference in _differences(sr, lq):
        squares += float(np.square(difference, dtype=np.float64).sum())
        largest = max(largest, int(np.abs(difference).max()))
    psnr = 10 * np.log10(1 / (squares / lq.size / 255**2 + 1e-8))
    return Consistency(float(psnr), largest)


def consistency(sr: np.ndarray, lq: np.ndarray) -> float:
    """The PSNR of `consistency_of` alone."""
    return consistency_of(as_levels(sr), as_levels(lq)).psnr


def difference_map(sr: np.ndarray, lq: np.ndarray) -> np.ndarray:
    """Where the reduced result and its input differ: float32 (h, w), the mean over channels in 0..1."""
    return np.concatenate([np.abs(rows).mean(2, dtype=np.float32) / 255 for _, _, rows in _differences(sr, lq)])


def _differences(sr: np.ndarray, lq: np.ndarray) -> Iterator[tuple[int, int, np.ndarray]]:
    """Reduced result minus input, in levels, int16, band by band: (first row, row after the last, these rows)."""
    height, width = lq.shape[:2]
    values = sr if sr.dtype != np.uint8 else sr.astype(np.float32) / 255
    for top, bottom, rows in reduced_bands(values, width, height):
        own = lq[top:bottom]
        yield top, bottom, to_uint8(rows).astype(np.int16) - (own if own.dtype == np.uint8 else to_uint8(own))

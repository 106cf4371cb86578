"""Structural similarity of brightness."""

import numpy as np

from ccsr.errors import ImageError
from ccsr.metrics.luma import as_levels, studio_luma

SIDE, SIGMA = 11, 1.5
C1, C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2


def ssim(sr: np.ndarray, gt: np.ndarray) -> float:
    """SSIM of Y (BT.601, studio range, rounded to whole levels), -1..1, of pictures (H, W, 3), uint8 or 0..1.

    Gaussian window 11x11 of sigma 1.5 where it fits whole; the contrast factor is cut off below at 0 in each position.
    Source: Wang et al. 2004, in the form of pyiqa (ccsr-spec 8).

    Raises:
        ImageError: a side is shorter than the window.
    """
    a, b = (np.round(studio_luma(as_levels(picture))) for picture in (sr, gt))
    if min(a.shape) < SIDE:
        raise ImageError(f"{a.shape[1]}x{a.shape[0]} is too small for SSIM", hint=f"{SIDE} pixels a side are needed")
    mean_a, mean_b = _windowed(a), _windowed(b)
    variance_a, variance_b = _windowed(a * a) - mean_a**2, _windowed(b * b) - mean_b**2
    covariance = _windowed(a * b) - mean_a * mean_b
    contrast = np.maximum((2 * covariance + C2) / (variance_a + variance_b + C2), 0)
    return float(np.mean(contrast * (2 * mean_a * mean_b + C1) / (mean_a**2 + mean_b**2 + C1)))


def _windowed(values: np.ndarray) -> np.ndarray:
    from scipy.ndimage import correlate1d  # half a second to import, which upscaling does not need

    axis = np.arange(SIDE) - SIDE // 2
    window = np.exp(-(axis**2) / (2 * SIGMA**2))
    window /= window.sum()
    both = correlate1d(correlate1d(values, window, axis=0), window, axis=1)
    reach = SIDE // 2
    return both[reach:-reach, reach:-reach]

"""NIQE: how far a picture's local statistics are from those of undistorted photographs.

Source: Mittal, Soundararajan, Bovik 2013, in the form of pyiqa, whose three float32 roundings (brightness, halving,
window) are kept: in flat areas the sign of a normalised value hangs on the last bits, and single pictures move by up
to 0.1 without them. The published mean and covariance ship in `weights/niqe_pris_params.npz` (licence beside it).
"""

from functools import cache
from pathlib import Path

import numpy as np

from ccsr.errors import ImageError
from ccsr.metrics.luma import as_levels, full_luma

BLOCK = 96
SHIFTS = ((0, 1), (1, 0), (1, 1), (1, -1))
SHAPES = np.arange(0.2, 10.001, 0.001)


def niqe(picture: np.ndarray, reference: np.ndarray | None = None) -> float:
    """NIQE of a picture (H, W, 3), uint8 or float in 0..1: 0 and up, lower is better; photographs have about 2 to 7.

    A reference is accepted, so that all metrics are called alike, and not looked at.

    Raises:
        ImageError: fewer than two blocks fit, or vary at all, so that there is no covariance.
    """
    levels = as_levels(picture)
    if min(levels.shape[:2]) < BLOCK or levels.shape[0] // BLOCK * (levels.shape[1] // BLOCK) < 2:
        raise ImageError(
            f"{levels.shape[1]}x{levels.shape[0]} is too small for NIQE", hint="two blocks of 96x96 are needed"
        )
    grey = np.round(full_luma(levels) * np.float32(255))
    grey = grey[: grey.shape[0] // BLOCK * BLOCK, : grey.shape[1] // BLOCK * BLOCK]
    features = np.concatenate(
        [_features(grey.astype(float), BLOCK), _features(_halved(grey).astype(float), BLOCK // 2)], axis=1
    )
    natural_mean, natural_covariance, _ = _parameters()
    known = features[~np.isnan(features).any(axis=1)]
    if len(known) < 2:
        raise ImageError("too flat for NIQE", hint="two blocks of 96x96 must vary")
    mean = np.nanmean(features, axis=0)
    covariance = np.cov(known, rowvar=False)
    difference = natural_mean - mean
    inverse = np.linalg.pinv((natural_covariance + covariance) / 2)
    return float(np.sqrt(difference @ inverse @ difference))


@cache
def _parameters() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean (36,) and covariance (36, 36) of undistorted pictures, and the window (7, 7), float64."""
    with np.load(Path(__file__).parent / "weights" / "niqe_pris_params.npz", allow_pickle=False) as stored:
        return stored["mu_pris_param"][0], stored["cov_pris_param"], stored["gaussian_window"]


def _halved(grey: np.ndarray) -> np.ndarray:
    """Half of each side by an antialiased cubic (a = -0.5) with mirrored border, float32 as pyiqa computes it."""
    distance = np.abs(np.arange(-3, 5) - 0.5) / 2
    near, far = 1.5 * distance**3 - 2.5 * distance**2 + 1, -0.5 * distance**3 + 2.5 * distance**2 - 4 * distance + 2
    weights = np.where(distance <= 1, near, far).astype(np.float32)
    weights /= weights.sum()
    out = grey / np.float32(255)
    for _ in range(2):  # rows, then columns
        padded = np.pad(out, ((3, 4), (0, 0)), mode="symmetric")
        terms = [padded[i : i + len(out) : 2] * weight for i, weight in enumerate(weights)]
        # One term after the other: another grouping moves single pictures by 0.0008.
        out = np.add.reduce(terms).T
    return out * np.float32(255)


def _features(grey: np.ndarray, side: int) -> np.ndarray:
    """18 features of each block, (blocks, 18): shape and scales of the normalised brightness and of its neighbours'."""
    normal = _normalised(grey)
    rows, columns = grey.shape[0] // side, grey.shape[1] // side
    blocks = normal.reshape(rows, side, columns, side).transpose(0, 2, 1, 3).reshape(-1, side, side)
    shape, left, right = _fit(blocks)
    found = [shape, (left + right) / 2]
    for shift in SHIFTS:
        shape, left, right = _fit(blocks * np.roll(blocks, shift, axis=(1, 2)))
        found += [shape, (right - left) * _gamma(2 / shape) / _gamma(1 / shape), left, right]
    return np.stack(found, axis=1)


def _normalised(grey: np.ndarray) -> np.ndarray:
    window = _parameters()[2].astype(np.float32).astype(float)
    mean = _smoothed(grey, window)
    deviation = np.sqrt(np.abs(_smoothed(grey * grey, window) - mean * mean))
    return (grey - mean) / (deviation + 1)


def _smoothed(values: np.ndarray, window: np.ndarray) -> np.ndarray:
    from scipy.ndimage import correlate  # half a second to import, which upscaling does not need

    smoothed: np.ndarray = correlate(values, window, mode="nearest")
    return smoothed


def _gamma(values: np.ndarray) -> np.ndarray:
    from scipy.special import gamma

    found: np.ndarray = gamma(values)
    return found


@cache
def _ratios() -> np.ndarray:
    """What tells the shape of a distribution, for each of `SHAPES`."""
    return _gamma(2 / SHAPES) ** 2 / (_gamma(1 / SHAPES) * _gamma(3 / SHAPES))


def _fit(blocks: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Shape, left and right scale of an asymmetric generalised Gaussian for each block, each (blocks,).

    Blocks without a negative or without a positive value give NaN, which the caller leaves out.
    """
    flat = blocks.reshape(len(blocks), -1)
    with np.errstate(invalid="ignore", divide="ignore"):
        left, right = (np.sqrt((flat**2 * side).sum(1) / side.sum(1)) for side in (flat < 0, flat > 0))
        ratio = left / right
        share = np.abs(flat).mean(1) ** 2 / (flat**2).mean(1)
        target = share * (ratio**3 + 1) * (ratio + 1) / (ratio**2 + 1) ** 2
        shape = SHAPES[np.argmin(np.abs(_ratios() - target[:, None]), axis=1)]
        scale = np.sqrt(_gamma(1 / shape) / _gamma(3 / shape))
    return shape, left * scale, right * scale

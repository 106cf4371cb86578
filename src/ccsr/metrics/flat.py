"""How noisy the flat areas of a result are: noise is not detail, and NIQE rewards it."""

import numpy as np

from ccsr.metrics.luma import as_levels

_SIDE, _SHARE, _SIGMA = 32, 0.1, 1.4


def flat_noise(sr: np.ndarray, gt: np.ndarray) -> float:
    """Standard deviation, in levels of 255, of what a Gaussian of 1.4 pixels leaves of the luma of flat patches.

    Flat are the tenth of the ground truth's whole 32x32 patches (one at least) whose luma varies least; the mean over
    them. Pictures are (H, W, 3), uint8 or float in 0..1; a result should not exceed what the ground truth itself has
    (`flat_noise(gt, gt)`). Pictures smaller than a patch are one patch.
    """
    from scipy.ndimage import gaussian_filter  # half a second to import, which upscaling does not need

    result, truth = (as_levels(p) @ np.array([0.299, 0.587, 0.114]) for p in (sr, gt))
    rest = _patches(result - gaussian_filter(result, _SIGMA)).std(1)
    order = np.argsort(_patches(truth).std(1), kind="stable")
    return float(rest[order[: max(1, int(len(order) * _SHARE))]].mean())


def _patches(luma: np.ndarray) -> np.ndarray:
    height, width = (min(_SIDE, side) for side in luma.shape)
    rows, columns = luma.shape[0] // height, luma.shape[1] // width
    whole = luma[: rows * height, : columns * width]
    return whole.reshape(rows, height, columns, width).swapaxes(1, 2).reshape(rows * columns, -1)

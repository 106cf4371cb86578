"""How plainly a result shows a regular pattern of its network's blocks where the picture is smooth."""

import numpy as np

from ccsr.errors import ImageError
from ccsr.metrics.luma import as_levels

_SIDE, _SHARE, _STEP = 64, 0.1, 8
"""Blocks of 64 pixels, the smoothest tenth of them; frequencies that are multiples of 1/8 cycle per pixel."""
_NEAR, _FAR, _PERCENTILE = 2, 3, 90


def lattice(sr: np.ndarray, gt: np.ndarray | None = None) -> float:
    """Energy at multiples of 1/8 cycle per pixel by that of the frequencies around, in the smoothest blocks.

    Networks that draw blocks of 2, 4 or 8 pixels leave a pattern of that period, which is seen in sky and skin. The
    smoothest tenth (one at least) of the whole 64x64 blocks of luma is looked at through a Hann window, their power
    spectra are averaged, and at each such frequency the energy is divided by the mean of those two and three steps
    away; the 90th percentile of these ratios. `sr` is (H, W, 3), uint8 or float in 0..1, sides of 64 at
    least; `gt` is not looked at. Photographs have 1.5 to 2, a plain pattern more than 3.

    Raises:
        ImageError: a side is shorter than 64.
    """
    luma = as_levels(sr) @ np.array([65.481, 128.553, 24.966]) / 255
    rows, columns = luma.shape[0] // _SIDE, luma.shape[1] // _SIDE
    if not rows * columns:
        raise ImageError(f"{luma.shape[1]}x{luma.shape[0]} is too small for the lattice, which needs {_SIDE}x{_SIDE}")
    blocks = luma[: rows * _SIDE, : columns * _SIDE].reshape(rows, _SIDE, columns, _SIDE).swapaxes(1, 2)
    blocks = blocks.reshape(-1, _SIDE, _SIDE)
    smooth = np.argsort(blocks.std((1, 2)), kind="stable")[: max(1, round(len(blocks) * _SHARE))]
    window = np.outer(np.hanning(_SIDE), np.hanning(_SIDE))
    seen = (blocks[smooth] - blocks[smooth].mean((1, 2), keepdims=True)) * window
    power = (np.abs(np.fft.fft2(seen)) ** 2).mean(0)
    reach = range(-_FAR, _FAR + 1)
    around = [(a, b) for a in reach for b in reach if max(abs(a), abs(b)) >= _NEAR]
    ratios = []
    for y in range(0, _SIDE, _STEP):
        for x in range(0, _SIDE // 2 + 1, _STEP):
            near = np.mean([power[(y + a) % _SIDE, (x + b) % _SIDE] for a, b in around])
            if (y or x) and near > 0:
                ratios.append(power[y, x] / near)
    return float(np.percentile(ratios, _PERCENTILE)) if ratios else 0.0

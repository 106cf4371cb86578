"""A result that shrinks back to its input: back-projection."""

import numpy as np

from ccsr.images.buffers import bands, zeros
from ccsr.images.resample import LANCZOS, reduced_bands, resized_bands

ROUNDS = 40
"""At most; a result of this method needs about ten, a smooth one of a noisy input thirty."""
_ENOUGH = 0.4 / 255
"""Difference from what is wanted at which it ends: less than the rounding to 8 bit."""


def back_projected(sr: np.ndarray, lq: np.ndarray, share: float) -> np.ndarray:
    """Of all pictures that shrink back to the input, the one nearest to the result `sr`, (H, W, 3) in 0..1.

    `lq`, (h, w, 3) in 0..1, is the input; with a `share` below 1 only that part of the difference is taken away, and 0
    gives `sr` itself. Back-projection adds up(lq - down(sr)) to the result again and again; both filters are Lanczos.
    Values are kept inside 0..1 on the way, and each round runs ahead in the direction of the last one (Nesterov), from
    rest again where that was too far (O'Donoghue and Candes 2015), which takes a third of the rounds.

    What no picture can shrink to is left: contrast of single pixels near black and white, and little more than scale 1.
    """
    if not share:
        return sr
    height, width = lq.shape[:2]
    wanted, last, ahead, moved = zeros(lq.shape), zeros(lq.shape), zeros(lq.shape), zeros(sr.shape)
    for top, bottom, rows in reduced_bands(sr, width, height):
        wanted[top:bottom] = rows + np.float32(share) * (lq[top:bottom] - rows)
    pace = 1.0
    for _ in range(ROUNDS):
        for top, bottom, rows in resized_bands(ahead, sr.shape[1], sr.shape[0], LANCZOS):
            np.clip(sr[top:bottom] + rows, 0, 1, out=moved[top:bottom])
        most = forward = 0.0
        for top, bottom, rows in reduced_bands(moved, width, height):
            missing = wanted[top:bottom] - rows
            most = max(most, float(np.abs(missing).max()))
            ahead[top:bottom] += missing
            forward += float((missing * (ahead[top:bottom] - last[top:bottom])).sum(dtype=np.float64))
        if most <= _ENOUGH:
            break
        pace, before = (1 + (1 + 4 * pace**2) ** 0.5) / 2 if forward > 0 else 1.0, pace
        momentum = np.float32((before - 1) / pace if forward > 0 else 0)
        for top, bottom in bands(height, width):
            here = ahead[top:bottom].copy()
            ahead[top:bottom] += momentum * (here - last[top:bottom])
            last[top:bottom] = here
    return moved

"""What holds a result to its input: the share of it, back-projection, and a mask."""

import numpy as np

from ccsr.method.backprojection import back_projected
from ccsr.method.processing import blend
from ccsr.options import UpscaleOptions


def bound(sr: np.ndarray, picture: np.ndarray, options: UpscaleOptions, mask: np.ndarray | None) -> np.ndarray:
    """A result (H, W, 3) held to its input as the options and the mask ask; `sr` is used up."""
    blend(sr, picture, options.blend)
    # After the colours, which would undo it, and before the mask, under which the input stays as it is.
    sr = back_projected(sr, picture, options.consistency)
    if mask is not None:
        blend(sr, picture, mask)
    return sr


def stretching(mask: np.ndarray, picture: np.ndarray) -> list[str]:
    """A warning where a mask is of another shape than its picture by more than rounding."""
    (tall, wide), (height, width) = mask.shape, picture.shape[:2]
    if abs(wide * height - width * tall) <= max(width, height, wide, tall):
        return []
    return [f"the mask, {wide}x{tall}, has another shape than the picture and was stretched over it"]

"""What people hand in as a picture, as arrays: paths, PIL pictures, arrays and tensors."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

from ccsr import images
from ccsr.errors import ImageError

_LARGEST = {np.dtype(np.uint8): 255, np.dtype(np.uint16): 65535}
"""The value that stands for 1, by the type of the numbers."""


def as_arrays(item: Any) -> Sequence[np.ndarray]:
    """Any accepted picture as float32 arrays (H, W, 3) in 0..1; a tensor batch gives several.

    Raises:
        ImageError: it is no picture.
    """
    if isinstance(item, str | Path):
        return [images.load(Path(item)).rgb]
    if isinstance(item, Image.Image):
        return [np.asarray(item.convert("RGB"), np.float32) / 255]
    if isinstance(item, Tensor):
        batch = item if item.ndim == 4 else item[None]
        return [_checked(p.permute(1, 2, 0).float().cpu().numpy()) for p in batch]
    if isinstance(item, np.ndarray):
        return [_checked(item.astype(np.float32) / _LARGEST.get(item.dtype, 1))]
    raise ImageError(f"{type(item).__name__} is not a picture", hint="give a path, a PIL picture, an array or a tensor")


def _checked(array: np.ndarray) -> np.ndarray:
    """`array` if it is a picture, (H, W, 3) in 0..1."""
    if array.ndim != 3 or array.shape[2] != 3 or 0 in array.shape:
        raise ImageError(f"an array of shape {array.shape} is not a picture", hint="(height, width, 3) is needed")
    if not np.isfinite(array).all() or array.min() < 0 or array.max() > 1:
        raise ImageError("values outside 0..1", hint="floats go from 0 to 1; give uint8 or uint16 otherwise")
    return array

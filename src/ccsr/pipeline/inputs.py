"""What people hand in as a picture: paths, PIL pictures, arrays and tensors."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ccsr import images
from ccsr.errors import ImageError
from ccsr.images import Picture

_LARGEST = {np.dtype(np.uint8): 255, np.dtype(np.uint16): 65535}
"""The value that stands for 1, by the type of the numbers."""


def as_pictures(item: Any) -> Sequence[Picture]:
    """Any accepted picture, with alpha where it has some; a tensor batch gives several.

    Raises:
        ImageError: it is no picture.
    """
    if isinstance(item, str | Path):
        return [images.load(Path(item))]
    if isinstance(item, Image.Image):
        return [images.from_pillow(item)]
    if isinstance(item, Tensor):
        batch = (item if item.ndim == 4 else item[None]).detach().cpu()
        if batch.ndim != 4 or batch.shape[1] not in (3, 4):
            raise ImageError(f"a tensor of shape {tuple(item.shape)} is not a picture",
                             hint="(batch, 3 or 4 channels, height, width) is needed")  # fmt: skip
        batch = batch if batch.dtype == torch.uint8 else batch.float()
        return [_of_array(p.permute(1, 2, 0).numpy()) for p in batch]
    if isinstance(item, np.ndarray):
        return [_of_array(item)]
    raise ImageError(f"{type(item).__name__} is not a picture", hint="give a path, a PIL picture, an array or a tensor")


def _of_array(given: np.ndarray) -> Picture:
    """(H, W, 3) or, with alpha, (H, W, 4), in 0..1 or up to the type's largest number."""
    if given.ndim != 3 or given.shape[2] not in (3, 4) or 0 in given.shape:
        raise ImageError(f"an array of shape {given.shape} is not a picture",
                         hint="(height, width, 3) is needed, or 4 with alpha")  # fmt: skip
    array = given.astype(np.float32) / _LARGEST.get(given.dtype, 1)
    if not np.isfinite(array).all() or array.min() < 0 or array.max() > 1:
        raise ImageError("values outside 0..1", hint="floats go from 0 to 1; give uint8 or uint16 otherwise")
    return images.of_channels(array)

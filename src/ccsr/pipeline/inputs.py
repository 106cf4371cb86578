"""What people hand in as a picture or a mask: paths, PIL pictures, arrays and tensors."""

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
from ccsr.images.buffers import bands, zeros

_LARGEST = {np.dtype(np.bool_): 1, np.dtype(np.uint8): 255, np.dtype(np.uint16): 65535}
"""The value that stands for 1, by the type of whole numbers."""
_CHANNELS = (1, 3, 4)
_KINDS = "give a path, a PIL picture, an array or a tensor"
_ROUNDING = 1e-3
"""How far a float may lie outside 0..1: what is left of resizing or of another number format."""


def as_pictures(item: Any) -> Sequence[Picture]:
    """Any accepted picture, with alpha where it has some; a batch gives several.

    Raises:
        ImageError: it is no picture.
    """
    if isinstance(item, str | Path):
        return [images.load(Path(item))]
    if isinstance(item, Image.Image):
        return [images.from_pillow(item)]
    if isinstance(item, Tensor):
        return [_of_array(array) for array in _arrays_of(item)]
    if isinstance(item, np.ma.MaskedArray):
        raise ImageError("a masked array is not a picture", hint="its filled() is, and mask= takes a mask")
    if isinstance(item, np.ndarray):
        return [_of_array(array) for array in (item if item.ndim == 4 else [item])]
    raise ImageError(f"{type(item).__name__} is not a picture", hint=_KINDS)


def as_mask(item: Any) -> np.ndarray:
    """Any accepted picture as a mask: float32 (h, w), from 0 where it is black to 1. Transparency is laid over white.

    Raises:
        ImageError: it is no picture, or several.
    """
    pictures = as_pictures(item)
    if len(pictures) != 1:
        raise ImageError(f"{len(pictures)} masks", hint="one mask is laid over every picture")
    rgb, alpha = pictures[0].rgb, pictures[0].alpha
    height, width = rgb.shape[:2]
    mask = zeros((height, width))
    for top, bottom in bands(height, width):
        grey = rgb[top:bottom].mean(axis=2)
        mask[top:bottom] = grey if alpha is None else 1 - alpha[top:bottom] * (1 - grey)
    return mask


def _arrays_of(given: Tensor) -> Sequence[np.ndarray]:
    """(B, C, H, W), (C, H, W) or (H, W) as arrays with channels last."""
    if given.layout != torch.strided or given.is_quantized or given.device.type == "meta":
        raise ImageError("a sparse, quantized or meta tensor is not a picture", hint="give a plain one")
    shape = tuple(given.shape)
    channels = 1 if given.ndim == 2 else shape[-3] if given.ndim in (3, 4) else 0
    if channels not in _CHANNELS or 0 in shape:
        is_last = given.ndim in (3, 4) and shape[-1] in _CHANNELS
        order = "(0, 3, 1, 2)" if given.ndim == 4 else "(2, 0, 1)"
        hint = f"channels come first: .permute{order}" if is_last else "(batch, 1, 3 or 4 channels, height, width)"
        raise ImageError(f"a tensor of shape {shape} is not a picture", hint=hint)
    batch = given.detach().cpu().resolve_conj().reshape(-1, channels, *shape[-2:]).permute(0, 2, 3, 1)
    # NumPy has no bfloat16.
    return list((batch.float() if batch.is_floating_point() else batch).numpy())


def _of_array(given: np.ndarray) -> Picture:
    """(H, W) or (H, W, 1) for grey, (H, W, 3) or, with alpha, (H, W, 4), in 0..1 or up to the type's largest number."""
    channels = given.shape[2] if given.ndim == 3 else 1
    if given.ndim not in (2, 3) or channels not in _CHANNELS or 0 in given.shape:
        is_first = given.ndim == 3 and given.shape[0] in _CHANNELS
        hint = "channels come last: .transpose(1, 2, 0)" if is_first else "(height, width), or with 3 or 4 channels"
        raise ImageError(f"an array of shape {given.shape} is not a picture", hint=hint)
    if given.dtype not in _LARGEST and not np.issubdtype(given.dtype, np.floating):
        raise ImageError(f"{given.dtype} does not say which number is white",
                         hint="give uint8, uint16 or floats from 0 to 1")  # fmt: skip
    array = given.astype(np.float32) / _LARGEST.get(given.dtype, 1)
    low, high = array.min(), array.max()
    # In these words NaN, too, is outside.
    if not (low >= -_ROUNDING and high <= 1 + _ROUNDING):
        centred = low >= -1 - _ROUNDING and high <= 1 + _ROUNDING
        raise ImageError(f"values from {low:.4g} to {high:.4g}, outside 0..1",
                         hint="x / 2 + 0.5 takes -1..1 there" if centred
                         else "floats go from 0 to 1; give uint8 or uint16 otherwise")  # fmt: skip
    array = array.clip(0, 1).reshape(*given.shape[:2], channels)
    picture = images.of_channels(array.repeat(3, axis=2) if channels == 1 else array)
    picture.gray = channels == 1
    return picture

"""Sizes: the one bicubic filter, padding to what the networks take, and the published program's resizes.

Pictures are arrays (H, W, C), float32 in 0..1 unless said otherwise. The filter is Pillow's cubic (a = -0.5),
antialiased when shrinking: torch's without antialias differs by four grey levels on noise.
"""

from math import ceil, floor

import numpy as np
from PIL import Image


def enlarge(picture: np.ndarray, width: int, height: int) -> np.ndarray:
    """`picture` at another size, float32, clipped to 0..1; (H, W) pictures stay (H, W)."""
    if picture.shape[:2] == (height, width):
        return picture.astype(np.float32, copy=False)
    planes = picture[..., None] if picture.ndim == 2 else picture
    out = np.stack(
        [
            np.asarray(Image.fromarray(np.ascontiguousarray(planes[..., c], np.float32)).resize((width, height), 3))
            for c in range(planes.shape[2])
        ],
        axis=-1,
    ).clip(0, 1)
    return out[..., 0] if picture.ndim == 2 else out


def enlarge_8bit(picture: np.ndarray, width: int, height: int, *, lanczos: bool = False) -> np.ndarray:
    """The same on uint8 (H, W, 3), rounded to 8 bit as the published programs' resizes are (ccsr-spec 1.3, 4.6)."""
    kind = Image.Resampling.LANCZOS if lanczos else Image.Resampling.BICUBIC
    return np.asarray(Image.fromarray(picture).resize((width, height), kind))


def pad_to_multiple(picture: np.ndarray, multiple: int) -> np.ndarray:
    """`picture` grown at the bottom and right by repeated reflection until both sides are multiples."""
    grow = [(0, -side % multiple) for side in picture.shape[:2]] + [(0, 0)]
    if not any(after for _, after in grow):
        return picture
    # A side of one pixel has nothing to reflect: it is repeated.
    for axis in (0, 1):
        mode = "reflect" if picture.shape[axis] > 1 else "edge"
        only = [g if a == axis else (0, 0) for a, g in enumerate(grow)]
        picture = np.pad(picture, only, mode=mode)  # type: ignore[call-overload]
    return picture


def size_with_minimum(width: int, height: int, minimum: int) -> tuple[int, int]:
    """(width, height) enlarged in proportion until the shorter side is at least `minimum`."""
    factor = minimum / min(width, height)
    if factor <= 1:
        return width, height
    return max(minimum, round(width * factor)), max(minimum, round(height * factor))


def published_resizes(picture: np.ndarray, scale: int, minimum: int) -> np.ndarray:
    """Network input of the published program, uint8: minimum size, times scale, stretched to multiples of 8.

    Source: ccsr-spec 1.3, steps 2 to 4; every step rounds to 8 bit.
    """
    height, width = picture.shape[:2]
    smallest = minimum // scale
    if min(width, height) < smallest:
        factor = smallest / min(width, height)
        picture = enlarge_8bit(picture, round(factor * width), round(factor * height))
        height, width = picture.shape[:2]
    picture = enlarge_8bit(picture, width * scale, height * scale)
    return enlarge_8bit(picture, floor(width * scale / 8) * 8, floor(height * scale / 8) * 8)


def first_version_resizes(picture: np.ndarray, width: int, height: int, minimum: int) -> np.ndarray:
    """Network input of the first published program, uint8: output size, minimum, Lanczos to multiples of 64.

    Source: ccsr-spec 4.6, the plain program.
    """
    picture = enlarge_8bit(picture, width, height)
    if (factor := minimum / min(width, height)) > 1:
        width, height = ceil(width * factor), ceil(height * factor)
        picture = enlarge_8bit(picture, width, height)
    return enlarge_8bit(picture, max(64, width // 64 * 64), max(64, height // 64 * 64), lanczos=True)

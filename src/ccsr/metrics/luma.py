"""What the metrics see of a picture: 8 bit levels, a cut border, and the two kinds of brightness in use."""

import numpy as np

from ccsr.errors import ImageError


def as_levels(picture: np.ndarray) -> np.ndarray:
    """`picture`, (H, W, 3) of uint8 or float in 0..1, as uint8: results are scored as they would be saved.

    Raises:
        ImageError: another shape or kind of number.
    """
    if picture.ndim != 3 or picture.shape[2] != 3 or 0 in picture.shape:
        raise ImageError(f"an array of shape {picture.shape} cannot be scored", hint="(height, width, 3) is needed")
    if picture.dtype == np.uint8:
        return picture
    if not np.issubdtype(picture.dtype, np.floating):
        raise ImageError(f"an array of {picture.dtype} cannot be scored", hint="give uint8, or floats in 0..1")
    return np.clip(np.round(picture * 255), 0, 255).astype(np.uint8)


def without_border(picture: np.ndarray, border: int) -> np.ndarray:
    """`picture` (H, W, C) with `border` pixels cut from each side.

    Raises:
        ImageError: nothing would be left.
    """
    if min(picture.shape[:2]) <= 2 * border:
        raise ImageError(f"nothing is left of {picture.shape[1]}x{picture.shape[0]} without a border of {border}")
    return picture[border : picture.shape[0] - border, border : picture.shape[1] - border]


def studio_luma(levels: np.ndarray) -> np.ndarray:
    """Y of BT.601 in studio range 16..235, float64 (H, W), not rounded, of uint8 (H, W, 3).

    The Y of PSNR and SSIM in the papers (ccsr-spec 8: pyiqa with `color_space="ycbcr"`).
    """
    return 16 + levels @ np.array([65.481, 128.553, 24.966]) / 255


def full_luma(levels: np.ndarray) -> np.ndarray:
    """Y of YIQ in 0..1, float32 (H, W), of uint8 (H, W, 3), summed in float32 as pyiqa does it for NIQE."""
    r, g, b = np.moveaxis(levels.astype(np.float32) / np.float32(255), -1, 0)
    return np.float32(0.299) * r + np.float32(0.587) * g + np.float32(0.114) * b


def chroma(levels: np.ndarray) -> np.ndarray:
    """Cb and Cr of BT.601 in studio range (112 levels to each side of 128), float64 (H, W, 2), of uint8 (H, W, 3)."""
    matrix = np.array([[-37.797, -74.203, 112.0], [112.0, -93.786, -18.214]])
    return 128 + levels @ matrix.T / 255

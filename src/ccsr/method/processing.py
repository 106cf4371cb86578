"""From a picture to the networks' input, and from their output to the result's size and colours."""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from ccsr.errors import ModelOutputError, OptionError
from ccsr.images import resample
from ccsr.images.buffers import bands, zeros
from ccsr.method.color import REACH, Rows, fixed_bands
from ccsr.method.compat import Compat


@dataclass
class Preprocessed:
    """The networks' input and how to get back from it."""

    lq_up: np.ndarray
    """float32 (H, W, 3) in 0..1; sides multiples of what the networks take."""
    width: int
    height: int
    """The part of `lq_up` that is picture; the rest is padding."""
    warnings: list[str] = field(default_factory=list)


def preprocess(
    picture: np.ndarray,
    width: int,
    height: int,
    work: tuple[int, int],
    minimum: int | None,
    compat: Compat,
    multiple: int,
) -> Preprocessed:
    """Enlarge to the size that is computed and pad to multiples; or resize as a published program does.

    `picture` is float (H, W, 3) in 0..1, the output (width, height), at `work` (width, height) in the networks;
    `minimum` is the shortest side to process.

    Raises:
        OptionError: a published program was asked for a scale that it does not have.
    """
    if compat.fit == "pad":
        lq_up = resample.padded(picture, *work, multiple)
        warning = f"processed at {work[0]}x{work[1]}, the model's minimum, and reduced"
        return Preprocessed(lq_up, *work, [warning] if minimum and min(width, height) < minimum else [])
    levels = (picture * 255).round().astype(np.uint8)
    if compat.fit == "eights":
        scale = width / picture.shape[1]
        if scale != int(scale) or height != picture.shape[0] * scale:
            raise OptionError("--compat v2 takes whole scales only", hint="choose --scale 2, 3 or 4")
        levels = resample.published_resizes(levels, int(scale), minimum or 8)
    else:
        levels = resample.first_version_resizes(levels, width, height, minimum or 64)
    return Preprocessed(levels.astype(np.float32) / 255, levels.shape[1], levels.shape[0])


def postprocess(
    decoded: Tensor,
    prepared: Preprocessed,
    color_fix: str,
    width: int,
    height: int,
    compat: Compat,
    spend: bool = False,
) -> np.ndarray:
    """Crop, fix colours against the networks' input, and bring to the output size: float32 (H, W, 3) in 0..1.

    `decoded` is (1, 3, H, W), nominally 0..1, not clamped. With `spend` the result may take the place of `prepared`'s
    picture.

    Raises:
        ModelOutputError: the picture is one flat colour though the input is not.
    """
    inner = (prepared.height, prepared.width)
    style = as_tensor(prepared.lq_up)

    def content_rows(top: int, bottom: int) -> Tensor:
        rows = decoded[..., top:bottom, : prepared.width].float().cpu()
        return (rows.clamp(0, 1) * 255).round() / 255 if compat.round_decoded else rows

    def style_rows(top: int, bottom: int) -> Tensor:
        return style[..., top:bottom, : prepared.width]

    if _spread(content_rows, *inner) == 0 and _spread(style_rows, *inner) > 0.1:
        raise ModelOutputError("the network returned one flat colour")
    fixed = fixed_bands(color_fix, content_rows, style_rows, *inner)
    if not compat.truncate:
        out = prepared.lq_up[: inner[0], : inner[1]] if spend else zeros((*inner, 3))
        for top, bottom, rows in _behind(fixed, REACH):
            out[top:bottom] = as_picture(rows.clamp(0, 1))
        return resample.enlarge(out, width, height)
    levels = zeros((*inner, 3), np.uint8)
    for top, bottom, rows in fixed:
        values = as_picture(rows.clamp(0, 1))
        # Without a fix there is nothing to truncate: the rounded picture is kept (ccsr-spec 9).
        levels[top:bottom] = (values * 255).round() if color_fix == "none" else np.floor(values * np.float32(255))
    if inner != (height, width):
        levels = resample.enlarge_8bit(levels, width, height, lanczos=compat.fit == "sixty_fours")
    out = zeros((height, width, 3))
    for top, bottom in bands(height, width):
        out[top:bottom] = levels[top:bottom].astype(np.float32) / 255
    return out


def blend(sr: np.ndarray, picture: np.ndarray, share: float | np.ndarray) -> None:
    """Leave `share` of `sr`, (H, W, 3), and take the rest from the enlarged `picture`; in place.

    `share` is 0..1: a number, or a mask of any size, (h, w) float32, that is laid over the picture.
    """
    height, width = sr.shape[:2]
    if isinstance(share, np.ndarray):
        shares = resample.enlarge(share, width, height)[..., None]
    elif share == 1:
        return
    else:
        shares = np.broadcast_to(np.float32(share), (height, 1, 1))
    for top, bottom, rows in resample.enlarged_bands(picture, width, height):
        kept = shares[top:bottom]
        sr[top:bottom] = kept * sr[top:bottom] + (1 - kept) * rows


def _behind(fixed: Iterable[tuple[int, int, Tensor]], reach: int) -> Iterable[tuple[int, int, Tensor]]:
    """The same bands, each as late as those after it may look back to its rows: they can be written over."""
    waiting: deque[tuple[int, int, Tensor]] = deque()
    for band in fixed:
        waiting.append(band)
        while waiting and waiting[0][1] <= band[1] - reach:
            yield waiting.popleft()
    yield from waiting


def _spread(rows: Rows, height: int, width: int) -> float:
    """Difference between the largest and the smallest value."""
    ends = [(float(band.min()), float(band.max())) for band in (rows(*piece) for piece in bands(height, width))]
    return max(high for _, high in ends) - min(low for low, _ in ends)


def as_tensor(picture: np.ndarray) -> Tensor:
    """(H, W, C) as (1, C, H, W)."""
    return torch.from_numpy(np.ascontiguousarray(picture)).permute(2, 0, 1)[None]


def as_picture(tensor: Tensor) -> np.ndarray:
    """(1, C, H, W) as (H, W, C)."""
    picture: np.ndarray = tensor[0].permute(1, 2, 0).numpy()
    return picture

"""From a picture to the networks' input, and from their output to the result's size and colours."""

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from ccsr import resample
from ccsr.color import FIXES
from ccsr.compat import Compat
from ccsr.errors import ModelOutputError, OptionError


@dataclass
class Prepared:
    """The networks' input and how to get back from it."""

    lq_up: np.ndarray
    """float32 (H, W, 3) in 0..1; sides multiples of what the networks take."""
    width: int
    height: int
    """The part of `lq_up` that is picture; the rest is padding."""
    warnings: list[str] = field(default_factory=list)


def prepare(
    picture: np.ndarray, width: int, height: int, minimum: int | None, compat: Compat, multiple: int
) -> Prepared:
    """Enlarge to the output size (or the minimum) and pad to multiples; or resize as a published program does.

    `picture` is float (H, W, 3) in 0..1, the output (width, height); `minimum` is the shortest side to process.

    Raises:
        OptionError: a published program was asked for a scale that it does not have.
    """
    if compat.fit == "pad":
        inner = resample.size_with_minimum(width, height, minimum) if minimum else (width, height)
        lq_up = resample.pad_to_multiple(resample.enlarge(picture, *inner), multiple)
        warning = f"processed at {inner[0]}x{inner[1]}, the model's minimum, and reduced"
        return Prepared(lq_up, *inner, [warning] if inner != (width, height) else [])
    levels = (picture * 255).round().astype(np.uint8)
    if compat.fit == "eights":
        scale = width / picture.shape[1]
        if scale != int(scale) or height != picture.shape[0] * scale:
            raise OptionError("--compat v2 takes whole scales only", hint="choose --scale 2, 3 or 4")
        levels = resample.published_resizes(levels, int(scale), minimum or 8)
    else:
        levels = resample.first_version_resizes(levels, width, height, minimum or 64)
    return Prepared(levels.astype(np.float32) / 255, levels.shape[1], levels.shape[0])


def finish(decoded: Tensor, prepared: Prepared, color_fix: str, width: int, height: int, compat: Compat) -> np.ndarray:
    """Crop, fix colours against the networks' input, and bring to the output size: float32 (H, W, 3) in 0..1.

    `decoded` is (1, 3, H, W), nominally 0..1, not clamped.

    Raises:
        ModelOutputError: the picture is one flat colour though the input is not.
    """
    sr = decoded[..., : prepared.height, : prepared.width].float().cpu()
    style = as_tensor(prepared.lq_up[: prepared.height, : prepared.width])
    if compat.round_decoded:
        sr = (sr.clamp(0, 1) * 255).round() / 255
    if sr.amax() == sr.amin() and style.amax() - style.amin() > 0.1:
        raise ModelOutputError("the network returned one flat colour")
    fixed = FIXES[color_fix](sr, style).clamp(0, 1)
    out: np.ndarray = fixed[0].permute(1, 2, 0).numpy()
    if not compat.truncate:
        return resample.enlarge(out, width, height)
    # Without a fix there is nothing to truncate: the rounded picture is kept (ccsr-spec 9).
    levels = (out * 255).round() if color_fix == "none" else np.floor(out * np.float32(255))
    lanczos = compat.fit == "sixty_fours"
    resized = resample.enlarge_8bit(levels.astype(np.uint8), width, height, lanczos=lanczos)
    return resized.astype(np.float32) / 255


def as_tensor(picture: np.ndarray) -> Tensor:
    """(H, W, C) as (1, C, H, W)."""
    return torch.from_numpy(np.ascontiguousarray(picture)).permute(2, 0, 1)[None]

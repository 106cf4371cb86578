"""What comes out: results with what is known of them, in the form that was asked for."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from PIL import Image

from ccsr import images
from ccsr.images import Picture
from ccsr.images.resample import enlarge
from ccsr.metrics.consistency import Consistency
from ccsr.plan import Plan

OUTPUT_TYPES = ("pil", "np", "pt")


@dataclass
class Upscaled:
    """One result of one picture."""

    sr: np.ndarray
    """float32 (H, W, 3) in 0..1."""
    timesteps: tuple[int, ...]
    seconds: dict[str, float]
    warnings: list[str] = field(default_factory=list)
    intermediates: list[np.ndarray] = field(default_factory=list)
    """The decoded estimate of each evaluation, as `sr`; filled when the option asks for it."""
    plan: Plan | None = None
    """What it was computed by: not the plan that was given where that one failed."""
    consistency: Consistency | None = None
    """How true `sr` is to its input."""


@dataclass
class CCSROutput:
    """What `CCSRPipeline.__call__` returns."""

    images: list[Any]
    """Results in input order, the samples of one picture together: PIL, arrays (H, W, 3) or tensors (3, H, W), 0..1;
    four channels where the input has alpha."""
    timesteps: tuple[int, ...]
    """Indices 0..999 that were evaluated."""
    warnings: list[str]
    consistency: list[Consistency | None] = field(default_factory=list)
    """How true each result is to its input: `psnr` in dB and `largest`, the largest difference of 255, after reducing
    it to the input's size."""
    stability_maps: list[np.ndarray] = field(default_factory=list)
    """For each picture with several samples: their standard deviation at each pixel, (H, W), 0 to 0.5."""

    @property
    def stability_map(self) -> np.ndarray | None:
        """The map of the only (or first) picture; None where there was one sample."""
        return self.stability_maps[0] if self.stability_maps else None


def as_output(sr: np.ndarray, source: Picture, output_type: str, dpi: float | None = None) -> Any:
    """float32 (H, W, 3) in 0..1 as a PIL picture of 8 bit, as an array, or as a tensor with channels first.

    Args:
        sr: the result.
        source: what it was made of: its alpha is enlarged and becomes the fourth channel, its profile goes along.
        output_type: one of `OUTPUT_TYPES`.
        dpi: dots per inch that a PIL picture shall say, in `info["dpi"]`.
    """
    if source.alpha is not None:
        alpha = enlarge(source.alpha, sr.shape[1], sr.shape[0])
        sr = np.concatenate([sr, alpha[..., None]], axis=2)
    if output_type == "pil":
        picture = Image.fromarray(images.to_uint8(sr))
        if source.icc and not source.gray:
            picture.info["icc_profile"] = source.icc  # Pillow writes it into files
        if dpi:
            picture.info["dpi"] = (dpi, dpi)
        return picture
    return sr if output_type == "np" else torch.from_numpy(np.ascontiguousarray(sr.transpose(2, 0, 1)))

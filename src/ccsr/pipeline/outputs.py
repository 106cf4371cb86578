"""What comes out: results with what is known of them, in the form that was asked for."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from PIL import Image

from ccsr import images
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


@dataclass
class CCSROutput:
    """What `CCSRPipeline.__call__` returns."""

    images: list[Any]
    """Results in input order, the samples of one picture together: PIL, arrays (H, W, 3) or tensors (3, H, W), 0..1."""
    timesteps: tuple[int, ...]
    """Indices 0..999 that were evaluated."""
    warnings: list[str]
    stability_maps: list[np.ndarray] = field(default_factory=list)
    """For each picture with several samples: their standard deviation at each pixel, (H, W), 0 to 0.5."""

    @property
    def stability_map(self) -> np.ndarray | None:
        """The map of the only (or first) picture; None where there was one sample."""
        return self.stability_maps[0] if self.stability_maps else None


def as_output(sr: np.ndarray, output_type: str) -> Any:
    """float32 (H, W, 3) in 0..1 as a PIL picture of 8 bit, as it is, or as a tensor (3, H, W)."""
    if output_type == "pil":
        return Image.fromarray(images.to_uint8(sr))
    return sr if output_type == "np" else torch.from_numpy(np.ascontiguousarray(sr.transpose(2, 0, 1)))

"""Degradations of one step: the bicubic one of papers, and a light one for pictures that are not bad."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate


@dataclass(frozen=True)
class BicubicDegradation:
    """A `factor`-th of the side by Pillow's bicubic filter, rounded to 8 bit; nothing is drawn.

    Shapes as in `RealESRGANDegradation`.
    """

    factor: int = 4

    def __call__(self, gt: Tensor, rng: np.random.Generator | Sequence[np.random.Generator] | None = None) -> Tensor:
        """Degrade one picture, (3, h, w) in 0..1, or a batch."""
        return _eight_bit(_smaller(gt, self.factor, "bicubic"))


@dataclass(frozen=True)
class LightDegradation:
    """A `factor`-th of the side by a filter that keeps most detail, and a little noise: like a clean photograph.

    People also enlarge pictures that are not bad; a model that has seen none repairs what is whole. Shapes as in
    `RealESRGANDegradation`.
    """

    factor: int = 4
    noise: tuple[float, float] = (0.0, 3.0)
    """Range of the noise's standard deviation in grey levels of 255."""

    def __call__(self, gt: Tensor, rng: np.random.Generator | Sequence[np.random.Generator]) -> Tensor:
        """Degrade one picture, (3, h, w) in 0..1, or a batch with a generator for each row."""
        if not isinstance(rng, np.random.Generator):
            return torch.stack([self(x, r) for x, r in zip(gt, rng, strict=True)])
        lq = _smaller(gt, self.factor, ("area", "bilinear", "bicubic")[rng.integers(3)])
        noise = float(rng.uniform(*self.noise)) / 255 * rng.standard_normal(lq.shape, dtype=np.float32)
        return _eight_bit(lq + torch.from_numpy(noise).to(lq.device))


def _smaller(gt: Tensor, factor: int, mode: str) -> Tensor:
    batch = gt if gt.ndim == 4 else gt[None]
    # antialias selects Pillow's filters; without it torch would skip pixels.
    how = {} if mode == "area" else {"antialias": True}
    lq = interpolate(batch, (gt.shape[-2] // factor, gt.shape[-1] // factor), mode=mode, **how)
    return lq if gt.ndim == 4 else lq[0]


def _eight_bit(x: Tensor) -> Tensor:
    return (x.clamp(0, 1) * 255).round() / 255

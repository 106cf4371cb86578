"""Degradations of one step: the bicubic one of papers, a light one for pictures that are not bad, and a camera's."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from ccsr.degradation import kernels
from ccsr.degradation.operators import filtered, one_thread, through_jpeg


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


@dataclass(frozen=True)
class Camera:
    """How strong a camera's faults are."""

    blur: tuple[float, float] = (0.3, 2.0)
    """Range of the blur's two standard deviations in pixels of the good picture."""
    noise: float = 25.0
    """Largest standard deviation of the noise in grey levels of 255; an eighth of the pictures get more than half."""
    sharpening: float = 0.5
    """Largest strength of the unsharp mask that half of the pictures get."""
    jpeg: tuple[int, int] = (70, 98)


CAMERA = Camera()


@dataclass(frozen=True)
class CameraDegradation:
    """What a lens, a sensor and a camera's program do to a photograph, without the accidents of the internet.

    A blur that is wider than the filter of a reduction, at times uneven; sensor noise, mostly little and at times a
    lot, half of it smoothed as cameras do; the camera's own sharpening, which leaves halos; a good JPEG for half.
    Shapes as in `RealESRGANDegradation`.
    """

    factor: int = 4
    camera: Camera = CAMERA

    def __call__(self, gt: Tensor, rng: np.random.Generator | Sequence[np.random.Generator]) -> Tensor:
        """Degrade one picture, (3, h, w) in 0..1, or a batch with a generator for each row."""
        if not isinstance(rng, np.random.Generator):
            return torch.stack([self(x, r) for x, r in zip(gt, rng, strict=True)])
        with torch.no_grad(), one_thread(gt.device):
            return self._degrade(gt, rng)

    def _degrade(self, gt: Tensor, rng: np.random.Generator) -> Tensor:
        camera = self.camera
        first = rng.uniform(*camera.blur)
        second = first if rng.random() < 0.5 else float(np.clip(first * rng.uniform(0.6, 1.6), *camera.blur))
        x = filtered(gt[None], kernels.blur(kernels.SIZE, "aniso", first, second, rng.uniform(0, math.pi), 1.0))
        x = _smaller(x, self.factor, ("area", "bilinear", "bicubic")[rng.integers(3)])
        grain = _grain(x, rng, smoothed_share=0.5, widest=1.0)
        x = x + float(camera.noise / 255 * rng.random() ** 3) * grain
        if rng.random() < 0.5:
            soft = filtered(x, kernels.blur(7, "iso", 1.0, 1.0, 0.0, 1.0))
            x = x + float(rng.uniform(0, camera.sharpening)) * (x - soft)
        if rng.random() < 0.5:
            x = through_jpeg(x, int(rng.integers(camera.jpeg[0], camera.jpeg[1] + 1)))
        return _eight_bit(x[0])


@dataclass(frozen=True)
class StrongDegradation:
    """Strong noise and a poor JPEG, with hardly a blur: night pictures, scans, what went through many hands.

    Shapes as in `RealESRGANDegradation`.
    """

    factor: int = 4
    noise: tuple[float, float] = (8.0, 45.0)
    """Range of the noise's standard deviation in grey levels of 255."""
    jpeg: tuple[int, int] = (25, 80)
    """Range of the quality that three quarters of the pictures get."""

    def __call__(self, gt: Tensor, rng: np.random.Generator | Sequence[np.random.Generator]) -> Tensor:
        """Degrade one picture, (3, h, w) in 0..1, or a batch with a generator for each row."""
        if not isinstance(rng, np.random.Generator):
            return torch.stack([self(x, r) for x, r in zip(gt, rng, strict=True)])
        with torch.no_grad(), one_thread(gt.device):
            x = _smaller(gt, self.factor, ("area", "bilinear", "bicubic")[rng.integers(3)])[None]
            grain = _grain(x, rng, smoothed_share=0.4, widest=1.2)
            x = x + float(rng.uniform(*self.noise)) / 255 * grain
            if rng.random() < 0.75:
                x = through_jpeg(x, int(rng.integers(self.jpeg[0], self.jpeg[1] + 1)))
            return _eight_bit(x[0])


def _grain(x: Tensor, rng: np.random.Generator, smoothed_share: float, widest: float) -> Tensor:
    """Standard normal noise of the shape of `x`, (1, 3, h, w): at times of brightness alone, at times smoothed by a
    blur of up to `widest` pixels, as cameras do, which makes it weaker."""
    noise = rng.standard_normal(x.shape, dtype=np.float32)
    if rng.random() < 0.4:
        noise[:] = noise[:, :1]
    grain = torch.from_numpy(noise).to(x.device)
    if rng.random() < smoothed_share:
        width = rng.uniform(0.4, widest)
        grain = filtered(grain, kernels.blur(7, "iso", width, width, 0.0, 1.0))
    return grain


def _smaller(gt: Tensor, factor: int, mode: str) -> Tensor:
    if factor == 1:
        return gt
    batch = gt if gt.ndim == 4 else gt[None]
    # antialias selects Pillow's filters; without it torch would skip pixels.
    how = {} if mode == "area" else {"antialias": True}
    lq = interpolate(batch, (gt.shape[-2] // factor, gt.shape[-1] // factor), mode=mode, **how)
    return lq if gt.ndim == 4 else lq[0]


def _eight_bit(x: Tensor) -> Tensor:
    return (x.clamp(0, 1) * 255).round() / 255

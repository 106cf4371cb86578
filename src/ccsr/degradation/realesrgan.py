"""The second-order degradation of Real-ESRGAN with the parameters of the published training (ccsr-spec 7)."""

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from ccsr.degradation import kernels
from ccsr.degradation.operators import filtered, one_thread, through_jpeg

KINDS = ("iso", "aniso", "generalized_iso", "generalized_aniso", "plateau_iso", "plateau_aniso")
KIND_SHARES = (0.45, 0.25, 0.12, 0.03, 0.12, 0.03)
MODES = ("area", "bilinear", "bicubic")
LUMA = torch.tensor([0.2989, 0.587, 0.114]).view(1, 3, 1, 1)


@dataclass(frozen=True)
class DegradationRound:
    """Ranges of one of the two rounds."""

    blur_share: float
    sigma: tuple[float, float]
    plateau_beta: tuple[float, float]
    resize_shares: tuple[float, float, float]
    """Enlarge, reduce, keep."""
    resize: tuple[float, float]
    gaussian: tuple[float, float]
    """Standard deviation in grey levels of 255."""
    poisson: tuple[float, float]
    jpeg: tuple[int, int]
    sinc_share: float = 0.1
    generalized_beta: tuple[float, float] = (0.5, 2.0)
    gaussian_share: float = 0.5
    grey_share: float = 0.4


PUBLISHED = (
    DegradationRound(1.0, (0.2, 1.5), (1.0, 1.5), (0.2, 0.7, 0.1), (0.3, 1.5), (1.0, 15.0), (0.05, 2.0), (60, 95)),
    DegradationRound(0.5, (0.2, 1.0), (1.0, 1.5), (0.3, 0.4, 0.3), (0.6, 1.2), (1.0, 12.0), (0.05, 1.0), (60, 100)),
)
FINAL_SINC_SHARE = 0.8


@dataclass(frozen=True)
class RealESRGANDegradation:
    """Blur, resize, noise and JPEG, twice, down to a `factor`-th of the side.

    `degradation(gt, rng)` takes one picture, (3, h, w), or a batch, (B, 3, h, w) with one generator for each row, on
    any device; float in 0..1, sides multiples of `factor`. The result is (..., h / factor, w / factor) in 0..1, rounded
    to 8 bit. All draws of a picture come from its own generator, and on the CPU everything runs in one thread: the bits
    of a sample are the same alone, in any batch, and in any worker.

    Differs from v2: the result is rounded at its own size and returned there, since a user's picture is 8 bit too and
    is enlarged by one bicubic filter, not by three; JPEG is the real codec, which rounds its planes and takes whole
    qualities; resizes cover the whole picture, where the published ones leave out what rounding the sides cuts off and
    so shift the lower right by up to half a pixel of the result.
    """

    factor: int = 4
    stages: tuple[DegradationRound, DegradationRound] = PUBLISHED

    def __call__(self, gt: Tensor, rng: np.random.Generator | Sequence[np.random.Generator]) -> Tensor:
        """Degrade one picture with one generator, or a batch with as many."""
        with torch.no_grad(), one_thread(gt.device):
            if isinstance(rng, np.random.Generator):
                return self._degrade(gt[None], [rng])[0]
            return self._degrade(gt, rng)

    def _degrade(self, gt: Tensor, rngs: Sequence[np.random.Generator]) -> Tensor:
        if len(gt) != len(rngs):
            raise ValueError(f"{len(gt)} pictures and {len(rngs)} generators")
        first, second = self.stages
        height, width = gt.shape[-2] // self.factor, gt.shape[-1] // self.factor
        xs = _filter_each(list(torch.split(gt, 1)), [_draw_kernel(first, rng) for rng in rngs])
        for i, rng in enumerate(rngs):
            x = _resize(xs[i], _draw_scale(first, rng), rng, *xs[i].shape[-2:])
            xs[i] = through_jpeg(_add_noise(x, first, rng), _draw_quality(first, rng))
        xs = _filter_each(xs, [_draw_kernel(second, r) if r.random() < second.blur_share else None for r in rngs])
        finals: list[np.ndarray | None] = []
        for i, rng in enumerate(rngs):
            x = _resize(xs[i], _draw_scale(second, rng), rng, height, width)
            x = _add_noise(x, second, rng)
            quality, final = _draw_quality(second, rng), _draw_final(rng)
            jpeg_last = rng.random() < 0.5
            xs[i] = _to(x if jpeg_last else through_jpeg(x, quality), height, width, _draw_mode(rng))
            if jpeg_last:
                xs[i] = through_jpeg(filtered(xs[i], final), quality)
            finals.append(None if jpeg_last else final)
        return (torch.cat(_filter_each(xs, finals)).clamp(0, 1) * 255).round() / 255


def _draw_kernel(stage: DegradationRound, rng: np.random.Generator) -> np.ndarray:
    size = int(rng.choice(np.arange(7, 22, 2)))
    if rng.random() < stage.sinc_share:
        cutoff = rng.uniform(math.pi / 3 if size < 13 else math.pi / 5, math.pi)
        return kernels.padded(kernels.sinc(size, cutoff))
    kind = str(rng.choice(KINDS, p=KIND_SHARES))
    sigma_x, sigma_y = rng.uniform(*stage.sigma, size=2)
    low, high = stage.plateau_beta if kind.startswith("plateau") else stage.generalized_beta
    beta = rng.uniform(low, 1) if rng.random() < 0.5 else rng.uniform(1, high)
    return kernels.padded(kernels.blur(size, kind, sigma_x, sigma_y, rng.uniform(-math.pi, math.pi), beta))


def _draw_final(rng: np.random.Generator) -> np.ndarray | None:
    if rng.random() >= FINAL_SINC_SHARE:
        return None
    return kernels.padded(kernels.sinc(int(rng.choice(np.arange(7, 22, 2))), rng.uniform(math.pi / 3, math.pi)))


def _draw_scale(stage: DegradationRound, rng: np.random.Generator) -> float:
    low, high = stage.resize
    match rng.choice(3, p=stage.resize_shares):
        case 0:
            return float(rng.uniform(1, high))
        case 1:
            return float(rng.uniform(low, 1))
        case _:
            return 1.0


def _draw_mode(rng: np.random.Generator) -> str:
    return str(rng.choice(MODES))


def _draw_quality(stage: DegradationRound, rng: np.random.Generator) -> int:
    return int(rng.integers(stage.jpeg[0], stage.jpeg[1] + 1))


def _filter_each(xs: Sequence[Tensor], weights: Sequence[np.ndarray | None]) -> list[Tensor]:
    """Each (1, 3, h, w) with its own kernel; those of one size together."""
    out = list(xs)
    alike: dict[torch.Size, list[int]] = defaultdict(list)
    for i, weight in enumerate(weights):
        if weight is not None:
            alike[xs[i].shape].append(i)
    for rows in alike.values():
        kernel = np.stack([weight for i in rows if (weight := weights[i]) is not None])
        blurred = filtered(torch.cat([xs[i] for i in rows]), kernel[:, None])
        for i, x in zip(rows, torch.split(blurred, 1), strict=True):
            out[i] = x
    return out


def _resize(x: Tensor, scale: float, rng: np.random.Generator, height: int, width: int) -> Tensor:
    return _to(x, max(1, int(height * scale)), max(1, int(width * scale)), _draw_mode(rng))


def _to(x: Tensor, height: int, width: int, mode: str) -> Tensor:
    if x.shape[-2:] == (height, width):
        return x
    return interpolate(x, (height, width), mode=mode, **({} if mode == "area" else {"align_corners": False}))


def _add_noise(x: Tensor, stage: DegradationRound, rng: np.random.Generator) -> Tensor:
    """(1, 3, h, w) with Gaussian or Poisson noise, of each channel or grey, clamped to 0..1."""
    gaussian, grey = rng.random() < stage.gaussian_share, rng.random() < stage.grey_share
    if gaussian:
        shape = (1, 1 if grey else 3, *x.shape[-2:])
        noise = torch.from_numpy(rng.standard_normal(shape, dtype=np.float32)) * (rng.uniform(*stage.gaussian) / 255)
    else:
        base = x.cpu().clamp(0, 1)
        base = ((base * LUMA).sum(1, keepdim=True) if grey else base).clamp(0, 1)
        base = (base * 255).round() / 255
        values = 2.0 ** math.ceil(math.log2(max(2, len(torch.unique(base)))))
        drawn = torch.from_numpy(rng.poisson((base * values).numpy()).astype(np.float32)) / values
        noise = (drawn - base) * rng.uniform(*stage.poisson)
    return (x + noise.to(x.device)).clamp(0, 1)

"""Pairs of a good crop and its degraded self, made while the network trains."""

from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from ccsr.data.pictures import random_crops
from ccsr.degradation import RealESRGANDegradation

Degrade = Callable[[Tensor, np.random.Generator], Tensor]


def light_degradation(gt: Tensor, rng: np.random.Generator) -> Tensor:
    """A quarter of the side by a filter that keeps most detail, a little noise: what a clean photograph looks like."""
    mode, antialias = (("area", False), ("bilinear", True), ("bicubic", True))[rng.integers(3)]
    lq = interpolate(gt[None], scale_factor=0.25, mode=mode, **({"antialias": True} if antialias else {}))[0]
    lq = lq + float(rng.uniform(0, 3)) / 255 * torch.from_numpy(rng.standard_normal(lq.shape, dtype=np.float32))
    return (lq.clamp(0, 1) * 255).round() / 255


@dataclass(frozen=True)
class PairConfig:
    """How training pairs are cut and degraded."""

    crop: int = 128
    batch: int = 12
    region: int = 256
    """Side that is degraded at once; several crops are cut from each."""
    per_region: int = 3
    light_share: float = 0.35
    """Share of regions that get the light degradation: people also enlarge pictures that are not bad."""


def enlarge(lq: Tensor, factor: int = 4) -> Tensor:
    """Bicubic enlargement of (B, 3, h, w), the filter that inference uses, clamped to 0..1."""
    size = (lq.shape[-2] * factor, lq.shape[-1] * factor)
    # antialias selects Pillow's cubic (a = -0.5); without it torch uses another one.
    return interpolate(lq, size, mode="bicubic", antialias=True).clamp(0, 1)


def draw_pairs(pictures: np.ndarray, config: PairConfig, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """A batch: gt (B, 3, crop, crop) and lq (B, 3, crop / 4, crop / 4), float in 0..1."""
    degradation = RealESRGANDegradation()
    gts: list[Tensor] = []
    lqs: list[Tensor] = []
    while len(gts) < config.batch:
        region = torch.from_numpy(random_crops(pictures, rng, 1, config.region)[0]).float() / 255
        light = rng.random() < config.light_share
        lq = light_degradation(region, rng) if light else degradation(region, rng)
        for _ in range(min(config.per_region, config.batch - len(gts))):
            y, x = rng.integers(0, (config.region - config.crop) // 4 + 1, size=2)
            lqs.append(lq[:, y : y + config.crop // 4, x : x + config.crop // 4])
            gts.append(region[:, 4 * y : 4 * y + config.crop, 4 * x : 4 * x + config.crop])
    return torch.stack(gts), torch.stack(lqs)


def pair_stream(pictures: np.ndarray, config: PairConfig, seed: int) -> Generator[tuple[Tensor, Tensor], None, None]:
    """Endless batches; the next one is made by a thread while the current one is used."""
    with ThreadPoolExecutor(1) as pool:
        rng = np.random.default_rng(seed)
        waiting = pool.submit(draw_pairs, pictures, config, rng)
        while True:
            ready = waiting.result()
            waiting = pool.submit(draw_pairs, pictures, config, rng)
            yield ready

"""Judging a model while it trains: fixed pairs through the sampler of inference, a few scores, a sheet of pictures."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cache
from typing import Any

import torch
from torch import Tensor

from ccsr.data.pairs import Pair, enlarge
from ccsr.method.color import FIXES
from ccsr.method.sampler import NoiseSchedule, sample
from ccsr.method.timesteps import nuts_trajectory
from ccsr.metrics.features import SHIPPED, FeatureNetwork, load_features, perceptual_distance
from ccsr.networks import codec
from ccsr.training.loop import ValidationResult
from ccsr.training.losses import Predict, to_ycbcr
from ccsr.training.networks import ModelInTraining
from ccsr.weights.tensors import read_tensors

SMALLEST = 32
"""Side in pixels below which the feature network has nothing left to see."""


_METHODS = ("bicubic", "codec", "s1")


def super_resolve(
    predict: Predict,
    schedule: NoiseSchedule,
    vae: Any,
    lq_up: Tensor,
    T: int,
    normal: Callable[[Sequence[int]], Tensor],
    t_max: Fraction = Fraction(2, 3),
    t_min: Fraction = Fraction(1, 2),
) -> Tensor:
    """The latent that inference decodes, (B, C, h, w), for enlarged inputs (B, 3, H, W): the very same sampler.

    Source: ccsr-spec 6.2; T = 1 decodes the estimate of index 999, more run the NUTS loop unguided.
    """
    moments = codec.encode(vae, lq_up)

    def draw(_: str) -> Tensor:
        return normal(moments.mean.shape)

    z_lq = codec.draw_latent(vae, moments, draw("posterior"))

    def evaluate(z_t: Tensor, t: int, first: bool) -> Tensor:
        return predict(z_t, torch.full((len(z_t),), t, device=z_t.device), z_lq)

    return sample(evaluate, schedule, nuts_trajectory(T, t_max, t_min), z_lq, draw)


@cache
def _eye(device: torch.device) -> FeatureNetwork:
    return load_features(read_tensors(SHIPPED)).to(device)


def psnr(a: Tensor, b: Tensor) -> float:
    """PSNR in dB of values in 0..1, over everything."""
    return float(-10 * torch.log10(((a - b) ** 2).mean() + 1e-8))


@dataclass(frozen=True)
class Validation:
    """What a model is judged on."""

    pairs: Sequence[Pair]
    """Degraded as the training pictures are."""
    levels: Mapping[str, Sequence[Pair]] = field(default_factory=dict)
    """The same pictures at each level of damage that was asked for, instead."""
    sheet: int = 0
    """How many of them are drawn."""


@torch.no_grad()
def judge(
    networks: ModelInTraining, predict: Predict, validation: Validation, device: torch.device
) -> ValidationResult | None:
    """The level table where there are levels, else the scores of `judge_pairs`; None where there are no pictures."""
    if not validation.levels:
        return judge_pairs(networks, predict, validation.pairs, validation.sheet, device)
    scores: dict[str, float] = {}  # under names that `by_level` takes apart
    rows: list[Sequence[Tensor]] = []
    for name, pairs in validation.levels.items():
        found, seen = _judge_level(networks, predict, pairs, validation.sheet, device)
        scores |= {f"{name}_{key}": value for key, value in found.items()}
        rows += seen
    return ValidationResult(scores, sheet_of(rows))


Levels = dict[str, dict[str, dict[str, float]]]
"""Level, method (bicubic, codec, s1), and psnr, cbcr and distance of it."""


def by_level(scores: Mapping[str, float]) -> Levels:
    """The table that `judge` writes as one flat mapping; empty for scores without levels."""
    found: Levels = {}
    for name, value in scores.items():
        parts = name.rsplit("_", 2)
        if len(parts) == 3 and parts[1] in _METHODS:
            found.setdefault(parts[0], {}).setdefault(parts[1], {})[parts[2]] = value
    return found


def _noise(seed: int, device: torch.device) -> Callable[[Sequence[int]], Tensor]:
    """Standard normal values of a picture's own, drawn on the CPU: the same on every device."""
    generator = torch.Generator().manual_seed(seed)
    return lambda shape: torch.randn(tuple(shape), generator=generator).to(device)


def _judge_level(
    networks: ModelInTraining, predict: Predict, pairs: Sequence[Pair], sheet: int, device: torch.device
) -> tuple[dict[str, float], list[Sequence[Tensor]]]:
    """Means over pictures of PSNR of Y, PSNR of CbCr and SqueezeNet distance: bicubic, codec alone, S1."""
    fix, vae = FIXES[networks.color_fix], networks.vae
    sums: dict[str, float] = {}
    rows: list[Sequence[Tensor]] = []
    for number, pair in enumerate(pairs):
        gt = pair.gt.to(device)
        up = enlarge(pair.lq.to(device), (gt.shape[-2], gt.shape[-1]))
        normal = _noise(number, device)
        latent = super_resolve(predict, networks.schedule, vae, up, 1, normal)
        input_latent = codec.draw_latent(vae, codec.encode(vae, up), None)
        pictures = (up, *(fix(codec.decode(vae, z), up).clamp(0, 1) for z in (input_latent, latent)))
        made = dict(zip(_METHODS, pictures, strict=True))
        truth = to_ycbcr(gt)
        for name, picture in made.items():
            seen = to_ycbcr(picture)
            found = {
                f"{name}_psnr": psnr(seen[:, :1], truth[:, :1]),
                f"{name}_cbcr": psnr(seen[:, 1:], truth[:, 1:]),
                f"{name}_distance": float(perceptual_distance(_eye(device), picture, gt)),
            }
            for key, value in found.items():
                sums[key] = sums.get(key, 0.0) + value
        if number < sheet:
            rows.append([*made.values(), gt])
    return {key: round(value / len(pairs), 4) for key, value in sums.items()}, rows


@torch.no_grad()
def judge_pairs(
    networks: ModelInTraining, predict: Predict, pairs: Sequence[Pair], sheet: int, device: torch.device
) -> ValidationResult | None:
    """PSNR of Y (bicubic, S1 without and with the colour fix, S2), of CbCr, and how far two seeds of S1 are apart.

    Also the distance of the shipped SqueezeNet (bicubic, S1; lower is better), which sees what PSNR punishes: detail
    that is plausible and not in place. Means over pictures. `predict` is the denoiser, under autocast where one runs.
    """
    if not pairs:
        return None
    fix = FIXES[networks.color_fix]
    vae = networks.vae
    scores: dict[str, list[float]] = {}
    rows = []
    for number, pair in enumerate(pairs):
        gt = pair.gt.to(device)
        up = enlarge(pair.lq.to(device), (gt.shape[-2], gt.shape[-1]))
        normal = _noise(number, device)
        one, two, other = (
            codec.decode(vae, super_resolve(predict, networks.schedule, vae, up, T, normal)) for T in (1, 6, 1)
        )
        fixed, fixed2 = (fix(x, up).clamp(0, 1) for x in (one, two))
        truth = to_ycbcr(gt)
        found = {
            "bicubic": psnr(to_ycbcr(up)[:, :1], truth[:, :1]),
            "s1_raw": psnr(to_ycbcr(one.clamp(0, 1))[:, :1], truth[:, :1]),
            "s1": psnr(to_ycbcr(fixed)[:, :1], truth[:, :1]),
            "s2": psnr(to_ycbcr(fixed2)[:, :1], truth[:, :1]),
            "s1_cbcr": psnr(to_ycbcr(fixed)[:, 1:], truth[:, 1:]),
            "seed_difference": float((one - other).abs().mean()),
        }
        if min(gt.shape[-2:]) >= SMALLEST:
            eye = _eye(device)
            found |= {
                "bicubic_distance": float(perceptual_distance(eye, up, gt)),
                "s1_distance": float(perceptual_distance(eye, fixed, gt)),
            }
        for name, value in found.items():
            scores.setdefault(name, []).append(value)
        if number < sheet:
            rows.append([up, fixed, fixed2, gt])
    return ValidationResult({n: round(sum(v) / len(v), 4) for n, v in scores.items()}, sheet_of(rows))


def sheet_of(rows: Sequence[Sequence[Tensor]]) -> Tensor | None:
    """Pictures (1, 3, h, w) side by side and below each other, (3, H, W), cut to the smallest."""
    if not rows:
        return None
    height = min(x.shape[-2] for row in rows for x in row)
    width = min(x.shape[-1] for row in rows for x in row)
    return torch.cat([torch.cat([x[0, :, :height, :width].cpu().float() for x in row], 2) for row in rows], 1)

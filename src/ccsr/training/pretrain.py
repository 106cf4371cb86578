"""Pre-training of a small model's VAE on clean and on enlarged low-quality pictures."""

import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate

from ccsr.data.pictures import random_crops
from ccsr.networks import codec
from ccsr.training.loop import LoopConfig, fit

logger = logging.getLogger("ccsr.training")


@dataclass(frozen=True)
class VAEConfig:
    """One run of VAE training."""

    vae: dict[str, Any]
    loop: LoopConfig = field(default_factory=LoopConfig)
    crop: int = 64
    batch: int = 8
    kl_weight: float = 1e-4
    chroma_weight: float = 2.0
    start: str | None = None


def to_ycbcr(rgb: Tensor) -> Tensor:
    """BT.601 full range of (B, 3, H, W) in 0..1: Y in 0..1, Cb and Cr in -0.5..0.5."""
    r, g, b = rgb.unbind(1)
    y = 0.299 * r + 0.587 * g + 0.114 * b
    return torch.stack([y, (b - y) / 1.772, (r - y) / 1.402], dim=1)


def picture_loss(sr: Tensor, gt: Tensor, chroma_weight: float) -> Tensor:
    """L1 in YCbCr plus half the L1 of the first differences plus the L1 of 8x8 means, all with weighted chroma.

    PSNR-Y does not see colour and a short training loses it first; block means hold brightness and colour, which
    the normalised network gets wrong before it gets detail wrong. Inputs (B, 3, H, W) in 0..1.
    """
    weights = torch.tensor([1.0, chroma_weight, chroma_weight], device=sr.device).view(1, 3, 1, 1)
    error = (to_ycbcr(sr) - to_ycbcr(gt)) * weights
    rows, columns = error.diff(dim=2).abs().mean(), error.diff(dim=3).abs().mean()
    return error.abs().mean() + 0.5 * (rows + columns) + avg_pool2d(error, 8).abs().mean()


def train_vae(config: VAEConfig, pictures: np.ndarray, validation: np.ndarray, folder: Path) -> AutoencoderKL:
    """Train a VAE; returns it with averaged weights, its scaling factor set to one over the latents' deviation."""
    torch.manual_seed(config.loop.seed)
    rng = np.random.default_rng(config.loop.seed)
    vae = AutoencoderKL(**config.vae)
    if config.start:
        from safetensors.torch import load_file

        vae.load_state_dict(load_file(config.start))
    vae.to(memory_format=torch.channels_last)

    def losses(step: int) -> dict[str, Tensor]:
        gt = torch.from_numpy(random_crops(pictures, rng, config.batch, config.crop)).float() / 255
        # Half of the batch smoothed: what the VAE meets in use is mostly an enlarged low-quality picture.
        half = config.batch // 2
        gt[half:] = _enlarged(gt[half:], rng)
        moments = codec.encode(vae, gt)
        noise = torch.randn_like(moments.mean)
        sr = codec.decode(vae, codec.draw_latent(vae, moments, noise))
        kl = 0.5 * (moments.mean**2 + moments.logvar.exp() - 1 - moments.logvar).mean()
        return {"picture": picture_loss(sr, gt, config.chroma_weight), "kl": config.kl_weight * kl}

    def evaluate() -> dict[str, float]:
        return {k: round(v, 3) for k, v in vae_scores(vae, validation).items()}

    fit(vae, losses, config.loop, folder, evaluate)
    latents = torch.cat([_mean_latent(vae, clean) for clean in batches(pictures[::8], 4)])
    vae.register_to_config(scaling_factor=round(1 / float(latents.std()), 4))
    logger.info("latent mean %s std %s", latents.mean((0, 2, 3)), latents.std((0, 2, 3)))
    vae.save_pretrained(folder / "vae")
    return vae


def _enlarged(picture: Tensor, rng: np.random.Generator) -> Tensor:
    factor = float(rng.uniform(1.5, 4.0))
    small = interpolate(picture, scale_factor=1 / factor, mode="bicubic", antialias=True)
    return interpolate(small, picture.shape[-2:], mode="bicubic", antialias=True).clamp(0, 1)


def batches(pictures: np.ndarray, size: int) -> list[Tensor]:
    """uint8 (N, H, W, 3) as float (n, 3, H, W) in 0..1, `size` at a time."""
    return [
        torch.from_numpy(np.ascontiguousarray(pictures[i : i + size])).permute(0, 3, 1, 2).float() / 255
        for i in range(0, len(pictures), size)
    ]


@torch.no_grad()
def _mean_latent(vae: AutoencoderKL, picture: Tensor) -> Tensor:
    return codec.encode(vae, picture).mean


def psnr(a: Tensor, b: Tensor) -> float:
    """PSNR in dB of values in 0..1, over everything."""
    return float(-10 * torch.log10(((a - b) ** 2).mean() + 1e-8))


@torch.no_grad()
def vae_scores(vae: AutoencoderKL, validation: np.ndarray) -> dict[str, float]:
    """PSNR of clean and of bicubic pictures through the VAE (Y, CbCr), uint8 (N, H, W, 3)."""
    scores: dict[str, list[float]] = {"hr_y": [], "hr_cbcr": [], "bic_y": [], "bic_cbcr": [], "low_y": []}
    for gt in batches(validation, 1):
        small = interpolate(gt, scale_factor=0.25, mode="bicubic", antialias=True)
        bicubic = interpolate(small, gt.shape[-2:], mode="bicubic", antialias=True).clamp(0, 1)
        for name, picture in (("hr", gt), ("bic", bicubic)):
            out = codec.decode(vae, codec.draw_latent(vae, codec.encode(vae, picture), None)).clamp(0, 1)
            a, b = to_ycbcr(out), to_ycbcr(picture)
            scores[f"{name}_y"].append(psnr(a[:, :1], b[:, :1]))
            scores[f"{name}_cbcr"].append(psnr(a[:, 1:], b[:, 1:]))
            if name == "hr":
                scores["low_y"].append(psnr(avg_pool2d(a[:, :1], 16), avg_pool2d(b[:, :1], 16)))
    return {name: float(np.mean(values)) for name, values in scores.items()}

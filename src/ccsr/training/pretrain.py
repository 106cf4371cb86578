"""The VAE's pre-training, on clean and on smoothed pictures. The denoiser's is stage 1 with the plain loss."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate

from ccsr.data.pairs import Pair, enlarge
from ccsr.networks import codec
from ccsr.training.config import LoopConfig, VAELoss
from ccsr.training.loop import StepNoise, Trainee, ValidationResult
from ccsr.training.losses import picture_loss, to_ycbcr
from ccsr.training.networks import ModelInTraining
from ccsr.training.stage1 import Precision
from ccsr.training.validation import Validation, psnr, sheet_of


class VAEStage:
    """Training of the whole VAE; its scaling factor is set by `set_scale` afterwards."""

    def __init__(
        self,
        networks: ModelInTraining,
        loss: VAELoss,
        loop: LoopConfig,
        accelerator: Accelerator,
        validation: Validation,
    ) -> None:
        self.networks, self.loss, self.device = networks, loss, accelerator.device
        self.precision = Precision(loop, self.device)
        self.validation = validation
        networks.freeze()
        networks.vae.requires_grad_(True)
        if loop.checkpointing:
            networks.vae.enable_gradient_checkpointing()
        self.trainees: list[Trainee] = [Trainee("vae", networks.vae, self.losses)]

    def losses(self, pair: Pair, draws: StepNoise, step: int) -> dict[str, Tensor]:
        """The picture's loss after a posterior draw, and the posterior's distance from the standard normal."""
        vae, gt = self.networks.vae, pair.gt
        # Half of the batch smoothed: what the VAE meets in use is mostly an enlarged low-quality picture.
        half = len(gt) // 2
        gt = torch.cat([gt[:half], _blurred(gt[half:], draws.rng)])
        with self.precision():
            moments = codec.encode(vae, gt)
        latent = codec.draw_latent(vae, moments, draws.normal(moments.mean.shape))
        with self.precision():
            sr = codec.decode(vae, latent)
        kl = 0.5 * (moments.mean**2 + moments.logvar.exp() - 1 - moments.logvar).mean()
        return {"picture": picture_loss(sr, gt, self.loss.chroma_weight), "kl": self.loss.kl_weight * kl}

    @torch.no_grad()
    def evaluate(self) -> ValidationResult | None:
        """PSNR of clean and of bicubic pictures through the VAE (Y, CbCr), and of the clean ones' 16x16 means."""
        if not self.validation.pairs:
            return None
        vae, device = self.networks.vae, self.device
        scores: dict[str, list[float]] = {}
        rows: list[list[Tensor]] = []
        for pair in self.validation.pairs:
            gt = pair.gt.to(device)
            size = (gt.shape[-2], gt.shape[-1])
            small = interpolate(gt, (size[0] // 4, size[1] // 4), mode="bicubic", antialias=True)
            seen = {"hr": gt, "bicubic": enlarge(small, size)}
            out = {
                name: codec.decode(vae, codec.draw_latent(vae, codec.encode(vae, x), None)).clamp(0, 1)
                for name, x in seen.items()
            }
            for name, picture in seen.items():
                a, b = to_ycbcr(out[name]), to_ycbcr(picture)
                found = {f"{name}_y": (a[:, :1], b[:, :1]), f"{name}_cbcr": (a[:, 1:], b[:, 1:])}
                if name == "hr":
                    found["low_y"] = (avg_pool2d(a[:, :1], 16), avg_pool2d(b[:, :1], 16))
                for key, (ours, truth) in found.items():
                    scores.setdefault(key, []).append(psnr(ours, truth))
            if len(rows) < self.validation.sheet:
                rows.append([seen["bicubic"], out["bicubic"], out["hr"], gt])
        return ValidationResult({n: round(sum(v) / len(v), 4) for n, v in scores.items()}, sheet_of(rows))


@torch.no_grad()
def set_scale(vae: Any, pairs: Sequence[Pair], device: torch.device) -> None:
    """Make the scaling factor one over the deviation of the latents, as the denoiser wants it."""
    latents = [codec.encode(vae, pair.gt.to(device)).mean.flatten() for pair in pairs]
    vae.register_to_config(scaling_factor=round(1 / float(torch.cat(latents).std()), 4))


def _blurred(picture: Tensor, rng: np.random.Generator) -> Tensor:
    if not len(picture):
        return picture
    height, width = picture.shape[-2:]
    factor = float(rng.uniform(1.5, 4.0))
    small = interpolate(
        picture, (max(1, int(height / factor)), max(1, int(width / factor))), mode="bicubic", antialias=True
    )
    return enlarge(small, (height, width))

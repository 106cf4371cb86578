"""Stage 1: the networks learn the clean latent from the low-quality one, at T, after the jump, and in between."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from safetensors.torch import load_file
from torch import Tensor, nn

from ccsr.color import wavelet_color_fix
from ccsr.data.pairs import PairConfig, draw_pairs, enlarge, pair_stream
from ccsr.networks import LatentControlNet, codec, denoise
from ccsr.sampler import NoiseSchedule, sample
from ccsr.timesteps import LAST, nuts_trajectory
from ccsr.training.loop import LoopConfig, fit
from ccsr.training.losses import paper_losses, published_losses
from ccsr.training.pretrain import psnr, to_ycbcr


@dataclass(frozen=True)
class Stage1Config:
    """One run of stage 1 for a small model: UNet, ControlNet and prompt train together."""

    unet: dict[str, Any]
    loop: LoopConfig = field(default_factory=LoopConfig)
    pairs: PairConfig = field(default_factory=PairConfig)
    recipe: str = "paper"
    """`paper`: one index per sample; `published`: all three losses on every batch (ccsr-spec 5.3)."""
    share_at_T: float = 0.67
    renoise: tuple[int, ...] = (499, 582, 606, 667)
    """Where the estimate of T is noised to: the indices of inference for T = 6, 12, 18, and the published one."""
    t_below: int = 667
    start: str | None = None


class Denoiser(nn.Module):
    """UNet, ControlNet and one learnt prompt embedding, called as `(z_t, t, z_lq)`."""

    def __init__(self, unet: UNet2DConditionModel, controlnet: LatentControlNet, prompt: Tensor) -> None:
        super().__init__()
        self.unet, self.controlnet, self.prompt = unet, controlnet, nn.Parameter(prompt)

    def forward(self, z_t: Tensor, t: Tensor, z_lq: Tensor) -> Tensor:
        """Network output, (B, C, h, w)."""
        return denoise(self.unet, self.controlnet, z_t, t, z_lq, self.prompt)

    @classmethod
    def fresh(cls, config: dict[str, Any]) -> "Denoiser":
        """Random networks whose control path is open from the start: nothing here is pretrained and worth sparing."""
        unet = UNet2DConditionModel(**config)
        controlnet = LatentControlNet.for_unet(unet)
        for layer in (*controlnet.controlnet_down_blocks, controlnet.controlnet_mid_block):
            layer.reset_parameters()
        return cls(unet, controlnet, 0.02 * torch.randn(1, 1, config["cross_attention_dim"]))


def encode_pair(vae: AutoencoderKL, gt: Tensor, lq: Tensor) -> tuple[Tensor, Tensor]:
    """Posterior draws of the good and of the enlarged low-quality picture, scaled."""
    with torch.no_grad():
        moments = codec.encode(vae, torch.cat([gt, enlarge(lq)]))
        return codec.draw_latent(vae, moments, torch.randn_like(moments.mean)).chunk(2)  # type: ignore[return-value]


def train_stage1(
    config: Stage1Config,
    schedule: NoiseSchedule,
    vae: AutoencoderKL,
    pictures: np.ndarray,
    validation: np.ndarray,
    folder: Path,
) -> Denoiser:
    """Train the denoiser on latents of `vae`, which stays as it is; returns it with averaged weights."""
    torch.manual_seed(config.loop.seed)
    denoiser = Denoiser.fresh(config.unet)
    if config.start:
        denoiser.load_state_dict(load_file(config.start))
    for network in (denoiser.unet, denoiser.controlnet):
        network.to(memory_format=torch.channels_last)
    rng = np.random.default_rng(config.loop.seed)
    stream = pair_stream(pictures, config.pairs, config.loop.seed + 1)
    at_T = round(config.share_at_T * config.pairs.batch)
    fixed = validation_pairs(validation)

    def losses(step: int) -> dict[str, Tensor]:
        z_gt, z_lq = encode_pair(vae, *next(stream))
        t = torch.from_numpy(rng.integers(0, config.t_below, len(z_gt)))
        noises = tuple(torch.randn_like(z_gt) for _ in range(3))
        renoise = int(rng.choice(config.renoise))
        if config.recipe == "published":
            return published_losses(denoiser, schedule, z_gt, z_lq, t, noises, renoise)  # type: ignore[arg-type]
        t[:at_T] = LAST
        return paper_losses(denoiser, schedule, z_gt, z_lq, t, noises, renoise)  # type: ignore[arg-type]

    fit(denoiser, losses, config.loop, folder, lambda: sr_scores(denoiser, schedule, vae, fixed))
    stream.close()
    return denoiser


def validation_pairs(pictures: np.ndarray) -> list[tuple[Tensor, Tensor]]:
    """One fixed pair of each picture, uint8 (N, H, W, 3); every third one lightly degraded."""
    side = pictures.shape[1]
    return [
        draw_pairs(
            pictures[i : i + 1],
            PairConfig(crop=side, batch=1, region=side, per_region=1, light_share=float(i % 3 == 0)),
            np.random.default_rng(i),
        )
        for i in range(len(pictures))
    ]


@torch.no_grad()
def super_resolve(
    denoiser: Denoiser, schedule: NoiseSchedule, vae: AutoencoderKL, lq: Tensor, T: int, generator: torch.Generator
) -> Tensor:
    """The latent that inference decodes, for a batch of small pictures (B, 3, h, w): the same sampler as in use."""
    moments = codec.encode(vae, enlarge(lq))

    def draw(_: str) -> Tensor:
        return torch.randn(moments.mean.shape, generator=generator)

    z_lq = codec.draw_latent(vae, moments, draw("posterior"))

    def predict(z_t: Tensor, t: int, first: bool) -> Tensor:
        return denoiser(z_t, torch.full((len(z_t),), t), z_lq)

    return sample(predict, schedule, nuts_trajectory(T, 2 / 3, 1 / 2), z_lq, draw)


@torch.no_grad()
def sr_scores(
    denoiser: Denoiser, schedule: NoiseSchedule, vae: AutoencoderKL, pairs: list[tuple[Tensor, Tensor]]
) -> dict[str, float]:
    """PSNR of Y (S1 raw, S1 with the wavelet fix, S2 with it, bicubic) and of CbCr (S1), and seed deviation of S1."""
    scores: dict[str, list[float]] = {k: [] for k in ("bicubic", "s1_raw", "s1", "s2", "s1_cbcr", "s1_rgb", "seed_std")}
    for gt, lq in pairs:
        generator = torch.Generator().manual_seed(0)
        up = enlarge(lq)
        one, two, other = (
            codec.decode(vae, super_resolve(denoiser, schedule, vae, lq, T, generator)) for T in (1, 6, 1)
        )
        y = to_ycbcr(gt)
        fixed = wavelet_color_fix(one, up).clamp(0, 1)
        for name, picture in (
            ("bicubic", up),
            ("s1_raw", one.clamp(0, 1)),
            ("s1", fixed),
            ("s2", wavelet_color_fix(two, up).clamp(0, 1)),
        ):
            scores[name].append(psnr(to_ycbcr(picture)[:, :1], y[:, :1]))
        scores["s1_cbcr"].append(psnr(to_ycbcr(fixed)[:, 1:], y[:, 1:]))
        scores["s1_rgb"].append(psnr(fixed, gt))
        scores["seed_std"].append(float((one - other).abs().mean()))
    return {name: round(float(np.mean(values)), 4) for name, values in scores.items()}

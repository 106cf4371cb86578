"""Stage 2 for a small model: the decoder learns on the very latents that inference gives it.

The networks of stage 1 stay as they are; the loss is the reconstruction part of DeFT (paper III-C), without the
adversarial term.
"""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from safetensors.torch import load_file
from torch import Tensor, nn

from ccsr.data.pairs import PairConfig, pair_stream
from ccsr.networks import codec
from ccsr.sampler import NoiseSchedule
from ccsr.training.loop import LoopConfig, fit
from ccsr.training.pretrain import picture_loss
from ccsr.training.stage1 import Denoiser, sr_scores, super_resolve, validation_pairs


@dataclass(frozen=True)
class Stage2Config:
    """One run of decoder training."""

    loop: LoopConfig = field(default_factory=lambda: LoopConfig(learning_rate=2e-4))
    pairs: PairConfig = field(default_factory=lambda: PairConfig(crop=192, batch=6, per_region=2))
    chroma_weight: float = 2.0
    grids: tuple[int, ...] = (1, 1, 6)
    """Values of T that latents are sampled with, drawn evenly: the decoder serves S1 and more steps."""
    start: str | None = None


class Decoder(nn.Module):
    """The trained part of the VAE under the names it has there."""

    def __init__(self, vae: AutoencoderKL) -> None:
        super().__init__()
        self.decoder = vae.decoder.requires_grad_(True)


def train_stage2(
    config: Stage2Config,
    schedule: NoiseSchedule,
    vae: AutoencoderKL,
    denoiser: Denoiser,
    pictures: np.ndarray,
    validation: np.ndarray,
    folder: Path,
) -> None:
    """Train `vae`'s decoder in place; it ends with averaged weights."""
    torch.manual_seed(config.loop.seed)
    trained = Decoder(vae)
    if config.start:
        trained.load_state_dict(load_file(config.start))
    stream = pair_stream(pictures, config.pairs, config.loop.seed + 1)
    generator = torch.Generator().manual_seed(config.loop.seed)
    fixed = validation_pairs(validation)

    def losses(step: int) -> dict[str, Tensor]:
        gt, lq = next(stream)
        T = config.grids[step % len(config.grids)]
        latent = super_resolve(denoiser, schedule, vae, lq, T, generator)
        return {"picture": picture_loss(codec.decode(vae, latent), gt, config.chroma_weight)}

    fit(trained, losses, config.loop, folder, lambda: sr_scores(denoiser, schedule, vae, fixed))
    stream.close()

"""The method on tensors: encode, sample, decode, with tiles and guidance, and randomness handed in.

What the pipeline runs on a user's picture, what `ccsr verify` replays with recorded draws.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn

from ccsr.errors import ModelOutputError
from ccsr.images.buffers import bands
from ccsr.method.compat import Compat
from ccsr.method.sampler import NoiseSchedule, SamplingStep, sample
from ccsr.method.timesteps import Trajectory
from ccsr.networks import Moments, codec, denoise
from ccsr.networks.tiled import TileSettings, count_tiles, run_tiled

if TYPE_CHECKING:
    from ccsr.networks.kinds import VAE, ControlNet, UNet

Engine = Callable[[Tensor, int, Tensor, Tensor], Tensor]
"""A `denoise` of a whole latent, by another engine than torch: (z_t, t, z_lq, embedding) to the output."""
Draw = Callable[[str], Tensor]
"""Standard normal tensors by name, (B, C, h, w); `posterior` has 2B rows where each guided row draws, those of the
negative rows first."""


@dataclass
class Networks:
    """The three networks and the schedule they were trained with."""

    unet: "UNet"
    controlnet: "ControlNet"
    vae: "VAE"
    schedule: NoiseSchedule
    device: torch.device = torch.device("cpu")
    """Where they run; latents live there, pictures on the CPU."""
    engine: Engine | None = None
    """Computes the denoiser in place of the modules where one tile is enough; tiles in step need the modules."""


@dataclass(frozen=True)
class Conditions:
    """What steers the networks besides the picture: embeddings (1, tokens, width) and the guidance scale."""

    positive: Tensor
    negative: Tensor | None = None
    guidance: float = 1.0

    @property
    def guided(self) -> bool:
        """Whether classifier-free guidance is on."""
        return self.guidance > 1


@dataclass(frozen=True)
class Settings:
    """How to run: the trajectory, tiles (None: whole) and the named differences of the published program."""

    trajectory: Trajectory
    compat: Compat = field(default_factory=Compat)
    denoise_tiles: TileSettings | None = None
    encode_tiles: TileSettings | None = None
    decode_tiles: TileSettings | None = None
    start_from_lq: bool = True


class Encoded(NamedTuple):
    """The input picture as the networks see it."""

    moments: Moments
    z_lq: Tensor
    """Scaled latent, (B, C, h, w), or (2B, C, h, w) where each guided row has a draw of its own."""


@dataclass(frozen=True)
class Restorer:
    """Encode, sample and decode with given networks, conditions and settings: the three steps by themselves."""

    networks: Networks
    conditions: Conditions
    settings: Settings

    def encode(self, lq_up: Tensor, draw: Draw) -> Encoded:
        """The latent of the input.

        `lq_up` is (B, 3, H, W) in 0..1 on the CPU, sides multiples of the latent factor; tiles of it go to the device.
        """
        vae, compat = self.networks.vae, self.settings.compat

        def encode_tile(pictures: list[Tensor]) -> Tensor:
            return torch.cat(codec.encode(vae, pictures[0].to(self.networks.device)), dim=1)

        factor = Fraction(1, codec.latent_factor(vae))
        # One layer is computed again sooner than read.
        keep = not isinstance(vae.encoder, nn.Conv2d)
        encoded = run_tiled([vae.encoder], encode_tile, [lq_up], self.settings.encode_tiles, factor, keep=keep)
        moments = Moments(*encoded.chunk(2, dim=1))
        noise = draw("posterior").to(moments.mean.device) if compat.posterior_draws else None
        return Encoded(moments, codec.draw_latent(vae, moments, noise))

    def sample(
        self, z_lq: Tensor, rows: int, draw: Draw, on_step: Callable[[SamplingStep], None] | None = None
    ) -> Tensor:
        """The scaled latents of `rows` results, (B, C, h, w), from `Encoded.z_lq`: the loop over the timesteps."""
        return sample(
            lambda z_t, t, is_first: self._predict(z_t, t, z_lq, is_first),
            self.networks.schedule,
            self.settings.trajectory,
            z_lq[:rows] if self.settings.start_from_lq else None,
            lambda name: draw(name).to(z_lq.device),
            on_step,
        )

    def decode(self, latent: Tensor) -> Tensor:
        """Pictures of scaled latents, (B, 3, H, W) float32 on the CPU, nominally 0..1, not clamped.

        Raises:
            ModelOutputError: they have values that are not finite.
        """
        vae = self.networks.vae
        decoded = run_tiled(
            [vae.decoder],
            lambda latents: codec.decode(vae, latents[0]),
            [latent],
            self.settings.decode_tiles,
            Fraction(codec.latent_factor(vae)),
            device=torch.device("cpu"),
        )
        for top, bottom in bands(*decoded.shape[-2:]):
            if not bool(torch.isfinite(decoded[..., top:bottom, :]).all()):
                raise ModelOutputError("the network returned values that are not finite")
        return decoded

    def engine_for(self, height: int, width: int) -> Engine | None:
        """What computes the denoiser for a latent of (height, width) in place of torch."""
        return self.networks.engine if count_tiles(height, width, self.settings.denoise_tiles) == 1 else None

    def _predict(self, z_t: Tensor, t: int, z_lq: Tensor, is_first: bool) -> Tensor:
        """The denoiser's output for `z_t`, with classifier-free guidance, in tiles."""
        networks, conditions = self.networks, self.conditions
        guided = conditions.guided and (self.settings.compat.guided_start or not is_first)
        batch = len(z_t)
        if guided and conditions.negative is not None:
            embedding = torch.cat([conditions.negative, conditions.positive]).repeat_interleave(batch, dim=0)
            inputs = [torch.cat([z_t, z_t]), z_lq if len(z_lq) == 2 * batch else torch.cat([z_lq, z_lq])]
        else:
            # The published program takes the first row of everything here, which under guidance is the negative one.
            unguided = conditions.negative if conditions.guided else conditions.positive
            embedding = conditions.positive if unguided is None else unguided
            inputs = [z_t, z_lq[:batch]]
        engine = self.engine_for(*z_t.shape[-2:])

        def evaluate(tiles: list[Tensor]) -> Tensor:
            if engine:
                return engine(tiles[0], t, tiles[1], embedding)
            return denoise(networks.unet, networks.controlnet, tiles[0], t, tiles[1], embedding)

        output = run_tiled([networks.unet, networks.controlnet], evaluate, inputs, self.settings.denoise_tiles)
        if not guided:
            return output
        negative, positive = output.chunk(2)
        return negative + conditions.guidance * (positive - negative)


@dataclass
class Restored:
    """All that came out on the way; latents are scaled."""

    moments: Moments
    z_lq: Tensor
    latent: Tensor
    decoded: Tensor
    """(B, 3, H, W) float32, nominally 0..1, not clamped."""


def restore(
    networks: Networks,
    lq_up: Tensor,
    conditions: Conditions,
    settings: Settings,
    draw: Draw,
    on_step: Callable[[SamplingStep], None] | None = None,
) -> Restored:
    """Restore one enlarged picture, or a batch of one size, `lq_up` (B, 3, H, W) in 0..1: see `Restorer`.

    Raises:
        ModelOutputError: the decoded picture has values that are not finite.
    """
    restorer = Restorer(networks, conditions, settings)
    encoded = restorer.encode(lq_up, draw)
    latent = restorer.sample(encoded.z_lq, len(lq_up), draw, on_step)
    return Restored(*encoded, latent, restorer.decode(latent))

"""The method on tensors: encode, sample, decode, with tiles and guidance, and randomness handed in.

What the pipeline runs on a user's picture, what `ccsr verify` replays with recorded draws.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import Tensor

from ccsr.compat import Compat
from ccsr.errors import ModelOutputError
from ccsr.images.buffers import bands
from ccsr.networks import LatentControlNet, Moments, codec, denoise
from ccsr.networks.tiled import TileSettings, count_tiles, run_tiled
from ccsr.sampler import Evaluation, NoiseSchedule, sample
from ccsr.timesteps import Trajectory


@dataclass
class Networks:
    """The three networks and the schedule they were trained with."""

    unet: UNet2DConditionModel
    controlnet: LatentControlNet
    vae: AutoencoderKL
    schedule: NoiseSchedule
    device: torch.device = torch.device("cpu")
    """Where they run; latents live there, pictures on the CPU."""
    whole: Callable[[Tensor, int, Tensor, Tensor], Tensor] | None = None
    """Another engine's `denoise` of a whole latent, (z_t, t, z_lq, embedding); tiles in step need the modules."""


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


@dataclass
class Restored:
    """All that came out on the way; latents are scaled."""

    moments: Moments
    z_lq: Tensor
    latent: Tensor
    decoded: Tensor
    """(B, 3, H, W) float32, nominally 0..1, not clamped."""
    seconds: dict[str, float]


def restore(
    networks: Networks,
    lq_up: Tensor,
    conditions: Conditions,
    settings: Settings,
    draw: Callable[[str], Tensor],
    on_evaluation: Callable[[Evaluation], None] | None = None,
) -> Restored:
    """Restore one enlarged picture, or a batch of one size.

    Args:
        lq_up: (B, 3, H, W) in 0..1 on the CPU, sides multiples of the latent factor; tiles of it go to the device.
        draw: standard normal tensors by name, (B, C, h, w); `posterior` has 2B rows where each guided row draws, those
            of the negative rows first.

    Raises:
        ModelOutputError: the decoded picture has values that are not finite.
    """
    vae, clock = networks.vae, _Clock()
    factor = codec.latent_factor(vae)

    def encode_tile(pictures: list[Tensor]) -> Tensor:
        return torch.cat(codec.encode(vae, pictures[0].to(networks.device)), dim=1)

    encoded = run_tiled([vae.encoder], encode_tile, [lq_up], settings.encode_tiles, Fraction(1, factor))
    moments = Moments(*encoded.chunk(2, dim=1))
    noise = draw("posterior").to(moments.mean.device) if settings.compat.posterior_draws else None
    z_lq = codec.draw_latent(vae, moments, noise)
    clock.lap("encode")

    def predict(z_t: Tensor, t: int, first: bool) -> Tensor:
        return _predict(networks, z_t, t, z_lq, conditions, settings, first)

    def draw_here(name: str) -> Tensor:
        return draw(name).to(z_lq.device)

    latent = sample(
        predict,
        networks.schedule,
        settings.trajectory,
        z_lq[: len(lq_up)] if settings.start_from_lq else None,
        draw_here,
        on_evaluation,
    )
    clock.lap("denoise")
    decoded = decode(networks, latent, settings)
    clock.lap("decode")
    return Restored(moments, z_lq, latent, decoded, clock.seconds)


def decode(networks: Networks, latent: Tensor, settings: Settings) -> Tensor:
    """Pictures of scaled latents, (B, 3, H, W) float32 on the CPU, not clamped; checked to be finite."""
    vae = networks.vae
    factor = Fraction(codec.latent_factor(vae))
    decoded = run_tiled(
        [vae.decoder],
        lambda x: codec.decode(vae, x[0]),
        [latent],
        settings.decode_tiles,
        factor,
        device=torch.device("cpu"),
    )
    for top, bottom in bands(*decoded.shape[-2:]):
        if not bool(torch.isfinite(decoded[..., top:bottom, :]).all()):
            raise ModelOutputError("the network returned values that are not finite")
    return decoded


def _predict(
    networks: Networks,
    z_t: Tensor,
    t: int,
    z_lq: Tensor,
    conditions: Conditions,
    settings: Settings,
    first: bool,
) -> Tensor:
    guided = conditions.guided and (settings.compat.guided_start or not first)
    batch = len(z_t)
    if guided and conditions.negative is not None:
        embedding = torch.cat([conditions.negative, conditions.positive]).repeat_interleave(batch, dim=0)
        inputs = [torch.cat([z_t, z_t]), z_lq if len(z_lq) == 2 * batch else torch.cat([z_lq, z_lq])]
    else:
        # The published program takes the first row of everything here, which under guidance is the negative one.
        unguided = conditions.negative if conditions.guided else conditions.positive
        embedding = conditions.positive if unguided is None else unguided
        inputs = [z_t, z_lq[:batch]]

    height, width = z_t.shape[-2:]
    whole = networks.whole if count_tiles(height, width, settings.denoise_tiles) == 1 else None

    def evaluate(tiles: list[Tensor]) -> Tensor:
        if whole:
            return whole(tiles[0], t, tiles[1], embedding)
        return denoise(networks.unet, networks.controlnet, tiles[0], t, tiles[1], embedding)

    output = run_tiled([networks.unet, networks.controlnet], evaluate, inputs, settings.denoise_tiles)
    if not guided:
        return output
    negative, positive = output.chunk(2)
    return negative + conditions.guidance * (positive - negative)


class _Clock:
    """Seconds between laps."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
            torch.cuda.synchronize()  # a GPU is still at what it was asked for
        now = time.perf_counter()
        self.seconds[name] = now - self._last
        self._last = now

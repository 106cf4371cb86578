"""Pictures to latents and back: the one place that knows the scaling factor and the VAE's pixel shuffle."""

from math import isqrt
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pixel_shuffle, pixel_unshuffle

from ccsr.networks.banded import by_bands

if TYPE_CHECKING:
    from ccsr.networks.kinds import VAE


class Moments(NamedTuple):
    """Mean and log-variance of the VAE posterior, each (B, C, h, w), before scaling."""

    mean: Tensor
    logvar: Tensor


def shuffle_factor(vae: "VAE") -> int:
    """Side of the pixel block that is folded into channels before the VAE: 1 for 3 channels, 2 for 12."""
    return isqrt(vae.config.in_channels // 3)


def latent_factor(vae: "VAE") -> int:
    """Picture pixels per latent pixel, along each axis."""
    return int(shuffle_factor(vae) * 2 ** (len(vae.config.block_out_channels) - 1))


def encode(vae: "VAE", picture: Tensor) -> Moments:
    """Posterior of `picture`, (B, 3, H, W) in 0..1, sides multiples of `latent_factor`; in the VAE's dtype."""
    x = pixel_unshuffle(2 * picture - 1, shuffle_factor(vae)).to(vae.dtype)
    # float32 from here on: the sampler works in it whatever the network's dtype.
    return Moments(*vae.encode(x).latent_dist.parameters.float().chunk(2, dim=1))


def draw_latent(vae: "VAE", moments: Moments, noise: Tensor | None) -> Tensor:
    """Scaled latent, (B, C, h, w): the posterior's draw for standard normal `noise`, or its mean for None.

    `noise` of 2B rows gives two draws of each row, the first draw of all rows before the second.

    Source: ccsr-spec 1.3, step 6 (log-variance clamped to -30..20).
    """
    if noise is None:
        return by_bands(lambda mean: mean * vae.config.scaling_factor, moments.mean)

    def drawn(mean: Tensor, logvar: Tensor, noise: Tensor) -> Tensor:
        mean, logvar = (m.repeat(len(noise) // len(m), 1, 1, 1) for m in (mean, logvar))
        return (mean + torch.exp(0.5 * logvar.clamp(-30, 20)) * noise) * vae.config.scaling_factor

    return by_bands(drawn, *moments, noise)


def decode(vae: "VAE", latent: Tensor) -> Tensor:
    """Picture of a scaled latent (B, C, h, w): (B, 3, H, W), float32, nominally 0..1, not clamped."""
    out = vae.decode((latent / vae.config.scaling_factor).to(vae.dtype)).sample
    return pixel_shuffle(out.float(), shuffle_factor(vae)) / 2 + 0.5

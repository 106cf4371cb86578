"""nano's networks: plain stacks of convolutions at the latent's size, in the roles of VAE, UNet and ControlNet.

They are called as the diffusers classes are that the published model is made of, so that one sampler, one pipeline and
one trainer serve both. They have no norms: what a pixel becomes depends on its surroundings alone, not on the size or
the contrast of the whole picture, so tiles need no shared statistics and flat areas are not stretched.
"""

from functools import reduce
from math import isqrt, log
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, pad, pixel_shuffle, pixel_unshuffle, silu

from ccsr.networks.configured import ConfiguredModule

_TIME = 64
"""Width of the embedding of the timestep."""
_GAIN = 0.1
"""Of the noisy latent at first: a network that starts from the low-quality latent has little use for it."""
_FAINT = 2.5 * 2 / 255
"""Root mean square of a pattern that is taken for a fault: two and a half of 255 levels, in -1..1."""
_LOGVAR = -30.0
"""Log-variance of a latent that has no spread; the least that the sampler distinguishes."""


class Posterior(NamedTuple):
    """Latents without spread, by the names that `DiagonalGaussianDistribution` has for them."""

    mean: Tensor
    """(B, C, h, w)."""

    @property
    def parameters(self) -> Tensor:
        """Mean and log-variance, (B, 2C, h, w)."""
        return torch.cat([self.mean, torch.full_like(self.mean, _LOGVAR)], 1)

    def mode(self) -> Tensor:
        """The latents."""
        return self.mean

    def sample(self, generator: torch.Generator | None = None) -> Tensor:
        """The latents, whatever the generator."""
        return self.mean


class EncoderOutput(NamedTuple):
    """What `CompactAutoencoder.encode` returns."""

    latent_dist: Posterior


class DecoderOutput(NamedTuple):
    """What `CompactAutoencoder.decode` returns."""

    sample: Tensor
    """(B, in_channels, h, w)."""


class CompactAutoencoder(ConfiguredModule):
    """Latents that are linear in blocks of pixels, and a decoder that draws on top of what they say.

    Pictures come pixel-unshuffled (`ccsr.networks.codec` does that), so `in_channels` is 3 times the block's pixels and
    the latent has one position per block. The encoder is one matrix for all positions; its posterior has no spread.
    The decoder adds to the matrix's inverse what a stack of convolutions makes of the latent and of the low-quality
    picture, one pixel for each block, that it reads out of it.
    """

    deviation: Tensor

    def __init__(
        self,
        in_channels: int = 48,
        latent_channels: int = 16,
        block_out_channels: tuple[int, ...] = (64,),
        decoder_layers: int = 32,
        scaling_factor: float = 1.0,
    ) -> None:
        super().__init__(
            in_channels=in_channels,
            latent_channels=latent_channels,
            block_out_channels=block_out_channels,
            decoder_layers=decoder_layers,
            scaling_factor=scaling_factor,
        )
        self.encoder = nn.Conv2d(in_channels, latent_channels, 1)
        # Of each latent channel before it is whitened. Kept apart from the matrices, whose values then are all of one
        # size: an optimiser moves each by as much, and would shake the small ones of fine detail.
        self.register_buffer("deviation", torch.ones(latent_channels))
        self.decoder = CompactDecoder(in_channels, latent_channels, block_out_channels[0], decoder_layers)

    def encode(self, x: Tensor) -> EncoderOutput:
        """Posterior of (B, in_channels, h, w) in -1..1."""
        return EncoderOutput(Posterior(self.encoder(x) / self.deviation[:, None, None]))

    def decode(self, z: Tensor) -> DecoderOutput:
        """(B, in_channels, h, w), nominally -1..1, of latents (B, latent_channels, h, w)."""
        return DecoderOutput(self.decoder(z, z * self.deviation[:, None, None]))


def sharpness(z: Tensor) -> Tensor:
    """Logarithm of each channel's mean size in the 5x5 positions around, (B, C, h, w): which detail a latent holds.

    Their differences tell how far a picture was enlarged, whatever its contrast.
    """
    return torch.log(avg_pool2d(z.abs(), 5, 1, 2, count_include_pad=False) + 0.01)


def _means(x: Tensor, side: int) -> Tensor:
    """Means of `side` x `side` neighbours, (..., H - side + 1, W - side + 1).

    As avg_pool2d has them, which takes ten times as long on a CPU.
    """
    for axis in (-2, -1):
        length = x.shape[axis] - side + 1
        x = reduce(torch.add, (x.narrow(axis, first, length) for first in range(side))) / side
    return x


def faint_lattice(blocks: Tensor) -> Tensor:
    """The faint pattern that repeats with every k pixels in pixel-unshuffled pictures (B, 3k^2, h, w) in -1..1.

    Each place of a block has weights of its own, whose small differences show as a lattice where a picture is smooth.
    The pattern is what the fine detail of 5x5 blocks has in common; where it is stronger than `_FAINT` it is taken for
    the picture's own, and this is nearly 0.
    """
    side = isqrt(blocks.shape[1] // 3)
    if side % 2 or min(blocks.shape[-2:]) < 3:
        return torch.zeros_like(blocks)
    picture = pixel_shuffle(blocks.float(), side)
    # A box of `side` pixels and one of two: without a trace of the pattern, and centred.
    smooth = _means(_means(pad(picture, [side // 2] * 4, mode="replicate"), side), 2)
    detail = pixel_unshuffle(picture - smooth, side)[..., 1:-1, 1:-1]  # at the border it is the padding's as well
    pattern = _means(pad(detail, [3] * 4, mode="replicate"), 5)
    strength = pattern.square().mean(1, keepdim=True) / _FAINT**2
    return pattern / (1 + strength.square())


class CompactDecoder(nn.Module):
    """`linear(y) + gate(z) * (trunk(lq, z) + correction(lq))`, where `lq = read_lq(y)` is one pixel for each block.

    `z` is the latent and `y` the same with each channel as large as it is in pictures.

    The trunk is a super-resolution network of the kind of "Real-ESRGAN" (the compact one): convolutions with PReLU,
    which predict the difference from the nearest enlargement of `lq`; `correction` starts as the difference of that
    from the bicubic enlargement, which is what `linear` gives back for an enlarged picture. Where the latent holds
    detail of its own, as that of a picture that is not enlarged, the gate closes and `linear` alone gives it back.
    What is drawn has a faint lattice, which is taken off again.
    """

    def __init__(self, out_channels: int, latent_channels: int, width: int, layers: int) -> None:
        super().__init__()
        self.linear = nn.Conv2d(latent_channels, out_channels, 1)
        self.read_lq = nn.Conv2d(latent_channels, 3, 3, padding=1, padding_mode="replicate")
        self.correction = nn.Conv2d(3, out_channels, 5, padding=2, padding_mode="replicate", bias=False)
        self.gate = nn.Conv2d(latent_channels, 1, 1)
        self.conv_in = nn.Conv2d(3 + latent_channels, width, 3, padding=1)
        self.act_in = nn.PReLU(width)
        pairs = ((nn.Conv2d(width, width, 3, padding=1), nn.PReLU(width)) for _ in range(layers))
        self.trunk = nn.Sequential(*(layer for pair in pairs for layer in pair))
        self.conv_out = nn.Conv2d(width, out_channels, 3, padding=1)

    def forward(self, z: Tensor, y: Tensor) -> Tensor:
        """(B, latent_channels, h, w) each to (B, out_channels, h, w)."""
        lq = self.read_lq(y)
        h = self.trunk(self.act_in(self.conv_in(torch.cat([lq, z], 1))))
        drawn = self.conv_out(h) + self.correction(lq)
        gate = torch.sigmoid(self.gate(sharpness(z)))
        out = torch.addcmul(self.linear(y), gate, drawn)
        return out - gate * faint_lattice(out)


class _Residual(nn.Module):
    """`h + scale * (conv, SiLU, conv)`, the first convolution shifted by the timestep."""

    SCALE = 0.2
    """A stack of many starts near the identity, so it needs no norm to train."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1)
        self.time = nn.Linear(_TIME, width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)
        nn.init.zeros_(self.time.weight)
        nn.init.zeros_(self.time.bias)

    def forward(self, h: Tensor, time: Tensor) -> Tensor:
        x = self.conv1(h) + self.time(time)[:, :, None, None]
        return torch.add(h, self.conv2(silu(x)), alpha=self.SCALE)


class TimeEmbedding(nn.Module):
    """Cosines and sines of a timestep, and two linear layers: (B,) to (B, _TIME)."""

    def __init__(self) -> None:
        super().__init__()
        self.linear_1 = nn.Linear(_TIME, _TIME)
        self.linear_2 = nn.Linear(_TIME, _TIME)

    def forward(self, steps: Tensor) -> Tensor:
        """Indices 0..999, each by itself."""
        waves = _TIME // 2
        # Periods from one to ten thousand steps, evenly spaced in their logarithms.
        speeds = torch.exp(-log(10000) * torch.arange(waves, dtype=torch.float32, device=steps.device) / waves)
        angles = steps[:, None].float() * speeds
        waved = torch.cat([angles.cos(), angles.sin()], 1).to(self.linear_1.weight.dtype)
        out: Tensor = self.linear_2(silu(self.linear_1(waved)))
        return out


class _Timed(ConfiguredModule):
    """What both denoising networks share: the timestep's embedding and the residual blocks."""

    def _make(self, in_channels: int, width: int, layers: int) -> None:
        self.time_embedding = TimeEmbedding()
        self.conv_in = nn.Conv2d(in_channels, width, 3, padding=1)
        self.gain = nn.Linear(_TIME, width)
        nn.init.zeros_(self.gain.weight)
        nn.init.constant_(self.gain.bias, _GAIN)
        self.blocks = nn.ModuleList(_Residual(width) for _ in range(layers))

    def _features(self, z_t: Tensor, time: Tensor) -> Tensor:
        """What the noisy latent adds to the features, weighed by timestep: at 999 it is nearly noise alone."""
        features: Tensor = self.conv_in(z_t) * self.gain(time)[:, :, None, None]
        return features

    def _time(self, t: int | float | Tensor, rows: int) -> Tensor:
        """(rows, _TIME) for one index or one for each row."""
        steps = torch.as_tensor(t, device=self.device).reshape(-1).expand(rows)
        return silu(self.time_embedding(steps))


class CompactUNet(_Timed):
    """The denoiser: a stack of residual blocks, which returns the clean latent (prediction type `sample`).

    Called as `UNet2DConditionModel`; the text embedding is not looked at. `down_block_additional_residuals` holds one
    tensor that is added to the features before the first block, `mid_block_additional_residual` is added to the result.
    """

    def __init__(
        self,
        in_channels: int = 16,
        block_out_channels: tuple[int, ...] = (64,),
        layers: int = 8,
        sample_size: int = 128,
        cross_attention_dim: int = 1,
    ) -> None:
        super().__init__(
            in_channels=in_channels,
            block_out_channels=block_out_channels,
            layers=layers,
            sample_size=sample_size,
            cross_attention_dim=cross_attention_dim,
        )
        width = block_out_channels[0]
        self._make(in_channels, width, layers)
        self.conv_out = nn.Conv2d(width, in_channels, 3, padding=1)
        nn.init.zeros_(self.conv_out.weight)
        nn.init.zeros_(self.conv_out.bias)  # type: ignore[arg-type]

    def forward(
        self,
        sample: Tensor,
        timestep: int | Tensor,
        encoder_hidden_states: Tensor | None = None,
        down_block_additional_residuals: tuple[Tensor, ...] | None = None,
        mid_block_additional_residual: Tensor | None = None,
        return_dict: bool = False,
    ) -> tuple[Tensor]:
        """The estimate (B, C, h, w) of the clean latent."""
        time = self._time(timestep, len(sample))
        h = self._features(sample, time)
        for residual in down_block_additional_residuals or ():
            h = h + residual
        first = h
        for block in self.blocks:
            h = block(h, time)
        out = self.conv_out(h + first)
        return (out if mid_block_additional_residual is None else out + mid_block_additional_residual,)


class CompactControlNet(_Timed):
    """What the low-quality picture's latent tells the denoiser: features, and the latent that the estimate starts from.

    Called as `ControlNetModel`. At first the start is the low-quality latent itself, so an untrained pair of networks
    gives back its input.
    """

    def __init__(
        self,
        in_channels: int = 16,
        block_out_channels: tuple[int, ...] = (64,),
        layers: int = 4,
        use_vae_encode_condition: bool = True,
    ) -> None:
        super().__init__(
            in_channels=in_channels,
            block_out_channels=block_out_channels,
            layers=layers,
            use_vae_encode_condition=use_vae_encode_condition,
        )
        width = block_out_channels[0]
        self._make(in_channels, width, layers)
        self.condition_conv_in = nn.Conv2d(in_channels, width, 3, padding=1)
        self.features_out = nn.Conv2d(width, width, 1)
        self.start_out = nn.Conv2d(in_channels, in_channels, 1)
        # The identity. (torch.eye would do, but without memory it needs torch's compiler, whose import takes seconds.)
        nn.init.dirac_(self.start_out.weight)
        nn.init.zeros_(self.start_out.bias)  # type: ignore[arg-type]

    def forward(
        self,
        sample: Tensor,
        timestep: int | Tensor,
        encoder_hidden_states: Tensor | None = None,
        controlnet_cond: Tensor | None = None,
        return_dict: bool = False,
    ) -> tuple[tuple[Tensor, ...], Tensor]:
        """Residuals of the denoiser: its features', (B, width, h, w), and the result's, (B, C, h, w)."""
        time = self._time(timestep, len(sample))
        h = self._features(sample, time) + self.condition_conv_in(controlnet_cond)
        for block in self.blocks:
            h = block(h, time)
        return (self.features_out(h),), self.start_out(controlnet_cond)

    @classmethod
    def for_unet(cls, unet: Any) -> "CompactControlNet":
        """A control network of the width of `unet`, from random weights: it shares none of its layers."""
        return cls(unet.config.in_channels, tuple(unet.config.block_out_channels))

"""Two discriminators for the decoder's training, written from their papers.

PatchGAN judges overlapping patches ("Image-to-Image Translation with Conditional Adversarial Networks"); the projected
one judges the features of a frozen DINO transformer at five depths, conditioned on a class token of the input
(StyleGAN-T, section 3; as ccsr-spec 6.2 has it).
"""

from math import sqrt

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, leaky_relu, pad
from torch.nn.utils.parametrizations import spectral_norm

from ccsr.metrics.features import MEAN, STD
from ccsr.networks.vit import ViT


class PatchGAN(nn.Module):
    """Five 4x4 convolutions, strides 2 2 2 1 1: one logit for each patch of 70 pixels (ccsr-spec 6.3).

    A conditional one sees the enlarged input beside the picture, so that it can tell invented detail from restored.
    """

    def __init__(self, filters: int = 64, layers: int = 3, *, conditional: bool = False) -> None:
        super().__init__()
        self.conditional = conditional
        widths = [filters * min(2**i, 8) for i in range(layers + 1)]
        stack: list[nn.Module] = [nn.Conv2d(6 if conditional else 3, widths[0], 4, 2, 1), nn.LeakyReLU(0.2)]
        for i in range(1, layers + 1):
            stride = 2 if i < layers else 1
            stack += [
                nn.Conv2d(widths[i - 1], widths[i], 4, stride, 1, bias=False),
                nn.BatchNorm2d(widths[i]),
                nn.LeakyReLU(0.2),
            ]
        self.main = nn.Sequential(*stack, nn.Conv2d(widths[-1], 1, 4, 1, 1))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, 0.0, 0.02)
            elif isinstance(module, nn.BatchNorm2d):
                nn.init.normal_(module.weight, 1.0, 0.02)

    def forward(self, picture: Tensor, lq_up: Tensor | None = None) -> Tensor:
        """(B, 3, H, W) in 0..1, and the enlarged input where it is conditional, to logits (B, 1, h, w)."""
        seen = torch.cat([picture, lq_up], 1) if self.conditional and lq_up is not None else picture
        out: Tensor = self.main(2 * seen - 1)
        return out


class _Convolved(nn.Module):
    """Spectrally normalised convolution along the tokens, circular, with its norm and activation."""

    def __init__(self, width: int, kernel: int) -> None:
        super().__init__()
        self.conv = spectral_norm(nn.Conv1d(width, width, kernel, padding=kernel // 2, padding_mode="circular"))
        self.norm = nn.GroupNorm(4, width)

    def forward(self, x: Tensor) -> Tensor:
        return leaky_relu(self.norm(self.conv(x)), 0.2)


class _Head(nn.Module):
    """Logits (B, tokens) for features of one depth, (B, width, tokens), projected on the condition (B, condition)."""

    INNER = 64

    def __init__(self, width: int, condition: int) -> None:
        super().__init__()
        self.first, self.second = _Convolved(width, 1), _Convolved(width, 9)
        self.cls = spectral_norm(nn.Conv1d(width, self.INNER, 1))
        self.map_weight = nn.Parameter(torch.randn(self.INNER, condition))
        self.map_bias = nn.Parameter(torch.zeros(self.INNER))

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        h = self.first(x)
        h = (self.second(h) + h) / sqrt(2)
        direction = condition @ (self.map_weight / sqrt(condition.shape[1])).T + self.map_bias
        out: Tensor = (self.cls(h) * direction[..., None]).sum(1) / sqrt(self.INNER)
        return out


class ProjectedDiscriminator(nn.Module):
    """Heads on the tokens of `features` before the first block and after each quarter of the blocks.

    `semantics` sees the input and gives the condition. Both transformers are frozen; their weights are no part of what
    is trained or saved.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, features: ViT, semantics: ViT) -> None:
        super().__init__()
        self.eyes = _Unsaved(features, semantics)
        self.taps = (0, *(max(1, round(features.depth * k / 4)) for k in range(1, 5)))
        self.heads = nn.ModuleList(_Head(features.width, semantics.width) for _ in self.taps)
        self.register_buffer("mean", torch.tensor(MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(STD).view(1, 3, 1, 1), persistent=False)

    def _apply(self, fn, recurse=True):  # type: ignore[no-untyped-def]
        for eye in self.eyes:
            eye._apply(fn)  # type: ignore[no-untyped-call]
        return super()._apply(fn, recurse)  # type: ignore[no-untyped-call]

    def forward(self, picture: Tensor, lq_up: Tensor, rng: np.random.Generator) -> Tensor:
        """Logits (B, 5 x patches) for pictures (B, 3, H, W) in 0..1 and their enlarged inputs."""
        features, semantics = self.eyes
        with torch.no_grad():
            # Source: ccsr-spec 6.2; without ImageNet's normalisation, as published.
            seen = interpolate(lq_up, (semantics.side,) * 2, mode="bilinear", align_corners=False)
            condition = semantics.class_token(seen)
        x = (augmented(2 * picture - 1, rng) + 1) / 2
        tokens = features.tokens((_fitted(x, features.side, rng) - self.mean) / self.std)
        # Patch tokens with the class token added to each.
        maps = [(tokens[tap][:, 1:] + tokens[tap][:, :1]).transpose(1, 2) for tap in self.taps]
        return torch.cat([head(x, condition) for head, x in zip(self.heads, maps, strict=True)], 1)


class _Unsaved(tuple[ViT, ViT]):
    """A pair of modules that their owner does not list among its own."""

    def __new__(cls, features: ViT, semantics: ViT) -> "_Unsaved":
        return super().__new__(cls, (features, semantics))


def augmented(x: Tensor, rng: np.random.Generator) -> Tensor:
    """Each picture moved by up to an eighth of its sides and with a box of a fifth of them cut out, filled with 0.

    (B, 3, H, W) in -1..1, so that 0 is mid grey. The box's middle may be anywhere, so that up to half of a side lies
    outside; halves are rounded up. Source: "Differentiable Augmentation for Data-Efficient GAN Training"; ccsr-spec
    6.2.
    """
    height, width = x.shape[-2:]
    rows, columns = (int(side / 8 + 0.5) for side in (height, width))
    padded = pad(x, (columns, columns, rows, rows))
    box = tuple(int(side * 0.2 + 0.5) for side in (height, width))
    out = []
    for picture in padded:
        y, x0 = int(rng.integers(2 * rows + 1)), int(rng.integers(2 * columns + 1))
        keep = torch.ones(1, height, width, device=x.device, dtype=x.dtype)
        top, left = (
            int(rng.integers(length + 1 - side % 2)) - side // 2
            for length, side in zip((height, width), box, strict=True)
        )
        keep[:, max(0, top) : top + box[0], max(0, left) : left + box[1]] = 0
        out.append(picture[:, y : y + height, x0 : x0 + width] * keep)
    return torch.stack(out)


def _fitted(x: Tensor, side: int, rng: np.random.Generator) -> Tensor:
    """A random crop of the transformer's size, for half of the batches and where one fits, else all of it reduced."""
    height, width = x.shape[-2:]
    if rng.random() < 0.5 and min(height, width) >= side:
        y, left = int(rng.integers(height - side + 1)), int(rng.integers(width - side + 1))
        return x[..., y : y + side, left : left + side]
    return interpolate(x, (side, side), mode="area")

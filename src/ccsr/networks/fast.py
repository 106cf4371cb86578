"""The stock blocks, computed for inference with less work or more exactly: equal up to rounding, nothing kept.

`prepare` is what every network goes through that upscales pictures: the memory order of its convolutions, and
`accelerate`, which gives the norms and blocks of a network the classes below, and those of `fast_blocks`, in place of
their own. Parameters, their names and the classes of the networks themselves stay as they are, so a network is saved,
moved and inspected as before, and group norms are still called as modules (`ccsr.networks.tiled` replaces their
forward). While gradients are recorded, and for settings of a block that Stable Diffusion does not have, the stock
forward runs.
"""

import sys
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import batch_norm


def prepare(*networks: Any) -> None:
    """Have these networks computed as upscaling does: channels last in memory, their blocks by the faster classes."""
    for network in networks:
        network.to(memory_format=torch.channels_last)
    accelerate(*networks)


def accelerate(*networks: nn.Module) -> None:
    """Have the norms and blocks of these networks computed by the faster classes."""
    faster: dict[type, type] = {nn.GroupNorm: PieceGroupNorm}
    # Whoever has made a network with blocks of diffusers has imported it; other networks do not wait for it.
    if "diffusers" in sys.modules:
        from ccsr.networks.fast_blocks import FASTER

        faster |= FASTER
    for network in networks:
        for module in network.modules():
            if type(module) in faster:
                module.__class__ = faster[type(module)]


_EXACT_ENOUGH = 64 * 64
"""Pixels up to which the stock norm's error is that of float32 (2e-6 of the deviation); at 512x512 it is 4e-4."""
_PIECE = 2**17
"""Values of a picture that are summed up at once: few enough to stay near the processor."""


class PieceGroupNorm(nn.GroupNorm):
    """The norm with statistics that stay exact on large pictures.

    On a CPU, torch adds up float32 pixels that lie channels last one after another in float32, so the sums lose
    digits as they grow. Here each piece has a mean and a sum of squared deviations of its own, and those of the pieces
    are put together in float64 (Chan, Golub and LeVeque 1979).
    """

    def forward(self, x: Tensor) -> Tensor:
        """As the stock norm: (B, C, h, w) to the same."""
        if (
            torch.is_grad_enabled()
            or x.ndim != 4
            or x.shape[-2] * x.shape[-1] <= _EXACT_ENOUGH
            or x.dtype != torch.float32
            or x.device.type != "cpu"
            or self.weight is None
            or not x.is_contiguous(memory_format=torch.channels_last)
        ):
            return super().forward(x)
        if len(x) == 1:
            return self._normalised(x)
        out = torch.empty_like(x)
        for row in range(len(x)):
            out[row : row + 1] = self._normalised(x[row : row + 1])
        return out

    def _normalised(self, x: Tensor) -> Tensor:
        statistics = _group_statistics(x, self.num_groups)
        mean, variance = (v.repeat_interleave(x.shape[1] // self.num_groups).float() for v in statistics)
        # With given statistics this is what a batch norm does, in one pass.
        return batch_norm(x, mean, variance, self.weight, self.bias, eps=self.eps)


def _group_statistics(x: Tensor, groups: int) -> tuple[Tensor, Tensor]:
    """Mean and variance of each group of (1, C, h, w), float64 (groups,)."""
    pixels = x.permute(0, 2, 3, 1).flatten(0, 2)
    pieces = torch.split(pixels, max(1, _PIECE // pixels.shape[1]))
    means = torch.stack([piece.mean(0) for piece in pieces]).double()
    squares = torch.stack(
        [(piece - mean).square_().sum(0) for piece, mean in zip(pieces, means.float(), strict=True)]
    ).double()
    counts = torch.tensor([[len(piece)] for piece in pieces], dtype=torch.float64)
    grouped = (counts * means).sum(0).view(groups, -1).mean(1) / len(pixels)
    between = (means - grouped.repeat_interleave(means.shape[1] // groups)).square()
    return grouped, (squares + counts * between).sum(0).view(groups, -1).mean(1) / len(pixels)

"""Colours of a result follow the input: two fixes, both on tensors (B, 3, H, W) in 0..1 (ccsr-spec 9)."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import conv2d, pad

LEVELS = 5


def adain_color_fix(content: Tensor, style: Tensor) -> Tensor:
    """Give each channel of `content` the mean and deviation of `style`; not clamped.

    The deviation is the root of the unbiased variance plus 1e-5, over all pixels.
    """
    mean_c, mean_s = (x.mean((2, 3), keepdim=True) for x in (content, style))
    std_c, std_s = ((x.var((2, 3), keepdim=True) + 1e-5).sqrt() for x in (content, style))
    return (content - mean_c) / std_c * std_s + mean_s


def wavelet_color_fix(content: Tensor, style: Tensor) -> Tensor:
    """Detail of `content` over the coarse picture of `style`: five levels of a dilated 3x3 blur; not clamped."""
    return content - _coarse(content) + _coarse(style)


def _coarse(x: Tensor) -> Tensor:
    kernel = torch.tensor([[1.0, 2, 1], [2, 4, 2], [1, 2, 1]], dtype=x.dtype, device=x.device) / 16
    weight = kernel.expand(x.shape[1], 1, 3, 3)
    for level in range(LEVELS):
        reach = 2**level
        x = conv2d(pad(x, (reach,) * 4, mode="replicate"), weight, dilation=reach, groups=x.shape[1])
    return x


FIXES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "adain": adain_color_fix,
    "wavelet": wavelet_color_fix,
    "none": lambda content, style: content,
}

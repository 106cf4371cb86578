"""Colours of a result follow the input: two fixes, both on tensors (B, 3, H, W) in 0..1 (ccsr-spec 9).

`fixed_bands` runs them on a picture that is not in memory as a whole, with the same result to the bit.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from ccsr.images.buffers import bands

LEVELS = 5
REACH = sum(2**level for level in range(LEVELS))
"""Rows above and below that the coarse picture of a row depends on."""

Rows = Callable[[int, int], Tensor]
"""(first row, row after the last) to these rows of a picture, (1, 3, rows, W)."""


class ChannelStatistics(NamedTuple):
    """Mean and deviation of each channel, float32 (B, 3, 1, 1); the deviation is the root of the unbiased variance
    plus 1e-5."""

    mean: Tensor
    deviation: Tensor


def channel_statistics(pieces: Iterable[Tensor]) -> ChannelStatistics:
    """Of a picture that comes in pieces (B, 3, h, w); sums are taken in float64."""
    count, total, squares = 0, torch.zeros(()), torch.zeros(())
    for piece in pieces:
        values = piece.double()
        count += values.shape[2] * values.shape[3]
        total = total + values.sum((2, 3), keepdim=True)
        squares = squares + values.square().sum((2, 3), keepdim=True)
    mean = total / count
    variance = (squares / count - mean**2).clamp(min=0) * (count / (count - 1) if count > 1 else torch.nan)
    return ChannelStatistics(mean.float(), (variance + 1e-5).sqrt().float())


def adain_color_fix(content: Tensor, style: Tensor) -> Tensor:
    """Give each channel of `content` the mean and deviation of `style`; not clamped."""
    return _matched(content, *(channel_statistics(x[:, :, top:bottom] for top, bottom in bands(*x.shape[2:]))
                               for x in (content, style)))  # fmt: skip


def wavelet_color_fix(content: Tensor, style: Tensor) -> Tensor:
    """Detail of `content` over the coarse picture of `style`: five levels of a dilated 3x3 blur; not clamped."""
    # The blur is linear: the difference of two coarse pictures is the coarse difference.
    return content + _coarse(style - content)


def _matched(content: Tensor, own: ChannelStatistics, wanted: ChannelStatistics) -> Tensor:
    return (content - own.mean) / own.deviation * wanted.deviation + wanted.mean


def _coarse(x: Tensor) -> Tensor:
    """Five blurs by the outer square of (1, 2, 1) / 4, each reaching twice as far, edges repeated."""
    for level in range(LEVELS):
        reach = 2**level
        for dimension, margins in ((2, (0, 0, reach, reach)), (3, (reach, reach, 0, 0))):
            wide, length = pad(x, margins, mode="replicate"), x.shape[dimension]
            x = wide.narrow(dimension, 0, length).add(x, alpha=2).add_(wide.narrow(dimension, 2 * reach, length))
            x.mul_(0.25)
    return x


FIXES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "adain": adain_color_fix,
    "wavelet": wavelet_color_fix,
    "none": lambda content, style: content,
}


def fixed_bands(name: str, content: Rows, style: Rows, height: int, width: int) -> Iterator[tuple[int, int, Tensor]]:
    """The fix of that name band by band, each as (first row, row after the last, (1, 3, rows, W)); not clamped."""
    pieces = bands(height, width)
    own, wanted = (
        channel_statistics(rows(*piece) for piece in pieces) if name == "adain" else None for rows in (content, style)
    )
    for top, bottom in pieces:
        if own and wanted:
            yield top, bottom, _matched(content(top, bottom), own, wanted)
        elif name == "wavelet":
            first, last = max(0, top - REACH), min(height, bottom + REACH)
            fixed = wavelet_color_fix(content(first, last), style(first, last))
            yield top, bottom, fixed[:, :, top - first : bottom - first]
        else:
            yield top, bottom, content(top, bottom)

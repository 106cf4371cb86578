"""Tiles: where they lie, how they are blended, and a function mapped over them.

Lengths are pixels of the tensor that is cut. Tiles of one grid have one size, so that they can also run as a batch.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from math import pi

import torch
from torch import Tensor

VARIANCE = 0.01
"""Of the Gaussian window, in units of the tile's squared side (ccsr-spec 9)."""


@dataclass(frozen=True)
class Span:
    """One tile along one axis: from `start` for `length`, and the part from `core_start` to `core_stop` that no
    other tile's core covers."""

    start: int
    length: int
    core_start: int
    core_stop: int


@dataclass(frozen=True)
class Grid:
    """Tiles of a (height, width) tensor, rows outer."""

    rows: tuple[Span, ...]
    columns: tuple[Span, ...]

    @property
    def tiles(self) -> list[tuple[Span, Span]]:
        """(row span, column span) of every tile."""
        return [(r, c) for r in self.rows for c in self.columns]

    def cut(self, x: Tensor, tile: tuple[Span, Span]) -> Tensor:
        """One tile of `x`, (B, C, height, width)."""
        row, column = tile
        return x[..., row.start : row.start + row.length, column.start : column.start + column.length]


def spans(length: int, tile: int, stride: int) -> tuple[Span, ...]:
    """Starts 0, stride, 2 stride, ... and a last tile that ends with the axis (ccsr-spec 9); any tile length works."""
    tile = min(tile, length)
    starts = list(range(0, length - tile + 1, max(1, stride)))
    if starts[-1] + tile < length:
        starts.append(length - tile)
    # Cores meet in the middle of each overlap.
    borders = [0, *((a + tile + b) // 2 for a, b in pairwise(starts)), length]
    return tuple(Span(s, tile, borders[i] - s, borders[i + 1] - s) for i, s in enumerate(starts))


def make_grid(height: int, width: int, tile: int, stride: int) -> Grid:
    """The grid of a (height, width) tensor for square tiles."""
    return Grid(spans(height, tile, stride), spans(width, tile, stride))


def window(height: int, width: int, symmetric: bool = True) -> Tensor:
    """Blending weights, float64 (height, width).

    The published window's centre is (w - 1) / 2 across but h / 2 down, half a pixel off: `symmetric` false.
    """

    def profile(length: int, centre: float) -> Tensor:
        offset = (torch.arange(length, dtype=torch.float64) - centre) / length
        return torch.exp(-(offset**2) / (2 * VARIANCE)) / (2 * pi * VARIANCE) ** 0.5

    down = (height - 1) / 2 if symmetric else height / 2
    return torch.outer(profile(height, down), profile(width, (width - 1) / 2))


def map_tiles(
    function: Callable[[list[Tensor]], Tensor],
    inputs: Sequence[Tensor],
    grid: Grid,
    factor: Fraction = Fraction(1),
    symmetric: bool = True,
) -> Tensor:
    """Run `function` on each tile of `inputs` and blend the results.

    Args:
        function: takes the tiles of all inputs, (B, C, h, w) each; returns (B, D, h * factor, w * factor).
        inputs: tensors of the grid's size.
        factor: side of the output in units of the input's.

    Returns:
        Float32 (B, D, H * factor, W * factor) on the first input's device; sums are taken in float32.
    """
    height, width = inputs[0].shape[-2:]
    total = weights = None
    for row, column in grid.tiles:
        out = function([grid.cut(x, (row, column)) for x in inputs])
        weight = window(out.shape[-2], out.shape[-1], symmetric).to(out.device)
        if total is None or weights is None:
            size = (int(height * factor), int(width * factor))
            total = out.new_zeros((*out.shape[:2], *size), dtype=torch.float32)
            weights = torch.zeros(size, dtype=torch.float64, device=out.device)
        top, left = int(row.start * factor), int(column.start * factor)
        area = (..., slice(top, top + out.shape[-2]), slice(left, left + out.shape[-1]))
        total[area] += (out * weight).float()
        weights[area] += weight
    if total is None or weights is None:
        raise ValueError("a grid has at least one tile")
    return (total / weights).float()

"""Tiles: where they lie, how they are blended, and a function mapped over them.

Lengths are pixels of the tensor that is cut. Tiles of one grid have one size, so that they can also run as a batch.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from math import ceil, pi

import torch
from torch import Tensor

from ccsr.images.buffers import bands, zeros
from ccsr.images.stripes import Stripes

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


def even_tile(length: int, tile: int, overlap: int, unit: int) -> int:
    """Length of the smallest tiles, in multiples of `unit`, that cover `length` in as few as tiles of `tile` do."""
    if tile >= length:
        return length
    count = ceil((length - overlap) / (tile - overlap))
    return min(length, ceil((length + (count - 1) * overlap) / count / unit) * unit)


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
    device: torch.device | None = None,
    ready: Mapping[tuple[Span, Span], Tensor] | None = None,
    stripes: Stripes | None = None,
) -> Tensor:
    """Run `function` on each tile of `inputs` and blend the results.

    Args:
        function: takes the tiles of all inputs, (B, C, h, w) each; returns (B, D, h * factor, w * factor).
        inputs: tensors of the grid's size.
        factor: side of the output in units of the input's.
        device: where the result is wanted (default: where the function leaves its own); on the CPU it is a buffer,
            which need not be in memory.
        ready: outputs of tiles that need not be computed.
        stripes: where finished rows of tiles are kept, on the CPU; those that are there need not be computed.

    Returns:
        Float32 (B, D, H * factor, W * factor), rows of pixels one after another; sums are taken in float32.
    """
    height, width = (int(side * factor) for side in inputs[0].shape[-2:])
    total = weight = None
    first = stripes.done if stripes else 0
    for number, row in enumerate(grid.rows[first:], first):
        for column in grid.columns:
            out = ready.get((row, column)) if ready else None
            out = function([grid.cut(x, (row, column)) for x in inputs]) if out is None else out
            if total is None or weight is None:
                total = buffer((len(out), out.shape[1], height, width), device or out.device, stripes)
                weight = window(out.shape[-2], out.shape[-1], symmetric).to(out.device)
            down, across = _area(row, column, factor)
            total[..., down, across] += (out * weight).float().to(total.device)
        if total is None or weight is None:
            raise ValueError("a grid has at least one tile")
        below = [_area(next_row, grid.columns[0], factor)[0] for next_row in grid.rows[number + 1 : number + 2]]
        top, end = below[0].start if below else height, below[0].stop if below else height
        _divide(total, weight, grid, factor, down.start, top)
        if stripes:
            stripes.finish(top, down.stop, end)
    if total is None:
        raise ValueError("a grid has at least one tile")
    return total


def _divide(total: Tensor, weight: Tensor, grid: Grid, factor: Fraction, first: int, last: int) -> None:
    """Divide rows of weighted sums, from `first` to before `last`, by the sums of their weights."""
    width, weight = total.shape[-1], weight.to(total.device)
    for start, stop in bands(last - first, width):
        top, bottom = first + start, first + stop
        sums = torch.zeros(bottom - top, width, dtype=torch.float64, device=total.device)
        for row, column in grid.tiles:
            down, across = _area(row, column, factor)
            upper, lower = max(top, down.start), min(bottom, down.stop)
            if upper < lower:
                sums[upper - top : lower - top, across] += weight[upper - down.start : lower - down.start]
        for y, weights in enumerate(sums, top):  # a row is divided within the processor's cache
            values = total[..., y, :]
            values.copy_(values / weights)


def buffer(shape: tuple[int, int, int, int], device: torch.device, stripes: Stripes | None = None) -> Tensor:
    """Float32 zeros (B, D, H, W), rows of pixels one after another in memory or, on the CPU, in a file; with stripes
    what is there of them."""
    batch, channels, height, width = shape
    stored = (batch, height, width, channels)
    if stripes:
        return torch.from_numpy(stripes.array(stored)).permute(0, 3, 1, 2)
    empty = torch.from_numpy(zeros(stored)) if device.type == "cpu" else torch.zeros(stored, device=device)
    return empty.permute(0, 3, 1, 2)


def taken_up(stripes: Stripes) -> Tensor:
    """A complete tensor, (B, D, H, W)."""
    if stripes.shape is None or not stripes.is_complete:
        raise ValueError("the tensor is not complete")
    return torch.from_numpy(stripes.array(stripes.shape)).permute(0, 3, 1, 2)


def _area(row: Span, column: Span, factor: Fraction) -> tuple[slice, slice]:
    """Where a tile's output lies."""
    down, across = (slice(int(s.start * factor), int((s.start + s.length) * factor)) for s in (row, column))
    return down, across

"""Group norms whose statistics come from the whole picture while a network runs tile by tile.

A network with group norms gives each tile its own brightness and contrast, unless all tiles are normalised alike.
`gather_norms` runs tiles as one batch in step: at each norm the statistics are pooled over the tiles' cores, which
cover every pixel once, used for all of them, and kept. `fixed_norms` then normalises any tile with what was kept.
Attention still sees its own tile only.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import GroupNorm

from ccsr.tiling import Grid, Span, make_grid, map_tiles


class Statistics(NamedTuple):
    """Mean and variance of each group, float32 (rows, groups, 1); rows are the pictures of a guided pair."""

    mean: Tensor
    variance: Tensor


Gathered = dict[GroupNorm, Statistics]


@dataclass(frozen=True)
class TileSettings:
    """How one part of the work is tiled; lengths in pixels of the tensors that are cut."""

    tile: int
    stride: int
    whole_norms: bool = True
    symmetric_window: bool = True
    gather_tile: int = 128
    gather_limit: int = 16
    """Windows of `gather_tile` that pool their statistics: all of the picture's, or this many spread over it."""


def run_tiled(
    modules: Sequence[nn.Module],
    function: Callable[[list[Tensor]], Tensor],
    inputs: Sequence[Tensor],
    settings: TileSettings | None,
    factor: Fraction = Fraction(1),
) -> Tensor:
    """`function` over tiles of `inputs`, (B, C, h, w) each; over the whole for None or where one tile is enough.

    `function` must take any multiple of B rows. Returns (B, D, h * factor, w * factor).
    """
    height, width = inputs[0].shape[-2:]
    if settings is None or settings.tile >= max(height, width):
        return function(list(inputs))
    grid = make_grid(height, width, settings.tile, settings.stride)
    if not settings.whole_norms:
        return map_tiles(function, inputs, grid, factor, settings.symmetric_window)
    windows = _windows(height, width, settings)
    gathered: Gathered = {}
    chosen = _spread(windows.tiles, settings.gather_limit)
    with gather_norms(modules, chosen, gathered):
        out = function([torch.cat([windows.cut(x, tile) for tile in chosen]) for x in inputs])
    if len(chosen) == len(windows.tiles) == len(grid.tiles):
        # Every tile has just run with exactly pooled statistics: only blending is left.
        ready = iter(out.chunk(len(chosen)))
        return map_tiles(lambda _: next(ready), inputs, grid, factor, settings.symmetric_window)
    with fixed_norms(modules, gathered):
        return map_tiles(function, inputs, grid, factor, settings.symmetric_window)


def count_tiles(height: int, width: int, settings: TileSettings | None) -> int:
    """Tiles that `run_tiled` sends through the networks, those that only gather statistics included."""
    if settings is None or settings.tile >= max(height, width):
        return 1
    tiles = len(make_grid(height, width, settings.tile, settings.stride).tiles)
    if not settings.whole_norms:
        return tiles
    windows = len(_windows(height, width, settings).tiles)
    chosen = min(windows, settings.gather_limit)
    return chosen if chosen == windows == tiles else chosen + tiles


def _windows(height: int, width: int, settings: TileSettings) -> Grid:
    """The tiles that statistics are gathered from."""
    overlap = settings.tile - settings.stride
    side = min(settings.gather_tile + overlap, settings.tile)
    return make_grid(height, width, side, max(1, side - overlap))


def _spread(tiles: list[tuple[Span, Span]], limit: int) -> list[tuple[Span, Span]]:
    """At most `limit` of the tiles, evenly spread over the list."""
    if len(tiles) <= limit:
        return tiles
    return [tiles[i * len(tiles) // limit + len(tiles) // (2 * limit)] for i in range(limit)]


def norms_of(modules: Sequence[nn.Module]) -> list[GroupNorm]:
    """Every group norm of the networks."""
    return [m for module in modules for m in module.modules() if isinstance(m, GroupNorm)]


@contextmanager
def gather_norms(
    modules: Sequence[nn.Module], tiles: Sequence[tuple[Span, Span]], gathered: Gathered
) -> Iterator[None]:
    """Inside, a batch made of `tiles` in order (each with the same number of rows) is normalised with pooled values.

    The pooled statistics of each norm are left in `gathered`.
    """

    def forward(norm: GroupNorm, x: Tensor) -> Tensor:
        rows = len(x) // len(tiles)
        groups = _grouped(norm, x)
        # Sums over each tile's core, in float64: the mean of squares minus the squared mean loses digits in float32.
        totals = torch.zeros(3, rows, norm.num_groups, 1, dtype=torch.float64, device=x.device)
        for i, tile in enumerate(tiles):
            core = _core(groups[i * rows : (i + 1) * rows], tile, x.ndim).double()
            totals[0] += core.shape[-1]
            totals[1] += core.sum(-1, keepdim=True)
            totals[2] += core.square().sum(-1, keepdim=True)
        mean = totals[1] / totals[0]
        variance = (totals[2] / totals[0] - mean**2).clamp(min=0)
        gathered[norm] = Statistics(mean.float(), variance.float())
        return _normalise(norm, x, gathered[norm])

    with _replaced(modules, forward):
        yield


@contextmanager
def fixed_norms(modules: Sequence[nn.Module], gathered: Gathered) -> Iterator[None]:
    """Inside, every group norm uses the gathered statistics."""

    def forward(norm: GroupNorm, x: Tensor) -> Tensor:
        return _normalise(norm, x, gathered[norm])

    with _replaced(modules, forward):
        yield


@contextmanager
def _replaced(modules: Sequence[nn.Module], forward: Any) -> Iterator[None]:
    norms = norms_of(modules)
    for norm in norms:
        setattr(norm, "forward", forward.__get__(norm))  # noqa: B010 -- a method, of this one object
    try:
        yield
    finally:
        for norm in norms:
            del norm.forward


def _grouped(norm: GroupNorm, x: Tensor) -> Tensor:
    return x.float().reshape(len(x), norm.num_groups, x.shape[1] // norm.num_groups, *x.shape[2:])


def _core(groups: Tensor, tile: tuple[Span, Span], dimensions: int) -> Tensor:
    """(rows, groups, values) of a tile's core; spans are scaled to the layer's resolution."""
    if dimensions == 4:
        row, column = (
            slice(round(s.core_start * n / s.length), max(1, round(s.core_stop * n / s.length)))
            for s, n in zip(tile, groups.shape[-2:], strict=True)
        )
        groups = groups[..., row, column]
    return groups.flatten(2)


def _normalise(norm: GroupNorm, x: Tensor, statistics: Statistics) -> Tensor:
    per_group = x.shape[1] // norm.num_groups
    repeats = len(x) // len(statistics.mean)
    shape = (len(x), x.shape[1], *(1,) * (x.ndim - 2))
    scale = torch.rsqrt(statistics.variance + norm.eps)
    mean, scale = (
        v.expand(-1, -1, per_group).reshape(len(v), -1).repeat(repeats, 1).reshape(shape)
        for v in (statistics.mean, scale)
    )
    weight, bias = (p.float().view(1, -1, *(1,) * (x.ndim - 2)) for p in (norm.weight, norm.bias))
    # One multiplication and one addition per value: mean and weight fold into them.
    return torch.addcmul(bias - mean * scale * weight, x.float(), scale * weight).to(x.dtype)

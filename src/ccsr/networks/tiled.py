"""Group norms whose statistics come from the whole picture while a network runs tile by tile.

A network with group norms gives each tile its own brightness and contrast, unless all tiles are normalised alike.
`gather_norms` runs tiles as one batch in step: at each norm the statistics are pooled over the tiles' cores, which
no two tiles share, used for all of them, and kept. `fixed_norms` then normalises any tile with what was kept. The
tiles that run in step are spread over the picture and are done with that: no tile is computed twice. Where so few of
them would fit into memory that they cannot stand for the picture, small windows are run in step instead.
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
from torch.nn.functional import batch_norm

from ccsr.images.stripes import following
from ccsr.networks.tiling import Grid, Span, even_tile, make_grid, map_tiles, spans, taken_up


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
    unit: int | None = None
    """Tiles may be smaller than `tile`, in multiples of this, so that they cover a side evenly; None: they may not."""
    together: int = 16
    """Tiles that may run in step."""
    gather_tile: int = 128
    gather_limit: int = 16
    """Windows of `gather_tile` that run in step where too few tiles may: all of the picture's, or this many."""

    def grid(self, height: int, width: int) -> Grid:
        """The tiles of a (height, width) tensor."""
        overlap = self.tile - self.stride
        if self.unit is None:
            return make_grid(height, width, self.tile, self.stride)
        down, across = (even_tile(side, self.tile, overlap, self.unit) for side in (height, width))
        return Grid(spans(height, down, down - overlap), spans(width, across, across - overlap))


_ENOUGH = 4
"""Tiles in step that can stand for a picture."""


def run_tiled(
    modules: Sequence[nn.Module],
    function: Callable[[list[Tensor]], Tensor],
    inputs: Sequence[Tensor],
    settings: TileSettings | None,
    factor: Fraction = Fraction(1),
    device: torch.device | None = None,
    keep: bool = True,
) -> Tensor:
    """`function` over tiles of `inputs`, (B, C, h, w) each; over the whole for None or where one tile is enough.

    `function` must take any multiple of B rows. Returns (B, D, h * factor, w * factor), on `device` (None: where the
    function leaves it). Without `keep` it is computed again where a stopped picture goes on.
    """
    height, width = inputs[0].shape[-2:]
    if settings is None or settings.tile >= max(height, width):
        whole = function(list(inputs))
        return whole if device is None else whole.to(device)
    grid = settings.grid(height, width)
    stripes = following() if keep else None
    if stripes and stripes.is_complete:
        return taken_up(stripes)
    if not settings.whole_norms or not norms_of(modules):
        return map_tiles(function, inputs, grid, factor, settings.symmetric_window, device, stripes=stripes)
    in_step, ready = _in_step(grid, settings, height, width)
    gathered: Gathered = {}
    with gather_norms(modules, in_step.tiles, gathered):
        out = function([torch.cat([in_step.grid.cut(x, tile) for tile in in_step.tiles]) for x in inputs])
    kept = dict(zip(in_step.tiles, out.chunk(len(in_step.tiles)), strict=True)) if ready else {}
    del out
    with fixed_norms(modules, gathered):
        return map_tiles(function, inputs, grid, factor, settings.symmetric_window, device, kept, stripes)


def count_tiles(height: int, width: int, settings: TileSettings | None) -> int:
    """Tiles that `run_tiled` sends through the networks, those that only gather statistics included."""
    if settings is None or settings.tile >= max(height, width):
        return 1
    grid = settings.grid(height, width)
    if not settings.whole_norms:
        return len(grid.tiles)
    in_step, ready = _in_step(grid, settings, height, width)
    return len(grid.tiles) + (0 if ready else len(in_step.tiles))


class _InStep(NamedTuple):
    """The tiles that run as one batch, and the grid that they are of."""

    grid: Grid
    tiles: list[tuple[Span, Span]]


def _in_step(grid: Grid, settings: TileSettings, height: int, width: int) -> tuple[_InStep, bool]:
    """What runs in step, and whether these are tiles of the grid, which are done then."""
    if settings.together >= min(_ENOUGH, len(grid.tiles)):
        return _InStep(grid, _spread(grid, settings.together)), True
    windows = _windows(height, width, settings)
    return _InStep(windows, _spread(windows, settings.gather_limit)), False


def _windows(height: int, width: int, settings: TileSettings) -> Grid:
    """The tiles that statistics are gathered from."""
    overlap = settings.tile - settings.stride
    side = min(settings.gather_tile + overlap, settings.tile)
    return make_grid(height, width, side, max(1, side - overlap))


def _spread(grid: Grid, limit: int) -> list[tuple[Span, Span]]:
    """At most `limit` tiles, evenly spread: every so many on a path through the rows, each begun one tile further on
    than the one above, so that no column is preferred."""
    if len(grid.tiles) <= limit:
        return grid.tiles
    path = [(row, grid.columns[(i + j) % len(grid.columns)]) for i, row in enumerate(grid.rows)
            for j in range(len(grid.columns))]  # fmt: skip
    return [path[i * len(path) // limit + len(path) // (2 * limit)] for i in range(limit)]


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
        totals = torch.zeros(3, rows, x.shape[1], dtype=torch.float64, device=x.device)
        for i, tile in enumerate(tiles):
            for row in range(rows):
                totals[:, row] += _sums(_core(x[i * rows + row], tile))
        count, total, squares = totals.view(3, rows, norm.num_groups, -1).sum(-1, keepdim=True)
        mean = total / count
        variance = (squares / count - mean**2).clamp(min=0)
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


def _core(x: Tensor, tile: tuple[Span, Span]) -> Tensor:
    """A tile's core of (C, h, w), spans scaled to the layer's resolution; all of (C, n), which has no rows."""
    if x.ndim != 3:
        return x
    row, column = (
        slice(round(s.core_start * n / s.length), max(1, round(s.core_stop * n / s.length)))
        for s, n in zip(tile, x.shape[-2:], strict=True)
    )
    return x[:, row, column]


_PIECE = 2**17
"""Values that are summed up at once: few enough to stay near the processor."""


def _sums(x: Tensor) -> Tensor:
    """Count, sum and sum of squares of each channel of (C, h, w) or (C, n), float64 (3, C).

    In float32 the mean of squares minus the squared mean would lose digits.
    """
    totals = torch.zeros(3, len(x), dtype=torch.float64, device=x.device)
    for piece in torch.split(x, max(1, _PIECE * x.shape[1] // x.numel()), dim=1):
        values = piece.flatten(1).T.double()
        totals += torch.stack([torch.full_like(values[0], len(values)), values.sum(0), values.square().sum(0)])
    return totals


def _normalise(norm: GroupNorm, x: Tensor, statistics: Statistics) -> Tensor:
    per_group = x.shape[1] // norm.num_groups
    means, variances = (v.expand(-1, -1, per_group).flatten(1) for v in statistics)
    rows = len(means)

    def normalised(part: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
        # With fixed statistics this is what a batch norm does, in one pass and float32 inside.
        return batch_norm(part, mean, variance, norm.weight.float(), norm.bias.float(), eps=norm.eps)

    if rows == 1:
        return normalised(x, means[0], variances[0])
    out = torch.empty_like(x)
    for row in range(rows):
        out[row::rows] = normalised(x[row::rows], means[row], variances[row])
    return out

"""Where tiles lie, how they blend, and that tiles of a normalising network agree with the whole."""

from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from ccsr.networks.tiled import TileSettings, count_tiles, run_tiled
from ccsr.networks.tiling import even_tile, make_grid, map_tiles, spans, window


def test_published_starts() -> None:
    # The published tiling of an 80x104 latent, as recorded in the specification.
    assert [s.start for s in spans(80, 64, 32)] == [0, 16]
    assert [s.start for s in spans(104, 64, 32)] == [0, 32, 40]


def test_published_window() -> None:
    w = window(64, 64, symmetric=False)
    assert float(w.max()) == pytest.approx(15.867, rel=1e-4)
    assert divmod(int(w.argmax()), 64)[0] == 32
    assert float(w[0, 0]) == pytest.approx(3.2567e-10, rel=1e-4)
    assert float(w[63, 63]) == pytest.approx(7.0270e-10, rel=1e-4)
    symmetric = window(64, 64)
    assert torch.equal(symmetric, symmetric.flip(0, 1))


@given(st.integers(1, 200), st.integers(1, 80), st.integers(1, 80))
def test_cores_cover_every_pixel_once(length: int, tile: int, stride: int) -> None:
    covered = []
    for span in spans(length, tile, min(stride, tile)):
        assert span.start >= 0
        assert span.start + span.length <= length
        assert 0 <= span.core_start < span.core_stop <= span.length
        covered += range(span.start + span.core_start, span.start + span.core_stop)
    assert covered == list(range(length))


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 60), st.integers(1, 60), st.integers(4, 40), st.integers(2, 40))
def test_blending_gives_back_what_went_in(height: int, width: int, tile: int, stride: int) -> None:
    x = torch.rand(1, 3, height, width)
    grid = make_grid(height, width, tile, min(stride, tile))
    doubled = map_tiles(lambda t: t[0].repeat_interleave(2, -1).repeat_interleave(2, -2), [x], grid, Fraction(2))
    torch.testing.assert_close(doubled, x.repeat_interleave(2, -1).repeat_interleave(2, -2), atol=1e-5, rtol=0)


def _network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1),
        nn.GroupNorm(4, 16),
        nn.SiLU(),
        nn.Conv2d(16, 16, 3, stride=2, padding=1),
        nn.GroupNorm(2, 16),
        nn.SiLU(),
        nn.Conv2d(16, 3, 3, padding=1),
    ).eval()


def _uneven(height: int, width: int) -> torch.Tensor:
    """Bright at the top, dark below: tiles that look at themselves alone differ most on it."""
    ramp = torch.linspace(3, -3, height).view(1, 1, -1, 1).expand(1, 3, height, width)
    return ramp + 0.3 * torch.randn(1, 3, height, width, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(("gather_tile", "limit"), [(64, 100), (32, 100)])
@torch.no_grad()
def test_shared_norms_agree_with_the_whole(gather_tile: int, limit: int) -> None:
    network, x = _network(), _uneven(192, 128)
    whole = network(x)
    shared = run_tiled(
        [network],
        lambda t: network(t[0]),
        [x],
        TileSettings(64, 48, gather_tile=gather_tile, gather_limit=limit),
        Fraction(1, 2),
    )
    alone = run_tiled([network], lambda t: network(t[0]), [x], TileSettings(64, 48, whole_norms=False), Fraction(1, 2))
    assert float((shared - whole).abs().mean()) < 0.02 * float(whole.std())
    assert float((alone - whole).abs().mean()) > 0.2 * float(whole.std())


@torch.no_grad()
def test_norms_are_left_as_they_were() -> None:
    network, x = _network(), _uneven(96, 96)
    before = network(x)
    run_tiled([network], lambda t: network(t[0]), [x], TileSettings(48, 32), Fraction(1, 2))
    assert torch.equal(network(x), before)


@torch.no_grad()
def test_one_tile_is_the_whole_to_the_bit() -> None:
    network, x = _network(), _uneven(64, 48)
    tiled = run_tiled([network], lambda t: network(t[0]), [x], TileSettings(64, 32), Fraction(1, 2))
    assert torch.equal(tiled, network(x))


@torch.no_grad()
def test_two_rows_keep_their_own_statistics() -> None:
    network = _network()
    x = torch.cat([_uneven(96, 96), -0.5 * _uneven(96, 96)])
    both = run_tiled([network], lambda t: network(t[0]), [x], TileSettings(64, 32), Fraction(1, 2))
    for i in range(2):
        one = run_tiled([network], lambda t: network(t[0]), [x[i : i + 1]], TileSettings(64, 32), Fraction(1, 2))
        torch.testing.assert_close(both[i : i + 1], one, atol=1e-4, rtol=1e-4)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 300), st.integers(2, 12), st.integers(0, 7), st.sampled_from([4, 8]))
def test_even_tiles_cover_a_side_in_as_few_but_smaller_ones(length: int, tiles: int, overlap: int, unit: int) -> None:
    length, largest, overlap = length * unit, tiles * unit, min(overlap, tiles - 1) * unit
    side = even_tile(length, largest, overlap, unit)
    assert side <= min(largest, length)
    assert side % unit == 0
    assert len(spans(length, side, side - overlap)) <= len(spans(length, largest, largest - overlap))
    covered = sum(s.length for s in spans(length, side, side - overlap))
    # What is covered twice is the margins, and less than a unit for each tile.
    count = len(spans(length, side, side - overlap))
    assert covered <= length + (count - 1) * overlap + count * unit


@torch.no_grad()
def test_tiles_that_run_in_step_are_not_computed_again() -> None:
    network, x = _network(), _uneven(192, 128)
    rows: list[int] = []

    def counted(tiles: list[torch.Tensor]) -> torch.Tensor:
        rows.append(len(tiles[0]))
        return network(tiles[0])

    chosen = TileSettings(64, 48, unit=8, together=5)
    run_tiled([network], counted, [x], chosen, Fraction(1, 2))
    assert rows[0] == 5
    assert sum(rows) == len(chosen.grid(192, 128).tiles) == count_tiles(192, 128, chosen)
    rows.clear()
    few = TileSettings(64, 48, unit=8, together=2, gather_tile=32, gather_limit=6)
    run_tiled([network], counted, [x], few, Fraction(1, 2))
    assert (rows[0], sum(rows)) == (6, count_tiles(192, 128, few)), "windows, then all tiles"

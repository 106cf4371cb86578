"""Plans: what is computed side by side, and what alone."""

import os

import pytest

from ccsr.options import UpscaleOptions
from ccsr.plan import Plan, make_plan, output_size
from ccsr.weights import describe


@pytest.fixture
def _four_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 1, 2, 3}, raising=False)


def plan(tiny: str, side: int, **options: object) -> Plan:
    return make_plan(side, side, UpscaleOptions.from_mapping({"device": "cpu", **options}), describe(tiny))


@pytest.mark.usefixtures("_four_cores")
def test_only_small_pictures_without_tiles_are_computed_side_by_side(tiny: str) -> None:
    assert (plan(tiny, 64).lanes, plan(tiny, 64).threads) == (4, 1)
    assert (plan(tiny, 65).lanes, plan(tiny, 65).threads) == (1, 4)
    # The statistics that tiles share are kept in the networks, so that two tiled pictures would mix theirs.
    for tiles in ({"tile": 128}, {"vae_tile": 128}, {"tile": 128, "vae_tile": 128}):
        assert plan(tiny, 64, **tiles).lanes == 1, tiles
    assert plan(tiny, 64, tile=256).lanes == 4, "one tile is none"
    assert plan(tiny, 64, threads=2).lanes == 1, "threads that were asked for are given to each picture"


def test_the_first_program_rounds_sides_up() -> None:
    asked = {"scale": "5/2"}
    assert output_size(61, 33, UpscaleOptions.from_mapping(asked | {"compat": "v1"})) == (153, 83)
    assert output_size(61, 33, UpscaleOptions.from_mapping(asked)) == (152, 82)

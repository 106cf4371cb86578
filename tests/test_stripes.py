"""A large picture that was stopped goes on with what is finished of it, and comes to the same bytes."""

import shutil
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch

from ccsr import CCSRPipeline
from ccsr.images import buffers, stripes
from ccsr.jobs import runner
from ccsr.jobs.names import JOURNAL_NAME
from ccsr.networks.tiling import make_grid, map_tiles, taken_up
from ccsr.options import UpscaleOptions
from ccsr.weights import describe
from helpers import write_picture


class Stopped(BaseException):
    """As Ctrl-C."""


def _doubled(stop_at: int | None = None) -> tuple[Callable[[list[torch.Tensor]], torch.Tensor], list[int]]:
    """A function of tiles that gives each pixel four times, and the tiles it was called for."""
    calls: list[int] = []

    def function(tiles: list[torch.Tensor]) -> torch.Tensor:
        if len(calls) == stop_at:
            raise Stopped
        calls.append(1)
        return tiles[0].repeat_interleave(2, -1).repeat_interleave(2, -2)

    return function, calls


@pytest.mark.parametrize("stop_at", range(12))
def test_tiles_go_on_after_the_last_finished_row_of_them(tmp_path: Path, stop_at: int) -> None:
    x = torch.from_numpy(np.random.RandomState(0).rand(2, 3, 41, 30).astype(np.float32))
    grid = make_grid(41, 30, 16, 8)
    assert (len(grid.rows), len(grid.columns)) == (5, 3)
    whole = map_tiles(_doubled()[0], [x], grid, Fraction(2))

    def kept(function: Callable[[list[torch.Tensor]], torch.Tensor]) -> torch.Tensor:
        with stripes.keeping(tmp_path / "kept"):
            stripes.begin("fp32")
            assert stripes.following() is not None, "of another tensor"
            return map_tiles(function, [x], grid, Fraction(2), stripes=stripes.following())

    with pytest.raises(Stopped):
        kept(_doubled(stop_at)[0])
    function, calls = _doubled()
    assert torch.equal(kept(function), whole)
    assert len(calls) == 15 - stop_at // 3 * 3
    function, calls = _doubled()
    with stripes.keeping(tmp_path / "kept"):
        stripes.begin("fp32")
        stripes.following()
        complete = stripes.following()
        assert complete is not None
        assert complete.is_complete
        assert torch.equal(taken_up(complete), whole)


def test_what_is_damaged_is_made_anew(tmp_path: Path) -> None:
    x = torch.rand(1, 3, 40, 16)
    grid = make_grid(40, 16, 16, 8)
    whole = map_tiles(_doubled()[0], [x], grid, Fraction(2))

    def kept(stop_at: int | None = None) -> torch.Tensor:
        with stripes.keeping(tmp_path / "kept"):
            stripes.begin("fp32")
            return map_tiles(_doubled(stop_at)[0], [x], grid, Fraction(2), stripes=stripes.following())

    for damage in (b"", b"no archive", None):
        with pytest.raises(Stopped):
            kept(2)
        (state,), (values,) = (list((tmp_path / "kept").glob(f"*.{end}")) for end in ("npz", "values"))
        if damage is None:
            values.write_bytes(values.read_bytes()[:-4])
        else:
            state.write_bytes(damage)
        assert torch.equal(kept(), whole)
        shutil.rmtree(tmp_path / "kept")


@pytest.fixture(scope="module")
def pipe(tiny: str) -> CCSRPipeline:
    return CCSRPipeline.from_pretrained(tiny)


@pytest.mark.parametrize("how", [{}, {"steps": 2}, {"tile": "none"}])
def test_a_stopped_picture_goes_on_to_the_same_bytes(
    tmp_path: Path, tiny: str, pipe: CCSRPipeline, monkeypatch: pytest.MonkeyPatch, how: dict[str, object]
) -> None:
    monkeypatch.setattr(buffers, "RESIDENT", 1000)
    monkeypatch.setattr("ccsr.plan.RESIDENT", 1000)
    write_picture(tmp_path / "in" / "a.png", 60, 44)
    options = UpscaleOptions.from_mapping({"dtype": "fp32", "threads": 1, "tile": 64, "vae_tile": 64, **how}, "cli")
    out = tmp_path / "out"

    def run(to: str, stop_after: int | None = None) -> tuple[runner.Summary, int]:
        heard = 0

        def listen(event: runner.Event) -> None:
            nonlocal heard
            if isinstance(event, runner.Advanced):
                heard += 1
                if heard == stop_after:
                    raise runner.Stop

        job = runner.Job([tmp_path / "in"], describe(tiny), f"{tmp_path / to}/")
        return runner.run(job, lambda: pipe, options, listen), heard

    summary, all_steps = run("whole")
    assert summary.done == 1
    assert sorted(p.name for p in (tmp_path / "whole").iterdir()) == [JOURNAL_NAME, "a.png"]
    stops = 0
    for _ in range(4):
        summary, heard = run("out", stop_after=all_steps * 2 // 5)
        if not summary.interrupted:
            break
        stops += 1
        assert summary.kept == [out / "a.png"]
        assert len([p for p in out.iterdir() if p.suffix == ".ccsr-kept"]) == 1
    assert 1 <= stops < 4, "each run comes further than the one before"
    assert summary.done == 1
    assert heard < all_steps
    assert (out / "a.png").read_bytes() == (tmp_path / "whole" / "a.png").read_bytes()
    assert sorted(p.name for p in out.iterdir()) == [JOURNAL_NAME, "a.png"]


def test_stripes_of_another_making_are_not_taken_up(
    tmp_path: Path, tiny: str, pipe: CCSRPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ccsr.plan.RESIDENT", 1000)
    source = write_picture(tmp_path / "a.png", 60, 44)

    def run(seed: int, *, stop: bool) -> runner.Summary:
        def listen(event: runner.Event) -> None:
            if stop and isinstance(event, runner.Advanced) and event.stage == "decode":
                raise runner.Stop

        mapping = {"dtype": "fp32", "threads": 1, "tile": 64, "vae_tile": 64, "seed": seed}
        return runner.run(
            runner.Job([source], describe(tiny), str(tmp_path / "b.png"), overwrite=True),
            lambda: pipe, UpscaleOptions.from_mapping(mapping, "cli"), listen,
        )  # fmt: skip

    assert run(1, stop=True).kept == [tmp_path / "b.png"]
    (left,) = tmp_path.glob(".*.ccsr-kept")
    assert run(2, stop=True).interrupted
    (other,) = tmp_path.glob(".*.ccsr-kept")
    assert other != left, "what nobody will go on with is gone"
    write_picture(source, 60, 44, seed=9)
    assert run(2, stop=False).done == 1
    assert list(tmp_path.glob(".*.ccsr-kept")) == []
    goes_on = (tmp_path / "b.png").read_bytes()
    assert run(2, stop=False).done == 1
    assert (tmp_path / "b.png").read_bytes() == goes_on

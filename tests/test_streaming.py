"""Large pictures go through buffers on disk, band by band: the same results, flat memory, no trace."""

import errno
import resource
import weakref
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from ccsr import CCSRPipeline, ImageError, images
from ccsr import plan as plan_module
from ccsr.cli.main import main
from ccsr.images import buffers
from ccsr.jobs import runner
from ccsr.options import UpscaleOptions
from ccsr.pipeline import Upscaler
from ccsr.plan import make_plan
from ccsr.weights import describe
from helpers import write_picture


@pytest.fixture(scope="module")
def pipe(tiny: str) -> CCSRPipeline:
    pipeline = CCSRPipeline.from_pretrained(tiny)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """Call its `setattr`s off to be wide again: nearly everything goes to disk, a few rows at a time."""
    with monkeypatch.context() as patch:
        yield patch


def _narrow(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(buffers, "RESIDENT", 1000)
    patch.setattr(buffers, "BAND", 1)
    patch.setattr(buffers, "_SLIMMEST", 7)


def _photo(width: int, height: int) -> np.ndarray:
    noise = np.random.default_rng(0).random((height // 4 + 2, width // 4 + 2, 3)) * 255
    small = Image.fromarray(noise.astype(np.uint8)).resize((width, height), Image.Resampling.BICUBIC)
    return np.asarray(small, np.float32) / 255


@pytest.mark.parametrize(
    "options",
    [
        {"color_fix": "wavelet"},
        {"color_fix": "none"},
        {"color_fix": "wavelet", "tile": 64, "vae_tile": 64},
        {"color_fix": "wavelet", "scale": 2.37, "blend": 0.6, "steps": 3, "tile": 64, "vae_tile": 64},
        {"color_fix": "wavelet", "compat": "v2", "min_size": 64, "tile": 64, "vae_tile": 64},
        {"color_fix": "none", "scale": 1, "min_size": 80},
        {"color_fix": "adain"},
        {"color_fix": "adain", "compat": "v2", "min_size": 64, "tile": 64, "vae_tile": 64},
    ],
)
def test_bands_on_disk_equal_the_whole_in_memory(
    pipe: CCSRPipeline, narrow: pytest.MonkeyPatch, options: dict[str, object]
) -> None:
    photo = _photo(41, 38)
    chosen = UpscaleOptions.from_mapping({"dtype": "fp32", "threads": 1, **options})
    plan = make_plan(41, 38, chosen, pipe.description)
    whole = pipe.upscale(photo, chosen, plan, sample=1).sr
    _narrow(narrow)
    streamed = pipe.upscale(photo, chosen, plan, sample=1).sr
    # The sums of adain are taken in float64 band by band, and a last bit may come from the place of the bands.
    bound = 1e-6 if options["color_fix"] == "adain" else 0.0
    np.testing.assert_allclose(streamed, whole, rtol=0, atol=bound)


def test_what_a_large_picture_takes_of_the_disk_is_planned(tiny_compact: str, narrow: pytest.MonkeyPatch) -> None:
    """At 4 times the size the result takes the place of the enlarged input; at 2 times, which this model reduces from
    4, it has room of its own."""
    upscaler, photo = Upscaler.load(tiny_compact), _photo(96, 64)
    held = most = 0
    real = buffers.mapped

    def counted(*what: Any, **how: Any) -> Any:
        nonlocal held, most
        array = real(*what, **how)
        held += array.nbytes
        most = max(most, held)
        weakref.finalize(array, gone, array.nbytes)
        return array

    def gone(size: int) -> None:
        nonlocal held
        held -= size

    _narrow(narrow)
    narrow.setattr(plan_module, "RESIDENT", 1000)
    narrow.setattr(buffers, "mapped", counted)
    for options, each in (({}, 24 + 4), ({"scale": 2, "min_scale": 4}, 4 * (24 + 4) + 12)):
        most = 0
        chosen = UpscaleOptions.from_mapping({"threads": 1, "tile": 128, "vae_tile": 128, **options})
        plan = make_plan(96, 64, chosen, upscaler.description)
        before = photo.copy()
        result = upscaler.upscale(photo, chosen, plan).sr
        assert (photo == before).all()
        pixels = result.shape[0] * result.shape[1]
        assert most <= plan.disk_bytes <= (each + 12 + 6) * pixels, options
        assert most > 0.8 * each * pixels, options
        del result


def test_a_picture_that_is_not_enlarged_is_not_written_over(pipe: CCSRPipeline, narrow: pytest.MonkeyPatch) -> None:
    photo = _photo(64, 64)
    before = photo.copy()
    chosen = UpscaleOptions.from_mapping({"scale": 1, "threads": 1})
    plan = make_plan(64, 64, chosen, pipe.description)
    _narrow(narrow)
    result = pipe.upscale(photo, chosen, plan).sr
    assert (photo == before).all()
    assert not np.may_share_memory(result, photo)


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.webp", "a.jpg", "a.avif"])
def test_a_job_writes_the_same_bytes(
    tmp_path: Path, tiny: str, pipe: CCSRPipeline, narrow: pytest.MonkeyPatch, name: str
) -> None:
    values = np.dstack([_photo(29, 33), _photo(29, 33)[..., 0].clip(0.2) - 0.2])
    picture = images.Picture(np.ascontiguousarray(values[..., :3]), np.ascontiguousarray(values[..., 3]), 16)
    images.save(picture, tmp_path / "in" / name) if (tmp_path / "in").mkdir() is None else None
    options = UpscaleOptions.from_mapping(
        {"color_fix": "wavelet", "samples": 2, "stability_map": True, "tile": 64, "vae_tile": 64}, interface="cli"
    )

    def run(to: str) -> dict[str, bytes]:
        summary = runner.run(runner.Job([tmp_path / "in"], describe(tiny), f"{tmp_path / to}/"), lambda: pipe, options)
        assert (summary.done, summary.failed) == (2, 0)
        found = {p.relative_to(tmp_path / to).as_posix(): p.read_bytes() for p in (tmp_path / to).rglob("a*")}
        assert len(found) == 4, "two samples, the map and its overlay"
        return found

    whole = run("whole")
    _narrow(narrow)
    assert run("streamed") == whole


def test_no_room_is_told_and_leaves_nothing(
    tmp_path: Path, tiny: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_picture(tmp_path / "in" / "a.png", 64, 64)
    words = ["upscale", str(tmp_path / "in"), "-o", str(tmp_path / "out"), "-m", tiny, "-s", "2", "--threads", "1"]
    monkeypatch.setattr(buffers, "RESIDENT", 1000)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))  # as a quota does: writing beyond fails
    try:
        assert main(words) == 1
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    line = next(line for line in capsys.readouterr().err.splitlines() if "working file" in line)
    assert line == (
        f"error: {tmp_path / 'in' / 'a.png'}: no working file of 0.00 GB in {tmp_path / 'out'}: File too large"
    )
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [".ccsr-journal.sqlite"]


def test_a_buffer_has_no_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(buffers, "RESIDENT", 1000)
    with buffers.beside(tmp_path):
        array = buffers.zeros((100, 50, 3))
    assert not array.any()
    array[50:] = 2
    assert array.sum() == 2 * 50 * 50 * 3
    assert list(tmp_path.iterdir()) == []
    with buffers.beside(tmp_path / "missing"), pytest.raises(ImageError, match="No such file or directory"):
        buffers.zeros((100, 50, 3))


def test_memory_that_runs_out_means_smaller_tiles_and_says_so(
    tmp_path: Path, tiny: str, pipe: CCSRPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, used = Upscaler._run, []

    def scarce(self, batch, options, plan, *rest):  # type: ignore[no-untyped-def]
        if plan.tile is None or plan.tile > 80:
            raise RuntimeError("[enforce fail at alloc_cpu.cpp:124] . DefaultCPUAllocator: can't allocate memory")
        used.append(plan)
        return run(self, batch, options, plan, *rest)

    monkeypatch.setattr(Upscaler, "_run", scarce)
    monkeypatch.setattr("ccsr.plan._SMALLEST", 64)  # as for a picture of four times the side, and in seconds
    source = write_picture(tmp_path / "a.png", 75, 75)
    events: list[runner.Event] = []
    job = runner.Job([source], describe(tiny), str(tmp_path / "b.png"))
    options = UpscaleOptions.from_mapping({"dtype": "fp32", "threads": 1})
    runner.run(job, lambda: pipe, options, events.append)
    (record,) = [e.record for e in events if isinstance(e, runner.Finished)]
    assert (record.status, record.tile, record.vae_tile, record.smaller_tiles) == ("done", 64, 64, True)
    assert record.warnings == (
        "memory ran out, so it was computed in smaller tiles (64 and 64), which changes its bytes",
    )
    monkeypatch.setattr(Upscaler, "_run", run)
    # Not a plan made anew for such tiles: it would take more of them in step, and they share their statistics.
    asked = pipe.upscale(images.load(source).rgb, options, used[-1]).sr
    assert np.abs(images.load(tmp_path / "b.png").rgb - asked).max() < 2 / 255


def test_a_plan_has_an_end(tiny: str) -> None:
    plan = make_plan(4000, 3000, UpscaleOptions(device="cpu"), describe(tiny))
    sizes = []
    while plan:
        sizes.append((plan.tile, plan.vae_tile))
        plan = plan.smaller
    assert len(sizes) > 2
    assert sizes[-1][1] < 512
    assert all(now[1] is None or later[1] <= now[1] for now, later in pairwise(sizes))


def test_decoded_pictures_lie_on_the_cpu(pipe: CCSRPipeline) -> None:
    assert pipe.networks().device == torch.device("cpu")


def test_addresses_that_run_out_are_memory_that_runs_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object, **__: object) -> None:
        raise OSError(errno.ENOMEM, "Cannot allocate memory")

    monkeypatch.setattr(np, "memmap", refused)
    with pytest.raises(MemoryError, match="no room to map"):
        buffers.zeros((1, buffers.RESIDENT + 1), np.uint8)


def test_a_large_picture_can_be_stopped_while_it_is_prepared_and_finished(
    pipe: CCSRPipeline, narrow: pytest.MonkeyPatch
) -> None:
    _narrow(narrow)
    options = UpscaleOptions(device="cpu", threads=1)
    plan = make_plan(24, 40, options, pipe.description)
    told: list[tuple[int, str]] = []
    pipe.upscale(_photo(24, 40), options, plan, on_progress=lambda done, total, part: told.append((done, part)))
    # Between the bands there is a sign of life before the networks begin and after they have ended.
    assert told[0] == (0, "prepare")
    assert 0 < max(done for done, part in told if part == "prepare") < 20
    assert told[-2:] == [(1000, "decode")] * 2
    assert [done for done, _ in told] == sorted(done for done, _ in told)

    def stop(done: int, total: int, part: str) -> None:
        raise runner.Stop

    with pytest.raises(runner.Stop):
        pipe.upscale(_photo(24, 40), options, plan, on_progress=stop)


def test_reading_can_be_stopped(tmp_path: Path, narrow: pytest.MonkeyPatch, tiny: str) -> None:
    _narrow(narrow)
    write_picture(tmp_path / "in" / "a.png", 24, 40)
    stages: list[str] = []

    def listen(event: object) -> None:
        if isinstance(event, runner.Advanced):
            stages.append(event.stage)
            raise runner.Stop

    options = UpscaleOptions(device="cpu", threads=1, model=tiny)
    job = runner.Job([tmp_path / "in"], describe(tiny))
    assert runner.run(job, lambda: runner.load_pipeline(options), options, listen).interrupted
    assert stages == ["read"]
    assert not list(tmp_path.glob("in_x4/*.png"))

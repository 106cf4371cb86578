"""Progress told from inside: shares add up, whatever the tiles, and raising leaves the networks whole."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ccsr import CCSRPipeline, UpscaleOptions
from ccsr.networks.tiled import TileSettings, count_tiles, run_tiled
from ccsr.networks.watch import WorkPart, watched
from ccsr.plan import make_plan

SETTINGS = [
    None,
    TileSettings(64, 48),
    TileSettings(16, 12, whole_norms=False),
    TileSettings(16, 12),
    TileSettings(16, 12, gather_tile=8),
    TileSettings(16, 16, gather_tile=4, gather_limit=3),
    TileSettings(24, 8, gather_limit=2),
]


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("size", [(16, 16), (33, 20), (60, 41)])
def test_tiles_are_counted_as_they_run(settings: TileSettings | None, size: tuple[int, int]) -> None:
    network = nn.Sequential(nn.GroupNorm(2, 4))
    rows = 0

    def hook(_: nn.Module, inputs: tuple[Tensor]) -> None:
        nonlocal rows
        rows += len(inputs[0])

    network[0].register_forward_pre_hook(hook)
    with torch.inference_mode():
        run_tiled([network], lambda x: network(x[0]), [torch.randn(1, 4, *size)], settings)
    assert rows == count_tiles(*size, settings)


def test_stages_follow_each_other() -> None:
    first, second = nn.GroupNorm(1, 2), nn.Sequential(nn.GroupNorm(1, 2), nn.GroupNorm(1, 2))
    told: list[tuple[float, str]] = []
    x = torch.zeros(1, 2, 4)
    with watched([WorkPart("a", [first], 2, 1.0), WorkPart("b", [second], 1, 3.0)], lambda *share: told.append(share)):
        first(x), first(x), second(x)
    assert told == [(0.125, "a"), (0.25, "a"), (0.625, "b"), (1.0, "b")]
    first(x)
    assert len(told) == 4


@pytest.mark.parametrize("options", [{}, {"steps": 3}, {"tile": 64, "vae_tile": 64, "overlap": 0.25}])
def test_the_pipeline_tells_all_of_its_work(tiny: str, options: dict[str, object]) -> None:
    pipe = CCSRPipeline.from_pretrained(tiny)
    picture = np.random.default_rng(0).random((40, 50, 3), np.float32)
    chosen = UpscaleOptions.from_mapping({**options, "device": "cpu", "dtype": "fp32"})
    plan = make_plan(50, 40, chosen, pipe.description)
    told: list[tuple[int, str]] = []
    plain = pipe.upscale(picture, chosen, plan).sr
    watched_one = pipe.upscale(picture, chosen, plan, 0, lambda done, total, stage: told.append((done, stage))).sr
    np.testing.assert_array_equal(plain, watched_one)
    assert [done for done, _ in told] == sorted({done for done, _ in told})
    assert list(dict.fromkeys(stage for _, stage in told)) == ["encode", "denoise", "decode"]
    assert told[-1][0] >= 999

    class Enough(Exception):  # noqa: N818
        pass

    def stop(done: int, total: int, stage: str) -> None:
        if stage == "denoise":
            raise Enough

    with pytest.raises(Enough):
        pipe.upscale(picture, chosen, plan, 0, stop)
    np.testing.assert_array_equal(pipe.upscale(picture, chosen, plan).sr, plain)

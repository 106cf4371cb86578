"""Every recorded case of the published program, through the functions that upscaling uses."""

from pathlib import Path

import pytest

from ccsr.errors import WeightsError
from ccsr.verify import BOUND, CaseResult, replay
from conftest import GOLDEN


@pytest.fixture(scope="module")
def results() -> list[CaseResult]:
    return list(replay(GOLDEN))


def test_all_cases_are_there(results: list[CaseResult]) -> None:
    assert len(results) == 16


def test_tensors_and_pictures(results: list[CaseResult]) -> None:
    assert BOUND == 1e-4
    assert not [r for r in results if not r.passed or not r.largest_error <= BOUND or r.fault]


def test_a_folder_without_cases_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"no readable cases.json \(give a folder of recorded values\)"):
        list(replay(tmp_path))


def test_a_wrong_recording_fails(tmp_path: Path) -> None:
    """Changing one recorded draw must show: otherwise the replay compares nothing."""
    import json
    import shutil

    from safetensors.torch import load_file, save_file

    shutil.copytree(GOLDEN, tmp_path / "parity")
    record = json.loads((GOLDEN / "cases.json").read_text())
    record["cases"] = record["cases"][:1]
    (tmp_path / "parity" / "cases.json").write_text(json.dumps(record))
    path = tmp_path / "parity" / "cases" / "s1.safetensors"
    tensors = load_file(path)
    tensors["draw.start"] = tensors["draw.start"] * 1.01
    save_file(tensors, path)
    (result,) = replay(tmp_path / "parity")
    assert not result.passed


@pytest.mark.slow
def test_published_sizes(shared: Path) -> None:
    """The full 1.3 billion parameters, one case: about a minute and 6 GB."""
    (result,) = replay(shared / "parity-full")
    assert result.passed, result


@pytest.mark.slow
def test_the_first_program(shared: Path) -> None:
    """Its checkpoint is made, packed and loaded; two pictures of 576x512, of 16 and 6 evaluations."""
    results = list(replay(shared / "parity-v1"))
    assert [r.name for r in results] == ["a", "b"]
    assert all(r.passed and r.picture_levels <= 1 for r in results), results


@pytest.mark.slow
def test_two_steps_at_512_are_within_the_bound_of_float64() -> None:
    """The second program's networks in narrow widths, from the picture to the decoded one, against a float64 run."""
    from copy import deepcopy

    import torch
    from diffusers import AutoencoderKL, UNet2DConditionModel

    from ccsr.method import Conditions, Networks, Settings, restore
    from ccsr.method.compat import COMPAT
    from ccsr.method.sampler import NoiseSchedule
    from ccsr.method.timesteps import nuts_trajectory
    from ccsr.networks import LatentControlNet
    from ccsr.networks.configs import SD21
    from ccsr.networks.fast import prepare

    torch.manual_seed(0)
    widths = (32, 64, 64, 64)
    unet = UNet2DConditionModel.from_config(
        {**SD21["unet"], "block_out_channels": widths, "attention_head_dim": 2, "cross_attention_dim": 16}
    )
    controlnet = LatentControlNet.for_unet(unet)
    # Not zero, so that the control path counts.
    for layer in (*controlnet.controlnet_down_blocks, controlnet.controlnet_mid_block):
        torch.nn.init.normal_(layer.weight, std=0.5 * layer.weight.shape[1] ** -0.5)
    vae = AutoencoderKL.from_config({**SD21["vae"], "block_out_channels": widths})
    draws = {"posterior": torch.randn(1, 4, 64, 72)}
    lq_up = (torch.rand(1, 3, 512, 576) + torch.linspace(0, 1, 512)[:, None]) / 2
    found = {}
    for name, dtype in (("exact", torch.float64), ("ours", torch.float32)):
        parts = [deepcopy(network).eval().requires_grad_(False).to(dtype) for network in (unet, controlnet, vae)]
        if name == "ours":
            prepare(*parts)
        with torch.inference_mode():
            found[name] = restore(
                Networks(*parts, NoiseSchedule.scaled_linear()),
                lq_up,
                Conditions(torch.linspace(-1, 1, 77 * 16).view(1, 77, 16)),
                Settings(nuts_trajectory(6, 2 / 3, 1 / 2), COMPAT["v2"]),
                lambda draw: draws.setdefault(draw, torch.randn(1, 4, 64, 72)),
            )
    for part in ("z_lq", "latent", "decoded"):
        exact, ours = getattr(found["exact"], part), getattr(found["ours"], part)
        assert float((ours - exact).abs().max() / exact.std()) <= BOUND, part
    for ours, exact in zip(found["ours"].moments, found["exact"].moments, strict=True):
        assert float((ours - exact).abs().max() / exact.std()) <= BOUND

"""What people who know diffusers do with a pipeline, on a tiny model; docs/diffusers.md promises it."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import ControlNetModel, DDPMScheduler, DiffusionPipeline, UNet2DConditionModel
from PIL import Image

from ccsr import CCSRPipeline


@pytest.fixture(params=["tiny", "tiny_compact"])
def pipe(request: pytest.FixtureRequest) -> CCSRPipeline:
    """Of stock classes, and of nano's own."""
    pipeline = CCSRPipeline.from_pretrained(request.getfixturevalue(request.param))
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


LQ = torch.rand(1, 3, 8, 10, generator=torch.Generator().manual_seed(0))


def test_it_is_a_diffusion_pipeline(pipe: CCSRPipeline) -> None:
    assert isinstance(pipe, DiffusionPipeline)
    assert set(pipe.components) == {"unet", "controlnet", "vae", "scheduler", "embeddings", "description"}
    assert type(pipe.scheduler) is DDPMScheduler
    assert pipe.device == torch.device("cpu")
    assert pipe.dtype == torch.float32


def test_its_parts_are_stock_classes(tiny: str, tmp_path: Path) -> None:
    pipe = CCSRPipeline.from_pretrained(tiny)
    assert type(pipe.unet) is UNet2DConditionModel
    assert isinstance(pipe.controlnet, ControlNetModel)
    # The parts are folders that diffusers reads by itself.
    pipe.save_pretrained(tmp_path / "model")
    unet = UNet2DConditionModel.from_pretrained(tmp_path / "model", subfolder="unet")
    for name, value in unet.state_dict().items():
        assert torch.equal(value, pipe.unet.state_dict()[name])


def test_round_trip(pipe: CCSRPipeline, tmp_path: Path) -> None:
    before = pipe(LQ, output_type="np", seed=3).images[0]
    pipe.save_pretrained(tmp_path / "model")
    again = CCSRPipeline.from_pretrained(tmp_path / "model")
    again.set_progress_bar_config(disable=True)
    np.testing.assert_array_equal(again(LQ, output_type="np", seed=3).images[0], before)


def test_the_parts_of_one_pipeline_make_another(pipe: CCSRPipeline, tmp_path: Path) -> None:
    array = LQ[0].permute(1, 2, 0).numpy()
    before = pipe(array, output_type="np", dtype="fp32", seed=3).images[0]
    for again in (CCSRPipeline(**pipe.components), CCSRPipeline.from_pipe(pipe)):
        again.set_progress_bar_config(disable=True)
        assert again.unet is pipe.unet
        np.testing.assert_array_equal(again(array, output_type="np", dtype="fp32", seed=3).images[0], before)
        # Embeddings of its own: a pipeline is not changed by what is done to another's.
        again.embeddings.clear()
    assert pipe.embeddings
    CCSRPipeline(**pipe.components).save_pretrained(tmp_path / "model")
    saved = CCSRPipeline.from_pretrained(tmp_path / "model")
    saved.set_progress_bar_config(disable=True)
    np.testing.assert_array_equal(saved(array, output_type="np", dtype="fp32", seed=3).images[0], before)


def test_model_offload_gives_the_same_picture(pipe: CCSRPipeline) -> None:
    plain = pipe(LQ, output_type="np", dtype="fp32", device="cpu").images[0]
    # To the CPU, so that it runs anywhere: the hooks are those that move the networks to a GPU.
    pipe.enable_model_cpu_offload(device="cpu")
    offloaded = pipe(LQ, output_type="np", dtype="fp32", device="cpu").images[0]
    assert hasattr(pipe.unet, "_hf_hook")
    np.testing.assert_allclose(offloaded, plain, atol=1e-4)


def test_output_types_agree(pipe: CCSRPipeline) -> None:
    made = {kind: pipe(LQ, output_type=kind).images[0] for kind in ("pil", "np", "pt")}
    assert isinstance(made["pil"], Image.Image)
    assert made["np"].shape == (32, 40, 3)
    assert made["pt"].shape == (3, 32, 40)
    np.testing.assert_array_equal(made["pt"].permute(1, 2, 0).numpy(), made["np"])
    np.testing.assert_allclose(np.asarray(made["pil"]), made["np"] * 255, atol=0.51)


def test_the_callback_hears_every_step(pipe: CCSRPipeline) -> None:
    heard: list[tuple[int, int, tuple[int, ...]]] = []

    def listen(pipeline: Any, step: int, timestep: int, tensors: dict[str, torch.Tensor]) -> None:
        assert pipeline is pipe
        assert set(tensors) == {"latents", "x0"}
        heard.append((step, timestep, tuple(tensors["latents"].shape)))

    result = pipe(LQ, steps=3, callback_on_step_end=listen)
    assert [step for step, _, _ in heard] == [0, 1, 2]
    assert tuple(t for _, t, _ in heard) == result.timesteps
    assert len({shape for _, _, shape in heard}) == 1


def test_a_generator_repeats(pipe: CCSRPipeline) -> None:
    first, second, other = (
        pipe(LQ, output_type="np", generator=torch.Generator().manual_seed(seed)).images[0] for seed in (5, 5, 6)
    )
    np.testing.assert_array_equal(first, second)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("model", ["tiny", "tiny_compact"])
def test_to_a_number_format(model: str, request: pytest.FixtureRequest) -> None:
    pipe = CCSRPipeline.from_pretrained(request.getfixturevalue(model), torch_dtype=torch.bfloat16)
    assert {network.dtype for network in (pipe.unet, pipe.controlnet, pipe.vae)} == {torch.bfloat16}
    pipe.to(torch.float32)
    assert {network.dtype for network in (pipe.unet, pipe.controlnet, pipe.vae)} == {torch.float32}

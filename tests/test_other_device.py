"""The whole way of a picture with networks and latents on another device than the CPU, which is simulated: see
`other_device`. Results are those of the CPU up to rounding."""

import multiprocessing
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

PHOTO = np.random.default_rng(0).random((16, 24, 3), np.float32)
WAYS: dict[str, dict[str, Any]] = {
    "S1": {},
    "S2": {"steps": 2},
    "tiles": {"tile": 64, "vae_tile": 64, "overlap": 0.25},
    "guidance": {"steps": 2, "guidance": 4},
    "from noise": {"steps": 4, "start_point": "noise"},
    "bound": {"consistency": 1, "blend": 0.7, "color_fix": "adain"},
    "several at once": {"samples": 3, "batch_size": 2},
}


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[ProcessPoolExecutor]:
    """A process of its own: torch would know the device ever after."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        yield pool


def both(model: str, options: dict[str, Any]) -> tuple[list[np.ndarray], list[np.ndarray], int]:
    """Results of the CPU and of the other device, and how many operations that one computed."""
    import torch

    from ccsr import CCSRPipeline
    from ccsr.pipeline import Upscaler
    from ccsr.plan import TILE_BUDGET
    from other_device import KIND, OtherDevice

    TILE_BUDGET[KIND] = TILE_BUDGET["cuda"]
    # Inference mode has no tensors of a subclass.
    Upscaler._run = torch.no_grad()(getattr(Upscaler._run, "__wrapped__", Upscaler._run))  # type: ignore[method-assign]
    pipe = CCSRPipeline.from_pretrained(model)
    pipe.set_progress_bar_config(disable=True)
    pipe.embeddings["negative"] = -pipe.embeddings["positive"]
    mask = np.tile(np.linspace(0, 1, 30, dtype=np.float32), (20, 1))
    how = {"dtype": "fp32", "output_type": "np", "mask": mask, **options}
    expected = pipe(PHOTO, device="cpu", **how).images
    with OtherDevice() as device:
        given = torch.from_numpy(PHOTO.transpose(2, 0, 1)).to(f"{KIND}:0")
        found = pipe(given, device=KIND, **how).images
        assert {part.device.type for part in (pipe.unet, pipe.controlnet, pipe.vae)} == {KIND}
    return expected, found, device.operations


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("model", ["tiny", "tiny_compact"])
def test_the_way_of_a_picture(
    elsewhere: ProcessPoolExecutor, request: pytest.FixtureRequest, model: str, way: str
) -> None:
    expected, found, operations = elsewhere.submit(both, request.getfixturevalue(model), WAYS[way]).result()
    assert operations > 100
    assert len(found) == len(expected)
    for here, there in zip(expected, found, strict=True):
        assert here.std() > 0.1
        np.testing.assert_allclose(there, here, atol=1e-3)


def across() -> list[str]:
    """What the operations say that see two devices."""
    import torch

    from other_device import KIND, OtherDevice

    said = []
    with OtherDevice():
        x, y = torch.zeros(3, device=KIND), torch.ones(3)
        for operation in (lambda: x + y, lambda: y.add_(x), lambda: torch.cat([x, y]), lambda: y.where(x > 0, y)):
            try:
                operation()
            except RuntimeError as error:
                said.append(str(error))
        assert float((x + torch.tensor(2.0)).sum()) == 6
        assert y.equal(x.add(1).cpu())
    return said


def test_the_simulated_device_refuses_what_a_gpu_refuses(elsewhere: ProcessPoolExecutor) -> None:
    said = elsewhere.submit(across).result()
    assert len(said) == 4
    assert all("two devices" in line for line in said)


def locked(model: str) -> list[str]:
    """The ways in which a picture takes the lock of networks that are on the device already."""
    import torch

    from ccsr.options import UpscaleOptions
    from ccsr.pipeline import Upscaler
    from ccsr.pipeline.lock import ReadWriteLock
    from ccsr.plan import TILE_BUDGET, make_plan
    from other_device import KIND, OtherDevice

    class Told(ReadWriteLock):
        def exclusive(self) -> Any:
            taken.append("alone")
            return super().exclusive()

    TILE_BUDGET[KIND] = TILE_BUDGET["cuda"]
    Upscaler._run = torch.no_grad()(getattr(Upscaler._run, "__wrapped__", Upscaler._run))  # type: ignore[method-assign]
    taken: list[str] = []
    upscaler = replace(Upscaler.load(model), lock=Told())
    options = UpscaleOptions.from_mapping({"device": KIND})
    with OtherDevice():
        for _ in range(2):
            taken.append("picture")
            upscaler.upscale(PHOTO, options, make_plan(24, 16, options, upscaler.description))
    return taken


def test_networks_that_are_there_are_shared(elsewhere: ProcessPoolExecutor, tiny_compact: str) -> None:
    """`cuda` is the same place as `cuda:0`, which is what networks say of themselves."""
    assert elsewhere.submit(locked, tiny_compact).result() == ["picture", "alone", "picture"]

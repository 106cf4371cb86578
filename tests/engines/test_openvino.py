"""OpenVINO beside torch, on the trained model and a photograph."""

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

from ccsr import CCSRPipeline, MissingExtraError, OptionError


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    from skimage import data

    return data.astronaut()[40:88, 190:254].copy()


def _pipeline(model: str = "nano") -> CCSRPipeline:
    pipeline = CCSRPipeline.from_pretrained(model)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def test_without_the_extra_one_line_says_so(monkeypatch: pytest.MonkeyPatch, tiny: str, photo: np.ndarray) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(MissingExtraError) as caught:
        _pipeline(tiny)(photo, engine="openvino", device="cpu")
    assert str(caught.value) == ('--engine openvino needs OpenVINO (pip install "ccsr[openvino]", or --engine torch)')


def test_an_engine_that_there_is_not(tiny: str, photo: np.ndarray) -> None:
    with pytest.raises(OptionError, match=r"choose from torch, openvino"):
        _pipeline(tiny)(photo, engine="openvin")


def test_it_is_torch_up_to_rounding(
    photo: np.ndarray, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("openvino", reason="the extra openvino is not installed")
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("CCSR_HOME", str(home))
    pipe = _pipeline()
    pipe.embeddings["negative"] = -pipe.embeddings["positive"]
    for options, bound in (
        ({"dtype": "fp32"}, 0.1 / 255),  # weights rounded to float16 make most of it
        ({"dtype": "fp32", "steps": 3, "guidance": 2.0, "scale": 2}, 0.5 / 255),
        ({"dtype": "bf16"}, 1 / 255),
    ):
        torch_made = pipe(photo, output_type="np", device="cpu", **options).images[0]
        out = pipe(photo, output_type="np", device="cpu", engine="openvino", **options)
        assert 0 < np.abs(out.images[0] - torch_made).mean() < bound
        assert not out.warnings
    graphs = list(home.rglob("denoiser.xml"))
    assert len(graphs) == 1, "converted once, kept for later"
    again = pipe(photo, output_type="np", device="cpu", engine="openvino", **options).images[0]
    assert np.array_equal(again, out.images[0])
    _threads_get_their_own_results(pipe)
    _tiles_are_left_to_torch(pipe, photo)


def _threads_get_their_own_results(pipe: CCSRPipeline) -> None:
    denoiser, embedding = pipe._engines.kept, pipe.embeddings["positive"]
    latents = torch.randn(2, 1, 4, 48, 48, generator=torch.Generator().manual_seed(0))

    def results(z: torch.Tensor) -> list[torch.Tensor]:
        return [denoiser(z, 999, z, embedding) for _ in range(8)]

    alone = [results(z)[0] for z in latents]
    with ThreadPoolExecutor(len(latents)) as pool:
        for found, wanted in zip(pool.map(results, latents), alone, strict=True):
            assert all(torch.equal(one, wanted) for one in found)


def _tiles_are_left_to_torch(pipe: CCSRPipeline, photo: np.ndarray) -> None:
    options = {"dtype": "fp32", "tile": 128, "output_type": "np", "device": "cpu"}
    torch_made, out = pipe(photo, **options), pipe(photo, engine="openvino", **options)
    assert np.array_equal(torch_made.images[0], out.images[0])
    assert out.warnings == ["OpenVINO does not take tiles, so torch computed this one (--tile none is for it)"]


def test_the_cache_is_named_by_the_weights(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from ccsr.engines.openvino import graph_file

    monkeypatch.setenv("CCSR_HOME", str(tmp_path))
    assert graph_file("a" * 64, "2026.4.1-1") != graph_file("b" * 64, "2026.4.1-1")
    assert graph_file("a" * 64, "2026.4.1-1") != graph_file("a" * 64, "2026.5.0-1")
    assert tmp_path in graph_file("a" * 64, "2026.4.1-1").parents

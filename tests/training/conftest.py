"""A folder of photographs and settings of a few seconds, for everything that trains."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from ccsr.training.config import Config, resolve
from ccsr.training.yaml_config import read_settings
from helpers import write_picture

QUICK = """
model: {base: %s, trained: [controlnet, unet, prompt], prompt: positive, dtype: fp32}
data: {sources: %s, crop: 16, batch: 2, workers: 0}
loop: {steps: 6, accumulate: 1, learning_rate: 1e-3, ema: 0.9, save_every: 2, evaluate_every: 100, log_every: 1}
"""
QUICK2 = QUICK.replace("trained: [controlnet, unet, prompt], ", "").replace("crop: 16", "crop: 24")
QUICK2 += "loss: {reconstruction: l1, discriminator: patchgan, adaptive: true, begin: 1}\n"


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five pictures of different sizes."""
    folder = tmp_path_factory.mktemp("photos")
    for i in range(5):
        write_picture(folder / f"p{i}.png", 40 + 8 * i, 48, seed=i)
    return folder


@pytest.fixture
def quick(tiny: str, photos: Path, tmp_path: Path) -> Callable[..., Config]:
    """`quick("stage1", run, "loop.steps=3")`: a config of a second or two on the tiny model."""

    def make(stage: str, run: Path, *words: str) -> Config:
        return resolve(stage, read_settings(quick_file(stage, tiny, photos, tmp_path), [f"run={run}", *words]))

    return make


def quick_file(stage: str, tiny: str, photos: Path, folder: Path) -> Path:
    """The same as a file."""
    file = folder / f"{stage}.yaml"
    file.write_text((QUICK if stage == "stage1" else QUICK2) % (tiny, photos), encoding="utf-8")
    return file


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def state_of(run: Path) -> dict[str, bytes]:
    """The last checkpoint's tensors, byte for byte."""
    last = max((run / "checkpoints").glob("step-*"))
    return {file.name: file.read_bytes() for file in last.glob("*.safetensors")}

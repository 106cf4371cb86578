"""The architectures of the paper's GAN rivals through spandrel, as small random models."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

pytestmark = pytest.mark.extras
spandrel = pytest.importorskip("spandrel", reason="run by make test-extras")

from safetensors.torch import save_file  # noqa: E402
from spandrel.architectures.ESRGAN import ESRGAN  # noqa: E402
from spandrel.architectures.SwinIR import SwinIR  # noqa: E402

from ccsr.compare.config import ComparisonConfig  # noqa: E402
from ccsr.compare.methods.spandrel import Spandrel  # noqa: E402
from ccsr.compare.run import compare  # noqa: E402
from helpers import write_picture  # noqa: E402


def rrdb() -> Any:
    """Real-ESRGAN and BSRGAN: the same network, trained differently."""
    return ESRGAN(num_filters=8, num_blocks=2, scale=4, shuffle_factor=None)


def swinir(upsampler: str) -> Any:
    """SwinIR, with the head of the L1 (pixelshuffle) or of the GAN model (nearest+conv)."""
    return SwinIR(
        img_size=16, window_size=8, embed_dim=12, depths=[2], num_heads=[2], mlp_ratio=2, upscale=4, upsampler=upsampler
    )


MODELS = {"rrdb": rrdb, "swinir_l1": lambda: swinir("pixelshuffle"), "swinir_gan": lambda: swinir("nearest+conv")}


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_a_random_model_of_the_architecture(name: str, suffix: str, tmp_path: Path) -> None:
    for i in range(2):
        write_picture(tmp_path / "set" / "LR" / f"{i}.png", 20, 16, seed=i)
        write_picture(tmp_path / "set" / "HR" / f"{i}.png", 80, 64, seed=i)
    torch.manual_seed(0)
    model = MODELS[name]().eval()
    weights = tmp_path / f"{name}{suffix}"
    state = {key: value.contiguous() for key, value in model.state_dict().items()}
    if suffix == ".pth":
        torch.save(state, weights)
    else:
        save_file({key: value.clone() for key, value in state.items()}, weights)
    method = Spandrel(
        name=name, weights=weights, python=Path(sys.executable), device="cpu", allow_pickle=suffix == ".pth"
    )
    config = ComparisonConfig(data=tmp_path / "set", preset="osediff", metrics="psnr", threads=1, methods=[method])
    (row,) = compare(config, tmp_path / "out").rows
    assert row.problem is None
    assert row.names == ["0", "1"]
    assert row.parameters == sum(parameter.numel() for parameter in model.parameters())
    lq = np.asarray(Image.open(tmp_path / "set" / "LR" / "0.png"), np.float32).transpose(2, 0, 1)[None] / 255
    with torch.inference_mode():
        padded = torch.nn.functional.pad(torch.from_numpy(lq), (0, 4, 0, 0), mode="reflect")
        wanted = model(padded if name.startswith("swinir") else torch.from_numpy(lq))[0, :, :64, :80]
    made = np.asarray(Image.open(row.results / "0.png"), float)
    # The library moves single roundings.
    assert np.abs(made - (wanted.clamp(0, 1) * 255).permute(1, 2, 0).numpy()).max() <= 1


def test_the_worker_needs_no_ccsr(tmp_path: Path) -> None:
    from ccsr.compare import worker_program

    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    code = (
        f"import runpy, sys; sys.modules['ccsr'] = None; runpy.run_path({str(worker_program.__file__)!r}, run_name='w')"
    )
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr

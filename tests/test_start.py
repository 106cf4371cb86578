"""What the program imports before a photo is upscaled: its start is what a person waits for."""

import subprocess
from pathlib import Path

import pytest

from helpers import program, write_picture

HEAVY = ("diffusers", "transformers", "accelerate", "scipy", "sympy", "torch._dynamo", "skimage", "huggingface_hub")
TELL = f"import atexit; atexit.register(lambda: print(*(m for m in {HEAVY} if m in sys.modules)))"


def _imported(desk: Path, model: str) -> str:
    """Those of `HEAVY` that `ccsr upscale` has imported at its end."""
    write_picture(desk / "photo.jpg", 16, 12)
    command = program("upscale", "photo.jpg", "-m", model, "-q", "--threads", "1", limit=TELL)
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (desk / "photo_x4.jpg").is_file()
    return done.stdout.strip()


def test_a_compact_model_needs_torch_alone(desk: Path, tiny_compact: str) -> None:
    assert _imported(desk, tiny_compact) == ""


def test_stock_networks_need_diffusers(desk: Path, tiny: str) -> None:
    assert "diffusers" in _imported(desk, tiny)


def test_the_package_gives_the_pipeline_when_asked() -> None:
    import ccsr.networks
    import ccsr.pipeline

    assert ccsr.CCSRPipeline is ccsr.pipeline.CCSRPipeline
    for package in (ccsr.pipeline, ccsr.networks):
        with pytest.raises(AttributeError, match=f"module {package.__name__} has no attribute Nothing"):
            _ = package.Nothing

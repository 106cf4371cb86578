"""What the program imports and settles before a photo is upscaled: its start is what a person waits for."""

import os
import subprocess
import sys
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


LARGE_PAGES = Path("/sys/kernel/mm/transparent_hugepage/enabled")


@pytest.mark.skipif(not LARGE_PAGES.is_file() or "[never]" in LARGE_PAGES.read_text(encoding="ascii"),
                    reason="this system has no large pages to give")  # fmt: skip
def test_large_tensors_come_in_large_pages_in_programs_of_our_own_alone() -> None:
    count = "\n".join(
        (
            "import resource, torch, ccsr.program, sys",
            "if 'ours' in sys.argv: ccsr.program.start()",
            "import ccsr.pipeline.pipeline",
            "before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt",
            "torch.zeros(2**25)",
            "print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)",
        )
    )
    # Of this process, which other tests may have made one of ours.
    asked = {name: value for name, value in os.environ.items() if name != "THP_MEM_ALLOC_ENABLE"}

    def faults(*words: str) -> int:
        command = [sys.executable, "-c", count, *words]
        return int(subprocess.run(command, capture_output=True, text=True, check=True, env=asked).stdout)

    ours, hosts = faults("ours"), faults()
    # 128 MB are 32,768 pages of 4 KB; where all memory comes in large pages, it does so without us.
    assert ours < 8000
    assert hosts > 30_000 or "[always]" in LARGE_PAGES.read_text(encoding="ascii")


def test_the_package_gives_the_pipeline_when_asked() -> None:
    import ccsr.networks
    import ccsr.pipeline

    assert ccsr.CCSRPipeline is ccsr.pipeline.CCSRPipeline
    for package in (ccsr.pipeline, ccsr.networks):
        with pytest.raises(AttributeError, match=f"module {package.__name__} has no attribute Nothing"):
            _ = package.Nothing

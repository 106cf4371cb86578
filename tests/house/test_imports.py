"""Imports run in one direction: each module names what it may import, and a new arrow is an edit of this table."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import ccsr

SRC = Path(ccsr.__file__).parent
BASE = {"errors", "log", "version", "options", "timesteps"}
ALLOWED: dict[str, set[str]] = {
    "errors": set(),
    "log": set(),
    "version": set(),
    "timesteps": {"errors"},
    "options": {"errors", "compat"},
    "compat": set(),
    "buffers": set(),
    "noise": {"buffers"},
    "tiling": {"buffers"},
    "color": {"buffers"},
    "resample": {"buffers"},
    "images": {"buffers"},
    "sampler": set(),
    "features": set(),
    "metrics": {"features"},
    "stability": {"images"},
    "networks": {"features", "tiling"},
    "method": {"buffers", "compat", "networks", "sampler"},
    "weights": {"networks"},
    "plan": {"buffers", "compat", "weights"},
    "engines": {"networks", "weights"},
    "fitting": {"buffers", "color", "compat", "resample"},
    "pipeline": {
        "images",
        "compat",
        "engines",
        "fitting",
        "method",
        "networks",
        "noise",
        "plan",
        "sampler",
        "stability",
        "weights",
    },
    "verify": {"compat", "fitting", "method", "networks", "sampler"},
    "degradation": set(),
    "data": {"degradation", "images"},
    "training": {"color", "data", "features", "networks", "plan", "sampler", "weights"},
    "jobs": {"buffers", "images", "plan", "pipeline", "resample", "stability", "weights"},
    "evaluate": {"data", "images", "metrics", "stability"},
    "compare": {"data", "evaluate", "images", "metrics", "stability", "weights"},
    "cluster": {"jobs"},
    "bench": {"images", "jobs", "networks", "pipeline", "plan", "weights"},
    "cli": {
        "bench",
        "cluster",
        "compare",
        "data",
        "evaluate",
        "images",
        "jobs",
        "metrics",
        "pipeline",
        "plan",
        "serve",
        "training",
        "verify",
        "weights",
    },
    # The pipeline is only made here, as the command line makes it; jobs run it.
    "serve": {"images", "jobs", "pipeline", "plan", "stability", "weights"},
    "comfyui": {"pipeline", "plan", "resample", "stability", "weights"},
    "__main__": {"cli"},
    "__init__": {"pipeline"},
}


def _part(path: Path) -> str:
    return path.relative_to(SRC).parts[0].removesuffix(".py")


def _imported(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "ccsr":
            names = node.module.split(".")[1:2] or [alias.name for alias in node.names]
            found |= set(names)
        elif isinstance(node, ast.Import):
            found |= {a.name.split(".")[1] for a in node.names if a.name.startswith("ccsr.")}
    return found


@pytest.mark.parametrize("path", sorted(SRC.rglob("*.py")), ids=lambda p: str(p.relative_to(SRC)))
def test_arrows(path: Path) -> None:
    part = _part(path)
    assert _imported(path) - BASE - {part} <= ALLOWED[part]


def test_public_names() -> None:
    assert set(ccsr.__all__) == {
        "CCSRError",
        "CCSROutput",
        "CCSRPipeline",
        "ImageError",
        "MemoryPlanError",
        "MissingExtraError",
        "ModelOutputError",
        "OptionError",
        "TrainingError",
        "UpscaleOptions",
        "WeightsError",
        "__version__",
    }
    for name in ccsr.__all__:
        assert getattr(ccsr, name) is not None


def test_every_error_is_what_people_expect() -> None:
    assert issubclass(ccsr.ImageError, OSError)
    assert issubclass(ccsr.WeightsError, OSError)
    assert issubclass(ccsr.OptionError, ValueError)
    assert issubclass(ccsr.MemoryPlanError, ValueError)
    assert issubclass(ccsr.TrainingError, RuntimeError)
    assert str(ccsr.ImageError("no picture", path="a\nb.txt", hint="remove it")) == "a\\nb.txt: no picture (remove it)"


def test_import_is_light() -> None:
    code = "import ccsr, sys; print([m for m in ('torch', 'diffusers', 'numpy', 'pyvips', 'PIL') if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"

"""Imports run in one direction: each module names what it may import, and a new arrow is an edit of this table."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import ccsr

SRC = Path(ccsr.__file__).parent
BASE = {"atomic", "errors", "log", "options", "program", "sqlite", "version"}
ALLOWED: dict[str, set[str]] = {
    "atomic": set(),
    "errors": set(),
    "log": set(),
    "program": set(),
    "sqlite": set(),
    "version": set(),
    "options": {"method"},
    "images": set(),
    "stability": {"images"},
    "metrics": {"images"},
    "networks": {"images", "metrics"},
    # Its timesteps and `--compat` are plain values, which the options need; a test below keeps them light.
    "method": {"images", "networks"},
    "weights": {"networks"},
    "plan": {"images", "method", "weights"},
    "engines": {"networks", "weights"},
    "pipeline": {"engines", "images", "method", "metrics", "networks", "plan", "stability", "weights"},
    # Other names of two modules of the method, which the documentation promised.
    "sampler": {"method"},
    "timesteps": {"method"},
    "verify": {"method", "networks", "pipeline", "weights"},
    "degradation": set(),
    "data": {"degradation", "images"},
    "training": {"data", "method", "metrics", "networks", "plan", "weights"},
    "jobs": {"images", "pipeline", "plan", "stability", "weights"},
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
        "jobs",
        "metrics",
        "plan",
        "serve",
        "training",
        "verify",
        "weights",
    },
    "serve": {"images", "jobs", "metrics", "plan", "stability", "weights"},
    "comfyui": {"images", "pipeline", "plan", "stability", "weights"},
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


def test_no_arrow_that_nothing_uses() -> None:
    used: dict[str, set[str]] = {}
    for path in SRC.rglob("*.py"):
        used.setdefault(_part(path), set()).update(_imported(path))
    assert set(ALLOWED) == set(used)
    assert {part: allowed - used[part] for part, allowed in ALLOWED.items() if allowed - used[part]} == {}


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
    heavy = ("torch", "diffusers", "numpy", "pyvips", "PIL")
    code = f"import ccsr, ccsr.options, sys; print([m for m in {heavy} if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_modules_that_the_documentation_named_before() -> None:
    from ccsr.method.sampler import sample
    from ccsr.method.timesteps import nuts_trajectory
    from ccsr.sampler import ddpm_step
    from ccsr.sampler import sample as same_sample
    from ccsr.timesteps import nuts_trajectory as same_trajectory

    assert same_sample is sample
    assert same_trajectory is nuts_trajectory
    assert ddpm_step.__module__ == "ccsr.method.sampler"

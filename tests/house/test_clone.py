"""A clone is called `ccsr`, as the package is: from the folder above it, it is imported as the package in its `src`."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import ccsr

ROOT = Path(__file__).parents[2]
LOOK = """
import multiprocessing, pathlib, sys
sys.path.insert(0, {above!r})
import ccsr
from ccsr import OptionError, UpscaleOptions
from ccsr.comfyui import NODE_CLASS_MAPPINGS

if __name__ == "__main__":
    assert dir(ccsr) == sorted({names!r}), dir(ccsr)
    assert ccsr.__spec__.name == UpscaleOptions.__module__.split(".")[0] == "ccsr"
    assert "CCSRUpscale" in NODE_CLASS_MAPPINGS
    for module in (ccsr, sys.modules["ccsr.comfyui"], sys.modules[OptionError.__module__]):
        pathlib.Path(module.__file__).relative_to({package!r})
    # A spawned process imports the package anew, by the path that it was given.
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(UpscaleOptions.from_mapping, [{{"scale": 2}}]).scale == 2
    print("torch" in sys.modules)
"""


@pytest.fixture
def above(tmp_path: Path) -> Path:
    """A folder with a clone named `ccsr`."""
    (tmp_path / "ccsr").symlink_to(ROOT, target_is_directory=True)
    return tmp_path


@pytest.mark.parametrize("flags", [[], ["-I", "-S"]], ids=["installed", "not installed"])
def test_from_the_folder_above(above: Path, flags: list[str]) -> None:
    """`-I -S`: no site-packages and no PYTHONPATH, so nothing is installed, for the spawned process too."""
    script = above / "look.py"
    names = [*ccsr.__all__]
    script.write_text(LOOK.format(above=str(above), names=names, package=str(above / "ccsr" / "src" / "ccsr")))
    done = subprocess.run([sys.executable, *flags, script], cwd=above, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("False\n", "")


def test_the_program_from_the_folder_above(above: Path) -> None:
    command = [sys.executable, "-m", "ccsr", "--version"]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(command, cwd=above, env=environment, capture_output=True, text=True)
    assert done.stdout == f"ccsr {ccsr.__version__}\n", done.stderr

"""The wheel alone, without the checkout, upscales a picture."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    subprocess.run([*pip, "wheel", "--no-deps", "--no-build-isolation", "-w", folder, ROOT], check=True)
    (wheel,) = folder.glob("ccsr-*.whl")
    assert wheel.stat().st_size < 40e6
    subprocess.run([*pip, "install", "--no-deps", "--target", folder / "site", wheel], check=True)
    return folder / "site"


def test_one_picture(installed: Path, tmp_path: Path) -> None:
    Image.effect_noise((24, 16), 40).convert("RGB").save(tmp_path / "photo.png")
    # Offline and with an empty home: the wheel brings all it needs.
    environment = {**os.environ, "PYTHONPATH": str(installed), "CCSR_OFFLINE": "1", "HOME": str(tmp_path)}
    where = [sys.executable, "-c", "import ccsr; print(ccsr.__file__)"]
    found = subprocess.run(where, env=environment, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert found.startswith(str(installed))
    run = [sys.executable, "-m", "ccsr", "upscale", "photo.png", "--threads", "1"]
    done = subprocess.run(run, env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert Image.open(tmp_path / "photo_x4.png").size == (96, 64)

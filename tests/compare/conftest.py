"""A test set of three small pictures."""

from pathlib import Path

import pytest

from helpers import write_picture

NAMES = ("a", "b", "c")


@pytest.fixture
def test_set(tmp_path: Path) -> Path:
    """Folders LR/ (WebP, 12x8) and HR/ (PNG, 48x32)."""
    return write_test_set(tmp_path / "set")


def write_test_set(home: Path) -> Path:
    for i, name in enumerate(NAMES):
        write_picture(home / "LR" / f"{name}.webp", seed=i, lossless=True)
        write_picture(home / "HR" / f"{name}.png", 48, 32, seed=i)
    return home

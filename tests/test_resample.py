"""Sizes and the one filter, against Pillow and torch."""

import platform

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch.nn.functional import interpolate

from ccsr.images import buffers, resample


def _picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.RandomState(seed).rand(height, width, 3).astype(np.float32)


@pytest.mark.parametrize("size", [(64, 48), (5, 7), (16, 12), (33, 1)])
def test_bicubic_equals_torch_with_its_antialias(size: tuple[int, int]) -> None:
    picture = _picture(12, 16)
    width, height = size
    ours = resample.enlarge(picture, width, height)
    theirs = interpolate(
        torch.from_numpy(picture).permute(2, 0, 1)[None], (height, width), mode="bicubic", antialias=True
    )
    np.testing.assert_allclose(ours, theirs[0].permute(1, 2, 0).clamp(0, 1).numpy(), atol=2e-6)


def test_eight_bit_is_within_a_level_of_float() -> None:
    # Far from black and white: between its two passes Pillow also clips.
    levels = (100 + _picture(20, 30) * 50).astype(np.uint8)
    rounded = resample.enlarge_8bit(levels, 120, 80).astype(float)
    # It rounds after each of them, too, and the second pass can stretch the first rounding by a quarter.
    assert np.abs(rounded - resample.enlarge(levels.astype(np.float32) / 255, 120, 80) * 255).max() <= 0.5 + 0.5 * 1.25


def test_one_plane_stays_one_plane() -> None:
    assert resample.enlarge(_picture(4, 5)[..., 0], 10, 8).shape == (8, 10)


@pytest.mark.parametrize("size", [(64, 48), (48, 33), (61, 99), (7, 5), (16, 96), (128, 12), (3, 100)])
@pytest.mark.parametrize("planes", [1, 3])
def test_bands_are_the_whole(size: tuple[int, int], planes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    picture = _picture(12, 16)
    picture = picture[..., 0] if planes == 1 else picture
    whole = resample.enlarge(picture, *size)
    monkeypatch.setattr(buffers, "BAND", 1)
    monkeypatch.setattr(buffers, "_SLIMMEST", 5)
    banded = resample.enlarge(picture, *size)
    # Elsewhere Pillow's compiler may join a multiplication and an addition, which rounds once less.
    exact = platform.machine() == "x86_64"
    np.testing.assert_allclose(banded, whole, rtol=0, atol=0 if exact else 1e-7)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 64))
def test_padding_keeps_the_picture_and_repeats_its_values(height: int, width: int, multiple: int) -> None:
    picture = _picture(height, width)
    padded = resample.padded(picture, width, height, multiple)
    assert padded.shape[0] % multiple == padded.shape[1] % multiple == 0
    assert max(padded.shape[0] - height, padded.shape[1] - width) < multiple
    assert np.array_equal(padded[:height, :width], picture)
    assert set(np.unique(padded)) <= set(np.unique(picture))


def test_padding_mirrors() -> None:
    row = np.arange(4, dtype=np.float32).reshape(1, 4, 1).repeat(3, 2) / 4
    assert (4 * resample.padded(row, 4, 1, 8)[0, :, 0]).tolist() == [0, 1, 2, 3, 2, 1, 0, 1]


@pytest.mark.parametrize(
    ("width", "height", "scale", "process"), [(29, 21, 4, (112, 80)), (11, 9, 4, (80, 64)), (29, 21, 3, (80, 56))]
)
def test_published_sizes(width: int, height: int, scale: int, process: tuple[int, int]) -> None:
    # Sizes recorded from the published program (tests/golden), minimum 64.
    picture = np.asarray(Image.effect_noise((width, height), 50).convert("RGB"))
    out = resample.published_resizes(picture, scale, 64)
    assert (out.shape[1], out.shape[0]) == process

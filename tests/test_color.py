"""The recorded fixes of the published program, exact to the bit, and their laws."""

import numpy as np
import pytest
import torch
from PIL import Image

from ccsr.color import FIXES, adain_color_fix, wavelet_color_fix
from conftest import GOLDEN


def _read(name: str) -> torch.Tensor:
    return torch.from_numpy(np.asarray(Image.open(GOLDEN / "color" / f"{name}.png"))).permute(2, 0, 1)[None] / 255


@pytest.mark.parametrize("name", ["adain", "wavelet"])
def test_recorded_fix(name: str) -> None:
    fixed = FIXES[name](_read("content"), _read("style")).clamp(0, 1)
    levels = torch.floor(fixed * 255)
    assert torch.equal(levels, (_read(name) * 255).round())


def test_adain_moves_mean_and_deviation() -> None:
    generator = torch.Generator().manual_seed(0)
    content, style = (
        torch.rand(1, 3, 40, 50, generator=generator),
        0.2 + 0.5 * torch.rand(1, 3, 30, 20, generator=generator),
    )
    fixed = adain_color_fix(content, style)
    torch.testing.assert_close(fixed.mean((2, 3)), style.mean((2, 3)))
    torch.testing.assert_close(fixed.std((2, 3)), style.std((2, 3)), rtol=1e-3, atol=1e-4)


def test_wavelet_keeps_detail_and_takes_the_coarse_picture() -> None:
    detail = torch.zeros(1, 3, 256, 256)
    detail[..., 128, 128] = 1
    shifted = detail + 0.3
    # A constant shift is coarse: it goes; the point stays.
    torch.testing.assert_close(wavelet_color_fix(shifted, detail), detail, atol=1e-5, rtol=0)


def test_fixes_leave_an_equal_picture_alone() -> None:
    picture = torch.rand(1, 3, 33, 47, generator=torch.Generator().manual_seed(1))
    for fix in FIXES.values():
        torch.testing.assert_close(fix(picture, picture), picture, atol=1e-5, rtol=0)

"""The recorded fixes of the published program, exact to the bit, and their laws."""

import numpy as np
import pytest
import torch
from PIL import Image

from ccsr.images import buffers
from ccsr.method.color import FIXES, adain_color_fix, fixed_bands, wavelet_color_fix
from ccsr.options import COLOR_FIXES
from conftest import GOLDEN


def _read(name: str) -> torch.Tensor:
    return torch.from_numpy(np.asarray(Image.open(GOLDEN / "color" / f"{name}.png"))).permute(2, 0, 1)[None] / 255


def test_there_are_as_many_as_the_option_offers() -> None:
    assert tuple(FIXES) == COLOR_FIXES


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


def test_adain_takes_the_unbiased_deviation() -> None:
    """Of a few pixels, where it shows: the published formula written out, the root of the variance plus 1e-5."""
    content, style = torch.tensor([0.1, 0.4, 0.3, 0.9]).expand(1, 3, 1, 4), torch.tensor([0.2, 0.8]).expand(1, 3, 1, 2)
    own, wanted = ((x.var(correction=1) + 1e-5).sqrt() for x in (content[0, 0], style[0, 0]))
    expected = (content - content.mean()) / own * wanted + style.mean()
    torch.testing.assert_close(adain_color_fix(content, style), expected)


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


def _coarse(x: torch.Tensor) -> torch.Tensor:
    """The five blurs as the specification writes them: a dilated 3x3 kernel over a picture with repeated edges."""
    kernel = (torch.tensor([[1.0, 2, 1], [2, 4, 2], [1, 2, 1]]) / 16).expand(3, 1, 3, 3)
    for level in range(5):
        reach = 2**level
        padded = torch.nn.functional.pad(x, (reach,) * 4, mode="replicate")
        x = torch.nn.functional.conv2d(padded, kernel, dilation=reach, groups=3)
    return x


@pytest.mark.parametrize("size", [(64, 96), (5, 40), (1, 1)])
def test_wavelet_is_the_difference_of_two_blurs(size: tuple[int, int]) -> None:
    generator = torch.Generator().manual_seed(2)
    content, style = (torch.rand(2, 3, *size, generator=generator) for _ in range(2))
    expected = content - _coarse(content) + _coarse(style)
    torch.testing.assert_close(wavelet_color_fix(content, style), expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("name", list(FIXES))
def test_bands_are_fixed_as_the_whole(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(3)
    content, style = (torch.rand(1, 3, 90, 20, generator=generator) for _ in range(2))
    whole = FIXES[name](content, style)
    monkeypatch.setattr(buffers, "BAND", 1)
    out = torch.empty_like(content)
    for top, bottom, rows in fixed_bands(
        name, lambda a, b: content[:, :, a:b], lambda a, b: style[:, :, a:b], *content.shape[2:]
    ):
        out[:, :, top:bottom] = rows
    torch.testing.assert_close(out, whole, atol=1e-6 if name == "adain" else 0, rtol=0)

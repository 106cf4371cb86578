"""Kernels against their definitions, draws against the published table."""

from collections import Counter

import numpy as np
import pytest
import torch

from ccsr.degradation import PUBLISHED, RealESRGANDegradation, kernels, realesrgan


def _photo(side: int = 64) -> torch.Tensor:
    y, x = torch.meshgrid(torch.linspace(0, 6, side), torch.linspace(0, 6, side), indexing="ij")
    return torch.stack([(x.sin() + 1) / 2, (y.cos() + 1) / 2, ((x * y).sin() + 1) / 2])


def test_gaussian_kernel() -> None:
    kernel = kernels.blur(21, "iso", 1.3, 9.9, 0, 1)
    axis = np.arange(21) - 10
    assert kernel.sum() == pytest.approx(1)
    assert (kernel * axis[None] ** 2).sum() == pytest.approx(1.3**2, rel=1e-3)
    turned = kernels.blur(21, "aniso", 2.0, 0.7, np.pi / 2, 1)
    assert (turned * axis[:, None] ** 2).sum() == pytest.approx(4.0, rel=1e-2)
    assert (turned * axis[None] ** 2).sum() == pytest.approx(0.49, rel=1e-2)


def test_generalized_with_beta_one_is_the_gaussian() -> None:
    assert np.allclose(kernels.blur(9, "generalized_iso", 1, 1, 0, 1.0), kernels.blur(9, "iso", 1, 1, 0, 1.0))


def test_plateau_kernel() -> None:
    kernel = kernels.blur(7, "plateau_iso", 2.0, 2.0, 0, 1.5)
    assert kernel[3, 5] / kernel[3, 3] == pytest.approx(1 / (1 + (4 / 4) ** 1.5))


def test_sinc_passes_what_is_below_its_cutoff() -> None:
    kernel = kernels.sinc(21, np.pi / 2)
    response = np.abs(np.fft.fft2(kernel, (64, 64)))
    assert response[0, 4] == pytest.approx(1, abs=0.1)
    assert response[0, 32] < 0.1


def test_every_kernel_is_point_symmetric() -> None:
    for kind in realesrgan.KINDS:
        kernel = kernels.blur(13, kind, 1.1, 0.4, 0.7, 1.2)
        assert np.allclose(kernel, kernel[::-1, ::-1])


def test_filter_equals_a_direct_correlation() -> None:
    x, kernel = _photo()[None], kernels.padded(kernels.blur(11, "aniso", 1.4, 0.5, 0.4, 1))
    weight = torch.from_numpy(kernel).float().expand(3, 1, 21, 21)
    direct = torch.nn.functional.conv2d(torch.nn.functional.pad(x, (10,) * 4, mode="reflect"), weight, groups=3)
    torch.testing.assert_close(realesrgan._filter(x, kernel), direct, atol=1e-5, rtol=0)


def test_kinds_and_sizes_follow_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[int, str, float]] = []
    monkeypatch.setattr(
        kernels, "blur", lambda size, kind, sx, sy, r, b: seen.append((size, kind, sx)) or np.ones((size, size))
    )
    rng = np.random.default_rng(0)
    draws = 6000
    for _ in range(draws):
        realesrgan._draw_kernel(PUBLISHED[0], rng)
    assert len(seen) / draws == pytest.approx(0.9, abs=0.015)  # the others are sinc
    kinds = Counter(kind for _, kind, _ in seen)
    for kind, share in zip(realesrgan.KINDS, realesrgan.KIND_SHARES, strict=True):
        assert kinds[kind] / len(seen) == pytest.approx(share, abs=0.02)
    sizes = Counter(size for size, _, _ in seen)
    assert set(sizes) == set(range(7, 22, 2))
    assert min(sizes.values()) / max(sizes.values()) > 0.8
    sigmas = [sigma for _, _, sigma in seen]
    assert min(sigmas) >= 0.2
    assert max(sigmas) <= 1.5
    assert np.mean(sigmas) == pytest.approx(0.85, abs=0.02)


def test_result_is_an_eight_bit_quarter() -> None:
    lq = RealESRGANDegradation()(_photo(), np.random.default_rng(1))
    assert lq.shape == (3, 16, 16)
    assert torch.equal((lq * 255).round() / 255, lq)


def test_a_sample_depends_on_its_generator_alone() -> None:
    degradation, gt = RealESRGANDegradation(), _photo()
    first = degradation(gt, np.random.default_rng(5))
    torch.manual_seed(99)
    assert torch.equal(first, degradation(gt, np.random.default_rng(5)))
    assert not torch.equal(first, degradation(gt, np.random.default_rng(6)))


def test_it_degrades() -> None:
    gt = _photo(128)
    clean = torch.nn.functional.interpolate(gt[None], scale_factor=0.25, mode="area")[0]
    errors = [float((RealESRGANDegradation()(gt, np.random.default_rng(i)) - clean).std()) for i in range(12)]
    assert all(0.004 < e < 0.2 for e in errors)
    assert max(errors) > 2 * min(errors)

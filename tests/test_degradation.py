"""Kernels against their definitions, draws against the published table."""

from collections import Counter

import numpy as np
import pytest
import torch
from PIL import Image

from ccsr.degradation import (
    PUBLISHED,
    BicubicDegradation,
    Camera,
    CameraDegradation,
    LightDegradation,
    RealESRGANDegradation,
    StrongDegradation,
    kernels,
    operators,
    realesrgan,
)


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
    torch.testing.assert_close(operators.filtered(x, kernel), direct, atol=1e-5, rtol=0)


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


def test_the_published_table() -> None:
    """Figures of ccsr-spec 7, column by column."""
    first, second = PUBLISHED
    assert (first.blur_share, second.blur_share) == (1.0, 0.5)
    assert (first.sinc_share, second.sinc_share) == (0.1, 0.1)
    assert (first.sigma, second.sigma) == ((0.2, 1.5), (0.2, 1.0))
    assert first.generalized_beta == second.generalized_beta == (0.5, 2.0)
    assert first.plateau_beta == second.plateau_beta == (1.0, 1.5)
    assert (first.resize_shares, second.resize_shares) == ((0.2, 0.7, 0.1), (0.3, 0.4, 0.3))
    assert (first.resize, second.resize) == ((0.3, 1.5), (0.6, 1.2))
    assert (first.gaussian_share, second.gaussian_share) == (0.5, 0.5)
    assert (first.gaussian, second.gaussian) == ((1, 15), (1, 12))
    assert (first.poisson, second.poisson) == ((0.05, 2.0), (0.05, 1.0))
    assert (first.grey_share, second.grey_share) == (0.4, 0.4)
    assert (first.jpeg, second.jpeg) == ((60, 95), (60, 100))
    assert realesrgan.KIND_SHARES == (0.45, 0.25, 0.12, 0.03, 0.12, 0.03)
    assert realesrgan.FINAL_SINC_SHARE == 0.8


@pytest.mark.parametrize(
    ("stage", "shares", "low", "high"), [(0, (0.2, 0.7, 0.1), 0.3, 1.5), (1, (0.3, 0.4, 0.3), 0.6, 1.2)]
)
def test_scales_follow_the_table(stage: int, shares: tuple[float, ...], low: float, high: float) -> None:
    rng = np.random.default_rng(0)
    scales = np.array([realesrgan._draw_scale(PUBLISHED[stage], rng) for _ in range(8000)])
    assert [np.mean(scales > 1), np.mean(scales < 1), np.mean(scales == 1)] == pytest.approx(shares, abs=0.02)
    assert low <= scales.min() < low + 0.02
    assert high - 0.02 < scales.max() <= high
    # Even within each direction.
    assert np.mean(scales[scales < 1]) == pytest.approx((low + 1) / 2, abs=0.01)


def test_modes_qualities_and_final_filters_follow_the_table() -> None:
    rng = np.random.default_rng(0)
    modes = Counter(realesrgan._draw_mode(rng) for _ in range(6000))
    assert set(modes) == {"area", "bilinear", "bicubic"}
    assert min(modes.values()) / max(modes.values()) > 0.9
    for stage, (low, high) in zip(PUBLISHED, ((60, 95), (60, 100)), strict=True):
        drawn = [realesrgan._draw_quality(stage, rng) for _ in range(6000)]
        assert (min(drawn), max(drawn)) == (low, high)
        assert np.mean(drawn) == pytest.approx((low + high) / 2, abs=0.5)
    finals = [realesrgan._draw_final(rng) for _ in range(4000)]
    assert np.mean([final is not None for final in finals]) == pytest.approx(0.8, abs=0.02)
    assert all(final.sum() == pytest.approx(1) for final in finals if final is not None)


@pytest.mark.parametrize(("stage", "sigma"), [(0, (1, 15)), (1, (1, 12))])
def test_noise_follows_the_table(stage: int, sigma: tuple[float, float]) -> None:
    """Kinds and strengths told from the noise itself, on mid grey where nothing is clamped."""
    rng = np.random.default_rng(0)
    grey = torch.full((1, 3, 48, 48), 128 / 255)
    noises = [realesrgan._add_noise(grey, PUBLISHED[stage], rng) - grey for _ in range(1200)]
    alike = np.array([bool((n[:, 0] == n[:, 1]).all()) for n in noises])
    assert alike.mean() == pytest.approx(0.4, abs=0.04)
    # Poisson noise on one level is a whole number of steps of 1 / V times its scale: few distinct values.
    poisson = np.array([len(torch.unique(n)) < 300 for n in noises])
    assert poisson.mean() == pytest.approx(0.5, abs=0.05)
    stds = np.array([float(n.std()) * 255 for n in noises])[~poisson]
    assert sigma[0] * 0.9 < stds.min() < sigma[0] + 0.5
    assert sigma[1] - 0.5 < stds.max() < sigma[1] * 1.1
    assert stds.mean() == pytest.approx(sum(sigma) / 2, abs=0.5)


def test_poisson_noise_has_the_variance_of_its_light() -> None:
    """var = scale^2 x / V with V the power of two at or above the number of levels (ccsr-spec 7)."""
    stage = realesrgan.DegradationRound(
        1, (0.2, 1.5), (1, 1.5), (0, 0, 1), (1, 1), (1, 15), (1.0, 1.0), (60, 95), gaussian_share=0, grey_share=0
    )
    ramp = torch.linspace(0.2, 0.6, 41).mul(255).round().div(255)  # 41 levels: V = 64
    x = ramp.repeat_interleave(5000).view(1, 1, 41, 5000).expand(1, 3, -1, -1)
    noise = realesrgan._add_noise(x, stage, np.random.default_rng(0)) - x
    for row in (0, 20, 40):
        assert float(noise[0, :, row].var()) == pytest.approx(float(ramp[row]) / 64, rel=0.05)


def test_second_blur_and_order_are_drawn_half_of_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seen from outside: how often each operation runs, and which ends the chain."""
    ran: list[str] = []
    for name in ("filtered", "through_jpeg"):
        original = getattr(realesrgan, name)
        monkeypatch.setattr(
            realesrgan, name, lambda x, w, n=name, f=original: (ran.append(n) if w is not None else None) or f(x, w)
        )
    gt, degradation, last, kernels_used = _photo(32), RealESRGANDegradation(), Counter[str](), []
    for seed in range(400):
        ran.clear()
        degradation(gt, np.random.default_rng(seed))
        assert ran.count("through_jpeg") == 2
        kernels_used.append(ran.count("filtered"))
        last[ran[-1]] += 1
    # One blur always, a second half of the time, the final sinc in 0.8: it comes last in half of these.
    assert np.mean(kernels_used) == pytest.approx(1 + 0.5 + 0.8, abs=0.1)
    assert last["filtered"] / 400 == pytest.approx(0.4, abs=0.06)


def test_a_sample_is_the_same_alone_and_in_any_batch() -> None:
    degradation = RealESRGANDegradation()
    gts = torch.stack([_photo(64).roll(i, -1) for i in range(5)])
    for threads in (1, 2):
        torch.set_num_threads(threads)
        alone = [degradation(gt, np.random.default_rng(i)) for i, gt in enumerate(gts)]
        together = degradation(gts, [np.random.default_rng(i) for i in range(5)])
        assert torch.equal(together, torch.stack(alone))
        if threads == 1:
            first = together
    assert torch.equal(first, together)
    with pytest.raises(ValueError, match="5 pictures and 2 generators"):
        degradation(gts, [np.random.default_rng(i) for i in range(2)])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu_it_is_the_same_but_for_rounding() -> None:
    gt = _photo(64)
    here, there = (RealESRGANDegradation()(gt.to(d), np.random.default_rng(1)).cpu() for d in ("cpu", "cuda"))
    assert float((here - there).abs().mean()) < 2 / 255


def test_bicubic_is_pillows() -> None:
    gt = (_photo(64) * 255).round() / 255
    picture = Image.fromarray((gt.permute(1, 2, 0) * 255).round().byte().numpy())
    theirs = np.asarray(picture.resize((16, 16), Image.Resampling.BICUBIC)).astype(int)
    ours = (BicubicDegradation()(gt).permute(1, 2, 0) * 255).round().int().numpy()
    assert abs(ours - theirs).max() <= 1


def test_the_light_one_keeps_the_picture() -> None:
    gts = torch.stack([_photo(64)] * 6)
    lq = LightDegradation()(gts, [np.random.default_rng(i) for i in range(6)])
    assert lq.shape == (6, 3, 16, 16)
    clean = torch.nn.functional.interpolate(gts, scale_factor=0.25, mode="area")
    assert float((lq - clean).abs().mean()) < 0.03
    assert not torch.equal(lq[0], lq[1])


def test_strong_noise_is_strong_and_jpeg_is_poor() -> None:
    grey = torch.full((3, 128, 128), 0.5)
    found = [StrongDegradation(jpeg=(100, 100))(grey, np.random.default_rng(i)) for i in range(200)]
    levels = sorted(255 * float(x.std()) for x in found)
    assert found[0].shape == (3, 32, 32)
    assert 1.5 < levels[0] < 10  # grain of 8 levels, smoothed
    assert 38 < levels[-1] < 48
    assert 12 < levels[100] < 30
    clear = [StrongDegradation(noise=(0, 0))(grey, np.random.default_rng(i)) for i in range(20)]
    assert all(float((x - 0.5).abs().max()) < 2 / 255 for x in clear)
    gts = torch.rand(4, 3, 32, 32)
    together = StrongDegradation(factor=1)(gts, [np.random.default_rng(i) for i in range(4)])
    for i in range(4):
        assert torch.equal(together[i], StrongDegradation(factor=1)(gts[i], np.random.default_rng(i)))


def test_a_camera_blurs_more_than_a_reduction_and_mostly_adds_little_noise() -> None:
    gt = torch.zeros(3, 64, 64)
    gt[:, :, 32:] = 1
    camera = CameraDegradation(camera=Camera(noise=0.0, sharpening=0.0, jpeg=(100, 100)))
    rows = torch.stack([camera(gt, np.random.default_rng(i))[1, 8] for i in range(40)])
    plain = torch.nn.functional.interpolate(gt[None], scale_factor=0.25, mode="area")[0, 1, 8]
    assert rows.shape == (40, 16)
    # What the bright half leaves in the pixel beside the edge: none for the filter alone.
    assert float(plain[7]) == 0
    assert 0.03 < float(rows[:, 7].mean()) < 0.3
    grey = torch.full((3, 64, 64), 0.5)
    levels = [255 * float(CameraDegradation()(grey, np.random.default_rng(i)).std()) for i in range(200)]
    assert np.median(levels) < 4
    assert max(levels) > 12


def test_a_camera_is_the_same_alone_and_in_a_batch() -> None:
    gts = torch.stack([_photo(64).roll(i, -1) for i in range(4)])
    together = CameraDegradation()(gts, [np.random.default_rng(i) for i in range(4)])
    for i in range(4):
        assert torch.equal(together[i], CameraDegradation()(gts[i], np.random.default_rng(i)))

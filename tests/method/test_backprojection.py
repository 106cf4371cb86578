"""Back-projection: the result shrinks back to its input, and is the nearest picture that does."""

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter

from ccsr.images import buffers
from ccsr.images.resample import enlarge
from ccsr.method.backprojection import back_projected


def _reduced(sr: np.ndarray, width: int, height: int) -> np.ndarray:
    planes = [Image.fromarray(sr[..., c]).resize((width, height), Image.Resampling.LANCZOS) for c in range(3)]
    return np.stack([np.asarray(plane) for plane in planes], axis=-1)


def _photo(height: int, width: int, noise: float = 0.0) -> np.ndarray:
    """Edges and ramps with noise of that many levels."""
    y, x = np.mgrid[:height, :width]
    picture = np.stack([x / width, y / height, (x // 9 + y // 7) % 2 * 0.6 + 0.2], axis=-1)
    noisy = picture + np.random.default_rng(0).normal(0, noise / 255, picture.shape)
    return noisy.clip(0, 1).astype(np.float32)


@pytest.mark.parametrize("scale", [1, 2, 2.5, 3, 4, 8])
def test_the_result_shrinks_back_to_a_noisy_input(scale: float) -> None:
    lq = _photo(30, 40, noise=10)
    smooth = enlarge(gaussian_filter(lq, (1, 1, 0)), round(40 * scale), round(30 * scale))
    assert np.abs(_reduced(smooth, 40, 30) - lq).max() * 255 > 30
    bound = back_projected(smooth, lq, 1)
    assert np.abs(_reduced(bound, 40, 30).clip(0, 1) - lq).max() * 255 < 1.5
    assert 0 <= bound.min() <= bound.max() <= 1


def test_what_no_picture_can_shrink_to_is_approached() -> None:
    """Pixels that are black and white by turns: the filter takes more than half of such a contrast away."""
    lq = np.indices((20, 20)).sum(0)[..., None].repeat(3, 2).astype(np.float32) % 2
    grey = np.full((80, 80, 3), 0.5, np.float32)
    bound = back_projected(grey, lq, 1)
    assert 0.5 > np.abs(_reduced(bound, 20, 20) - lq)[4:-4, 4:-4].max() > 0.1
    assert np.isfinite(bound).all()


def test_a_share_takes_that_much_of_the_difference_away() -> None:
    lq = 0.25 + 0.5 * _photo(30, 40, noise=5)  # far from black and white, where it is linear
    smooth = enlarge(gaussian_filter(lq, (1, 1, 0)), 160, 120)
    before = _reduced(smooth, 40, 30) - lq
    after = _reduced(back_projected(smooth, lq, 0.75), 40, 30) - lq
    np.testing.assert_allclose(after, 0.25 * before, atol=1 / 255)
    assert back_projected(smooth, lq, 0) is smooth


def test_it_is_the_nearest_one() -> None:
    """The truth shrinks to the input too. So it is no nearer to the result than the projection is, and that is nearer
    to the truth than the result was."""
    truth = _photo(120, 160)
    lq = _reduced(truth, 40, 30).clip(0, 1)
    sr = gaussian_filter(truth, (2, 2, 0)) * np.float32(0.9)
    bound = back_projected(sr, lq, 1)

    def apart(a: np.ndarray, b: np.ndarray) -> float:
        return float(np.square(a - b).sum())

    assert apart(sr, bound) < apart(sr, truth)
    assert apart(truth, bound) < 0.7 * apart(truth, sr)


def test_bands_on_disk_are_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    lq = _photo(30, 40, noise=5)
    sr = enlarge(gaussian_filter(lq, (1, 1, 0)), 100, 75)
    whole = back_projected(sr, lq, 1)
    monkeypatch.setattr(buffers, "RESIDENT", 1000)
    monkeypatch.setattr(buffers, "BAND", 1)
    monkeypatch.setattr(buffers, "_SLIMMEST", 7)
    np.testing.assert_allclose(back_projected(sr, lq, 1), whole, atol=1e-5)

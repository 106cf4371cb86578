"""How true a result is to its input, against Pillow's own Lanczos and sums by hand."""

import numpy as np
import pytest
from PIL import Image

from ccsr.images import buffers
from ccsr.metrics import METRICS, consistency, consistency_of, difference_map

RNG = np.random.default_rng(0)
SR = RNG.integers(0, 256, (48, 60, 3), dtype=np.uint8)
LQ = RNG.integers(0, 256, (16, 20, 3), dtype=np.uint8)


def _reduced(sr: np.ndarray, width: int, height: int) -> np.ndarray:
    """Levels of the picture that Pillow makes of float32 planes."""
    planes = [
        np.asarray(Image.fromarray(sr[..., c].astype(np.float32)).resize((width, height), Image.Resampling.LANCZOS))
        for c in range(3)
    ]
    return np.round(np.stack(planes, axis=-1)).clip(0, 255)


def test_figures_against_pillow() -> None:
    apart = _reduced(SR, 20, 16) - LQ
    found = consistency_of(SR, LQ)
    assert found.psnr == pytest.approx(10 * np.log10(255**2 / (apart**2).mean()), abs=0.01)
    assert found.largest == np.abs(apart).max()
    assert consistency(SR, LQ) == found.psnr
    np.testing.assert_allclose(difference_map(SR, LQ), np.abs(apart).mean(2) / 255, atol=1 / 255)
    assert found.as_json() == {"psnr": round(found.psnr, 3), "largest": found.largest}


def test_floats_are_scored_as_eight_bits() -> None:
    assert consistency_of(SR / np.float32(255), LQ / np.float32(255)) == consistency_of(SR, LQ)
    assert consistency_of(LQ / np.float32(255) + np.float32(0.4 / 255), LQ).largest == 0


def test_a_picture_is_true_to_itself() -> None:
    assert consistency_of(LQ, LQ).largest == 0
    assert consistency_of(LQ, LQ).psnr == pytest.approx(80)


@pytest.mark.parametrize("size", [(16, 20), (7, 60), (48, 11)])
def test_bands_are_the_whole(size: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    lq = RNG.integers(0, 256, (*size, 3), dtype=np.uint8)
    whole = consistency_of(SR, lq)
    monkeypatch.setattr(buffers, "BAND", 1)
    monkeypatch.setattr(buffers, "_SLIMMEST", 3)
    assert consistency_of(SR, lq).psnr == pytest.approx(whole.psnr, abs=1e-3)
    assert abs(consistency_of(SR, lq).largest - whole.largest) <= 1


def test_it_is_a_metric_of_the_input() -> None:
    metric = METRICS["consistency"]
    assert (metric.of_input, metric.direction) == (True, "higher")
    assert metric.load()(SR, LQ) == consistency(SR, LQ)

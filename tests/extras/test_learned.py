"""The learned metrics in the environment of `make test-extras`: wiring, with weights that the test makes itself.

Their published weights are not at hand, so the figures are those of random networks: what is tested is that the right
files are asked for, that pictures arrive as they should, and that nothing is fetched.
"""

from pathlib import Path

import numpy as np
import pytest
import torch

pytestmark = pytest.mark.extras
torchvision = pytest.importorskip("torchvision", reason="run by make test-extras")
pyiqa = pytest.importorskip("pyiqa", reason="run by make test-extras")

from ccsr.errors import WeightsError  # noqa: E402
from ccsr.metrics import METRICS  # noqa: E402


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    torch.manual_seed(0)
    torch.save(torchvision.models.alexnet(weights=None).state_dict(), tmp_path / "alexnet-owt-7be5be79.pth")
    heads = {f"lin{i}.model.1.weight": torch.rand(1, width, 1, 1) for i, width in enumerate((64, 192, 384, 256, 256))}
    torch.save(heads, tmp_path / "LPIPS_v0.1_alex-df73285e.pth")
    monkeypatch.setenv("CCSR_METRIC_WEIGHTS", str(tmp_path))
    monkeypatch.setattr("urllib.request.urlopen", lambda *a, **k: pytest.fail("something was fetched"))
    return tmp_path


def pictures() -> tuple[np.ndarray, np.ndarray]:
    gt = np.random.default_rng(0).integers(0, 256, (96, 96, 3)).astype(np.uint8)
    return np.clip(gt.astype(int) + 9, 0, 255).astype(np.uint8), gt


@pytest.mark.parametrize("name", ["lpips", "lpips_torchmetrics"])
def test_lpips_of_made_weights(name: str, weights: Path) -> None:
    sr, gt = pictures()
    score = METRICS[name].load()
    assert score(gt, gt) == pytest.approx(0, abs=1e-6)
    assert score(sr, gt) > 0
    assert score(sr, gt) == score(sr, gt)


@pytest.mark.parametrize("name", [n for n, m in METRICS.items() if m.is_learned and not n.startswith("lpips")])
def test_absent_weights_are_one_line(name: str, weights: Path) -> None:
    with pytest.raises(WeightsError, match=r"weights not found: .* \(set CCSR_METRIC_WEIGHTS\)"):
        METRICS[name].load()

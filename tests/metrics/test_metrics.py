"""Metrics against other implementations, made arrays, and scores that others published."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.ndimage import gaussian_filter
from skimage import data
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from ccsr import metrics
from ccsr.errors import ImageError, MissingExtraError, OptionError, WeightsError
from ccsr.metrics import METRICS, PROTOCOLS, chosen_metrics
from ccsr.metrics.learned import FILE_SOURCES
from ccsr.metrics.luma import full_luma, studio_luma, without_border

REALSR = Path(__file__).parents[3] / "shared" / "data" / "benchmark" / "realsr"
needs_realsr = pytest.mark.skipif(not REALSR.is_dir(), reason="the benchmark pictures are not beside the checkout")


def noisy(picture: np.ndarray, sigma: float = 8) -> np.ndarray:
    noise = np.random.default_rng(0).normal(0, sigma, picture.shape)
    return np.clip(np.round(picture + noise), 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def cat() -> np.ndarray:
    return data.chelsea()


def test_luma_of_white_and_black() -> None:
    ends = np.array([[[0, 0, 0], [255, 255, 255]]], np.uint8)
    assert studio_luma(ends) == pytest.approx(np.array([[16, 235]]))
    assert full_luma(ends) == pytest.approx(np.array([[0, 1]]))


def test_psnr_agrees_with_scikit_image(cat: np.ndarray) -> None:
    other = noisy(cat)
    expected = peak_signal_noise_ratio(studio_luma(cat), studio_luma(other), data_range=255)
    assert metrics.psnr(other, cat) == pytest.approx(expected, abs=2e-4)  # the floor of 1e-8
    assert metrics.psnr_rgb(other, cat) == pytest.approx(peak_signal_noise_ratio(cat, other), abs=1e-4)


def test_psnr_of_equal_pictures_and_of_floats(cat: np.ndarray) -> None:
    assert metrics.psnr(cat, cat) == pytest.approx(80)
    assert metrics.psnr(cat / 255.0, noisy(cat)) == metrics.psnr(cat, noisy(cat))


def test_color_psnr_sees_what_psnr_does_not() -> None:
    grey = np.full((8, 8, 3), 128, np.uint8)
    tinted = grey.copy()
    tinted[..., 0] += 20  # red up, green down: nearly the same brightness
    tinted[..., 1] -= 10
    assert metrics.psnr(tinted, grey) > 60
    assert metrics.psnr_color(tinted, grey) < 35


def test_flat_noise_is_measured_where_the_truth_is_flat() -> None:
    rng = np.random.default_rng(0)
    texture, grain = (rng.normal(0, sigma, (128, 640, 1)) for sigma in (30, 4))
    texture[:, :64] = 0  # eight flat patches of eighty
    grain[:, 56:64] = 0  # the filter reaches over the border
    gt, noisy_there, noisy_elsewhere = (
        np.repeat(100 + x, 3, 2).clip(0, 255).round().astype(np.uint8)
        for x in (texture, texture + np.where(np.arange(640)[None, :, None] < 64, grain, 0), texture * 1.5)
    )
    rest = (grain - gaussian_filter(grain, (1.4, 1.4, 0)))[:, :64].reshape(4, 32, 2, 32).swapaxes(1, 2)
    assert metrics.flat_noise(noisy_there, gt) == pytest.approx(rest.reshape(8, -1).std(1).mean(), rel=0.15)
    # Of texture beside them only what the filter carries over the border.
    assert metrics.flat_noise(noisy_elsewhere, gt) < 2
    assert metrics.flat_noise(gt[:16, :16], gt[:16, :16]) == 0


def test_a_lattice_is_seen_where_the_picture_is_smooth() -> None:
    """Pictures of noise have none; a dot of three grey levels in each 4x4 block is plain."""
    rng = np.random.default_rng(0)
    grain = rng.normal(0, 1, (256, 256, 1))
    grain[64:] *= 20
    rows, columns = np.mgrid[:256, :256] % 4 == 0
    plain, pattern = 120 + grain, 120 + grain + 3 * (rows & columns)[..., None]
    without, with_it = (
        metrics.lattice(np.repeat(x, 3, 2).clip(0, 255).round().astype(np.uint8)) for x in (plain, pattern)
    )
    assert without < 2.5
    assert with_it > 10
    with pytest.raises(ImageError, match="too small for the lattice"):
        metrics.lattice(np.zeros((63, 80, 3), np.uint8))


def test_ssim_agrees_with_scikit_image(cat: np.ndarray) -> None:
    other = noisy(cat)
    _, where = structural_similarity(
        np.round(studio_luma(cat)), np.round(studio_luma(other)), data_range=255, gaussian_weights=True, sigma=1.5,
        use_sample_covariance=False, win_size=11, full=True,
    )  # fmt: skip
    # Scikit-image averages over padded borders too; here only whole windows count.
    assert metrics.ssim(other, cat) == pytest.approx(where[5:-5, 5:-5].mean(), abs=2e-4)
    assert metrics.ssim(cat, cat) == pytest.approx(1)


def test_l1_of_a_known_difference() -> None:
    a = np.full((4, 4, 3), 100, np.uint8)
    assert metrics.l1(a, a + 51) == pytest.approx(0.2)


def test_niqe_prefers_photographs_to_noise_and_blur(cat: np.ndarray) -> None:
    photograph = metrics.niqe(cat)
    blurred = np.asarray(Image.fromarray(cat).resize((112, 75)).resize((451, 300)))
    assert photograph < metrics.niqe(noisy(cat, 30))
    assert photograph < metrics.niqe(blurred)


@pytest.mark.parametrize("size", [(95, 400), (96, 96)])
def test_niqe_of_a_small_picture_is_refused(size: tuple[int, int]) -> None:
    with pytest.raises(ImageError, match="too small for NIQE"):
        metrics.niqe(np.zeros((*size, 3), np.uint8))


def test_niqe_of_a_flat_picture_is_refused() -> None:
    with pytest.raises(ImageError, match="too flat for NIQE"):
        metrics.niqe(np.full((300, 300, 3), 90, np.uint8))


def test_squeezenet_distance(cat: np.ndarray) -> None:
    assert metrics.squeezenet_distance(cat, cat) == 0
    near, far = metrics.squeezenet_distance(noisy(cat, 5), cat), metrics.squeezenet_distance(noisy(cat, 40), cat)
    assert 0 < near < far < 4


def test_squeezenet_knows_its_classes() -> None:
    # The last layer, computed here from the same file: the features are those that the classifier was trained on.
    from safetensors.torch import load_file

    from ccsr.metrics.features import SHIPPED, load_features

    picture = np.asarray(Image.fromarray(data.chelsea()).resize((227, 227), Image.Resampling.BICUBIC))
    x = torch.from_numpy(picture.copy()).permute(2, 0, 1)[None] / 255
    stored = load_file(SHIPPED)
    scores = torch.nn.functional.conv2d(
        load_features(stored)(x)[-1], stored["classifier.1.weight"].float(), stored["classifier.1.bias"].float(),
        padding=1,
    )  # fmt: skip
    probabilities = scores.relu().mean((2, 3)).softmax(1)[0]
    assert int(probabilities.argmax()) == 285  # Egyptian cat
    assert probabilities[285] > 0.4


def test_squeezenet_gradient_reaches_a_black_picture() -> None:
    from safetensors.torch import load_file

    from ccsr.metrics.features import SHIPPED, load_features, perceptual_distance

    sr = torch.zeros(1, 3, 64, 64, requires_grad=True)
    perceptual_distance(load_features(load_file(SHIPPED)), sr, torch.rand(1, 3, 64, 64)).backward()
    assert sr.grad is not None
    assert torch.isfinite(sr.grad).all()


def test_border() -> None:
    picture = np.arange(8 * 10 * 3).reshape(8, 10, 3)
    assert np.array_equal(without_border(picture, 2), picture[2:6, 2:8])
    with pytest.raises(ImageError, match="nothing is left"):
        without_border(picture, 4)


@pytest.mark.parametrize("bad", [np.zeros((4, 4), np.uint8), np.zeros((0, 4, 3), np.uint8), np.zeros((4, 4, 3), int)])
def test_no_picture(bad: np.ndarray) -> None:
    with pytest.raises(ImageError, match="cannot be scored"):
        metrics.psnr(bad, bad)


def test_every_row_says_what_it_is() -> None:
    for name, metric in METRICS.items():
        assert metric.name == name
        assert metric.direction in ("higher", "lower")
        assert metric.range[0] < metric.range[1]
        assert metric.source
    assert len({metric.title for metric in METRICS.values()}) == len(METRICS)


def test_protocols_choose() -> None:
    assert [m.name for m in chosen_metrics(PROTOCOLS["stablesr"], None)] == [
        "psnr", "ssim", "niqe", "lpips", "fid", "clipiqa", "musiq",
    ]  # fmt: skip
    assert [m.name for m in chosen_metrics(PROTOCOLS["ccsr"], "l1, ssim")] == ["l1", "ssim"]
    assert len(chosen_metrics(PROTOCOLS["ccsr"], "all")) == len(METRICS)
    with pytest.raises(OptionError, match=r"no metric is called 'pnsr' \(did you mean psnr\?\)"):
        chosen_metrics(PROTOCOLS["ccsr"], "pnsr")


def test_learned_metric_without_its_library(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "pyiqa", None)
    with pytest.raises(MissingExtraError, match=r"pyiqa is not installed \(its licence: PolyForm Noncommercial"):
        METRICS["lpips"].load()


def test_learned_metric_without_its_weights(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("ccsr.metrics.learned._is_installed", lambda library: True)
    monkeypatch.setenv("CCSR_METRIC_WEIGHTS", str(tmp_path))
    with pytest.raises(WeightsError, match=r"weights not found: LPIPS_v0.1_alex-df73285e.pth, alexnet.* \(set CCSR_"):
        METRICS["lpips"].load()


def test_learned_weights_that_would_run_are_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import pickle

    class Harm:
        def __reduce__(self) -> tuple:
            return (Path.touch, (tmp_path / "it ran",))

    monkeypatch.setattr("ccsr.metrics.learned._is_installed", lambda library: True)
    monkeypatch.setenv("CCSR_METRIC_WEIGHTS", str(tmp_path))
    for file in ("LPIPS_v0.1_alex-df73285e.pth", "alexnet-owt-7be5be79.pth"):
        (tmp_path / file).write_bytes(pickle.dumps(Harm()))
    with pytest.raises(WeightsError, match="is no file of plain tensors"):
        METRICS["lpips"].load()
    assert not (tmp_path / "it ran").exists()


def test_the_check_says_what_each_metric_lacks(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import torch

    from ccsr.cli.main import main

    monkeypatch.setattr("ccsr.metrics.learned._is_installed", lambda library: library == "torchmetrics")
    monkeypatch.setenv("CCSR_METRIC_WEIGHTS", str(tmp_path))
    torch.save({"weight": torch.zeros(1)}, tmp_path / "vgg16-397923af.pth")
    (tmp_path / "alexnet-owt-7be5be79.pth").write_bytes(b"<html>not found</html>")
    assert main(["evaluate", "--check-metrics", "--json"]) == 0
    rows = {row["metric"]: row for row in json.loads(capsys.readouterr().out)["metrics"]}
    assert list(rows) == list(METRICS)
    assert all(rows[name]["reason"] is None for name, metric in METRICS.items() if not metric.is_learned)
    assert rows["dists"]["reason"].startswith("pyiqa is not installed")
    assert rows["dists"]["absent"] == {"DISTS_weights-f5e65c96.pth": "huggingface.co/chaofengc/IQA-PyTorch-Weights"}
    assert rows["dists"]["files"]["vgg16-397923af.pth"] == str(tmp_path / "vgg16-397923af.pth")
    assert "is no file of plain tensors" in rows["lpips_torchmetrics"]["reason"]
    assert main(["evaluate", "--check-metrics"]) == 0
    told = capsys.readouterr().out
    assert "PSNR                  ccsr          ready" in told
    assert "RN50.pt                               openaipublic" in told
    assert "vgg16-397923af.pth  " not in told  # it is here


def test_every_file_is_named_with_its_source_in_code_and_docs() -> None:
    page = (Path(__file__).parents[2] / "docs" / "evaluation.md").read_text(encoding="utf-8")
    for metric in METRICS.values():
        for file in metric.files:
            assert file in FILE_SOURCES
            assert f"`{file}`" in page
    assert all(source in page for source in FILE_SOURCES.values())


def test_nothing_noncommercial_is_imported() -> None:
    import subprocess
    import sys

    code = "import ccsr.metrics, ccsr.evaluate, sys; print([m for m in ('pyiqa', 'torchmetrics') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def scores_of(name: str) -> list[dict[str, str]]:
    with (REALSR / name).open(newline="") as lines:
        return list(csv.DictReader(lines))


def opened(folder: str, stem: str) -> np.ndarray:
    return np.asarray(Image.open(REALSR / folder / f"{stem}.webp").convert("RGB"))


@needs_realsr
def test_published_scores_of_osediff_picture_by_picture() -> None:
    ours = []
    for row in scores_of("osediff_published_scores.csv"):
        if not (REALSR / "SR_OSEDiff" / f"{row['file']}.webp").exists():
            continue
        sr, gt = opened("SR_OSEDiff", row["file"]), opened("test_HR", row["file"])
        ours.append((metrics.psnr(sr, gt), metrics.ssim(sr, gt), metrics.niqe(sr)))
        for mine, column, tolerance in zip(ours[-1], ("psnr_y", "ssim_y", "niqe"), (0.001, 0.0001, 0.02), strict=True):
            assert mine == pytest.approx(float(row[column]), abs=tolerance), row["file"]
    psnr, ssim, niqe = np.mean(ours, axis=0)
    assert len(ours) == 30
    assert (round(psnr, 4), round(ssim, 4)) == (25.0086, 0.7476)
    assert niqe == pytest.approx(5.9352, abs=0.005)


@needs_realsr
@pytest.mark.slow
def test_bicubic_on_all_of_realsr_to_the_last_digit() -> None:
    ours = []
    for row in scores_of("reference_scores.csv"):
        small = Image.fromarray(opened("test_LR", row["file"]))
        sr, gt = np.asarray(small.resize((512, 512), Image.Resampling.BICUBIC)), opened("test_HR", row["file"])
        ours.append((metrics.psnr(sr, gt), metrics.ssim(sr, gt), metrics.niqe(sr), metrics.psnr_color(sr, gt)))
        assert ours[-1][0] == pytest.approx(float(row["bicubic_psnr_y"]), abs=2e-6)
        assert ours[-1][1] == pytest.approx(float(row["bicubic_ssim_y"]), abs=2e-6)
        assert ours[-1][2] == pytest.approx(float(row["bicubic_niqe"]), abs=1e-3)
    psnr, ssim, niqe, color = np.mean(ours, axis=0)
    assert (round(psnr, 4), round(ssim, 4), round(niqe, 4)) == (27.1128, 0.7555, 8.9940)
    assert round(color, 2) == 40.91


@needs_realsr
@pytest.mark.slow
def test_squeezenet_distance_of_every_tenth_picture() -> None:
    for row in scores_of("squeezenet_distance.csv")[::10]:
        small = Image.fromarray(opened("test_LR", row["file"]))
        sr, gt = np.asarray(small.resize((512, 512), Image.Resampling.BICUBIC)), opened("test_HR", row["file"])
        assert metrics.squeezenet_distance(sr, gt) == pytest.approx(float(row["bicubic"]), abs=2e-6)
        if row["osediff"]:
            sr = opened("SR_OSEDiff", row["file"])
            assert metrics.squeezenet_distance(sr, gt) == pytest.approx(float(row["osediff"]), abs=2e-6)

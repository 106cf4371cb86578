"""Feature networks against recorded distances, and against their definitions written out."""

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn.functional import conv2d, max_pool2d, relu

from ccsr.errors import WeightsError
from ccsr.metrics.features import SqueezeNetFeatures, VGG16Features, load_features, perceptual_distance
from ccsr.weights.tensors import read_tensors


def _tensor(picture: Image.Image) -> torch.Tensor:
    return torch.from_numpy(np.asarray(picture.convert("RGB")).copy()).permute(2, 0, 1)[None].float() / 255


def test_squeezenet_distances_are_the_recorded_ones(shared: Path) -> None:
    """Of the first pictures of RealSR enlarged by Pillow's bicubic filter, as the data's own table has them."""
    network = load_features(read_tensors(shared / "data" / "metrics" / "squeezenet1_0.safetensors"))
    folder = shared / "data" / "benchmark" / "realsr"
    with (folder / "squeezenet_distance.csv").open() as lines:
        rows = list(csv.DictReader(lines))[:3]
    for row in rows:
        gt = next((folder / "test_HR").glob(f"{row['file'].removesuffix('_LR4')}*"))
        lq = next((folder / "test_LR").glob(f"{row['file']}*"))
        truth = Image.open(gt)
        bicubic = Image.open(lq).convert("RGB").resize(truth.size, Image.Resampling.BICUBIC)
        with torch.no_grad():
            distance = float(perceptual_distance(network, _tensor(bicubic), _tensor(truth)))
        assert distance == pytest.approx(float(row["bicubic"]), abs=1e-4)


def test_squeezenet_shapes() -> None:
    maps = SqueezeNetFeatures()(torch.rand(1, 3, 65, 80))
    # 7x7 with stride 2, then pools of 3x3 with stride 2 that round up.
    assert [tuple(m.shape[1:]) for m in maps] == [
        (96, 30, 37), (256 // 2, 15, 18), (256, 7, 9), (384, 7, 9), (512, 3, 4),
    ]  # fmt: skip


def test_vgg_with_lpips_heads_is_the_published_formula() -> None:
    """LPIPS written out: scaled input, relu1_2 ... relu5_3, unit length, squared, weighted, averaged, summed."""
    torch.manual_seed(0)
    weights = VGG16Features().state_dict()
    heads = {f"lin{i}.model.1.weight": torch.rand(1, c, 1, 1) for i, c in enumerate((64, 128, 256, 512, 512))}
    network = load_features({**weights, "classifier.0.weight": torch.zeros(1)}, heads)
    a, b = torch.rand(2, 1, 3, 32, 32)
    shift = torch.tensor([-0.030, -0.088, -0.188]).view(1, 3, 1, 1)
    scale = torch.tensor([0.458, 0.448, 0.450]).view(1, 3, 1, 1)

    def maps(x: torch.Tensor) -> list[torch.Tensor]:
        x, found = (2 * x - 1 - shift) / scale, []
        layers = [0, 2, "tap", 5, 7, "tap", 10, 12, 14, "tap", 17, 19, 21, "tap", 24, 26, 28, "tap"]
        for layer in layers:
            if layer == "tap":
                found.append(x)
                x = max_pool2d(x, 2, 2)
            else:
                x = relu(conv2d(x, weights[f"features.{layer}.weight"], weights[f"features.{layer}.bias"], padding=1))
        return found

    expected = 0.0
    for i, (x, y) in enumerate(zip(maps(a), maps(b), strict=True)):
        x, y = (v / (v.pow(2).sum(1, keepdim=True).sqrt() + 1e-10) for v in (x, y))
        expected += float(((x - y) ** 2 * heads[f"lin{i}.model.1.weight"]).sum(1).mean())
    assert float(perceptual_distance(network, a, b)) == pytest.approx(expected, rel=1e-4)


def test_equal_pictures_have_no_distance_and_a_finite_gradient() -> None:
    network = SqueezeNetFeatures()
    a = torch.zeros(1, 3, 48, 48, requires_grad=True)
    distance = perceptual_distance(network, a, torch.zeros(1, 3, 48, 48))
    distance.backward()
    assert float(distance) == 0
    assert a.grad is not None
    assert bool(torch.isfinite(a.grad).all())


def test_half_precision_files_become_float32() -> None:
    network = load_features({n: t.half() for n, t in SqueezeNetFeatures().state_dict().items()})
    assert {p.dtype for p in network.parameters()} == {torch.float32}
    assert not any(p.requires_grad for p in network.parameters())


def test_other_weights_are_refused() -> None:
    with pytest.raises(WeightsError, match=r"not the weights of SqueezeNet 1\.0 or VGG16"):
        load_features({"features.0.weight": torch.zeros(1)})

"""Methods in the worker process: ncnn against recorded scores, and the way to another environment's spandrel."""

import csv
import dataclasses
import hashlib
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ccsr.compare import worker_program
from ccsr.compare.config import ComparisonConfig
from ccsr.compare.methods.ncnn import Ncnn
from ccsr.compare.methods.spandrel import Spandrel
from ccsr.compare.run import compare
from ccsr.errors import WeightsError

FAKE_SPANDREL = """
import torch
from PIL import Image

class ImageModelDescriptor:
    input_channels = 3

    def __init__(self, path):
        self.model = torch.nn.Conv2d(3, 3, 1)
        self.bright = float(open(path).read())

    def eval(self):
        return self

    def __call__(self, planes):
        assert planes.shape[:2] == (1, 3) and 0 <= planes.min() and planes.max() <= 1
        return torch.nn.functional.interpolate(planes, scale_factor=4) + self.bright

class ModelLoader:
    def __init__(self, device):
        assert device == "cpu"

    def load_from_file(self, path):
        return ImageModelDescriptor(path)
"""


def test_ncnn_peer_has_its_recorded_scores(shared: Path, tmp_path: Path) -> None:
    pytest.importorskip("ncnn", reason="ncnn is an extra")
    data = shared / "data" / "benchmark" / "realsr"
    peer = Ncnn(name="peer", param=shared / "data" / "peers" / "realesr-general-x4v3.param")
    config = ComparisonConfig(data=data, preset="osediff", metrics="psnr,ssim,niqe", limit=3, threads=1, methods=[peer])
    (row,) = compare(config, tmp_path).rows
    assert row.problem is None
    assert row.parameters == 1_213_296
    with (data / "reference_scores.csv").open(encoding="utf-8") as lines:
        recorded = {Path(line["file"]).stem: line for line in csv.DictReader(lines)}
    assert row.scores is not None
    for metric, column, tolerance in (("psnr", "psnr_y", 0.001), ("ssim", "ssim_y", 0.0001), ("niqe", "niqe", 0.02)):
        wanted = [float(recorded[name][f"realesr_general_x4v3_{column}"]) for name in row.names]
        assert [value for (value,) in row.scores.values[metric]] == pytest.approx(wanted, abs=tolerance)


def test_ncnn_parameters_are_counted_or_not_told() -> None:
    head = "7767517\n2 2\n"
    convolution = "Convolution c 1 1 a b 0=8 1=3 5=1 6=216\n"
    assert (
        worker_program.ncnn_parameters(head + "Input a 0 1 a\n" + convolution + "PReLU p 1 1 b c 0=8\n") == 216 + 8 + 8
    )
    assert worker_program.ncnn_parameters(head + "MultiHeadAttention m 1 1 a b 0=8\n") is None


def test_spandrel_models_run_under_the_other_interpreter(
    test_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = tmp_path / "library"
    library.mkdir()
    (library / "spandrel.py").write_text(FAKE_SPANDREL)
    # The environment of the other interpreter has no ccsr.
    monkeypatch.setenv("PYTHONPATH", str(library))
    weights = tmp_path / "net.safetensors"
    weights.write_text("0.2")
    method = Spandrel(name="net", weights=weights, python=Path(sys.executable), device="cpu")
    config = ComparisonConfig(data=test_set, preset="osediff", metrics="psnr", threads=1, methods=[method])
    comparison = compare(config, tmp_path / "out")
    (row,) = comparison.rows
    assert row.problem is None
    assert row.parameters == 12
    made = np.asarray(Image.open(tmp_path / "out" / "methods" / "net" / "results" / "a.png"))
    lq = np.asarray(Image.open(comparison.pictures.inputs["a"])).repeat(4, 0).repeat(4, 1)
    assert np.array_equal(made, np.clip(lq + 51.0, 0, 255).astype(np.uint8))


def test_a_broken_library_is_told_by_its_last_line(
    test_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "spandrel.py").write_text("raise ImportError('torchvision is not there')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    weights = tmp_path / "net.safetensors"
    weights.write_text("0")
    method = Spandrel(name="net", weights=weights, python=Path(sys.executable))
    config = ComparisonConfig(data=test_set, preset="osediff", metrics="psnr", threads=1, methods=[method])
    gone = dataclasses.replace(method, name="gone", python=tmp_path / "no" / "python")
    rows = compare(dataclasses.replace(config, methods=[method, gone]), tmp_path / "out").rows
    assert rows[0].problem is not None
    assert "ended with code 1: ImportError: torchvision is not there" in rows[0].problem
    assert rows[1].problem == f"{tmp_path}/no/python: there is no such interpreter (make test-extras makes one)"


def test_a_network_is_reduced_to_smaller_sizes_and_fails_at_others(
    test_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Of a network that knows a factor of 4, one picture is wanted at 2 and one in another shape.
    for name, size in (("b", (24, 16)), ("c", (48, 30))):
        with Image.open(test_set / "HR" / f"{name}.png") as picture:
            picture.resize(size).save(test_set / "HR" / f"{name}.png")
    library = tmp_path / "library"
    library.mkdir()
    (library / "spandrel.py").write_text(FAKE_SPANDREL)
    weights = tmp_path / "net.safetensors"
    weights.write_text("0")
    method = Spandrel(name="net", weights=weights, python=Path(sys.executable), device="cpu")
    config = ComparisonConfig(data=test_set, preset="osediff", metrics="psnr", threads=1, methods=[method])
    monkeypatch.setenv("PYTHONPATH", str(library))
    comparison = compare(config, tmp_path / "out")
    (row,) = comparison.rows
    assert row.names == ["a", "b"]
    assert row.problem == "1 picture failed, c: the result is 48x32, the ground truth 48x30"
    whole = Image.fromarray(np.asarray(Image.open(comparison.pictures.inputs["b"])).repeat(4, 0).repeat(4, 1))
    made = np.asarray(Image.open(row.results / "b.png"))
    assert np.array_equal(made, np.asarray(whole.resize((24, 16), Image.Resampling.LANCZOS)))


def test_an_ncnn_network_is_known_by_its_bytes(tmp_path: Path) -> None:
    param, weights = tmp_path / "net.param", tmp_path / "net.bin"
    param.write_text("7767517\n")
    with pytest.raises(WeightsError, match=r"net\.bin: there is no such file \(of the wheel\)"):
        Ncnn(name="net", param=param, source="of the wheel").identity()
    weights.write_bytes(b"numbers")
    found = hashlib.sha256(b"numbers").hexdigest()
    net = Ncnn(name="net", param=param, sha256=found)
    before = net.identity()
    os.utime(weights, (1, 1))
    assert net.identity() == before
    with pytest.raises(WeightsError, match=f"its sha256 is {found}"):
        dataclasses.replace(net, sha256="0" * 64).identity()

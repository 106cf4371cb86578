"""Several results of one picture, and the map over them: command, folder and pipeline."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ccsr import CCSRPipeline
from ccsr.cli.main import main
from helpers import write_picture


def test_samples_of_a_file(tiny: str, desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_picture(desk / "a.png")
    assert main(["samples", "a.png", "-n", "3", "-m", tiny, "--json"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert sorted(p.name for p in desk.iterdir()) == [
        "a.png", "a_x4_s00.png", "a_x4_s01.png", "a_x4_s02.png", "a_x4_std.png", "a_x4_std_overlay.png",
    ]  # fmt: skip
    assert [line.get("stability_map") for line in lines[:3]] == [None, None, "a_x4_std.png"]
    runs = np.stack([np.asarray(Image.open(desk / f"a_x4_s{i:02d}.png")).astype(float) for i in range(3)]) / 255
    over = np.asarray(Image.open(desk / "a_x4_std_overlay.png"))
    assert over.shape == (32, 48, 3)
    assert runs.std(0).max() > 0


def test_folder_and_resumption(tiny: str, desk: Path) -> None:
    write_picture(desk / "in" / "deep" / "a.png")
    words = ["upscale", "in", "-o", "out", "--samples", "2", "--stability-map", "-m", tiny]
    assert main(words) == 0
    drawn = desk / "out" / "stability" / "deep" / "a_std.png"
    assert drawn.exists()
    drawn.unlink()
    assert main(words) == 0  # results are there, the map is made of them
    assert drawn.exists()


def test_a_map_never_replaces_a_users_file(tiny: str, desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_picture(desk / "a.png")
    (desk / "a_x4_std.png").write_text("mine")
    assert main(["samples", "a.png", "-n", "2", "-m", tiny]) == 0
    assert (desk / "a_x4_std.png").read_text() == "mine"
    assert "was left as it is; --overwrite replaces it" in capsys.readouterr().err


def test_a_map_needs_samples(tiny: str, desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_picture(desk / "a.png")
    assert main(["upscale", "a.png", "--stability-map", "-m", tiny]) == 2
    assert "--stability-map compares several results (add --samples 10)" in capsys.readouterr().err


def test_pipeline_gives_the_map(tiny: str) -> None:
    pipe = CCSRPipeline.from_pretrained(tiny)
    picture = np.random.default_rng(0).uniform(0, 1, (8, 12, 3)).astype(np.float32)
    out = pipe(picture, num_samples=3, output_type="np")
    assert out.stability_map is not None
    assert out.stability_map == pytest.approx(np.stack(out.images).astype(float).std(0).mean(2), abs=1e-6)
    assert pipe(picture, output_type="np").stability_map is None

"""`benchmarks/levels.py`: the systems of a comparison at each level of damage, as tables of a page."""

import json
import sys
from pathlib import Path

import pytest

from ccsr.errors import OptionError
from helpers import write_picture

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import levels

CONFIG = """
data: set
dataset: RealSR
samples: 2
methods:
  - {{name: tiny S1, kind: ccsr, model: {tiny}, options: {{steps: 1}}, paper: CCSR-S1}}
  - {{name: tiny S2, kind: ccsr, model: {tiny}, options: {{steps: 2}}}}
  - {{name: bicubic, kind: bicubic}}
  - {{name: Lanczos, kind: lanczos}}
  - {{name: finished, kind: folder, path: finished}}
  - {{name: gone, kind: ncnn, param: nothing.param}}
"""


def test_tables_of_levels_go_into_a_page(
    test_set: Path, tiny: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    home = test_set.parent
    monkeypatch.chdir(home)
    for seed in range(2):
        write_picture(home / "photos" / f"{seed}.png", 80, 72, seed=seed)
    (home / "compare.yaml").write_text(CONFIG.format(tiny=tiny), encoding="utf-8")
    page = home / "page.md"
    page.write_text("# Levels\n<!-- levels: begin -->\nold\n<!-- levels: end -->\nthe end\n", encoding="utf-8")
    words = ["photos", "--config", "compare.yaml", "--levels", "clean_x4,clean_x2", "--crop", "64"]
    levels.main([*words, "--into", "page.md", "--json", "levels.json"])
    means = json.loads((home / "levels.json").read_text())["levels"]
    assert list(means) == ["clean_x4", "clean_x2"]
    assert list(means["clean_x2"]) == ["tiny S1", "bicubic", "Lanczos", "gone"]
    # What is only halved comes back better than what is only quartered, and reduced it is nearly its input.
    for name in ("bicubic", "Lanczos"):
        assert means["clean_x2"][name]["psnr"] > means["clean_x4"][name]["psnr"]
    assert means["clean_x4"]["gone"]["psnr"] is None
    assert "clean_x4, gone: nothing.param: there is no such file" in capsys.readouterr().out
    text = page.read_text()
    assert "old" not in text
    assert text.endswith("<!-- levels: end -->\nthe end\n")
    assert "| | clean x4 | clean x2 |" in text
    assert text.count("| gone | not available | not available |") == len(levels.MEASURES)
    best = max(means["clean_x4"], key=lambda name: means["clean_x4"][name]["psnr"] or 0)
    assert f"| {best} | **{means['clean_x4'][best]['psnr']:.2f}** |" in text

    made = sorted((home / "comparison" / "levels").glob("*/methods/*/results/*.png"))
    dates = {path: path.stat().st_mtime_ns for path in made}
    assert len(made) == 2 * 3 * 2
    levels.main(words)
    assert {path: path.stat().st_mtime_ns for path in made} == dates

    with pytest.raises(OptionError, match="clean_x9"):
        levels.main([*words[:3], "--levels", "clean_x9"])

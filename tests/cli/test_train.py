"""`ccsr train` as it is typed."""

import json
from pathlib import Path

import pytest
import yaml

from ccsr.cli.main import main
from helpers import write_picture


@pytest.fixture
def config(desk: Path, tiny: str) -> str:
    """A file of a second's training on four pictures, one of which is broken."""
    for i in range(3):
        write_picture(desk / "photos" / f"{i}.png", 48, 48, seed=i)
    (desk / "photos" / "bad.png").write_bytes(b"nonsense")
    (desk / "c.yaml").write_text(
        f"run: out\nmodel: {{base: {tiny}, dtype: fp32}}\ndata: {{sources: photos, crop: 16, batch: 2, workers: 0}}\n"
        "loop: {steps: 3, accumulate: 1, log_every: 1, save_every: 1}\nvalidation: {hold_out: 1, crop: 32}\n"
    )
    return "c.yaml"


def test_dry_run_prints_every_setting_and_makes_nothing(
    config: str, desk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "stage1", "--config", config, "--dry-run", "loop.seed=7"]) == 0
    captured = capsys.readouterr()
    resolved = yaml.safe_load(captured.out)
    assert resolved["loop"]["seed"] == 7
    assert resolved["loop"]["learning_rate"] == 5e-5  # from the recipe
    assert resolved["loss"]["form"] == "published"
    assert captured.err == "4 pictures\n"
    assert not (desk / "out").exists()


def test_a_run_reports_keeps_its_config_and_upscales(
    config: str, desk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "stage1", "--config", config, "loop.steps=2"]) == 0
    first = capsys.readouterr()
    assert first.out == ""
    lines = first.err.splitlines()
    assert any(line.startswith("step 1/2, ") and " left: diffusion " in line for line in lines)
    assert any(line.startswith("step 0/2: bicubic ") for line in lines)
    assert any(line.startswith("warning: skipped: photos/bad.png: cannot be read: ") for line in lines)
    assert lines[-1] == "done after step 2: out/model"

    assert main(["train", "stage1", "--config", config]) == 0  # goes on
    lines = capsys.readouterr().err.splitlines()
    assert not any(line.startswith("step 1/3") for line in lines)
    assert lines[-1] == "done after step 3: out/model"
    assert yaml.safe_load((desk / "out" / "config.yaml").read_text())["loop"]["steps"] == 3
    assert sorted(p.name for p in (desk / "out" / "pictures").iterdir())[0] == "step-00000000.png"

    write_picture(desk / "small.png", 8, 6)
    assert main(["upscale", "small.png", "--model", "out/model", "-q"]) == 0
    assert (desk / "small_x4.png").is_file()


def test_levels_are_a_table_and_decoded_pictures_go_at_the_end(
    config: str, desk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["validation.levels=[clean_x4,noisy_x2]", "data.cache=true"]
    command = ["train", "stage1", "--config", config, *words]
    assert main([*command, "--dry-run"]) == 0
    said = "decoded pictures take about 1 MB until the run has finished"
    assert capsys.readouterr().err == f"4 pictures; {said}\n"
    assert main([*command, "loop.hours=1e-9"]) == 0
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == f"out/decoded: {said}"
    at = lines.index("step 0/3:")
    assert lines[at + 1].split() == ["bicubic", "codec", "S1"]
    assert lines[at + 2].split() == ["PSNR", "CbCr", "distance"] * 3
    scores = json.loads((desk / "out" / "log.jsonl").read_text().splitlines()[0])["evaluation"]
    for line, level in zip(lines[at + 3 : at + 5], ("clean_x4", "noisy_x2"), strict=True):
        name, *cells = line.split()
        kinds = [f"{level}_{m}_{s}" for m in ("bicubic", "codec", "s1") for s in ("psnr", "cbcr", "distance")]
        assert name == level
        assert [float(cell) for cell in cells] == pytest.approx([scores[kind] for kind in kinds], abs=0.006)
    assert list((desk / "out" / "decoded").iterdir()), "it was only stopped"
    (desk / "out" / "decoded" / "mine.npy").write_text("of the user")
    assert main(command) == 0
    assert said not in capsys.readouterr().err
    assert [p.name for p in (desk / "out" / "decoded").iterdir()] == ["mine.npy"]
    (desk / "out" / "decoded" / "mine.npy").unlink()
    assert main([*command, "loop.steps=4"]) == 0
    assert not (desk / "out" / "decoded").exists()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("train stage1", "--config is needed (a YAML file; configs/ holds some to begin with)"),
        ("train stag1", "no command of ccsr train is called stag1 (did you mean stage1?)"),
        ("train stage1 --config none.yaml", "none.yaml: cannot be read: No such file or directory (configs/ holds"),
        ("train stage1 --config c.yaml loop.step=2", "no setting is called loop.step (did you mean loop.steps?)"),
        ("train stage1 --config c.yaml data.sources=nowhere", "nowhere: there is no such folder (data.sources says"),
        ("train stage1 --config c.yaml model.base=nanno", "no model or folder is called nanno (did you mean nano?)"),
        ("train stage1 --config c.yaml data.crop=18", "data.crop 18 and data.region 18 do not suit a factor of 4"),
        (
            "train stage1 --config c.yaml model.prompt=empty model.base=nano data.crop=6 data.degradation.factor=2",
            "data.crop is 6 (this model needs a multiple of 4)",
        ),
        (
            "train stage2 --config c.yaml loss.discriminator=none loss.perceptual=none.pth",
            "none.pth: there is no such file",
        ),
        ("train stage1 --config c.yaml loop.tracker=wanbd", "loop.tracker is wanbd (choose from all, "),
        ("train stage1 --config c.yaml model.trained=[]", "nothing of denoiser is trained (model.trained names"),
        (
            "train stage2 --config c.yaml loss.discriminator=projected",
            "loss.discriminator is projected without its two feature networks (loss.features=DINO.pth",
        ),
    ],
)
def test_wrong_usage_is_one_line(line: str, message: str, config: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(line.split()) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith(f"error: {message}")
    assert captured.err.count("\n") == 1

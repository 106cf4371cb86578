"""`ccsr degrade` as it is typed."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ccsr.cli.main import main
from helpers import write_picture


@pytest.fixture
def photos(desk: Path) -> Path:
    """Two pictures, one below a folder, and one that is none."""
    write_picture(desk / "in" / "a.png", 41, 30, seed=1)
    write_picture(desk / "in" / "sub" / "b.jpg", 32, 32, seed=2)
    (desk / "in" / "c.png").write_bytes(b"nonsense")
    return desk / "in"


def test_pairs_of_the_field(photos: Path, desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["degrade", "in", "-o", "out"]) == 1
    err = capsys.readouterr().err.splitlines()
    assert err[0].startswith("error: in/c.png: not a picture in a known format (PNG, ")
    assert err[1:] == ["2 pairs in out, 1 failed"]
    names = sorted(p.relative_to(desk / "out").as_posix() for p in (desk / "out").rglob("*.png"))
    assert names == ["test_HR/a.png", "test_HR/sub/b.png", "test_LR/a.png", "test_LR/sub/b.png"]
    assert Image.open("out/test_HR/a.png").size == (40, 28)
    assert Image.open("out/test_LR/a.png").size == (10, 7)
    original = np.asarray(Image.open("in/a.png"))[1:29, 0:40]
    assert np.array_equal(np.asarray(Image.open("out/test_HR/a.png")), original)


def test_a_picture_depends_on_seed_and_name_alone(photos: Path, desk: Path) -> None:
    (photos / "c.png").unlink()
    assert main(["degrade", "in", "-o", "all", "-q"]) == 0
    (photos / "sub" / "b.jpg").unlink()
    assert main(["degrade", "in", "-o", "alone", "-q"]) == 0
    assert main(["degrade", "in", "-o", "other", "--seed", "1", "-q"]) == 0
    pixels = [Image.open(f"{out}/test_LR/a.png").tobytes() for out in ("all", "alone", "other")]
    assert pixels[0] == pixels[1] != pixels[2]


def test_crop_scale_kind_and_json(photos: Path, desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["degrade", "in", "-o", "out", "--kind", "bicubic", "--scale", "2", "--crop", "16", "--json"]) == 1
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(line["input"], line["width"], bool(line["error"])) for line in lines] == [
        ("in/a.png", 8, False), ("in/c.png", 0, True), ("in/sub/b.jpg", 8, False),
    ]  # fmt: skip
    gt = Image.open("out/test_HR/a.png")
    theirs = np.asarray(gt.resize((8, 8), Image.Resampling.BICUBIC)).astype(int)
    assert abs(theirs - np.asarray(Image.open("out/test_LR/a.png"))).max() <= 1


def test_nothing_is_replaced_unasked(photos: Path, desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (photos / "c.png").unlink()
    assert main(["degrade", "in", "-o", "out"]) == 0
    capsys.readouterr()
    assert main(["degrade", "in", "-o", "out"]) == 1
    assert "error: out/test_LR/a.png: exists already (give --overwrite to replace it)" in capsys.readouterr().err
    assert main(["degrade", "in", "-o", "out", "--overwrite"]) == 0


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("degrade in", "one folder and -o are needed (ccsr degrade photos/ -o pairs/)"),
        ("degrade nowhere -o out", "nowhere: there is no such folder"),
        ("degrade in -o out --kind bicubik", "--kind is 'bicubik' (choose from realesrgan, bicubic, light, camera)"),
        ("degrade in -o out --scale 9", "--scale is 9 (choose 1 to 8)"),
        ("degrade in -o out --crop 18", "--crop is 18 (choose a multiple of 4)"),
    ],
)
def test_wrong_usage_is_one_line(line: str, message: str, photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(line.split()) == 2
    assert capsys.readouterr().err == f"error: {message}\n"

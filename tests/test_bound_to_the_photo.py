"""What holds a result to its photo, in Python and on the command line: the measure, `--consistency` and `--mask`."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from ccsr import CCSRPipeline, ImageError, images
from ccsr.cli.main import main
from ccsr.images.resample import enlarge
from ccsr.metrics import consistency_of
from ccsr.options import UpscaleOptions
from ccsr.plan import make_plan
from helpers import write_picture

STRICT = {"consistency": 1, "dtype": "fp32", "threads": 1, "output_type": "np"}


@pytest.fixture(scope="module")
def pipe(tiny: str) -> CCSRPipeline:
    pipeline = CCSRPipeline.from_pretrained(tiny)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def _photo(width: int = 24, height: int = 18) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    noise = np.random.default_rng(0).normal(0, 0.03, (height, width, 3))
    ramps = np.stack([x / width, y / height, (x // 5 + y // 4) % 2], axis=-1)
    return (0.2 + 0.6 * ramps + noise).clip(0, 1).astype(np.float32)


def test_every_result_says_how_true_it_is(pipe: CCSRPipeline) -> None:
    photo = _photo()
    out = pipe([photo, photo[::-1].copy()], num_samples=2, output_type="np", scale=3)
    assert len(out.consistency) == 4
    for sr, told, lq in zip(out.images, out.consistency, [photo, photo, photo[::-1], photo[::-1]], strict=True):
        assert told == consistency_of(sr, np.ascontiguousarray(lq))
    # Random weights: nothing that shrinks back by itself.
    assert out.consistency[0].largest > 20


@pytest.mark.parametrize(
    "how",
    [
        {},
        {"scale": 2},
        {"scale": 2.7, "steps": 2},
        {"tile": 64, "vae_tile": 64},
        {"color_fix": "wavelet", "blend": 0.7},
        {"compat": "v2", "min_size": 64},
    ],
    ids=str,
)
def test_at_1_the_result_shrinks_back_to_the_photo(pipe: CCSRPipeline, how: dict[str, Any]) -> None:
    photo = _photo()
    out = pipe(photo, **STRICT, **how)
    # As it is saved, in 8 bit, too.
    for sr in (out.images[0], images.to_uint8(out.images[0])):
        assert consistency_of(sr, photo).largest <= 2
    assert out.consistency[0].largest <= 2
    free = pipe(photo, **{**STRICT, "consistency": 0}, **how)
    half = pipe(photo, **{**STRICT, "consistency": 0.5}, **how)
    assert free.consistency[0].psnr < half.consistency[0].psnr < out.consistency[0].psnr


def test_where_the_mask_is_black_the_enlarged_input_stays(pipe: CCSRPipeline) -> None:
    photo = _photo()
    how = {"output_type": "np", "dtype": "fp32", "threads": 1, "consistency": 0.5}
    restored, plain = pipe(photo, **how).images[0], enlarge(photo, 96, 72)
    half_black = np.ones((72, 96), np.float32)
    half_black[:, :48] = 0
    sr = pipe(photo, mask=half_black, **how).images[0]
    np.testing.assert_array_equal(sr[:, :48], plain[:, :48])
    np.testing.assert_array_equal(sr[:, 48:], restored[:, 48:])
    grey = np.full((72, 96), 0.25, np.float32)
    np.testing.assert_allclose(
        pipe(photo, mask=grey, **how).images[0], 0.25 * restored + 0.75 * plain, rtol=0, atol=1e-6
    )


def test_a_mask_of_any_size_and_depth(pipe: CCSRPipeline, tmp_path: Path) -> None:
    photo = _photo()
    how = {"output_type": "np", "dtype": "fp32", "threads": 1}
    left = np.ones((18, 24), bool)
    left[:, :12] = False
    expected = pipe(photo, mask=left, **how).images[0]
    np.testing.assert_array_equal(expected[:, :40], enlarge(photo, 96, 72)[:, :40])
    Image.fromarray(left.astype(np.uint16) * 65535).save(tmp_path / "deep.png")
    Image.fromarray(left).save(tmp_path / "bits.png")
    rgba = np.dstack([np.zeros((18, 24, 3), np.uint8), np.where(left, 0, 255).astype(np.uint8)])
    Image.fromarray(rgba).save(tmp_path / "black_on_nothing.png")
    for mask in (
        left.astype(np.uint8) * 255,
        np.repeat(left[..., None], 3, 2).astype(np.float32),
        torch.from_numpy(left),
        torch.from_numpy(left)[None, None].to(torch.bfloat16),
        Image.fromarray(left.astype(np.uint8) * 255),
        tmp_path / "deep.png",
        str(tmp_path / "bits.png"),
        tmp_path / "black_on_nothing.png",
    ):
        out = pipe(photo, mask=mask, **how)
        np.testing.assert_array_equal(out.images[0], expected)
        assert out.warnings == []
    wide = Image.fromarray(left.astype(np.uint8) * 255).resize((4000, 3000), 0)
    assert np.abs(pipe(photo, mask=wide, **how).images[0] - expected)[:, :40].max() == 0
    stretched = pipe(photo, mask=left[:9], **how)
    assert stretched.warnings == ["the mask, 24x9, has another shape than the picture and was stretched over it"]


def test_a_mask_that_is_none(pipe: CCSRPipeline) -> None:
    with pytest.raises(ImageError, match="2 masks"):
        pipe(_photo(), mask=torch.ones(2, 1, 8, 8))
    with pytest.raises(ImageError, match="is not a picture"):
        pipe(_photo(), mask=7)


def test_large_results_are_bound_in_bands(pipe: CCSRPipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    from ccsr.images import buffers

    photo, mask = _photo(41, 38), np.linspace(0, 1, 50, dtype=np.float32)[None].repeat(40, 0)
    options = UpscaleOptions.from_mapping({"dtype": "fp32", "threads": 1, "consistency": 1, "tile": 64, "vae_tile": 64})
    plan = make_plan(41, 38, options, pipe.description)
    whole = pipe.upscale(photo, options, plan, mask=mask)
    monkeypatch.setattr(buffers, "RESIDENT", 1000)
    monkeypatch.setattr(buffers, "BAND", 1)
    monkeypatch.setattr(buffers, "_SLIMMEST", 7)
    streamed = pipe.upscale(photo, options, plan, mask=mask)
    np.testing.assert_allclose(streamed.sr, whole.sr, rtol=0, atol=1e-4)
    assert streamed.consistency is not None
    assert whole.consistency is not None
    assert streamed.consistency.psnr == pytest.approx(whole.consistency.psnr, abs=0.01)


def _lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_the_command_line(desk: Path, tiny: str, capsys: pytest.CaptureFixture[str]) -> None:
    Image.fromarray(images.to_uint8(_photo())).save(desk / "a.png")
    Image.fromarray(np.repeat([[0, 255]], 2, 0).astype(np.uint8)).resize((24, 18), 0).save(desk / "m.png")
    words = ["upscale", "a.png", "-m", tiny, "-s", "2", "--threads", "1", "--json"]
    assert main([*words, "-o", "free.png"]) == 0
    assert main([*words, "-o", "bound.png", "--consistency", "1"]) == 0
    assert main([*words, "-o", "masked.png", "--mask", "m.png"]) == 0
    free, _, bound, _, _, _ = _lines(capsys)
    photo = images.load(desk / "a.png").rgb
    for record in (free, bound):
        told = consistency_of(images.load(Path(record["output"])).rgb, photo)
        assert record["consistency"]["psnr"] == pytest.approx(told.psnr, abs=0.2)
        assert abs(record["consistency"]["largest"] - told.largest) <= 1
    assert bound["consistency"]["largest"] <= 2 < free["consistency"]["largest"]
    kept = images.load(desk / "masked.png").rgb[:, :20]
    np.testing.assert_allclose(kept, enlarge(photo, 48, 36)[:, :20], atol=0.51 / 255)


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.tif", "a.webp"])
def test_the_size_on_paper_is_the_size_and_stands_in_the_file(
    desk: Path, tiny: str, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    write_picture(desk / name, 60, 40, dpi=(72, 72))
    words = ["upscale", name, "-m", tiny, "--threads", "1", "--json"]
    assert main([*words, "--print", "3 x 2 in", "--dpi", "50"]) == 0
    assert main([*words, "--dpi", "100", "-s", "2", "-o", f"dpi{Path(name).suffix}"]) == 0
    printed, _, scaled, _ = _lines(capsys)
    assert Path(printed["output"]).name == f"a_3x2in{Path(name).suffix}"
    assert (printed["width"], printed["height"], printed["scale"]) == (150, 100, 2.5)
    assert (scaled["width"], scaled["height"]) == (120, 80)
    for record, dpi in ((printed, 50), (scaled, 100)):
        density = images.load(Path(record["output"])).density
        assert density is not None
        assert [round(value * 25.4, 1) for value in density] == [dpi, dpi]


def test_another_mask_is_another_result(desk: Path, tiny: str, capsys: pytest.CaptureFixture[str]) -> None:
    write_picture(desk / "in" / "a.png")
    write_picture(desk / "m.png", 5, 5)
    words = ["upscale", "in", "-m", tiny, "-s", "2", "--threads", "1", "--mask", "m.png"]
    assert main(words) == 0
    assert main([*words, "--json"]) == 0
    assert _lines(capsys)[0]["status"] == "skipped"
    write_picture(desk / "m.png", 5, 5, seed=1)
    assert main(words) == 1
    assert "made with other options" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["nowhere.png", "notes.txt"])
def test_a_mask_that_cannot_be_read_is_told_first(
    desk: Path, tiny: str, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    write_picture(desk / "a.png")
    (desk / "notes.txt").write_text("no picture")
    assert main(["upscale", "a.png", "-m", tiny, "--mask", name]) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"error: {name}: ")
    assert err.count("\n") == 1
    assert not (desk / "a_x4.png").exists()

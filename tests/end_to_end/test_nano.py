"""The shipped model and the program as people meet them: real pictures, real files, real processes."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import skimage.data
import torch
from PIL import Image, ImageCms, ImageOps

from ccsr import CCSRPipeline
from ccsr.cli.main import main
from ccsr.degradation import RealESRGANDegradation
from ccsr.weights import describe, verify_model
from helpers import interrupted


@pytest.fixture(scope="module")
def pipe() -> CCSRPipeline:
    pipeline = CCSRPipeline.from_pretrained("nano")
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    return skimage.data.coffee()[100:356, 150:406]


def _degraded(photo: np.ndarray) -> Image.Image:
    gt = torch.from_numpy(photo.copy()).permute(2, 0, 1) / 255
    lq = RealESRGANDegradation()(gt, np.random.default_rng(6))
    return Image.fromarray((lq.permute(1, 2, 0).numpy() * 255).round().astype(np.uint8))


def _psnr(a: np.ndarray, b: np.ndarray) -> float:
    return float(-10 * np.log10(((a.astype(float) - b.astype(float)) ** 2).mean() / 255**2))


def _gradient(picture: np.ndarray) -> float:
    luma = picture.astype(float) @ [0.299, 0.587, 0.114]
    return float(np.abs(np.diff(luma, axis=0)).mean() + np.abs(np.diff(luma, axis=1)).mean())


def test_it_restores(pipe: CCSRPipeline, photo: np.ndarray) -> None:
    lq = _degraded(photo)
    bicubic = np.asarray(lq.resize((256, 256), Image.Resampling.BICUBIC))
    sr = np.asarray(pipe(lq).images[0])
    assert _psnr(sr, photo) > _psnr(bicubic, photo)
    assert _gradient(sr) > _gradient(bicubic)
    # No colour cast: the mean of each channel stays within two levels of the input's.
    assert np.abs(sr.mean((0, 1)) - bicubic.mean((0, 1))).max() < 2


def test_more_steps_are_other_pictures(pipe: CCSRPipeline, photo: np.ndarray) -> None:
    lq = _degraded(photo)
    one, two, three = (pipe(lq, steps=s, output_type="np").images[0] for s in (1, 2, 3))
    for a, b in ((one, two), (two, three), (one, three)):
        assert np.abs(a - b).mean() > 1e-4


def test_another_seed_is_nearly_the_same_picture(pipe: CCSRPipeline, photo: np.ndarray) -> None:
    a, b = pipe(_degraded(photo), num_samples=2, output_type="np").images
    assert 0 < np.abs(a - b).mean() < 0.02


def test_tiles_agree_with_the_whole(pipe: CCSRPipeline) -> None:
    photo = np.asarray(Image.fromarray(skimage.data.coffee()).resize((225, 150)))[:150, :192]
    photo = np.ascontiguousarray(np.concatenate([photo, photo[:42]]))
    whole, tiled = (pipe(photo, tile=tile, vae_tile=tile, output_type="np").images[0] * 255 for tile in ("none", 384))
    assert whole.shape == (768, 768, 3)
    assert _psnr(whole, tiled) >= 40
    # A seam would be a column where the mean difference jumps.
    jumps = np.abs(np.diff((tiled - whole).mean((0, 2))))
    assert jumps.max() < 0.5


def test_the_folder_is_as_it_was_packed() -> None:
    assert verify_model("nano") == []
    nano = describe("nano")
    assert sum(nano.parameters.values()) <= 18_000_000
    assert nano.licence != "unknown"
    assert sum(f.stat().st_size for f in nano.folder.rglob("*") if f.is_file()) < 40e6


def _hashes(folder: Path) -> dict[str, str]:
    return {
        str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(folder.rglob("*"))
        if p.is_file() and not p.name.startswith(".")
    }


def test_order_and_company_do_not_count(tmp_path: Path) -> None:
    """The same bytes alone, with others, and in the opposite order."""
    for i in range(3):
        Image.fromarray(skimage.data.coffee()[40 * i : 40 * i + 20 + i, 200:232]).save(tmp_path / f"{i}.png")
    names = [str(tmp_path / f"{i}.png") for i in range(3)]
    assert main(["upscale", *names, "-o", str(tmp_path / "forth"), "-q"]) == 0
    assert main(["upscale", *reversed(names), "-o", str(tmp_path / "back"), "-q"]) == 0
    assert main(["upscale", names[1], "-o", str(tmp_path / "alone" / "1.png"), "-q"]) == 0
    forth, back = _hashes(tmp_path / "forth"), _hashes(tmp_path / "back")
    assert forth == back
    assert len(forth) == 3
    assert _hashes(tmp_path / "alone")["1.png"] == forth["1.png"]


def test_every_kind_of_picture(tmp_path: Path) -> None:
    photos, out = tmp_path / "in", tmp_path / "out"
    photos.mkdir()
    photo = Image.fromarray(skimage.data.coffee()[100:140, 150:190])
    Image.new("RGB", (1, 1), (200, 30, 90)).save(photos / "one.png")
    Image.fromarray(np.tile(skimage.data.coffee()[:7], (1, 4, 1))[:, :2000].copy()).save(photos / "long.png")
    ramp = np.tile(np.arange(60, dtype=np.uint16) * 4 + 20000, (40, 1))
    Image.fromarray(ramp).save(photos / "grey16.png")
    alpha = photo.copy()
    alpha.putalpha(Image.fromarray(np.tile(np.linspace(0, 255, 40).astype(np.uint8), (40, 1))))
    alpha.save(photos / "alpha.png")
    photo.convert("CMYK").save(photos / "cmyk.jpg", quality=95)
    turned = Image.Exif()
    turned[0x0112] = 6
    photo.crop((0, 0, 40, 24)).save(photos / "turned.jpg", exif=turned, quality=95)
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    photo.save(photos / "profile.png", icc_profile=profile)
    assert main(["upscale", str(photos), "-o", str(out), "-q"]) == 0

    assert Image.open(out / "one.png").size == (4, 4)
    assert np.abs(np.asarray(Image.open(out / "one.png")).astype(int) - [200, 30, 90]).max() < 24
    assert Image.open(out / "long.png").size == (8000, 28)
    grey = np.asarray(Image.open(out / "grey16.png"))
    assert grey.shape == (160, 240)
    assert grey.dtype == np.uint16
    assert np.abs(grey.astype(float).mean() - ramp.mean()) < 600
    rgba = Image.open(out / "alpha.png")
    assert rgba.mode == "RGBA"
    assert rgba.size == (160, 160)
    assert np.abs(np.diff(np.asarray(rgba)[80, :, 3].astype(int))).max() <= 4
    cmyk = Image.open(out / "cmyk.jpg")
    assert cmyk.mode == "RGB"
    assert cmyk.size == (160, 160)
    upright = Image.open(out / "turned.jpg")
    assert upright.size == (96, 160)
    assert upright.getexif().get(0x0112, 1) == 1
    expected = ImageOps.exif_transpose(Image.open(photos / "turned.jpg")).resize((96, 160))
    assert _psnr(np.asarray(upright), np.asarray(expected)) > 20
    assert Image.open(out / "profile.png").info["icc_profile"] == profile


def test_bad_files_fail_by_name_and_the_others_are_done(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    photos = tmp_path / "in"
    photos.mkdir()
    photo = Image.fromarray(skimage.data.coffee()[100:130, 150:190])
    photo.save(photos / "good.png")
    photo.save(photos / "also good.jpg")
    photo.save(photos / "cut.jpg", quality=95)
    whole = (photos / "cut.jpg").read_bytes()
    (photos / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (photos / "empty.png").touch()
    (photos / "notes.txt").write_text("not a picture")
    assert main(["upscale", str(photos), "-o", str(tmp_path / "out"), "--json"]) == 1
    out, err = capfd.readouterr()
    *records, summary = [json.loads(line) for line in out.splitlines()]
    assert {Path(r["input"]).name: r["status"] for r in records} == {
        "also good.jpg": "done",
        "cut.jpg": "failed",
        "empty.png": "failed",
        "good.png": "done",
    }
    assert (summary["summary"]["done"], summary["summary"]["passed_over"]) == (2, 1)
    assert "note: 1 other file (1 .txt) passed over" in err.splitlines()
    for name in ("cut.jpg", "empty.png"):
        assert [line for line in err.splitlines() if line.startswith("error: ") and name in line]
    assert sorted(p.name for p in (tmp_path / "out").iterdir() if not p.name.startswith(".")) == [
        "also good.jpg",
        "good.png",
    ]


def test_interrupted_leaves_whole_files_only(tmp_path: Path) -> None:
    photos, out = tmp_path / "in", tmp_path / "out"
    photos.mkdir()
    for i in range(24):
        Image.fromarray(skimage.data.coffee()[:24, 20 * i : 20 * i + 24].copy()).save(photos / f"{i:02}.png")
    assert interrupted(str(photos), "-o", str(out))[0] == 130
    made = list(out.glob("[0-9]*.png"))
    assert 0 < len(made) < 24
    for path in made:
        with Image.open(path) as picture:
            picture.load()
    assert not [p for p in out.iterdir() if p not in made and "journal" not in p.name]
    # The same command goes on where it stopped.
    assert main(["upscale", str(photos), "-o", str(out), "-q"]) == 0
    assert len(list(out.glob("[0-9]*.png"))) == 24


@pytest.mark.slow
def test_benchmark_floor(pipe: CCSRPipeline, shared: Path) -> None:
    """PSNR of Y, RGB and CbCr on the hundred RealSR pictures, where they are at hand."""
    folder = shared / "data" / "benchmark" / "realsr"
    scores = []
    for path in sorted((folder / "test_LR").glob("*.webp")):
        gt = np.asarray(Image.open(folder / "test_HR" / path.name).convert("RGB")) / 255
        sr = np.asarray(pipe(Image.open(path)).images[0]) / 255
        error = sr - gt
        y = error @ [65.481, 128.553, 24.966] / 255
        luma = error @ [0.299, 0.587, 0.114]
        chroma = np.stack([(error[..., 2] - luma) / 1.772, (error[..., 0] - luma) / 1.402])
        scores.append([-10 * np.log10((e**2).mean() + 1e-8) for e in (y, error, chroma)])
    psnr_y, psnr_rgb, psnr_chroma = np.mean(scores, axis=0)
    assert len(scores) == 100
    assert psnr_y >= 26.8
    assert psnr_rgb >= 25.0
    assert psnr_chroma >= 39.5

"""`ccsr.images` against Pillow's own reading of files that Pillow, or these tests byte by byte, made."""

import io
import os
import struct
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pyvips
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms, ImageOps

from ccsr.errors import ImageError
from ccsr.images import MAX_PIXELS, Header, Picture, libvips, load, output_suffix, read, read_header, save, to_uint8
from ccsr.images import write as writing
from ccsr.images.formats import READABLE
from handmade import SRGB, exif_block, noise, png, png16, smooth, tiff

WRITTEN = [".png", ".jpg", ".webp", ".tif", ".avif"]
# Pillow and libvips enlarge halved colour planes in different ways: none are halved where values are compared.
FINE: dict[str, Any] = {"quality": 95, "subsampling": "4:4:4"}
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><r tiff:Orientation="6" who="me"/></x:xmpmeta>'


def write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def saved(picture: Picture, path: Path, **options: object) -> Image.Image:
    """The file as Pillow reads it."""
    save(picture, path, **options)  # type: ignore[arg-type]
    with Image.open(path) as image:
        image.load()
        return image


def refusal(path: Path, function: object = load, **options: object) -> str:
    with pytest.raises(ImageError) as caught:
        function(path, **options)  # type: ignore[operator]
    line = str(caught.value)
    assert line.startswith(str(path).replace("\n", "\\n") + ": ")
    assert "\n" not in line
    return line.removeprefix(str(path) + ": ")


def same_pixels(picture: Picture, reference: Image.Image, tolerance: float = 0) -> None:
    expected = np.asarray(reference.convert("RGB")).astype(int)
    assert picture.rgb.shape == expected.shape
    assert picture.rgb.dtype == np.float32
    assert np.abs(picture.rgb * 255 - expected).max() <= tolerance + 1e-3


# -- reading: depth, channels, palette --------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA"])
@pytest.mark.parametrize("suffix", [".png", ".tif", ".bmp", ".tga", ".gif", ".webp", ".ppm"])
def test_modes_read_as_pillow_reads_them(tmp_path: Path, mode: str, suffix: str) -> None:
    rgba = noise(channels=4)
    rgba[..., 3] = np.maximum(rgba[..., 3], 1)
    source = Image.fromarray(rgba)
    source = source.convert("RGB").convert(mode) if mode in "1LPRGB" else source.convert(mode)
    path = tmp_path / f"a{suffix}"
    try:
        source.save(path, **({"lossless": True} if suffix == ".webp" else {}))
    except OSError as error:
        pytest.skip(f"Pillow does not write it: {error}")
    with Image.open(path) as image:
        image.load()
        reference = image
    picture, header = load(path), read_header(path)
    visible = reference.convert("RGBA")
    same_pixels(picture, visible.convert("RGB"))
    assert (header.width, header.height) == reference.size == picture.rgb.shape[1::-1]
    assert header.depth == picture.depth == 8
    assert header.gray == picture.gray
    # Every GIF has a palette; whether one of grey colours alone is a grey picture, readers may see differently.
    assert suffix == ".gif" or picture.gray == (reference.mode in ("1", "L", "LA"))
    assert header.alpha == (picture.alpha is not None)
    if picture.alpha is not None:
        assert np.abs(picture.alpha * 255 - np.asarray(visible)[..., 3]).max() < 1e-3
    else:
        assert (np.asarray(visible)[..., 3] == 255).all()


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_grey_png_of_few_bits_spans_black_to_white(tmp_path: Path, bits: int) -> None:
    steps = 2**bits
    packed = int("".join(f"{v:0{bits}b}" for v in range(steps)).ljust(64, "0"), 2).to_bytes(8, "big")
    row = b"\0" + packed[: -(-steps * bits // 8)]
    picture = load(write(tmp_path / "a.png", png(steps, 1, bits, 0, row)))
    assert np.allclose(picture.rgb[0, :, 0], np.arange(steps) / (steps - 1), atol=1e-6)
    assert picture.gray


@pytest.mark.parametrize("kind", ["P", "L", "RGB"])
def test_transparent_colour_becomes_alpha(tmp_path: Path, kind: str) -> None:
    source = Image.fromarray(smooth()).convert(kind)
    key = source.getpixel((5, 5))
    source.save(tmp_path / "a.png", transparency=key)
    picture = load(tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as image:
        expected = np.asarray(image.convert("RGBA"))[..., 3]
    assert (expected == 0).any()
    assert picture.alpha is not None
    assert np.array_equal(to_uint8(picture.alpha), expected)


def test_palette_with_graded_alpha(tmp_path: Path) -> None:
    source = Image.fromarray(np.arange(16, dtype=np.uint8).reshape(4, 4)).convert("P")
    source.putpalette(noise(16, 1).tobytes())
    source.save(tmp_path / "a.png", transparency=bytes(range(15, 255, 15)))
    picture = load(tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as image:
        expected = np.asarray(image.convert("RGBA"))
    assert picture.alpha is not None
    assert np.array_equal(to_uint8(np.dstack([picture.rgb, picture.alpha])), expected)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_16_bits_survive_exactly(tmp_path: Path, suffix: str, channels: int, order: str) -> None:
    pixels = noise(channels=channels, dtype=np.uint16)
    if channels in (2, 4):
        pixels[..., -1] |= 1
    color = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    extra = 2 if channels in (2, 4) else None
    data = png16(pixels, color) if suffix == ".png" else tiff(pixels, extra=extra, order=order)
    source = write(tmp_path / f"a{suffix}", data)
    picture = load(source)
    assert read_header(source) == Header(31, 17, picture.format, 16, channels < 3, channels in (2, 4), suffix)
    assert np.array_equal(np.rint(picture.rgb * 65535)[..., : min(channels, 3) if channels > 2 else 1],
                          pixels[..., : 3 if channels > 2 else 1])  # fmt: skip
    save(picture, tmp_path / f"b{suffix}")
    again = load(tmp_path / f"b{suffix}")
    assert np.array_equal(again.rgb, picture.rgb)
    assert (again.depth, again.gray) == (16, channels < 3)
    if channels in (2, 4):
        assert picture.alpha is not None
        assert again.alpha is not None
        assert np.array_equal(np.rint(picture.alpha * 65535), pixels[..., -1])
        assert np.array_equal(again.alpha, picture.alpha)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_ramp_in_the_low_bytes_keeps_more_than_256_levels(tmp_path: Path, suffix: str) -> None:
    ramp = (30000 + np.arange(1000, dtype=np.uint16)).reshape(1, 1000, 1).repeat(3, 2)
    picture = load(write(tmp_path / f"a{suffix}", png16(ramp, 2) if suffix == ".png" else tiff(ramp)))
    save(picture, tmp_path / f"b{suffix}")
    data = (tmp_path / f"b{suffix}").read_bytes()
    if suffix == ".png":
        assert data[24:26] == b"\x10\x02", "16 bits, RGB"
    with Image.open(tmp_path / f"b{suffix}") as image:
        # Pillow shows 16-bit RGB as 8: enough to see that the high bytes are right.
        assert np.abs(np.asarray(image.convert("RGB")).astype(int) - ramp / 257).max() <= 1
    assert len(np.unique(np.rint(load(tmp_path / f"b{suffix}").rgb * 65535))) == 1000
    save(picture, tmp_path / "c.png", depth="8")
    assert (tmp_path / "c.png").read_bytes()[24:26] == b"\x08\x02"
    assert len(np.unique(load(tmp_path / "c.png").rgb)) <= 5


def test_grey_16_bits_as_pillow_reads_it(tmp_path: Path) -> None:
    values = noise(dtype=np.uint16)[..., 0]
    Image.fromarray(values).save(tmp_path / "a.tif")
    result = saved(load(tmp_path / "a.tif"), tmp_path / "b.png")
    assert result.mode.startswith("I;16")
    assert np.array_equal(np.asarray(result), values)


def test_pgm_of_16_bits(tmp_path: Path) -> None:
    values = noise(dtype=np.uint16)[..., 0]
    picture = load(write(tmp_path / "a.pgm", b"P5 31 17 65535\n" + values.astype(">u2").tobytes()))
    assert np.array_equal(np.rint(picture.rgb[..., 1] * 65535), values)
    assert (picture.depth, picture.gray) == (16, True)


def test_floating_point_tiff(tmp_path: Path) -> None:
    values = np.random.default_rng(0).random((9, 8, 3)).astype(np.float32)
    picture = load(write(tmp_path / "a.tif", tiff(values, 3)))
    assert np.array_equal(picture.rgb, values)
    assert picture.depth == 16
    values[3, 4, 1] = 1.1
    picture = load(write(tmp_path / "a.tif", tiff(values, 3)))
    assert picture.rgb[3, 4, 1] == 1
    assert len(picture.warnings) == 1


@pytest.mark.parametrize(("value", "line"), [
    (np.nan, "holds values that are not finite"),
    (-np.inf, "holds values that are not finite"),
    (255.0, "holds floating point values from 0.5 to 255 (scale them to 0..1, or convert it to 16 bits)"),
])  # fmt: skip
def test_floating_point_that_is_no_picture(tmp_path: Path, value: float, line: str) -> None:
    values = np.full((4, 5, 3), 0.5, np.float32)
    values[2, 2, 0] = value
    assert refusal(write(tmp_path / "a.tif", tiff(values, 3))) == line


def test_signed_integers_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", tiff(np.zeros((4, 5, 1), np.int32), 2))
    assert refusal(path) == "holds values of the kind int (convert it to 8 or 16 bits)"


def test_premultiplied_tiff_gets_its_colours_back(tmp_path: Path) -> None:
    rgba = np.full((4, 5, 4), 100, np.uint8)
    rgba[..., :3] = [40, 50, 100]
    picture = load(write(tmp_path / "a.tif", tiff(rgba, extra=1)))
    assert np.allclose(picture.rgb[0, 0] * 255, [102, 127.5, 255], atol=1)
    assert picture.alpha is not None
    assert np.allclose(picture.alpha * 255, 100)


@pytest.mark.parametrize("bits", [8, 10])
def test_avif_white_is_white_and_16_bits_become_10(tmp_path: Path, bits: int) -> None:
    ramp = np.linspace(0, 1, 512, dtype=np.float32).reshape(1, -1, 1).repeat(8, 0).repeat(3, 2)
    save(Picture(ramp, depth=16 if bits == 10 else 8), tmp_path / "a.avif", quality=100)
    picture = load(tmp_path / "a.avif")
    assert picture.depth == (16 if bits == 10 else 8)
    assert picture.rgb.min() == 0
    assert picture.rgb.max() == 1
    assert np.abs(picture.rgb - ramp).max() <= 0.5 / (2**bits - 1) + 1e-6, "lossless but for rounding"
    with Image.open(tmp_path / "a.avif") as image:
        assert np.abs(np.asarray(image).astype(int) - ramp * 255).max() <= 1.01


@pytest.mark.parametrize("suffix", [".gif", ".tif", ".webp"])
def test_first_frame_with_a_warning(tmp_path: Path, suffix: str) -> None:
    first, second = Image.new("RGB", (8, 6), (255, 0, 0)), Image.new("RGB", (8, 6), (0, 0, 255))
    first.save(tmp_path / f"a{suffix}", save_all=True, append_images=[second])
    picture = load(tmp_path / f"a{suffix}")
    assert np.allclose(picture.rgb, [1, 0, 0], atol=0.02)
    assert picture.rgb.shape == (6, 8, 3)
    assert picture.warnings == ["only the first of 2 pages or frames is used"]


# -- colour -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".jpg", ".tif"])
def test_cmyk_through_its_profile_as_lcms_converts_it(tmp_path: Path, suffix: str) -> None:
    press = pyvips.Operation.call("profile_load", "cmyk")
    source = Image.fromarray(smooth()).convert("CMYK")
    source.save(tmp_path / f"a{suffix}", icc_profile=press, **({"quality": 100} if suffix == ".jpg" else {}))
    with Image.open(tmp_path / f"a{suffix}") as image:
        expected = ImageCms.profileToProfile(
            image, io.BytesIO(press), ImageCms.createProfile("sRGB"), outputMode="RGB",
            renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC, flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )  # fmt: skip
    picture = load(tmp_path / f"a{suffix}")
    assert expected is not None
    same_pixels(picture, expected, tolerance=2)
    assert picture.icc is None, "an RGB file with a CMYK profile would be shown wrong"
    assert picture.warnings == ["converted from CMYK to sRGB"]
    result = saved(picture, tmp_path / f"b{suffix}")
    assert result.mode == "RGB"
    assert "icc_profile" not in result.info


@pytest.mark.parametrize("suffix", [".jpg", ".tif"])
def test_cmyk_without_profile_is_neither_inverted_nor_grey(tmp_path: Path, suffix: str) -> None:
    inks = {"white": (0, 0, 0, 0), "black": (255, 255, 255, 255), "cyan": (255, 0, 0, 0), "yellow": (0, 0, 255, 0)}
    colors = {}
    for name, ink in inks.items():
        Image.new("CMYK", (16, 16), ink).save(tmp_path / f"{name}{suffix}")
        picture = load(tmp_path / f"{name}{suffix}")
        assert (picture.gray, picture.depth, picture.alpha) == (False, 8, None)
        colors[name] = picture.rgb[8, 8]
    assert colors["white"].min() > 0.98
    assert colors["black"].max() < 0.1
    assert colors["cyan"].argmin() == 0
    assert colors["yellow"].argmin() == 2
    assert colors["yellow"][:2].min() > 0.8


@pytest.mark.parametrize("suffix", WRITTEN)
def test_profile_is_kept_byte_for_byte_and_values_are_left_alone(tmp_path: Path, suffix: str) -> None:
    # A profile that no reader can mistake for sRGB: its white is that of 5000 K.
    wide = (
        ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes().replace(b"sRGB built-in", b"ours built-in")
    )
    source = Image.fromarray(smooth())
    source.save(tmp_path / f"a{suffix}", icc_profile=wide, **FINE)
    picture = load(tmp_path / f"a{suffix}")
    with Image.open(tmp_path / f"a{suffix}") as image:
        same_pixels(picture, image, tolerance=0 if suffix in (".png", ".tif") else 3)
    assert picture.icc == wide
    assert saved(picture, tmp_path / f"b{suffix}").info["icc_profile"] == wide
    assert "icc_profile" not in saved(picture, tmp_path / f"c{suffix}", strip_metadata=True).info


def test_grey_profile_only_where_grey_is_written(tmp_path: Path) -> None:
    grey = SRGB[:16] + b"GRAY" + SRGB[20:]
    Image.fromarray(smooth()).convert("L").save(tmp_path / "a.jpg", icc_profile=grey)
    picture = load(tmp_path / "a.jpg")
    assert picture.icc == grey
    for suffix, kept in ((".jpg", True), (".tif", True), (".webp", False)):
        assert ("icc_profile" in saved(picture, tmp_path / f"b{suffix}").info) == kept
    Image.fromarray(smooth()).save(tmp_path / "wrong.jpg", icc_profile=grey)
    picture = load(tmp_path / "wrong.jpg")
    assert picture.icc is None
    assert picture.warnings == ["its colour profile is not for this kind of picture and was left out"]


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif"])
@pytest.mark.parametrize("alpha", [False, True])
def test_grey_in_grey_out(tmp_path: Path, suffix: str, alpha: bool) -> None:
    rgb = np.zeros((8, 8, 3), np.float32) + np.float32([0.2, 0.4, 0.9])
    picture = Picture(rgb, np.ones((8, 8), np.float32) if alpha else None, gray=True)
    result = saved(picture, tmp_path / f"a{suffix}")
    assert result.mode == ("LA" if alpha and suffix != ".jpg" else "L")
    assert abs(int(np.asarray(result.convert("L"))[4, 4]) - 0.5 * 255) <= 1


# -- transparency -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".png", ".tif", ".webp"])
def test_hidden_colours_do_not_bleed(tmp_path: Path, suffix: str) -> None:
    rgba = np.zeros((24, 24, 4), np.uint8)
    rgba[..., :3] = [0, 255, 0]  # what an editor left under the transparent part
    rgba[6:18, 6:12] = [200, 40, 30, 255]
    rgba[6:18, 12:18] = [30, 40, 200, 1]
    path = tmp_path / f"a{suffix}"
    Image.fromarray(rgba).save(path, **({"lossless": True, "exact": True} if suffix == ".webp" else {}))
    picture = load(path)
    assert picture.alpha is not None
    assert np.array_equal(to_uint8(picture.alpha), rgba[..., 3])
    assert to_uint8(picture.rgb)[..., 1].max() == 40, "no green anywhere"
    seen = rgba[..., 3] > 0
    assert np.array_equal(to_uint8(picture.rgb)[seen], rgba[seen][:, :3])
    left = np.asarray(Image.fromarray(to_uint8(picture.rgb)).resize((96, 96), Image.Resampling.BICUBIC))[:, :40]
    assert np.array_equal(np.unique(left.reshape(-1, 3), axis=0), [[200, 40, 30]])


def test_entirely_transparent_picture_is_left_as_it_is(tmp_path: Path) -> None:
    rgba = noise(channels=4)
    rgba[..., 3] = 0
    Image.fromarray(rgba).save(tmp_path / "a.png")
    picture = load(tmp_path / "a.png")
    assert np.array_equal(to_uint8(picture.rgb), rgba[..., :3])


def test_jpeg_lays_alpha_over_white(tmp_path: Path) -> None:
    rgb = np.zeros((16, 16, 3), np.float32)
    result = saved(Picture(rgb, np.full((16, 16), 0.25, np.float32)), tmp_path / "a.jpg")
    assert result.mode == "RGB"
    assert np.abs(np.asarray(result).astype(int) - 191).max() <= 1


# -- orientation and metadata -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", WRITTEN)
def test_orientation_is_applied_and_cleared(tmp_path: Path, suffix: str, orientation: int) -> None:
    path = tmp_path / f"a{suffix}"
    Image.fromarray(smooth()).save(path, exif=exif_block(orientation), **FINE)
    with Image.open(path) as image:
        expected = ImageOps.exif_transpose(image)
        assert expected is not None
    picture, header = load(path), read_header(path)
    assert (header.width, header.height) == expected.size
    same_pixels(picture, expected, tolerance=0 if suffix in (".png", ".tif") else 4)
    result = saved(picture, tmp_path / f"b{suffix}")
    assert result.getexif().get(0x0112, 1) == 1
    assert result.size == expected.size


@pytest.mark.parametrize("target", WRITTEN)
@pytest.mark.parametrize("source", WRITTEN)
def test_exif_and_xmp_are_kept_from_any_format_to_any(tmp_path: Path, source: str, target: str) -> None:
    path = tmp_path / f"a{source}"
    kept = {} if source in (".png", ".tif") else {"xmp": XMP}  # Pillow writes XMP into these alone
    Image.fromarray(smooth()).save(path, exif=exif_block(), **kept)
    picture = load(path)
    result = saved(picture, tmp_path / f"b{target}")
    exif = result.getexif()
    assert (exif[0x010F], exif[0x8298], exif.get(0x0112, 1)) == ("Maker", "(c) me", 1)
    shot = exif.get_ifd(0x8769)
    assert (shot[0x9003], shot[0x9286]) == ("2020:01:02 03:04:05", b"ASCII\0\0\0a comment")
    assert float(shot[0x829A]) == pytest.approx(0.01)
    assert [float(v) for v in exif.get_ifd(0x8825)[2]] == [48.0, 8.0, 30.5]
    if kept:
        found = result.info.get("xmp") or result.info["XML:com.adobe.xmp"].encode()
        assert found == XMP.replace(b'"6"', b'"1"')
    bare = saved(picture, tmp_path / f"c{target}", strip_metadata=True)
    assert 0x010F not in bare.getexif()
    assert not bare.getexif().get_ifd(0x8769)
    assert not {"xmp", "XML:com.adobe.xmp"} & set(bare.info)


@pytest.mark.parametrize("suffix", WRITTEN)
def test_no_exif_is_made_up(tmp_path: Path, suffix: str) -> None:
    Image.fromarray(smooth()).save(tmp_path / f"a{suffix}")
    result = saved(load(tmp_path / f"a{suffix}"), tmp_path / f"b{suffix}")
    assert "exif" not in result.info


def test_tiff_with_exif_is_still_the_same_picture(tmp_path: Path) -> None:
    rgba = noise(33, 500, 4)
    rgba[..., 3] |= 1
    exif = exif_block(1)
    picture = Picture((rgba[..., :3] / 255).astype(np.float32), (rgba[..., 3] / 255).astype(np.float32), icc=SRGB,
                      exif=exif)  # fmt: skip
    result = saved(picture, tmp_path / "a.tif")
    assert np.array_equal(np.asarray(result), rgba)
    assert result.info["icc_profile"] == SRGB
    again = load(tmp_path / "a.tif")
    assert np.array_equal(again.rgb, picture.rgb)
    assert again.icc == SRGB


@pytest.mark.parametrize("order", ["II", "MM"])
def test_embedded_thumbnail_goes_and_orientation_is_patched_in_both_byte_orders(tmp_path: Path, order: str) -> None:
    o = "<" if order == "II" else ">"
    block = order.encode() + struct.pack(o + "HI", 42, 8) + struct.pack(o + "H", 2)
    block += struct.pack(o + "HHI", 0x010F, 2, 4) + b"abc\0" + struct.pack(o + "HHIHH", 0x0112, 3, 1, 8, 0)
    block += struct.pack(o + "I", 38) + struct.pack(o + "HHHIII", 1, 0x0100, 4, 1, 160, 0)
    Image.fromarray(smooth()).save(tmp_path / "a.jpg", exif=b"Exif\0\0" + block)
    picture = load(tmp_path / "a.jpg")
    assert picture.rgb.shape == (40, 24, 3)
    assert picture.exif is not None
    exif = Image.Exif()
    exif.load(picture.exif)
    assert dict(exif) == {0x010F: "abc", 0x0112: 1}
    start = picture.exif.index(order.encode())
    assert picture.exif[start : start + 34] != block[:34], "the orientation"
    assert picture.exif[start + 34 : start + 38] == bytes(4), "where the thumbnail's directory was"


@pytest.mark.parametrize("junk", [b"", b"Exif\0\0", b"Exif\0\0II*\0\xff\xff\xff\xff", b"no EXIF at all",
                                  b"Exif\0\0MM\0*\0\0\0\x08\xff\xff" + bytes(40)])  # fmt: skip
@pytest.mark.parametrize("suffix", [".jpg", ".tif", ".png"])
def test_broken_exif_costs_no_picture(
    tmp_path: Path, junk: bytes, suffix: str, capfd: pytest.CaptureFixture[str]
) -> None:
    Image.fromarray(smooth()).save(tmp_path / "a.jpg", **({"exif": junk} if junk else {}))
    picture = load(tmp_path / "a.jpg")
    assert saved(picture, tmp_path / f"b{suffix}").size == (40, 24)
    assert saved(replace(picture, exif=junk), tmp_path / f"c{suffix}").size == (40, 24)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_print_density_is_kept(tmp_path: Path, suffix: str) -> None:
    Image.fromarray(smooth()).save(tmp_path / f"a{suffix}", dpi=(300, 300))
    result = saved(load(tmp_path / f"a{suffix}"), tmp_path / f"b{suffix}")
    assert result.info["dpi"] == pytest.approx((300, 300), abs=0.1)
    Image.fromarray(smooth()).save(tmp_path / f"a{suffix}")
    result = saved(load(tmp_path / f"a{suffix}"), tmp_path / f"b{suffix}")
    assert "dpi" not in result.info, "neither the 25.4 of libvips nor another guess"


# -- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["jpeg", "progressive", "cmyk", "png", "png16", "webp", "tiff", "avif", "gif", "bmp"])
@pytest.mark.parametrize("share", [0.02, 0.3, 0.5, 0.75, 0.95, 0.99])
def test_truncated_files_fail_by_name(
    tmp_path: Path, kind: str, share: float, capfd: pytest.CaptureFixture[str]
) -> None:
    source, buffer = Image.fromarray(noise(97, 61)), io.BytesIO()
    if kind == "png16":
        buffer.write(png16(noise(97, 61, dtype=np.uint16), 2))
    elif kind == "cmyk":
        source.convert("CMYK").save(buffer, "jpeg")
    elif kind == "progressive":
        source.save(buffer, "jpeg", progressive=True)
    else:
        source.save(buffer, kind)
    whole = write(tmp_path / "whole", buffer.getvalue())
    assert load(whole).rgb.shape == (61, 97, 3)
    cut = write(tmp_path / "cut", buffer.getvalue()[: int(len(buffer.getvalue()) * share)])
    line = refusal(cut)
    assert line.startswith(("cannot be read: ", "not a picture"))
    assert capfd.readouterr() == ("", ""), "libvips and its libraries keep quiet"


@pytest.mark.parametrize(("name", "content", "line"), [
    ("empty.png", b"", "the file is empty"),
    ("text.jpg", b"just some words\n" * 9, f"not a picture in a known format ({READABLE})"),
    ("a.svg", b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>',
     f"not a picture in a known format ({READABLE})"),
])  # fmt: skip
def test_what_is_no_picture(tmp_path: Path, name: str, content: bytes, line: str) -> None:
    path = write(tmp_path / name, content)
    assert refusal(path) == refusal(path, read_header) == line


@pytest.mark.parametrize(("name", "content"), [
    ("a.heic", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(99)),
    ("a.jpg", b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic" + bytes(99)),
])  # fmt: skip
def test_broken_heic_fails_by_name(tmp_path: Path, name: str, content: bytes) -> None:
    path = write(tmp_path / name, content)
    assert refusal(path).startswith("cannot be read: ")
    assert refusal(path, read_header).startswith("cannot be read: ")


@pytest.mark.parametrize(("name", "content"), [
    ("a.NEF", tiff(noise())),
    ("a.cr3", b"\0\0\0\x18ftypcrx \0\0\0\x01crx isom" + bytes(99)),
    ("a.tif", b"II*\0\x10\0\0\0CR\2\0" + bytes(99)),
])  # fmt: skip
def test_broken_camera_files_fail_by_name(
    tmp_path: Path, name: str, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / name, content)
    monkeypatch.setitem(sys.modules, "rawpy", None)
    assert refusal(path) == refusal(path, read_header) == 'camera RAW files need rawpy (pip install "ccsr[raw]")'
    monkeypatch.undo()
    pytest.importorskip("rawpy")
    assert refusal(path).startswith("cannot be read: ")


def test_folders_pipes_and_missing_files(tmp_path: Path) -> None:
    assert refusal(tmp_path) == "is a folder"
    assert refusal(tmp_path / "none.png") == "cannot be read: No such file or directory"
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
        assert refusal(tmp_path / "pipe") == "is not a regular file"


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="rights do not bind this user")
def test_unreadable_file(tmp_path: Path) -> None:
    path = write(tmp_path / "a.png", png(1, 1, 8, 0, b"\0\0"))
    path.chmod(0)
    assert refusal(path) == "cannot be read: Permission denied"


@pytest.mark.parametrize("content", [
    png(100_000, 100_000, 8, 2),
    b"BM" + struct.pack("<IHHIIiiHHIIiiII", 54, 0, 0, 54, 40, 100_000, 100_000, 1, 24, 0, 0, 0, 0, 0, 0),
])  # fmt: skip
def test_bombs_are_refused_by_their_header(tmp_path: Path, content: bytes) -> None:
    path = write(tmp_path / "bomb", content)
    for function in (read_header, load):
        assert "megapixels" in refusal(path, function)
        assert "limit" in refusal(path, function)


def test_limit_is_named_and_can_be_set(tmp_path: Path) -> None:
    path = write(tmp_path / "a.png", png(20_000, 20_000, 8, 2))
    line = "20000x20000 is 400.0 megapixels, the limit is 268.4 (cut or shrink it first)"
    assert refusal(path, read_header) == line
    assert MAX_PIXELS == 268_435_456
    assert read_header(path, max_pixels=400_000_000).width == 20_000
    bmp = struct.pack("<IHHIIiiHHIIiiII", 54, 0, 0, 54, 40, 2000, 1000, 1, 24, 0, 0, 0, 0, 0, 0)
    line = "2000x1000 is 2.0 megapixels, the limit is 1.0 (cut or shrink it first)"
    assert refusal(write(tmp_path / "a.bmp", b"BM" + bmp), max_pixels=10**6) == line, "before its pixels are missed"
    Image.fromarray(smooth()).save(path)
    assert "the limit is 0.0" in refusal(path, max_pixels=40 * 24 - 1)
    assert load(path, max_pixels=40 * 24).rgb.shape == (24, 40, 3)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), kind=st.sampled_from(["png", "jpeg", "webp", "tiff", "gif", "bmp", "ppm", "tga"]))
def test_damaged_bytes_give_a_picture_or_one_line(tmp_path: Path, data: st.DataObject, kind: str) -> None:
    buffer = io.BytesIO()
    Image.fromarray(smooth(19, 13)).save(buffer, kind)
    content = bytearray(buffer.getvalue())
    for _ in range(data.draw(st.integers(1, 8))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = write(tmp_path / f"a.{kind}", bytes(content))
    try:
        picture = load(path, max_pixels=2**20)
    except ImageError:
        # Exactly this kind of error, and one line.
        refusal(path, max_pixels=2**20)
    else:
        assert np.isfinite(picture.rgb).all()
        assert 0 <= picture.rgb.min() <= picture.rgb.max() <= 1


# -- writing ----------------------------------------------------------------------------------------------------------


def test_values_are_rounded_and_clipped(tmp_path: Path) -> None:
    steps = np.float32([-0.2, 0.0, 0.49 / 255, 0.51 / 255, 254.49 / 255, 254.51 / 255, 1.0, 3.0])
    rgb = steps.reshape(1, -1, 1).repeat(3, 2)
    assert np.asarray(saved(Picture(rgb), tmp_path / "a.png"))[0, :, 0].tolist() == [0, 0, 0, 1, 254, 255, 255, 255]
    assert to_uint8(np.array([0.5 / 255, 1.5 / 255, 2.5 / 255])).tolist() == [0, 2, 2]
    assert to_uint8(rgb).dtype == np.uint8
    save(Picture(np.float32([0.49, 0.51, 65534.51, 65535]).reshape(1, -1, 1).repeat(3, 2) / 65535, depth=16, gray=True),
         tmp_path / "b.png")  # fmt: skip
    with Image.open(tmp_path / "b.png") as image:
        assert np.asarray(image).tolist() == [[0, 1, 65535, 65535]]


@pytest.mark.parametrize("suffix", WRITTEN)
@pytest.mark.parametrize(("width", "height"), [(1, 1), (1, 300), (257, 2)])
def test_any_shape(tmp_path: Path, suffix: str, width: int, height: int) -> None:
    rgb = np.full((height, width, 3), 0.6, np.float32)
    assert saved(Picture(rgb), tmp_path / f"a{suffix}").size == (width, height)
    assert np.abs(load(tmp_path / f"a{suffix}").rgb - 0.6).max() < 0.02


@pytest.mark.parametrize("suffix", [".webp", ".avif"])
def test_quality_100_is_lossless(tmp_path: Path, suffix: str) -> None:
    pixels = noise()
    picture = Picture((pixels / 255).astype(np.float32))
    assert np.array_equal(np.asarray(saved(picture, tmp_path / f"a{suffix}", quality=100).convert("RGB")), pixels)
    save(picture, tmp_path / f"b{suffix}", quality=30)
    assert (tmp_path / f"b{suffix}").stat().st_size < (tmp_path / f"a{suffix}").stat().st_size


@pytest.mark.parametrize(
    "name", ["with space.png", "日本語 ü.png", "new\nline.png", "a[page=3].png", "UPPER.PNG", "-o.png"]
)
def test_names_of_any_kind(tmp_path: Path, name: str) -> None:
    pixels = noise()
    save(Picture((pixels / 255).astype(np.float32)), tmp_path / name)
    assert [p.name for p in tmp_path.iterdir()] == [name]
    assert np.array_equal(to_uint8(load(tmp_path / name).rgb), pixels)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="file names are text here")
def test_names_that_are_not_utf8(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"caf\xe9.png")
    save(Picture(np.zeros((2, 3, 3), np.float32)), path)
    assert read_header(path).width == 3


def test_rights_follow_the_umask_and_an_old_file_is_replaced(tmp_path: Path) -> None:
    path = write(tmp_path / "a.png", b"old")
    plain = write(tmp_path / "plain", b"")
    save(Picture(np.zeros((2, 3, 3), np.float32)), path)
    assert path.stat().st_mode == plain.stat().st_mode
    assert read_header(path).width == 3


def test_a_full_disk_leaves_the_old_file_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "a.png", b"old")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert refusal(path, lambda p: save(Picture(np.zeros((2, 3, 3), np.float32)), p)) == (
        "cannot be written: No space left on device"
    )
    assert [p.name for p in tmp_path.iterdir()] == ["a.png"]
    assert path.read_bytes() == b"old"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs a limit on file size")
def test_a_write_cut_short_by_the_system_leaves_nothing(tmp_path: Path) -> None:
    program = """
import resource, signal, sys
from pathlib import Path
import numpy as np
from ccsr.errors import ImageError
from ccsr.images import Picture, save
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
noise = np.random.default_rng(0).random((64, 64, 3)).astype(np.float32)
try:
    save(Picture(noise), Path(sys.argv[1]))
except ImageError as error:
    print(error)
"""
    path = tmp_path / "a.png"
    done = subprocess.run([sys.executable, "-c", program, str(path)], capture_output=True, text=True, check=True)
    assert done.stdout == f"{path}: cannot be written: File too large\n"
    assert done.stderr == ""
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(descriptor: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        save(Picture(np.zeros((2, 3, 3), np.float32)), tmp_path / "a.png")
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_written(tmp_path: Path) -> None:
    picture = Picture(np.zeros((2, 3, 3), np.float32))

    def line(name: str, given: Picture = picture) -> str:
        return refusal(tmp_path / name, lambda path: save(given, path))

    assert line("a.gif") == "cannot write .gif (choose .png, .jpg, .webp, .tif or .avif)"
    assert line("a") == "cannot write a name without suffix (choose .png, .jpg, .webp, .tif or .avif)"
    assert line("none/a.png") == "cannot be written: No such file or directory"
    (tmp_path / "folder.png").mkdir()
    assert line("folder.png") == "cannot be written: is a folder"
    wide = Picture(np.zeros((1, 16384, 3), np.float32))
    assert line("a.webp", wide) == "16384x1 is too large for webp, which holds 16383 on a side (write .png or .tif)"
    for bad in (np.nan, np.inf):
        assert (
            line("a.png", Picture(np.full((2, 3, 3), bad, np.float32))) == "the result has values that are not finite"
        )
    assert line("x" * 300 + ".png") == "cannot be written: File name too long"
    assert [p.name for p in tmp_path.iterdir()] == ["folder.png"]


@pytest.mark.parametrize(("own", "format", "width", "wanted", "result"), [
    (".png", "png", 9, None, ".png"), (".JPEG", "jpeg", 9, None, ".JPEG"), (".tiff", "tiff", 9, None, ".tiff"),
    (".avif", "avif", 9, None, ".avif"), (".gif", "gif", 9, None, ".png"), (".bmp", "bmp", 9, None, ".png"),
    (".webp", "webp", 16383, None, ".webp"), (".webp", "webp", 16384, None, ".png"),
    (".png", "jpeg", 9, None, ".jpg"), ("", "tiff", 9, None, ".tif"),
    (".png", "png", 9, "jpeg", ".jpg"), (".jpeg", "jpeg", 9, "jpeg", ".jpeg"), (".gif", "gif", 9, "avif", ".avif"),
    (".webp", "webp", 99999, "webp", ".webp"),
])  # fmt: skip
def test_suffix_of_results(own: str, format: str, width: int, wanted: str | None, result: str) -> None:
    assert output_suffix(Header(width, 9, format, 8, False, False, own), wanted) == result


def test_bytes_do_not_depend_on_threads(tmp_path: Path) -> None:
    program = """
import sys
from pathlib import Path
from ccsr import program
from ccsr.images import load, save
program.start()
folder = Path(sys.argv[1])
for suffix in (".png", ".jpg", ".webp", ".tif", ".avif"):
    save(load(folder / "a.jpg"), folder / (sys.argv[2] + suffix))
"""
    Image.fromarray(smooth(300, 200)).save(tmp_path / "a.jpg", exif=exif_block())
    for count in ("1", "4"):
        subprocess.run([sys.executable, "-c", program, str(tmp_path), count], check=True,
                       env={**os.environ, "VIPS_CONCURRENCY": count})  # fmt: skip
    for suffix in WRITTEN:
        assert (tmp_path / f"1{suffix}").read_bytes() == (tmp_path / f"4{suffix}").read_bytes()


SETTINGS = """
import pyvips
def settings():
    try:
        pyvips.Image.svgload_buffer(b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>')
        shut = False
    except pyvips.Error as error:
        shut = "blocked" in str(error)
    return pyvips.cache_get_max(), pyvips.concurrency_get(), shut
"""


def test_an_import_leaves_the_settings_of_the_process_and_a_program_makes_its_own() -> None:
    program = f"""{SETTINGS}
pyvips.concurrency_set(3)
before = settings()
import ccsr.images, ccsr.jobs.runner
assert settings() == before == (pyvips.cache_get_max(), 3, False), settings()
from ccsr.cli.main import main
assert main(["completion", "bash"]) == 0
assert settings() == (0, 4, True), settings()
"""
    subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)


def test_import_brings_neither_torch_nor_scipy() -> None:
    program = "import sys, ccsr.images; print({'torch', 'scipy', 'diffusers', 'skimage'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


# -- several threads --------------------------------------------------------------------------------------------------


class Held:
    """A function whose first call stands still at its beginning until it is let go."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function, self.begun, self.let_go = function, threading.Event(), threading.Event()

    def __call__(self, *arguments: Any) -> Any:
        if not self.begun.is_set():
            self.begun.set()
            assert self.let_go.wait(60), "whoever should have worked beside this waited for it"
        return self.function(*arguments)


@pytest.mark.parametrize(("module", "name"), [(writing, "_encode"), (read, "_channels")])
def test_reading_and_writing_overlap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: Any, name: str) -> None:
    """While one thread is in the middle of a file, others read and write theirs from beginning to end."""
    first, second = tmp_path / "first.avif", tmp_path / "second.png"
    Image.fromarray(smooth()).save(second)
    picture = load(second)
    save(picture, first)
    held = Held(getattr(module, name))
    monkeypatch.setattr(module, name, held)
    half = write(tmp_path / "half.png", second.read_bytes()[: second.stat().st_size // 2])
    with ThreadPoolExecutor(1) as thread:
        slow = thread.submit(save, picture, first) if module is writing else thread.submit(load, first)
        try:
            assert held.begun.wait(60)
            assert read_header(second).width == 40
            assert load(second).rgb.shape == picture.rgb.shape
            save(picture, tmp_path / "third.png")
            assert refusal(half).startswith("cannot be read")
            assert not slow.done()
        finally:
            held.let_go.set()
        slow.result()


def damaged(folder: Path) -> list[Path]:
    """One file cut short for each kind of decoder."""
    paths = []
    for kind in ("png", "jpeg", "webp", "tiff", "gif", "avif"):
        buffer = io.BytesIO()
        Image.fromarray(noise(97, 61)).save(buffer, kind)
        paths.append(write(folder / f"cut.{kind}", buffer.getvalue()[: len(buffer.getvalue()) * 3 // 4]))
    return paths


def test_a_reason_is_never_that_of_another_file(tmp_path: Path) -> None:
    """Many threads read many damaged files at once, and each is told what it is told alone."""
    paths = damaged(tmp_path)
    alone = [refusal(path) for path in paths]
    assert len(set(alone)) >= 5
    with ThreadPoolExecutor(len(paths)) as threads:
        for _ in range(15):
            assert list(threads.map(refusal, paths)) == alone


def test_a_reason_is_asked_for_again_when_another_failure_comes_between(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = damaged(tmp_path)[0]
    alone, times, channels = refusal(path), 0, read._channels

    def beside_a_failure(*arguments: Any) -> Any:
        nonlocal times
        times += 1
        if times < 3:
            pyvips.vips_lib.vips_operation_new(b"nonsense")  # leaves its text to whoever comes next
        return channels(*arguments)

    monkeypatch.setattr(read, "_channels", beside_a_failure)
    assert refusal(path) == alone
    assert times == 4


def test_an_action_that_works_the_second_time_has_worked() -> None:
    tries = iter([pyvips.Error("first", "somebody else's"), None])

    def action() -> str:
        if error := next(tries):
            raise error
        return "result"

    assert libvips.attributed(action) == "result"


@pytest.mark.parametrize("kind", [ValueError, SyntaxError, TypeError, KeyError])
def test_a_bug_does_not_look_like_a_damaged_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: type[Exception]
) -> None:
    def wrong(*arguments: Any) -> None:
        raise kind("of our own")

    Image.fromarray(smooth()).save(tmp_path / "a.png")
    picture = load(tmp_path / "a.png")
    monkeypatch.setattr(read, "_channels", wrong)
    monkeypatch.setattr(writing, "_encode", wrong)
    with pytest.raises(kind, match="of our own"):
        load(tmp_path / "a.png")
    with pytest.raises(kind, match="of our own"):
        save(picture, tmp_path / "b.png")
    assert [p.name for p in tmp_path.iterdir()] == ["a.png"]


def test_a_name_with_a_null_byte(tmp_path: Path) -> None:
    assert refusal(tmp_path / "a\0.png", read_header) == "cannot be read: embedded null byte"
    assert refusal(tmp_path / "a\0.png", lambda p: save(Picture(np.zeros((2, 3, 3), np.float32)), p)) == (
        "cannot be written: embedded null byte"
    )

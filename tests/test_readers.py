"""Pictures that libvips does not read, or does not read right: HEIC, camera files, and TIFF of rare kinds."""

import io
import json
import shutil
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image, ImageCms

from ccsr.cli.main import main
from ccsr.errors import ImageError
from ccsr.images import Header, directories, heic, load, raw, read_header, save
from handmade import SRGB, dng, exif_block, long, noise, short, smooth, tiff

XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><r tiff:Orientation="6" who="me"/></x:xmpmeta>'
exiftool = pytest.mark.skipif(shutil.which("exiftool") is None, reason="needs exiftool")


@pytest.fixture
def pillow_heif() -> ModuleType:
    """What writes HEIC; the program only reads it."""
    pytest.importorskip("pi_heif")
    return pytest.importorskip("pillow_heif")


WriteHeic = Callable[..., Path]


@pytest.fixture
def write_heic(pillow_heif: ModuleType, tmp_path: Path) -> WriteHeic:
    """Write pixels (H, W), (H, W, 2), 3 or 4 losslessly, of 8 bits, or of 16 in 10 or 12 of them; returns the path."""

    def write(pixels: np.ndarray, mode: str, bits: int = 8, **options: object) -> Path:
        path = tmp_path / "a.heic"
        fine = pixels.dtype == np.uint16
        height, width = pixels.shape[:2]
        how = {"chroma": 444, "matrix_coefficients": 0, "full_range_flag": 1, "bit_depth": bits} | options
        image = pillow_heif.from_bytes(mode + (";16" if fine else ""), (width, height), pixels.tobytes())
        if bits == 12:
            how["bit_depth"] = 16
        pillow_heif.options.SAVE_HDR_TO_12_BIT = bits == 12
        image.save(path, quality=-1, **how)
        return path

    return write


def _values(path: Path) -> np.ndarray:
    picture = load(path)
    return np.rint(picture.rgb * 255)


# -- HEIC -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".heic", ".HEIF", ".jpg"])
def test_heic_is_read_whatever_its_name(write_heic: WriteHeic, tmp_path: Path, suffix: str) -> None:
    path = write_heic(smooth(), "RGB").rename(tmp_path / f"b{suffix}")
    assert read_header(path) == Header(40, 24, "heic", 8, False, False, suffix)
    assert np.array_equal(_values(path), smooth())
    assert load(path).warnings == []


@pytest.mark.parametrize("bits", [10, 12])
@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_heic_of_more_bits_keeps_them(write_heic: WriteHeic, mode: str, bits: int) -> None:
    steps = (1 << bits) - 1
    values = noise(40, 24, len(mode), np.uint16) >> (16 - bits)
    values[..., 3:] |= 1
    path = write_heic(values << (16 - bits), mode, bits)
    picture = load(path)
    assert (picture.depth, read_header(path).depth) == (16, 16)
    assert np.array_equal(np.rint(picture.rgb * steps), values[..., :3])
    if mode == "RGBA":
        assert picture.alpha is not None
        assert np.array_equal(np.rint(picture.alpha * steps), values[..., 3])


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_grey_heic_stays_grey(write_heic: WriteHeic, dtype: type) -> None:
    grey = smooth()[..., 0].astype(dtype) * (257 if dtype == np.uint16 else 1)
    path = write_heic(grey, "L", 12 if dtype == np.uint16 else 8)
    picture = load(path)
    assert picture.gray
    assert read_header(path).gray
    assert picture.depth == (16 if dtype == np.uint16 else 8)
    assert np.abs(picture.rgb[..., 1] - smooth()[..., 0] / 255).max() < 1 / 250


def test_heic_with_multiplied_alpha_gets_its_colours_back(write_heic: WriteHeic) -> None:
    alpha = np.full((24, 40, 1), 128, np.uint8)
    multiplied = np.rint(smooth() * (128 / 255)).astype(np.uint8)
    picture = load(write_heic(np.concatenate([multiplied, alpha], axis=2), "RGBa"))
    assert picture.alpha is not None
    assert np.allclose(picture.alpha, 128 / 255)
    assert np.abs(picture.rgb * 255 - smooth()).max() <= 2


@pytest.mark.parametrize("orientation", range(1, 9))
def test_heic_is_turned_once(pillow_heif: ModuleType, tmp_path: Path, orientation: int) -> None:
    path = tmp_path / "a.heic"
    image = pillow_heif.from_pillow(Image.fromarray(smooth()))
    # Its own note of how it stands, and EXIF and XMP that say the same once more, as telephones write it.
    told = {"exif": exif_block(orientation), "xmp": XMP.replace(b'"6"', b'"%d"' % orientation)}
    image.save(path, quality=-1, chroma=444, matrix_coefficients=0, **told)
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(smooth()).save(tmp_path / "b.png", exif=exif)
    picture, header = load(path), read_header(path)
    assert np.array_equal(picture.rgb, load(tmp_path / "b.png").rgb)
    assert (header.width, header.height) == picture.rgb.shape[1::-1]
    save(picture, tmp_path / "c.jpg")
    with Image.open(tmp_path / "c.jpg") as result:
        assert result.getexif()[0x0112] == 1
        assert result.getexif()[0x010F] == "Maker"
        assert b'Orientation="1"' in result.info["xmp"]


@exiftool
def test_what_heic_says_beside_its_picture_is_kept(pillow_heif: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "a.heic"
    pillow_heif.from_pillow(Image.fromarray(smooth())).save(path, exif=exif_block(1), xmp=XMP, icc_profile=SRGB)
    picture = load(path)
    assert picture.icc == SRGB
    save(picture, tmp_path / "b.png")
    names = ["-Make", "-DateTimeOriginal", "-ProfileDescription", "-GPSLatitude#"]
    done = subprocess.run(["exiftool", "-s3", *names, str(tmp_path / "b.png")], capture_output=True, text=True)
    told = done.stdout.split("\n")
    assert told[:3] == ["Maker", "2020:01:02 03:04:05", "sRGB built-in"]
    assert float(told[3]) == pytest.approx(48.1418, abs=1e-3)


@pytest.mark.parametrize(("primaries", "transfer", "profile", "word"), [
    (1, 13, False, None), (12, 13, True, None), (9, 16, False, "PQ"), (9, 18, False, "HLG"), (9, 14, False, "BT.2020"),
])  # fmt: skip
def test_colours_that_heic_tells_by_number(
    write_heic: WriteHeic, primaries: int, transfer: int, profile: bool, word: str | None
) -> None:
    told = {"color_primaries": primaries, "transfer_characteristics": transfer, "matrix_coefficients": 0}
    picture = load(write_heic(smooth(), "RGB", color_primaries=primaries, transfer_characteristics=transfer))
    assert heic._unsaid(told) == picture.warnings
    assert (picture.icc is not None) == profile
    if picture.icc:
        name = ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(io.BytesIO(picture.icc)))
        assert "P3" in name
    assert bool(picture.warnings) == (word is not None)
    assert word is None or word in picture.warnings[0]


def test_heic_in_tiles_is_one_picture(pillow_heif: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "a.heic"
    pillow_heif.from_pillow(Image.fromarray(smooth(300, 200))).save(path, quality=95, exif=exif_block(6), tile_size=128)
    assert path.read_bytes().count(b"infe") > 4
    picture = load(path)
    assert np.abs(picture.rgb * 255 - np.rot90(smooth(300, 200), -1)).max() < 6
    assert picture.warnings == []


def test_maps_beside_a_heic_picture_are_named() -> None:
    class File(list[None]):
        """As the library gives it; nothing here writes such files."""

        def __init__(self, pictures: int) -> None:
            super().__init__([None] * pictures)
            aux = {"urn:com:apple:photo:2020:aux:hdrgainmap": [9], "urn:x:matte": [4]}
            self.info = {"depth_images": [0], "aux": aux}

    assert [name for name, found in heic._besides(File(1)) if found] == ["a gain map", "a depth map", "masks"]
    assert next(name for name, found in heic._besides(File(2)) if found) == "further pictures"


def test_further_pictures_of_heic_are_named(pillow_heif: ModuleType, tmp_path: Path) -> None:
    second = pillow_heif.from_pillow(Image.fromarray(smooth()[::-1].copy()))
    pillow_heif.from_pillow(Image.fromarray(smooth())).save(tmp_path / "a.heic", append_images=[second[0]])
    assert load(tmp_path / "a.heic").warnings == ["only the picture itself is used: it has further pictures besides"]


def test_damaged_heic_fails_by_name_or_is_a_picture(write_heic: WriteHeic, tmp_path: Path) -> None:
    whole = write_heic(smooth(), "RGB").read_bytes()
    rng = np.random.default_rng(3)
    path = tmp_path / "b.heic"
    refused = list[str]()
    for n in range(80):
        data = bytearray(whole[: rng.integers(len(whole))] if n % 2 else whole)
        for place in rng.integers(24, len(data), 3) if len(data) > 40 else ():
            data[place] ^= 1 << rng.integers(8)
        path.write_bytes(data)
        try:
            assert np.isfinite(load(path).rgb).all()
        except ImageError as error:
            refused.append(str(error))
    assert len(refused) > 30
    assert all(line.startswith(f"{path}: ") for line in refused)


def test_heic_whose_items_have_no_names_does_not_end_the_process(pillow_heif: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "a.heic"
    pillow_heif.from_pillow(Image.fromarray(smooth())).save(path, exif=exif_block(1))
    whole = path.read_bytes()
    assert load(path).exif is not None
    at = whole.index(b"Exif")
    damaged = [whole[:at] + b"\x80" + whole[at + 1 :], whole[: at - 12] + bytes(4) + whole[at - 8 :]]
    for content in damaged:
        path.write_bytes(content)
        for function in (load, read_header):
            with pytest.raises(ImageError, match="its items have no names"):
                function(path)


def test_huge_heic_is_refused_by_its_header(write_heic: WriteHeic) -> None:
    path = write_heic(smooth(64, 64), "RGB")
    data = path.read_bytes()
    at = data.index(b"ispe") + 8
    path.write_bytes(data[:at] + struct.pack(">II", 30000, 30000) + data[at + 8 :])
    for function in (load, read_header):
        with pytest.raises(ImageError, match=r"megapixels, the limit is|cannot be read: "):
            function(path)


def test_without_pi_heif_one_line_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(99))
    monkeypatch.setitem(sys.modules, "pi_heif", None)
    with pytest.raises(ImageError, match=r"a\.heic: HEIC pictures need pi-heif \(pip install pi-heif\)"):
        load(tmp_path / "a.heic")


# -- cameras' files ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".dng", ".DNG", ".tif"])
@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_camera_files_are_developed_and_turned_once(tmp_path: Path, suffix: str, orientation: int) -> None:
    pytest.importorskip("rawpy")
    y, x = np.mgrid[0:48, 0:64] / 64
    rgb = np.stack([x, 1 - y, 0.3 + 0.4 * x], axis=2)  # to white: else LibRaw takes the brightest value for it
    path = tmp_path / f"a{suffix}"
    path.write_bytes(dng(rgb, orientation, XMP))
    expected = np.rot90(rgb, {1: 0, 3: 2, 6: -1, 8: 1}[orientation])
    header, picture = read_header(path), load(path)
    assert header == Header(*expected.shape[1::-1], "raw", 16, False, False, suffix)
    assert np.abs(picture.rgb - expected)[4:-4, 4:-4].max() < 0.02
    assert len(np.unique(np.rint(picture.rgb * 65535))) > 1000
    assert picture.warnings == [raw.DEVELOPED]
    assert picture.icc is None
    assert picture.xmp is not None
    assert b'Orientation="1"' in picture.xmp
    save(picture, tmp_path / "b.jpg")
    with Image.open(tmp_path / "b.jpg") as result:
        exif = result.getexif()
        assert (exif[270], exif[271], exif.get(0x0112, 1)) == ("the sea", "Maker", 1)
        assert exif.get_ifd(0x8769)[0x9003] == "2020:01:02 03:04:05"


def test_a_camera_file_is_not_its_preview(tmp_path: Path) -> None:
    rawpy = pytest.importorskip("rawpy")
    y, x = np.mgrid[0:48, 0:64] / 64
    rgb = np.stack([x, 1 - y, 0.3 + 0.4 * x], axis=2)
    buffer = io.BytesIO()
    exif = Image.Exif()
    exif[0x0131] = "camera's own"
    Image.new("RGB", (16, 16), (250, 0, 0)).save(buffer, "jpeg", exif=exif)
    path = tmp_path / "a.dng"
    path.write_bytes(dng(rgb, preview=buffer.getvalue()))
    picture = load(path)
    assert picture.rgb.shape == (48, 64, 3)
    assert np.abs(picture.rgb - rgb)[4:-4, 4:-4].max() < 0.02
    assert picture.exif is not None
    assert b"the sea" in picture.exif
    # Files that are not built like TIFF have their EXIF in the preview alone.
    with rawpy.imread(str(path)) as opened:
        assert b"camera's own" in (raw._preview(opened) or b"")


# -- TIFF -------------------------------------------------------------------------------------------------------------


def _tiled(planes: np.ndarray, colours: int = 2, packed: int = 1) -> bytes:
    """A TIFF file of one tile a plane, (planes, H, W) of uint8 or uint16, H and W multiples of 16."""
    count, height, width = planes.shape
    tiles = [plane.tobytes() for plane in planes]
    if packed == 8:
        tiles = [zlib.compress(tile) for tile in tiles]
    tiles = [tile + bytes(len(tile) % 2) for tile in tiles]
    places = [8 + sum(map(len, tiles[:n])) for n in range(count)]
    tags: directories.Directory = {
        256: long(width), 257: long(height), 258: short(*[8 * planes.itemsize] * count), 259: short(packed),
        262: short(colours), 277: short(count), 284: short(2), 322: long(width), 323: long(height),
        324: long(*places), 325: long(*map(len, tiles)),
    }  # fmt: skip
    if count in (2, 4) and colours < 3:
        tags[338] = short(2)
    at = 8 + sum(map(len, tiles))
    return b"II*\0" + struct.pack("<I", at) + b"".join(tiles) + directories.packed(tags, at)


@pytest.mark.parametrize("packed", [1, 8])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("planes", [2, 3, 4])
def test_tiff_in_tiles_of_separate_planes(tmp_path: Path, planes: int, dtype: type, packed: int) -> None:
    values = noise(32, 16, planes, dtype)
    values[..., 3:] |= 1
    (tmp_path / "a.tif").write_bytes(_tiled(np.moveaxis(values, 2, 0), 2 if planes > 2 else 1, packed))
    header, picture = read_header(tmp_path / "a.tif"), load(tmp_path / "a.tif")
    peak = np.iinfo(dtype).max
    assert header == Header(32, 16, "tiff", 8 * values.itemsize, planes == 2, planes != 3, ".tif")
    seen = np.rint(picture.rgb * peak)
    hidden = values[..., -1] == 0 if planes == 2 else np.zeros((16, 32), bool)
    assert np.array_equal(seen[~hidden], (values[..., :3] if planes > 2 else values[..., [0, 0, 0]])[~hidden])
    if planes != 3:
        assert picture.alpha is not None
        assert np.array_equal(np.rint(picture.alpha * peak), values[..., -1])


@pytest.mark.parametrize(("tag", "value", "line"), [
    (256, 0, "it has no pixels|cannot be read"), (257, 2**20, "another number of tiles than it says"),
    (323, 0, "cannot be read"), (325, 3, "cannot be read"),
])  # fmt: skip
def test_damaged_tiff_in_tiles_fails_by_name(
    tmp_path: Path, tag: int, value: int, line: str, capfd: pytest.CaptureFixture[str]
) -> None:
    content = bytearray(_tiled(np.moveaxis(noise(32, 16, 3, np.uint16), 2, 0), packed=8))
    entry = content.index(struct.pack("<HH", tag, 4))
    at = struct.unpack_from("<I", content, entry + 8)[0] if tag == 325 else entry + 8
    struct.pack_into("<I", content, at, value)
    (tmp_path / "a.tif").write_bytes(content)
    with pytest.raises(ImageError, match=rf"a\.tif: .*({line})"):
        load(tmp_path / "a.tif")
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("compression", ["lzma", "zstd", "tiff_lzw", "tiff_adobe_deflate"])
@pytest.mark.parametrize("mode", ["RGB", "L", "1", "P", "CMYK", "I;16", "RGBA"])
def test_tiff_any_compression(tmp_path: Path, mode: str, compression: str) -> None:
    if mode == "I;16":
        image = Image.fromarray(noise(dtype=np.uint16)[..., 0])
    else:
        image = Image.fromarray(noise(channels=4) | 1).convert("RGBA" if mode == "RGBA" else "RGB").convert(mode)
    image.save(tmp_path / "plain.tif", dpi=(300, 300), icc_profile=SRGB, description="sea")
    try:
        image.save(tmp_path / "a.tif", compression=compression, dpi=(300, 300), icc_profile=SRGB, description="sea")
    except OSError:
        pytest.skip("Pillow has no such encoder here")
    expected, picture = load(tmp_path / "plain.tif"), load(tmp_path / "a.tif")
    assert read_header(tmp_path / "a.tif") == read_header(tmp_path / "plain.tif")
    assert np.abs(picture.rgb - expected.rgb).max() < 1e-6
    assert (picture.exif, picture.density, picture.icc) == (expected.exif, expected.density, expected.icc)
    assert picture.warnings == expected.warnings


def test_tiff_16_bits_and_lzma_keeps_them(tmp_path: Path) -> None:
    tifffile = pytest.importorskip("tifffile")
    values = noise(dtype=np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", values, photometric="rgb", compression="lzma", iccprofile=SRGB)
    picture = load(tmp_path / "a.tif")
    assert np.array_equal(np.rint(picture.rgb * 65535), values)
    assert (picture.depth, picture.icc) == (16, SRGB)


def test_tiff_64_bit_floats(tmp_path: Path) -> None:
    (tmp_path / "a.tif").write_bytes(tiff(smooth() / 255, 3))
    picture = load(tmp_path / "a.tif")
    assert np.abs(picture.rgb - smooth() / 255).max() < 1e-6
    assert picture.depth == 16


@pytest.mark.parametrize("compression", [None, "tiff_lzw"])
def test_tiff_in_lab_of_8_and_16_bits(tmp_path: Path, compression: str | None) -> None:
    lab_profile, srgb_profile = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    y, x = np.mgrid[0:24, 0:40] / 40
    # Muted colours, so that no rounding leaves the range of sRGB.
    rgb = np.rint(np.stack([90 + 60 * x, 150 - 50 * y, 110 + 30 * x], axis=2)).astype(np.uint8)
    lab = ImageCms.profileToProfile(Image.fromarray(rgb), srgb_profile, lab_profile, outputMode="LAB")
    lab.save(tmp_path / "a.tif", compression=compression)
    picture = load(tmp_path / "a.tif")
    assert np.abs(picture.rgb * 255 - rgb).max() < 4
    assert (picture.depth, picture.gray) == (8, False)
    light, signed = np.asarray(lab)[..., 0].astype(np.int32), np.asarray(lab).view(np.int8).astype(np.int32)
    wide = np.stack([light * 257, signed[..., 1] * 256, signed[..., 2] * 256], axis=2)
    (tmp_path / "b.tif").write_bytes(tiff((wide & 0xFFFF).astype(np.uint16), 1, colours=8))
    picture = load(tmp_path / "b.tif")
    assert np.abs(picture.rgb * 255 - rgb).max() < 4
    assert picture.depth == 16


def _subsampled(rgb: np.ndarray, across: int, down: int) -> bytes:
    """YCbCr that is not compressed, a colour for each block of across x down pixels."""
    ycc = np.asarray(Image.fromarray(rgb).convert("YCbCr")).astype(float)
    height, width = ycc.shape[:2]
    out = bytearray()
    for top in range(0, height, down):
        for left in range(0, width, across):
            block = ycc[top : top + down, left : left + across]
            out += bytes(int(v) for v in block[..., 0].ravel()) + bytes(int(v) for v in np.rint(block.mean((0, 1)))[1:])
    out += bytes(len(out) % 2)
    tags: directories.Directory = {
        256: short(width), 257: short(height), 258: short(8, 8, 8), 259: short(1), 262: short(6), 273: long(8),
        277: short(3), 278: short(height), 279: long(len(out)), 530: short(across, down),
    }  # fmt: skip
    return b"II*\0" + struct.pack("<I", 8 + len(out)) + out + directories.packed(tags, 8 + len(out))


@pytest.mark.parametrize("blocks", [(1, 1), (2, 1), (2, 2)])
def test_tiff_in_ycbcr_without_jpeg(tmp_path: Path, blocks: tuple[int, int]) -> None:
    (tmp_path / "a.tif").write_bytes(_subsampled(smooth(), *blocks))
    assert not read_header(tmp_path / "a.tif").alpha
    picture = load(tmp_path / "a.tif")
    assert picture.alpha is None
    assert np.abs(picture.rgb * 255 - smooth()).max() < 7


def _of_bits(values: np.ndarray, bits: int) -> bytes:
    """A TIFF file whose numbers are not padded to bytes; rows are."""
    height, width, channels = values.shape
    digits = (values.reshape(height, -1, 1).astype(np.uint32) >> np.arange(bits - 1, -1, -1)) & 1
    data = np.packbits(digits.reshape(height, -1).astype(np.uint8), axis=1).tobytes()
    data += bytes(len(data) % 2)
    tags: directories.Directory = {
        256: short(width), 257: short(height), 258: short(*[bits] * channels), 259: short(1),
        262: short(2 if channels == 3 else 1), 273: long(8), 277: short(channels), 278: short(height),
        279: long(len(data)),
    }  # fmt: skip
    return b"II*\0" + struct.pack("<I", 8 + len(data)) + data + directories.packed(tags, 8 + len(data))


def test_grey_tiff_12_bits_is_white_at_4095(tmp_path: Path) -> None:
    values = noise(channels=1, dtype=np.uint16) >> 4
    values[0, 0], values[0, 1] = 4095, 0
    (tmp_path / "a.tif").write_bytes(_of_bits(values, 12))
    picture = load(tmp_path / "a.tif")
    assert np.array_equal(np.rint(picture.rgb[..., :1] * 4095), values)
    assert (picture.depth, picture.gray) == (16, True)


@pytest.mark.parametrize(("bits", "channels"), [(2, 3), (4, 3), (6, 1), (10, 1), (12, 3), (14, 1)])
def test_tiff_odd_bits_is_read_where_imagecodecs_is(tmp_path: Path, bits: int, channels: int) -> None:
    values = noise(channels=channels, dtype=np.uint16) >> (16 - bits)
    (tmp_path / "a.tif").write_bytes(_of_bits(values, bits))
    try:
        import imagecodecs  # noqa: F401
    except ImportError:
        with pytest.raises(ImageError, match=rf"TIFF of {bits} bits needs imagecodecs \(pip install imagecodecs; or"):
            load(tmp_path / "a.tif")
    else:
        picture = load(tmp_path / "a.tif")
        assert np.array_equal(np.rint(picture.rgb[..., :channels] * ((1 << bits) - 1)), values)


@pytest.mark.parametrize(("colours", "name"), [(9, r"ICC L\*a\*b\*"), (10, r"ITU L\*a\*b\*"), (32845, "LogLuv")])
def test_tiff_other_colours_is_refused_by_name(tmp_path: Path, colours: int, name: str) -> None:
    (tmp_path / "a.tif").write_bytes(tiff(smooth(), colours=colours))
    with pytest.raises(ImageError, match=rf"TIFF in {name} is not read \(another program may save it as PNG\)"):
        load(tmp_path / "a.tif")


@pytest.mark.parametrize(("dtype", "kind"), [(np.uint32, 1), (np.int16, 2), (np.uint64, 1), (np.int64, 2)])
def test_tiff_other_numbers_is_refused_by_name(tmp_path: Path, dtype: type, kind: int) -> None:
    (tmp_path / "a.tif").write_bytes(tiff(smooth().astype(dtype), kind))
    with pytest.raises(ImageError, match=r"holds (values of the kind|signed integers|integers).*convert it to 8 or 16"):
        load(tmp_path / "a.tif")


# -- through the program ----------------------------------------------------------------------------------------------


def test_a_folder_of_a_telephone_and_a_camera(
    write_heic: WriteHeic, tmp_path: Path, tiny: str, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("rawpy")
    folder = tmp_path / "photos"
    folder.mkdir()
    write_heic(smooth(16, 16).astype(np.uint16) * 257, "RGB", 10).rename(folder / "phone.heic")
    (folder / "camera.dng").write_bytes(dng(smooth(40, 24) / 255))
    words = ["upscale", str(folder), "-o", str(tmp_path / "out"), "--model", tiny, "--scale", "2", "--json"]
    assert main(words) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    told = {Path(line["input"]).name: line["warnings"] for line in lines if "input" in line}
    assert told == {"camera.dng": [raw.DEVELOPED], "phone.heic": []}
    for name, size in (("phone.png", (32, 32)), ("camera.png", (80, 48))):
        header = read_header(tmp_path / "out" / name)
        assert (header.width, header.height, header.depth) == (*size, 16)

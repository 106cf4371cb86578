"""What stands beside the pixels comes through, in all pairs of formats, or one warning names it."""

import io
import json
import shutil
import struct
import subprocess
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from ccsr.errors import ImageError
from ccsr.images import Picture, containers, directories, from_pillow, load, metadata, read_header, save, tiff
from ccsr.images.decoders import by_libvips
from ccsr.images.directories import EXIF, SHORT, Value
from ccsr.images.formats import FORMATS
from handmade import SRGB, noise, smooth

WRITTEN = [".png", ".jpg", ".webp", ".tif", ".avif"]
IPTC = b"\x1c\x01\x5a\x00\x03\x1b%G" + b"\x1c\x02\x78\x00\x0eK\xc3\xbcste bei Rab" + b"\x1c\x02\x19\x00\x03Rab"
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">' \
      b'<rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" xmlns:dc="http://purl.org/dc/elements/1.1/"' \
      b' dc:source="me" tiff:Orientation="1"/></rdf:RDF></x:xmpmeta>'  # fmt: skip
ASCII, BYTE = 2, 1
EXIF_BLOCK = metadata._HEAD + directories.packed(
    {
        0x000B: Value(ASCII, b"developer\0"),
        270: Value(ASCII, "Küste, 海岸\0".encode()),
        0x4746: Value(SHORT, b"\4\0"),
        0x9C9B: Value(BYTE, "Küste\0".encode("utf-16-le")),
        0x9C9D: Value(BYTE, "Jürgen\0".encode("utf-16-le")),
        0x9C9E: Value(BYTE, "Meer; 海\0".encode("utf-16-le")),
        EXIF: {0x9003: Value(ASCII, b"2020:01:02 03:04:05\0"), 0x927C: Value(7, bytes(range(256)))},
    },
    8,
)

exiftool = pytest.mark.skipif(shutil.which("exiftool") is None, reason="needs exiftool")


def _picture() -> Picture:
    return Picture(
        (smooth() / 255).astype(np.float32),
        exif=EXIF_BLOCK,
        xmp=XMP,
        iptc=IPTC,
        icc=SRGB,
        density=(300 / 25.4, 300 / 25.4),
        texts={"Comment": "by the sea"},
    )


def _told_by_exiftool(path: Path) -> dict[str, object]:
    command = ["exiftool", "-json", "-G1", "-n", "-charset", "exif=utf8", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)[0]


@exiftool
@pytest.mark.parametrize("target", WRITTEN)
@pytest.mark.parametrize("source", WRITTEN)
def test_exiftool_finds_the_same_in_any_format(tmp_path: Path, source: str, target: str) -> None:
    save(_picture(), tmp_path / f"a{source}")
    left_out = save(load(tmp_path / f"a{source}"), tmp_path / f"b{target}")
    told = _told_by_exiftool(tmp_path / f"b{target}")
    assert told["IFD0:ImageDescription"] == "Küste, 海岸"
    assert (told["IFD0:ProcessingSoftware"], told["IFD0:Rating"]) == ("developer", 4)
    assert (told["IFD0:XPTitle"], told["IFD0:XPAuthor"], told["IFD0:XPKeywords"]) == ("Küste", "Jürgen", "Meer; 海")
    assert told["ExifIFD:DateTimeOriginal"] == "2020:01:02 03:04:05"
    assert told["XMP-dc:Source"] == "me"
    assert told.get("ExifTool:Warning", "[minor] Unrecognized MakerNotes") == "[minor] Unrecognized MakerNotes"
    no_iptc = {".webp", ".avif"}
    if source not in no_iptc:
        assert (target in no_iptc) == any("IPTC" in line for line in left_out)
        if target not in no_iptc:
            assert (told["IPTC:Caption-Abstract"], told["IPTC:Keywords"]) == ("Küste bei Rab", "Rab")
    if target in (".jpg", ".png") and source in (".jpg", ".png"):
        assert "by the sea" in (told.get("File:Comment"), told.get("PNG:Comment"))
    if target == ".png":
        assert told["PNG-pHYs:PixelsPerUnitX"] * 0.0254 == pytest.approx(300, abs=0.1)
    else:
        group = "JFIF" if target == ".jpg" else "IFD0"
        assert (told[f"{group}:XResolution"], told[f"{group}:ResolutionUnit"]) == (
            pytest.approx(300, abs=0.1),
            1 if group == "JFIF" else 2,
        )


@pytest.mark.parametrize("target", WRITTEN)
@pytest.mark.parametrize("source", WRITTEN)
def test_what_is_told_comes_back(tmp_path: Path, source: str, target: str) -> None:
    save(_picture(), tmp_path / f"a{source}")
    first = load(tmp_path / f"a{source}")
    left_out = save(first, tmp_path / f"b{target}")
    second = load(tmp_path / f"b{target}")
    assert len(left_out) <= 1
    assert second.xmp == XMP
    assert second.density == pytest.approx((300 / 25.4,) * 2, rel=1e-3)
    tags = metadata._understood(second.exif)
    for tag in (0x000B, 270, 0x4746, 0x9C9B, 0x9C9D, 0x9C9E):
        assert tags[tag].data.rstrip(b"\0") == metadata._understood(EXIF_BLOCK)[tag].data.rstrip(b"\0"), hex(tag)
    assert tags[EXIF][0x927C].data == bytes(range(256))
    for name in ("iptc", "texts"):
        before, after = getattr(first, name), getattr(second, name)
        word = {"iptc": "IPTC", "texts": "texts (Comment)"}[name]
        assert after == before or (not after and word in left_out[0])


@pytest.mark.parametrize("dpi", [25.4, 72, 96, 300, 314.15, 1200])
@pytest.mark.parametrize("target", WRITTEN)
@pytest.mark.parametrize("source", [".png", ".jpg", ".tif", ".bmp"])
def test_density_without_exif(tmp_path: Path, source: str, target: str, dpi: float) -> None:
    Image.fromarray(smooth()).save(tmp_path / f"a{source}", dpi=(dpi, dpi))
    first = load(tmp_path / f"a{source}")
    assert first.density == pytest.approx((dpi / 25.4,) * 2, rel=0.02 if source in (".jpg", ".bmp") else 1e-3)
    assert save(first, tmp_path / f"b{target}") == []
    second = load(tmp_path / f"b{target}")
    assert second.density == pytest.approx(first.density, rel=0.02 if target == ".jpg" else 1e-3)


@pytest.mark.parametrize("target", WRITTEN)
@pytest.mark.parametrize("source", [".png", ".jpg", ".webp", ".tif", ".gif"])
def test_no_density_is_made_up(tmp_path: Path, source: str, target: str) -> None:
    Image.fromarray(smooth()).save(tmp_path / f"a{source}")
    picture = load(tmp_path / f"a{source}")
    assert picture.density is None
    save(picture, tmp_path / f"b{target}")
    assert load(tmp_path / f"b{target}").density is None


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _png_with(path: Path, *chunks: tuple[bytes, bytes]) -> Path:
    buffer = io.BytesIO()
    Image.fromarray(smooth()).save(buffer, "png")
    content = buffer.getvalue()
    path.write_bytes(content[:33] + b"".join(_chunk(*chunk) for chunk in chunks) + content[33:])
    return path


def test_png_texts_are_kept_or_named(tmp_path: Path) -> None:
    path = _png_with(
        tmp_path / "a.png",
        (b"tEXt", b"parameters\0a house, Steps: 20"),
        (b"zTXt", b"Author\0\0" + zlib.compress(b"J\xfcrgen")),
        (b"iTXt", b"Title\0\0\0de\0Titel\0" + "海".encode()),
    )
    picture = load(path)
    assert picture.texts == {"parameters": "a house, Steps: 20", "Author": "Jürgen", "Title": "海"}
    assert save(picture, tmp_path / "b.png") == []
    with Image.open(tmp_path / "b.png") as image:
        assert image.text == picture.texts
    assert save(picture, tmp_path / "b.jpg") == [
        "left out, as jpeg has no place for it: texts (parameters, Author, Title)"
    ]
    assert save(picture, tmp_path / "c.jpg", strip_metadata=True) == []
    save(picture, tmp_path / "c.png", strip_metadata=True)
    assert load(tmp_path / "c.png").texts == {}


def test_xmp_of_png_is_not_compressed(tmp_path: Path) -> None:
    save(_picture(), tmp_path / "a.png")
    assert XMP in (tmp_path / "a.png").read_bytes()
    with Image.open(tmp_path / "a.png") as image:
        assert image.info["XML:com.adobe.xmp"].encode() == XMP


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif"])
@pytest.mark.parametrize("orientation", [3, 6])
def test_orientation_that_only_xmp_tells(tmp_path: Path, suffix: str, orientation: int) -> None:
    xmp = XMP.replace(b'Orientation="1"', b'Orientation="%d"' % orientation)
    save(Picture((smooth() / 255).astype(np.float32), xmp=xmp), tmp_path / f"a{suffix}")
    upright = ImageOps.exif_transpose(Image.open(tmp_path / f"a{suffix}"))
    picture = load(tmp_path / f"a{suffix}")
    header = read_header(tmp_path / f"a{suffix}")
    assert (header.width, header.height) == upright.size == picture.rgb.shape[1::-1]
    assert np.abs(picture.rgb * 255 - np.asarray(upright.convert("RGB"))).max() < 8
    assert picture.xmp == XMP


def test_orientation_and_profiles_of_imagemagick(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[270] = "sea"

    def profile(name: str, data: bytes) -> tuple[bytes, bytes]:
        digits = data.hex()
        lines = "\n".join(digits[i : i + 72] for i in range(0, len(digits), 72))
        return b"tEXt", f"Raw profile type {name}\0\n{name}\n{len(data):8}\n{lines}\n".encode()

    photoshop = b"8BIM\x04\x04\0\0" + struct.pack(">I", len(IPTC)) + IPTC
    path = _png_with(tmp_path / "a.png", profile("exif", exif.tobytes()), profile("8bim", photoshop))
    picture = load(path)
    assert picture.rgb.shape == (40, 24, 3)
    assert picture.iptc == IPTC
    save(picture, tmp_path / "b.jpg")
    with Image.open(tmp_path / "b.jpg") as image:
        assert (image.getexif()[270], image.getexif().get(0x0112, 1)) == ("sea", 1)


def test_iptc_of_tiff_in_any_spelling(tmp_path: Path) -> None:
    padded = IPTC + bytes(-len(IPTC) % 4)
    turned = b"".join(padded[i : i + 4][::-1] for i in range(0, len(padded), 4))
    photoshop = b"8BIM\x04\x04\0\0" + struct.pack(">I", len(IPTC)) + IPTC
    for tag, value in ((33723, Value(4, padded)), (33723, Value(4, turned)), (34377, Value(7, photoshop))):
        Image.fromarray(smooth()).save(tmp_path / "a.tif")
        with (tmp_path / "a.tif").open("r+b") as file:
            directories.add(file, {tag: value})
        iptc = load(tmp_path / "a.tif").iptc
        assert iptc is not None
        assert iptc.startswith(IPTC)


def test_description_of_bigtiff(tmp_path: Path) -> None:
    Image.fromarray(smooth()).save(tmp_path / "a.tif", big_tiff=True, description="sea", dpi=(300, 300))
    picture = load(tmp_path / "a.tif")
    save(picture, tmp_path / "b.jpg")
    with Image.open(tmp_path / "b.jpg") as image:
        assert image.getexif()[270] == "sea"


def test_comment_of_jpeg(tmp_path: Path) -> None:
    Image.fromarray(smooth()).save(tmp_path / "a.jpg", comment="by the sea")
    assert load(tmp_path / "a.jpg").texts == {"Comment": "by the sea"}


def test_further_pictures_are_named(tmp_path: Path) -> None:
    first, second = Image.fromarray(smooth()), Image.fromarray(smooth()[::-1])
    first.save(tmp_path / "a.png", save_all=True, append_images=[second])
    first.save(tmp_path / "a.avif", save_all=True, append_images=[second])
    first.save(tmp_path / "a.mpo", save_all=True, append_images=[second])
    for name, what in (("a.png", "2 frames"), ("a.avif", "2 frames"), ("a.mpo", "further pictures (MPO)")):
        assert any(what in line for line in load(tmp_path / name).warnings) or any(
            "first of 2" in line for line in load(tmp_path / name).warnings
        ), name
    gain_map = XMP.replace(
        b"dc:source", b'xmlns:hdrgm="http://ns.adobe.com/hdr-gain-map/1.0/" hdrgm:Version="1.0" dc:source'
    )
    first.save(tmp_path / "a.jpg", xmp=gain_map)
    assert load(tmp_path / "a.jpg").xmp == gain_map
    assert load(tmp_path / "a.jpg").warnings == ["only the picture itself is used: it has a gain map besides"]


def test_bitmap_without_its_file_header(tmp_path: Path) -> None:
    Image.fromarray(smooth()).save(tmp_path / "a.dib", "DIB")
    assert np.array_equal(np.rint(load(tmp_path / "a.dib").rgb * 255), smooth())


def test_avif_keeps_exif_byte_for_byte(tmp_path: Path) -> None:
    exif = metadata.fitted(EXIF_BLOCK, "jpeg", (300 / 25.4,) * 2, (40, 24))
    save(_picture(), tmp_path / "a.avif")
    first = load(tmp_path / "a.avif").exif
    save(load(tmp_path / "a.avif"), tmp_path / "b.avif")
    assert load(tmp_path / "b.avif").exif == first
    assert exif is not None
    for tag, value in metadata._understood(exif).items():
        assert metadata._understood(first)[tag] == value
    with Image.open(tmp_path / "b.avif") as image:
        image.load()
        assert image.getexif()[0x000B] == "developer"


@pytest.mark.parametrize("target", [".webp", ".avif"])
def test_density_joins_exif_of_either_byte_order(tmp_path: Path, target: str) -> None:
    for order in ("<", ">"):
        exif = Image.Exif()
        exif.endian = order
        exif[0x010F], exif[0x0112] = "Maker", 6
        exif[0x8769] = {0x829A: 0.01, 0x9003: "2020:01:02 03:04:05"}
        Image.fromarray(smooth()).save(tmp_path / "a.png", exif=exif, dpi=(300, 300))
        save(load(tmp_path / "a.png"), tmp_path / f"b{target}")
        with Image.open(tmp_path / f"b{target}") as image:
            told = image.getexif()
            assert (told[0x010F], float(told[282]), told[296]) == ("Maker", pytest.approx(300, abs=0.1), 2)
            assert float(told.get_ifd(0x8769)[0x829A]) == pytest.approx(0.01)


def test_comments_of_gif_are_kept_or_named(tmp_path: Path) -> None:
    Image.fromarray(smooth()).save(tmp_path / "a.gif", comment=b"by the sea")
    content = (tmp_path / "a.gif").read_bytes()
    late = b"\x21\xfe\x05later\x00"  # where Pillow, too, does not look
    trailer = b"\x01" + bytes(range(255, -1, -1)) + b"\x00"
    xmp = b"\x21\xff\x0bXMP DataXMP" + XMP + trailer
    (tmp_path / "a.gif").write_bytes(content[:-1] + late + xmp + content[-1:])
    picture = load(tmp_path / "a.gif")
    assert picture.texts == {"Comment": "by the sea\nlater"}
    assert picture.xmp == XMP
    save(picture, tmp_path / "b.png")
    with Image.open(tmp_path / "b.png") as image:
        assert image.text["Comment"] == "by the sea\nlater"
    assert "texts (Comment)" in save(picture, tmp_path / "b.tif")[0]
    for cut in (12, 40, 800, len(content) - 3):
        assert containers.of_gif(io.BytesIO(content[:cut])).xmp is None


def test_tags_of_exif_in_tiff_are_kept(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0xC4A5], exif[318], exif[51000], exif[531] = b"PrintIM\x000300", (0.3127, 0.329), "private", 2
    Image.fromarray(smooth()).save(tmp_path / "a.jpg", exif=exif)
    assert save(load(tmp_path / "a.jpg"), tmp_path / "b.tif") == []
    with Image.open(tmp_path / "b.tif") as image:
        assert image.tag_v2[51000] == "private"
        assert image.tag_v2[0xC4A5] == b"PrintIM\x000300"
        assert [float(v) for v in image.tag_v2[318]] == pytest.approx([0.3127, 0.329])
        assert 531 not in image.tag_v2, "how the pixels of the JPEG were stored"


def test_tags_of_tiff_that_no_result_gets_are_named(tmp_path: Path) -> None:
    Image.fromarray(smooth()).save(tmp_path / "a.tif", description="sea")
    assert load(tmp_path / "a.tif").warnings == []
    with (tmp_path / "a.tif").open("r+b") as file:
        directories.add(file, {33550: Value(12, struct.pack("<ddd", 1, 1, 0)), 51000: Value(SHORT, b"\1\0")})
    picture = load(tmp_path / "a.tif")
    assert picture.warnings == ["left out: tags of TIFF (ModelPixelScaleTag, 51000)"]
    assert metadata._understood(picture.exif)[270].data == b"sea\0"


def test_what_jpeg_holds_for_itself_is_named(tmp_path: Path) -> None:
    def segment(marker: int, data: bytes) -> bytes:
        return struct.pack(">BBH", 0xFF, marker, len(data) + 2) + data

    Image.fromarray(smooth()).save(tmp_path / "a.jpg", comment="one")
    content = (tmp_path / "a.jpg").read_bytes()
    rest = segment(0xE1, b"http://ns.adobe.com/xmp/extension/\0" + b"0" * 40 + b"<x/>")
    credentials = segment(0xEB, b"JP\0\1\0\0\0\1" + b"\0\0\0\x40jumb....jumdc2pa")
    second = segment(0xFE, b"two")
    (tmp_path / "a.jpg").write_bytes(content[:2] + rest + rest + credentials + second + content[2:])
    picture = load(tmp_path / "a.jpg")
    assert picture.warnings == [
        "left out: content credentials (C2PA), which are for the original alone and"
        " the part of XMP that stands apart (extended)"
    ]
    assert picture.texts == {"Comment": "two\none"}


@pytest.mark.parametrize(("chunk", "word"), [
    ((b"gAMA", struct.pack(">I", 45455)), None), ((b"gAMA", struct.pack(">I", 100000)), "its gamma of 1"),
    ((b"cICP", b"\x09\x10\0\1"), "what its colours mean (cICP)"), ((b"caBX", b"...."), "content credentials"),
])  # fmt: skip
def test_what_png_holds_for_itself_is_named(tmp_path: Path, chunk: tuple[bytes, bytes], word: str | None) -> None:
    warnings = load(_png_with(tmp_path / "a.png", chunk)).warnings
    assert len(warnings) == (word is not None)
    assert word is None or warnings[0].startswith(f"left out: {word}")


def test_pixels_that_a_format_has_no_place_for_are_named(tmp_path: Path) -> None:
    fine = replace(_picture(), depth=16, alpha=np.full((24, 40), 0.5, np.float32), iptc=None, texts={})
    named = {".png": [], ".tif": [], ".webp": ["more than 8 bits"], ".avif": ["more than 10 bits"],
             ".jpg": ["more than 8 bits", "transparency (white is behind it now)"]}  # fmt: skip
    for suffix, words in named.items():
        lines = save(fine, tmp_path / f"a{suffix}")
        assert lines == (
            [f"left out, as {FORMATS[suffix]} has no place for it: {' and '.join(words)}"] if words else []
        )
        assert all("bits" not in line for line in save(fine, tmp_path / f"a{suffix}", depth="8"))
    assert save(replace(fine, format="heic"), tmp_path / "a.avif") == []


# -- two readers, and pictures of Pillow ------------------------------------------------------------------------------


def _old_jpeg_in_tiff() -> bytes:
    """A TIFF whose one tile is JPEG of the kind that was given up."""
    buffer = io.BytesIO()
    Image.fromarray(smooth(64, 64)).save(buffer, "JPEG", quality=95, subsampling="4:4:4")
    tile = buffer.getvalue() + bytes(len(buffer.getvalue()) % 2)
    size, numbers = struct.pack("<I", len(tile)), struct.pack("<HH", 1, 1)
    tags = {256: 64, 257: 64, 259: 6, 262: 6, 277: 3, 322: 64, 323: 64}
    directory = {tag: Value(SHORT, struct.pack("<H", value)) for tag, value in tags.items()}
    directory |= {258: Value(SHORT, struct.pack("<HHH", 8, 8, 8)), 530: Value(SHORT, numbers)}
    directory |= {tag: Value(4, b"\x08\0\0\0") for tag in (324, 513)} | {tag: Value(4, size) for tag in (325, 514)}
    at = 8 + len(tile)
    return b"II*\0" + struct.pack("<I", at) + tile + directories.packed(directory, at)


def test_old_jpeg_in_tiff_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    path.write_bytes(_old_jpeg_in_tiff())
    for function in (load, read_header):
        with pytest.raises(ImageError, match="JPEG compression of the old kind"):
            function(path)


def test_what_looks_empty_is_held_against_a_second_reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.tif"
    path.write_bytes(_old_jpeg_in_tiff())
    monkeypatch.setattr(tiff, "by_any", lambda file, path: by_libvips(file, "tiffload"))
    with pytest.raises(ImageError, match="two readers see different pictures"):
        load(path)


@pytest.mark.parametrize("suffix", [*WRITTEN, ".gif"])
@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L"])
def test_empty_pictures_are_pictures(tmp_path: Path, suffix: str, mode: str) -> None:
    color = {"RGB": (9, 200, 30), "RGBA": (9, 200, 30, 0), "L": 7}[mode]
    if (mode, suffix) == ("RGBA", ".jpg"):
        return
    Image.new(mode, (40, 30), color).save(tmp_path / f"a{suffix}")
    assert load(tmp_path / f"a{suffix}").rgb.shape == (30, 40, 3)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBa", "La", "CMYK", "I;16"])
def test_pillow_pictures_as_their_files(tmp_path: Path, mode: str) -> None:
    rgba = Image.fromarray(noise(channels=4))
    match mode:
        case "I;16":
            given = Image.fromarray(noise(dtype=np.uint16)[..., 0])
        case "LA" | "RGBA":
            given = rgba.convert(mode)
        case "PA" | "La":
            given = rgba.convert("LA").convert(mode)
        case "RGBa":
            given = rgba.convert(mode)
        case _:
            given = rgba.convert("RGB").convert(mode)
    stored = given.convert({"PA": "RGBA", "RGBa": "RGBA", "La": "LA"}.get(mode, mode))
    stored.save(tmp_path / "a.tif")
    expected, picture = load(tmp_path / "a.tif"), from_pillow(given)
    assert np.abs(picture.rgb - expected.rgb).max() < 1e-6
    assert (picture.alpha is None) == (expected.alpha is None)
    if picture.alpha is not None:
        assert np.array_equal(picture.alpha, expected.alpha)
    assert (picture.depth, picture.warnings) == (expected.depth, expected.warnings)


def test_pillow_pictures_of_16_bit_keep_their_values(tmp_path: Path) -> None:
    values = noise(dtype=np.uint16)[..., 0]
    for kind in ("<u2", ">u2"):
        assert np.array_equal(np.rint(from_pillow(Image.fromarray(values.astype(kind))).rgb[..., 0] * 65535), values)
    Image.fromarray(values).save(tmp_path / "a.pgm")
    with Image.open(tmp_path / "a.pgm") as opened:
        assert np.array_equal(np.rint(from_pillow(opened).rgb[..., 0] * 65535), values)
    for mode in ("I", "F"):
        with pytest.raises(ImageError, match=f"mode {mode} does not say which number is white"):
            from_pillow(Image.fromarray(values).convert("I").convert(mode))


def test_pillow_pictures_are_set_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(smooth()).save(tmp_path / "a.png", exif=exif, icc_profile=SRGB)
    with Image.open(tmp_path / "a.png") as opened:
        picture = from_pillow(opened)
    assert np.array_equal(picture.rgb, load(tmp_path / "a.png").rgb)
    assert picture.icc == SRGB


def test_broken_containers_cost_no_picture(tmp_path: Path) -> None:
    broken = [b"", b"\xff\xd8\xff\xed\0\x20Photoshop 3.0\x008BIM\x04\x04", b"\xff\xd8\xff\xe0\0\x10JFIF\0"]
    for content in broken:
        assert containers.of_jpeg(io.BytesIO(content)).iptc is None
    path = _png_with(
        tmp_path / "a.png", (b"zTXt", b"Author\0\0no zlib"), (b"tEXt", b"Raw profile type exif\0\nexif\n 9\nzz\n")
    )
    assert load(path).texts == {}
    assert load(path).exif is None

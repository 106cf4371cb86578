"""Files that people hand over, whole and broken, each with what must come of it.

`write_corpus` makes them in a folder, always the same ones. A `Case` says of one file: the size of the picture that it
holds, and whether its result has 16 bits, one channel or alpha; or a pattern that the reason in its error line matches;
or both, where damage may or may not show (a flipped bit that decodes is another picture, of the same size).
"""

import io
import os
import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageCms

from handmade import SRGB, exif_block, noise, png, png16, smooth, tiff

NO_PICTURE = r"not a picture in a known format \(PNG, JPEG"
CANNOT = r"cannot be read: "
BOMB = r"megapixels, the limit is 268\.4|in this format the limit is 179\.0 megapixels"


@dataclass(frozen=True)
class Case:
    """One file and its expected outcome."""

    kind: str
    name: str
    content: bytes
    size: tuple[int, int] | None = None
    """(width, height) of the picture as it is meant to be seen; None: it must fail."""
    reason: str | None = None
    """Regular expression for the reason in the error line; None: it must succeed."""
    fine: bool | None = None
    """Whether the result has 16 bits per channel, where it is one that can; None: not looked at."""
    alpha: bool | None = None
    gray: bool | None = None
    warning: str | None = None
    """Regular expression for one of the warnings."""

    def __post_init__(self) -> None:
        if self.size is None and self.reason is None:
            raise ValueError(f"{self.kind}/{self.name} has no expected outcome")


def cases() -> list[Case]:
    """All cases that are plain files; links, pipes and rights are made by the tests themselves."""
    found: list[Case] = []
    for function in (_formats, _truncated, _flipped, _wrong_names, _no_pictures, _shapes, _bombs, _profiles, _exif,
                     _values, _animated, _transparent, _names):  # fmt: skip
        found += function()
    names = [(c.kind, c.name) for c in found]
    if len(set(names)) != len(names):
        raise ValueError("two cases of one name")
    return found


def write_corpus(folder: Path) -> dict[Path, Case]:
    """Write every case below `folder`, by kind; a name that the file system does not hold is left out."""
    written = {}
    for case in cases():
        path = folder / case.kind / case.name
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            path.write_bytes(case.content)
        except (OSError, UnicodeEncodeError):
            continue
        written[path] = case
    return written


def _save(image: Image.Image, kind: str, **how: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **how)
    return buffer.getvalue()


def _picture(mode: str = "RGB", width: int = 20, height: int = 12) -> Image.Image:
    image = Image.fromarray(smooth(width, height))
    if "A" in mode:
        image.putalpha(Image.linear_gradient("L").resize((width, height)))
    return image.convert(mode)


def _formats() -> Iterator[Case]:
    """Every format in every mode and depth, with the variants of its encoding."""
    size = (20, 12)
    modes = {
        "png": ["1", "L", "LA", "P", "RGB", "RGBA"],
        "jpeg": ["L", "RGB", "CMYK"],
        "webp": ["RGB", "RGBA"],
        "tiff": ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "LAB"],
        "avif": ["RGB", "RGBA"],
        "gif": ["1", "L", "P"],
        "bmp": ["1", "L", "P", "RGB", "RGBA"],
        "tga": ["L", "LA", "P", "RGB", "RGBA"],
        "ppm": ["1", "L", "RGB"],
    }
    for kind, names in modes.items():
        for mode in names:
            gray = mode in ("1", "L", "LA")
            alpha = mode in ("LA", "RGBA")
            # Palettes are colour to every reader, and 32-bit BMP says nothing of alpha.
            kwargs: dict[str, Any] = {"alpha": None if kind == "bmp" else alpha, "fine": False}
            kwargs["gray"] = None if mode == "P" or kind == "gif" else gray
            warning = "converted from CMYK" if mode == "CMYK" else None
            data = _save(_picture(mode), kind)
            yield Case("formats", f"{kind}-{mode}.{kind}", data, size, warning=warning, **kwargs)
    for name, how in {"progressive": {"progressive": True}, "optimised": {"optimize": True}, "q1": {"quality": 1},
                      "q100": {"quality": 100, "subsampling": 0}, "420": {"subsampling": 2},
                      "comment": {"comment": "x" * 60000}}.items():  # fmt: skip
        yield Case("formats", f"{name}.jpg", _save(_picture(), "jpeg", **how), size, fine=False, alpha=False)
    for compression in ("raw", "tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg"):
        yield Case("formats", f"{compression}.tif", _save(_picture(), "tiff", compression=compression), size)
    for name, how in {"lossless": {"lossless": True}, "q1": {"quality": 1}, "exact": {"exact": True}}.items():
        yield Case("formats", f"{name}.webp", _save(_picture("RGBA"), "webp", **how), size, alpha=True)
    for color, channels in {0: 1, 4: 2, 2: 3, 6: 4}.items():
        data = png16(noise(20, 12, channels, np.uint16), color)
        wanted = {"fine": True, "gray": channels < 3, "alpha": channels in (2, 4)}
        yield Case("formats", f"16bit-{channels}.png", data, size, **wanted)
        if channels != 2:
            data = tiff(noise(20, 12, channels, np.uint16), extra=2 if channels == 4 else None, order=">")
            yield Case("formats", f"16bit-{channels}.tiff", data, size, **wanted)
    for bits in (1, 2, 4):
        row = b"\0" + bytes([0b00011011] * (20 * bits // 8 + (20 * bits % 8 > 0)))
        yield Case("formats", f"grey{bits}.png", png(20, 12, bits, 0, row * 12), size, fine=False, gray=True)
    pgm16 = b"P5\n20 12\n65535\n" + noise(20, 12, 1, np.uint16).astype(">u2").tobytes()
    yield Case("formats", "16bit.pgm", pgm16, size, fine=True, gray=True)
    yield Case("formats", "plain.ppm", b"P3\n2 1\n255\n255 0 0  0 255 0\n", (2, 1), fine=False)


def _whole(kind: str) -> bytes:
    """A file whose pixels fill most of it, 61 x 47."""
    source = Image.fromarray(noise(61, 47))
    match kind:
        case "png16":
            return png16(noise(61, 47, dtype=np.uint16), 2)
        case "cmyk":
            return _save(source.convert("CMYK"), "jpeg")
        case "progressive":
            return _save(source, "jpeg", progressive=True)
        case "lzw":
            return _save(source, "tiff", compression="tiff_lzw")
        case _:
            return _save(source, kind)


def _truncated() -> Iterator[Case]:
    rng = np.random.RandomState(1)
    for kind in ("jpeg", "progressive", "cmyk", "png", "png16", "webp", "tiff", "lzw", "avif", "gif", "bmp", "ppm"):
        whole = _whole(kind)
        for n, share in enumerate(rng.uniform(0.02, 0.98, 5)):
            cut = whole[: max(1, int(len(whole) * share))]
            yield Case("truncated", f"{kind}-{n}.dat", cut, reason=f"{CANNOT}|{NO_PICTURE}")


def _flipped() -> Iterator[Case]:
    """Bits flipped among the pixels, at random places; headers are left alone, so that the size stays."""
    rng = np.random.RandomState(2)
    # What has a checksum must fail, what stores plain values cannot notice; codes may go either way.
    certain = {"png": CANNOT, "png16": CANNOT, "bmp": None, "tiff": None, "ppm": None}
    for kind in ("png", "png16", "bmp", "tiff", "ppm", "jpeg", "progressive", "webp", "avif", "gif", "lzw"):
        whole = _whole(kind)
        for n in range(5):
            data = bytearray(whole)
            for place in rng.randint(len(data) // 2, len(data) * 9 // 10, 1 + 2 * n):
                data[place] ^= 1 << rng.randint(8)
            reason = certain.get(kind, CANNOT)
            size = None if kind in certain and reason else (61, 47)
            yield Case("flipped", f"{kind}-{n}.dat", bytes(data), size, reason)


def _wrong_names() -> Iterator[Case]:
    """Content decides; the name does not."""
    kinds = {"png": "jpg", "jpeg": "png", "webp": "tif", "tiff": "webp", "gif": "jpeg", "bmp": "png", "avif": "gif",
             "ppm": "bmp"}  # fmt: skip
    for kind, suffix in kinds.items():
        yield Case("names-lie", f"{kind}-as.{suffix}", _save(_picture(), kind), (20, 12))
    for name in ("no-suffix", "many.dots.in.it", "a.JPG", "b.JPEG.part", "c.png~", "d.xyz", "UPPER.PNG"):
        yield Case("names-lie", name, _save(_picture(), "png"), (20, 12))
    yield Case("names-lie", "tga-as.png", _save(_picture(), "tga"), reason=NO_PICTURE)
    yield Case("names-lie", "really-png.nef", _save(_picture(), "png"), (20, 12))


def _no_pictures() -> Iterator[Case]:
    rng = np.random.RandomState(3)
    for name in ("empty.png", "empty.jpg", "empty"):
        yield Case("no-pictures", name, b"", reason=r"the file is empty")
    others = {
        "text.jpg": b"just words\n" * 40,
        "page.html": b"<!DOCTYPE html><html><body>404</body></html>",
        "archive.zip": b"PK\x03\x04" + bytes(60),
        "paper.pdf": b"%PDF-1.7\n" + bytes(60),
        "drawing.svg": b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>',
        "program": b"\x7fELF\x02\x01\x01" + bytes(90),
        "icon.ico": b"\0\0\1\0\1\0\x10\x10" + bytes(60),
        "layers.psd": b"8BPS\0\1" + bytes(60),
        "film.mp4": b"\0\0\0\x20ftypisom\0\0\2\0isomiso2mp41" + bytes(60),
        "pointer.png": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
        "zeros.png": bytes(4096),
        "ones.jpg": b"\xff" * 4096,
        "noise.png": rng.bytes(4096),
        "scene.exr": b"\x76\x2f\x31\x01" + bytes(60),
        "one-byte.jpg": b"\xff",
        "newlines.png": b"\r\n" * 40,
        "model.safetensors": struct.pack("<Q", 2) + b"{}",
        "next.jxl": b"\xff\x0a" + bytes(60),
        "old.jp2": b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(60),
    }
    for name, content in others.items():
        yield Case("no-pictures", name, content, reason=NO_PICTURE)
    heic = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(99)
    yield Case("no-pictures", "phone.heic", heic, reason=CANNOT)
    yield Case("no-pictures", "phone.jpg", heic, reason=CANNOT)
    for name in ("camera.nef", "camera.ARW", "camera.dng"):
        yield Case("no-pictures", name, tiff(noise()), reason=rf"{CANNOT}|camera RAW files need rawpy \(pip install")
    for magic, name in ((b"\x89PNG\r\n\x1a\n", "head.png"), (b"\xff\xd8\xff", "head.jpg"), (b"GIF89a", "head.gif"),
                        (b"II*\0", "head.tif"), (b"BM", "head.bmp"), (b"RIFF\0\0\0\0WEBP", "head.webp"),
                        (b"P6\n", "head.ppm"), (b"\0\0\0\x18ftypavif", "head.avif")):  # fmt: skip
        yield Case("no-pictures", name, magic, reason=f"{CANNOT}|{NO_PICTURE}")


def _shapes() -> Iterator[Case]:
    for width, height in ((1, 1), (1, 2), (2, 1), (1, 3), (3, 1), (2, 2), (7, 5), (1, 64), (64, 1), (1, 1000),
                          (1000, 1), (3, 900), (900, 2), (17, 33), (129, 4)):  # fmt: skip
        yield Case("shapes", f"{width}x{height}.png", _save(_picture("RGB", width, height), "png"), (width, height))
    for width, height in ((1, 20000), (20000, 1)):
        grey = Image.new("L", (width, height), 90)
        yield Case("shapes", f"{width}x{height}.png", _save(grey, "png"), (width, height), gray=True)
    for width, height in ((1, 40000), (50000, 2)):
        grey = Image.new("L", (width, height), 90)
        yield Case("shapes", f"{width}x{height}.png", _save(grey, "png"), reason="a result of .* is too large")
    for kind in ("jpeg", "webp", "tiff", "avif", "gif", "bmp"):
        yield Case("shapes", f"one-{kind}.{kind}", _save(_picture("RGB", 1, 1), kind), (1, 1))


def _bombs() -> Iterator[Case]:
    """Small files that ask for huge pictures, or unpack to more than they say."""
    for side in (17000, 60000, 2**31 - 1):
        yield Case("bombs", f"png-{side}.png", png(side, side, 8, 2), reason=f"{BOMB}|{CANNOT}")
    yield Case("bombs", "screen.gif", b"GIF89a" + struct.pack("<HHBBB", 65535, 65535, 0x80, 0, 0) + bytes(6)
               + b"," + struct.pack("<HHHHB", 0, 0, 65535, 65535, 0) + b"\2\2\x4c\1\0;",
               reason=f"{BOMB}|{CANNOT}")  # fmt: skip
    for side in (60000, 30000):
        header = struct.pack("<IHHIIiiHHIIiiII", 54, 0, 0, 54, 40, side, side, 1, 24, 0, 0, 0, 0, 0, 0)
        yield Case("bombs", f"{side}.bmp", b"BM" + header, reason=BOMB)
    jpeg = bytearray(_save(_picture(), "jpeg"))
    start = jpeg.index(b"\xff\xc0")
    jpeg[start + 5 : start + 9] = struct.pack(">HH", 65500, 65500)
    yield Case("bombs", "65500.jpg", bytes(jpeg), reason=BOMB)
    yield Case("bombs", "99999.ppm", b"P6\n99999 99999\n255\n", reason=BOMB)
    yield Case("bombs", "99999.pbm", b"P4\n99999 99999\n", reason=BOMB)
    tga = struct.pack("<BBBHHBHHHHBB", 0, 0, 10, 0, 0, 0, 0, 0, 65535, 65535, 24, 0)
    yield Case("bombs", "65535.tga", tga, reason=BOMB)
    huge = bytearray(tiff(noise(9, 7)))
    for tag in (256, 257):
        at = huge.index(struct.pack("<HHI", tag, 3, 1))
        huge[at + 8 : at + 10] = struct.pack("<H", 65000)
    yield Case("bombs", "65000.tif", bytes(huge), reason=f"{BOMB}|{CANNOT}")
    yield Case("bombs", "solid.png", _save(Image.new("L", (16390, 16390)), "png"), reason=BOMB)
    # A chunk of a few kilobytes that holds tens of megabytes.
    plain = _save(_picture(), "png")
    for tag, head in ((b"zTXt", b"Comment\0\0"), (b"iCCP", b"x\0\0"), (b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0")):
        chunk = tag + head + zlib.compress(bytes(3 * 2**24), 9)
        data = struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
        yield Case("bombs", f"{tag.decode()}.png", plain[:33] + data + plain[33:], (20, 12), reason=CANNOT)


def _wide_gamut() -> bytes:
    """sRGB's profile with the primaries of a wider space in its three colourant tags (s15Fixed16 XYZ)."""
    icc = bytearray(SRGB)
    for tag, xyz in {b"rXYZ": (0.6097, 0.3111, 0.0195), b"gXYZ": (0.2053, 0.6257, 0.0609),
                     b"bXYZ": (0.1492, 0.0632, 0.7446)}.items():  # fmt: skip
        at = icc.index(tag, 128)
        offset = struct.unpack_from(">I", icc, at + 4)[0]
        struct.pack_into(">iii", icc, offset + 8, *(round(v * 65536) for v in xyz))
    return bytes(icc)


def _profiles() -> Iterator[Case]:
    size = (20, 12)
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    declared_cmyk = SRGB[:16] + b"CMYK" + SRGB[20:]
    profiles = {"wide": _wide_gamut(), "cut": SRGB[:200], "noise": np.random.RandomState(4).bytes(600),
                "empty": b"\0", "lab": lab, "cmyk": declared_cmyk, "grey": SRGB[:16] + b"GRAY" + SRGB[20:],
                "size": struct.pack(">I", 2**31) + SRGB[4:]}  # fmt: skip
    kinds = {"png": "png", "jpeg": "jpg", "webp": "webp", "tiff": "tif", "avif": "avif"}
    for (name, icc), (kind, suffix) in product(profiles.items(), kinds.items()):
        yield Case("profiles", f"{name}.{suffix}", _save(_picture(), kind, icc_profile=icc), size, fine=False)
    for name in ("cut", "noise", "cmyk", "wide"):
        data = _save(_picture("CMYK"), "jpeg", icc_profile=profiles[name])
        # Colours through a broken press profile cannot be told; a line says so, or the fall-back is used.
        yield Case("profiles", f"{name}-cmyk.jpg", data, size, reason=CANNOT)
        yield Case("profiles", f"{name}-grey.png", _save(_picture("L"), "png", icc_profile=profiles[name]), size)
    ycck = bytearray(_save(_picture("CMYK"), "jpeg"))
    at = ycck.index(b"Adobe")
    ycck[at + 11] = 2
    yield Case("profiles", "ycck.jpg", bytes(ycck), size, warning="converted from CMYK")


def _exif() -> Iterator[Case]:
    for orientation in (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 65535):
        turned = 5 <= orientation <= 8
        for kind, suffix in {"jpeg": "jpg", "png": "png", "webp": "webp"}.items():
            data = _save(_picture(), kind, exif=exif_block(orientation))
            yield Case("exif", f"{orientation}.{suffix}", data, (12, 20) if turned else (20, 12))
    good = exif_block(1)
    body = good.removeprefix(b"Exif\0\0")
    broken = {
        "cut": good[: len(good) // 2],
        "header": b"Exif\0\0II*\0",
        "loop": b"Exif\0\0" + b"II*\0\x08\0\0\0" + struct.pack("<H", 0) + struct.pack("<I", 8),
        "far": b"Exif\0\0" + b"II*\0\xff\xff\xff\x7f" + bytes(20),
        "many": b"Exif\0\0" + b"II*\0\x08\0\0\0" + b"\xff\xff" + bytes(40),
        "self": b"Exif\0\0" + b"II*\0\x08\0\0\0" + struct.pack("<HHHII", 1, 0x8769, 4, 1, 8) + bytes(4),
        "words": b"Exif\0\0" + b"nothing of the kind",
        "count": b"Exif\0\0" + body[:10] + struct.pack("<HHII", 0x0112, 3, 2**31, 6) + bytes(8),
        "noise": b"Exif\0\0II*\0\x08\0\0\0" + np.random.RandomState(5).bytes(900),
        "large": b"Exif\0\0" + body + bytes(60000),
    }
    for name, exif in broken.items():
        for kind, suffix in {"jpeg": "jpg", "webp": "webp"}.items():
            yield Case("exif", f"{name}.{suffix}", _save(_picture(), kind, exif=exif), (20, 12))
    for name, xmp in {
        "xmp-cut": b"<x:xmpmeta",
        "xmp-noise": np.random.RandomState(6).bytes(99),
        "xmp-null": b"\0",
    }.items():
        yield Case("exif", f"{name}.jpg", _save(_picture(), "jpeg", xmp=xmp), (20, 12))


def _values() -> Iterator[Case]:
    """TIFF files of unusual numbers."""
    plain = smooth(20, 12).astype(np.float32) / 255
    finite = r"holds values that are not finite"
    for name, value in {"nan": np.nan, "inf": np.inf, "minus-inf": -np.inf}.items():
        bad = plain.copy()
        bad[3, 4, 1] = value
        yield Case("values", f"{name}.tif", tiff(bad, 3), reason=finite)
        yield Case("values", f"{name}-64.tif", tiff(bad.astype(np.float64), 3), reason=f"{finite}|{CANNOT}")
    for name, value in {"huge": 1e30, "bytes": 255, "low": -3}.items():
        bad = plain.copy()
        bad[3, 4, 1] = value
        yield Case("values", f"{name}.tif", tiff(bad, 3), reason="holds floating point values from")
    for name, value in {"over": 1.5, "under": -0.2, "tiny": 1e-40}.items():
        odd = plain.copy()
        odd[3, 4, 1] = value
        warning = None if name == "tiny" else "were clipped to 0..1"
        yield Case("values", f"{name}.tif", tiff(odd, 3), (20, 12), fine=True, warning=warning)
    kinds = r"holds values of the kind|cannot be read: "
    for name, pixels, sample in (
        ("signed8", noise(20, 12).astype(np.int8), 2), ("signed16", noise(20, 12).astype(np.int16), 2),
        ("unsigned32", noise(20, 12).astype(np.uint32), 1), ("signed32", noise(20, 12).astype(np.int32), 2),
    ):  # fmt: skip
        yield Case("values", f"{name}.tif", tiff(pixels, sample), reason=kinds)
    yield Case("values", "six-channels.tif", tiff(noise(20, 12, 6)), reason=r"has 6 channels|cannot be read: ")


def _animated() -> Iterator[Case]:
    frames = [Image.fromarray(np.roll(smooth(20, 12), n, axis=1)) for n in range(12)]
    for kind, suffix in {"gif": "gif", "webp": "webp", "tiff": "tif"}.items():
        for count in (2, 3, 12):
            how = {"save_all": True, "append_images": frames[1:count]}
            data = _save(frames[0], kind, **how)
            warning = f"only the first of {count} pages or frames is used"
            yield Case("animated", f"{count}.{suffix}", data, (20, 12), warning=warning)
    for count in (2, 5):
        data = _save(frames[0], "png", save_all=True, append_images=frames[1:count])
        yield Case("animated", f"apng{count}.png", data, (20, 12))
    other = _save(frames[0], "tiff", save_all=True, append_images=[Image.new("L", (3, 3))])
    yield Case("animated", "sizes-differ.tif", other, (20, 12))


def _transparent() -> Iterator[Case]:
    size = (20, 12)
    for name, image, how in (
        ("colour", _picture(), {"transparency": (10, 20, 30)}), ("grey", _picture("L"), {"transparency": 90}),
        ("palette", _picture("P"), {"transparency": 3}),
        ("graded", _picture("P"), {"transparency": bytes(range(0, 256, 2))}),
    ):  # fmt: skip
        yield Case("transparent", f"{name}.png", _save(image, "png", **how), size, alpha=True)
    yield Case("transparent", "gif-palette.gif", _save(_picture("P"), "gif", transparency=3), size)
    clear = np.zeros((12, 20, 4), np.uint8)
    for kind, suffix in {"png": "png", "webp": "webp", "tiff": "tif", "avif": "avif"}.items():
        yield Case("transparent", f"clear.{suffix}", _save(Image.fromarray(clear), kind), size, alpha=True)
        half = clear.copy()
        half[:, :10, 3], half[:, 10:] = 255, (200, 10, 10, 0)
        yield Case("transparent", f"half.{suffix}", _save(Image.fromarray(half), kind), size, alpha=True)
    for kind in ("png", "tiff", "bmp", "gif", "ppm"):
        black = Image.new("1", size)
        yield Case(
            "transparent", f"one-bit-{kind}.{kind}", _save(black, kind), size, alpha=False if kind != "gif" else None
        )


def _names() -> Iterator[Case]:
    data = _save(_picture(), "png")
    longest = "n" * 246 + ".png"
    words = ["with space.png", " leading.png", "trailing .png", "two  spaces.png", "new\nline.png", "tab\there.png",
             "quote'.png", 'double".png', "-dash.png", "--option.png", "star*.png", "question?.png", "[page=1].png",
             "percent%20.png", "hash#.png", "colon:.png", "back\\slash.png", "pipe|.png", "semi;.png", "$HOME.png",
             "&and.png", "äöü.png", "a\u0308.png", "日本語.png", "\U0001f600.png", "עברית.png", "\u202ertl.png",
             "~tilde.png", "{brace}.png", "CON.png", "\x07bell.png", "\x1b[31mred.png", longest, "ü" * 123 + ".png",
             os.fsdecode(b"latin1-\xe9.png"), "many....dots.png"]  # fmt: skip
    for name in words:
        yield Case("names", name, data, (20, 12))


def matches(pattern: str | None, text: str | None) -> bool:
    """Whether a reason or warning is the expected one."""
    return pattern is not None and text is not None and re.search(pattern, text) is not None

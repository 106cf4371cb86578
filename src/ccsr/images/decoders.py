"""What libraries find in picture files, their pixels not yet unpacked: libvips and Pillow here, others in modules of
their own."""

import os
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyvips
from PIL import Image

from ccsr.errors import ImageError
from ccsr.images.containers import Beside
from ccsr.images.failures import unwarned
from ccsr.images.libvips import meta

PILLOW_RAISES = (EOFError, LookupError, SyntaxError, TypeError, ValueError, struct.error)
"""What Pillow's decoders raise on damaged bytes, beside OSError."""
_BITS = 258


@dataclass
class Stored:
    """A picture as it is stored in a file."""

    width: int
    height: int
    channels: int
    alpha: bool
    depth: int
    """Bits per channel that a result should have: 8, or 16 for anything finer."""
    unpack: Callable[[], Any]
    """Its pixels as a libvips image of this size, with its colour profile."""
    white: float | None = None
    """The number that is white; None: the largest one of its kind, 1.0 of floating point."""
    pages: int = 1
    orientation: int = 1
    """How it stands, where the decoder knows."""
    beside: Beside = field(default_factory=Beside)
    notes: list[str] = field(default_factory=list)
    """What a user should know about how it was decoded."""


def by_libvips(file: IO[bytes], loader: str, *, opaque: bool = False) -> Stored:
    """A file that one of libvips' loaders reads; `opaque`: any alpha is made up by the loader."""
    # By descriptor (which libvips duplicates): any name works, brackets and newlines included.
    os.lseek(file.fileno(), 0, os.SEEK_SET)
    source = pyvips.Source.new_from_descriptor(file.fileno())
    image = getattr(pyvips.Image, f"{loader}_source")(source, access="sequential", fail_on="error")
    if opaque and image.hasalpha():
        image = image.extract_band(0, n=image.bands - 1)
    stored = of_image(image)
    stored.pages, stored.orientation = meta(image, "n-pages", 1), meta(image, "orientation", 1)
    stored.beside = Beside(exif=meta(image, "exif-data"), xmp=meta(image, "xmp-data"))
    if loader == "heifload" and image.format == "ushort":
        # libvips shifts 10 and 12 bits up without filling the low ones, so that white is not 65535.
        bits = image.get("bits-per-sample")
        stored.white = ((1 << bits) - 1) << (16 - bits)
    return stored


def by_pillow(file: IO[bytes], decoder: str, path: Path) -> Stored:
    """A file that one of Pillow's decoders reads; it is opened again when its pixels are wanted."""
    with damage(path), unwarned():
        # Pillow has a limit of its own; ours is checked before any pixel is read.
        picture: Image.Image = Image.open(file, formats=[decoder])
        pages = getattr(picture, "n_frames", 1)

    def unpack() -> Any:
        with path.open("rb") as again, damage(path):
            with unwarned():
                opened: Image.Image = Image.open(again, formats=[decoder])
            opened.load()
            return image_of_pillow(opened)

    mode = _kept_mode(picture)
    channels = {"L": 1, "LA": 2, "RGBA": 4, "CMYK": 4}.get(mode, 1 if mode.startswith("I") else 3)
    across, down = picture.info.get("dpi", (0, 0))
    return Stored(
        *picture.size, channels, mode in ("LA", "RGBA"), 16 if mode.startswith("I") else 8, unpack,
        white_of_pillow(picture), pages,
        beside=Beside(density=(across / 25.4, down / 25.4) if across > 0 and down > 0 else None),
    )  # fmt: skip


def of_image(image: Any) -> Stored:
    """A libvips image that is there already."""
    depth = 8 if image.format == "uchar" else 16
    return Stored(image.width, image.height, image.bands, bool(image.hasalpha()), depth, lambda: image)


def as_image(pixels: np.ndarray, meaning: str, icc: bytes | None = None) -> Any:
    """(H, W) or (H, W, channels) as a libvips image; `meaning` is its interpretation there."""
    image = pyvips.Image.new_from_array(np.ascontiguousarray(pixels)).copy(interpretation=meaning)
    if icc:
        image.set_type(pyvips.GValue.blob_type, "icc-profile-data", icc)
    return image


def image_of_pillow(picture: Image.Image) -> Any:
    """A loaded Pillow picture as a libvips image, with its colour profile."""
    mode = _kept_mode(picture)
    if mode != picture.mode:
        picture = picture.convert(mode)
    pixels = np.asarray(picture)
    if mode == "LAB":
        # 0..255 stands for a lightness of 0..100; the other two are numbers with a sign.
        light, colours = pixels[..., :1] * np.float32(100 / 255), np.ascontiguousarray(pixels[..., 1:]).view(np.int8)
        return as_image(np.concatenate([light, colours], axis=2, dtype=np.float32), "lab")
    fine = mode.startswith("I")
    meaning = "grey16" if fine else {"L": "b-w", "LA": "b-w", "CMYK": "cmyk"}.get(mode, "srgb")
    return as_image(pixels.astype(np.uint16 if fine else np.uint8), meaning, picture.info.get("icc_profile"))


def white_of_pillow(picture: Image.Image) -> float | None:
    """Of 16 bits as Pillow holds them; a TIFF file's 12 bits are not spread over them."""
    if not picture.mode.startswith("I;16"):
        return None
    return (1 << min(16, getattr(picture, "tag_v2", {}).get(_BITS, (16,))[0])) - 1


def straight(image: Any, white: float) -> Any:
    """The same image with colours that are not multiplied by its alpha."""
    colours = image.unpremultiply(max_alpha=white)
    whole = colours if image.format in ("float", "double") else colours.rint()
    return whole.cast(image.format).copy(interpretation=image.interpretation)


@contextmanager
def damage(path: Path) -> Iterator[None]:
    """What libraries raise on damaged bytes, as one line."""
    try:
        yield
    except ImageError:
        raise
    except (*PILLOW_RAISES, RuntimeError) as error:
        raise ImageError(f"cannot be read: {error}", path=path) from error


def _kept_mode(picture: Image.Image) -> str:
    """The mode, of those that are understood here, that holds all of a picture."""
    mode = {"1": "L", "La": "LA"}.get(picture.mode, picture.mode)
    if mode in ("LA", "RGBA", "CMYK", "LAB", "I") or mode.startswith("I;16"):
        return mode
    if "transparency" in picture.info:
        # One colour or grey that is to be clear, as PNG and GIF have it.
        return "LA" if mode == "L" else "RGBA"
    return mode if mode == "L" else "RGBA" if mode in ("PA", "RGBa", "RGBX") else "RGB"

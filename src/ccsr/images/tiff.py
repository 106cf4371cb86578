"""Which library reads a TIFF file: libvips those that it reads right, Pillow and tifffile others."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import IO, Any

import numpy as np

from ccsr.errors import ImageError
from ccsr.images import directories
from ccsr.images.decoders import Stored, as_image, by_libvips, by_pillow, straight
from ccsr.images.directories import Value

# What tifffile says of damaged files would reach the terminal beside our own line.
logging.getLogger("tifffile").addHandler(logging.NullHandler())

_BITS, _PACKED, _COLOURS, _SAMPLES, _PLANES, _TILE, _KIND = 258, 259, 262, 277, 284, 322, 339
_SUBSAMPLING, _ICC, _DNG = 530, 34675, 50706
_OLD_JPEG, _JPEG = 6, 7
_PACKED_FOR_LIBVIPS = frozenset([1, 2, 3, 4, 5, _JPEG, 8, 32773, 32946, 50001])
_PACKED_FOR_PILLOW = _PACKED_FOR_LIBVIPS - {50001} | {34925, 50000}
"""With LZMA and Zstandard."""
_BITS_FOR_LIBVIPS = frozenset([8, 16, 32])
_BITS_OF_ONE_CHANNEL = frozenset([1, 2, 4])
_FLOAT = 3
_YCBCR, _LAB = 6, 8
_SENSOR = frozenset([32803, 34892])
_OTHER_LABS = {9: "ICC L*a*b*", 10: "ITU L*a*b*", 32844: "LogL", 32845: "LogLuv"}
_ELSEWHERE = "another program may save it as PNG"


@dataclass(frozen=True)
class _Layout:
    """How the pixels of the first picture are stored."""

    bits: int
    """The most that any channel has."""
    packed: int
    colours: int
    samples: int
    apart: bool
    """In tiles, and each channel in tiles of its own."""
    floating: bool
    whole: bool
    """As many colours as pixels, if it is YCbCr."""
    sensor: bool
    """What a camera's sensor saw, not yet a picture."""


def is_raw(file: IO[bytes]) -> bool:
    """Whether a TIFF file holds what a camera's sensor saw (DNG)."""
    return _layout(file).sensor


def by_any(file: IO[bytes], path: Path) -> Stored:
    """A TIFF file, by the library that reads it right.

    Raises:
        ImageError: none of them does.
    """
    layout = _layout(file)
    file.seek(0)
    if layout.packed == _OLD_JPEG:
        raise ImageError("TIFF with JPEG compression of the old kind is not read, as no two programs agree on it",
                         path=path, hint=_ELSEWHERE)  # fmt: skip
    if layout.colours in _OTHER_LABS:
        raise ImageError(f"TIFF in {_OTHER_LABS[layout.colours]} is not read", path=path, hint=_ELSEWHERE)
    if _read_right_by_libvips(layout):
        # What is not stored as RGB comes out of libtiff with an alpha of its own.
        return by_libvips(file, "tiffload", opaque=layout.colours == _YCBCR)
    if _read_whole_by_pillow(layout):
        return by_pillow(file, "TIFF", path)
    return _by_tifffile(file, path)


def _layout(file: IO[bytes]) -> _Layout:
    """What is not told is what TIFF means then."""
    wanted = {_BITS, _PACKED, _COLOURS, _SAMPLES, _PLANES, _TILE, _KIND, _SUBSAMPLING, _DNG}
    try:
        tags = directories.read(file, wanted)
    except ValueError:
        tags = {}

    def numbers(tag: int, *default: int) -> list[int]:
        value = tags.get(tag)
        return [int(n) for n in value.numbers()] if isinstance(value, Value) and value.numbers() else [*default]

    colours = numbers(_COLOURS, 1)[0]
    return _Layout(
        bits=max(numbers(_BITS, 1)),
        packed=numbers(_PACKED, 1)[0],
        colours=colours,
        samples=numbers(_SAMPLES, 1)[0],
        apart=numbers(_PLANES, 1)[0] == 2 and _TILE in tags,
        floating=numbers(_KIND, 1)[0] == _FLOAT,
        whole=numbers(_SUBSAMPLING, 2, 2) == [1, 1],
        sensor=_DNG in tags or colours in _SENSOR,
    )


def _read_right_by_libvips(layout: _Layout) -> bool:
    if layout.colours == _YCBCR and layout.packed != _JPEG:
        return not layout.whole  # these it takes for RGB
    if (layout.colours == _LAB and layout.bits == 8) or (layout.apart and layout.samples > 1):
        return False
    bits = _BITS_FOR_LIBVIPS | (_BITS_OF_ONE_CHANNEL if layout.samples == 1 else frozenset())
    return layout.packed in _PACKED_FOR_LIBVIPS and layout.bits in bits


def _read_whole_by_pillow(layout: _Layout) -> bool:
    """Pillow has 8 bits for colours and 16 for grey; its 12 bits are those that are not packed."""
    gray = layout.samples == 1 and not layout.floating
    bits = (1, 8, 16) if gray else (8,)
    plain = gray and layout.bits == 12 and layout.packed == 1
    return layout.packed in _PACKED_FOR_PILLOW and layout.samples != 2 and (layout.bits in bits or plain)


def _by_tifffile(file: IO[bytes], path: Path) -> Stored:
    """Of any depth; tifffile unpacks little by itself, and the rest where imagecodecs is installed."""
    with _damage(path):
        page, pages = _first(file, path)
        # In damaged files any of these may be a tuple.
        width, height, channels, bits, planes = (
            int(n)
            for n in (page.imagewidth, page.imagelength, page.samplesperpixel, page.bitspersample, page.planarconfig)
        )
        kind = page.dtype.kind if page.dtype is not None else ""
        meaning = {0: "b-w", 1: "b-w", 2: "srgb", 5: "cmyk"}.get(page.photometric)
        inverted, multiplied = page.photometric == 0, 1 in page.extrasamples
    if kind in ("i", "u") and bits > (16 if kind == "u" else 0):
        raise ImageError(f"holds {'signed ' if kind == 'i' else ''}integers of {bits} bits", path=path,
                         hint="convert it to 8 or 16 bits")  # fmt: skip
    if meaning is None or kind not in ("u", "f") or page.imagedepth != 1:
        raise ImageError("TIFF of an unusual kind is not read", path=path, hint=_ELSEWHERE)
    white = 1.0 if kind == "f" else (1 << bits) - 1
    alpha = channels in (2, 4) and meaning != "cmyk"

    def unpack() -> Any:
        with path.open("rb") as again, _damage(path):
            values, icc = _unpacked(again, path)
            if planes == 2:
                values = np.moveaxis(values.reshape(channels, height, width), 0, 2)
            values = values.reshape(height, width, channels)
        image = as_image(white - values if inverted else values, _fine(meaning, values), icc)
        return straight(image, white) if alpha and multiplied else image

    return Stored(width, height, channels, alpha, 8 if white <= 255 and kind == "u" else 16, unpack, white, pages)


def _fine(meaning: str, values: np.ndarray) -> str:
    deep = values.dtype.itemsize > 1
    return {"b-w": "grey16", "srgb": "rgb16"}.get(meaning, meaning) if deep else meaning


def _first(file: IO[bytes], path: Path) -> tuple[Any, int]:
    """The first picture of a file, and how many there are."""
    import tifffile  # half a second

    tiff = tifffile.TiffFile(file)
    page = tiff.pages.first
    if prod(page.chunked) != len(page.dataoffsets):
        # Each that is missing would be filled in, one by one.
        raise ImageError("cannot be read: it has another number of tiles than it says", path=path)
    return page, len(tiff.pages)


def _unpacked(file: IO[bytes], path: Path) -> tuple[np.ndarray, bytes | None]:
    """Values of the first picture, in a shape of tifffile's own, and its colour profile."""
    page, _ = _first(file, path)
    try:
        values = page.asarray()
    except Exception as error:
        if not isinstance(error, ImportError) and "imagecodecs" not in str(error):
            raise
        packed = f" packed as {page.compression.name}" if page.compression != 1 else ""
        what = f"TIFF of {page.bitspersample} bits{packed} needs imagecodecs"
        raise ImageError(what, path=path, hint=f"pip install imagecodecs; or {_ELSEWHERE}") from error
    icc = page.tags[_ICC].value if _ICC in page.tags else None
    return values.astype(np.float32) if values.dtype == np.float16 else values, icc if isinstance(icc, bytes) else None


@contextmanager
def _damage(path: Path) -> Iterator[None]:
    """What tifffile raises on damaged bytes, which may be anything, as one line."""
    try:
        yield
    except (ImageError, MemoryError, OSError):
        raise
    except Exception as error:
        raise ImageError(f"cannot be read: {error}", path=path) from error

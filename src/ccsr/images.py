"""Pictures in, pictures out: limits, orientation, depth, alpha, colour profiles and metadata.

The only module that knows libvips. Formats are told by content, never by name, and only the decoders listed here are
reached. Rules for what comes in:

- EXIF orientation is applied, and the tag says "upright" from then on; the thumbnail of the old picture is dropped.
- Pixel values stay in the picture's own colour space and its RGB profile goes with them. CMYK becomes sRGB through its
  embedded profile, else through a press profile that libvips brings, and that profile is dropped.
- Fully transparent pixels get the colour of the nearest pixel that can be seen: whatever was hidden there would shine
  through at the rim after enlarging. Pixels that can be seen, however faintly, keep their colour.
- Of several pages or frames the first is used; `Picture.warnings` says so.
"""

import io
import os
import re
import secrets
import stat
import struct
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyvips
from PIL import Image, UnidentifiedImageError

from ccsr.buffers import bands, zeros
from ccsr.errors import ImageError, TooLargeError
from ccsr.log import get_logger

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

_log = get_logger("images")

MAX_PIXELS = 2**28
"""Default limit of a picture's width times height: 268 megapixels."""

FORMATS = {
    ".png": "png", ".jpg": "jpeg", ".jpeg": "jpeg", ".jpe": "jpeg", ".jfif": "jpeg", ".webp": "webp",
    ".tif": "tiff", ".tiff": "tiff", ".avif": "avif",
}  # fmt: skip
"""File name suffixes (lower case) that can be written, and their formats."""

SUFFIXES = frozenset(FORMATS) | {".gif", ".bmp", ".dib", ".tga", ".pbm", ".pgm", ".ppm", ".pnm"}
"""File name suffixes of pictures that can be read: what to look for in a folder."""

_READABLE = "PNG, JPEG, WebP, TIFF, AVIF, GIF, BMP, TGA and PNM can be read"
_LOADERS = {"png": "pngload", "jpeg": "jpegload", "webp": "webpload", "tiff": "tiffload", "avif": "heifload",
            "gif": "gifload"}  # fmt: skip
_PILLOW = {"bmp": "BMP", "tga": "TGA", "pnm": "PPM"}
_MAGIC = {
    b"\x89PNG\r\n\x1a\n": "png", b"\xff\xd8\xff": "jpeg", b"GIF87a": "gif", b"GIF89a": "gif",
    b"II*\0": "tiff", b"MM\0*": "tiff", b"II+\0": "tiff", b"MM\0+": "tiff", b"BM": "bmp",
    b"P1": "pnm", b"P2": "pnm", b"P3": "pnm", b"P4": "pnm", b"P5": "pnm", b"P6": "pnm",
    b"FUJIFILMCCD-RAW": "raw", b"IIU\0": "raw", b"IIRO": "raw", b"IIRS": "raw", b"MMOR": "raw",
}  # fmt: skip
# Most camera files are TIFF inside, where a reader would find the preview and take it for the picture.
_RAW_SUFFIXES = frozenset([
    ".3fr", ".arw", ".cr2", ".cr3", ".crw", ".dcr", ".dng", ".erf", ".fff", ".iiq", ".kdc", ".mef", ".mos", ".mrw",
    ".nef", ".nrw", ".orf", ".pef", ".raf", ".raw", ".rw2", ".rwl", ".sr2", ".srf", ".srw", ".x3f",
])  # fmt: skip
_HEIC_BRANDS = frozenset([b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"])
_DTYPES = {"uchar": np.uint8, "ushort": np.uint16, "float": np.float32, "double": np.float64}
_MAX_SIDE = {"jpeg": 65500, "webp": 16383, "avif": 16384}
_DEFAULT_DENSITY = 72 / 25.4
_PART = ".ccsr-part"
"""End of the name that a file has until it is whole."""
_YOUNG = 1.0
"""Seconds."""

_turn = threading.RLock()
"""libvips has one text of errors for all threads: whoever reads or writes a file takes a turn."""

# The decoders that libvips itself does not trust stay shut, for formats that are meant to be read, too.
pyvips.block_untrusted_set(True)
# Nothing is computed twice here: a cache would only keep pixels and open files alive.
pyvips.cache_set_max(0)
# The AVIF encoder divides a picture by the number of threads, and its bytes depend on the division: one number for all
# machines.
pyvips.concurrency_set(4)


@dataclass(frozen=True)
class Header:
    """What a picture is, known without its pixels."""

    width: int
    """Pixels, after EXIF orientation."""
    height: int
    """Pixels, after EXIF orientation."""
    format: str
    """`png`, `jpeg`, `webp`, `tiff`, `avif`, `gif`, `bmp`, `tga` or `pnm`."""
    depth: int
    """Bits per channel that a result should have: 8, or 16 for anything finer."""
    gray: bool
    alpha: bool
    suffix: str = ""
    """The file name's suffix as it is spelt."""


@dataclass
class Picture:
    """A picture in memory, upright."""

    rgb: np.ndarray
    """float32 (H, W, 3), 0..1, not linear: in the space of `icc`, else sRGB."""
    alpha: np.ndarray | None = None
    """float32 (H, W), 0 (transparent) to 1, or None."""
    depth: int = 8
    """Bits per channel of the file it came from: 8 or 16."""
    gray: bool = False
    """The three channels came from one and are written as one."""
    format: str = "png"
    icc: bytes | None = None
    """Colour profile, RGB or grey as `gray` says."""
    exif: bytes | None = None
    """EXIF, with or without the leading `Exif\\0\\0`; its orientation is upright."""
    xmp: bytes | None = None
    density: tuple[float, float] = (_DEFAULT_DENSITY, _DEFAULT_DENSITY)
    """Pixels per millimetre, across and down."""
    warnings: list[str] = field(default_factory=list)
    """What a user should know about how the file was read."""


def read_header(path: Path, max_pixels: int = MAX_PIXELS) -> Header:
    """What the picture at `path` is, from its first bytes (BMP, TGA and PNM are read whole).

    Raises:
        ImageError: not a picture, a format that is not read, or more pixels than `max_pixels`.
    """
    with _named(path, "cannot be read"):
        return _open(path, max_pixels)[1]


def load(path: Path, max_pixels: int = MAX_PIXELS) -> Picture:
    """The picture at `path`; the module's docstring has the rules.

    Raises:
        ImageError: whatever `read_header` refuses, a damaged or incomplete file, integers of more than 16 bits,
            floating point values that are not finite or far outside 0..1.
    """
    with _named(path, "cannot be read"):
        image, header = _open(path, max_pixels)
        notes = []
        if _meta(image, "n-pages", 1) > 1:
            notes.append(f"only the first of {image.get('n-pages')} pages or frames is used")
        icc = _meta(image, "icc-profile-data")
        if image.interpretation == "cmyk":
            # 16 bits whatever the depth, so that the conversion adds no rounding of its own.
            image = image.icc_transform(
                "srgb", embedded=True, input_profile="cmyk", depth=16, intent="relative", black_point_compensation=True
            )
            notes.append("converted from CMYK to sRGB" + ("" if icc else " without a profile: colours are a guess"))
            icc = None
        elif image.interpretation in ("lab", "labs", "labq", "lch", "xyz", "yxy", "hsv"):
            image = image.colourspace("rgb16" if header.depth == 16 else "srgb")
            icc = None
        if icc and not _profile_fits(icc, header.gray):
            notes.append("its colour profile is not for this kind of picture and was left out")
            icc = None
        channels = _upright(_channels(image, path, notes), _meta(image, "orientation", 1))
        planes = channels.shape[2]
        rgb = _gathered(channels, [0, 0, 0] if planes < 3 else [0, 1, 2])
        alpha = _gathered(channels, [planes - 1])[..., 0] if planes in (2, 4) else None
        if alpha is not None:
            _fill_hidden(rgb, alpha)
        if header.format == "tiff":
            # Spread over directories there, where libvips does not look for it.
            with path.open("rb") as file:
                exif = _described(file)
        else:
            exif = _meta(image, "exif-data")
        xmp = _meta(image, "xmp-data")
        # One pixel per millimetre is what libvips says when the file says nothing.
        known = (image.xres, image.yres) != (1, 1)
        return Picture(
            rgb, alpha, header.depth, header.gray, header.format, icc,
            exif=_upright_exif(exif) if exif else None,
            xmp=_upright_xmp(xmp) if xmp else None,
            density=(image.xres, image.yres) if known else (_DEFAULT_DENSITY, _DEFAULT_DENSITY),
            warnings=notes,
        )  # fmt: skip


def output_suffix(header: Header, format: str | None) -> str:
    """Suffix of a result's name: the input's own where its format can hold the result, else `.png`.

    Args:
        header: the input's, with the result's width and height where these are known.
        format: `png`, `jpeg`, `webp`, `tiff` or `avif` if the user asked for one; it wins.
    """
    kind = format or header.format
    if format is None and (kind not in FORMATS.values() or max(header.width, header.height) > _max_side(kind)):
        kind = "png"
    if FORMATS.get(header.suffix.lower()) == kind:
        return header.suffix
    return next(suffix for suffix, name in FORMATS.items() if name == kind)


def save(picture: Picture, path: Path, *, quality: int = 95, depth: str = "auto", strip_metadata: bool = False) -> None:
    """Write a picture in the format of the name's suffix: whole under that name, or not at all.

    PNG and TIFF hold 8 or 16 bits per channel, AVIF 8 or 10, JPEG and WebP 8. Alpha is laid over white for JPEG. A grey
    picture is the mean of its channels and stays one channel in PNG, TIFF and JPEG.

    Args:
        picture: values outside 0..1 are clipped, and rounded to the nearest step.
        path: where; an existing file is replaced.
        quality: 1..100 for JPEG, WebP and AVIF; 100 is lossless in WebP and AVIF.
        depth: `auto` (the picture's), `8` or `16`.
        strip_metadata: leave out EXIF, XMP and the colour profile.

    Raises:
        ImageError: a suffix that is not written, too large for the format, values that are not finite, disk or rights.
    """
    kind = FORMATS.get(path.suffix.lower())
    if kind is None:
        raise ImageError(f"cannot write {path.suffix or 'a name without suffix'}", path=path,
                         hint="choose .png, .jpg, .webp, .tif or .avif")  # fmt: skip
    height, width = picture.rgb.shape[:2]
    if max(width, height) > _max_side(kind):
        raise ImageError(f"{width}x{height} is too large for {kind}, which holds {_max_side(kind)} on a side",
                         path=path, hint="write .png or .tif")  # fmt: skip
    pixels = _pixels(picture, kind, depth)
    if pixels is None:
        raise ImageError("the result has values that are not finite", path=path)
    with _named(path, "cannot be written"), _whole(path) as file:
        _encode(picture, pixels, kind, quality, strip_metadata, file)


def to_uint8(values: np.ndarray) -> np.ndarray:
    """Floating point 0..1 (clipped) of any shape as uint8, rounded half to even."""
    return _quantised(values, 255).astype(np.uint8)


# -- reading ----------------------------------------------------------------------------------------------------------


def _open(path: Path, max_pixels: int) -> tuple[Any, Header]:
    """A libvips image whose pixels are still in the file, as stored, and its header."""
    mode = path.stat().st_mode
    if not stat.S_ISREG(mode):
        # Opening a pipe would wait for ever.
        raise ImageError("is a folder" if stat.S_ISDIR(mode) else "is not a regular file", path=path)
    with path.open("rb", buffering=0) as file:
        kind = _sniff(file.read(256), path)
        file.seek(0)
        if kind in _PILLOW:
            image = _through_pillow(file, _PILLOW[kind], path, max_pixels)
        else:
            # By descriptor (which libvips duplicates): any name works, brackets and newlines included.
            source = pyvips.Source.new_from_descriptor(file.fileno())
            loader = getattr(pyvips.Image, f"{_LOADERS[kind]}_source")
            image = loader(source, access="sequential", fail_on="error")
    width, height = image.width, image.height
    _check_size(width, height, path, max_pixels)
    if _meta(image, "orientation", 1) >= 5:
        width, height = height, width
    alpha = bool(image.hasalpha())
    gray = image.bands - alpha == 1
    depth = 8 if image.format == "uchar" else 16
    return image, Header(width, height, kind, depth, gray, alpha, path.suffix)


def _sniff(head: bytes, path: Path) -> str:
    """The format by content. The suffix counts where content alone does not tell: camera files and TGA."""
    if not head:
        raise ImageError("the file is empty", path=path)
    kind = next((name for magic, name in _MAGIC.items() if head.startswith(magic)), None)
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        kind = "webp"
    if head[4:8] == b"ftyp":
        brands = {head[i : i + 4] for i in range(8, min(len(head), int.from_bytes(head[:4], "big")), 4)}
        kind = "avif" if brands & {b"avif", b"avis"} else "heic" if brands & _HEIC_BRANDS else None
        kind = "raw" if b"crx " in brands else kind
    if kind in (None, "tiff") and (path.suffix.lower() in _RAW_SUFFIXES or head[8:10] == b"CR"):
        kind = "raw"
    if kind is None and path.suffix.lower() == ".tga":
        kind = "tga"
    if kind == "heic":
        raise ImageError("HEIC pictures are not read", path=path,
                         hint="convert it first, for instance: heif-convert photo.heic photo.png")  # fmt: skip
    if kind == "raw":
        raise ImageError("camera RAW files are not read", path=path,
                         hint="develop it first, for instance: darktable-cli photo.nef photo.tif")  # fmt: skip
    if kind is None:
        raise ImageError("not a picture in a known format", path=path, hint=_READABLE)
    return kind


def _check_size(width: int, height: int, path: Path, max_pixels: int) -> None:
    if width * height > max_pixels:
        raise TooLargeError(f"{width}x{height} is {width * height / 1e6:.1f} megapixels, the limit is"
                            f" {max_pixels / 1e6:.1f}", path=path, hint="cut or shrink it first")  # fmt: skip


def _through_pillow(file: IO[bytes], decoder: str, path: Path, max_pixels: int) -> Any:
    with warnings.catch_warnings():
        # Pillow has a limit of its own; ours is checked before any pixel is read.
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        picture: Image.Image = Image.open(file, formats=[decoder])
    _check_size(*picture.size, path, max_pixels)
    fine = picture.mode in ("I", "I;16", "I;16B")
    if fine:
        picture = picture.convert("I")
    elif picture.mode == "1":
        picture = picture.convert("L")
    elif picture.mode not in ("L", "LA", "RGB", "RGBA"):
        picture = picture.convert("RGBA" if "transparency" in picture.info else "RGB")
    pixels = np.asarray(picture).astype(np.uint16 if fine else np.uint8)
    meaning = "grey16" if fine else "b-w" if picture.mode in ("L", "LA") else "srgb"
    return pyvips.Image.new_from_array(pixels).copy(interpretation=meaning)


def _channels(image: Any, path: Path, notes: list[str]) -> np.ndarray:
    """Pixels as float32 (H, W, channels) in 0..1, as stored (not yet turned)."""
    if image.bands > 4:
        raise ImageError(f"has {image.bands} channels", path=path, hint="convert it to grey, RGB or RGBA")
    if image.format not in _DTYPES:
        raise ImageError(f"holds values of the kind {image.format}", path=path, hint="convert it to 8 or 16 bits")
    real = image.format in ("float", "double")
    peak = 1 if real else 255 if image.format == "uchar" else 65535
    if image.format == "ushort" and _meta(image, "vips-loader", "").startswith("heif"):
        # libvips shifts 10 and 12 bits up without filling the low ones, so that white is not 65535.
        bits = image.get("bits-per-sample")
        peak = ((1 << bits) - 1) << (16 - bits)
    stored: np.ndarray = zeros((image.height, image.width, image.bands))
    region = pyvips.Region.new(image)
    low, high = (np.inf, -np.inf) if real else (0.0, 1.0)
    for top, bottom in bands(image.height, image.width):
        fetched = np.frombuffer(region.fetch(0, top, image.width, bottom - top), _DTYPES[image.format])
        values = fetched.reshape(bottom - top, image.width, image.bands)
        if real:
            if not np.isfinite(values).all():
                raise ImageError("holds values that are not finite", path=path)
            low, high = min(low, values.min()), max(high, values.max())
            stored[top:bottom] = np.clip(values, 0, 1)
        else:
            np.divide(values, np.float32(peak), out=stored[top:bottom], dtype=np.float32)
    if low < -0.5 or high > 2:
        # Nobody can tell whether 255 or a lamp is white here: a guess would be a white or a black picture.
        raise ImageError(f"holds floating point values from {low:.4g} to {high:.4g}", path=path,
                         hint="scale them to 0..1, or convert it to 16 bits")  # fmt: skip
    if low < 0 or high > 1:
        notes.append(f"floating point values from {low:.4g} to {high:.4g} were clipped to 0..1")
    return stored


def _gathered(channels: np.ndarray, wanted: list[int]) -> np.ndarray:
    """The wanted channels of (H, W, C), one after another in memory."""
    if channels.flags.c_contiguous and wanted == list(range(channels.shape[2])):
        return channels
    out = zeros((*channels.shape[:2], len(wanted)))
    for top, bottom in bands(*channels.shape[:2]):
        out[top:bottom] = channels[top:bottom][..., wanted]
    return out


def _upright(stored: np.ndarray, orientation: int) -> np.ndarray:
    """Turn (H, W, C) as the EXIF orientation 1..8 says; by array, as libvips cannot turn what it reads line by line."""
    turned = stored.swapaxes(0, 1) if orientation >= 5 else stored
    if orientation in (3, 4, 7, 8):
        turned = turned[::-1]
    if orientation in (2, 3, 6, 7):
        turned = turned[:, ::-1]
    return turned


def _fill_hidden(rgb: np.ndarray, alpha: np.ndarray) -> None:
    """Give fully transparent pixels of rgb (H, W, 3), in place, the colour of the nearest pixel that can be seen."""
    hidden = alpha <= 0
    if not hidden.any() or hidden.all():
        return
    from scipy.ndimage import distance_transform_edt  # half a second to import, for transparent pictures only

    rows, columns = distance_transform_edt(hidden, return_distances=False, return_indices=True)
    rgb[hidden] = rgb[rows[hidden], columns[hidden]]


def _meta(image: Any, name: str, default: Any = None) -> Any:
    return image.get(name) if image.get_typeof(name) else default


def _profile_fits(icc: bytes, gray: bool) -> bool:
    """Is this profile for grey or for RGB values? (ICC.1, header: the data colour space is in bytes 16 to 19.)"""
    return icc[16:20] == (b"GRAY" if gray else b"RGB ") and icc[36:40] == b"acsp"


# -- EXIF and XMP -----------------------------------------------------------------------------------------------------

# Tags of a TIFF's first directory that describe the photo; the others describe how its pixels are stored.
_DESCRIPTIVE = (270, 271, 272, 305, 306, 315, 316, 18246, 33432)
_EXIF_IFD, _GPS_IFD = 0x8769, 0x8825


def _upright_exif(exif: bytes) -> bytes | None:
    """The same EXIF with its orientation 1 and without thumbnail, all else byte for byte; None if it is broken."""
    patched = bytearray(exif)
    start = 6 if exif.startswith(b"Exif\0\0") else 0
    order = {b"II": "<", b"MM": ">"}.get(exif[start : start + 2])
    if order is None:
        return None
    try:
        first = start + struct.unpack_from(order + "I", exif, start + 4)[0]
        count = struct.unpack_from(order + "H", exif, first)[0]
        for entry in range(first + 2, first + 2 + 12 * count, 12):
            if struct.unpack_from(order + "H", exif, entry)[0] == 0x0112:
                struct.pack_into(order + "HIHH", patched, entry + 2, 3, 1, 1, 0)
        struct.pack_into(order + "I", patched, first + 2 + 12 * count, 0)
    except struct.error:
        return None
    return bytes(patched)


def _upright_xmp(xmp: bytes) -> bytes:
    """XMP may repeat the orientation, as an attribute or as an element."""
    return re.sub(rb"(tiff:Orientation(?:\s*=\s*[\"']|>))[2-8]", rb"\g<1>1", xmp)


def _described(file: IO[bytes], offset: int = 8) -> bytes | None:
    """What describes the photo in a TIFF file or in EXIF (the same layout), as EXIF in II byte order at `offset`.

    Returns:
        None if there is nothing, or nothing that can be understood.
    """
    source, target = Image.Exif(), Image.Exif()
    target.endian = "<"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            source.load_from_fp(file)
            for tag in _DESCRIPTIVE:
                if tag in source:
                    target[tag] = source[tag]
            for directory in (_EXIF_IFD, _GPS_IFD):
                if entries := source.get_ifd(directory):
                    target[directory] = dict(entries)
            return target.tobytes(offset) if len(target) else None
    except Exception:
        # Pillow raises whatever broken tags lead it to; pixels without their description are better than no picture.
        _log.debug("EXIF could not be understood", exc_info=True)
        return None


def _add_exif(file: IO[bytes], exif: bytes) -> None:
    """Put EXIF into a TIFF file, where libvips does not write it.

    The EXIF directory goes to the end of the file, and after it a first directory with the entries of both: entries
    hold offsets from the start of the file, so that they can be copied as they are.
    """
    end = file.seek(0, os.SEEK_END)
    start = end + end % 2
    block = _described(io.BytesIO(exif.removeprefix(b"Exif\0\0")), start)
    file.seek(0)
    head = file.read(8)
    # A file above 4 GB has another layout, and does without.
    if block is None or head[:4] != b"II*\0":
        return
    # Pillow puts "Exif\0\0" and a header of 8 bytes before the directory.
    appended = block[14:] + b"\0" * (len(block) % 2)

    def entries(data: IO[bytes], at: int) -> dict[int, bytes]:
        data.seek(at)
        count = struct.unpack("<H", data.read(2))[0]
        found = [data.read(12) for _ in range(count)]
        return {struct.unpack_from("<H", entry)[0]: entry for entry in found}

    merged = entries(io.BytesIO(appended), 0) | entries(file, struct.unpack_from("<I", head, 4)[0])
    directory = struct.pack("<H", len(merged)) + b"".join(merged[tag] for tag in sorted(merged)) + bytes(4)
    file.seek(end)
    file.write(bytes(start - end) + appended + directory)
    file.seek(4)
    file.write(struct.pack("<I", start + len(appended)))


# -- writing ----------------------------------------------------------------------------------------------------------


def _max_side(kind: str) -> int:
    return _MAX_SIDE.get(kind, 2**31 - 1)


def _pixels(picture: Picture, kind: str, depth: str) -> np.ndarray | None:
    """What a file of that format holds, (H, W, channels) of 8 or 16 bits; None if a value is not finite."""
    gray = picture.gray and kind not in ("webp", "avif")
    over_white = kind == "jpeg"
    planes = (1 if gray else 3) + (picture.alpha is not None and not over_white)
    fine = (picture.depth == 16 if depth == "auto" else depth == "16") and kind in ("png", "tiff", "avif")
    height, width = picture.rgb.shape[:2]
    pixels: np.ndarray = zeros((height, width, planes), np.uint16 if fine else np.uint8)
    # libvips cuts AVIF's 16 bits to 10: rounding is done before.
    peak, step = (1023, 64) if fine and kind == "avif" else (65535, 1) if fine else (255, 1)
    for top, bottom in bands(height, width):
        rgb = picture.rgb[top:bottom]
        alpha = picture.alpha[top:bottom, :, None] if picture.alpha is not None else None
        if not (np.isfinite(rgb).all() and (alpha is None or np.isfinite(alpha).all())):
            return None
        if alpha is not None and over_white:
            rgb = 1 - alpha * (1 - rgb)
        colours = rgb.mean(axis=2, keepdims=True) if picture.gray else rgb
        pixels[top:bottom, :, : 1 if gray else 3] = _quantised(colours, peak) * step
        if alpha is not None and not over_white:
            pixels[top:bottom, :, -1:] = _quantised(alpha, peak) * step
    return pixels


def _encode(
    picture: Picture, pixels: np.ndarray, kind: str, quality: int, strip_metadata: bool, file: IO[bytes]
) -> None:
    """Write a file: `pixels` are those of `_pixels`, the picture gives what stands beside them."""
    fine, gray = pixels.dtype == np.uint16, pixels.shape[2] < 3
    meaning = ("grey16" if fine else "b-w") if gray else ("rgb16" if fine else "srgb")
    image = pyvips.Image.new_from_array(pixels).copy(
        interpretation=meaning, xres=picture.density[0], yres=picture.density[1]
    )
    keep = pyvips.ForeignKeep.NONE
    if not strip_metadata:
        keep = pyvips.ForeignKeep.XMP | pyvips.ForeignKeep.ICC | pyvips.ForeignKeep.OTHER
        if picture.exif and kind != "tiff":
            # Without EXIF to keep, libvips would make some up.
            keep |= pyvips.ForeignKeep.EXIF
            image.set_type(pyvips.GValue.blob_type, "exif-data", picture.exif)
        if picture.xmp:
            image.set_type(pyvips.GValue.blob_type, "xmp-data", picture.xmp)
        if picture.icc:
            # Left out by libvips itself where it is a grey profile and the format makes RGB of grey.
            image.set_type(pyvips.GValue.blob_type, "icc-profile-data", picture.icc)
    target = pyvips.Target.new_to_descriptor(file.fileno())
    if kind == "png":
        image.pngsave_target(target, keep=keep)
    elif kind == "jpeg":
        image.jpegsave_target(target, keep=keep, Q=quality)
    elif kind == "webp":
        image.webpsave_target(target, keep=keep, Q=quality, lossless=quality == 100, smart_subsample=True)
    elif kind == "avif":
        image.heifsave_target(
            target, keep=keep, compression="av1", Q=quality, lossless=quality == 100, bitdepth=10 if fine else 8,
            effort=2,
        )  # fmt: skip
    else:
        large = pixels.nbytes > 2**32 - 2**24
        image.tiffsave_target(target, keep=keep, compression="deflate", predictor="horizontal", bigtiff=large)
        if picture.exif and not strip_metadata:
            _add_exif(file, picture.exif)


def _quantised(values: np.ndarray, peak: int) -> np.ndarray:
    rounded: np.ndarray = np.rint(np.clip(values, 0, 1) * np.float32(peak))
    return rounded


@contextmanager
def _whole(path: Path) -> Iterator[IO[bytes]]:
    """A file to write, under a hidden name first: whoever looks sees the old file or the whole new one."""
    if path.is_dir():
        raise ImageError("cannot be written: is a folder", path=path)
    temporary = path.parent / f".{secrets.token_hex(8)}{_PART}"
    try:
        # "x" and not tempfile: the result gets the rights that the user's umask gives to any new file.
        with temporary.open("x+b") as file:
            # Unlocked by the system however this ends, so that `sweep` can tell what a killed process left.
            if fcntl:
                with suppress(OSError):
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            try:
                yield file
            except pyvips.Error:
                # libvips keeps the system's reason, such as a full disk, to itself: the system is asked again.
                for _ in range(2):
                    os.write(file.fileno(), bytes(2**16))
                raise
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        # After a success it is gone already; after anything else, Ctrl-C included, nothing is left.
        temporary.unlink(missing_ok=True)


def sweep(folder: Path) -> int:
    """Remove what processes that were killed while writing left in `folder`; returns how many files that was."""
    if not fcntl:
        return 0
    swept = 0
    for part in folder.glob(f".*{_PART}"):
        with suppress(OSError), part.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            # A writer's file is younger than this between its first byte and its lock.
            if time.time() - os.fstat(file.fileno()).st_mtime > _YOUNG:
                part.unlink()
                swept += 1
    return swept


# -- errors -----------------------------------------------------------------------------------------------------------


@contextmanager
def _named(path: Path, what: str) -> Iterator[None]:
    """Turn whatever the libraries raise into one line that names the file."""
    hint = None
    _turn.acquire()
    try:
        # What an earlier file left there would be told of this one.
        pyvips.vips_lib.vips_error_clear()
        yield
    except ImageError:
        raise
    except pyvips.Error as error:
        lines = [line.strip() for line in (error.detail or "").splitlines() if line.strip()]
        reason = lines[0] if lines else "the library gives no reason"
        if what == "cannot be read":
            hint = "damaged, incomplete or unusual; another program may save it as PNG"
        raise ImageError(f"{what}: {reason}", path=path, hint=hint) from error
    except MemoryError as error:
        raise ImageError(f"{what}: it does not fit into memory", path=path) from error
    except Image.DecompressionBombError as error:
        limit = 2 * (Image.MAX_IMAGE_PIXELS or 0) / 1e6
        raise ImageError(f"{what}: in this format the limit is {limit:.1f} megapixels", path=path,
                         hint="convert it to PNG") from error  # fmt: skip
    except UnidentifiedImageError as error:
        raise ImageError("not a picture in a known format", path=path, hint=_READABLE) from error
    except OSError as error:
        raise ImageError(f"{what}: {error.strerror or error}", path=path) from error
    except (ValueError, SyntaxError) as error:
        raise ImageError(f"{what}: {error}", path=path) from error
    finally:
        _turn.release()

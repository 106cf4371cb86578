"""Files to pictures; the package's docstring has the rules."""

import stat
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyvips
from PIL import Image

from ccsr.errors import ImageError, TooLargeError
from ccsr.images import tiff
from ccsr.images.buffers import bands, zeros
from ccsr.images.containers import Beside
from ccsr.images.decoders import (
    PILLOW_RAISES,
    Stored,
    by_libvips,
    by_pillow,
    image_of_pillow,
    of_image,
    white_of_pillow,
)  # fmt: skip
from ccsr.images.failures import named, unwarned
from ccsr.images.formats import MAX_PIXELS, sniff
from ccsr.images.heic import by_pi_heif
from ccsr.images.libvips import attributed, meta
from ccsr.images.metadata import beside, orientation, upright_exif, upright_xmp
from ccsr.images.picture import Header, Picture
from ccsr.images.raw import by_libraw

_LIBVIPS = {"png": "pngload", "jpeg": "jpegload", "webp": "webpload", "avif": "heifload", "gif": "gifload"}
_PILLOW = {"bmp": "BMP", "dib": "DIB", "tga": "TGA", "pnm": "PPM"}
_SECOND_READER = frozenset(_LIBVIPS) | {"tiff"}
"""Formats in which what libvips sees may be held against what Pillow sees."""
_DTYPES = {"uchar": np.uint8, "ushort": np.uint16, "float": np.float32, "double": np.float64}


def read_header(path: Path, max_pixels: int = MAX_PIXELS) -> Header:
    """What the picture at `path` is; its pixels are not unpacked.

    Raises:
        ImageError: not a picture, a format that is not read, or more pixels than `max_pixels`.
    """
    with named(path, "cannot be read"):
        return attributed(lambda: _open(path, max_pixels).header)


def load(path: Path, max_pixels: int = MAX_PIXELS) -> Picture:
    """The picture at `path`; the package's docstring has the rules.

    Raises:
        ImageError: whatever `read_header` refuses, a damaged or incomplete file, integers of more than 16 bits,
            floating point values that are not finite or far outside 0..1.
    """
    with named(path, "cannot be read"):
        return attributed(lambda: _load(path, max_pixels))


def from_pillow(given: Image.Image) -> Picture:
    """A Pillow picture as the same picture in a file would be read: upright, with alpha, profile and 16 bits.

    Raises:
        ImageError: 32 bit numbers, of which nobody can tell which one is white, or a mode that is not converted.
    """
    with named(None, "cannot be read"):
        if given.mode == "F" or (given.mode == "I" and given.format not in ("PNG", "PPM")):
            raise ImageError(f"a PIL picture of mode {given.mode} does not say which number is white",
                             hint="give an array of floats in 0..1, or a picture of mode I;16 or RGB")  # fmt: skip
        try:
            stored = of_image(image_of_pillow(given))
            # Of EXIF's bytes only the orientation counts here, which Pillow finds wherever it stands.
            turned = given.getexif().get(0x0112, 1)
        except PILLOW_RAISES as error:
            raise ImageError(f"cannot be read: {error}") from error
        stored.white = white_of_pillow(given)
        turned = turned if turned in range(1, 9) else 1
        opened = _Opened(stored, _header(stored, "pillow", turned, ""), Beside(), turned)
        return attributed(lambda: _picture(opened, None))


def of_channels(channels: np.ndarray) -> Picture:
    """float32 (H, W, 3) or (H, W, 4), the last alpha, in 0..1, as a picture; hidden colours are replaced in place."""
    rgb, alpha = channels[..., :3], channels[..., 3] if channels.shape[2] == 4 else None
    if alpha is not None:
        _fill_hidden(rgb, alpha)
    return Picture(rgb, alpha)


@dataclass
class _Opened:
    """A file whose pixels have not been unpacked yet."""

    stored: Stored
    header: Header
    beside: Beside
    orientation: int


def _load(path: Path, max_pixels: int) -> Picture:
    return _picture(_open(path, max_pixels), path)


def _picture(opened: _Opened, path: Path | None) -> Picture:
    stored, header, beside = opened.stored, opened.header, opened.beside
    image, white, notes = stored.unpack(), stored.white, [*stored.notes]
    if stored.pages > 1:
        notes.append(f"only the first of {stored.pages} pages or frames is used")
    elif beside.further:
        notes.append(f"only the picture itself is used: it has {beside.further} besides")
    if beside.left_out:
        notes.append(f"left out: {' and '.join(beside.left_out)}")
    icc = meta(image, "icc-profile-data")
    if image.interpretation == "cmyk":
        # 16 bits whatever the depth, so that the conversion adds no rounding of its own.
        image = image.icc_transform(
            "srgb", embedded=True, input_profile="cmyk", depth=16, intent="relative", black_point_compensation=True
        )
        notes.append("converted from CMYK to sRGB" + ("" if icc else " without a profile: colours are a guess"))
        icc = white = None
    elif image.interpretation in ("lab", "labs", "labq", "lch", "xyz", "yxy", "hsv"):
        if image.interpretation.startswith("lab"):
            # By a profile, since files mean L*a*b* as profiles do, relative to the white of print.
            lab = image.colourspace("lab")
            image = lab.icc_export(output_profile="srgb", depth=header.depth, intent="relative")
        else:
            image = image.colourspace("rgb16" if header.depth == 16 else "srgb")
        icc = white = None
    if icc and not _profile_fits(icc, header.gray):
        notes.append("its colour profile is not for this kind of picture and was left out")
        icc = None
    values = _channels(image, white, path, notes)
    if path and header.format in _SECOND_READER and _shows_nothing(values) and _pillow_sees_something(path, header):
        raise ImageError("cannot be read: two readers see different pictures in it", path=path,
                         hint="another program may save it as PNG")  # fmt: skip
    channels = _upright(values, opened.orientation)
    planes = channels.shape[2]
    rgb = _gathered(channels, [0, 0, 0] if planes < 3 else [0, 1, 2])
    alpha = _gathered(channels, [planes - 1])[..., 0] if planes in (2, 4) else None
    if alpha is not None:
        _fill_hidden(rgb, alpha)
    return Picture(
        rgb, alpha, header.depth, header.gray, header.format, icc,
        exif=upright_exif(beside.exif) if beside.exif else None,
        xmp=upright_xmp(beside.xmp) if beside.xmp else None,
        iptc=beside.iptc, texts=beside.texts, density=beside.density, warnings=notes,
    )  # fmt: skip


def _open(path: Path, max_pixels: int) -> _Opened:
    """What is in a file, its pixels not unpacked, as stored, and what stands beside them."""
    mode = path.stat().st_mode
    if not stat.S_ISREG(mode):
        # Opening a pipe would wait for ever.
        raise ImageError("is a folder" if stat.S_ISDIR(mode) else "is not a regular file", path=path)
    with path.open("rb") as file:
        kind = sniff(file.read(256), path)
        if kind == "tiff" and tiff.is_raw(file):
            kind = "raw"
        file.seek(0)
        stored = _stored(file, kind, path)
        _check_size(stored.width, stored.height, path, max_pixels)
    with path.open("rb") as file:
        # Opened again, as a duplicated descriptor shares its position.
        found = beside(file, kind, stored.beside)
    turned = orientation(found, stored.orientation, kind)
    return _Opened(stored, _header(stored, kind, turned, path.suffix), found, turned)


def _stored(file: IO[bytes], kind: str, path: Path) -> Stored:
    match kind:
        case "tiff":
            return tiff.by_any(file, path)
        case "heic":
            return by_pi_heif(file, path)
        case "raw":
            return by_libraw(file, path)
        case _ if kind in _PILLOW:
            return by_pillow(file, _PILLOW[kind], path)
        case _:
            return by_libvips(file, _LIBVIPS[kind])


def _header(stored: Stored, kind: str, turned: int, suffix: str) -> Header:
    width, height = (stored.height, stored.width) if turned >= 5 else (stored.width, stored.height)
    return Header(width, height, kind, stored.depth, stored.channels - stored.alpha == 1, stored.alpha, suffix)


def _check_size(width: int, height: int, path: Path, max_pixels: int) -> None:
    if width < 1 or height < 1:
        raise ImageError("cannot be read: it has no pixels", path=path)
    if width * height > max_pixels:
        raise TooLargeError(f"{width}x{height} is {width * height / 1e6:.1f} megapixels, the limit is"
                            f" {max_pixels / 1e6:.1f}", path=path, hint="cut or shrink it first")  # fmt: skip


def _shows_nothing(stored: np.ndarray) -> bool:
    """Is this one colour all over, or fully transparent?"""
    height, width, planes = stored.shape
    one = clear = True
    for top, bottom in bands(height, width):
        part = stored[top:bottom]
        one = one and bool((part == stored[0, 0]).all())
        clear = clear and planes in (2, 4) and not part[..., -1].any()
        if not (one or clear):
            return False
    return True


def _pillow_sees_something(path: Path, header: Header) -> bool:
    """Whether another reader finds a picture where libvips found none; False, too, where that one cannot read it."""
    try:
        with unwarned(), Image.open(path, formats=[header.format.upper()]) as picture:
            picture.load()
            if "A" in picture.getbands() and picture.getchannel("A").getextrema()[1] == 0:
                return False
            extrema: Any = picture.convert("RGBA").getextrema() if picture.mode == "P" else picture.getextrema()
    except Exception:
        return False
    least = 8 if header.depth == 8 else 8 * 257 if picture.mode.startswith("I") else 8
    spans = [high - low for low, high in (extrema if isinstance(extrema[0], tuple) else [extrema])]
    return max(spans) > least


def _channels(image: Any, white: float | None, path: Path | None, notes: list[str]) -> np.ndarray:
    """Pixels as float32 (H, W, channels) in 0..1, as stored (not yet turned)."""
    if image.bands > 4:
        raise ImageError(f"has {image.bands} channels", path=path, hint="convert it to grey, RGB or RGBA")
    if image.format not in _DTYPES:
        raise ImageError(f"holds values of the kind {image.format}", path=path, hint="convert it to 8 or 16 bits")
    real = image.format in ("float", "double")
    peak = white or (255 if image.format == "uchar" else 65535)
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


def _profile_fits(icc: bytes, gray: bool) -> bool:
    """Is this profile for grey or for RGB values? (ICC.1, header: the data colour space is in bytes 16 to 19.)"""
    return icc[16:20] == (b"GRAY" if gray else b"RGB ") and icc[36:40] == b"acsp"

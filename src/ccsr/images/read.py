"""Files to pictures; the package's docstring has the rules."""

import os
import stat
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyvips
from PIL import Image

from ccsr.errors import ImageError, TooLargeError
from ccsr.images.buffers import bands, zeros
from ccsr.images.containers import Beside
from ccsr.images.failures import named, unwarned
from ccsr.images.formats import MAX_PIXELS, sniff
from ccsr.images.libvips import attributed, meta
from ccsr.images.metadata import OLD_JPEG, beside, compression, orientation, upright_exif, upright_xmp
from ccsr.images.picture import Header, Picture

_LOADERS = {"png": "pngload", "jpeg": "jpegload", "webp": "webpload", "tiff": "tiffload", "avif": "heifload",
            "gif": "gifload"}  # fmt: skip
_PILLOW = {"bmp": "BMP", "dib": "DIB", "tga": "TGA", "pnm": "PPM"}
_SECOND_READER = frozenset(_LOADERS)
"""Formats in which what libvips sees may be held against what Pillow sees."""
_PILLOW_RAISES = (EOFError, LookupError, SyntaxError, TypeError, ValueError, struct.error)
"""What Pillow's decoders raise on damaged bytes, beside OSError."""
_DTYPES = {"uchar": np.uint8, "ushort": np.uint16, "float": np.float32, "double": np.float64}


def read_header(path: Path, max_pixels: int = MAX_PIXELS) -> Header:
    """What the picture at `path` is, from its first bytes (BMP, TGA and PNM are read whole).

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
            image = _of_pillow(given)
            exif = given.getexif()
            # Of EXIF's bytes only the orientation counts here, which Pillow finds wherever it stands.
            turned = exif.get(0x0112, 1)
        except _PILLOW_RAISES as error:
            raise ImageError(f"cannot be read: {error}") from error
        if icc := given.info.get("icc_profile"):
            image.set_type(pyvips.GValue.blob_type, "icc-profile-data", icc)
        opened = _Opened(image, _header(image, "pillow", turned, ""), Beside(), turned if turned in range(1, 9) else 1)
        return attributed(lambda: _picture(opened, None))


def of_channels(channels: np.ndarray) -> Picture:
    """float32 (H, W, 3) or (H, W, 4), the last alpha, in 0..1, as a picture; hidden colours are replaced in place."""
    rgb, alpha = channels[..., :3], channels[..., 3] if channels.shape[2] == 4 else None
    if alpha is not None:
        _fill_hidden(rgb, alpha)
    return Picture(rgb, alpha)


@dataclass
class _Opened:
    """A file whose pixels have not been read yet."""

    image: Any
    """Of libvips, as stored."""
    header: Header
    beside: Beside
    orientation: int


def _load(path: Path, max_pixels: int) -> Picture:
    return _picture(_open(path, max_pixels), path)


def _picture(opened: _Opened, path: Path | None) -> Picture:
    image, header, beside, notes = opened.image, opened.header, opened.beside, list[str]()
    if meta(image, "n-pages", 1) > 1:
        notes.append(f"only the first of {image.get('n-pages')} pages or frames is used")
    elif beside.further:
        notes.append(f"only the picture itself is used: it has {beside.further} besides")
    icc = meta(image, "icc-profile-data")
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
    stored = _channels(image, path, notes)
    if path and header.format in _SECOND_READER and _shows_nothing(stored) and _pillow_sees_something(path, header):
        raise ImageError("cannot be read: two readers see different pictures in it", path=path,
                         hint="another program may save it as PNG")  # fmt: skip
    channels = _upright(stored, opened.orientation)
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
    """A libvips image whose pixels are still in the file, as stored, and what stands beside them."""
    mode = path.stat().st_mode
    if not stat.S_ISREG(mode):
        # Opening a pipe would wait for ever.
        raise ImageError("is a folder" if stat.S_ISDIR(mode) else "is not a regular file", path=path)
    with path.open("rb") as file:
        kind = sniff(file.read(256), path)
        if kind == "tiff" and compression(file) == OLD_JPEG:
            raise ImageError("TIFF with JPEG compression of the old kind is not read, as no two programs agree on it",
                             path=path, hint="another program may save it as PNG")  # fmt: skip
        file.seek(0)
        if kind in _PILLOW:
            image = _through_pillow(file, _PILLOW[kind], path, max_pixels)
        else:
            # By descriptor (which libvips duplicates): any name works, brackets and newlines included.
            os.lseek(file.fileno(), 0, os.SEEK_SET)
            source = pyvips.Source.new_from_descriptor(file.fileno())
            loader = getattr(pyvips.Image, f"{_LOADERS[kind]}_source")
            image = loader(source, access="sequential", fail_on="error")
        _check_size(image.width, image.height, path, max_pixels)
    with path.open("rb") as file:
        # Opened again, as a duplicated descriptor shares its position.
        found = beside(file, kind, image)
    turned = orientation(found, image, kind)
    return _Opened(image, _header(image, kind, turned, path.suffix), found, turned)


def _header(image: Any, kind: str, turned: int, suffix: str) -> Header:
    width, height = (image.height, image.width) if turned >= 5 else (image.width, image.height)
    alpha = bool(image.hasalpha())
    gray = image.bands - alpha == 1
    depth = 8 if image.format == "uchar" else 16
    return Header(width, height, kind, depth, gray, alpha, suffix)


def _check_size(width: int, height: int, path: Path, max_pixels: int) -> None:
    if width * height > max_pixels:
        raise TooLargeError(f"{width}x{height} is {width * height / 1e6:.1f} megapixels, the limit is"
                            f" {max_pixels / 1e6:.1f}", path=path, hint="cut or shrink it first")  # fmt: skip


def _through_pillow(file: IO[bytes], decoder: str, path: Path, max_pixels: int) -> Any:
    try:
        with unwarned():
            # Pillow has a limit of its own; ours is checked before any pixel is read.
            picture: Image.Image = Image.open(file, formats=[decoder])
        _check_size(*picture.size, path, max_pixels)
        picture.load()
    except _PILLOW_RAISES as error:
        raise ImageError(f"cannot be read: {error}", path=path) from error
    return _of_pillow(picture)


def _of_pillow(picture: Image.Image) -> Any:
    """A loaded Pillow picture as a libvips image, with its density."""
    across, down = picture.info.get("dpi", (0, 0))
    fine = picture.mode == "I" or picture.mode.startswith("I;16")
    mode = {"1": "L", "La": "LA"}.get(picture.mode, picture.mode)
    if mode not in ("L", "LA", "RGB", "RGBA", "CMYK") and not fine:
        mode = "RGBA" if "transparency" in picture.info or picture.mode in ("PA", "RGBa", "RGBX") else "RGB"
    elif mode in ("L", "RGB") and "transparency" in picture.info:
        # One colour or grey that is to be clear, as PNG and GIF have it.
        mode = "LA" if mode == "L" else "RGBA"
    if mode != picture.mode:
        picture = picture.convert(mode)
    pixels = np.asarray(picture).astype(np.uint16 if fine else np.uint8)
    meaning = "grey16" if fine else {"L": "b-w", "LA": "b-w", "CMYK": "cmyk"}.get(mode, "srgb")
    density = {"xres": across / 25.4, "yres": down / 25.4} if across > 0 and down > 0 else {}
    return pyvips.Image.new_from_array(pixels).copy(interpretation=meaning, **density)


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


def _channels(image: Any, path: Path | None, notes: list[str]) -> np.ndarray:
    """Pixels as float32 (H, W, channels) in 0..1, as stored (not yet turned)."""
    if image.bands > 4:
        raise ImageError(f"has {image.bands} channels", path=path, hint="convert it to grey, RGB or RGBA")
    if image.format not in _DTYPES:
        raise ImageError(f"holds values of the kind {image.format}", path=path, hint="convert it to 8 or 16 bits")
    real = image.format in ("float", "double")
    peak = 1 if real else 255 if image.format == "uchar" else 65535
    if image.format == "ushort" and meta(image, "vips-loader", "").startswith("heif"):
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


def _profile_fits(icc: bytes, gray: bool) -> bool:
    """Is this profile for grey or for RGB values? (ICC.1, header: the data colour space is in bytes 16 to 19.)"""
    return icc[16:20] == (b"GRAY" if gray else b"RGB ") and icc[36:40] == b"acsp"

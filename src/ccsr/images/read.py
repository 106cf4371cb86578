"""Files to pictures; the package's docstring has the rules."""

import stat
import struct
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyvips
from PIL import Image

from ccsr.errors import ImageError, TooLargeError
from ccsr.images.buffers import bands, zeros
from ccsr.images.failures import named, unwarned
from ccsr.images.formats import MAX_PIXELS, sniff
from ccsr.images.libvips import attributed
from ccsr.images.metadata import described, upright_exif, upright_xmp
from ccsr.images.picture import DEFAULT_DENSITY, Header, Picture

_LOADERS = {"png": "pngload", "jpeg": "jpegload", "webp": "webpload", "tiff": "tiffload", "avif": "heifload",
            "gif": "gifload"}  # fmt: skip
_PILLOW = {"bmp": "BMP", "tga": "TGA", "pnm": "PPM"}
_PILLOW_RAISES = (EOFError, LookupError, SyntaxError, TypeError, ValueError, struct.error)
"""What Pillow's decoders raise on damaged bytes, beside OSError."""
_DTYPES = {"uchar": np.uint8, "ushort": np.uint16, "float": np.float32, "double": np.float64}


def read_header(path: Path, max_pixels: int = MAX_PIXELS) -> Header:
    """What the picture at `path` is, from its first bytes (BMP, TGA and PNM are read whole).

    Raises:
        ImageError: not a picture, a format that is not read, or more pixels than `max_pixels`.
    """
    with named(path, "cannot be read"):
        return attributed(lambda: _open(path, max_pixels)[1])


def load(path: Path, max_pixels: int = MAX_PIXELS) -> Picture:
    """The picture at `path`; the package's docstring has the rules.

    Raises:
        ImageError: whatever `read_header` refuses, a damaged or incomplete file, integers of more than 16 bits,
            floating point values that are not finite or far outside 0..1.
    """
    with named(path, "cannot be read"):
        return attributed(lambda: _load(path, max_pixels))


def _load(path: Path, max_pixels: int) -> Picture:
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
            exif = described(file)
    else:
        exif = _meta(image, "exif-data")
    xmp = _meta(image, "xmp-data")
    # One pixel per millimetre is what libvips says when the file says nothing.
    known = (image.xres, image.yres) != (1, 1)
    return Picture(
        rgb, alpha, header.depth, header.gray, header.format, icc,
        exif=upright_exif(exif) if exif else None,
        xmp=upright_xmp(xmp) if xmp else None,
        density=(image.xres, image.yres) if known else (DEFAULT_DENSITY, DEFAULT_DENSITY),
        warnings=notes,
    )  # fmt: skip


def _open(path: Path, max_pixels: int) -> tuple[Any, Header]:
    """A libvips image whose pixels are still in the file, as stored, and its header."""
    mode = path.stat().st_mode
    if not stat.S_ISREG(mode):
        # Opening a pipe would wait for ever.
        raise ImageError("is a folder" if stat.S_ISDIR(mode) else "is not a regular file", path=path)
    with path.open("rb", buffering=0) as file:
        kind = sniff(file.read(256), path)
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

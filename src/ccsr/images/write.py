"""Pictures to files, whole under their names or not at all."""

import os
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyvips

from ccsr import atomic
from ccsr.errors import ImageError
from ccsr.images.boxes import replace_in_avif
from ccsr.images.buffers import bands, zeros
from ccsr.images.containers import Beside, add_to_jpeg, add_to_png, replace_in_webp
from ccsr.images.failures import named
from ccsr.images.formats import FORMATS, max_side
from ccsr.images.libvips import attributed
from ccsr.images.metadata import add_to_tiff, fitted, left_out
from ccsr.images.picture import Picture

_UNKNOWN_DENSITY = {"png": 1.0, "jpeg": 72 / 25.4, "webp": 72 / 25.4, "avif": 72 / 25.4, "tiff": 1 / 25.4}
"""Pixels per millimetre that libvips is given where none is known; EXIF says that 72 dpi is the word for that."""


def save(
    picture: Picture, path: Path, *, quality: int = 95, depth: str = "auto", strip_metadata: bool = False
) -> list[str]:
    """Write a picture in the format of the name's suffix: whole under that name, or not at all.

    PNG and TIFF hold 8 or 16 bits per channel, AVIF 8 or 10, JPEG and WebP 8. Alpha is laid over white for JPEG. A grey
    picture is the mean of its channels and stays one channel in PNG, TIFF and JPEG.

    Args:
        picture: values outside 0..1 are clipped, and rounded to the nearest step.
        path: where; an existing file is replaced.
        quality: 1..100 for JPEG, WebP and AVIF; 100 is lossless in WebP and AVIF.
        depth: `auto` (the picture's), `8` or `16`.
        strip_metadata: leave out EXIF, XMP, IPTC, texts and the colour profile.

    AVIF's bytes depend on how many threads libvips has: the programs settle that, see `libvips.set_up_program`.

    Returns:
        Warnings: what of the picture the format has no place for.

    Raises:
        ImageError: a suffix that is not written, too large for the format, values that are not finite, disk or rights.
    """
    kind = FORMATS.get(path.suffix.lower())
    if kind is None:
        raise ImageError(f"cannot write {path.suffix or 'a name without suffix'}", path=path,
                         hint="choose .png, .jpg, .webp, .tif or .avif")  # fmt: skip
    height, width = picture.rgb.shape[:2]
    if max(width, height) > max_side(kind):
        raise ImageError(f"{width}x{height} is too large for {kind}, which holds {max_side(kind)} on a side",
                         path=path, hint="write .png or .tif")  # fmt: skip
    pixels = _pixels(picture, kind, depth)
    if pixels is None:
        raise ImageError("the result has values that are not finite", path=path)

    told = Beside() if strip_metadata else Beside(picture.exif, picture.xmp, picture.iptc, picture.texts)
    told.density = picture.density
    told.exif = fitted(told.exif, kind, None if strip_metadata else told.density, (width, height))

    def write() -> None:
        if path.is_dir():
            raise ImageError("cannot be written: is a folder", path=path)
        with atomic.file(path) as file:
            _encode(pixels, told, None if strip_metadata else picture.icc, kind, quality, file)

    with named(path, "cannot be written"):
        attributed(write)
    return left_out(told, kind, _coarser(picture, kind, depth))


def _coarser(picture: Picture, kind: str, depth: str) -> list[str]:
    """What of the pixels themselves a format has no place for."""
    missing = []
    if depth != "8" and picture.depth == 16 and kind in ("jpeg", "webp"):
        missing.append("more than 8 bits")
    elif depth != "8" and picture.depth == 16 and kind == "avif" and picture.format not in ("avif", "heic"):
        missing.append("more than 10 bits")
    if picture.alpha is not None and kind == "jpeg":
        missing.append("transparency (white is behind it now)")
    return missing


def to_uint8(values: np.ndarray) -> np.ndarray:
    """Floating point 0..1 (clipped) of any shape as uint8, rounded half to even."""
    return _quantised(values, 255).astype(np.uint8)


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


def _encode(pixels: np.ndarray, told: Beside, icc: bytes | None, kind: str, quality: int, file: IO[bytes]) -> None:
    """Fill a new file: `pixels` are those of `_pixels`, `told` is what goes beside them."""
    fine, gray = pixels.dtype == np.uint16, pixels.shape[2] < 3
    meaning = ("grey16" if fine else "b-w") if gray else ("rgb16" if fine else "srgb")
    across, down = told.density or (_UNKNOWN_DENSITY[kind],) * 2
    image = pyvips.Image.new_from_array(pixels).copy(interpretation=meaning, xres=across, yres=down)
    keep = pyvips.ForeignKeep.NONE
    if told.exif and kind in ("webp", "avif"):
        # Elsewhere it is put in afterwards: libvips loses tags that it does not know. Without EXIF to keep, it would
        # make some up.
        keep |= pyvips.ForeignKeep.EXIF
        image.set_type(pyvips.GValue.blob_type, "exif-data", told.exif)
    if told.xmp and kind != "png":
        keep |= pyvips.ForeignKeep.XMP
        image.set_type(pyvips.GValue.blob_type, "xmp-data", told.xmp)
    if icc:
        # Left out by libvips itself where it is a grey profile and the format makes RGB of grey.
        keep |= pyvips.ForeignKeep.ICC
        image.set_type(pyvips.GValue.blob_type, "icc-profile-data", icc)
    options: dict[str, dict[str, Any]] = {
        "png": {},
        "jpeg": {"Q": quality},
        "webp": {"Q": quality, "lossless": quality == 100, "smart_subsample": True},
        "avif": {"compression": "av1", "Q": quality, "lossless": quality == 100, "bitdepth": 10 if fine else 8,
                 "effort": 2},
        "tiff": {"compression": "deflate", "predictor": "horizontal", "resunit": "inch",
                 "bigtiff": pixels.nbytes > 2**32 - 2**24},
    }  # fmt: skip
    saver = getattr(image, f"{'heif' if kind == 'avif' else kind}save_target")
    try:
        saver(pyvips.Target.new_to_descriptor(file.fileno()), keep=keep, **options[kind])
    except pyvips.Error:
        # libvips keeps the system's reason, such as a full disk, to itself: the system is asked again.
        for _ in range(2):
            os.write(file.fileno(), bytes(2**16))
        raise
    match kind:
        case "png":
            add_to_png(file, told)
        case "jpeg":
            add_to_jpeg(file, told)
        case "tiff":
            add_to_tiff(file, told)
        case "webp" if told.exif:
            replace_in_webp(file, told.exif)
        case "avif" if told.exif:
            replace_in_avif(file, told.exif)


def _quantised(values: np.ndarray, peak: int) -> np.ndarray:
    rounded: np.ndarray = np.rint(np.clip(values, 0, 1) * np.float32(peak))
    return rounded

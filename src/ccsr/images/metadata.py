"""What describes the photo, apart from how its pixels are stored: found in any format, and fitted to any other."""

import io
import re
import struct
from contextlib import suppress
from dataclasses import replace
from typing import IO

from PIL import Image, TiffTags

from ccsr.images import containers, directories
from ccsr.images.containers import Beside
from ccsr.images.directories import LONG, RATIONAL, SHORT, UNDEFINED, Directory, Value
from ccsr.images.failures import unwarned
from ccsr.log import get_logger

_log = get_logger("images")

# Tags of a TIFF's first directory that describe the photo.
_DESCRIPTIVE = frozenset([
    0x000B, 269, 270, 271, 272, 285, 305, 306, 315, 316, 318, 319, 0x4746, 0x4749, 33432, *range(0x9C9B, 0x9CA0),
    0xC4A5, directories.EXIF, directories.GPS,
])  # fmt: skip
# Those that describe how its pixels are stored, or are read by another way: a result has its own. What is neither is
# named: it may tell of places in the picture, which enlarging makes wrong.
_STORAGE = frozenset([
    *range(254, 269), *range(273, 285), 288, 289, *range(290, 298), 317, *range(320, 329), 330, 338, 339, 340, 341, 347,
    *range(512, 522), *range(529, 533), 559, 700, 33421, 33422, 33723, 34377, 34675, 50674, 50706, 50707, 59932,
]) - _DESCRIPTIVE  # fmt: skip
_ORIENTATION, _UNIT = 274, 296
_RESOLUTION, _SIZE = (282, 283), (0xA002, 0xA003)
"""Across and down; the size stands among EXIF's own tags."""
_XMP, _IPTC, _PHOTOSHOP = 700, 33723, 34377
_TURNED_BY_DECODER = frozenset(["avif", "heic", "raw"])
_HEAD = b"Exif\0\0II*\0\x08\0\0\0"


def beside(file: IO[bytes], kind: str, told: Beside) -> Beside:
    """What a file says beside its pixels; `told` is what its decoder says."""
    match kind:
        case "jpeg":
            found = containers.of_jpeg(file)
        case "png":
            found = containers.of_png(file)
        case "gif":
            found = containers.of_gif(file)
        case "tiff":
            found = _of_tiff(file)
        case "raw":
            found = _of_raw(file, told)
        case "avif":
            found = replace(told, further=_frames(file))
        case _:
            found = told
    found.xmp = found.xmp or told.xmp
    if found.exif and kind != "tiff" and (density := _density(_understood(found.exif))):
        # A JPEG's header before the EXIF often says 72 without having been asked.
        found.density = density if kind == "jpeg" else found.density or density
    return found


def orientation(found: Beside, decoded: int, kind: str) -> int:
    """How the picture stands, 1..8: as EXIF says, else its decoder, else XMP."""
    if kind in _TURNED_BY_DECODER:
        return decoded  # whatever EXIF says
    value = _understood(found.exif).get(_ORIENTATION) if found.exif else None
    if isinstance(value, Value) and value.numbers():
        told = int(value.numbers()[0])
    elif decoded != 1:
        told = decoded
    else:
        match = re.search(rb"tiff:Orientation(?:\s*=\s*[\"']|>)\s*([1-8])", found.xmp or b"")
        told = int(match[1]) if match else 1
    return told if 1 <= told <= 8 else 1


def upright_exif(exif: bytes) -> bytes | None:
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
            if struct.unpack_from(order + "H", exif, entry)[0] == _ORIENTATION:
                struct.pack_into(order + "HIHH", patched, entry + 2, 3, 1, 1, 0)
        struct.pack_into(order + "I", patched, first + 2 + 12 * count, 0)
    except struct.error:
        return None
    return bytes(patched)


def upright_xmp(xmp: bytes) -> bytes:
    """XMP may repeat the orientation, as an attribute or as an element."""
    return re.sub(rb"(tiff:Orientation(?:\s*=\s*[\"']|>)\s*)[2-8]", rb"\g<1>1", xmp)


def fitted(exif: bytes | None, kind: str, density: tuple[float, float] | None, size: tuple[int, int]) -> bytes | None:
    """EXIF for a result: where it tells a density and a size, these are told, all else stays byte for byte.

    A format that has no other place for the density gets it this way. None where there is nothing to tell.
    """
    rationals = [struct.pack("<II", round(value * 25.4 * 1000), 1000) for value in density or ()]
    if density and kind in ("webp", "avif") and _density(_understood(exif)) is None:
        told = io.BytesIO((exif or _HEAD + bytes(6)).removeprefix(b"Exif\0\0"))
        tags: Directory = {tag: Value(RATIONAL, value) for tag, value in zip(_RESOLUTION, rationals, strict=True)}
        with suppress(ValueError):  # broken EXIF stays as it is
            directories.add(told, tags | {_UNIT: Value(SHORT, b"\2\0")})
            exif = b"Exif\0\0" + told.getvalue()
    if not exif:
        return None
    patched = bytearray(exif)
    start = 6 if exif.startswith(b"Exif\0\0") else 0
    order = "<" if exif[start : start + 2] == b"II" else ">"

    seen = set[int]()

    def patch(at: int, is_first: bool) -> None:
        for entry in range(at + 2, at + 2 + 12 * struct.unpack_from(order + "H", exif, at)[0], 12):
            tag, field = struct.unpack_from(order + "HxxxxxxI", exif, entry)
            if tag in _SIZE:
                struct.pack_into(order + "HII", patched, entry + 2, LONG, 1, size[_SIZE.index(tag)])
            elif tag == directories.EXIF and is_first and start + field not in seen:
                seen.add(start + field)
                patch(start + field, False)
            elif tag in _RESOLUTION and rationals:
                number = struct.unpack("<II", rationals[_RESOLUTION.index(tag)])
                struct.pack_into(order + "II", patched, start + field, *number)
            elif tag == _UNIT and rationals:
                struct.pack_into(order + "HIHH", patched, entry + 2, SHORT, 1, 2, 0)

    try:
        patch(start + struct.unpack_from(order + "I", exif, start + 4)[0], True)
    except struct.error:
        return exif
    return bytes(patched)


def add_to_tiff(file: IO[bytes], told: Beside) -> None:
    """Put EXIF and IPTC into a TIFF file that libvips has written, and no density where none is known."""
    tags = {tag: value for tag, value in _understood(told.exif).items() if tag not in _STORAGE}
    if told.iptc:
        tags[_IPTC] = Value(UNDEFINED, told.iptc)
    if tags:
        directories.add(file, tags)
    if told.density is None and (at := directories.place_of(file, _UNIT)) is not None:
        # libvips writes a density in any case: it has no unit then.
        file.seek(at)
        file.write(struct.pack("<H", 1))


def left_out(told: Beside, kind: str, coarser: list[str]) -> list[str]:
    """What a format has no place for, as one warning; `coarser` is what it has no place for in the pixels."""
    missing = [*coarser]
    if told.iptc and (kind in ("webp", "avif") or (kind == "jpeg" and not containers.fits_jpeg(told.iptc))):
        missing.append("IPTC")
    if told.exif and kind == "jpeg" and not containers.fits_jpeg(told.exif):
        missing.append("EXIF")
    kept = {"png": told.texts.keys(), "jpeg": {"Comment"}}.get(kind, set())
    if texts := [keyword for keyword in told.texts if keyword not in kept]:
        missing.append("texts (" + ", ".join(texts) + ")")
    return [f"left out, as {kind} has no place for it: {' and '.join(missing)}"] if missing else []


def _understood(exif: bytes | None) -> Directory:
    """The tags of EXIF; none if it is broken."""
    try:
        return directories.read(io.BytesIO((exif or b"").removeprefix(b"Exif\0\0")))
    except ValueError:
        return {}


def _of_tiff(file: IO[bytes]) -> Beside:
    found = Beside()
    try:
        tags = directories.read(file, {*_DESCRIPTIVE, _ORIENTATION, *_RESOLUTION, _UNIT, _XMP, _IPTC, _PHOTOSHOP})
        others = sorted(directories.tags(file) - _DESCRIPTIVE - _STORAGE)
    except ValueError:
        return found
    if others:
        found.left_out.append("tags of TIFF (" + ", ".join(_name(tag) for tag in others) + ")")
    found.density = _density(tags)
    xmp, iptc, photoshop = (tags.pop(tag, None) for tag in (_XMP, _IPTC, _PHOTOSHOP))
    if isinstance(xmp, Value):
        found.xmp = xmp.data
    if isinstance(iptc, Value):
        # Often declared as numbers of four bytes, which a byte order turns around although they are none.
        turned = b"".join(iptc.data[i : i + 4][::-1] for i in range(0, len(iptc.data), 4))
        found.iptc = next((data for data in (iptc.data, turned) if data[:1] == b"\x1c"), None)
    if found.iptc is None and isinstance(photoshop, Value):
        found.iptc = containers.iptc_of_photoshop(photoshop.data)
    for tag in (*_RESOLUTION, _UNIT):
        tags.pop(tag, None)
    if tags:
        found.exif = _HEAD + directories.packed(tags, 8)
    return found


def _of_raw(file: IO[bytes], told: Beside) -> Beside:
    """Of a camera's file: what it says as TIFF, if it is built like that, else what its preview says."""
    file.seek(0)
    if file.read(4) not in (b"II*\0", b"MM\0*"):
        return told
    found = _of_tiff(file)
    # Its other tags are about the sensor.
    return replace(found, left_out=[]) if found.exif else told


def _name(tag: int) -> str:
    return TiffTags.lookup(tag).name if tag in TiffTags.TAGS_V2 else TiffTags.TAGS.get(tag, str(tag))


def _density(tags: Directory) -> tuple[float, float] | None:
    """Pixels per millimetre that TIFF or EXIF tags tell."""

    def number(tag: int, default: float) -> float:
        value = tags.get(tag)
        numbers = value.numbers() if isinstance(value, Value) else []
        return numbers[0] if numbers else default

    across, down = (number(tag, 0) for tag in _RESOLUTION)
    size = {2: 25.4, 3: 10.0}.get(int(number(_UNIT, 2)))
    return (across / size, down / size) if size and across > 0 and down > 0 else None


def _frames(file: IO[bytes]) -> str | None:
    """How many pictures an AVIF file shows one after another, if it says that it does."""
    file.seek(0)
    head = file.read(256)
    if b"avis" not in head[8 : int.from_bytes(head[:4], "big")]:
        return None
    try:
        file.seek(0)
        with unwarned():
            count = getattr(Image.open(file, formats=["AVIF"]), "n_frames", 1)
    except Exception:
        _log.debug("frames could not be counted", exc_info=True)
        return None
    return f"{count} frames" if count > 1 else None

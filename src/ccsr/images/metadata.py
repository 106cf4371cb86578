"""EXIF and XMP: what describes the photo, apart from how its pixels are stored."""

import io
import os
import re
import struct
from typing import IO

from PIL import Image

from ccsr.images.failures import unwarned
from ccsr.log import get_logger

_log = get_logger("images")

# Tags of a TIFF's first directory that describe the photo; the others describe how its pixels are stored.
_DESCRIPTIVE = (270, 271, 272, 305, 306, 315, 316, 18246, 33432)
_EXIF_IFD, _GPS_IFD = 0x8769, 0x8825


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
            if struct.unpack_from(order + "H", exif, entry)[0] == 0x0112:
                struct.pack_into(order + "HIHH", patched, entry + 2, 3, 1, 1, 0)
        struct.pack_into(order + "I", patched, first + 2 + 12 * count, 0)
    except struct.error:
        return None
    return bytes(patched)


def upright_xmp(xmp: bytes) -> bytes:
    """XMP may repeat the orientation, as an attribute or as an element."""
    return re.sub(rb"(tiff:Orientation(?:\s*=\s*[\"']|>))[2-8]", rb"\g<1>1", xmp)


def described(file: IO[bytes], offset: int = 8) -> bytes | None:
    """What describes the photo in a TIFF file or in EXIF (the same layout), as EXIF in II byte order at `offset`.

    Returns:
        None if there is nothing, or nothing that can be understood.
    """
    source, target = Image.Exif(), Image.Exif()
    target.endian = "<"
    try:
        with unwarned():
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


def add_exif(file: IO[bytes], exif: bytes) -> None:
    """Put EXIF into a TIFF file, where libvips does not write it.

    The EXIF directory goes to the end of the file, and after it a first directory with the entries of both: entries
    hold offsets from the start of the file, so that they can be copied as they are.
    """
    end = file.seek(0, os.SEEK_END)
    start = end + end % 2
    block = described(io.BytesIO(exif.removeprefix(b"Exif\0\0")), start)
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

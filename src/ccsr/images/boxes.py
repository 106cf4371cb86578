"""EXIF in AVIF files, whose boxes tell where each item stands (ISO 14496-12)."""

import struct
from collections.abc import Iterator
from typing import IO


def replace_in_avif(file: IO[bytes], exif: bytes) -> None:
    """Put EXIF as it is in the place of the one in an AVIF file that libvips has written.

    It goes to the end of the file, and the table of places then leads there: libvips leaves out tags that it does not
    know, and adds some.
    """
    end = file.seek(0, 2)
    place = _place_of_exif(file)
    if place is None:
        return
    # Before it stands how far its TIFF header is away.
    data = bytes(4) + exif.removeprefix(b"Exif\0\0")
    file.seek(end)
    file.write(struct.pack(">I", len(data) + 8) + b"mdat" + data)
    file.seek(place)
    file.write(struct.pack(">IHII", 0, 1, end + 8, len(data)))


def _boxes(file: IO[bytes], at: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Kind, first byte of the content and end of each box of an AVIF file."""
    while at + 8 <= end:
        file.seek(at)
        size, kind = struct.unpack(">I4s", file.read(8))
        if not 8 <= size <= end - at:
            return
        yield kind, at + 8, at + size
        at += size


def _place_of_exif(file: IO[bytes]) -> int | None:
    """Where a file says where its EXIF stands, if it is a file as libvips writes it.

    Four numbers stand there: base (4 bytes), number of pieces (2), offset from the base (4) and length (4).
    """
    meta = {kind: (at, end) for kind, at, end in _boxes(file, 0, file.seek(0, 2))}.get(b"meta")
    if meta is None:
        return None
    inner = {kind: (at, end) for kind, at, end in _boxes(file, meta[0] + 4, meta[1])}
    if not inner.keys() >= {b"iinf", b"iloc"}:
        return None
    at, end = inner[b"iinf"]
    wanted = None
    for kind, start, _ in _boxes(file, at + 6, end):
        file.seek(start)
        version, number, what = struct.unpack(">B3xH2x4s", file.read(12))
        if (kind, version, what) == (b"infe", 2, b"Exif"):
            wanted = number
    file.seek(inner[b"iloc"][0])
    version, sizes, count = struct.unpack(">B3xHH", file.read(8))
    if wanted is None or version > 0 or sizes != 0x4440:
        return None
    for _ in range(count):
        number, places = struct.unpack(">HxxxxxxHxxxxxxxx", file.read(18))
        if number == wanted:
            return file.tell() - 14 if places == 1 else None
    return None

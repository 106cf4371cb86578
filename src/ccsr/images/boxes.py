"""The boxes of AVIF and HEIC files, which tell what items there are and where each stands (ISO 14496-12, 23008-12)."""

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


def boxes(file: IO[bytes], at: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Kind, first byte of the content and end of each box between two places of a file, as far as they are sound."""
    while at + 8 <= end:
        file.seek(at)
        size, kind = struct.unpack(">I4s", file.read(8))
        head = 8
        if size == 1:
            size, head = int.from_bytes(file.read(8), "big"), 16
        size = size or end - at
        if not head <= size <= end - at:
            return
        yield kind, at + head, at + size
        at += size


def _place_of_exif(file: IO[bytes]) -> int | None:
    """Where a file says where its EXIF stands, if it is a file as libvips writes it.

    Four numbers stand there: base (4 bytes), number of pieces (2), offset from the base (4) and length (4).
    """
    meta = _found(file, 0, file.seek(0, 2)).get(b"meta")
    inner = _found(file, meta[0] + 4, meta[1]) if meta else {}
    if not inner.keys() >= {b"iinf", b"iloc"}:
        return None
    at, end = inner[b"iinf"]
    wanted = None
    for kind, start, _ in boxes(file, at + 6, end):
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


def are_named(file: IO[bytes]) -> bool:
    """Whether each item of a file, and each picture beside the picture, says in text what it is."""
    meta = _found(file, 0, file.seek(0, 2)).get(b"meta")
    inner = _found(file, meta[0] + 4, meta[1]) if meta else {}
    if b"iinf" not in inner:
        return False
    at, end = inner[b"iinf"]
    file.seek(at)
    wide = file.read(1) != b"\0"
    file.seek(at + 4)
    count = int.from_bytes(file.read(4 if wide else 2), "big")
    items = list(boxes(file, at + (8 if wide else 6), end))
    names = []
    for kind, start, stop in items:
        file.seek(start)
        content = file.read(min(stop - start, 2**16))
        if kind != b"infe" or content[:1] not in (b"\2", b"\3"):
            return False
        names.append(content[8 if content[0] == 2 else 10 :])
    names += _kinds_of_others(file, inner.get(b"iprp", (0, 0)))
    return len(items) == count and all(_is_text(name) for name in names)


def _kinds_of_others(file: IO[bytes], properties: tuple[int, int]) -> Iterator[bytes]:
    for _, at, end in boxes(file, *properties):
        for kind, start, stop in boxes(file, at, end):
            if kind == b"auxC":
                file.seek(start + 4)
                yield file.read(min(stop - start - 4, 2**16)).split(b"\0")[0]


def _found(file: IO[bytes], at: int, end: int) -> dict[bytes, tuple[int, int]]:
    return {kind: (start, stop) for kind, start, stop in boxes(file, at, end)}


def _is_text(name: bytes) -> bool:
    try:
        name.decode()
    except UnicodeDecodeError:
        return False
    return True

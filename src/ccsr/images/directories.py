"""Directories of tags as TIFF files and EXIF hold them, copied value by value, byte for byte.

Pillow would do for numbers, but what it writes of a text beyond ASCII is question marks, and it knows no BigTIFF here.
"""

import struct
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import IO, Any, Union

import numpy as np

EXIF, GPS, INTEROPERABILITY = 0x8769, 0x8825, 0xA005
"""Tags whose value is a directory of its own."""
SHORT, LONG, RATIONAL, UNDEFINED = 3, 4, 5, 7
"""Kinds of values, as TIFF numbers them."""

_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_PARTS = _BYTES | {5: 4, 10: 4}
"""Bytes of what a byte order turns around: a rational is two numbers."""
_LARGEST = 2**24
"""Bytes of all values of a directory; what is larger describes no photo."""


@dataclass(frozen=True)
class Value:
    """What stands under a tag."""

    kind: int
    """Of TIFF's kinds."""
    data: bytes
    """Little endian."""

    def numbers(self) -> list[float]:
        """The numbers, if it holds some that can be counted with."""
        match self.kind:
            case 1 | 3 | 4 | 16:
                width = _BYTES[self.kind]
                return [int.from_bytes(self.data[i : i + width], "little") for i in range(0, len(self.data), width)]
            case 5:
                parts = struct.unpack(f"<{len(self.data) // 4}I", self.data)
                return [a / b if b else 0.0 for a, b in zip(parts[::2], parts[1::2], strict=True)]
            case _:
                return []


Directory = dict[int, Union[Value, "Directory"]]


def read(file: IO[bytes], wanted: Collection[int] | None = None) -> Directory:
    """The first directory of a TIFF or BigTIFF file, or of EXIF, with the EXIF and GPS directories below it.

    Args:
        file: starts with `II` or `MM`.
        wanted: tags of the first directory; all if None.

    Raises:
        ValueError: it is none, or the first directory is broken; values that are broken are left out.
    """
    file.seek(0)
    order, big, first = _start(file.read(16))
    return _read(file, order, big, first, wanted, {EXIF: {INTEROPERABILITY: {}}, GPS: {}})


def tags(file: IO[bytes]) -> set[int]:
    """The tags of the first directory of a TIFF or BigTIFF file; raises what `read` raises."""
    file.seek(0)
    order, big, first = _start(file.read(16))
    return {struct.unpack_from(order + "H", entry)[0] for entry in _entries(file, order, big, first)}


def _start(head: bytes) -> tuple[str, bool, int]:
    """Byte order, whether it is BigTIFF, and where the first directory stands."""
    order = {b"II": "<", b"MM": ">"}.get(head[:2])
    if order is None or len(head) < 8:
        raise ValueError("no TIFF")
    version = struct.unpack_from(order + "H", head, 2)[0]
    big = version == 43
    if big and len(head) < 16:
        raise ValueError("no TIFF")
    return order, big, struct.unpack_from(order + ("Q" if big else "I"), head, 8 if big else 4)[0]


def _entries(file: IO[bytes], order: str, big: bool, at: int) -> list[bytes]:
    """The entries of the directory at a place, as they stand there: 12 bytes each, 20 in BigTIFF."""
    try:
        file.seek(at)
        count = struct.unpack(order + ("Q" if big else "H"), file.read(8 if big else 2))[0]
        size = 20 if big else 12
        raw = file.read(size * min(count, 2**16))
    except (struct.error, OSError, OverflowError) as error:
        raise ValueError("no directory there") from error
    return [raw[i : i + size] for i in range(0, len(raw) - size + 1, size)]


def _read(
    file: IO[bytes], order: str, big: bool, at: int, wanted: Collection[int] | None, below: Mapping[int, Any]
) -> Directory:
    found: Directory = {}
    held = 0
    for entry in _entries(file, order, big, at):
        tag, kind, count = struct.unpack_from(order + ("HHQ" if big else "HHI"), entry)
        size, field = count * _BYTES.get(kind, 0), entry[12 if big else 8 :]
        if tag in found or not 0 < size <= _LARGEST - held or not (wanted is None or tag in wanted):
            continue
        held += size  # a hostile file may point to the same bytes many times
        if size > len(field):
            try:
                file.seek(struct.unpack(order + ("Q" if big else "I"), field)[0])
            except (OSError, OverflowError):
                continue
            field = file.read(size)
            if len(field) < size:
                continue
        data = field[:size]
        if order == ">":
            data = _turned(kind, data)
        if tag in below:
            try:
                found[tag] = _read(file, order, big, int.from_bytes(data, "little"), None, below[tag])
            except ValueError:
                continue
        elif kind <= 13:
            # What only BigTIFF has is none of what describes a photo.
            found[tag] = Value(kind, data)
    return found


def packed(
    directory: Directory, at: int, big: bool = False, standing: Mapping[int, bytes] | None = None, order: str = "<"
) -> bytes:
    """A directory with its values and those below it, to be put at the (even) place `at` of a file.

    Args:
        directory: what to write.
        at: where it goes.
        big: as BigTIFF has it.
        standing: entries that are copied as they are, since what they point to is in the file already; they win.
        order: of bytes, `<` or `>`.
    """
    standing = standing or {}
    entries, tail = b"", b""
    tags = sorted({*directory, *standing})
    room = 8 if big else 4
    after = at + (16 + 20 * len(tags) if big else 6 + 12 * len(tags))
    place = order + ("Q" if big else "I")
    for tag in tags:
        if tag in standing:
            entries += standing[tag]
            continue
        value = directory[tag]
        if isinstance(value, dict):
            kind, count, field = LONG, 1, struct.pack(order + "I", after + len(tail)).ljust(room, b"\0")
            tail += packed(value, after + len(tail), big, order=order)
        else:
            data = value.data if order == "<" else _turned(value.kind, value.data)
            kind, count, field = value.kind, len(data) // _BYTES[value.kind], data.ljust(room, b"\0")
            if len(data) > room:
                field = struct.pack(place, after + len(tail))
                tail += data + bytes(len(data) % 2)
        entries += struct.pack(order + ("HHQ" if big else "HHI"), tag, kind, count) + field
    return struct.pack(order + ("Q" if big else "H"), len(tags)) + entries + bytes(room) + tail


def _turned(kind: int, data: bytes) -> bytes:
    """The same values in the other order of bytes."""
    return np.frombuffer(data, f"u{_PARTS[kind]}").byteswap().tobytes()


def add(file: IO[bytes], directory: Directory) -> None:
    """Put tags into a TIFF or BigTIFF file, or EXIF, beside those of its first directory, which win.

    They go to the end of the file with a copy of that directory, which then counts as the first.
    """
    file.seek(0)
    head = file.read(16)
    order, big, first = _start(head)
    standing = {struct.unpack_from(order + "H", entry)[0]: entry for entry in _entries(file, order, big, first)}
    end = file.seek(0, 2)
    start = end + end % 2
    if start + 2**24 > 2**32:
        # Directories below are pointed to by 32 bits.
        directory = {tag: value for tag, value in directory.items() if not isinstance(value, dict)}
    file.write(bytes(start - end) + packed(directory, start, big, standing, order))
    file.seek(8 if big else 4)
    file.write(struct.pack(order + ("Q" if big else "I"), start))


def place_of(file: IO[bytes], tag: int) -> int | None:
    """Where in a TIFF file the value of a tag of its first directory stands, if it is a short one."""
    file.seek(0)
    order, big, first = _start(file.read(16))
    for number, entry in enumerate(_entries(file, order, big, first)):
        if struct.unpack_from(order + "H", entry)[0] == tag:
            return first + (8 + 20 * number + 12 if big else 2 + 12 * number + 8)
    return None

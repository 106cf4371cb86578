"""What stands beside the pixels of JPEG, PNG and GIF files, found by walking over segments, chunks and blocks, and put
into JPEG, PNG and WebP."""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import IO

_LARGEST_TEXT = 2**24
"""Bytes; a PNG text that unpacks to more is left out."""
_PHOTOSHOP, _XMP = b"Photoshop 3.0\0", b"http://ns.adobe.com/xap/1.0/\0"
_XMP_KEYWORD = "XML:com.adobe.xmp"
_XMP_REST = b"http://ns.adobe.com/xmp/extension/\0"
_C2PA = "content credentials (C2PA), which are for the original alone"
_RAW_PROFILE = "Raw profile type "
_BLOCK = 2**22


@dataclass
class Beside:
    """What a file says beside its pixels, in the container's own words."""

    exif: bytes | None = None
    xmp: bytes | None = None
    iptc: bytes | None = None
    """Records of IPTC-IIM."""
    texts: dict[str, str] = field(default_factory=dict)
    """By keyword, as PNG has them; a JPEG's is `Comment`."""
    density: tuple[float, float] | None = None
    """Pixels per millimetre, if told."""
    further: str | None = None
    """What there is beside the first picture."""
    left_out: list[str] = field(default_factory=list)
    """What there is that no result is given, named."""


def of_jpeg(file: IO[bytes]) -> Beside:
    """Of a JPEG file, its comments as one; what is broken is left out."""
    found, comments = Beside(), list[str]()
    for marker, data in _segments(file):
        if marker == 0xE0 and data.startswith(b"JFIF\0") and len(data) >= 12:
            unit, across, down = struct.unpack_from(">BHH", data, 7)
            if unit in (1, 2) and across and down:
                found.density = (across / (25.4, 10)[unit - 1], down / (25.4, 10)[unit - 1])
        elif marker == 0xE1 and data.startswith(b"Exif\0\0") and found.exif is None:
            found.exif = data
        elif marker == 0xE1 and data.startswith(_XMP) and found.xmp is None:
            found.xmp = data[len(_XMP) :]
            if b"hdrgm:" in found.xmp or b"hdr-gain-map" in found.xmp:
                found.further = "a gain map"
        elif marker == 0xE1 and data.startswith(_XMP_REST):
            found.left_out = sorted({*found.left_out, "the part of XMP that stands apart (extended)"})
        elif marker == 0xEB and data.startswith(b"JP") and b"c2pa" in data:
            found.left_out = sorted({*found.left_out, _C2PA})
        elif marker == 0xE2 and data.startswith(b"MPF\0"):
            found.further = found.further or "further pictures (MPO)"
        elif marker == 0xED and data.startswith(_PHOTOSHOP):
            found.iptc = found.iptc or iptc_of_photoshop(data[len(_PHOTOSHOP) :])
        elif marker == 0xFE:
            comments.append(_text(data.rstrip(b"\0")))
    if comments:
        found.texts["Comment"] = "\n".join(comments)
    return found


def of_gif(file: IO[bytes]) -> Beside:
    """Of a GIF file: its comments, as one, and XMP; what is broken is left out."""
    found, comments = Beside(), list[str]()
    for label, data in _extensions(file):
        if label == 0xFE:
            comments.append(_text(_joined(data).rstrip(b"\0")))
        elif label == 0xFF and data[1:12] == b"XMP DataXMP":
            # Not divided into blocks: 257 bytes at the end lead readers of blocks to theirs.
            found.xmp = data[12:-257] or None
    if comments:
        found.texts["Comment"] = "\n".join(comments)
    return found


def of_png(file: IO[bytes]) -> Beside:
    """Of a PNG file; what is broken is left out. ImageMagick's profiles in texts count as what they hold."""
    found = Beside()
    profiles: dict[str, bytes] = {}
    seen = dict[bytes, bytes]()
    for kind, data in _chunks(file):
        seen.setdefault(kind, data)
        if kind == b"pHYs" and len(data) == 9:
            across, down, unit = struct.unpack(">IIB", data)
            if unit == 1 and across and down:
                found.density = (across / 1000, down / 1000)
        elif kind == b"acTL" and len(data) == 8 and (count := int.from_bytes(data[:4], "big")) > 1:
            found.further = f"{count} frames"
        elif kind == b"eXIf":
            found.exif = data
        elif kind in (b"tEXt", b"zTXt", b"iTXt"):
            keyword, text = _png_text(kind, data)
            if text is None:
                continue
            if keyword == _XMP_KEYWORD:
                found.xmp = text.encode()
            elif keyword.startswith(_RAW_PROFILE):
                profiles[keyword[len(_RAW_PROFILE) :].lower()] = _raw_profile(text)
            else:
                found.texts[keyword] = text
    found.exif = found.exif or profiles.get("exif")
    for data in (profiles.get("app1", b""),):
        if data.startswith(b"Exif\0\0"):
            found.exif = found.exif or data
        elif data.startswith(_XMP):
            found.xmp = found.xmp or data[len(_XMP) :]
    found.xmp = found.xmp or profiles.get("xmp") or None
    for name in ("iptc", "8bim"):
        data = profiles.get(name, b"")
        found.iptc = found.iptc or (data if data.startswith(b"\x1c") else iptc_of_photoshop(data))
    found.left_out = [*_unkept_chunks(seen)]
    return found


def add_to_jpeg(file: IO[bytes], beside: Beside) -> None:
    """Put density, EXIF, IPTC and comment into a JPEG file that libvips has written; XMP is there already."""
    unit, across, down = _jfif_density(beside.density)
    added = _segment(0xE0, b"JFIF\0\1\1" + struct.pack(">BHHBB", unit, across, down, 0, 0))
    if beside.exif and fits_jpeg(beside.exif):
        added += _segment(0xE1, b"Exif\0\0" + beside.exif.removeprefix(b"Exif\0\0"))
    if beside.iptc and fits_jpeg(beside.iptc):
        padded = beside.iptc + bytes(len(beside.iptc) % 2)
        added += _segment(0xED, _PHOTOSHOP + b"8BIM\x04\x04\0\0" + struct.pack(">I", len(beside.iptc)) + padded)
    if "Comment" in beside.texts and fits_jpeg(beside.texts["Comment"].encode()):
        added += _segment(0xFE, beside.texts["Comment"].encode())
    _insert(file, 2, added)


def fits_jpeg(data: bytes) -> bool:
    """Whether this is short enough for one segment."""
    return len(data) < 65400


def add_to_png(file: IO[bytes], beside: Beside) -> None:
    """Put EXIF, XMP, IPTC and texts into a PNG file that libvips has written.

    libvips writes a density in any case: one that is not known is turned into the word for that.
    """
    if beside.density is None:
        file.seek(33)
        if file.read(8) == b"\0\0\0\x09pHYs":
            file.seek(33)
            file.write(_chunk(b"pHYs", struct.pack(">IIB", 1, 1, 0)))
    added = b""
    if beside.exif:
        added += _chunk(b"eXIf", beside.exif.removeprefix(b"Exif\0\0"))
    if beside.xmp:
        # Not compressed, as the XMP specification wants it.
        added += _chunk(b"iTXt", _XMP_KEYWORD.encode() + bytes(5) + beside.xmp)
    if beside.iptc:
        lines = beside.iptc.hex()
        wrapped = "\n".join(lines[i : i + 72] for i in range(0, len(lines), 72))
        text = f"\niptc\n{len(beside.iptc):8}\n{wrapped}\n"
        added += _chunk(b"zTXt", f"{_RAW_PROFILE}iptc".encode() + bytes(2) + zlib.compress(text.encode()))
    for keyword, text in beside.texts.items():
        try:
            added += _chunk(b"tEXt", keyword.encode("latin-1") + b"\0" + text.encode("latin-1"))
        except UnicodeEncodeError:
            added += _chunk(b"iTXt", keyword.encode("latin-1", "replace") + bytes(5) + text.encode())
    if added:
        _insert(file, 33, added)  # after the header


def replace_in_webp(file: IO[bytes], exif: bytes) -> None:
    """Put EXIF as it is in the place of the one in a WebP file that libvips has written, which stands at its end."""
    at = 12
    file.seek(at)
    while len(head := file.read(8)) == 8:
        size = int.from_bytes(head[4:], "little")
        if head[:4] == b"EXIF":
            file.seek(at + 8 + size + size % 2)
            rest = file.read()
            data = exif.removeprefix(b"Exif\0\0")
            file.seek(at)
            file.write(b"EXIF" + struct.pack("<I", len(data)) + data + bytes(len(data) % 2) + rest)
            file.truncate()
            whole = file.tell()
            file.seek(4)
            file.write(struct.pack("<I", whole - 8))
            return
        at += 8 + size + size % 2
        file.seek(at)


def iptc_of_photoshop(data: bytes) -> bytes | None:
    """The IPTC records among Photoshop's resources."""
    at = 0
    while data[at : at + 4] == b"8BIM" and len(data) >= at + 12:
        name = data[at + 6] + 1
        head = at + 6 + name + name % 2
        size = int.from_bytes(data[head : head + 4], "big")
        if data[at + 4 : at + 6] == b"\x04\x04":
            return data[head + 4 : head + 4 + size] or None
        at = head + 4 + size + size % 2
    return None


def _segments(file: IO[bytes]) -> Iterator[tuple[int, bytes]]:
    """Marker and content of each segment before the pixels."""
    file.seek(2)
    while len(head := file.read(2)) == 2 and head[0] == 0xFF:
        marker = head[1]
        if marker == 0xFF:  # filling
            file.seek(-1, 1)
            continue
        if marker in (0xD9, 0xDA):
            return
        length = int.from_bytes(file.read(2), "big")
        data = file.read(max(length - 2, 0))
        yield marker, data


def _chunks(file: IO[bytes]) -> Iterator[tuple[bytes, bytes]]:
    """Kind and content of each chunk, of pixels without content."""
    at = 8
    while True:
        file.seek(at)
        head = file.read(8)
        if len(head) < 8:
            return
        size, kind = int.from_bytes(head[:4], "big"), head[4:]
        if kind == b"IEND" or size > 2**31:
            return
        if kind not in (b"IDAT", b"fdAT") and size <= _LARGEST_TEXT:
            yield kind, file.read(size)
        at += 12 + size


def _unkept_chunks(seen: dict[bytes, bytes]) -> Iterator[str]:
    """What is said of a PNG's colours that no result can say, and what is for the original alone."""
    if b"cICP" in seen:
        yield "what its colours mean (cICP)"
    elif not seen.keys() & {b"iCCP", b"sRGB"} and len(gamma := seen.get(b"gAMA", b"")) == 4:
        value = int.from_bytes(gamma, "big") / 100000
        if value and abs(value * 2.2 - 1) > 0.05:
            yield f"its gamma of {1 / value:.3g}"
    if b"caBX" in seen:
        yield _C2PA


def _extensions(file: IO[bytes]) -> Iterator[tuple[int, bytes]]:
    """Label and content of each extension of a GIF file; the lengths of its blocks stand in between."""
    file.seek(10)
    flags = file.read(3)[:1]
    if flags and flags[0] & 0x80:
        file.seek(3 << (flags[0] & 7) + 1, 1)
    while (kind := file.read(1)) in (b"\x21", b"\x2c"):
        label = 0
        if kind == b"\x21":
            label = (file.read(1) or b"\0")[0]
        else:
            flags = file.read(9)[-1:]
            if flags and flags[0] & 0x80:
                file.seek(3 << (flags[0] & 7) + 1, 1)
            file.seek(1, 1)
        data = bytearray()
        while (length := file.read(1)) not in (b"", b"\0"):
            block = file.read(length[0])
            if label:
                data += length + block
        if label and len(data) < _LARGEST_TEXT:
            yield label, bytes(data)


def _joined(data: bytes) -> bytes:
    """Blocks of a GIF file without their lengths."""
    out, at = bytearray(), 0
    while at < len(data):
        out += data[at + 1 : at + 1 + data[at]]
        at += 1 + data[at]
    return bytes(out)


def _png_text(kind: bytes, data: bytes) -> tuple[str, str | None]:
    name, _, rest = data.partition(b"\0")
    keyword = name.decode("latin-1")
    packed, encoding = kind == b"zTXt", "latin-1"
    if kind == b"zTXt":
        rest = rest[1:]
    elif kind == b"iTXt":
        packed, encoding = rest[:1] == b"\1", "utf-8"
        rest = rest[2:].partition(b"\0")[2].partition(b"\0")[2]
    if packed:
        try:
            rest = zlib.decompressobj().decompress(rest, _LARGEST_TEXT)
        except zlib.error:
            return keyword, None
    # A surrogate would stop the writing of it.
    return keyword, rest.decode(encoding, "replace")


def _raw_profile(text: str) -> bytes:
    """ImageMagick's: name, length, and the bytes as hexadecimal digits, on lines."""
    try:
        return bytes.fromhex("".join(text.split()[2:]))
    except ValueError:
        return b""


def _text(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data.decode("latin-1")


def _jfif_density(density: tuple[float, float] | None) -> tuple[int, int, int]:
    """Unit (0 none, 1 inch, 2 cm) and whole numbers across and down: those of the unit that rounds less."""
    if density is None or not all(value * 10 >= 0.1 and value * 25.4 < 65535 for value in density):
        return 0, 1, 1
    candidates = [(unit, [value * size for value in density]) for unit, size in ((1, 25.4), (2, 10))]
    unit, (across, down) = min(candidates, key=lambda c: sum(abs(v - round(v)) / v for v in c[1]))
    return unit, max(1, round(across)), max(1, round(down))


def _segment(marker: int, data: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(data) + 2) + data


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _insert(file: IO[bytes], at: int, added: bytes) -> None:
    """Make room in the file, from its end on, block by block."""
    end = file.seek(0, 2)
    while end > at:
        start = max(at, end - _BLOCK)
        file.seek(start)
        block = file.read(end - start)
        file.seek(start + len(added))
        file.write(block)
        end = start
    file.seek(at)
    file.write(added)

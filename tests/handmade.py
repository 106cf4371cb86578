"""Pictures byte by byte: what no library writes, and small arrays to write."""

import struct
import zlib

import numpy as np
from PIL import Image, ImageCms

from ccsr.images import directories
from ccsr.images.directories import Value

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def smooth(width: int = 40, height: int = 24) -> np.ndarray:
    """uint8 (H, W, 3) without any symmetry, and smooth, so that lossy formats stay close."""
    y, x = np.mgrid[0:height, 0:width] / max(width, height)
    rgb = np.stack([0.1 + 0.8 * x, 0.9 - 0.5 * y - 0.3 * x, 0.3 + 0.4 * x * y + 0.2 * y], axis=2)
    return np.rint(rgb * 255).astype(np.uint8)


def noise(width: int = 31, height: int = 17, channels: int = 3, dtype: type = np.uint8) -> np.ndarray:
    rng = np.random.default_rng(7)
    return rng.integers(0, np.iinfo(dtype).max, (height, width, channels), dtype, endpoint=True)


def exif_block(orientation: int = 6) -> bytes:
    exif = Image.Exif()
    exif[0x0112], exif[0x010F], exif[0x8298] = orientation, "Maker", "(c) me"
    exif[0x8769] = {0x9003: "2020:01:02 03:04:05", 0x829A: 0.01, 0x9286: b"ASCII\0\0\0a comment"}
    exif[0x8825] = {1: "N", 2: (48.0, 8.0, 30.5)}
    return exif.tobytes()


def png(width: int, height: int, bits: int, color: int, rows: bytes = b"") -> bytes:
    """A PNG file by hand: Pillow writes no 16-bit RGB. `rows` are filter bytes and big-endian samples."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, bits, color, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def png16(pixels: np.ndarray, color: int) -> bytes:
    height, width = pixels.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    return png(width, height, 16, color, rows)


def tiff(
    pixels: np.ndarray, kind: int = 1, extra: int | None = None, order: str = "<", colours: int | None = None
) -> bytes:
    """An uncompressed TIFF file by hand; `kind` is its SampleFormat: 1 unsigned, 2 signed, 3 floating point.

    `colours` is its PhotometricInterpretation, else RGB or grey.
    """
    height, width, channels = pixels.shape
    data = pixels.astype(pixels.dtype.newbyteorder(order)).tobytes()
    data += b"\0" * (len(data) % 2)
    bits = pixels.dtype.itemsize * 8
    colours = colours or (2 if channels > 2 else 1)
    tags = {256: [width], 257: [height], 258: [bits] * channels, 259: [1], 262: [colours], 273: None, 277: [channels],
            278: [height], 279: None, 339: [kind] * channels}  # fmt: skip
    if extra is not None:
        tags[338] = [extra]
    late = 8 + len(data) + 2 + 12 * len(tags) + 4
    entries, tail = b"", b""
    for tag, values in sorted(tags.items()):
        if values is None:
            entries += struct.pack(order + "HHII", tag, 4, 1, 8 if tag == 273 else len(data))
        elif len(values) <= 2:
            entries += struct.pack(order + "HHI", tag, 3, len(values))
            entries += struct.pack(order + f"{len(values)}H", *values).ljust(4, b"\0")
        else:
            entries += struct.pack(order + "HHII", tag, 3, len(values), late + len(tail))
            tail += struct.pack(order + f"{len(values)}H", *values)
    start = {"<": b"II*\0", ">": b"MM\0*"}[order] + struct.pack(order + "I", 8 + len(data))
    return start + data + struct.pack(order + "H", len(tags)) + entries + b"\0\0\0\0" + tail


def short(*numbers: int) -> Value:
    """A value of TIFF."""
    return Value(3, struct.pack(f"<{len(numbers)}H", *numbers))


def long(*numbers: int) -> Value:
    return Value(4, struct.pack(f"<{len(numbers)}I", *numbers))


def text(text: str) -> Value:
    return Value(2, text.encode() + b"\0")


def dng(rgb: np.ndarray, orientation: int = 1, xmp: bytes = b" ", preview: bytes = b"") -> bytes:
    """A DNG file of a camera that sees linear sRGB through a mosaic of red, green and blue; rgb is 0..1 and sRGB."""
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    seen = np.rint(linear * 65535).astype("<u2")
    mosaic = seen[..., 1].copy()
    mosaic[0::2, 0::2], mosaic[1::2, 1::2] = seen[0::2, 0::2, 0], seen[1::2, 1::2, 2]
    height, width = mosaic.shape
    to_camera = np.linalg.inv([[0.41246, 0.35758, 0.18044], [0.21267, 0.71515, 0.07218], [0.01933, 0.11919, 0.95030]])
    matrix = b"".join(struct.pack("<ii", round(v * 10000), 10000) for v in to_camera.ravel())
    tags: directories.Directory = {
        254: long(0), 256: long(width), 257: long(height), 258: short(16), 259: short(1), 262: short(32803),
        270: text("the sea"), 271: text("Maker"), 272: text("Model 1"), 273: long(8), 274: short(orientation),
        277: short(1), 278: long(height), 279: long(2 * width * height), 700: Value(1, xmp), 33421: short(2, 2),
        33422: Value(1, bytes([0, 1, 1, 2])), 50706: Value(1, bytes([1, 4, 0, 0])), 50708: text("Maker Model 1"),
        50714: short(0), 50717: long(65535), 50721: Value(10, matrix),
        50728: Value(5, struct.pack("<IIIIII", 1, 1, 1, 1, 1, 1)), 50778: short(21),
        directories.EXIF: {0x9003: text("2020:01:02 03:04:05")},
    }  # fmt: skip
    at = 8 + mosaic.nbytes
    if preview:
        # As cameras write it: a small JPEG first, and what the sensor saw below that.
        sensor = {tag: tags.pop(tag) for tag in [*tags] if 254 <= tag < 263 or (273 <= tag < 280 and tag != 274)
                  or tag in (33421, 33422, 50714, 50717)}  # fmt: skip
        tags |= {254: long(1), 256: long(16), 257: long(16), 258: short(8, 8, 8), 259: short(7), 262: short(6),
                 273: long(at), 277: short(3), 278: long(16), 279: long(len(preview)), 330: sensor}  # fmt: skip
    tail = preview + bytes(len(preview) % 2)
    at += len(tail)
    return b"II*\0" + struct.pack("<I", at) + mosaic.tobytes() + tail + directories.packed(tags, at)

"""Which formats there are, by content and by name."""

from pathlib import Path

from ccsr.errors import NotAPictureError
from ccsr.images.picture import Header

MAX_PIXELS = 2**28
"""Default limit of a picture's width times height: 268 megapixels."""

FORMATS = {
    ".png": "png", ".jpg": "jpeg", ".jpeg": "jpeg", ".jpe": "jpeg", ".jfif": "jpeg", ".webp": "webp",
    ".tif": "tiff", ".tiff": "tiff", ".avif": "avif",
}  # fmt: skip
"""File name suffixes (lower case) that can be written, and their formats."""

SUFFIXES = frozenset(FORMATS) | {
    ".heic", ".heif", ".hif", ".gif", ".bmp", ".dib", ".tga", ".pbm", ".pgm", ".ppm", ".pnm",
}  # fmt: skip
"""File name suffixes of pictures that can be read: what to look for in a folder."""

RAW_SUFFIXES = frozenset([
    ".3fr", ".arw", ".cr2", ".cr3", ".crw", ".dcr", ".dng", ".erf", ".fff", ".iiq", ".kdc", ".mef", ".mos", ".mrw",
    ".nef", ".nrw", ".orf", ".pef", ".raf", ".raw", ".rw2", ".rwl", ".sr2", ".srf", ".srw", ".x3f",
])  # fmt: skip
"""File name suffixes of cameras' RAW files, which are read where the extra `raw` is installed. Most are TIFF inside,
where a reader would find the preview and take it for the picture."""

READABLE = "PNG, JPEG, HEIC, WebP, TIFF, AVIF, GIF, BMP, TGA, PNM and camera RAW can be read"
"""For messages."""

_MAGIC = {
    b"\x89PNG\r\n\x1a\n": "png", b"\xff\xd8\xff": "jpeg", b"GIF87a": "gif", b"GIF89a": "gif",
    b"II*\0": "tiff", b"MM\0*": "tiff", b"II+\0": "tiff", b"MM\0+": "tiff", b"BM": "bmp",
    b"P1": "pnm", b"P2": "pnm", b"P3": "pnm", b"P4": "pnm", b"P5": "pnm", b"P6": "pnm",
    b"FUJIFILMCCD-RAW": "raw", b"IIU\0": "raw", b"IIRO": "raw", b"IIRS": "raw", b"MMOR": "raw",
}  # fmt: skip
_HEIC_BRANDS = frozenset([b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"])
_MAX_SIDE = {"jpeg": 65500, "webp": 16383, "avif": 16384}


def sniff(head: bytes, path: Path) -> str:
    """The format by content. The suffix counts where content alone does not tell: camera files, TGA and DIB."""
    if not head:
        raise NotAPictureError("the file is empty", path=path)
    kind = next((name for magic, name in _MAGIC.items() if head.startswith(magic)), None)
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        kind = "webp"
    if head[4:8] == b"ftyp":
        brands = {head[i : i + 4] for i in range(8, min(len(head), int.from_bytes(head[:4], "big")), 4)}
        kind = "avif" if brands & {b"avif", b"avis"} else "heic" if brands & _HEIC_BRANDS else None
        kind = "raw" if b"crx " in brands else kind
    if kind in (None, "tiff") and (path.suffix.lower() in RAW_SUFFIXES or head[8:10] == b"CR"):
        kind = "raw"
    if kind is None and path.suffix.lower() == ".tga":
        kind = "tga"
    if kind is None and path.suffix.lower() == ".dib":
        kind = "dib"
    if kind is None:
        raise NotAPictureError("not a picture in a known format", path=path, hint=READABLE)
    return kind


def output_suffix(header: Header, format: str | None) -> str:
    """Suffix of a result's name: the input's own where its format can hold the result, else `.png`.

    Args:
        header: the input's, with the result's width and height where these are known.
        format: `png`, `jpeg`, `webp`, `tiff` or `avif` if the user asked for one; it wins.
    """
    kind = format or header.format
    if format is None and (kind not in FORMATS.values() or max(header.width, header.height) > max_side(kind)):
        kind = "png"
    if FORMATS.get(header.suffix.lower()) == kind:
        return header.suffix
    return next(suffix for suffix, name in FORMATS.items() if name == kind)


def max_side(kind: str) -> int:
    """Pixels that a format holds on a side."""
    return _MAX_SIDE.get(kind, 2**31 - 1)

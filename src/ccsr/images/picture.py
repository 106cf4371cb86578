"""What a picture is, in a file and in memory."""

from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class Header:
    """What a picture is, known without its pixels."""

    width: int
    """Pixels, after EXIF orientation."""
    height: int
    """Pixels, after EXIF orientation."""
    format: str
    """`png`, `jpeg`, `webp`, `tiff`, `avif`, `heic`, `raw`, `gif`, `bmp`, `dib` (BMP without its file header), `tga` or
    `pnm`."""
    depth: int
    """Bits per channel that a result should have: 8, or 16 for anything finer."""
    gray: bool
    alpha: bool
    suffix: str = ""
    """The file name's suffix as it is spelt."""


@dataclass
class Picture:
    """A picture in memory, upright."""

    rgb: np.ndarray
    """float32 (H, W, 3), 0..1, not linear: in the space of `icc`, else sRGB."""
    alpha: np.ndarray | None = None
    """float32 (H, W), 0 (transparent) to 1, or None."""
    depth: int = 8
    """Bits per channel of the file it came from: 8 or 16."""
    gray: bool = False
    """The three channels came from one and are written as one."""
    format: str = "png"
    icc: bytes | None = None
    """Colour profile, RGB or grey as `gray` says."""
    exif: bytes | None = None
    """EXIF, with or without the leading `Exif\\0\\0`; its orientation is upright."""
    xmp: bytes | None = None
    iptc: bytes | None = None
    """Captions and keywords as the press has them: records of IPTC-IIM."""
    texts: dict[str, str] = field(default_factory=dict)
    """By keyword, as PNG has them; the comment of a JPEG is `Comment`."""
    density: tuple[float, float] | None = None
    """Pixels per millimetre, across and down; None if that is not known."""
    warnings: list[str] = field(default_factory=list)
    """What a user should know about how the file was read."""

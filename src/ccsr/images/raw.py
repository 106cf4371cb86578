"""Files of cameras before development (RAW), by LibRaw: the extra `raw`."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np

from ccsr.errors import ImageError
from ccsr.images import containers
from ccsr.images.decoders import Stored, as_image

DEVELOPED = "developed from RAW: the camera's white balance, brightness as exposed, sRGB"
_SIDEWAYS = (5, 6)
"""LibRaw's numbers of quarter turns."""


def by_libraw(file: IO[bytes], path: Path) -> Stored:
    """A camera's file, developed plainly, at full size and 16 bits, and turned as the camera was held."""
    with _opened(file, path) as raw:
        sizes = raw.sizes
        width, height = sizes.iwidth, sizes.iheight
        if sizes.flip in _SIDEWAYS:
            width, height = height, width
        preview = _preview(raw)

    def unpack() -> Any:
        with path.open("rb") as again, _opened(again, path) as raw:
            # The curve is sRGB's.
            pixels = raw.postprocess(use_camera_wb=True, no_auto_bright=True, output_bps=16, gamma=(2.4, 12.92))
        if pixels.shape[:2] != (height, width):
            raise ImageError("cannot be read: its pixels are of another size than it says", path=path)
        return as_image(np.broadcast_to(pixels.reshape(height, width, -1), (height, width, 3)), "rgb16")

    # Files that are not built like TIFF have their EXIF in the preview.
    told = containers.of_jpeg(io.BytesIO(preview)) if preview else containers.Beside()
    beside = containers.Beside(told.exif, told.xmp, told.iptc)
    return Stored(width, height, 3, False, 16, unpack, beside=beside, notes=[DEVELOPED])


@contextmanager
def _opened(file: IO[bytes], path: Path) -> Iterator[Any]:
    try:
        import rawpy
    except ImportError as error:
        raise ImageError("camera RAW files need rawpy", path=path, hint='pip install "ccsr[raw]"') from error
    try:
        with rawpy.imread(file) as raw:
            yield raw
    except rawpy.LibRawError as error:
        reason = error.args[0] if error.args else "the library gives no reason"
        text = reason.decode("utf-8", "replace") if isinstance(reason, bytes) else reason
        raise ImageError(f"cannot be read: {text}", path=path) from error


def _preview(raw: Any) -> bytes | None:
    """The JPEG file that the camera put beside the pixels."""
    import rawpy

    try:
        thumbnail = raw.extract_thumb()
    except rawpy.LibRawError:
        return None
    return thumbnail.data if thumbnail.format == rawpy.ThumbFormat.JPEG else None

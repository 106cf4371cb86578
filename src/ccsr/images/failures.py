"""Whatever the libraries raise, as one line that names the file."""

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyvips
from PIL import Image, UnidentifiedImageError

from ccsr.errors import ImageError, NotAPictureError
from ccsr.images.formats import READABLE
from ccsr.images.libvips import reason

_filters = threading.Lock()


@contextmanager
def unwarned() -> Iterator[None]:
    """Inside, nothing is warned of. One thread at a time: Python has one list of filters for all of them."""
    with _filters, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextmanager
def named(path: Path | None, what: str) -> Iterator[None]:
    """Turn what the libraries and the system raise into one line that names the file.

    Errors that only our own code can make pass through: a bug must not look like a damaged file.
    """
    if "\0" in str(path):
        raise ImageError(f"{what}: embedded null byte", path=path)
    try:
        yield
    except ImageError:
        raise
    except pyvips.Error as error:
        hint = (
            "damaged, incomplete or unusual; another program may save it as PNG" if what == "cannot be read" else None
        )
        raise ImageError(f"{what}: {reason(error)}", path=path, hint=hint) from error
    except MemoryError as error:
        raise ImageError(f"{what}: it does not fit into memory", path=path) from error
    except Image.DecompressionBombError as error:
        limit = 2 * (Image.MAX_IMAGE_PIXELS or 0) / 1e6
        raise ImageError(f"{what}: in this format the limit is {limit:.1f} megapixels", path=path,
                         hint="convert it to PNG") from error  # fmt: skip
    except UnidentifiedImageError as error:
        raise NotAPictureError("not a picture in a known format", path=path, hint=READABLE) from error
    except OSError as error:
        raise ImageError(f"{what}: {error.strerror or error}", path=path) from error

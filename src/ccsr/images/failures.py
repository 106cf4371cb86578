"""Whatever the libraries raise, as one line that names the file."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyvips
from PIL import Image, UnidentifiedImageError

from ccsr.errors import ImageError
from ccsr.images.formats import READABLE

turn = threading.RLock()
"""libvips has one text of errors for all threads: whoever reads or writes a file takes a turn."""


@contextmanager
def named(path: Path, what: str) -> Iterator[None]:
    """Turn whatever the libraries raise into one line that names the file."""
    hint = None
    turn.acquire()
    try:
        # What an earlier file left there would be told of this one.
        pyvips.vips_lib.vips_error_clear()
        yield
    except ImageError:
        raise
    except pyvips.Error as error:
        lines = [line.strip() for line in (error.detail or "").splitlines() if line.strip()]
        reason = lines[0] if lines else "the library gives no reason"
        if what == "cannot be read":
            hint = "damaged, incomplete or unusual; another program may save it as PNG"
        raise ImageError(f"{what}: {reason}", path=path, hint=hint) from error
    except MemoryError as error:
        raise ImageError(f"{what}: it does not fit into memory", path=path) from error
    except Image.DecompressionBombError as error:
        limit = 2 * (Image.MAX_IMAGE_PIXELS or 0) / 1e6
        raise ImageError(f"{what}: in this format the limit is {limit:.1f} megapixels", path=path,
                         hint="convert it to PNG") from error  # fmt: skip
    except UnidentifiedImageError as error:
        raise ImageError("not a picture in a known format", path=path, hint=READABLE) from error
    except OSError as error:
        raise ImageError(f"{what}: {error.strerror or error}", path=path) from error
    except (ValueError, SyntaxError) as error:
        raise ImageError(f"{what}: {error}", path=path) from error
    finally:
        turn.release()

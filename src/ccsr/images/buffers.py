"""Arrays as large as a picture: small ones in memory, large ones in a file without a name, worked on band by band.

So the memory that a picture takes does not grow with its size. The files lie beside the results (see `beside`), have no
name that could be left behind, however the process ends, and their room is set aside when they are made: a full disk
is told then, as an error, and not while pixels are written, as a crash.
"""

import errno
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from math import prod
from pathlib import Path
from typing import IO, Any

import numpy as np

from ccsr.errors import ImageError

RESIDENT = 48 * 2**20
"""Bytes of the largest array that is kept in memory."""
BAND = 2**20
"""Pixels that are worked on at once, about."""
_SLIMMEST = 16
"""Rows of a band at least, however wide the picture."""

_folder: ContextVar[Path | None] = ContextVar("folder", default=None)
_listener: ContextVar[Callable[[float], None] | None] = ContextVar("listener", default=None)


@contextmanager
def beside(folder: Path) -> Iterator[None]:
    """Inside, in this thread, files lie in `folder`, which must exist; elsewhere in the system's folder for such."""
    token = _folder.set(folder)
    try:
        yield
    finally:
        _folder.reset(token)


def zeros(shape: tuple[int, ...], dtype: Any = np.float32) -> np.ndarray:
    """An array of zeros.

    Raises:
        ImageError: it needs a file, and the disk has no room or does not let us write.
        MemoryError: it needs a file, and there is no room to map it.
    """
    size = prod(shape) * np.dtype(dtype).itemsize
    if size <= RESIDENT:
        return np.zeros(shape, dtype)
    folder = _folder.get() or Path(tempfile.gettempdir())
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            return np.asarray(mapped(file, shape, dtype, folder))
    except ImageError:
        raise
    except OSError as error:
        raise _no_file(size, folder, error) from error


def mapped(
    file: IO[bytes], shape: tuple[int, ...], dtype: Any, folder: Path, *, reserve: bool = True
) -> "np.memmap[Any, Any]":
    """An array in an open file of `folder`, whose room is set aside first.

    Raises:
        ImageError: the disk has no room or does not let us write.
        MemoryError: there is no room to map it.
    """
    size = prod(shape) * np.dtype(dtype).itemsize
    try:
        if reserve:
            _reserve(file.fileno(), size)
        return np.memmap(file, dtype, "r+", shape=shape)
    except OSError as error:
        if error.errno == errno.ENOMEM:  # of addresses: the disk has nothing to do with it
            raise MemoryError(f"no room to map {size / 1e9:.2f} GB") from error
        raise _no_file(size, folder, error) from error


def _no_file(size: int, folder: Path, error: OSError) -> ImageError:
    return ImageError(f"no working file of {size / 1e9:.2f} GB in {folder}: {error.strerror or error}")


class Bands(list[tuple[int, int]]):
    """The bands of a picture; whoever goes through those of a large one is heard, see `hearing`."""

    def __iter__(self) -> Iterator[tuple[int, int]]:
        listener = _listener.get() if len(self) > 1 else None
        for number, band in enumerate(super().__iter__()):
            if listener:
                listener(number / len(self))
            yield band


def bands(height: int, width: int) -> Bands:
    """(first row, row after the last) of each band of a picture, from the top: a function of its size alone."""
    rows = max(_SLIMMEST, BAND // max(1, width))
    return Bands((top, min(top + rows, height)) for top in range(0, height, rows))


@contextmanager
def hearing(listener: Callable[[float], None] | None) -> Iterator[None]:
    """Inside, in this thread, `listener` is called before each band of a large picture with the share of this pass over
    it that is done; what it raises stops the work, which would take minutes without another sign of life."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


def _reserve(descriptor: int, size: int) -> None:
    """Set room aside: a mapped file that meets a full disk later ends the process."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, 0, size)
        return
    block = bytes(2**22)  # macOS, Windows
    for start in range(0, size, len(block)):
        os.write(descriptor, block[: size - start])

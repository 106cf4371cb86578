"""Files and folders that are whole under their names or not there at all, however the process ends.

Each is made under a hidden name beside its own, brought to the disk, and then renamed.
"""

import os
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

_PART = ".ccsr-part"
"""End of the name that a file or folder has until it is whole."""
_YOUNG = 1.0
"""Seconds."""


@contextmanager
def file(path: Path) -> Iterator[IO[bytes]]:
    """A file to write, open in binary mode: whoever looks at `path` sees the old file or the whole new one.

    Raises:
        OSError: disk or rights; what lay at `path` still does.
    """
    part = _hidden(path)
    try:
        # "x" and not tempfile: the result gets the rights that the user's umask gives to any new file.
        with part.open("x+b") as out:
            _lock(out.fileno())
            yield out
            out.flush()
            os.fsync(out.fileno())
        part.replace(path)
    finally:
        # After a success it is gone already; after anything else, Ctrl-C included, nothing is left.
        part.unlink(missing_ok=True)


@contextmanager
def folder(path: Path, *, replace: bool = False) -> Iterator[Path]:
    """An empty folder to fill, which takes its name when all is in it; folders above it are made.

    With `replace` what lies at `path` gives way; without it, only an empty folder does.

    Raises:
        OSError: disk, rights, or a folder with files at `path`, which is left as it is.
    """
    part = _hidden(path)
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, part, ignore_errors=True)
        part.mkdir(parents=True)
        if fcntl:
            descriptor = os.open(part, os.O_RDONLY)
            stack.callback(os.close, descriptor)
            _lock(descriptor)
        yield part
        for inner in [*part.rglob("*"), part]:
            _flush(inner)
        if replace and path.is_dir():
            _exchange(path, part)
        else:
            if path.is_dir():
                path.rmdir()
            part.rename(path)
        _flush(path.parent)


def sweep(folder: Path) -> int:
    """Remove what processes that were killed while writing left in `folder`; returns how many files or folders."""
    if not fcntl:
        return 0
    swept = 0
    for part in folder.glob(f".*{_PART}"):
        with suppress(OSError), ExitStack() as stack:
            descriptor = os.open(part, os.O_RDONLY)
            stack.callback(os.close, descriptor)
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
            # A writer's file is younger than this between its first byte and its lock.
            if time.time() - os.fstat(descriptor).st_mtime > _YOUNG:
                shutil.rmtree(part) if part.is_dir() else part.unlink()
                swept += 1
    return swept


def _exchange(path: Path, new: Path) -> None:
    """Put a new folder in the place of one with files; the old one goes only when the new one is there."""
    old = _hidden(path)
    path.rename(old)
    try:
        new.rename(path)
    except BaseException:
        old.rename(path)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _hidden(path: Path) -> Path:
    return path.parent / f".{secrets.token_hex(8)}{_PART}"


def _lock(descriptor: int) -> None:
    """Unlocked by the system however the process ends, so that `sweep` can tell what a killed one left."""
    if fcntl:
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _flush(path: Path) -> None:
    """A rename can reach the disk before what is renamed does."""
    if path.is_dir() and os.name == "nt":
        return  # folders cannot be opened there
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

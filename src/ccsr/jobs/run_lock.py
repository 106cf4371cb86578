"""Which runs are at work in a folder: each holds a locked file there, which the system unlocks however the run ends.

No clocks and no process numbers, so it holds after SIGKILL, and on every file system with locks, shared ones included.
Where there are none (Windows, some network folders), a run has no name and two of them may do the same work twice.
"""

import os
import secrets
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

_PREFIX, _SUFFIX = ".", ".ccsr-run"


class RunLock:
    """The file that this run holds in one folder, from `acquire` to `release`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.name: str | None = None
        """Random; None until it is held, and where files cannot be locked."""
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """Make the file and lock it, unless that was done."""
        if fcntl is None or self._descriptor is not None:
            return
        name = secrets.token_hex(8)
        path = _path(self.folder, name)
        self._descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | getattr(os, "O_CLOEXEC", 0), 0o666)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            path.unlink(missing_ok=True)
        else:
            self.name = name

    def release(self) -> None:
        """Take the file away."""
        if self._descriptor is not None:
            if self.name:
                _path(self.folder, self.name).unlink(missing_ok=True)
            os.close(self._descriptor)
            self._descriptor = self.name = None


def is_running(folder: Path, name: str) -> bool:
    """Whether the run of that name is still at work in `folder`; the file of one that died is removed."""
    if fcntl is None:
        return False
    path = _path(folder, name)
    try:
        descriptor = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    else:
        path.unlink(missing_ok=True)
        return False
    finally:
        os.close(descriptor)


def _path(folder: Path, name: str) -> Path:
    return folder / f"{_PREFIX}{name}{_SUFFIX}"

"""Everything that this package raises on purpose.

    CCSRError
    ├── ImageError        (also OSError)     a picture cannot be read, held or written
    │   ├── TooLargeError                    it has more pixels than are allowed
    │   └── NotAPictureError                 the file is none: nothing in it says so, whatever its name does
    ├── WeightsError      (also OSError)     a model cannot be found, read or trusted
    ├── OptionError       (also ValueError)  an option, or two of them together, make no sense
    ├── MemoryPlanError   (also ValueError)  the work does not fit the machine
    ├── DiskFullError     (also OSError)     there is no room left where something is to be kept
    ├── ModelOutputError  (also ValueError)  a network returned values that are no picture
    ├── TrainingError     (also RuntimeError) a training run cannot go on
    └── MissingExtraError (also ImportError) an optional dependency is not installed

`str(error)` is the one line that the command line and the HTTP API print: `PATH: what (hint)`.
"""

from pathlib import Path


class CCSRError(Exception):
    """Base of all errors: what happened, to which file, and what to do about it."""

    def __init__(self, what: str, *, path: str | Path | None = None, hint: str | None = None) -> None:
        super().__init__(what)
        self.what, self.path, self.hint = what, path, hint

    def __str__(self) -> str:
        # A newline in a file name must not break the promise of one line per failure.
        line = f"{self.path}: {self.what}" if self.path is not None else self.what
        line = f"{line} ({self.hint})" if self.hint else line
        return line.replace("\n", "\\n")


class ImageError(CCSRError, OSError):
    """A picture cannot be read, held within the limits, or written."""


class TooLargeError(ImageError):
    """A picture has more pixels than are allowed here."""


class NotAPictureError(ImageError):
    """A file holds nothing that any known format of pictures begins with."""


class WeightsError(CCSRError, OSError):
    """A model or one of its files cannot be found, read or trusted."""


class OptionError(CCSRError, ValueError):
    """An option, or two of them together, make no sense."""


class MemoryPlanError(CCSRError, ValueError):
    """The work does not fit the machine's memory."""


class DiskFullError(CCSRError, OSError):
    """There is no room left where something is to be kept."""


class ModelOutputError(CCSRError, ValueError):
    """A network returned values that are no picture: not finite, or all the same."""


class TrainingError(CCSRError, RuntimeError):
    """A training run cannot go on: its folder, its disk, or its losses."""


class MissingExtraError(CCSRError, ImportError):  # type: ignore[misc] # both have a path
    """An optional dependency is not installed; the hint is the command that installs it."""

"""What every kind of method has in common."""

import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from ccsr.images import SUFFIXES


@dataclass(frozen=True)
class MethodJob:
    """What a method is asked to do: results of all inputs, once per run."""

    inputs: Mapping[str, Path]
    """Low-quality pictures by name, all PNG of 8 bit RGB in one folder."""
    sizes: Mapping[str, tuple[int, int]]
    """Width and height that each result must have, which are those of the ground truth."""
    results: Path
    """Folder for `NAME.EXT`, or `sampleNN/NAME.EXT` where there are several runs. What lies there is done."""
    scratch: Path
    """Folder for anything else."""
    runs: int
    """How many results of each picture a method with noise makes."""
    seed: int
    threads: int | None
    on_progress: Callable[[int, int], None] = lambda done, total: None

    @property
    def log(self) -> Path:
        """Where a process's words go."""
        return self.scratch / "log.txt"

    def missing(self) -> list[str]:
        """Names without a result, for methods with one run."""
        return [name for name in self.inputs if not find_result(self.results, name)]


def find_result(folder: Path, name: str) -> Path | None:
    """The result of this name, whatever its format."""
    candidates = (folder / f"{name}{suffix}" for suffix in sorted(SUFFIXES))
    return next((path for path in candidates if path.exists()), None)


@dataclass
class Cost:
    """Seconds and bytes that a method took on this machine."""

    load: float | None = None
    """Seconds until it was ready for the first picture."""
    first: float | None = None
    """Seconds of the first picture, which often pays for caches."""
    each: list[float] = field(default_factory=list)
    """Seconds of each further picture."""
    peak_bytes: int | None = None
    how: str = ""
    """What differs from the plain way of measuring."""

    @property
    def seconds(self) -> float | None:
        """Seconds of a picture after the first: the median, or the first where there is no other."""
        return statistics.median(self.each) if self.each else self.first

    def after(self, earlier: "Cost") -> "Cost":
        """Both together: this one's run went on where an earlier one was stopped."""
        if self.seconds is None:  # nothing was left to do
            return earlier
        peaks = [peak for peak in (self.peak_bytes, earlier.peak_bytes) if peak is not None]
        return Cost(
            self.load, self.first, [*earlier.each, *self.each], max(peaks, default=None), self.how or earlier.how
        )


@dataclass
class MethodResult:
    """What is known after a method's work; its results are on disk."""

    cost: Cost = field(default_factory=Cost)
    steps: int | None = None
    parameters: int | None = None
    failures: dict[str, str] = field(default_factory=dict)
    """Pictures without a result, and why."""


@dataclass(frozen=True, kw_only=True)
class Method:
    """One row of a comparison. Subclasses add their settings as fields: the keys of the configuration."""

    PATHS: ClassVar[tuple[str, ...]] = ()
    """Fields that are paths, seen from the configuration's folder."""

    ONE_BY_ONE: ClassVar[bool] = True
    """Whether single pictures can be made again."""

    is_expected: ClassVar[bool] = True
    """Whether a comparison without its results is a failure."""

    has_steps: ClassVar[bool] = True
    """Whether it could be a diffusion model."""

    name: str
    paper: str | None = None
    """Row of the paper's tables to print beside this one."""
    steps: int | None = None
    """Diffusion steps, for the table."""
    parameters: int | None = None
    """Number of weights, for the table, where it cannot be counted."""
    samples: int | None = None
    """Runs of each picture, where they differ from the comparison's."""
    source: str | None = None
    """Where it comes from: repository, revision, whether it was run here."""

    def check(self) -> None:
        """Refuse settings that can never work, before anything starts (OptionError)."""

    def runs(self, asked: int) -> int:
        """Results of each picture; one where nothing is random."""
        return 1

    def identity(self) -> Any:
        """What results depend on beside the settings, such as the hash of weights."""
        return None

    def note(self) -> str | None:
        """What a table says about it below itself."""
        return self.source

    def make(self, job: MethodJob) -> MethodResult:
        """Make what is missing in `job.results`.

        Raises:
            CCSRError: nothing could be made; the text becomes the row.
        """
        raise NotImplementedError

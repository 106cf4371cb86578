"""What a job is, what each of its results is to be and became, and the events that are told on the way."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ccsr import images
from ccsr.errors import CCSRError, ImageError
from ccsr.jobs.journal import Entry
from ccsr.jobs.names import Source
from ccsr.plan import Plan, is_out_of_memory
from ccsr.version import __version__

if TYPE_CHECKING:
    from ccsr.weights import ModelDescription


@dataclass(frozen=True)
class Job:
    """What was asked for, beside the options: files and folders, where to, and with which weights."""

    inputs: Sequence[Path]
    model: "ModelDescription"
    output: str | None = None
    """As typed: a trailing slash means a folder."""
    overwrite: bool = False


@dataclass(frozen=True)
class Facts:
    """What is known about one result before work begins."""

    output: Path
    folder: Path | None
    """The folder that holds the journal; None when results lie beside their inputs."""
    header: images.Header
    plan: Plan
    entry: Entry
    maps: "Maps | None" = None
    """What follows the last of several samples."""


@dataclass(frozen=True)
class Maps:
    """The stability map of one picture: over which results, and where it goes."""

    results: tuple[Path, ...]
    stem: Path


@dataclass(frozen=True)
class Task:
    """One result to make: a picture, and which of its samples."""

    source: Source
    sample: int
    facts: Facts | None
    """None only where there is an error."""
    is_done: bool = False
    """An earlier run of the same command made this result."""
    error: CCSRError | None = None
    """Why it cannot be made."""

    @property
    def due(self) -> Facts | None:
        """The facts, if there is anything to compute."""
        return self.facts if not self.is_done and self.error is None else None

    @property
    def megapixels(self) -> float:
        """Size of the result, the measure of progress."""
        return self.facts.plan.output_width * self.facts.plan.output_height / 1e6 if self.facts else 0.0


@dataclass(frozen=True)
class Record:
    """What became of one task, with the facts that its bytes depend on; `as_json` is the line of `--json`."""

    input: str
    output: str | None
    status: Literal["done", "skipped", "failed"]
    error: str | None
    width: int | None
    height: int | None
    input_width: int | None
    input_height: int | None
    scale: float | None
    model: str
    model_sha256: str
    steps: int
    timesteps: tuple[int, ...]
    seed: int
    tile: int | None
    vae_tile: int | None
    smaller_tiles: bool
    """Memory ran out with the tiles of the plan, so that these are smaller ones, which changes the bytes."""
    dtype: str | None
    device: str | None
    engine: str
    """The one asked for; a warning tells when tiles left the denoiser to torch."""
    threads: int | None
    seconds: dict[str, float]
    warnings: tuple[str, ...] = ()
    stability_map: str | None = None
    """The map over all samples of the picture, beside the last of them."""
    version: str = __version__

    def as_json(self) -> dict[str, Any]:
        """All fields, in order, as plain values."""
        return dataclasses.asdict(self)


@dataclass(frozen=True)
class Started:
    """Work on a task begins; `number` counts from 1 to `total`."""

    task: Task
    number: int
    total: int


@dataclass(frozen=True)
class Advanced:
    """The task at work has come to `done` of `total`, in the stage of that name."""

    task: Task
    done: int
    total: int
    stage: str


@dataclass(frozen=True)
class Finished:
    """A task is done, skipped or failed."""

    task: Task
    record: Record
    number: int
    total: int


Event = Started | Advanced | Finished


class Stop(BaseException):
    """Raised by a listener to end a job: like Ctrl-C, the picture at work is abandoned and what was done stays."""


@dataclass
class Summary:
    """How a job ended."""

    done: int = 0
    skipped: int = 0
    failed: int = 0
    seconds: float = 0.0
    interrupted: bool = field(default=False, repr=False)

    def as_json(self) -> dict[str, Any]:
        """The last line of `--json`."""
        counts = {"done": self.done, "skipped": self.skipped, "failed": self.failed}
        return {"summary": {**counts, "seconds": round(self.seconds, 3)}}


def as_ours(error: Exception, path: Path) -> CCSRError:
    """Any failure as one line that names a file."""
    match error:
        case CCSRError(path=None):
            return type(error)(error.what, path=path, hint=error.hint)
        case CCSRError():
            return error
        case _ if is_out_of_memory(error):
            return ImageError("there is not enough memory", path=path, hint="set a smaller --tile and --vae-tile")
        case OSError(strerror=str() as reason):
            return ImageError(reason, path=error.filename or path)
        case _:
            text = " ".join(str(error).split())
            kind = type(error).__name__
            return CCSRError(f"unexpected {kind}: {text[:200]}", path=path, hint="-v shows where it comes from")

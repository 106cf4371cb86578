"""What a job is, and what each of its results is to be and became."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ccsr import images
from ccsr.errors import CCSRError, ImageError
from ccsr.jobs.journal import Fingerprint
from ccsr.jobs.names import Source
from ccsr.options import UpscaleOptions
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
class PlannedResult:
    """What is known about one result before work begins."""

    output: Path
    folder: Path | None
    """The folder that holds the journal; None when results lie beside their inputs."""
    header: images.Header
    plan: Plan
    fingerprint: Fingerprint
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
    planned: PlannedResult | None
    """None only where there is an error."""
    is_done: bool = False
    """An earlier run of the same command made this result."""
    has_failed: bool = False
    """An earlier run of the same command could not make it: it is tried again, and no estimate counts on it."""
    error: CCSRError | None = None
    """Why it cannot be made."""
    is_unread: bool = False
    """The error is no failure: the file was found in a folder, and is of a kind that is not read here."""

    @property
    def due(self) -> PlannedResult | None:
        """The planned result, if there is anything to compute."""
        return self.planned if not self.is_done and self.error is None else None

    @property
    def megapixels(self) -> float:
        """Size of the result, the measure of progress."""
        return self.planned.plan.output_width * self.planned.plan.output_height / 1e6 if self.planned else 0.0


@dataclass(frozen=True)
class Prepared:
    """What a job comes to, known before any work."""

    tasks: list[Task]
    """One for each result, in the order of the inputs."""
    passed_over: list[Path]
    """Files in the inputs' folders that are no pictures: notes, films, sidecars."""
    without_pictures: list[Path]
    """Folders among the inputs in which there is no picture."""
    own_results: list[Path]
    """Inputs that are left alone, as this very command made them of others of its inputs before."""


NumberedTask = tuple[int, Task]
"""A task and its place in the job, from 1."""


Status = Literal["done", "skipped", "failed", "unread"]
"""Made now; made before; not made; or found in a folder, and of a kind that is not read here."""


@dataclass(frozen=True)
class Record:
    """What became of one task, with the facts that its bytes depend on; `as_json` is the line of `--json`."""

    input: str
    output: str | None
    status: Status
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
    consistency: dict[str, float] | None = None
    """How true the result is to its input: see `ccsr.metrics.consistency`. None for one that was not made now."""
    warnings: tuple[str, ...] = ()
    stability_map: str | None = None
    """The map over all samples of the picture, beside the last of them."""
    input_sha256: str | None = None
    """Of the input's bytes, where they were read and stayed as they were."""
    version: str = __version__

    def as_json(self) -> dict[str, Any]:
        """All fields, in order, as plain values."""
        return dataclasses.asdict(self)


def make_record(
    job: Job,
    options: UpscaleOptions,
    task: Task,
    status: Status,
    *,
    error: CCSRError | None = None,
    seconds: dict[str, float] | None = None,
    consistency: dict[str, float] | None = None,
    warnings: Sequence[str] = (),
    plan: Plan | None = None,
    input_sha256: str | None = None,
) -> Record:
    """What became of a task, with what its bytes depend on; `plan` is the one that it was made by in the end."""
    planned, timesteps = task.planned, options.trajectory.timesteps
    header, expected = (planned.header, planned.plan) if planned else (None, None)
    plan = plan or expected
    return Record(
        input=str(task.source.path),
        output=str(planned.output) if planned else None,
        status=status,
        error=str(error) if error else None,
        width=plan.output_width if plan else None,
        height=plan.output_height if plan else None,
        input_width=header.width if header else None,
        input_height=header.height if header else None,
        scale=_scale(options, planned),
        model=job.model.name,
        model_sha256=job.model.sha256,
        steps=len(timesteps),
        timesteps=timesteps,
        seed=options.seed,
        tile=plan.tile if plan else None,
        vae_tile=plan.vae_tile if plan else None,
        smaller_tiles=bool(plan and expected and (plan.tile, plan.vae_tile) != (expected.tile, expected.vae_tile)),
        dtype=plan.dtype if plan else None,
        device=plan.device if plan else None,
        engine=options.engine,
        threads=plan.threads if plan else None,
        seconds={name: round(value, 3) for name, value in {**_NO_SECONDS, **(seconds or {})}.items()},
        consistency=consistency,
        warnings=tuple(warnings),
        input_sha256=input_sha256,
    )


_NO_SECONDS = dict.fromkeys(("load", "encode", "denoise", "decode", "color", "save"), 0.0)


def _scale(options: UpscaleOptions, planned: PlannedResult | None) -> float | None:
    """The scale that was asked for, or the one that a size amounts to; whole numbers as such."""
    if not options.has_target:
        scale = float(options.scale)
    elif planned is None:
        return None
    else:
        scale = round(planned.plan.output_width / planned.header.width, 6)
    return int(scale) if scale.is_integer() else scale


@dataclass
class Summary:
    """How a job ended."""

    done: int = 0
    skipped: int = 0
    failed: int = 0
    unread: int = 0
    passed_over: int = 0
    """Files in the inputs' folders that are no pictures."""
    seconds: float = 0.0
    interrupted: bool = field(default=False, repr=False)
    kept: list[Path] = field(default_factory=list, repr=False)
    """Results that the same command goes on with: finished stripes of them are kept."""

    def as_json(self) -> dict[str, Any]:
        """The last line of `--json`."""
        counts = {name: getattr(self, name) for name in ("done", "skipped", "failed", "unread", "passed_over")}
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

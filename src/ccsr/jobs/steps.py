"""The three steps of a result: read, compute, write. Any thread may take one; none touches a journal or a listener."""

import dataclasses
import hashlib
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from ccsr import images
from ccsr.errors import ImageError, OptionError
from ccsr.images import buffers, stripes
from ccsr.images.resample import enlarge
from ccsr.jobs.claims import ClaimedTask
from ccsr.jobs.journal import Fingerprint
from ccsr.jobs.names import intermediate
from ccsr.jobs.records import Job, Record, Task, as_ours, make_record
from ccsr.log import get_logger
from ccsr.options import UpscaleOptions
from ccsr.plan import Plan
from ccsr.version import __version__

if TYPE_CHECKING:
    from ccsr.pipeline import Upscaled

log = get_logger(__name__)

MM_PER_INCH = 25.4
OnProgress = Callable[[Task, int, int, str], None]
"""Called with the task at work, done, total, and the name of the stage."""


class UpscalerLike(Protocol):
    """What a job computes with: an `Upscaler`, a `CCSRPipeline`."""

    def upscale(
        self,
        picture: np.ndarray,
        options: UpscaleOptions,
        plan: Plan,
        sample: int = 0,
        on_progress: Callable[[int, int, str], None] | None = None,
        mask: np.ndarray | None = None,
    ) -> "Upscaled":
        """One result of a picture, both (H, W, 3) float32 in 0..1; a mask is (h, w), of any size."""
        ...

    def upscale_batch(
        self,
        batch: Sequence[tuple[np.ndarray, int]],
        options: UpscaleOptions,
        plan: Plan,
        on_progress: Callable[[int, int, str], None] | None = None,
        mask: np.ndarray | None = None,
    ) -> "list[Upscaled]":
        """One result for each (picture, sample); pictures of one size."""
        ...


class Steps:
    """The steps with what they share: the pipeline, and the picture whose samples are being made."""

    def __init__(self, job: Job, options: UpscaleOptions, pipeline_factory: Callable[[], UpscalerLike]) -> None:
        self._job, self._options, self._pipeline_factory = job, options, pipeline_factory
        self._pipeline: UpscalerLike | None = None
        self._picture: tuple[Path, images.Picture] | None = None
        self.kept: dict[Path, Path] = {}
        """By result that is not in its place yet, where its stripes are kept."""
        self._masked: dict[str, np.ndarray] = {}
        """What the pipeline is given beside the pictures."""

    def load_pipeline(self, plan: Plan) -> None:
        """Make the pipeline, unless that was done.

        Raises:
            CCSRError: without weights nothing can be done: that is the job's failure, not the picture's.
        """
        if self._pipeline is None:
            import torch

            # Sums over threads are grouped by their number, so a result's last bits depend on it.
            torch.set_num_threads(plan.threads)
            if self._options.mask:
                from ccsr.pipeline.inputs import as_mask

                self._masked = {"mask": as_mask(self._options.mask)}
            self._pipeline = self._pipeline_factory()

    def read(self, batch: Sequence[ClaimedTask]) -> None:
        """Give each task its picture, or the error that keeps it from having one."""
        for claimed in batch:
            begin = time.perf_counter()
            try:
                with _working_files(claimed):
                    picture = self._load(claimed.path)
                header = claimed.planned.header
                if picture.rgb.shape[:2] != (header.height, header.width):
                    raise ImageError(
                        "the file changed since this job looked at it", path=claimed.path, hint="run again"
                    )
                claimed.picture = picture
            except Exception as error:
                claimed.error = error
            claimed.load += time.perf_counter() - begin

    def _load(self, path: Path) -> images.Picture:
        """The picture, read once for all of its samples."""
        if self._picture is None or self._picture[0] != path:
            self._picture = None  # the one before is let go first
            self._picture = (path, images.load(path))
        return self._picture[1]

    def compute(self, batch: Sequence[ClaimedTask], on_progress: OnProgress) -> "list[Upscaled | Exception | None]":
        """The result of each task, or why there is none.

        Raises:
            OptionError: what the pipeline refuses for all pictures.
        """
        results = iter(self._upscale([claimed for claimed in batch if claimed.picture], on_progress))
        return [next(results) if claimed.picture else claimed.error for claimed in batch]

    def _upscale(self, batch: Sequence[ClaimedTask], on_progress: OnProgress) -> "list[Upscaled | Exception]":
        """Of tasks with pictures; what fails together is tried one by one."""
        if not batch:
            return []
        assert self._pipeline is not None  # noqa: S101 -- for the type checker: loaded before anything is read
        task, plan = batch[-1].task, batch[0].planned.plan

        def listener(done: int, total: int, stage: str) -> None:
            on_progress(task, done, total, stage)

        # Progress is told from inside the networks, which several small pictures at a time share.
        told = listener if plan.lanes == 1 else None
        items = [(claimed.picture.rgb, claimed.task.sample) for claimed in batch if claimed.picture]
        try:
            with _working_files(batch[0]), stripes.keeping(self._kept(batch)):
                if len(items) == 1:
                    return [self._pipeline.upscale(items[0][0], self._options, plan, items[0][1], told, **self._masked)]
                return list(self._pipeline.upscale_batch(items, self._options, plan, told, **self._masked))
        except OptionError:
            # Names, sizes and numbers have been checked: what the pipeline refuses now, it refuses for all pictures.
            raise
        except Exception as error:
            if len(batch) == 1:
                return [error]
        return [result for claimed in batch for result in self._upscale([claimed], on_progress)]

    def write(self, claimed: ClaimedTask, result: "Upscaled | Exception | None") -> Record:
        """What became of a claimed task; its files are in their places."""
        try:
            if isinstance(result, Exception):
                raise result
            with _working_files(claimed):
                return self._save(claimed, result)
        except Exception as error:
            log.debug("%s", claimed.path, exc_info=error)
            return make_record(self._job, self._options, claimed.task, "failed", error=as_ours(error, claimed.path))
        finally:
            claimed.picture = None
            if kept := self.kept.pop(claimed.planned.output, None):
                shutil.rmtree(kept, ignore_errors=True)

    def _kept(self, batch: Sequence[ClaimedTask]) -> Path | None:
        """Where finished stripes of a large picture lie until its result does; None for small ones, and for those that
        are computed together."""
        planned = batch[0].planned
        if len(batch) > 1 or not planned.plan.disk_bytes or planned.plan.device != "cpu":
            return None
        result, made_from = planned.output, planned.fingerprint
        name = result.relative_to(planned.folder) if planned.folder else result.name
        ours = [
            _short_hash(name),
            _short_hash(made_from.options, made_from.model_sha256, made_from.sha256, __version__),
        ]
        folder = _beside(batch[0]) / f".{'-'.join(ours)}.ccsr-kept"
        for left in folder.parent.glob(f".{ours[0]}-*.ccsr-kept"):
            if left != folder:  # of this result, but otherwise made
                shutil.rmtree(left, ignore_errors=True)
        self.kept[result] = folder
        return folder

    def _save(self, claimed: ClaimedTask, upscaled: Any) -> Record:
        planned, picture = claimed.planned, claimed.picture
        assert picture is not None  # noqa: S101 -- for the type checker: without one there is an error instead
        plan, output = planned.plan, planned.output
        begin = time.perf_counter()
        alpha = None
        if picture.alpha is not None:
            alpha = enlarge(picture.alpha, plan.output_width, plan.output_height)
        output.parent.mkdir(parents=True, exist_ok=True)
        writing: dict[str, Any] = {"depth": self._options.depth, "strip_metadata": self._options.strip_metadata}
        for t, estimate in zip(upscaled.timesteps, upscaled.intermediates, strict=False):
            images.save(dataclasses.replace(picture, rgb=estimate, alpha=None), intermediate(output, t), **writing)
        # Last, so that a result in its place means that all of its files are.
        density = picture.density
        if dpi := self._options.dots_per_inch:
            density = (dpi / MM_PER_INCH, dpi / MM_PER_INCH)
        result = dataclasses.replace(picture, rgb=upscaled.sr, alpha=alpha, density=density)
        left_out = images.save(result, output, quality=self._options.quality, **writing)
        changes = _changes(planned.fingerprint)
        return make_record(
            self._job, self._options, claimed.task, "done",
            seconds={"load": claimed.load, **upscaled.seconds, "save": time.perf_counter() - begin},
            warnings=[*picture.warnings, *upscaled.warnings, *left_out, *changes],
            plan=upscaled.plan, consistency=upscaled.consistency.as_json() if upscaled.consistency else None,
            input_sha256=None if changes else planned.fingerprint.sha256,
        )  # fmt: skip


@contextmanager
def _working_files(claimed: ClaimedTask) -> Iterator[None]:
    """Inside, working files lie where the result will, or in the nearest folder above that is there."""
    with buffers.beside(_beside(claimed)):
        yield


def _beside(claimed: ClaimedTask) -> Path:
    folder = claimed.planned.folder or claimed.planned.output.parent
    while not folder.is_dir() and folder != folder.parent:
        folder = folder.parent
    return folder


def _short_hash(*parts: object) -> str:
    return hashlib.sha256("\n".join(map(str, parts)).encode(errors="surrogateescape")).hexdigest()[:16]


def _changes(fingerprint: Fingerprint) -> list[str]:
    try:
        status = fingerprint.input.stat()
    except OSError:
        return ["the input vanished while it was being upscaled"]
    if (status.st_size, status.st_mtime_ns) != (fingerprint.size, fingerprint.mtime_ns):
        return ["the input changed while it was being upscaled"]
    return []

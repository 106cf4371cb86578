"""Where results are taken on, entered as made, and told: all journals of a run are written here, by one thread."""

import dataclasses
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ccsr import atomic, images
from ccsr.errors import CCSRError, ImageError
from ccsr.jobs.journal import Claim, Journal
from ccsr.jobs.names import JOURNAL_NAME
from ccsr.jobs.records import Event, Facts, Finished, Job, Record, Started, Summary, Task, as_ours
from ccsr.log import get_logger
from ccsr.options import UpscaleOptions
from ccsr.plan import Plan
from ccsr.stability.maps import map_paths, measure_files, save_maps

log = get_logger(__name__)

Numbered = tuple[int, Task]
"""A task and its place in the job, from 1."""


class Teller:
    """Tells results in the order of their tasks, whatever the order in which they come, and counts them."""

    def __init__(self, total: int, summary: Summary, on_event: Callable[[Event], None], overwrite: bool) -> None:
        self.total, self.summary, self.on_event, self.overwrite = total, summary, on_event, overwrite
        self._waiting: dict[int, tuple[Task, Record]] = {}
        self._next = 1

    def started(self, numbered: Numbered) -> None:
        """Work on a task begins; this is told at once."""
        number, task = numbered
        self.on_event(Started(task, number, self.total))

    def finished(self, numbered: Numbered, record: Record) -> None:
        """A task is over; this is told when all before it are."""
        number, task = numbered
        self._waiting[number] = (task, record)
        while self._next in self._waiting:
            self._tell(self._next)
            self._next += 1

    def flush(self) -> None:
        """Tell what is still held back, when what it waits for will not come."""
        for number in sorted(self._waiting):
            self._tell(number)

    def _tell(self, number: int) -> None:
        task, record = self._waiting.pop(number)
        # Here all samples before the last one are there, whoever made them.
        record = _with_map(record, task, self.overwrite)
        setattr(self.summary, record.status, getattr(self.summary, record.status) + 1)
        self.on_event(Finished(task, record, number, self.total))


class Journals:
    """The journals of a job's folders, each opened once and closed with the stack."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self._open: dict[Path, Journal] = {}

    def of(self, folder: Path | None) -> Journal | None:
        """The journal of a folder, made where there is none; None for None."""
        if folder is None:
            return None
        journal = self._open.get(folder)
        if journal and not journal.path.exists():
            log.warning("%s was removed while this job was running, and is made again", folder)
            journal.close()
            journal = None
        if journal is None:
            journal = self._open[folder] = self._stack.enter_context(Journal(folder))
        return journal

    def existing(self, folder: Path | None) -> Journal | None:
        """The same, but never makes one: what only looks must not write."""
        return self.of(folder) if folder is not None and (folder / JOURNAL_NAME).exists() else None


@dataclass
class Claimed:
    """A task under way: its picture, or why there is none."""

    numbered: Numbered
    facts: Facts
    journal: Journal | None
    load: float = 0.0
    """Seconds."""
    picture: images.Picture | None = None
    error: Exception | None = None

    @property
    def path(self) -> Path:
        """The input."""
        return self.numbered[1].source.path


class Desk:
    """Where the results of one run are taken on and entered as made; all journals are written here."""

    def __init__(self, job: Job, options: UpscaleOptions, stack: ExitStack) -> None:
        self.job, self.options = job, options
        self._journals = Journals(stack)
        self._timesteps = options.trajectory.timesteps
        self._begin = time.time()
        self._swept: set[Path] = set()

    def claim(self, batch: Sequence[Numbered], teller: Teller) -> tuple[list[Claimed], list[Numbered]]:
        """What is now this run's to make, and what another run is making; the rest is done or refused, and told.

        Whoever begins to make it tells so."""
        claimed, elsewhere = [], []
        for numbered in batch:
            task = numbered[1]
            if task.due is None:
                teller.finished(numbered, self.record(task, "failed" if task.error else "skipped", error=task.error))
                continue
            match self._claim(task, task.due):
                case Record() as record:
                    teller.finished(numbered, record)
                case "taken":
                    elsewhere.append(numbered)
                case journal:
                    claimed.append(Claimed(numbered, task.due, journal))
        return claimed, elsewhere

    @contextmanager
    def together(self, batch: Sequence[Numbered]) -> Iterator[None]:
        """Inside, the claims of a large batch are entered at once, not one by one."""
        folders = {task.due.folder for _, task in batch if task.due}
        with ExitStack() as stack:
            for folder in folders:
                with suppress(CCSRError):  # told by each claim itself
                    if journal := self._journals.of(folder):
                        stack.enter_context(journal.together())
            yield

    def finish(self, work: Claimed, record: Record, teller: Teller) -> None:
        """Enter what became of a claimed task, and tell it."""
        try:
            if journal := self._journals.of(work.facts.folder):
                if journal is not work.journal:
                    journal.claim(work.facts.output, work.facts.entry, overwrite=True, since=self._begin)
                journal.finish(work.facts.output, sum(record.seconds.values()), record.error)
        except CCSRError as error:
            record = dataclasses.replace(record, warnings=(*record.warnings, str(error)))
        teller.finished(work.numbered, record)

    def _claim(self, task: Task, facts: Facts) -> Journal | Record | Literal["taken"] | None:
        """The journal in which the result is now ours to make (None: there is none), or what became of it."""
        try:
            journal = self._journals.of(facts.folder)
            if journal is None:
                # Looked at when the job was prepared; hours may have passed.
                refused = os.path.lexists(facts.output) and not self.job.overwrite
                claim: Claim = "refused" if refused else "claimed"
            else:
                claim = journal.claim(facts.output, facts.entry, overwrite=self.job.overwrite, since=self._begin)
            # Once in any case: a killed process's file may have been too young for the run that took over from it.
            if claim == "resumed" or facts.output.parent not in self._swept:
                atomic.sweep(facts.output.parent)
                self._swept.add(facts.output.parent)
        except (CCSRError, OSError) as error:
            return self.record(task, "failed", error=as_ours(error, task.source.path))
        match claim:
            case "taken":
                return "taken"
            case "done":
                return self.record(task, "skipped")
            case "refused":
                return self.record(task, "failed", error=refusal(facts, task))
        return journal

    def record(
        self,
        task: Task,
        status: Literal["done", "skipped", "failed"],
        *,
        error: CCSRError | None = None,
        seconds: dict[str, float] | None = None,
        warnings: Sequence[str] = (),
        plan: Plan | None = None,
    ) -> Record:
        """What became of a task, with the facts of this run; `plan` is the one that it was made by in the end."""
        facts, model = task.facts, self.job.model
        header, planned = (facts.header, facts.plan) if facts else (None, None)
        plan = plan or planned
        return Record(
            input=str(task.source.path),
            output=str(facts.output) if facts else None,
            status=status,
            error=str(error) if error else None,
            width=plan.output_width if plan else None,
            height=plan.output_height if plan else None,
            input_width=header.width if header else None,
            input_height=header.height if header else None,
            scale=_scale(self.options, facts),
            model=model.name,
            model_sha256=model.sha256,
            steps=len(self._timesteps),
            timesteps=self._timesteps,
            seed=self.options.seed,
            tile=plan.tile if plan else None,
            vae_tile=plan.vae_tile if plan else None,
            smaller_tiles=bool(plan and planned and (plan.tile, plan.vae_tile) != (planned.tile, planned.vae_tile)),
            dtype=plan.dtype if plan else None,
            device=plan.device if plan else None,
            engine=self.options.engine,
            threads=plan.threads if plan else None,
            seconds={name: round(value, 3) for name, value in {**_NO_SECONDS, **(seconds or {})}.items()},
            warnings=tuple(warnings),
        )


def refusal(facts: Facts, task: Task) -> ImageError:
    """Why a result is not made over what lies in its place."""
    what = f"{facts.output} exists, and not from this input with these options and weights"
    return ImageError(what, path=task.source.path, hint="--overwrite replaces it")


def _with_map(record: Record, task: Task, overwrite: bool) -> Record:
    """Write the stability map after the last sample of a picture; what hinders it is a warning, not a failure."""
    facts = task.facts
    if facts is None or facts.maps is None or record.status == "failed":
        return record
    maps = facts.maps
    map_path = map_paths(maps.stem)[0]
    if record.status == "skipped" and map_path.exists():
        return dataclasses.replace(record, stability_map=str(map_path))
    # Beside its input, a file of that name may be the user's own; a folder of results is ours.
    if map_path.exists() and not overwrite and facts.folder is None:
        warning = f"{map_path} exists and was left as it is; --overwrite replaces it"
        return dataclasses.replace(record, warnings=(*record.warnings, warning))
    try:
        meter = measure_files(maps.results, str(maps.stem))
        save_maps(meter.deviation.mean(2), meter.mean, maps.stem)
    except (CCSRError, OSError) as error:
        return dataclasses.replace(record, warnings=(*record.warnings, f"no stability map: {error}"))
    return dataclasses.replace(record, stability_map=str(map_path))


_NO_SECONDS = dict.fromkeys(("load", "encode", "denoise", "decode", "color", "save"), 0.0)


def _scale(options: UpscaleOptions, facts: Facts | None) -> float | None:
    """The scale that was asked for, or the one that a size amounts to; whole numbers as such."""
    if options.width is None and options.height is None and options.megapixels is None:
        scale = float(options.scale)
    elif facts is None:
        return None
    else:
        scale = round(facts.plan.output_width / facts.header.width, 6)
    return int(scale) if scale.is_integer() else scale

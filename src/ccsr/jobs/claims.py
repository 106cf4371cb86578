"""Which results are this run's to make, and the journals that say so; all journals are written here, by one thread."""

import dataclasses
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ccsr import atomic, images
from ccsr.errors import CCSRError, ImageError
from ccsr.jobs.events import OrderedReporter
from ccsr.jobs.journal import Claim, Journal, Journals
from ccsr.jobs.records import Job, NumberedTask, PlannedResult, Record, Task, as_ours, make_record
from ccsr.options import UpscaleOptions


@dataclass
class ClaimedTask:
    """A task that is this run's to make: its picture, or why there is none."""

    numbered: NumberedTask
    planned: PlannedResult
    journal: Journal | None
    load: float = 0.0
    """Seconds."""
    picture: images.Picture | None = None
    error: Exception | None = None

    @property
    def task(self) -> Task:
        """Without its number."""
        return self.numbered[1]

    @property
    def path(self) -> Path:
        """The input."""
        return self.task.source.path


class Claims:
    """What one run takes on, and what became of it."""

    def __init__(self, job: Job, options: UpscaleOptions, stack: ExitStack) -> None:
        self.job, self.options = job, options
        self._journals = Journals(stack)
        self._begin = time.time()
        self._swept: set[Path] = set()

    def claim(
        self, batch: Sequence[NumberedTask], reporter: OrderedReporter
    ) -> tuple[list[ClaimedTask], list[NumberedTask]]:
        """What is now this run's to make, and what another run is making; the rest is done or refused, and told.

        Whoever begins to make it tells so."""
        claimed, elsewhere = [], []
        for numbered in batch:
            task = numbered[1]
            if task.due is None:
                status: Literal["failed", "skipped"] = "failed" if task.error else "skipped"
                reporter.finished(numbered, make_record(self.job, self.options, task, status, error=task.error))
                continue
            match self._claim(task, task.due):
                case Record() as record:
                    reporter.finished(numbered, record)
                case "taken":
                    elsewhere.append(numbered)
                case journal:
                    claimed.append(ClaimedTask(numbered, task.due, journal))
        return claimed, elsewhere

    @contextmanager
    def together(self, batch: Sequence[NumberedTask]) -> Iterator[None]:
        """Inside, the claims of a large batch are entered at once, not one by one."""
        folders = {task.due.folder for _, task in batch if task.due}
        with ExitStack() as stack:
            for folder in folders:
                with suppress(CCSRError):  # told by each claim itself
                    if journal := self._journals.of(folder):
                        stack.enter_context(journal.together())
            yield

    def finish(self, claimed: ClaimedTask, record: Record, reporter: OrderedReporter) -> None:
        """Enter what became of a claimed task, and tell it."""
        planned = claimed.planned
        try:
            if journal := self._journals.of(planned.folder):
                if journal is not claimed.journal:
                    journal.claim(planned.output, planned.fingerprint, overwrite=True, since=self._begin)
                journal.finish(planned.output, sum(record.seconds.values()), record.error)
        except CCSRError as error:
            record = dataclasses.replace(record, warnings=(*record.warnings, str(error)))
        reporter.finished(claimed.numbered, record)

    def _claim(self, task: Task, planned: PlannedResult) -> Journal | Record | Literal["taken"] | None:
        """The journal in which the result is now ours to make (None: there is none), or what became of it."""
        try:
            journal = self._journals.of(planned.folder)
            if journal is None:
                # Looked at when the job was prepared; hours may have passed.
                refused = os.path.lexists(planned.output) and not self.job.overwrite
                claim: Claim = "refused" if refused else "claimed"
            else:
                claim = journal.claim(
                    planned.output, planned.fingerprint, overwrite=self.job.overwrite, since=self._begin
                )
            # Once in any case: a killed process's file may have been too young for the run that took over from it.
            if claim == "resumed" or planned.output.parent not in self._swept:
                atomic.sweep(planned.output.parent)
                self._swept.add(planned.output.parent)
        except (CCSRError, OSError) as error:
            return make_record(self.job, self.options, task, "failed", error=as_ours(error, task.source.path))
        match claim:
            case "taken":
                return "taken"
            case "done":
                return make_record(self.job, self.options, task, "skipped")
            case "refused":
                return make_record(self.job, self.options, task, "failed", error=refusal(planned, task))
        return journal


def refusal(planned: PlannedResult, task: Task) -> ImageError:
    """Why a result is not made over what lies in its place."""
    what = f"{planned.output} exists, and not from this input with these options and weights"
    return ImageError(what, path=task.source.path, hint="--overwrite replaces it")

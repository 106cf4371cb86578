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
from ccsr.log import get_logger
from ccsr.options import UpscaleOptions

log = get_logger(__name__)


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

    def __init__(self, job: Job, options: UpscaleOptions, journals: Journals | None) -> None:
        self.job, self.options = job, options
        self._journals = journals
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
                reporter.finished(numbered, self._settled(task))
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
                    if journal := self._journal_of(folder):
                        stack.enter_context(journal.together())
            yield

    def finish(self, claimed: ClaimedTask, record: Record, reporter: OrderedReporter) -> None:
        """Enter what became of a claimed task, and tell it."""
        planned = claimed.planned
        try:
            if journal := self._journal_of(planned.folder):
                if journal is not claimed.journal:
                    journal.claim(planned.output, planned.fingerprint, overwrite=True, since=self._begin)
                journal.finish(planned.output, sum(record.seconds.values()), record.error, record.input_sha256)
        except CCSRError as error:
            record = dataclasses.replace(record, warnings=(*record.warnings, str(error)))
        reporter.finished(claimed.numbered, record)

    def _journal_of(self, folder: Path | None) -> Journal | None:
        return self._journals.of(folder) if self._journals else None

    def _settled(self, task: Task) -> Record:
        """What there is to tell of a task with nothing to compute."""
        if task.error:
            status: Literal["failed", "unread"] = "unread" if task.is_unread else "failed"
            return make_record(self.job, self.options, task, status, error=task.error)
        if task.planned:
            with suppress(CCSRError):
                if journal := self._journal_of(task.planned.folder):
                    journal.note_place(task.planned.output, task.planned.fingerprint)
        return make_record(self.job, self.options, task, "skipped")

    def _claim(self, task: Task, planned: PlannedResult) -> Journal | Record | Literal["taken"] | None:
        """The journal in which the result is now ours to make (None: there is none), or what became of it."""
        try:
            journal = self._journal_of(planned.folder)
            claim = self._enter(planned, journal)
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
                return make_record(self.job, self.options, task, "failed", error=refusal(task, planned, journal))
        return journal

    def _enter(self, planned: PlannedResult, journal: Journal | None) -> Claim:
        """What the journal says to our claim, or the disk where there is none."""
        if journal:
            try:
                return journal.claim(
                    planned.output, planned.fingerprint, overwrite=self.job.overwrite, since=self._begin
                )
            except CCSRError as error:
                if planned.folder is not None:
                    raise
                log.debug("%s", error)
        # Looked at when the job was prepared; hours may have passed.
        return "refused" if os.path.lexists(planned.output) and not self.job.overwrite else "claimed"


def refusal(task: Task, planned: PlannedResult, journal: Journal | None) -> ImageError:
    """Why a result is not made over what lies in its place."""
    differences = None
    with suppress(CCSRError):
        differences = journal.differences(planned.output, planned.fingerprint) if journal else None
    how = f"made {' and '.join(differences)}" if differences else "and ccsr has no record of making it"
    return ImageError(f"{planned.output} exists, {how}", path=task.source.path, hint="--overwrite replaces it")

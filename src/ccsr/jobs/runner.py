"""From inputs to results on disk: what the command line and the server call, and the names that they need for it.

`prepare` settles everything that can be settled before a model is loaded (see `tasks`). `run` does the rest (see
`executor`) and tells a listener. One failure never stops the others.
"""

import dataclasses
import os
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack

from ccsr.jobs.claims import ClaimedTask, Claims
from ccsr.jobs.events import Advanced, Event, Finished, OrderedReporter, Started, Stop
from ccsr.jobs.executor import PATIENCE, JobExecutor, alike
from ccsr.jobs.journal import Journals
from ccsr.jobs.records import Job, PlannedResult, Prepared, Record, Summary, Task
from ccsr.jobs.steps import UpscalerLike
from ccsr.jobs.tasks import kinds_of, prepare
from ccsr.options import UpscaleOptions
from ccsr.plan import batches, resolve_machine

__all__ = [
    "PATIENCE", "Advanced", "ClaimedTask", "Claims", "Event", "Finished", "Job", "Journals", "OrderedReporter",
    "PlannedResult", "Prepared", "Record", "SingleRunner", "Started", "Stop", "Summary", "Task", "UpscalerLike",
    "kinds_of", "load_pipeline", "prepare", "run",
]  # fmt: skip


def run(
    job: Job,
    pipeline_factory: Callable[[], UpscalerLike],
    options: UpscaleOptions,
    on_event: Callable[[Event], None] = lambda event: None,
    tasks: Sequence[Task] | None = None,
) -> Summary:
    """Do a job; `tasks` are those that `prepare` gave, if it was called before.

    The pipeline is made once, and only when there is something to compute. Listeners are called by this thread. Ctrl-C,
    or a listener that raises `Stop`, abandons the picture at work and returns what was done, with `interrupted` set.

    Raises:
        CCSRError: as `prepare`, or when the pipeline cannot be made.
    """
    begin = time.perf_counter()
    tasks = prepare(job, options).tasks if tasks is None else tasks
    summary = Summary()
    reporter = OrderedReporter(len(tasks), summary, on_event, job.overwrite)
    with ExitStack() as stack:
        executor = JobExecutor(Claims(job, options, Journals(stack)), pipeline_factory, on_event)
        stack.callback(executor.close)
        try:
            executor.run(batches(enumerate(tasks, 1), options.batch_size, alike), reporter)
        except (KeyboardInterrupt, Stop):
            summary.interrupted = True
            summary.kept = [result for result, folder in executor.steps.kept.items() if folder.is_dir()]
            reporter.flush()
    summary.seconds = time.perf_counter() - begin
    return summary


class SingleRunner:
    """Makes results one by one, without a journal, for who keeps one elsewhere."""

    def __init__(self, job: Job, options: UpscaleOptions) -> None:
        self._overwrite = job.overwrite
        claims = Claims(job, options, None)
        self._executor = JobExecutor(claims, lambda: load_pipeline(options), lambda event: None)

    def run(self, task: Task) -> Record:
        """Make the result of a task, whatever lies in its place, and say what became of it.

        Raises:
            CCSRError: the pipeline cannot be made, or refuses these options for all pictures.
        """
        records: list[Record] = []

        def keep(event: Event) -> None:
            if isinstance(event, Finished):
                records.append(event.record)

        # Whoever keeps the journal sees all samples of a picture, and draws the map over them.
        planned = dataclasses.replace(task.planned, folder=None, maps=None) if task.planned else None
        batch = [(1, dataclasses.replace(task, planned=planned))]
        self._executor.run([batch], OrderedReporter(1, Summary(), keep, self._overwrite))
        return records[0]


def load_pipeline(options: UpscaleOptions) -> UpscalerLike:
    """What upscales by the model and in the number format that the options ask for.

    Raises:
        CCSRError: as `Upscaler.load`.
    """
    from ccsr.pipeline import DTYPES, Upscaler

    _mute_diffusers()
    _, dtype, _ = resolve_machine(options)
    return Upscaler.load(options.model, dtype=DTYPES[dtype], base_model=options.base_model)


def _mute_diffusers() -> None:
    """Its advice is for programmers, and would stand between our lines."""
    os.environ.setdefault("DIFFUSERS_VERBOSITY", "error")  # for when it is imported
    if diffusers := sys.modules.get("diffusers"):
        diffusers.utils.logging.set_verbosity_error()

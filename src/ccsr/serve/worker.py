"""What computes: one thread per device, which takes one job after another.

A worker hands whole jobs to `ccsr.jobs.runner`, whose journal makes a job go on where a stopped server left it.
"""

import errno
import json
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from ccsr import images
from ccsr.errors import CCSRError, DiskFullError
from ccsr.jobs import runner
from ccsr.jobs.names import size_tag
from ccsr.log import get_logger
from ccsr.options import UpscaleOptions
from ccsr.plan import make_plan, resolve_machine
from ccsr.serve.admission import job_of, on_device, tasks_of
from ccsr.serve.errors import with_client_name
from ccsr.serve.eta import Estimator
from ccsr.serve.mask import masked
from ccsr.serve.memory import give_back
from ccsr.serve.models import ServedModels
from ccsr.serve.queue import ActiveJob, JobQueue
from ccsr.serve.settings import ServeSettings
from ccsr.serve.store import Result, State, Store
from ccsr.stability.maps import FULL, measure_files
from ccsr.weights import ModelDescription

log = get_logger("serve")

PipelineFactory = Callable[[ModelDescription, UpscaleOptions], runner.UpscalerLike]


def load_pipeline(model: ModelDescription, options: UpscaleOptions) -> runner.UpscalerLike:
    """The pipeline of a model, on the device of the options."""
    return runner.load_pipeline(replace(options, model=str(model.folder)))


class Worker(threading.Thread):
    """Does the jobs of a queue on one device until the queue is closed; keeps one pipeline loaded."""

    def __init__(
        self,
        name: str,
        device: str,
        *,
        settings: ServeSettings,
        models: ServedModels,
        store: Store,
        queue: JobQueue,
        estimator: Estimator,
        pipeline_factory: PipelineFactory,
    ) -> None:
        super().__init__(name=name, daemon=True)
        self._device, self._settings, self._models = device, settings, models
        self._store, self._queue, self._estimator = store, queue, estimator
        self._make_pipeline = pipeline_factory
        self._pipelines: dict[tuple[str, str], runner.UpscalerLike] = {}

    def run(self) -> None:
        """One worker's life."""
        self._warm_up()
        while active := self._queue.take():
            begin = time.monotonic()
            try:
                self._store.set_state(active.job.id, "running")
                active.notify()
                self._do(active)
            except Exception as error:
                if not isinstance(error, CCSRError):
                    log.exception("job %s", active.job.id)
                    error = CCSRError(f"unexpected {type(error).__name__}", hint="the server's log has more")
                self._queue.end(active, "failed", error)
            del active  # nothing of it is held while waiting for the next one
            if time.monotonic() - begin > 1:
                give_back()

    def _warm_up(self) -> None:
        """Have ready what the first picture would wait for: the pipeline, and an idea of how fast this machine is."""
        options = on_device(self._models.options_from({}), self._device, self._settings)
        try:
            self._pipeline(options)
            self._estimator.expect(make_plan(512, 512, options, self._models.by_name[options.model]))
        except CCSRError as error:
            log.warning("%s", error)  # each job will say so, too

    def _do(self, active: ActiveJob) -> None:
        job, folder = active.job, self._store.folder_of(active.job.id)
        names = {str(folder / i.stored): i.name for i in job.inputs}
        options = on_device(self._models.options_from(job.options), self._device, self._settings)
        request = job_of(folder, job.inputs, self._models.by_name[options.model])
        failure: CCSRError | None = None
        interrupted = False
        begin = time.monotonic()

        try:
            options = masked(options, folder, self._settings)
            tasks = tasks_of(request, options, self._settings)
            deadline = begin + self._settings.job_seconds
            listener = _JobListener(active, self._store, tasks, names, options, deadline)
            outcome = runner.run(request, lambda: self._pipeline(options), options, listener, tasks)
            interrupted = outcome.interrupted
            if not interrupted and options.samples > 1:
                self._measure_stability(active, folder)
        except CCSRError as error:
            failure = with_client_name(error, names)
        if active.stop == "shutdown":
            return  # its state in the store is still that of an unfinished job
        if active.progress == 1 and job.flops and not interrupted:
            self._estimator.learn(time.monotonic() - begin, job.flops)
        if failure is None and not interrupted and not any(r.stored for r in active.results):
            failure = with_client_name(_why_nothing(active, request.inputs), names)
        if interrupted and active.stop == "timeout":
            failure = CCSRError(
                f"the job took longer than the {self._settings.job_seconds:g} s that are allowed", hint="ask for less"
            )
        state: State = "failed" if failure else "cancelled" if interrupted else "done"
        self._queue.end(active, state, failure)

    def _pipeline(self, options: UpscaleOptions) -> runner.UpscalerLike:
        """The loaded pipeline; going from one number format to another would round the weights."""
        key = (options.model, resolve_machine(options)[1])
        if key not in self._pipelines:
            self._pipelines.clear()  # the one before is let go first
            self._pipelines[key] = self._make_pipeline(self._models.by_name[options.model], options)
        return self._pipelines[key]

    def _measure_stability(self, active: ActiveJob, folder: Path) -> None:
        """Keep the stability map of each input that has at least two results."""
        for place, input in enumerate(active.inputs):
            paths = [folder / r.stored for r in active.results if r.input == input.number and r.stored]
            if len(paths) < 2:
                continue
            deviation = measure_files(paths).deviation.mean(axis=2).astype(np.float32)
            (folder / "spread").mkdir(exist_ok=True)
            np.save(folder / "spread" / f"{input.number:03d}.npy", deviation)
            # One scale for all pictures, so that their maps compare.
            spread = {"mean": float(deviation.mean()), "scale": FULL}
            active.inputs[place] = replace(input, spread=spread)
            self._store.set_spread(active.job.id, input.number, spread)


class _JobListener:
    """Listens to the runner: keeps results, passes progress on, and stops the job when it shall stop."""

    def __init__(
        self,
        active: ActiveJob,
        store: Store,
        tasks: Sequence[runner.Task],
        names: Mapping[str, str],
        options: UpscaleOptions,
        deadline: float,
    ) -> None:
        self._active, self._store, self._names, self._options, self._deadline = active, store, names, options, deadline
        self._numbers = {path: number for number, path in enumerate(names)}
        self._total = sum(task.megapixels for task in tasks) or 1.0
        self._finished = 0.0
        self._notified = 0.0

    def __call__(self, event: runner.Event) -> None:
        active = self._active
        match event:
            case runner.Advanced(task, done, total, _):
                active.progress = max(active.progress, (self._finished + task.megapixels * done / total) / self._total)
                if (now := time.monotonic()) - self._notified > 0.1:
                    self._notified = now
                    active.notify()
            case runner.Finished(task, record, number, _):
                self._finished += task.megapixels
                active.progress = max(active.progress, min(1.0, self._finished / self._total))
                self._keep(task, record, number - 1)
                active.notify()
        if active.stop is None and time.monotonic() > self._deadline:
            active.stop = "timeout"
        if active.stop is not None:
            raise runner.Stop

    def _keep(self, task: runner.Task, record: runner.Record, number: int) -> None:
        if any(known.number == number for known in self._active.results):
            return  # done before a restart
        path = str(task.source.path)
        fields = {**record.as_json(), "input": self._names[path], "output": None, "stability_map": None}
        if record.error:
            fields["error"] = record.error.replace(path, self._names[path])
        stored = name = None
        if record.status != "failed" and task.planned is not None:
            stored = task.planned.output.relative_to(self._store.folder_of(self._active.job.id)).as_posix()
            name = _download_name(self._names[path], task, self._options)
            fields["output"] = name
        result = Result(number, self._numbers[path], task.sample, name, stored, json.loads(json.dumps(fields)))
        self._store.add_result(self._active.job.id, result)
        self._active.results.append(result)


def _download_name(name: str, task: runner.Task, options: UpscaleOptions) -> str:
    """What the command line would call the result: `photo_x4.jpg`, `photo_x4_s00.jpg`."""
    assert task.planned is not None  # noqa: S101
    stem = name.rpartition(".")[0] or name
    sample = f"_s{task.sample:02d}" if options.samples > 1 else ""
    return f"{stem}{size_tag(options)}{sample}{task.planned.output.suffix}"


def _why_nothing(active: ActiveJob, paths: Sequence[Path]) -> CCSRError:
    """The error of a job without any result, of the kind that tells whose fault it was."""
    try:
        for path in paths:
            images.load(path)
    except CCSRError as error:
        return error
    told = next((r.record["error"] for r in active.results if r.record["error"]), "nothing came out")
    return (DiskFullError if os.strerror(errno.ENOSPC) in told else CCSRError)(told)

"""What the routes call: take a job, say how it is, stop it; and the threads that do the work meanwhile."""

import math
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from queue import Full
from typing import Any

from ccsr.errors import CCSRError, OptionError, TooLargeError
from ccsr.log import get_logger
from ccsr.options import SIZES, UpscaleOptions
from ccsr.plan import resolve_machine
from ccsr.serve.admission import Adviser, Choice, job_of, on_device, tasks_of
from ccsr.serve.errors import Problem, with_client_name
from ccsr.serve.eta import Estimator
from ccsr.serve.mask import masked
from ccsr.serve.models import ServedModels
from ccsr.serve.queue import ActiveJob, JobQueue
from ccsr.serve.responses import JobResponse
from ccsr.serve.settings import ServeSettings
from ccsr.serve.store import Input, State, Store, StoredJob
from ccsr.serve.views import active_view, stored_view
from ccsr.serve.worker import PipelineFactory, Worker, load_pipeline
from ccsr.weights import cache_folder

log = get_logger("serve")

SWEEP_SECONDS = 60.0
Advice = tuple[int, int, list[Choice], Choice]
"""Width and height of a photo, its choices, and the largest one."""


class Service:
    """One server's jobs, models and workers. Methods may be called from any thread, but block: not in an event loop."""

    def __init__(self, settings: ServeSettings, pipeline_factory: PipelineFactory = load_pipeline) -> None:
        self.settings = settings
        self.models = ServedModels(settings.model)
        self.devices = _devices(settings)
        self.store = Store(Path(settings.data).expanduser() if settings.data else cache_folder() / "serve")
        self.queue = JobQueue(self.store, settings.queue)
        self._estimator = Estimator(len(self.devices), settings.job_seconds)
        self._workers = [
            Worker(
                f"ccsr-worker-{number}", device, settings=settings, models=self.models, store=self.store,
                queue=self.queue, estimator=self._estimator, pipeline_factory=pipeline_factory,
            )
            for number, device in enumerate(self.devices)
        ]  # fmt: skip
        self._sweeper = threading.Thread(target=self._sweep, name="ccsr-sweeper", daemon=True)
        self._stopped = threading.Event()
        self._keep_seconds = settings.keep_hours * 3600

    def start(self) -> None:
        """Take up what an earlier server left, and begin to work."""
        self.store.sweep(time.time() - self._keep_seconds, at_start=True)
        self.queue.restore()
        for thread in (*self._workers, self._sweeper):
            thread.start()

    def close(self) -> None:
        """Stop after the layer at work; jobs that are not done are taken up at the next start."""
        self.queue.close()
        self._stopped.set()
        for thread in (*self._workers, self._sweeper):
            thread.join()
        self.store.close()

    def submit(self, id: str, inputs: Sequence[Input], fields: Mapping[str, Any], *, transient: bool) -> ActiveJob:
        """Check a request and queue it; its pictures lie in the folder of `id`, which goes if it is refused.

        Raises:
            CCSRError: nothing of it can be done; the picture is called as its client does.
            Problem: the queue is full.
        """
        try:
            flops = self._checked_flops(self.store.folder_of(id), inputs, self.models.options_from(fields))
            job = StoredJob(
                id, "queued", transient, created=time.time(), options=dict(fields), flops=flops, inputs=tuple(inputs)
            )
            return self.queue.add(job)
        except Full:
            self.store.remove(id)
            raise self.full() from None
        except BaseException:
            self.store.remove(id)
            raise

    def _checked_flops(self, folder: Path, inputs: Sequence[Input], options: UpscaleOptions) -> float:
        """Work of all results, if this server does as much and can read one of the inputs."""
        limits = self.settings
        if not inputs:
            raise OptionError("there is no picture", hint="send at least one in a field called file")
        if len(inputs) > limits.max_files:
            raise TooLargeError(f"{len(inputs)} pictures, the limit is {limits.max_files}", hint="send fewer at once")
        if (count := len(inputs) * options.samples) > limits.max_results:
            raise OptionError(f"{count} results, the limit is {limits.max_results}", hint="ask for fewer --samples")
        names = {str(folder / input.stored): input.name for input in inputs}
        job = job_of(folder, inputs, self.models.by_name[options.model])
        chosen = masked(on_device(options, self.devices[0], limits), folder, limits)
        tasks = tasks_of(job, chosen, limits)
        # One broken or too large picture does not stop the others.
        if all(task.error for task in tasks):
            raise next(with_client_name(task.error, names) for task in tasks if task.error)
        return sum(task.due.plan.flops for task in tasks if task.due)

    def advise(self, photos: Sequence[tuple[int, int, Sequence[Any]]], fields: Mapping[str, Any]) -> list[Advice]:
        """For each photo of (width, height, scales): its choices at these scales, and the largest one.

        Raises:
            OptionError: a bad option or scale.
        """
        known = {name: value for name, value in fields.items() if name not in SIZES}
        options = on_device(self.models.options_from(known), self.devices[0], self.settings)
        adviser = Adviser(options, self.models.by_name[options.model], self.settings, self._estimator)
        told = []
        for width, height, scales in photos:
            asked = [UpscaleOptions.from_mapping({"scale": scale}).scale for scale in scales]
            choices = [adviser.choice(width, height, scale) for scale in asked]
            told.append((width, height, choices, adviser.largest(width, height)))
        return told

    def full(self) -> Problem:
        """The response while the queue is full."""
        # A place is free as soon as a job that runs has ended.
        ends = [self._estimator.seconds_left(active) for active in self.queue.active() if active.state == "running"]
        seconds = min(3600, max(1, math.ceil(min(ends, default=1))))
        return Problem(
            429,
            f"{self.queue.waiting} jobs wait already, the limit is {self.settings.queue} (come back in {seconds} s)",
            {"Retry-After": str(seconds)},
        )

    def cancel(self, id: str) -> State | None:
        """Stop a job that waits or runs, remove one that ended; returns the state it has now, None once removed.

        Raises:
            KeyError: there is no such job.
        """
        state = self.queue.cancel(id)
        if state is not None:
            return state
        if self.store.get(id) is None:
            raise KeyError(id)
        self.store.remove(id)
        return None

    def forget(self, id: str) -> None:
        """Stop a job and remove it, whatever its state: nobody waits for it any more."""
        self.queue.cancel(id)
        if self.queue.wait_for_end(id):
            self.store.remove(id)

    def get(self, id: str) -> StoredJob | None:
        """What is kept of a job."""
        return self.store.get(id)

    def view(self, id: str) -> JobResponse | None:
        """A job as it is now: state, progress, and what became of each result so far."""
        place = self.queue.place_of(id)
        if place is not None:
            return active_view(place, self._estimator, self._keep_seconds)
        job = self.store.get(id)
        return None if job is None else stored_view(job, self._keep_seconds)

    def health(self) -> dict[str, Any]:
        """How the server is."""
        alive = sum(worker.is_alive() for worker in self._workers)
        return {
            "status": "ok" if alive == len(self.devices) else "broken",
            "workers": alive,
            "devices": self.devices,
            "running": self.queue.running,
            "waiting": self.queue.waiting,
            "queue": self.settings.queue,
        }

    def _sweep(self) -> None:
        while not self._stopped.wait(SWEEP_SECONDS):
            try:
                self.store.sweep(time.time() - self._keep_seconds)
            except CCSRError as error:
                log.warning("%s", error)


def _devices(settings: ServeSettings) -> list[str]:
    """Every GPU for `auto`, else the one that was named."""
    import torch

    if settings.device == "auto" and torch.cuda.is_available():
        return [f"cuda:{n}" for n in range(torch.cuda.device_count())]
    return [resolve_machine(UpscaleOptions(device=settings.device))[0]]

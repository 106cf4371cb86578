"""The queue between requests and jobs: a bounded line, one worker per device, and what is known of each job meanwhile.

A worker hands whole jobs to `ccsr.jobs.runner`, whose journal makes a job go on where a stopped server left it.
"""

import asyncio
import json
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from ccsr import images
from ccsr.errors import CCSRError, OptionError, TooLargeError
from ccsr.jobs import runner
from ccsr.jobs.names import size_tag
from ccsr.log import get_logger
from ccsr.options import UpscaleOptions
from ccsr.plan import estimated_seconds, resolve_machine
from ccsr.serve.errors import Problem, status_of
from ccsr.serve.settings import ServeSettings
from ccsr.serve.store import Input, Result, Store, StoredJob
from ccsr.stability.maps import measure_files, summary
from ccsr.weights import ModelDescription, cache_folder, describe, list_models

log = get_logger("serve")

FINAL = ("done", "failed", "cancelled")
SWEEP_SECONDS = 60.0

PipelineFactory = Callable[[ModelDescription, UpscaleOptions], runner.Upscaler]


@dataclass(frozen=True)
class Upload:
    """A picture that came in: its client's name for it, and the file that it was put into."""

    name: str
    path: Path


@dataclass
class Live:
    """A job that waits or runs, as the worker leaves it for those who ask."""

    job: StoredJob
    state: str = "queued"
    results: list[Result] = field(default_factory=list)
    inputs: list[Input] = field(default_factory=list)
    progress: float = 0.0
    started: float | None = None
    stop: str | None = None
    """Why the worker shall stop: cancelled, timeout or shutdown."""
    listeners: set[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = field(default_factory=set)


class Service:
    """Takes jobs, has them done, tells how they are. Methods may be called from any thread."""

    def __init__(self, settings: ServeSettings, pipeline_factory: PipelineFactory | None = None) -> None:
        self.settings = settings
        self.store = Store(Path(settings.data).expanduser() if settings.data else cache_folder() / "serve")
        try:
            first = describe(settings.model)
            self.models = {first.name: first, **{m.name: m for m in list_models() if m.name != first.name}}
            self.default_model = first.name
            self.devices = _devices(settings)
        except BaseException:
            self.store.close()
            raise
        self._make_pipeline = pipeline_factory or _pipeline_of
        self._changed = threading.Condition()
        self._waiting: deque[Live] = deque()
        self._live: dict[str, Live] = {}
        self._closing = False
        self._stopped = threading.Event()
        self._seconds_per_flop: float | None = None
        self._threads: list[threading.Thread] = []

    # -- life ---------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Take up what an earlier server left, and begin to work."""
        self.store.sweep(self._oldest(), at_start=True)
        for id in self.store.unfinished():
            job = self.store.get(id)
            if job is not None:
                self._waiting.append(self._live.setdefault(id, Live(job, "queued", [*job.results], [*job.inputs])))
        for number, device in enumerate(self.devices):
            thread = threading.Thread(target=self._work, args=(device,), name=f"ccsr-worker-{number}", daemon=True)
            thread.start()
            self._threads.append(thread)
        sweeper = threading.Thread(target=self._sweep, name="ccsr-sweeper", daemon=True)
        sweeper.start()
        self._threads.append(sweeper)

    def close(self) -> None:
        """Stop after the layer at work; jobs that are not done are taken up at the next start."""
        with self._changed:
            self._closing = True
            for live in self._live.values():
                live.stop = live.stop or "shutdown"
            self._changed.notify_all()
        self._stopped.set()
        for thread in self._threads:
            thread.join()
        self.store.close()

    @property
    def is_full(self) -> bool:
        """Whether no further job may wait."""
        return len(self._waiting) >= self.settings.queue

    def full(self) -> Problem:
        """The answer while the queue is full."""
        seconds = min(3600, max(1, math.ceil(self._left_of(list(self._live.values()), 1))))
        return Problem(
            429,
            f"{len(self._waiting)} jobs wait already, the limit is {self.settings.queue} (come back in {seconds} s)",
            {"Retry-After": str(seconds)},
        )

    # -- requests -----------------------------------------------------------------------------------------------------

    def options_from(self, fields: Mapping[str, Any]) -> UpscaleOptions:
        """Options of a request; the model is one of those in hand, never a folder or an address.

        Raises:
            OptionError: as everywhere, and for a model that is not in hand.
        """
        options = UpscaleOptions.from_mapping({"model": self.default_model, **fields}, "http")
        if options.model not in self.models:
            raise OptionError(f"no model is called {options.model}", hint=f"choose from {', '.join(self.models)}")
        return options

    def submit(self, id: str, uploads: Sequence[Upload], fields: Mapping[str, Any], *, transient: bool) -> None:
        """Check a request and put it in line; its pictures lie in the folder of `id`, which goes if it is refused.

        Raises:
            CCSRError: nothing of it can be done; the picture is called as its client does.
            Problem: the queue is full.
        """
        try:
            self._submit(id, uploads, fields, transient)
        except BaseException:
            self.store.remove(id)
            raise

    def _submit(self, id: str, uploads: Sequence[Upload], fields: Mapping[str, Any], transient: bool) -> None:
        limits = self.settings
        options = self.options_from(fields)
        if not uploads:
            raise OptionError("there is no picture", hint="send at least one in a field called file")
        if len(uploads) > limits.max_files:
            raise TooLargeError(f"{len(uploads)} pictures, the limit is {limits.max_files}", hint="send fewer at once")
        if (count := len(uploads) * options.samples) > limits.max_results:
            raise OptionError(f"{count} results, the limit is {limits.max_results}", hint="ask for fewer --samples")
        names = {str(upload.path): upload.name for upload in uploads}
        for upload in uploads:
            try:
                images.read_header(upload.path, round(limits.max_megapixels * 1e6))
            except TooLargeError as error:
                raise _called(error, names) from error
            except CCSRError:
                pass  # one broken picture does not stop the others
        tasks = runner.prepare(self._job(id, uploads, options), self._here(options, self.devices[0]))
        if all(task.error for task in tasks):
            raise next(_called(task.error, names) for task in tasks if task.error)
        for task in tasks:
            if task.megapixels > limits.max_output_megapixels:
                raise TooLargeError(
                    f"the result has {task.megapixels:.1f} megapixels, the limit is {limits.max_output_megapixels:g}",
                    path=names[str(task.source.path)],
                    hint="choose a smaller --scale",
                )
        flops = sum(task.facts.plan.flops for task in tasks if task.facts)
        inputs = tuple(Input(n, u.name, f"input/{u.path.name}") for n, u in enumerate(uploads))
        job = StoredJob(id, "queued", transient, time.time(), None, dict(fields), flops, None, None, inputs)
        with self._changed:
            if self.is_full:
                raise self.full()
            self.store.add(job)
            live = self._live[id] = Live(job, inputs=[*inputs])
            self._waiting.append(live)
            self._changed.notify()

    def cancel(self, id: str) -> str | None:
        """Stop a job that waits or runs, remove one that ended; returns the state it has now, None once removed.

        Raises:
            KeyError: there is no such job.
        """
        with self._changed:
            live = self._live.get(id)
            if live is not None:
                live.stop = live.stop or "cancelled"
                if live in self._waiting:
                    self._waiting.remove(live)
                    self._end(live, "cancelled")
                return live.state
        if self.store.get(id) is None:
            raise KeyError(id)
        self.store.remove(id)
        return None

    def forget(self, id: str) -> None:
        """Stop a job and remove it, whatever its state: nobody waits for it any more."""
        try:
            while self.cancel(id) is not None:
                time.sleep(0.02)
        except KeyError:
            pass

    def get(self, id: str) -> StoredJob | None:
        """What is kept of a job."""
        return self.store.get(id)

    def view(self, id: str) -> dict[str, Any] | None:
        """A job as it is told: state, progress, and what became of each result so far."""
        with self._changed:
            live = self._live.get(id)
            if live is not None:
                ahead = list(self._waiting)[: self._waiting.index(live)] if live in self._waiting else []
                running = [other for other in self._live.values() if other.state == "running"]
                ours = [live] if live.state == "running" else [*running, *ahead, live]
                # Before the first job there is nothing to judge by.
                left = self._left_of(ours) if self._seconds_per_flop or live.progress > 0.02 else None
                position = len(ahead) + 1 if live.state == "queued" else 0
                return self._told(live.job, live.state, live.results, live.inputs, live.progress, left, position)
        job = self.store.get(id)
        if job is None:
            return None
        progress = 1.0 if job.state == "done" else len(job.results) / max(1, len(job.results) + 1)
        return self._told(job, job.state, job.results, job.inputs, progress, None, 0)

    def _told(
        self,
        job: StoredJob,
        state: str,
        results: Sequence[Result],
        inputs: Sequence[Input],
        progress: float,
        seconds_left: float | None,
        position: int,
    ) -> dict[str, Any]:
        home = f"/v1/jobs/{job.id}"
        keep = self.settings.keep_hours * 3600
        return {
            "id": job.id,
            "state": state,
            "progress": round(progress, 4),
            "seconds_left": None if seconds_left is None else round(seconds_left, 1),
            "position": position,
            "created": round(job.created, 3),
            "expires": round(job.finished + keep, 3) if job.finished else None,
            "error": job.error,
            "options": job.options,
            "inputs": [
                {
                    "index": i.number,
                    "name": i.name,
                    "stability": i.spread,
                    "links": {
                        "picture": f"{home}/input?index={i.number}",
                        "stability": f"{home}/stability?index={i.number}" if i.spread else None,
                    },
                }
                for i in inputs
            ],
            "files": [
                {
                    "index": r.number,
                    "input_index": r.input,
                    "sample": r.sample,
                    **r.record,
                    "links": {"result": f"{home}/result?index={r.number}" if r.stored else None},
                }
                for r in results
            ],
            "links": {"self": home, "events": f"{home}/events", "result": f"{home}/result"},
        }

    @contextmanager
    def listening(self, id: str) -> Iterator[asyncio.Event]:
        """An event of the running loop that is set whenever there may be news of a job."""
        listener = (asyncio.get_running_loop(), asyncio.Event())
        with self._changed:
            live = self._live.get(id)
            if live is not None:
                live.listeners.add(listener)
            else:
                listener[1].set()
        try:
            yield listener[1]
        finally:
            if live is not None:
                live.listeners.discard(listener)

    def health(self) -> dict[str, Any]:
        """How the server is."""
        alive = sum(thread.is_alive() for thread in self._threads if thread.name.startswith("ccsr-worker"))
        return {
            "status": "ok" if alive == len(self.devices) else "broken",
            "workers": alive,
            "devices": self.devices,
            "running": sum(live.state == "running" for live in list(self._live.values())),
            "waiting": len(self._waiting),
            "queue": self.settings.queue,
        }

    # -- work ---------------------------------------------------------------------------------------------------------

    def _work(self, device: str) -> None:
        """One worker's life."""
        cache: dict[tuple[str, str], runner.Upscaler] = {}
        try:
            # So that the first picture does not wait for it.
            self._pipeline(self._here(self.options_from({}), device), cache)
        except CCSRError as error:
            log.warning("%s", error)  # each job will say so, too
        while True:
            with self._changed:
                while not self._waiting and not self._closing:
                    self._changed.wait()
                if self._closing:
                    return
                live = self._waiting.popleft()
                live.state, live.started = "running", time.monotonic()
            try:
                self.store.set_state(live.job.id, "running")
                self._tell(live)
                self._run(live, device, cache)
            except Exception as error:
                if not isinstance(error, CCSRError):
                    log.exception("job %s", live.job.id)
                    error = CCSRError(f"unexpected {type(error).__name__}", hint="the server's log has more")
                with self._changed:
                    self._end(live, "failed", error)

    def _run(self, live: Live, device: str, cache: dict[tuple[str, str], runner.Upscaler]) -> None:
        job, folder = live.job, self.store.folder_of(live.job.id)
        names = {str(folder / i.stored): i.name for i in job.inputs}
        uploads = [Upload(i.name, folder / i.stored) for i in job.inputs]
        options = self._here(self.options_from(job.options), device)
        request = self._job(job.id, uploads, options)
        failure: CCSRError | None = None
        interrupted = False
        begin = time.monotonic()

        try:
            tasks = runner.prepare(request, options)
            listen = _Listener(self, live, tasks, names, options, begin + self.settings.job_seconds)
            if self._seconds_per_flop is None:
                plan = next((t.due.plan for t in tasks if t.due), None)
                if plan is not None:
                    self._seconds_per_flop = estimated_seconds(plan) / plan.flops
            made = runner.run(request, lambda: self._pipeline(options, cache), options, listen, tasks)
            interrupted = made.interrupted
            if not interrupted and options.samples > 1:
                self._measure_spread(live, folder)
        except CCSRError as error:
            failure = _called(error, names)
        if live.stop == "shutdown":
            return  # its state in the store is still that of an unfinished job
        if live.progress == 1 and job.flops and not interrupted:
            measured = (time.monotonic() - begin) / job.flops
            self._seconds_per_flop = (measured + (self._seconds_per_flop or measured)) / 2
        if failure is None and not interrupted and not any(r.stored for r in live.results):
            failure = _called(_why_nothing(live, [upload.path for upload in uploads]), names)
        if interrupted and live.stop == "timeout":
            failure = CCSRError(
                f"the job took longer than the {self.settings.job_seconds:g} s that are allowed", hint="ask for less"
            )
        state = "failed" if failure else "cancelled" if interrupted else "done"
        with self._changed:
            self._end(live, state, failure)

    def _pipeline(self, options: UpscaleOptions, cache: dict[tuple[str, str], runner.Upscaler]) -> runner.Upscaler:
        """A worker's pipeline; it keeps one, and going from one number format to another would round the weights."""
        key = (options.model, resolve_machine(options)[1])
        if key not in cache:
            cache.clear()  # the one before is let go first
            cache[key] = self._make_pipeline(self.models[options.model], options)
        return cache[key]

    def _measure_spread(self, live: Live, folder: Path) -> None:
        """Keep the stability map of each input that has at least two results."""
        for place, input in enumerate(live.inputs):
            paths = [folder / r.stored for r in live.results if r.input == input.number and r.stored]
            if len(paths) < 2:
                continue
            spread = measure_files(paths).deviation.mean(axis=2).astype(np.float32)
            (folder / "spread").mkdir(exist_ok=True)
            np.save(folder / "spread" / f"{input.number:03d}.npy", spread)
            live.inputs[place] = Input(input.number, input.name, input.stored, summary(spread))
            self.store.set_spread(live.job.id, input.number, summary(spread))

    def _end(self, live: Live, state: str, failure: CCSRError | None = None) -> None:
        """Note the end of a job; the lock is held."""
        text, status = (str(failure), status_of(failure)) if failure else (None, None)
        try:
            self.store.set_state(live.job.id, state, text, status)
        except CCSRError as error:
            log.error("%s", error)  # a full disk, say; the next start takes the job up again
        live.state = state
        self._live.pop(live.job.id, None)
        self._tell(live)

    def _tell(self, live: Live) -> None:
        for loop, event in list(live.listeners):
            try:
                loop.call_soon_threadsafe(event.set)
            except RuntimeError:
                live.listeners.discard((loop, event))  # its loop has ended

    def _sweep(self) -> None:
        while True:
            if self._stopped.wait(SWEEP_SECONDS):
                return
            try:
                self.store.sweep(self._oldest())
            except CCSRError as error:
                log.warning("%s", error)

    def _oldest(self) -> float:
        return time.time() - self.settings.keep_hours * 3600

    def _job(self, id: str, uploads: Sequence[Upload], options: UpscaleOptions) -> runner.Job:
        output = f"{self.store.folder_of(id) / 'result'}/"
        return runner.Job([u.path for u in uploads], self.models[options.model], output)

    def _here(self, options: UpscaleOptions, device: str) -> UpscaleOptions:
        """The same options with what this server decides."""
        return replace(options, device=device, threads=self.settings.threads)

    def _left_of(self, lives: Sequence[Live], unknown: float = 0.0) -> float:
        """Seconds that these jobs will take, shared by the workers."""
        total = 0.0
        for live in lives:
            planned = live.job.flops * (self._seconds_per_flop or 0) or unknown
            left = planned * (1 - live.progress)
            if live.started is not None and live.progress > 0.02:
                elapsed = time.monotonic() - live.started
                measured = elapsed * (1 - live.progress) / live.progress
                # What was measured counts the more, the further it is.
                left = measured * live.progress**0.5 + left * (1 - live.progress**0.5)
            total += left
        return total / max(1, min(len(lives), len(self.devices)))


class _Listener:
    """Hears the runner: keeps results, tells progress, and stops the job when it is told to."""

    def __init__(
        self,
        service: Service,
        live: Live,
        tasks: Sequence[runner.Task],
        names: Mapping[str, str],
        options: UpscaleOptions,
        deadline: float,
    ) -> None:
        self._service, self._live, self._names, self._options, self._deadline = service, live, names, options, deadline
        self._numbers = {path: number for number, path in enumerate(names)}
        self._total = sum(task.megapixels for task in tasks) or 1.0
        self._finished = 0.0
        self._told = 0.0

    def __call__(self, event: runner.Event) -> None:
        live = self._live
        match event:
            case runner.Advanced(task, done, total, _):
                live.progress = max(live.progress, (self._finished + task.megapixels * done / total) / self._total)
                if (now := time.monotonic()) - self._told > 0.1:
                    self._told = now
                    self._service._tell(live)
            case runner.Finished(task, record, number, _):
                self._finished += task.megapixels
                live.progress = max(live.progress, min(1.0, self._finished / self._total))
                self._keep(task, record, number - 1)
                self._service._tell(live)
        if live.stop is None and time.monotonic() > self._deadline:
            live.stop = "timeout"
        if live.stop is not None:
            raise runner.Stop

    def _keep(self, task: runner.Task, record: runner.Record, number: int) -> None:
        if any(known.number == number for known in self._live.results):
            return  # done before a restart
        path = str(task.source.path)
        fields = {**record.as_json(), "input": self._names[path], "output": None, "stability_map": None}
        if record.error:
            fields["error"] = record.error.replace(path, self._names[path])
        stored = name = None
        if record.status != "failed" and task.facts is not None:
            stored = task.facts.output.relative_to(self._service.store.folder_of(self._live.job.id)).as_posix()
            name = _download_name(self._names[path], task, self._options)
            fields["output"] = name
        result = Result(number, self._numbers[path], task.sample, name, stored, json.loads(json.dumps(fields)))
        self._service.store.add_result(self._live.job.id, result)
        self._live.results.append(result)


def _download_name(name: str, task: runner.Task, options: UpscaleOptions) -> str:
    """What the command line would call the result: `photo_x4.jpg`, `photo_x4_s00.jpg`."""
    assert task.facts is not None  # noqa: S101
    stem = name.rpartition(".")[0] or name
    sample = f"_s{task.sample:02d}" if options.samples > 1 else ""
    return f"{stem}{size_tag(options)}{sample}{task.facts.output.suffix}"


def _why_nothing(live: Live, paths: Sequence[Path]) -> CCSRError:
    """The error of a job without any result, of the kind that tells whose fault it was."""
    try:
        for path in paths:
            images.load(path)
    except CCSRError as error:
        return error
    return CCSRError(next((r.record["error"] for r in live.results if r.record["error"]), "nothing came out"))


def _called(error: CCSRError, names: Mapping[str, str]) -> CCSRError:
    """The same error, with the client's name for the file: where it lies here is nobody's business."""
    path = names.get(str(error.path), None if error.path is None else Path(str(error.path)).name)
    return type(error)(error.what, path=path, hint=error.hint)


def _devices(settings: ServeSettings) -> list[str]:
    """Every GPU for `auto`, else the one that was named."""
    import torch

    if settings.device == "auto" and torch.cuda.is_available():
        return [f"cuda:{n}" for n in range(torch.cuda.device_count())]
    return [resolve_machine(UpscaleOptions(device=settings.device))[0]]


def _pipeline_of(model: ModelDescription, options: UpscaleOptions) -> runner.Upscaler:
    return runner.load_pipeline(replace(options, model=str(model.folder)))

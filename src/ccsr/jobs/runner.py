"""From inputs to results on disk: what is to be done, then the loop that does it, one picture at a time.

`prepare` settles everything that can be settled before a model is loaded: names, headers, plans, and what an earlier
run has done already. `run` does the rest and tells a listener. One failure never stops the others.
"""

import dataclasses
import errno
import os
import stat
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np

from ccsr import images
from ccsr.errors import CCSRError, ImageError, OptionError
from ccsr.jobs.journal import Claim, Entry, Journal
from ccsr.jobs.names import JOURNAL_NAME, Naming, Source, check_names, expand, intermediate
from ccsr.log import get_logger
from ccsr.options import UpscaleOptions
from ccsr.plan import Plan, batches, is_out_of_memory, make_plan, output_size, resolve_machine
from ccsr.resample import enlarge
from ccsr.stability import StabilityMeter
from ccsr.stability_map import map_paths, save_maps
from ccsr.version import __version__

if TYPE_CHECKING:
    from ccsr.pipeline import Upscaled
    from ccsr.weights import ModelDescription

log = get_logger(__name__)


@dataclass(frozen=True)
class Job:
    """What was asked for, beside the options: files and folders, where to, and with which weights."""

    inputs: Sequence[Path]
    model: "ModelDescription"
    output: str | None = None
    """As typed: a trailing slash means a folder."""
    overwrite: bool = False


class Upscaler(Protocol):
    """The part of `CCSRPipeline` that a job needs."""

    def upscale(
        self,
        picture: np.ndarray,
        options: UpscaleOptions,
        plan: Plan,
        sample: int = 0,
        on_progress: Callable[[int, int, str], None] | None = None,
    ) -> "Upscaled":
        """One result of a picture, both (H, W, 3) float32 in 0..1."""
        ...

    def upscale_batch(
        self,
        batch: Sequence[tuple[np.ndarray, int]],
        options: UpscaleOptions,
        plan: Plan,
        on_progress: Callable[[int, int, str], None] | None = None,
    ) -> "list[Upscaled]":
        """One result for each (picture, sample); pictures of one size."""
        ...


@dataclass(frozen=True)
class Facts:
    """What is known about one result before work begins."""

    output: Path
    folder: Path | None
    """The folder that holds the journal; None when results lie beside their inputs."""
    header: images.Header
    plan: Plan
    entry: Entry
    maps: "_Maps | None" = None
    """What follows the last of several samples."""


@dataclass(frozen=True)
class _Maps:
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
    dtype: str | None
    device: str | None
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


def prepare(job: Job, options: UpscaleOptions) -> list[Task]:
    """One task for each result, in the order of the inputs; broken inputs are tasks that have failed already.

    Reads headers and journals, writes nothing.

    Raises:
        CCSRError: nothing may start: no input, two results of one name, a result over an input, impossible settings,
            or a journal that cannot be read.
    """
    timesteps = options.trajectory.timesteps
    sources = expand(job.inputs, Path(job.output) if job.output else None)
    naming = Naming.of(job.inputs, job.output, options)
    named = [_Named.of(source, naming, options) for source in sources]
    written = [
        (path, n.source.path)
        for n in named
        for output in n.outputs
        for path in (output, *(intermediate(output, t) for t in timesteps if options.intermediates))
    ]
    if options.stability_map:
        written += [(path, n.source.path) for n in named if n.stem for path in map_paths(n.stem)]
    check_names(written, (source.path for source in sources))
    resolve_machine(options)
    with ExitStack() as stack:
        journals = _Journals(stack)
        plans: dict[tuple[int, int], Plan] = {}
        return [task for n in named for task in _tasks(n, job, options, journals, plans)]


@dataclass(frozen=True)
class _Named:
    """A source with its header and the paths of its results, or with the reason why it has none."""

    source: Source
    header: images.Header | None = None
    outputs: tuple[Path, ...] = ()
    folder: Path | None = None
    stem: Path | None = None
    """Of the stability map."""
    error: CCSRError | None = None

    @classmethod
    def of(cls, source: Source, naming: Naming, options: UpscaleOptions) -> "_Named":
        folder = naming.folder_of(source)
        try:
            if stat.S_ISDIR(_status(source.path).st_mode):
                raise ImageError("the folder cannot be listed", path=source.path, hint="check its permissions")
            header = images.read_header(source.path)
            # The result may be too large for the input's format.
            width, height = output_size(header.width, header.height, options)
            result = dataclasses.replace(header, width=width, height=height)
        except (CCSRError, OSError) as error:
            return cls(source, error=_as_ours(error, source.path))
        suffix = images.output_suffix(result, options.format)
        outputs = tuple(naming.result(source, sample, suffix) for sample in range(options.samples))
        return cls(source, header, outputs, folder, naming.map_stem(source))


def _status(path: Path) -> os.stat_result:
    try:
        return path.stat()
    except OSError as error:
        if path.is_symlink() and error.errno in (errno.ENOENT, errno.ELOOP):
            raise ImageError("is a link to a file that does not exist", path=path) from error
        if error.errno == errno.ENOENT:
            raise ImageError("there is no such file", path=path) from error
        raise


def _tasks(
    named: _Named,
    job: Job,
    options: UpscaleOptions,
    journals: "_Journals",
    plans: dict[tuple[int, int], Plan],
) -> Iterator[Task]:
    if named.header is None:
        yield Task(named.source, 0, None, error=named.error)
        return
    path = named.source.path
    try:
        # Pictures of one size share one plan: a million of them are held at once.
        size = (named.header.width, named.header.height)
        plan = plans.get(size) or plans.setdefault(size, make_plan(*size, options, job.model))
        status = path.stat()
    except (CCSRError, OSError) as error:
        yield Task(named.source, 0, None, error=_as_ours(error, path))
        return
    decided = {name: getattr(plan, name) for name in _BYTES_DEPEND_ON}
    for sample, output in enumerate(named.outputs):
        digest = options.digest(**decided, sample=sample)
        entry = Entry(path, status.st_size, status.st_mtime_ns, digest, job.model.sha256)
        is_last = options.stability_map and sample == len(named.outputs) - 1
        maps = _Maps(named.outputs, named.stem) if is_last and named.stem else None
        facts = Facts(output, named.folder, named.header, plan, entry, maps)
        task = Task(named.source, sample, facts)
        if not job.overwrite and os.path.lexists(output):
            yield _known(task, facts, journals.existing(named.folder))
        else:
            yield task


_BYTES_DEPEND_ON = ("device", "dtype", "threads", "tile", "vae_tile", "overlap", "output_width", "output_height")


def _known(task: Task, facts: Facts, journal: Journal | None) -> Task:
    """A task whose result exists: done, to be done again, or refused."""
    match journal.state_of(facts.output, facts.entry) if journal else None:
        case "done":
            return dataclasses.replace(task, is_done=True)
        case "started":
            # That run was stopped at this very result: the file is its own, or what it was allowed to replace.
            return task
    return dataclasses.replace(task, error=_refusal(facts, task))


def _refusal(facts: Facts, task: Task) -> ImageError:
    what = f"{facts.output} exists, and not from this input with these options and weights"
    return ImageError(what, path=task.source.path, hint="--overwrite replaces it")


def run(
    job: Job,
    pipeline_factory: Callable[[], Upscaler],
    options: UpscaleOptions,
    on_event: Callable[[Event], None] = lambda event: None,
    tasks: Sequence[Task] | None = None,
) -> Summary:
    """Do a job; `tasks` are those of `prepare`, if it was called before.

    The pipeline is made once, and only when there is something to compute. Ctrl-C, or a listener that raises `Stop`,
    abandons the picture at work and returns what was done, with `interrupted` set.

    Raises:
        CCSRError: as `prepare`, or when the pipeline cannot be made.
    """
    begin = time.perf_counter()
    tasks = prepare(job, options) if tasks is None else tasks
    summary = Summary()
    teller = Teller(len(tasks), summary, on_event, job.overwrite)
    with ExitStack() as stack:
        worker = _Worker(Desk(job, options, stack), pipeline_factory, on_event)
        elsewhere: list[Numbered] = []
        try:
            for batch in batches(enumerate(tasks, 1), options.batch_size, _alike):
                # What another run has made by now is told as early as it can be.
                elsewhere = worker.do(elsewhere + batch if elsewhere else batch, teller)
            while elsewhere:
                left = len(elsewhere)
                elsewhere = worker.do(elsewhere, teller)
                if len(elsewhere) == left:
                    time.sleep(PATIENCE)
        except (KeyboardInterrupt, Stop):
            summary.interrupted = True
            teller.flush()
    summary.seconds = time.perf_counter() - begin
    return summary


PATIENCE = 0.2
"""Seconds between two looks at what another run is making."""

Numbered = tuple[int, Task]


def _alike(numbered: Numbered) -> Any:
    """Equal for tasks that may be computed together: what is computed, of one size and by one plan."""
    number, task = numbered
    facts = task.due
    return (facts.plan, facts.header.width, facts.header.height) if facts else number


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


class _Journals:
    """The journals of a job's folders, each opened once and closed with the stack."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self._open: dict[Path, Journal] = {}

    def of(self, folder: Path | None) -> Journal | None:
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
        self._journals = _Journals(stack)
        self._timesteps = options.trajectory.timesteps
        self._begin = time.time()
        self._swept: set[Path] = set()

    def claim(self, batch: Sequence[Numbered], teller: Teller) -> tuple[list[Claimed], list[Numbered]]:
        """What is now this run's to make, and what another run is making; the rest is done or refused, and told."""
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
                    teller.started(numbered)
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
            if claim == "resumed" and facts.output.parent not in self._swept:
                images.sweep(facts.output.parent)
                self._swept.add(facts.output.parent)
        except (CCSRError, OSError) as error:
            return self.record(task, "failed", error=_as_ours(error, task.source.path))
        match claim:
            case "taken":
                return "taken"
            case "done":
                return self.record(task, "skipped")
            case "refused":
                return self.record(task, "failed", error=_refusal(facts, task))
        return journal

    def record(
        self,
        task: Task,
        status: Literal["done", "skipped", "failed"],
        *,
        error: CCSRError | None = None,
        seconds: dict[str, float] | None = None,
        warnings: Sequence[str] = (),
    ) -> Record:
        """What became of a task, with the facts of this run."""
        facts, model = task.facts, self.job.model
        plan, header = (facts.plan, facts.header) if facts else (None, None)
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
            dtype=plan.dtype if plan else None,
            device=plan.device if plan else None,
            threads=plan.threads if plan else None,
            seconds={name: round(value, 3) for name, value in {**_NO_SECONDS, **(seconds or {})}.items()},
            warnings=tuple(warnings),
        )


class _Worker:
    """What one run keeps between tasks: the pipeline, and the picture whose samples are being made."""

    def __init__(self, desk: Desk, pipeline_factory: Callable[[], Upscaler], on_event: Callable[[Event], None]) -> None:
        self.desk, self.options, self.on_event = desk, desk.options, on_event
        self._factory = pipeline_factory
        self._pipeline: Upscaler | None = None
        self._picture: tuple[Path, images.Picture] | None = None

    def do(self, batch: Sequence[Numbered], teller: Teller) -> list[Numbered]:
        """Make what is due, skip what is done, and return what another run is making."""
        claimed, elsewhere = self.desk.claim(batch, teller)
        if claimed:
            begin = time.perf_counter()
            # Without weights nothing can be done: that is the job's failure, not the picture's.
            pipeline = self._load_pipeline(claimed[0].facts)
            claimed[0].load = time.perf_counter() - begin
            for work in claimed:
                self._read(work)
            for some in batches(claimed, self.options.batch_size, lambda work: _alike(work.numbered)):
                self._make(some, pipeline, teller)
        return elsewhere

    def _load_pipeline(self, facts: Facts) -> Upscaler:
        if self._pipeline is None:
            import torch

            # Sums over threads are grouped by their number, so a result's last bits depend on it.
            torch.set_num_threads(facts.plan.threads)
            self._pipeline = self._factory()
        return self._pipeline

    def _read(self, work: Claimed) -> None:
        begin = time.perf_counter()
        try:
            picture = self._load(work.path)
            if picture.rgb.shape[:2] != (work.facts.header.height, work.facts.header.width):
                raise ImageError("the file changed since this job looked at it", path=work.path, hint="run again")
            work.picture = picture
        except Exception as error:
            work.error = error
        work.load += time.perf_counter() - begin

    def _load(self, path: Path) -> images.Picture:
        """The picture, read once for all of its samples."""
        if self._picture is None or self._picture[0] != path:
            self._picture = None  # the one before is let go first
            self._picture = (path, images.load(path))
        return self._picture[1]

    def _make(self, batch: Sequence[Claimed], pipeline: Upscaler, teller: Teller) -> None:
        ready = [work for work in batch if work.picture]
        results = dict(zip((work.numbered[0] for work in ready), self._results(ready, pipeline), strict=True))
        for work in batch:
            number, task = work.numbered
            result = results.get(number, work.error)
            try:
                if isinstance(result, Exception):
                    raise result
                record = self._save(work, result)
            except Exception as error:
                log.debug("%s", work.path, exc_info=error)
                record = self.desk.record(task, "failed", error=_as_ours(error, work.path))
            work.picture = result = None
            results.pop(number, None)
            self.desk.finish(work, record, teller)

    def _results(self, works: Sequence[Claimed], pipeline: Upscaler) -> "list[Upscaled | Exception]":
        """The result of each, or why there is none; what fails together is tried one by one."""
        if not works:
            return []
        task, plan = works[-1].numbered[1], works[0].facts.plan

        def on_progress(done: int, total: int, stage: str) -> None:
            self.on_event(Advanced(task, done, total, stage))

        items = [(w.picture.rgb, w.numbered[1].sample) for w in works if w.picture]
        try:
            if len(items) == 1:
                return [pipeline.upscale(items[0][0], self.options, plan, items[0][1], on_progress)]
            return list(pipeline.upscale_batch(items, self.options, plan, on_progress))
        except OptionError:
            # Names, sizes and numbers have been checked: what the pipeline refuses now, it refuses for all pictures.
            raise
        except Exception as error:
            if len(works) == 1:
                return [error]
        return [result for work in works for result in self._results([work], pipeline)]

    def _save(self, work: Claimed, upscaled: "Any") -> Record:
        facts, picture = work.facts, work.picture
        assert picture is not None  # noqa: S101 -- for the type checker: without one there is an error instead
        plan, output = facts.plan, facts.output
        begin = time.perf_counter()
        alpha = None
        if picture.alpha is not None:
            alpha = enlarge(picture.alpha, plan.output_width, plan.output_height)
        output.parent.mkdir(parents=True, exist_ok=True)
        writing: dict[str, Any] = {"depth": self.options.depth, "strip_metadata": self.options.strip_metadata}
        for t, estimate in zip(upscaled.timesteps, upscaled.intermediates, strict=False):
            images.save(dataclasses.replace(picture, rgb=estimate, alpha=None), intermediate(output, t), **writing)
        # Last, so that a result in its place means that all of its files are.
        result = dataclasses.replace(picture, rgb=upscaled.sr, alpha=alpha)
        images.save(result, output, quality=self.options.quality, **writing)
        seconds = {"load": work.load, **upscaled.seconds, "save": time.perf_counter() - begin}
        warnings = [*picture.warnings, *upscaled.warnings, *_changes(facts.entry)]
        return self.desk.record(work.numbered[1], "done", seconds=seconds, warnings=warnings)


class Maker:
    """Makes results one by one, without a journal, for who keeps one elsewhere."""

    def __init__(self, job: Job, options: UpscaleOptions) -> None:
        self._stack, self._overwrite = ExitStack(), job.overwrite
        self._worker = _Worker(Desk(job, options, self._stack), lambda: load_pipeline(options), lambda event: None)

    def make(self, task: Task) -> Record:
        """Make the result of a task, whatever lies in its place, and say what became of it.

        Raises:
            CCSRError: the pipeline cannot be made, or refuses these options for all pictures.
        """
        records: list[Record] = []

        def keep(event: Event) -> None:
            if isinstance(event, Finished):
                records.append(event.record)

        # Whoever keeps the journal sees all samples of a picture, and draws the map over them.
        facts = dataclasses.replace(task.facts, folder=None, maps=None) if task.facts else None
        self._worker.do([(1, dataclasses.replace(task, facts=facts))], Teller(1, Summary(), keep, self._overwrite))
        return records[0]


def load_pipeline(options: UpscaleOptions) -> Upscaler:
    """The pipeline that the options ask for, on their device.

    Raises:
        CCSRError: as `CCSRPipeline.from_pretrained`.
    """
    from diffusers.utils import logging

    from ccsr.pipeline import DTYPES, CCSRPipeline

    # Its advice is for programmers, and would stand between our lines.
    logging.set_verbosity_error()
    device, dtype, _ = resolve_machine(options)
    return CCSRPipeline.from_pretrained(
        options.model, base_model=options.base_model, torch_dtype=DTYPES[dtype], device=device
    )


_NO_SECONDS = dict.fromkeys(("load", "encode", "denoise", "decode", "color", "save"), 0.0)


def _changes(entry: Entry) -> list[str]:
    try:
        status = entry.input.stat()
    except OSError:
        return ["the input vanished while it was being upscaled"]
    if (status.st_size, status.st_mtime_ns) != (entry.size, entry.mtime_ns):
        return ["the input changed while it was being upscaled"]
    return []


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
    meter = StabilityMeter()
    try:
        for run, path in enumerate(maps.results):
            meter.update(str(maps.stem), run, images.load(path).rgb)
        save_maps(meter.deviation.mean(2), meter.mean, maps.stem)
    except (CCSRError, OSError) as error:
        return dataclasses.replace(record, warnings=(*record.warnings, f"no stability map: {error}"))
    return dataclasses.replace(record, stability_map=str(map_path))


def _scale(options: UpscaleOptions, facts: Facts | None) -> float | None:
    """The scale that was asked for, or the one that a size amounts to; whole numbers as such."""
    if options.width is None and options.height is None and options.megapixels is None:
        scale = float(options.scale)
    elif facts is None:
        return None
    else:
        scale = round(facts.plan.output_width / facts.header.width, 6)
    return int(scale) if scale.is_integer() else scale


def _as_ours(error: Exception, path: Path) -> CCSRError:
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

"""Reading, computing and writing side by side: while one picture is computed, the next is read and the last written.

Small pictures are computed several at a time, each by one thread (see `Plan.lanes`): a result depends on its own number
of threads, not on its neighbours. Threads only read, compute and write. All else, journals and listeners included, is
done by the thread that calls `run`, one thing after another, as the calls that the others leave in its queue.
"""

import dataclasses
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from ccsr import images
from ccsr.errors import ImageError, OptionError
from ccsr.images import buffers
from ccsr.images.resample import enlarge
from ccsr.jobs.desk import Claimed, Desk, Numbered, Teller
from ccsr.jobs.journal import Entry
from ccsr.jobs.names import intermediate
from ccsr.jobs.records import Advanced, Event, Record, Stop, as_ours
from ccsr.log import get_logger
from ccsr.options import UpscaleOptions
from ccsr.plan import Plan, batches

if TYPE_CHECKING:
    from ccsr.pipeline import Upscaled

log = get_logger(__name__)

PATIENCE = 0.2
"""Seconds between two looks at what another run is making."""


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


def alike(numbered: Numbered) -> Any:
    """Equal for tasks that may be computed together: what is computed, of one size and by one plan."""
    number, task = numbered
    facts = task.due
    return (facts.plan, facts.header.width, facts.header.height) if facts else number


class Line:
    """What one run keeps between tasks: the pipeline, the threads, and the picture whose samples are being made."""

    def __init__(self, desk: Desk, pipeline_factory: Callable[[], Upscaler], on_event: Callable[[Event], None]) -> None:
        self.desk, self.options, self.on_event = desk, desk.options, on_event
        self._factory = pipeline_factory
        self._pipeline: Upscaler | None = None
        self._picture: tuple[Path, images.Picture] | None = None
        self._calls: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._reader, self._writer = Hand(self._calls, "reader"), Hand(self._calls, "writer")
        self._lanes: list[Hand] = []
        self._stopping = False
        self._begin()

    def _begin(self) -> None:
        self._reading = self._saving = 0
        self._ready: deque[list[Claimed]] = deque()
        self._computing: list[tuple[list[Claimed], Hand]] = []
        self._made: deque[tuple[Claimed, Upscaled | Exception | None]] = deque()
        self._writing = False

    def run(self, tasks: Iterable[Sequence[Numbered]], teller: Teller) -> None:
        """Make what is due of the batches, and skip what is done or what another run has made meanwhile.

        Ctrl-C, a listener's `Stop` and what concerns all pictures end it: what is being computed is abandoned, what is
        being written is finished and told.
        """
        try:
            self._run(iter(tasks), teller)
        except BaseException:
            with _undisturbed():
                self._settle()
            raise

    def _run(self, tasks: Iterator[Sequence[Numbered]], teller: Teller) -> None:
        elsewhere: list[Numbered] = []
        is_over = False
        while True:
            self._start(teller)
            while not is_over and not self._reading and self._has_room():
                batch = next(tasks, None)
                is_over = batch is None
                # What another run has made by now is told as early as it can be.
                elsewhere = self._take([*elsewhere, *(batch or ())], teller)
            if self._reading or self._ready or self._computing or self._saving:
                self._calls.get()()
            elif elsewhere:
                left = len(elsewhere)
                elsewhere = self._take(elsewhere, teller)
                if len(elsewhere) == left:
                    time.sleep(PATIENCE)
            elif is_over:
                return

    def _has_room(self) -> bool:
        """Whether another picture may be read: one ahead of those at work, and no more waiting to be written."""
        lanes = min((group[0].facts.plan.lanes for group, _ in self._computing), default=1)
        return len(self._ready) < lanes and self._saving <= 2 * lanes

    def _take(self, batch: Sequence[Numbered], teller: Teller) -> list[Numbered]:
        """Claim what is due and have it read; returns what another run is making."""
        claimed, elsewhere = self.desk.claim(batch, teller)
        if claimed:
            begin = time.perf_counter()
            # Without weights nothing can be done: that is the job's failure, not the picture's.
            self._load_pipeline(claimed[0].facts.plan)
            claimed[0].load = time.perf_counter() - begin
        for some in batches(claimed, self.options.batch_size, lambda work: alike(work.numbered)):
            self._reading += 1
            self._reader.give(partial(self._read, some), partial(self._was_read, some))
        return elsewhere

    def _was_read(self, group: list[Claimed], _: Any) -> None:
        self._reading -= 1
        self._ready.append(group)

    def _start(self, teller: Teller) -> None:
        """Have computed what may be computed beside what is."""
        while self._ready:
            group = self._ready[0]
            plan = group[0].facts.plan
            at_once = min([plan.lanes, *(other[0].facts.plan.lanes for other, _ in self._computing)])
            if len(self._computing) >= at_once or self._saving > 2 * at_once:
                return
            self._ready.popleft()
            busy = [hand for _, hand in self._computing]
            hand = next((lane for lane in self._lanes if lane not in busy), None)
            if hand is None:
                hand = Hand(self._calls, "lane")
                self._lanes.append(hand)
            for work in group:
                teller.started(work.numbered)
            # Counted only now: a listener that stops the job here has nothing computed that could be waited for.
            self._computing.append((group, hand))
            hand.give(
                partial(self._results, [work for work in group if work.picture]),
                partial(self._was_made, group, hand, teller),
            )

    def _was_made(self, group: list[Claimed], hand: "Hand", teller: Teller, outcome: Any) -> None:
        self._computing.remove((group, hand))
        if isinstance(outcome, BaseException):
            raise outcome
        results = dict(zip((w.numbered[0] for w in group if w.picture), outcome, strict=True))
        for work in group:
            result = results.pop(work.numbered[0], work.error)
            self._saving += 1
            self._made.append((work, result))
            result = None  # the writer's alone: it may be large
        self._write(teller)

    def _write(self, teller: Teller) -> None:
        """Have the next one written. Never one before the last is in its journal: a kill then costs one at most."""
        if self._made and not self._writing:
            self._writing = True
            work, result = self._made.popleft()
            self._writer.give(partial(self._outcome, work, result), partial(self._was_saved, work, teller))

    def _was_saved(self, work: Claimed, teller: Teller, record: Any) -> None:
        self._saving -= 1
        self._writing = False
        try:
            if isinstance(record, BaseException):
                raise record
            self.desk.finish(work, record, teller)
        finally:
            self._write(teller)

    def _settle(self) -> None:
        """Let go of what is under way: wait for what is computed to be abandoned and for what is written to be done."""
        self._stopping = True
        self._ready.clear()
        while self._computing or self._saving:
            try:
                self._calls.get()()
            except (KeyboardInterrupt, Exception, Stop):
                log.debug("while stopping", exc_info=True)
        self._stopping = False
        self._begin()

    def close(self) -> None:
        """End the threads and have let go of what they held; one that still reads is left to end with the process."""
        for hand in (self._reader, self._writer, *self._lanes):
            hand.dismiss()

    # -- in this thread or another one ---------------------------------------------------------------------------------

    def _load_pipeline(self, plan: Plan) -> None:
        if self._pipeline is None:
            import torch

            # Sums over threads are grouped by their number, so a result's last bits depend on it.
            torch.set_num_threads(plan.threads)
            self._pipeline = self._factory()

    def _read(self, group: Sequence[Claimed]) -> None:
        for work in group:
            self._read_one(work)

    def _read_one(self, work: Claimed) -> None:
        begin = time.perf_counter()
        try:
            with _working_files(work):
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

    def _results(self, works: Sequence[Claimed]) -> "list[Upscaled | Exception]":
        """The result of each, or why there is none; what fails together is tried one by one."""
        if not works:
            return []
        assert self._pipeline is not None  # noqa: S101 -- for the type checker: loaded before anything is read
        task, plan = works[-1].numbered[1], works[0].facts.plan

        def on_progress(done: int, total: int, stage: str) -> None:
            if self._stopping:
                raise Stop
            self._calls.put(partial(self.on_event, Advanced(task, done, total, stage)))

        items = [(w.picture.rgb, w.numbered[1].sample) for w in works if w.picture]
        # Progress is told from inside the networks, which several small pictures at a time share.
        listener = on_progress if plan.lanes == 1 else None
        try:
            with _working_files(works[0]):
                if len(items) == 1:
                    return [self._pipeline.upscale(items[0][0], self.options, plan, items[0][1], listener)]
                return list(self._pipeline.upscale_batch(items, self.options, plan, listener))
        except OptionError:
            # Names, sizes and numbers have been checked: what the pipeline refuses now, it refuses for all pictures.
            raise
        except Exception as error:
            if len(works) == 1:
                return [error]
        return [result for work in works for result in self._results([work])]

    def _outcome(self, work: Claimed, result: "Upscaled | Exception | None") -> Record:
        """What became of a claimed task; its files are in their places."""
        try:
            if isinstance(result, Exception):
                raise result
            with _working_files(work):
                return self._save(work, result)
        except Exception as error:
            log.debug("%s", work.path, exc_info=error)
            return self.desk.record(work.numbered[1], "failed", error=as_ours(error, work.path))
        finally:
            work.picture = None

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
        return self.desk.record(work.numbered[1], "done", seconds=seconds, warnings=warnings, plan=upscaled.plan)


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Inside, a further Ctrl-C changes nothing: the job ends already, and what is being written gets finished."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before or signal.SIG_DFL)


class Hand:
    """A thread that does one thing after another, and has the caller told of each when it is over."""

    def __init__(self, calls: "SimpleQueue[Callable[[], None]]", name: str) -> None:
        self._calls, self._name = calls, name
        self._orders: SimpleQueue[tuple[Callable[[], Any], Callable[[Any], None]] | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        # Each is counted by one thread alone.
        self._given = self._over = 0

    def give(self, do: Callable[[], Any], then: Callable[[Any], None]) -> None:
        """Have `do` done; `then` is called with what it returned or raised, in the caller's queue."""
        if self._thread is None:
            # What hangs on a dead disk must not keep the program from ending.
            self._thread = threading.Thread(target=self._work, name=self._name, daemon=True)
            self._thread.start()
        self._given += 1
        self._orders.put((do, then))

    def dismiss(self) -> None:
        """No more orders will come. Returns when all that was held is let go, or at once while an order is under way.

        A thread that frees a tensor while the interpreter ends takes the process down with it.
        """
        if self._thread is not None:
            self._orders.put(None)
            if self._given == self._over:
                self._thread.join()

    def _work(self) -> None:
        while order := self._orders.get():
            do, then = order
            try:
                outcome = do()
            except BaseException as error:  # all of them are the caller's
                outcome = error
            self._over += 1
            self._calls.put(partial(then, outcome))
            # Nothing large is held while waiting for the next one.
            del order, do, then, outcome


@contextmanager
def _working_files(work: Claimed) -> Iterator[None]:
    """Inside, working files lie where the result will, or in the nearest folder above that is there."""
    folder = work.facts.folder or work.facts.output.parent
    while not folder.is_dir() and folder != folder.parent:
        folder = folder.parent
    with buffers.beside(folder):
        yield


def _changes(entry: Entry) -> list[str]:
    try:
        status = entry.input.stat()
    except OSError:
        return ["the input vanished while it was being upscaled"]
    if (status.st_size, status.st_mtime_ns) != (entry.size, entry.mtime_ns):
        return ["the input changed while it was being upscaled"]
    return []

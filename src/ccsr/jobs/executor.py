"""Reading, computing and writing side by side: while one batch is computed, the next is read and the last written.

Batches of small pictures are computed several at a time, each by one thread (see `Plan.lanes`): a result depends on its
own number of threads, not on its neighbours. Threads take `steps` and put a message into a queue when they are over.
All else, journals and listeners included, is done by the thread that calls `run`, in one loop over these messages.
"""

import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

from ccsr.images import buffers
from ccsr.jobs.claims import ClaimedTask, Claims
from ccsr.jobs.events import Advanced, Event, OrderedReporter, Stop
from ccsr.jobs.records import NumberedTask, Record, Task
from ccsr.jobs.steps import Steps, UpscalerLike
from ccsr.jobs.worker_thread import WorkerThread
from ccsr.log import get_logger
from ccsr.plan import batches

if TYPE_CHECKING:
    from ccsr.pipeline import Upscaled

log = get_logger(__name__)

PATIENCE = 0.2
"""Seconds between two looks at what another run is making."""


@dataclass(frozen=True)
class BatchRead:
    """All tasks of a batch have their pictures, or errors instead."""

    batch: list[ClaimedTask]


@dataclass(frozen=True)
class BatchComputed:
    """A lane is free again; it has a result or an error for each task of its batch, or one error for the whole job."""

    lane: WorkerThread
    results: "Sequence[Upscaled | Exception | None] | BaseException"


@dataclass(frozen=True)
class ResultWritten:
    """The writer is free again."""

    claimed: ClaimedTask
    record: Record | BaseException


Message = BatchRead | BatchComputed | ResultWritten | Advanced | BaseException


def alike(numbered: NumberedTask) -> Any:
    """Equal for tasks that may be computed together: what is computed, of one size and by one plan."""
    number, task = numbered
    planned = task.due
    return (planned.plan, planned.header.width, planned.header.height) if planned else number


class JobExecutor:
    """The threads that a job is done by, and its pipeline; they are kept from one `run` to the next."""

    def __init__(
        self, claims: Claims, pipeline_factory: Callable[[], UpscalerLike], on_event: Callable[[Event], None]
    ) -> None:
        self.claims, self.on_event = claims, on_event
        self.steps = Steps(claims.job, claims.options, pipeline_factory)
        self.reader, self.writer = WorkerThread("reader"), WorkerThread("writer")
        self.lanes: list[WorkerThread] = []

    def run(self, batches: Iterable[Sequence[NumberedTask]], reporter: OrderedReporter) -> None:
        """Make what is due of the batches, and skip what is done or what another run has made meanwhile.

        Ctrl-C, a listener's `Stop` and what concerns all pictures end it: what is being computed is abandoned, what is
        being written is finished and told.
        """
        run = _Run(self, reporter)
        try:
            run.loop(iter(batches))
        except BaseException:
            with _undisturbed():
                run.wind_down()
            raise

    def close(self) -> None:
        """End the threads and have let go of what they held; one that still reads is left to end with the process."""
        for thread in (self.reader, self.writer, *self.lanes):
            thread.close()


class _Run:
    """What is being read, computed and written at this moment, and the loop that keeps it going."""

    def __init__(self, executor: JobExecutor, reporter: OrderedReporter) -> None:
        self.executor, self.steps, self.claims = executor, executor.steps, executor.claims
        self.reporter = reporter
        self.messages: SimpleQueue[Message] = SimpleQueue()
        self.reading = 0
        """Batches that the reader has."""
        self.ready: deque[list[ClaimedTask]] = deque()
        """Batches that have been read."""
        self.computing: dict[WorkerThread, list[ClaimedTask]] = {}
        self.computed: deque[tuple[ClaimedTask, Upscaled | Exception | None]] = deque()
        """Results that wait for the writer."""
        self.writing = False
        self.stopping = False

    def loop(self, batches: Iterator[Sequence[NumberedTask]]) -> None:
        """Until all batches are done."""
        elsewhere: list[NumberedTask] = []
        """What another run is making."""
        is_last = False
        while True:
            self._start_computing()
            while not is_last and self._may_read():
                batch = next(batches, None)
                is_last = batch is None
                # What another run has made by now is told as early as it can be.
                elsewhere = self._claim_and_read([*elsewhere, *(batch or ())])
            if self.reading or self.ready or self.computing or self._unwritten:
                self._handle(self.messages.get())
                self._start_writing()
            elif elsewhere:
                before = len(elsewhere)
                elsewhere = self._claim_and_read(elsewhere)
                if len(elsewhere) == before:
                    time.sleep(PATIENCE)
            elif is_last:
                return

    def _handle(self, message: Message) -> None:
        match message:
            case BatchRead(batch):
                self.reading -= 1
                self.ready.append(batch)
            case Advanced():
                self.executor.on_event(message)
            case BatchComputed(lane, results):
                batch = self.computing.pop(lane)
                if isinstance(results, BaseException):
                    raise results
                self.computed.extend(zip(batch, results, strict=True))
            case ResultWritten(claimed, record):
                self.writing = False
                if isinstance(record, BaseException):
                    raise record
                self.claims.finish(claimed, record, self.reporter)
            case BaseException():
                raise message

    def wind_down(self) -> None:
        """Let go of what is under way: wait for what is computed to be abandoned and for what is written to be done."""
        self.stopping = True
        self.ready.clear()
        silent = 0
        while self.computing or self._unwritten:
            try:
                self._start_writing()
                self._handle(self.messages.get(timeout=PATIENCE))
            except Empty:
                # All threads are at rest and have nothing to say: Ctrl-C struck between a message and its handling, or
                # before the work was handed over.
                at_work = any(thread.is_at_work for thread in (*self.computing, self.executor.writer))
                silent = 0 if at_work else silent + 1
                if silent > 1:
                    self.computing.clear()
                    self.writing = False
            except (KeyboardInterrupt, Exception, Stop):
                log.debug("while stopping", exc_info=True)

    @property
    def _unwritten(self) -> int:
        """Results that are computed and not yet in their places."""
        return len(self.computed) + self.writing

    def _lanes_of(self, *more: list[ClaimedTask]) -> int:
        """How many batches may be computed at once, these among them."""
        return min((batch[0].planned.plan.lanes for batch in (*self.computing.values(), *more)), default=1)

    # -- read ----------------------------------------------------------------------------------------------------------

    def _may_read(self) -> bool:
        """One batch is read ahead of those at work, and none while too many results wait to be written."""
        lanes = self._lanes_of()
        return not self.reading and len(self.ready) < lanes and self._unwritten <= 2 * lanes

    def _claim_and_read(self, batch: Sequence[NumberedTask]) -> list[NumberedTask]:
        """Claim what is due and have it read; returns what another run is making."""
        claimed, elsewhere = self.claims.claim(batch, self.reporter)
        for some in batches(claimed, self.claims.options.batch_size, lambda one: alike(one.numbered)):
            self.reading += 1
            self.executor.reader.submit(self.messages, self._read, some)
        return elsewhere

    def _read(self, batch: list[ClaimedTask]) -> Message:
        """In the reader."""
        with buffers.hearing(lambda _: self._on_read(batch[0].task)):
            self.steps.read(batch)
        return BatchRead(batch)

    def _on_read(self, task: Task) -> None:
        """In the reader, between the bands of a large picture: nothing is done yet, but whoever listens may stop it."""
        if self.stopping:
            raise Stop
        if not self.computing:
            self.messages.put(Advanced(task, 0, 1000, "read"))

    # -- compute -------------------------------------------------------------------------------------------------------

    def _start_computing(self) -> None:
        """Have computed what may be computed beside what is."""
        while self.ready:
            lanes = self._lanes_of(self.ready[0])
            if len(self.computing) >= lanes or self._unwritten > 2 * lanes:
                return
            batch = self.ready.popleft()
            for claimed in batch:
                self.reporter.started(claimed.numbered)
            self._load_pipeline(batch)
            lane = self._free_lane()
            self.computing[lane] = batch
            lane.submit(self.messages, self._compute, batch, lane)

    def _load_pipeline(self, batch: list[ClaimedTask]) -> None:
        """Have a pipeline as soon as there is a picture for it: broken files need none."""
        if first := next((claimed for claimed in batch if claimed.picture), None):
            begin = time.perf_counter()
            self.steps.load_pipeline(first.planned.plan)
            first.load += time.perf_counter() - begin

    def _free_lane(self) -> WorkerThread:
        for lane in self.executor.lanes:
            if lane not in self.computing:
                return lane
        self.executor.lanes.append(WorkerThread("lane"))
        return self.executor.lanes[-1]

    def _compute(self, batch: list[ClaimedTask], lane: WorkerThread) -> Message:
        """In a lane."""
        try:
            return BatchComputed(lane, self.steps.compute(batch, self._on_progress))
        except BaseException as error:
            return BatchComputed(lane, error)

    def _on_progress(self, task: Task, done: int, total: int, stage: str) -> None:
        """In a lane."""
        if self.stopping:
            raise Stop
        self.messages.put(Advanced(task, done, total, stage))

    # -- write ---------------------------------------------------------------------------------------------------------

    def _start_writing(self) -> None:
        """Have the next one written. Never one before the last is in its journal: a kill then costs one at most."""
        if self.computed and not self.writing:
            self.writing = True
            self.executor.writer.submit(self.messages, self._write, *self.computed.popleft())

    def _write(self, claimed: ClaimedTask, result: "Upscaled | Exception | None") -> Message:
        """In the writer."""
        try:
            return ResultWritten(claimed, self.steps.write(claimed, result))
        except BaseException as error:
            return ResultWritten(claimed, error)


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Inside, a further Ctrl-C or SIGTERM changes nothing: the job ends already, and what is being written is
    finished."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler or signal.SIG_DFL)

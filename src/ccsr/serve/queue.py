"""The queue of jobs: those that wait or run are in memory, all of them in the store.

The lock is held for moments only. What is written to the store is written outside of it, so that nobody who asks how
a job is waits for a disk.
"""

import asyncio
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from queue import Full
from typing import Literal

from ccsr.errors import CCSRError
from ccsr.log import get_logger
from ccsr.serve.errors import status_of
from ccsr.serve.store import FINAL, Input, Result, State, Store, StoredJob

log = get_logger("serve")


@dataclass(eq=False)
class ActiveJob:
    """A job that waits or runs, as its worker keeps it for those who ask."""

    job: StoredJob
    inputs: list[Input]
    results: list[Result]
    state: State = "queued"
    progress: float = 0.0
    started: float | None = None
    """When a worker took it, in seconds of the monotonic clock."""
    stop: Literal["cancelled", "timeout", "shutdown"] | None = None
    """Why the worker shall stop."""
    listeners: set[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = field(default_factory=set)

    @classmethod
    def of(cls, job: StoredJob) -> "ActiveJob":
        """A job that waits, with the results that it had before a restart."""
        return cls(job, [*job.inputs], [*job.results])

    def snapshot(self) -> StoredJob:
        """The job as it is now."""
        return replace(self.job, state=self.state, inputs=tuple(self.inputs), results=tuple(self.results))

    def notify(self) -> None:
        """Wake the listeners."""
        for loop, event in list(self.listeners):
            try:
                loop.call_soon_threadsafe(event.set)
            except RuntimeError:
                self.listeners.discard((loop, event))  # its loop has ended


@dataclass(frozen=True)
class Place:
    """Where a job is in the queue."""

    active: ActiveJob
    position: int
    """From 1; 0 once it runs."""
    until_end: list[ActiveJob]
    """The jobs whose work is between now and its end, itself included."""


class JobQueue:
    """A bounded queue that outlives the process; every method may be called from any thread."""

    def __init__(self, store: Store, limit: int) -> None:
        self._store, self._limit = store, limit
        self._changed = threading.Condition()
        self._waiting: deque[ActiveJob] = deque()
        self._arriving = 0
        """Jobs that have a place and are being written to the store."""
        self._active: dict[str, ActiveJob] = {}
        self._closed = False

    @property
    def waiting(self) -> int:
        """Number of jobs that wait."""
        return len(self._waiting) + self._arriving

    @property
    def running(self) -> int:
        """Number of jobs at work."""
        return sum(active.state == "running" for active in self.active())

    @property
    def is_full(self) -> bool:
        """Whether no further job may wait."""
        return self.waiting >= self._limit

    def active(self) -> list[ActiveJob]:
        """The jobs that wait or run, in their order of arrival."""
        return list(self._active.values())

    def restore(self) -> None:
        """Take up what an earlier process left."""
        for id in self._store.unfinished():
            if job := self._store.get(id):
                self._enter(ActiveJob.of(job))

    def add(self, job: StoredJob) -> ActiveJob:
        """Keep a new job and let it wait for a worker.

        Raises:
            queue.Full: no further job may wait.
            CCSRError: it cannot be kept.
        """
        with self._changed:
            if self.is_full:
                raise Full
            self._arriving += 1
        active = ActiveJob.of(job)
        try:
            self._store.add(job)
        except BaseException:
            with self._changed:
                self._arriving -= 1
            raise
        with self._changed:
            self._arriving -= 1
            self._enter(active)
        return active

    def _enter(self, active: ActiveJob) -> None:
        with self._changed:
            self._active[active.job.id] = active
            self._waiting.append(active)
            self._changed.notify_all()

    def take(self) -> ActiveJob | None:
        """The next job, which runs from now on; waits for one, and is None once the queue is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closed)
            if self._closed:
                return None
            active = self._waiting.popleft()
            active.state, active.started = "running", time.monotonic()
            return active

    def end(self, active: ActiveJob, state: State, failure: CCSRError | None = None) -> None:
        """Keep how a job ended, then let everybody know."""
        error, status = (str(failure), status_of(failure)) if failure else (None, None)
        try:
            self._store.set_state(active.job.id, state, error, status)
        except CCSRError as problem:
            log.error("%s", problem)  # a full disk, say; the next start takes the job up again
        with self._changed:
            active.job = replace(active.job, error=error, status=status)
            active.state = state
            self._active.pop(active.job.id, None)
            self._changed.notify_all()
        active.notify()

    def cancel(self, id: str) -> State | None:
        """End a job that waits, have a running one stopped; the state it has now, None where it is neither."""
        with self._changed:
            active = self._active.get(id)
            if active is None:
                return None
            active.stop = active.stop or "cancelled"
            is_waiting = active in self._waiting
            if is_waiting:
                self._waiting.remove(active)
        if is_waiting:
            self.end(active, "cancelled")
        return active.state

    def wait_for_end(self, id: str) -> bool:
        """Wait until a job neither waits nor runs; False where the queue is closed before."""
        with self._changed:
            self._changed.wait_for(lambda: id not in self._active or self._closed)
            return id not in self._active

    def close(self) -> None:
        """Stop all jobs after the layer at work; the next start takes them up."""
        with self._changed:
            self._closed = True
            for active in self._active.values():
                active.stop = active.stop or "shutdown"
            self._changed.notify_all()

    def place_of(self, id: str) -> Place | None:
        """Where a job is; None where it neither waits nor runs."""
        with self._changed:
            active = self._active.get(id)
            if active is None:
                return None
            ahead = list(self._waiting)[: self._waiting.index(active)] if active in self._waiting else []
            running = [other for other in self._active.values() if other.state == "running"]
            if active.state == "running":
                return Place(active, 0, [active])
            return Place(active, len(ahead) + 1, [*running, *ahead, active])

    @contextmanager
    def listening(self, id: str) -> Iterator[asyncio.Event]:
        """An event of the running loop that is set whenever a job may have changed."""
        changed = asyncio.Event()
        active = self._active.get(id)
        if active is None:
            changed.set()
            yield changed
            return
        listener = (asyncio.get_running_loop(), changed)
        active.listeners.add(listener)
        if active.state in FINAL:  # it ended before it knew of the listener
            changed.set()
        try:
            yield changed
        finally:
            active.listeners.discard(listener)

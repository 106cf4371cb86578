"""What a job tells while it runs, and who tells it in order."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from ccsr.jobs.maps import with_stability_map
from ccsr.jobs.records import NumberedTask, Record, Summary, Task


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


class OrderedReporter:
    """Tells results in the order of their tasks, whatever the order in which they come, and counts them."""

    def __init__(self, total: int, summary: Summary, on_event: Callable[[Event], None], overwrite: bool) -> None:
        self.total, self.summary, self.on_event, self.overwrite = total, summary, on_event, overwrite
        self._waiting: dict[int, tuple[Task, Record]] = {}
        self._next = 1

    def started(self, numbered: NumberedTask) -> None:
        """Work on a task begins; this is told at once."""
        number, task = numbered
        self.on_event(Started(task, number, self.total))

    def finished(self, numbered: NumberedTask, record: Record) -> None:
        """A task is over; this is told when all before it are."""
        number, task = numbered
        self._waiting[number] = (task, record)
        while self._next in self._waiting:
            self._tell(self._next)
            self._next += 1

    def flush(self) -> None:
        """Tell what is still held back, when what it waits for will not come; a listener cannot stop this."""
        for number in sorted(self._waiting):
            with suppress(Stop):
                self._tell(number)

    def _tell(self, number: int) -> None:
        task, record = self._waiting.pop(number)
        # Here all samples before the last one are there, whoever made them.
        record = with_stability_map(record, task, self.overwrite)
        setattr(self.summary, record.status, getattr(self.summary, record.status) + 1)
        self.on_event(Finished(task, record, number, self.total))

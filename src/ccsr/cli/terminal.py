"""What people see: lines on stderr, and one bar where there is a terminal. Only results go to stdout."""

import logging
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from ccsr.jobs.runner import Event, Summary, Task


# File names may hold what moves a terminal's cursor, colours it or turns its writing round.
_UNSHOWN = re.compile("[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def say(line: str) -> None:
    """One line on stderr, above the bar if there is one; control characters show as Python writes them."""
    line = _UNSHOWN.sub(lambda found: ascii(found[0])[1:-1], line)
    if _bars:
        _bars[-1].write(line, file=sys.stderr)
    else:
        put(line, sys.stderr)


def put(text: str, file: TextIO | None = None) -> None:
    """Text and a line end into an output, standard output unless told otherwise. Both in one piece: Ctrl-C may strike
    between two writes, and would glue the next line to this one."""
    file = sys.stdout if file is None else file
    file.write(f"{text}\n")
    file.flush()


def error(line: str) -> None:
    """One line for one failure."""
    say(f"error: {line}")


_bars: list[Any] = []


def add_bar(bar: Any) -> None:
    """From now on lines are written above this bar of tqdm."""
    _bars.append(bar)


def remove_bar(bar: Any) -> None:
    """Take a bar away."""
    if bar in _bars:
        bar.close()
        _bars.remove(bar)


class _Handler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        say(f"{record.levelname.lower()}: {self.format(record)}")


@contextmanager
def logging_on_stderr(verbose: bool, quiet: bool) -> Iterator[None]:
    """Show the package's log: warnings, everything with `verbose`, errors alone with `quiet`."""
    handler, logger = _Handler(), logging.getLogger("ccsr")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG if verbose else logging.ERROR if quiet else logging.WARNING)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)


def duration(seconds: float) -> str:
    """Seconds as a person says them: `8 s`, `4 min`, `2 h 5 min`."""
    if seconds < 99.5:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    if minutes < 100:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min"


class JobReporter:
    """Listens to a job: a bar over megapixels of results on a terminal, else one line for each result."""

    def __init__(self, tasks: Sequence["Task"], *, quiet: bool, verbose: bool, progress: bool) -> None:
        self._quiet = quiet
        self._bar: Any = None
        due = sum(task.megapixels for task in tasks if task.due)
        if progress and not quiet and due and sys.stderr.isatty():
            from tqdm import tqdm

            self._bar = tqdm(
                total=due, unit="MP", file=sys.stderr, leave=False, dynamic_ncols=True,
                bar_format="{desc} {percentage:3.0f}%|{bar}| {n:.2f}/{total:.2f} MP [{elapsed}<{remaining},"
                " {rate_fmt}]",
            )  # fmt: skip
            add_bar(self._bar)
        self._lines = verbose or self._bar is None
        self._finished = 0.0

    def __call__(self, event: "Event") -> None:
        """Show one event."""
        from ccsr.jobs.runner import Advanced, Finished, Started

        match event:
            case Started(task, number, total) if self._bar:
                self._bar.set_description_str(f"{number}/{total} {task.source.path.name}")
            case Advanced(task, done, total, _) if self._bar:
                self._move_to(self._finished + task.megapixels * done / total)
            case Finished(task, record):
                if self._bar and task.due:
                    self._finished += task.megapixels
                    self._move_to(self._finished)
                self._tell(record)

    def _move_to(self, megapixels: float) -> None:
        self._bar.update(megapixels - self._bar.n)

    def _tell(self, record: Any) -> None:
        if record.error and record.status == "failed":
            error(record.error)
        if self._quiet:
            return
        for warning in record.warnings:
            say(f"warning: {record.input}: {warning}")
        if self._lines and record.status == "done":
            seconds = sum(record.seconds.values())
            say(f"done: {record.output} {record.width}x{record.height} in {seconds:.1f} s")
        elif self._lines and record.status == "skipped":
            say(f"skipped: {record.output} was made before")

    def close(self) -> None:
        """Take the bar away."""
        remove_bar(self._bar)

    def end(self, summary: "Summary") -> None:
        """Say how it went."""
        self.close()
        if self._quiet:
            return
        counts = f"{summary.done} done, {summary.skipped} skipped, {summary.failed} failed"
        if summary.unread:
            counts += f", {summary.unread} not read"
        counts += f" in {summary.seconds:.1f} s"
        if summary.done > 1:
            counts += f", {summary.done / summary.seconds:.2g} pictures/s"
        for result in summary.kept:
            say(f"note: what is finished of {result} is kept beside it: the same command goes on there")
        say(f"interrupted: {counts}" if summary.interrupted else counts)

"""A read-write lock: several threads at once, or one alone."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class ReadWriteLock:
    """Any number of threads inside `shared`, or one inside `exclusive`."""

    def __init__(self) -> None:
        self._condition, self._inside = threading.Condition(), 0

    @contextmanager
    def shared(self) -> Iterator[None]:
        """Inside, no thread is in `exclusive`."""
        with self._condition:
            self._condition.wait_for(lambda: self._inside >= 0)
            self._inside += 1
        try:
            yield
        finally:
            self._leave()

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Inside, there is no other thread."""
        with self._condition:
            self._condition.wait_for(lambda: self._inside == 0)
            self._inside = -1
        try:
            yield
        finally:
            self._leave()

    def _leave(self) -> None:
        with self._condition:
            self._inside = max(0, self._inside - 1)
            self._condition.notify_all()

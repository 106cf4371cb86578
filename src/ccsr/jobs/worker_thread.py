"""A thread that does one thing after another."""

import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any


class WorkerThread:
    """A thread that does what it is given, in that order, and puts what comes of each into a queue.

    Unlike those of `concurrent.futures` it does not keep the program from ending: a thread may hang on a dead disk.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._calls: SimpleQueue[tuple[SimpleQueue[Any], Callable[..., Any], tuple[Any, ...]] | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        # Each is counted by one thread alone.
        self._submitted = self._finished = 0

    def submit(self, outcomes: "SimpleQueue[Any]", function: Callable[..., Any], *arguments: Any) -> None:
        """Have a function called; what it returns or raises is put into `outcomes`."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name=self._name, daemon=True)
            self._thread.start()
        self._submitted += 1
        self._calls.put((outcomes, function, arguments))

    @property
    def is_at_work(self) -> bool:
        """Something was submitted that has not ended."""
        return self._submitted != self._finished

    def close(self) -> None:
        """Nothing more will be submitted. Returns when all that was held is let go, or at once while a call is running.

        A thread that frees a tensor while the interpreter ends takes the process down with it.
        """
        if self._thread is not None:
            self._calls.put(None)
            if not self.is_at_work:
                self._thread.join()

    def _work(self) -> None:
        while call := self._calls.get():
            outcomes, function, arguments = call
            try:
                outcome = function(*arguments)
            except BaseException as error:  # all of them are the caller's
                outcome = error
            self._finished += 1
            outcomes.put(outcome)
            # Nothing large is held while waiting for the next one.
            del call, outcomes, function, arguments, outcome

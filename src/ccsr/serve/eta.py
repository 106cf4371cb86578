"""How long jobs will take, learnt from those that are done."""

import threading
import time
from collections import deque
from collections.abc import Sequence

import numpy as np
from scipy.optimize import nnls

from ccsr.plan import Plan, estimated_seconds
from ccsr.serve.queue import ActiveJob, Place

_REMEMBERED = 20
"""Jobs that an estimate is made from: the last ones."""
_FIRST_CONSTANT = 0.3
"""Seconds of a job beside its operations, before one is measured."""
_TRUST = 0.3
"""Weight of what was expected before any job, by that of one job that was measured."""


class Estimator:
    """Seconds of a job: a constant, and so many for each floating-point operation.

    Both are fitted to the last jobs by their relative errors, together with what was expected of the machine: tiny
    pictures, whose time is nearly all constant, then say nothing wrong of large ones. No estimate goes beyond
    `most`, the time after which a job is stopped.
    """

    def __init__(self, workers: int, most: float) -> None:
        self._workers, self.most = workers, most
        self._lock = threading.Lock()
        self._expected: float | None = None
        """Seconds per operation, by the plan of a result."""
        self._measured: deque[tuple[float, float]] = deque(maxlen=_REMEMBERED)
        """(operations, seconds) of jobs that are done."""
        self._constant, self._slope = _FIRST_CONSTANT, 0.0

    def expect(self, plan: Plan) -> None:
        """Before the first job: what the plan of a result says."""
        with self._lock:
            if self._expected is None:
                self._expected = estimated_seconds(plan) / plan.flops
                self._fit()

    def learn(self, seconds: float, flops: float) -> None:
        """After a job: what it took."""
        with self._lock:
            self._measured.append((flops, max(seconds, 1e-3)))
            self._expected = self._expected or seconds / flops
            self._fit()

    def _fit(self) -> None:
        expected = self._expected or 1.0
        rows = [(1 / seconds, flops * expected / seconds) for flops, seconds in self._measured]
        weights = np.array([1.0] * len(rows) + [_TRUST] * 2)
        system = np.array([*rows, (1 / _FIRST_CONSTANT, 0), (0, 1)])
        (constant, slope), _ = nnls(system * weights[:, None], weights)
        self._constant, self._slope = float(constant), float(slope) * expected

    def seconds_for(self, flops: float) -> float | None:
        """Seconds of so much work, not cut at `most`; None where there is nothing to judge by yet."""
        with self._lock:
            return self._constant + self._slope * flops if self._slope else None

    def seconds_to_end(self, place: Place) -> float | None:
        """Seconds to the end of a job, those before it included; None where there is nothing to judge by yet."""
        if self._slope or place.active.progress > 0.02:
            return self.seconds_of(place.until_end)
        return None

    def seconds_of(self, jobs: Sequence[ActiveJob]) -> float:
        """Seconds that the workers need for these jobs together."""
        return sum(map(self.seconds_left, jobs)) / max(1, min(len(jobs), self._workers))

    def seconds_left(self, active: ActiveJob) -> float:
        """Seconds that one job needs from now on, a worker given."""
        planned = self.seconds_for(active.job.flops)
        left = (1.0 if planned is None else planned) * (1 - active.progress)
        if active.started is None:
            return min(left, self.most)
        elapsed = time.monotonic() - active.started
        if active.progress > 0.02:
            measured = elapsed * (1 - active.progress) / active.progress
            # What was measured counts the more, the further it is.
            left = measured * active.progress**0.5 + left * (1 - active.progress**0.5)
        return min(left, max(0.0, self.most - elapsed))

"""How long jobs will take, learnt from those that are done."""

import time
from collections.abc import Sequence

from ccsr.plan import Plan, estimated_seconds
from ccsr.serve.queue import ActiveJob, Place


class Estimator:
    """Seconds per floating-point operation of this machine's workers, and what follows from it."""

    def __init__(self, workers: int) -> None:
        self._workers = workers
        self._seconds_per_flop: float | None = None

    def expect(self, plan: Plan) -> None:
        """Before the first job: what the plan of a result says."""
        if self._seconds_per_flop is None:
            self._seconds_per_flop = estimated_seconds(plan) / plan.flops

    def learn(self, seconds: float, flops: float) -> None:
        """After a job: what it took. The last jobs count the most."""
        measured = seconds / flops
        self._seconds_per_flop = (measured + (self._seconds_per_flop or measured)) / 2

    def seconds_to_end(self, place: Place) -> float | None:
        """Seconds to the end of a job, those before it included; None where there is nothing to judge by yet."""
        if self._seconds_per_flop or place.active.progress > 0.02:
            return self.seconds_of(place.until_end)
        return None

    def seconds_of(self, jobs: Sequence[ActiveJob], unknown: float = 0.0) -> float:
        """Seconds that the workers need for these jobs together; `unknown` for each that nothing is known of."""
        total = 0.0
        for active in jobs:
            planned = active.job.flops * (self._seconds_per_flop or 0) or unknown
            left = planned * (1 - active.progress)
            if active.started is not None and active.progress > 0.02:
                elapsed = time.monotonic() - active.started
                measured = elapsed * (1 - active.progress) / active.progress
                # What was measured counts the more, the further it is.
                left = measured * active.progress**0.5 + left * (1 - active.progress**0.5)
            total += left
        return total / max(1, min(len(jobs), self._workers))

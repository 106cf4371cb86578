"""Methods that run in our own worker process, one result of each picture."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ccsr.compare import processes, worker_program
from ccsr.compare.methods.base import Cost, MethodJob, MethodResult

PROGRAM = Path(worker_program.__file__)


def make_with_worker(job: MethodJob, settings: Mapping[str, Any], python: str | Path | None = None) -> MethodResult:
    """Results of what is missing, by `worker_program.py` under `python` (this one's interpreter by default).

    Raises:
        CCSRError: the worker ended early; its last line is the reason.
    """
    missing = job.missing()
    made = MethodResult()
    if not missing:
        return made
    job.results.mkdir(parents=True, exist_ok=True)
    pictures = {n: (str(job.inputs[n]), str(job.results / f"{n}.png"), *job.sizes[n]) for n in missing}
    seconds: list[float] = []

    def listen(line: str) -> None:
        # Libraries print to stdout too.
        if not line.startswith("{"):
            return
        told = json.loads(line)
        if "loaded" in told:
            made.cost.load, made.parameters = told["loaded"], told["parameters"]
        elif "failed" in told:
            made.failures[told["failed"]] = told["error"]
        elif "done" in told:
            seconds.append(told["seconds"])
            job.on_progress(len(seconds), len(missing))

    ended = processes.run(
        [str(python or sys.executable), str(PROGRAM)],
        job.log,
        stdin=json.dumps({"threads": job.threads, **settings, "pictures": pictures}),
        environment=processes.thread_limits(job.threads),
        on_line=listen,
    )
    made.cost = Cost(made.cost.load, *_first(seconds), peak_bytes=ended.peak_bytes)
    return made


def _first(seconds: list[float]) -> tuple[float | None, list[float]]:
    return (seconds[0], seconds[1:]) if seconds else (None, [])

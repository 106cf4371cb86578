"""A job on several machines: Ray Data spreads it over one actor for each device, and this process keeps the journal.

Inputs and results lie on a file system that all machines see under the same paths. Machines with the same kind of
device, number format and thread count give the same bytes as one machine alone. What a lost worker had taken on is
given to another one.
"""

import dataclasses
import logging
import os
import pickle
import socket
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from ccsr import program
from ccsr.errors import CCSRError, MissingExtraError, OptionError
from ccsr.jobs import runner
from ccsr.jobs.runner import Event, Job, Record, Summary, Task
from ccsr.log import get_logger
from ccsr.options import UpscaleOptions

log = get_logger(__name__)

_SHARES = 5000
"""Parts that a large job is cut into, about: one is the least that is repeated when a worker is lost."""


class Actor:
    """One device of the cluster; the model is loaded when it starts. Called with rows by Ray Data."""

    def __init__(self, job: Job, options: UpscaleOptions) -> None:
        program.start()
        # What is to be made has been settled before; after a loss the file of a task made twice may lie there.
        self._runner = runner.SingleRunner(dataclasses.replace(job, overwrite=True), options)

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """The record of one task; results lie in their place when it returns."""
        record = self._runner.run(pickle.loads(row["task"]))  # noqa: S301 -- out of `_spread` below
        return {"number": row["number"], "record": pickle.dumps(record)}


def run(
    job: Job, options: UpscaleOptions, on_event: Callable[[Event], None], tasks: Sequence[Task], address: str
) -> Summary:
    """As `jobs.runner.run`, over the cluster at `address`, or with `local` over this machine's devices.

    Raises:
        MissingExtraError: Ray is not installed.
        OptionError: there is no cluster at the address, or none that has the device.
    """
    begin = time.perf_counter()
    summary = Summary()
    reporter = runner.OrderedReporter(len(tasks), summary, on_event, job.overwrite)
    with ExitStack() as stack:
        claims = runner.Claims(job, options, runner.Journals(stack))
        elsewhere = list(enumerate(tasks, 1))
        try:
            while elsewhere:
                with claims.together(elsewhere):
                    claimed, elsewhere = claims.claim(elsewhere, reporter)
                for one in claimed:
                    reporter.started(one.numbered)
                if claimed:
                    _spread(job, options, address, claimed, claims, reporter)
                elif elsewhere:
                    time.sleep(runner.PATIENCE)
        except KeyboardInterrupt:
            summary.interrupted = True
            reporter.flush()
    summary.seconds = time.perf_counter() - begin
    return summary


def _spread(
    job: Job,
    options: UpscaleOptions,
    address: str,
    claimed: "list[runner.ClaimedTask]",
    claims: runner.Claims,
    reporter: "runner.OrderedReporter",
) -> None:
    waiting = {one.numbered[0]: one for one in claimed}
    with _mute_stdout(), _connected(address) as ray:
        # Small pictures take less; all workers have what the largest need.
        plan = max((one.planned.plan for one in claimed), key=lambda plan: plan.threads)
        resources = ray.cluster_resources()
        on_gpu = plan.device.startswith("cuda")
        actors = int(resources.get("GPU", 0) if on_gpu else resources.get("CPU", 0) // plan.threads)
        if actors < 1:
            wanted = "a GPU" if on_gpu else f"{plan.threads} CPUs for one worker"
            raise OptionError(f"the cluster at {address} does not have {wanted}", hint="set --device or --threads")
        log.info("%d workers of %d threads at %s", actors, plan.threads, address)
        share = max(1, len(claimed) // _SHARES)
        rows = [{"number": one.numbered[0], "task": pickle.dumps(one.numbered[1])} for one in claimed]
        data = ray.data.from_items(rows, override_num_blocks=-(-len(rows) // share)).map(
            Actor,
            fn_constructor_kwargs={"job": job, "options": options},
            compute=ray.data.ActorPoolStrategy(min_size=1, max_size=actors),
            num_cpus=plan.threads,
            num_gpus=1 if on_gpu else 0,
        )
        for row in data.iter_rows():
            record: Record = pickle.loads(row["record"])  # noqa: S301 -- out of `Actor`
            claims.finish(waiting.pop(row["number"]), record, reporter)


@contextmanager
def _mute_stdout() -> Iterator[None]:
    """Inside, what anybody writes to the process's standard output is lost: Ray and its libraries speak there.

    Who has results to write there keeps a descriptor of their own.
    """
    sys.stdout.flush()
    kept, nowhere = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    try:
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)
        os.close(nowhere)


def _knock(address: str) -> None:
    """Ray itself would wait for a head node for ever.

    Raises:
        OSError: nobody answers there.
        ValueError: this is no address.
    """
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if address not in ("local", "auto"):
        socket.create_connection((host, int(port)), timeout=10).close()


@contextmanager
def _connected(address: str) -> Iterator[Any]:
    # Read as Ray is loaded: it would report to its makers, and its own lines would stand between ours.
    for name, value in {"USAGE_STATS_ENABLED": "0", "BACKEND_LOG_LEVEL": "fatal"}.items():
        os.environ.setdefault(f"RAY_{name}", value)
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise MissingExtraError("--cluster needs Ray", hint='pip install "ccsr[ray]"') from error
    where = {"include_dashboard": False} if address == "local" else {"address": address}
    try:
        _knock(address)
        ray.init(log_to_driver=False, logging_level="ERROR", **where)
    except (ConnectionError, ValueError, RuntimeError, OSError) as error:
        text = " ".join(str(error).split())[:200]
        raise OptionError(f"no cluster answers at {address}: {text}", hint="local is this machine") from error
    try:
        ray.data.DataContext.get_current().enable_progress_bars = False
        for name in ("ray", "ray.data"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
        yield ray
    except ray.exceptions.RayError as error:
        text = " ".join(str(error).split())[:300]
        raise CCSRError(f"the cluster gave up: {text}", hint="run again: what is done is kept") from error
    finally:
        ray.shutdown()

"""What a job comes to, before any work: for `--dry-run`, and for the note before long work."""

import json
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

from ccsr.cli import terminal
from ccsr.options import UpscaleOptions

if TYPE_CHECKING:
    from ccsr.jobs.runner import PlannedResult, Task


def expected(tasks: "Iterable[Task]") -> "list[Task]":
    """What is due and will likely succeed."""
    return [task for task in tasks if task.due and not task.has_failed]


def total_seconds(tasks: "Iterable[Task]") -> float:
    """Seconds for all that is due, about; small pictures are computed several at a time, if there are several."""
    from ccsr.plan import estimated_seconds

    each = [(estimated_seconds(task.due.plan), task.due.plan.lanes) for task in tasks if task.due]
    return max(sum(seconds / lanes for seconds, lanes in each), *(seconds for seconds, _ in each), 0.0)


def amount(tasks: "Sequence[Task]") -> str:
    """How many results of how many pictures, and their size: `12 results of 3 pictures, 48 megapixels`."""
    pictures = len({task.source.path for task in tasks})
    text = _counted(pictures, "picture")
    if len(tasks) != pictures:
        text = f"{_counted(len(tasks), 'result')} of {text}"
    return f"{text}, {_megapixels(sum(task.megapixels for task in tasks))}"


def show(tasks: "Sequence[Task]", options: UpscaleOptions, *, verbose: bool) -> None:
    """Tell a person what would be made, how large, how long it takes and what it needs; `verbose` adds how each
    picture would be computed."""
    for (path, state, has_failed), group in groupby(tasks, lambda t: (t.source.path, _state(t), t.has_failed)):
        alike = list(group)
        results = [task.planned for task in alike if task.planned]
        if state == "failed":
            for error in dict.fromkeys(str(task.error) for task in alike):
                terminal.error(error)
        elif state == "skipped":
            terminal.say(f"{path}: {_names(results)} made before")
        elif state == "planned":
            again = ", could not be upscaled before, is tried again" if has_failed else ""
            terminal.say(f"{path}: {_sizes(results)}, {_time(alike)}{again}: {_names(results)}")
            if verbose:
                terminal.say(f"  {_how(results[0], options)}")
    _show_total(tasks)


def show_json(tasks: "Iterable[Task]") -> None:
    """One object for each result, on stdout."""
    from ccsr.plan import estimated_seconds

    for task in tasks:
        line: dict[str, Any] = {"input": str(task.source.path), "output": None, "status": _state(task)}
        line["error"] = str(task.error) if task.error else None
        if planned := task.planned:
            plan = planned.plan
            line |= {"output": str(planned.output), "width": plan.output_width, "height": plan.output_height}
            line |= {"tile": plan.tile, "vae_tile": plan.vae_tile, "memory_bytes": plan.memory_bytes}
            line |= {"disk_bytes": plan.disk_bytes}
            line |= {"device": plan.device, "dtype": plan.dtype, "threads": plan.threads}
            line |= {"estimated_seconds": round(estimated_seconds(plan), 1) if task.due else 0.0}
        terminal.put(json.dumps(line))


def _state(task: "Task") -> str:
    return "unread" if task.is_unread else "failed" if task.error else "skipped" if task.is_done else "planned"


def _show_total(tasks: "Sequence[Task]") -> None:
    """What all of it needs, and that nothing was done."""
    due = expected(tasks)
    rest = {
        "made before": sum(task.is_done for task in tasks),
        "to be tried again": sum(task.has_failed and task.due is not None for task in tasks),
        "impossible, see above": sum(_state(task) == "failed" for task in tasks),
    }
    others = "".join(f"; {count} {what}" for what, count in rest.items() if count)
    plans = [task.due.plan for task in due if task.due]
    if plans:
        disk = max(plan.disk_bytes for plan in plans)
        terminal.say(f"in all: {amount(due)}, {_time(due)}{others}")
        terminal.say(
            f"needed meanwhile: about {_bytes(max(plan.memory_bytes for plan in plans))} of memory"
            + (f", and {_bytes(disk)} of disk for working files beside the results" if disk else "")
        )
    else:
        terminal.say(f"in all: nothing to make{others}")
    terminal.say("nothing was written: this was a dry run")


def _sizes(results: "Sequence[PlannedResult]") -> str:
    header, plan = results[0].header, results[0].plan
    return (
        f"{header.width}x{header.height} to {plan.output_width}x{plan.output_height}"
        f" ({_megapixels(plan.output_width * plan.output_height / 1e6)})"
    )


def _time(tasks: "Sequence[Task]") -> str:
    return f"about {terminal.duration(total_seconds(tasks))}"


def _names(results: "Sequence[PlannedResult]") -> str:
    """The results of one picture."""
    first, last = results[0].output, results[-1].output
    return f"{first}" if len(results) == 1 else f"{len(results)} results, {first} to {last.name}"


def _how(planned: "PlannedResult", options: UpscaleOptions) -> str:
    """How one result would be computed, in the words of the options."""
    plan = planned.plan
    return (
        f"tile {plan.tile or 'none'}, VAE tile {plan.vae_tile or 'none'}, {plan.device}, {plan.dtype}, {plan.threads}"
        f" threads, {plan.lanes} at a time, timesteps {' '.join(map(str, options.trajectory.timesteps))}, computed at"
        f" {plan.work_width}x{plan.work_height}, {_bytes(plan.memory_bytes)} of memory, {_bytes(plan.disk_bytes)} of"
        " disk"
    )


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'s' * (count != 1)}"


def _megapixels(value: float) -> str:
    shown = f"{value:.1g}" if value < 0.095 else f"{value:.1f}" if value < 9.95 else f"{value:.0f}"
    return f"{shown} megapixels"


def _bytes(count: float) -> str:
    """Bytes as a person says them: `630 MB`, `1.2 GB`."""
    return f"{count / 1e6:.0f} MB" if count < 999.5e6 else f"{count / 1e9:.1f} GB"

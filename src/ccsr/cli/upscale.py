"""`ccsr upscale`: the main job."""

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from ccsr.cli import published, terminal
from ccsr.cli.arguments import Command, Parser, given
from ccsr.errors import OptionError
from ccsr.options import UpscaleOptions

if TYPE_CHECKING:
    from ccsr.jobs.runner import Event, Prepared, Task, UpscalerLike

LONG_WORK = 20.0
"""Seconds of estimated work from which the estimate is told before it begins."""


def parser(
    prog: str = "ccsr upscale",
    usage: str = "INPUT... [-o OUT] [options]",
    description: str = "Enlarge and restore pictures: files, and folders with all that is in them.",
) -> Parser:
    """Flags of this command, then those of the option list, then the published programs'."""
    made = Parser(
        prog,
        usage,
        description,
        "Results lie beside their inputs as NAME_x4.EXT, those of a folder in FOLDER_x4/ with its tree kept. What was"
        " made is remembered: the same command again skips it, and a folder goes on where it was stopped. In a folder,"
        " files that are no pictures are passed over.",
    )
    made.add_argument("inputs", nargs="*", metavar="INPUT", help="a picture, or a folder of them")
    made.add_argument("-o", "--output", metavar="OUT", help="a file when there is one input file, else a folder")
    switches = {
        ("--overwrite",): "replace existing results",
        ("--dry-run",): "print sizes, tiles, memory and estimated time, and stop",
        ("--json",): "one object per result on stdout, then a summary",
        ("-q", "--quiet"): "print failures only",
        ("-v", "--verbose"): "print more, with tracebacks of unexpected failures",
        ("--no-progress",): "lines instead of a progress bar",
    }
    for flags, text in switches.items():
        made.add_argument(*flags, action="store_true", help=text)
    made.add_options(UpscaleOptions)
    published.add_flags(made)
    return made


def run(arguments: argparse.Namespace, pipeline_of: "Callable[[UpscaleOptions], UpscalerLike] | None" = None) -> int:
    """Do it; `pipeline_of` makes the pipeline when there is something to compute."""
    request = published.translate(
        published.Request(arguments.inputs, arguments.output, given(arguments, UpscaleOptions)), arguments
    )
    if not request.inputs:
        raise OptionError("no input is given", hint="for instance: ccsr upscale photo.jpg")
    options = UpscaleOptions.from_mapping(request.options, interface="cli")

    from ccsr.jobs import runner
    from ccsr.plan import resolve_machine
    from ccsr.weights import describe

    job = runner.Job(
        [Path(word) for word in request.inputs],
        describe(options.model, options.base_model),
        request.output,
        arguments.overwrite,
    )
    prepared = runner.prepare(job, options)
    tasks = prepared.tasks
    if not arguments.quiet:
        _tell_what_is_left_out(prepared)
    if arguments.dry_run:
        return _show_plan(tasks, as_json=arguments.json)
    if arguments.verbose:
        device, dtype, threads = resolve_machine(options)
        terminal.say(f"note: {job.model.name} on {device}, {dtype}, {threads} threads")
    if not arguments.quiet:
        if options.batch_size > 1:
            terminal.say("note: --batch-size above 1 may change last bits of results")
        _tell_long_work(tasks)
    reporter = terminal.JobReporter(
        tasks, quiet=arguments.quiet, verbose=arguments.verbose, progress=not arguments.no_progress
    )

    # A cluster's engine speaks on standard output too, and is muted there: results get a way of their own.
    results = os.fdopen(os.dup(1), "w", encoding="utf-8") if options.cluster else sys.stdout

    def listen(event: "Event") -> None:
        if arguments.json and isinstance(event, runner.Finished):
            _print_json(event.record.as_json(), results)
        reporter(event)

    try:
        if options.cluster:
            from ccsr import cluster

            summary = cluster.run(job, options, listen, tasks, options.cluster)
        else:
            load = pipeline_of or runner.load_pipeline
            summary = runner.run(job, lambda: load(options), options, listen, tasks)
    finally:
        reporter.close()
    summary.passed_over = len(prepared.passed_over)
    reporter.end(summary)
    if arguments.json:
        _print_json(summary.as_json(), results)
    return 130 if summary.interrupted else 1 if summary.failed else 0


def _print_json(line: dict[str, Any], file: TextIO | None = None) -> None:
    print(json.dumps(line), file=file, flush=True)


def _estimate(tasks: "Sequence[Task]") -> float:
    """Seconds for all that is due, about; small pictures are computed several at a time, if there are several."""
    from ccsr.plan import estimated_seconds

    each = [(estimated_seconds(task.due.plan), task.due.plan.lanes) for task in tasks if task.due]
    return max(sum(seconds / lanes for seconds, lanes in each), *(seconds for seconds, _ in each), 0.0)


def _expected(tasks: "Sequence[Task]") -> "list[Task]":
    """What is due and will likely succeed."""
    return [task for task in tasks if task.due and not task.has_failed]


def _results(tasks: "Sequence[Task]") -> str:
    return f"{len(tasks)} result{'s' * (len(tasks) != 1)}"


def _tell_what_is_left_out(prepared: "Prepared") -> None:
    """One line for each kind of thing that a folder holds and that nothing, or something else, comes of."""
    from ccsr.jobs.runner import kinds_of

    unread: dict[str, list[Task]] = {}
    for task in prepared.tasks:
        if task.error and task.is_unread:
            why = f"{task.error.what} ({task.error.hint})" if task.error.hint else task.error.what
            unread.setdefault(why, []).append(task)
    for why, tasks in unread.items():
        terminal.say(f"note: {_and_more([task.source.path for task in tasks])}: {why}")
    if prepared.passed_over:
        terminal.say(f"note: {kinds_of(prepared.passed_over)} passed over")
    if prepared.own_results:
        terminal.say(f"note: {_and_more(prepared.own_results)} passed over: made by this command before")
    for folder in prepared.without_pictures:
        terminal.say(f"note: there is no picture in {folder}")
    in_full = {task.source.path: task.planned.output for task in prepared.tasks
               if task.planned and task.source.is_called_in_full}  # fmt: skip
    if in_full:
        first = next(iter(in_full))
        terminal.say(
            f"note: {_and_more(list(in_full))} would have the same result as another picture, so that of {first.name}"
            f" is {in_full[first].name}"
        )


def _and_more(paths: "Sequence[Path]") -> str:
    return f"{paths[0]}" + (f" and {len(paths) - 1} more" if len(paths) > 1 else "")


def _tell_long_work(tasks: "Sequence[Task]") -> None:
    expected = _expected(tasks)
    if expected and (seconds := _estimate(expected)) > LONG_WORK:
        megapixels = sum(task.megapixels for task in expected)
        terminal.say(f"note: {_results(expected)}, {megapixels:.1f} megapixels: about {terminal.duration(seconds)}")


def _show_plan(tasks: "Sequence[Task]", as_json: bool) -> int:
    """Print what would be done; 1 if something could not be."""
    from ccsr.plan import estimated_seconds

    for task in tasks:
        planned = task.planned
        if as_json:
            status = (
                "unread" if task.is_unread else "failed" if task.error else "skipped" if task.is_done else "planned"
            )
            line: dict[str, Any] = {"input": str(task.source.path), "output": None, "status": status}
            line["error"] = str(task.error) if task.error else None
            if planned:
                plan = planned.plan
                line |= {"output": str(planned.output), "width": plan.output_width, "height": plan.output_height}
                line |= {"tile": plan.tile, "vae_tile": plan.vae_tile, "memory_bytes": plan.memory_bytes}
                line |= {"disk_bytes": plan.disk_bytes}
                line |= {"device": plan.device, "dtype": plan.dtype, "threads": plan.threads}
                line |= {"estimated_seconds": round(estimated_seconds(plan), 1) if task.due else 0.0}
            _print_json(line)
        elif task.error:
            if not task.is_unread:
                terminal.error(str(task.error))
        elif task.is_done and planned:
            terminal.say(f"skip: {planned.output} was made before")
        elif task.has_failed and planned:
            terminal.say(f"try again: {task.source.path} could not be upscaled before")
        elif planned:
            plan = planned.plan
            terminal.say(
                f"plan: {task.source.path} -> {planned.output}: {planned.header.width}x{planned.header.height} to"
                f" {plan.output_width}x{plan.output_height}, tile {plan.tile or 'none'}, VAE tile"
                f" {plan.vae_tile or 'none'}, {plan.memory_bytes / 1e9:.1f} GB"
                f"{f' and {plan.disk_bytes / 1e9:.1f} GB of disk' if plan.disk_bytes else ''}, about"
                f" {terminal.duration(estimated_seconds(plan))} on {plan.device}, {plan.dtype}, {plan.threads} threads"
            )
    expected = _expected(tasks)
    if expected and not as_json:
        terminal.say(f"{_results(expected)}, about {terminal.duration(_estimate(expected))} in all")
    return 1 if any(task.error and not task.is_unread for task in tasks) else 0


COMMANDS = {"upscale": Command(parser, run)}

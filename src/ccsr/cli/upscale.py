"""`ccsr upscale`: the main job."""

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ccsr.cli import dry_run, published, terminal
from ccsr.cli.arguments import Command, Parser, given
from ccsr.errors import OptionError
from ccsr.options import UpscaleOptions, options_of

if TYPE_CHECKING:
    from ccsr.jobs.runner import Event, Prepared, Task, UpscalerLike

LONG_WORK = 20.0
"""Seconds of estimated work from which the estimate is told before it begins."""


def parser() -> Parser:
    """Flags of this command, then those of the option list, then the published programs'."""
    return make_parser(
        "ccsr upscale",
        "PHOTO... [-o OUT] [options]",
        "Enlarge and restore photos: files, or folders with all that is in them.\n"
        "\n"
        "  ccsr upscale photo.jpg                      four times as large: photo_x4.jpg\n"
        "  ccsr upscale photo.jpg --print 40x30cm      as large as this paper needs\n"
        "  ccsr upscale holiday/ -o large/ --scale 2   a folder, twice as large",
    )


def make_parser(prog: str, usage: str, description: str, unshown: Sequence[str] = ()) -> Parser:
    """The parser of a command that upscales; `unshown` are options that its help does not tell of."""
    made = Parser(
        prog,
        usage,
        description,
        "Results lie beside their photos, those of a folder in FOLDER_x4. The same command again skips what it made"
        " before, and goes on where it was stopped.",
    )
    made.add_argument("inputs", nargs="*", metavar="PHOTO", help="a picture, or a folder of them")
    made.add_argument("-o", "--output", metavar="OUT", help="where to: a file for one photo, else a folder")
    switches = {
        ("--overwrite",): "replace results that are there",
        ("--dry-run",): "only say what would be made and how long it takes",
        ("--json",): "one object per result on stdout, then a summary",
        ("-q", "--quiet"): "print failures only",
        ("-v", "--verbose"): "print more: how each photo is computed, and tracebacks of unexpected failures",
        ("--no-progress",): "lines instead of a progress bar",
    }
    for flags, text in switches.items():
        made.add_argument(*flags, action="store_true", help=text)
    made.add_options(UpscaleOptions, unshown)
    rarely = [option.name for option in options_of(UpscaleOptions, "cli") if not option.in_short_help]
    made.leave_out(
        ["inputs", "json", "quiet", "verbose", "no_progress", *rarely],
        "show all options, by group",
    )
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
        if arguments.json:
            dry_run.show_json(tasks)
        else:
            dry_run.show(tasks, options, verbose=arguments.verbose)
        return 1 if any(task.error and not task.is_unread for task in tasks) else 0
    if arguments.verbose:
        device, dtype, threads = resolve_machine(options)
        terminal.say(f"note: {job.model.name} on {device}, {dtype}, {threads} threads")
    if not arguments.quiet:
        if options.batch_size > 1:
            terminal.say("note: --batch-size above 1 may change last bits of results")
        useful = job.model.useful_steps
        if useful and options.T is None and options.steps > useful:
            terminal.say(f"note: {job.model.name}'s results hardly change with more than --steps {useful}")
        _tell_long_work(tasks)
    reporter = terminal.JobReporter(
        tasks, quiet=arguments.quiet, verbose=arguments.verbose, progress=not arguments.no_progress
    )

    # A cluster's engine speaks on standard output too, and is muted there: results get a way of their own.
    results = os.fdopen(os.dup(1), "w", encoding="utf-8") if options.cluster else sys.stdout

    def listen(event: "Event") -> None:
        if arguments.json and isinstance(event, runner.Finished):
            terminal.put(json.dumps(event.record.as_json()), results)
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
        terminal.put(json.dumps(summary.as_json()), results)
    return 130 if summary.interrupted else 1 if summary.failed else 0


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
    expected = dry_run.expected(tasks)
    if expected and (seconds := dry_run.total_seconds(expected)) > LONG_WORK:
        terminal.say(f"note: {dry_run.amount(expected)}: about {terminal.duration(seconds)}")


COMMANDS = {"upscale": Command(parser, run)}

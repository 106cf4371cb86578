"""`ccsr evaluate`: folders of results against ground truth, or a model upscaled and scored in one go."""

import argparse
import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from ccsr.cli import terminal
from ccsr.cli.arguments import Command, Parser, given
from ccsr.errors import CCSRError, OptionError
from ccsr.options import UpscaleOptions, options_of

if TYPE_CHECKING:
    from ccsr.evaluate import Evaluation


_PRESETS = ("ccsr", "osediff", "seesr", "stablesr")
"""Those of `ccsr.metrics`, whose import would take the help a second; a test compares them."""


def parser() -> Parser:
    """Folders, how to measure, and for `--run` the options of `ccsr upscale`."""
    made = Parser(
        "ccsr evaluate",
        "SR... --gt FOLDER [options]",
        "Score folders of results against the true pictures. Several folders, or the sampleNN/ in one, are runs of one"
        " method: how much they differ is told too, as the spread of each score (G-STD) and of the pixels (L-STD).",
        "With --run MODEL the folder given is the low-quality one, or a test set with test_LR/ and test_HR/; the"
        " options of ccsr upscale then say how it is upscaled: ccsr evaluate --run nano realsr/ --samples 10 --steps 2",
    )
    made.add_argument("folders", nargs="*", metavar="SR", help="a folder of results; with --run, of inputs")
    made.add_argument("--gt", metavar="FOLDER", help="the true pictures (ground truth), with the same names")
    made.add_argument("--lq", metavar="FOLDER", help="the inputs, for the metric consistency, which needs no --gt")
    made.add_argument("--run", metavar="MODEL", help="upscale with this model, then score")
    made.add_argument("-o", "--output", metavar="FOLDER", help="keep the results of --run here; it goes on if stopped")
    made.add_argument(
        "--preset",
        default="ccsr",
        metavar="|".join(_PRESETS),
        help="protocol of a paper: metrics and border (default: ccsr)",
    )
    made.values["--preset"] = _PRESETS
    made.add_argument("--metrics", metavar="NAME,...", help="these instead of the preset's; all for every one there is")
    made.add_argument(
        "--maps", metavar="FOLDER", help="write maps here: where runs of a picture differ, and where its input does"
    )
    for flags, text in {
        ("--check-metrics",): "say which metrics can be computed here and what the others lack, and stop",
        ("--skip-missing",): "leave out pictures without a partner, and count them",
        ("--json",): "one object on stdout, with every score of every picture",
        ("-q", "--quiet"): "no progress",
        ("-v", "--verbose"): "print more, with tracebacks of unexpected failures",
    }.items():
        made.add_argument(*flags, action="store_true", help=text)
    made.add_options(UpscaleOptions)
    made.leave_out((o.name for o in options_of(UpscaleOptions)), "show the options of ccsr upscale too, for --run")
    return made


def run(arguments: argparse.Namespace) -> int:
    """Upscale if asked to, measure, print."""
    if arguments.check_metrics:
        return _check(arguments.json)
    from ccsr.evaluate import evaluate
    from ccsr.metrics import PROTOCOLS, chosen_metrics

    if arguments.preset not in PROTOCOLS:
        raise OptionError(f"--preset is {arguments.preset!r}", hint=f"choose from {', '.join(PROTOCOLS)}")
    protocol = PROTOCOLS[arguments.preset]
    only_inputs = bool(arguments.lq and not arguments.gt and not arguments.run)
    metrics = chosen_metrics(protocol, arguments.metrics or ("consistency" if only_inputs else None))
    typed = given(arguments, UpscaleOptions)
    if not arguments.run and typed:
        raise OptionError(f"--{next(iter(typed)).replace('_', '-')} says how to upscale", hint="add --run MODEL")
    results, inputs, truths = _places(arguments)

    def on_progress(done: int, total: int) -> None:
        if not arguments.quiet and (done == total or done % 10 == 0):
            terminal.say(f"scored {done} of {total} pictures")

    with TemporaryDirectory() as temporary:
        if arguments.run and inputs:
            output = Path(arguments.output or temporary)
            _upscale(inputs, arguments.run, output, typed, quiet=arguments.quiet)
            results = [output]
        measured = evaluate(
            results,
            truths,
            protocol,
            metrics,
            inputs=inputs,
            skip_missing=arguments.skip_missing,
            maps=Path(arguments.maps) if arguments.maps else None,
            on_progress=on_progress,
        )
    terminal.put(json.dumps(measured.as_json()) if arguments.json else table(measured))
    return 0


def _places(arguments: argparse.Namespace) -> tuple[list[Path], Path | None, Path | None]:
    """Folders of results (none yet for `--run`), of their inputs, and of the ground truth, as far as they are named."""
    from ccsr.data.layouts import find_test_set

    folders = [Path(folder) for folder in arguments.folders]
    if not folders or (arguments.run and len(folders) != 1):
        raise OptionError(
            "one folder of inputs is needed" if arguments.run else "no folder of results is given",
            hint="ccsr evaluate --run nano realsr/" if arguments.run else "ccsr evaluate results/ --gt test_HR/",
        )
    if arguments.run and arguments.lq:
        raise OptionError("--lq and --run both name the inputs", hint="leave out --lq")
    inputs, truths = (Path(folder) if folder else None for folder in (arguments.lq, arguments.gt))
    if arguments.run:
        inputs, folders = folders[0], []
        if truths is None:
            found = find_test_set(inputs)
            inputs, truths = found.lq, found.gt
    if truths is None and inputs is None:
        raise OptionError("no ground truth is given", hint="add --gt FOLDER, or --lq FOLDER for consistency alone")
    if truths is not None and not truths.is_dir():
        raise OptionError("is not a folder", path=truths)
    return folders, inputs, truths


def _check(as_json: bool) -> int:
    """Every metric with what it lacks; 0 whatever is found, since none of them is asked for."""
    from ccsr.metrics.check import check_metrics
    from ccsr.metrics.learned import FOLDER_VARIABLE

    checked = check_metrics()
    if as_json:
        rows = [{"metric": c.metric.name, "by": c.metric.implementation, "reason": c.reason, "files": c.files,
                 "absent": c.absent} for c in checked]  # fmt: skip
        terminal.put(json.dumps({"metrics": rows}))
        return 0
    for each in checked:
        print(f"{each.metric.title:<22}{each.metric.implementation:<14}{each.reason or 'ready'}")
    absent = {file: source for each in checked for file, source in each.absent.items()}
    if absent:
        print(f"\nFiles that are not here. Put them into one folder and name it in {FOLDER_VARIABLE}:")
        for file, source in absent.items():
            print(f"{file:<38}{source}")
    return 0


def table(measured: "Evaluation") -> str:
    """What a person reads: one line for each metric, then L-STD and what is missing."""
    from ccsr.metrics import METRICS

    runs = len(measured.runs)
    protocol = measured.protocol
    lines = [
        f"{len(measured.images)} pictures, {runs} run{'s' if runs > 1 else ''}, preset {protocol.name}"
        f" (border {protocol.border})",
        f"{'metric':<22}{'mean':>10}{'G-STD':>10}  better  by",
    ]
    for metric in measured.metrics:
        spread = measured.gstd(metric.name)
        shown = "-" if spread is None else f"{spread:.4f}"
        mean = measured.mean(metric.name)
        figure = "-" if mean is None else f"{mean:.{metric.digits}f}"
        lines.append(f"{metric.title:<22}{figure:>10}{shown:>10}  {metric.direction:<6}  {metric.implementation}")
    if measured.lstd is not None:
        lines.append(f"{'L-STD':<22}{measured.lstd:>10.4f}{'-':>10}  lower   ccsr")
    for reason in dict.fromkeys(measured.missing.values()):
        names = [METRICS[name].title for name, why in measured.missing.items() if why == reason]
        lines.append(f"not available: {', '.join(names)}: {reason}")
    for name, reasons in measured.unscored.items():
        picture, reason = next(iter(reasons.items()))
        lines.append(
            f"{METRICS[name].title} is without {len(reasons)} of {len(measured.images)} pictures, such as {picture}:"
            f" {reason}"
        )
    if measured.skipped:
        lines.append(f"{len(measured.skipped)} files without a partner were left out")
    return "\n".join(lines)


def _upscale(inputs: Path, model: str, output: Path, typed: dict[str, object], quiet: bool) -> None:
    """Fill `output` with results, losslessly."""
    from ccsr.jobs import runner
    from ccsr.weights import describe

    options = UpscaleOptions.from_mapping({"format": "png", **typed, "model": model}, interface="cli")
    job = runner.Job([inputs], describe(options.model, options.base_model), f"{output}/")
    tasks = runner.prepare(job, options).tasks
    reporter = terminal.JobReporter(tasks, quiet=True, verbose=False, progress=False)
    done = 0

    def listen(event: "runner.Event") -> None:
        nonlocal done
        reporter(event)
        if isinstance(event, runner.Finished):
            done += 1
            if not quiet and (done == event.total or done % 50 == 0):
                terminal.say(f"upscaled {done} of {event.total}")

    summary = runner.run(job, lambda: runner.load_pipeline(options), options, listen, tasks)
    if summary.interrupted:
        raise KeyboardInterrupt
    if summary.failed:
        raise CCSRError(f"{summary.failed} pictures could not be upscaled, see above", path=inputs)


COMMANDS = {"evaluate": Command(parser, run)}

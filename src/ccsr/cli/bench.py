"""`ccsr bench`: seconds of each phase and peak memory, here and now."""

import argparse
import json
import re
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from ccsr.cli import terminal
from ccsr.cli.arguments import Command, Parser, given
from ccsr.errors import OptionError
from ccsr.options import UpscaleOptions, options_of


def parser() -> Parser:
    """Flags of this command, then those of the option list."""
    made = Parser(
        "ccsr bench",
        "[PICTURE] [options]",
        "Upscale one picture several times, and print the seconds of each phase, of the first time and of later ones,"
        " and the most memory that was held at once. Nothing is kept.",
    )
    made.add_argument("picture", nargs="*", metavar="PICTURE", help="a picture (default: one of noise)")
    made.add_argument("--size", metavar="WxH", default="128x128", help="pixels of the noise (default: 128x128)")
    made.add_argument("--runs", metavar="N", default="3", help="times after the first (default: 3)")
    made.add_argument(
        "--random-weights",
        metavar="nano|sd21",
        help="random weights of this architecture instead of --model: a network costs the same with any weights",
    )
    made.add_argument("--json", action="store_true", help="one object instead of a table")
    made.add_options(UpscaleOptions)
    made.leave_out((o.name for o in options_of(UpscaleOptions)), "show the options of ccsr upscale too")
    return made


def run(arguments: argparse.Namespace) -> int:
    """Measure and print."""
    if len(arguments.picture) > 1:
        raise OptionError(f"one picture is enough, {len(arguments.picture)} given")
    if not (size := re.fullmatch(r"([1-9]\d{0,4})x([1-9]\d{0,4})", arguments.size)):
        raise OptionError(f"--size is {arguments.size!r}", hint="for instance 128x96")
    if not re.fullmatch(r"[1-9]\d{0,3}", arguments.runs):
        raise OptionError(f"--runs is {arguments.runs!r}", hint="a whole number from 1 to 9999 is needed")
    options = UpscaleOptions.from_mapping(given(arguments, UpscaleOptions), interface="cli")
    architecture = arguments.random_weights

    from dataclasses import replace

    from ccsr import bench
    from ccsr.plan import resolve_machine

    if architecture not in (None, *bench.ARCHITECTURES):
        raise OptionError(f"--random-weights is {architecture!r}", hint="choose nano or sd21")
    weights: Any = bench.random_weights(architecture, resolve_machine(options)[1]) if architecture else nullcontext()
    with weights as folder:
        if folder:
            options = replace(options, model=str(folder))
        picture = Path(arguments.picture[0]) if arguments.picture else None
        found = bench.measure(options, picture, (int(size[1]), int(size[2])), int(arguments.runs))
    if arguments.json:
        print(json.dumps(found.as_json()))
        return 0
    print(
        f"{found.model}, {found.input_width}x{found.input_height} to {found.output_width}x{found.output_height},"
        f" {found.device}, {found.dtype}, {found.threads} threads, {found.engine}"
    )
    print(f"{'seconds':<10}{'first':>9}{f'later ({found.runs})':>12}")
    for phase in (*bench.PHASES, "in all"):
        first, later = (sum(v.values()) if phase == "in all" else v[phase] for v in (found.cold, found.warm))
        print(f"{phase:<10}{first:>9.3f}{later:>12.3f}")
    for what, count in (("peak memory", found.peak_memory_bytes), ("peak GPU memory", found.peak_gpu_bytes)):
        if count is not None:
            print(f"{what} {count / 1e9:.2f} GB")
    terminal.say("note: other work on this machine changes these figures; compare only what ran side by side")
    return 0


COMMANDS = {"bench": Command(parser, run)}

"""`ccsr degrade`: a folder of good pictures becomes a test set of pairs."""

import argparse
import json
from dataclasses import replace
from pathlib import Path

from ccsr.cli import terminal
from ccsr.cli.arguments import Command, Parser
from ccsr.errors import OptionError

_KINDS = ("realesrgan", "bicubic", "light", "camera")


def parser() -> Parser:
    """What to degrade, where to, and how."""
    made = Parser(
        "ccsr degrade",
        "FOLDER -o FOLDER [options]",
        "Make low-quality pictures of the good ones in a folder: OUT/test_LR and OUT/test_HR, with the same names. The"
        " degradation of a picture follows from the seed and its name.",
    )
    made.add_argument("folder", nargs="*", metavar="FOLDER", help="good pictures, searched with all folders below")
    made.add_argument("-o", "--output", metavar="FOLDER", help="where test_LR and test_HR are made")
    made.add_argument(
        "--kind", metavar="|".join(_KINDS), default="realesrgan",
        help="blur, resize, noise and JPEG twice, with the published strengths; a bicubic filter alone; a filter and"
        " faint noise; or a camera's blur, noise and sharpening (default: realesrgan)",
    )  # fmt: skip
    made.add_argument("--scale", metavar="N", default="4", help="ratio of the sides, a whole number (default: 4)")
    made.add_argument("--crop", metavar="PX", help="a centred square of each good picture; else all of it")
    made.add_argument("--seed", metavar="N", default="0", help="another seed, another degradation (default: 0)")
    made.add_argument("--overwrite", action="store_true", help="replace pairs that are there")
    made.add_argument("--json", action="store_true", help="one object per picture on stdout")
    made.add_argument("-q", "--quiet", action="store_true", help="only errors")
    made.add_argument("-v", "--verbose", action="store_true", help="all messages")
    made.values["--kind"] = _KINDS
    return made


def run(arguments: argparse.Namespace) -> int:
    """Exit code 1 if a picture failed."""
    if len(arguments.folder) != 1 or not arguments.output:
        raise OptionError("one folder and -o are needed", hint="ccsr degrade photos/ -o pairs/")
    if arguments.kind not in _KINDS:
        raise OptionError(f"--kind is {arguments.kind!r}", hint=f"choose from {', '.join(_KINDS)}")
    factor, seed = _whole("--scale", arguments.scale, 1, 8), _whole("--seed", arguments.seed, 0, 2**63 - 1)
    crop = _whole("--crop", arguments.crop, 1, 2**16) if arguments.crop else None
    from ccsr.data.degrade import degrade_folder
    from ccsr.data.pairs import DegradationConfig

    config = DegradationConfig("bicubic" if arguments.kind == "bicubic" else "realesrgan", factor)
    config = replace(
        config, light_share=float(arguments.kind == "light"), camera_share=float(arguments.kind == "camera")
    )
    done = failed = 0
    out = Path(arguments.output)
    for made in degrade_folder(
        Path(arguments.folder[0]), out, config, seed=seed, crop=crop, overwrite=arguments.overwrite
    ):
        failed, done = (failed + 1, done) if made.error else (failed, done + 1)
        if made.error:
            terminal.error(made.error)
        if arguments.json:
            facts = {"input": str(made.source), "output": str(made.lq) if made.lq else None, "error": made.error}
            terminal.put(json.dumps({**facts, "width": made.width, "height": made.height}))
    if not arguments.quiet:
        terminal.say(f"{done} pairs in {out}, {failed} failed")
    return 1 if failed else 0


def _whole(flag: str, text: str, low: int, high: int) -> int:
    try:
        value = int(text)
    except ValueError as error:
        raise OptionError(f"{flag} is {text!r}", hint="a whole number is needed") from error
    if not low <= value <= high:
        raise OptionError(f"{flag} is {value}", hint=f"choose {low} to {high}")
    return value


COMMANDS = {"degrade": Command(parser, run)}

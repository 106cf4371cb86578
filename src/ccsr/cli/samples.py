"""`ccsr samples`: several results of one picture, and where they differ."""

import argparse

from ccsr.cli import upscale
from ccsr.cli.arguments import Command, Parser


def parser() -> Parser:
    """The options of `ccsr upscale`, with ten samples unless told otherwise."""
    made = upscale.make_parser(
        "ccsr samples",
        "PHOTO... [-n N] [-o FOLDER] [options]",
        "Several results of a photo, to choose from, and a map of where they differ: there the model guessed. Short for"
        " ccsr upscale --samples 10 --stability-map.",
        unshown=("samples", "stability_map"),
    )
    made.add_argument("-n", dest="samples", metavar="N", default="10", help="how many results (default: 10)")
    return made


def run(arguments: argparse.Namespace) -> int:
    """Upscale with both options set."""
    arguments.stability_map = True
    return upscale.run(arguments)


COMMANDS = {"samples": Command(parser, run)}

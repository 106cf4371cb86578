"""`ccsr data check`: is a test set or a training set complete?"""

import argparse
from pathlib import Path

from ccsr.cli import terminal
from ccsr.cli.arguments import Command, Parser
from ccsr.errors import OptionError


def parser() -> Parser:
    """A layout and a place."""
    made = Parser(
        "ccsr data check",
        "LAYOUT FOLDER",
        "Name what a data set lacks: files without partner, broken headers, sizes that do not fit, wrong counts."
        " Exit code 1 if there is anything.",
        "Layouts: pairs (test_LR/ and test_HR/, LR/ and HR/, or lq/ and gt/), realsr, drealsr and div2k (the same, with"
        " their known counts), pictures (a folder to train on), list (a text file of paths, or a CSV with a column"
        " file).",
    )
    made.add_argument("words", nargs="*", metavar="LAYOUT FOLDER", help="which layout is expected, and where")
    return made


def run(arguments: argparse.Namespace) -> int:
    """One line for each fault on stdout, then a count."""
    from ccsr.data.layouts import check

    if len(arguments.words) != 2:
        raise OptionError("a layout and a folder are needed", hint="for instance: ccsr data check pairs realsr/")
    layout, place = arguments.words
    good, faults = check(layout, Path(place))
    for fault in faults:
        terminal.put(fault)
    terminal.say(f"{good} {'pictures' if layout in ('pictures', 'list') else 'pairs'} all right, {len(faults)} faults")
    return 1 if faults else 0


COMMANDS = {"data check": Command(parser, run)}

"""`ccsr verify`: does this installation compute what was recorded elsewhere?"""

import argparse
from pathlib import Path

from ccsr.cli import terminal
from ccsr.cli.arguments import Command, Parser
from ccsr.errors import OptionError

LIMIT = 1e-4
"""`ccsr.verify.BOUND`, for the help text, which does not wait for torch."""


def parser() -> Parser:
    """A folder, and nothing to choose."""
    made = Parser(
        "ccsr verify",
        "FOLDER",
        "Replay a folder of recorded cases with their recorded random draws, and compare the results. Errors are"
        f" relative to the reference's standard deviation; exit code 1 if one is above {LIMIT:g}, a picture"
        " differs by more than one level (as the colour fix stretches it), or a case cannot be replayed.",
    )
    made.add_argument("folder", nargs="*", metavar="FOLDER", help="a folder with cases.json")
    return made


def run(arguments: argparse.Namespace) -> int:
    """One line for each case, on stdout."""
    if len(arguments.folder) != 1:
        raise OptionError(f"one folder is needed, {len(arguments.folder)} given", hint="ccsr verify FOLDER")
    folder = Path(arguments.folder[0])
    if not (folder / "cases.json").is_file():
        raise OptionError("no cases.json in this folder", path=folder, hint="give a folder of recorded cases")
    from ccsr.verify import replay

    results = []
    for case in replay(folder):
        results.append(case.passed)
        said = [case.fault] if case.fault else []
        if case.worst_tensor:
            said.insert(0, f"{case.largest_error:.2e} ({case.worst_tensor})")
            said.insert(1, f"picture within {case.picture_levels} of 255 levels, {case.picture_share:.2%} of its values"
                           " differ")  # fmt: skip
        terminal.put(f"{'ok  ' if case.passed else 'FAIL'} {case.name}: {'; '.join(said)}")
    terminal.say(f"{sum(results)} of {len(results)} cases within {LIMIT:g}")
    return 0 if results and all(results) else 1


COMMANDS = {"verify": Command(parser, run)}

"""`ccsr`: which commands there are, and what becomes of errors."""

import _thread
import importlib
import os
import shlex
import signal
import sys
import textwrap
import threading
from collections.abc import Mapping, Sequence

from ccsr import program
from ccsr.cli import terminal
from ccsr.cli.arguments import Command, nearest
from ccsr.errors import CCSRError, OptionError
from ccsr.version import __version__

_AREAS = {
    "photos": {
        "upscale": "enlarge and restore photos: files or whole folders",
        "samples": "several results of a photo, and where they differ",
        "serve": "the same in a browser: a web page, and an HTTP API",
    },
    "models": {
        "models": "list, inspect, verify and pack models",
        "train": "train a model, or a stage of one, on your pictures",
        "degrade": "make low-quality pictures of good ones, to train on",
        "data": "check that a test set or a training set is complete",
    },
    "measuring": {
        "evaluate": "score results, by the true pictures or by their inputs",
        "compare": "many methods on one test set: a table and a report",
        "bench": "how long each part of the work takes here, and the memory",
        "verify": "replay recorded reference values through this program",
    },
    "shell": {
        "completion": "have the Tab key complete this program's options",
    },
}
COMMANDS = {name: line for area in _AREAS.values() for name, line in area.items()}
"""The commands, each in its module of this package, with its line of help."""

_HELP = ("-h", "--help", "--help-all")
INTERRUPTED = 130
EXIT_CODES = """\
exit codes:
  0    all done, or done before
  1    at least one picture failed
  2    wrong usage, or nothing could start
  130  interrupted, by Ctrl-C or SIGTERM"""


def commands_of(name: str) -> dict[str, Command]:
    """The commands in the module `name`, by what follows `ccsr` on the command line, such as `models list`."""
    module = importlib.import_module(f"ccsr.cli.{name}")
    commands: dict[str, Command] = module.COMMANDS
    return commands


def help_text() -> str:
    """What `ccsr --help` prints."""
    lines = ["usage: ccsr COMMAND [options]", "", "Enlarges and restores photos, faithfully. The shortest command:", ""]
    lines += ["  ccsr upscale photo.jpg", ""]
    for area, commands in _AREAS.items():
        lines += [f"{area}:", *_rows(commands), ""]
    options = {
        "-h, --help": "show this help; after a command, that command's",
        "--help-all": "after a command: all of its options",
        "--version": "show the version",
    }
    return "\n".join([*lines, "options:", *_rows(options), "", EXIT_CODES])


def _rows(rows: Mapping[str, str]) -> list[str]:
    """Names, and beside each what it is, in lines of at most 78 columns."""
    return [
        textwrap.fill(text, 78, initial_indent=f"  {name:<12}", subsequent_indent=14 * " ")
        for name, text in rows.items()
    ]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code and raises nothing."""
    code = _main(argv)
    if code == INTERRUPTED and argv is None:
        # All is in order: another one must not spoil the exit code while Python takes itself down.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
    return code


def _main(argv: Sequence[str] | None) -> int:
    words = list(sys.argv[1:] if argv is None else argv)
    # Wanted before anything else can go wrong.
    verbose = "-v" in words or "--verbose" in words
    try:
        with terminal.logging_on_stderr(verbose, quiet="-q" in words or "--quiet" in words):
            return _dispatch(words)
    except SystemExit as leaving:  # argparse after --help
        return int(leaving.code or 0)
    except CCSRError as error:
        terminal.error(str(error))
        return 2
    except KeyboardInterrupt:
        terminal.say("interrupted")
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of our output left; Python would complain again while closing it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        if verbose:
            raise
        text = " ".join(str(error).split())[:200]
        terminal.error(f"unexpected {type(error).__name__}: {text} (-v shows where it comes from)")
        return 2


def _dispatch(words: list[str]) -> int:
    first = words[0] if words else "--help"
    if first in _HELP:
        print(help_text())
        return 0
    if "--version" in words:
        print(f"ccsr {__version__}")
        return 0
    if first not in COMMANDS and _means_files(words):
        shown = shlex.join(words[:3]) + (" ..." if len(words) > 3 else "")
        what = "no command is given" if first.startswith("-") else f"{first} is no command"
        raise OptionError(what, hint=f"did you mean ccsr upscale {shown}?")
    if first not in COMMANDS:
        raise nearest(first, (*COMMANDS, "--help", "--version"), "option" if first.startswith("-") else "command")
    commands = commands_of(first)
    if list(commands) == [first]:
        return _run(commands[first], words[1:])
    second = words[1] if len(words) > 1 else "--help"
    names = [name.split()[1] for name in commands]
    if second in _HELP:
        described = {name.split()[1]: command.parser().description or "" for name, command in commands.items()}
        title = COMMANDS[first][0].upper() + COMMANDS[first][1:]
        print("\n".join([f"usage: ccsr {first} {'|'.join(names)} ...", "", f"{title}.", "", "commands:",
                         *_rows(described)]))  # fmt: skip
        return 0
    if second not in names:
        raise nearest(second, names, f"command of ccsr {first}")
    return _run(commands[f"{first} {second}"], words[2:])


def _means_files(words: Sequence[str]) -> bool:
    """Whether somebody who left out the command has pictures in mind: files that are there, or what reads like one."""
    named = words[:1] if not words[0].startswith("-") else words[1:]
    return any(os.path.lexists(word) or os.path.splitext(word)[1] for word in named)


def _interrupt_again(unraisable: "sys.UnraisableHookArgs") -> None:
    """Ctrl-C that struck where Python can only print it, in a callback of its own, is not lost and not printed."""
    if issubclass(unraisable.exc_type, KeyboardInterrupt):
        _thread.interrupt_main()
    else:
        sys.__unraisablehook__(unraisable)


def _run(command: Command, words: list[str]) -> int:
    arguments = command.parser().parse(words)
    program.start()
    sys.unraisablehook = _interrupt_again
    if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) == signal.SIG_DFL:
        # Who is told to end leaves things as tidy as after Ctrl-C.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    return command.run(arguments)

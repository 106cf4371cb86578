"""`ccsr completion`: shell completion, drawn by shtab from the same parsers as the help."""

import argparse

from ccsr.cli.arguments import Command, Parser, nearest
from ccsr.cli.main import COMMANDS as NAMES
from ccsr.cli.main import commands_of
from ccsr.errors import OptionError

SHELLS = ("bash", "zsh", "fish")


def parser() -> Parser:
    """Which shell."""
    made = Parser(
        "ccsr completion",
        "bash|zsh|fish",
        "Print a script that completes this command. For instance: ccsr completion bash >>"
        " ~/.local/share/bash-completion/completions/ccsr",
    )
    made.add_argument("shell", nargs="*", metavar="SHELL", help="bash, zsh or fish")
    made.values["shell"] = SHELLS
    return made


def run(arguments: argparse.Namespace) -> int:
    """The script, on stdout."""
    if len(arguments.shell) != 1:
        raise OptionError("one shell is needed", hint=f"choose from {', '.join(SHELLS)}")
    shell = arguments.shell[0]
    if shell not in SHELLS:
        raise nearest(shell, SHELLS, "shell")
    import shtab

    script = shtab.complete(tree(), shell)
    if shell == "bash":
        # Where nothing of ours fits, readline completes file names: it copes with spaces and quotes, shtab does not.
        script += "\ncomplete -o bashdefault -o default -F _shtab_ccsr ccsr"
    if shell == "zsh":
        # Any number of words: as shtab spells it, zsh completes the first alone.
        script = script.replace('"(*)::', '"*:')
    print(script)
    return 0


def tree() -> argparse.ArgumentParser:
    """All commands as one parser with parsers below it, one or two words deep."""
    root = argparse.ArgumentParser("ccsr")
    root.add_argument("--version", action="store_true", help="show the version and exit")
    below = root.add_subparsers()
    for name, line in NAMES.items():
        commands = commands_of(name)
        if name in commands:
            below.add_parser(name, help=line, parents=[_offering(commands[name].parser())], add_help=False)
            continue
        second = below.add_parser(name, help=line).add_subparsers()
        for words, command in commands.items():
            made = command.parser()
            second.add_parser(words.split()[1], help=made.description, parents=[_offering(made)], add_help=False)
    return root


def _offering(made: Parser) -> Parser:
    """A command's parser, told what shtab may offer after each of its actions: known values, else files."""
    from shtab import FILE

    for action in made.visible_actions():
        if values := made.values_of(action):
            action.choices = values
        elif action.nargs != 0:
            action.complete = {**FILE, "bash": ""}  # type: ignore[attr-defined] # shtab's word
    return made


COMMANDS = {"completion": Command(parser, run)}

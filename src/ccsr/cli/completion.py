"""`ccsr completion`: shell completion, drawn from the same parsers as the help."""

import argparse
import re
import shlex
from collections.abc import Callable, Mapping

from ccsr.cli.arguments import Command, Parser, nearest
from ccsr.cli.main import COMMANDS as NAMES
from ccsr.cli.main import commands_of
from ccsr.errors import OptionError


def parser() -> Parser:
    """Which shell."""
    made = Parser(
        "ccsr completion",
        "bash|zsh|fish",
        "Print a script that completes this command. For instance: ccsr completion bash >>"
        " ~/.local/share/bash-completion/completions/ccsr",
    )
    made.add_argument("shell", nargs="*", metavar="SHELL", help="bash, zsh or fish")
    return made


def run(arguments: argparse.Namespace) -> int:
    """The script, on stdout."""
    if len(arguments.shell) != 1:
        raise OptionError("one shell is needed", hint=f"choose from {', '.join(SHELLS)}")
    shell = arguments.shell[0]
    if shell not in SHELLS:
        raise nearest(shell, SHELLS, "shell")
    parsers = {name: command.parser() for module in NAMES for name, command in commands_of(module).items()}
    print(SHELLS[shell](parsers), end="")
    return 0


def _words(parsers: Mapping[str, Parser]) -> dict[str, list[str]]:
    """What may follow each command line's beginning: `` -> commands, `models` -> its commands."""
    follow: dict[str, list[str]] = {"": list(NAMES)}
    for name in parsers:
        first, _, second = name.partition(" ")
        if second:
            follow.setdefault(first, []).append(second)
    follow["completion"] = list(SHELLS)
    return follow


def _bash(parsers: Mapping[str, Parser]) -> str:
    lines = [
        "# bash completion for ccsr",
        "_ccsr() {",
        '    local word="${COMP_WORDS[COMP_CWORD]}" before="${COMP_WORDS[COMP_CWORD-1]}"',
        '    local command="${COMP_WORDS[1]}" words=""',
        '    [ "$command" = models ] && [ "$COMP_CWORD" -gt 2 ] && command="models ${COMP_WORDS[2]}"',
        '    [ "$COMP_CWORD" -eq 1 ] && command=""',
        '    case "$command:$before" in',
    ]
    for name, made in parsers.items():
        for action in made.visible_actions():
            if values := made.values.get(action.option_strings[-1]):
                patterns = "|".join(f'"{name}:{flag}"' for flag in action.option_strings)
                lines.append(
                    f'        {patterns}) COMPREPLY=($(compgen -W "{" ".join(values)}" -- "$word")); return ;;'
                )
    lines += ["    esac", '    case "$command" in']
    for name, follow in _words(parsers).items():
        lines.append(f'        "{name}") words="{" ".join(follow)}" ;;')
    for name, made in parsers.items():
        if name not in _words(parsers):
            lines.append(f'        "{name}") words="{" ".join(made.visible_flags())}" ;;')
    lines += [
        "    esac",
        '    case "$command:$word" in',
        '        ":"*|models:*|completion:*|*:-*) COMPREPLY=($(compgen -W "$words" -- "$word")) ;;',
        "        # nothing of ours: `-o default` below completes file names",
        "    esac",
        "}",
        "complete -o default -F _ccsr ccsr",
    ]
    return "\n".join(lines) + "\n"


def _zsh(parsers: Mapping[str, Parser]) -> str:
    follow = _words(parsers)
    lines = [
        "#compdef ccsr",
        "_ccsr() {",
        '    local command="${words[2]}"',
        "    (( CURRENT == 2 )) && { compadd -- " + " ".join(follow[""]) + "; return }",
        "    if [[ $command == models ]]; then",
        "        (( CURRENT == 3 )) && { compadd -- " + " ".join(follow["models"]) + "; return }",
        '        command="models ${words[3]}"',
        "    fi",
        '    case "$command" in',
    ]
    for name, made in parsers.items():
        lines.append(f'        "{name}")')
        if name in follow:
            lines.append("            compadd -- " + " ".join(follow[name]))
        else:
            specs = [_zsh_spec(made, action) for action in made.visible_actions()]
            lines.append("            _arguments " + " ".join((*specs, shlex.quote("*:file:_files"))))
        lines.append("            ;;")
    return "\n".join([*lines, "    esac", "}", '_ccsr "$@"']) + "\n"


def _zsh_spec(made: Parser, action: argparse.Action) -> str:
    flags = action.option_strings
    text = re.sub(r"([\[\]:])", r"\\\1", _plain(action))
    value = ""
    if action.nargs != 0:
        values = made.values.get(flags[-1])
        value = f":value:({' '.join(values)})" if values else ":value:_files"
    spellings = flags[0] if len(flags) == 1 else "{" + ",".join(flags) + "}"
    return f"{spellings}{shlex.quote(f'[{text}]{value}')}"


def _fish(parsers: Mapping[str, Parser]) -> str:
    lines = ["# fish completion for ccsr"]
    for name, text in NAMES.items():
        lines.append(f"complete -c ccsr -n __fish_use_subcommand -f -a {name} -d {shlex.quote(text)}")
    for name, follow in _words(parsers).items():
        if name:
            seen = shlex.quote(f"__fish_seen_subcommand_from {name}")
            lines.append(f"complete -c ccsr -n {seen} -f -a {shlex.quote(' '.join(follow))}")
    for name, made in parsers.items():
        seen = shlex.quote("; and ".join(f"__fish_seen_subcommand_from {word}" for word in name.split()))
        for action in made.visible_actions():
            flags = [f"-s {f[1:]}" if len(f) == 2 else f"-l {f[2:]}" for f in action.option_strings]
            values = made.values.get(action.option_strings[-1])
            value = "" if action.nargs == 0 else f" -x -a {shlex.quote(' '.join(values))}" if values else " -r"
            lines.append(f"complete -c ccsr -n {seen} {' '.join(flags)}{value} -d {shlex.quote(_plain(action))}")
    return "\n".join(lines) + "\n"


def _plain(action: argparse.Action) -> str:
    return (action.help or "").replace("%%", "%").replace("'", "")


SHELLS: dict[str, Callable[[Mapping[str, Parser]], str]] = {"bash": _bash, "zsh": _zsh, "fish": _fish}

COMMANDS = {"completion": Command(parser, run)}

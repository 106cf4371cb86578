"""From the option list to a command's parser, and from what was typed to names and strings.

argparse only sorts words here: values stay strings, so that every interface complains about them in the same words.
"""

import argparse
import os
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, NoReturn, cast

from ccsr.errors import OptionError
from ccsr.options import GROUPS, Option, options_of


class _Formatter(argparse.HelpFormatter):
    """Help in one form under every version of Python: the generated documentation is compared with it."""

    def __init__(self, prog: str, **layout: Any) -> None:
        super().__init__(prog, max_help_position=24, **layout)

    def _format_action_invocation(self, action: argparse.Action) -> str:
        if not action.option_strings:
            return str(action.metavar or action.dest)
        flags = ", ".join(action.option_strings)
        return flags if action.nargs == 0 else f"{flags} {action.metavar}"

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        """Paragraphs are wrapped; examples, which begin with a space, stay as they are."""
        fill = super()._fill_text
        return "\n".join(line if line.startswith(" ") else fill(line, width, indent) for line in text.splitlines())


class _ShowHelp(argparse.Action):
    """Prints a parser's help, short or whole, and leaves."""

    def __call__(self, parser: argparse.ArgumentParser, *rest: Any) -> NoReturn:
        asked = cast("Parser", parser)
        print(asked.format_help() if self.const else asked.format_short_help(), end="")
        raise SystemExit(0)


class Parser(argparse.ArgumentParser):
    """One command's parser; mistakes are raised as OptionError, with the nearest option for a misspelt one."""

    def __init__(self, prog: str, usage: str, description: str, epilog: str | None = None) -> None:
        super().__init__(
            prog=prog, usage=f"{prog} {usage}", description=description, epilog=epilog,
            formatter_class=_Formatter, allow_abbrev=False, add_help=False,
        )  # fmt: skip
        self.values: dict[str, tuple[str, ...]] = {}
        """What may follow a flag, or stand for a word, for shell completion."""
        self._positionals.title = "arguments"
        self._left_out: set[str] = set()
        """Names of what the short help does not show."""
        self.add_argument("-h", "--help", action=_ShowHelp, nargs=0, const=False, help="show this help")
        self._help_all = self.add_argument("--help-all", action=_ShowHelp, nargs=0, const=True, help=argparse.SUPPRESS)

    def error(self, message: str) -> NoReturn:
        """Raise what argparse found wrong."""
        lacking = re.match(r"argument (\S+): expected (one|at least one) argument", message)
        raise OptionError(f"{lacking[1].split('/')[-1]} needs a value" if lacking else message)

    def parse(self, argv: Sequence[str]) -> argparse.Namespace:
        """What was typed; options that were not are absent from the result.

        Raises:
            OptionError: an unknown option, or one without its value.
        """
        words = list(argv)
        end = words.index("--") if "--" in words else len(words)
        for word in words[:end]:
            # As `*.png` has it where a file's name begins with a dash.
            if word.startswith("-") and "." in word and os.path.lexists(word):
                raise OptionError(f"{word} reads like an option", hint=f"the file of that name is ./{word}")
        known, rest = self.parse_known_intermixed_args(words[:end])
        for word in rest:
            if word.startswith("-"):
                flag = word.partition("=")[0]
                close = get_close_matches(flag, self.visible_flags(), 1)
                hint = f"did you mean {close[0]}?" if close else self._hint()
                if "." in flag:
                    hint = f"a file of that name is ./{flag}"
                raise OptionError(f"no option is called {flag}", hint=hint)
        # Names that follow `--` may begin with a dash; argparse forgets that when words and options mix.
        rest += words[end + 1 :]
        for action in self._actions:
            if not action.option_strings:
                setattr(known, action.dest, [*getattr(known, action.dest), *rest])
                rest = []
        if rest:
            raise OptionError(f"{rest[0]} is one argument too many", hint=self._hint())
        return known

    def _hint(self) -> str:
        return f"{self.prog} {'--help-all' if self._left_out else '--help'} lists what there is"

    def visible_actions(self) -> list[argparse.Action]:
        """The options and words that help shows."""
        return [a for a in self._actions if a.help is not argparse.SUPPRESS]

    def visible_flags(self) -> list[str]:
        """All spellings of the options that help shows."""
        return [flag for action in self.visible_actions() for flag in action.option_strings]

    def values_of(self, action: argparse.Action) -> tuple[str, ...]:
        """What may follow one of this parser's flags, or stand for one of its words; empty if that is not known."""
        return self.values.get((action.option_strings or [action.dest])[-1], ())

    def leave_out(self, names: Iterable[str], instead: str) -> None:
        """Have the short help without these; its line for `--help-all` says `instead` what stands there."""
        self._left_out |= set(names)
        self._help_all.help = instead

    def format_short_help(self) -> str:
        """The help without what was left out of it; `format_help` gives all."""
        formatter = self._get_formatter()
        formatter.add_usage(self.usage, [], [])
        formatter.add_text(self.description)
        for group in self._action_groups:
            formatter.start_section(group.title)
            formatter.add_arguments([a for a in group._group_actions if a.dest not in self._left_out])
            formatter.end_section()
        formatter.add_text(self.epilog)
        return formatter.format_help()

    def add_options(self, owner: type, unshown: Sequence[str] = ()) -> None:
        """Flags of the options that a dataclass offers on the command line, by group; `unshown` are accepted without a
        word about them."""
        offered = options_of(owner, "cli")
        order = [*GROUPS, *(o.group for o in offered)]
        groups: dict[str, Any] = {}
        for option in sorted(offered, key=lambda o: order.index(o.group)):
            if option.group not in groups:
                groups[option.group] = self.add_argument_group(GROUPS.get(option.group, option.group))
            spellings = (option.short, option.flag) if option.short else (option.flag,)
            settings: dict[str, Any] = {"dest": option.name, "default": argparse.SUPPRESS}
            if option.kind is bool:
                settings["action"] = "store_true"
            else:
                settings["metavar"] = _metavar(option)
                self.values[option.flag] = (*option.words, *map(str, option.choices or ()))
            is_shown = not option.hidden and option.name not in unshown
            settings["help"] = _help(option) if is_shown else argparse.SUPPRESS
            groups[option.group].add_argument(*spellings, **settings)


@dataclass(frozen=True)
class Command:
    """One command: how it is typed, and what it does with that; `run` returns the exit code."""

    parser: Callable[[], Parser]
    run: Callable[[argparse.Namespace], int]


def given(arguments: argparse.Namespace, owner: type) -> dict[str, Any]:
    """The options of `owner` that were typed, as typed."""
    typed = vars(arguments)
    return {o.name: typed[o.name] for o in options_of(owner, "cli") if o.name in typed}


def nearest(word: str, known: Iterable[str], kind: str) -> OptionError:
    """The error for a word that is none of the known ones."""
    known = list(known)
    close = get_close_matches(word, known, 1)
    hint = f"did you mean {close[0]}?" if close else f"choose from {', '.join(known)}"
    return OptionError(f"no {kind} is called {word}", hint=hint)


def _metavar(option: Option) -> str:
    if option.choices and not option.unit:
        return "|".join(map(str, option.choices))
    return "|".join((*option.words, option.unit or ("TEXT" if option.kind is str else "N")))


def _help(option: Option) -> str:
    default = option.default
    # What a value may be stands where it is named, unless that has a name of its own.
    text = f"{', '.join(option.choices)}: {option.help}" if option.choices and option.unit else option.help
    # Defaults that are no value are told by the help text itself.
    shown = "" if default is None or option.kind is bool else f" (default: {_plain(default)})"
    return (text + shown).replace("%", "%%")


def _plain(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)

"""Write the parts of the documentation that are drawn from the code: `python docs/generate.py`.

A test compares them, so documentation that differs from the code fails.
"""

import importlib.util
import os
import runpy
from pathlib import Path

from ccsr.cli.main import COMMANDS, commands_of, help_text
from ccsr.options import GROUPS, Option, UpscaleOptions, options_of

HERE = Path(__file__).parent
WIDTH = 100
"""Columns of the help texts."""


def cli_page() -> str:
    """`cli.md`: what every command prints after `--help-all`."""
    # argparse asks the environment, and keeps two columns free.
    os.environ["COLUMNS"] = str(WIDTH + 2)
    lines = [
        "# Command line",
        "",
        "Made by `docs/generate.py` from the programs' own help: what `--help-all` prints. After",
    ]
    lines += ["`ccsr upscale`, `--help` alone shows the options that most people need.", ""]
    lines += ["```text", help_text(), "```", ""]
    for module in COMMANDS:
        for name, command in commands_of(module).items():
            lines += [f"## ccsr {name}", "", "```text", command.parser().format_help().rstrip(), "```", ""]
    return "\n".join(lines)


def options_page() -> str:
    """`options.md`: the keywords of the pipeline's call, which are flags and form fields too."""
    lines = [
        "# Options",
        "",
        "Made by `docs/generate.py` from the one list of options. The same names serve everywhere: keywords of a",
        "pipeline's call, form fields of [the HTTP API](web.md) and, with `-` for `_`, flags of",
        "[the command line](cli.md). A few, such as `device`, are not offered over HTTP.",
        "",
        "Who needs it: `ccsr upscale --help` shows what `everyone` and `many` need, `--help-all` the rest too. The web",
        "page shows at once what `everyone` needs. `experts` know the method.",
    ]
    groups: dict[str, list[Option]] = {group: [] for group in GROUPS}
    for option in options_of(UpscaleOptions):
        if not option.hidden:
            groups[option.group].append(option)
    for group, options in groups.items():
        lines += ["", f"## {GROUPS[group].capitalize()}", ""]
        lines += ["| option | default | what | who needs it |", "|---|---|---|---|"]
        for option in options:
            choices = f": {', '.join(f'`{c}`' for c in option.choices)}" if option.choices else ""
            default = "" if option.default is None else f"`{option.default}`"
            lines.append(f"| `{option.name}` | {default} | {option.help}{choices} | {option.audience} |")
    return "\n".join([*lines, ""])


def pages() -> dict[Path, str]:
    """Content of every generated file."""
    found = {
        HERE / "cli.md": cli_page(),
        HERE / "options.md": options_page(),
        HERE / "images" / "layers.svg": runpy.run_path(str(HERE / "layers.py"))["picture"](),
    }
    if all(importlib.util.find_spec(name) for name in ("pi_heif", "pillow_heif", "rawpy")):  # which make its files
        found[HERE / "kept.md"] = runpy.run_path(str(HERE / "kept.py"))["page"]()
    return found


if __name__ == "__main__":
    for path, text in pages().items():
        path.write_text(text, encoding="utf-8")

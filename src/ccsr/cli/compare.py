"""`ccsr compare`: many methods on one test set, as a table and a report."""

import argparse
import dataclasses
import json
from pathlib import Path

from ccsr.cli import terminal
from ccsr.cli.arguments import Command, Parser
from ccsr.errors import OptionError


def parser() -> Parser:
    """The configuration, and what may differ from it."""
    made = Parser(
        "ccsr compare",
        "--config FILE [options]",
        "Methods of any kind on one test set: this program's models, interpolation, GAN models, any other program,"
        " folders of results. Writes report.html, table.md, table.csv, table.tex and comparison.json.",
        "The same command again goes on where it was stopped. docs/comparison.md tells how to add a method.",
    )
    made.add_argument("--config", metavar="FILE", help="what to compare, in YAML")
    made.add_argument("-o", "--output", metavar="FOLDER", help="where to, instead of the configuration's output")
    made.add_argument("--limit", metavar="N", help="only the first N pictures")
    made.add_argument("--only", metavar="NAME,...", help="only these methods")
    made.add_argument("--into", metavar="FILE", help="put the table into this Markdown file too, between its marks")
    for flags, text in {
        ("--no-report",): "tables only, no report.html",
        ("--json",): "one object on stdout, with every score of every picture",
        ("-q", "--quiet"): "no progress",
        ("-v", "--verbose"): "print more, with tracebacks of unexpected failures",
    }.items():
        made.add_argument(*flags, action="store_true", help=text)
    return made


def run(arguments: argparse.Namespace) -> int:
    """Compare, write all formats, print one; 1 if a method that should run did not."""
    if not arguments.config:
        raise OptionError("no configuration is given", hint="ccsr compare --config compare.yaml")
    from ccsr.compare import formats, table
    from ccsr.compare.config import load_config
    from ccsr.compare.run import compare

    config = load_config(Path(arguments.config))
    if arguments.limit:
        if not arguments.limit.isdigit() or not int(arguments.limit):
            raise OptionError(f"--limit is {arguments.limit!r}", hint="expected a whole number from 1")
        config = dataclasses.replace(config, limit=int(arguments.limit))
    if arguments.only:
        wanted = [name.strip() for name in arguments.only.split(",")]
        known = [method.name for method in config.methods]
        for name in wanted:
            if name not in known:
                raise OptionError(f"no method is called {name}", hint=f"there are {', '.join(known)}")
        config = dataclasses.replace(config, methods=[m for m in config.methods if m.name in wanted])
    output = Path(arguments.output) if arguments.output else config.output

    def tell(method: str, stage: str, done: int, total: int) -> None:
        if not arguments.quiet and (done == total or done % 10 == 0):
            terminal.say(f"{method}: {stage} {done} of {total}")

    comparison = compare(config, output, tell)
    made, heading = table.tables(comparison), table.heading(comparison)
    text = formats.markdown(made, heading)
    written = {
        "table.md": text,
        "table.csv": formats.comma_separated(made),
        "table.tex": formats.latex(made, heading),
        "comparison.json": json.dumps(table.as_json(comparison), indent=1),
    }
    if not arguments.no_report:
        from ccsr.compare.report import report

        written["report.html"] = report(comparison, made, heading)
    for name, content in written.items():
        (output / name).write_text(content, encoding="utf-8")
    if arguments.into:
        formats.insert_into(Path(arguments.into), text)
    for row in comparison.rows:
        if row.problem and row.method.is_expected:
            terminal.error(f"{row.method.name}: {row.problem}")
    if not arguments.quiet:
        terminal.say(f"wrote {output / ('table.md' if arguments.no_report else 'report.html')}")
    terminal.put(written["comparison.json"] if arguments.json else formats.terminal(made, heading))
    return 1 if any(row.problem and row.method.is_expected for row in comparison.rows) else 0


COMMANDS = {"compare": Command(parser, run)}

"""A table in the formats that people paste: terminal, Markdown, CSV and LaTeX."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from ccsr.compare.table import NOT_AVAILABLE, Cell, Table, TableLine
from ccsr.errors import OptionError

_TEX = {
    **{letter: f"\\{letter}" for letter in "&%#_${}"},
    "\\": r"\textbackslash{}",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": "$<$",
    ">": "$>$",
    "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
}


def terminal(tables: Sequence[Table], heading: Sequence[str]) -> str:
    """Columns of plain text; `*` marks the best, `+` the second best."""
    out = [*heading]
    for table in tables:
        grid = [["method", *table.columns]]
        for line in table.lines:
            name = ("  " if line.kind == "printed" else "") + line.name + "".join(f"[{n}]" for n in line.name_notes)
            grid.append([name, *map(_terminal_cell, line.cells)])
        widths = [max(len(row[i]) for row in grid) for i in range(len(grid[0]))]
        out += ["", f"{table.title}; * best, + second best, n/a not available"]
        for name, *texts in grid:
            out.append(
                "  ".join([name.ljust(widths[0]), *(t.rjust(w) for t, w in zip(texts, widths[1:], strict=True))])
            )
        out += [f"{line.name}: {line.problem}" for line in table.lines if line.problem]
        out += [f"[{number}] {note}" for number, note in enumerate(table.notes, 1)]
        out += [table.left_out] if table.left_out else []
    return "\n".join(out)


def _terminal_cell(cell: Cell) -> str:
    text = "n/a" if cell.text == NOT_AVAILABLE else {None: "", 1: "*", 2: "+"}[cell.rank] + cell.text
    return text + "".join(f"[{number}]" for number in cell.notes)


def markdown(tables: Sequence[Table], heading: Sequence[str]) -> str:
    """Tables of GitHub's Markdown; best in bold, second best in italics."""
    out = [" ".join(heading), ""]
    for table in tables:
        out += [f"**{table.title}** (best in bold, second best in italics)", ""]
        out += ["| method | " + " | ".join(table.columns) + " |", "|---|" + "--:|" * len(table.columns)]
        for line in table.lines:
            name = f"*{_md(line.name)}*" if line.kind == "printed" else _md(line.name)
            name += "".join(f" [{number}]" for number in line.name_notes)
            out.append(f"| {name} | " + " | ".join(_markdown_cell(cell) for cell in line.cells) + " |")
        said = [f"- {_md(line.name)}: {_md(line.problem)}" for line in table.lines if line.problem]
        said += [f"- [{number}] {_md(note)}" for number, note in enumerate(table.notes, 1)]
        said += ["", _md(table.left_out)] if table.left_out else []
        out += ["", *said, ""] if said else [""]
    return "\n".join(out).rstrip() + "\n"


def _markdown_cell(cell: Cell) -> str:
    text = {None: "{}", 1: "**{}**", 2: "*{}*"}[cell.rank].format(_md(cell.text))
    return text + "".join(f" [{number}]" for number in cell.notes)


def _md(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")


def comma_separated(tables: Sequence[Table]) -> str:
    """One line per method and table; each column is followed by its rank."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    columns = [name for column in tables[0].columns for name in (column, f"rank of {column}")]
    writer.writerow(["table", "method", "kind", "problem", *columns])
    for table in tables:
        for line in table.lines:
            cells = [text for cell in line.cells for text in (cell.text, cell.rank or "")]
            writer.writerow([table.title, line.name, line.kind, line.problem or "", *cells])
    return out.getvalue()


def latex(tables: Sequence[Table], heading: Sequence[str]) -> str:
    """`tabular` environments; best in bold, second best underlined."""
    out = [f"% {line}" for line in heading]
    for table in tables:
        out += [
            "",
            r"\begin{table*}",
            r"\centering",
            rf"\caption{{{_tex(table.title)}}}",
            r"\resizebox{\textwidth}{!}{%",
        ]
        out += [rf"\begin{{tabular}}{{l{'r' * len(table.columns)}}}", r"\hline"]
        out += [" & ".join(["Method", *map(_tex, table.columns)]) + r" \\", r"\hline"]
        for line in table.lines:
            out.append(" & ".join([_tex_name(line), *map(_tex_cell, line.cells)]) + r" \\")
        out += [r"\hline", r"\end{tabular}}", r"\end{table*}"]
        out += [f"% {line.name}: {line.problem}" for line in table.lines if line.problem]
        out += [f"% [{number}] {note}" for number, note in enumerate(table.notes, 1)]
        out += [f"% {table.left_out}"] if table.left_out else []
    return "\n".join(out) + "\n"


def _tex_name(line: TableLine) -> str:
    return rf"\quad\textit{{{_tex(line.name)}}}" if line.kind == "printed" else _tex(line.name)


def _tex_cell(cell: Cell) -> str:
    text = {None: "{}", 1: r"\textbf{{{}}}", 2: r"\underline{{{}}}"}[cell.rank].format(_tex(cell.text))
    return text + (rf"\textsuperscript{{{','.join(map(str, cell.notes))}}}" if cell.notes else "")


def _tex(text: str) -> str:
    return "".join(_TEX.get(letter, letter) for letter in text)


def insert_into(path: Path, text: str, name: str = "ccsr compare") -> None:
    """Put a Markdown text between the two marks of this name in a file, in place of what stood there.

    Raises:
        OptionError: the file cannot be read, or lacks the marks.
    """
    try:
        page = path.read_text(encoding="utf-8")
    except OSError as error:
        raise OptionError(f"cannot be read: {error.strerror}", path=path) from error
    begin, end = (f"<!-- {name}: {word} -->" for word in ("begin", "end"))
    before, found, rest = page.partition(begin)
    _, closed, after = rest.partition(end)
    if not found or not closed:
        raise OptionError("has no place for a table", path=path, hint=f"it needs the lines {begin} and {end}")
    path.write_text(f"{before}{begin}\n\n{text}\n{end}{after}", encoding="utf-8")

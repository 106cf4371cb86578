"""The picture of the layers in `architecture.md`, drawn from the table of imports that a test keeps."""

import runpy
from pathlib import Path

TABLE = Path(__file__).parents[1] / "tests" / "house" / "test_imports.py"
WIDTH, ROW, BOX, GAP, MARGIN = 900, 74, 30, 14, 24
LETTER = 7.6
"""Width of a letter, about."""
OTHER_NAMES = {"sampler", "timesteps"}
"""Of modules of the method: no parts of their own."""
INK, LINE, GROUND, FILL = "#1f2937", "#9ca3af", "#ffffff", "#eef2f7"


def picture() -> str:
    """The layers as SVG: each part stands above all that it imports; lines where no other part leads there."""
    found = runpy.run_path(str(TABLE))
    table: dict[str, set[str]] = found["ALLOWED"]
    everywhere: set[str] = found["BASE"]
    imports = {part: used - everywhere for part, used in table.items()}
    parts = [part for part in imports if part not in everywhere | OTHER_NAMES and not part.startswith("__")]
    rows: dict[int, list[str]] = {}
    for part in parts:
        rows.setdefault(_level(part, imports), []).append(part)
    top, places, boxes = max(rows), dict[str, tuple[float, float]](), list[str]()
    for level, row in rows.items():
        widths = [LETTER * len(part) + 2 * GAP for part in row]
        space = (WIDTH - 2 * MARGIN - sum(widths)) / len(row)
        x, y = MARGIN + space / 2, MARGIN + (top - level) * ROW
        for part, width in zip(row, widths, strict=True):
            places[part] = (x + width / 2, y)
            boxes.append(
                f'<rect x="{x:.0f}" y="{y}" width="{width:.0f}" height="{BOX}" rx="5" fill="{FILL}" stroke="{INK}"/>'
                f'<text x="{x + width / 2:.0f}" y="{y + 20}" text-anchor="middle">{part}</text>'
            )
            x += width + space
    lines = [
        f'<line x1="{places[part][0]:.0f}" y1="{places[part][1] + BOX:.0f}" x2="{places[used][0]:.0f}"'
        f' y2="{places[used][1]:.0f}" stroke="{LINE}"/>'
        for part in parts
        for used in sorted(_direct(part, imports))
    ]
    height = 2 * MARGIN + (top + 1) * ROW
    total = sum(len(used) for used in table.values())
    caption = f"{len(table)} modules and packages, {total} imports between them; used everywhere: "
    caption += ", ".join(sorted(everywhere))
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif"'
            f' font-size="14" fill="{INK}">',
            f'<rect width="{WIDTH}" height="{height}" fill="{GROUND}"/>',
            *lines,
            *boxes,
            f'<text x="{WIDTH / 2:.0f}" y="{height - MARGIN}" text-anchor="middle">{caption}</text>',
            "</svg>\n",
        ]
    )


def _level(part: str, imports: dict[str, set[str]]) -> int:
    """How many layers there are below a part."""
    return 1 + max((_level(used, imports) for used in imports[part]), default=-1)


def _reached(part: str, imports: dict[str, set[str]]) -> set[str]:
    """All that a part imports, itself or through others."""
    return imports[part].union(*(_reached(used, imports) for used in imports[part]))


def _direct(part: str, imports: dict[str, set[str]]) -> set[str]:
    """What a part imports and reaches through no other."""
    others = (_reached(used, imports) for used in imports[part])
    return imports[part].difference(*others)

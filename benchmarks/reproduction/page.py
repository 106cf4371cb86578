"""The page, from what is stored alone: tables beside the paper's, verdicts, charts."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ccsr.compare.charts import Axis, Point, scatter
from ccsr.compare.paper_values import PrintedRow, find_row
from ccsr.metrics import METRICS
from reproduction.claims import CLAIMS, gaps, grows
from reproduction.measure import FIG2_STEPS, SCORES, System, stored
from reproduction.networks import SHIPPED, TWIN
from reproduction.pictures import TITLES
from reproduction.sections import LEVELS, TABLE1, TABLE2, TABLE3, TABLE5, TWINS
from reproduction.verdicts import title_of, twin_verdict, verdict

NOT_AVAILABLE = "not available"
NAMES = {"v1": "V1", "l1": "L1", "l1-gan": "L1 + GAN"}
_FIG2_SYSTEMS = (
    "*The picture is the cup of coffee of scikit-image (CC0); the figures are those of the stand-in's pictures. L1 and"
    " L1 + GAN have the same networks, trained from pictures in one pass at T, and stand for the two SwinIR.*"
)
_STYLE = (
    "<style>.paper{fill:#fff}text{font:11px sans-serif;fill:#555}.title{font-size:12px;fill:#222}.name{fill:#222}"
    ".grid{stroke:#ddd}circle{stroke:#fff;stroke-width:1.5}.p0{fill:#2563a8}.p1{fill:#c2571a}.p2{fill:#2e7d32}</style>"
)


class Store:
    """The records of one folder."""

    def __init__(self, results: Path) -> None:
        self.results = results

    def __call__(self, system: str, pictures: str) -> dict[str, Any] | None:
        """A system's record on a set."""
        return stored(self.results / f"{system}.{pictures}.json")


def write_page(page: Path, results: Path) -> None:
    """Write the page, and its charts beside the records."""
    store = Store(results)
    if record := store("fig2", "medium"):
        for metric in ("psnr", "squeezenet"):
            (results / f"fig2-{metric}.svg").write_text(_chart(record, metric) + "\n", encoding="utf-8")
    notes: list[str] = []
    text = (Path(__file__).parent / "page.md").read_text(encoding="utf-8")
    blocks = {
        "budget": _budget(results),
        "measured": _measured(store),
        "table1": _tables(store, TABLE1, {}, notes),
        "table2": _tables(store, TABLE2, {s.name: f"II: T={t} t_max=2/3 t_min=1/2" for s, t in _T}, notes),
        "table3": _tables(store, TABLE3, {s.name: f"III: T=6 {_bounds(s)}" for s in TABLE3}, notes),
        "table5": _tables(store, TABLE5, {"full": "V: CCSR-S2", "full-S1": "V: CCSR-S1"}, notes),
        "claims": _claims(store),
        "fig2": _figure2(store, results.name),
        "twins": _twins(store),
        "notes": "\n".join(f"{number}. {note[0].upper()}{note[1:]}." for number, note in enumerate(notes, 1)),
    }
    for name, block in blocks.items():
        text = text.replace(f"<!-- {name} -->", block)
    page.write_text(text, encoding="utf-8")


_T = ((TABLE2[0], 18), (TABLE2[1], 12), (TABLE2[2], 6))


def _bounds(system: System) -> str:
    return f"t_max={system.options['t_max']} t_min={system.options['t_min']}"


def _budget(results: Path) -> str:
    """What each network was trained with, from `training.json`."""
    record = stored(results / "training.json")
    if record is None:
        return "Not recorded."
    lines = ["| network | from | learns | steps x batch, crop | minutes (CPU) | config |", "|---|---|---|---|---|---|"]
    for name, facts in record["networks"].items():
        cpu = "two threads" if facts["cpu_minutes"] is None else f"{facts['cpu_minutes']:.1f}"
        lines.append(
            f"| {name} | {facts['from']} | {facts['learns']} | {facts['steps']} x {facts['batch']}, {facts['crop']} |"
            f" {facts['minutes']:.0f} ({cpu}) | `{facts['config']}` |"
        )
    lacking = [name for name in (*SHIPPED, TWIN) if name not in record["networks"]]
    more = f"\n\nNot trained yet: {', '.join(lacking)} (`configs/ablation/` has their recipes)." if lacking else ""
    return "\n".join(lines) + more


def _measured(store: Store) -> str:
    found = []
    for pictures in ("realsr", "medium"):
        if record := store(TABLE1[-1].name, pictures):
            request = record["request"]
            found.append(f"{TITLES[pictures]}: {len(request['pictures'])} pictures, {request['seeds']} runs of each")
    return "; ".join(found) + "." if found else "Nothing is measured yet."


def _cell(record: dict[str, Any], name: str) -> str:
    score, digits = record["scores"][name], METRICS[name].digits
    return f"{score['mean']:.{digits}f} ({score['gstd']:.{max(3, digits)}f})"


def _printed(row: PrintedRow, name: str, notes: list[str]) -> str:
    value = row.value(name)
    if value is None:
        return NOT_AVAILABLE
    marks = ""
    for note in filter(None, value.note.split("; ")):
        if note not in notes:
            notes.append(note)
        marks += f" [{notes.index(note) + 1}]"
    return value.text.replace(" / ", " (") + (")" if " / " in value.text else "") + marks


def _tables(store: Store, systems: Sequence[System], paper: dict[str, str] | None, notes: list[str]) -> str:
    """One table for each set; RealSR's with the paper's rows below ours, where there is a `paper` by system."""
    parts = []
    head = [f"{METRICS[n].title} {'↑' if METRICS[n].direction == 'higher' else '↓'}" for n in SCORES]
    for pictures in ("realsr", "medium"):
        if pictures != "realsr" and not all(store(system.name, pictures) for system in systems):
            continue
        lines = [
            f"| {TITLES[pictures]} | t | {' | '.join(head)} | L-STD ↓ |",
            "|" + "---|" * (len(SCORES) + 3),
        ]
        for system in systems:
            record = store(system.name, pictures)
            if record is None:
                lines.append(f"| {system.title} | {' | '.join(['not measured'] * (len(SCORES) + 2))} |")
            else:
                steps = " ".join(map(str, record["timesteps"]))
                lstd = "" if record["lstd"] is None else f"{record['lstd']:.4f}"
                lines.append(f"| {system.title} | {steps} | {' | '.join(_cell(record, n) for n in SCORES)} | {lstd} |")
            if pictures == "realsr" and paper is not None:
                lines.append(_paper_line(system, paper.get(system.name), notes))
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def _paper_line(system: System, name: str | None, notes: list[str]) -> str:
    if name is None:
        return f"| *paper: {system.title.split(':')[0]}* | | {' | '.join([NOT_AVAILABLE] * (len(SCORES) + 1))} |"
    row = find_row(name, "RealSR")
    cells = [_printed(row, n, notes) for n in (*SCORES, "lstd")]
    return f"| *paper, Table {row.table}: {row.name}* | | {' | '.join(cells)} |"


def _claims(store: Store) -> str:
    parts = []
    for number, claim in enumerate(CLAIMS, 1):
        parts.append(f"{number}. **{claim.text}.**")
        for pictures in ("realsr", "medium"):
            found = claim.checks(lambda name, pictures=pictures: store(name, pictures))
            if not found:
                if pictures == "realsr":
                    parts.append("   - not measured.")
                continue
            word = verdict([c for _, checks in found for c in checks])
            shown = "; ".join(
                f"{part.first} − {part.second}: {', '.join(c.text for c in checks)}" for part, checks in found
            )
            parts.append(f"   - {TITLES[pictures].split(' through')[0]}: {word}. {shown}.")
    return "\n".join(parts)


def _steps(record: dict[str, Any], system: str, metric: str) -> list[float]:
    """Mean over pictures at each step."""
    values = [[step[metric] for step in steps] for steps in record["steps"][system]["of_picture"]]
    return np.mean(values, axis=0).tolist()


def _chart(record: dict[str, Any], metric: str) -> str:
    """A metric against the index t of each step of V1; the networks of one pass stand at t = 0."""
    points = []
    for number, (system, found) in enumerate(record["steps"].items()):
        values, timesteps = _steps(record, system, metric), found["timesteps"]
        for i, (t, value) in enumerate(zip(timesteps, values, strict=True)):
            is_named = len(values) == 1 or i in (0, len(values) - 1)
            label = (NAMES[system] + (f", t={t}" if len(values) > 1 else "")) if is_named else ""
            points.append(Point(label, float(t) if len(values) > 1 else 0.0, value, number))
    better = METRICS[metric].direction
    svg = scatter(points, Axis("index t of the step", "lower"), Axis(title_of(metric), better))
    svg = svg.replace(" (left is better)", "; networks of one pass at 0")
    head, _, body = svg.partition(">")
    head = head.replace("<svg", '<svg xmlns="http://www.w3.org/2000/svg"')
    return f'{head}>{_STYLE}<rect class="paper" width="100%" height="100%"/>{body}'


def _figure2(store: Store, folder: str) -> str:
    records = {level: record for level in LEVELS if (record := store("fig2", level))}
    if "medium" not in records:
        return "Not measured yet."
    middle = records["medium"]
    parts = [f"![PSNR of each step]({folder}/fig2-psnr.svg) ![distance]({folder}/fig2-squeezenet.svg)"]
    psnr, far = (_steps(middle, "v1", m) for m in ("psnr", "squeezenet"))
    t = middle["steps"]["v1"]["timesteps"]
    best, nearest = int(np.argmax(psnr)), int(np.argmin(far))
    parts.append(
        f"V1 with {FIG2_STEPS} uniform steps, means over {len(middle['bicubic'])} pictures of the stand-in, one run."
        f" PSNR {psnr[0]:.2f} dB at t = {t[0]}, highest {psnr[best]:.2f} dB at t = {t[best]}, {psnr[-1]:.2f} dB at the"
        f" end; SqueezeNet distance {far[0]:.4f}, least {far[nearest]:.4f} at t = {t[nearest]}, {far[-1]:.4f} at last."
    )
    rises, falls = best > 0, psnr[-1] < psnr[best]
    improves = nearest == len(far) - 1
    parts.append(
        "- *PSNR rises in the early steps and falls in the later ones*: "
        + ("holds" if rises and falls and best < len(psnr) - 1 else "does not hold")
        + f" ({psnr[best] - psnr[0]:+.2f} dB to the best step, {psnr[-1] - psnr[best]:+.2f} dB after it).\n"
        "- *The perceptual distance improves throughout*: "
        + ("holds" if improves else "does not hold")
        + f" ({far[nearest] - far[0]:+.4f} to its best step, {far[-1] - far[nearest]:+.4f} after it)."
    )
    lines = ["| degradation | system | PSNR ↑ | NIQE ↓ | SqueezeNet distance ↓ |", "|---|---|---|---|---|"]
    for level, record in records.items():
        bicubic = {m: np.mean([p[m] for p in record["bicubic"]]) for m in ("psnr", "niqe", "squeezenet")}
        rows = [("enlarged input", bicubic)]
        for system in record["steps"]:
            rows.append((NAMES[system], {m: _steps(record, system, m)[-1] for m in bicubic}))
        for title, scores in rows:
            cells = " | ".join(f"{scores[m]:.{METRICS[m].digits}f}" for m in bicubic)
            lines.append(f"| {level} | {title} | {cells} |")
    parts.append("\n".join(lines))
    if any("l1-gan" not in record["steps"] for record in records.values()):
        return "\n\n".join([*parts, "The networks without diffusion are not trained yet, so III-A has no verdict."])
    verdicts = []
    for metric in ("squeezenet", "niqe", "psnr"):
        found = [gaps(record, metric, "v1", "l1-gan") for record in records.values()]
        shown = ", ".join(f"{level} {g.mean:+.3f} ± {g.error:.2g}" for level, g in zip(records, found, strict=True))
        verdicts.append(f"- {title_of(metric)} of V1 minus that of L1 + GAN: {shown}: {grows(found)}.")
    parts.append(
        '*"The performance discrepancy between DM-based and GAN-based methods enlarges as the LR quality deteriorates"*'
        " (III-A), by the size of the gap at both ends:\n\n" + "\n".join(verdicts)
    )
    parts.append(f"![three qualities of one picture through the three systems]({folder}/fig2.webp)\n\n" + _FIG2_SYSTEMS)
    return "\n\n".join(parts)


def _twins(store: Store) -> str:
    parts = [_tables(store, TWINS, None, [])]
    for pictures in ("realsr", "medium"):
        free, every = (store(system.name, pictures) for system in TWINS)
        if free and every:
            is_right, lines = twin_verdict(free, every)
            word = "the free weights are right" if is_right else "the free weights fall short"
            parts.append(
                f"{TITLES[pictures].split(' through')[0]}, free against all, plus is better: {', '.join(lines)}."
                f" By the rule: **{word}**."
            )
    return "\n\n".join(parts)

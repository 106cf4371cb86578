"""The page, from what is stored alone: tables beside the paper's, verdicts, charts."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ccsr.compare.charts import Axis, Point, scatter
from ccsr.compare.paper_values import PrintedRow, find_row
from ccsr.metrics import METRICS
from reproduction.claims import CLAIMS, TWINS, Claim, advantages, growth, sign_of, step_change
from reproduction.measure import FIG2_SCORES, FIG2_STEPS, SCORES, System, stored
from reproduction.networks import BUDGET, RECIPES
from reproduction.pictures import ON_LEVELS, REALSR, STAND_IN, TITLES
from reproduction.sections import FIG2_LEVELS, FIG2_MIDDLE, LEVELS, TABLE1, TABLE2, TABLE3, TABLE5
from reproduction.verdicts import (
    CONFIDENCE,
    Check,
    compared,
    is_better_when_higher,
    mean_of,
    title_of,
    values_of,
    verdict,
)

NOT_AVAILABLE, NOT_MEASURED = "not available", "not measured"
NAMES = {"v1": "V1", "l1": "L1", "l1-gan": "L1 + GAN"}
PAPER = {
    "full": "III: T=6 t_max=2/3 t_min=1/2",
    "full-T12": "II: T=12 t_max=2/3 t_min=1/2",
    "full-T18": "II: T=18 t_max=2/3 t_min=1/2",
    "full-2_3-1_3": "III: T=6 t_max=2/3 t_min=1/3",
    "full-5_6-1_2": "III: T=6 t_max=5/6 t_min=1/2",
    "full-5_6-2_3": "III: T=6 t_max=5/6 t_min=2/3",
    "full-1_2-1_6": "III: T=6 t_max=1/2 t_min=1/6",
    "full-S1": "V: CCSR-S1",
}
"""Rows of the paper's tables by our systems; of Table I no figures are available."""
_FIG2_SYSTEMS = (
    "*The picture is the cup of coffee of scikit-image (CC0); the figures are those of cid22_validation. L1 and"
    " L1 + GAN have the same networks, trained from pictures in one pass at T, and stand for the two SwinIR.*"
)
_STYLE = (
    "<style>.paper{fill:#fff}text{font:11px sans-serif;fill:#555}.title{font-size:12px;fill:#222}.name{fill:#222}"
    ".grid{stroke:#ddd}circle{stroke:#fff;stroke-width:1.5}.p0{fill:#2563a8}.p1{fill:#c2571a}.p2{fill:#2e7d32}</style>"
)
_MIDDLE_STEP = FIG2_STEPS // 2 - 1


class Store:
    """The records of one folder."""

    def __init__(self, results: Path) -> None:
        self.results = results

    def __call__(self, system: str, pictures: str) -> dict[str, Any] | None:
        """A system's record on a set."""
        record = stored(self.results / f"{system}.{pictures}.json")
        return record if record and record.get("pictures") else None


def write_page(page: Path, results: Path) -> None:
    """Write the page, and its charts beside the records."""
    store = Store(results)
    if record := store("fig2", FIG2_MIDDLE):
        for metric in ("psnr", "squeezenet"):
            (results / f"fig2-{metric}.svg").write_text(_chart(record, metric) + "\n", encoding="utf-8")
    notes: list[str] = []
    text = (Path(__file__).parent / "page.md").read_text(encoding="utf-8")
    blocks = {
        "budget": _budget(results),
        "measured": _measured(store),
        "floor": _floor(store),
        "tested": _tested(store),
        "table1": _table(store, TABLE1, {}, notes),
        "table2": _table(store, TABLE2, PAPER | {"full": "II: T=6 t_max=2/3 t_min=1/2"}, notes),
        "table3": _table(store, TABLE3, PAPER, notes),
        "table5": _table(store, TABLE5, PAPER | {"full": "V: CCSR-S2"}, notes),
        "levels": _levels(store),
        "claims": "\n\n".join(_claim(store, number, claim) for number, claim in enumerate(CLAIMS, 1)),
        "fig4": _figure4(results),
        "fig2": _figure2(store, results.name),
        "notes": "\n".join(f"{number}. {note[0].upper()}{note[1:]}." for number, note in enumerate(notes, 1)),
    }
    for name, block in blocks.items():
        text = text.replace(f"<!-- {name} -->", block)
    page.write_text(text, encoding="utf-8")


def _rows(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"|{'|'.join(cells)}|" if cells[0] == "---" else f"| {' | '.join(cells)} |" for cells in lines)


def _budget(results: Path) -> str:
    """What each network was trained with, from `training.json`."""
    record = stored(results / BUDGET)
    if record is None:
        return "Not recorded."
    rows = [
        [
            name, facts["from"], facts["learns"], f"{facts['steps']} x {facts['batch']}, {facts['crop']}",
            facts["precision"], f"{facts['cpu_minutes']:.0f}", f"`{facts['config']}`",
        ]
        for name, facts in record["networks"].items()
    ]  # fmt: skip
    lacking = [name for name in RECIPES if name not in record["networks"]]
    more = f"\n\nNot trained yet: {', '.join(lacking)}." if lacking else ""
    return _rows(["network", "from", "learns", "steps x batch, crop", "format", "CPU minutes", "config"], rows) + more


def _measured(store: Store) -> str:
    """How many pictures and runs, as the full method's records have them."""
    found = []
    for pictures in (REALSR, *ON_LEVELS):
        if record := store("full", pictures):
            runs = [len(scores["psnr"]) for scores in record["pictures"].values()]
            counts = [f"{runs.count(n)} pictures with {n} run{'s' if n > 1 else ''} each" for n in sorted(set(runs))]
            found.append(f"{TITLES[pictures]}: {', '.join(counts)}")
    return "; ".join(found) + "." if found else "Nothing is measured yet."


def _floor(store: Store) -> str:
    """How far V2 and its twin are apart."""
    rows = []
    for pictures in (REALSR, STAND_IN):
        one, twin = (store(name, pictures) for name in TWINS)
        for quantity in (*SCORES, "lstd"):
            apart = compared(one, twin, quantity) if one and twin else None
            if apart:
                digits = _digits(quantity)
                cells = f"{apart.mean:+.{digits}f}", f"± {apart.error:.{digits}f}", str(apart.pictures)
                rows.append([TITLES[pictures], title_of(quantity), *cells])
    if not rows:
        return "Not measured, so no claim between networks is decided."
    return _rows(["set", "quantity", "V2 minus twin", "interval", "pictures"], rows)


def _tested(store: Store) -> str:
    verdicts = [_verdicts(store, claim) for claim in CLAIMS]
    outcomes = [word for found in verdicts for word, _, _ in found]
    tested = sum(map(bool, verdicts))
    words = {"holds": "as claimed", "does not hold": "to the contrary", "not decided": "not decided"}
    counts = ", ".join(f"{outcomes.count(outcome)} {said}" for outcome, said in words.items())
    return (
        f"{tested} of {len(CLAIMS)} claims are tested, those between networks on two sets of pictures:"
        f" {len(outcomes)} tests, {counts}."
        f" Each is wrongly decided by chance at most once in {round(1 / (1 - CONFIDENCE))} times, so of all"
        f" of them {(1 - CONFIDENCE) * len(outcomes):.1f} may be."
    )


def _digits(quantity: str) -> int:
    return 4 if quantity not in METRICS else METRICS[quantity].digits + 1


def _cell(record: dict[str, Any], name: str) -> str:
    digits, spread = METRICS[name].digits, mean_of(record, f"gstd {name}")
    shown = "" if spread is None else f" ({spread:.{max(3, digits)}f})"
    return f"{mean_of(record, name):.{digits}f}{shown}"


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


def _arrow(name: str) -> str:
    return f"{METRICS[name].title} {'↑' if METRICS[name].direction == 'higher' else '↓'}"


def _table(store: Store, systems: Sequence[System], paper: dict[str, str], notes: list[str]) -> str:
    """RealSR, with the paper's rows below ours where `paper` names one."""
    rows = []
    for system in systems:
        record = store(system.name, REALSR)
        if record is None:
            rows.append([system.title, *[NOT_MEASURED] * (len(SCORES) + 2)])
        else:
            lstd = mean_of(record, "lstd")
            steps = " ".join(map(str, record["timesteps"]))
            cells = [_cell(record, name) for name in SCORES]
            rows.append([system.title, steps, *cells, "" if lstd is None else f"{lstd:.4f}"])
        if system.name in paper:
            row = find_row(paper[system.name], "RealSR")
            cells = [_printed(row, name, notes) for name in (*SCORES, "lstd")]
            rows.append([f"*paper, Table {row.table}: {row.name}*", "", *cells])
    return _rows(["RealSR", "t", *map(_arrow, SCORES), "L-STD ↓"], rows)


def _levels(store: Store) -> str:
    rows = []
    for system in LEVELS:
        cells = []
        for level in ON_LEVELS:
            record = store(system.name, level)
            scores = [f"{mean_of(record, n):.{d}f}" for n, d in (("psnr", 2), ("niqe", 2), ("squeezenet", 3))] if (
                record
            ) else [NOT_MEASURED]  # fmt: skip
            cells.append(" / ".join(scores))
        rows.append([system.title, *cells])
    return _rows(["PSNR / NIQE / SqueezeNet distance", *ON_LEVELS], rows)


def _verdicts(store: Store, claim: Claim) -> list[tuple[str, str, list[Check]]]:
    """Verdict, set and comparisons, for each set on which the claim can be tested."""
    found = []
    for pictures in (REALSR, STAND_IN):
        checks = claim.checks(lambda name, pictures=pictures: store(name, pictures))
        if checks:
            found.append((verdict([c.outcome for c in checks]), pictures, checks))
    return found


def _claim(store: Store, number: int, claim: Claim) -> str:
    found = _verdicts(store, claim)
    said = "; ".join(f"{TITLES[pictures]}: **{word}**" for word, pictures, _ in found) or NOT_MEASURED
    parts = [f"### {number}. {claim.text}", f"{said}."]
    rows = [_check_row(check, pictures) for _, pictures, checks in found for check in checks]
    if rows:
        head = ["set", "difference", "quantity", "paper", "here", "here / paper", "noise floor", ""]
        parts.append(_rows(head, rows))
    return "\n\n".join(parts)


def _check_row(check: Check, pictures: str) -> list[str]:
    digits = _digits(check.quantity)
    paper = _paper_difference(check) if pictures == REALSR else None
    ours = f"{check.found.mean:+.{digits}f} ± {check.found.error:.{digits}f}"
    return [
        TITLES[pictures].split(",")[0], f"{check.first} − {check.second}", title_of(check.quantity),
        NOT_AVAILABLE if paper is None else f"*{paper:+.{digits}f}*", ours,
        f"{check.found.mean / paper:.2f}" if paper else "",
        "" if check.floor is None else f"{check.floor:.{digits}f}", check.outcome,
    ]  # fmt: skip


def _paper_difference(check: Check) -> float | None:
    """The same difference of the paper's printed values, where it prints both."""
    values = []
    for name in (check.first, check.second):
        row = find_row(PAPER[name], "RealSR") if name in PAPER else None
        word, _, metric = check.quantity.rpartition(" ")
        value = row.value(metric) if row else None
        values.append(None if value is None else value.gstd if word else value.mean)
    one, other = values
    return None if one is None or other is None else one - other


def _steps(record: dict[str, Any], system: str, metric: str) -> list[float]:
    """Mean over pictures at each step."""
    values = [[step[metric] for step in found[system]] for found in record["pictures"].values()]
    return np.mean(values, axis=0).tolist()


def _chart(record: dict[str, Any], metric: str) -> str:
    """A metric against the index t of each step of V1; the networks of one pass stand at t = 0."""
    points = []
    for number, (system, timesteps) in enumerate(record["timesteps"].items()):
        values = _steps(record, system, metric)
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


def _figure4(results: Path) -> str:
    if not (results / "fig4.webp").is_file():
        return "The figure of two runs of each waits for the full method's network."
    return (
        f"![V1, V2 and the full method]({results.name}/fig4.webp)\n\n*After the paper's Fig. 4: Chelsea the cat (CC0,"
        " from scikit-image) through the published degradation; two runs each.*"
    )


def _figure2(store: Store, folder: str) -> str:
    records = {level: record for level in FIG2_LEVELS if (record := store("fig2", level))}
    if FIG2_MIDDLE not in records or "v1" not in records[FIG2_MIDDLE]["timesteps"]:
        return "Not measured yet."
    middle = records[FIG2_MIDDLE]
    parts = [f"![PSNR of each step]({folder}/fig2-psnr.svg) ![distance]({folder}/fig2-squeezenet.svg)", _chain(middle)]
    rows = []
    for level, record in records.items():
        bicubic = store("bicubic", level)
        both = [name for name in record["pictures"] if bicubic and name in bicubic["pictures"]]
        named = [("enlarged input", {m: np.mean([values_of(bicubic, m)[n] for n in both]) for m in FIG2_SCORES})] if (
            bicubic and both
        ) else []  # fmt: skip
        named += [(NAMES[s], {m: _steps(record, s, m)[-1] for m in FIG2_SCORES}) for s in record["timesteps"]]
        for title, scores in named:
            rows.append([level, title, *(f"{scores[m]:.{METRICS[m].digits}f}" for m in FIG2_SCORES)])
    parts.append(_rows(["degradation", "system", *map(_arrow, FIG2_SCORES)], rows))
    if any("l1-gan" not in record["timesteps"] for record in records.values()) or len(records) < len(FIG2_LEVELS):
        return "\n\n".join([*parts, "The networks without diffusion are not measured yet: III-A has no verdict."])
    parts.append(_growth(records))
    parts.append(f"![qualities of one picture through the systems]({folder}/fig2.webp)\n\n" + _FIG2_SYSTEMS)
    return "\n\n".join(parts)


def _chain(record: dict[str, Any]) -> str:
    """What the paper says of the chain, between fixed steps: the first, the middle one and the last."""
    t = record["timesteps"]["v1"]
    middle = min(_MIDDLE_STEP, len(t) - 1)
    psnr, far = (_steps(record, "v1", metric) for metric in ("psnr", "squeezenet"))
    count = len(record["pictures"])
    parts = [
        f"V1 with {len(t)} uniform steps, means over {count} pictures of {TITLES[FIG2_MIDDLE]}, one run: PSNR"
        f" {psnr[0]:.2f} dB at t = {t[0]}, {psnr[middle]:.2f} dB at t = {t[middle]}, {psnr[-1]:.2f} dB at the end;"
        f" SqueezeNet distance {far[0]:.4f}, {far[middle]:.4f}, {far[-1]:.4f}."
    ]
    claims = (
        ("PSNR rises in the early steps and falls in the later ones", "psnr", (True, False)),
        ("The perceptual distance improves throughout", "squeezenet", (False, False)),
    )
    for text, metric, rises in claims:
        spans = ((0, middle), (middle, len(t) - 1))
        # Both halves are tested, so each at half the risk.
        found = [step_change(record, "v1", metric, *span, 1 - (1 - CONFIDENCE) / len(spans)) for span in spans]
        word = verdict([sign_of(change, up) for change, up in zip(found, rises, strict=True)])
        shown = ", then ".join(f"{c.mean:+.4f} ± {c.error:.4f}" for c in found)
        parts.append(f"- *{text}*: **{word}** ({shown}).")
    return f"{parts[0]}\n\n" + "\n".join(parts[1:])


def _growth(records: dict[str, dict[str, Any]]) -> str:
    lines = []
    for metric in FIG2_SCORES:
        higher = is_better_when_higher(metric)
        by_level = [advantages(record, metric, "v1", "l1-gan", higher) for record in records.values()]
        change = growth(by_level[0], by_level[-1])
        means = ", ".join(
            f"{level} {np.mean(list(v.values())):+.3f}" for level, v in zip(records, by_level, strict=True)
        )
        word = verdict([sign_of(change, rises=True)])
        lines.append(
            f"- {title_of(metric)}, by how much V1 is better than L1 + GAN: {means}; heavy less light"
            f" {change.mean:+.3f} ± {change.error:.3f}: **{word}**."
        )
    return (
        '*"The performance discrepancy between DM-based and GAN-based methods enlarges as the LR quality deteriorates"*'
        " (III-A), as the growth of the diffusion model's advantage over the same pictures:\n\n" + "\n".join(lines)
    )

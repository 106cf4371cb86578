"""What every benchmark here shares: the row of a target, the machine, and how both are shown and kept."""

import json
import os
import platform
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

_COLUMNS = ("target", "what", "measured", "wanted", "reached", "note")


def clock(cpu: bool) -> Callable[[], float]:
    """Seconds on the wall, or of the processor: the latter, with one thread, where a machine does other work too."""
    return time.process_time if cpu else time.perf_counter


def row(
    target: str, what: str, measured: float | None, unit: str, wanted: str, reached: bool | None, note: str = ""
) -> dict[str, Any]:
    """One figure beside what was wanted of it; `measured` and `reached` are None where it cannot be taken here."""
    return {
        "target": target, "what": what, "measured": measured, "unit": unit, "wanted": wanted, "reached": reached,
        "note": note,
    }  # fmt: skip


def machine() -> dict[str, Any]:
    """Processor, the instructions that matter, cores, threads in use, and versions."""
    facts = {"processor": platform.processor() or platform.machine(), "flags": ""}
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            name, _, value = (part.strip() for part in line.partition(":"))
            facts |= {"processor": value} if name == "model name" else {}
            facts |= {"flags": value} if name == "flags" else {}
    except OSError:
        pass  # not Linux
    flags = set(facts["flags"].split())
    known = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")
    return {
        "processor": facts["processor"],
        "instructions": [name for name in known if name in flags],
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "torch": torch.__version__,
    }


def write(rows: Sequence[dict[str, Any]], path: Path | str | None) -> None:
    """Print the rows as a Markdown table; with a path, keep them and the machine there as JSON."""
    print(table(rows))
    if path:
        text = json.dumps({"machine": machine(), "rows": list(rows)}, indent=2)
        Path(path).write_text(text + "\n", encoding="utf-8")


def table(rows: Sequence[dict[str, Any]]) -> str:
    """A Markdown table with one line a row."""
    lines = ["| " + " | ".join(_COLUMNS) + " |", "|" + "---|" * len(_COLUMNS)]
    for r in rows:
        measured = "not measured" if r["measured"] is None else f"{r['measured']:.3g} {r['unit']}".strip()
        reached = {True: "yes", False: "no", None: "-"}[r["reached"]]
        cells = (r["target"], r["what"], measured, r["wanted"], reached, r["note"])
        lines.append("| " + " | ".join(str(cell) for cell in cells) + " |")
    return "\n".join(lines)

"""Every target of speed and memory in one table: `make bench`.

python benchmarks/targets.py [--only full_size nano photo gpu large small_files] [--quick] [--json FILE]

Each benchmark runs as a process of its own, so that memory and threads of one do not reach another. One that fails
gives a row with its last line. Half an hour on two cores; `--quick` leaves out the full-size network.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from common import machine, row, write

HERE = Path(__file__).parent
SCRIPTS = {
    "full_size": ["--memory"],
    "nano": [],
    "photo": [],
    "large": [],
    "small_files": [],
    "gpu": [],
}
"""The benchmarks in the order of their targets, with their arguments."""


def rows_of(name: str) -> list[dict[str, Any]]:
    """What one benchmark found."""
    script = HERE / f"{name}.py"
    if not script.is_file():
        return []
    with tempfile.TemporaryDirectory() as folder:
        kept = Path(folder) / "rows.json"
        command = [sys.executable, str(script), *SCRIPTS[name], "--json", str(kept)]
        done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        if done.returncode or not kept.is_file():
            last = (done.stderr.strip().splitlines() or ["no message"])[-1][:120]
            return [row("-", f"benchmarks/{name}.py", None, "", "", None, f"failed: {last}")]
        rows: list[dict[str, Any]] = json.loads(kept.read_text(encoding="utf-8"))["rows"]
        return rows


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", nargs="*", choices=list(SCRIPTS), default=list(SCRIPTS))
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", metavar="FILE")
    chosen = parser.parse_args()
    names = [name for name in SCRIPTS if name in chosen.only and not (chosen.quick and name == "full_size")]
    rows = []
    for name in names:
        print(f"{name} ...", file=sys.stderr, flush=True)
        rows += rows_of(name)
    facts = machine()
    instructions = ", ".join(facts["instructions"]) or "no vector instructions known here"
    print(f"{facts['processor']}, {facts['cores']} cores, {instructions}, GPU: {facts['gpu'] or 'none'},"
          f" torch {facts['torch']}\n")  # fmt: skip
    write(sorted(rows, key=lambda found: str(found["target"])), chosen.json)


if __name__ == "__main__":
    main()

"""Large pictures: seconds per megapixel and peak memory from 4 to 64 megapixels, each in a process of its own.

    python benchmarks/large.py [--sides 2048 4096 8192] [--threads N] [--folder DIR] [--json FILE]

Memory is the anonymous part (RssAnon): pages of working files are the system's to drop. Linux only.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import common
import numpy as np
from PIL import Image


def make_photo(path: Path, side: int) -> None:
    """Smooth colours with some noise: nothing that a file format could shrink to nothing."""
    random = np.random.default_rng(side)
    coarse = random.integers(0, 256, (side // 32 + 2, side // 32 + 2, 3), np.uint8)
    smooth = np.asarray(Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC), np.int16)
    Image.fromarray((smooth + random.integers(-6, 7, smooth.shape)).clip(0, 255).astype(np.uint8)).save(path)


def upscale(source: Path, to: Path, threads: int | None) -> dict[str, Any]:
    """One run of the program: its line of `--json`, `peak`, bytes of anonymous memory, and `cpu`, seconds of it."""
    words = ["upscale", str(source), "-o", str(to), "--overwrite", "--json", "--quiet"]
    words += ["--threads", str(threads)] if threads else []
    process = subprocess.Popen([sys.executable, "-m", "ccsr", *words], stdout=subprocess.PIPE, text=True)
    peak = 0
    while True:
        pid, _, used = os.wait4(process.pid, os.WNOHANG)
        if pid:
            break
        status = Path(f"/proc/{process.pid}/status").read_text(encoding="ascii", errors="replace")
        if "RssAnon:" in status:
            peak = max(peak, int(status.partition("RssAnon:")[2].split()[0]) * 1024)
        time.sleep(0.02)
    assert process.stdout is not None
    line: dict[str, Any] = json.loads(process.stdout.readline())
    assert line["status"] == "done", line
    return {**line, "peak": peak, "cpu": used.ru_utime + used.ru_stime}


def main() -> None:
    """Measure, print, and keep."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sides", type=int, nargs="+", default=[2048, 4096, 8192], help="of results, in pixels")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--folder", type=Path, help="where results and working files go")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    found = {}
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        for side in arguments.sides:
            make_photo(Path(name, f"{side}.png"), side // 4)
            found[side] = upscale(Path(name, f"{side}.png"), Path(name, f"{side}_x4.png"), arguments.threads)
            made = found[side]
            # Loading the model is the same for all sizes.
            made["each"] = (sum(made["seconds"].values()) - made["seconds"]["load"]) / (side * side / 1e6)
            stages = ", ".join(f"{stage} {value:.1f}" for stage, value in made["seconds"].items())
            memory, tiles = f"{made['peak'] / 1e6:.0f} MB", f"tiles {made['tile']} and {made['vae_tile']}"
            speed = f"{made['each']:.3f} s/MP, {made['cpu']:.0f} s of CPU"
            print(f"{side}: {speed}, {memory}, {tiles}; {stages}", file=sys.stderr)
    each = {side: made["each"] for side, made in found.items()}
    ratio = max(each.values()) / min(each.values())
    peaks = {side: made["peak"] for side, made in found.items() if side * side > 16e6}
    growth = (max(peaks.values()) - peaks[min(peaks)]) / 1e6 if peaks else None
    megapixels = "; ".join(f"{side * side / 1e6:.0f} MP {value:.2f} s/MP" for side, value in each.items())
    memory = "; ".join(f"{side * side / 1e6:.0f} MP {made['peak'] / 1e6:.0f} MB" for side, made in found.items())
    what = f"from {min(each)}x{min(each)} to {max(each)}x{max(each)}"
    rows = [common.row("4a", f"seconds per megapixel {what}: dearest against cheapest", round(ratio, 3), "x",
                       "<= 1.15", ratio <= 1.15, megapixels)]  # fmt: skip
    if growth is not None:
        rows.append(common.row("4b", "peak of anonymous memory from 16 megapixels up: growth", round(growth), "MB",
                               "<= 300", growth <= 300, memory))  # fmt: skip
    common.write(rows, arguments.json)


if __name__ == "__main__":
    main()

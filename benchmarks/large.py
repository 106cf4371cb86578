"""Large pictures: seconds per megapixel, peak memory and disk from 1 to 67 megapixels, each in a process of its own.

    python benchmarks/large.py [--sides 1024 2048 4096 8192] [--threads N] [--cpu-seconds] [--folder DIR] [--json FILE]

Memory is the anonymous part (RssAnon): pages of working files are the system's to drop. Disk is the most that the files
in the folder of results and the process's nameless ones take. Linux only.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
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
    """One run of the program: its line of `--json`, `peak`, bytes of anonymous memory, `disk`, bytes of files, and
    `cpu`, seconds of it."""
    words = ["upscale", str(source), "-o", str(to), "--overwrite", "--json", "--quiet"]
    words += ["--threads", str(threads)] if threads else []
    process = subprocess.Popen([sys.executable, "-m", "ccsr", *words], stdout=subprocess.PIPE, text=True)
    peak = disk = 0
    while True:
        pid, _, used = os.wait4(process.pid, os.WNOHANG)
        if pid:
            break
        status = Path(f"/proc/{process.pid}/status").read_text(encoding="ascii", errors="replace")
        if "RssAnon:" in status:
            peak = max(peak, int(status.partition("RssAnon:")[2].split()[0]) * 1024)
        disk = max(disk, on_disk(process.pid, to.parent))
        time.sleep(0.02)
    assert process.stdout is not None
    line: dict[str, Any] = json.loads(process.stdout.readline())
    assert line["status"] == "done", line
    return {**line, "peak": peak, "disk": disk, "cpu": used.ru_utime + used.ru_stime}


def on_disk(pid: int, folder: Path) -> int:
    """Bytes of the files that the process has mapped and of those in `folder`, each once; small inputs, too."""
    sizes = {}
    with suppress(OSError):  # it may end, and files may go, at any moment
        for line in Path(f"/proc/{pid}/maps").read_text(encoding="utf-8", errors="replace").splitlines():
            span, _, _, device, inode, *name = line.split(maxsplit=5)
            if name and name[0].startswith(str(folder)):
                low, high = (int(end, 16) for end in span.split("-"))
                sizes[device, inode] = sizes.get((device, inode), 0) + high - low
        mapped = {inode for _, inode in sizes}
        for path in folder.rglob("*"):
            status = path.stat()
            if str(status.st_ino) not in mapped:
                sizes["", str(status.st_ino)] = status.st_blocks * 512
    return sum(sizes.values())


def main() -> None:
    """Measure, print, and keep."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sides", type=int, nargs="+", default=[1024, 2048, 4096, 8192], help="of results, in pixels")
    parser.add_argument("--threads", type=int)
    parser.add_argument(
        "--cpu-seconds", action="store_true", help="with --threads 1, where a machine does other work too"
    )
    parser.add_argument("--folder", type=Path, help="where results and working files go")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    found = {}
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        start = 0.0
        if arguments.cpu_seconds:
            make_photo(Path(name, "start.png"), 32)
            start = upscale(Path(name, "start.png"), Path(name, "start_x4.png"), arguments.threads)["cpu"]
        for side in arguments.sides:
            make_photo(Path(name, f"{side}.png"), side // 4)
            found[side] = upscale(Path(name, f"{side}.png"), Path(name, f"{side}_x4.png"), arguments.threads)
            made = found[side]
            # Loading the model is the same for all sizes.
            spent = made["cpu"] - start if start else sum(made["seconds"].values()) - made["seconds"]["load"]
            made["each"] = spent / (side * side / 1e6)
            stages = ", ".join(f"{stage} {value:.1f}" for stage, value in made["seconds"].items())
            memory, tiles = f"{made['peak'] / 1e6:.0f} MB", f"tiles {made['tile']} and {made['vae_tile']}"
            speed = f"{made['each']:.3f} s/MP, {made['cpu']:.0f} s of CPU"
            print(
                f"{side}: {speed}, {memory}, {made['disk'] / side**2:.1f} B/px of disk, {tiles}; {stages}",
                file=sys.stderr,
            )
    each = {side: made["each"] for side, made in found.items()}
    ratio = max(each.values()) / min(each.values())
    peaks = {side: made["peak"] for side, made in found.items() if side * side > 16e6}
    growth = (max(peaks.values()) - peaks[min(peaks)]) / 1e6 if peaks else None
    megapixels = "; ".join(f"{side * side / 1e6:.0f} MP {value:.2f} s/MP" for side, value in each.items())
    memory = "; ".join(f"{side * side / 1e6:.0f} MP {made['peak'] / 1e6:.0f} MB" for side, made in found.items())
    what = f"from {min(each)}x{min(each)} to {max(each)}x{max(each)}"
    rows = [common.row("4a", f"seconds per megapixel {what}: dearest against cheapest", round(ratio, 3), "x",
                       "<= 1.15", ratio <= 1.15, megapixels)]  # fmt: skip
    large = {side: made["disk"] / side**2 for side, made in found.items() if side * side > 4.2e6}
    if large:
        most, note = max(large.values()), "; ".join(f"{s * s / 1e6:.0f} MP {value:.1f}" for s, value in large.items())
        rows.append(common.row("4c", "disk at x4, bytes a pixel of result, the result's file included", round(most, 1),
                               "B", "<= 30", most <= 30, note))  # fmt: skip
    if growth is not None:
        rows.append(common.row("4b", "peak of anonymous memory from 16 megapixels up: growth", round(growth), "MB",
                               "<= 300", growth <= 300, memory))  # fmt: skip
    common.write(rows, arguments.json)


if __name__ == "__main__":
    main()

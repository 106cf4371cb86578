"""Target 3: the built-in model beside realesr-general-x4v3 run by ncnn, 128x128 to 512x512, and a whole command.

python benchmarks/nano.py [--peer FOLDER] [--model NAME] [--processes 3] [--rounds 7] [--threads N] [--json FILE]

The peer's time differs between processes and hardly within one, so several processes run, each with both in turn;
`--peer` is the folder of realesr-general-x4v3.param and .bin.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from common import clock, row, write

SIDE = 128
PEER = Path(__file__).parents[2] / "shared" / "data" / "peers"
NAME = "realesr-general-x4v3"


def photo() -> np.ndarray:
    """uint8 (128, 128, 3), a part of a photograph of scikit-image."""
    from skimage import data

    whole: np.ndarray = data.astronaut()
    return whole[:SIDE, 160 : 160 + SIDE].copy()


def both(peer: Path, rounds: int, threads: int, cpu: bool) -> dict[str, float]:
    """Medians of both in this process, in turn, picture in memory to picture in memory."""
    import torch

    from ccsr import CCSRPipeline
    from ccsr.compare.worker_program import ncnn_net

    torch.set_num_threads(threads)
    now = clock(cpu)
    picture = photo()
    net, _ = ncnn_net({"param": str(peer / f"{NAME}.param"), "weights": str(peer / f"{NAME}.bin"), "threads": threads})
    pipe = CCSRPipeline.from_pretrained("nano")
    pipe.set_progress_bar_config(disable=True)
    runs: dict[str, Any] = {
        "peer": lambda: net(picture, 4 * SIDE, 4 * SIDE),
        "nano": lambda: pipe(picture, threads=threads, device="cpu", output_type="np"),
    }
    laps: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds + 1):
        for name, run in runs.items():
            begin = now()
            run()
            laps[name].append(now() - begin)
    return {name: median(values[1:]) for name, values in laps.items()}


def start_row(model: str, rounds: int, threads: int, cpu: bool) -> dict[str, Any]:
    """From the start of a process to the written file, by the import of torch alone, in turn."""
    from PIL import Image

    whole, alone = [], []
    with tempfile.TemporaryDirectory() as folder:
        Image.fromarray(photo()).save(f"{folder}/photo.jpg")
        command = ["-m", "ccsr", "upscale", f"{folder}/photo.jpg", "-m", model, "-q", "--overwrite"]
        command += ["--threads", str(threads)]
        for _ in range(rounds):
            alone.append(process_seconds(["-c", "import torch"], cpu))
            whole.append(process_seconds(command, cpu))
            assert Path(f"{folder}/photo_x4.jpg").is_file()
    ratio = median(whole) / median(alone)
    note = f"{median(whole):.2f} by {median(alone):.2f} s, medians of {rounds}"
    what = f"{model}, start to written file, by import torch"
    return row("3", what, ratio, "x", "<= 1.8", ratio <= 1.8, note)


def process_seconds(words: list[str], cpu: bool) -> float:
    """From the start of Python with these words to its end, or the CPU seconds of it."""
    begin = _children() if cpu else time.perf_counter()
    subprocess.run([sys.executable, *words], check=True)
    return (_children() if cpu else time.perf_counter()) - begin


def _children() -> float:
    """CPU seconds of the processes that were started and have ended."""
    spent = os.times()
    return spent.children_user + spent.children_system


def main() -> None:
    """Measure, or with `--one` be one of the processes."""
    from ccsr.options import UpscaleOptions
    from ccsr.plan import resolve_machine

    parser = argparse.ArgumentParser()
    parser.add_argument("--peer", type=Path, default=PEER)
    parser.add_argument("--model", default="nano", help="the model whose start is measured")
    parser.add_argument("--processes", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=resolve_machine(UpscaleOptions())[2])
    parser.add_argument("--json", metavar="FILE")
    parser.add_argument("--cpu-seconds", action="store_true", help="with one thread, on a machine that does other work")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.one:
        print(json.dumps(both(chosen.peer, chosen.rounds, chosen.threads, chosen.cpu_seconds)))
        return
    what, wanted = f"nano S1 128 to 512 by {NAME} in ncnn", "<= 3"
    try:
        import ncnn  # noqa: F401

        missing = None if (chosen.peer / f"{NAME}.param").is_file() else f"{NAME}.param is not at hand"
    except ImportError:
        missing = "ncnn is not installed"
    rows = []
    if missing:
        rows.append(row("3", what, None, "x", wanted, None, missing))
    else:
        same = [sys.executable, __file__, "--one", "--peer", str(chosen.peer)]
        same += ["--rounds", str(chosen.rounds), "--threads", str(chosen.threads)]
        same += ["--cpu-seconds"] if chosen.cpu_seconds else []
        found = [
            json.loads(subprocess.run(same, check=True, capture_output=True, text=True).stdout)
            for _ in range(chosen.processes)
        ]
        nano, peers = median(one["nano"] for one in found), sorted(one["peer"] for one in found)
        ratio, strict = nano / median(peers), nano / peers[0]
        note = f"{nano:.3f} s; peer {', '.join(f'{p:.3f}' for p in peers)} s, {strict:.1f} x its fastest process"
        rows.append(row("3", what, ratio, "x", wanted, ratio <= 3, note))
    rows.append(start_row(chosen.model, chosen.processes, chosen.threads, chosen.cpu_seconds))
    write(rows, chosen.json)


if __name__ == "__main__":
    main()

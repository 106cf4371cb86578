"""Many small pictures: a job of `ccsr upscale` beside the loop that anybody would write, in one run.

    python benchmarks/small_files.py [--files 200] [--json FILE]

The loop opens each file with Pillow, calls the pipeline and saves the result. It runs twice: with the threads that the
plan gives such a picture (results are then the same to the bit, which is checked) and with all cores for each picture.
The job is measured against the faster of the two. Loading of the model is in none of them.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import common
import numpy as np
from PIL import Image

from ccsr import CCSRPipeline
from ccsr.jobs import runner
from ccsr.options import UpscaleOptions
from ccsr.plan import make_plan, resolve_machine


def make_files(folder: Path, sides: Iterable[int]) -> list[Path]:
    """Smooth coloured noise, one PNG for each side."""
    folder.mkdir(parents=True)
    paths = []
    for n, side in enumerate(sides):
        coarse = np.random.default_rng(n).integers(0, 256, (side // 4 + 2, side // 4 + 2, 3), np.uint8)
        paths.append(folder / f"{n:04d}.png")
        Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC).save(paths[-1])
    return paths


def loop(pipe: CCSRPipeline, paths: list[Path], to: Path, **options: Any) -> None:
    """What anybody would write."""
    to.mkdir()
    for path in paths:
        pipe(Image.open(path), **options).images[0].save(to / path.name)


def job(pipe: CCSRPipeline, paths: list[Path], to: Path) -> None:
    """What `ccsr upscale FOLDER -o TO` does once its model is loaded."""
    asked = runner.Job([paths[0].parent], pipe.description, f"{to}/")
    summary = runner.run(asked, lambda: pipe, UpscaleOptions())
    assert summary.done == len(paths), summary


def seconds(work: Callable[[], None]) -> float:
    """How long it takes."""
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def measure(pipe: CCSRPipeline, sides: list[int], rounds: int, folder: Path) -> dict[str, Any]:
    """Seconds per picture of each way, the best of all rounds, and whether bytes agree."""
    cores = resolve_machine(UpscaleOptions())[2]
    paths = make_files(folder / "in", sides)
    planned = make_plan(sides[0], sides[0], UpscaleOptions(), pipe.description)
    for threads in {planned.threads, cores}:
        pipe(Image.open(paths[0]), threads=threads)
    times: dict[str, list[float]] = {"job": [], "loop": [], "loop, all cores": []}
    for n in range(rounds):
        times["loop"].append(seconds(lambda n=n: loop(pipe, paths, folder / f"loop{n}")))  # type: ignore[misc]
        times["job"].append(seconds(lambda n=n: job(pipe, paths, folder / f"job{n}")))  # type: ignore[misc]
        if planned.threads != cores:
            work = lambda n=n: loop(pipe, paths, folder / f"cores{n}", threads=cores)  # type: ignore[misc] # noqa: E731
            times["loop, all cores"].append(seconds(work))
    same = all(
        np.array_equal(
            np.asarray(Image.open(folder / "loop0" / p.name)), np.asarray(Image.open(folder / "job0" / p.name))
        )
        for p in paths
    )
    each = {name: min(values) / len(paths) for name, values in times.items() if values}
    return {"each": each, "same": same, "threads": planned.threads, "lanes": planned.lanes}


def rows(target: str, what: str, wanted: float, found: dict[str, Any]) -> dict[str, Any]:
    """The job against the faster loop."""
    each = found["each"]
    ratio = min(value for name, value in each.items() if name != "job") / each["job"]
    note = ", ".join(f"{name} {value * 1000:.0f} ms" for name, value in each.items())
    note += f" a picture; {found['lanes']} at a time, each by {found['threads']} threads; pixels of job and loop are "
    note += "the same" if found["same"] else "NOT the same"
    return common.row(target, what, round(ratio, 3), "x", f">= {wanted}", bool(ratio >= wanted and found["same"]), note)


def main() -> None:
    """Measure, print, and keep."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    pipe = CCSRPipeline.from_pretrained("nano")
    pipe.set_progress_bar_config(disable=True)
    with tempfile.TemporaryDirectory() as name:
        small = measure(pipe, [48 + n % 17 for n in range(arguments.files)], arguments.rounds, Path(name, "small"))
        larger = measure(pipe, [128] * (arguments.files // 5), arguments.rounds, Path(name, "larger"))
    common.write(
        [
            rows("5a", f"{arguments.files} files of 48 to 64 px: job against loop", 1.5, small),
            rows("5b", f"{arguments.files // 5} files of 128 px: job against loop", 1.15, larger),
        ],
        arguments.json,
    )


if __name__ == "__main__":
    main()

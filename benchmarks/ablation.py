"""Train the networks of the paper's ablations in their order, then pack them into ablation/.

    python benchmarks/ablation.py data.sources=MY-PHOTOS [key=value ...] [--threads N] [--runs FOLDER] [--pack FOLDER]
    python benchmarks/ablation.py data.sources=MY-PHOTOS --only full      # this one anew, the others as they are there

The words are settings laid over every one of configs/ablation/*.yaml, as `ccsr train` takes them. The pictures are
dealt out to two halves: all networks learn on the first, the twin, which is V2's recipe again, on the second. Stopped
by an interrupt or killed, the same command goes on where it was. It runs at the lowest priority.
"""

import argparse
import json
import os
import resource
import sys
import time
from pathlib import Path

import torch
from reproduction.networks import COMMON, RECIPES, Shelf, pack

from ccsr.cli.train import TrainingReporter
from ccsr.data.sources import Pictures
from ccsr.errors import CCSRError, OptionError
from ccsr.training.config import resolve
from ccsr.training.run import sources_of, train
from ccsr.training.yaml_config import read_settings

HERE = Path(__file__).resolve().parents[1]
_BLOCK = 8
"""Neighbours by name that stay in one half: several of them may be crops of one photograph."""
_ALONE = [name for name in RECIPES if name != COMMON]
"""What can be trained anew by itself: the others' files are laid over those of the common one."""


def main(words: list[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("settings", nargs="+", metavar="key=value", help="data.sources=FOLDER at least")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (1)")
    parser.add_argument("--runs", type=Path, default=HERE / "runs" / "ablation", help="run folders, a few hundred MB")
    parser.add_argument("--pack", type=Path, default=HERE / "ablation", help="where the finished networks go")
    parser.add_argument("--records", type=Path, default=HERE / "docs" / "reproduction", help="where their budget goes")
    parser.add_argument("--only", choices=_ALONE, action="append", help="train and pack this alone; may be repeated")
    chosen = parser.parse_args(words)
    torch.set_num_threads(chosen.threads)
    halves, shelf = deal(chosen.settings, chosen.runs), Shelf(chosen.pack, chosen.runs / "models")
    wanted = [name for name in RECIPES if name in (chosen.only or RECIPES)]
    for name in wanted:
        recipe = RECIPES[name]
        own = [f"run={chosen.runs / name}", f"data.sources=[{{list: {halves[recipe.half]}}}]", *recipe.words]
        if recipe.base in wanted:
            own += [f"model.base={chosen.runs / recipe.base / 'model'}"]
        elif recipe.base:
            base = shelf.find(recipe.base)
            if base is None:
                raise OptionError(f"{recipe.base}, which {name} begins with, is not there", path=chosen.pack)
            own += [f"model.base={base.folder}"]
        print(f"{name}: {HERE / recipe.config}", flush=True)
        if not _trained(recipe.stage, HERE / recipe.config, [*chosen.settings, *own], chosen.runs / name):
            print("stopped; the same command goes on")
            return 130
    for line in pack(chosen.runs, chosen.pack, chosen.records, wanted):
        print(line)
    return 0


def deal(settings: list[str], runs: Path) -> tuple[Path, Path]:
    """The lists of the two halves, written once: a run that goes on has the pictures that it began with."""
    lists = runs / "pictures.txt", runs / "pictures-twin.txt"
    if not all(path.is_file() for path in lists):
        config = resolve("stage1", read_settings(HERE / RECIPES["base"].config, settings))
        paths = [str(Path(location.path).resolve()) for location in Pictures.open(sources_of(config))]
        runs.mkdir(parents=True, exist_ok=True)
        for half, path in enumerate(lists):
            # With fewer than two blocks every other picture.
            block = _BLOCK if len(paths) >= 2 * _BLOCK else 1
            path.write_text("".join(f"{p}\n" for i, p in enumerate(paths) if i // block % 2 == half), encoding="utf-8")
    for path in lists:
        print(f"{path}: {len(path.read_text(encoding='utf-8').splitlines())} pictures")
    return lists


def _trained(stage: str, config: Path, words: list[str], run: Path) -> bool:
    """Whether the run is finished now; its CPU seconds, over all calls, are kept in its folder."""
    kept = run / "cpu.json"
    before = json.loads(kept.read_text(encoding="utf-8"))["seconds"] if kept.is_file() else 0.0
    reporter, start = TrainingReporter(progress=True, quiet=False), _cpu_seconds()
    try:
        outcome = train(resolve(stage, read_settings(config, words)), reporter)
    finally:
        reporter.close()
        if run.is_dir():
            spent = before + _cpu_seconds() - start
            kept.write_text(json.dumps({"seconds": round(spent, 1)}) + "\n", encoding="utf-8")
    return outcome.finished


def _cpu_seconds() -> float:
    """Of this process and of the workers that have ended."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


if __name__ == "__main__":
    os.nice(19)  # hours of work that nobody waits for
    try:
        sys.exit(main())
    except CCSRError as error:
        sys.exit(f"error: {error}")

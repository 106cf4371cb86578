"""Measure the paper's ablations on networks of nano's size and write docs/reproduction.md.

    python benchmarks/reproduce.py                       # what is not measured yet, then the page
    python benchmarks/reproduce.py --render              # the page alone, from what is stored
    python benchmarks/reproduce.py --only table1 --seeds 3 --images 4 --results elsewhere --page elsewhere.md
    python benchmarks/reproduce.py --take RUNS           # fill ablation/ from the run folders of configs/ablation/

Needs the pictures of `--data` (benchmark/realsr and cid22_validation), which are not part of the repository.
"""

import argparse
import sys
from pathlib import Path

from reproduction.networks import Shelf, take
from reproduction.page import write_page
from reproduction.sections import SECTIONS, Bench

HERE = Path(__file__).resolve().parents[1]


def main(words: list[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10, help="runs of each picture (10)")
    parser.add_argument("--images", type=int, default=10, help="pictures of RealSR; half as many of the stand-in (10)")
    parser.add_argument("--only", choices=list(SECTIONS), action="append", help="a section alone; may be repeated")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (1)")
    parser.add_argument("--render", action="store_true", help="compute nothing, write the page from what is stored")
    parser.add_argument("--data", type=Path, default=HERE.parent / "shared" / "data", help="where the pictures are")
    parser.add_argument("--ablation", type=Path, default=HERE / "ablation", help="the networks' folder")
    parser.add_argument("--twin", type=Path, help="packed model of the licence twin, which is not given away")
    parser.add_argument("--work", type=Path, default=HERE / "runs" / "reproduction", help="results on the way")
    parser.add_argument("--results", type=Path, default=HERE / "docs" / "reproduction", help="what was measured")
    parser.add_argument("--page", type=Path, default=HERE / "docs" / "reproduction.md")
    parser.add_argument("--take", type=Path, metavar="RUNS", help="fill --ablation from finished run folders, and stop")
    chosen = parser.parse_args(words)
    if chosen.take:
        for line in take(chosen.take, chosen.ablation):
            print(line)
        return 0
    if not chosen.render:
        bench = Bench(
            shelf=Shelf(chosen.ablation, chosen.work / "models", chosen.twin),
            data=chosen.data,
            work=chosen.work,
            results=chosen.results,
            seeds=chosen.seeds,
            images=chosen.images,
            threads=chosen.threads,
        )
        for name in chosen.only or SECTIONS:
            SECTIONS[name](bench)
    write_page(chosen.page, chosen.results)
    print(f"written: {chosen.page}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

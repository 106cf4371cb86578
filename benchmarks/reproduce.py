"""Measure the paper's ablations on small networks and write docs/reproduction.md.

    python benchmarks/reproduce.py                       # what is not measured yet, then the page
    python benchmarks/reproduce.py --render              # the page alone, from what is stored
    python benchmarks/reproduce.py --only table1 --images 4 --results elsewhere --page elsewhere.md

Needs the pictures of `--data` (benchmark/realsr and cid22_validation), which are not part of the repository, and the
networks of `--ablation`, which benchmarks/ablation.py trains. It says how long it takes, and keeps what it has found
after each picture: stopped, the same command goes on.
"""

import argparse
import sys
from pathlib import Path

from reproduction.networks import Shelf
from reproduction.page import write_page
from reproduction.sections import SECTIONS, Bench, run

HERE = Path(__file__).resolve().parents[1]


def main(words: list[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=100, help="pictures of RealSR (100)")
    parser.add_argument("--runs", type=int, default=2, help="runs of each picture (2)")
    parser.add_argument("--stable-images", type=int, default=20, help="of RealSR's, those with more runs (20)")
    parser.add_argument("--stable-runs", type=int, default=10, help="runs of these, where deviations are taken (10)")
    parser.add_argument("--level-images", type=int, default=41, help="pictures of cid22_validation at each level (41)")
    parser.add_argument("--only", choices=SECTIONS, action="append", help="a section alone; may be repeated")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (1)")
    parser.add_argument("--render", action="store_true", help="compute nothing, write the page from what is stored")
    parser.add_argument("--data", type=Path, default=HERE.parent / "shared" / "data", help="where the pictures are")
    parser.add_argument("--ablation", type=Path, default=HERE / "ablation", help="the networks' folder")
    parser.add_argument("--work", type=Path, default=HERE / "runs" / "reproduction", help="degraded pictures, models")
    parser.add_argument("--results", type=Path, default=HERE / "docs" / "reproduction", help="what was measured")
    parser.add_argument("--page", type=Path, default=HERE / "docs" / "reproduction.md")
    chosen = parser.parse_args(words)
    if not chosen.render:
        bench = Bench(
            shelf=Shelf(chosen.ablation, chosen.work / "models"),
            data=chosen.data,
            work=chosen.work,
            results=chosen.results,
            images=chosen.images,
            runs=chosen.runs,
            stable_images=chosen.stable_images,
            stable_runs=chosen.stable_runs,
            level_images=chosen.level_images,
            threads=chosen.threads,
        )
        run(bench, chosen.only or list(SECTIONS))
    write_page(chosen.page, chosen.results)
    print(f"written: {chosen.page}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

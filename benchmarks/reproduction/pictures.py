"""The sets of pictures: pairs of a low-quality picture and its original, and how many runs each gets."""

import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from ccsr.data.degrade import HIGH, LOW, degrade_folder
from ccsr.data.levels import LEVELS

SEED = 12
"""Of the degradations."""
REALSR, STAND_IN = "realsr", "heavy"
ON_LEVELS = ("clean", "light", "medium", "heavy")
"""Of `ccsr.data.levels`, at a factor of 4. The last is the published training's degradation: DIV2K's stand-in."""
TITLES = {REALSR: "RealSR", **{level: f"cid22_validation, {level}" for level in ON_LEVELS}}
_T = TypeVar("_T")


@dataclass(frozen=True)
class Pair:
    """A picture."""

    lq: Path
    gt: Path
    runs: int
    """With so many noises."""

    @property
    def name(self) -> str:
        """Without suffix."""
        return self.lq.stem


@dataclass(frozen=True)
class PictureSet:
    """Pairs under one name."""

    name: str
    pairs: tuple[Pair, ...]

    def once(self) -> "PictureSet":
        """The same with one run of each, for what has no noise."""
        return replace(self, pairs=tuple(replace(pair, runs=1) for pair in self.pairs))


def spread(items: Sequence[_T], count: int) -> list[_T]:
    """`count` of them, evenly spread, the first among them; all where there are not so many."""
    count = min(count, len(items))
    return [items[i * len(items) // count] for i in range(count)]


def realsr(data: Path, count: int, runs: int, stable: int, stable_runs: int) -> PictureSet:
    """`count` of RealSR's pictures with `runs` runs; `stable` of them with `stable_runs`, for deviations."""
    home = data / "benchmark" / "realsr"
    lows = spread(sorted((home / LOW).iterdir()), count)
    many = set(spread(lows, stable))
    return PictureSet(
        REALSR, tuple(Pair(low, home / HIGH / low.name, stable_runs if low in many else runs) for low in lows)
    )


def degraded(data: Path, work: Path, level: str, count: int, runs: int) -> PictureSet:
    """Pictures of cid22_validation, a quarter of the side by one of the levels of damage, made once in `work`."""
    sources = spread([p for p in sorted((data / "cid22_validation").iterdir()) if p.suffix != ".csv"], count)
    home = work / "sets" / f"{level}-{len(sources)}"
    if not home.is_dir():
        part = home.with_name(f".{home.name}.part")
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        with tempfile.TemporaryDirectory() as good:
            for source in sources:
                shutil.copyfile(source, Path(good) / source.name)
            for made in degrade_folder(Path(good), part, LEVELS[level], seed=SEED):
                if made.error:
                    raise RuntimeError(made.error)
        part.rename(home)
    return PictureSet(level, tuple(Pair(low, home / HIGH / low.name, runs) for low in sorted((home / LOW).iterdir())))

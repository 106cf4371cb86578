"""The sets of pictures, made ready in the work folder: `test_LR/` and `test_HR/`, names alike."""

import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ccsr.data.degrade import HIGH, LOW, degrade_folder
from ccsr.data.pairs import DegradationConfig
from ccsr.degradation.realesrgan import DegradationRound

SEED = 12
"""Of the degradations."""

# The strong part of the ranges of Real-ESRGAN's own training, which is harsher than the published one of CCSR.
_HARSH = (
    DegradationRound(
        1.0, (1.5, 3.0), (1.0, 2.0), (0.2, 0.7, 0.1), (0.15, 1.5), (15.0, 30.0), (1.5, 3.0), (30, 60), 0.1, (0.5, 4)
    ),
    DegradationRound(
        0.8, (0.7, 1.5), (1.0, 2.0), (0.3, 0.4, 0.3), (0.3, 1.2), (12.0, 25.0), (1.2, 2.5), (30, 60), 0.1, (0.5, 4)
    ),
)
DEGRADATIONS = {
    "light": DegradationConfig(light_share=1.0),
    "medium": DegradationConfig(),
    "heavy": DegradationConfig(first=_HARSH[0], second=_HARSH[1]),
}
"""medium is the published training's, which makes the stand-in."""
TITLES = {
    "realsr": "RealSR",
    "light": "cid22_validation, light degradation",
    "medium": "cid22_validation through the published degradation (stands in for DIV2K)",
    "heavy": "cid22_validation, heavy degradation",
}


@dataclass(frozen=True)
class PictureSet:
    """Pairs in one folder."""

    name: str
    folder: Path

    @property
    def inputs(self) -> list[Path]:
        """Low-quality pictures, in order."""
        return sorted((self.folder / LOW).iterdir())

    @property
    def truths(self) -> Path:
        """The folder of their originals."""
        return self.folder / HIGH

    @property
    def names(self) -> list[str]:
        """Names without suffix."""
        return [path.stem for path in self.inputs]


def spread(items: Sequence[Path], count: int) -> list[Path]:
    """`count` of them, evenly spread, the first among them; all where there are not so many."""
    count = min(count, len(items))
    return [items[i * len(items) // count] for i in range(count)]


def realsr(data: Path, work: Path, count: int) -> PictureSet:
    """The first of RealSR's pictures and others spread evenly behind it."""
    source = data / "benchmark" / "realsr"
    out = work / "sets" / f"realsr-{count}"

    def fill(part: Path) -> None:
        for low in spread(sorted((source / LOW).iterdir()), count):
            for kind in (LOW, HIGH):
                (part / kind).mkdir(exist_ok=True)
                shutil.copyfile(source / kind / low.name, part / kind / low.name)

    return PictureSet("realsr", _made(out, fill))


def degraded(data: Path, work: Path, count: int, level: str) -> PictureSet:
    """Pictures of cid22_validation, a quarter of the side by one of `DEGRADATIONS`."""
    sources = [p for p in sorted((data / "cid22_validation").iterdir()) if p.suffix != ".csv"]

    def fill(part: Path) -> None:
        with tempfile.TemporaryDirectory() as good:
            for source in spread(sources, count):
                shutil.copyfile(source, Path(good) / source.name)
            for made in degrade_folder(Path(good), part, DEGRADATIONS[level], seed=SEED):
                if made.error:
                    raise RuntimeError(made.error)

    return PictureSet(level, _made(work / "sets" / f"{level}-{count}", fill))


def _made(out: Path, fill: Callable[[Path], None]) -> Path:
    if not out.is_dir():
        part = out.with_name(f".{out.name}.part")
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        fill(part)
        part.rename(out)
    return out

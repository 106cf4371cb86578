"""The pictures of a comparison: copies that every program can read, under one name for input and ground truth."""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from ccsr import atomic, images
from ccsr.data.pairing import pair


@dataclass(frozen=True)
class StagedPictures:
    """Staged copies; names are those of the ground truth, with `__` for folders."""

    inputs: dict[str, Path]
    """PNG, 8 bit RGB."""
    truths: dict[str, Path]
    sizes: dict[str, tuple[int, int]]
    """Width and height of the ground truth."""

    @property
    def input_folder(self) -> Path:
        """All inputs lie here, and nothing else."""
        return next(iter(self.inputs.values())).parent

    @property
    def truth_folder(self) -> Path:
        """All ground truths lie here, and nothing else."""
        return next(iter(self.truths.values())).parent


def stage(lq: Path, gt: Path, limit: int | None, output: Path) -> StagedPictures:
    """Copies in `output/inputs` and `output/truths`.

    Many programs read PNG alone, and every program shall get the same bytes. What is unchanged since an earlier call
    is left as it is.

    Raises:
        OptionError: the folders do not fit together. ImageError: a picture that cannot be read.
    """
    found = list(pair(lq, gt).files.items())[:limit]
    inputs, truths = {}, {}
    for key, (low, high) in found:
        name = key.replace("/", "__")
        inputs[name] = output / "inputs" / f"{name}.png"
        truths[name] = output / "truths" / f"{name}{high.suffix.lower()}"
        if _differs(low, inputs[name]):
            _write(low, inputs[name])
        if _differs(high, truths[name]):
            truths[name].parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(high, truths[name])
    for folder, kept in ((output / "inputs", inputs), (output / "truths", truths)):
        for path in set(folder.iterdir()) - set(kept.values()):
            path.unlink()
    headers = {name: images.read_header(path) for name, path in truths.items()}
    return StagedPictures(inputs, truths, {n: (h.width, h.height) for n, h in headers.items()})


def _differs(source: Path, copy: Path) -> bool:
    return not copy.exists() or copy.stat().st_mtime_ns != source.stat().st_mtime_ns


def _write(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with atomic.file(target) as file:
        Image.fromarray(images.to_uint8(images.load(source).rgb)).save(file, "png")
    # The source's date marks what the copy was made from.
    os.utime(target, ns=(source.stat().st_atime_ns, source.stat().st_mtime_ns))

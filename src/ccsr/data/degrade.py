"""Folders of pairs, made once: `test_LR` and `test_HR` as the test sets of the field have them."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from ccsr import images
from ccsr.data.pairs import DegradationConfig, generator_of
from ccsr.errors import ImageError, OptionError

LOW, HIGH = "test_LR", "test_HR"


@dataclass(frozen=True)
class DegradedPair:
    """One pair, or why there is none."""

    source: Path
    lq: Path | None = None
    width: int = 0
    height: int = 0
    error: str | None = None


def degrade_folder(
    folder: Path,
    out: Path,
    config: DegradationConfig,
    *,
    seed: int = 0,
    crop: int | None = None,
    overwrite: bool = False,
) -> Iterator[DegradedPair]:
    """Make `out/test_LR` and `out/test_HR` of all pictures below `folder`, as PNG with its tree kept.

    Good pictures are cut to multiples of the factor, or to a centred square of `crop`. The draws of a picture are a
    function of the seed and its name, whatever else lies in the folder.

    Raises:
        OptionError: no such folder, nothing in it, or a crop that is no multiple of the factor.
    """
    if not folder.is_dir():
        raise OptionError("there is no such folder", path=folder)
    if crop is not None and crop % config.factor:
        raise OptionError(f"--crop is {crop}", hint=f"choose a multiple of {config.factor}")
    inside = out.resolve()
    sources = [
        p
        for p in sorted(folder.rglob("*"))
        if p.suffix.lower() in images.SUFFIXES and p.is_file() and not p.resolve().is_relative_to(inside)
    ]
    if not sources:
        raise OptionError("there are no pictures in it", path=folder)
    names: dict[str, Path] = {}
    for source in sources:
        name = source.relative_to(folder).with_suffix(".png").as_posix()
        if name in names:
            yield DegradedPair(source, error=f"{source}: {names[name].name} makes a pair of the same name (rename one)")
            continue
        names[name] = source
        lq, gt = out / LOW / name, out / HIGH / name
        try:
            if not overwrite and (lq.exists() or gt.exists()):
                there = lq if lq.exists() else gt
                raise ImageError("exists already", path=there, hint="give --overwrite to replace it")
            yield _made(source, lq, gt, name, config, seed, crop)
        except ImageError as error:
            yield DegradedPair(source, error=str(error))


def _made(
    source: Path, lq: Path, gt: Path, name: str, config: DegradationConfig, seed: int, crop: int | None
) -> DegradedPair:
    picture = images.load(source)
    height, width = picture.rgb.shape[:2]
    sides = (crop, crop) if crop else (height // config.factor * config.factor, width // config.factor * config.factor)
    if min(sides) == 0 or sides[0] > height or sides[1] > width:
        raise ImageError(f"{width}x{height} is too small", path=source)
    y, x = (height - sides[0]) // 2, (width - sides[1]) // 2
    # In 8 bit from here on: what is stored as the good picture is what was degraded.
    pixels = images.to_uint8(picture.rgb[y : y + sides[0], x : x + sides[1]])
    good = torch.from_numpy(pixels).permute(2, 0, 1).float() / 255
    word = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")
    low = config.draw(good, generator_of(seed, word)).permute(1, 2, 0).numpy()
    for path, values in ((gt, pixels.astype(np.float32) / 255), (lq, low)):
        path.parent.mkdir(parents=True, exist_ok=True)
        images.save(images.Picture(np.ascontiguousarray(values), icc=None if picture.gray else picture.icc), path)
    return DegradedPair(source, lq, low.shape[1], low.shape[0])

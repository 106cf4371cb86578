"""Files to download: results in other formats, made once and kept beside the job, and archives of them."""

import secrets
import zipfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from ccsr import atomic, images
from ccsr.metrics.consistency import difference_map
from ccsr.serve.store import Result
from ccsr.stability.maps import transparent_overlay

MEDIA_TYPES = {
    "png": "image/png", "jpeg": "image/jpeg", "webp": "image/webp", "tiff": "image/tiff", "avif": "image/avif",
}  # fmt: skip
SUFFIX_OF = {"png": ".png", "jpeg": ".jpg", "webp": ".webp", "tiff": ".tif", "avif": ".avif"}


def media_type(path: Path) -> str:
    """Content type of a result, by its suffix, which is ours."""
    return MEDIA_TYPES[images.FORMATS[path.suffix.lower()]]


def converted(source: Path, format: str, folder: Path, quality: int = 95) -> Path:
    """`source` in another format; itself where it is that already.

    What the format has no place for is left out without a word: the result as it was asked for is there with all of it.
    """
    if images.FORMATS.get(source.suffix.lower()) == format and source.parent.name != "input":
        return source
    kept = folder / "converted" / f"{source.parent.name}-{source.stem}-{quality}{SUFFIX_OF[format]}"
    if not kept.exists():
        kept.parent.mkdir(exist_ok=True)
        images.save(images.load(source), kept, quality=quality)
    return kept


def stability_png(folder: Path, number: int, scale: float) -> Path:
    """The stability map of one input as RGBA PNG."""
    values = folder / "spread" / f"{number:03d}.npy"
    return _kept_png(
        values.with_suffix(".png"), lambda: transparent_overlay(np.load(values, allow_pickle=False), scale)
    )


def difference_png(folder: Path, number: int, result: Path, source: Path) -> Path:
    """Where a result, reduced to its input's size, differs from it, as RGBA PNG of the input's size."""
    return _kept_png(
        folder / "difference" / f"{number:03d}.png",
        lambda: transparent_overlay(difference_map(images.load(result).rgb, images.load(source).rgb)),
    )


def _kept_png(kept: Path, make: Callable[[], Image.Image]) -> Path:
    """The file, which is made when it is asked for first."""
    if not kept.exists():
        kept.parent.mkdir(exist_ok=True)
        picture = make()
        with atomic.file(kept) as file:
            picture.save(file, "PNG")
    return kept


def archive(folder: Path, results: Sequence[tuple[Result, Path]]) -> Path:
    """A zip of results, stored as they are: pictures are compressed already. The caller deletes it."""
    path = folder / f"all-{secrets.token_hex(4)}.zip"
    stems = (str(result.name).rpartition(".")[0] for result, _ in results)
    names = _different(stem + source.suffix for stem, (_, source) in zip(stems, results, strict=True))
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as out:
        for name, (_, source) in zip(names, results, strict=True):
            out.write(source, name)
    return path


def _different(names: Iterable[str]) -> list[str]:
    """The same names, numbered where two are alike."""
    taken: set[str] = set()
    found = []
    for wanted in names:
        stem, dot, suffix = wanted.rpartition(".")
        name, count = wanted, 1
        while name.lower() in taken:
            count += 1
            name = f"{stem}-{count}{dot}{suffix}"
        taken.add(name.lower())
        found.append(name)
    return found

"""A folder of training pictures, decoded once into one array on disk."""

import csv
from pathlib import Path

import numpy as np
from PIL import Image

SUFFIXES = {".avif", ".png", ".webp", ".tif", ".tiff", ".jpg", ".jpeg"}


def list_pictures(folder: Path, manifest: Path | None = None, without_licence: str | None = None) -> list[Path]:
    """Pictures of `folder` in name order; with a manifest (CSV), those whose licence lacks a text."""
    if manifest is None:
        return sorted(p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES)
    with manifest.open(newline="", encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    return sorted(folder / r["file"] for r in rows if not (without_licence and without_licence in r["licence"]))


def decoded_array(paths: list[Path], cache: Path) -> np.ndarray:
    """All pictures as uint8 (N, side, side, 3), memory-mapped from `cache`, which is written at the first call.

    Pictures are cut to the smallest common square at their centre.
    """
    if not cache.exists():
        side = min(min(Image.open(p).size) for p in paths)
        cache.parent.mkdir(parents=True, exist_ok=True)
        part = cache.with_suffix(".part.npy")
        out = np.lib.format.open_memmap(part, mode="w+", dtype=np.uint8, shape=(len(paths), side, side, 3))
        for i, path in enumerate(paths):
            rgb = np.asarray(Image.open(path).convert("RGB"))
            y, x = (rgb.shape[0] - side) // 2, (rgb.shape[1] - side) // 2
            out[i] = rgb[y : y + side, x : x + side]
        out.flush()
        part.replace(cache)
    return np.load(cache, mmap_mode="r")


def random_crops(pictures: np.ndarray, rng: np.random.Generator, count: int, size: int) -> np.ndarray:
    """`count` random crops, uint8 (count, 3, size, size), flipped and turned at random."""
    crops = np.empty((count, 3, size, size), np.uint8)
    side = pictures.shape[1]
    for i in range(count):
        n, y, x = rng.integers(len(pictures)), rng.integers(side - size + 1), rng.integers(side - size + 1)
        crop = np.rot90(pictures[n, y : y + size, x : x + size], int(rng.integers(4)))
        crops[i] = (crop[:, ::-1] if rng.integers(2) else crop).transpose(2, 0, 1)
    return crops

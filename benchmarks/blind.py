"""Results of several methods beside each other without their names, and who was kept how often.

python benchmarks/blind.py sheets OUT NAME=FOLDER NAME=FOLDER ... [--side 640] [--seed 0]
python benchmarks/blind.py count OUT

`sheets` takes the pictures that all folders have under one stem, cuts the same window of `--side` pixels at 1:1 out of
each (the one with the most detail), and writes one sheet a picture, its results in an order of its own under the
letters A, B, C; `key.csv` says which is which, and `choices.csv` waits for the letter that is kept. `count` counts.
"""

import argparse
import csv
import random
from collections import Counter
from pathlib import Path
from string import ascii_uppercase

import numpy as np
from PIL import Image, ImageDraw

_GAP, _HEAD = 12, 28


def _window(picture: Image.Image, side: int) -> tuple[int, int, int, int]:
    """The window of at most `side` whose luma varies most from pixel to pixel."""
    luma = np.asarray(picture.convert("L"), np.float32)
    detail = np.abs(np.diff(luma, axis=1))[:-1] + np.abs(np.diff(luma, axis=0))[:, :-1]
    sums = np.pad(detail.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    height, width = (min(side, length) for length in (picture.height, picture.width))
    best = (-1.0, 0, 0)
    for y in range(0, picture.height - height + 1, 32):
        for x in range(0, picture.width - width + 1, 32):
            down, across = min(y + height, len(sums) - 1), min(x + width, sums.shape[1] - 1)
            total = float(sums[down, across] - sums[y, across] - sums[down, x] + sums[y, x])
            best = max(best, (total, y, x))
    _, y, x = best
    return x, y, x + width, y + height


def sheets(out: Path, folders: dict[str, Path], side: int, seed: int) -> None:
    """Write the sheets, the key, and an empty list of choices."""
    files = {name: {p.stem: p for p in sorted(folder.iterdir()) if p.is_file()} for name, folder in folders.items()}
    stems = sorted(set.intersection(*(set(found) for found in files.values())))
    if not stems:
        raise SystemExit("the folders have no picture in common")
    out.mkdir(parents=True, exist_ok=True)
    key = []
    for stem in stems:
        order = list(folders)
        random.Random(f"{seed} {stem}").shuffle(order)  # noqa: S311 -- a shuffle that repeats
        pictures = [Image.open(files[name][stem]).convert("RGB") for name in order]
        box = _window(pictures[0], side)
        width, height = box[2] - box[0], box[3] - box[1]
        sheet = Image.new("RGB", (len(order) * (width + _GAP) - _GAP, height + _HEAD), "white")
        draw = ImageDraw.Draw(sheet)
        for i, picture in enumerate(pictures):
            if picture.size != pictures[0].size:
                raise SystemExit(f"{stem}: {order[i]} is {picture.size}, {order[0]} is {pictures[0].size}")
            sheet.paste(picture.crop(box), (i * (width + _GAP), _HEAD))
            draw.text((i * (width + _GAP) + 4, 4), ascii_uppercase[i], fill="black", font_size=20)
        sheet.save(out / f"{stem}.png")
        key.append({"picture": stem, **{ascii_uppercase[i]: name for i, name in enumerate(order)}})
    for name, rows in (("key.csv", key), ("choices.csv", [{"picture": stem, "kept": ""} for stem in stems])):
        with (out / name).open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    print(f"{len(stems)} sheets in {out}; write the letter that you would keep into {out / 'choices.csv'}")


def count(out: Path) -> Counter[str]:
    """How often each method was kept; a picture without a letter does not count."""
    with (out / "key.csv").open(newline="", encoding="utf-8") as file:
        key = {row["picture"]: row for row in csv.DictReader(file)}
    kept: Counter[str] = Counter()
    with (out / "choices.csv").open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if letter := row["kept"].strip().upper():
                kept[key[row["picture"]][letter]] += 1
    return kept


def main() -> None:
    """Make sheets or count choices."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["sheets", "count"])
    parser.add_argument("out", type=Path)
    parser.add_argument("method", nargs="*")
    parser.add_argument("--side", type=int, default=640)
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    if chosen.what == "count":
        for name, times in count(chosen.out).most_common():
            print(f"{times:4d}  {name}")
        return
    folders = {name: Path(folder) for name, _, folder in (word.partition("=") for word in chosen.method)}
    if len(folders) < 2:
        raise SystemExit("two methods at least: NAME=FOLDER NAME=FOLDER")
    sheets(chosen.out, folders, chosen.side, chosen.seed)


if __name__ == "__main__":
    main()

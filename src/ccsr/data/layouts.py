"""Layouts of test and training sets on disk, and what a set lacks."""

import csv
from dataclasses import dataclass
from pathlib import Path

from ccsr import images
from ccsr.data.pairing import list_pictures, pair
from ccsr.errors import CCSRError, OptionError

NAMES = (("test_LR", "test_HR"), ("LR", "HR"), ("lq", "gt"))
"""Folders of low-quality and good pictures: StableSR's test sets, and two plain habits."""

KNOWN_SIZES = {"realsr": 100, "drealsr": 93, "div2k": 3000}
"""Pictures in the test sets of StableSR, by the layout name that expects them."""

LAYOUTS = ("pairs", *KNOWN_SIZES, "pictures", "list")


@dataclass(frozen=True)
class TestSet:
    """The two folders of a test set."""

    lq: Path
    gt: Path


def find_test_set(folder: Path) -> TestSet:
    """The folders of low-quality and of good pictures in `folder`.

    Raises:
        OptionError: neither of the known pairs of names is there.
    """
    for low, good in NAMES:
        if (folder / low).is_dir() and (folder / good).is_dir():
            return TestSet(folder / low, folder / good)
    known = ", ".join("/".join(names) for names in NAMES)
    raise OptionError("is no test set", path=folder, hint=f"it needs two folders: {known}")


def check(layout: str, place: Path) -> tuple[int, list[str]]:
    """How many pictures (or pairs) are all right, and one line for each that is missing or broken.

    `layout` is one of `LAYOUTS`: `pairs` (any size), a known test set, `pictures` (a folder to train on), or `list`
    (a text file of paths, or a CSV with a column `file`). Headers are read, not pixels.

    Raises:
        OptionError: an unknown layout, or nothing to check at all.
    """
    if layout not in LAYOUTS:
        raise OptionError(f"no layout is called {layout}", hint=", ".join(LAYOUTS))
    if layout == "list":
        return _check_files(_listed(place))
    if layout == "pictures":
        return _check_files(list(list_pictures(place).values()))
    found = find_test_set(place)
    pairs = pair(found.lq, found.gt, skip_missing=True)
    faults = [f"{path}: has no partner" for path in pairs.without_partner]
    good = 0
    for low, high in pairs.files.values():
        try:
            a, b = images.read_header(low), images.read_header(high)
        except CCSRError as error:
            faults.append(str(error))
            continue
        if a.width * b.height != a.height * b.width or b.width % a.width:
            faults.append(f"{low}: {a.width}x{a.height} does not fit {b.width}x{b.height} of {high.name}")
        else:
            good += 1
    wanted = KNOWN_SIZES.get(layout)
    if wanted and len(pairs.files) != wanted:
        faults.append(f"{place}: {len(pairs.files)} pairs, {layout} has {wanted}")
    return good, faults


def _check_files(paths: list[Path]) -> tuple[int, list[str]]:
    faults = []
    for path in paths:
        try:
            images.read_header(path)
        except CCSRError as error:
            faults.append(str(error))
    return len(paths) - len(faults), faults


def _listed(place: Path) -> list[Path]:
    try:
        text = place.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise OptionError(f"is no text file of paths: {error}", path=place) from error
    if place.suffix.lower() == ".csv":
        rows = list(csv.DictReader(text.splitlines()))
        if not rows or "file" not in rows[0]:
            raise OptionError("has no column called file", path=place)
        names = [row["file"] for row in rows]
    else:
        names = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]
    if not names:
        raise OptionError("lists no file", path=place)
    return [place.parent / name for name in names]

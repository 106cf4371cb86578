"""Which result belongs to which ground truth: by name, with the suffix rules of the known sets."""

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ccsr.errors import OptionError
from ccsr.images import SUFFIXES

RUN = re.compile(r"sample\d+")
"""Folder of one run, as the published program and `ccsr upscale --samples` name it."""

_TAIL = re.compile(r"(_x\d+(\.\d+)?|_(HR|LR|SR|GT|LQ)\d*|_s\d\d)$", re.IGNORECASE)


@dataclass(frozen=True)
class Pairs:
    """Files of two folders that belong together, in the order of names, and those without a partner."""

    files: dict[str, tuple[Path, Path]]
    """(result, ground truth) by the ground truth's name without suffix, folders included."""
    without_partner: list[Path]


def stem_key(name: str) -> str:
    """`name` without what sets add to it: `_x4`, `_HR4`, `_LR4`, `_SR`, `_s00`, one after another."""
    while (shorter := _TAIL.sub("", name)) not in (name, ""):
        name = shorter
    return name


def list_pictures(folder: Path) -> dict[str, Path]:
    """Pictures below `folder` by path without suffix, sorted; run folders, maps and hidden files are left out.

    Raises:
        OptionError: no folder, nothing in it, or two files that differ in their suffix alone.
    """
    if not folder.is_dir():
        raise OptionError("is not a folder", path=folder)
    found: dict[str, Path] = {}
    for where, folders, names in os.walk(folder):
        folders[:] = sorted(f for f in folders if not f.startswith(".") and not RUN.fullmatch(f) and f != "stability")
        for name in sorted(names):
            path = Path(where) / name
            if name.startswith(".") or path.suffix.lower() not in SUFFIXES:
                continue
            key = path.relative_to(folder).with_suffix("").as_posix()
            if key in found:
                raise OptionError(f"has the same name as {found[key].name}", path=path, hint="remove one of them")
            found[key] = path
    if not found:
        raise OptionError("there is no picture in this folder", path=folder)
    return dict(sorted(found.items()))


def run_folders(folder: Path) -> list[Path]:
    """The runs in a folder of results: its `sampleNN/` in order, or the folder itself."""
    runs = sorted(p for p in folder.iterdir() if p.is_dir() and RUN.fullmatch(p.name)) if folder.is_dir() else []
    return runs or [folder]


def pair(results: Path, truths: Path, skip_missing: bool = False) -> Pairs:
    """Partners of two folders: by equal names, else by names that are equal without their set's suffix.

    Raises:
        OptionError: a file without partner (unless `skip_missing`), or a name that could mean several files.
    """
    sr, gt = list_pictures(results), list_pictures(truths)
    by_key: dict[str, list[str]] = {}
    for name in gt:
        by_key.setdefault(stem_key(name), []).append(name)
    partner: dict[str, str] = {}
    lonely = []
    for name in sr:
        candidates = [name] if name in gt else by_key.get(stem_key(name), [])
        if len(candidates) > 1:
            raise OptionError(f"could belong to {_named(candidates)}", path=sr[name], hint="use the same names")
        if not candidates:
            lonely.append(sr[name])
        elif candidates[0] in partner:
            raise OptionError(f"belongs to {candidates[0]} as {sr[partner[candidates[0]]].name} does", path=sr[name])
        else:
            partner[candidates[0]] = name
    lonely += [gt[name] for name in gt if name not in partner]
    if lonely and not skip_missing:
        raise OptionError(
            f"has no partner in {truths if lonely[0] in sr.values() else results}"
            + (f", nor have {len(lonely) - 1} others" if len(lonely) > 1 else ""),
            path=lonely[0], hint="--skip-missing goes on without",
        )  # fmt: skip
    if not partner:
        raise OptionError(f"no picture belongs to one of {truths}", path=results, hint="use the same names")
    return Pairs({name: (sr[partner[name]], gt[name]) for name in sorted(partner)}, lonely)


def _named(names: Iterable[str]) -> str:
    listed = sorted(names)
    return ", ".join(listed[:3]) + (" and others" if len(listed) > 3 else "")

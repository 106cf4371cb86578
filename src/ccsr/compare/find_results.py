"""Results of any program, however it lays them out: which file is which picture of which run."""

import os
import re
import shutil
from collections.abc import Iterable
from pathlib import Path

from ccsr.data.pairing import RUN, stem_key
from ccsr.errors import CCSRError, OptionError
from ccsr.images import SUFFIXES

_NUMBER = re.compile(r"_(\d+)$")


def find_results(folder: Path, names: Iterable[str], pattern: str | None = None) -> list[dict[str, Path]]:
    """Results below `folder`: for each run, the file of each name (a name that is missing is absent).

    A file belongs to a name if it is called so, or so but for its folders, for what sets add (`_x4`, `_SR`), or for a
    number at its end (`NAME_0.png`). Runs are told apart by a folder `sampleNN` at any depth, else by that number.
    `pattern`, such as `*/{name}_out.png`, says which files are meant where a folder holds several kinds.

    Raises:
        OptionError: two files of one run could be the same picture. CCSRError: none could be any.
    """
    wanted = {name: name for name in names}
    by_key = {stem_key(name): name for name in wanted}
    files: list[tuple[Path, str | None]]
    if pattern is not None:
        files = [(p, name) for name in wanted for p in sorted(folder.glob(pattern.replace("{name}", _literal(name))))]
    else:
        files = [(path, None) for path in _pictures(folder)]
    runs: dict[int, dict[str, Path]] = {}
    for path, known in files:
        parts = path.relative_to(folder).with_suffix("").parts
        number = next((int(part.removeprefix("sample")) for part in parts[:-1] if RUN.fullmatch(part)), None)
        stem = parts[-1]
        nested = "__".join(part for part in parts if not RUN.fullmatch(part))
        name = (
            known
            or wanted.get(nested)
            or wanted.get(stem)
            or by_key.get(stem_key(nested))
            or by_key.get(stem_key(stem))
        )
        if name is None and (tail := _NUMBER.search(stem)):
            shorter = stem[: tail.start()]
            name = wanted.get(shorter) or by_key.get(stem_key(shorter))
            number = int(tail[1]) if number is None else number
        if name is None:
            continue
        run = runs.setdefault(number or 0, {})
        if name in run:
            raise OptionError(
                f"could be the result of {name}, as {run[name]} could", path=path,
                hint="outputs: a pattern such as '*/{name}.png' says which one is meant",
            )  # fmt: skip
        run[name] = path
    if not runs:
        raise CCSRError(
            "holds no result of any picture", path=folder, hint="outputs: '{name}_out.png' says their names"
        )
    return [runs[number] for number in sorted(runs)]


def place(runs: list[dict[str, Path]], results: Path, first: int = 0, total: int | None = None) -> None:
    """Put found results where they are scored: `NAME.EXT`, in `sampleNN/` where there are several runs."""
    for number, run in enumerate(runs, first):
        folder = results / f"sample{number:02d}" if (total or len(runs)) > 1 else results
        folder.mkdir(parents=True, exist_ok=True)
        for name, path in run.items():
            target = folder / f"{name}{path.suffix.lower()}"
            target.unlink(missing_ok=True)
            # The date is kept: scores are computed again only for what changed.
            shutil.copy2(path, target)


def _literal(name: str) -> str:
    return re.sub(r"([*?[])", r"[\1]", name)


def _pictures(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise CCSRError("is not a folder", path=folder)
    found = []
    for where, folders, names in os.walk(folder):
        folders[:] = sorted(f for f in folders if not f.startswith(".") and f != "stability")
        found += [Path(where) / n for n in sorted(names) if Path(n).suffix.lower() in SUFFIXES and n[0] != "."]
    return found

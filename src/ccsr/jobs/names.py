"""Which files a command means, and what each result is called."""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ccsr.errors import OptionError
from ccsr.images import FORMATS, SUFFIXES
from ccsr.options import UpscaleOptions

JOURNAL_NAME = ".ccsr-journal.sqlite"

SIDECARS = {"thumbs.db", "ehthumbs.db", "desktop.ini"}
"""Files that a file manager leaves beside pictures without being asked; all else in a folder is meant."""

_ONLY_READ = (SUFFIXES | {".heic", ".heif", ".jxl", ".jp2", ".dng"}) - set(FORMATS)


@dataclass(frozen=True)
class Source:
    """One input file, and the folder argument that it was found in (None: it was named itself)."""

    path: Path
    root: Path | None = None


def expand(inputs: Iterable[Path], output: Path | None = None) -> list[Source]:
    """All files that the inputs mean: arguments in their order, folders recursively in the order of their names.

    Hidden files, sidecars of file managers and results of earlier jobs (the output folder, and any folder below an
    input that holds a journal) are left out. A folder that cannot be listed, a path that does not exist, a link that
    leads nowhere and a pipe are returned as sources, so that they fail by name like any other input.

    Raises:
        OptionError: nothing was found at all.
    """
    found: dict[Path, Source] = {}
    for path in inputs:
        for source in _walk(path, output) if os.path.isdir(path) else [Source(path)]:
            found.setdefault(Path(os.path.abspath(source.path)), source)
    if not found:
        raise OptionError("there is no picture in " + ", ".join(map(str, inputs)), hint="name a file or another folder")
    return list(found.values())


def _walk(root: Path, output: Path | None) -> Iterator[Source]:
    unlisted: list[Source] = []
    own = os.path.realpath(output) if output is not None else None
    files = []
    for folder, folders, names in os.walk(
        root, onerror=lambda error: unlisted.append(Source(Path(error.filename), root))
    ):
        here = Path(folder)
        folders[:] = [
            f
            for f in folders
            if not f.startswith(".")
            and os.path.realpath(here / f) != own
            and not os.path.exists(here / f / JOURNAL_NAME)
        ]
        files += [here / n for n in names if not n.startswith(".") and n.lower() not in SIDECARS]
    listed = [Source(f, root) for f in files]
    yield from sorted(listed + unlisted, key=lambda s: s.path.parts)


def size_tag(options: UpscaleOptions) -> str:
    """The part of a default name that tells what was done: `_x4`, `_x2.5`, `_W1024`, `_H800`, `_MP12`, `_40x30cm`."""
    for letter, value in (("W", options.width), ("H", options.height), ("MP", options.megapixels)):
        if value is not None:
            return f"_{letter}{value:g}" if isinstance(value, float) else f"_{letter}{value}"
    if options.print is not None:
        return f"_{options.print.replace(' ', '')}"
    return f"_x{float(options.scale):g}"


@dataclass(frozen=True)
class Naming:
    """Where the results of one command go."""

    tag: str
    samples: int
    file: Path | None = None
    """The one result's own path, when a file was asked for."""
    folder: Path | None = None
    """The folder of all results, when one was named."""

    @classmethod
    def of(cls, inputs: Sequence[Path], output: str | None, options: UpscaleOptions) -> "Naming":
        """Decide once whether `output` is a file or a folder: a file for one input file and a picture's suffix.

        Raises:
            OptionError: a format that is not written, one that contradicts `--format`, or a file where a folder is
                needed.
        """
        naming = cls(size_tag(options), options.samples)
        if not output:
            return naming
        path = Path(output)
        is_folder = path.is_dir() or output.endswith(("/", os.sep)) or len(inputs) != 1 or inputs[0].is_dir()
        suffix = path.suffix.lower()
        if not is_folder and suffix in _ONLY_READ:
            raise OptionError(f"results are not written as {suffix}", path=path, hint="use .png, .tiff, .webp or .jpg")
        if not is_folder and suffix in FORMATS:
            if options.format not in (None, FORMATS[suffix]):
                raise OptionError(f"the name says {suffix} and --format says {options.format}", path=path)
            return cls(naming.tag, naming.samples, file=path)
        if path.exists() and not path.is_dir():
            raise OptionError("is a file where a folder of results is needed", path=path, hint="give a folder to -o")
        return cls(naming.tag, naming.samples, folder=path)

    def folder_of(self, source: Source) -> Path | None:
        """The folder job that a source belongs to, which holds its journal; None for results beside their inputs."""
        if self.folder is not None or source.root is None:
            return self.folder
        root = source.root if source.root.name not in ("", "..") else Path(os.path.abspath(source.root))
        if not root.name:
            raise OptionError("has no name to derive a folder of results from", path=root, hint="give one with -o")
        return root.with_name(root.name + self.tag)

    def result(self, source: Source, sample: int, suffix: str) -> Path:
        """Path of one result; `suffix` is the format's, unless a file was asked for by name.

        In folders the stem stays, so that a result is found by its input's name; samples there are `sampleNN/`.
        """
        folder = self.folder_of(source)
        if folder is not None:
            inside = source.path.relative_to(source.root) if source.root else Path(source.path.name)
            run = folder / f"sample{sample:02d}" if self.samples > 1 else folder
            return run / inside.with_name(inside.stem + suffix)
        path = self.file or source.path.with_name(source.path.stem + self.tag + suffix)
        return path.with_name(f"{path.stem}_s{sample:02d}{path.suffix}") if self.samples > 1 else path

    def map_stem(self, source: Source) -> Path:
        """Path, without an ending, of the stability map over a picture's samples."""
        folder = self.folder_of(source)
        if folder is not None:
            inside = source.path.relative_to(source.root) if source.root else Path(source.path.name)
            return folder / "stability" / inside.with_name(inside.stem)
        path = self.file or source.path.with_name(source.path.stem + self.tag)
        return path.with_name(path.stem) if self.file else path


def intermediate(result: Path, t: int) -> Path:
    """Path of the decoded estimate made at index `t`, beside its result; PNG, so that it is what the network made."""
    return result.with_name(f"{result.stem}_t{t}.png")


def check_names(results: Iterable[tuple[Path, Path]], sources: Iterable[Path]) -> None:
    """Refuse a run in which a result would replace another one, or an input; `results` are (result, input).

    Raises:
        OptionError: naming both files.
    """
    sources = list(sources)
    parents: dict[Path, str] = {}

    def place(path: Path) -> tuple[str, str]:
        if path.parent not in parents:
            parents[path.parent] = os.path.normcase(os.path.realpath(path.parent))
        return parents[path.parent], os.path.normcase(path.name)

    inputs = {place(source): source for source in sources}
    taken: dict[tuple[str, str], Path] = {}
    for result, source in results:
        key = place(result)
        if key in inputs:
            raise OptionError(
                f"{source} would be written over the input {inputs[key]}", path=result, hint="choose another -o"
            )
        if key in taken:
            raise OptionError(
                f"{taken[key]} and {source} would both be written here", path=result,
                hint="rename one of them, or upscale them into two folders",
            )  # fmt: skip
        taken[key] = source

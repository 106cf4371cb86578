"""Which files a command means, and what each result is called."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ccsr.errors import OptionError
from ccsr.images import FORMATS, RAW_SUFFIXES, SUFFIXES
from ccsr.options import UpscaleOptions

JOURNAL_NAME = ".ccsr-journal.sqlite"
_LISTED = 20
"""Clashes of names that one message tells at most."""

_ONLY_READ = (SUFFIXES | RAW_SUFFIXES | {".jxl", ".jp2"}) - set(FORMATS)


@dataclass(frozen=True)
class Source:
    """One input file, and the folder argument that it was found in (None: it was named itself)."""

    path: Path
    root: Path | None = None
    is_called_in_full: bool = False
    """Its results bear its whole name, `photo.bmp.png`: another picture's are called `photo.png`."""

    @property
    def stem(self) -> str:
        """What the names of its results begin with."""
        return self.path.name if self.is_called_in_full else self.path.stem

    @property
    def is_named_as_picture(self) -> bool:
        """Whether its name says that it is a picture which can be read."""
        return self.path.suffix.lower() in SUFFIXES


def expand(inputs: Sequence[Path], output: Path | None = None) -> list[Source]:
    """All files that the inputs mean: arguments in their order, folders recursively in the order of their names.

    Hidden files and results of earlier jobs (the output folder, and any folder below an input that holds a journal) are
    left out. Linked folders are looked into, each once, but for those that lie in the input anyway or hold it. A folder
    that cannot be listed, a path that does not exist, a link that leads nowhere and a pipe are returned as sources, so
    that they fail by name like any other input.

    Raises:
        OptionError: standard input is meant.
    """
    if any(path == Path("-") for path in inputs) and not os.path.lexists("-"):
        raise OptionError("pictures are not read from standard input", hint="name a file or a folder")
    found: dict[Path, Source] = {}
    for path in inputs:
        for source in _walk(path, output) if os.path.isdir(path) else [Source(path)]:
            found.setdefault(Path(os.path.abspath(source.path)), source)
    return list(found.values())


def _walk(root: Path, output: Path | None) -> Iterator[Source]:
    unlisted: list[Source] = []
    base = os.path.realpath(root)
    seen = {base}
    if output is not None:
        seen.add(os.path.realpath(output))

    def is_to_be_entered(path: Path) -> bool:
        real = os.path.realpath(path)
        is_led_back = path.is_symlink() and (Path(real).is_relative_to(base) or Path(base).is_relative_to(real))
        if path.name.startswith(".") or real in seen or is_led_back or os.path.exists(path / JOURNAL_NAME):
            return False
        seen.add(real)
        return True

    files = []
    for folder, folders, names in os.walk(
        root, followlinks=True, onerror=lambda error: unlisted.append(Source(Path(error.filename), root))
    ):
        here = Path(folder)
        folders[:] = [f for f in sorted(folders) if is_to_be_entered(here / f)]
        files += [here / n for n in names if not n.startswith(".")]
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
            OptionError: a format that is not written, one that contradicts `--format`, a file where a folder is
                needed, or standard output.
        """
        naming = cls(size_tag(options), options.samples)
        if not output:
            return naming
        if output == "-":
            raise OptionError("results are not written to standard output", hint="give -o a file or a folder")
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
            return run / inside.with_name(source.stem + suffix)
        path = self.file or source.path.with_name(source.stem + self.tag + suffix)
        return path.with_name(f"{path.stem}_s{sample:02d}{path.suffix}") if self.samples > 1 else path

    def map_stem(self, source: Source) -> Path:
        """Path, without an ending, of the stability map over a picture's samples."""
        folder = self.folder_of(source)
        if folder is not None:
            inside = source.path.relative_to(source.root) if source.root else Path(source.path.name)
            return folder / "stability" / inside.with_name(source.stem)
        path = self.file or source.path.with_name(source.stem + self.tag)
        return path.with_name(path.stem) if self.file else path


def intermediate(result: Path, t: int) -> Path:
    """Path of the decoded estimate made at index `t`, beside its result; PNG, so that it is what the network made."""
    return result.with_name(f"{result.stem}_t{t}.png")


def check_names(results: Iterable[tuple[Path, Path]], sources: Iterable[Path]) -> None:
    """Refuse a run in which a result would replace another one, or an input; `results` are (result, input).

    Raises:
        OptionError: naming all files.
    """
    place = placer()
    inputs = {place(source): source for source in sources}
    taken: dict[tuple[str, str], Path] = {}
    over_inputs, twice = [], []
    for result, source in results:
        key = place(result)
        if key in inputs:
            over_inputs.append(f"{result}: {source} would be written over the input {inputs[key]}")
        elif key in taken:
            twice.append(f"{result}: {taken[key]} and {source} would both be written here")
        else:
            taken[key] = source
    if over_inputs:
        raise OptionError(_listed(over_inputs), hint="choose another -o")
    if twice:
        raise OptionError(_listed(twice), hint="rename one of them, or upscale them into two folders")


def _listed(lines: Sequence[str]) -> str:
    more = len(lines) - _LISTED
    return "; ".join(lines[:_LISTED]) + (f"; and {more} more" if more > 0 else "")


def placer() -> Callable[[Path], tuple[str, str]]:
    """What is equal for two paths to one file, whether it exists or not; folders are looked up once."""
    parents: dict[Path, str] = {}

    def place(path: Path) -> tuple[str, str]:
        if path.parent not in parents:
            parents[path.parent] = os.path.normcase(os.path.realpath(path.parent))
        return parents[path.parent], os.path.normcase(path.name)

    return place

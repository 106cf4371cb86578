"""Where training pictures come from: folders, text lists, pairs of folders, tar shards; each read by its index.

Pillow decodes here and not libvips: workers are forked, which libvips' threads do not survive, and shards hand over
bytes. Of a picture only its 8-bit RGB pixels are wanted, upright, in whatever RGB it has.
"""

import csv
import hashlib
import io
import os
import re
import tarfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np
from PIL import Image, ImageOps

from ccsr import atomic
from ccsr.errors import ImageError, OptionError
from ccsr.images import MAX_PIXELS, SUFFIXES

_FORMATS = ("AVIF", "PNG", "WEBP", "TIFF", "JPEG", "BMP", "DIB", "GIF", "TGA", "PPM")
"""Pillow's names of all formats that `SUFFIXES` stand for, but for HEIC, which it has from another library."""
_DIGITS = 24
"""Of the name of a file in the cache."""
_HEADERS = 200
"""Pictures whose headers are read to estimate the size of all of them."""


@dataclass(frozen=True)
class SourceConfig:
    """One place with pictures: exactly one of `folder`, `list`, `shards`, or `gt` with `lq`."""

    folder: str | None = None
    """All pictures below it, in the order of their names."""
    list: str | None = None
    """Text file with one path per line; relative ones are meant from the file's folder."""
    first: int | None = None
    """Only so many of the source's pictures, from its beginning."""
    longest_side: int | None = None
    """Pictures with a longer side are reduced to it, by an antialiasing filter: crops then hold more of a scene."""
    shards: str | None = None
    """Tar files, as a pattern such as `lsdir-*.tar`; read by position, never unpacked."""
    gt: str | None = None
    """Folder of good pictures whose low-quality ones are ready in `lq`, under the same names."""
    lq: str | None = None
    manifest: str | None = None
    """CSV with `file` and `licence` of each picture of `folder`; pictures that it does not name are left out."""
    without_licence: str | None = None
    """Leave out pictures whose licence in the manifest holds this text."""


class PictureLocation(NamedTuple):
    """Where one picture is; `offset` and `size` in bytes inside a tar file."""

    path: str
    name: str = ""
    offset: int = 0
    size: int = 0
    lq: str | None = None
    longest_side: int | None = None
    """Side in pixels that it is reduced to where it is larger."""

    @property
    def label(self) -> str:
        """How messages call it."""
        return f"{self.path}:{self.name}" if self.name else self.path


class Pictures(Sequence[PictureLocation]):
    """The pictures of several sources, one after the other; `read` decodes one."""

    def __init__(self, locations: Sequence[PictureLocation], cache: Path | None = None) -> None:
        self.locations = tuple(locations)
        self.cache = cache
        """Folder that keeps decoded pictures, each in a file that is mapped, not read."""

    @classmethod
    def open(cls, configs: Sequence[SourceConfig], cache: Path | None = None) -> "Pictures":
        """List what the sources hold; pictures are not opened.

        Raises:
            OptionError: a source that is not there, is empty, or says two things at once.
        """
        return cls([location for config in configs for location in _locations(config)], cache)

    def __len__(self) -> int:
        return len(self.locations)

    def __getitem__(self, index):  # type: ignore[no-untyped-def]
        return self.locations[index]

    def read(self, index: int) -> tuple[np.ndarray, np.ndarray | None]:
        """Picture `index`, uint8 (H, W, 3), and its low-quality picture where the source has one.

        Raises:
            ImageError: it cannot be read.
        """
        location = self.locations[index]
        if self.cache is None:
            return _decode(location), _decode(PictureLocation(location.lq)) if location.lq else None
        return self._cached(location), self._cached(PictureLocation(location.lq)) if location.lq else None

    def decoded_bytes(self) -> int:
        """Of the cache when all is in it, about: from the headers of some pictures, spread over all of them."""
        some = self.locations[:: max(1, len(self.locations) // _HEADERS)]
        sizes = [_decoded_size(location) for location in some]
        return sum(sizes) * len(self.locations) // max(1, len(sizes))

    def _cached(self, location: PictureLocation) -> np.ndarray:
        assert self.cache is not None  # noqa: S101 -- for the type checker
        try:
            facts = os.stat(location.path)
        except OSError as error:
            raise ImageError(f"cannot be read: {error.strerror}", path=location.label) from error
        key = f"{os.path.abspath(location.path)}\0{location.name}\0{facts.st_size}\0{facts.st_mtime_ns}"
        if location.longest_side:
            key += f"\0{location.longest_side}"
        file = self.cache / f"{hashlib.sha256(key.encode()).hexdigest()[:_DIGITS]}.npy"
        if not file.exists():
            decoded = _decode(location)
            try:
                self.cache.mkdir(parents=True, exist_ok=True)
                with atomic.file(file) as out:
                    np.save(out, decoded)
            except OSError:  # a full disk costs time here, not the run
                return decoded
        mapped: np.ndarray = np.load(file, mmap_mode="r")
        return mapped


def remove_cache(folder: Path) -> None:
    """Take away what `Pictures` has kept in a folder, and the folder unless something else is in it."""
    atomic.sweep(folder)
    for file in folder.glob("*.npy"):
        if re.fullmatch(rf"[0-9a-f]{{{_DIGITS}}}", file.stem):
            file.unlink(missing_ok=True)
    with suppress(OSError):
        folder.rmdir()


def _locations(config: SourceConfig) -> Sequence[PictureLocation]:
    kinds = {"folder": config.folder, "list": config.list, "shards": config.shards, "gt": config.gt}
    given = [name for name, value in kinds.items() if value]
    if len(given) != 1:
        what = f"both {' and '.join(given)}" if given else "none of folder, list, shards, gt"
        raise OptionError(f"a source of pictures has {what}", hint="give each source one of them")
    if config.longest_side and config.gt:
        raise OptionError("longest_side does not suit ready pairs", hint="reduce both folders beforehand")
    if (config.lq is None) != (config.gt is None):
        raise OptionError("a source of pairs needs both gt and lq")
    if (config.manifest or config.without_licence) and not (config.folder and config.manifest):
        raise OptionError("manifest and without_licence belong to a folder", hint="give folder and manifest")
    if config.folder:
        found = _folder(Path(config.folder), config.manifest, config.without_licence)
    elif config.list:
        found = _list(Path(config.list))
    elif config.shards:
        found = _shards(config.shards)
    else:
        found = _pairs(Path(config.gt or ""), Path(config.lq or ""))
    found = found[: config.first]
    if not found:
        raise OptionError(
            "no pictures are there", path=kinds[given[0]], hint=f"looked for {', '.join(sorted(SUFFIXES))}"
        )
    return [location._replace(longest_side=config.longest_side) for location in found]


def _files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise OptionError("there is no such folder", path=folder, hint="data.sources says where pictures are")
    return sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())


def _folder(folder: Path, manifest: str | None, without: str | None) -> list[PictureLocation]:
    files = _files(folder)
    if manifest is None:
        return [PictureLocation(str(p)) for p in files]
    try:
        with open(manifest, newline="", encoding="utf-8") as lines:
            licences = {row["file"]: row["licence"] for row in csv.DictReader(lines)}
    except OSError as error:
        raise OptionError(f"cannot be read: {error.strerror}", path=manifest) from error
    except KeyError as error:
        raise OptionError(f"has no column {error}", path=manifest, hint="a manifest has file and licence") from error
    names = {p.relative_to(folder).as_posix(): p for p in files}
    kept = [n for n in names if n in licences and not (without and without in licences[n])]
    return [PictureLocation(str(names[name])) for name in kept]


def _list(file: Path) -> list[PictureLocation]:
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise OptionError(f"cannot be read: {error.strerror}", path=file) from error
    return [
        PictureLocation(str(file.parent / line.strip())) for line in lines if line.strip() and not line.startswith("#")
    ]


def _pairs(gt: Path, lq: Path) -> list[PictureLocation]:
    low = {p.relative_to(lq).with_suffix("").as_posix(): p for p in _files(lq)}
    good = {p.relative_to(gt).with_suffix("").as_posix(): p for p in _files(gt)}
    if alone := sorted(set(low) ^ set(good)):
        raise OptionError(
            f"{alone[0]} is in one of gt and lq only (and {len(alone) - 1} more)" if len(alone) > 1 else
            f"{alone[0]} is in one of gt and lq only", path=gt, hint="pairs have the same names",
        )  # fmt: skip
    return [PictureLocation(str(path), lq=str(low[name])) for name, path in good.items()]


def _shards(pattern: str) -> list[PictureLocation]:
    where = Path(pattern)
    found: list[PictureLocation] = []
    for path in sorted(where.parent.glob(where.name)):
        try:
            with tarfile.open(path, "r:") as tar:  # uncompressed only: others cannot be read by position
                found += [
                    PictureLocation(str(path), member.name, member.offset_data, member.size)
                    for member in tar
                    if member.isfile() and Path(member.name).suffix.lower() in SUFFIXES
                ]
        except (tarfile.TarError, OSError) as error:
            raise OptionError(f"cannot be read as a tar file: {error}", path=path, hint="not compressed") from error
    return found


def _decode(location: PictureLocation) -> np.ndarray:
    with _opened(location) as picture:
        upright = ImageOps.exif_transpose(picture)
        if upright.mode.startswith("I"):  # 16-bit grey, which Pillow would clip at 255
            grey = (np.asarray(upright).astype(np.uint32) * 255 + 32767) // 65535
            pixels = np.repeat(grey.astype(np.uint8)[..., None], 3, axis=2)
        else:
            pixels = np.asarray(upright.convert("RGB"))
        size = _reduced(upright.width, upright.height, location.longest_side)
    if size == (pixels.shape[1], pixels.shape[0]):
        return pixels
    # Pillow's filters widen with the reduction, so that nothing is passed over.
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS))


def _decoded_size(location: PictureLocation) -> int:
    """Bytes of a picture and of its low-quality one, from their headers; 0 for one that cannot be read."""
    try:
        with _opened(location) as picture:
            width, height = _reduced(picture.width, picture.height, location.longest_side)
        return 3 * width * height + (_decoded_size(PictureLocation(location.lq)) if location.lq else 0)
    except ImageError:
        return 0


def _reduced(width: int, height: int, longest: int | None) -> tuple[int, int]:
    """(width, height) with the longer side reduced to `longest` where it is larger."""
    if longest is None or max(width, height) <= longest:
        return width, height
    scale = longest / max(width, height)
    return max(1, round(width * scale)), max(1, round(height * scale))


@cache
def _formats() -> tuple[str, ...]:
    try:
        import pi_heif
    except ImportError:
        return _FORMATS
    pi_heif.register_heif_opener(thumbnails=False)
    return (*_FORMATS, "HEIF")


@contextmanager
def _opened(location: PictureLocation) -> Iterator[Image.Image]:
    """A picture whose header has been read; whatever Pillow raises inside is one line that names the file."""
    try:
        with open(location.path, "rb") as file:
            data: IO[bytes] = file
            if location.name:
                file.seek(location.offset)
                data = io.BytesIO(file.read(location.size))
            with Image.open(data, formats=_formats()) as picture:
                if picture.width * picture.height > MAX_PIXELS:
                    raise ImageError(f"{picture.width}x{picture.height} is too large", path=location.label)
                yield picture
    except ImageError:
        raise
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ImageError(f"cannot be read: {error}", path=location.label) from error

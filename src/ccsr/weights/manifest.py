"""`manifest.json`: what a packed folder holds, where it came from, and the checksum of each file."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any

from ccsr.errors import WeightsError
from ccsr.weights.files import read_json

MANIFEST = "manifest.json"
FORMAT = 1

# Up to this size a file is hashed at every load; of larger ones only the length is compared.
_SMALL = 1 << 20


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, as hexadecimal digits."""
    state = path.stat()
    return _sha256(path, state.st_size, state.st_mtime_ns)


@lru_cache(maxsize=256)
def _sha256(path: Path, size: int, changed: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def model_sha256(hashes: Mapping[str, str]) -> str:
    """One hash for a model, from the hash of each file by its name.

    The same as `sha256sum` over its own sorted output, `HASH  NAME` by line.
    """
    lines = sorted(f"{digest}  {name}\n" for name, digest in hashes.items())
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def write_manifest(folder: Path, **facts: Any) -> None:
    """Write the manifest of all files below `folder`, with `facts` (name, source, licence) in front."""
    files = {
        name: {"sha256": file_sha256(folder / name), "bytes": (folder / name).stat().st_size}
        for name in names_below(folder)
    }
    content = {"format": FORMAT, **facts, "files": files}
    (folder / MANIFEST).write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """The manifest of a folder, or None where there is none.

    Raises:
        WeightsError: it is damaged, of a later format, or names files outside the folder.
    """
    path = folder / MANIFEST
    if not path.is_file():
        return None
    content = read_json(path)
    if content.get("format") != FORMAT:
        raise WeightsError(
            f"manifest format {content.get('format')!r}", path=path, hint=f"this version reads format {FORMAT}"
        )
    files = content.get("files")
    if not isinstance(files, dict) or not all(map(_is_entry, files.items())):
        raise WeightsError("the list of files is damaged", path=path)
    return content


def _is_entry(item: tuple[str, Any]) -> bool:
    name, entry = item
    pure = PurePosixPath(name)
    inside = not pure.is_absolute() and ".." not in pure.parts
    return (
        inside
        and isinstance(entry, dict)
        and isinstance(entry.get("sha256"), str)
        and isinstance(entry.get("bytes"), int)
    )


def differences(folder: Path, files: Mapping[str, Mapping[str, Any]], *, quick: bool = False) -> Iterable[str]:
    """Each way in which a folder differs from its manifest's `files`, as one line that begins with the file's name.

    `quick` compares the lengths of large files only, and does not look for surplus ones.
    """
    for name, entry in files.items():
        path = folder / name
        if not path.is_file():
            yield f"{name}: missing"
        elif (size := path.stat().st_size) != entry["bytes"]:
            yield f"{name}: changed: {size} bytes, the manifest says {entry['bytes']}"
        elif not (quick and size > _SMALL) and file_sha256(path) != entry["sha256"]:
            yield f"{name}: changed: its SHA-256 is not the manifest's"
    if not quick:
        yield from (f"{name}: surplus: not in the manifest" for name in names_below(folder) if name not in files)


def names_below(folder: Path) -> list[str]:
    """Names of all files, with forward slashes; hidden ones are the desktop's and the hub client's, not the model's."""
    names = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return sorted(
        name.as_posix() for name in names if name.name != MANIFEST and not any(p.startswith(".") for p in name.parts)
    )

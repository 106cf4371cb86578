"""The ablations' networks: what each of them is, and how a whole model folder is put together from `ablation/`.

`ablation/v2` is a whole packed model. The other folders hold only the files that differ from it, their manifest among
them, which names the hash of every file: laid over a copy of v2 they are whole.
"""

import hashlib
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

COMMON = "v2"
SHIPPED = (COMMON, "v1", "full", "l1", "l1-gan")
TWIN = "twin"
"""v2 trained on the share-alike pictures too: measured, not given away."""


@dataclass(frozen=True)
class Network:
    """A model folder that `CCSRPipeline.from_pretrained` takes."""

    name: str
    folder: Path
    fingerprint: str
    """Of its manifest, which holds the hash of every file."""


class Shelf:
    """Where networks are found by name."""

    def __init__(self, ablation: Path, whole: Path, twin: Path | None = None) -> None:
        self.ablation, self.whole, self.twin = ablation, whole, twin

    def find(self, name: str) -> Network | None:
        """The network, put together in `whole` where it is not a whole one; None: it is not in hand."""
        source = self.twin if name == TWIN else self.ablation / name
        if source is None or not (source / "manifest.json").is_file():
            return None
        mark = hashlib.sha256((source / "manifest.json").read_bytes()).hexdigest()[:8]
        if name in (COMMON, TWIN):
            return Network(name, source, mark)
        folder = self.whole / f"{name}-{mark}"
        if not folder.is_dir():
            part = folder.with_name(f".{folder.name}.part")
            shutil.rmtree(part, ignore_errors=True)
            shutil.copytree(self.ablation / COMMON, part)
            shutil.copytree(source, part, dirs_exist_ok=True)
            part.rename(folder)
        return Network(name, folder, mark)


def take(runs: Path, ablation: Path) -> Iterator[str]:
    """Copy the finished models `runs/NAME/model` into `ablation/NAME`, without what equals v2; yields a line for each.

    Raises:
        FileNotFoundError: v2 is not finished; others are passed over with a line.
    """
    common = _hashes(runs / COMMON / "model")
    for name in SHIPPED:
        model = runs / name / "model"
        if not model.is_dir():
            yield f"{name}: not finished, left out"
            continue
        own = [f for f, h in _hashes(model).items() if name == COMMON or common.get(f) != h]
        shutil.rmtree(ablation / name, ignore_errors=True)
        for file in (*own, "manifest.json"):
            target = ablation / name / file
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(model / file, target)
        size = sum(f.stat().st_size for f in (ablation / name).rglob("*") if f.is_file())
        yield f"{name}: {len(own)} files, {size / 1e6:.1f} MB"


def _hashes(model: Path) -> dict[str, str]:
    manifest = json.loads((model / "manifest.json").read_text(encoding="utf-8"))
    return {name: facts["sha256"] for name, facts in manifest["files"].items()}

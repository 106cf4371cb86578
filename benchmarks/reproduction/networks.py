"""The ablations' networks: what each of them is, and how a whole model folder is put together from `ablation/`.

`ablation/v2` is a whole packed model. The other folders hold only the files that differ from it, their manifest among
them, which names the hash of every file: laid over a copy of v2 they are whole.
"""

import hashlib
import json
import shutil
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from ccsr.training.config import resolve
from ccsr.training.yaml_config import read_settings

COMMON = "v2"
BUDGET = "training.json"
"""What the networks were trained with, beside the records."""


@dataclass(frozen=True)
class Recipe:
    """How a network is trained."""

    stage: str
    """Of `ccsr train`."""
    config: str
    base: str | None
    """The network that it begins with; None: nothing but the codec's algebra."""
    half: int = 0
    """Of the pictures: the second one is the twin's."""
    words: tuple[str, ...] = ()
    """Settings over the file's."""


def _recipe(stage: str, config: str, base: str | None, half: int = 0, *words: str) -> Recipe:
    return Recipe(stage, f"configs/ablation/{config}.yaml", base, half, words)


RECIPES = {
    "base": _recipe("stage1", "base", None),
    "v1": _recipe("stage1", "v1", "base"),
    "v2": _recipe("stage1", "v2", "base"),
    "twin": _recipe("stage1", "v2", "base", 1, "loop.seed=1"),
    "full": _recipe("stage2", "full", "v2"),
    "l1": _recipe("stage2", "l1", "base"),
    "l1-gan": _recipe("stage2", "l1-gan", "base"),
}
"""In the order in which they are trained."""


@dataclass(frozen=True)
class Network:
    """A model folder that `CCSRPipeline.from_pretrained` takes."""

    name: str
    folder: Path
    fingerprint: str
    """Of its manifest, which holds the hash of every file."""


class Shelf:
    """Where networks are found by name."""

    def __init__(self, ablation: Path, whole: Path) -> None:
        self.ablation, self.whole = ablation, whole

    def find(self, name: str) -> Network | None:
        """The network, put together in `whole` where it is not a whole one; None: it is not in hand."""
        source = self.ablation / name
        if not (source / "manifest.json").is_file():
            return None
        mark = hashlib.sha256((source / "manifest.json").read_bytes()).hexdigest()[:8]
        if name == COMMON:
            return Network(name, source, mark)
        folder = self.whole / f"{name}-{mark}"
        if not folder.is_dir():
            part = folder.with_name(f".{folder.name}.part")
            shutil.rmtree(part, ignore_errors=True)
            shutil.copytree(self.ablation / COMMON, part)
            shutil.copytree(source, part, dirs_exist_ok=True)
            part.rename(folder)
        return Network(name, folder, mark)


def pack(runs: Path, ablation: Path, records: Path, names: Collection[str] = RECIPES) -> Iterator[str]:
    """Put the finished models `runs/NAME/model` of `names` in the place of those in `ablation`, without what equals v2,
    and their budget into `records`; yields a line for each. With all names nothing else stays there.

    Raises:
        FileNotFoundError: one of them is not finished; nothing is changed.
    """
    hashes = {name: _hashes(runs / name / "model") for name in names}
    common = hashes.get(COMMON) or _hashes(ablation / COMMON)
    budget = {name: _budget(runs / name, RECIPES[name]) for name in names}
    replaced = [ablation]
    if len(names) < len(RECIPES):
        replaced = [ablation / name for name in names]
        budget = json.loads((records / BUDGET).read_text(encoding="utf-8"))["networks"] | budget
        budget = {name: budget[name] for name in RECIPES if name in budget}
    for old in replaced:
        shutil.rmtree(old, ignore_errors=True)
    for name, files in hashes.items():
        own = [f for f, h in files.items() if name == COMMON or common.get(f) != h]
        for file in (*own, "manifest.json"):
            target = ablation / name / file
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(runs / name / "model" / file, target)
        size = sum(f.stat().st_size for f in (ablation / name).rglob("*") if f.is_file())
        yield f"{name}: {len(own)} files, {size / 1e6:.1f} MB"
    shutil.copyfile(Path(__file__).parent / "networks.md", ablation / "README.md")
    records.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"networks": budget}, indent=1)
    (records / BUDGET).write_text(text + "\n", encoding="utf-8")


def _hashes(model: Path) -> dict[str, str]:
    manifest = json.loads((model / "manifest.json").read_text(encoding="utf-8"))
    return {name: facts["sha256"] for name, facts in manifest["files"].items()}


def _budget(run: Path, recipe: Recipe) -> dict[str, object]:
    """What a finished run was trained with, as its folder says."""
    config = resolve(recipe.stage, read_settings(run / "config.yaml"))
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    cpu = json.loads((run / "cpu.json").read_text(encoding="utf-8"))["seconds"] / 60
    learns = (*config.model.trained, *(["decoder"] if recipe.stage == "stage2" else []))
    return {
        "from": recipe.base or "the codec's algebra", "learns": ", ".join(learns), "steps": config.loop.steps,
        "batch": config.data.batch * config.loop.accumulate, "crop": config.data.crop,
        "precision": config.loop.precision, "cpu_minutes": round(cpu, 1),
        "minutes": round(max(line["seconds"] for line in lines) / 60, 1), "config": recipe.config,
    }  # fmt: skip

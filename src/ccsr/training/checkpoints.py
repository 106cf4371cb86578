"""States of a run on disk: written whole under another name, then renamed, so that what has its name is complete."""

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from ccsr import atomic
from ccsr.errors import TrainingError

FOLDER = "checkpoints"
_FILES = ("weights", "average", "optimizer")


@dataclass
class Checkpoint:
    """Everything that a run goes on from. There are no random states: all draws are functions of the step."""

    step: int
    weights: dict[str, Tensor]
    average: dict[str, Tensor]
    optimizer: dict[str, Tensor]
    facts: dict[str, Any]
    """Seconds so far, pictures skipped, loss scales."""


def save(run: Path, checkpoint: Checkpoint, keep: int) -> None:
    """Write a checkpoint and take away all but the last `keep`.

    Raises:
        TrainingError: the disk is full or refuses; earlier checkpoints are as they were.
    """
    out = _path(run, checkpoint.step)
    try:
        with atomic.folder(out, replace=True) as part:
            for name in _FILES:
                save_file(_on_cpu(getattr(checkpoint, name)), part / f"{name}.safetensors")
            facts = {"step": checkpoint.step, **checkpoint.facts}
            (part / "state.json").write_text(json.dumps(facts, indent=1), encoding="utf-8")
    except (OSError, SafetensorError) as error:
        last = latest(run)
        kept = f"the checkpoint of step {last} is whole; make room, the same command goes on" if last else "make room"
        raise TrainingError(
            f"the checkpoint of step {checkpoint.step} cannot be written: {error}", path=run, hint=kept
        ) from error
    for step in _steps(run)[:-keep]:
        shutil.rmtree(_path(run, step), ignore_errors=True)


def latest(run: Path) -> int | None:
    """The last step with a whole checkpoint."""
    return max(_steps(run), default=None)


def clean(run: Path) -> None:
    """Take away what a killed run has left half written; only for the process that writes."""
    atomic.sweep(run / FOLDER)


def load(run: Path, step: int) -> Checkpoint:
    """The checkpoint of a step, on the CPU.

    Raises:
        TrainingError: it cannot be read.
    """
    folder = _path(run, step)
    try:
        facts = json.loads((folder / "state.json").read_text(encoding="utf-8"))
        weights, average, optimizer = (load_file(folder / f"{name}.safetensors") for name in _FILES)
    except (OSError, ValueError, SafetensorError) as error:
        raise TrainingError(
            f"cannot be read: {error}", path=folder, hint="remove it to go on from an earlier one"
        ) from error
    return Checkpoint(facts.pop("step"), weights, average, optimizer, facts)


def _path(run: Path, step: int) -> Path:
    return run / FOLDER / f"step-{step:08d}"


def _steps(run: Path) -> list[int]:
    """In order; folders that somebody else has put there, under names of another form, are left alone."""
    found = ((p, p.name.removeprefix("step-")) for p in (run / FOLDER).glob("step-*"))
    return sorted(int(number) for p, number in found if number.isdecimal() and p == _path(run, int(number)))


def _on_cpu(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}

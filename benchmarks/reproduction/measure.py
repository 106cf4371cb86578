"""Results of one system on one set: computed, scored by `ccsr.evaluate`, and kept as JSON, not to be done again."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ccsr import CCSRPipeline, images
from ccsr.evaluate import evaluate, versions
from ccsr.metrics import METRICS, PROTOCOLS, without_border
from ccsr.options import UpscaleOptions
from ccsr.plan import make_plan
from reproduction.networks import Network
from reproduction.pictures import PictureSet

PROTOCOL = PROTOCOLS["ccsr"]
"""The paper's: four pixels of the border are cut."""
SCORES = ("psnr", "ssim", "niqe", "squeezenet", "psnr_color")
FIG2_SCORES = ("psnr", "niqe", "squeezenet")
FIG2_STEPS = 20


@dataclass(frozen=True)
class System:
    """A network and how it is sampled."""

    name: str
    title: str
    network: str
    options: dict[str, Any] = field(default_factory=dict)


def stored(path: Path) -> dict[str, Any] | None:
    """A record that was kept, or None."""
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return None


def once(path: Path, request: dict[str, Any], compute: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """The record at `path` if it answers this very request, else what `compute` finds, kept there."""
    kept = stored(path)
    if kept is not None and kept["request"] == request:
        return kept
    record = {"request": request, **compute()}
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    part.replace(path)
    return record


class Upscaler:
    """One system with its network loaded when it is first needed."""

    def __init__(self, network: Network, options: dict[str, Any], threads: int) -> None:
        self.network = network
        self.options = UpscaleOptions.from_mapping({**options, "threads": threads})
        self._pipe: CCSRPipeline | None = None

    def __call__(self, path: Path, sample: int) -> list[np.ndarray]:
        """The result of a picture, then the decoded estimates of its steps if the options ask for them; in 0..1."""
        if self._pipe is None:
            self._pipe = CCSRPipeline.from_pretrained(str(self.network.folder))
        picture = images.load(path).rgb
        plan = make_plan(picture.shape[1], picture.shape[0], self.options, self._pipe.description)
        out = self._pipe.upscale(picture, self.options, plan, sample)
        return [out.sr, *out.intermediates]


def measure(
    system: System, network: Network, pictures: PictureSet, seeds: int, work: Path, results: Path, threads: int
) -> dict[str, Any]:
    """Means, G-STD and L-STD of a system on a set, and each picture's own share of them.

    Results on the way stay in `work`, so an interrupted measurement goes on with the next picture.
    """
    upscaler = Upscaler(network, system.options, threads)
    request = {
        "network": network.fingerprint, "options": system.options, "set": pictures.name, "pictures": pictures.names,
        "seeds": seeds, "protocol": PROTOCOL.name,
    }  # fmt: skip

    def compute() -> dict[str, Any]:
        home = work / "results" / f"{system.name}-{network.fingerprint}" / pictures.folder.name
        runs = [home / f"sample{sample:02d}" for sample in range(seeds)]
        for number, path in enumerate(pictures.inputs):
            print(f"{system.name} on {pictures.name}: picture {number + 1} of {len(pictures.inputs)}", flush=True)
            for sample, run in enumerate(runs):
                out = run / f"{path.stem}.png"
                if not out.exists():
                    run.mkdir(parents=True, exist_ok=True)
                    images.save(images.Picture(upscaler(path, sample)[0]), out)
        found = evaluate(runs, pictures.truths, PROTOCOL, [METRICS[name] for name in SCORES])
        return {
            "timesteps": list(upscaler.options.trajectory.timesteps),
            "scores": {
                name: {
                    "mean": found.mean(name),
                    "gstd": found.gstd(name) or 0.0,
                    "of_picture": found.scores[name].mean(1).round(6).tolist(),
                    "gstd_of_picture": found.scores[name].std(1).round(6).tolist(),
                }
                for name in SCORES
            },
            "lstd": found.lstd,
            "lstd_of_picture": [round(found.lstd_of[name], 7) for name in found.images] if found.lstd_of else [],
            "versions": versions(),
        }

    return once(results / f"{system.name}.{pictures.name}.json", request, compute)


def measure_steps(
    systems: dict[str, tuple[Network, dict[str, Any]]],
    pictures: PictureSet,
    results: Path,
    threads: int,
    *,
    each_step: bool,
) -> dict[str, Any]:
    """Fig. 2: scores of the decoded estimate of each step (or the last alone) of each system, one run of each picture.

    `systems` are networks and options by name. Also scores of the enlarged input (`bicubic`).
    """
    request = {
        "networks": {name: network.fingerprint for name, (network, _) in systems.items()},
        "options": {name: options for name, (_, options) in systems.items()},
        "set": pictures.name, "pictures": pictures.names, "each_step": each_step,
    }  # fmt: skip

    def compute() -> dict[str, Any]:
        scorers = {name: METRICS[name].load() for name in FIG2_SCORES}

        def scored(sr: np.ndarray, truth: Path) -> dict[str, float]:
            a, b = (without_border(images.to_uint8(x), PROTOCOL.border) for x in (sr, images.load(truth).rgb))
            return {name: round(score(a, b), 6) for name, score in scorers.items()}

        def truth_of(path: Path) -> Path:
            return next(p for p in pictures.truths.iterdir() if p.stem == path.stem)

        found: dict[str, Any] = {}
        for name, (network, options) in systems.items():
            upscaler = Upscaler(network, {**options, "intermediates": each_step}, threads)
            steps = []
            for path in pictures.inputs:
                print(f"fig. 2: {name} on {pictures.name}: {path.stem}", flush=True)
                made = upscaler(path, 0)
                steps.append([scored(x, truth_of(path)) for x in (made[1:] or made)])
            found[name] = {"timesteps": list(upscaler.options.trajectory.timesteps), "of_picture": steps}
        return {"steps": found, "bicubic": [scored(enlarged(p), truth_of(p)) for p in pictures.inputs]}

    return once(results / f"fig2.{pictures.name}.json", request, compute)


def enlarged(path: Path, factor: int = 4) -> np.ndarray:
    """A picture four times the size by the bicubic filter, (H, W, 3) in 0..1."""
    import torch

    from ccsr.data.pairs import enlarge

    x = torch.from_numpy(images.load(path).rgb).permute(2, 0, 1)[None]
    return enlarge(x, (x.shape[2] * factor, x.shape[3] * factor))[0].permute(1, 2, 0).numpy()

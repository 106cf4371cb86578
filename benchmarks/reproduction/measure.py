"""Results of one system on one set: computed, scored, and kept as JSON after each picture, not to be done again."""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ccsr import CCSRPipeline, images
from ccsr.data.pairs import enlarge
from ccsr.evaluate import versions
from ccsr.method.color import FIXES
from ccsr.metrics import METRICS, PROTOCOLS, without_border
from ccsr.networks import codec
from ccsr.options import UpscaleOptions
from ccsr.plan import make_plan
from ccsr.stability import StabilityMeter
from reproduction.networks import Network
from reproduction.pictures import Pair, PictureSet

PROTOCOL = PROTOCOLS["ccsr"]
"""The paper's: four pixels of the border are cut."""
SCORES = ("psnr", "ssim", "niqe", "squeezenet", "psnr_color")
FIG2_SCORES = ("psnr", "niqe", "squeezenet")
FIG2_STEPS = 20
FACTOR = 4


@dataclass(frozen=True)
class System:
    """What is measured: a network and how it is sampled, or one of the two without a denoiser."""

    name: str
    title: str
    network: str | None
    """None: the bicubic enlargement."""
    options: dict[str, Any] | None = field(default_factory=dict)
    """None: the network's codec alone."""

    @property
    def is_random(self) -> bool:
        """Whether another noise gives another result."""
        return self.network is not None and self.options is not None


Maker = Callable[[Path, int], list[np.ndarray]]
"""(low-quality picture, number of the run) to the result, (H, W, 3) in 0..1, and what else was asked for."""


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


class CodecAlone:
    """The enlarged picture through the encoder and the decoder of a network, with its colour fix."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self._pipe: CCSRPipeline | None = None

    @torch.no_grad()
    def __call__(self, path: Path, sample: int) -> list[np.ndarray]:
        """The result, in 0..1; there is no noise in it."""
        if self._pipe is None:
            self._pipe = CCSRPipeline.from_pretrained(str(self.network.folder))
        vae, up = self._pipe.vae, torch.from_numpy(enlarged(path)).permute(2, 0, 1)[None]
        made = codec.decode(vae, codec.draw_latent(vae, codec.encode(vae, up), None))
        fixed = FIXES[self._pipe.description.color_fix](made, up).clamp(0, 1)
        return [fixed[0].permute(1, 2, 0).numpy()]


def enlarged(path: Path) -> np.ndarray:
    """A picture four times the size by the bicubic filter, (H, W, 3) in 0..1."""
    x = torch.from_numpy(images.load(path).rgb).permute(2, 0, 1)[None]
    return enlarge(x, (x.shape[2] * FACTOR, x.shape[3] * FACTOR))[0].permute(1, 2, 0).numpy()


def maker_of(system: System, network: Network | None, threads: int) -> Maker:
    """What computes a system's results; `network` is the system's."""
    if network is None:
        return lambda path, sample: [enlarged(path)]
    return CodecAlone(network) if system.options is None else Upscaler(network, system.options, threads)


class Clock:
    """Tells how long the rest takes, from what the results so far have taken."""

    def __init__(self, results: int) -> None:
        self.left, self.done, self.spent = results, 0, 0.0

    def tell(self, what: str, results: int, seconds: float) -> None:
        """Print a line for `results` that have just been made."""
        self.left, self.done, self.spent = self.left - results, self.done + results, self.spent + seconds
        rest = self.left * self.spent / self.done / 60
        print(f"{what}: {self.left} results left, about {rest:.0f} minutes", flush=True)


def stored(path: Path) -> dict[str, Any] | None:
    """A record that was kept, or None."""
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return None


def keep(path: Path, record: dict[str, Any]) -> None:
    """Write a record whole or not at all, a picture on a line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    text = json.dumps({**record, "pictures": None})
    pictures = ",\n".join(f" {json.dumps(name)}: {json.dumps(found)}" for name, found in record["pictures"].items())
    part.write_text(text.replace('"pictures": null', f'"pictures": {{\n{pictures}\n}}') + "\n", encoding="utf-8")
    part.replace(path)


def request_of(system: System, network: Network | None, pictures: PictureSet) -> dict[str, Any]:
    """What a record answers, whatever the number of pictures and runs."""
    mark = None if network is None else network.fingerprint
    return {"network": mark, "options": system.options, "set": pictures.name, "protocol": PROTOCOL.name}


def begun(path: Path, request: dict[str, Any], pictures: PictureSet) -> dict[str, Any]:
    """Of each picture that needs no computing: what an earlier call has found."""
    kept = stored(path)
    if kept is None or kept["request"] != request:
        return {}
    wanted = {pair.name: pair.runs for pair in pictures.pairs}
    return {name: found for name, found in kept["pictures"].items() if wanted.get(name) == len(found[SCORES[0]])}


def measure(
    system: System, network: Network | None, pictures: PictureSet, results: Path, threads: int, clock: Clock
) -> dict[str, Any]:
    """Each picture's scores in each run, and its L-STD; what `results` holds already is taken from there."""
    path, request = results / f"{system.name}.{pictures.name}.json", request_of(system, network, pictures)
    found = begun(path, request, pictures)
    make = maker_of(system, network, threads)
    steps = list(make.options.trajectory.timesteps) if isinstance(make, Upscaler) else []
    record = {"request": request, "timesteps": steps, "versions": versions(), "pictures": found}
    scorers = _scorers(SCORES)
    todo = [pair for pair in pictures.pairs if pair.name not in found]
    for pair in todo:
        start = time.monotonic()
        found[pair.name] = _scored(make, pair, scorers)
        # In the order of the set, whatever was computed when.
        record["pictures"] = {p.name: found[p.name] for p in pictures.pairs if p.name in found}
        keep(path, record)
        clock.tell(f"{system.name} on {pictures.name}, {pair.name}", pair.runs, time.monotonic() - start)
    if not todo and stored(path) != {**(stored(path) or {}), "pictures": found}:
        keep(path, record)  # fewer pictures than before
    return record


def _scored(make: Maker, pair: Pair, scorers: dict[str, Any]) -> dict[str, Any]:
    truth, meter = _eight_bit(images.load(pair.gt).rgb), StabilityMeter()
    scores: dict[str, Any] = {name: [] for name in scorers}
    for sample in range(pair.runs):
        sr = _eight_bit(make(pair.lq, sample)[0])
        for name, score in scorers.items():
            scores[name].append(round(score(sr, truth), 6))
        meter.update(pair.name, sample, sr / 255.0)
    return {**scores, "lstd": round(meter.result().lstd, 7)} if pair.runs > 1 else scores


def _scorers(names: tuple[str, ...]) -> dict[str, Any]:
    return {name: METRICS[name].load() for name in names}


def _eight_bit(picture: np.ndarray) -> np.ndarray:
    return without_border(images.to_uint8(picture), PROTOCOL.border)


def measure_steps(
    systems: dict[str, tuple[Network, dict[str, Any]]],
    pictures: PictureSet,
    results: Path,
    threads: int,
    *,
    each_step: bool,
) -> dict[str, Any]:
    """Fig. 2: scores of the decoded estimate of each step (or the last alone) of each system, one run of each picture.

    `systems` are networks and options by name. A picture's scores are a list of steps for each of them.
    """
    path = results / f"fig2.{pictures.name}.json"
    request = {
        "networks": {name: network.fingerprint for name, (network, _) in systems.items()},
        "options": {name: options for name, (_, options) in systems.items()},
        "set": pictures.name, "each_step": each_step,
    }  # fmt: skip
    kept = stored(path)
    found = kept["pictures"] if kept is not None and kept["request"] == request else {}
    makers = {
        name: Upscaler(network, {**options, "intermediates": each_step}, threads)
        for name, (network, options) in systems.items()
    }
    steps = {name: list(make.options.trajectory.timesteps) for name, make in makers.items()}
    scorers = _scorers(FIG2_SCORES)
    for pair in pictures.pairs:
        if pair.name in found:
            continue
        truth, scores = _eight_bit(images.load(pair.gt).rgb), {}
        for name, make in makers.items():
            made = make(pair.lq, 0)
            shown = [_eight_bit(sr) for sr in (made[1:] or made)]
            scores[name] = [{key: round(score(sr, truth), 6) for key, score in scorers.items()} for sr in shown]
        found[pair.name] = scores
        print(f"fig. 2 on {pictures.name}, {pair.name}", flush=True)
        keep(path, {"request": request, "timesteps": steps, "pictures": found})
    wanted = {pair.name for pair in pictures.pairs}
    return {"request": request, "timesteps": steps, "pictures": {n: v for n, v in found.items() if n in wanted}}

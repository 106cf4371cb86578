"""Replay recorded reference values through this installation: same recipe, same draws, same production functions.

A folder holds `cases.json` (models, recipe, cases), `inputs/`, and `cases/NAME.safetensors` with the recorded tensors;
networks and sizes come from the file alone. Only the recipe's weights are made here; sampler, tiles and colours are
those that upscaling uses.
"""

import hashlib
import json
import math
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor, nn

from ccsr.errors import CCSRError, WeightsError
from ccsr.method import Conditions, Networks, Settings, restore
from ccsr.method.compat import COMPAT, Compat
from ccsr.method.processing import postprocess, preprocess
from ccsr.method.sampler import NoiseSchedule, SamplingStep
from ccsr.method.timesteps import nuts_trajectory
from ccsr.networks import LatentControlNet, latent_factor
from ccsr.networks.tiled import TileSettings

BOUND = 1e-3
"""Largest error that passes, in units of the reference's standard deviation."""


@dataclass(frozen=True)
class CaseResult:
    """One replayed case."""

    name: str
    largest_error: float
    """Of all its tensors: largest absolute difference over the reference's standard deviation."""
    worst_tensor: str
    picture_levels: int
    """Largest difference of the final picture, in grey levels of 255."""
    picture_share: float
    """Share of the final picture's values that differ at all."""
    passed: bool


def replay(folder: Path) -> Iterator[CaseResult]:
    """Replay every case of a folder, in its order.

    Raises:
        WeightsError: the folder is not such a recording, or a weight differs from its recorded checksum.
    """
    try:
        record = json.loads((folder / "cases.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise WeightsError("no readable cases.json", path=folder, hint="give a folder of recorded values") from error
    networks, embeddings = recorded_networks(record)
    for case in record["cases"]:
        yield replay_case(folder, case, networks, embeddings, record)


def recorded_networks(record: dict[str, Any]) -> tuple[Networks, dict[str, Tensor]]:
    """Networks and embeddings made by the record's recipe, float32."""
    models = record["models"]
    recipe = Recipe(record["recipe"], record.get("weight_checksums", {}))
    scheduler = models["scheduler"]
    networks = Networks(
        recipe.fill("unet", lambda: UNet2DConditionModel.from_config(models["unet"])),
        recipe.fill("controlnet", lambda: LatentControlNet.from_config(models["controlnet"])),
        recipe.fill("vae", lambda: AutoencoderKL.from_config(models["vae"])),
        NoiseSchedule.scaled_linear(scheduler["beta_start"], scheduler["beta_end"]),
    )
    shape = tuple(models["embedding_shape"])
    return networks, {n: recipe.normal(f"embedding.{n}", shape) for n in ("empty", "positive", "negative")}


class Recipe:
    """Weights as a function of their names, so that a recording needs not carry them."""

    def __init__(self, recipe: dict[str, Any], checksums: dict[str, str]) -> None:
        self.prefix, self.gains, self.checksums = recipe["prefix"], recipe.get("gain", {}), checksums

    def normal(self, name: str, shape: tuple[int, ...]) -> Tensor:
        """Standard normal float32 values that belong to a name."""
        seed = zlib.crc32((self.prefix + name).encode())
        return torch.from_numpy(np.random.RandomState(seed).standard_normal(shape).astype(np.float32))

    def weight(self, name: str, shape: tuple[int, ...]) -> Tensor:
        """One parameter; its checksum is compared where one is recorded."""
        n = self.normal(name, shape).numpy()
        if len(shape) == 1:
            value = 1 + np.float32(0.1) * n if name.endswith("weight") else np.float32(0.02) * n
        else:
            gain = next((g for part, g in reversed(self.gains.items()) if part in name), 1.0)
            value = n * np.float32(gain / np.sqrt(np.prod(shape[1:])))
        expected = self.checksums.get(name)
        if expected and hashlib.sha256(value.tobytes()).hexdigest() != expected:
            raise WeightsError(f"the recipe gives other values for {name} than were recorded")
        return torch.from_numpy(value)

    def fill(self, module: str, build: Callable[[], nn.Module]) -> Any:
        """A network built without memory and filled tensor by tensor."""
        with torch.device("meta"):
            network = build()
        for key, value in network.state_dict().items():
            owner_name, _, leaf = key.rpartition(".")
            owner = network.get_submodule(owner_name)
            parameter = nn.Parameter(self.weight(f"{module}.{key}", tuple(value.shape)), requires_grad=False)
            setattr(owner, leaf, parameter)
        return network.eval()


@torch.inference_mode()
def replay_case(
    folder: Path, case: dict[str, Any], networks: Networks, embeddings: dict[str, Tensor], record: dict[str, Any]
) -> CaseResult:
    """Run one case with its recorded draws and compare every tensor and picture."""
    name = case["name"]
    try:
        reference = load_file(folder / "cases" / f"{name}.safetensors")
        picture = _picture(folder / "inputs" / f"{case['input']}.png")
    except (OSError, ValueError) as error:
        raise WeightsError("the recorded case cannot be read", path=folder / "cases" / name) from error
    compat = COMPAT["v2"]
    networks.schedule = NoiseSchedule(networks.schedule.alpha_bar, case["prediction_type"])
    scale = case["scale"]
    width, height = picture.shape[1] * scale, picture.shape[0] * scale
    prepared = preprocess(
        picture, width, height, (width, height), case["process_size"], compat, latent_factor(networks.vae)
    )
    evaluations: list[SamplingStep] = []
    restored = restore(
        networks,
        torch.from_numpy(prepared.lq_up).permute(2, 0, 1)[None],
        Conditions(embeddings["positive"], embeddings["negative"], case["guidance"]),
        _settings(case, compat, latent_factor(networks.vae)),
        lambda draw: reference[f"draw.{draw}"],
        evaluations.append,
    )
    ours = {
        "posterior_mean": restored.moments.mean,
        "posterior_logvar": restored.moments.logvar,
        "z_lr": restored.z_lq,
        "final_latent": restored.latent,
        # Recorded as the decoder's own -1..1.
        "decoded": 2 * restored.decoded - 1,
    }
    for e in evaluations:
        ours |= {f"eval{e.index}.z": e.z_t, f"eval{e.index}.output": e.output, f"eval{e.index}.x0": e.x0}
    if [e.t for e in evaluations] != case["timesteps"]:
        raise CCSRError(f"evaluated {[e.t for e in evaluations]}, recorded {case['timesteps']}", path=name)
    for e in evaluations:
        reference[f"eval{e.index}.output"] = _guided(reference[f"eval{e.index}.output"], case["guidance"])
    errors = {key: _error(value, reference[key]) for key, value in ours.items()}
    final = postprocess(restored.decoded, prepared, case["color_fix"], width, height, compat)
    levels = np.abs(final - _picture(folder / "cases" / f"{name}.final.png")).round(6) * 255
    worst, share = max(errors, key=lambda key: errors[key]), float((levels > 0.5).mean())
    # A decoded value on the border between two levels may fall on either side, and the colour fix can stretch that
    # one level to several; but such values are rare.
    reach = max(2, math.ceil(_stretch(restored.decoded, prepared.lq_up))) if case["color_fix"] == "adain" else 2
    # Where the picture is resized at the end, one of them reaches a whole neighbourhood of the small result.
    few = (levels > 0.5).sum() <= max(1e-3 * levels.size, 48)
    passed = bool(errors[worst] <= BOUND and round(levels.max()) <= reach and few)
    return CaseResult(name, errors[worst], worst, round(levels.max()), share, passed)


def _stretch(decoded: Tensor, lq: np.ndarray) -> float:
    """The largest factor by which AdaIN stretches a channel of (1, 3, H, W) to the spread of (H, W, 3); both 0..1."""
    own = decoded[..., : lq.shape[0], : lq.shape[1]].clamp(0, 1).std((0, 2, 3))
    return float((torch.from_numpy(lq).std((0, 1)) / own).max())


def _settings(case: dict[str, Any], compat: Compat, factor: int) -> Settings:
    tiles = None
    if "tile" in case:
        tiles = TileSettings(
            case["tile"]["size"] // factor,
            case["tile"]["stride"] // factor,
            compat.whole_norms,
            compat.symmetric_window,
        )
    t_max, t_min = (Fraction(case[k]).limit_denominator(10000) for k in ("t_max", "t_min"))
    trajectory = nuts_trajectory(case["T"], t_max, t_min)
    return Settings(
        trajectory._replace(timesteps=(case["start_index"], *trajectory.timesteps[1:])),
        compat,
        denoise_tiles=tiles,
        start_from_lq=case["start_point"] == "lr",
    )


def _guided(rows: Tensor, guidance: float) -> Tensor:
    """One output of the two rows, negative and positive, that are recorded of a guided evaluation."""
    return rows if len(rows) == 1 else rows[:1] + guidance * (rows[1:] - rows[:1])


def _error(ours: Tensor, reference: Tensor) -> float:
    return float((ours - reference).abs().max() / reference.std())


def _picture(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB"), np.float32) / 255

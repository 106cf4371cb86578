"""Replay recorded reference values through this installation: same recipe, same draws, same production functions.

A folder holds `cases.json` (models, recipe, cases), `inputs/`, and `cases/NAME.safetensors` with the recorded tensors;
networks and sizes come from the folder alone. Only the recipe's weights are made here: networks, their memory order
and fast blocks, sampler, tiles and colours are those that upscaling uses, and the checkpoint of the first program is
packed and loaded as a user's is.
"""

import hashlib
import json
import math
import tempfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor, nn

from ccsr.errors import CCSRError, WeightsError
from ccsr.method import Conditions, Networks, Restored, Settings, restore
from ccsr.method.compat import COMPAT, Compat
from ccsr.method.processing import Preprocessed, as_tensor, postprocess, preprocess
from ccsr.method.sampler import NoiseSchedule, SamplingStep, ddpm_step
from ccsr.method.timesteps import Trajectory, first_version_trajectory, nuts_trajectory
from ccsr.networks import LatentControlNet, latent_factor
from ccsr.networks.fast import prepare
from ccsr.networks.tiled import TileSettings
from ccsr.pipeline import CCSRPipeline
from ccsr.weights.packing import pack

BOUND = 1e-4
"""Largest error that passes, in units of the reference's standard deviation."""
_FIELDS = {
    *("name", "input", "input_width", "input_height", "scale", "T", "t_max", "t_min", "guidance", "start_point"),
    *("start_index", "color_fix", "prediction_type", "process_size", "process_width", "process_height", "timesteps"),
    *("draws", "seed", "tile", "evaluations_kept"),
}
"""What a case may say; another field would be an option that is not replayed."""


@dataclass(frozen=True)
class CaseResult:
    """One replayed case."""

    name: str
    largest_error: float = math.nan
    """Of all its tensors: largest absolute difference over the reference's standard deviation."""
    worst_tensor: str = ""
    picture_levels: int = 255
    """Largest difference of the final picture, in grey levels of 255."""
    picture_share: float = 1.0
    """Share of the final picture's values that differ at all."""
    passed: bool = False
    fault: str = ""
    """Why there is nothing to compare, or what differs besides."""


class Replayed(NamedTuple):
    """What the cases of a folder run with."""

    networks: Networks
    embeddings: dict[str, Tensor]
    compat: Compat


def replay(folder: Path) -> Iterator[CaseResult]:
    """Replay every case of a folder, in its order; a case that cannot be replayed is a result with its fault.

    Raises:
        WeightsError: the folder is not such a recording, or a weight differs from its recorded checksum.
    """
    try:
        record = json.loads((folder / "cases.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise WeightsError("no readable cases.json", path=folder, hint="give a folder of recorded values") from error
    with recorded(folder, record) as replayed:
        for number, case in enumerate(record["cases"], 1):
            name = str(case.get("name", f"case {number}"))
            try:
                yield replay_case(folder, case, replayed)
            except Exception as error:  # one case's fault must not hide what the others give
                missing = f"{error.args[0]} is not recorded" if isinstance(error, KeyError) and error.args else ""
                yield CaseResult(name, fault=missing or str(error).partition("\n")[0] or type(error).__name__)


@contextmanager
def recorded(folder: Path, record: dict[str, Any]) -> Iterator[Replayed]:
    """The networks of a recording: of the second program (format 1) or of the first (format 2)."""
    if record.get("format") == 1:
        networks, embeddings = recorded_networks(record)
        yield Replayed(networks, embeddings, COMPAT["v2"])
    elif record.get("format") == 2 and record.get("program") == "v1":
        with tempfile.TemporaryDirectory() as scratch:
            pipeline = packed_checkpoint(folder, record, Path(scratch))
            empty = pipeline.embeddings["empty"]
            yield Replayed(pipeline.networks(), {"positive": empty, "negative": empty}, COMPAT["v1"])
    else:
        raise WeightsError(
            f"cases.json has format {record.get('format')} of program {record.get('program', 'v2')}",
            path=folder,
            hint="this version knows 1, of the second program, and 2, of the first (v1)",
        )


def packed_checkpoint(folder: Path, record: dict[str, Any], scratch: Path) -> CCSRPipeline:
    """The pipeline of a recorded checkpoint of the first program, which is packed into `scratch`, float32."""
    recipe = record["checkpoint"]
    entries = json.loads((folder / recipe["entries"]).read_text(encoding="utf-8"))
    stored = load_file(folder / recipe["stored"])
    generator = torch.Generator().manual_seed(recipe["generator_seed"])
    made: dict[str, Tensor] = {}
    for name, shape, _ in entries:
        if not name.startswith(tuple(recipe["drawn_prefixes"])):
            continue
        n = torch.randn(shape, generator=generator)
        if len(shape) > 1:
            made[name] = n / math.prod(shape[1:]) ** 0.5
        else:
            made[name] = 1 + 0.1 * n if name.endswith("weight") else 0.02 * n
    for name, *_ in entries:
        for copy, original in recipe["copied"].items():
            if name.startswith(copy):
                made[name] = made[original + name.removeprefix(copy)]
    checkpoint = {name: made[name] if name in made else stored[name] for name, *_ in entries}
    path = scratch / "checkpoint.ckpt"
    torch.save({"state_dict": checkpoint, **recipe["wrap"]}, path)
    pack(path, scratch / "packed", dtype="fp32", base_model=folder / record["base"], source_text="recorded", licence="")
    return CCSRPipeline.from_pretrained(scratch / "packed")


def recorded_networks(record: dict[str, Any]) -> tuple[Networks, dict[str, Tensor]]:
    """Networks and embeddings made by the record's recipe, float32, in the state that upscaling runs them in."""
    models = record["models"]
    recipe = Recipe(record["recipe"], record.get("weight_checksums", {}))
    networks = Networks(
        recipe.fill("unet", lambda: UNet2DConditionModel.from_config(models["unet"])),
        recipe.fill("controlnet", lambda: LatentControlNet.from_config(models["controlnet"])),
        recipe.fill("vae", lambda: AutoencoderKL.from_config(models["vae"])),
        NoiseSchedule.from_config(models["scheduler"]),
    )
    prepare(networks.unet, networks.controlnet, networks.vae)
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
def replay_case(folder: Path, case: dict[str, Any], replayed: Replayed) -> CaseResult:
    """Run one case with its recorded draws and compare every tensor and picture.

    Raises:
        CCSRError: it says something that is not replayed here, or something of it is missing.
        KeyError: a draw or a field that is needed is not recorded.
    """
    name = case["name"]
    if unknown := sorted(set(case) - _FIELDS):
        raise CCSRError(f"its {', '.join(unknown)} is not known here", hint="a newer version may replay it")
    try:
        reference = load_file(folder / "cases" / f"{name}.safetensors")
        picture = _picture(folder / "inputs" / f"{case['input']}.png")
    except (OSError, ValueError) as error:
        raise WeightsError("the recorded case cannot be read", path=folder / "cases" / name) from error
    networks, embeddings, compat = replayed
    if "prediction_type" in case:
        networks = replace(networks, schedule=replace(networks.schedule, prediction_type=case["prediction_type"]))
    size = (picture.shape[1] * case["scale"], picture.shape[0] * case["scale"])
    factor = latent_factor(networks.vae)
    prepared = preprocess(picture, *size, size, case.get("process_size", compat.min_size), compat, factor)
    _same_picture(folder / "cases" / f"{name}.input_resized.png", prepared.lq_up)
    settings = _settings(case, compat, factor)
    evaluations: list[SamplingStep] = []
    restored = restore(
        networks,
        as_tensor(prepared.lq_up),
        Conditions(embeddings["positive"], embeddings["negative"], case["guidance"]),
        settings,
        lambda draw: reference[f"draw.{draw}"],
        evaluations.append,
    )
    if [e.t for e in evaluations] != case["timesteps"]:
        raise CCSRError(f"evaluated {[e.t for e in evaluations]}, recorded {case['timesteps']}")
    ours = _tensors(restored, evaluations, networks.schedule, settings.trajectory, reference)
    for key, value in reference.items():
        if key.endswith(".output"):
            reference[key] = _guided(value, case["guidance"])
    recorded = [key for key in reference if not key.startswith("draw.")]
    if without := [key for key in recorded if key not in ours]:
        raise CCSRError(f"nothing to compare with the recorded {', '.join(without)}")
    errors = {key: _error(ours[key], reference[key]) for key in recorded}
    worst = max(errors, key=lambda key: errors[key] if math.isfinite(errors[key]) else math.inf)
    return _with_picture(
        CaseResult(name, errors[worst], worst), folder, case, restored.decoded, reference["decoded"], prepared, compat
    )


def _tensors(
    restored: Restored,
    evaluations: list[SamplingStep],
    schedule: NoiseSchedule,
    trajectory: Trajectory,
    reference: dict[str, Tensor],
) -> dict[str, Tensor]:
    """What came out, by the names of the recording."""
    ours = {
        "posterior_mean": restored.moments.mean,
        "posterior_logvar": restored.moments.logvar,
        "z_lr": restored.z_lq,
        "final_latent": restored.latent,
        # Recorded as the decoder's own -1..1.
        "decoded": 2 * restored.decoded - 1,
    }
    for e, following in zip(evaluations, [*evaluations[1:], None], strict=True):
        ours |= {f"eval{e.index}.z": e.z_t, f"eval{e.index}.output": e.output, f"eval{e.index}.x0": e.x0}
        if following is not None:
            ours[f"step{e.index}.z"] = following.z_t
        elif (draw := reference.get(f"draw.step{e.index}")) is not None:
            # The published programs compute the step after the last evaluation too, and throw it away.
            ours[f"step{e.index}.z"] = ddpm_step(schedule, e.z_t, e.x0, e.t, trajectory.previous[e.index], draw)
    return ours


def _with_picture(
    result: CaseResult,
    folder: Path,
    case: dict[str, Any],
    decoded: Tensor,
    recorded: Tensor,
    prepared: Preprocessed,
    compat: Compat,
) -> CaseResult:
    """The result with the final picture compared, twice.

    Colours and sizes from the recorded decoded picture are exact where that is rounded to 8 bit first; where it is not,
    as in the first program, a float next to a whole level may be truncated to either.
    From our own, a value on the border between two levels may fall on either side, which is one level; where AdaIN
    works on such levels, it stretches that one to as many as it stretches everything.
    """
    final = _picture(folder / "cases" / f"{result.name}.final.png")
    height, width = final.shape[:2]

    def levels(source: Tensor) -> np.ndarray:
        fixed = postprocess(source, prepared, case["color_fix"], width, height, compat)
        apart: np.ndarray = np.abs(fixed - final).round(6) * 255
        return apart

    exact, own = levels(recorded / 2 + 0.5), levels(decoded)
    share = float((exact > (0.5 if compat.round_decoded else 1.5)).mean())
    fault = f"colours and size of the recorded decoded picture: {share:.4%} of its values differ" if share else ""
    largest, reach = round(own.max()), 1
    if compat.round_decoded and case["color_fix"] == "adain":
        reach = max(1, math.ceil(_stretch(recorded / 2 + 0.5, prepared.lq_up)))
    return replace(
        result,
        picture_levels=largest,
        picture_share=float((own > 0.5).mean()),
        passed=result.largest_error <= BOUND and largest <= reach and not fault,
        fault=fault,
    )


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
    if compat.first_version_grid:
        trajectory = first_version_trajectory(case["T"], case["t_max"], case["t_min"])
    else:
        t_max, t_min = (Fraction(case[k]).limit_denominator(10000) for k in ("t_max", "t_min"))
        trajectory = nuts_trajectory(case["T"], t_max, t_min)
        if compat.skipped_start and t_max == 1 and len(trajectory.timesteps) > 1:
            trajectory = trajectory.without_start()
        trajectory = trajectory.starting_at(case["start_index"])
    return Settings(trajectory, compat, denoise_tiles=tiles, start_from_lq=case["start_point"] == "lr")


def _guided(rows: Tensor, guidance: float) -> Tensor:
    """One output of the two rows, negative and positive, that are recorded of a guided evaluation."""
    return rows if len(rows) == 1 else rows[:1] + guidance * (rows[1:] - rows[:1])


def _error(ours: Tensor, reference: Tensor) -> float:
    if ours.shape != reference.shape:
        return math.inf
    return float((ours - reference).abs().max() / reference.std())


def _same_picture(path: Path, ours: np.ndarray) -> None:
    """The picture that the networks get is the recorded one, where there is one."""
    if path.is_file() and not np.array_equal(theirs := _picture(path), ours):
        sizes = "x".join(map(str, theirs.shape[1::-1])), "x".join(map(str, ours.shape[1::-1]))
        raise CCSRError(f"the networks' input is not the recorded one ({sizes[1]}, recorded {sizes[0]})")


def _picture(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB"), np.float32) / 255

"""`CCSRPipeline`: a picture in, faithful enlargements out; the diffusers shape around the method."""

import inspect
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from diffusers import AutoencoderKL, DDPMScheduler, DiffusionPipeline, UNet2DConditionModel
from PIL import Image
from torch import Tensor

from ccsr import images, resample
from ccsr.compat import COMPAT, Compat
from ccsr.errors import ImageError, ModelOutputError, OptionError
from ccsr.fitting import as_tensor, finish, prepare
from ccsr.log import get_logger
from ccsr.method import Conditions, Networks, Settings, decode, restore
from ccsr.networks import LatentControlNet, latent_factor
from ccsr.networks.tiled import TileSettings, count_tiles
from ccsr.networks.watch import Stage, watched
from ccsr.noise import Draws
from ccsr.options import UpscaleOptions, options_of
from ccsr.plan import Plan, batches, make_plan
from ccsr.sampler import Evaluation, NoiseSchedule
from ccsr.stability import StabilityMeter
from ccsr.weights import Model, ModelDescription, encode_prompt, load_model, save_model

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
Progress = Callable[[int, int, str], None]
OnStepEnd = Callable[[Any, int, int, dict[str, Tensor]], Any]
log = get_logger(__name__)

_NO_RESULT = "in fp32 too: are these weights whole? ccsr models verify tells"


@dataclass
class Upscaled:
    """One result of one picture."""

    sr: np.ndarray
    """float32 (H, W, 3) in 0..1."""
    timesteps: tuple[int, ...]
    seconds: dict[str, float]
    warnings: list[str] = field(default_factory=list)
    intermediates: list[np.ndarray] = field(default_factory=list)
    """The decoded estimate of each evaluation, as `sr`; filled when the option asks for it."""


@dataclass
class CCSROutput:
    """What `CCSRPipeline.__call__` returns."""

    images: list[Any]
    """Results in input order, the samples of one picture together: PIL, arrays (H, W, 3) or tensors (3, H, W), 0..1."""
    timesteps: tuple[int, ...]
    """Indices 0..999 that were evaluated."""
    warnings: list[str]
    stability_maps: list[np.ndarray] = field(default_factory=list)
    """For each picture with several samples: their standard deviation at each pixel, (H, W), 0 to 0.5."""

    @property
    def stability_map(self) -> np.ndarray | None:
        """The map of the only (or first) picture; None where there was one sample."""
        return self.stability_maps[0] if self.stability_maps else None


class CCSRPipeline(DiffusionPipeline):
    """Content consistent super-resolution (the paper; ccsr-spec 1).

    Call it with a path, a PIL picture, an array (H, W, 3) of uint8, uint16 or float in 0..1, a tensor (B, 3, H, W) in
    0..1, or a list of these. Keywords are the options of `ccsr.options.UpscaleOptions`.
    """

    model_cpu_offload_seq = "controlnet->unet->vae"

    # No modules and no config, so no arguments of the constructor: diffusers takes those for components to move.
    embeddings: dict[str, Tensor]
    """Any of empty, positive and negative: (1, tokens, width)."""
    description: ModelDescription

    def __init__(
        self,
        unet: UNet2DConditionModel,
        controlnet: LatentControlNet,
        vae: AutoencoderKL,
        scheduler: DDPMScheduler,
    ) -> None:
        super().__init__()
        self.register_modules(unet=unet, controlnet=controlnet, vae=vae, scheduler=scheduler)

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | Path = "nano",
        *,
        base_model: str | None = None,
        torch_dtype: torch.dtype | None = None,
        device: str | None = None,
    ) -> Self:
        """Load a model by name, folder or hub id; `base_model` is the SD 2.1-base folder of the published layout.

        Raises:
            WeightsError: the model cannot be found, read or trusted.
        """
        model = load_model(
            str(pretrained_model_name_or_path), dtype=torch_dtype or torch.float32, base_model=base_model
        )
        pipeline = cls.from_model(model)
        return pipeline.to(device) if device else pipeline

    @classmethod
    def from_model(cls, model: Model) -> Self:
        """A pipeline around loaded networks."""
        for network in (model.unet, model.controlnet, model.vae):
            network.to(memory_format=torch.channels_last)
        scheduler = DDPMScheduler.from_config(model.scheduler_config)
        pipeline = cls(model.unet, model.controlnet, model.vae, scheduler)
        pipeline.embeddings, pipeline.description = model.embeddings, model.description
        return pipeline

    def save_pretrained(self, save_directory: str | Path, **_: Any) -> None:
        """Write a model folder that `from_pretrained` reads, weights in the dtype they have now."""
        scheduler = dict(self.scheduler.config)
        model = Model(self.unet, self.controlnet, self.vae, scheduler, self.embeddings, self.description)
        save_model(model, Path(save_directory))

    def __call__(
        self,
        image: Any,
        *,
        output_type: str = "pil",
        generator: torch.Generator | None = None,
        callback_on_step_end: OnStepEnd | None = None,
        num_samples: int | None = None,
        **options: Any,
    ) -> CCSROutput:
        """Upscale pictures.

        Args:
            image: one picture or a list, see the class.
            output_type: `pil` (8 bit), `np` (float32 in 0..1) or `pt` (float32 in 0..1).
            generator: accepted for diffusers habits: its first number becomes the seed. `seed=` repeats better.
            callback_on_step_end: called as (pipeline, step, timestep, {"latents", "x0"}) after each evaluation.
            num_samples: results per picture, each with noise of its own.
            **options: see `ccsr.options.UpscaleOptions`.

        Raises:
            OptionError: an option is unknown or makes no sense.
            ImageError: the input is no picture.
        """
        if output_type not in ("pil", "np", "pt"):
            raise OptionError(f"output_type is {output_type!r}", hint="choose pil, np or pt")
        if num_samples is not None:
            options["samples"] = num_samples
        if generator is not None:
            options.setdefault("seed", int(torch.randint(2**31, (1,), generator=generator)))
        chosen = UpscaleOptions.from_mapping(options, door="python")
        results: list[Any] = []
        warnings: list[str] = []
        maps: list[np.ndarray] = []
        timesteps: tuple[int, ...] = ()
        pictures = [p for item in (image if isinstance(image, list) else [image]) for p in as_arrays(item)]
        wanted = [(picture, sample) for picture in pictures for sample in range(chosen.samples)]
        meter = StabilityMeter()
        with self.progress_bar(total=len(wanted)) as bar:
            for batch in batches(wanted, chosen.batch_size, lambda item: item[0].shape):
                plan = make_plan(batch[0][0].shape[1], batch[0][0].shape[0], chosen, self.description)
                for out in self.upscale_batch(batch, chosen, plan, on_step_end=callback_on_step_end):
                    timesteps = out.timesteps
                    warnings += out.warnings
                    if chosen.samples > 1:
                        number, sample = divmod(len(results), chosen.samples)
                        meter.update(str(number), sample, out.sr)
                        if sample == chosen.samples - 1:
                            maps.append(meter.deviation.mean(2))
                    results.append(_as_output(out.sr, output_type))
                    bar.update()
        return CCSROutput(results, timesteps, warnings, maps)

    def upscale_batch(
        self,
        batch: Sequence[tuple[np.ndarray, int]],
        options: UpscaleOptions,
        plan: Plan,
        on_progress: Progress | None = None,
        on_step_end: OnStepEnd | None = None,
    ) -> list[Upscaled]:
        """One result for each (picture, sample); pictures float (H, W, 3) in 0..1 of one size, results at the plan's.

        `on_progress` is called as (done, total, stage) while the networks run; what it raises stops the work. A
        picture whose result is not finite in bf16 or fp16 is computed again alone in fp32, with a warning in its
        result: fp16 overflows; and with AMX, oneDNN multiplies the padding of a bf16 tile with whatever lies behind
        the tensor, which is NaN where that is (uxlfoundation/oneDNN issue 5717). What leaks is either multiplied by
        zero or not finite, so this finds it all.

        Raises:
            ModelOutputError: a result is not finite in fp32 either.
        """
        try:
            return self._restored(batch, options, plan, on_progress, on_step_end)
        except ModelOutputError as error:
            if len(batch) > 1:
                return [self.upscale_batch([item], options, plan, on_progress, on_step_end)[0] for item in batch]
            if plan.dtype == "fp32":
                raise ModelOutputError(error.what, hint=_NO_RESULT) from error
            log.debug("again in fp32: %s", error)
        (out,) = self.upscale_batch(batch, options, replace(plan, dtype="fp32"), on_progress, on_step_end)
        out.warnings.append(f"the result in {plan.dtype} was not usable, so it was computed again in fp32")
        return [out]

    def upscale(
        self,
        picture: np.ndarray,
        options: UpscaleOptions,
        plan: Plan,
        sample: int = 0,
        on_progress: Progress | None = None,
    ) -> Upscaled:
        """As `upscale_batch`, for one result of one picture."""
        return self.upscale_batch([(picture, sample)], options, plan, on_progress)[0]

    @torch.inference_mode()
    def _restored(
        self,
        batch: Sequence[tuple[np.ndarray, int]],
        options: UpscaleOptions,
        plan: Plan,
        on_progress: Progress | None,
        on_step_end: OnStepEnd | None,
    ) -> list[Upscaled]:
        if plan.device == "cpu" and torch.get_num_threads() != plan.threads:
            torch.set_num_threads(plan.threads)
        self._move(torch.device(plan.device), DTYPES[plan.dtype])
        compat = COMPAT[options.compat]
        started = time.perf_counter()
        minimum, size = self._minimum(options, compat), (plan.output_width, plan.output_height)
        prepared = [prepare(picture, *size, minimum, compat, self.size_multiple) for picture, _ in batch]
        trajectory = options.trajectory
        settings = Settings(
            trajectory,
            compat,
            denoise_tiles=self._tiles(plan, "denoise", compat),
            encode_tiles=self._tiles(plan, "encode", compat),
            decode_tiles=self._tiles(plan, "decode", compat),
            start_from_lq=options.start_point == "lq" and not compat.start_from_noise,
        )
        conditions = self._conditions(options)
        networks = self.networks()
        lq_up = torch.cat([as_tensor(p.lq_up) for p in prepared]).to(plan.device)
        factor = latent_factor(self.vae)
        height, width = lq_up.shape[-2] // factor, lq_up.shape[-1] // factor
        shape = (self.vae.config.latent_channels, height, width)
        draws = [Draws(options.seed, sample, *shape) for _, sample in batch]
        if conditions.guided and compat.posterior_draws == 2:
            second = [Draws(options.seed, sample + 2**32, *shape) for _, sample in batch]
        else:
            second = []
        estimates: list[Tensor] = []

        def on_evaluation(evaluation: Evaluation) -> None:
            if options.intermediates:
                estimates.append(evaluation.x0)
            if on_step_end:
                on_step_end(self, evaluation.index, evaluation.t, {"latents": evaluation.z_t, "x0": evaluation.x0})

        def draw(name: str) -> Tensor:
            return torch.cat([d(name) for d in (*draws, *(second if name == "posterior" else ()))])

        prepare_seconds = time.perf_counter() - started
        with self._watched(settings, lq_up, conditions, on_progress):
            restored = restore(networks, lq_up, conditions, settings, draw, on_evaluation)
        restored.seconds["encode"] += prepare_seconds
        fix = options.color_fix or self.description.color_fix

        def finished(decoded: Tensor) -> list[np.ndarray]:
            return [finish(decoded[i : i + 1], p, fix, *size, compat) for i, p in enumerate(prepared)]

        started = time.perf_counter()
        plain = finished(restored.decoded)
        srs = [_blended(sr, picture, options.blend) for sr, (picture, _) in zip(plain, batch, strict=True)]
        restored.seconds["color"] = time.perf_counter() - started
        seconds = {name: value / len(batch) for name, value in restored.seconds.items()}
        intermediates = [finished(decode(networks, x0, settings)) for x0 in estimates]
        return [
            Upscaled(sr, trajectory.timesteps, dict(seconds), p.warnings, [estimate[i] for estimate in intermediates])
            for i, (sr, p) in enumerate(zip(srs, prepared, strict=True))
        ]

    def networks(self) -> Networks:
        """The networks as the method takes them."""
        config = self.scheduler.config
        schedule = NoiseSchedule.scaled_linear(config.beta_start, config.beta_end, config.prediction_type)
        return Networks(self.unet, self.controlnet, self.vae, schedule)

    @property
    def size_multiple(self) -> int:
        """Pixels that a padded side is a multiple of: the VAE's factor times the UNet's."""
        return latent_factor(self.vae) * 2 ** (len(self.unet.config.block_out_channels) - 1)

    def _move(self, device: torch.device, dtype: torch.dtype) -> None:
        """Bring the networks to the plan's device and number format, where they are not there yet."""
        for network in (self.unet, self.controlnet, self.vae):
            # Offloaded networks come to their device by themselves.
            if network.dtype != dtype or (network.device != device and not hasattr(network, "_hf_hook")):
                torch.nn.Module.to(network, device, dtype)

    @contextmanager
    def _watched(
        self, settings: Settings, lq_up: Tensor, conditions: Conditions, on_progress: Progress | None
    ) -> Iterator[None]:
        """Inside, `on_progress` hears of every thousandth of the work, by the operations of each network."""
        if on_progress is None:
            yield
            return
        factor = latent_factor(self.vae)
        height, width = lq_up.shape[-2:]
        evaluations = len(settings.trajectory.timesteps) * (2 if conditions.guided else 1)
        cost = self.description.flops_per_pixel
        rows = len(lq_up)
        encode = rows * count_tiles(height, width, settings.encode_tiles)
        denoise = rows * count_tiles(height // factor, width // factor, settings.denoise_tiles)
        decode = rows * count_tiles(height // factor, width // factor, settings.decode_tiles)
        stages = [
            Stage("encode", [self.vae.encoder], encode, cost["encode"]),
            Stage("denoise", [self.unet, self.controlnet], denoise * evaluations, cost["denoise"] * evaluations),
            Stage("decode", [self.vae.decoder], decode, cost["decode"]),
        ]
        told = -1

        def on_share(share: float, stage: str) -> None:
            nonlocal told
            if (done := int(share * 1000)) > told:
                told = done
                on_progress(done, 1000, stage)

        with watched(stages, on_share):
            yield

    def _minimum(self, options: UpscaleOptions, compat: Compat) -> int | None:
        return options.min_size or compat.min_size or self.description.min_size

    def _tiles(self, plan: Plan, which: str, compat: Compat) -> TileSettings | None:
        """Tiles of one part in the pixels of the tensor that it cuts: the picture's or the latent's."""
        pixels = plan.tile if which == "denoise" else plan.vae_tile
        if pixels is None:
            return None
        factor = latent_factor(self.vae)
        unit = factor if compat.fit == "eights" else self.size_multiple
        tile = max(unit, pixels // unit * unit)
        # A margin of the receptive field: that of the UNet is twice the VAE's, in latent pixels.
        margin = (32 if which == "denoise" else 16) * factor
        share = compat.overlap if plan.overlap is None else plan.overlap
        overlap = min(margin, tile // 2) if share is None else tile * share
        stride = max(unit, round((tile - overlap) / unit) * unit)
        divisor = 1 if which == "encode" else factor
        return TileSettings(
            tile // divisor,
            stride // divisor,
            compat.whole_norms,
            compat.symmetric_window,
            gather_tile=min(tile, 512) // divisor,
        )

    def _conditions(self, options: UpscaleOptions) -> Conditions:
        """Embeddings by option: the stored positive one, or a prompt's where the model has a text encoder."""
        name = self.description.name
        texts = {"positive": options.prompt, "negative": options.negative_prompt}
        chosen: dict[str, Tensor | None] = {}
        for which, text in texts.items():
            chosen[which] = self.embeddings.get(which) if text is None else encode_prompt(self.description, text)
        if COMPAT[options.compat].empty_prompt and options.prompt is None:
            chosen["positive"] = self.embeddings.get("empty", chosen["positive"])
        positive = chosen["positive"] if chosen["positive"] is not None else self.embeddings.get("empty")
        if positive is None:
            raise OptionError(f"{name} has no text embedding to start from", hint="pack it again with ccsr models pack")
        if options.guidance > 1 and chosen["negative"] is None:
            raise OptionError(f"{name} has no negative embedding, so guidance has no effect", hint="leave --guidance 1")
        return Conditions(positive, chosen["negative"], options.guidance)


def as_arrays(item: Any) -> Sequence[np.ndarray]:
    """Any accepted picture as float32 arrays (H, W, 3) in 0..1; a tensor batch gives several."""
    if isinstance(item, str | Path):
        return [images.load(Path(item)).rgb]
    if isinstance(item, Image.Image):
        return [np.asarray(item.convert("RGB"), np.float32) / 255]
    if isinstance(item, Tensor):
        batch = item if item.ndim == 4 else item[None]
        return [checked(p.permute(1, 2, 0).float().cpu().numpy()) for p in batch]
    if isinstance(item, np.ndarray):
        largest = {np.dtype(np.uint8): 255, np.dtype(np.uint16): 65535}.get(item.dtype, 1)
        return [checked(item.astype(np.float32) / largest)]
    raise ImageError(f"{type(item).__name__} is not a picture", hint="give a path, a PIL picture, an array or a tensor")


def checked(array: np.ndarray) -> np.ndarray:
    """`array` if it is a picture, (H, W, 3) in 0..1."""
    if array.ndim != 3 or array.shape[2] != 3 or 0 in array.shape:
        raise ImageError(f"an array of shape {array.shape} is not a picture", hint="(height, width, 3) is needed")
    if not np.isfinite(array).all() or array.min() < 0 or array.max() > 1:
        raise ImageError("values outside 0..1", hint="floats go from 0 to 1; give uint8 or uint16 otherwise")
    return array


def _blended(sr: np.ndarray, picture: np.ndarray, blend: float) -> np.ndarray:
    if blend == 1:
        return sr
    share = np.float32(blend)
    return share * sr + (1 - share) * resample.enlarge(picture, sr.shape[1], sr.shape[0])


def _as_output(sr: np.ndarray, kind: str) -> Any:
    if kind == "pil":
        return Image.fromarray(images.to_uint8(sr))
    return sr if kind == "np" else torch.from_numpy(np.ascontiguousarray(sr.transpose(2, 0, 1)))


def _document() -> None:
    """Give `__call__` the options as keywords, for help() and editors."""
    call = CCSRPipeline.__call__
    signature = inspect.signature(call)
    fixed = [p for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD]
    options = [
        inspect.Parameter(o.name, inspect.Parameter.KEYWORD_ONLY, default=o.default)
        for o in options_of(UpscaleOptions, "python")
        if o.name != "model"
    ]
    call.__signature__ = signature.replace(parameters=[*fixed, *options])  # type: ignore[attr-defined]
    lines = [f"        {o.name}: {o.help} (default {o.default})." for o in options_of(UpscaleOptions, "python")]
    call.__doc__ = f"{call.__doc__}\n        Options:\n" + "\n".join(lines)


_document()

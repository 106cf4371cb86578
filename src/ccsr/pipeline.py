"""`CCSRPipeline`: a picture in, faithful enlargements out; the diffusers shape around the method."""

import inspect
import threading
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

from ccsr import images
from ccsr.compat import COMPAT, Compat
from ccsr.errors import ImageError, ModelOutputError, OptionError
from ccsr.fitting import as_tensor, blend, finish, prepare
from ccsr.log import get_logger
from ccsr.method import Conditions, Networks, Settings, decode, restore
from ccsr.networks import LatentControlNet, latent_factor
from ccsr.networks.fast import accelerate
from ccsr.networks.tiled import TileSettings, count_tiles
from ccsr.networks.watch import Stage, watched
from ccsr.noise import Draws
from ccsr.options import UpscaleOptions, options_of
from ccsr.plan import Plan, batches, is_out_of_memory, least_side, make_plan
from ccsr.sampler import Evaluation, NoiseSchedule
from ccsr.stability import StabilityMeter
from ccsr.weights import Model, ModelDescription, encode_prompt, load_model, save_model

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
Progress = Callable[[int, int, str], None]
OnStepEnd = Callable[[Any, int, int, dict[str, Tensor]], Any]
log = get_logger(__name__)

_COMPILING = threading.Lock()
"""Pictures that are computed side by side share what the first of them compiled."""
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
    plan: Plan | None = None
    """What it was computed by: not the plan that was given where that one failed."""


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
        self._turns = _Turns()

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
            str(pretrained_model_name_or_path),
            dtype=torch_dtype or torch.float32,
            base_model=base_model,
            memory_format=torch.channels_last,
        )
        pipeline = cls.from_model(model)
        return pipeline.to(device) if device else pipeline

    @classmethod
    def from_model(cls, model: Model) -> Self:
        """A pipeline around loaded networks."""
        for network in (model.unet, model.controlnet, model.vae):
            network.to(memory_format=torch.channels_last)
        accelerate(model.unet, model.controlnet, model.vae)
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
        chosen = UpscaleOptions.from_mapping(options, interface="python")
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
        zero or not finite, so this finds it all. Where memory runs out, a picture is computed again alone in smaller
        tiles, with a warning: this changes its bytes.

        Raises:
            ModelOutputError: a result is not finite in fp32 either.
            MemoryError or RuntimeError: memory runs out with the smallest tiles too.
        """
        again: Plan | None = None
        try:
            return self._restored(batch, options, plan, on_progress, on_step_end)
        except ModelOutputError as error:
            if len(batch) == 1 and plan.dtype == "fp32":
                raise ModelOutputError(error.what, hint=_NO_RESULT) from error
            again = replace(plan, dtype="fp32")
            note = f"the result in {plan.dtype} was not usable, so it was computed again in fp32"
            log.debug("again: %s", error)
        except (RuntimeError, MemoryError) as error:
            again = plan.smaller
            if not is_out_of_memory(error) or (len(batch) == 1 and again is None):
                raise
            tiles = f"{again.tile} and {again.vae_tile}" if again else ""
            note = f"memory ran out, so it was computed in smaller tiles ({tiles}), which changes its bytes"
            log.debug("again: %s", error)
        # Here the error, and the tensors that it kept alive, are gone.
        if len(batch) > 1:
            return [self.upscale_batch([item], options, plan, on_progress, on_step_end)[0] for item in batch]
        assert again is not None  # noqa: S101 -- for the type checker: raised above
        (out,) = self.upscale_batch(batch, options, again, on_progress, on_step_end)
        out.warnings.append(note)
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

    def _restored(
        self,
        batch: Sequence[tuple[np.ndarray, int]],
        options: UpscaleOptions,
        plan: Plan,
        on_progress: Progress | None,
        on_step_end: OnStepEnd | None,
    ) -> list[Upscaled]:
        device, dtype = torch.device(plan.device), DTYPES[plan.dtype]
        if plan.tile is None and plan.vae_tile is None:
            with self._turns.shared():
                if not self._away(device, dtype):
                    return self._computed(batch, options, plan, on_progress, on_step_end)
        # Nobody else may be at work in networks that move, or that keep the statistics of tiles.
        with self._turns.alone():
            for network in self._away(device, dtype):
                torch.nn.Module.to(network, device, dtype)
            return self._computed(batch, options, plan, on_progress, on_step_end)

    @torch.inference_mode()
    def _computed(
        self,
        batch: Sequence[tuple[np.ndarray, int]],
        options: UpscaleOptions,
        plan: Plan,
        on_progress: Progress | None,
        on_step_end: OnStepEnd | None,
    ) -> list[Upscaled]:
        if plan.device == "cpu" and torch.get_num_threads() != plan.threads:
            torch.set_num_threads(plan.threads)
        compat = COMPAT[options.compat]
        started = time.perf_counter()
        size, work = (plan.output_width, plan.output_height), (plan.work_width, plan.work_height)
        minimum = least_side(options, self.description)
        prepared = [prepare(picture, *size, work, minimum, compat, self.size_multiple) for picture, _ in batch]
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
        networks = replace(self.networks(), device=torch.device(plan.device), whole=self._engine(options, plan))
        tensors = [as_tensor(p.lq_up) for p in prepared]
        lq_up = torch.cat(tensors) if len(tensors) > 1 else tensors[0]
        factor = latent_factor(self.vae)
        height, width = lq_up.shape[-2] // factor, lq_up.shape[-1] // factor
        shape = (self.vae.config.latent_channels, height, width)
        if networks.whole and count_tiles(height, width, settings.denoise_tiles) > 1:
            for each in prepared:
                each.warnings.append("OpenVINO does not take tiles, so torch computed this one (--tile none is for it)")
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
        # Beside other pictures in the same networks, whose work could not be told from this one's.
        with self._watched(settings, lq_up, conditions, on_progress):
            restored = restore(networks, lq_up, conditions, settings, draw, on_evaluation)
        restored.seconds["encode"] += prepare_seconds
        fix = options.color_fix or self.description.color_fix

        def finished(decoded: Tensor) -> list[np.ndarray]:
            return [finish(decoded[i : i + 1], p, fix, *size, compat) for i, p in enumerate(prepared)]

        started = time.perf_counter()
        srs = finished(restored.decoded)
        for sr, (picture, _) in zip(srs, batch, strict=True):
            blend(sr, picture, options.blend)
        restored.seconds["color"] = time.perf_counter() - started
        seconds = {name: value / len(batch) for name, value in restored.seconds.items()}
        intermediates = [finished(decode(networks, x0, settings)) for x0 in estimates]
        return [
            Upscaled(
                sr, trajectory.timesteps, dict(seconds), p.warnings, [estimate[i] for estimate in intermediates], plan
            )
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

    def _away(self, device: torch.device, dtype: torch.dtype) -> list[torch.nn.Module]:
        """The networks that are not on that device and in that number format; offloaded ones go there by themselves."""
        return [
            network
            for network in (self.unet, self.controlnet, self.vae)
            if network.dtype != dtype or (network.device != device and not hasattr(network, "_hf_hook"))
        ]

    def _engine(self, options: UpscaleOptions, plan: Plan) -> Callable[..., Tensor] | None:
        """What computes the denoiser in place of torch, compiled at its first use; None is torch."""
        if options.engine == "torch":
            return None
        if plan.device != "cpu":
            raise OptionError(f"--engine openvino computes on the CPU, not on {plan.device}", hint="add --device cpu")
        from ccsr.engines import OpenVINODenoiser

        with _COMPILING:
            made = getattr(self, "_openvino", None)
            if made is None or (made.dtype, made.threads) != (self.unet.dtype, plan.threads):
                made = OpenVINODenoiser(self.unet, self.controlnet, self.description.sha256, plan.threads)
                self._openvino = made
            return made

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
            unit=unit // divisor if compat.overlap is None else None,
            together=plan.together if which == "denoise" else plan.vae_together,
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


class _Turns:
    """Several threads at once, or one alone."""

    def __init__(self) -> None:
        self._condition, self._inside = threading.Condition(), 0

    @contextmanager
    def shared(self) -> Iterator[None]:
        with self._condition:
            self._condition.wait_for(lambda: self._inside >= 0)
            self._inside += 1
        try:
            yield
        finally:
            self._leave()

    @contextmanager
    def alone(self) -> Iterator[None]:
        with self._condition:
            self._condition.wait_for(lambda: self._inside == 0)
            self._inside = -1
        try:
            yield
        finally:
            self._leave()

    def _leave(self) -> None:
        with self._condition:
            self._inside = max(0, self._inside - 1)
            self._condition.notify_all()


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

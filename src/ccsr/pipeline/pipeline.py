"""The pipeline: preprocess, encode, sample, decode, postprocess, in the shape that diffusers users know."""

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from diffusers import AutoencoderKL, DDPMScheduler, DiffusionPipeline, UNet2DConditionModel
from torch import Tensor

from ccsr.errors import OptionError, WeightsError
from ccsr.images import stripes
from ccsr.images.buffers import hearing
from ccsr.method import Networks, Restorer, Settings
from ccsr.method.compat import COMPAT
from ccsr.method.noise import NoiseSource
from ccsr.method.processing import Preprocessed, as_tensor, postprocess, preprocess
from ccsr.method.sampler import NoiseSchedule, SamplingStep
from ccsr.metrics.consistency import consistency_of
from ccsr.networks import LatentControlNet, latent_factor
from ccsr.networks.fast import prepare
from ccsr.options import UpscaleOptions
from ccsr.pipeline.bounds import bound, stretching
from ccsr.pipeline.conditions import text_conditions
from ccsr.pipeline.documentation import documents_options
from ccsr.pipeline.engine import EngineCache
from ccsr.pipeline.inputs import as_mask, as_pictures
from ccsr.pipeline.lock import ReadWriteLock
from ccsr.pipeline.outputs import OUTPUT_TYPES, CCSROutput, Upscaled, as_output
from ccsr.pipeline.placement import placed
from ccsr.pipeline.process import settle
from ccsr.pipeline.progress import Clock, Progress, Teller, progress_of
from ccsr.pipeline.retry import with_retry
from ccsr.pipeline.tiles import tile_settings
from ccsr.plan import Plan, batches, least_side, make_plan
from ccsr.stability import StabilityMeter
from ccsr.weights import Model, ModelDescription, load_model, save_model

Batch = Sequence[tuple[np.ndarray, int]]
"""(picture, number of the sample) of each result; pictures float (H, W, 3) in 0..1, of one size."""
OnStepEnd = Callable[[Any, int, int, dict[str, Tensor]], Any]


class CCSRPipeline(DiffusionPipeline):
    """Content consistent super-resolution (the paper; ccsr-spec 1).

    Call it with a path, a PIL picture, an array (H, W, 3) of uint8, uint16 or float in 0..1, a tensor (B, 3, H, W) of
    uint8 or float in 0..1, or a list of these; a fourth channel is alpha, and the result has it too. Keywords are the
    options of `ccsr.options.UpscaleOptions`.

    Several threads may call one pipeline at once, but not two pipelines that share their networks.
    """

    model_cpu_offload_seq = "controlnet->unet->vae"

    def __init__(
        self,
        unet: UNet2DConditionModel,
        controlnet: LatentControlNet,
        vae: AutoencoderKL,
        scheduler: DDPMScheduler,
        embeddings: Mapping[str, Tensor],
        description: ModelDescription,
    ) -> None:
        """Put the parts together; `CCSRPipeline(**other.components)` shares those of another pipeline.

        `embeddings`: any of empty, positive and negative, (1, tokens, width) each.
        """
        settle()
        super().__init__()
        self.register_modules(unet=unet, controlnet=controlnet, vae=vae, scheduler=scheduler)
        # Neither networks nor configuration: diffusers would look for their class and their file.
        self.embeddings, self.description = dict(embeddings), description
        self._lock, self._engines = ReadWriteLock(), EngineCache()
        self._origin: dict[str, Any] | None = None
        """Arguments of `from_pretrained` that give these weights again."""

    @property
    def components(self) -> dict[str, Any]:
        """All that the constructor takes, by name."""
        names = ("unet", "controlnet", "vae", "scheduler", "embeddings", "description")
        return {name: getattr(self, name) for name in names}

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
        settle()
        name = str(pretrained_model_name_or_path)
        model = load_model(
            name,
            dtype=torch_dtype or torch.float32,
            base_model=base_model,
            memory_format=torch.channels_last,
        )
        pipeline = cls.from_model(model)
        # Another process may be in another folder.
        place = str(Path(name).resolve()) if Path(name).is_dir() else name
        pipeline._origin = {"pretrained_model_name_or_path": place, "base_model": base_model}
        return pipeline.to(device) if device else pipeline

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled by name: the copy loads the same model again, in the number format and on the device of this one.

        What was changed in the networks meanwhile does not go along; `save_pretrained` keeps it.
        """
        if self._origin is None:
            raise TypeError(
                "a pipeline that was put together from parts is not pickled (save_pretrained, then from_pretrained)"
            )
        how = {**self._origin, "torch_dtype": self.unet.dtype, "device": str(self.unet.device)}
        return _unpickled, (type(self), how, self.description.sha256, getattr(self, "_progress_bar_config", {}))

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """A pipeline with networks of its own, as they are now."""
        twin = type(self)(**copy.deepcopy(self.components, memo))
        twin._origin = self._origin
        twin.set_progress_bar_config(**getattr(self, "_progress_bar_config", {}))
        return twin

    @classmethod
    def from_model(cls, model: Model) -> Self:
        """A pipeline around loaded networks."""
        prepare(model.unet, model.controlnet, model.vae)
        NoiseSchedule.from_config(model.scheduler_config)  # it refuses what the method does not follow
        scheduler = DDPMScheduler.from_config(model.scheduler_config)
        return cls(model.unet, model.controlnet, model.vae, scheduler, model.embeddings, model.description)

    def save_pretrained(self, save_directory: str | Path, **_: Any) -> None:
        """Write a model folder that `from_pretrained` reads, weights in the dtype they have now."""
        scheduler = dict(self.scheduler.config)
        model = Model(self.unet, self.controlnet, self.vae, scheduler, self.embeddings, self.description)
        save_model(model, Path(save_directory))

    @documents_options
    def __call__(
        self,
        image: Any,
        *,
        output_type: str = "pil",
        generator: torch.Generator | None = None,
        callback_on_step_end: OnStepEnd | None = None,
        num_samples: int | None = None,
        mask: Any = None,
        **options: Any,
    ) -> CCSROutput:
        """Upscale pictures.

        Args:
            image: one picture or a list, see the class.
            output_type: `pil` (8 bit), `np` (float32 in 0..1) or `pt` (float32 in 0..1).
            generator: accepted for diffusers habits: its first number becomes the seed. `seed=` repeats better.
            callback_on_step_end: called as (pipeline, step, timestep, {"latents", "x0"}) after each evaluation.
            num_samples: results per picture, each with noise of its own.
            mask: a picture of any size that is laid over each of them: where it is black the enlarged input stays.
            **options: see `ccsr.options.UpscaleOptions`.

        Raises:
            OptionError: an option is unknown or makes no sense.
            ImageError: the input is no picture.
        """
        if output_type not in OUTPUT_TYPES:
            raise OptionError(f"output_type is {output_type!r}", hint="choose pil, np or pt")
        if num_samples is not None:
            options["samples"] = num_samples
        if generator is not None:
            options.setdefault("seed", int(torch.randint(2**31, (1,), generator=generator)))
        chosen = UpscaleOptions.from_mapping(options, interface="python")
        output = CCSROutput([], (), [])
        pictures = [p for item in (image if isinstance(image, list | tuple) else [image]) for p in as_pictures(item)]
        laid = None if mask is None else as_mask(mask)
        output.warnings += [warning for picture in pictures for warning in picture.warnings]
        wanted = [(picture, sample) for picture in pictures for sample in range(chosen.samples)]
        meter = StabilityMeter()
        with self.progress_bar(total=len(wanted)) as bar:
            for batch in batches(wanted, chosen.batch_size, lambda item: item[0].rgb.shape):
                height, width = batch[0][0].rgb.shape[:2]
                plan = make_plan(width, height, chosen, self.description)
                given = [(picture.rgb, sample) for picture, sample in batch]
                results = self.upscale_batch(given, chosen, plan, on_step_end=callback_on_step_end, mask=laid)
                for out, (picture, _) in zip(results, batch, strict=True):
                    output.timesteps = out.timesteps
                    output.warnings += out.warnings
                    output.consistency.append(out.consistency)
                    if chosen.samples > 1:
                        number, sample = divmod(len(output.images), chosen.samples)
                        meter.update(str(number), sample, out.sr)
                        if sample == chosen.samples - 1:
                            output.stability_maps.append(meter.deviation.mean(2))
                    output.images.append(as_output(out.sr, picture, output_type, chosen.dots_per_inch))
                    bar.update()
        return output

    def upscale(
        self,
        picture: np.ndarray,
        options: UpscaleOptions,
        plan: Plan,
        sample: int = 0,
        on_progress: Progress | None = None,
        mask: np.ndarray | None = None,
    ) -> Upscaled:
        """As `upscale_batch`, for one result of one picture."""
        return self.upscale_batch([(picture, sample)], options, plan, on_progress, mask=mask)[0]

    def upscale_batch(
        self,
        batch: Batch,
        options: UpscaleOptions,
        plan: Plan,
        on_progress: Progress | None = None,
        on_step_end: OnStepEnd | None = None,
        mask: np.ndarray | None = None,
    ) -> list[Upscaled]:
        """One result for each (picture, sample), at the plan's size.

        `on_progress` is called as (done, total, part) while the networks run, and between the bands of a large
        picture; what it raises stops the work. A result that fails is tried once more: see `with_retry`. `mask`,
        (h, w) in 0..1 and of any size, is laid over each picture: where it is 0 the enlarged input stays.

        Raises:
            ModelOutputError: a result is not finite in fp32 either.
            MemoryError or RuntimeError: memory runs out with the smallest tiles too.
        """

        settle()

        def attempt(batch: Batch, plan: Plan) -> list[Upscaled]:
            teller = Teller(on_progress)
            stripes.begin(f"{plan.dtype}-{plan.tile}-{plan.vae_tile}")
            with placed((self.unet, self.controlnet, self.vae), plan, self._lock), hearing(teller.alive):
                return self._run(batch, options, plan, mask, teller, on_step_end)

        return with_retry(attempt, batch, plan)

    @torch.inference_mode()
    def _run(
        self,
        batch: Batch,
        options: UpscaleOptions,
        plan: Plan,
        mask: np.ndarray | None,
        teller: Teller,
        on_step_end: OnStepEnd | None,
    ) -> list[Upscaled]:
        """Preprocess, encode, sample, decode, postprocess."""
        clock, restorer = Clock(), self._restorer(options, plan)
        inputs = self._preprocess(batch, options, plan, restorer)
        if mask is not None:
            for each, (picture, _) in zip(inputs, batch, strict=True):
                each.warnings += stretching(mask, picture)
        lq_up = torch.cat([as_tensor(each.lq_up) for each in inputs]) if len(inputs) > 1 else as_tensor(inputs[0].lq_up)
        draw = self._noise(batch, options, lq_up, restorer)
        estimates: list[Tensor] = []

        def on_step(step: SamplingStep) -> None:
            if options.intermediates:
                estimates.append(step.x0)
            if on_step_end:
                on_step_end(self, step.index, step.t, {"latents": step.z_t, "x0": step.x0})

        with progress_of(restorer, lq_up, self.description.flops_per_pixel, teller):
            encoded = restorer.encode(lq_up, draw)
            clock.lap("encode")
            latent = restorer.sample(encoded, draw, on_step)
            clock.lap("denoise")
            decoded = restorer.decode(latent)
            clock.lap("decode")
        fixed = self._postprocess(decoded, inputs, options, plan)
        results = [bound(sr, picture, options, mask) for sr, (picture, _) in zip(fixed, batch, strict=True)]
        true = [consistency_of(sr, picture) for sr, (picture, _) in zip(results, batch, strict=True)]
        clock.lap("color")
        intermediates = [self._postprocess(restorer.decode(x0), inputs, options, plan) for x0 in estimates]
        seconds = {name: value / len(batch) for name, value in clock.seconds.items()}
        return [
            Upscaled(
                sr,
                options.trajectory.timesteps,
                dict(seconds),
                warnings=inputs[i].warnings,
                intermediates=[estimate[i] for estimate in intermediates],
                plan=plan,
                consistency=true[i],
            )
            for i, sr in enumerate(results)
        ]

    def _restorer(self, options: UpscaleOptions, plan: Plan) -> Restorer:
        """The method as the options and the plan want it run."""
        compat, multiples = COMPAT[options.compat], (latent_factor(self.vae), self.size_multiple)
        networks = replace(
            self.networks(),
            device=torch.device(plan.device),
            engine=self._engines.get(options, plan, self.unet, self.controlnet, self.description.sha256),
        )
        settings = Settings(
            options.trajectory,
            compat,
            denoise_tiles=tile_settings("denoise", plan, compat, *multiples),
            encode_tiles=None if compat.whole_encoder else tile_settings("encode", plan, compat, *multiples),
            decode_tiles=tile_settings("decode", plan, compat, *multiples),
            start_from_lq=options.start_point == "lq" and not compat.start_from_noise,
        )
        return Restorer(networks, text_conditions(options, self.embeddings, self.description), settings)

    def _preprocess(self, batch: Batch, options: UpscaleOptions, plan: Plan, restorer: Restorer) -> list[Preprocessed]:
        """The pictures enlarged to the size that is computed, with what there is to warn of."""
        least, compat = least_side(options, self.description), restorer.settings.compat
        size, work = (plan.output_width, plan.output_height), (plan.work_width, plan.work_height)
        inputs = [preprocess(picture, *size, work, least, compat, self.size_multiple) for picture, _ in batch]
        height, width = (side // latent_factor(self.vae) for side in inputs[0].lq_up.shape[:2])
        if restorer.networks.engine and not restorer.engine_for(height, width):
            for each in inputs:
                each.warnings.append("OpenVINO does not take tiles, so torch computed this one (--tile none is for it)")
        return inputs

    def _noise(self, batch: Batch, options: UpscaleOptions, lq_up: Tensor, restorer: Restorer) -> NoiseSource:
        """Noise for the latents of `lq_up`, (B, 3, H, W): a function of the seed, the sample and the position."""
        height, width = (side // latent_factor(self.vae) for side in lq_up.shape[-2:])
        return NoiseSource(
            options.seed,
            [sample for _, sample in batch],
            (self.vae.config.latent_channels, height, width),
            restorer.settings.compat.posterior_draws if restorer.conditions.guided else 1,
        )

    def _postprocess(
        self, decoded: Tensor, inputs: Sequence[Preprocessed], options: UpscaleOptions, plan: Plan
    ) -> list[np.ndarray]:
        """The decoded pictures, (B, 3, H, W), in the inputs' colours and at the size of the result."""
        color_fix, compat = options.color_fix or self.description.color_fix, COMPAT[options.compat]
        return [
            postprocess(decoded[i : i + 1], each, color_fix, plan.output_width, plan.output_height, compat)
            for i, each in enumerate(inputs)
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


def _unpickled(kind: type[CCSRPipeline], how: dict[str, Any], sha256: str, bar: dict[str, Any]) -> CCSRPipeline:
    """The pipeline that `from_pretrained(**how)` gives, if its weights are still those.

    Raises:
        WeightsError: they are not there, or are others now.
    """
    pipeline = kind.from_pretrained(**how)
    if pipeline.description.sha256 != sha256:
        raise WeightsError(
            "other weights lie here than when the pipeline was pickled", path=pipeline.description.folder
        )
    pipeline.set_progress_bar_config(**bar)
    return pipeline

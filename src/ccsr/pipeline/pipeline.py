"""The pipeline in the shape that diffusers users know; `upscaler` does the work."""

import copy
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from diffusers import DDPMScheduler, DiffusionPipeline
from torch import Tensor

from ccsr.errors import OptionError, WeightsError
from ccsr.method import Networks
from ccsr.method.sampler import NoiseSchedule, SamplingStep
from ccsr.networks.fast import prepare
from ccsr.networks.kinds import VAE, ControlNet, UNet
from ccsr.options import UpscaleOptions
from ccsr.pipeline.documentation import documents_options
from ccsr.pipeline.engine import EngineCache
from ccsr.pipeline.inputs import as_mask, as_pictures
from ccsr.pipeline.lock import ReadWriteLock
from ccsr.pipeline.outputs import OUTPUT_TYPES, CCSROutput, Upscaled, as_output
from ccsr.pipeline.process import settle
from ccsr.pipeline.progress import Progress
from ccsr.pipeline.upscaler import Batch, Upscaler, load
from ccsr.plan import Plan, batches, make_plan
from ccsr.stability import StabilityMeter
from ccsr.weights import Model, ModelDescription, save_model

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
        unet: UNet,
        controlnet: ControlNet,
        vae: VAE,
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
        name = str(pretrained_model_name_or_path)
        pipeline = cls.from_model(load(name, torch_dtype or torch.float32, base_model))
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
            options.setdefault("seed", int(torch.randint(2**31, (1,), generator=generator, device=generator.device)))
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
        """One result for each (picture, sample), at the plan's size: see `Upscaler.upscale_batch`."""

        def on_step(step: SamplingStep) -> None:
            if on_step_end:
                on_step_end(self, step.index, step.t, {"latents": step.z_t, "x0": step.x0})

        return self.upscaler().upscale_batch(batch, options, plan, on_progress, mask, on_step)

    def upscaler(self) -> Upscaler:
        """What does the work, with the parts as they are now."""
        return Upscaler(self.networks(), self.embeddings, self.description, self._lock, self._engines)

    def networks(self) -> Networks:
        """The networks as the method takes them."""
        config = self.scheduler.config
        schedule = NoiseSchedule.scaled_linear(config.beta_start, config.beta_end, config.prediction_type)
        return Networks(self.unet, self.controlnet, self.vae, schedule)


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
